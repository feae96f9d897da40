"""CoolMomentum as an optimizer."""

from __future__ import annotations

from typing import Any

import torch

from thermolib import dynamics
from thermolib.dynamics.momentum import cooled
from thermolib.optim.base import Dynamics
from thermolib.optim.contract import resting
from thermolib.optim.flat import WIDE, local, widened

__all__ = ["CoolMomentum"]


class CoolMomentum(Dynamics, law=dynamics.CoolMomentum):
    """CoolMomentum, :class:`thermolib.CoolMomentum`, as an optimizer. It draws no noise.

    The arithmetic is done on all tensors of a group at once, as ``torch.optim.SGD`` does, and in its order: at a
    constant coefficient it is SGD with momentum to the bit. The number of steps made is part of the ``state_dict``, so
    that a run resumes in the middle of its schedule; after ``steps`` of them the coefficient stays zero. Its
    temperature is read by :class:`thermolib.observe.Thermometer`.
    """

    def momentum(self, group: dict[str, Any]) -> float:
        """The momentum coefficient of a group's next step."""
        if group["made"] < group["warmup"]:
            return 0.0
        rho0, share = (torch.tensor(x, dtype=torch.float64) for x in (group["rho0"], group["made"] / group["steps"]))
        return float(cooled(rho0, share, group["cooling"]))

    def advance(self, number: int, group: dict[str, Any]) -> None:
        held, wide, moves, gradients = [], [], [], []
        for p in self.active(group):
            parameter, state = local(p.detach()), self.state[p]
            q = parameter
            if parameter.dtype not in WIDE:
                q = state["master"] = widened(parameter, state.get("master", parameter.float()))
            state.setdefault("displacement", torch.zeros_like(q))
            held.append(parameter)
            wide.append(q)
            moves.append(state["displacement"])
            gradients.append(local(p.grad).to(q.dtype))  # type: ignore[arg-type]
        if resting(group["lr"]):
            return
        rho = self.momentum(group)
        group["made"] += 1
        if not held:
            return
        torch._foreach_mul_(moves, rho)
        torch._foreach_add_(moves, gradients, alpha=-group["lr"] * (1 + rho) / 2)
        torch._foreach_add_(wide, moves)
        for parameter, q in zip(held, wide, strict=True):
            if parameter is not q:
                parameter.copy_(q)
