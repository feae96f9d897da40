"""How good a statement of uncertainty is: intervals and what they cover, log density, calibration."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from thermolib.ground import checks
from thermolib.observe.predictions import Prediction

__all__ = ["calibration_error", "coverage", "interval", "log_density"]


def _law(prediction: Prediction, noise: float) -> Normal:
    """Outputs of one number with the noise of an observation; one that no sample moves has a spread above zero."""
    checks.at_least("noise", noise, 0.0)
    if prediction.mean.shape[-1] != 1:
        raise ValueError(f"prediction has {prediction.mean.shape[-1]} outputs for an input: it must have one")
    mean, spread = prediction.mean[..., 0].double(), prediction.spread[..., 0].double()
    return Normal(mean, (spread.square() + noise**2).sqrt().clamp(min=torch.finfo(torch.float64).tiny))


def interval(prediction: Prediction, level: float = 0.9, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""The central interval in which a new observation lies with a probability, in the normal approximation.

    .. math:: m \pm z \sqrt{s^2 + \sigma^2}, \qquad \Phi(z) - \Phi(-z) = \text{level}

    Parameters
    ----------
    prediction : of one output an input, :math:`m` and :math:`s` its mean and spread; ``pooled()`` for all replicas.
    level : the probability, above 0 and below 1.
    noise : standard deviation :math:`\sigma` of an observation; with 0 the interval is one of the noiseless output.

    Returns
    -------
    Lower and upper ends, ``[R, B, ...]`` each.

    Raises
    ------
    ValueError : several outputs an input, a level of 0 or 1 or beyond, negative noise.

    Source: Gelman, Carlin, Stern, Dunson, Vehtari, Rubin, Bayesian Data Analysis (2013), section 14.3.
    """
    checks.above("level", level)
    checks.at_least("level", level, below=1.0)
    law = _law(prediction, noise)
    tail = torch.tensor((1 - level) / 2, dtype=torch.float64)
    return law.icdf(tail), law.icdf(1 - tail)


def coverage(prediction: Prediction, target: Tensor, level: float = 0.9, noise: float = 0.0) -> Tensor:
    """The share of targets ``[B, ...]`` that lie in their interval, ``[R]``: ``level`` if it is calibrated.

    Parameters and errors are those of :func:`interval`; ``target`` may be one of each replica, ``[R, B, ...]``.
    """
    low, high = interval(prediction, level, noise)
    return ((low <= target) & (target <= high)).double().flatten(1).mean(1)


def log_density(prediction: Prediction, target: Tensor, noise: float = 0.0) -> Tensor:
    r"""The mean log density of targets ``[B, ...]`` in the normal approximation, ``[R]``; higher is better.

    .. math:: \frac1B \sum_b \ln N(y_b;\, m_b,\, s_b^2 + \sigma^2)

    Parameters and errors are those of :func:`interval`; ``target`` may be one of each replica, ``[R, B, ...]``.

    Source: Gneiting and Raftery (2007), section 4.1.
    """
    return _law(prediction, noise).log_prob(target.double()).flatten(1).mean(1)


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
