"""aMC as an optimizer: the path of the ensemble, of two processes, of a run that was saved, and no gradient."""

import copy
import math

import pytest
import torch
from torch import nn

import thermolib as tl
from tests.processes import together

X, Y = (t.double() if t.is_floating_point() else t for t in tl.datasets.trigonometric(train=40, test=40).train)


def network(dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).to(dtype)


def loss_of(module, x=X, y=Y):
    dtype = next(module.parameters()).dtype
    return lambda: tl.losses.bce(module(x.to(dtype)), y.to(dtype))


def vector(module):
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def build(module, norm=True, **changes):
    given = {"step_size": 0.05, "mean_rate": 0.02, "patience": 5, "seed": 3, "signal_norm": module if norm else None}
    return tl.optim.AdaptiveMonteCarlo(module.parameters(), **given | changes)


@pytest.mark.parametrize("norm", [True, False])
def test_it_is_the_integrator(norm):
    """The same moves and decisions as an ensemble of one with the same seed."""
    module = network()
    ensemble = tl.Ensemble(module, 1, seed=3, device="cpu", dtype=torch.float64)
    law = tl.AdaptiveMonteCarlo(0.05, 0.02, 5, norm)
    data = tl.datasets.Split(X, Y)
    start = vector(module)[None]
    history = tl.train(ensemble, law, data, loss=tl.losses.bce, steps=60, start=start, compile=False, progress=False)
    for full_batch in (True, False):
        twin = copy.deepcopy(module)
        optimizer = build(twin, norm, full_batch=full_batch)
        values = [optimizer.step(loss_of(twin)) for _ in range(60)]
        torch.testing.assert_close(vector(twin), history.final.q[0], rtol=1e-10, atol=1e-12)
        assert optimizer.accepted == int(history.final.state.accepted[0]) > 10
        assert values == sorted(values, reverse=True), "the loss never rises"
        assert values[-1] == pytest.approx(loss_of(twin)().item())
    other = copy.deepcopy(module)
    optimizer = build(other, norm, seed=4)
    for _ in range(60):
        optimizer.step(loss_of(other))
    assert not torch.allclose(vector(other), history.final.q[0], rtol=1e-3)


def test_calls_of_the_closure():
    """One a step where the batch is always the same, and one more at first; two on minibatches. None has a graph."""
    for full_batch, expected in ((True, 11), (False, 20)):
        module, calls = network(), []
        optimizer = build(module, full_batch=full_batch)

        def closure(module=module, calls=calls):
            value = loss_of(module)()
            assert not value.requires_grad
            calls.append(1)
            return value

        for _ in range(10):
            optimizer.step(closure)
        assert len(calls) == expected
        assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_saved_run_goes_on_to_the_bit(dtype, tmp_path):
    module = network(dtype)
    optimizer = build(module, full_batch=True)
    for _ in range(15):
        optimizer.step(loss_of(module))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    twin = copy.deepcopy(module)
    loaded = build(twin, step_size=0.3, full_batch=True)
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(15):
        optimizer.step(loss_of(module))
        loaded.step(loss_of(twin))
    assert torch.equal(vector(twin), vector(module))
    assert loaded.accepted == optimizer.accepted > 0


def test_parameters_changed_from_outside_are_taken_as_they_are():
    module = network()
    optimizer = build(module, full_batch=True)
    optimizer.step(loss_of(module))
    with torch.no_grad():
        for p in module.parameters():
            p.add_(3.0)
    worse = loss_of(module)().item()
    after = [optimizer.step(loss_of(module)) for _ in range(20)]
    assert after[0] <= worse
    assert (vector(module) - 3.0 - vector(network())).abs().max() < 2.0
    assert after[-1] == pytest.approx(loss_of(module)().item())


def test_a_loss_that_is_not_finite_is_a_rejection_to_the_bit():
    module = network()
    before = vector(module)
    optimizer = build(module)
    values = iter([0.7, math.nan, 0.7, math.inf])
    for _ in range(2):
        assert optimizer.step(lambda: next(values)) == pytest.approx(0.7)
        assert torch.equal(vector(module), before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step_size": 0.0}, "step_size=0.0"),
        ({"patience": 0}, "patience=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"seed": -1}, "seed=-1"),
        ({"signal_norm": nn.LSTM(2, 2, num_layers=2)}, "num_layers=2"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError, match=words):
        build(network(), **change)


def test_groups_and_a_missing_closure_are_refused():
    module = network()
    with pytest.raises(ValueError, match="params has 2 groups"):
        tl.optim.AdaptiveMonteCarlo([{"params": m.parameters()} for m in (module[0], module[2])])
    with pytest.raises(ValueError, match="closure=None"):
        build(module).step()


def _rank(rank, world, norm, folder):
    module = network()
    optimizer = build(module, norm)
    for _ in range(60):
        optimizer.step(loss_of(module, X[rank::world], Y[rank::world]))
    torch.save((vector(module), optimizer.accepted), f"{folder}/{rank}.pt")


def test_two_processes_take_the_path_of_one(tmp_path):
    """Each sees half of the data, and decides as one that sees all of it; alone with its half it would not."""
    together(_rank, True, str(tmp_path))
    (first, a), (second, b) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first, second) and a == b
    paths = {}
    for name, part in (("all", slice(None)), ("half", slice(0, None, 2))):
        module = network()
        optimizer = build(module)
        for _ in range(60):
            optimizer.step(loss_of(module, X[part], Y[part]))
        paths[name] = vector(module), optimizer.accepted
    torch.testing.assert_close(first, paths["all"][0], rtol=1e-9, atol=1e-11)
    assert a == paths["all"][1]
    assert not torch.allclose(first, paths["half"][0], rtol=1e-3)
