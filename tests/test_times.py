"""The table of times compares what it can, and a record holds what the chapters printed."""

import json

from book.tools import times
from companion.evidence import costs
from companion.runs import batch, execution
from tests.test_batch import CHAPTER, project

__all__ = ["project"]

#: A cell that trains, and says what it costs.
TRAINS = """
```{code-cell} ipython3
import thermolib as tl
from companion.evidence.costs import Costs

runs = tl.Ensemble(tl.models.shlp(2, 4), replicas=2, device="cpu")
data = tl.datasets.spirals(train=20, test=2)
history = tl.train(runs, tl.SGD(rate), data, loss=tl.losses.bce, batch_size=5, steps=steps, compile=False)
costs = Costs()
costs.add("Fig. 3", history, network="2-4-1", batch=5)
costs
```
"""


def test_a_batch_is_recorded(project):
    (project / "notebooks" / "tiny.md").write_text(CHAPTER + TRAINS)
    (run,) = batch.load(project / "batches" / "one.yaml")
    assert execution.execute(run).error == ""
    (row,) = times.spent(run)
    assert (row.figure, row.replica_steps, times._kind(row)) == ("Fig. 3", 60, ((2, 4, 1), 5))
    printed = times.printed(run)
    assert printed.startswith("steps made: 30\n\nPartitioned") and "[reproduced] Thirty steps (Sec. 1)" in printed
    results = project / "results"
    results.mkdir()
    (results / "claims.json").write_text('{"another": [], "of no batch": []}')
    times.record([run], results, ["thirty", "another"])
    text = (project / "results" / "thirty" / "at_paper_scale.txt").read_text()
    assert "parameters steps = 30" in text and "seed       3" in text and text.endswith(printed + "\n")
    kept = json.loads((project / "results" / "claims.json").read_text())
    thirty = [{"id": "steps", "ours": "30.0000000 ± 0.0000010", "verdict": "reproduced"}]
    assert kept == {"thirty": thirty, "another": []}
    spans = json.loads((results / "times.json").read_text())
    assert spans["thirty"]["figures"][0]["replica_steps"] == 60
    seconds = batch.note(run.out)["seconds"]
    assert abs(times.wall(spans) - seconds) < 0.01
    assert f"{seconds:.0f} s of one core (thirty {seconds:.0f})" in (results / "times.txt").read_text()


def test_a_record_without_figures_has_no_table():
    run = {"started": "2026-01-01 00:00:00 UTC", "seconds": 60.0, "figures": []}
    later = run | {"started": "2026-01-01 00:01:00 UTC"}
    text = times.summary({"one": run, "two": later})
    assert text.startswith("The chapters took 120 s of one core (one 60, two 60), 120 s from the first start")
    assert "in several sittings" in times.summary({"one": run, "two": run | {"started": "2026-01-02 00:00:00 UTC"}})


def test_the_table_compares_what_it_can():
    rows = [
        costs.Cost("Fig. 10", "2-100-1", 20, "SGD", 1_000_000, 5.0, 1),
        costs.Cost("Fig. 3", "1-100-1", 64, "aMC", 1_000, 2.0, 1),
    ]
    lines = times.table(rows, {((2, 100, 1), 20): 2e-4}).splitlines()
    assert lines[1].split()[:3] == ["Fig.", "3", "1-100-1"] and lines[1].split()[-2:] == ["-", "-"]
    assert lines[2].split()[-3:] == ["5.0", "200", "40"]
    assert lines[3].split()[-3:] == ["7.0", "200", "40"]


def test_steps_are_timed():
    made = []
    assert 0 < times.per_step(made.append, seconds=1e-3) < 1e-3
    assert len(made) == 5


def test_the_papers_way_is_timed_for_the_network_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(times.per_step, "__defaults__", (1e-3,))
    perceptron, digits = times.slice_of_papers_way((2, 20, 1), 10), times.slice_of_papers_way((784, 512, 10), 10)
    assert 1e-6 < perceptron < digits < 0.1


def test_the_papers_way_is_for_networks_of_one_hidden_layer():
    def kind(network):
        return times._kind(costs.Cost("Fig. 3", network, 50, "Adam", 1, 1.0, 1))

    assert kind("784-32-10") == ((784, 32, 10), 50)
    assert [kind(network) for network in ("1-100-1", "1-4x3-10-1", "Rosenbrock", "2-16-16-2")] == [None] * 4
