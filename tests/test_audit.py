"""The records of the project are what the library makes, as far as a few slices say; an audit finds what is not."""

import re
import subprocess

import numpy as np
import pandas as pd
import pytest

import thermolib as tl
from book.tools.chapters import ROOT
from companion.evidence import Difference, Experiment
from companion.evidence.experiment import of_chapter
from companion.evidence.records import all_records
from companion.runs import audit
from tests.test_batch import call
from tests.test_evidence import CHAPTER, made, project, restamped, results, scaled

__all__ = ["made", "project", "results"]


def of_commit() -> int:
    """A number that is another one for every commit; one and the same outside of a repository."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    return int(done.stdout[:8], 16) if not done.returncode else 0


#: Columns of which a slice cannot find one value that is a fifth larger, and why.
NOT_FOUND = {
    "only the end of a training or a chain knows it": {
        "does_simmering_help/": "alone, last quarter, log loss, loss, mean, median, network, single",
        "loss_landscapes/": "barrier, far rise, near rise, p, ridge, saddle, saddles, training barrier",
        "partitioned_integrators/classifiers": "pieces",
        "partitioned_settings/single_points": "still",
        "retrofit/": "log-loss, spread",
        "thermostat/warming": "laplacian",
        "weights/momenta": "kurtosis",
    },
    "one more or less in a bin or of some fifty nodes": {
        "noise_and_temperature/": "silent",
        "weights/": "b, near zero, o, w",
    },
    "the size of a rounding error": {"errata_coolmomentum/layers": "bias"},
}


@pytest.fixture(scope="module")
def visited():
    """What an audit of a third of the records says, and of each what it recomputed and compared that with.

    Another third for every commit: chapters recompute a slice of each of their records, `make audit` one of all.
    """
    compared, compare, seed = {}, Experiment.compare, of_commit()

    def kept(one, part, whole):
        compared[one.name] = one, part, whole
        return compare(one, part, whole)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(Experiment, "compare", kept)
        names = [record.name for record in all_records(ROOT)]
        return list(audit.audit(0.001, seed, names[seed % 3 :: 3])), compared


def test_slices_of_the_project_s_records_agree(visited):
    print(*visited[0], sep="\n")
    assert [visit.problem for visit in visited[0] if visit.problem] == []


def family(column: str) -> str:
    """The name of a column without the numbers at its end: bins and pixels are many columns of one kind."""
    return re.sub(r"[\d ]+$", "", column)


def test_one_value_that_is_a_fifth_larger_is_found_in_every_column_of_every_record(visited):
    excused = {
        (record, name) for group in NOT_FOUND.values() for record, names in group.items() for name in names.split(", ")
    }
    missed = set()
    for one, part, whole in visited[1].values():
        measured = part.columns.drop(one.keys)
        for kind in {family(name) for name in measured if pd.api.types.is_numeric_dtype(part[name])}:
            of_kind = [name for name in measured if family(name) == kind]
            sizes = part[of_kind].abs().to_numpy(float)
            known = np.isfinite(sizes)
            if known.any() and not sizes[known].any():
                continue  # zero everywhere in this slice: a fifth more is the same
            sizes = np.where(known, sizes, 0)
            row, column = np.unravel_index(sizes.argmax(), sizes.shape)
            altered = part.reset_index(drop=True).astype({of_kind[column]: float})
            altered.loc[row, of_kind[column]] *= 1.2
            try:
                one.compare(altered, whole)
            except Difference as found:
                assert of_kind[column] in str(found)
            else:
                missed.add((one.name, kind))
    unexpected = {
        (record, kind) for record, kind in missed if not any(record.startswith(r) and kind == k for r, k in excused)
    }
    assert visited[1] and unexpected == set()


def test_records_name_commits_of_this_history():
    def git(*command):
        return subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True)

    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("the history is not here: a shallow copy, or one that is no repository")
    named = {name for record in all_records(ROOT) for name in record.provenance()["commit"].split(", ")}
    assert [name for name in sorted(named) if git("merge-base", "--is-ancestor", name, "HEAD").returncode] == []


def test_the_project_s_records_are_small_enough_to_travel_with_it():
    sizes = {record.name: record.table.stat().st_size for record in all_records(ROOT)}
    assert sizes and sum(sizes.values()) < 20e6, sizes


@pytest.mark.parametrize(
    ("kind", "factor", "method"),
    [
        ("SGD", {"step_size": 1.01}, "SGD"),
        ("SGLD", {"temperature": 1.01**2}, "SGLD"),
        ("Partitioned", {"step_size": 1.01}, "AdLaLa, γ = 0.5"),
    ],
)
def test_the_slice_of_a_chapter_finds_steps_and_noise_that_are_one_per_cent_larger(monkeypatch, kind, factor, method):
    monkeypatch.chdir(ROOT)
    small, _ = of_chapter(ROOT / "notebooks" / "weights.md")["small"]
    changes = small.check | {"methods": [method]}
    assert small.recompute(changes).rows > 4
    scaled(monkeypatch, getattr(tl, kind), factor)
    with pytest.raises(Difference, match=f"method = {method}"):
        small.recompute(changes)


def test_an_audit_says_what_it_compared(made):
    done = call("audit", "--share", "0.5", "--seed", "1")
    assert done.exit_code == 0, done.stdout
    one, every = done.stdout.splitlines()
    assert re.fullmatch(r"tiny/spirals: 8 of 42 rows, largest difference \d\.\de[-+]\d\d, \d+\.\d s", one)
    assert re.fullmatch(r"1 record, 8 of 42 rows recomputed in \d+ s with the seed 1; 0 wrong", every)
    assert call("audit", "--share", "0.5", "--seed", "1", "tiny/spirals").stdout.split(",")[0] == one.split(",")[0]
    seeds = {re.search(r"seed (\d+)", call("audit").stdout)[1] for _ in range(2)}
    assert len(seeds) == 2


def test_one_altered_number_is_found_by_an_audit_that_visits_it(made):
    def change(frame):
        frame.loc[(frame.method == "SGLD") & (frame.run == 2) & (frame.step == 6), "loss"] *= 1.001
        return frame

    restamped(made.record, change)
    found = [next(audit.audit(0.3, seed)) for seed in range(12)]
    slices = [made.slice_at_random(0.3, seed) for seed in range(12)]
    hit = [one["methods"] == ["SGLD"] and 2 in one["runs"] for one in slices]
    assert [bool(visit.problem) for visit in found] == hit and 0 < sum(hit) < 12
    done = call("audit", "--share", "1", "--seed", "0")
    assert done.exit_code == 1 and done.stdout.endswith("; 1 wrong\n")
    assert done.stdout.startswith("tiny/spirals, method = SGLD, rate = 0.3333333, run = 2, step = 6: loss is ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def spirals", "def circles", "tiny/spirals: the experiment is gone, its record is still there"),
        ("steps = 12", "steps = 14", "tiny/spirals: steps changed since it was made: make it again"),
        ("import time", "import tyme", "tiny/spirals: tiny.md, cell 1: ModuleNotFoundError: No module named 'tyme'"),
        ("tables = []", "tables = [1 / 0]", "tiny/spirals: ZeroDivisionError: division by zero"),
        (CHAPTER, "", "tiny/spirals: the experiment is gone, its record is still there"),
    ],
)
def test_what_cannot_be_recomputed_is_wrong(made, old, new, message):
    (made.record.project / "notebooks" / "tiny.md").write_text(CHAPTER.replace(old, new))
    done = call("audit", "--seed", "0")
    assert done.exit_code == 1 and done.stdout.splitlines()[0] == message


def test_records_that_are_damaged_or_of_no_chapter_are_wrong_and_the_others_are_visited(made):
    folder = made.record.about.parent
    (folder / "other.json").write_text('{"half')
    (folder.parent / "gone").mkdir()
    (folder.parent / "gone" / "spirals.json").write_text(made.record.about.read_text())
    lines = call("audit", "--seed", "0").stdout.splitlines()
    gone = "the experiment is gone, its record is still there"
    assert lines[:2] == [f"gone/spirals: {gone}", f"tiny/other: {gone}"]
    assert lines[2].startswith("tiny/spirals: 8 of 42 rows") and lines[3].endswith("; 2 wrong")


def test_a_record_whose_data_are_not_to_be_had_is_left_out_and_that_is_said(made, monkeypatch):
    monkeypatch.setattr(audit, "lacking", lambda notebook: "MNIST is not on this machine")
    done = call("audit", "--seed", "0")
    assert done.exit_code == 3
    assert done.stdout.startswith(
        "tiny/spirals was left out: MNIST is not on this machine\n1 record, 0 of 0 rows recomputed"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--share", "0"], "share=0 is not allowed: it must be above 0 and at most 1"),
        (["--share", "2"], "share=2 is not allowed"),
        (["tiny/circles"], "there is no record 'tiny/circles'; there are: tiny/spirals"),
    ],
)
def test_mistakes_are_one_sentence(made, words, message):
    done = call("audit", *words)
    assert done.exit_code == 1 and done.output.startswith(f"Error: {message}") and done.output.count("\n") == 1
