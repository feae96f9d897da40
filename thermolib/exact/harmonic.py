r"""Words on a harmonic potential :math:`U = Kq^2/2`, where every map is linear.

A word is :math:`z \to Mz + \text{noise}` with :math:`z = (q, p)`: its mean after n steps is :math:`M^n z_0`, its
stationary covariance solves :math:`\Sigma = M\Sigma M^T + Q`, and its autocorrelation is :math:`M^n\Sigma`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial

from thermolib.ground import checks
from thermolib.ground.words import Piece, Word

__all__ = [
    "Moments",
    "effective_temperature",
    "oba_temperature",
    "propagator",
    "stability_limit",
    "stationary_moments",
]


class Moments(NamedTuple):
    r"""Stationary :math:`\langle q^2\rangle`, :math:`\langle qp\rangle` and :math:`\langle p^2\rangle`."""

    qq: float
    qp: float
    pp: float


def as_word(word: str | Word) -> Word:
    return Word(str(word))  # also refuses the letters of other dynamics


def check(curvature: float, step_size: float, friction: float, temperature: float, gradient_noise: float) -> None:
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
    check(curvature, step_size, friction, temperature, gradient_noise)
    return _linear(as_word(word).pieces, curvature, step_size, friction, temperature, gradient_noise)


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
    check(curvature, step_size, friction, temperature, gradient_noise)
    parsed, values = as_word(word), (curvature, step_size, friction, temperature, gradient_noise)
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
    check(1.0, step_size, friction, 0.0, 0.0)
    zero, one, x = Polynomial([0.0]), Polynomial([1.0]), Polynomial([0.0, 1.0])  # x = K h^2, times in units of h
    whole = np.array([[one, zero], [zero, one]])
    for piece in as_word(word).pieces:
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
    check(1.0, step_size, friction, temperature, 0.0)
    c = math.exp(-friction * step_size)
    if curvature:
        stable("curvature", curvature, 2 * (1 + c) / step_size**2)
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
    check(1.0, step_size, friction, temperature, gradient_noise)
    checks.above("friction", friction)
    return temperature + step_size * gradient_noise**2 / (2 * friction)


def stable(name: str, value: float, limit: float) -> None:
    if value >= limit:
        raise ValueError(f"{name}={value:g} is unstable: it must be below {limit:g}")
