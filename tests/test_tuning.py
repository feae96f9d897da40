"""The comparison of methods: every method gets its budget, its trials, and a fair reading of what came out."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from small import Counting

import thermolib as tl
from companion.recipes import tuning

RANGES = {
    "SGD": {"step_size": (0.01, 1.0)},
    "momentum": {"lr": (0.001, 0.1), "forgotten": (0.05, 0.5)},
    "Adam": {"step_size": (0.001, 0.1)},
    "SGLD": {"step_size": (0.01, 1.0), "temperature": (1e-6, 1e-3)},
    "BAOAB": {"step_size": (0.1, 1.0), "friction": (0.1, 10.0), "temperature": (1e-6, 1e-3)},
    "LOL": {"step_size": (0.1, 1.0), "friction": (0.1, 10.0), "temperature": (1e-6, 1e-3)},
    "AdLaLa": {"step_size": (0.1, 0.3), "temperature": (1e-5, 1e-3), "noise": (0.01, 0.1)},
    "CoolMomentum": {"lr": (0.001, 0.1), "forgotten": (0.01, 0.1)},
    "aMC": {"step_size": (0.001, 0.1), "mean_rate": (0.001, 0.1), "patience": (10.0, 100.0)},
    "Nosé-Hoover": {"step_size": (0.01, 0.1), "temperature": (1e-6, 1e-3), "masses": (0.1, 10.0)},
}


@pytest.mark.parametrize("minibatches", [False, True])
@pytest.mark.parametrize("name", tuning.METHODS)
def test_every_method_spends_the_same_budget(name, minibatches):
    """A gradient counts as three losses; no run costs more than its budget, or as much as a step less."""
    gradients, method = 40, tuning.METHODS[name]
    steps = method.steps(gradients, minibatches)
    settings = {n: v[0] for n, v in tuning.trials(RANGES[name], 1).items()}
    law = method.make(steps, **settings).bind({"hidden.weight": 4, "output.weight": 2})
    q = torch.ones(1, 6)
    potential, key = Counting(fixed=not minibatches), tl.noise.key(0, 1)
    state = law.init(q)
    for step in range(steps):
        state = law.enter(state, potential, key) if step == 0 else law.step(state, potential, key.at(later=step))
    spent = tuning.GRADIENT * potential.forces + potential.losses
    assert tuning.GRADIENT * (gradients - 2) < spent <= tuning.GRADIENT * gradients


@pytest.mark.parametrize("name", tuning.METHODS)
def test_all_trials_of_a_method_are_one_ensemble(name):
    data = tl.datasets.spirals(turns=1, train=40, test=40)
    method, tried = tuning.METHODS[name], tuning.trials(RANGES[name], 3)
    nets = tl.Ensemble(tl.models.shlp(2, 5), 3, seed=1, device="cpu")
    history = tl.train(nets, method.make(5, **tried), data, loss=tl.losses.bce, batch_size=10, steps=5, compile=False)
    assert method.size in tried
    assert len(history.last) == 3 and history.last["diverged"].isna().all()


def test_trials_fill_each_range_evenly_in_its_logarithm():
    low, high, number = 1e-4, 1.0, 512
    found = tuning.trials({"a": (low, high), "b": (1.0, 2.0)}, number, seed=3)
    for values, bounds in ((found["a"], (low, high)), (found["b"], (1.0, 2.0))):
        assert values.shape == (number,)
        place = (values.double().log() - math.log(bounds[0])) / math.log(bounds[1] / bounds[0])
        counts = torch.histc(place, 8, 0, 1)
        assert (counts - number / 8).abs().max() <= 4
    apart = torch.histogramdd(torch.stack([found["a"].log(), found["b"].log()], 1), 4).hist
    assert (apart - number / 16).abs().max() <= 8, "the two ranges are not filled together"
    assert torch.equal(found["a"], tuning.trials({"a": (low, high), "b": (1.0, 2.0)}, number, seed=3)["a"])
    assert not torch.equal(found["a"], tuning.trials({"a": (low, high), "b": (1.0, 2.0)}, number, seed=4)["a"])


def test_the_best_trial_is_that_of_the_highest_mean_and_none_that_diverged():
    found = {"a": torch.tensor([1.0, 2.0, 3.0])}
    assert tuning.best(found, [[0.0, 0.9], [0.5, 0.6], [9.0, math.nan]]) == {"a": 2.0}
    with pytest.raises(ValueError, match=r"\[3, runs\]"):
        tuning.best(found, [[0.0, 1.0]])
    with pytest.raises(ValueError, match="no trial"):
        tuning.best(found, [[math.nan]] * 3)


def test_repeated_changes_the_step_size_and_nothing_else():
    found = tuning.repeated({"lr": 0.1, "rho": 0.9}, "lr", [1.0, 4.0], [2, 1])
    torch.testing.assert_close(found["lr"], torch.tensor([0.1, 0.1, 0.4]))
    torch.testing.assert_close(found["rho"], torch.full((3,), 0.9))


RECORD = """chapter    any

