"""What the optimizers have in common: wide copies of narrow parameters, and a step of an integrator for each group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator
from thermolib.dynamics.partitioned import OneForce
from thermolib.ground import noise

__all__ = ["Dynamics", "Wide"]

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class Wide(torch.optim.Optimizer):
    """An optimizer that steps parameters of a narrow type in single precision, and keeps that copy."""

    def _master(self, parameter: Tensor) -> Tensor:
        """The parameter in at least single precision: a narrow type would round small steps away."""
        if parameter.dtype in (torch.float32, torch.float64):
            return parameter
        kept = self.state[parameter].get("master")
        if kept is None or not torch.equal(kept.to(parameter.dtype), parameter):  # changed from outside
            return parameter.float()
        return kept

    def _store(self, parameter: Tensor, name: str, value: Tensor) -> None:
        if name != "q":
            self.state[parameter][name] = value.clone()
            return
        parameter.copy_(value)
        if parameter.dtype not in (torch.float32, torch.float64):
            self.state[parameter]["master"] = value.clone()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in PyTorch, but the state keeps its precision where the parameters are of a narrow type."""
        super().load_state_dict(state_dict)
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                self.state[parameter][name] = value.to(parameter.device).clone()


class Dynamics(Wide):
    """An optimizer whose every step is one step of an integrator, group by group."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        super().__init__(params, self._renamed(defaults) | {"steps": 0})
        for number, group in enumerate(self.param_groups):
            self._integrator(group, number)  # refuses hyperparameters that are not allowed before any step

    @staticmethod
    def _renamed(group: dict[str, Any]) -> dict[str, Any]:
        return {"lr" if name == "step_size" else name: value for name, value in group.items()}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(self._renamed(param_group))

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        """The dynamics of a group at its present hyperparameters."""
        raise TypeError(f"{type(self).__name__} has no dynamics of its own")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, with the gradients that ``backward`` has left; a parameter without a gradient stays as it is."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = 0
        for number, group in enumerate(self.param_groups):
            integrator = self._integrator(group, number)
            numbered = [(first + i, p) for i, p in enumerate(group["params"])]
            first += len(numbered)
            active = [(i, p) for i, p in numbered if p.grad is not None]
            together = getattr(integrator, "thermostats", "tensor") == "group"
            for block in [active] if together else [[pair] for pair in active]:
                if block:
                    self._step_block(integrator, block, group, numbered[0][1])
            group["steps"] += 1
        return loss

    def _initial(self, integrator: Integrator, q: Tensor, group: dict[str, Any], number: int) -> Any:
        """The state that parameters have before their first step."""
        return integrator.init(q)

    def _step_block(
        self, integrator: Integrator, block: list[tuple[int, Tensor]], group: dict[str, Any], keeper: Tensor
    ) -> None:
        """Step some parameters as one row of positions. A thermostat that they share is kept with ``keeper``."""
        parameters = [p for _, p in block]
        sizes = [p.numel() for p in parameters]
        q = torch.cat([self._master(p).reshape(1, -1) for p in parameters], 1)
        force = torch.cat([-p.grad.to(q.dtype).reshape(1, -1) for p in parameters if p.grad is not None], 1)
        if getattr(integrator, "thermostats", "group") == "tensor":
            integrator = integrator.bind({"": sum(sizes)})
        state = self._initial(integrator, q, group, block[0][0])
        for name, fresh in state._asdict().items():
            if name == "q":
                continue
            if fresh.shape == q.shape:
                first = fresh.split(sizes, 1)
                rows = [self.state[p].get(name, x).reshape(1, -1) for p, x in zip(parameters, first, strict=True)]
                state = state._replace(**{name: torch.cat(rows, 1)})
            else:
                owner = keeper if len(block) > 1 else parameters[0]
                state = state._replace(**{name: self.state[owner].get(name, fresh)})
        key = noise.key(group["seed"], torch.tensor([block[0][0]]), group["steps"], q.device)
        state = integrator.step(state, OneForce(type(integrator).__name__, q, force), key)
        for name, value in state._asdict().items():
            if value.shape == q.shape:
                for p, part in zip(parameters, value.split(sizes, 1), strict=True):
                    self._store(p, name, part.reshape(p.shape))
            else:
                self.state[keeper if len(block) > 1 else parameters[0]][name] = value
