"""The handwritten digits, the small network of paper III's Figs. 1 and 7, and what these train with."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

import thermolib as tl
from companion.evidence import numbers

__all__ = ["AMC", "digits", "ensemble", "loss", "part", "unseen"]

#: Adaptive Monte Carlo at the values of Fig. 7.
AMC = tl.AdaptiveMonteCarlo(0.01, 0.0, 20, signal_norm=True)


@functools.cache
def digits() -> tl.datasets.Data:
    return tl.datasets.mnist()


def part(count: int, dtype: torch.dtype = torch.float32) -> tl.datasets.Split:
    """The first images of the training set, and what the ten outputs should be."""
    one_hot = torch.nn.functional.one_hot(digits().train.y[:count], 10)
    return tl.datasets.Split(digits().train.x[:count].to(dtype), one_hot.to(dtype))


def unseen(dtype: torch.dtype = torch.float32) -> tl.datasets.Split:
    """The 10,000 test images."""
    return tl.datasets.Split(digits().test.x.to(dtype), digits().test.y)


def ensemble(runs: Any, init: Any = None, seed: int = 0, dtype: torch.dtype = torch.float32) -> tl.Ensemble:
    """Networks of 13,002 parameters; ``runs`` is how many, or which."""
    return tl.Ensemble(tl.models.mlp((784, 16, 16, 10)), numbers(runs), init, seed=seed, dtype=dtype)


def loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the softmax, over the images and the ten outputs."""
    return (torch.softmax(output, -1) - target).square().mean()
