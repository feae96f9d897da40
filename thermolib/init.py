"""Initial parameters, drawn from the library's own noise: the same on every device and for every set of replicas.

An initialiser is a function ``(name, shape, fan_in, normal, uniform) -> [R, *shape]``, where ``normal(shape)`` and
``uniform(shape)`` (on (0, 1)) draw numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thermolib import checks

__all__ = ["Initialiser", "normal", "uniform_fan_in", "zeros"]

Draw = Callable[[tuple[int, ...]], Tensor]
Initialiser = Callable[[str, tuple[int, ...], int, Draw, Draw], Tensor]


def normal(spread: float | Tensor) -> Initialiser:
    r"""Every parameter, biases too, from :math:`N(0, \text{spread}^2)`: a number, or one value per replica."""
    checks.at_least("spread", spread)

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        drawn = gauss(shape)
        scale = torch.as_tensor(spread, dtype=drawn.dtype, device=drawn.device)
        return scale.reshape(-1, *[1] * len(shape)) * drawn

    return initialise


def uniform_fan_in() -> Initialiser:
    r"""PyTorch's default for linear layers: weights and biases from
    :math:`U(-1/\sqrt{\text{fan in}}, 1/\sqrt{\text{fan in}})`."""

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        return (2 * flat(shape) - 1) / math.sqrt(fan_in)

    return initialise


def zeros() -> Initialiser:
    """Every parameter zero."""
    return lambda name, shape, fan_in, gauss, flat: torch.zeros_like(gauss(shape))
