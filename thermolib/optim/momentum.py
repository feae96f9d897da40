"""CoolMomentum as an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from thermolib import dynamics
from thermolib.dynamics.momentum import cooled
from thermolib.optim.base import Params, Wide

__all__ = ["CoolMomentum"]


class CoolMomentum(Wide):
    r"""CoolMomentum, :class:`thermolib.CoolMomentum`, as an optimizer.

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

    The arithmetic is done on all tensors of a group at once, as ``torch.optim.SGD`` does. The number of steps made is
    part of the ``state_dict``, so that a run resumes in the middle of its schedule; after ``steps`` of them
    :math:`\rho` stays zero. Its temperature is read by :class:`thermolib.observe.Thermometer`.

    Parameters
    ----------
    params : parameters, or groups of them, each with hyperparameters of its own if wanted.
    lr, rho0, steps, warmup, cooling : as for :class:`thermolib.CoolMomentum`.

    Raises
    ------
    ValueError : as :class:`thermolib.CoolMomentum`; no number of steps.

    Source: Borysenko and Byshkin (2021), section 4, Table 1.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        rho0: float = 0.99,
        steps: float = math.nan,
        warmup: int = 0,
        cooling: str = "paper",
    ) -> None:
        given = {"lr": lr, "rho0": rho0, "steps": steps, "warmup": warmup, "cooling": cooling}
        super().__init__(params, given | {"made": 0})
        for group in self.param_groups:
            dynamics.CoolMomentum(**{name: group[name] for name in given})  # refuses what is not allowed

    def momentum(self, group: dict[str, Any]) -> float:
        """The momentum coefficient of a group's next step."""
        if group["made"] < group["warmup"]:
            return 0.0
        rho0, share = (torch.tensor(x, dtype=torch.float64) for x in (group["rho0"], group["made"] / group["steps"]))
        return float(cooled(rho0, share, group["cooling"]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, with the gradients that ``backward`` has left; a parameter without a gradient stays as it is."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rho = self.momentum(group)
            group["made"] += 1
            parameters, wide, moves, gradients = [], [], [], []
            for p in group["params"]:
                if p.grad is None:
                    continue
                q, state = self._master(p), self.state[p]
                if "displacement" not in state:
                    state["displacement"] = torch.zeros_like(q)
                parameters.append(p)
                wide.append(q)
                moves.append(state["displacement"])
                gradients.append(p.grad if p is q else p.grad.to(q.dtype))
            if not parameters:
                continue
            torch._foreach_mul_(moves, rho)
            torch._foreach_add_(moves, gradients, alpha=-group["lr"] * (1 + rho) / 2)
            torch._foreach_add_(wide, moves)
            for p, q in zip(parameters, wide, strict=True):
                if p is not q:
                    self._store(p, "q", q)
        return loss
