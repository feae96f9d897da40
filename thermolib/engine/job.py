"""What all chunks of a run share: the dynamics, where its potential comes from, when to look and to sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib.dynamics.base import Integrator, Potential
from thermolib.ground import checks, noise

__all__ = ["Job", "Source"]


@dataclass
class Source:
    """Where the potential of a step comes from: ``make(step, order, *constants)``.

    ``order`` is the order of the data points in the current epoch, ``[R, rows]``, if there are minibatches
    (``period`` of them an epoch), and None otherwise.
    """

    make: Callable[..., Potential]
    constants: tuple[Tensor, ...] = ()
    rows: int = 0
    period: int = 0
    own: int = 0  # so many of the constants, the first, have a row for each replica

    def of(self, rows: Tensor) -> list[Tensor]:
        """The constants of some replicas."""
        return [constant[rows] for constant in self.constants[: self.own]] + list(self.constants[self.own :])


@dataclass
class Job:
    """A run: what all its chunks share."""

    integrator: Integrator
    source: Source
    key: noise.Key
    steps: int
    every: int
    observe: dict[str, Callable[[Any], Tensor]]
    chunk: int
    begin: int = 0
    what: str = ""  # the network and the loss, in words
    snapshot_seconds: float | None = None
    collect: Any = None  # with ``after``, ``every`` and ``read(q, rows)``
    structure: Any = None  # of the state
    dtype: torch.dtype = torch.float32  # of the positions
    columns: dict[str, Tensor] = field(default_factory=dict)  # hyperparameters, [replicas, 1] each
    compiled: Callable | None = None
    traced: Callable | None = None

    def __post_init__(self) -> None:
        checks.integer("steps", self.steps, 0)
        checks.integer("every", self.every, 1)

    @property
    def replicas(self) -> int:
        return len(self.key.replica)

    @property
    def chunks(self) -> int:
        return -(-self.replicas // self.chunk)

    @property
    def end(self) -> int:
        return self.begin + self.steps

    def next_sample(self, step: int) -> int:
        """The first step behind this one at which the collector wants a sample."""
        if self.collect is None:
            return self.end + 1
        first = self.begin + self.collect.after
        return max(step, first) + self.collect.every - max(step - first, 0) % self.collect.every

    def kept(self, number: int) -> int:
        """How many replicas of a chunk count: the last chunk is filled up."""
        return min(self.chunk, self.replicas - number * self.chunk)

    def rows(self, number: int) -> Tensor:
        """The replicas of a chunk; the last chunk is filled up with copies of the last replica."""
        first = number * self.chunk
        return torch.arange(first, first + self.chunk, device=self.key.replica.device).clamp(max=self.replicas - 1)

    def inputs(self, number: int) -> list[Tensor]:
        """What a chunk's steps take besides state, step and order."""
        rows = self.rows(number)
        columns = [column[rows] for column in self.columns.values()]
        return [*columns, self.key.seed, self.key.replica[rows], *self.source.of(rows)]

    def scheduled(self, step: int) -> dict[str, Tensor]:
        """What the schedules say at a step, as columns ``[replicas, 1]``."""
        return {name: self.column(name, value) for name, value in self.integrator.scheduled(step).items()}

    def column(self, name: str, value: Any) -> Tensor:
        """A hyperparameter as ``[replicas, 1]``."""
        value = torch.as_tensor(value, dtype=self.dtype, device=self.key.replica.device).reshape(-1, 1)
        checks.length(name, value, self.replicas)
        return value.expand(self.replicas, 1).contiguous()

    def flat_step(self) -> Callable[..., list[Tensor]]:
        """One step as a function of tensors: state, step, order if there are minibatches, then ``inputs``."""
        leaves, names, minibatches = self.structure.num_leaves, list(self.columns), self.source.period > 0

        def step(*flat: Tensor) -> list[Tensor]:
            left = iter(flat)
            state = pytree.tree_unflatten([next(left) for _ in range(leaves)], self.structure)
            counter = next(left)
            order = next(left) if minibatches else None
            integrator = self.integrator.with_values({name: next(left) for name in names})
            key = noise.Key(next(left), next(left), counter)
            state = integrator.step(state, self.source.make(counter, order, *left), key)
            return [*pytree.tree_leaves(state), counter + 1]

        return step
