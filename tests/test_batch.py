"""A batch runs what is not done, once; what goes wrong is said in one sentence, and what was finished stays."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from head import HEAD

from benchmarks import many_runs
from book.tools import chapters
from companion.runs import batch, command, execution, places, scheduling, shown
from companion.runs.chapters import experiments_of, literal, read

ROOT = Path(__file__).resolve().parents[1]

CHAPTER = (
    HEAD
    + """
# A chapter

```{code-cell} ipython3
:tags: [parameters]

steps = 20  # of two networks
seed = 3
rate = 0.1
word = "BAOAB"
sizes = [1, 2]
share = {"sine": 1.0, "cars": 0.5}
```

```{code-cell} ipython3
:tags: [record]

print("steps made:", steps)
```

```{code-cell} ipython3
from companion.claims import chapter, judged

found = "reproduced" if steps == 30 else "contradicted"
row = judged.Row("steps", "partitioned", "Thirty steps", "Sec. 1", "30", ours=f"{steps}", verdict=found)


class Shown(chapter.Verdicts):
    rows = [row]

    def __init__(self):
        pass


Shown()
```
"""
)

# A chapter that trains for a while, keeps a checkpoint, and says at which steps it looked.
TRAINED = (
    HEAD
    + """
```{code-cell} ipython3
:tags: [parameters]

pause = 0.0
folder = "alone"
```

```{code-cell} ipython3
import time
from pathlib import Path

import thermolib as tl

looks = 0


def look(state):
    global looks
    looks += 1
    with Path(folder, "log").open("a") as log:
        log.write(f"{looks}\\n")
    time.sleep(pause)
    return state.q[:, 0]


Path(folder).mkdir(exist_ok=True)
runs = tl.Ensemble(tl.models.shlp(2, 4), replicas=2, device="cpu")
data = tl.datasets.spirals(train=20, test=2)
law = tl.Langevin("BAOAB", step_size=0.1, friction=1.0, temperature=1e-3)
history = tl.train(
    runs, law, data, loss=tl.losses.bce, batch_size=5, steps=300, every=10, observe={"first": look}, compile=False,
    checkpoint=Path(folder, "checkpoint"), checkpoint_seconds=0.0, workers=1,
)
print("parameters:", [f"{x:.17g}" for x in history.final.q.flatten().tolist()])
```
"""
)

# A chapter that costs nothing to run, for what is about processes.
QUICK = (
    HEAD
    + """
```{code-cell} ipython3
:tags: [parameters]

seconds = 0.0  # to sleep
gigabytes = 0.0  # to fill
number = 0
others = 0  # to wait for until they have begun
```

