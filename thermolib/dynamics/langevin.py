"""Langevin dynamics: any splitting word of A, B and O, and its overdamped limit SGLD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator, Positions, Potential, Splitting, State, Value, nothing, two_names
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["SGLD", "Langevin"]


@two_names
@dataclass(frozen=True)
class Langevin(Splitting):
    r"""Underdamped Langevin dynamics, integrated by a splitting word.

    .. math::

        d\theta = p\,dt, \qquad
        dp = G(\theta)\,dt - \gamma p\,dt + \sqrt{2\gamma\tau}\,dW, \qquad G = -\nabla L

    with the maps

    .. math::

        A_h &: \theta \leftarrow \theta + h p \\
        B_h &: p \leftarrow p + h\,G(\theta) \\
        O_h &: p \leftarrow e^{-\gamma h} p + \sqrt{\tau\,(1 - e^{-2\gamma h})}\;R, \qquad R \sim N(0, 1)

    The stationary density of the dynamics is :math:`\exp[-(L + |p|^2/2)/\tau]`; what a word samples instead at a
    finite step is in :func:`thermolib.exact.stationary_moments`. An infinite friction is allowed and taken exactly.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    :math:`\gamma`      ``friction``       1 / time
    :math:`\tau`        ``temperature``    loss
    ==================  =================  ====================================

    Parameters
    ----------
    word : letters of A, B and O, at least one A and one B. A letter that occurs k times lasts ``step_size / k``.
    step_size, friction, temperature : a number, or a tensor of one value per replica.

    State: ``q`` and ``p``, each ``[R, P]``; momenta start at zero.

    Raises
    ------
    ValueError : a word with an unknown letter or without A or B, a step size that is not above zero, a negative
        friction or temperature.

    Source: Leimkuhler, Matthews, Vlaar (2019), sections 2.1 and 2.2, Eqs. (6) to (9).
    """

    word: str = "BAOAB"
    step_size: Value = 0.1
    friction: Value = 1.0
    temperature: Value = 0.0

    def __post_init__(self) -> None:
        _ = self.parsed
        checks.above("step_size", self.step_size)
        checks.at_least("friction", self.friction, infinite=True)
        checks.at_least("temperature", self.temperature)

    def init(self, q: Tensor) -> State:
        return State(q, torch.zeros_like(q))

    @property
    def silent(self) -> bool:
        return nothing(self.temperature) or nothing(self.friction)

    def map_O(self, state: State, dt: Tensor, draw: Callable[[], Tensor]) -> State:
        kept = torch.exp(-self.friction * dt)
        # expm1 keeps the small difference 1 - exp(-2 gamma h) of a small friction exact
        spread = torch.sqrt(-torch.expm1(-2.0 * self.friction * dt) * self.temperature)
        return state._replace(p=kept * state.p + spread * draw())


@two_names
@dataclass(frozen=True)
class SGLD(Integrator):
    r"""Stochastic gradient Langevin dynamics: the Euler-Maruyama step of overdamped Langevin dynamics.

    .. math:: \theta \leftarrow \theta + h\,G(\theta) + \sqrt{2 h \tau}\;R, \qquad G = -\nabla L

    The paper writes the noise as :math:`\sigma_A \sqrt{h}\,R`: :math:`\tau = \sigma_A^2 / 2`.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    :math:`\tau`        ``temperature``    loss
    ==================  =================  ====================================

    Parameters
    ----------
    step_size, temperature : a number, or a tensor of one value per replica.

    State: ``q``, ``[R, P]``.

    Raises
    ------
    ValueError : a step size that is not above zero, a negative temperature.

    Source: Welling and Teh (2011); Leimkuhler, Matthews, Vlaar (2019), section 1.3, Eq. (4).
    """

    step_size: Value = 0.1
    temperature: Value = 0.0

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        checks.at_least("temperature", self.temperature)

    @property
    def silent(self) -> bool:
        return nothing(self.temperature)

    def step(self, state: Positions, potential: Potential, key: Key) -> Positions:
        self = self.columns(state.q)
        q = state.q
        noise = key.normal(0, q.shape[1], q.dtype)
        spread = torch.sqrt(torch.as_tensor(2.0 * self.step_size * self.temperature))
        return Positions(q + self.step_size * potential.force(q) + spread * noise)
