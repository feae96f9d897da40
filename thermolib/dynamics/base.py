"""What every integrator has in common: hyperparameters, one per replica if wanted, and the run of a word."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from thermolib.ground import checks
from thermolib.ground.noise import Key
from thermolib.ground.words import Piece, Word

__all__ = [
    "Integrator",
    "Positions",
    "Potential",
    "Splitting",
    "State",
    "Thermostatted",
    "nothing",
    "renamed",
    "two_names",
]

#: A hyperparameter: a number, a tensor of one value per replica, or a schedule, a function of the step, counted from 0,
#: that returns one of these.
Value = Any


class Potential(Protocol):
    """The loss of the current minibatch, for every replica.

    An attribute ``fixed`` that is true says that the loss is the same function at every step. A method
    ``loss_and_signals(q)`` returns the loss ``[R]`` and the signals ``[R, T]`` of the same pass
    (:mod:`thermolib.nets.signals`).
    """

    def loss(self, q: Tensor) -> Tensor:
        """``[R, P]`` to ``[R]``."""

    def force(self, q: Tensor) -> Tensor:
        """Minus the gradient: ``[R, P]`` to ``[R, P]``."""


class Positions(NamedTuple):
    """The state of a method without momenta: positions ``[R, P]``."""

    q: Tensor


class State(NamedTuple):
    """Positions and momenta, each ``[R, P]``."""

    q: Tensor
    p: Tensor


@dataclasses.dataclass(frozen=True)
class Integrator:
    """A dynamics: hyperparameters, a state that they act on, and one step.

    Every hyperparameter is a number, or a tensor of one value per replica; or in a run a schedule, a function of the
    step that returns one of these. It is asked where the force is taken: the n-th step, counted from 0, goes from there
    to where the next force is taken.
    """

    #: Fields that are not hyperparameters: they decide which operations run, not with which numbers.
    structure: ClassVar[tuple[str, ...]] = ()

    def bind(self, sizes: Mapping[str, int]) -> Any:
        """This dynamics for a module with the parameters of these names and sizes, in their order."""
        return self

    @property
    def silent(self) -> bool:
        """Whether a step at these hyperparameters needs no random numbers, as at temperature 0; an optimizer then
        draws none."""
        return False

    def init(self, q: Tensor) -> Any:
        """The state that a run starts from at the positions ``q`` of shape ``[R, P]``."""
        return Positions(q)

    def step(self, state: Any, potential: Potential, key: Key) -> Any:
        """One step, beginning with the force at the current positions."""
        raise TypeError(f"{type(self).__name__} has no step of its own")

    def begin(self, state: Any, potential: Potential) -> Any:
        """The state before the first step of a call, which may go on with other data than the call before it."""
        return state

    def enter(self, state: Any, potential: Potential, key: Key) -> Any:
        """The first step of a run. A splitting begins its first word here, and ``step`` ends it."""
        return self.step(state, potential, key)

    def leave(self, state: Any, potential: Potential, key: Key) -> Any:
        """The state to be looked at. A splitting ends its word here."""
        return state

    @property
    def hyperparameters(self) -> dict[str, Value]:
        """Name to value, without the fields that are structure."""
        names = [f.name for f in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in self.structure}

    def scheduled(self, step: int) -> dict[str, Value]:
        """What the schedules among the hyperparameters say at a step. ValueError for a negative number, or for none."""
        found = {name: value(step) for name, value in self.hyperparameters.items() if callable(value)}
        for name, value in found.items():
            if not (isinstance(value, float) and 0 <= value < torch.inf):
                checks.at_least(f"{name} at step {step}", value)
        return found

    def with_values(self, values: dict[str, Any]) -> Any:
        """A copy with other values, unchecked: for values that are already columns ``[R, 1]``."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(values)
        return copy

    def columns(self, q: Tensor) -> Any:
        """A copy whose hyperparameters are columns ``[R, 1]`` or ``[1, 1]``, of the type and on the device of q.

        Raises ValueError where the number of values is neither 1 nor the number of replicas.
        """
        values = {}
        for name, value in self.hyperparameters.items():
            if isinstance(value, Tensor) and value.ndim == 2 and value.dtype == q.dtype and value.device == q.device:
                values[name] = value
                continue
            if callable(value):
                raise ValueError(f"{name} is a schedule, which only a run can ask: a step alone needs a number")
            tensor = torch.as_tensor(value, dtype=q.dtype, device=q.device).reshape(-1, 1)
            checks.length(name, tensor, q.shape[0])
            values[name] = tensor
        return self.with_values(values)


Made = TypeVar("Made", bound=Callable)


