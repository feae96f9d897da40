"""What pages show is run as it stands there: a scheduler with certificates, a Snakefile, two programs for torchrun."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from companion.runs import batch
from tests.processes import free_port
from tests.test_batch import ROOT, call, made, project, write

__all__ = ["project"]

PAGE = (ROOT / "book" / "rerun.md").read_text(encoding="utf-8")


def block(what):
    """The block of the page that has these words."""
    (found,) = [text for text in re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.M | re.S) if what in text]
    return found


def here(text, port=0):
    """With this machine's programs, and this test's files."""
    swaps = {
        ".venv/bin/dask": f"{sys.executable} -m dask",
        ".venv/bin/companion": f"{sys.executable} -m companion",
        "mine": "some",
        "HOST": "127.0.0.1",
        "8786": str(port),
    }
    for old, new in swaps.items():
        assert old in text or old in (".venv/bin/dask", "HOST", "8786")
        text = text.replace(old, new)
    return text


def test_a_scheduler_with_certificates_takes_a_batch_from_who_has_them_and_from_nobody_else(project):
    lines = here(block("openssl req"), port := free_port()).splitlines()
    daemons = [i for i, line in enumerate(lines) if " -m dask " in line]
    assert len(daemons) == 3 and "companion run" in lines[-1]
    lines[:] = [line.partition("  #")[0] + " &" * (i in daemons) for i, line in enumerate(lines) if i != daemons[1]]
    path = write(project, "  - {chapter: quick, gpus: 1, name: large}\n  - {chapter: quick, cross: {number: [1, 2]}}\n")
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join([*lines, "echo status $?", "wait"])], cwd=project, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        said = []
        for line in shell.stdout:
            said.append(line)
            if line.startswith("status "):
                break
        assert said[-1] == "status 0\n" and "3 of 3 runs are done" in "".join(said), "".join(said)
        assert (project / "key.pem").stat().st_mode & 0o077 == 0
        assert all(batch.state(run)[0] == "done" for run in batch.load(path))
        write(project, "  - {chapter: quick, parameters: {number: 3}}\n", name="other")
        for address in (f"tls://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"):
            done = call("run", "batches/other.yaml", "--scheduler", address)
            assert done.exit_code == 1 and f"no Dask scheduler answers at {address}" in done.output
        assert 3 not in made(project)
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


@pytest.mark.skipif(not shutil.which("snakemake"), reason="no Snakemake is installed")
def test_the_snakefile_makes_every_run_once(project):
    (project / "Snakefile").write_text(here(block("rule all:")))
    path = write(project, "  - {chapter: quick, cross: {number: 1..3}}\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = ["snakemake", "--cores", "2"]
    for _ in range(2):
        told = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
    assert made(project) == {1: 1, 2: 1, 3: 1} and all(batch.state(run)[0] == "done" for run in batch.load(path))


def test_two_processes_train_the_network_of_one_replicated_and_cut(tmp_path):
    page = (ROOT / "book" / "torchrun.md").read_text(encoding="utf-8")
    programs = dict(re.findall(r"^```\{code-block\} python\n:caption: (\w+\.py)\n\n(.*?)^```$", page, re.M | re.S))
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
    environment, losses = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, []
    calls = re.findall(r"^torchrun --nproc-per-node (\d) (\w+\.py)", page, re.M)
    assert calls == [("1", "replicated.py"), ("2", "replicated.py"), ("2", "sharded.py")]
    for processes, name in calls:
        at = ["--nproc-per-node", processes, "--master-port", str(free_port())]
        command = [sys.executable, "-m", "torch.distributed.run", *at, name]
        told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        losses += re.findall(rf"process \d of {processes}: (\d\.\d+)", told.stdout)
    assert len(losses) == 5 and max(map(float, losses)) - min(map(float, losses)) < 2e-4 and float(losses[0]) < 0.6
