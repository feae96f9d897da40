"""Experiments and their records: written whole, loaded at rest, recomputed in slices, and never twice at once."""

import contextlib
import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from head import HEAD
from small import DATA

import thermolib as tl
from companion.evidence import Difference, Evidence, Experiment, Record
from companion.evidence.experiment import of_chapter
from companion.evidence.records import all_records, root
from tests.test_batch import call, kill, start, until

#: A chapter with one experiment, two small networks of each method; a file called `slow` makes it sleep at every look.
CHAPTER = (
    HEAD
    + """
```{code-cell} ipython3
:tags: [parameters]

scale = "record"
runs = 3
steps = 12
```

```{code-cell} ipython3
:tags: [setup]

import time
from pathlib import Path

import pandas as pd
import thermolib as tl
from companion.evidence import experiment

LAWS = {"SGD": tl.SGD(0.2), "SGLD": tl.SGLD(0.1, 1e-3)}
DATA = tl.datasets.spirals(train=20, test=2)


def look(state):
    if Path("slow").exists():
        with Path("log").open("a") as log:
            log.write("look\\n")
        time.sleep(0.2)
    return state.q[:, 0]
```

```{code-cell} ipython3
:tags: [experiment]

@experiment(
    "tiny", keys=["method", "rate", "run", "step"], pick=["runs", "methods"], check={"runs": 2, "steps": 6},
    quick={"runs": 2, "steps": 4}, rtol=1e-4,
)
def spirals(runs, steps, methods=("SGD", "SGLD"), *, checkpoints=None):
    tables = []
    for method in methods:
        networks = tl.Ensemble(tl.models.shlp(2, 4), range(runs) if isinstance(runs, int) else runs, seed=1)
        history = tl.train(
            networks, LAWS[method], DATA, loss=tl.losses.bce, batch_size=5, steps=steps, every=2, compile=False,
            observe={"weight": look, "loss": tl.observe.loss(tl.losses.bce, DATA.train)}, workers=1,
            checkpoint=checkpoints and checkpoints / f"{method}.pt", checkpoint_seconds=0.0,
        )
        frame = history.frame[["step", "replica", "weight", "loss"]].rename(columns={"replica": "run"})
        tables.append(frame.assign(method=method, rate=1 / 3))
    return pd.concat(tables)
```

```{code-cell} ipython3
raise RuntimeError("an experiment needs no other cell")
```
"""
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    for folder in ("notebooks", "batches"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notebooks" / "tiny.md").write_text(CHAPTER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The record of the chapter."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("notebooks", "batches"):
        (folder / name).mkdir()
    (folder / "notebooks" / "tiny.md").write_text(CHAPTER)
    spirals, parameters = of_chapter(folder / "notebooks" / "tiny.md")["spirals"]
    with contextlib.chdir(folder):
        spirals.make(parameters)
    return folder / "results"


@pytest.fixture
def made(project, results, monkeypatch):
    """The experiment of the chapter, with its record."""
    shutil.copytree(results, project / "results")
    monkeypatch.setattr("companion.evidence.records.reference_loop", lambda: 1.0)
    return of_chapter(project / "notebooks" / "tiny.md")["spirals"][0]


def restamped(record: Record, change) -> None:
    """The table of a record changed by hand, with a checksum that fits."""
    about = record.provenance()
    record.store(change(record.frame()), {k: v for k, v in about.items() if k not in ("table", "rows", "sha256")})


def scaled(monkeypatch, kind, factor: dict[str, float]) -> None:
    """A library whose integrators of a kind take other hyperparameters than they are given."""
    step = kind.step

    def wrong(self, state, potential, key):
        changed = {name: getattr(self, name) * by for name, by in factor.items()}
        return step(dataclasses.replace(self, **changed), state, potential, key)

    monkeypatch.setattr(kind, "step", wrong)


def test_a_record_is_loaded_and_says_where_it_comes_from(made):
    found = made.load(runs=3, steps=12)
    assert found.scale == "record" and len(found.frame) == 2 * 3 * 7 and found.frame is found.record
    assert found.frame.equals(found.together.drop(columns="evidence"))
    about = found.provenance
    assert about["parameters"] == {"runs": 3, "steps": 12, "methods": ["SGD", "SGLD"]} == found.parameters
    assert about["reference loop in seconds"] > 0 and about["wall seconds"] >= 0 and about["rows"] == 42
    assert {"commit", "versions", "machine", "device", "precision", "threads", "date"} <= about.keys()
    assert not made.record.making_in.exists()  # what checkpoints it had


def test_a_slice_agrees_and_says_how_much_was_compared(made):
    found = made.recompute()
    assert (found.rows, found.of) == (2 * 2 * 4, 42) and found.largest < 1e-6
    assert str(found) == "tiny/spirals: 16 of 42 rows recomputed, all within 0.0001"
    assert made.recompute({"runs": [2], "methods": ["SGLD"]}).rows == 7


def test_evidence_takes_other_values_under_labels():
    there = Evidence("one/walk", pd.DataFrame({"run": [0]}), "record", {"steps": 3}, None, {})
    made = there.labelled({"a": [1.0, 2.0], "b": np.array([3.0])})
    assert made.parameters == there.parameters and made.frame.to_dict("list") == {
        "label": ["a", "a", "b"], "run": [0, 1, 0], "value": [1.0, 2.0, 3.0], "step": [0, 0, 0],
    }  # fmt: skip


@pytest.mark.parametrize("column", ["loss", "weight"])
@pytest.mark.parametrize("wrong", [1.01, np.nan, np.inf])
def test_one_altered_number_is_found(made, column, wrong):
    def change(frame):
        row = frame.index[(frame.method == "SGLD") & (frame.run == 1) & (frame.step == 4)]
        frame.loc[row, column] *= wrong
        return frame

    restamped(made.record, change)
    with pytest.raises(Difference, match=rf"method = SGLD, rate = 0\.3333333, run = 1, step = 4: {column} is "):
        made.recompute()
    made.recompute({"runs": [2]})  # which has not got that row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame[4:], "3 of 16 recomputed rows are not in the record"),
        (lambda frame: frame.assign(other=1.0), "other is nan, the record has 1"),
        (lambda frame: frame.rename(columns={"loss": "cost"}), "the record has no column 'loss'"),
        (lambda frame: frame.replace({"run": {2: 1}}), "two rows have the keys method = SGD"),
    ],
)
def test_a_table_of_another_form_is_found(made, change, message):
    restamped(made.record, change)
    with pytest.raises(Difference, match=re.escape(message)):
        made.recompute()


