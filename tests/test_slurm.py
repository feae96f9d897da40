"""A batch through a real Slurm of one node, started here: a job is killed, and every run is finished all the same."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml
from head import HEAD

from companion.runs import batch
from companion.runs import slurm as slurms
from tests.processes import free_port, listening
from tests.test_batch import call, kill, made, project, start, until, write

__all__ = ["project"]

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch"))) or os.geteuid() != 0,
    reason="needs Slurm (Debian's slurm-wlm), and root to start it",
)

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=9
PartitionName=closed Nodes={host} MaxTime=INFINITE State=DOWN PriorityTier=1
"""


# An experiment that keeps after each second how far it is.
COUNTS = (
    HEAD
    + """
```{code-cell} ipython3
:tags: [parameters]

scale = "quick"
seconds = 10
```

```{code-cell} ipython3
import time

import pandas as pd

from companion.evidence import experiment


@experiment("counts", keys=["second"], check={"seconds": 1}, quick={})
def counted(seconds, *, checkpoints=None):
    kept = checkpoints / "seconds"
    at = int(kept.read_text()) if kept.exists() else 0
    while at < seconds:
        with open("log", "a") as log:
            log.write(f"{at}\\n")
        time.sleep(1.0)
        at += 1
        kept.write_text(str(at))
    return pd.DataFrame({"second": range(seconds)})


counted.load(scale, seconds=seconds).frame["second"].sum()
```
"""
)


def asked(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


@pytest.fixture
def slurm(project, monkeypatch):
    folder = project / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=socket.gethostname(), ports=(free_port(), free_port()), folder=folder)
    )
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    log = (folder / "daemons.log").open("w")
    daemons = [
        subprocess.Popen([name, "-D"], stdout=log, stderr=log, start_new_session=True)
        for name in ("slurmctld", "slurmd")
    ]
    try:
        until(lambda: "idle" in asked("sinfo", "-h", "-o", "%T"))
        yield folder
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        time.sleep(1)
        for daemon in reversed(daemons):
            kill(daemon)
        log.close()


def at_job(process, project):
    try:
        return "--job" in process.cmdline() and project in Path(process.cwd()).parents
    except psutil.Error:
        return False


PROFILE = {"jobs": 2, "cpus-per-task": 1, "mem": "900M", "time": "00:40:00"}


def test_a_batch_is_submitted_and_status_reads_it_and_a_mistake_has_slurms_reason(project, slurm):
    path = write(project, "  - {chapter: quick, parameters: {seconds: 3.0, number: 1}}\n")
    (project / "slurm.yaml").write_text("jobs: 5\npartition: none\n")
    done = call("submit", "batches/some.yaml", "--slurm", "slurm.yaml")
    assert done.exit_code == 1 and "Slurm refuses it" in done.output and "partition" in done.output
    (project / "slurm.yaml").write_text("jobs: 5\nmem: 900M\n")
    done = call("submit", "batches/some.yaml", "--slurm", "slurm.yaml")
    assert done.exit_code == 0 and "submitted as job" in done.output, done.output
    assert len(asked("squeue", "-h", "-r", "-o", "%i").split()) == 1  # one run, one job
    assert "1 missing" in (said := call("status", "batches/some.yaml").output) and "\njob " in said
    until(lambda: made(project))
    (job,) = [one for one in psutil.process_iter() if at_job(one, project)]
    many, ports = listening(job)
    assert many >= 2 and ports == []  # the job and the kernel of its run
    again = call("submit", "batches/some.yaml", "--slurm", "slurm.yaml")
    assert again.exit_code == 1 and "is still in the queue" in again.output
    until(lambda: not asked("squeue", "-h", "-o", "%i").split())
    assert batch.state(batch.load(path)[0])[0] == "done" and made(project) == {1: 1}
    assert "nothing is submitted" in call("submit", "batches/some.yaml", "--slurm", "slurm.yaml").output


def test_a_killed_job_is_replaced_and_every_run_is_made(project, slurm):
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE))
    path = write(project, "  - {chapter: quick, parameters: {seconds: 3.0}, cross: {number: 1..6}}\n")
    began = time.monotonic()
    client = start("-m", "companion", "run", str(path), "--slurm", "slurm.yaml", cwd=project)
    until(lambda: len(made(project)) >= 3)
    finished = [run.parameters["number"] for run in batch.load(path) if batch.state(run)[0] == "done"]
    victim = asked("squeue", "-h", "-t", "R", "-o", "%i").split()[0]
    subprocess.run(["scancel", "--signal=KILL", "--full", victim], check=True)
    out, _ = client.communicate(timeout=300)
    assert client.returncode == 0 and "6 of 6 runs are done" in out, out
    assert all(made(project)[number] == 1 for number in finished)
    print(f"6 runs of 3 s on 2 jobs, one of them killed: {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"hold": True}, "JobHeldUser"),
        ({"partition": "closed"}, "PartitionDown"),
        ({"cpus-per-task": 99}, "PartitionConfig"),
        ({"nodes": 5}, "PartitionConfig"),
    ],
    ids=["held", "closed", "cores", "nodes"],
)
def test_a_job_that_never_starts_ends_with_slurms_reason(project, slurm, wish, reason):
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE | wish))
    path = write(project, "  - {chapter: quick, parameters: {number: 1}}\n")
    client = start("-m", "companion", "run", str(path), "--slurm", "slurm.yaml", cwd=project)
    out, _ = client.communicate(timeout=120)
    assert client.returncode == 1 and f": 1 PENDING ({reason})\n" in out, out
    assert out.splitlines()[-1].endswith(f"Slurm will not start job 1: {reason}") and not made(project)
    assert not asked("squeue", "-h", "-o", "%i").split()
    assert call("submit", "batches/some.yaml", "--slurm", "slurm.yaml").exit_code == 0
    until(lambda: f"1 PENDING ({reason}), which Slurm will not start" in call("status", "batches/some.yaml").output)


