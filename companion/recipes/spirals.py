"""Spirals for many networks at once, each with its own draw, and what is seen near their centre and far from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

import thermolib as tl

__all__ = ["by_radius", "half", "spirals_of"]


def spirals_of(draws: Sequence[int], seed: int, turns: int = 4, copies: int = 1, **given: Any) -> tl.datasets.Data:
    """Spirals of these draws, stacked, the whole list ``copies`` times; ``given`` as ``tl.datasets.spirals`` takes."""
    drawn = [tl.datasets.spirals(turns, seed=seed + draw, **given) for draw in draws]
    return tl.datasets.stacked(drawn * copies, 1)


def half(points: Any, far: bool, count: int) -> Any:
    """So many points of each class with radius below 1, or beyond it; as many for every draw."""
    rows = []
    for x, y in zip(*points, strict=True):
        there = (x.norm(dim=1) >= 1) == far
        rows += [torch.cat([(there & (y == c)).nonzero()[:count, 0] for c in (0, 1)])]
    picked = torch.stack(rows)
    x = torch.take_along_dim(points.x, picked[..., None], 1)
    return tl.datasets.Splits(x, torch.take_along_dim(points.y, picked, 1))


def by_radius(data: Any) -> dict[str, Any]:
    """What is observed: accuracy on all test points, on 160 in the inner half of the radius and on 160 beyond."""
    return {
        "accuracy": tl.observe.accuracy(data.test),
        "inner": tl.observe.accuracy(half(data.test, False, 80)),
        "outer": tl.observe.accuracy(half(data.test, True, 80)),
    }
