"""Points drawn from the library's own noise."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thermolib.data.splits import Data, Split, Splits
from thermolib.ground import checks
from thermolib.ground.noise import DATA, Key, key

__all__ = ["noisy_sine", "spirals", "trigonometric"]


def _numbers(train: int, test: int, noise_level: float, seed: int) -> tuple[Key, int]:
    for name, value in (("train", train), ("test", test)):
        if checks.integer(name, value, 2) % 2:
            raise ValueError(f"{name}={value} is not allowed: it must be even, half of the points for each class")
    checks.at_least("noise", noise_level)
    return key(seed, 1), (train + test) // 2


def _split(first: Tensor, second: Tensor, train: int) -> Data:
    """Two classes, ``[n, 2]`` points each in float64, as training and test sets."""
    half = train // 2

    def part(rows: slice) -> Split:
        x = torch.cat([first[rows], second[rows]]).float()
        n = first[rows].shape[0]
        return Split(x, torch.cat([torch.zeros(n), torch.ones(n)]))

    return Data(part(slice(None, half)), part(slice(half, None)))


def spirals(
    turns: float = 4,
    train: int = 1000,
    test: int = 1000,
    noise: float = 0.02,
    seed: int = 0,
    radius: float = 2.0,
    power: float = 0.5,
) -> Data:
    r"""Two interleaved spiral arms in the plane.

    .. math:: x_1 = a t^p \cos(2 b t^p \pi) + c N, \qquad x_2 = a t^p \sin(2 b t^p \pi) + c N, \qquad t \sim U(0, 1)

    The second arm is the first with the argument shifted by :math:`\pi`, at the same values of t and with its own
    noise, as in the authors' code.

    ================  ============  ================================
    symbol            argument      meaning
    ================  ============  ================================
    :math:`b`         ``turns``     turns of an arm
    :math:`c`         ``noise``     standard deviation of the noise
    :math:`a`         ``radius``    outer radius
    :math:`p`         ``power``     how t is spread along an arm
    ================  ============  ================================

    ``train`` and ``test`` count points of both classes together; ``y`` is 0 or 1.

    Raises
    ------
    ValueError : a number of points that is odd or below two, a negative noise.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4, Eq. (16).
    """
    key, n = _numbers(train, test, noise, seed)
    r = key.uniform(DATA, n, torch.float64)[0] ** power
    jitter = noise * key.normal(DATA + 1, 4 * n, torch.float64).reshape(4, n)
    angle = 2 * turns * math.pi * r
    arm = radius * torch.stack([r * torch.cos(angle), r * torch.sin(angle)])
    return _split((arm + jitter[:2]).T, (-arm + jitter[2:]).T, train)


def trigonometric(
    length: float = 3,
    frequency: float = 2,
    train: int = 1000,
    test: int = 1000,
    noise: float = 0.02,
    seed: int = 0,
    as_printed: bool = False,
) -> Data:
    r"""A cosine and a sine that cross each other, one class each.

    .. math:: x_1 = a t, \qquad x_2 = \cos(b \pi x_1) + c N, \qquad t \sim U(0, 1)

    and the sine for class 1. The paper prints :math:`\cos(b \pi t)`, in which ``length`` only stretches the picture;
    with that, its problem with a = 10 would be as easy as with a = 1. ``as_printed`` gives the printed version.

    ================  ==============  ================================
    symbol            argument        meaning
    ================  ==============  ================================
    :math:`a`         ``length``      length of the interval
    :math:`b`         ``frequency``   half periods per unit of length
    :math:`c`         ``noise``       standard deviation of the noise
    ================  ==============  ================================

    Raises
    ------
    ValueError : a number of points that is odd or below two, a negative noise.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4, Eq. (17), corrected as described.
    """
    key, n = _numbers(train, test, noise, seed)
    t = key.uniform(DATA, 2 * n, torch.float64).reshape(2, n)
    jitter = noise * key.normal(DATA + 1, 2 * n, torch.float64).reshape(2, n)
    phase = frequency * math.pi * (t if as_printed else length * t)
    cosine = torch.stack([length * t[0], torch.cos(phase[0]) + jitter[0]], 1)
    sine = torch.stack([length * t[1], torch.sin(phase[1]) + jitter[1]], 1)
    return _split(cosine, sine, train)


def noisy_sine(points: int = 101, noise: float = 0.1, replicas: int | None = None, seed: int = 0) -> Any:
    r"""Equally spaced points of a sine with noise in the targets.

    .. math:: y = \sin(2\pi x) + c N, \qquad x \in [-1, 1]

    ================  ============  ================================
    symbol            argument      meaning
    ================  ============  ================================
    :math:`c`         ``noise``     standard deviation of the noise
    ================  ============  ================================

    Returns
    -------
    Split : ``x`` of ``[N, 1]``, ``y`` of ``[N]``; or, with ``replicas``, Splits with noise of its own for each replica.

    Raises
    ------
    ValueError : fewer than two points, a negative noise.

    Source: Babayan, Aliahmadi and van Anders (2024), Eq. (40).
    """
    n = checks.integer("points", points, 2)
    checks.at_least("noise", noise)
    rows = 1 if replicas is None else checks.integer("replicas", replicas, 1)
    x = torch.linspace(-1, 1, n, dtype=torch.float64)
    y = torch.sin(2 * math.pi * x) + noise * key(seed, rows).normal(DATA, n, torch.float64)
    if replicas is None:
        return Split(x[:, None].float(), y[0].float())
    return Splits(x[:, None].float().expand(rows, n, 1), y.float())
