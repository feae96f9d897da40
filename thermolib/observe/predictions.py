"""Predictions of an ensemble that is sampled along a run: gathered while it runs, or from networks that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermolib.data import Splits
from thermolib.ground import checks
from thermolib.nets.ensemble import Ensemble

__all__ = ["Prediction", "Predictions", "Samples"]


class Prediction(NamedTuple):
    """What an ensemble says about ``B`` inputs, for each replica: ``mean``, ``spread`` and ``votes``, ``[R, B, K]``.

    ``mean`` and ``spread`` (standard deviation) are over the samples of a replica. ``votes`` is the share of samples
    whose largest output is the k-th; with one output (K = 1), the share of samples in which it is above zero.
    """

    mean: Tensor
    spread: Tensor
    votes: Tensor

    def pooled(self) -> Prediction:
        """All replicas as one ensemble: ``[1, B, K]``."""
        between = self.mean.var(0, correction=0, keepdim=True)
        spread = (self.spread.square().mean(0, keepdim=True) + between).sqrt()
        return Prediction(self.mean.mean(0, keepdim=True), spread, self.votes.mean(0, keepdim=True))


class Predictions:
    r"""The outputs for fixed inputs, gathered along a run in a memory that does not grow with it.

    Mean and sum of squares of the outputs are updated with each sample by Welford's recursion, in double precision,

    .. math::

        m_n &= m_{n-1} + (y_n - m_{n-1})/n, \qquad s_n = s_{n-1} + (y_n - m_{n-1})(y_n - m_n) \\
        \text{spread} &= \sqrt{s_n/(n-1)}

    votes are counted, and for quantiles a bounded number of samples is kept at even distances: when there are ``keep``
    of them, every second one is dropped and from then on half as many are taken.

    Pass it to :func:`thermolib.train` as ``collect``, or call :meth:`add` in a loop of your own.

    Parameters
    ----------
    x : inputs ``[B, ...]``, or :class:`thermolib.datasets.Splits` with inputs of its own for each replica.
    after : steps that are not sampled, at the beginning.
    every : steps between samples.
    keep : samples kept for quantiles.

    Raises
    ------
    ValueError : a negative number of steps, a period below one, fewer than two samples to keep; results, quantiles or
        kept samples that are asked for before there is a sample.

    Source: Welford (1962), "Note on a method for calculating corrected sums of squares and products".
    """

    def __init__(self, x: Tensor | Splits, after: int = 0, every: int = 1, keep: int = 128) -> None:
        self.x = x
        self.after = checks.integer("after", after, 0)
        self.every = checks.integer("every", every, 1)
        self.keep = checks.integer("keep", keep, 2)
        self._parts: dict[int, _Running] = {}

    def read(self, ensemble: Ensemble, q: Tensor, rows: Tensor) -> Tensor:
        """The outputs ``[R, B, K]`` of some replicas at positions ``q``, where their own rows of the inputs count."""
        own = isinstance(self.x, Splits)
        x = self.x.x[rows.to(self.x.x.device)] if isinstance(self.x, Splits) else self.x
        output = ensemble.predict(x, q, own=own)
        return output if output.ndim == 3 else output[..., None]

    def add(self, outputs: Tensor, step: int = 0, part: int = 0) -> None:
        """Add one sample of each replica, ``[R, B, K]``.

        Parameters
        ----------
        outputs : of the networks, ``[R, B, K]``, as :meth:`read` returns them.
        step : of the run; it plays no part here.
        part : the number of the replicas that run together, where some run apart from others. The results hold the
            parts in the order of their numbers.

        Raises
        ------
        ValueError : outputs of another shape than the samples before.
        """
        self._parts.setdefault(part, _Running(self.keep)).add(_wide(outputs.detach().cpu()))

    def __len__(self) -> int:
        """Samples of each replica so far."""
        return self._parts[0].count if self._parts else 0

    def _gathered(self) -> list[_Running]:
        if not self._parts:
            raise ValueError("there are no samples yet: after is not below the steps of the run, or nothing was added")
        return [self._parts[part] for part in sorted(self._parts)]

    @property
    def result(self) -> Prediction:
        """Mean, spread and votes so far."""
        parts = [part.result() for part in self._gathered()]
        return Prediction(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    @property
    def kept(self) -> Tensor:
        """The samples kept for quantiles, in their order: ``[S, R, B, K]``."""
        return torch.cat([torch.stack(part.kept) for part in self._gathered()], 1)

    def quantiles(self, *levels: float, pool: bool = False) -> Tensor:
        """Quantiles of the kept outputs, interpolated linearly between two of them.

        Parameters
        ----------
        levels : one or more, at least 0 and below 1.
        pool : take all replicas as one ensemble.

        Returns
        -------
        ``[levels, R, B, K]``, or ``[levels, 1, B, K]`` with ``pool``.

        Raises
        ------
        ValueError : a level below 0, or of 1 and more; no samples yet.
        """
        for level in levels:
            checks.at_least("levels", level, 0.0, below=1.0)
        kept = self.kept
        kept = kept.flatten(0, 1)[:, None] if pool else kept
        return torch.quantile(kept, torch.tensor(levels, dtype=kept.dtype), dim=0)


def _wide(values: Tensor) -> Tensor:
    """In single precision at least: numpy has no bfloat16, and half precision no quantiles."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class _Running:
    """Welford's recursion for one part of the replicas."""

    def __init__(self, keep: int) -> None:
        self.count, self.stride, self.keep = 0, 1, keep
        self.kept: list[Tensor] = []

    def add(self, y: Tensor) -> None:
        wide = y.double()
        if self.kept and y.shape != self.kept[0].shape:
            before = tuple(self.kept[0].shape)
            raise ValueError(f"outputs has shape {tuple(y.shape)}: it must be that of the samples before, {before}")
        if not self.count:
            self.mean, self.squares, self.voted = (torch.zeros_like(wide) for _ in range(3))
        if self.count % self.stride == 0:
            self.kept.append(y.clone())
            if len(self.kept) == self.keep:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.count += 1
        change = wide - self.mean
        self.mean += change / self.count
        self.squares += change * (wide - self.mean)
        single = y.shape[-1] == 1
        self.voted += (y > 0) if single else torch.nn.functional.one_hot(y.argmax(-1), y.shape[-1])

    def result(self) -> Prediction:
        spread = (self.squares / max(self.count - 1, 1)).sqrt()
        return Prediction(self.mean, spread, self.voted / self.count)


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
        self._file: Any = None  # a memory map

    def read(self, ensemble: Ensemble, q: Tensor, rows: Tensor) -> Tensor:
        """The positions themselves."""
        return q

    def add(self, q: Tensor, step: int = 0, part: int = 0) -> None:
        """Add one sample of each replica, ``[R, P]``, or count it only, where every second or fourth is kept.

        Parameters
        ----------
        q : the parameters of the networks, ``[R, P]``.
        step : of the run, which is kept with the sample.
        part : the number of the replicas that run together, where some run apart from others.

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

    def predict(self, x: Tensor | Splits) -> Prediction:
        """Mean, spread and votes over the samples, in the memory of one sample's predictions.

        Raises ValueError where there are no samples.
        """
        return self.predictions(x).result

    def predictions(self, x: Tensor | Splits, keep: int = 128) -> Predictions:
        """As :meth:`predict`, with the samples that quantiles need."""
        found = Predictions(x, keep=keep)
        for q in self:
            found.add(found.read(self.ensemble, q, torch.arange(len(q))))
        return found

    def save(self, path: str | Path) -> None:
        """Write the samples to a ``.npy`` file ``[S, R, P]``, which numpy and whatever reads its format can open.

        The columns are the parameters of the module in their order, each flattened. Raises ValueError where there are
        no samples.
        """
        rows = iter(self)
        first = next(rows, None)
        if first is None:
            raise ValueError("there are no samples to save")
        kind = _wide(first).numpy().dtype
        file = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(len(self), *first.shape))
        file[0] = _wide(first).numpy()
        for number, row in enumerate(rows, 1):
            file[number] = _wide(row).numpy()
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
