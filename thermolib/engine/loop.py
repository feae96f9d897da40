"""A run from its first to its last step: all chunks, the compilation, the checkpoint."""

from __future__ import annotations

import functools
import logging
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib.dynamics.base import Integrator
from thermolib.engine.checkpoint import Checkpoint
from thermolib.engine.chunks import Chunk, run_chunk
from thermolib.engine.compiled import compile_step, possible
from thermolib.engine.history import Final, History, join, table
from thermolib.engine.job import Job
from thermolib.engine.replay import trace_step
from thermolib.engine.workers import Bar, run_all
from thermolib.ground import checks, noise

__all__ = ["positions", "run"]

log = logging.getLogger("thermolib")

#: A compilation takes seconds: a run with fewer calls of the step than this is quicker without.
SHORT = 3000
#: In a recorded step the noise is compiled, which takes some ten seconds, if this many steps are to repay it.
LONG = 30_000


def run(
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
    job.dtype, mode = first.q.dtype, _mode(job, start, compile)
    values = job.integrator.hyperparameters | job.integrator.scheduled(job.begin)
    job.columns = {name: job.column(name, value) for name, value in values.items()}
    if job.collect is not None:
        job.collect.begin({name: column[:, 0].cpu() for name, column in job.columns.items()})

    saved: dict[int, dict[str, Any]] = {}
    file = None
    if checkpoint is not None:
        checks.at_least("checkpoint_seconds", checkpoint_seconds)
        file = Checkpoint(Path(checkpoint), _description(job, first), _first_loss(job, first))
        saved = file.load()
        job.snapshot_seconds = checkpoint_seconds
        for number in saved if job.collect is not None else ():
            job.collect.restore(number, saved[number]["collected"])
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
        _compile(job, chunks[0], mode)
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
                    job.collect.add(content[1], content[0], number, content[2])
                else:
                    chunks[number] = content
                    if file is not None:  # the records up to this state, and no later ones
                        saved[number] = _stored(content) | {"records": list(records[number])}
                        if job.collect is not None:
                            saved[number]["collected"] = job.collect.saved(number)
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
    final = join(job, chunks, mode)
    frame = table(job, records, final)
    seconds = time.perf_counter() - began
    method, observed = type(job.integrator).__name__, tuple(job.observe)
    return History(frame, final, job.compiled is not None, seconds, made, method, observed)


def positions(start: Any, integrator: Integrator) -> Tensor:
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
    description = {
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
    if schedules := [_named(value) for value in job.integrator.hyperparameters.values() if callable(value)]:
        description["schedules"] = schedules
    if job.collect is not None:
        collector = job.collect.collector
        settings = {name: value for name, value in vars(collector).items() if not name.startswith("_")}
        settings = {name: _named(value) if callable(value) else value for name, value in settings.items()}
        description["collect"] = [type(collector).__qualname__, settings]
    return description


def _inside(function: Any) -> list[Any]:
    """The code of a function and the numbers in it, as of a schedule, which may have no name; nothing for a value."""
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return [
        code.co_code.hex(),
        *(value for value in (*code.co_consts, *held) if isinstance(value, int | float | str | Tensor)),
    ]


def _named(function: Any) -> list[Any]:
    """What tells a function from others, in this process and the next: all but its address."""
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    return [re.sub(" at 0x[0-9a-f]+", "", str(function)), *names, *_inside(function)]


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


def _mode(job: Job, start: Any, compile: bool | str) -> bool | str:
    """How the steps run: as is wanted, or as the run before did, or as its length repays."""
    if compile != "auto":
        return compile
    if isinstance(start, Final) and start.mode is not None:
        return start.mode
    if job.steps * job.chunks < SHORT:
        _tell_short()
        return False
    return True


def _compile(job: Job, chunk: Chunk, mode: bool | str) -> None:
    """Compile the step if that is wanted and can be done."""
    replayed = mode == "trace"
    can = mode and (not replayed or job.steps >= LONG) and possible(job.key.replica.device.type)
    if not replayed and not can:
        return
    example = [
        *pytree.tree_leaves(chunk.state),
        torch.full_like(job.key.step, chunk.step),
        *_order(job),
        *job.inputs(0),
    ]
    if replayed:
        job.traced = trace_step(job.flat_step(), example, ends=bool(can))
    else:
        job.compiled = compile_step(job.flat_step(), example)


@functools.cache
def _tell_short() -> None:
    """Once is enough."""
    log.info("runs with fewer than %d calls of the step do not repay compiling and run eagerly", SHORT)
