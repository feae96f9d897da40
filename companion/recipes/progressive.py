"""Progressive batching: a small fixed batch first, which doubles when the network has learned it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib.data import Data, Split
from thermolib.dynamics.base import Integrator
from thermolib.engine.history import Final
from thermolib.engine.train import train
from thermolib.ground import checks
from thermolib.nets.ensemble import Ensemble, Loss
from thermolib.observe import accuracy

__all__ = ["train_progressively"]


def train_progressively(
    ensemble: Ensemble,
    integrator: Integrator,
    data: Data | Split,
    labels: Tensor,
    *,
    loss: Loss,
    steps: int,
    first: int = 500,
    error: float = 0.1,
    every: int = 10,
    observe: Mapping[str, Any] | None = None,
    compile: bool | str = "auto",
) -> tuple[pd.DataFrame, Final]:
    """Train each replica on the first points of a training set, twice as many whenever it has learned those.

    A replica whose classification error on its batch is below ``error`` goes on with a batch of twice the size, up to
    the whole set, and its integrator starts anew from where it is: step sizes and means are reset. The batch of a
    replica is the same at every step until it grows, so that its loss stays known.

    Parameters
    ----------
    ensemble, integrator, loss, steps, observe, compile : as for :func:`thermolib.train`.
    data : a training and a test set, or a training set alone.
    labels : the class of each point of the training set, ``[N]``.
    first : points of the first batch.
    error : share of the batch that is classified wrongly, below which it doubles.
    every : steps between two looks at the error, and between two observations.

    Returns
    -------
    DataFrame, Final : a tidy table as in ``History.frame`` with the column ``batch``, the points that a replica had
    when it was looked at; and the last state.

    Raises
    ------
    ValueError : a first batch below 1 or larger than the data, an error outside [0, 1), another number of labels than
        of points.

    Source: Whitelam et al. (2022), section II F and Fig. 7(b), where the error is looked at after every step.
    """
    part = ensemble.checked(data.train if isinstance(data, Data) else data)
    whole, steps = len(part.x), checks.integer("steps", steps, 0)
    if checks.integer("first", first, 1) > whole:
        raise ValueError(f"first={first} is larger than the data: it must be at most {whole}")
    if len(labels) != whole:
        raise ValueError(f"labels has {len(labels)} entries for {whole} points: one for each")
    checks.at_least("error", error, below=1.0)
    law = integrator.bind(ensemble.sizes).columns(ensemble.q)
    columns = {name: value.expand(len(ensemble), 1) for name, value in law.hyperparameters.items()}
    state = law.init(ensemble.q)
    size = torch.full((len(ensemble),), first)
    diverged = torch.full((len(ensemble),), -1, dtype=torch.int64, device=ensemble.device)
    frames = []
    for begin in range(0, steps, checks.integer("every", every, 1)):
        now_at = size.clone()
        for points in now_at.unique().tolist():
            rows = torch.nonzero(now_at == points)[:, 0].to(ensemble.device)
            some = copy.copy(ensemble)
            some.replicas, some.q = ensemble.replicas[rows.cpu()], ensemble.q[rows]
            mine = law.with_values({name: value[rows] for name, value in columns.items()})
            history = train(
                some,
                mine,
                Split(part.x[:points], part.y[:points]),
                loss=loss,
                steps=min(every, steps - begin),
                every=every,
                observe=observe,
                start=Final(_rows(state, rows), begin, diverged[rows]),
                compile=compile,
                progress=False,
            )
            frames.append(history.last.assign(batch=points))
            now, diverged[rows] = history.final.state, history.final.diverged
            learned = accuracy(Split(part.x[:points], labels[:points])).bind(some)(now) > 1 - error
            grow = learned.cpu() & (points < whole)
            state = _put(state, rows, _choose(grow.to(rows.device), mine.init(now.q), now))
            size[rows.cpu()] = torch.where(grow, min(2 * points, whole), points)
    return pd.concat(frames, ignore_index=True).sort_values(["step", "replica"]), Final(state, steps, diverged)


def _rows(state: Any, rows: Tensor) -> Any:
    return pytree.tree_map(lambda t: t[rows], state)


def _put(state: Any, rows: Tensor, new: Any) -> Any:
    return pytree.tree_map(lambda old, part: old.index_copy(0, rows, part), state, new)


def _choose(which: Tensor, yes: Any, no: Any) -> Any:
    """Row by row one state or another."""
    return pytree.tree_map(lambda a, b: torch.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no)