def two_names(made: Made) -> Made:
    """Let what makes a dynamics, a class or a function, take its step size as ``step_size`` and as ``lr``."""
    call: Any = vars(made)["__init__"] if isinstance(made, type) else made
    own = "lr" if "lr" in inspect.signature(call).parameters else "step_size"

    @functools.wraps(call)
    def named(*args: Any, **given: Any) -> Any:
        return call(*args, **renamed(given, own))

    if not isinstance(made, type):
        return named  # type: ignore[return-value]
    made.__init__ = named  # type: ignore[misc]
    return made


def renamed(given: dict[str, Any], own: str) -> dict[str, Any]:
    """With the step size under one name. Raises ValueError where it has two."""
    if "lr" in given and "step_size" in given:
        raise ValueError("lr and step_size are two names for the step size: give one of them")
    return {own if name in ("lr", "step_size") else name: value for name, value in given.items()}


def nothing(value: Value) -> bool:
    """Whether a hyperparameter is the number zero; a tensor is not looked into, which would wait for its device."""
    return not isinstance(value, Tensor) and value == 0


class Splitting(Integrator):
    """An integrator that is a word of exactly solvable maps."""

    #: The letters that the word may have; each has a method ``map_X(state, dt, draw)``, which returns a new state and
    #: may move positions, too: the next kick then asks for a force of its own.
    alphabet: ClassVar[str] = "ABO"
    structure: ClassVar[tuple[str, ...]] = ("word",)
    word: str
    step_size: Value

    @property
    def parsed(self) -> Word:
        return Word(self.word, self.alphabet)

    def enter(self, state: Any, potential: Potential, key: Key) -> Any:
        return self._run(state, potential, ((piece, key) for piece in self.parsed.head))

    def step(self, state: Any, potential: Potential, key: Key) -> Any:
        word, later = self.parsed, key.at(later=1)
        return self._run(state, potential, [(x, key) for x in word.tail] + [(x, later) for x in word.head])

    def leave(self, state: Any, potential: Potential, key: Key) -> Any:
        return self._run(state, potential, ((piece, key) for piece in self.parsed.tail))

    def _run(self, state: Any, potential: Potential, pieces: Iterable[tuple[Piece, Key]]) -> Any:
        self = self.columns(state.q)
        force = None
        for piece, key in pieces:
            dt = self.step_size * piece.fraction
            if piece.letter == "A":
                state, force = state._replace(q=state.q + dt * state.p), None
            elif piece.letter == "B":
                force = potential.force(state.q) if force is None else force
                state = state._replace(p=state.p + dt * force)
            else:

                def draw(position: int = piece.position, key: Key = key, state: Any = state) -> Tensor:
                    return key.normal(position, state.q.shape[1], state.q.dtype)

                apply: Callable = getattr(self, f"map_{piece.letter}")
                moved = apply(state, dt, draw)
                force = force if moved.q is state.q else None
                state = moved
        return state


class Thermostatted(Integrator):
    """An integrator with one thermostat over all parameters, or one per parameter tensor where it has their sizes."""

    thermostats: str
    sizes: tuple[int, ...]

    def bind(self, sizes: Mapping[str, int]) -> Any:
        return self.with_values({"sizes": tuple(sizes.values())}) if self.thermostats == "tensor" else self

    def _check_sizes(self, q: Tensor) -> None:
        if self.thermostats == "tensor" and sum(self.sizes) != q.shape[1]:
            raise ValueError(
                f"thermostats='tensor' needs the sizes of the parameter tensors: {self.sizes} do not add up to "
                f"{q.shape[1]}"
            )

    def _each(self, per_thermostat: Tensor) -> Tensor:
        """``[R, K]`` as one value per parameter, or a column if there is one thermostat."""
        if not self.sizes:
            return per_thermostat
        pieces = zip(per_thermostat.split(1, 1), self.sizes, strict=True)
        return torch.cat([value.expand(-1, size) for value, size in pieces], 1)

    def _squares(self, p: Tensor) -> Tensor:
        """The sum of the squared momenta of each thermostat's parameters, ``[R, K]``."""
        squares = p.square()
        if not self.sizes:
            return squares.sum(1, keepdim=True)
        return torch.cat([part.sum(1, keepdim=True) for part in squares.split(self.sizes, 1)], 1)

    def _counts(self, p: Tensor) -> Tensor | int:
        """How many parameters each thermostat has: ``[R, K]``, or a number if there is one thermostat."""
        if not self.sizes:
            return p.shape[1]
        # numbers filled in rather than a tensor made of them: that would be a constant, and each a new compilation
        return torch.cat([torch.full_like(p[:, :1], n) for n in self.sizes], 1)
