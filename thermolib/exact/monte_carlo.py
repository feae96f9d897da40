"""What a Monte Carlo step does on a linear loss and on a harmonic one."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.special import chndtr, erfcx

from thermolib.ground import checks

__all__ = ["Move", "metropolis", "metropolis_acceptance"]


class Move(NamedTuple):
    """Share of the proposals that are accepted, and the mean move along the gradient (rejections count as zero)."""

    acceptance: float
    drift: float


def metropolis(*, scale: float, gradient: float, temperature: float = 0.0) -> Move:
    r"""What a Metropolis step does on a linear loss, with moves :math:`\sigma N(0, I)`.

    .. math::

        a = \sigma|g|/\tau, \qquad
        \text{acceptance} = \tfrac12 + e^{a^2/2}\,\Phi(-a), \qquad
        \text{drift} = -\sigma a\,e^{a^2/2}\,\Phi(-a)

    and :math:`\tfrac12` and :math:`-\sigma/\sqrt{2\pi}` at temperature zero, whatever the size of the gradient. The
    drift is the mean move along the gradient, rejected moves counted as zero; across it the mean is zero.

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`\sigma`      ``scale``             position
    :math:`|g|`         ``gradient``          loss / position
    :math:`\tau`        ``temperature``       loss
    ==================  ====================  ====================================

    Returns
    -------
    Move : ``acceptance`` and ``drift``, the latter with the unit of a position.

    Raises
    ------
    ValueError : a scale or gradient that is not above zero, a negative temperature.

    Source: Whitelam et al. (2022), Eq. (2), for the temperature zero; at a finite one, the same integral with the
    Metropolis weight.
    """
    checks.above("scale", scale)
    checks.above("gradient", gradient)
    checks.at_least("temperature", temperature)
    if temperature == 0:
        return Move(0.5, -scale / math.sqrt(2 * math.pi))
    a = scale * gradient / temperature
    uphill = float(erfcx(a / math.sqrt(2))) / 2  # exp(a^2 / 2) Phi(-a) without overflow
    return Move(0.5 + uphill, -scale * a * uphill)


def metropolis_acceptance(*, scale: float, radius: float, dimension: int) -> float:
    r"""The acceptance at temperature zero of moves :math:`\sigma N(0, I)` on :math:`U = |x|^2/2`, at :math:`|x| = r`.

    .. math:: P(|x + \sigma R|^2 < r^2) = F_{\chi'^2}(r^2/\sigma^2;\; d,\; r^2/\sigma^2)

    with the distribution function of the noncentral chi-square law.

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`\sigma`      ``scale``             position
    :math:`r`           ``radius``            position
    :math:`d`           ``dimension``         none
    ==================  ====================  ====================================

    Raises
    ------
    ValueError : a scale or radius that is not above zero, a dimension below 1.

    Source: the definition of the law, applied to :math:`|x + \sigma R|^2/\sigma^2`.
    """
    checks.above("scale", scale)
    checks.above("radius", radius)
    ratio = (radius / scale) ** 2
    return float(chndtr(ratio, checks.integer("dimension", dimension, 1), ratio))
