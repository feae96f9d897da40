"""Worker processes on this machine: they talk through pipes that nobody else can open, and end with who started them.

A worker does one thing at a time. One that dies is replaced, and what it was at is given again, three times in all.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Died", "outcomes"]

#: How often a thing is given to a worker whose process then dies.
ATTEMPTS = 3
#: glibc keeps freed memory: a process that hands it back at every step spends a quarter of a run's time on that.
KEEP = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}


class Died(Exception):
    """The process of a worker ended while it was at something, again and again."""


class Worker:
    """A process that applies a function to what it is given."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()  # so that its death ends the pipe

    def stop(self) -> None:
        self.connection.close()  # one that waits ends by itself
        self.process.terminate()
        self.process.join(10)
        self.process.kill()
        self.process.join()


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it is told, and stops it
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    while True:
        try:
            thing, environment = connection.recv()
        except (EOFError, OSError):
            return
        os.environ.update(environment)
        try:
            answer = function(thing)
        except Exception as error:
            answer = error
        connection.send(answer)


def outcomes(
    function: Callable[[Any], Any],
    things: Sequence[Any],
    workers: int,
    gpus: Sequence[str] = (),
    needs: Callable[[Any], int] = lambda thing: 0,
    tick: Callable[[list[Any]], None] = lambda busy: None,
) -> Iterator[tuple[Any, Any]]:
    """Each thing with what ``function`` makes of it, or the exception that it raised; in the order in which they end.

    Parameters
    ----------
    function : of a module, with one argument; for each thing a worker calls it.
    workers : how many processes there are.
    gpus : the names of the GPUs; each thing has as many as it needs to itself, and one at least.
    needs : how many of them a thing needs, which must be there.
    tick : called about once a second with the things that are being worked at.
    """
    left, free, idle = list(enumerate(things)), list(gpus), list[Worker]()
    busy: dict[Connection, tuple[Worker, int, Any, list[str]]] = {}
    deaths = dict.fromkeys(range(len(left)), 0)
    try:
        while left or busy:
            while left and len(busy) < workers:
                wanted = max(needs(left[0][1]), 1) if gpus else 0
                if wanted > len(free):
                    break
                (number, thing), taken = left.pop(0), [free.pop(0) for _ in range(wanted)]
                while idle and not idle[-1].process.is_alive():
                    idle.pop().stop()
                worker = idle.pop() if idle else Worker(function)
                environment = {"CUDA_VISIBLE_DEVICES": ",".join(taken)} if gpus else {"OMP_NUM_THREADS": "1"} | KEEP
                worker.connection.send((thing, environment))
                busy[worker.connection] = worker, number, thing, taken
            for connection in wait(list(busy), timeout=1.0):
                assert isinstance(connection, Connection)
                worker, number, thing, taken = busy.pop(connection)
                free += taken
                try:
                    answer = connection.recv()
                    idle.append(worker)
                except (EOFError, OSError):
                    worker.stop()
                    deaths[number] += 1
                    if deaths[number] < ATTEMPTS:
                        left.insert(0, (number, thing))
                        continue
                    answer = Died(f"the process that made it died {ATTEMPTS} times")
                yield thing, answer
            tick([thing for _, _, thing, _ in busy.values()])
    finally:
        for worker in [*idle, *(worker for worker, *_ in busy.values())]:
            worker.stop()
