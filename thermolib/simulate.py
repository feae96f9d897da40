"""Runs of an integrator: on any potential, or on an ensemble of networks and its data."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib import checks, noise
from thermolib.checkpoint import Checkpoint
from thermolib.chunks import Chunk, Job, Source, run_chunk
from thermolib.compiled import compile_step, possible
from thermolib.datasets import Data, Split, Splits
from thermolib.ensemble import Batch, Ensemble, Loss
from thermolib.integrators.base import Integrator
from thermolib.predictions import Predictions, Samples
from thermolib.replay import trace_step
from thermolib.workers import Bar, run_all

__all__ = ["Final", "History", "simulate", "train"]

log = logging.getLogger("thermolib")

Observation = Callable[[Any], Tensor]

#: A compilation takes seconds: a run with fewer calls of the step than this is quicker without.
SHORT = 3000
#: In a recorded step the noise is compiled, which takes some ten seconds, if this many steps are to repay it.
LONG = 30_000
#: Networks with fewer parameters than this run one chunk per thread; larger ones use all threads for one chunk.
SMALL = 1 << 15


@dataclass
class Final:
    """The last state of a run, from which it can be continued: pass it as ``start``.

    ``state`` is the integrator's, in the middle of its word, at the point where it asks for the next force; ``step``
    counts the steps made; ``diverged`` holds for each replica the step at which it became non-finite, or -1.
    """

    state: Any
    step: int
    diverged: Tensor

    @property
    def q(self) -> Tensor:
        """The positions, ``[R, P]``."""
        return self.state.q


@dataclass
class History:
    """What a run recorded.

    ``frame`` is a tidy table: one row per observed step and replica, with the columns ``step``, ``replica``, the
    hyperparameters, one column per observation, and ``diverged``, the step at which the replica became non-finite
    (missing where it did not). A replica that diverged keeps its last finite state. ``final`` is the last state,
    ``compiled`` says how the steps ran, ``seconds`` how long, ``replica_steps`` how many there were: the steps that
    this run made (not those it found in a checkpoint), times the replicas that made them. ``method`` is the
    integrator's name.
    """

    frame: pd.DataFrame
    final: Final
    compiled: bool
    seconds: float
    replica_steps: int = 0
    method: str = ""

    @property
    def last(self) -> pd.DataFrame:
        """The rows of the last step."""
        return self.frame[self.frame["step"] == self.frame["step"].max()]


class FunctionPotential:
    """A function ``[R, P] -> [R]`` as integrators see it."""

    fixed = True

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.loss = function

    def force(self, q: Tensor) -> Tensor:
        return -torch.func.grad(lambda x: self.loss(x).sum())(q)


class NoisyPotential(FunctionPotential):
    """The same with Gaussian noise in each evaluation of the force of a step."""

    def __init__(self, function: Callable[[Tensor], Tensor], key: noise.Key, spread: Tensor) -> None:
        super().__init__(function)
        self.key, self.spread, self.calls = key, spread, 0

    def force(self, q: Tensor) -> Tensor:
        self.calls += 1
        return super().force(q) + self.spread * self.key.normal(noise.DATA + self.calls, q.shape[1], q.dtype)


def simulate(
    potential: Callable[[Tensor], Tensor],
    integrator: Integrator,
    start: Any,
    steps: int,
    *,
    seed: int = 0,
    gradient_noise: float | Tensor = 0.0,
    observe: Mapping[str, Observation] | None = None,
    every: int = 1,
    compile: bool | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> History:
    r"""Run an integrator on a potential :math:`U`, for all replicas at once.

    Parameters
    ----------
    potential : a function ``[R, P] -> [R]``; forces are its negative gradient.
    integrator : any of :mod:`thermolib.integrators`.
    start : positions ``[R, P]``, a state of the integrator, or the ``final`` of an earlier run, which is continued.
    steps : how many.
    seed : of the noise.
    gradient_noise : :math:`\sigma_G`, standard deviation of a Gaussian error of the force, drawn anew for every
        coordinate and evaluation, as a minibatch would give it; a number, or a tensor of one value per replica.
    observe : name to function of the state, which has ``q`` and, where there are momenta, ``p``, both ``[R, P]``,
        taken at the end of a whole step; it returns one number per replica.
    every : steps between observations. The first and the last state are observed too.
    compile : True, False, or "auto": where it is possible and the run is long enough to repay it; or "trace": the
        operations of a step are recorded and replayed, for deep networks, whose compilation takes minutes; in long
        runs with the noise compiled.
    checkpoint : a file to save to every ``checkpoint_seconds``, and to continue from if it is there.
    progress : show a bar on terminals and in notebooks.

    Returns
    -------
    History

    Raises
    ------
    ValueError : start that is not ``[R, P]``, hyperparameters of another number of replicas, a negative number of
        steps or gradient noise, a checkpoint of another run.
    """
    q = _positions(start, integrator)
    key = noise.key(seed, q.shape[0], device=q.device)
    checks.at_least("gradient_noise", gradient_noise)
    spread = torch.as_tensor(gradient_noise, dtype=q.dtype, device=q.device).reshape(-1, 1)
    checks.length("gradient_noise", spread, q.shape[0])
    if bool(spread.any()):

        def noisy(step: Tensor, order: None, seed: Tensor, replica: Tensor, spread: Tensor) -> NoisyPotential:
            return NoisyPotential(potential, noise.Key(seed, replica, step), spread)

        source = Source(noisy, (key.seed, key.replica, spread.expand(q.shape[0], 1).contiguous()))
    else:
        source = Source(lambda step, order: FunctionPotential(potential))
    job = Job(integrator, source, key, steps, every, dict(observe or {}), chunk=q.shape[0])
    return _run(job, start, compile, checkpoint, checkpoint_seconds, progress, torch.get_num_threads(), 1)


def train(
    ensemble: Ensemble,
    integrator: Integrator,
    data: Data | Split | Splits,
    *,
    loss: Loss,
    steps: int,
    batch_size: int | None = None,
    every: int | None = None,
    observe: Mapping[str, Any] | None = None,
    collect: Predictions | Samples | None = None,
    start: Any = None,
    compile: bool | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    workers: int | None = None,
    progress: bool = True,
) -> History:
    r"""Train all replicas of an ensemble: the potential is the loss of the current minibatch.

    Each replica goes through the training set in a random order of its own, drawn anew for every epoch, in
    consecutive minibatches; points that do not fill a last one sit out that epoch. On a CPU, small networks run in
    chunks of a fixed number of replicas, each chunk on one thread, the chunks side by side on the workers. Where the
    data are :class:`thermolib.datasets.Splits`, each replica has a training set of its own.

    Parameters
    ----------
    ensemble : the networks; its seed is the seed of the run.
    integrator : any of :mod:`thermolib.integrators`.
    data : a training and a test set, or a training set alone.
    loss : of :mod:`thermolib.losses`, or a function of the output of one network and the targets.
    steps : how many minibatches.
    batch_size : points per minibatch; the whole set if not given.
    every : steps between observations, a hundredth of the run if not given.
    observe : name to function of the state, or to an observation of :mod:`thermolib.observe`.
    collect : what gathers samples along the run, at the points where the force is taken:
        :class:`thermolib.Predictions` or :class:`thermolib.Samples`.
    start : positions ``[R, P]``, a state, or the ``final`` of an earlier run; the ensemble's ``q`` if not given.
    compile : True, False, or "auto": where it is possible and the run is long enough to repay it; or "trace": the
        operations of a step are recorded and replayed, for deep networks, whose compilation takes minutes; in long
        runs with the noise compiled.
    checkpoint : a file to save to every ``checkpoint_seconds``, and to continue from if it is there.
    workers : processes side by side, as many as torch has threads if not given.
    progress : show a bar on terminals and in notebooks.

    Returns
    -------
    History

    Raises
    ------
    ValueError : a batch larger than the data, NaN in the data, hyperparameters of another number of replicas, a
        checkpoint of another run.
    """
    steps = checks.integer("steps", steps, 0)
    part = ensemble.checked(data.train if isinstance(data, Data) else data)
    own = isinstance(part, Splits)
    rows = part.x.shape[own]
    if collect is not None and checkpoint is not None:
        raise ValueError("collect and checkpoint are not allowed together: samples are not part of a checkpoint")
    if batch_size is None:
        source = Source(lambda step, order, x, y: Batch(ensemble, loss, x, y, own=own), tuple(part), own=2 * own)
    else:
        batch = checks.integer("batch_size", batch_size, 1)
        if batch > rows:
            raise ValueError(f"batch_size={batch} is larger than the data: it must be at most {rows}")
        period = rows // batch
        within = torch.arange(batch, device=ensemble.device)

        def minibatch(step: Tensor, order: Tensor, x: Tensor, y: Tensor, within: Tensor) -> Batch:
            points = order.index_select(1, step % period * batch + within)
            chosen = (torch.arange(len(points), device=points.device)[:, None], points) if own else points
            return Batch(ensemble, loss, x[chosen], y[chosen], own=True)

        source = Source(minibatch, (*part, within), rows, period, own=2 * own)
    key = noise.key(ensemble.seed, ensemble.replicas, device=ensemble.device)
    bound = {name: o.bind(ensemble) if hasattr(o, "bind") else o for name, o in (observe or {}).items()}
    small = ensemble.device.type == "cpu" and ensemble.parameters < SMALL
    chunk = min(len(ensemble), _chunk(ensemble.parameters)) if small else len(ensemble)
    job = Job(
        integrator.bind(ensemble.sizes),
        source,
        key,
        steps,
        max(1, steps // 100) if every is None else every,
        bound,
        chunk,
        what=f"{ensemble.module} {getattr(loss, '__qualname__', '')}",
        collect=None if collect is None else _Reader(collect, ensemble),
    )
    threads = torch.get_num_threads()
    workers = checks.integer("workers", threads if workers is None else workers, 1)
    begin = ensemble.q if start is None else start
    if _positions(begin, integrator).shape[1] != ensemble.parameters:
        raise ValueError(
            f"start has {_positions(begin, integrator).shape[1]} parameters: it must have {ensemble.parameters}"
        )
    return _run(job, begin, compile, checkpoint, checkpoint_seconds, progress, 1 if small else threads, workers)


class _Reader:
    """A collector and the ensemble that it reads."""

    def __init__(self, collect: Predictions | Samples, ensemble: Ensemble) -> None:
        self.after, self.every, self.add = collect.after, collect.every, collect.add
        self.read = functools.partial(collect.read, ensemble)


def _chunk(parameters: int) -> int:
    """Replicas per chunk: a power of two that keeps a step's tensors in the cache of one core."""
    return 2 ** min(6, max(4, round(math.log2((1 << 14) / parameters))))


