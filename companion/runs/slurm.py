"""Batches as job arrays of Slurm: each job takes the runs that are left, one after the other, until none is.

A *profile* is a YAML file: ``jobs``, how many to have at once; ``setup``, lines for the shell before the command; and
options of ``sbatch`` by their own names. The jobs talk to nobody: a run is kept to one of them by a lock on the file
system that all of them see. Sixty seconds before its walltime, or when it is preempted, a job stops; Slurm is asked to
start it again as long as it comes further each time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from companion.runs import batch, execution, places
from companion.runs.batch import Run
from companion.runs.execution import Outcome

__all__ = ["follow", "job", "queue", "submit"]

#: Why Slurm will never start a job.
NEVER = re.compile(
    r"PENDING \((AccountNotAllowed|BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|JobHeldAdmin|"
    r"JobHeldUser|PartitionConfig|PartitionDown|PartitionInactive|PartitionNodeLimit|PartitionTimeLimit|QOSMin\w+|"
    r"QOSNotAllowed|\w+Per(?:Job|Node)(?:Limit)?)\)"
)
#: Seconds between two looks at the queue.
LOOK = 2.0
SCRIPT = """\
#!/bin/bash
{options}
{setup}
exec {python} -m companion run {batch} --job{only}
"""


def _profile(path: Path) -> tuple[int, list[str], dict[str, Any]]:
    import yaml

    if not path.is_file():
        raise ValueError(f"there is no Slurm profile {str(path)!r}; the page on batches shows one")
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path.name} is no Slurm profile: it is names with values, as in time: '02:00:00'")
    jobs, setup = said.pop("jobs", 1), said.pop("setup", [])
    if not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs={jobs!r} is not allowed for {path.name}: it is a whole number, 1 or more")
    if not isinstance(setup, list):
        raise ValueError(f"setup={setup!r} is not allowed for {path.name}: it is a list of lines for the shell")
    if wrong := [name for name, value in said.items() if isinstance(value, list | dict)]:
        raise ValueError(
            f"{wrong[0]}={said[wrong[0]]!r} is not allowed for {path.name}: an option of sbatch has one value"
        )
    return jobs, setup, {str(name): value for name, value in said.items()}


def submit(path: Path, runs: Sequence[Run], profile: Path, only: Sequence[str] = ()) -> str:
    """Hand the runs of a batch, of which some are not done, to a job array; returns its number, and does not wait.

    Raises ValueError where a job of this batch is in the queue, and with Slurm's reason where it takes none.
    """
    jobs, setup, options = _profile(profile)
    if there := queue(path):
        raise ValueError(f"job {there[0]} of {path.name} is still in the queue: wait for it, or scancel {there[0]}")
    folder = _folder(path)
    _made(folder)
    log = folder / "slurm-%A_%a.log"
    said = {
        "job-name": f"companion-{path.stem}", "array": f"0-{min(jobs, len(runs)) - 1}", "chdir": Path.cwd(),
        "output": log, "open-mode": "append", "requeue": True, "signal": "B:TERM@60", **options,
    }  # fmt: skip
    lines = [f"#SBATCH --{name}" + ("" if value is True else f"={value}") for name, value in said.items()]
    script = folder / "slurm.sh"
    named = "".join(f" --only {shlex.quote(name)}" for name in only)
    text = {"options": "\n".join(lines), "setup": "\n".join(setup), "only": named}
    script.write_text(SCRIPT.format(python=shlex.quote(sys.executable), batch=shlex.quote(str(path)), **text))
    number = _asked("sbatch", "--parsable", str(script)).strip().split(";")[0]
    (folder / "slurm.json").write_text(json.dumps({"job": number}))
    return number


def _folder(path: Path) -> Path:
    return path.resolve().parent.parent / "runs" / path.stem


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} could not be made: {error.strerror}") from None


def _asked(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        raise ValueError(
            f"there is no {command[0]} on this machine: Slurm is not installed, or not on the PATH"
        ) from None
    if done.returncode:
        raise ValueError(
            f"Slurm refuses it: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason'}"
        )
    return done.stdout


def queue(path: Path) -> list[str]:
    """The job of a batch that is in the queue, and what its parts do; empty where none is, or no Slurm."""
    try:
        number = json.loads((_folder(path) / "slurm.json").read_text())["job"]
        lines = _asked("squeue", "-h", "-r", "-j", number, "-o", "%T %r").splitlines()
    except (OSError, ValueError, KeyError, TypeError):
        return []
    states = [line.split(maxsplit=1) for line in lines]
    told = Counter(state if why == "None" else f"{state} ({why})" for state, why in states)
    return [number, ", ".join(f"{many} {what}" for what, many in told.items())] if told else []


def follow(
    path: Path, runs: Sequence[Run], profile: Path, say: Callable[[str], None], only: Sequence[str] = ()
) -> None:
    """Submit, and wait until no run is left, or none can be made; says what Slurm does whenever that changes.

    Where the jobs have ended and runs are left that did not fail, they are submitted again, while that brings them on.
    Raises ValueError with Slurm's reason where it will not start the jobs.
    """
    left, last = list(runs), ""
    while left:
        number = submit(path, left, profile, only)
        say(f"submitted as job {number}; it goes on when this command is stopped")
        while there := queue(path):
            if there[1] != last:
                last = there[1]
                say(f"job {number}: {last}")
            if reason := NEVER.search(last):
                subprocess.run(["scancel", number], capture_output=True)
                raise ValueError(f"Slurm will not start job {number}: {reason[1]}")
            time.sleep(LOOK)
        before, left = len(left), [run for run in left if batch.state(run)[0] in ("missing", "stale")]
        if len(left) == before:
            logs = sorted(_folder(path).glob(f"slurm-{number}_*.log"))
            tail = next((line for log in logs for line in reversed(log.read_text().splitlines()) if line.strip()), "")
            raise ValueError(
                f"job {number} ended and brought none of {before} runs on; its log ends with: {tail or 'nothing'}"
            )


def _failed_at(run: Run) -> float:
    path = run.log if run.experiment else run.failed
    return path.stat().st_mtime if path.is_file() else 0.0


def job(path: Path, runs: Sequence[Run], say: Callable[[str], None]) -> list[Outcome]:
    """What a job does: make what is left and no other job is at. What failed since they were submitted is not tried."""
    began = time.time()
    since = (_folder(path) / "slurm.sh").stat().st_mtime
    at: list[Run] = []
    ended: list[Outcome] = []

    def stop(*_: object) -> None:
        import psutil

        for child in psutil.Process().children(recursive=True):
            child.kill()
        number = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
        if _asked("squeue", "-h", "-j", number, "-o", "%T").strip() not in ("RUNNING", "SIGNALING"):
            os._exit(0)  # cancelled, or preempted: then Slurm starts it again by itself
        name = at[-1].name if at else "its start"
        if not any(one.state == "done" for one in ended) and not (at and places.touched(at[-1]) > began):
            say(f"{name} did not end within the walltime, and keeps no checkpoint: allow it more")
            os._exit(1)
        say(f"stopped by Slurm at {name}: it asks to be started again")
        subprocess.run(["scontrol", "requeue", number])
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    tried: set[Path] = set()
    new = True
    while new:  # again, since a job that was at a run may have died
        new = False
        for run in runs:
            if run.out in tried:
                continue
            state, why = batch.state(run)
            if state == "done" or (state == "failed" and _failed_at(run) >= since):
                continue
            try:
                with places.locked([run]):
                    if batch.state(run)[0] == "done":
                        continue
                    say(f"{run.name}: {state}{f' ({why})' if why else ''}")
                    places.sweep([run])
                    at.append(run)
                    outcome = execution.execute(run)
            except places.Busy:
                continue
            tried.add(run.out)
            new = True
            ended.append(outcome)
            at.clear()
            say(f"{run.name}: {outcome.state}{f': {outcome.error}' if outcome.error else ''}")
    return ended
