"""What PyTorch's users may rely on in every optimizer: ``lr``, entries of groups that are known, full precision."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from thermolib.dynamics.base import renamed
from thermolib.ground import noise

__all__ = ["Contract", "Params", "named", "resting"]

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

#: Seeds that nobody gave: above those that people give, one after the other.
_seeds = itertools.count(1 << 31)


def named(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module, each marked with its name, which its noise is then a function of.

    Where a wrapper such as ``ZeroRedundancyOptimizer`` hands each process a part of the parameters, the noise of each
    stays its own and the same as in one process. Otherwise ``module.named_parameters()`` tells an optimizer the names.
    """
    for name, parameter in module.named_parameters():
        parameter._noise_name = name  # type: ignore[attr-defined]
    return list(module.parameters())


class Contract(torch.optim.Optimizer):
    """What PyTorch's users may rely on: ``lr``, entries of groups that are known, states in full precision."""

    #: Whether this process steps some of the parameters, and others the rest.
    parted = False
    #: Entries of a group that are no hyperparameters.
    entries: ClassVar[tuple[str, ...]] = ("params", "param_names", "lr", "initial_lr", "seed", "made")

    @staticmethod
    def seed(given: int | None) -> int:
        """The seed that was given, or one that no other optimizer has: the first of each process have the same."""
        return next(_seeds) if given is None else int(noise.key(given, 1).seed)

    def known(self) -> set[str]:
        """What a group may have beside :attr:`entries`."""
        return set(self.defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in PyTorch; a name that is no hyperparameter, and a name that two parameters have, are refused."""
        group = renamed(param_group, "lr")
        known = self.known()
        for name in group:
            if name not in known and name not in self.entries:
                raise ValueError(
                    f"a group of parameters has the entry {name!r}, which is unknown: allowed are "
                    f"params, lr, {', '.join(sorted(known - set(self.entries)))}"
                )
        if scheduled := [name for name, value in (self.defaults | group).items() if callable(value)]:
            raise ValueError(
                f"{scheduled[0]} is a schedule, which the state of an optimizer cannot hold: let one of "
                "torch.optim.lr_scheduler change lr, and set other entries of the group between steps"
            )
        group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        marks = [getattr(p, "_noise_name", "") for p in group["params"]]
        self.parted = any(frame.f_code.co_name == "_init_local_optimizer" for frame, _ in traceback.walk_stack(None))
        if marks and all(marks):
            group["param_names"] = marks
        elif marks and self.parted:
            raise ValueError(
                "ZeroRedundancyOptimizer hands on no names, which noise is a function of: let it have "
                "thermolib.optim.named(module)"
            )
        self.refuse(self.defaults | group)
        super().add_param_group(group)
        names = [name for group in self.param_groups for name in group.get("param_names", ())]
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise ValueError(f"two parameters have the name {twice!r}: noise is a function of the name")

    def refuse(self, group: dict[str, Any]) -> None:
        """Raise ValueError for hyperparameters that are not allowed, before any step."""

    def active(self, group: dict[str, Any]) -> list[Tensor]:
        """The parameters of a group that have a gradient; the others stay as they are."""
        found = [p for p in group["params"] if p.grad is not None]
        if any(p.grad.layout is not torch.strided for p in found):
            raise ValueError("a parameter has a sparse gradient, which has no place in a dynamics: use sparse=False")
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in PyTorch, but the state keeps its precision where the parameters are of a narrow type."""
        super().load_state_dict(state_dict)
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                self.state[parameter][name] = value.to(parameter.device).clone()


def resting(lr: Any) -> bool:
    """Whether a learning rate is zero, and its step none; on a GPU it is not looked at, which would wait for it."""
    return (not isinstance(lr, Tensor) or lr.device.type == "cpu") and bool(lr == 0)