def _run(
    job: Job,
    start: Any,
    compile: bool | str,
    checkpoint: str | Path | None,
    checkpoint_seconds: float,
    progress: bool,
    threads: int,
    workers: int,
) -> History:
    began = time.perf_counter()
    if compile not in (True, False, "auto", "trace"):
        raise ValueError(f"compile={compile!r} is not allowed: it must be True, False, 'auto' or 'trace'")
    first, diverged = _begin(job, start)
    job.structure = pytree.tree_structure(first)
    columns = job.integrator.columns(first.q).hyperparameters
    for name, value in columns.items():
        checks.length(name, value, job.replicas)
    job.columns = {name: value.expand(job.replicas, 1).contiguous() for name, value in columns.items()}

    saved: dict[int, dict[str, Any]] = {}
    file = None
    if checkpoint is not None:
        checks.at_least("checkpoint_seconds", checkpoint_seconds)
        file = Checkpoint(Path(checkpoint), _description(job, first), _first_loss(job, first))
        saved = file.load()
        job.snapshot_seconds = checkpoint_seconds
    chunks = {number: _load(job, number, saved, first, diverged) for number in range(job.chunks)}
    records = {number: list(saved[number]["records"]) if number in saved else [] for number in chunks}

    kept = {number: min(job.chunk, job.replicas - number * job.chunk) for number in chunks}
    made = sum((job.end - chunk.step) * kept[number] for number, chunk in chunks.items())

    before = torch.get_num_threads()
    tiny = torch.full((), 1e-40)  # the moments of a neuron that has died come to this, and slow the processor down
    exact = bool(tiny * 1 != 0)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        _compile(job, chunks[0], compile)
        with Bar(
            total=job.steps * job.replicas,
            already=sum((chunk.step - job.begin) * job.kept(number) for number, chunk in chunks.items()),
            show=progress,
        ) as bar:

            def handle(number: int, kind: str, content: Any) -> None:
                if kind == "steps":
                    bar.update(content * job.kept(number))
                elif kind == "record":
                    records[number].append(content)
                elif kind == "sample":
                    job.collect.add(content[1], content[0], number)
                else:
                    chunks[number] = content
                    if file is not None:  # the records up to this state, and no later ones
                        saved[number] = _stored(content) | {"records": list(records[number])}
                        file.save(saved)

            run_all(
                lambda number: run_chunk(job, number, chunks[number], not records[number]),
                list(chunks),
                workers,
                handle,
            )
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(not exact)
    final = _join(job, chunks)
    frame = _frame(job, records, final)
    seconds = time.perf_counter() - began
    return History(frame, final, job.compiled is not None, seconds, made, type(job.integrator).__name__)


