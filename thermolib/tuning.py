"""Ten methods under one budget: what is tuned of each, what a step of it costs, and which trial was best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from thermolib import checks
from thermolib.integrators import (
    LOL,
    SGD,
    SGLD,
    Adam,
    AdaptiveMonteCarlo,
    AdLaLa,
    CoolMomentum,
    Langevin,
    Momentum,
    NoseHooverChain,
)
from thermolib.integrators.base import Integrator, Value

__all__ = ["GRADIENT", "METHODS", "Method", "best", "calibration_error", "repeated", "trials"]

#: Evaluations of the loss that a gradient costs: its own pass forward, and a pass backward of twice the work.
GRADIENT = 3

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Method:
    """A method as a comparison sees it.

    Parameters
    ----------
    make : the integrator, from ``steps``, how many the run will have, and hyperparameters by name.
    size : the hyperparameter that is its step size.
    losses : evaluations of the loss alone that a step makes on a fixed potential and on minibatches; none where it
        evaluates one gradient.
    """

    make: Callable[..., Integrator]
    size: str = "step_size"
    losses: tuple[int, int] | None = None

    def steps(self, gradients: int, minibatches: bool) -> int:
        """Steps that a budget of so many gradients pays for, a gradient counting as :data:`GRADIENT` losses.

        Raises ValueError for a budget below one gradient.
        """
        checks.integer("gradients", gradients, 1)
        return gradients if self.losses is None else GRADIENT * gradients // self.losses[minibatches]


def _momentum(steps: int, lr: Value, forgotten: Value) -> Integrator:
    return Momentum(lr, 1 - forgotten)


def _cool_momentum(steps: int, lr: Value, forgotten: Value) -> Integrator:
    return CoolMomentum(lr, 1 - forgotten, steps)


def _langevin(steps: int, **given: Any) -> Integrator:
    return Langevin("BAOAB", **given)


def _plain(make: Callable[..., Integrator]) -> Callable[..., Integrator]:
    return lambda steps, **given: make(**given)


#: The ten, in the order of the papers. ``forgotten`` is one minus the coefficient of momentum.
METHODS = {
    "SGD": Method(_plain(SGD)),
    "momentum": Method(_momentum, size="lr"),
    "Adam": Method(_plain(Adam)),
    "SGLD": Method(_plain(SGLD)),
    "BAOAB": Method(_langevin),
    "LOL": Method(_plain(LOL)),
    "AdLaLa": Method(_plain(AdLaLa)),
    "CoolMomentum": Method(_cool_momentum, size="lr"),
    "aMC": Method(_plain(AdaptiveMonteCarlo), losses=(1, 2)),
    "Nosé-Hoover": Method(_plain(NoseHooverChain)),
}


def trials(ranges: Ranges, number: int, seed: int = 0) -> dict[str, Tensor]:
    """Hyperparameters to try: points of a scrambled Halton sequence, each range filled evenly in its logarithm.

    Parameters
    ----------
    ranges : hyperparameter to its lowest and highest value, both above zero.
    number : of trials.
    seed : of the scrambling.

    Returns
    -------
    hyperparameter to its values, ``[number]`` each.

    Raises
    ------
    ValueError : fewer than one trial, no range, a range that does not rise or is not above zero.
    """
    checks.integer("number", number, 1)
    if not ranges:
        raise ValueError("ranges={} is not allowed: there must be a hyperparameter to try")
    for name, (low, high) in ranges.items():
        if not 0 < low < high < math.inf:
            raise ValueError(f"ranges[{name!r}]=({low:g}, {high:g}) is not allowed: it must rise, and be above zero")
    low, high = np.log(np.array(list(ranges.values()), dtype=np.float64)).T
    points = qmc.Halton(len(ranges), scramble=True, rng=seed).random(number)
    values = torch.from_numpy(np.exp(low + (high - low) * points)).float()
    return dict(zip(ranges, values.unbind(1), strict=True))


def best(found: Mapping[str, Tensor], scores: Any) -> dict[str, float]:
    """The hyperparameters of the trial whose mean score is the highest.

    Parameters
    ----------
    found : of :func:`trials`.
    scores : ``[trials, runs]``; a run that is not finite counts as the lowest score there is.

    Raises
    ------
    ValueError : scores of another number of trials, or none that is finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    number = len(next(iter(found.values())))
    if values.ndim != 2 or len(values) != number:
        raise ValueError(f"scores has the shape {values.shape}: it must be [{number}, runs]")
    means = np.where(np.isfinite(values).all(1), values.mean(1), -np.inf)
    if not np.isfinite(means).any():
        raise ValueError("scores holds no trial that is finite: the ranges are too wide")
    return {name: float(f"{float(column[int(means.argmax())]):.4g}") for name, column in found.items()}


def calibration_error(probability: Tensor, target: Tensor, bins: int = 10) -> Tensor:
    r"""Expected calibration error: the mean distance between how sure a classifier is and how often it is right.

    .. math:: \sum_{b} \frac{n_b}{B}\,\left|\,\overline{\text{right}}_b - \overline{\text{confidence}}_b\,\right|

    Parameters
    ----------
    probability : of each class ``[R, B, K]``, or of class 1 where there are two, ``[R, B]``.
    target : classes ``[B]``.
    bins : of equal width, between the confidence of a guess and one.

    Returns
    -------
    ``[R]``.

    Raises
    ------
    ValueError : probabilities outside [0, 1], fewer than one bin.

    Source: Guo, Pleiss, Sun, Weinberger (2017), Eq. (3).
    """
    checks.integer("bins", bins, 1)
    if bool((probability < 0).any() | (probability > 1).any()):
        raise ValueError("probability is not between 0 and 1: take the sigmoid or softmax of logits first")
    if probability.ndim == 2:
        probability = torch.stack([1 - probability, probability], -1)
    confidence, guess = probability.max(-1)
    right = (guess == target.long()).to(probability.dtype)
    lowest = 1 / probability.shape[-1]
    number = ((confidence - lowest) / (1 - lowest) * bins).long().clamp(0, bins - 1)
    apart = torch.zeros(*confidence.shape[:-1], bins, dtype=probability.dtype, device=probability.device)
    return apart.scatter_add(-1, number, right - confidence).abs().sum(-1) / confidence.shape[-1]


def repeated(
    setting: Mapping[str, float], size: str, factors: Sequence[float], each: Sequence[int]
) -> dict[str, Tensor]:
    """One setting at several step sizes, as one value per replica: ``each[i]`` replicas have ``factors[i]`` times it.

    Parameters
    ----------
    setting : hyperparameter to its value, as :func:`best` returns it.
    size : the hyperparameter that is the step size.
    factors, each : multiples of it, and how many replicas have them.
    """
    factor = torch.tensor(factors, dtype=torch.float32).repeat_interleave(torch.tensor(each))
    return {name: value * (factor if name == size else torch.ones_like(factor)) for name, value in setting.items()}
