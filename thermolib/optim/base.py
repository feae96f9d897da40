"""One factory: any dynamics as an optimizer."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator, renamed
from thermolib.dynamics.partitioned import Partitioned, assign
from thermolib.optim import flat
from thermolib.optim.contract import Contract, Params, resting
from thermolib.optim.flat import Row, wide

__all__ = ["Dynamics", "of"]

Law = Integrator | Callable[..., Integrator]

#: Arguments of dynamics that training fills in.
_HIDDEN = ("sizes", "columns_of")


def _arguments(law: Law) -> dict[str, Any]:
    """What an optimizer of a dynamics takes, with its defaults: the word last, since groups rarely differ in it."""
    if isinstance(law, Partitioned):
        return {"step_size": law.step_size}
    if isinstance(law, Integrator):
        found = {f.name: getattr(law, f.name) for f in dataclasses.fields(law)}
    else:
        found = {name: p.default for name, p in inspect.signature(law).parameters.items()}
    words = {name: found.pop(name) for name in ("word",) if name in found}
    return {name: value for name, value in (found | words).items() if name not in _HIDDEN}


class Dynamics(Contract):
    """An optimizer whose every step is one step of an integrator, for all parameters of a group at once."""

    #: What it is made of: a dynamics, or what makes one from hyperparameters.
    law: ClassVar[Any]
    #: Entries of a group that are not the dynamics' own.
    extra: ClassVar[dict[str, Any]]
    signature: ClassVar[inspect.Signature]

    def __init_subclass__(cls, law: Law | None = None, **defaults: Any) -> None:
        """Name the arguments as ``law`` does; ``defaults`` are other defaults, and more entries of a group."""
        super().__init_subclass__()
        if law is None:
            return
        cls.law = staticmethod(law) if inspect.isfunction(law) else law
        cls.extra = {name: value for name, value in defaults.items() if name not in _arguments(law)}
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        given = {"params": inspect.Parameter.empty} | _arguments(law) | defaults | {"seed": None}
        cls.signature = inspect.Signature([inspect.Parameter(n, kind, default=value) for n, value in given.items()])
        cls.__signature__ = cls.signature  # type: ignore[attr-defined]
        cls.__doc__ = _described(inspect.cleandoc(cls.__doc__ or ""), law, list(_arguments(law)))

    def __init__(self, params: Params, *args: Any, **given: Any) -> None:
        rate = "step_size" if "step_size" in self.signature.parameters else "lr"
        bound = self.signature.bind(params, *args, **renamed(given, rate))
        bound.apply_defaults()
        values = {n: x for n, x in bound.arguments.items() if n != "params" and x is not inspect.Parameter.empty}
        common = {"seed": self.seed(values.pop("seed")), "made": 0}
        common |= {name: values.pop(name) for name in self.extra}
        law: Any = type(self).law
        law = dataclasses.replace(law, **values) if isinstance(law, Integrator) else law(**values)
        self._parts = {"": law}
        groups: list[Any] = list(params)
        if isinstance(law, Partitioned):
            parts = law.parts.items()
            self._parts = {name: _with(part, _entries(part) | {"lr": law.step_size}) for name, part in parts}
            groups = self._in_parts(groups)
        self._forget()
        own = {"lr": law.step_size} if isinstance(law, Partitioned) else _entries(law)
        super().__init__(groups, own | common)

    def _forget(self) -> None:
        """Let states be read anew: they, or the parameters, may be others."""
        self._rows: dict[int, Row] = {}
        self._laws: dict[int, tuple[dict[str, Any], Integrator, Integrator]] = {}

    def _in_parts(self, given: list[Any]) -> list[dict[str, Any]]:
        """The parameters as one group for each part of a partitioned dynamics."""
        parts = list(self._parts)
        if given and all(isinstance(x, tuple) for x in given):
            part_of = assign(tuple(parts), tuple(name for name, _ in given))
            return [{"params": [(name, p) for name, p in given if part_of[name] == part]} for part in parts]
        if len(given) != len(parts) or not all(isinstance(x, dict) for x in given):
            number = "two" if len(parts) == 2 else len(parts)
            raise ValueError(
                f"params has {len(given)} entries: it must be {number} groups, {' and '.join(parts)}, as "
                "thermolib.optim.layers(module) returns two, or module.named_parameters()"
            )
        return given

    def _part(self, number: int) -> Integrator:
        parts = list(self._parts.values())
        if len(parts) > 1 and number >= len(parts):
            raise ValueError(
                f"there are more groups of parameters than {', '.join(self._parts)}: that is all there are"
            )
        return parts[number if len(parts) > 1 else 0]

    def known(self) -> set[str]:
        return set(_entries(self._part(len(self.param_groups)))) | set(self.extra)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        own = _entries(self._part(len(self.param_groups)))
        super().add_param_group(own | self.defaults | renamed(param_group, "lr"))
        self._forget()

    def refuse(self, group: dict[str, Any]) -> None:
        _with(self._part(len(self.param_groups)), group)
        self.seed(group["seed"])

    def begin(self, law: Integrator, q: Tensor, key: Any, group: dict[str, Any]) -> Any:
        """The state that parameters have before their first step."""
        return law.init(q)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, with the gradients that ``backward`` has left; a parameter without a gradient stays as it is.

        At the learning rate 0 nothing moves and nothing is counted.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            self.advance(number, group)
        return loss

    def advance(self, number: int, group: dict[str, Any]) -> None:
        """One step of a group."""
        rest = resting(group["lr"])
        law, columns = self._law(number, group, rest)
        active = self.active(group)
        row = self._rows.get(number)
        if active and (row is None or not row.fits(law, active)):
            row = self._rows[number] = self._row(number, group, law, active)
        if rest:
            return
        if active and row is not None:
            row.step(columns, group["seed"], group["made"])
        group["made"] += 1

    def _law(self, number: int, group: dict[str, Any], rest: bool) -> tuple[Integrator, Integrator]:
        """The dynamics of a group, and the same with its hyperparameters as columns; made anew when one has changed."""
        part = self._part(number)
        values = {name: group[name] for name in _entries(part)}
        if rest:
            values["lr"] = _entries(part)["lr"]
        known = self._laws.get(number)
        if known is None or any(isinstance(x, Tensor) for x in values.values()) or known[0] != values:
            law = _with(part, values)
            known = self._laws[number] = values, law, law
            if group["params"]:
                columns = {name: _column(x, group["params"]) for name, x in law.hyperparameters.items()}
                known = self._laws[number] = values, law, law.with_values(columns)
        return known[1], known[2]

    def _row(self, number: int, group: dict[str, Any], law: Integrator, active: list[Tensor]) -> Row:
        names = dict(zip(map(id, group["params"]), self._names(number), strict=True))
        return Row(
            law,
            active,
            [names[id(p)] for p in active],
            self.state,
            group["params"][0],
            group["seed"],
            lambda law, q, key: self.begin(law, q, key, group),
            sum(p.numel() for group in self.param_groups for p in group["params"]) >= flat.FEW,
            self.parted or any(hasattr(p, "to_local") for p in active),
        )

    def _names(self, number: int) -> list[str]:
        """What the noise of a group's parameters is a function of: their names, or their numbers if they have none."""
        group = self.param_groups[number]
        given, count = group.get("param_names"), len(group["params"])
        if given is None:
            first = sum(len(group["params"]) for group in self.param_groups[:number])
            return [str(first + i) for i in range(count)]
        if len(given) != count:
            raise ValueError(
                f"param_names has {len(given)} entries for {count} parameters: where a wrapper takes some of "
                "them, name them by thermolib.optim.named(module)"
            )
        return given

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_parts": self._parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()