waves, SGD, tuned: {"step_size": 0.25}

spirals, SGD, tuned: {"step_size": 0.5, "temperature": 1e-05}
spirals, Nosé-Hoover, tuned: {"step_size": 0.1}

spirals: accuracy after 10000 gradients, 16 runs
  SGD          0.812 ± 0.004       to 0.8: 0.9 ± 0.1 of the budget
  Nosé-Hoover  -1.5e-03 ± 2.0e-04  to 0.8: 1 ± 0 of the budget
waves: accuracy after 10000 gradients, 16 runs
  SGD          0.7 ± 0.1           to 0.8: 1 ± 0 of the budget

spirals: accuracy after 10000 gradients, 16 runs
  Adam         0.9 ± 0.1           to 0.8: 1 ± 0 of the budget

spirals: spread between runs; temperatures; change of the quality at other step sizes
  SGD          sd 0.010; kinetic none, configurational 1.0e-03; x0.5 -0.010 x2 +0.003
  Nosé-Hoover  sd 0.000; kinetic 1.0e-03, configurational 1.0e-03; x0.5 +0.000 x2 -0.250"""


def test_a_record_gives_back_what_a_chapter_printed(tmp_path):
    file = tmp_path / "record.txt"
    file.write_text(RECORD, encoding="utf-8")
    record = tuning.Record(file)
    assert record.setting("spirals", "SGD") == {"step_size": 0.5, "temperature": 1e-5}
    assert record.setting("waves", "SGD") == {"step_size": 0.25}
    assert record.scores("spirals") == {"SGD": (0.812, 0.004), "Nosé-Hoover": (-1.5e-3, 2e-4), "Adam": (0.9, 0.1)}
    assert record.scores("waves") == {"SGD": (0.7, 0.1)}
    assert record.changes("spirals") == {"SGD": {0.5: -0.01, 2.0: 0.003}, "Nosé-Hoover": {0.5: 0.0, 2.0: -0.25}}
    assert record.changes("waves") == {}
    with pytest.raises(ValueError, match="no record of the tuning of Adam on waves"):
        record.setting("waves", "Adam")
    nothing = tuning.Record(tmp_path / "none.txt")
    assert nothing.scores("spirals") == nothing.changes("spirals") == {}


def test_the_panels_show_scores_curves_step_sizes_and_temperatures():
    frame = pd.DataFrame({"gradients": [0, 50, 100] * 2, "replica": [0] * 3 + [1] * 3, "accuracy": [0.5, 0.6, 0.7] * 2})
    frame["configurational"] = 1e-3
    scores = {"SGD": np.array([0.7, 0.8]), "Adam": np.array([0.9, 0.9])}
    end, way = tuning.panels(
        scores, {"SGD": frame, "Adam": frame.assign(kinetic=2e-3)}, {"SGD": {0.5: -0.1}}, score="accuracy",
        along="accuracy", recorded={"Adam": (0.95, 0.01)}, lowest=0.8,
    )  # fmt: skip
    _, _, other, heat = plt.gcf().axes
    assert [tick.get_text() for tick in end.get_yticklabels()] == ["SGD", "Adam"]
    assert [round(float(line.get_xdata()[0]), 3) for line in end.lines if line.get_marker() in "os"] == [0.8, 0.9, 0.95]
    assert [list(line.get_ydata()) for line in way.lines] == [[0.5, 0.6, 0.7]] * 2
    assert [list(np.round(line.get_ydata(), 3)) for line in other.lines] == [[0.8, 0.8], [0.95]]
    assert sorted(float(line.get_ydata()[-1]) for line in heat.lines) == [1e-3, 1e-3, 2e-3]
    plt.close("all")


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: tuning.trials({}, 3), "ranges="),
        (lambda: tuning.trials({"a": (1.0, 1.0)}, 3), "must rise"),
        (lambda: tuning.trials({"a": (0.0, 1.0)}, 3), "above zero"),
        (lambda: tuning.trials({"a": (0.1, 1.0)}, 0), "number=0"),
        (lambda: tuning.METHODS["aMC"].steps(0, True), "gradients=0"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
