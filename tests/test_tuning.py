"""The comparison of methods: every method gets its budget, its trials, and a fair reading of what came out."""

import json
import math

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
    "AdamW, cosine": {"step_size": (0.001, 0.1), "decay": (0.001, 1.0)},
    "SGNHT": {"step_size": (0.1, 0.3), "temperature": (1e-5, 1e-3), "coupling": (0.1, 1.0)},
}


@pytest.mark.parametrize("minibatches", [False, True])
@pytest.mark.parametrize("name", tuning.METHODS)
def test_every_method_spends_the_same_budget(name, minibatches):
    """A gradient counts as three losses; no run costs more than its budget, or as much as a step less."""
    gradients, method = 40, tuning.METHODS[name]
    steps = method.steps(gradients, minibatches)
    law = method.make(steps, **tuning.trials(RANGES[name], 1)[0])
    if callable(law.step_size if hasattr(law, "step_size") else None):
        law = law.with_values(law.scheduled(0))
    law = law.bind({"hidden.weight": 4, "output.weight": 2})
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
    law = method.make(5, **tuning.settings(tried))
    history = tl.train(nets, law, data, loss=tl.losses.bce, batch_size=10, steps=5, compile=False)
    assert all(method.size in one for one in tried)
    assert len(history.last) == 3 and history.last["diverged"].isna().all()


def test_trials_fill_each_range_evenly_in_its_logarithm():
    low, high, number = 1e-4, 1.0, 512
    found = tuning.trials({"a": (low, high), "b": (1.0, 2.0)}, number, seed=3)
    a, b = (torch.tensor([one[name] for one in found], dtype=torch.float64) for name in "ab")
    for values, bounds in ((a, (low, high)), (b, (1.0, 2.0))):
        place = (values.log() - math.log(bounds[0])) / math.log(bounds[1] / bounds[0])
        counts = torch.histc(place, 8, 0, 1)
        assert (counts - number / 8).abs().max() <= 5
    apart = torch.histogramdd(torch.stack([a.log(), b.log()], 1), 4).hist
    assert (apart - number / 16).abs().max() <= 8, "the two ranges are not filled together"


def test_few_trials_are_the_first_of_many():
    ranges = {"a": (1e-4, 1.0), "b": (1.0, 2.0)}
    assert tuning.trials(ranges, 3, seed=3) == tuning.trials(ranges, 20, seed=3)[:3]
    assert tuning.trials(ranges, 3, seed=3) != tuning.trials(ranges, 3, seed=4)


def test_settings_are_one_value_a_replica():
    found = tuning.settings([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}])
    torch.testing.assert_close(found["a"], torch.tensor([1.0, 3.0]))


def scores(*trials):
    """A table of trials at two steps; the earlier would choose another."""
    rows = [
        {"step": step, "setting": json.dumps({"a": k}), "quality": value if step == 9 else -k}
        for step in (1, 9)
        for k, values in enumerate(trials)
        for value in values
    ]
    return pd.DataFrame(rows)


def test_the_best_trial_is_that_of_the_highest_mean_at_the_end_and_none_that_was_lost():
    assert tuning.best(scores([0.0, 0.9], [0.5, 0.6], [9.0, math.nan])) == {"a": 1}
    with pytest.raises(ValueError, match="no trial"):
        tuning.best(scores([math.nan], [math.nan]))


def test_adamw_is_that_of_torch():
    start = torch.tensor([1.0, -2.0, 3.0])
    theirs = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        (theirs.square() * torch.tensor([1.0, 4.0, 0.1])).sum().backward()
        optimizer.step()
    how = {"every": 20, "compile": False, "progress": False}
    law = tuning.AdamW(0.1, decay=0.5)
    ours = tl.simulate(lambda q: (q.square() * torch.tensor([1.0, 4.0, 0.1])).sum(1), law, start[None], 20, **how)
    torch.testing.assert_close(ours.final.q[0], theirs.detach(), rtol=1e-4, atol=1e-6)
    plain = tl.simulate(
        lambda q: (q.square() * torch.tensor([1.0, 4.0, 0.1])).sum(1), tl.Adam(0.1), start[None], 20, **how
    )
    assert (plain.final.q[0] - theirs.detach()).abs().max() > 0.01


def followed(until, samples=0):
    data = tl.datasets.spirals(turns=1, train=40, test=40)
    nets = tl.Ensemble(tl.models.shlp(2, 5), 2, seed=1, device="cpu")
    about = {"loss": tl.losses.bce, "batch_size": 10, "observe": {"loss": tl.observe.loss(tl.losses.bce, data.test)}}
    law = tuning.METHODS["CoolMomentum"].make(400, lr=0.05, forgotten=0.1)
    return tuning.follow(nets, law, data, 400, until, points=4, samples=samples, compile=False, **about)


def test_a_run_is_looked_at_early_and_evenly_and_its_beginning_is_the_same():
    whole, kept = followed(400, samples=8)
    assert sorted(set(whole["step"])) == [1, 10, 50, 100, 200, 300, 400]
    steps = [step for step, _ in kept]
    assert steps == [*range(1, 201), 250, 300, 350, 400]
    part, none = followed(50)
    assert none == []
    both = part.merge(whole, on=["step", "row"])
    assert len(both) == len(part) == 6
    np.testing.assert_allclose(both["loss_x"], both["loss_y"], rtol=1e-6)


def chains(rho, steps=20_000):
    x, noise = np.zeros((steps, 4)), np.random.default_rng(0).normal(size=(steps, 4))
    for n in range(1, steps):
        x[n] = rho * x[n - 1] + noise[n]
    return x


def test_effective_samples_are_those_of_an_autoregression():
    for rho in (0.0, 0.8):
        expected = 20_000 * (1 - rho) / (1 + rho)
        assert np.abs(tuning.effective(chains(rho)) / expected - 1).max() < 0.2
    assert tuning.effective(np.ones((50, 2))).tolist() == [1.0, 1.0]


def test_r_hat_sees_chains_apart_and_chains_that_drift():
    x = chains(0.5)
    assert abs(tuning.split_r_hat(x) - 1) < 0.01
    assert tuning.split_r_hat(x + np.array([0.0, 0.0, 0.0, 3.0])) > 1.2
    assert tuning.split_r_hat(x + np.linspace(0, 5, len(x))[:, None]) > 1.2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tuning.trials({}, 3), "ranges="),
        (lambda: tuning.trials({"a": (1.0, 1.0)}, 3), "must rise"),
        (lambda: tuning.trials({"a": (0.0, 1.0)}, 3), "above zero"),
        (lambda: tuning.trials({"a": (0.1, 1.0)}, 0), "number=0"),
        (lambda: tuning.METHODS["aMC"].steps(0, True), "gradients=0"),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
