"""Sections through the loss: along a line and over a plane in the space of parameters, for a whole ensemble at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thermolib.data import Split
from thermolib.nets.ensemble import Batch, Ensemble, Loss

__all__ = ["Pass", "barrier", "line", "lowest_pass", "passes", "plane"]

#: Numbers that one evaluation may hold at a time; more networks than fit are taken one lot after the other.
LOT = 1 << 24

Points = Sequence[float] | Tensor


def line(ensemble: Ensemble, loss: Loss, data: Split, start: Tensor, end: Tensor, alphas: Points) -> Tensor:
    r"""The loss along the straight line from one point to another, ``[R, n]``.

    .. math:: L(\theta^*(\alpha)), \qquad \theta^*(\alpha) = (1-\alpha)\,\theta_0 + \alpha\,\theta_f

    ==================  ============  ==========================================
    symbol              argument      meaning
    ==================  ============  ==========================================
    :math:`\theta_0`    ``start``     parameters at one end, ``[R, P]``
    :math:`\theta_f`    ``end``       parameters at the other end, ``[R, P]``
    :math:`\alpha`      ``alphas``    places on the line, ``[n]``
    :math:`L`           ``loss``      of :mod:`thermolib.losses`, on all of ``data``
    ==================  ============  ==========================================

    ``ensemble`` says what the parameters mean; R is free, so that the rows of several runs can be put together.
    Places outside [0, 1] continue the line. Both ends are met to the last bit.

    Raises
    ------
    ValueError : ends that are not ``[R, P]`` or have different R, places that are not finite numbers.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4, Eq. (18); Goodfellow, Vinyals, Saxe (2015).
    """
    points = _points(ensemble, start=start, end=end)
    a = _places("alphas", alphas, points)
    return _losses(ensemble, loss, data, points, torch.stack([1 - a, a], -1))


def plane(
    ensemble: Ensemble,
    loss: Loss,
    data: Split,
    start: Tensor,
    end1: Tensor,
    end2: Tensor,
    alphas: Points,
    betas: Points,
) -> Tensor:
    r"""The loss over the plane through a point and two others, ``[R, n, m]`` for n alphas and m betas.

    .. math::

        F_i(\alpha) = \alpha\,(\theta_{f,i} - \theta_0) + \theta_0, \qquad
        \theta^*(\alpha, \beta) = \beta F_1(\alpha) + (1-\beta)\,F_2(\alpha)

    :math:`\alpha = 0` is the start whatever :math:`\beta` is; :math:`(1, 1)` is the first end, :math:`(1, 0)` the
    second.

    ======================  ============  ==========================================
    symbol                  argument      meaning
    ======================  ============  ==========================================
    :math:`\theta_0`        ``start``     the common point, ``[R, P]``
    :math:`\theta_{f,1}`    ``end1``      the point at (1, 1), ``[R, P]``
    :math:`\theta_{f,2}`    ``end2``      the point at (1, 0), ``[R, P]``
    :math:`\alpha`          ``alphas``    places from the start outwards, ``[n]``
    :math:`\beta`           ``betas``     places from the second to the first end, ``[m]``
    :math:`L`               ``loss``      of :mod:`thermolib.losses`, on all of ``data``
    ======================  ============  ==========================================

    Raises
    ------
    ValueError : points that are not ``[R, P]`` or have different R, places that are not finite numbers.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4, "Surface plots".
    """
    points = _points(ensemble, start=start, end1=end1, end2=end2)
    a, b = torch.meshgrid(_places("alphas", alphas, points), _places("betas", betas, points), indexing="ij")
    return _losses(ensemble, loss, data, points, torch.stack([1 - a, a * b, a * (1 - b)], -1))


def barrier(losses: Tensor) -> Tensor:
    """How far the loss rises above its value at the start of a line: ``[..., n]`` to ``[...]``, zero if it never does.

    Raises
    ------
    ValueError : fewer than two places on the line.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4 and Fig. 4, which looks at barriers without a formula.
    """
    losses = torch.as_tensor(losses)
    if losses.ndim < 1 or losses.shape[-1] < 2:
        raise ValueError(f"losses has the shape {tuple(losses.shape)}: it must be [..., n] with n of at least 2")
    return losses.amax(-1) - losses[..., 0]


class Pass(NamedTuple):
    """A point of a grid, and how far the loss there is above the higher one of the two places that it joins."""

    rise: float
    row: int
    column: int


def passes(losses: Tensor) -> list[Pass]:
    """Where the basins of a surface ``[n, m]`` meet as a flood rises, the lowest first.

    Each point has eight neighbours. A pass inside the grid is a saddle of the surface: the loss falls from it into two
    basins and rises between them. Its rise is above the bottom of the shallower basin.

    Raises
    ------
    ValueError : no surface of finite numbers.

    Source: Edelsbrunner, Harer, Computational Topology (2010), section VII.1, where the rise is a persistence.
    """
    found = _flood(losses)
    return [Pass(level - bottom, *at) for at, level, bottoms, _ in found for bottom in bottoms]


def lowest_pass(losses: Tensor, one: tuple[int, int], other: tuple[int, int]) -> Pass:
    """The highest point of the lowest path between two points of a surface ``[n, m]``; it rises above both or is one.

    Raises
    ------
    ValueError : no surface of finite numbers.
    """
    top = max(losses[one].item(), losses[other].item())
    at, level = next((at, level) for at, level, _, joined in _flood(losses) if joined(one, other))
    return Pass(level - top, *at)


def _flood(losses: Tensor) -> Iterator[tuple[tuple[int, int], float, list[float], Callable[..., bool]]]:
    """Each point from the lowest up, its loss, the bottoms of the basins that end there, and what says who is joined.

    Of basins that meet, the deepest goes on.
    """
    if losses.ndim != 2 or not losses.numel() or not bool(losses.isfinite().all()):
        raise ValueError(f"losses has the shape {tuple(losses.shape)}: it must be [n, m], finite numbers")
    loss = {(i, j): value for i, row in enumerate(losses.tolist()) for j, value in enumerate(row)}
    below: dict[tuple[int, int], tuple[int, int]] = {}  # towards the bottom of its basin

    def bottom(at: tuple[int, int]) -> tuple[int, int] | None:
        while at in below and below[at] != at:
            at = below[at]
        return at if at in below else None

    def joined(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return bottom(one) is not None and bottom(one) == bottom(other)

    for at in sorted(loss, key=lambda at: loss[at]):
        around = {bottom((at[0] + i, at[1] + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        basins = sorted((b for b in around if b is not None), key=lambda b: loss[b])
        below[at] = basins[0] if basins else at
        below |= dict.fromkeys(basins[1:], below[at])
        yield at, loss[at], [loss[b] for b in basins[1:]], joined


def _points(ensemble: Ensemble, **points: Any) -> Tensor:
    """The points as one tensor ``[k, R, P]``, on the ensemble's device and in its type."""
    found: list[Tensor] = []
    for name, point in points.items():
        point = torch.as_tensor(point)
        if point.ndim != 2 or point.shape[1] != ensemble.parameters or not len(point):
            raise ValueError(f"{name} has the shape {tuple(point.shape)}: it must be [R, {ensemble.parameters}]")
        if found and len(point) != len(found[0]):
            raise ValueError(f"{name} has {len(point)} rows and start has {len(found[0])}: they must have as many")
        found.append(point.to(ensemble.device, ensemble.dtype))
    return torch.stack(found)


