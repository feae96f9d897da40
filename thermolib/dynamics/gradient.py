"""The optimizers that the papers compare with, for many replicas at once: SGD and Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator, Positions, Potential, Value, two_names
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["SGD", "Adam", "AdamState"]


def _clipped(vector: Tensor, clip: float | None) -> Tensor:
    """The vector of each replica, shortened to the length ``clip`` where it is longer."""
    return vector if clip is None else vector * (clip / vector.norm(dim=1, keepdim=True)).clamp(max=1)


@two_names
@dataclass(frozen=True)
class SGD(Integrator):
    r"""Stochastic gradient descent, :math:`\theta \leftarrow \theta + h\,G(\theta)`.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    ==================  =================  ====================================

    Parameters
    ----------
    step_size : a number, or a tensor of one value per replica.
    clip : the length that a longer gradient is shortened to; None for no clipping.

    State: ``q``, ``[R, P]``.

    Raises
    ------
    ValueError : a step size or a clip that is not above zero.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 1.2; clipping: Pascanu, Mikolov, Bengio (2013).
    """

    structure: ClassVar[tuple[str, ...]] = ("clip",)

    step_size: Value = 0.1
    clip: float | None = None

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        if self.clip is not None:
            checks.above("clip", self.clip)

    def step(self, state: Positions, potential: Potential, key: Key) -> Positions:
        self = self.columns(state.q)
        return Positions(state.q + self.step_size * _clipped(potential.force(state.q), self.clip))


class AdamState(NamedTuple):
    """Positions, first and second moment of the gradient (each ``[R, P]``) and the number of steps made ``[R, 1]``."""

    q: Tensor
    m: Tensor
    v: Tensor
    steps: Tensor


@two_names
@dataclass(frozen=True)
class Adam(Integrator):
    r"""Adam.

    .. math::

        m &\leftarrow \beta_1 m + (1-\beta_1) g, \qquad v \leftarrow \beta_2 v + (1-\beta_2) g^2, \qquad g = \nabla L \\
        \theta &\leftarrow \theta - h\,\frac{m/(1-\beta_1^n)}{\sqrt{v/(1-\beta_2^n)} + \epsilon}

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`h`             ``step_size``      position
    :math:`\beta_1`       ``beta1``          none
    :math:`\beta_2`       ``beta2``          none
    :math:`\epsilon`      ``epsilon``        gradient
    ====================  =================  ====================================

    Parameters
    ----------
    step_size, beta1, beta2, epsilon : a number, or a tensor of one value per replica.
    clip : the length that a longer gradient is shortened to; None for no clipping.

    State: ``q``, ``m``, ``v`` of ``[R, P]`` and ``steps`` of ``[R, 1]``.

    Raises
    ------
    ValueError : a step size or a clip that is not above zero, a beta outside [0, 1), a negative epsilon.

    Source: Kingma and Ba (2015), algorithm 1, with the defaults that all four papers use.
    """

    structure: ClassVar[tuple[str, ...]] = ("clip",)

    step_size: Value = 0.001
    beta1: Value = 0.9
    beta2: Value = 0.999
    epsilon: Value = 1e-8
    clip: float | None = None

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        checks.at_least("beta1", self.beta1, below=1.0)
        checks.at_least("beta2", self.beta2, below=1.0)
        checks.at_least("epsilon", self.epsilon)
        if self.clip is not None:
            checks.above("clip", self.clip)

    def init(self, q: Tensor) -> AdamState:
        return AdamState(q, torch.zeros_like(q), torch.zeros_like(q), torch.zeros_like(q[:, :1]))

    def step(self, state: AdamState, potential: Potential, key: Key) -> AdamState:
        self = self.columns(state.q)
        gradient = -_clipped(potential.force(state.q), self.clip)
        steps = state.steps + 1
        m = self.beta1 * state.m + (1 - self.beta1) * gradient
        v = self.beta2 * state.v + (1 - self.beta2) * gradient * gradient
        scale = torch.sqrt(v / (1 - self.beta2**steps)) + self.epsilon
        return AdamState(state.q - self.step_size * (m / (1 - self.beta1**steps)) / scale, m, v, steps)
