"""Initial parameters, drawn from the library's own noise: the same on every device and for every set of replicas.

An initialiser is a function ``(name, shape, fan_in, normal, uniform) -> [R, *shape]``, where ``normal(shape)`` and
``uniform(shape)`` (on (0, 1)) draw numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thermolib.ground import checks

__all__ = [
    "Initialiser",
    "glorot_normal",
    "glorot_stratified",
    "glorot_uniform",
    "module",
    "normal",
    "uniform_fan_in",
    "zeros",
]

Draw = Callable[[tuple[int, ...]], Tensor]
Initialiser = Callable[[str, tuple[int, ...], int, Draw, Draw], Tensor]


def normal(spread: float | Tensor) -> Initialiser:
    r"""Every parameter from a normal distribution around zero, biases too.

    .. math:: \theta_i \sim N(0, \text{spread}^2)

    Parameters
    ----------
    spread : a number, or a tensor of one value per replica, in the units of the parameters.

    Raises
    ------
    ValueError : a spread that is negative or not finite.

    Source: Whitelam et al. (2022), sections II A and II C; Leimkuhler, Matthews, Vlaar (2019), section 6.5.
    """
    checks.at_least("spread", spread)

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        drawn = gauss(shape)
        scale = torch.as_tensor(spread, dtype=drawn.dtype, device=drawn.device)
        return scale.reshape(-1, *[1] * len(shape)) * drawn

    return initialise


class Around:
    """An initialiser whose numbers are added to the module's own."""

    def __init__(self, spread: float | Tensor) -> None:
        self._deviation = normal(spread)

    def __call__(self, *given: Any) -> Tensor:
        return self._deviation(*given)


def module(spread: float | Tensor = 0.0) -> Around:
    r"""The module's own values, as of a network that is trained already, in all replicas.

    .. math:: \theta_i \sim N(\theta_i^\text{module}, \text{spread}^2)

    Parameters
    ----------
    spread : a number, or a tensor of one value per replica, in the units of the parameters; 0 for replicas that start
        alike.

    Raises
    ------
    ValueError : a spread that is negative or not finite.
    """
    return Around(spread)


def uniform_fan_in() -> Initialiser:
    r"""Weights and biases uniform within a bound that falls with the inputs, PyTorch's default for linear layers.

    .. math:: \theta_i \sim U\left(-\frac1{\sqrt{\text{fan in}}}, \frac1{\sqrt{\text{fan in}}}\right)

    A bias has the fan in of the weights beside it. Nothing is refused.

    Source: PyTorch's ``nn.Linear``; Leimkuhler, Matthews, Vlaar (2019), section 6.5.
    """

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        return (2 * flat(shape) - 1) / math.sqrt(fan_in)

    return initialise


def zeros() -> Initialiser:
    r"""Every parameter zero, biases too: :math:`\theta_i = 0`.

    Nothing is refused. A perceptron with hidden layers then has a gradient on its last bias alone.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 7.
    """
    return lambda name, shape, fan_in, gauss, flat: torch.zeros_like(gauss(shape))


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of a weight ``[out, in, ...]``, kernels counted in both."""
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def glorot_normal() -> Initialiser:
    r"""Weights from a normal law cut off at two standard deviations, of variance
    :math:`2/(\text{fan in} + \text{fan out})`; biases zero. TensorFlow's default of that name.

    Source: Glorot and Bengio (2010).
    """
    low = 0.5 * math.erfc(math.sqrt(2))  # the normal law's weight below minus two
    # the standard deviation of a normal law that is cut off at two
    cut = math.sqrt(1 - 4 * math.exp(-2) / (math.sqrt(2 * math.pi) * (1 - 2 * low)))

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        if len(shape) < 2:
            return torch.zeros_like(flat(shape))
        drawn = flat(shape)
        inside = torch.special.ndtri(low + (1 - 2 * low) * drawn.double()).clamp(-2, 2)
        return (inside * math.sqrt(2 / sum(_fans(shape))) / cut).to(drawn.dtype)

    return initialise


def glorot_uniform() -> Initialiser:
    r"""Weights from :math:`U(-a, a)` with :math:`a^2 = 6/(\text{fan in} + \text{fan out})`; biases zero.

    Source: Glorot and Bengio (2010).
    """

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        if len(shape) < 2:
            return torch.zeros_like(flat(shape))
        return (2 * flat(shape) - 1) * math.sqrt(6 / sum(_fans(shape)))

    return initialise


def glorot_stratified() -> Initialiser:
    r"""Weights of a layer spread evenly over the range of a Glorot-normal one, a segment for each input; biases zero.

    .. math::

        w_{ji} \sim N\big(m_i, (\sigma/n)^2\big), \qquad m_i = 2\sigma\Big(\frac{2i - 1}n - 1\Big), \qquad
        \sigma^2 = \frac2{\text{fan in} + \text{fan out}}

    :math:`[-2\sigma, 2\sigma]` is cut into n segments, one for each of the n inputs (of a convolution, its channels),
    and a weight from input i is drawn around the middle of the i-th. Nothing is refused.

    The paper does not say how wide each of the normal laws is, nor which weight has which segment. With
    :math:`\sigma/n` a layer with one input is the usual one.

    Source: Babayan, Aliahmadi and van Anders (2024), "Ab Initio Sufficient Training".
    """

    def initialise(name: str, shape: tuple[int, ...], fan_in: int, gauss: Draw, flat: Draw) -> Tensor:
        drawn = gauss(shape)
        if len(shape) < 2:
            return torch.zeros_like(drawn)
        spread, n = math.sqrt(2 / sum(_fans(shape))), shape[1]
        middle = (2 * torch.arange(n, dtype=drawn.dtype, device=drawn.device) + 1) / n - 1
        return spread * (2 * middle.reshape(n, *[1] * (len(shape) - 2)) + drawn / n)

    return initialise