def _positions(start: Any, integrator: Integrator) -> Tensor:
    """The positions that a run starts from; ValueError where there are none."""
    q = start if isinstance(start, Tensor) else getattr(getattr(start, "state", start), "q", None)
    if not isinstance(q, Tensor):
        raise ValueError(
            f"start={start!r:.60} is not allowed: it must be positions [R, P], a state of "
            f"{type(integrator).__name__}, or the final of an earlier run"
        )
    if q.ndim != 2 or not q.is_floating_point():
        raise ValueError(f"start has shape {tuple(q.shape)} and type {q.dtype}: it must be floating-point [R, P]")
    return q


def _begin(job: Job, start: Any) -> tuple[Any, Tensor]:
    """The first state of all replicas, and which have diverged already."""
    device = job.key.replica.device
    diverged = torch.full((job.replicas,), -1, dtype=torch.int64, device=device)
    if isinstance(start, Final):
        state, diverged = start.state, start.diverged.to(device)
        job.begin = start.step
    else:
        state = job.integrator.init(start) if isinstance(start, Tensor) else start
    state = pytree.tree_map(lambda t: t.to(device), state)
    if not bool(state.q.isfinite().all()):
        raise ValueError("start has positions that are NaN or infinite: all must be finite numbers")
    if state.q.shape[0] != job.replicas:
        raise ValueError(f"start has {state.q.shape[0]} replicas: it must have {job.replicas}")
    expected = pytree.tree_structure(job.integrator.init(state.q))
    if pytree.tree_structure(state) != expected:
        raise ValueError(f"start is a {type(state).__name__}: it must be a state of {type(job.integrator).__name__}")
    return state, diverged