def _places(name: str, places: Points, like: Tensor) -> Tensor:
    tensor = torch.as_tensor(places, dtype=like.dtype, device=like.device)
    if tensor.ndim != 1 or not len(tensor) or not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}: it must be [n], finite numbers, at least one")
    return tensor


def _losses(ensemble: Ensemble, loss: Loss, data: Split, points: Tensor, weights: Tensor) -> Tensor:
    """At weighted sums of points ``[k, R, P]``: weights ``[..., k]`` to losses ``[R, ...]``.

    All networks are one batch, or lots of it that fit into memory.
    """
    data = ensemble.checked(data)
    batch = Batch(ensemble, loss, data.x, data.y)
    each = weights.reshape(-1, weights.shape[-1])
    number = torch.arange(points.shape[1] * len(each), device=points.device)
    lot = max(1, LOT // (ensemble.parameters + len(data.x) * _activations(ensemble, data.x[:1])))
    found = []
    with torch.no_grad():
        for rows in number.split(lot):
            replica, place = rows // len(each), rows % len(each)
            share = each[place].T[..., None]
            # a point with the weight 0 counts for nothing even where it is infinite
            parts = torch.where(share == 0, 0, share * points[:, replica])
            found.append(batch.loss(parts.sum(0)))
    return torch.cat(found).reshape(-1, *weights.shape[:-1])


def _activations(ensemble: Ensemble, x: Tensor) -> int:
    """How many numbers the layers put out for one input."""
    counted: list[int] = []
    layers = [module for module in ensemble.module.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(lambda *seen: counted.append(seen[2].numel())) for layer in layers]
    try:
        with torch.no_grad():
            ensemble.module(x)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)
