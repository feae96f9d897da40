"""The runs of a batch on many processes: on this machine, or on a Dask scheduler that is there.

Every run goes to a worker that does one at a time. A worker that dies is replaced, and its run is made again; a run
that raises is not. What was finished stays finished, whatever happens to the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from companion.runs import batch, execution, identity, places, pool
from companion.runs.batch import Run
from companion.runs.execution import Outcome

__all__ = ["run_all"]

#: Seconds to wait for the answer of a scheduler, and for a worker that can do what is left.
PATIENCE, WAIT = 10, 120.0
LOST = "the scheduler was lost: what was finished is there, and the same command goes on from it"


def run_all(
    runs: Sequence[Run],
    *,
    scheduler: str = "",
    workers: int = 0,
    say: Callable[[str], None] = tqdm.write,
) -> list[Outcome]:
    """Make the runs that are missing, failed or stale, and say which and why.

    Parameters
    ----------
    runs : as :func:`companion.runs.batch.load` gives them.
    scheduler : the address of a Dask scheduler, as in ``tls://host:8786``.
    workers : on this machine; one per GPU, or one per core, if not given.
    say : what is called with each line of the report.

    Returns
    -------
    list of Outcome : of the runs that were made, in the order in which they ended.

    Raises
    ------
    ValueError : another process is at one of the runs; a scheduler that does not answer, has no worker, is lost, or
        whose workers have another library.
    """
    with places.locked(runs):
        if not (left := places.left(runs, say)):
            return []
        return list(_remote(scheduler, left, say) if scheduler else _local(left, workers, say))


def _make(run: Run) -> Outcome:
    """Make a run, unless it is there: Dask asks again for what a dead worker had finished but not yet reported."""
    return Outcome(run.name, "done", 0.0) if batch.state(run)[0] == "done" else execution.execute(run)


def gpus() -> list[str]:
    """The names of the GPUs that programs may use here. Only where there is a device file is torch asked."""
    if not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))):
        return []
    count = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    there = int(subprocess.run(count, capture_output=True, text=True).stdout.strip() or 0)
    chosen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return chosen[:there] or [str(i) for i in range(there)]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # as on macOS


class Report:
    """A bar, and a line for each run that ended."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.say, self.number = say, 0
        self.bar = tqdm(total=total, unit="run", disable=None, file=sys.stderr)

    def doing(self, runs: Sequence[Run]) -> None:
        if not self.bar.disable:
            self.bar.set_postfix_str(", ".join(f"{run.name} {batch.said(run)}".strip() for run in runs)[:100])

    def ended(self, outcome: Outcome) -> Outcome:
        self.number += 1
        self.bar.update()
        tail = f"{outcome.state}: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
        self.say(f"[{self.number}/{self.bar.total}] {outcome.name}: {tail}")
        return outcome


def _outcome(name: str, answer: Any) -> Outcome:
    """What the worker returned, or why there is nothing: a run that kills its worker again and again."""
    if isinstance(answer, Exception):
        words = " ".join(str(answer).split())[:300]
        return Outcome(
            name, "failed", 0.0, words if isinstance(answer, pool.Died) else f"{type(answer).__name__}: {words}"
        )
    return answer


def _local(runs: Sequence[Run], workers: int, say: Callable[[str], None]) -> Iterator[Outcome]:
    """On this machine: without a port, so that no other user of it has a part in it."""
    there, report = gpus(), Report(len(runs), say)
    if lacking := [run for run in runs if run.gpus > len(there)]:
        for run in lacking:
            error = f"it needs {run.gpus} GPU(s), and this machine has {len(there) or 'none'}"
            yield report.ended(Outcome(run.name, "failed", 0.0, error))
    able = [run for run in runs if run.gpus <= len(there)]
    many = min(len(able), workers or len(there) or cores())
    with report.bar:
        for run, answer in pool.outcomes(_make, able, many, there, lambda run: run.gpus, report.doing):
            yield report.ended(_outcome(run.name, answer))