@pytest.mark.parametrize("reason", ["AssocMaxWallDurationPerJobLimit", "QOSMaxCpuPerNode", "InvalidQOS"])
def test_a_limit_that_stays_is_told_from_one_that_passes(reason):
    assert slurms.NEVER.search(f"2 PENDING ({reason})")[1] == reason
    for passes in ("Resources", "Priority", "BeginTime", "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "Licenses"):
        assert not slurms.NEVER.search(f"2 PENDING ({passes}), 1 RUNNING")


def test_a_job_that_waits_says_for_what_and_goes_on_without_the_command(project, slurm):
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE | {"begin": "now+1hour"}))
    path = write(project, "  - {chapter: quick, parameters: {number: 1}}\n")
    client = start("-m", "companion", "run", str(path), "--slurm", "slurm.yaml", cwd=project)
    assert any("1 PENDING (BeginTime)" in line for line in client.stdout) and client.poll() is None
    kill(client)
    done = call("status", "batches/some.yaml")
    assert done.exit_code == 1 and done.output.endswith(": 1 PENDING (BeginTime)\n")


def test_a_job_that_waits_for_others_says_so_and_goes_on(project, slurm):
    other = asked("sbatch", "--parsable", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 300").strip()
    until(lambda: asked("squeue", "-h", "-t", "R", "-o", "%i").split())
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE))
    path = write(project, "  - {chapter: quick, parameters: {number: 1}}\n")
    client = start("-m", "companion", "run", str(path), "--slurm", "slurm.yaml", cwd=project)
    for line in client.stdout:
        if "PENDING (Resources)" in line:
            break
    assert not made(project) and "1 PENDING (Resources)" in call("status", "batches/some.yaml").output
    asked("scancel", other)
    out, _ = client.communicate(timeout=300)
    assert client.returncode == 0 and "1 of 1 runs are done" in out, out


def test_a_job_that_asks_for_more_memory_than_any_node_has_is_refused_at_once(project, slurm):
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE | {"mem": "9000M"}))
    write(project, "  - {chapter: quick, parameters: {number: 1}}\n")
    for word in ("submit", "run"):
        done = call(word, "batches/some.yaml", "--slurm", "slurm.yaml")
        assert done.exit_code == 1 and "Error: Slurm refuses it: " in done.output, done.output
        assert "not available" in done.output or "specification" in done.output, done.output
    assert not asked("squeue", "-h", "-o", "%i").split()


def log_of(project):
    return "".join(path.read_text() for path in sorted((project / "runs" / "some").glob("slurm-*.log")))


def went_on(project, path, stops):
    """That the run is done, and that each stop repeated one second of it at most."""
    (run,) = batch.load(path)
    until(lambda: not asked("squeue", "-h", "-o", "%i").split(), seconds=600)
    assert batch.state(run)[0] == "done", log_of(project)
    seconds = list(map(int, made(project)))
    assert seconds == list(range(run.parameters["seconds"]))
    assert sum(made(project).values()) <= len(seconds) + stops and not run.checkpoints.exists()


def test_a_job_that_outlasts_its_walltime_goes_on_from_its_checkpoint(project, slurm):
    """Slurm sends the notice half a minute early or late, as often as it looks."""
    (project / "notebooks" / "counts.md").write_text(COUNTS)
    path = write(project, "  - {chapter: counts, parameters: {seconds: 50}}\n")
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE | {"time": "00:01:00", "signal": "B:TERM@10"}))
    done = call("submit", "batches/some.yaml", "--slurm", "slurm.yaml")
    assert done.exit_code == 0, done.output
    went_on(project, path, stops := 4)
    said = log_of(project).count("stopped by Slurm at counts: it asks to be started again")
    assert 1 <= said <= stops, log_of(project)


def test_a_preempted_job_goes_on_from_its_checkpoint(project, slurm):
    (project / "notebooks" / "counts.md").write_text(COUNTS)
    path = write(project, "  - {chapter: counts, parameters: {seconds: 15}}\n")
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE | {"partition": "all"}))
    assert call("submit", "batches/some.yaml", "--slurm", "slurm.yaml").exit_code == 0
    until(lambda: len(made(project)) >= 5)
    asked("sbatch", "-p", "urgent", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 3")
    until(lambda: asked("squeue", "-h", "-p", "urgent", "-t", "R", "-o", "%i").split())
    before = len(made(project))
    assert before < 15 and "PENDING" in asked("squeue", "-h", "-p", "all", "-o", "%T")
    went_on(project, path, stops=1)


@pytest.mark.slow
def test_two_hundred_short_runs(project, slurm):
    """What a run costs beside its own work, from the first call to the last result."""
    (project / "slurm.yaml").write_text(yaml.safe_dump(PROFILE))
    path = write(project, "  - {chapter: quick, cross: {number: 100..299}}\n")
    began = time.monotonic()
    client = start("-m", "companion", "run", str(path), "--slurm", "slurm.yaml", cwd=project)
    out, _ = client.communicate(timeout=1800)
    took = time.monotonic() - began
    assert client.returncode == 0 and "200 of 200 runs are done" in out, out
    assert set(made(project).values()) == {1}
    inside = sum(batch.note(run.out)["seconds"] for run in batch.load(path))
    print(f"200 runs through Slurm, 2 jobs at once: {took:.0f} s, {200 / took:.2f} runs a second;")
    print(f"a run takes {inside / 200:.2f} s, almost all of it the start of its kernel,")
    print(f"and {2 * took / 200 - inside / 200:.2f} s of a job more for scheduling and reporting")
