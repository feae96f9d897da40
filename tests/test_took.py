"""The table of long runs: how far each is, and what of its costs was kept."""

import json

import pytest

from book.tools import took
from book.tools.chapters import ROOT


def run(folder, name, history, **kept):
    (folder / "campaign" / name).mkdir(parents=True)
    (folder / "campaign" / name / "history.csv").write_text(history)
    for file, about in kept.items():
        (folder / "campaign" / name / f"{file}.json").write_text(json.dumps(about))


def test_a_run_says_how_far_it_is_and_what_it_took(tmp_path):
    about = {"wall time in seconds": 5400, "machine": "M", "device": "cpu", "precision": "bfloat16", "threads": "1"}
    run(tmp_path, "cifar10-adam-1", "epoch,loss\n0,2\n1,1\n", provenance=about)
    lines = "phase,step,loss\nadam,300,1\nchain,10,1\nchain,3000,1\n"
    run(tmp_path, "mnist-0-heat", lines, result={"seconds of the chain": 360, "threads": 2})
    run(tmp_path, "higgs-0-heat", "phase,step,loss\nadam,300,1\n")
    run(tmp_path, "other", "step,loss\n7,1\n")
    found = {name: rest for name, *rest in took.runs(tmp_path)}
    assert list(found) == sorted(found) and len(found) == 4
    assert found["cifar10-adam-1"][1:] == ["2 epochs", "1%", "1.5", "M", "cpu", "bfloat16", "1"]
    assert found["mnist-0-heat"][1:4] == ["3,000 steps", "50%", "0.1"] and found["mnist-0-heat"][-1] == "2"
    assert found["mnist-0-heat"][4:7] == [took.UNKNOWN] * 3
    assert found["higgs-0-heat"][1:4] == ["0 steps", "0%", took.UNKNOWN]  # its chain has not begun
    assert found["other"][:3] == ["", "7", ""]
    assert all(len(rest) + 1 == len(took.HEAD) for rest in found.values())


def test_a_history_that_is_none_is_named(tmp_path):
    run(tmp_path, "cifar10-adam-1", "loss\n1\n")
    with pytest.raises(ValueError, match=r"cifar10-adam-1/history.csv is no history of a run"):
        took.runs(tmp_path)


def test_every_run_that_is_kept_is_shown():
    kept = {path.parent.name for path in (ROOT / "results" / "campaign").glob("*/history.csv")}
    assert {line[0] for line in took.runs(ROOT / "results")} == kept
