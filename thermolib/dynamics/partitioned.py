"""Partitioned integrators: each group of parameters has its own dynamics, all share one force."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from thermolib.dynamics.base import Integrator, Potential, Value, two_names
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["OneForce", "Partitioned", "PartitionedState", "assign"]

Slices = tuple[slice, ...]
Pair = Value | tuple[Value, Value]

#: Random draws that one group may make in a step: the next group's begin behind them.
_DRAWS = 64


class PartitionedState(NamedTuple):
    """Positions and momenta of all parameters, ``[R, P]``, and what else each group's dynamics carries.

    ``parts[group]`` holds the rest of a group's state by name, for example ``state.parts["hidden"]["xi"]``. Where a
    group's dynamics has no momenta, ``p`` is zero.
    """

    q: Tensor
    p: Tensor
    parts: dict[str, dict[str, Tensor]]


@two_names
@dataclass(frozen=True)
class Partitioned(Integrator):
    r"""Several dynamics side by side, one for each group of parameters.

    .. math:: \theta = (\theta^{(1)}, \dots, \theta^{(d)}), \qquad
              (\theta^{(i)}, p^{(i)}) \leftarrow \Phi^{(i)}_h(\theta^{(i)}, p^{(i)};\, G^{(i)}(\theta))

    Every group begins its step with the force at the current positions, which is evaluated once for all of them; each
    may have its own word, temperature and friction. The step size is common to all.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    :math:`\Phi^{(i)}`  ``parts``          see each dynamics
    ==================  =================  ====================================

    Parameters
    ----------
    parts : group to dynamics. A group is a parameter's name, the name of a layer that holds it, or a pattern with
        ``*``; the first that matches takes the parameter. If the groups are just ``hidden`` and ``output`` and the
        module has no such layers, ``output`` is its last layer, tied weights of it too, and ``hidden`` the rest.
    step_size : a number, or a tensor of one value per replica; it replaces the step sizes of the parts.
    columns_of : group to slices of the P parameters. Training fills it in from the names; needed on a bare potential.

    State: a :class:`PartitionedState`, ``q`` and ``p``, each ``[R, P]``, and ``parts``.

    Raises
    ------
    ValueError : no parts, a part that is no dynamics or is itself partitioned, a step size that is not above zero; a
        parameter that no group takes or a group that takes none; ``columns_of`` without one of the groups, or that
        does not cover each parameter once; a dynamics that asks for the loss or for a second force in a step.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.
    """

    structure: ClassVar[tuple[str, ...]] = ("parts", "columns_of")

    parts: Mapping[str, Integrator]
    step_size: Value = 0.1
    columns_of: Mapping[str, Slices] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        if not self.parts:
            raise ValueError("parts={} is not allowed: there must be at least one group")
        for name, part in self.parts.items():
            if isinstance(part, Partitioned) or not isinstance(part, Integrator):
                raise ValueError(f"parts[{name!r}] is a {type(part).__name__}: it must be a dynamics of its own")

    def bind(self, sizes: Mapping[str, int]) -> Partitioned:
        group_of = assign(tuple(self.parts), tuple(sizes), getattr(sizes, "output", ()))
        columns: dict[str, list[slice]] = {group: [] for group in self.parts}
        start = 0
        for name, size in sizes.items():
            mine = columns[group_of[name]]
            if mine and mine[-1].stop == start:
                mine[-1] = slice(mine[-1].start, start + size)
            else:
                mine.append(slice(start, start + size))
            start += size
        parts = {
            group: part.bind({name: size for name, size in sizes.items() if group_of[name] == group})
            for group, part in self.parts.items()
        }
        return dataclasses.replace(self, parts=parts, columns_of={g: tuple(s) for g, s in columns.items()})

    @property
    def hyperparameters(self) -> dict[str, Value]:
        values: dict[str, Value] = {"step_size": self.step_size}
        for group, part in self.parts.items():
            values |= {f"{group}.{n}": v for n, v in part.hyperparameters.items() if n != "step_size"}
        return values

    def with_values(self, values: dict[str, Any]) -> Partitioned:
        parts = {}
        for group, part in self.parts.items():
            own = {n.removeprefix(f"{group}."): v for n, v in values.items() if n.startswith(f"{group}.")}
            parts[group] = part.with_values(own | {"step_size": values["step_size"]})
        return super().with_values({"step_size": values["step_size"], "parts": parts})

    def init(self, q: Tensor) -> PartitionedState:
        self._check(q)
        states = {g: part.init(_take(q, self.columns_of[g])) for g, part in self.parts.items()}
        return self._join(states)

    def enter(self, state: PartitionedState, potential: Potential, key: Key) -> PartitionedState:
        return self._each("enter", state, potential, key)

    def step(self, state: PartitionedState, potential: Potential, key: Key) -> PartitionedState:
        return self._each("step", state, potential, key)

    def leave(self, state: PartitionedState, potential: Potential, key: Key) -> PartitionedState:
        return self._each("leave", state, potential, key)

    def _each(self, what: str, state: PartitionedState, potential: Potential, key: Key) -> PartitionedState:
        self = self.columns(state.q)
        shared = functools.cache(lambda: potential.force(state.q))
        states = {}
        for number, (group, part) in enumerate(self.parts.items()):
            slices = self.columns_of[group]
            q = _take(state.q, slices)
            own = part.init(q)._replace(**state.parts[group])
            if "p" in own._fields:
                own = own._replace(p=_take(state.p, slices))
            force = OneForce(f"parts[{group!r}]", own.q, functools.partial(_share, shared, slices))
            states[group] = getattr(part, what)(own, force, key.at(offset=number * _DRAWS))
        return self._join(states)

    def _join(self, states: dict[str, Any]) -> PartitionedState:
        """The groups' states as one, their positions and momenta back in the order of the parameters."""
        q = _put({g: s.q for g, s in states.items()}, self.columns_of)
        p = _put({g: getattr(s, "p", torch.zeros_like(s.q)) for g, s in states.items()}, self.columns_of)
        rest = {g: {n: t for n, t in s._asdict().items() if n not in ("q", "p")} for g, s in states.items()}
        return PartitionedState(q, p, rest)

    def _check(self, q: Tensor) -> None:
        if set(self.columns_of) != set(self.parts):
            raise ValueError(
                f"columns_of={sorted(self.columns_of)} does not say which parameters the groups {sorted(self.parts)} "
                "have: on a bare potential it must name the slices of each"
            )
        places = sorted(i for slices in self.columns_of.values() for s in slices for i in range(s.start, s.stop))
        if places != list(range(q.shape[1])):
            raise ValueError(f"columns_of does not cover each of the {q.shape[1]} parameters once")


