"""Processes on one machine: no port, none left behind, what dies is made again, and little time for each thing."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from companion.runs import batch, pool, scheduling
from companion.runs.execution import Outcome
from tests.processes import listening
from tests.test_batch import call, kill, made, project, run_quietly, start, until, write

__all__ = ["project"]


def double(number):
    return 2 * number


def moody(what):
    """Dies, or says where it runs."""
    path, deaths = what
    with path.open("a") as log:
        log.write(f"{os.getpid()}\n")
    if len(path.read_text().split()) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "none")


def test_a_thing_costs_the_client_little():
    things = list(range(1000))
    list(pool.outcomes(double, [1], 1))  # imports
    began = time.process_time()
    found = dict(pool.outcomes(double, things, 2))
    took = (time.process_time() - began) / len(things)
    print(f"{1000 * took:.2f} ms of the client a thing")
    assert found == {n: 2 * n for n in things} and took < 0.01


def test_what_dies_is_made_again_and_three_times_at_most(tmp_path):
    things = [(tmp_path / "once", 1), (tmp_path / "never", 99), (tmp_path / "alive", 0)]
    found = dict(pool.outcomes(moody, things, 2))
    assert found[things[0]] == found[things[2]] == "none" and isinstance(found[things[1]], pool.Died)
    assert [len((tmp_path / name).read_text().split()) for name in ("once", "never", "alive")] == [2, 3, 1]


def test_gpus_are_shared_out_one_by_one_or_as_many_as_a_thing_needs(tmp_path):
    things = [(tmp_path / str(i), 0) for i in range(4)]
    found = dict(pool.outcomes(moody, things, 2, gpus=["4", "7"], needs=lambda thing: 2 * (thing is things[3])))
    assert found[things[3]] == "4,7" or found[things[3]] == "7,4"
    assert {found[thing] for thing in things[:3]} <= {"4", "7"}


def test_a_batch_on_one_machine_opens_no_port_and_leaves_no_process(project):
    path = write(project, "  - {chapter: quick, parameters: {seconds: 60.0}, cross: {number: [1, 2]}}\n")
    first = start("-m", "companion", "run", str(path), "--workers", "2", cwd=project)
    until(lambda: len(made(project)) == 2)
    processes = psutil.Process(first.pid).children(recursive=True)
    many, ports = listening(psutil.Process(first.pid))
    assert many >= 5 and ports == []  # two workers with a kernel each
    os.kill(first.pid, signal.SIGINT)
    out, _ = first.communicate(timeout=60)
    assert first.returncode == 1 and "Aborted" in out
    assert psutil.wait_procs(processes, timeout=20)[1] == []

    second = start("-m", "companion", "run", str(path), "--workers", "1", cwd=project)
    until(lambda: sum(made(project).values()) == 3)
    processes = psutil.Process(second.pid).children(recursive=True)
    os.kill(second.pid, signal.SIGKILL)  # alone, without those that it started
    second.wait()
    assert psutil.wait_procs(processes, timeout=20)[1] == []
    assert {batch.state(run)[0] for run in batch.load(path)} == {"missing"}


def test_a_worker_that_is_killed_is_replaced_and_its_run_made_again(project):
    path = write(project, "  - {chapter: quick, parameters: {seconds: 3.0}, cross: {number: [1, 2]}}\n")
    client = start("-m", "companion", "run", str(path), "--workers", "2", cwd=project)
    until(lambda: len(made(project)) == 2)
    workers = [one for one in psutil.Process(client.pid).children() if "--multiprocessing-fork" in one.cmdline()]
    workers[0].kill()
    out, _ = client.communicate(timeout=300)
    assert client.returncode == 0 and "2 of 2 runs are done" in out, out
    assert sorted(made(project).values()) == [1, 2]


def test_a_run_that_needs_a_gpu_fails_at_once_where_there_is_none(project, monkeypatch):
    monkeypatch.setattr(scheduling, "gpus", list)
    path = write(project, "  - {chapter: quick, gpus: 1}\n  - {chapter: quick, name: plain}\n")
    outcomes, said = run_quietly(path, workers=1)
    assert [one.state for one in outcomes] == ["failed", "done"]
    assert said[2] == "[1/2] quick: failed: it needs 1 GPU(s), and this machine has none"
    done = call("run", str(path), "--only", "quick")
    assert done.exit_code == 1 and "0 of 1 runs are done" in done.output


@pytest.mark.parametrize("answer", [pool.Died("the process that made it died 3 times"), KeyError("x")])
def test_what_no_worker_could_answer_is_a_failure_that_says_why(answer):
    found = scheduling._outcome("a", answer)
    assert found == Outcome("a", "failed", 0.0, str(answer) if isinstance(answer, pool.Died) else "KeyError: 'x'")


def test_sockets_of_kernels_lie_where_nobody_else_can_enter(project):
    path = write(project, "  - {chapter: quick, parameters: {seconds: 4.0}}\n")
    client = start("-m", "companion", "run", str(path), "--workers", "1", cwd=project)
    until(lambda: made(project))
    (kernel,) = [
        one for one in psutil.Process(client.pid).children(recursive=True) if "companion.runs.kernel" in one.cmdline()
    ]
    folder = Path(kernel.cmdline()[kernel.cmdline().index("-f") + 1]).parent
    assert folder.stat().st_mode & 0o077 == 0 and folder.stat().st_uid == os.geteuid()
    kill(client)