def _remote(address: str, runs: Sequence[Run], say: Callable[[str], None]) -> Iterator[Outcome]:
    if address.startswith("tcp://"):
        say(f"{address} asks nobody who he is: whoever reaches this port runs programs as you; tls:// has certificates")
    with _client(address) as client:
        _wait(say, f"a worker of {address}", lambda: bool(client.nthreads()))
        has = client.run(_library)
        if other := [name for name, library in has.items() if library != identity.library()]:
            here = Path(__file__).parents[2]
            raise ValueError(
                f"the worker {other[0]} has another version of the library: stop it, or start it so that it uses {here}"
            )
        report, most = Report(len(runs), say), _most(client)
        with report.bar:
            yield from _gather(client, [run for run in runs if run.gpus <= most], report)
            for run in (run for run in runs if run.gpus > most):
                what = f"a worker with --resources GPU={run.gpus}, for {run.name}"
                try:
                    _wait(say, what, lambda needed=run.gpus: _most(client) >= needed)  # type: ignore[misc]
                except ValueError as error:
                    yield report.ended(Outcome(run.name, "failed", 0.0, str(error)))
                else:
                    yield from _gather(client, [run], report)


def _library() -> str:
    """Asked of the workers: by name, so that each answers for the module that it has itself."""
    return identity.library()


def _most(client: Any) -> int:
    """The most GPUs that a worker has."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return max((worker.get("resources", {}).get("GPU", 0) for worker in workers), default=0)


def _wait(say: Callable[[str], None], what: str, there: Callable[[], bool]) -> None:
    """Wait until something is there, and say for what. Raises ValueError after a time."""
    end = time.monotonic() + WAIT
    if not there():
        say(f"waits for {what}, {WAIT:g} s at most")
    while not there():
        if time.monotonic() > end:
            raise ValueError(f"there is no {what.removeprefix('a ')}: it was waited for {WAIT:g} s")
        time.sleep(0.2)


def _ready(run: Run, library: str) -> Outcome:
    """What a worker of Dask does; one that came later than the others may have another library too."""
    if library != identity.library():
        import distributed

        name = distributed.get_worker().address
        return Outcome(run.name, "failed", 0.0, f"the worker {name} has another version of the library")
    return _make(run)


def _gather(client: Any, runs: Sequence[Run], report: Report) -> Iterator[Outcome]:
    import distributed

    made: dict[Any, Run] = {}  # being made, or waiting for a GPU
    here = identity.library()

    def submit(run: Run) -> None:
        needs = {"resources": {"GPU": run.gpus}} if run.gpus else {}
        key = f"{run.name}/{os.urandom(4).hex()}"
        made[client.submit(_ready, run, here, key=key, pure=False, **needs)] = run

    for run in runs:
        if run.gpus:
            submit(run)
    # Dask would hand the others out at once, to workers that may be long at what they have: here a worker gets its next
    # run when it is free, so that the order of the batch holds and none waits beside a queue
    left = [run for run in reversed(runs) if not run.gpus]
    while made or left:
        if client.status not in ("running", "connecting"):
            raise ValueError(LOST)
        with suppress(OSError, TypeError, AttributeError):  # while it is lost
            many = max(sum(client.nthreads().values()), 1)
            while left and sum(not run.gpus for run in made.values()) < many:
                submit(left.pop())
            now = {key.rpartition("/")[0] for keys in client.processing().values() for key in keys}
            report.doing([run for run in made.values() if run.name in now])
        try:
            with suppress(TimeoutError):
                distributed.wait(list(made), timeout=1.0, return_when="FIRST_COMPLETED")
        except distributed.client.FuturesCancelledError:  # all of them are, when the connection breaks
            raise ValueError(LOST) from None
        for future in [future for future in made if future.done() and future.status != "cancelled"]:
            run = made.pop(future)
            try:
                answer = future.result()
            except distributed.client.FutureCancelledError:
                raise ValueError(LOST) from None
            except Exception as error:
                answer = error
            yield report.ended(_outcome(run.name, answer))


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """The certificates of a scheduler at ``tls://`` are those that Dask's own settings name."""
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise ValueError(
            "a scheduler needs Dask, the extra called cluster: .venv/bin/pip install -e '.[cluster]'"
        ) from None
    # a worker that holds a second run back for itself would take it along when it dies
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        try:
            client = Client(address, timeout=PATIENCE)
        except (OSError, TypeError, ValueError) as error:
            why = "" if isinstance(error, OSError) else f": {' '.join(str(error).split())}"
            raise ValueError(f"no Dask scheduler answers at {address}{why}") from None
        with client:
            yield client
