"""A batch executes what is not done, once, and its table of times and its records say what the chapters printed."""

import json

import pytest

from book.tools import batch, chapters, rerun
from thermolib import costs

CHAPTER = """\
---
jupytext:
  formats: ipynb,md:myst
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# A chapter

```{code-cell} ipython3
:tags: [parameters]

steps = 20  # of two networks
seed = 3
```

```{code-cell} ipython3
:tags: [nbval-ignore-output]

import thermolib as tl

runs = tl.Ensemble(tl.models.shlp(2, 4), replicas=2, device="cpu")
data = tl.datasets.spirals(train=20, test=2)
history = tl.train(runs, tl.SGD(0.1), data, loss=tl.losses.bce, batch_size=5, steps=steps)
costs = tl.Costs()
costs.add("Fig. 3", history, network="2-4-1", batch=5)
costs
```

```{code-cell} ipython3
:tags: [record]

print("steps made:", steps)
```

```{code-cell} ipython3
print("not for the record")
```
"""


@pytest.fixture
def entry(tmp_path, monkeypatch):
    for owner, name in ((chapters, "NOTEBOOKS"), (rerun, "RUNS"), (batch, "BATCHES")):
        monkeypatch.setattr(owner, name, tmp_path)
    monkeypatch.setattr(chapters.find, "__defaults__", ((), tmp_path))
    (tmp_path / "tiny.md").write_text(CHAPTER)
    (tmp_path / "some.yaml").write_text("runs:\n  - {chapter: tiny, parameters: {steps: 30}, name: thirty}\n")
    (found,) = batch.read("some", tmp_path)
    return found


def test_a_batch_runs_once_and_is_recorded(entry, tmp_path, capsys):
    assert entry.parameters == {"steps": 30} and not entry.done()
    batch.execute_all([entry], cores=1)
    assert entry.done()
    first = entry.out.read_bytes()
    batch.execute_all([entry], cores=1)
    assert entry.out.read_bytes() == first and "thirty: is there, unchanged" in capsys.readouterr().out
    (row,) = batch.spent(entry)
    assert (row.figure, row.replica_steps, batch._kind(row)) == ("Fig. 3", 60, (4, 5))
    assert batch.printed(entry) == "steps made: 30"
    batch.record([entry], "the summary", tmp_path / "results")
    text = (tmp_path / "results" / "thirty" / "at_paper_scale.txt").read_text()
    assert "parameters steps = 30" in text and "seed       3" in text and text.endswith("steps made: 30\n")
    assert json.loads((tmp_path / "results" / "times.json").read_text())[0]["replica_steps"] == 60
    entry.md.write_text(CHAPTER.replace("two networks", "2 networks"))
    assert not entry.done()


def test_what_fails_is_said_and_not_kept(entry):
    entry.md.write_text(CHAPTER + "\n```{code-cell} ipython3\n1 / 0\n```\n")
    with pytest.raises(SystemExit, match="1 of 1 chapters failed"):
        batch.execute_all([entry], cores=1)
    assert not entry.done() and not entry.out.exists()


def test_mistakes_in_a_batch_are_named(entry, tmp_path):
    for text, message in (
        ("{chapter: nothing}", "there is no chapter 'nothing'"),
        ("{chapter: tiny, parameters: {stepz: 1}}", "tiny.md has no parameter 'stepz'; it has: steps, seed"),
        ("{chapter: tiny, parameter: {steps: 1}}", "says 'parameter'"),
        ("{chapter: tiny}\n  - {chapter: tiny}", "two entries are called 'tiny'"),
    ):
        (tmp_path / "wrong.yaml").write_text(f"runs:\n  - {text}\n")
        with pytest.raises(SystemExit, match=message):
            batch.read("wrong", tmp_path)
    with pytest.raises(SystemExit, match="there is no batch 'none'; there are: some, wrong"):
        batch.read("none", tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in batch.BATCHES.glob("*.yaml")))
def test_every_batch_names_chapters_and_parameters_that_there_are(name):
    assert batch.read(name)


def test_the_table_compares_what_it_can():
    rows = [
        costs.Cost("Fig. 10", "2-100-1", 20, "SGD", 1_000_000, 5.0, 1),
        costs.Cost("Fig. 3", "784-100-10", 64, "Adam", 1_000, 2.0, 1),
    ]
    lines = batch.table(rows, {(100, 20): 2e-4}).splitlines()
    assert lines[1].split()[:3] == ["Fig.", "3", "784-100-10"] and lines[1].split()[-2:] == ["-", "-"]
    assert lines[2].split()[-3:] == ["5.0", "200", "40"]
    assert lines[3].split()[-3:] == ["7.0", "200", "40"]


def test_steps_are_timed():
    made = []
    assert 0 < batch.per_step(made.append, seconds=1e-3) < 1e-3
    assert len(made) == 5
