"""Stochastic gradient Langevin dynamics with a step of its own for each parameter, as RMSprop has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator, Potential, Value, nothing, two_names
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["PreconditionedSGLD", "PreconditionedState"]


class PreconditionedState(NamedTuple):
    """Positions and the mean square of the gradient, each ``[R, P]``."""

    q: Tensor
    v: Tensor


@two_names
@dataclass(frozen=True)
class PreconditionedSGLD(Integrator):
    r"""Stochastic gradient Langevin dynamics, preconditioned as RMSprop is.

    .. math::

        v &\leftarrow \alpha v + (1-\alpha) G^2, \qquad M = \frac{1}{\sqrt v + \epsilon}, \qquad G = -\nabla L \\
        \theta &\leftarrow \theta + h M\,G + \sqrt{2 h \tau M}\;R

    At a fixed M it samples what SGLD with the step size hM samples in each direction; as :math:`\alpha \to 1`, the
    density :math:`\exp[-L/\tau]` for small steps. The drift :math:`h \tau\,\nabla\cdot M` that a varying M asks for is
    left out, as its authors do, which is an error of the order :math:`1-\alpha`. Without temperature it is RMSprop.

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`h`             ``step_size``      position
    :math:`\tau`          ``temperature``    loss
    :math:`\alpha`        ``alpha``          none
    :math:`\epsilon`      ``epsilon``        gradient
    ====================  =================  ====================================

    Parameters
    ----------
    step_size, temperature, alpha, epsilon : a number, or a tensor of one value per replica.

    State: ``q`` and ``v``, each ``[R, P]``; v starts at zero.

    Raises
    ------
    ValueError : a step size or epsilon that is not above zero, a negative temperature, an alpha outside [0, 1).

    Source: Li, Chen, Carlson, Carin (2016), algorithm 1.
    """

    step_size: Value = 1e-3
    temperature: Value = 0.0
    alpha: Value = 0.99
    epsilon: Value = 1e-5

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        checks.at_least("temperature", self.temperature)
        checks.at_least("alpha", self.alpha, below=1.0)
        checks.above("epsilon", self.epsilon)

    @property
    def silent(self) -> bool:
        return nothing(self.temperature)

    def init(self, q: Tensor) -> PreconditionedState:
        return PreconditionedState(q, torch.zeros_like(q))

    def step(self, state: PreconditionedState, potential: Potential, key: Key) -> PreconditionedState:
        self = self.columns(state.q)
        force = potential.force(state.q)
        v = self.alpha * state.v + (1 - self.alpha) * force.square()
        step = self.step_size / (v.sqrt() + self.epsilon)
        drawn = key.normal(0, state.q.shape[1], state.q.dtype)
        return PreconditionedState(state.q + step * force + torch.sqrt(2 * self.temperature * step) * drawn, v)
