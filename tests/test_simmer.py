"""Simmering of one large network: what a run keeps, that it goes on to the bit, and its controls."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from companion.recipes import simmer
from thermolib.data import Split

TINY = {"problem": "HIGGS", "points": 40, "share": 0.01}  # 10 epochs and 150 steps


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A narrow network in place of four layers of 512."""
    higgs = simmer.PROBLEMS["HIGGS"]
    network = lambda: simmer.models.mlp((28, 8, 8, 1), "elu")  # noqa: E731
    monkeypatch.setitem(simmer.PROBLEMS, "HIGGS", replace(higgs, network=network, part=15))


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path):
    settings = simmer.Settings(**TINY)
    whole = simmer.train(settings)
    for until in (7, 95, None):  # within Adam's part and the chain's
        parts = simmer.train(settings, tmp_path, until=until)
    pd.testing.assert_frame_equal(parts, whole)
    found, history, about = simmer.kept(tmp_path)
    assert found == settings and about["gradients made"] == 160
    pd.testing.assert_frame_equal(history, whole, rtol=1e-5)
    assert whole["phase"].value_counts().to_dict() == {"chain": 6, "adam": 3, "votes": 1}
    assert whole.query("phase == 'chain'")["step"].tolist() == [1, 3, 10, 50, 100, 150]


def test_the_first_steps_are_those_of_a_whole_run():
    settings = simmer.Settings(**TINY)
    early = pd.DataFrame(simmer.Run(settings).early(3))
    pd.testing.assert_frame_equal(early, simmer.train(settings).head(2))


def test_parts_of_the_points_make_the_gradient_of_all():
    run = simmer.Run(simmer.Settings(**TINY))
    loss = run._gradient()
    values = list(run.network.parameters())
    whole = run.problem.loss(run.network(run.x), run.y)
    assert loss == pytest.approx(whole.item(), rel=1e-6)
    for value, exact in zip(values, torch.autograd.grad(whole, values), strict=True):
        torch.testing.assert_close(value.grad, exact, rtol=1e-4, atol=1e-7)


def test_the_chain_begins_with_the_velocities_of_adams_last_step():
    """Eq. (39): the difference of the last two networks over the rate; at step 0 of the stairs there is no heat yet."""
    run = simmer.Run(simmer.Settings(**TINY))
    states = []
    for _ in range(10):
        states.append([value.detach().clone() for value in run.network.parameters()])
        run.advance(False)
    law = run._parts["law"]
    for before, now in zip(states[-1], run.network.parameters(), strict=True):
        velocity = (now.detach() - before) / simmer.LR
        torch.testing.assert_close(law.state[now]["p"], velocity, rtol=1e-3, atol=1e-5)


def test_the_controls_spend_as_many_gradients():
    heat, cold, adam = (simmer.train(simmer.Settings(**TINY, arm=arm)) for arm in simmer.ARMS)
    assert heat["step"].tolist() == cold["step"].tolist() == adam["step"].tolist()
    ends = [arm[arm["phase"] == "adam"].drop(columns="<p^2>") for arm in (heat, cold, adam)]
    pd.testing.assert_frame_equal(ends[0], ends[1])
    pd.testing.assert_frame_equal(ends[0], ends[2])
    last = [arm["train loss"].iloc[-2] for arm in (heat, cold, adam)]
    assert len({*last}) == 3 and adam["<p^2>"].isna().all() and heat["<p^2>"].notna().any()


def test_the_chain_has_the_papers_heat_and_the_control_a_thousandth():
    for arm, heat in {"simmering": 1e-4, "no heat": 1e-7}.items():
        run = simmer.Run(simmer.Settings(**TINY, arm=arm))
        run.warm()
        (group,) = run._parts["law"].param_groups
        found = [group[name] for name in ("temperature", "increment", "stair", "chain_length", "masses", "lr")]
        assert found == pytest.approx([heat, heat, 5, 2, 1.0, 0.002])


def test_votes_and_the_mean_of_the_chances_decide():
    run = simmer.Run(simmer.Settings(**TINY))
    run.truth = torch.tensor([1.0, 0.0, 1.0])
    for logits in ([1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-9.0, -1.0, -1.0]):
        run._count(torch.tensor(logits)[:, None])
    found = run.answer()
    assert found["test accuracy"] == pytest.approx(2 / 3)  # two votes of three, one of three, none
    at = [torch.tensor(x).sigmoid().mean().item() for x in ([1.0, 1.0, -9.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0])]
    assert found["test loss"] == pytest.approx(-(math.log(at[0]) + math.log(1 - at[1]) + math.log(at[2])) / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"problem": "Iris"}, "problem"),
        ({"arm": "cold"}, "arm"),
        ({"share": 2.0}, "share=2.0"),
        ({"points": 0}, "points"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        simmer.Settings(**given)


def test_an_image_is_one_of_ten(monkeypatch):
    points = Split(torch.rand(1050, 784), torch.arange(1050) % 10)
    monkeypatch.setitem(simmer.PROBLEMS, "MNIST", replace(simmer.PROBLEMS["MNIST"], points=lambda: points))
    run = simmer.Run(simmer.Settings(points=30))
    assert run.early(1)[0]["train loss"] == pytest.approx(math.log(10), rel=0.1)
    run._count(run._said())
    assert 0 <= run.answer()["test accuracy"] <= 1 and run.chances.sum().item() == pytest.approx(1000)