def _description(job: Job, first: Any) -> dict[str, Any]:
    """What makes a run this run."""
    fixed = {name: getattr(job.integrator, name) for name in job.integrator.structure}
    fixed = {name: getattr(value, "__qualname__", value) for name, value in fixed.items()}  # a function has an address
    return {
        "integrator": f"{type(job.integrator).__name__}{fixed or ''}",
        "functions": [_inside(getattr(job.integrator, name)) for name in job.integrator.structure],
        "hyperparameters": job.columns,
        "start": pytree.tree_leaves(first),
        "begin": job.begin,
        "what": job.what,
        "steps": job.steps,
        "every": job.every,
        "observe": sorted(job.observe),
        "seed": job.key.seed,
        "replicas": job.key.replica,
        "chunk": job.chunk,
        "data": job.source.constants,
        "period": job.source.period,
    }


def _inside(function: Any) -> list[Any]:
    """The code of a function and the numbers in it, as of a schedule, which may have no name; nothing for a value."""
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return [code.co_code.hex(), *(value for value in (*code.co_consts, *held) if isinstance(value, int | float | str))]


@torch.no_grad()
def _first_loss(job: Job, first: Any) -> Tensor:
    """The loss of the first chunk where the run begins."""
    rows, order = job.rows(0), next(iter(_order(job)), None)
    potential = job.source.make(torch.full_like(job.key.step, job.begin), order, *job.source.of(rows))
    return potential.loss(first.q[rows])


