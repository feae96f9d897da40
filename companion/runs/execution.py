"""Runs are executed: watched, written whole or not at all, never twice at once."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.evidence.provenance import commit, processor, write_whole
from companion.installed import versions
from companion.runs.batch import FAILED, Run, said
from companion.runs.chapters import lacking, read
from companion.runs.places import PARTIAL, checkpoints

__all__ = ["Outcome", "execute", "provenance", "under_batch"]

_VERSIONS = ("torch", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``done``, ``failed`` or ``left out``, after how many seconds, and why it is not done."""

    name: str
    state: str
    seconds: float
    error: str = ""


def execute(run: Run, progress: bool | dict[str, Any] = False) -> Outcome:
    """Execute a run and write its result, whole or not at all; an earlier result stays where it fails.

    A chapter whose data are not to be had is left out. A chapter that fails keeps what it had reached beside its
    result, as ``NAME.failed.ipynb``; ``progress`` shows a bar in cells, and a dict says how, in the words of tqdm. A
    record is made in a process of its own, which ends with this one.
    """
    if reason := lacking(read(run.chapter)):
        return Outcome(run.name, "left out", 0.0, reason)
    return _make_record(run) if run.experiment else _execute_notebook(run, progress)


def _make_record(run: Run) -> Outcome:
    began = time.perf_counter()
    run.log.parent.mkdir(parents=True, exist_ok=True)
    write_whole(run.log, "begun")
    command = [sys.executable, "-m", "companion", "record", run.name, "--log", str(run.log)]
    with (
        Watch(run) as watch,
        subprocess.Popen(command, cwd=run.project, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process,
    ):
        process.wait()
    error = ""
    if process.returncode:
        last = said(run)
        known = last.removeprefix(FAILED) if last.startswith(FAILED) else ""
        error = watch.broken or known or f"it ended with the exit status {process.returncode}, after: {last}"
        write_whole(run.log, FAILED + error)
    else:
        run.log.unlink(missing_ok=True)
    return Outcome(run.name, "failed" if error else "done", time.perf_counter() - began, error)


@contextlib.contextmanager
def under_batch(log: Path) -> Iterator[None]:
    """For the process that makes a record: keep the last line that is said in ``log``, end when the batch does."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    sys.stderr = LastLine(log)
    try:
        yield
    except Exception as error:
        words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        write_whole(log, FAILED + " ".join(words.split()))
        sys.exit(1)


class LastLine(io.TextIOBase):
    """A terminal of which only the last line is kept, in a file: a progress bar for who looks there."""

    def __init__(self, path: Path) -> None:
        self.path, self.line = path, ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.line = next(filter(None, map(str.strip, reversed(re.split(r"[\r\n]", self.line + text)))), "")
        write_whole(self.path, self.line)
        return len(text)


def _execute_notebook(run: Run, progress: bool | dict[str, Any]) -> Outcome:
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from companion.runs.manager import Kernels

    inputs, began, now = run.inputs(), time.perf_counter(), datetime.datetime.now(datetime.UTC)
    where = provenance(run.project)  # now, before the files change under a run that takes hours
    partial = run.out.with_name(f"{run.name}~{socket.gethostname()}.{os.getpid()}{PARTIAL}")
    notebook, error = read(run.chapter), ""
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill expects them on every cell
    try:
        run.out.parent.mkdir(parents=True, exist_ok=True)
        with (
            checkpoints(run, inputs, where["commit"]) as commits,
            tempfile.TemporaryDirectory(prefix="companion-") as sockets,  # which nobody else can enter
            Watch(run) as watch,
        ):
            files = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}  # no port that others could reach
            try:
                papermill.execute_notebook(
                    notebook,
                    str(partial),
                    parameters=run.parameters,
                    cwd=run.chapter.parent,
                    kernel_name="python3",
                    progress_bar=progress,
                    config=Config({"KernelManager": files}),
                    kernel_manager_class=Kernels,
                    extra_arguments=["--IPKernelApp.log_level=ERROR"],
                )
            except PapermillExecutionError as raised:
                error = f"{raised.ename}: {raised.evalue}"
            except RuntimeError as raised:  # also where it died before it had answered at all
                error = f"the kernel died: {raised}"
            error = watch.broken or error
        where["commit"] = ", ".join(commits)
        done = nbformat.read(partial, as_version=4)
        # papermill puts the whole notebook there
        done.metadata.setdefault("papermill", {})["input_path"] = run.chapter.name
        seconds = time.perf_counter() - began
        done.metadata["thermolib"] = {
            "inputs": inputs,
            "parameters": run.parameters,
            "error": error,
            "started": f"{now:%Y-%m-%d %H:%M:%S} UTC",
            "seconds": round(seconds, 1),
            "peak memory in GiB": round(watch.peak / 2**30, 2),
            **where,
        }
        nbformat.write(done, partial)
        os.replace(partial, run.failed if error else run.out)
        if not error:
            run.failed.unlink(missing_ok=True)
            shutil.rmtree(run.checkpoints, ignore_errors=True)
    except OSError as raised:
        error = f"{run.out} could not be written: {raised.strerror or raised}; free some space there and run it again"
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return Outcome(run.name, "failed" if error else "done", time.perf_counter() - began, error)


class Watch:
    """Looks at what a run uses twice a second, and stops its process where that is more than allowed."""

    def __init__(self, run: Run) -> None:
        import psutil

        self.run, self.peak, self.broken = run, 0, ""
        self._here = psutil.Process()
        self._others = set(self._here.children(recursive=True))  # processes of somebody else in this one
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        import psutil

        began = time.monotonic()
        while not self._end.wait(0.5):
            used, children = 0, set(self._here.children(recursive=True)) - self._others
            for child in children:
                with contextlib.suppress(psutil.Error):
                    used += child.memory_info().rss
            self.peak = max(self.peak, used)
            if self.run.hours and time.monotonic() - began > 3600 * self.run.hours:
                self.broken = f"stopped: it ran for more than the {self.run.hours:g} hours that its batch allows"
            elif self.run.memory and used > self.run.memory * 2**30:
                self.broken = f"stopped: it used more than the {self.run.memory:g} GiB that its batch allows"
            if self.broken:
                for child in children:
                    with contextlib.suppress(psutil.Error):
                        child.kill()
                return


def provenance(root: Path) -> dict[str, Any]:
    """Where a run is made: commit, versions, processor, GPU, threads."""
    import torch

    return {
        "commit": commit(root, "thermolib", "companion", "notebooks/*.md"),
        "versions": versions(*_VERSIONS),
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
