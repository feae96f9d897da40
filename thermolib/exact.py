r"""Answers in closed form, or computed without sampling, that the integrators must meet. Everything is float64.

On a harmonic potential :math:`U = Kq^2/2` every map of a splitting word is linear, so a word is
:math:`z \to Mz + \text{noise}` with :math:`z = (q, p)`: its mean after n steps is :math:`M^n z_0`, its stationary
covariance solves :math:`\Sigma = M\Sigma M^T + Q`, and its autocorrelation is :math:`M^n\Sigma`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from scipy.special import erfcx
from scipy.stats import ncx2

from thermolib import checks
from thermolib.words import Piece, Word

__all__ = [
    "Moments",
    "Move",
    "Thermostat",
    "adaptive_langevin",
    "cool_momentum_moment",
    "effective_temperature",
    "heavy_ball_moment",
    "metropolis",
    "metropolis_acceptance",
    "oba_temperature",
    "propagator",
    "sgld_moment",
    "stability_limit",
    "stationary_density",
    "stationary_moments",
]


class Moments(NamedTuple):
    r"""Stationary :math:`\langle q^2\rangle`, :math:`\langle qp\rangle` and :math:`\langle p^2\rangle`."""

    qq: float
    qp: float
    pp: float


class Thermostat(NamedTuple):
    r"""Stationary mean and variance of :math:`\xi`."""

    mean: float
    variance: float


class Move(NamedTuple):
    """Share of the proposals that are accepted, and the mean move along the gradient (rejections count as zero)."""

    acceptance: float
    drift: float


def _word(word: str | Word) -> Word:
    return Word(str(word))  # also refuses the letters of other dynamics


def _checked(curvature: float, step_size: float, friction: float, temperature: float, gradient_noise: float) -> None:
    checks.above("curvature", curvature)
    checks.above("step_size", step_size)
    checks.at_least("friction", friction, infinite=True)
    checks.at_least("temperature", temperature)
    checks.at_least("gradient_noise", gradient_noise)


def _linear(
    pieces: Sequence[Piece], curvature: float, h: float, friction: float, temperature: float, gradient_noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """M and Q of some pieces of a word. The first kick, and each kick behind a drift, asks for a new force."""
    whole, sources, fresh = np.eye(2), np.zeros((2, 0)), True
    for piece in pieces:
        dt, move = h * piece.fraction, np.eye(2)
        if piece.letter == "A":
            move[0, 1], fresh = dt, True
        elif piece.letter == "B":
            move[1, 0] = -dt * curvature
            if fresh:  # the noise of this force: a source that has not acted yet
                sources, force, fresh = np.column_stack([sources, np.zeros(2)]), sources.shape[1], False
        else:
            move[1, 1] = math.exp(-friction * dt)
        whole, sources = move @ whole, move @ sources
        if piece.letter == "B":
            sources[1, force] += dt * gradient_noise
        elif piece.letter == "O":
            spread = math.sqrt(-math.expm1(-2 * friction * dt) * temperature)
            sources = np.column_stack([sources, [0.0, spread]])
    return whole, sources @ sources.T


def propagator(
    word: str | Word,
    *,
    curvature: float,
    step_size: float,
    friction: float,
    temperature: float,
    gradient_noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""The linear map that a whole word is on a harmonic potential, as a matrix M and a noise covariance Q.

    .. math::

        z \leftarrow M z + N(0, Q), \qquad U = \tfrac12 K q^2, \qquad
        A = \begin{pmatrix}1 & h\\ 0 & 1\end{pmatrix},\;
        B = \begin{pmatrix}1 & 0\\ -hK & 1\end{pmatrix},\;
        O = \begin{pmatrix}1 & 0\\ 0 & e^{-\gamma h}\end{pmatrix}

    with h/k for a letter that occurs k times. O adds :math:`\tau(1 - e^{-2\gamma h})` to the variance of p; a force
    evaluation has the error :math:`\sigma_G R`, which all kicks between two drifts share. The kicks of two successive
    words share one as well, which is no part of M and Q but is of :func:`stationary_moments`.

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`K`           ``curvature``         loss / position squared
    :math:`h`           ``step_size``         time
    :math:`\gamma`      ``friction``          1 / time
    :math:`\tau`        ``temperature``       loss
    :math:`\sigma_G`    ``gradient_noise``    loss / position
    ==================  ====================  ====================================

    Parameters
    ----------
    word : letters of A, B and O, or a :class:`thermolib.Word`.
    curvature, step_size, friction, temperature, gradient_noise : numbers; the friction may be infinite.

    Returns
    -------
    M, Q : arrays of shape ``(2, 2)``, in the order (q, p).

    Raises
    ------
    ValueError : a word with an unknown letter or without A or B, a curvature or step size that is not above zero, a
        negative friction, temperature or noise.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.2, Eq. (9), on a harmonic potential.
    """
    _checked(curvature, step_size, friction, temperature, gradient_noise)
    return _linear(_word(word).pieces, curvature, step_size, friction, temperature, gradient_noise)