def test_text_and_infinities_are_compared():
    one = Experiment(lambda: pd.DataFrame(), "tiny", keys=["run"], check={}, quick={})
    whole = pd.DataFrame({"run": [0, 1, 2], "time": [3.0, np.inf, np.nan], "end": ["done", "diverged", None]})
    assert one.compare(whole, whole).largest == 0
    for column, wrong in [("time", [3.0, 5.0, np.nan]), ("time", [3.0, -np.inf, np.nan]), ("time", [3.0, np.inf, 1.0]),
                          ("end", ["done", "done", None]), ("end", ["done", "diverged", "done"])]:  # fmt: skip
        with pytest.raises(Difference, match=f"{column} is"):
            one.compare(whole.assign(**{column: wrong}), whole)
    with pytest.raises(Difference, match="the slice has no rows"):
        one.compare(whole[:0], whole)


@pytest.mark.parametrize("law", ["SGD", "SGLD"])
def test_a_library_with_another_integrator_fails(made, monkeypatch, law):
    """Steps that are longer by one per cent, and noise that is."""
    scaled(monkeypatch, getattr(tl, law), {"SGD": {"step_size": 1.01}, "SGLD": {"temperature": 1.01**2}}[law])
    with pytest.raises(Difference, match=f"method = {law}"):
        made.recompute()


def test_a_slice_of_a_hundred_networks_is_the_same_on_one_worker_on_two_and_alone():
    def losses(replicas, workers):
        networks = tl.Ensemble(tl.models.shlp(2, 100), replicas, seed=1, device="cpu")
        law = tl.AdLaLa(0.25, 1e-4, 0.5, 0.01, 0.1)
        history = tl.train(networks, law, DATA, loss=tl.losses.bce, batch_size=20, steps=50, every=10, compile=False,
                           workers=workers, observe={"loss": tl.observe.loss(tl.losses.bce, DATA.train)})  # fmt: skip
        return history.frame.set_index(["replica", "step"])["loss"]

    one, two, alone = losses(100, 1), losses(100, 2), losses([17], 1)
    assert one.equals(two) and len(one) == 600
    assert len(alone) == 6 and alone.index.equals(one.loc[[17]].index)
    np.testing.assert_allclose(alone, one.loc[[17]], rtol=1e-5)
    assert np.abs(one.xs(50, level="step").drop(17) - alone[17, 50]).min() > 1e-5  # and no other network is like it


