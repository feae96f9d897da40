"""Networks of an ensemble that are kept along a run, in memory or on the disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermolib.data import Splits
from thermolib.ground import checks
from thermolib.nets.ensemble import Ensemble
from thermolib.observe.predictions import Prediction, Predictions, lost, wide

__all__ = ["Samples"]


class Samples:
    r"""Networks kept along a run, for predictions at any input later.

    When ``limit`` of them are kept, every second one is dropped and the period is doubled, so that a run of any length
    leaves between ``limit / 2`` and ``limit``, evenly spaced. Pass it to :func:`thermolib.train` as ``collect``.

    Parameters
    ----------
    ensemble : the networks that are trained.
    after, every : as for :class:`Predictions`.
    limit : samples of each replica to keep at most.

    Raises
    ------
    ValueError : a negative number of steps, a period below one, a limit below two; predictions or a file that are
        asked for before there is a sample.
    """

    def __init__(self, ensemble: Ensemble, after: int = 0, every: int = 1, limit: int = 256) -> None:
        self.ensemble = ensemble
        self.after = checks.integer("after", after, 0)
        self.every = checks.integer("every", every, 1)
        self.limit = checks.integer("limit", limit, 2)
        self._parts: dict[int, list[tuple[int, Tensor]]] = {}
        self._stride: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._lost: dict[int, Tensor] = {}
        self._file: Any = None  # a memory map

    def read(self, ensemble: Ensemble, q: Tensor, rows: Tensor) -> Tensor:
        """The positions themselves."""
        return q

    def add(self, q: Tensor, step: int = 0, part: int = 0, diverged: Tensor | None = None) -> None:
        """Add one sample of each replica, ``[R, P]``, or count it only, where every second or fourth is kept.

        Parameters
        ----------
        q : the parameters of the networks, ``[R, P]``.
        step : of the run, which is kept with the sample.
        part : the number of the replicas that run together, where some run apart from others.
        diverged : which replicas have diverged, ``[R]``: predictions say so, and a file holds NaN for them.

        Raises
        ------
        ValueError : positions that are not those of networks of the ensemble.
        """
        if q.ndim != 2 or q.shape[1] != self.ensemble.parameters:
            raise ValueError(f"q has shape {tuple(q.shape)}: it must be [replicas, {self.ensemble.parameters}]")
        kept, seen = self._parts.setdefault(part, []), self._seen.get(part, 0)
        stride = self._stride.get(part, 1)
        if seen % stride == 0:
            kept.append((step, q.detach().cpu().clone()))
            if len(kept) == self.limit:
                self._parts[part], self._stride[part] = kept[::2], 2 * stride
        self._seen[part] = seen + 1
        now = lost(q).cpu() if diverged is None else diverged
        self._lost[part] = self._lost.get(part, torch.zeros_like(now)) | now

    def saved(self, part: int) -> list[Any]:
        """What a checkpoint keeps of a part."""
        none = torch.zeros(0, dtype=torch.bool)
        return [
            list(self._parts.get(part, [])),
            self._stride.get(part, 1),
            self._seen.get(part, 0),
            self._lost.get(part, none),
        ]

    def restore(self, part: int, saved: list[Any]) -> None:
        """Take back what :meth:`saved` returned."""
        self._parts[part], self._stride[part], self._seen[part], self._lost[part] = list(saved[0]), *saved[1:]

    def __len__(self) -> int:
        """Samples of each replica that are kept."""
        return len(self._parts.get(0, [])) if self._file is None else len(self._file)

    def __iter__(self) -> Iterator[Tensor]:
        """The samples in their order, ``[R, P]`` each; from a file, one at a time."""
        if self._file is not None:
            yield from (torch.from_numpy(np.array(row)) for row in self._file)
            return
        for number in range(len(self)):
            yield torch.cat([self._parts[part][number][1] for part in sorted(self._parts)])

    def predict(self, x: Tensor | Splits, transform: Callable[[Tensor], Tensor] | None = None) -> Prediction:
        """Mean, spread and votes over the samples, in the memory of one sample's predictions.

        Raises ValueError where there are no samples.
        """
        return self.predictions(x, transform=transform).result

    def predictions(
        self, x: Tensor | Splits, keep: int = 128, transform: Callable[[Tensor], Tensor] | None = None
    ) -> Predictions:
        """As :meth:`predict`, with the samples that quantiles need."""
        found = Predictions(x, keep=keep, transform=transform)
        for q in self:
            outputs = found.read(self.ensemble, q, torch.arange(len(q)))
            found.add(outputs, diverged=self._gone() | lost(q) | lost(outputs.cpu()))
        return found

    def _gone(self) -> Tensor:
        """Which replicas have diverged; a file says so by itself."""
        return torch.cat([self._lost[part] for part in sorted(self._lost)] or [torch.zeros(1, dtype=torch.bool)])

    def save(self, path: str | Path) -> None:
        """Write the samples to a ``.npy`` file ``[S, R, P]``, which numpy and whatever reads its format can open.

        The columns are the parameters of the module in their order, each flattened; rows of replicas that diverged are
        NaN. Raises ValueError where there are no samples.
        """
        rows = iter(self)
        first = next(rows, None)
        if first is None:
            raise ValueError("there are no samples to save")
        kind = wide(first).numpy().dtype
        file = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(len(self), *first.shape))
        for number, row in enumerate(itertools.chain([first], rows)):
            file[number] = wide(row).masked_fill(self._gone()[:, None], torch.nan).numpy()
        file.flush()

    @classmethod
    def load(cls, path: str | Path, ensemble: Ensemble) -> Samples:
        """Samples in a file, which stays on the disk: predictions read them one at a time.

        Raises
        ------
        ValueError : the file does not hold parameters of this ensemble.
        """
        array: Any = np.load(path, mmap_mode="r")
        if array.ndim != 3 or array.shape[2] != ensemble.parameters:
            raise ValueError(
                f"path={path} holds an array of shape {array.shape}: it must be [samples, replicas, "
                f"{ensemble.parameters}]"
            )
        found = cls(ensemble)
        found._file = array
        return found
