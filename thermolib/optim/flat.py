"""The parameters of a group as one row of numbers: their states, and one step over all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator
from thermolib.dynamics.partitioned import OneForce
from thermolib.engine import compiled
from thermolib.optim.draws import Draws, Key, start

__all__ = ["FEW", "WIDE", "Row", "local", "wide", "widened"]

#: Optimizers of fewer numbers are not compiled: that takes seconds, and an eager step of theirs a millisecond.
FEW = 1 << 16

WIDE = (torch.float32, torch.float64)


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, as real numbers."""
    tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def wide(parameters: list[Tensor]) -> torch.dtype:
    """The type in which parameters are stepped: a narrow one would round small steps away."""
    double = any(p.dtype in (torch.float64, torch.complex128) for p in parameters)
    return torch.float64 if double else torch.float32


def widened(parameter: Tensor, kept: Tensor) -> Tensor:
    """A narrow parameter in the type of its wide copy: that copy wherever it rounds to what the parameter is now."""
    return torch.where(kept.to(parameter.dtype) == parameter, kept, parameter.to(kept.dtype))


def _placed(value: Tensor, like: Any) -> Tensor:
    """A part of a state, cut over the processes as its parameter is."""
    if not hasattr(like, "to_local") or like.is_complex():
        return value
    from torch.distributed.tensor import DTensor

    where = like.device_mesh, like.placements
    return DTensor.from_local(value, *where, run_check=False, shape=like.shape, stride=like.stride())


