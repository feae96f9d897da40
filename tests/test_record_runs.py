"""Records as runs of a batch: made in processes of their own, watched, resumed, and stale when parameters change."""

import os
import re
import signal
import threading

import psutil
import pytest

from companion.runs import batch, execution
from tests.test_batch import call, kill, run_quietly, start, until, write
from tests.test_evidence import CHAPTER, made, project, results

__all__ = ["made", "project", "results"]


def only(project, text="  - record: tiny/spirals\n"):
    (run,) = batch.load(write(project, text))
    return run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  - record: huge/spirals", "some.yaml: there is no chapter 'huge'; there are: tiny"),
        ("  - record: tiny/circles", "some.yaml: tiny.md has no experiment 'circles'; it has: spirals"),
        ("  - record: tiny", "some.yaml: tiny.md has no experiment ''; it has: spirals"),
        ("  - record: 5", "some.yaml: there is no chapter '5'"),
        (
            "  - {record: tiny/spirals, parameters: {steps: 1}}",
            "tiny/spirals says 'parameters', which is not known; known",
        ),
        ("  - {record: tiny/spirals, hours: -1}", "hours=-1 is not allowed for tiny/spirals"),
        ("  - record: tiny/spirals\n  - record: tiny/spirals", "two runs are called 'tiny/spirals'"),
    ],
)
def test_mistakes_in_a_batch_are_named(project, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        batch.load(write(project, text))
    done = call("record", "tiny/circles")
    assert done.exit_code == 1 and done.output == "Error: tiny.md has no experiment 'circles'; it has: spirals\n"


def test_a_record_is_done_while_its_parameters_are_those_of_the_chapter(made):
    run, md = only(made.record.project), made.record.project / "notebooks" / "tiny.md"
    assert run.name == "tiny/spirals" and batch.state(run) == ("done", "")
    md.write_text(CHAPTER.replace("sgd", "SGD").replace("no other cell", "no cell else"))
    assert batch.state(run) == ("done", "")  # whether the code still makes it, only recomputing it can tell
    md.write_text(CHAPTER.replace("runs = 3", "runs = 4").replace('methods=("SGD", "SGLD")', 'methods=("SGD",)'))
    assert batch.state(run) == ("stale", "changed since: methods, runs")
    md.write_text(CHAPTER.replace("import time", "import tyme"))
    assert batch.state(run) == ("stale", "tiny.md, cell 1: ModuleNotFoundError: No module named 'tyme'")
    md.write_text(CHAPTER)
    made.record.table.write_text("half")
    assert batch.state(run)[0] == "stale" and "make the record again" in batch.state(run)[1]
    made.record.about.unlink()
    assert batch.state(run) == ("missing", "")


def test_a_batch_makes_a_record_once_and_shows_it(project, cluster):
    path = write(project, "  - {record: tiny/spirals, hours: 0.5}\n")
    outcomes, said = run_quietly(path, scheduler=cluster)
    assert [(one.name, one.state) for one in outcomes] == [("tiny/spirals", "done")]
    assert said[0] == "tiny/spirals: missing" and (project / "runs" / "records" / ".lock").exists()
    assert sorted(p.name for p in (project / "results" / "tiny").iterdir()) == ["spirals.csv", "spirals.json"]
    assert run_quietly(path) == ([], ["tiny/spirals: done"])
    assert "tiny/spirals  done\n1 done, 0 missing" in call("status", "batches/some.yaml").output
    shown = call("results", "batches/some.yaml", "--csv").output
    assert shown.startswith("run,state,runs,steps,methods,id,ours\ntiny/spirals,done,3,12,") and "42 rows" in shown
    listed = call("ls").output
    assert "    steps = 12\n    record tiny/spirals\n" in listed and "batches/some.yaml: 1 runs" in listed


def test_an_experiment_that_fails_says_why_and_is_made_once_it_is_mended(project):
    md, run = project / "notebooks" / "tiny.md", only(project)
    md.write_text(CHAPTER.replace("tables = []", "raise KeyError('nothing')"))
    outcome = execution.execute(run)
    assert (outcome.state, outcome.error) == ("failed", "KeyError: 'nothing'")
    assert batch.state(run) == ("failed", "KeyError: 'nothing'") and not run.out.exists()
    md.write_text(CHAPTER)
    assert execution.execute(run).state == "done" and batch.state(run) == ("done", "") and not run.log.exists()


def test_a_record_that_takes_too_long_is_stopped(project):
    other = start("-c", "import time; time.sleep(60)")  # of the same process, and not of the run
    run = only(project, "  - {record: tiny/spirals, hours: 0.0003}\n")  # a second
    outcome = execution.execute(run)
    assert outcome.state == "failed" and "more than the 0.0003 hours" in outcome.error
    assert other.poll() is None
    kill(other)
    assert batch.state(run) == ("failed", outcome.error)


def test_a_record_shows_how_far_it_is(project):
    run, ended = only(project), []
    (project / "slow").touch()
    thread = threading.Thread(target=lambda: ended.append(execution.execute(run)))
    thread.start()
    until(lambda: "%" in batch.said(run) and "replica-steps" in batch.said(run))
    assert re.search(r"tiny/spirals  missing \s*\d+%\|", call("status", "batches/some.yaml").output)
    for child in psutil.Process().children():
        if child.status() != psutil.STATUS_ZOMBIE and "record" in child.cmdline():
            child.kill()
    thread.join()
    assert re.match(r"it ended with the exit status -9, after: \d+%\|", ended[0].error)
    assert batch.state(run) == ("failed", ended[0].error)


def test_the_process_that_makes_a_record_ends_with_its_batch(project):
    run = only(project)
    (project / "slow").touch()
    program = "from companion.runs import batch, execution; execution.execute(batch.load('batches/some.yaml')[0])"
    first = start("-c", program, cwd=project)
    log = project / "log"
    until(lambda: log.exists() and len(log.read_text().split()) >= 9)
    children = psutil.Process(first.pid).children(recursive=True)
    assert any("record" in child.cmdline() for child in children)
    os.kill(first.pid, signal.SIGKILL)  # alone, without those that it started
    first.wait()
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert batch.state(run)[0] == "missing" and (project / "runs" / "records" / "tiny" / "spirals" / "SGD.pt").exists()