```{code-cell} ipython3
import time
from pathlib import Path

with Path("log").open("a") as log:
    log.write(f"{number}\\n")
filled = bytearray(int(gigabytes * 2**30))
time.sleep(seconds)
end = time.monotonic() + 150
while (begun := len(Path("log").read_text().split()) - 1) < others:
    assert time.monotonic() < end, f"only {begun} others have begun"
    time.sleep(0.1)
1 / (number - 13)
```
"""
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    for folder in ("notebooks", "batches"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notebooks" / "tiny.md").write_text(CHAPTER)
    (tmp_path / "notebooks" / "quick.md").write_text(QUICK)
    (tmp_path / "notebooks" / "trained.md").write_text(TRAINED)
    (tmp_path / "batches" / "one.yaml").write_text(
        "runs:\n  - {chapter: tiny, parameters: {steps: 30}, name: thirty}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def write(project, text, name="some"):
    path = project / "batches" / f"{name}.yaml"
    path.write_text(f"runs:\n{text}")
    return path


def run_quietly(path, **options):
    said = []
    outcomes = scheduling.run_all(batch.load(path), say=said.append, **options)
    return outcomes, said


def call(*words):
    return CliRunner().invoke(command.main, list(words))


def made(project):
    """How often each number of the quick chapter was begun."""
    log = project / "notebooks" / "log"
    lines = log.read_text().split() if log.exists() else []
    return {int(n): lines.count(n) for n in sorted(set(lines), key=int)}


def test_a_chapter_runs_with_other_parameters_and_says_where_and_which_claims_held(project):
    done = call("run", "notebooks/tiny", "-p", "steps=30")
    assert done.exit_code == 0, done.output
    out = project / "runs" / "tiny-steps=30.ipynb"
    assert "runs/tiny-steps=30.ipynb" in done.output and "1 statement: 1 reproduced" in done.output
    note = json.loads(out.read_text())["metadata"]["thermolib"]
    assert note["parameters"] == {"steps": 30} and note["threads"] == "1" and note["peak memory in GiB"] > 0.05
    assert sorted(path.name for path in out.parent.iterdir()) == [".lock", out.name]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["notebooks/tiny", "-p", "step=1"],
            "tiny.md has no parameter 'step'; it has: steps, seed, rate, word, sizes, share",
        ),
        (["notebooks/tiny", "-p", "steps=many"], "steps='many' is not allowed for tiny.md: it is a whole number"),
        (["notebooks/tiny", "-p", "steps=1.5"], "it is a whole number, as in 20"),
        (["notebooks/tiny", "-p", "rate=True"], "it is a number, as in 0.1"),
        (["notebooks/tiny", "-p", "sizes=3"], "it is a list of which each: it is a whole number"),
        (["notebooks/tiny", "-p", "sizes=['a']"], "it is a list of which each: it is a whole number"),
        (["notebooks/tiny", "-p", "share={'sine': 1.0}"], "it is a dict with these keys and values of these kinds"),
        (["notebooks/tiny", "-p", "share={'sine': 'x', 'cars': 1}"], "it is a dict with these keys"),
        (["notebooks/tiny", "-p", "steps"], "it is KEY=VALUE, as in -p seed=7"),
        (
            ["notebooks/huge"],
            "there is no chapter 'notebooks/huge'; there are: notebooks/quick, notebooks/tiny, notebooks/trained",
        ),
        (["batches/none.yaml"], "there is no batch 'none.yaml'; there are: batches/one.yaml"),
        (["batches/one.yaml", "-p", "seed=1"], "-p is for a chapter"),
        (["batches/one.yaml", "--only", "two"], "there is no run 'two' in this batch; there are: thirty"),
        (["notebooks/tiny", "--workers", "2"], "are for batches, and this is a chapter"),
        (["batches/one.yaml", "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
        (["batches/one.yaml", "--slurm", "none.yaml"], "there is no Slurm profile 'none.yaml'"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_runs(project, monkeypatch, words, message):
    monkeypatch.setattr(scheduling, "PATIENCE", 1)
    done = call("run", *words)
    assert done.exit_code == 1 and message in done.output and "Traceback" not in done.output
    assert not list(project.glob("runs/**/*.ipynb"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  - {chapter: nothing}", "some.yaml: there is no chapter 'nothing'; there are: quick, tiny, trained"),
        ("  - {chapter: tiny, parameters: {stepz: 1}}", "some.yaml: tiny.md has no parameter 'stepz'"),
        ("  - {chapter: tiny, parameters: {steps: few}}", "some.yaml: steps='few' is not allowed"),
        ("  - {chapter: tiny, parameter: {steps: 1}}", "says 'parameter', which is not known"),
        ("  - {chapter: tiny}\n  - {chapter: tiny}", "two runs are called 'tiny'"),
        ("  - {chapter: tiny, cross: {seed: 3}}", "cross: seed=3 is not allowed: it is a list of values, or a range"),
        ("  - {chapter: tiny, gpus: many}", "gpus='many' is not allowed for tiny"),
        ("  - {parameters: {}}", "some.yaml is no batch"),
        ("  - tiny", "some.yaml is no batch"),
        ("  - {chapter: [", "some.yaml is no batch"),
    ],
)
def test_mistakes_in_a_batch_are_named(project, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        batch.load(write(project, text))


def test_values_are_crossed_and_ranges_are_counted(project):
    path = write(project, "  - {chapter: tiny, parameters: {steps: 5}, cross: {seed: 0..2, rate: [1e-2, 0.5]}}\n")
    runs = batch.load(path)
    assert [r.parameters for r in runs] == [{"steps": 5, "seed": s, "rate": r} for s in range(3) for r in (0.01, 0.5)]
    assert runs[0].name == "tiny-seed=0-rate=1e-2" and len({r.out for r in runs}) == 6


@pytest.mark.parametrize(("text", "value"), [("1e-5", 1e-5), ("[1, 2]", [1, 2]), ("BAOAB", "BAOAB"), ("-3", -3)])
def test_parameters_are_read_as_they_are_written(text, value):
    assert literal(text) == value


@pytest.mark.parametrize("path", sorted((ROOT / "batches").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_batch_of_the_project_can_be_run(path):
    assert batch.load(path)


def test_a_batch_includes_another_whose_runs_keep_their_folder(project, cluster):
    path = write(project, "  - {chapter: quick, name: thirty}\n")
    path.write_text("include: [one]\n" + path.read_text())
    own, theirs = batch.load(path)
    assert theirs == batch.load(project / "batches" / "one.yaml")[0]
    assert (theirs.out.parent.name, own.out.parent.name) == ("one", path.stem) and theirs.name == own.name
    outcomes, _ = run_quietly(path, scheduler=cluster)
    assert [one.state for one in outcomes] == ["done", "done"] and theirs.out.is_file() and own.out.is_file()
    path.write_text("include: [nothing]\nruns: []\n")
    with pytest.raises(ValueError, match="there is no batch 'nothing"):
        batch.load(path)


def test_the_default_batch_has_every_chapter_once_and_computes_what_others_load():
    runs = batch.load(ROOT / "batches" / "default.yaml")
    assert sorted(run.chapter for run in runs) == chapters.find()
    for run in runs:
        assert run.parameters == ({"scale": "quick"} if experiments_of(run.chapter) else {}), run.name


def test_a_batch_makes_what_is_missing_failed_or_stale_and_says_why(project, cluster):
    path = write(project, "  - {chapter: quick, cross: {number: [1, 2, 13]}}\n")
    outcomes, said = run_quietly(path, scheduler=cluster)
    assert sorted(o.state for o in outcomes) == ["done", "done", "failed"]
    assert "quick-number=13: missing" in said and any("failed: ZeroDivisionError" in line for line in said)
    runs = {run.parameters["number"]: run for run in batch.load(path)}
    assert runs[1].out.is_file() and runs[13].failed.is_file() and not runs[13].out.exists()
    assert "ZeroDivisionError" in runs[13].failed.read_text()

    before = runs[1].out.read_bytes()
    runs[2].out.unlink()
    _, said = run_quietly(path, scheduler=cluster)
    assert made(project) == {1: 1, 2: 2, 13: 2} and runs[1].out.read_bytes() == before
    assert "quick-number=1: done" in said and "quick-number=13: failed (ZeroDivisionError: division by zero)" in said

    chapter = project / "notebooks" / "quick.md"
    chapter.write_text("Prose.\n" + QUICK.replace("1 / (number - 13)", "1 / ( number-13 )  # a comment"))
    assert batch.state(runs[1]) == ("done", "")
    chapter.write_text(QUICK.replace("1 / (number - 13)", "number"))
    assert batch.state(runs[1]) == ("stale", "changed since: notebook")
    for broken in (runs[2].out.read_text()[:100], '{"metadata": {"thermolib": {"seconds": 90}}}'):
        runs[2].out.write_text(broken)
        assert batch.state(runs[2])[0] == "stale" and "cannot be read" in batch.state(runs[2])[1]
    outcomes, _ = run_quietly(path, scheduler=cluster)
    assert [o.state for o in outcomes] == ["done"] * 3 and not runs[13].failed.exists()
    assert run_quietly(path)[0] == []


def test_status_results_and_the_list(project, cluster):
    write(project, "  - {chapter: tiny, cross: {steps: [30, 40]}}\n  - {chapter: quick, parameters: {number: 13}}\n")
    done = call("run", "batches/some.yaml", "--scheduler", cluster)
    assert done.exit_code == 1 and "2 of 3 runs are done; they lie in runs/some" in done.output
    done = call("status", "batches/some.yaml")
    assert done.exit_code == 1
    assert "tiny-steps=30  done" in done.output and "2 done, 0 missing, 1 failed, 0 stale" in done.output
    done = call("results", "batches/some.yaml", "--csv")
    (project / "table.csv").write_text(done.output)
    table = pd.read_csv(project / "table.csv")
    assert list(table["steps"].dropna()) == [30, 40] and list(table["state"]) == ["done", "done", "failed"]
    assert list(table["verdict"].dropna()) == ["reproduced", "contradicted"]
    assert "verdict" in call("results", "batches/some.yaml").output
    done = call("ls")
    assert "notebooks/tiny\n    steps = 20" in done.output and "batches/some.yaml: 3 runs" in done.output


def test_plain_papermill_on_the_paired_notebook_gives_the_same_run(project):
    import jupytext

    jupytext.write(read(project / "notebooks" / "tiny.md"), project / "notebooks" / "tiny.ipynb")
    papermill = [sys.executable, "-m", "papermill", "tiny.ipynb", "out.ipynb", "-p", "steps", "30", "--cwd", "."]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(papermill, cwd=project / "notebooks", check=True, capture_output=True, env=environment)
    assert "1 statement: 1 reproduced" in shown.held(project / "notebooks" / "out.ipynb")


@pytest.mark.parametrize(
    ("needs", "parameters", "message"),
    [
        ("hours: 0.0005", "seconds: 60.0", "more than the 0.0005 hours"),
        ("memory: 0.3", "seconds: 60.0, gigabytes: 0.5", "more than the 0.3 GiB"),
    ],
)
def test_a_run_that_hangs_or_eats_memory_is_stopped(project, cluster, needs, parameters, message):
    path = write(project, f"  - {{chapter: quick, {needs}, parameters: {{{parameters}}}}}\n")
    (run,), ((outcome,), _) = batch.load(path), run_quietly(path, scheduler=cluster)
    assert outcome.state == "failed" and message in outcome.error and outcome.seconds < 40
    assert batch.state(run) == ("failed", outcome.error) and not run.out.exists()


def test_a_run_that_needs_a_gpu_waits_for_one_and_not_for_ever(project, cluster, monkeypatch):
    monkeypatch.setattr(scheduling, "WAIT", 0.5)
    path = write(project, "  - {chapter: quick, gpus: 1}\n  - {chapter: quick, name: plain}\n")
    outcomes, said = run_quietly(path, scheduler=cluster)
    assert [(o.name, o.state) for o in outcomes] == [("plain", "done"), ("quick", "failed")]
    assert "waits for a worker with --resources GPU=1, for quick, 0.5 s at most" in said
    assert outcomes[1].error == "there is no worker with --resources GPU=1, for quick: it was waited for 0.5 s"


def test_a_worker_with_another_library_is_refused_by_name(project, cluster, monkeypatch):
    path = write(project, "  - {chapter: quick, parameters: {number: 1}}\n")
    monkeypatch.setattr(scheduling.identity, "library", lambda: "another")
    with pytest.raises(ValueError, match=r"the worker tcp://127.0.0.1:\d+ has another version of the library"):
        run_quietly(path, scheduler=cluster)
    assert made(project) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: []\n", "some.yaml has no runs"),
        ("runs:\n  - {chapter: tiny, cross: [seed]}\n", "cross: ['seed'] is not allowed for tiny: it is names with"),
        ("include: [some]\nruns:\n  - {chapter: tiny}\n", "some.yaml includes itself, through some.yaml"),
        ("- {chapter: tiny}\n", "some.yaml is no batch"),
    ],
)
def test_a_batch_that_is_none_is_named_in_one_sentence(project, text, message):
    path = project / "batches" / "some.yaml"
    path.write_text(text)
    done = call("run", str(path))
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1


def test_files_that_are_broken_are_named_in_one_sentence_and_the_others_are_shown(project):
    (project / "slurm.yaml").write_text("- jobs: 2\n")
    done = call("submit", "batches/one.yaml", "--slurm", "slurm.yaml")
    assert done.exit_code == 1 and done.output.splitlines()[-1].startswith("Error: slurm.yaml is no Slurm profile")

    (project / "notebooks" / "quick.md").write_text(QUICK.replace("seconds = 0.0", "seconds ="))
    (project / "batches" / "bad.yaml").write_bytes(b"runs: \xff")
    said = call("ls")
    assert said.exit_code == 0 and "a cell of quick.md that is tagged parameters is no Python" in said.output
    assert "bad.yaml is no batch" in said.output and "batches/one.yaml: 1 runs" in said.output
    assert "notebooks/tiny\n    steps = 20" in said.output

    (project / "runs").write_text("in the way")
    done = call("run", "batches/one.yaml")
    assert done.exit_code == 1 and f"{project / 'runs' / 'one'} cannot be written to: " in done.output
    assert done.output.count("\n") == 1


def test_a_run_that_is_done_says_so_and_is_repeated_when_asked(project):
    words = ["run", "notebooks/quick", "-p", "number=2", "-p", "seconds=0.1"]
    assert call(*words).exit_code == 0 and sum(made(project).values()) == 1
    words[2:] = [*words[4:], *words[2:4]]  # in the other order
    done = call(*words)
    assert done.exit_code == 0 and "runs/quick-seconds=0.1-number=2.ipynb is done; --again" in done.output
    assert sum(made(project).values()) == 1
    assert call(*words, "--again").exit_code == 0 and sum(made(project).values()) == 2

    (project / "notebooks" / "quick.md").write_text(QUICK.replace("time.sleep(0.1)", "time.sleep(0.2)"))
    run = batch.single("notebooks/quick", {"number": 2, "seconds": 0.1})
    assert batch.state(run) == ("stale", "changed since: notebook")
    assert "accepted, with another notebook" in call("accept", *words[1:]).output
    assert batch.state(run)[0] == "done" and "harmless: another notebook" in batch.state(run)[1]
    assert call("accept", *words[1:]).output == "nothing is stale\n"
    assert made(project) == {2: 2}


def test_names_of_runs_are_unique(project):
    for name in ("a b", "a/b", "a_b"):
        assert batch._file_name("tiny", {"word": name}).startswith("tiny-word=a_b")
    assert len({batch._file_name("tiny", {"word": name}) for name in ("a b", "a/b", "a_b")}) == 3


def test_help_and_lists_import_nothing_large(project):
    look = (
        "import sys; from click.testing import CliRunner; from companion.runs.command import main\n"
        "for word in ('--help', 'ls'): assert CliRunner().invoke(main, [word]).exit_code == 0\n"
        "print([name for name in ('torch', 'pandas', 'numpy', 'scipy', 'jupytext') if name in sys.modules])"
    )
    assert start("-c", look, cwd=project).communicate(timeout=60)[0] == "[]\n"


def test_ten_thousand_runs_are_loaded_and_looked_at_quickly(project):
    path = write(project, "  - {chapter: quick, cross: {number: 1..10000}}\n")
    began = time.process_time()
    runs = batch.load(path)
    loaded = time.process_time()
    runs[0].out.parent.mkdir(parents=True)
    about = {"metadata": {"thermolib": {"inputs": runs[0].inputs()}}}
    for run in runs[1:]:
        about["metadata"]["thermolib"]["inputs"]["parameters"] = run.inputs()["parameters"]
        run.out.write_text(json.dumps({"cells": [], **about}, indent=1, sort_keys=True))
    runs[1].out.write_text('{"cells": 3}')
    written = time.process_time()
    states = [batch.state(run)[0] for run in runs]
    looked = time.process_time()
    table = shown.results(runs)
    ended = time.process_time()
    for run in runs:
        run.out.with_name(f"{run.name}~host.1{places.PARTIAL}").touch()
    touched = time.process_time()
    assert len(places.sweep(runs)) == len(runs)
    swept = time.process_time()
    costs = {"load": loaded - began, "status": looked - written, "results": ended - looked, "sweep": swept - touched}
    look = (
        "import re\nfrom companion.runs.command import main\n"
        "try: main(['status', 'batches/some.yaml'])\nexcept SystemExit: pass\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    *_, last, kilobytes = start("-c", look, cwd=project).communicate(timeout=300)[0].splitlines()
    print(f"10,000 runs, in s: {costs}; status takes {int(kilobytes) / 1024:.0f} MiB")
    assert last == "9998 done, 1 missing, 0 failed, 1 stale" and int(kilobytes) < 200_000
    assert states[:3] == ["missing", "stale", "done"] and states.count("done") == 9998
    assert len(table) == 10_000 and "cannot be read" in table["ours"][1]
    assert max(costs.values()) < 5


def test_the_figure_of_costs_is_of_the_record_and_the_record_is_within_the_limit():
    text = many_runs.RECORD.read_text(encoding="utf-8")
    found = many_runs.table(text).pivot(index="runs", columns="what", values="seconds")
    assert list(found) == ["hand out", "load", "results", "status", "sweep"] and found.index[-1] == 10_000
    assert found.loc[10_000].max() < many_runs.LIMIT and (found.loc[10_000] < 20 * found.loc[1000]).all()
    assert many_runs.mark(text) in many_runs.FIGURE.read_text(encoding="utf-8")
    assert many_runs.mark(text + " ") != many_runs.mark(text)


def test_a_full_disk_loses_nothing_and_is_named(project):
    there = project / "runs" / "some"
    there.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(there)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and only where mounting is allowed")
    try:
        (run,) = batch.load(write(project, "  - {chapter: quick, parameters: {number: 1}}\n"))
        (there / "filler").write_bytes(b"x" * 4096)
        outcome = execution.execute(run)
        assert outcome.state == "failed" and str(run.out) in outcome.error and "No space left" in outcome.error
        assert sorted(p.name for p in there.iterdir()) == ["filler"]
        assert batch.state(run)[0] == "missing"
    finally:
        subprocess.run(["umount", str(there)], check=True)
    assert execution.execute(run).state == "done"


def start(*words, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *words], env=environment, start_new_session=True, **quiet, **options)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_no_run_waits_behind_a_long_one_while_a_worker_is_free(project):
    path = write(
        project,
        "  - {chapter: quick, parameters: {others: 4}, name: long}\n"
        "  - {chapter: quick, parameters: {seconds: 1.0}, cross: {number: 1..4}, name: short}\n",
    )
    result = CliRunner().invoke(command.main, ["run", "--workers", "2", str(path)])
    assert result.exit_code == 0 and "[5/5]" in result.output, result.output
    begun = list(map(int, (project / "notebooks" / "log").read_text().split()))
    assert [number for number in begun if number] == [1, 2, 3, 4]  # in the order of the batch


def test_a_batch_that_is_killed_goes_on_where_it_was(project, cluster):
    path = write(project, "  - {chapter: quick, parameters: {seconds: 1.5}, cross: {number: 1..4}}\n")
    first = start("-m", "companion", "run", str(path), "--workers", "1", cwd=project)
    until(lambda: len(made(project)) >= 2)
    kill(first)
    finished = [run for run in batch.load(path) if batch.state(run)[0] == "done"]
    assert finished
    _, said = run_quietly(path, scheduler=cluster)
    assert all(batch.state(run)[0] == "done" for run in batch.load(path))
    assert all(made(project)[run.parameters["number"]] == 1 for run in finished)
    assert not list((project / "runs" / "some").glob("*.partial.ipynb"))
    assert any("left behind by a run that was killed" in line for line in said)


def test_training_that_is_killed_inside_a_notebook_goes_on_from_its_checkpoint(project):
    whole = call("run", "notebooks/trained")
    assert whole.exit_code == 0, whole.output
    first = start("-m", "companion", "run", "notebooks/trained", "-p", "pause=0.2", "-p", "folder=killed", cwd=project)
    log = project / "notebooks" / "killed" / "log"
    until(lambda: log.exists() and len(log.read_text().split()) >= 8)
    for process in psutil.Process(first.pid).children(recursive=True):  # the kernel, which has a group of its own
        process.kill()
    kill(first)
    looked = len(log.read_text().split())
    again = call("run", "notebooks/trained", "-p", "pause=0.2", "-p", "folder=killed")
    assert again.exit_code == 0, again.output
    assert len(log.read_text().split()) <= 31 + 2 and looked < 31  # no more than what no checkpoint had yet
    said = [json.dumps(shown.outputs(path)) for path in (project / "runs").glob("trained*.ipynb")]
    found = {re.search(r"parameters: (\[[^]]*\])", text)[1] for text in said}
    assert len(said) == 2 and len(found) == 1
    assert not list((project / "runs").glob("*.partial.ipynb"))


KILLED = """
import os, pathlib, signal, sys
import nbformat
from companion.runs import batch, command, execution

