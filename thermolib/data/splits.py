"""Training and test sets: shared by all replicas, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from thermolib.ground import checks, noise

__all__ = ["Data", "Inputs", "Split", "Splits", "as_split", "min_max", "random_splits", "stacked"]

#: Of a network, what it is called with: one tensor, several, or several by the names of its arguments.
Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


class Split(NamedTuple):
    """Inputs ``[N, ...]``, one tensor or a tuple or dictionary of them, and targets ``[N]`` or ``[N, K]``."""

    x: Any
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Split:
        """On a device, floating-point tensors in the given type."""
        return pytree.tree_map(lambda t: t.to(device, dtype if t.is_floating_point() else None), self)


class Splits(NamedTuple):
    """Data of its own for each replica: inputs ``[R, N, ...]``, one tensor or several, and targets ``[R, N]`` or
    ``[R, N, K]``."""

    x: Any
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Splits:
        """On a device, floating-point tensors in the given type."""
        return pytree.tree_map(lambda t: t.to(device, dtype if t.is_floating_point() else None), self)

    def of(self, rows: Tensor) -> Splits:
        """Those of some replicas."""
        return pytree.tree_map(lambda t: t[rows.to(t.device)], self)


class Data(NamedTuple):
    """A training and a test set."""

    train: Any
    test: Any


def as_split(data: Any) -> Split | Splits:
    """Inputs and targets of all points, from a pair of tensors or from what PyTorch has for data.

    Parameters
    ----------
    data : a :class:`Split`, :class:`Splits` or another pair; a ``TensorDataset``, whose last tensor is the target; any
        other ``Dataset`` of known length, whose items are pairs; or a ``DataLoader``, of which the data set counts.

    Raises
    ------
    ValueError : anything else.
    """
    said = type(data).__name__
    data = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(data, TensorDataset):
        *inputs, y = data.tensors
        data = (inputs[0] if len(inputs) == 1 else tuple(inputs), y)
    elif isinstance(data, Dataset) and hasattr(data, "__len__"):
        x, *rest = default_collate([data[i] for i in range(len(data))])
        data = (tuple(x) if isinstance(x, list) else x, *rest)
    if not isinstance(data, tuple) or len(data) != 2:
        raise ValueError(
            f"data={said} is not allowed: it must be a Split of inputs and targets, or a data set of such pairs"
        )
    kind = Splits if isinstance(data, Splits) else Split
    return pytree.tree_map(torch.as_tensor, kind(*data), is_leaf=lambda x: isinstance(x, list))


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
