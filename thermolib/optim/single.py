"""Optimizers with one dynamics for all parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from thermolib import dynamics
from thermolib.dynamics.base import Integrator
from thermolib.ground import checks, noise
from thermolib.optim.base import Dynamics
from thermolib.optim.contract import Params

__all__ = ["SGLD", "AdaptiveLangevin", "Langevin", "NoseHooverChain", "PreconditionedSGLD"]


class Langevin(Dynamics, law=dynamics.Langevin):
    """Langevin dynamics, :class:`thermolib.Langevin`, as an optimizer; its word must ask for one force a step."""


class SGLD(Dynamics, law=dynamics.SGLD):
    """Stochastic gradient Langevin dynamics, :class:`thermolib.SGLD`, as an optimizer."""


class PreconditionedSGLD(Dynamics, law=dynamics.PreconditionedSGLD):
    """Preconditioned stochastic gradient Langevin dynamics, :class:`thermolib.PreconditionedSGLD`, as an optimizer."""


class AdaptiveLangevin(Dynamics, law=dynamics.AdaptiveLangevin):
    """Adaptive Langevin dynamics, :class:`thermolib.AdaptiveLangevin`, as an optimizer.

    Each group of parameters, or each tensor, has a thermostat of its own. The word must ask for one force a step.
    """


class NoseHooverChain(Dynamics, law=dynamics.NoseHooverChain, temperature=1e-3, velocities="rest"):
    """Nosé-Hoover chains, :class:`thermolib.NoseHooverChain`, as an optimizer: simmering.

    A group has a chain of its own. The entry ``velocities`` is "rest", or "maxwell" for velocities
    drawn from the law at ``temperature``. ``previous`` are the parameters as they were before the last step of another
    optimizer, in the order of ``params``, and ``previous_lr`` its learning rate, ``step_size`` if not given: the
    velocities are then the differences over the rate, Eq. (39).
    """

    def __init__(
        self,
        params: Params,
        *args: Any,
        previous: Iterable[Tensor] | None = None,
        previous_lr: float | None = None,
        **given: Any,
    ) -> None:
        super().__init__(params, *args, **given)
        if previous is None:
            return
        parameters, before = [p for group in self.param_groups for p in group["params"]], list(previous)
        if [p.shape for p in parameters] != [b.shape for b in before]:
            raise ValueError(f"previous has {len(before)} tensors: it must have one like each of the parameters")
        for p, b in zip(parameters, before, strict=True):
            wide = p.detach().double() - b.detach().double().to(p.device)
            kept = p.dtype if p.dtype == torch.float64 else torch.float32
            self.state[p]["p"] = (wide / (previous_lr or self.defaults["lr"])).to(kept)

    def refuse(self, group: dict[str, Any]) -> None:
        super().refuse(group)
        checks.one_of("velocities", group["velocities"], ("rest", "maxwell"))

    def begin(self, law: Integrator, q: Tensor, key: Any, group: dict[str, Any]) -> Any:
        found = law.init(q)
        if group["velocities"] == "rest":
            return found
        return found._replace(p=math.sqrt(group["temperature"]) * key.normal(noise.INIT - 1, q.shape[1], q.dtype))
