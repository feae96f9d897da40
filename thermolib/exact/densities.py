"""Densities on potentials that are not harmonic: of a word on a periodic one, and of a thermostat on any."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from thermolib.exact.harmonic import as_word, check
from thermolib.ground import checks
from thermolib.ground.words import Piece, Word

__all__ = ["Thermostat", "adaptive_langevin", "stationary_density"]


class Thermostat(NamedTuple):
    r"""Stationary mean and variance of :math:`\xi`."""

    mean: float
    variance: float


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
    check(1.0, step_size, friction, temperature, 0.0)
    checks.above("temperature", temperature)
    n, m = points
    dq, dp = period / n, 16 * math.sqrt(temperature) / m
    q, p = dq * np.arange(n), dp * (np.arange(m) - m // 2)
    wave_q, wave_p = 2 * np.pi * np.fft.rfftfreq(n, dq), 2 * np.pi * np.fft.rfftfreq(m, dp)
    all_p = 2 * np.pi * np.fft.fftfreq(m, dp)
    slope = np.fft.irfft(1j * wave_q * np.fft.rfft(potential(q)), n)
    parsed = as_word(word)

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
