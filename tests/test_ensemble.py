"""Ensembles: a row is a network, whoever stands beside it."""

import pytest
import torch
from small import DATA, runs
from torch.func import functional_call

import thermolib as tl
from thermolib.nets.ensemble import Batch


def test_a_replica_is_its_number_not_its_row():
    assert torch.equal(runs([7, 3]).q, runs(8).q[[7, 3]])
    assert not torch.equal(runs([7, 3]).q, runs(8).q[[3, 7]])


def test_seeds_and_replicas_differ():
    q = torch.cat([runs(3).q, runs(3, seed=2).q])
    assert len({tuple(row.tolist()) for row in q}) == 6


def test_rows_are_networks():
    ensemble = runs(3, dtype=torch.float64)
    x = DATA.test.x.double()
    together = ensemble.predict(DATA.test.x)
    for row, output in zip(ensemble.q, together, strict=True):
        alone = functional_call(tl.models.shlp(2, 8).double(), ensemble.named(row), (x,))
        assert torch.allclose(alone, output, rtol=1e-12, atol=1e-12)


def test_loss_and_force_of_a_batch_are_those_of_each():
    ensemble = runs(3, dtype=torch.float64)
    x, y = ensemble.checked(DATA.train)
    batch = Batch(ensemble, tl.losses.bce, x, y)
    q = ensemble.q
    for i in range(3):
        alone = q[i].clone().requires_grad_()
        value = tl.losses.bce(ensemble.single(alone, x), y)
        (gradient,) = torch.autograd.grad(value, alone)
        assert torch.allclose(batch.loss(q)[i], value, rtol=1e-12)
        assert torch.allclose(batch.force(q)[i], -gradient, rtol=1e-9, atol=1e-14)


def test_each_replica_may_have_its_own_batch():
    ensemble = runs(2, dtype=torch.float64)
    x, y = ensemble.checked(DATA.train)
    own = Batch(ensemble, tl.losses.bce, torch.stack([x[:5], x[5:10]]), torch.stack([y[:5], y[5:10]]), own=True)
    for i, rows in enumerate((slice(0, 5), slice(5, 10))):
        shared = Batch(ensemble, tl.losses.bce, x[rows], y[rows])
        assert torch.allclose(own.loss(ensemble.q)[i], shared.loss(ensemble.q)[i], rtol=1e-12)


def test_the_module_given_is_left_as_it_was():
    module = tl.models.shlp(2, 8)
    tl.Ensemble(module, replicas=2, device="cpu", dtype=torch.float64)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in module.parameters())


def test_buffers_are_shared_by_all_replicas():
    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.register_buffer("shift", torch.tensor([3.0]))

        def forward(self, x):
            return self.layer(x) + self.shift

    ensemble = tl.Ensemble(Shifted(), replicas=2, init=tl.init.zeros(), device="cpu")
    assert torch.equal(ensemble.predict(torch.ones(4, 2)), torch.full((2, 4, 1), 3.0))


def test_initialisers():
    hidden = 10_000
    normal = runs(2, hidden, init=tl.init.normal(torch.tensor([0.1, 0.5]))).q
    assert torch.allclose(normal.std(1), torch.tensor([0.1, 0.5]), rtol=0.02)
    default = runs(1, hidden)
    named = default.named(default.q[0])
    for name, bound in (("hidden.weight", 2**-0.5), ("hidden.bias", 2**-0.5), ("output.weight", hidden**-0.5)):
        assert float(named[name].abs().max()) == pytest.approx(bound, rel=0.01)
    assert not runs(1, init=tl.init.zeros()).q.any()


@pytest.mark.parametrize(
    "layer",
    [
        tl.models.Recurrent(2, 16),
        tl.models.Recurrent(2, 16, "gru"),
        torch.nn.GRU(2, 16),
        torch.nn.LSTMCell(2, 16),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_recurrent_layers_begin_as_pytorchs(layer):
    """All parameters uniform on 1/4 either way, within 5 standard errors of 30,000 and more numbers; the matrices have
    other numbers of inputs, 2 and 16, and one over the root of the number of elements would be far too small."""
    ensemble = tl.Ensemble(layer, 2000, seed=3)
    for name, values in ensemble.named(ensemble.q).items():
        assert values.abs().max() <= 0.25, name
        variance, error = 1 / 48, 0.02 / values.numel() ** 0.5  # Var u^2 = (1/4)^4 (1/5 - 1/9), root 0.0186
        assert abs(values.square().mean() - variance) < 5 * error, name
        assert dict(layer.named_parameters())[name].abs().max() <= 0.25, name


def test_normalisations_begin_with_one_and_zero():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GroupNorm(1, 4), torch.nn.LayerNorm(4))
    ensemble = tl.Ensemble(module, 2, device="cpu")
    named = ensemble.named(ensemble.q)
    for layer in "12":
        assert bool((named[f"{layer}.weight"] == 1).all()) and not named[f"{layer}.bias"].any()
    assert bool(named["0.weight"].any()) and not torch.equal(*named["0.weight"])
    asked = tl.Ensemble(module, 2, tl.init.normal(0.1), device="cpu")
    assert float(asked.named(asked.q)["1.weight"].abs().max()) < 0.6, "an initialiser that is asked for has all"


def test_resnet18_is_torchvisions_with_layer_normalisation():
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(num_classes=10, norm_layer=lambda c: torch.nn.GroupNorm(1, c))
    theirs.conv1 = torch.nn.Conv2d(1, 64, 7, 2, padding=3, bias=False)
    ours = tl.models.resnet18()
    assert sum(p.numel() for p in ours.parameters()) == 11_175_370
    with torch.no_grad():
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.copy_(b)
        x = torch.linspace(-1, 1, 2 * 28 * 28).reshape(2, 1, 28, 28)
        assert torch.allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="width=0"):
        tl.models.resnet18(width=0)