class Row:
    """Parameters of a group and their states in one piece of memory, and the steps of an integrator on them.

    Parameters
    ----------
    law : the integrator.
    parameters, names : what is stepped, and what its noise is a function of.
    states : parameter to state by name, as in ``Optimizer.state``. The row puts views of its own memory there.
    keeper : the parameter whose state holds what the group has in common.
    seed : of the noise.
    begin : the state of positions ``[1, P]`` that have none yet.
    large : whether steps are worth compiling.
    parted : whether other processes have other parameters of the group, or other shards of these.
    """

    def __init__(
        self,
        law: Integrator,
        parameters: list[Tensor],
        names: list[str],
        states: dict[Tensor, dict[str, Tensor]],
        keeper: Tensor,
        seed: int,
        begin: Callable[[Integrator, Tensor, Any], Any],
        large: bool,
        parted: bool,
    ) -> None:
        devices = {str(p.device) for p in parameters}
        if len(devices) > 1:
            raise ValueError(f"a group has parameters on {', '.join(sorted(devices))}: each device needs its own group")
        self.parameters, self._held = parameters, [local(p.detach()) for p in parameters]
        self.structure = {name: getattr(law, name) for name in law.structure}
        self._sizes = [t.numel() for t in self._held]
        self._q, self._g = (self._held[0].new_zeros((1, sum(self._sizes)), dtype=wide(parameters)) for _ in range(2))
        self._views, self._forces = self._pieces(self._q), self._pieces(self._g)
        self._draws = Draws(names, [start(p) for p in parameters], self._sizes, self._q.device)
        for p, view in zip(parameters, self._views, strict=True):
            if "master" in states[p]:
                view.copy_(local(states[p]["master"]))
        self._load()
        bound = law.bind(dict(zip(names, self._sizes, strict=True)))
        self._silent = bound.silent
        found = begin(bound, self._q, self._key(seed, 0, {}))
        self._kind, self._bound = type(found), {name: getattr(bound, name) for name in bound.structure}
        other = self._q.new_zeros((1, sum(self._sizes) + (0 if self._bound.get("sizes") else 1)))
        self._spread = {n for n, x in bound.init(other)._asdict().items() if x.shape == other.shape}
        self._parted = parted
        self.kept: list[tuple[dict[str, Tensor], str, Tensor]] = []
        self._state = [self._adopt(n, x.clone(), states, keeper) for n, x in found._asdict().items() if n != "q"]
        for p, held, view in zip(parameters, self._held, self._views, strict=True):
            if held.dtype not in WIDE:
                self._keep(states[p], "master", _placed(view, p))
        self._program: Callable | None = None
        self._asked: dict[tuple, None] = {}
        few = len(self._bound.get("sizes", ())) < 16  # thermostats, each some operations more
        kind = self._q.device.type
        self._large: bool = large and few and kind != "meta" and compiled.possible(kind)

    def _pieces(self, row: Tensor) -> list[Tensor]:
        parts = row[0].split(self._sizes)
        return [part.view(held.shape) for part, held in zip(parts, self._held, strict=True)]

    def _keep(self, state: dict[str, Tensor], name: str, value: Tensor) -> None:
        state[name] = value
        self.kept.append((state, name, value))

    def _adopt(self, name: str, fresh: Tensor, states: dict[Tensor, dict[str, Tensor]], keeper: Tensor) -> Tensor:
        """A part of the state, with what the parameters have of it already, which are views of it from now on."""
        if name in self._spread:
            pieces = self._pieces(fresh)
        elif fresh.shape[1:2] == (len(self.parameters),) == (len(self._bound.get("sizes", ())),):
            pieces = list(fresh.split(1, 1))
        else:
            if self._parted:
                raise ValueError(
                    f"the parameters are cut over several processes, and {name} is one for all of them: this dynamics "
                    "needs them whole in every process, as under DistributedDataParallel"
                )
            if name in states[keeper]:
                fresh.copy_(states[keeper][name])
            self._keep(states[keeper], name, fresh)
            return fresh
        for p, piece in zip(self.parameters, pieces, strict=True):
            if name in states[p]:
                piece.copy_(local(states[p][name]))
            self._keep(states[p], name, _placed(piece, p) if piece.shape == local(p).shape else piece)
        return fresh

    def fits(self, law: Integrator, parameters: list[Tensor]) -> bool:
        """Whether this is the row of these parameters, and their states are still where it put them."""
        return (
            len(parameters) == len(self.parameters)
            and all(a is b for a, b in zip(parameters, self.parameters, strict=True))
            and all(state.get(name) is value for state, name, value in self.kept)
            and all(getattr(law, name) == value for name, value in self.structure.items())
            and law.silent == self._silent
        )

    def _load(self) -> None:
        """Read the parameters."""
        for held, view in zip(self._held, self._views, strict=True):
            if held.dtype not in WIDE:
                view.copy_(widened(held, view))
        here = [i for i, held in enumerate(self._held) if held.dtype in WIDE]
        if here:
            torch._foreach_copy_([self._views[i] for i in here], [self._held[i] for i in here])

    def _key(self, seed: int, steps: int, asked: dict[tuple, None]) -> Key:
        """A key whose numbers are computed as they are asked for; what was asked is noted."""

        def ask(*what: Any) -> Tensor:
            if self._silent:
                return self._q.new_zeros((1, 1)).expand(1, what[3])
            asked[what] = None
            return self._draws.draw(what, seed, steps, fast=False)

        return Key(ask, torch.full((), steps, device=self._q.device))

    def _advance(self, law: Integrator, tensors: Sequence[Tensor], key: Any, g: Tensor | None = None) -> None:
        """Step a state in its own memory."""
        state, force = self._kind(*tensors), -(self._g if g is None else g)
        moved = law.step(state, OneForce(type(law).__name__, state.q, force), key)
        for old, new in zip(state, moved, strict=True):
            if new is not old:
                old.copy_(new)

    def _arguments(self, law: Integrator, seed: int, steps: int) -> list[Tensor]:
        now = torch.full((), steps, device=self._q.device)
        draws = [self._draws.draw(what, seed, steps, fast=True) for what in self._asked]
        values: list[Any] = list(law.hyperparameters.values())
        return [now, self._g, self._q, *self._state, *values, *draws]

    def _compile(self, law: Integrator, seed: int, steps: int) -> None:
        """Look what a step draws, and compile it as a function of tensors."""
        self._advance(law, [t.clone() for t in (self._q, *self._state)], self._key(seed, steps, self._asked))
        names, parts = list(law.hyperparameters), 1 + len(self._state)

        def program(now: Tensor, g: Tensor, *rest: Tensor) -> list[Tensor]:
            state, values, draws = rest[:parts], rest[parts:][: len(names)], rest[parts + len(names) :]
            drawn = dict(zip(self._asked, draws, strict=True))

            def ask(*what: Any) -> Tensor:
                return drawn[what] if what in drawn else g.new_zeros((1, 1)).expand(1, what[3])

            self._advance(law.with_values(dict(zip(names, values, strict=True))), state, Key(ask, now), g)
            return [now]

        # tracing runs it, and must not step the state itself
        self._program = compiled.compile_step(program, [t.clone() for t in self._arguments(law, seed, steps)])

    def step(self, law: Integrator, seed: int, steps: int) -> None:
        """One step, with the gradients that the parameters have and the hyperparameters of ``law`` as columns."""
        law = law.with_values(self._bound)
        self._load()
        torch._foreach_copy_(self._forces, [local(p.grad) for p in self.parameters if p.grad is not None])
        if self._large and self._program is None:
            try:
                self._compile(law, seed, steps)
            except Exception as error:  # whatever a compiler may say to somebody's own dynamics
                first = str(error).partition("\n")[0]
                warnings.warn(f"{type(law).__name__} is stepped without compiling it: {first}", RuntimeWarning, 2)
                self._large = False
        if self._program is not None:
            self._program(*self._arguments(law, seed, steps))
        else:
            self._advance(law, [self._q, *self._state], self._key(seed, steps, {}))
        torch._foreach_copy_(self._held, self._views)
