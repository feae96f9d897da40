"""What a run leaves: a tidy table, and the state from which it can be continued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib.engine.chunks import Chunk
from thermolib.engine.job import Job
from thermolib.ground import checks

__all__ = ["Final", "History"]


@dataclass
class Final:
    """The last state of a run, from which it can be continued: pass it as ``start``.

    ``state`` is the integrator's, in the middle of its word, at the point where it asks for the next force; ``step``
    counts the steps made; ``diverged`` holds for each replica the step at which it became non-finite, or -1.

    ``mode`` is how the steps ran, as ``compile`` says it. A run that goes on from here runs in the same way unless told
    otherwise, since rounding would be another; where the mode is None, it chooses anew.
    """

    state: Any
    step: int
    diverged: Tensor
    mode: bool | str | None = None

    @property
    def q(self) -> Tensor:
        """The positions, ``[R, P]``."""
        return self.state.q


@dataclass
class History:
    """What a run recorded.

    ``frame`` is a tidy table: one row per observed step and replica, with the columns ``step``, ``replica``, the
    hyperparameters, one column per observation, and ``diverged``, the step at which the replica became non-finite
    (missing where it did not). A replica that diverged keeps its last finite state. ``final`` is the last state,
    ``compiled`` says how the steps ran, ``seconds`` how long, ``replica_steps`` how many there were: the steps that
    this run made (not those it found in a checkpoint), times the replicas that made them. ``method`` is the
    integrator's name, ``observed`` are the names of the observations.
    """

    frame: pd.DataFrame
    final: Final
    compiled: bool
    seconds: float
    replica_steps: int = 0
    method: str = ""
    observed: tuple[str, ...] = ()

    @property
    def last(self) -> pd.DataFrame:
        """The rows of the last step."""
        return self.frame[self.frame["step"] == self.frame["step"].max()]

    def to_arviz(self, after: int = 0) -> Any:
        """The observations as an ``InferenceData`` of ArviZ, whose R-hat, effective sample sizes and traces are theirs.

        Replicas are the chains, observed steps the draws. Replicas that diverged are left out, and the steps up to
        ``after``. All chains should sample the same law, and so have the same hyperparameters. Raises ValueError where
        nothing is left, ImportError without ArviZ.
        """
        try:
            import arviz
        except ImportError as error:
            raise ImportError("to_arviz needs ArviZ: pip install 'thermo-companion[arviz]'") from error
        rows = self.frame[self.frame["diverged"].isna() & (self.frame["step"] > checks.integer("after", after, 0))]
        if rows.empty or not self.observed:
            raise ValueError(f"there are no observations after step {after} of replicas that did not diverge")
        tables = {name: rows.pivot(index="replica", columns="step", values=name) for name in self.observed}
        table = next(iter(tables.values()))
        where = {"chain": table.index.to_numpy(), "draw": table.columns.to_numpy()}
        return arviz.from_dict(posterior={name: t.to_numpy() for name, t in tables.items()}, coords=where)


def join(job: Job, chunks: dict[int, Chunk], mode: bool | str) -> Final:
    """The chunks as one state again, without the copies that filled up the last one."""
    parts = [chunks[number] for number in sorted(chunks)]
    state = pytree.tree_map(lambda *rows: torch.cat(rows)[: job.replicas], *(part.state for part in parts))
    return Final(state, job.end, torch.cat([part.diverged for part in parts])[: job.replicas], mode)


def array(values: Tensor) -> np.ndarray:
    """As numpy has it, which knows no bfloat16."""
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()


def table(job: Job, records: dict[int, list], final: Final) -> pd.DataFrame:
    """The records of all chunks as a tidy table, ordered by step and replica."""
    steps = [step for step, _ in records[0]]
    columns: dict[str, Any] = {
        "step": np.repeat(steps, job.replicas),
        "replica": np.tile(job.key.replica[:, 0].cpu().numpy(), len(steps)),
    }
    said = [job.columns | job.scheduled(step) for step in steps]
    for name in job.columns:
        # by way of text: 0.1 in float32 is 0.1 in the table, not 0.10000000149
        columns[name] = np.concatenate([array(now[name][:, 0]) for now in said]).astype(str).astype(float)
    for name in job.observe:
        rows = [torch.cat([records[n][i][1][name] for n in sorted(records)]) for i in range(len(steps))]
        columns[name] = array(torch.cat(rows))
    diverged = final.diverged.cpu().numpy()
    column = pd.array(np.where(diverged < 0, 0, diverged), dtype="Int64")
    column[diverged < 0] = pd.NA
    columns["diverged"] = np.tile(column, len(steps))
    frame = pd.DataFrame(columns)
    frame["diverged"] = frame["diverged"].astype("Int64")
    return frame
