"""Momentum as Langevin dynamics at the temperature of its gradient noise, and its annealing: CoolMomentum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator, Potential, State, Value, two_names
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["COOLING", "CoolMomentum", "Momentum", "cooled"]

COOLING = ("paper", "exponential", "linear")


def cooled(rho0: Tensor, share: Tensor, cooling: str) -> Tensor:
    r"""The momentum coefficient when a share :math:`x = n/S` of the schedule is done; zero from its end on.

    .. math::

        \text{paper} &: \rho = 1 - (1-\rho_0)^{1-x} \\
        \text{exponential} &: \frac{1+\rho}{1-\rho} = \left(\frac{1+\rho_0}{1-\rho_0}\right)^{1-x} \\
        \text{linear} &: \frac{1+\rho}{1-\rho} = 1 + \frac{2\rho_0}{1-\rho_0}\,(1-x)

    The temperature at a given gradient noise is proportional to :math:`(1+\rho)/(1-\rho)`, so the last two let it fall
    exponentially and linearly in time. The first is Eq. (20) with Eq. (21),
    :math:`\alpha^n = (1-\rho_0)^{n/S}`.
    """
    left = (1 - share).clamp(min=0.0)
    if cooling == "paper":
        return -torch.expm1(left * torch.log1p(-rho0))
    if cooling == "linear":
        ratio = 1 + 2 * rho0 / (1 - rho0) * left
    else:
        ratio = torch.exp(left * (torch.log1p(rho0) - torch.log1p(-rho0)))
    return (ratio - 1) / (ratio + 1)


@two_names
@dataclass(frozen=True)
class Momentum(Integrator):
    r"""Stochastic gradient descent with momentum.

    .. math:: \Delta \leftarrow \rho\,\Delta + \eta\,\hat f, \qquad x \leftarrow x + \Delta

    Finite differences of Langevin dynamics with :math:`\rho = (1-\gamma\Delta t/2)/(1+\gamma\Delta t/2)` and
    :math:`\eta = (1+\rho)\Delta t^2/2`, whose random force is the noise of the gradient.

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`\eta`          ``lr``             time squared
    :math:`\rho`          ``rho``            none
    ====================  =================  ====================================

    Parameters
    ----------
    lr, rho : a number, or a tensor of one value per replica.

    State: ``q`` and the last displacement :math:`\Delta` as ``p``, each ``[R, P]``; it starts at zero.

    Raises
    ------
    ValueError : a learning rate that is not above zero, a rho outside [0, 1).

    Source: Borysenko and Byshkin (2021), section 3, Eqs. (14) to (16).
    """

    lr: Value = 0.01
    rho: Value = 0.9

    def __post_init__(self) -> None:
        checks.above("lr", self.lr)
        checks.at_least("rho", self.rho, below=1.0)

    def init(self, q: Tensor) -> State:
        return State(q, torch.zeros_like(q))

    def step(self, state: State, potential: Potential, key: Key) -> State:
        self = self.columns(state.q)
        p = self.rho * state.p + self.lr * potential.force(state.q)
        return State(state.q + p, p)


@two_names
@dataclass(frozen=True)
class CoolMomentum(Integrator):
    r"""Momentum whose coefficient falls from :math:`\rho_0` to zero: simulated annealing of Langevin dynamics.

    .. math::

        \rho_n &= \max\left(0,\; 1 - (1-\rho_0)/\alpha^n\right), \qquad \alpha = (1-\rho_0)^{1/S} \\
        \Delta &\leftarrow \rho_n\,\Delta + \tfrac{1+\rho_n}{2}\,\mathrm{lr}\,\hat f, \qquad x \leftarrow x + \Delta

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`\mathrm{lr}`   ``lr``             time squared, :math:`\Delta t^2`
    :math:`\rho_0`        ``rho0``           none
    :math:`S`             ``steps``          steps
    ====================  =================  ====================================

    Parameters
    ----------
    lr, rho0, steps : a number, or a tensor of one value per replica.
    warmup : steps at the beginning with :math:`\rho = 0`; the schedule runs on meanwhile.
    cooling : "paper", or "exponential" or "linear" in temperature, as in :func:`cooled`.

    The schedule counts the steps of the run; after ``steps`` of them :math:`\rho` stays zero.

    State: ``q`` and the last displacement :math:`\Delta` as ``p``, each ``[R, P]``; it starts at zero.

    Raises
    ------
    ValueError : a learning rate or number of steps that is not above zero, a rho0 outside [0, 1), a negative warm-up,
        an unknown cooling.

    Source: Borysenko and Byshkin (2021), section 4, Eqs. (20) and (21), Table 1.
    """

    structure: ClassVar[tuple[str, ...]] = ("cooling",)

    lr: Value = 0.01
    rho0: Value = 0.99
    steps: Value = math.nan
    warmup: Value = 0
    cooling: str = "paper"

    def __post_init__(self) -> None:
        checks.above("lr", self.lr)
        checks.at_least("rho0", self.rho0, below=1.0)
        if isinstance(self.steps, float) and math.isnan(self.steps):
            raise ValueError("steps is missing: the cooling needs to know how many steps the run will have")
        checks.above("steps", self.steps)
        checks.at_least("warmup", self.warmup)
        checks.one_of("cooling", self.cooling, COOLING)

    def init(self, q: Tensor) -> State:
        return State(q, torch.zeros_like(q))

    def step(self, state: State, potential: Potential, key: Key) -> State:
        self = self.columns(state.q)
        now = key.step.to(state.q.dtype)
        rho = torch.where(now < self.warmup, 0.0, cooled(torch.as_tensor(self.rho0), now / self.steps, self.cooling))
        p = rho * state.p + (1 + rho) / 2 * self.lr * potential.force(state.q)
        return State(state.q + p, p)
