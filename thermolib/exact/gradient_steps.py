r"""Gradient steps with noise on a harmonic potential :math:`U = Kq^2/2`: SGLD, momentum and CoolMomentum."""

from __future__ import annotations

from thermolib.exact.harmonic import check, stable
from thermolib.ground import checks

__all__ = ["cool_momentum_moment", "heavy_ball_moment", "sgld_moment"]


def sgld_moment(*, curvature: float, step_size: float, temperature: float, gradient_noise: float = 0.0) -> float:
    r"""Stationary :math:`\langle q^2\rangle` of SGLD on a harmonic potential.

    .. math:: \langle q^2\rangle = \frac{\tau + h\sigma_G^2/2}{K\,(1 - hK/2)}

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`K`           ``curvature``         loss / position squared
    :math:`h`           ``step_size``         time
    :math:`\tau`        ``temperature``       loss
    :math:`\sigma_G`    ``gradient_noise``    loss / position
    ==================  ====================  ====================================

    Raises
    ------
    ValueError : a step size of :math:`2/K` or more, where SGLD is unstable; values that are not allowed.

    Source: the fixed point of :math:`q \leftarrow (1 - hK)q + h\sigma_G R + \sqrt{2h\tau}R'`, the step of
    :class:`thermolib.SGLD`.
    """
    check(curvature, step_size, 0.0, temperature, gradient_noise)
    stable("step_size", step_size, 2 / curvature)
    return (temperature + step_size * gradient_noise**2 / 2) / (curvature * (1 - step_size * curvature / 2))


def heavy_ball_moment(*, curvature: float, rate: float, momentum: float, gradient_noise: float) -> float:
    r"""Stationary :math:`\langle x^2\rangle` of gradient descent with momentum on a harmonic potential.

    .. math::

        v \leftarrow \rho v - \eta(Kx + \sigma_G R), \quad x \leftarrow x + v \qquad\Rightarrow\qquad
        \langle x^2\rangle = \frac{\eta\sigma_G^2\,(1+\rho)}{K(1-\rho)\,(2(1+\rho) - \eta K)}

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`K`           ``curvature``         loss / position squared
    :math:`\eta`        ``rate``              position squared / loss
    :math:`\rho`        ``momentum``          none, from 0 to below 1
    :math:`\sigma_G`    ``gradient_noise``    loss / position
    ==================  ====================  ====================================

    Raises
    ------
    ValueError : a rate of :math:`2(1+\rho)/K` or more, where the step is unstable; values that are not allowed.

    Source: the fixed point of the covariance of (x, v).
    """
    checks.above("curvature", curvature)
    checks.above("rate", rate)
    checks.at_least("momentum", momentum, below=1.0)
    checks.at_least("gradient_noise", gradient_noise)
    stable("rate", rate, 2 * (1 + momentum) / curvature)
    stiffness = curvature * (1 - momentum) * (2 * (1 + momentum) - rate * curvature)
    return rate * gradient_noise**2 * (1 + momentum) / stiffness


def cool_momentum_moment(*, curvature: float, rate: float, momentum: float, gradient_noise: float) -> float:
    r"""Stationary :math:`\langle x^2\rangle` of CoolMomentum at a constant momentum, on a harmonic potential.

    .. math:: \langle x^2\rangle = \frac{l\,\sigma_G^2\,(1+\rho)}{K(1-\rho)(4 - lK)}, \qquad
              K\langle x^2\rangle = \langle v^2\rangle / l \text{ at every step}

    It is :func:`heavy_ball_moment` at the rate :math:`\eta = l(1+\rho)/2`, a factor that gives equipartition. The
    temperature of Eq. (19) is the limit of small :math:`lK`: at any other the oscillator has :math:`4/(4 - lK)` times
    as much. Arguments are those of :func:`heavy_ball_moment`, with ``rate`` for :math:`l`, in the same units.

    Raises
    ------
    ValueError : a rate of :math:`4/K` or more, where the step is unstable; values that are not allowed.

    Source: Borysenko and Byshkin (2021), section 3, Eqs. (14) to (16) and (19), and the algorithm of section 4.
    """
    checks.above("curvature", curvature)
    stable("rate", rate, 4 / curvature)
    return heavy_ball_moment(
        curvature=curvature, rate=rate * (1 + momentum) / 2, momentum=momentum, gradient_noise=gradient_noise
    )
