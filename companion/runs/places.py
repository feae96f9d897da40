"""The files around the results of runs: locks, what was left behind by runs that were killed, checkpoints."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from companion.evidence.provenance import write_whole
from companion.evidence.records import FOLDER
from companion.runs import batch
from companion.runs.batch import Run

__all__ = ["PARTIAL", "Busy", "checkpoints", "left", "locked", "sweep", "touched"]

#: How the file of a run that is under way ends.
PARTIAL = ".partial.ipynb"
#: What a file system says that has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Busy(ValueError):
    """Another process is at a run."""


def left(runs: Sequence[Run], say: Callable[[str], None]) -> list[Run]:
    """The runs that are not done, and what each of them is; what was left behind is removed."""
    for path in sweep(runs):
        say(f"removed {path.name}, left behind by a run that was killed")
    states = [(run, *batch.state(run)) for run in runs]
    for run, state, why in states:
        say(f"{run.name}: {state}{f' ({why})' if why else ''}")
    return [run for run, state, _ in states if state != "done"]


def sweep(runs: Sequence[Run]) -> list[Path]:
    """Remove the partial files of these runs that were killed; returns them. Call it where none is under way."""
    names = {(run.out.parent, run.out.stem) for run in runs if not run.experiment}
    there = [path for folder in {folder for folder, _ in names} for path in folder.glob(f"*{PARTIAL}")]
    found = sorted(path for path in there if (path.parent, path.name.rpartition("~")[0]) in names)
    for path in found:
        path.unlink(missing_ok=True)
    return found


@contextlib.contextmanager
def locked(runs: Sequence[Run]) -> Iterator[None]:
    """Keep these runs to this process.

    Raises Busy where another is at one of them, and ValueError where their folder cannot be written to or has no locks.
    """
    with contextlib.ExitStack() as stack:
        files = {}
        for run in runs:
            folder = run.project / "runs" / "records" if run.experiment else run.out.parent
            try:
                if folder not in files:
                    folder.mkdir(parents=True, exist_ok=True)
                    files[folder] = stack.enter_context((folder / ".lock").open("a"))
                place = int(hashlib.sha256(run.name.encode()).hexdigest()[:15], 16)  # a byte of its own for each run
                fcntl.lockf(files[folder], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN) and folder in files:
                    raise Busy(f"another process is running {run.name} of {folder}: wait for it or stop it") from None
                if error.errno in _NO_LOCKS:
                    raise ValueError(
                        f"the file system of {folder} has no locks: put the project on one that has"
                    ) from None
                raise ValueError(f"{folder} cannot be written to: {error.strerror}") from None
        yield


@contextlib.contextmanager
def checkpoints(run: Run, inputs: Mapping[str, str], commit: str) -> Iterator[list[str]]:
    """The run's own folder for what lets it go on, of the same inputs; gives the commits that contributed so far.

    The kernel finds it as the variable that ``evidence.records.run_folder`` reads. What other code, parameters or
    versions left there is removed.
    """
    folder, about = run.checkpoints, run.checkpoints / "started.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(about.read_text(encoding="utf-8")).get("inputs") != inputs:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = json.loads(about.read_text(encoding="utf-8"))["commits"] if about.is_file() else []
    commits = list(dict.fromkeys([*before, commit])) if touched(run) else [commit]
    write_whole(about, json.dumps({"inputs": dict(inputs), "commits": commits}))
    was = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(folder)
    try:
        yield commits
    finally:
        os.environ.pop(FOLDER)
        if was is not None:
            os.environ[FOLDER] = was
        if not touched(run):
            shutil.rmtree(folder, ignore_errors=True)


def touched(run: Run) -> float:
    """When a checkpoint of a run was last written; 0 where there is none."""
    if run.experiment:
        from companion.evidence.records import Record

        folder = Record(run.project, run.name).making_in
    else:
        folder = run.checkpoints
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file() and path.name != "started.json"]
    return max(times, default=0.0)