class OneForce:
    """The force at one point, on all parameters or on a group's share of them: all that a step may ask for.

    It takes the place of a potential where the gradient has been evaluated already, or is shared.

    Parameters
    ----------
    who : the argument or method that asks, for the message of a refusal.
    at : positions ``[R, P]`` that the force belongs to.
    force : ``[R, P]``, or a function that returns it, called whenever it is asked for.

    Raises
    ------
    ValueError : a force that is asked for at other positions, or the loss.
    """

    def __init__(self, who: str, at: Tensor, force: Tensor | Callable[[], Tensor]) -> None:
        self._who, self._at, self._force, self._asked = who, at, force, False

    def force(self, q: Tensor) -> Tensor:
        first, self._asked = not self._asked, True
        # a copy: numbers can be compared in a step that runs; in one that is recorded, a second question is too many
        if q is not self._at and not (first if get_proxy_mode() is not None else torch.equal(q, self._at)):
            raise ValueError(
                f"{self._who} asks for a second force in one step, and there is only one: its word may have no A "
                "between two B's, read cyclically"
            )
        return self._force if isinstance(self._force, Tensor) else self._force()

    def loss(self, q: Tensor) -> Tensor:
        raise ValueError(f"{self._who} asks for the loss, and there is only a force")


def assign(groups: tuple[str, ...], names: tuple[str, ...], output: Collection[str] = ()) -> dict[str, str]:
    """Which group takes which parameter; ``output`` are those of the last layer, where that is known."""

    def takes(group: str, name: str) -> bool:
        return name == group or name.startswith(f"{group}.") or ("*" in group and fnmatchcase(name, group))

    if set(groups) == {"hidden", "output"} and not any(takes(group, name) for group in groups for name in names):
        last = names[-1].rpartition(".")[0]
        output = output or [name for name in names if name.rpartition(".")[0] == last]
        return {name: "output" if name in output else "hidden" for name in names}
    found = {name: next((g for g in groups if takes(g, name)), None) for name in names}
    left = [name for name, group in found.items() if group is None]
    if left:
        raise ValueError(f"parts has the groups {', '.join(groups)}: none of them takes the parameter {left[0]!r}")
    empty = [group for group in groups if group not in found.values()]
    if empty:
        raise ValueError(f"parts[{empty[0]!r}] takes no parameter: the module has {', '.join(names)}")
    return {name: str(group) for name, group in found.items()}


def _share(force: Callable[[], Tensor], slices: Slices) -> Tensor:
    return _take(force(), slices)


def _take(whole: Tensor, slices: Slices) -> Tensor:
    if len(slices) == 1:
        return whole[:, slices[0]]
    return torch.cat([whole[:, s] for s in slices], 1)


def _put(groups: dict[str, Tensor], where: Mapping[str, Slices]) -> Tensor:
    pieces = []
    for group, tensor in groups.items():
        sizes = [s.stop - s.start for s in where[group]]
        pieces += list(zip((s.start for s in where[group]), tensor.split(sizes, 1), strict=True))
    return torch.cat([piece for _, piece in sorted(pieces, key=lambda pair: pair[0])], 1)


def pair(name: str, value: Pair) -> tuple[Value, Value]:
    """Values for hidden and output, where one may stand for both."""
    if not isinstance(value, tuple):
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name} has {len(value)} values: it must be a pair (hidden, output), or one value for both")
    return value