class _Made(Dynamics):
    """What :func:`of` makes; found again by its dynamics, since it is in no module."""

    def __reduce__(self) -> tuple:
        return _empty, (type(self).law,), self.__getstate__()


def of(law: Law) -> type[Dynamics]:
    """The optimizer of a dynamics: any of the library, any of your own, any :class:`thermolib.Partitioned`.

    ``tl.optim.of(tl.Langevin)`` is ``tl.optim.Langevin``. The optimizer takes parameters, or groups of them, the
    hyperparameters of the dynamics by their names, and ``seed``. Of a partitioned dynamics each part has a group of
    parameters: give one for each, in their order, or ``module.named_parameters()``, which are dealt out by name.

    Parameters
    ----------
    law : a class or function that makes a dynamics from hyperparameters, or a dynamics, whose values are then the
        defaults. One that asks for the loss, or for two forces in a step, is refused at its first step.

    Returns
    -------
    type : a subclass of ``torch.optim.Optimizer``.
    """
    name = type(law).__name__ if isinstance(law, Integrator) else law.__name__
    return type(name, (_Made,), {"__doc__": f"{name} as an optimizer."}, law=law)


def _empty(law: Law) -> Dynamics:
    made = of(law)
    return made.__new__(made)


def _entries(law: Integrator) -> dict[str, Any]:
    """What a group of parameters holds of a dynamics: its fields, the step size as ``lr``."""
    found = {f.name: getattr(law, f.name) for f in dataclasses.fields(law) if f.name not in _HIDDEN}
    return {"lr" if name == "step_size" else name: value for name, value in found.items()}


def _with(law: Integrator, group: dict[str, Any]) -> Any:
    """A dynamics with the hyperparameters of a group. Raises ValueError for those that it refuses."""
    rate = "step_size" if hasattr(law, "step_size") else "lr"
    return dataclasses.replace(law, **{rate if n == "lr" else n: group[n] for n in _entries(law)})


def _column(value: Any, parameters: list[Tensor]) -> Tensor:
    """A hyperparameter as ``[1, 1]``, made where the parameters are without waiting for their device."""
    dtype, device = wide(parameters), parameters[0].device
    if isinstance(value, Tensor):
        return value.reshape(1, 1).to(device, dtype, non_blocking=True)
    return torch.full((1, 1), float(value), dtype=dtype, device=device)


def _described(first: str, law: Law, names: list[str]) -> str:
    """The docstring of an optimizer: what it says itself, and of its dynamics the table of symbols and the source."""
    maker = type(law) if isinstance(law, Integrator) else law
    text, home = inspect.getdoc(maker) or "", maker.__module__.partition(".")[0]
    rule = r"^=+ [= ]+\n"
    table = re.search(rf"{rule}(?:.*\n)+?{rule}(?:.*\n)+?{rule}", text + "\n", re.MULTILINE)
    source = re.search(r"^Source: [^\n]*(?:\n[^\n]+)*", text, re.MULTILINE)
    role = "class" if inspect.isclass(maker) else "func"
    link = f":{role}:`{home if home == 'thermolib' else maker.__module__}.{maker.__name__}`"
    parts = [
        first,
        table[0].rstrip() if table else "",
        "Parameters\n----------\n"
        "params : parameters, named parameters, or groups of them, each with hyperparameters of its own if wanted.\n"
        f"{', '.join(names)} : as for {link}; a group has the step size as ``lr``, and either name is taken.\n"
        "seed : of the noise, 0 to 2**32 - 1; if not given, one that no optimizer of the process has had.",
        f"Raises\n------\nValueError : what {link} refuses; an entry of a group that is no hyperparameter; a sparse\n"
        "    gradient.",
        source[0] if source else "",
    ]
    return "\n\n".join(part for part in parts if part)