def half(text, path):
    path = pathlib.Path(path)
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "notebook":
    nbformat.write = lambda notebook, path: half(nbformat.writes(notebook), path)
    execution.execute(batch.load("batches/some.yaml")[0])
else:
    pathlib.Path.write_text = lambda self, text, **_: half(text, self)
    command.main(["results", "batches/some.yaml", "--out", "table.csv"])
"""


def test_a_notebook_half_written_when_killed_is_none(project, cluster):
    path = write(project, "  - {chapter: quick, parameters: {number: 1}}\n")
    process = start("-c", KILLED, "notebook", cwd=project)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    (part,) = (project / "runs" / "some").glob("*.partial.ipynb")
    with pytest.raises(ValueError):
        json.loads(part.read_text())
    (run,) = batch.load(path)
    assert batch.state(run) == ("missing", "")
    outcomes, said = run_quietly(path, scheduler=cluster)
    assert [o.state for o in outcomes] == ["done"] and f"removed {part.name}, left behind by a run" in said[0]
    assert not part.exists() and batch.state(run) == ("done", "")


def test_a_table_half_written_when_killed_leaves_the_one_before_it(project, cluster):
    write(project, "  - {chapter: tiny}\n")
    assert call("run", "batches/some.yaml", "--scheduler", cluster).exit_code == 0
    table = project / "table.csv"
    table.write_text("the one before\n")
    process = start("-c", KILLED, "table", cwd=project)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL and table.read_text() == "the one before\n"
    done = call("results", "batches/some.yaml", "--out", "table.csv")
    assert done.exit_code == 0 and list(pd.read_csv(table)["verdict"]) == ["contradicted"]
    assert sorted(project.glob("table*")) == [table]
    done = call("results", "batches/some.yaml", "--out", "none/table.csv")
    assert done.exit_code == 1 and "none/table.csv could not be written: No such file" in done.output


def test_a_chapter_is_not_run_twice_at_once(project):
    words = ["run", "notebooks/quick", "-p", "seconds=6.0"]
    first = start("-m", "companion", *words, cwd=project)
    until(lambda: made(project))
    done = call(*words)
    assert done.exit_code == 1 and "another process is running quick-seconds=6.0" in done.output
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert sum(made(project).values()) == 1


def test_a_file_system_without_locks_is_named(project, monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(places.fcntl, "lockf", lockf)
    done = call("run", "batches/one.yaml")
    assert done.exit_code == 1 and done.output.count("\n") == 1
    assert f"the file system of {project / 'runs' / 'one'} has no locks: put the project on one" in done.output


def test_two_batches_at_once_do_not_meet(project, cluster):
    path = write(project, "  - {chapter: quick, parameters: {seconds: 6.0}, cross: {number: [1, 2]}}\n")
    words = ["run", str(path), "--scheduler", cluster]
    first = start("-m", "companion", *words, "--only", "quick-number=1", cwd=project)
    until(lambda: len(made(project)) == 1)
    done = call(*words)
    assert done.exit_code == 1 and "another process is running quick-number=1" in done.output
    other = start("-m", "companion", *words, "--only", "quick-number=2", cwd=project)
    assert "1 of 1 runs are done" in other.communicate(timeout=300)[0] + first.communicate(timeout=300)[0]
    assert made(project) == {1: 1, 2: 1} and all(batch.state(run)[0] == "done" for run in batch.load(path))


def test_a_killed_worker_is_survived_and_nothing_is_repeated(project, cluster):
    """A scheduler and two workers over TCP; one worker dies in the middle, then the scheduler does."""
    path = write(project, "  - {chapter: quick, parameters: {seconds: 2.0}, cross: {number: 1..4}}\n")
    port = 20000 + os.getpid() % 20000
    address, at = f"tcp://127.0.0.1:{port}", ["--host", "127.0.0.1", "--port", str(port)]
    scheduler = start("-m", "distributed.cli.dask_scheduler", *at, "--no-dashboard")
    worker = ["-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    workers = [start(*worker, cwd=project) for _ in range(2)]
    try:
        client = start("-m", "companion", "run", str(path), "--scheduler", address, cwd=project)
        until(lambda: len(made(project)) >= 3)
        finished = {run.parameters["number"] for run in batch.load(path) if batch.state(run)[0] == "done"}
        kill(workers[0])
        out, _ = client.communicate(timeout=300)
        assert client.returncode == 0, out
        assert "4 of 4 runs are done" in out
        assert all(made(project)[number] == 1 for number in finished) and sum(made(project).values()) <= 5
        again = start("-m", "companion", "run", str(path), "--scheduler", address, cwd=project)
        assert "4 of 4 runs are done" in again.communicate(timeout=300)[0] and sum(made(project).values()) <= 5

        write(project, "  - {chapter: quick, parameters: {seconds: 2.0}, cross: {number: 21..23}}\n", name="other")
        lost = start("-m", "companion", "run", "batches/other.yaml", "--scheduler", address, cwd=project)
        until(lambda: 21 in made(project))
        kill(scheduler)
        out, _ = lost.communicate(timeout=300)
        assert lost.returncode == 1 and "the scheduler was lost: what was finished is there, and" in out, out
    finally:
        for process in [scheduler, *workers]:
            if process.poll() is None:
                kill(process)
    other = project / "batches" / "other.yaml"
    run_quietly(other, scheduler=cluster)
    assert all(batch.state(run)[0] == "done" for run in batch.load(other))