def stationary_moments(
    word: str | Word,
    *,
    curvature: float,
    step_size: float,
    friction: float,
    temperature: float,
    gradient_noise: float = 0.0,
) -> Moments:
    r"""What a word samples on a harmonic potential: the second moments after a full word, in the stationary state.

    .. math:: \Sigma = M \Sigma M^T + Q

    is solved for the word turned to begin with a force evaluation, and the word is then brought to its end. BAOAB
    gives :math:`\langle q^2\rangle = \tau/K` at every step size; what other words give depends on it.

    Arguments, their symbols and units are those of :func:`propagator`.

    Returns
    -------
    Moments : ``qq``, ``qp`` and ``pp``.

    Raises
    ------
    ValueError : as :func:`propagator`, and where the word is unstable or, without friction, has no stationary state.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.2, Eq. (9), on a harmonic potential.
    """
    _checked(curvature, step_size, friction, temperature, gradient_noise)
    parsed, values = _word(word), (curvature, step_size, friction, temperature, gradient_noise)
    whole, noise = _linear(parsed.tail + parsed.head, *values)
    # Jury's criterion: exact where eigenvalues that nearly coincide are not
    trace, determinant = float(np.trace(whole)), math.exp(-friction * step_size) if "O" in parsed.letters else 1.0
    if not (determinant < 1 and abs(trace) < 1 + determinant):
        radius = float(np.abs(np.linalg.eigvals(whole)).max())
        raise ValueError(
            f"word={parsed} has no stationary state at curvature={curvature:g}, step_size={step_size:g}, "
            f"friction={friction:g}: a step multiplies a deviation by {radius:.6g}, which must be below 1"
        )
    before = np.linalg.solve(np.eye(4) - np.kron(whole, whole), noise.reshape(4)).reshape(2, 2)
    whole, noise = _linear(parsed.tail, *values)
    after = whole @ before @ whole.T + noise
    return Moments(float(after[0, 0]), float(after[0, 1]), float(after[1, 1]))