def test_a_half_written_pair_is_refused(made):
    record = made.record
    whole = record.table.read_bytes()
    for half in (whole[: len(whole) // 2], whole.replace(b"SGLD", b"SGD,")):
        record.table.write_bytes(half)
        with pytest.raises(ValueError, match=r"spirals\.csv is not the table that \S+spirals\.json is about: make"):
            made.load(runs=3, steps=12)
    record.table.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        made.recompute()
    record.about.write_text(record.about.read_text()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        made.load(runs=3, steps=12)
    record.about.write_text("{}")
    with pytest.raises(ValueError, match="it has no 'table'"):
        record.frame()


def test_a_large_table_is_compressed_and_the_same(made, monkeypatch):
    record, frame = made.record, made.record.frame()
    monkeypatch.setattr("companion.evidence.records.LARGE", 100)
    made.make({"runs": 3, "steps": 12})
    assert [path.name for path in sorted(record.about.parent.iterdir())] == ["spirals.csv.gz", "spirals.json"]
    assert record.frame().equals(frame)
    record.table.write_bytes(record.table.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read"):
        record.frame()
    monkeypatch.setattr("companion.evidence.records.LARGE", 200_000)
    made.make({"runs": 3, "steps": 12})
    assert [path.name for path in sorted(record.about.parent.iterdir())] == ["spirals.csv", "spirals.json"]


def test_a_full_disk_leaves_the_record_that_was_there(made, monkeypatch):
    before = made.record.frame()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("companion.evidence.records.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        made.make({"runs": 2, "steps": 12})
    assert made.record.frame().equals(before) and made.record.provenance()["parameters"]["runs"] == 3


def test_without_a_record_it_says_what_to_do(project):
    spirals, parameters = of_chapter(project / "notebooks" / "tiny.md")["spirals"]
    with pytest.raises(
        ValueError, match=r"no record of tiny/spirals: companion record tiny/spirals makes it, -p scale=quick"
    ):
        spirals.load(**parameters)
    assert spirals.load("quick", **parameters).scale == "your run"


def test_live_evidence_stands_beside_the_record(made):
    quick = made.load("quick", runs=3, steps=12)
    assert quick.scale == "your run" and quick.parameters == {"runs": 2, "steps": 4, "methods": ["SGD", "SGLD"]}
    assert quick.record.equals(made.record.frame()) and quick.provenance == {}
    both = quick.together
    assert list(both.evidence.unique()) == ["record", "your run"] and len(both) == 42 + 2 * 2 * 3
    made.compare(quick.frame, quick.record)  # a quick run of the same seeds is a slice of the record too
    own = made.load(runs=3, steps=10)
    assert own.scale == "your run" and own.frame.step.max() == 10
    assert made.load("quick", runs=1, steps=12).parameters["runs"] == 1  # what a reader says stays


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda one: one.load("large", runs=3, steps=12),
            "scale='large' is not allowed: it must be 'record' or 'quick'",
        ),
        (lambda one: one.load(run=3, steps=12), "'run' is no parameter of tiny/spirals; it has: runs, steps, methods"),
        (lambda one: one.load(steps=12), "tiny/spirals needs a value for 'runs'"),
        (lambda one: Experiment(one.function, "tiny", keys=[], check={"step": 1}, quick={}), "check='step' is no"),
        (
            lambda one: Experiment(one.function, "tiny", keys=[], check={"runs": 1}, quick={}, further=["steps"]),
            "further='steps' is none of what check changes: runs",
        ),
    ],
)
def test_mistakes_are_one_sentence(made, act, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        act(made)


def test_a_cell_that_fails_is_named(project):
    md = project / "notebooks" / "tiny.md"
    md.write_text(CHAPTER.replace('LAWS = {"SGD"', 'LAWS = {nothing: 1, "SGD"'))
    with pytest.raises(ValueError, match=r"tiny\.md, cell 1: NameError: name 'nothing' is not defined"):
        of_chapter(md)
    md.write_text(CHAPTER.replace('"tiny", keys', '"other", keys'))
    with pytest.raises(ValueError, match=r"tiny\.md defines an experiment of another chapter: other/spirals"):
        of_chapter(md)


def test_slices_at_random_are_of_the_record_and_differ_by_seed(made):
    chosen = [made.slice_at_random(0.5, seed) for seed in range(20)]
    assert made.slice_at_random(0.5, 3) == chosen[3]
    assert {tuple(one["runs"]) for one in chosen} >= {(0, 1), (0, 2), (1, 2)}
    assert {one["methods"][0] for one in chosen} == {"SGD", "SGLD"} and all(one["steps"] == 6 for one in chosen)
    made.further = ["steps"]  # and now and then one goes to the end of the record
    ends = [made.slice_at_random(0.5, seed).get("steps", 12) for seed in range(20)]
    assert set(ends) == {6, 12} and ends.count(12) < 10 and len(made._part({"steps": 12, "runs": [2]})) == 2 * 7
    few = [made.slice_at_random(1e-6, seed) for seed in range(5)]
    assert all(len(one["runs"]) == made.check["runs"] == 2 and len(one["methods"]) == 1 for one in few)


def test_the_project_is_found_from_below_and_damaged_records_are_among_its_records(made, monkeypatch):
    monkeypatch.chdir(made.record.project / "notebooks")
    assert root() == made.record.project and made.record.frame().shape[0] == 42
    (made.record.about.with_name("other.json")).write_text('{"half')
    (made.record.about.with_name("claims.json")).write_text("{}")
    assert [record.name for record in all_records(root())] == ["tiny/other", "tiny/spirals"]


def test_a_record_that_is_killed_goes_on_from_its_checkpoints(made):
    """And ends with the table that it has when nobody disturbs it. Meanwhile no other process makes it."""
    project, frame, folder = made.record.project, made.record.frame(), made.record.making_in
    log = project / "log"
    (project / "slow").touch()
    first = start("-m", "companion", "record", "tiny/spirals", cwd=project)
    until(lambda: log.exists() and len(log.read_text().split()) > 9)
    assert "another process is making the record tiny/spirals: wait" in call("record", "tiny/spirals").output
    kill(first)
    assert made.record.frame().equals(frame) and (folder / "SGD.pt").exists() and (folder / "SGLD.pt").exists()
    looked = len(log.read_text().split())
    assert looked < 14  # the first method has looked seven times, the second not so often
    done = call("record", "tiny/spirals")
    assert done.exit_code == 0 and "results/tiny/spirals.csv  42 rows" in done.output, done.output
    assert len(log.read_text().split()) <= 14 + 1  # no more is repeated than what no checkpoint had
    assert made.record.frame().equals(frame) and not folder.exists()
    assert made.record.provenance()["resumed"] == "the seconds are those since the last start"


def test_other_parameters_begin_anew(made):
    with pytest.raises(RuntimeError), made.record.making({"runs": 3}) as making:
        (making.folder / "SGD.pt").write_text("of three runs")
        raise RuntimeError
    with pytest.raises(RuntimeError), made.record.making({"runs": 3}) as making:
        assert (making.folder / "SGD.pt").exists()
        raise RuntimeError
    with made.record.making({"runs": 2}) as making:
        assert [path.name for path in making.folder.iterdir()] == ["started.json"]
        making.write(pd.DataFrame({"run": [1]}))
    assert "resumed" not in made.record.provenance()


def test_a_record_says_where_rows_come_from_that_were_made_before(made):
    frame = pd.DataFrame({"run": [1]})
    frame.attrs = {"adopted": {"a folder": {"commit": "abc"}}, "other": 1}
    with made.record.making({"runs": 1}) as making:
        making.write(frame)
    about = made.record.provenance()
    assert about["adopted"] == {"a folder": {"commit": "abc"}} and "other" not in about
    with made.record.making({"runs": 1}) as making:
        making.write(pd.DataFrame({"run": [1]}))
    assert "adopted" not in made.record.provenance()


def test_the_commits_of_all_starts_are_named(made, monkeypatch):
    for number in (1, 2):
        monkeypatch.setattr(
            "companion.evidence.records.of_run", lambda project, number=number: {"commit": f"c{number}"}
        )
        with made.record.making({"runs": 3}) as making:
            (making.folder / "SGD.pt").touch()
            if number == 2:
                making.write(pd.DataFrame({"run": [1]}))
    about = made.record.provenance()
    assert about["commit"] == "c1, c2" and "resumed" not in about, "both starts have said what they took"
