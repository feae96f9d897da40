"""A chunk of replicas from its first to its last step: the inner loop, divergence, observations, snapshots.

All chunks of a run have the same size, so that one compiled step serves them all and a replica's arithmetic does not
depend on how many others there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib.dynamics.base import Integrator, Potential
from thermolib.engine.job import Job
from thermolib.ground import noise

__all__ = ["Chunk", "Message", "run_chunk"]

#: What a chunk tells while it runs: ("steps", n), ("record", (step, values)), ("sample", (step, values, lost)),
#: ("snapshot", Chunk), ("end", Chunk).
Message = tuple[str, Any]


@dataclass
class Chunk:
    """The state of a chunk between two steps."""

    state: Any
    step: int
    diverged: Tensor  # the step at which a replica became non-finite, or -1
    held: Any  # the last finite state of the replicas that diverged


def run_chunk(job: Job, number: int, chunk: Chunk, observe_first: bool) -> Iterator[Message]:
    """Advance one chunk to the end of the run, telling of it on the way."""
    stepper = _Stepper(job, number)
    clock = _Clock(job.snapshot_seconds)
    if observe_first:
        chunk = stepper.begin(chunk)
        yield "record", (chunk.step, stepper.observe(chunk))
    while chunk.step < job.end:
        observed = min(chunk.step - (chunk.step - job.begin) % job.every + job.every, job.end)
        boundary = min(observed, job.next_sample(chunk.step))
        before = chunk
        while chunk.step < boundary and (chunk is before or not clock.snapshot_due()):
            pause = min(boundary, chunk.step + 32)
            made = pause - chunk.step
            chunk = stepper.advance(chunk, pause)
            if clock.report_due(made):
                yield "steps", clock.reported()
        chunk = stepper.freeze(before, chunk)
        if chunk.step == job.next_sample(chunk.step - 1):
            yield "sample", (chunk.step, *stepper.sample(chunk))
        if chunk.step == observed:
            yield "record", (chunk.step, stepper.observe(chunk))
        if clock.snapshot_due():
            yield "steps", clock.reported()
            yield "snapshot", chunk
            clock.snapshot_taken()
    yield "steps", clock.reported()
    yield "end", chunk


#: So many random words are drawn at once for the order of the data: fewer take about as long.
_WORDS = 1 << 16


class _Stepper:
    """The steps of one chunk."""

    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.inputs = job.inputs(number)
        self.rows = job.rows(number)
        self.kept = job.kept(number)
        self.constants = job.source.of(self.rows)
        self.observations = {n: o.of(self.rows) if hasattr(o, "of") else o for n, o in job.observe.items()}
        self.scheduled = bool(job.integrator.scheduled(0))
        self.run = job.compiled or job.traced or job.flat_step()
        self._orders: dict[int, Tensor] = {}

    def at(self, step: int) -> list[Tensor]:
        """The inputs of a step: what is scheduled changes from one to the next."""
        if self.scheduled:
            names = list(self.job.columns)
            for name, column in self.job.scheduled(step).items():
                self.inputs[names.index(name)] = column[self.rows]
        return self.inputs

    def law(self, step: int) -> Integrator:
        """The integrator with its hyperparameters as columns."""
        return self.job.integrator.with_values(dict(zip(self.job.columns, self.at(step), strict=False)))

    def key(self, step: int) -> noise.Key:
        key = self.job.key
        return noise.Key(key.seed, key.replica[self.rows], torch.full_like(key.step, step))

    def order(self, step: int) -> list[Tensor]:
        """The order of the data in the epoch of a step; where they are short, several epochs are drawn at once."""
        source = self.job.source
        if not source.period:
            return []
        epoch = step // source.period
        if epoch not in self._orders:
            many = max(1, _WORDS // (len(self.rows) * source.rows))
            epochs = range(epoch, min(epoch + many, self.job.end // source.period + 1))
            key = self.key(0)._replace(step=torch.tensor(epochs, device=self.rows.device)[:, None, None])
            self._orders = dict(zip(epochs, noise.permutation(key, source.rows), strict=True))
        return [self._orders[epoch]]

    def potential(self, step: int) -> Potential:
        key = self.key(step)
        order = self.order(step) if self.job.source.period else [None]
        return self.job.source.make(key.step, *order, *self.constants)

    def begin(self, chunk: Chunk) -> Chunk:
        """The state before the first step of this call."""
        with torch.no_grad():
            state = self.law(chunk.step).begin(chunk.state, self.potential(chunk.step))
        return Chunk(state, chunk.step, chunk.diverged, chunk.held)

    def advance(self, chunk: Chunk, until: int) -> Chunk:
        """Plain steps, without a look at what comes out."""
        step, state = chunk.step, chunk.state
        if step == 0 and until > 0:
            state = self.law(0).enter(state, self.potential(0), self.key(0))
            step = 1
        leaves, counter = pytree.tree_leaves(state), torch.full_like(self.job.key.step, step)
        for now in range(step, until):
            *leaves, counter = self.run(*leaves, counter, *self.order(now), *self.at(now))
        return Chunk(pytree.tree_unflatten(leaves, self.job.structure), until, chunk.diverged, chunk.held)

    def freeze(self, before: Chunk, after: Chunk) -> Chunk:
        """Put replicas that became non-finite back to their last finite state, and note when it happened.

        Noise is a function of the step, so the steps since ``before`` can be made once more to find the moment.
        """
        dead = after.diverged >= 0
        lost = ~_finite(after.state) & ~dead
        if not bool(lost.any() | dead.any()):
            return after
        diverged, held = after.diverged, after.held
        now = before
        while now.step < after.step and bool((lost & (diverged < 0)).any()):
            previous, now = now, self.advance(now, now.step + 1)
            gone = ~_finite(now.state) & (diverged < 0)
            diverged = torch.where(gone, now.step, diverged)
            held = _choose(gone, previous.state, held)
        return Chunk(_choose(diverged >= 0, held, after.state), after.step, diverged, held)

    def sample(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """What the collector reads off the replicas that count, where they ask for the next force, and which diverged:
        one of which nothing finite can be read has."""
        values = self.job.collect.read(chunk.state.q, self.rows)[: self.kept].cpu()
        return values, (chunk.diverged[: self.kept] >= 0).cpu() | ~_finite(values)

    def observe(self, chunk: Chunk) -> dict[str, Tensor]:
        """The observations of the replicas that count, at the end of the word."""
        if not self.job.observe:
            return {}
        state = chunk.state
        with torch.no_grad():
            if chunk.step > 0:
                step = chunk.step
                state = self.law(step).leave(state, self.potential(step), self.key(step))
            values = {}
            for name, observation in self.observations.items():
                value = torch.as_tensor(observation(state))
                if value.shape[:1] != (self.job.chunk,) or value.numel() != self.job.chunk:
                    raise ValueError(
                        f"observe[{name!r}] returned the shape {tuple(value.shape)}: it must return one number per "
                        f"replica, ({self.job.chunk},)"
                    )
                values[name] = value.reshape(-1)[: self.kept].cpu()
        return values


class _Clock:
    """When to tell of progress and when to save."""

    def __init__(self, snapshot_seconds: float | None) -> None:
        self._every = snapshot_seconds
        self._told = self._saved = time.monotonic()
        self._steps = 0

    def report_due(self, steps: int) -> bool:
        self._steps += steps
        return time.monotonic() - self._told > 0.2

    def reported(self) -> int:
        steps, self._steps, self._told = self._steps, 0, time.monotonic()
        return steps

    def snapshot_due(self) -> bool:
        return self._every is not None and time.monotonic() - self._saved >= self._every

    def snapshot_taken(self) -> None:
        self._saved = time.monotonic()


def _finite(state: Any) -> Tensor:
    """Which replicas are finite in all of their state, ``[R]``."""
    leaves = pytree.tree_leaves(state)
    return torch.stack([leaf.isfinite().reshape(len(leaf), -1).all(1) for leaf in leaves]).all(0)


def _choose(which: Tensor, yes: Any, no: Any) -> Any:
    """Row by row one state or another."""
    return pytree.tree_map(lambda a, b: torch.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no)