def stability_limit(word: str | Word, *, friction: float, step_size: float) -> float:
    r"""The value of :math:`Kh^2` from which on a word is unstable on a harmonic potential of curvature K.

    .. math:: |\operatorname{tr} M| < 1 + \det M, \qquad \det M = e^{-\gamma h}

    With :math:`c = e^{-\gamma h}` it is 4 for BAOAB and OBABO, :math:`2(1+c)` for OBA, :math:`2(1+c)/c` for ABO and
    :math:`2(1+c)/\sqrt c` for AOBOA. The friction enters by :math:`\gamma h` alone, which stays fixed here.

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`\gamma`      ``friction``          1 / time
    :math:`h`           ``step_size``         time
    ==================  ====================  ====================================

    Parameters
    ----------
    word : letters of A, B and O, or a :class:`thermolib.Word`.
    friction, step_size : numbers; the friction may be infinite.

    Returns
    -------
    float : no unit; infinite where every curvature is stable.

    Raises
    ------
    ValueError : a word with an unknown letter or without A or B, a negative friction, a step size not above zero.

    Source: the criterion of Jury for two-by-two matrices.
    """
    _checked(1.0, step_size, friction, 0.0, 0.0)
    zero, one, x = Polynomial([0.0]), Polynomial([1.0]), Polynomial([0.0, 1.0])  # x = K h^2, times in units of h
    whole = np.array([[one, zero], [zero, one]])
    for piece in _word(word).pieces:
        if piece.letter == "A":
            move = [[one, piece.fraction * one], [zero, one]]
        elif piece.letter == "B":
            move = [[one, zero], [-piece.fraction * x, one]]
        else:
            move = [[one, zero], [zero, math.exp(-friction * step_size * piece.fraction) * one]]
        whole = np.array(move) @ whole
    trace = whole[0, 0] + whole[1, 1]
    edge = trace(0.0)  # 1 + det M: without a force, the eigenvalues are 1 and det M
    # the trace starts at its upper edge, so one root there is zero curvature itself
    roots = np.concatenate([((trace - edge) // x).roots(), (trace + edge).roots()])
    real = roots.real[(np.abs(roots.imag) < 1e-6 * np.abs(roots)) & (roots.real > 0)]
    return float(real.min(initial=math.inf))


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
    _checked(curvature, step_size, 0.0, temperature, gradient_noise)
    _stable("step_size", step_size, 2 / curvature)
    return (temperature + step_size * gradient_noise**2 / 2) / (curvature * (1 - step_size * curvature / 2))


def oba_temperature(*, step_size: float, friction: float, temperature: float, curvature: float = 0.0) -> float:
    r"""The configurational temperature :math:`K\langle q^2\rangle` at which OBA samples a harmonic potential.

    .. math:: \tau_\text{conf} = \tau\,\frac{(1 + c)/2}{1 - Kh^2/(2(1 + c))}, \qquad c = e^{-\gamma h}

    It is half the temperature asked for where the friction is infinite and :math:`Kh^2` small: the limit in which OBA
    is a gradient step of the rate :math:`h^2` with noise. Arguments and units are those of :func:`propagator`;
    ``curvature=0`` gives the limit of a small one.

    Raises
    ------
    ValueError : a curvature of :math:`2(1+c)/h^2` or more, where OBA is unstable; values that are not allowed.

    Source: :func:`stationary_moments` in closed form; Leimkuhler, Matthews, Vlaar (2019), section 2.4, algorithm 1.
    """
    checks.at_least("curvature", curvature)
    _checked(1.0, step_size, friction, temperature, 0.0)
    c = math.exp(-friction * step_size)
    if curvature:
        _stable("curvature", curvature, 2 * (1 + c) / step_size**2)
    return temperature * (1 + c) / 2 / (1 - curvature * step_size**2 / (2 * (1 + c)))


def effective_temperature(*, step_size: float, friction: float, temperature: float, gradient_noise: float) -> float:
    r"""The temperature at which Langevin dynamics samples where the gradient is noisy, to first order in the step.

    .. math:: \tau_\text{eff} = \tau + \frac{h\sigma_G^2}{2\gamma}

    Arguments and units are those of :func:`propagator`. :func:`stationary_moments` has the whole answer for a word.

    Raises
    ------
    ValueError : no friction; values that are not allowed.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.2, below Eq. (11).
    """
    _checked(1.0, step_size, friction, temperature, gradient_noise)
    checks.above("friction", friction)
    return temperature + step_size * gradient_noise**2 / (2 * friction)


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
    _stable("rate", rate, 2 * (1 + momentum) / curvature)
    stiffness = curvature * (1 - momentum) * (2 * (1 + momentum) - rate * curvature)
    return rate * gradient_noise**2 * (1 + momentum) / stiffness


def cool_momentum_moment(*, curvature: float, rate: float, momentum: float, gradient_noise: float) -> float:
    r"""Stationary :math:`\langle x^2\rangle` of CoolMomentum at a constant momentum, on a harmonic potential.

    .. math:: \langle x^2\rangle = \frac{l\,\sigma_G^2\,(1+\rho)}{K(1-\rho)(4 - lK)}, \qquad
              K\langle x^2\rangle = \langle v^2\rangle / l \text{ at every step}

    It is :func:`heavy_ball_moment` at the rate :math:`\eta = l(1+\rho)/2`, a factor that gives equipartition. Arguments
    are those of :func:`heavy_ball_moment`, with ``rate`` for :math:`l`, in the same units.

    Raises
    ------
    ValueError : a rate of :math:`4/K` or more, where the step is unstable; values that are not allowed.

    Source: Borysenko and Byshkin (2021), section 3, Eqs. (14) to (16), and the algorithm of section 4.
    """
    checks.above("curvature", curvature)
    _stable("rate", rate, 4 / curvature)
    return heavy_ball_moment(
        curvature=curvature, rate=rate * (1 + momentum) / 2, momentum=momentum, gradient_noise=gradient_noise
    )


def adaptive_langevin(
    *,
    temperature: float,
    noise: float,
    coupling: float,
    step_size: float = 0.0,
    gradient_noise: float = 0.0,
    convention: str = "sde",
) -> Thermostat:
    r"""Where the thermostat of Adaptive Langevin dynamics settles: its stationary law is normal.

    .. math::

        \gamma_\text{eff} = \frac{\sigma_A^2 + h\sigma_G^2}{2\tau}, \qquad
        \xi \sim N(\gamma_\text{eff}/\epsilon,\; \tau) \text{ if the friction is } \epsilon\xi, \qquad
        \xi \sim N(\gamma_\text{eff},\; \epsilon\tau) \text{ if it is } \xi

    The law holds for any potential and any number of parameters; it is the differential equation's, to which a word
    comes close at a small step.

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`\tau`        ``temperature``       loss
    :math:`\sigma_A`    ``noise``             momentum / sqrt(time)
    :math:`\epsilon`    ``coupling``          convention "sde": 1 / momentum
    :math:`h`           ``step_size``         time
    :math:`\sigma_G`    ``gradient_noise``    loss / position
    ==================  ====================  ====================================

    ``convention`` is "sde" for the friction :math:`\epsilon\xi`, "code" for :math:`\xi`.

    Returns
    -------
    Thermostat : ``mean`` and ``variance``.

    Raises
    ------
    ValueError : a temperature or coupling that is not above zero, an unknown convention, a negative noise.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.5, Eqs. (12) to (14).
    """
    checks.above("temperature", temperature)
    checks.above("coupling", coupling)
    for name, value in (("noise", noise), ("step_size", step_size), ("gradient_noise", gradient_noise)):
        checks.at_least(name, value)
    checks.one_of("convention", convention, ("sde", "code"))
    friction = (noise**2 + step_size * gradient_noise**2) / (2 * temperature)
    if convention == "sde":
        return Thermostat(friction / coupling, temperature)
    return Thermostat(friction, coupling * temperature)


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
    return float(ncx2.cdf(ratio, checks.integer("dimension", dimension, 1), ratio))


def stationary_density(
    word: str | Word,
    potential: Callable[[np.ndarray], np.ndarray],
    *,
    step_size: float,
    friction: float,
    temperature: float,
    period: float = 2 * math.pi,
    points: tuple[int, int] = (64, 64),
    steps: int = 10_000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""The density that a word samples on a periodic potential, by pushing a density through it until it rests.

    .. math::

        A_h &: \rho(q, p) \leftarrow \rho(q - hp,\, p) \\
        B_h &: \rho(q, p) \leftarrow \rho(q,\, p + hU'(q)) \\
        O_h &: \hat\rho(q, \kappa) \leftarrow e^{-\tau(1 - c^2)\kappa^2/2}\, \hat\rho(q, c\kappa), \qquad
               c = e^{-\gamma h}

    A and B are shifts, exact in Fourier space, and O is exact in the Fourier transform over p. There is no noise in
    the answer, so that the order of accuracy of a word can be read off its averages.

    ==================  ====================  ====================================
    symbol              argument              unit
    ==================  ====================  ====================================
    :math:`U`           ``potential``         loss, of positions
    :math:`h`           ``step_size``         time
    :math:`\gamma`      ``friction``          1 / time
    :math:`\tau`        ``temperature``       loss
    ==================  ====================  ====================================

    Parameters
    ----------
    word : letters of A, B and O, or a :class:`thermolib.Word`.
    potential : a smooth function of an array of positions, with the given period; it is differentiated on the grid.
    step_size, friction, temperature : numbers; the friction may be infinite.
    period : of the potential.
    points : of the grid in q and in p. Momenta reach to 8 standard deviations.
    steps : at most so many; the density rests when a step changes it by less than 1e-13 of its mass.

    Returns
    -------
    q, p, density : arrays of shape ``(n,)``, ``(m,)`` and ``(n, m)`` after a full word; the density's sum times the
        area of a cell is 1.

    Raises
    ------
    ValueError : as :func:`propagator`; a density that does not come to rest in the given number of steps.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.2, Eq. (9), as maps of densities.
    """
    _checked(1.0, step_size, friction, temperature, 0.0)
    checks.above("temperature", temperature)
    n, m = points
    dq, dp = period / n, 16 * math.sqrt(temperature) / m
    q, p = dq * np.arange(n), dp * (np.arange(m) - m // 2)
    wave_q, wave_p = 2 * np.pi * np.fft.rfftfreq(n, dq), 2 * np.pi * np.fft.rfftfreq(m, dp)
    all_p = 2 * np.pi * np.fft.fftfreq(m, dp)
    slope = np.fft.irfft(1j * wave_q * np.fft.rfft(potential(q)), n)
    parsed = _word(word)

    def of(piece: Piece) -> tuple[str, np.ndarray]:
        dt = step_size * piece.fraction
        if piece.letter == "A":
            return "A", np.exp(-1j * dt * np.outer(wave_q, p))
        if piece.letter == "B":
            return "B", np.exp(1j * dt * np.outer(slope, wave_p))
        c = math.exp(-friction * dt)
        damping = np.exp(temperature * math.expm1(-2 * friction * dt) * all_p**2 / 2)
        kernel = np.exp(1j * np.outer(p, all_p)) @ (damping[:, None] * np.exp(-1j * c * np.outer(all_p, p))) / m
        return "O", kernel.real.T

    maps = [of(piece) for piece in parsed.pieces]
    density = np.exp(-(potential(q)[:, None] + p**2 / 2) / temperature)
    density /= density.sum() * dq * dp
    for _ in range(steps):
        before = density
        for letter, factor in maps:
            if letter == "A":
                density = np.fft.irfft(factor * np.fft.rfft(density, axis=0), n, axis=0)
            elif letter == "B":
                density = np.fft.irfft(factor * np.fft.rfft(density, axis=1), m, axis=1)
            else:
                density = density @ factor
        if np.abs(density - before).sum() * dq * dp < 1e-13:
            return q, p, density
    raise ValueError(
        f"steps={steps} are too few for word={parsed} at step_size={step_size:g}, friction={friction:g}: a step still "
        f"changes the density by {np.abs(density - before).sum() * dq * dp:.1g} of its mass"
    )


def _stable(name: str, value: float, limit: float) -> None:
    if value >= limit:
        raise ValueError(f"{name}={value:g} is unstable: it must be below {limit:g}")