def _order(job: Job) -> list[Tensor]:
    """An order of the data as the steps of the first chunk take it; none where there are no minibatches."""
    first = job.key._replace(replica=job.key.replica[job.rows(0)])
    return [noise.permutation(first, job.source.rows)] if job.source.period else []


def _stored(chunk: Chunk) -> dict[str, Any]:
    return {
        "leaves": pytree.tree_leaves(chunk.state),
        "step": chunk.step,
        "diverged": chunk.diverged,
        "held": pytree.tree_leaves(chunk.held),
    }


def _load(job: Job, number: int, saved: dict[int, dict], first: Any, diverged: Tensor) -> Chunk:
    """A chunk as a checkpoint has it, or as the run begins."""
    if number not in saved:
        rows = job.rows(number)
        state = pytree.tree_map(lambda t: t[rows], first)
        return Chunk(state, job.begin, diverged[rows], state)
    entry, device = saved[number], job.key.replica.device
    state, held = (
        pytree.tree_unflatten([leaf.to(device) for leaf in entry[part]], job.structure) for part in ("leaves", "held")
    )
    return Chunk(state, entry["step"], entry["diverged"].to(device), held)


def _compile(job: Job, chunk: Chunk, compile: bool | str) -> None:
    """Compile the step if that is wanted and can be done."""
    wanted = compile in (True, "trace") or (compile == "auto" and job.steps * job.chunks >= SHORT)
    if not wanted:
        if compile == "auto":
            _tell_short()
        return
    replayed = compile == "trace"
    can = (not replayed or job.steps >= LONG) and possible(job.key.replica.device.type)
    if not replayed and not can:
        return
    example = [
        *pytree.tree_leaves(chunk.state),
        torch.full_like(job.key.step, chunk.step),
        *_order(job),
        *job.inputs(0),
    ]
    if replayed:
        job.traced = trace_step(job.flat_step(), example, ends=can)
    else:
        job.compiled = compile_step(job.flat_step(), example)


@functools.cache
def _tell_short() -> None:
    """Once is enough."""
    log.info("runs with fewer than %d calls of the step do not repay compiling and run eagerly", SHORT)


def _join(job: Job, chunks: dict[int, Chunk]) -> Final:
    """The chunks as one state again, without the copies that filled up the last one."""
    parts = [chunks[number] for number in sorted(chunks)]
    state = pytree.tree_map(lambda *rows: torch.cat(rows)[: job.replicas], *(part.state for part in parts))
    return Final(state, job.end, torch.cat([part.diverged for part in parts])[: job.replicas])


def _frame(job: Job, records: dict[int, list], final: Final) -> pd.DataFrame:
    """The records of all chunks as a tidy table, ordered by step and replica."""
    steps = [step for step, _ in records[0]]
    columns: dict[str, Any] = {
        "step": np.repeat(steps, job.replicas),
        "replica": np.tile(job.key.replica[:, 0].cpu().numpy(), len(steps)),
    }
    for name, values in job.columns.items():
        # by way of text: 0.1 in float32 is 0.1 in the table, not 0.10000000149
        columns[name] = np.tile(values[:, 0].cpu().numpy().astype(str).astype(float), len(steps))
    for name in job.observe:
        rows = [torch.cat([records[n][i][1][name] for n in sorted(records)]) for i in range(len(steps))]
        columns[name] = torch.cat(rows).numpy()
    diverged = final.diverged.cpu().numpy()
    column = pd.array(np.where(diverged < 0, 0, diverged), dtype="Int64")
    column[diverged < 0] = pd.NA
    columns["diverged"] = np.tile(column, len(steps))
    frame = pd.DataFrame(columns)
    frame["diverged"] = frame["diverged"].astype("Int64")
    return frame
