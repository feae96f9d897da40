"""Chunks side by side: in this process, or in processes forked from it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from tqdm.auto import tqdm

__all__ = ["Bar", "keep_memory", "run_all"]

Messages = Callable[[int], Iterator[tuple[str, Any]]]


class Bar:
    """A progress bar in replica-steps, shown on terminals and in notebooks only."""

    def __init__(self, total: int, already: int, show: bool) -> None:
        quiet = not show or not (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self._bar = tqdm(
            total=total, initial=already, unit=" replica-steps", unit_scale=True, disable=quiet, leave=False
        )

    def update(self, steps: int) -> None:
        self._bar.update(steps)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


@functools.cache
def keep_memory() -> None:
    """Let this process and its forks keep what they have freed, where the C library is glibc.

    It otherwise hands the memory of a step's tensors back to the system and pays for every page of it again in the next
    step: up to half of the time of steps that are not compiled. What a run needs at most, the process then holds.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        for threshold in (-1, -3):  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(threshold, 1 << 30)


def run_all(messages: Messages, numbers: list[int], workers: int, handle: Callable[[int, str, Any], None]) -> None:
    """Run the chunks with the given numbers and hand each of their messages to ``handle(number, kind, content)``.

    Several workers are forked, so that potentials and observations need not be picklable; each takes every
    ``workers``-th chunk and uses one thread. An exception in a worker is raised here with its traceback. Workers end
    when this process does, however it does: they notice at their next message.
    """
    keep_memory()
    workers = min(workers, len(numbers))
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    if workers <= 1 or not forks or multiprocessing.current_process().daemon:  # a daemon may have no children
        for number in numbers:
            for kind, content in messages(number):
                handle(number, kind, content)
        return
    context = multiprocessing.get_context("fork")
    running: dict[Connection, Any] = {}
    try:
        for first in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (messages, numbers[first::workers], theirs, [ours, *running])
            process = context.Process(target=_work, args=arguments, daemon=True)
            with warnings.catch_warnings():  # other threads of this process hold no lock that a worker needs
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            running[ours] = process
        while running:
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                try:
                    number, kind, content = pickle.loads(pipe.recv_bytes())
                except (EOFError, OSError):  # at its end, or killed in the middle of a message
                    process = running.pop(pipe)
                    process.join()
                    if process.exitcode:
                        raise RuntimeError(f"a worker process ended with exit status {process.exitcode}") from None
                    continue
                if kind == "error":
                    error, trace = content
                    error.add_note(f"in a worker process:\n{trace}")
                    raise error
                handle(number, kind, content)
    finally:
        for process in running.values():
            process.kill()
            process.join()


def _work(messages: Messages, numbers: list[int], pipe: Connection, inherited: list[Connection]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's, which then ends its workers
    for end in inherited:  # as long as anybody can read from a pipe, nobody notices that the parent is gone
        end.close()
    torch.set_num_threads(1)
    number = -1
    try:
        for number in numbers:
            for kind, content in messages(number):
                _send(pipe, (number, kind, content))
    except BrokenPipeError:  # the parent is gone
        os._exit(1)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception that does not survive the journey
            error = RuntimeError(f"{type(error).__name__}: {error}")
        _send(pipe, (number, "error", (error, traceback.format_exc())))
    finally:
        pipe.close()


def _send(pipe: Connection, message: tuple[int, str, Any]) -> None:
    """By value: the pipe's own pickling would share tensors by file descriptors that end with the worker."""
    pipe.send_bytes(pickle.dumps(message))
