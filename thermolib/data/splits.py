"""Training and test sets: shared by all replicas, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thermolib.ground import checks, noise

__all__ = ["Data", "Split", "Splits", "min_max", "random_splits", "stacked"]


class Split(NamedTuple):
    """Inputs ``[N, ...]`` and targets ``[N]`` or ``[N, K]``."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Split:
        """On a device, floating-point tensors in the given type."""
        return Split(*(t.to(device, dtype if t.is_floating_point() else None) for t in self))


class Splits(NamedTuple):
    """Data of its own for each replica: inputs ``[R, N, ...]`` and targets ``[R, N]`` or ``[R, N, K]``."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Splits:
        """On a device, floating-point tensors in the given type."""
        return Splits(*(t.to(device, dtype if t.is_floating_point() else None) for t in self))

    def of(self, rows: Tensor) -> Splits:
        """Those of some replicas."""
        rows = rows.to(self.x.device)
        return Splits(self.x[rows], self.y[rows])


class Data(NamedTuple):
    """A training and a test set."""

    train: Any
    test: Any


def random_splits(data: Split | Splits, train: int, replicas: int, seed: int = 0, test: int | None = None) -> Data:
    """A random division into training and test points for each replica, :class:`Splits` of both.

    Parameters
    ----------
    data : the points, shared by all replicas or each one's own.
    train : points to train on.
    replicas : how many divisions. That of a replica does not depend on how many there are.
    seed : of the divisions.
    test : points to test on, the rest if not given.

    Raises
    ------
    ValueError : more points than there are.
    """
    own = isinstance(data, Splits)
    n = data.x.shape[1] if own else len(data.x)
    train = checks.integer("train", train, 1)
    end = n if test is None else train + checks.integer("test", test, 1)
    if not train < n or end > n:
        raise ValueError(f"train={train} and test={end - train} are not allowed: there are {n} points")
    order = noise.permutation(noise.key(seed, replicas), n, noise.DATA + 2)
    row = torch.arange(replicas)[:, None]

    def part(points: Tensor) -> Splits:
        return Splits(data.x[row, points], data.y[row, points]) if own else Splits(data.x[points], data.y[points])

    return Data(part(order[:, :train]), part(order[:, train:end]))


def stacked(sets: Sequence[Data], replicas: int) -> Data:
    """Several data sets for one run, :class:`Splits`: the first ``replicas`` replicas have the first, and so on.

    Raises
    ------
    ValueError : no set; sets of different sizes; fewer than one replica.
    """
    times = checks.integer("replicas", replicas, 1)

    def part(splits: list[Split]) -> Splits:
        sizes = {tuple(tuple(tensor.shape) for tensor in split) for split in splits}
        if len(sizes) != 1:
            raise ValueError(f"sets={sorted(sizes)} is not allowed: there must be sets, and all of the same size")
        return Splits(*(torch.stack(tensors).repeat_interleave(times, 0) for tensors in zip(*splits, strict=True)))

    return Data(part([data.train for data in sets]), part([data.test for data in sets]))


def min_max(data: Data, targets: bool = False) -> Data:
    r"""Inputs mapped linearly so that those of the training set fill :math:`[-1, 1]`, feature by feature.

    With ``targets``, the targets are mapped likewise, and returned as ``[..., 2]``: the mapped target, and the unit,
    half the range of the training targets, in which a loss has to be measured to be that of the targets themselves
    (:func:`thermolib.losses.in_units`). Each of :class:`Splits` is mapped by its own training set.
    """

    def mapped(values: Tensor, of: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        low, high = of.amin(axis, keepdim=True), of.amax(axis, keepdim=True)
        half = ((high - low) / 2).clamp(min=torch.finfo(of.dtype).tiny)
        return (values - low) / half - 1, half

    axis = int(isinstance(data.train, Splits))

    def part(split: Any) -> Any:
        x = mapped(split.x, data.train.x, axis)[0]
        if not targets:
            return split._replace(x=x)
        y, unit = mapped(split.y, data.train.y, axis)
        return split._replace(x=x, y=torch.stack([y, unit.expand_as(y)], -1))

    return Data(part(data.train), part(data.test))
