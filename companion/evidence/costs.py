"""What each figure of a chapter cost: seconds, replica-steps, microseconds for each.

A chapter collects its runs and shows them in a cell tagged ``nbval-ignore-output``, since seconds vary::

    costs = Costs()
    costs.add("Fig. 12", history, network="2-100-1", batch=20)
    costs

A *replica-step* is one step of one network: minibatch, gradient, noise and update.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from thermolib.engine.history import History

__all__ = ["Cost", "Costs", "read"]

# The data travel inside the table that a reader sees, as those of the claims do.
_OPENING, _CLOSING = '<script type="application/vnd.thermo-costs+json">', "</script>"


@dataclass(frozen=True)
class Cost:
    """One run: the figure it belongs to, the network, points per minibatch, and what it took on ``cores`` cores."""

    figure: str
    network: str
    batch: int
    method: str
    replica_steps: int
    seconds: float
    cores: int

    @property
    def microseconds(self) -> float:
        """Per replica-step."""
        return 1e6 * self.seconds / max(self.replica_steps, 1)


class Costs:
    """The costs of one chapter, shown as a table of one row per figure and network.

    ``entries`` holds one :class:`Cost` for each run that was added, in their order.
    """

    def __init__(self) -> None:
        self.entries: list[Cost] = []

    def add(
        self, figure: str, runs: History | Iterable[History], *, network: str, batch: int, method: str = ""
    ) -> None:
        """Add a run, or several, to a figure.

        Parameters
        ----------
        figure : of the paper, as in ``"Fig. 12"``.
        runs : what :func:`thermolib.train` returned, or several of them.
        network : inputs, hidden nodes and outputs, as in ``"2-100-1"``.
        batch : points per minibatch.
        method : its name; the integrator's if not given.

        Each run makes one :class:`Cost`: its replica-steps, its seconds, and the threads that PyTorch has when it is
        added, taken as cores.

        Raises
        ------
        ValueError : an empty figure or network.
        """
        if not figure.strip() or not network.strip():
            raise ValueError("figure and network must not be empty: they name the row of the table")
        for run in [runs] if isinstance(runs, History) else runs:
            cores = torch.get_num_threads()
            self.entries.append(
                Cost(figure, network, int(batch), method or run.method, run.replica_steps, run.seconds, cores)
            )

    @property
    def rows(self) -> list[Cost]:
        """One sum for each figure, network and batch; ``method`` lists the methods."""
        groups: dict[tuple[str, str, int], list[Cost]] = {}
        for entry in self.entries:
            groups.setdefault((entry.figure, entry.network, entry.batch), []).append(entry)
        return [
            Cost(
                *key,
                method=", ".join(dict.fromkeys(e.method for e in group)),
                replica_steps=sum(e.replica_steps for e in group),
                seconds=sum(e.seconds for e in group),
                cores=max(e.cores for e in group),
            )
            for key, group in groups.items()
        ]

    def _cells(self) -> list[list[str]]:
        """The head, a line for each row, and the sum."""
        head = ["figure", "network", "batch", "replica-steps", "seconds", "µs each"]
        rows = [
            [
                row.figure,
                row.network,
                str(row.batch),
                f"{row.replica_steps:,}",
                f"{row.seconds:.1f}",
                f"{row.microseconds:.2f}",
            ]
            for row in self.rows
        ]
        steps, seconds = sum(e.replica_steps for e in self.entries), sum(e.seconds for e in self.entries)
        cores = max((e.cores for e in self.entries), default=1)
        on = f"all, on {cores} core" + "s" * (cores != 1)
        return [head, *rows, [on, "", "", f"{steps:,}", f"{seconds:.1f}", f"{1e6 * seconds / max(steps, 1):.2f}"]]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        return "\n".join(
            "  ".join(
                text.ljust(w) if i < 2 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        )

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        head, *body = self._cells()
        lines = ["<tr>" + "".join(f"<td>{html.escape(t)}</td>" for t in line) + "</tr>" for line in body]
        table = (
            '<table class="costs"><thead><tr>'
            + "".join(f"<th>{html.escape(t)}</th>" for t in head)
            + f"</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        )
        data = json.dumps([asdict(e) for e in self.entries], ensure_ascii=False).replace("<", "\\u003c")
        return {"text/html": table + _OPENING + data + _CLOSING, "text/plain": str(self)}


def read(text: str) -> list[Cost]:
    """The costs that an HTML output of a cell shows; none where it shows no costs."""
    _, opening, rest = text.partition(_OPENING)
    return [Cost(**entry) for entry in json.loads(rest.partition(_CLOSING)[0])] if opening else []
