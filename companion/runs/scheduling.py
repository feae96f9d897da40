"""The runs of a batch on many processes: on this machine, on a Dask scheduler that is there, or through Slurm.

Every run goes to a worker that does one at a time. A worker that dies is replaced, and its run is made again; a run
that raises is not. What was finished stays finished, whatever happens to the others.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from companion.runs import batch, execution
from companion.runs.batch import Run
from companion.runs.execution import Outcome

__all__ = ["run_all"]

#: Seconds to wait for the answer of a scheduler.
PATIENCE = 10


def run_all(
    runs: Sequence[Run],
    *,
    scheduler: str = "",
    slurm: str | Path = "",
    workers: int = 0,
    say: Callable[[str], None] = tqdm.write,
) -> list[Outcome]:
    """Make the runs that are missing, failed or stale, and say which and why.

    Parameters
    ----------
    runs : as :func:`companion.runs.batch.load` gives them.
    scheduler : the address of a Dask scheduler, as in ``tcp://host:8786``.
    slurm : a YAML file with the arguments of ``dask_jobqueue.SLURMCluster`` and ``jobs``, how many to keep.
    workers : on this machine; one per GPU, or one per core, if not given.
    say : what is called with each line of the report.

    Returns
    -------
    list of Outcome : of the runs that were made, in the order in which they ended.

    Raises
    ------
    ValueError : another process is at one of the runs; both a scheduler and Slurm; the extra ``cluster`` is missing.
    """
    if scheduler and slurm:
        raise ValueError("scheduler and slurm are both given; say one of them")
    try:
        import distributed
    except ImportError:
        raise ValueError("batches need Dask, the extra called cluster: .venv/bin/pip install -e '.[cluster]'") from None
    if not runs:
        return []
    with execution.locked(runs):
        for path in execution.sweep(runs):
            say(f"removed {path.name}, left behind by a run that was killed")
        left = []
        for run in runs:
            state, why = batch.state(run)
            say(f"{run.name}: {state}{f' ({why})' if why else ''}")
            if state != "done":
                left.append(run)
        if not left:
            return []
        with _client(scheduler, slurm, workers or _default_workers(left)) as client:
            able = _able(client, left, bool(slurm))
            for run in left:
                if run not in able:
                    say(f"{run.name}: waits for a machine with {run.gpus} GPU(s), which none of the workers has")
            return list(_gather(client, able, say, distributed))


def _default_workers(runs: Sequence[Run]) -> int:
    import torch

    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # as on macOS
    return min(len(runs), gpus or cores)


def _gather(client: Any, runs: Sequence[Run], say: Callable[[str], None], distributed: Any) -> Iterator[Outcome]:
    made: dict[Any, Run] = {}  # being made, or waiting for a GPU

    def submit(run: Run) -> None:
        needs = {"resources": {"GPU": run.gpus}} if run.gpus else {}
        made[client.submit(_make, run, key=f"{run.name}/{os.urandom(4).hex()}", pure=False, **needs)] = run

    for run in runs:
        if run.gpus:
            submit(run)
    # Dask would hand the others out at once, to workers that may be long at what they have: here a worker gets its next
    # run when it is free, so that the order of the batch holds and none waits beside a queue
    left, number = [run for run in runs if not run.gpus], 0
    with tqdm(total=len(runs), unit="run", disable=None, file=sys.stderr) as bar:
        while made or left:
            while left and sum(not run.gpus for run in made.values()) < max(sum(client.nthreads().values()), 1):
                submit(left.pop(0))
            with suppress(TimeoutError):
                distributed.wait(list(made), timeout=1.0, return_when="FIRST_COMPLETED")
            if not bar.disable:
                now = {key.rpartition("/")[0] for keys in client.processing().values() for key in keys}
                doing = [f"{run.name} {batch.said(run)}".strip() for run in runs if run.name in now]
                bar.set_postfix_str(", ".join(doing)[:100])
            for future in [future for future in made if future.done()]:
                outcome = _outcome(future, made.pop(future).name)
                number += 1
                bar.update()
                tail = f"{outcome.state}: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
                say(f"[{number}/{len(runs)}] {outcome.name}: {tail}")
                yield outcome


def _make(run: Run) -> Outcome:
    """Make a run, unless it is there: Dask asks again for what a dead worker had finished but not yet reported."""
    return Outcome(run.name, "done", 0.0) if batch.state(run)[0] == "done" else execution.execute(run)


def _outcome(future: Any, name: str) -> Outcome:
    """What the worker returned, or why there is nothing: a run that kills its worker again and again."""
    try:
        return future.result()
    except Exception as error:
        return Outcome(name, "failed", 0.0, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _able(client: Any, runs: Sequence[Run], wait: bool) -> list[Run]:
    """The runs for which there is a worker; Slurm starts its workers later, and has what its profile says."""
    if wait or not any(run.gpus for run in runs):
        return list(runs)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    most = max((worker.get("resources", {}).get("GPU", 0) for worker in workers), default=0)
    return [run for run in runs if run.gpus <= most]


@contextmanager
def _client(scheduler: str, slurm: str | Path, workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client

    # a worker that holds a second run back for itself would take it along when it dies
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        if scheduler:
            try:
                client = Client(scheduler, timeout=PATIENCE)
            except OSError:
                raise ValueError(f"no Dask scheduler answers at {scheduler}") from None
            with client:
                client.wait_for_workers(1)
                yield client
            return
        with _slurm(Path(slurm)) if slurm else _local(workers) as cluster, Client(cluster) as client:
            client.wait_for_workers(1)
            yield client


#: glibc keeps freed memory: dask's workers otherwise hand it back at every step, which takes a quarter of a run's time.
KEEP = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}


def _local(workers: int) -> Any:
    """One process per GPU, each seeing one of them, or one process per core."""
    import torch
    from distributed import Nanny, Scheduler, SpecCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    gpus = torch.cuda.device_count()

    def options(i: int) -> dict[str, Any]:
        one = {"nthreads": 1, "dashboard_address": None, "host": "127.0.0.1", "silence_logs": logging.ERROR}
        if gpus:
            return one | {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(i % gpus)}}
        return one | {"env": {"OMP_NUM_THREADS": "1"} | KEEP}  # the runs already share the cores

    return SpecCluster(
        workers={i: {"cls": Nanny, "options": options(i)} for i in range(workers)},
        scheduler={
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"},
        },
        silence_logs=logging.ERROR,
    )


def _slurm(profile: Path) -> Any:
    import yaml
    from dask_jobqueue import SLURMCluster

    if not profile.is_file():
        raise ValueError(f"there is no Slurm profile {str(profile)!r}; the page on batches shows one")
    arguments = yaml.safe_load(profile.read_text()) or {}
    jobs = arguments.pop("jobs", 1)
    try:
        cluster = SLURMCluster(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{profile.name} is no Slurm profile: {error}") from None
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that dies is replaced
    return cluster
