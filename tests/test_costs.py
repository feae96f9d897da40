"""What a figure cost is counted in full and can be read back from the page that shows it."""

import pytest

import thermolib as tl
from companion.evidence.costs import Costs, read


def test_costs_add_up_and_come_back():
    data = tl.datasets.spirals(train=20, test=2)
    runs = tl.Ensemble(tl.models.shlp(2, 4), replicas=3, device="cpu")
    history = tl.train(runs, tl.SGD(0.1), data, loss=tl.losses.bce, batch_size=5, steps=7, every=7)
    assert (history.replica_steps, history.method) == (21, "SGD")
    costs = Costs()
    costs.add("Fig. 1", history, network="2-4-1", batch=5)
    costs.add("Fig. 1", [history, history], network="2-4-1", batch=5, method="other")
    costs.add("Fig. <2>", history, network="2-4-1", batch=5)
    assert [(row.figure, row.replica_steps) for row in costs.rows] == [("Fig. 1", 63), ("Fig. <2>", 21)]
    shown = costs._repr_mimebundle_()
    assert read(shown["text/html"]) == costs.entries
    assert "84" in shown["text/plain"] and "Fig. <2>" not in shown["text/html"]
    assert read("<table></table>") == []


def test_a_continued_run_counts_its_own_steps():
    runs = tl.Ensemble(tl.models.shlp(2, 4), replicas=3, device="cpu")
    data = tl.datasets.spirals(train=20, test=2)
    first = tl.train(runs, tl.SGD(0.1), data, loss=tl.losses.bce, batch_size=5, steps=7)
    second = tl.train(runs, tl.SGD(0.1), data, loss=tl.losses.bce, batch_size=5, steps=4, start=first.final)
    assert second.replica_steps == 12


def test_a_row_needs_its_names():
    with pytest.raises(ValueError, match="must not be empty"):
        Costs().add(" ", [], network="2-4-1", batch=5)
