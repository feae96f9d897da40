"""Hamiltonian Monte Carlo: the reference for what others sample, on networks that are small enough for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from thermolib.dynamics.base import Potential, two_names
from thermolib.dynamics.monte_carlo import Metropolis, MetropolisState, accepted, bounded, is_fixed
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["HMC"]


@two_names
@dataclass(frozen=True)
class HMC(Metropolis):
    r"""Hamiltonian Monte Carlo with a Metropolis test.

    .. math::

        p \sim N(0, \tau), \qquad (q', p') = \left(B_{h/2}\,A_h\,B_{h/2}\right)^n (q, p) \\
        \text{accept } q' \text{ if } H(q', p') \le H(q, p) - \tau\ln\xi, \quad \xi \sim U(0, 1],
        \qquad H = U + \tfrac12|p|^2

    It samples :math:`\exp[-U/\tau]` without any error of the step size where U is the same at every step, on a full
    batch. The step size decides how many moves are accepted: about 65 % are best in many dimensions. On minibatches the
    test is one of the minibatch's own loss, and what is sampled is not the density of the whole. A loss that is not
    finite is a rejection.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    :math:`\tau`        ``temperature``    loss
    :math:`n`           ``leaps``          none
    ==================  =================  ====================================

    Parameters
    ----------
    step_size, temperature : a number, or a tensor of one value per replica.
    leaps : leapfrog steps of a move; it costs one gradient more, and one loss (two on minibatches).

    State: as of :class:`Metropolis`; :math:`q` at the last move, its loss, and how many moves were accepted.

    Raises
    ------
    ValueError : a step size that is not above zero, a negative temperature, fewer than one leap.

    Source: Duane, Kennedy, Pendleton, Roweth (1987); Neal (2011), section 5.3.
    """

    structure: ClassVar[tuple[str, ...]] = ("leaps",)

    leaps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("leaps", self.leaps, 1)

    def step(self, state: MetropolisState, potential: Potential, key: Key) -> MetropolisState:
        self = self.columns(state.q)
        old = state.loss if is_fixed(potential) else bounded(potential.loss(state.q))
        p = torch.sqrt(self.temperature) * key.normal(0, state.q.shape[1], state.q.dtype)
        before, q, force = old + p.square().sum(1) / 2, state.q, potential.force(state.q)
        for _ in range(self.leaps):
            p = p + self.step_size / 2 * force
            q = q + self.step_size * p
            force = potential.force(q)
            p = p + self.step_size / 2 * force
        loss = bounded(potential.loss(q))
        accept = accepted(before, loss + p.square().sum(1) / 2, self.temperature, key)
        return MetropolisState(
            torch.where(accept[:, None], q, state.q), torch.where(accept, loss, old), state.accepted + accept
        )
