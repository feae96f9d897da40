"""Metropolis and aMC against their exact laws, and signal norm against sums written out neuron by neuron.

A mean may be Z = 5 standard errors off. Every law is put to an integrator that breaks it as well, which it must refuse.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from small import DATA, needs_compiler, runs, train
from torch import nn
from torch.utils import _pytree as pytree

import thermolib as tl
from companion.recipes.progressive import train_progressively
from thermolib import exact
from thermolib.dynamics import monte_carlo
from thermolib.dynamics.monte_carlo import scale
from thermolib.engine import compiled
from thermolib.ground import noise
from thermolib.nets.ensemble import Batch
from thermolib.nets.signals import Listener

Z, R = 5.0, 40_000
G = torch.tensor([1.0, -2.0, 0.5])
AMC = tl.AdaptiveMonteCarlo(0.05, 0.02, 20)


class Potential:
    """A loss that is the same at every step, and no force: to ask for one is an error."""

    fixed = True

    def __init__(self, loss, signals=None):
        self._loss, self._signals, self.calls = loss, signals, 0

    def loss(self, q):
        self.calls += 1
        return self._loss(q)

    def loss_and_signals(self, q):
        return self.loss(q), self._signals.expand(len(q), -1)

    def force(self, q):
        raise AssertionError("a Monte Carlo step asked for a force")


def linear(q):
    return q @ G.to(q)


def bowl(q):
    return q.square().sum(1) / 2


def walk(law, potential, q, steps=1, seed=3, first=0):
    state = law.begin(law.init(q), potential)
    for step in range(first, first + steps):
        state = law.step(state, potential, noise.key(seed, len(q), step))
    return state


def z_score(values, expected):
    values = np.asarray(values, dtype=np.float64)
    return abs(values.mean() - expected) / (values.std() / math.sqrt(len(values)))


@pytest.mark.parametrize("temperature", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("make", [tl.Metropolis, lambda *a: tl.AdaptiveMonteCarlo(a[0], 0.5, 7, temperature=a[1])])
def test_a_slope(make, temperature):
    """Acceptance and drift on a linear loss, whatever its slope; a second moment of sigma^2 / 2 across it."""
    sigma, size = 0.4, float(G.norm())
    state = walk(make(sigma, temperature), Potential(linear), torch.zeros(R, 3))
    law = exact.metropolis(scale=sigma, gradient=size, temperature=temperature)
    along = state.q @ G / size
    assert z_score(state.accepted, law.acceptance) < Z
    assert z_score(along, law.drift) < Z
    across = state.q @ torch.tensor([2.0, 1.0, 0.0]) / math.sqrt(5)
    assert z_score(across, 0.0) < Z
    assert z_score(across.square(), sigma**2 * law.acceptance) < Z
    wrong = exact.metropolis(scale=1.3 * sigma, gradient=size, temperature=temperature)
    assert z_score(along, wrong.drift) > Z, "negative control"
    if temperature:
        assert z_score(state.accepted, wrong.acceptance) > Z


@pytest.mark.parametrize(("dimension", "sigma"), [(2, 0.8), (7, 0.4), (30, 0.15)])
def test_a_bowl(dimension, sigma):
    """The acceptance in a bowl is a noncentral chi-square; another radius or dimension is refused."""
    q = torch.zeros(R, dimension)
    q[:, 0] = 1.0
    accepted = walk(tl.Metropolis(sigma), Potential(bowl), q).accepted
    assert z_score(accepted, exact.metropolis_acceptance(scale=sigma, radius=1.0, dimension=dimension)) < Z
    assert z_score(accepted, exact.metropolis_acceptance(scale=sigma, radius=1.3, dimension=dimension)) > Z
    assert z_score(accepted, exact.metropolis_acceptance(scale=sigma, radius=1.0, dimension=2 * dimension)) > Z


@pytest.mark.parametrize("asked", [0.5, 0.55])
def test_finite_temperature_samples_the_gibbs_law(asked):
    """Replicas that start in the law of temperature 1/2 stay there, and leave it at another temperature."""
    q = math.sqrt(0.5) * noise.key(8, 8000).normal(noise.DATA, 2, torch.float32)
    q = walk(tl.Metropolis(0.8, asked), Potential(bowl), q, 20).q
    assert (z_score(q.square().mean(1), 0.5) < Z) == (asked == 0.5)


def test_the_langevin_equation_of_small_moves():
    r"""Eq. (2): a drift :math:`-(\sigma/\sqrt{2\pi})\nabla U/|\nabla U|` and white noise of variance
    :math:`\sigma^2/2` along trajectories, and so after n steps far from the minimum of a bowl."""
    sigma, steps, radius, d = 2e-4, 100, 1.0, 3
    q = torch.zeros(4000, d, dtype=torch.float64)
    q[:, 0] = radius
    moved = walk(tl.Metropolis(sigma), Potential(bowl), q, steps).q - q
    along, across = moved[:, 0], moved[:, 1]
    drift = -steps * sigma / math.sqrt(2 * math.pi)
    # curvature bends the law at the next order in sigma: sigma^2 (d - 1) / (2 r) a step is 0.1 % of the drift here
    assert z_score(along, drift) < Z
    assert z_score(along, 1.05 * drift) > Z
    assert z_score(across.square(), steps * sigma**2 / 2) < Z
    assert z_score(across.square(), steps * sigma**2 / 2 * 1.25) > Z
    # the paper drops the term -(sigma^2 / 2 pi) along the gradient from the variance
    spread = (along - along.mean()).square()
    assert z_score(spread, steps * sigma**2 * (1 / 2 - 1 / (2 * math.pi))) < Z
    assert z_score(spread, steps * sigma**2 / 2) > Z


def test_the_drift_of_each_layer_under_signal_norm():
    """-sigma lambda_l^2 g_l / sqrt(2 pi sum lambda_k^2 g_k^2); without the scales it is another law."""
    sigma, signals = 0.3, torch.tensor([[4.0, 0.25, 1.0]])
    law = tl.AdaptiveMonteCarlo(sigma, 0.1, 50, True).bind({"a": 1, "b": 1, "c": 1})
    q = walk(law, Potential(linear, signals), torch.zeros(R, 3)).q
    lambdas = signals[0] ** -0.5
    drift = -sigma * lambdas**2 * G / math.sqrt(2 * math.pi) / (lambdas * G).norm()
    plain = -sigma * G / math.sqrt(2 * math.pi) / G.norm()
    assert max(z_score(q[:, i], float(drift[i])) for i in range(3)) < Z
    assert min(z_score(q[:, i], float(plain[i])) for i in range(3)) > Z


def test_one_step_by_hand():
    """Mean, step size and count of rejections, move by move, as section III A writes them."""
    law = tl.AdaptiveMonteCarlo(0.5, 0.3, 3)
    q = torch.tensor([[6.0, -4.0]], dtype=torch.float64)
    state = walk(law, Potential(bowl), q, 0)
    x, mean, sigma, rejected, accepted, shrunk = q[0].clone(), torch.zeros(2).double(), 0.5, 0, 0, 0
    for step in range(150):
        key = noise.key(3, 1, step)
        state = law.step(state, Potential(bowl), key)
        move = mean + sigma * key.normal(0, 2, torch.float64)[0]
        if bowl((x + move)[None]) <= bowl(x[None]):
            x, mean, rejected, accepted = x + move, mean + 0.3 * (move - mean), 0, accepted + 1
        else:
            rejected += 1
            if rejected == 3:
                mean, sigma, rejected, shrunk = torch.zeros(2).double(), 0.95 * sigma, 0, shrunk + 1
        torch.testing.assert_close(state.q[0], x)
        torch.testing.assert_close(state.mean[0], mean)
        assert state.sigma.item() == pytest.approx(sigma)
        assert (state.rejected.item(), state.accepted.item()) == (rejected, accepted)
        assert state.loss.item() == pytest.approx(float(bowl(x[None])))
    assert shrunk > 3 and accepted > 10, "both branches were taken"


def test_without_adaptivity_it_is_metropolis():
    q = noise.key(1, 5).normal(noise.INIT, 4, torch.float64)
    plain = walk(tl.Metropolis(0.2, 0.1), Potential(bowl), q, 50)
    adaptive = walk(tl.AdaptiveMonteCarlo(0.2, 0.0, math.inf, temperature=0.1), Potential(bowl), q, 50)
    assert torch.equal(plain.q, adaptive.q) and torch.equal(plain.accepted, adaptive.accepted)
    other = walk(tl.AdaptiveMonteCarlo(0.2, 0.01, math.inf, temperature=0.1), Potential(bowl), q, 50)
    assert not torch.equal(plain.q, other.q)


@pytest.mark.parametrize("law", [tl.Metropolis(3.0), dataclasses.replace(AMC, step_size=3.0)])
def test_a_rejected_move_leaves_the_parameters_to_the_bit_and_the_loss_never_rises(law):
    """With moves so large that adding and subtracting them would lose digits."""
    potential, q = Potential(bowl), noise.key(1, 200).normal(noise.INIT, 3, torch.float32)
    state, rejections = walk(law, potential, q, 0), 0
    for step in range(40):
        before, state = state, law.step(state, potential, noise.key(3, 200, step))
        stayed = state.accepted == before.accepted
        rejections += int(stayed.sum())
        assert torch.equal(state.q[stayed], before.q[stayed])
        assert bool((state.loss <= before.loss).all())
        assert torch.equal(state.loss, bowl(state.q))
    assert rejections > 1000


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("law", [tl.Metropolis(0.5, 0.2), AMC])
def test_a_loss_that_is_not_finite_is_a_rejection(law, bad):
    """Beyond a wall the loss is no number: nobody goes there, nobody diverges; who starts there comes out."""

    def walled(q):
        return torch.where(q[:, 0] > 0, bad, q[:, 0].abs())

    inside = walk(law, Potential(walled), torch.full((100, 1), -0.1), 50)
    assert bool((inside.q < 0).all() & inside.loss.isfinite().all()) and int(inside.accepted.sum()) > 100
    history = tl.simulate(walled, dataclasses.replace(law, step_size=1.0), torch.full((50, 1), 0.1), 50, every=50)
    assert history.last["diverged"].isna().all() and bool((history.final.q < 0).all())


def test_a_flat_loss_accepts_everything():
    assert bool((walk(AMC, Potential(lambda q: q[:, 0] * 0), torch.zeros(9, 2), 11).accepted == 11).all())


def test_no_gradient_is_ever_asked_for():
    """Training through the engine on a module whose backward pass is an error."""

    class NoBackward(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):
            raise AssertionError("a gradient was evaluated")

    class Wall(nn.Module):
        def forward(self, x):
            return NoBackward.apply(x)

    ensemble = tl.Ensemble(nn.Sequential(nn.Linear(2, 4), Wall(), nn.Linear(4, 1)), 3, device="cpu")
    for law in (tl.Metropolis(0.05), dataclasses.replace(AMC, signal_norm=True)):
        for batch in (None, 20):
            train(ensemble, law, batch_size=batch)
    with pytest.raises(Exception, match="a gradient was evaluated"):
        train(ensemble, tl.SGD(0.1))


def test_the_loss_is_cached_on_a_full_batch_only():
    full, part = Potential(bowl), Potential(bowl)
    part.fixed = False
    for potential, calls in ((full, 1 + 10), (part, 1 + 20)):
        walk(AMC, potential, torch.ones(2, 3), 10)
        assert potential.calls == calls


def test_both_losses_are_taken_on_the_same_minibatch():
    """On minibatches whose losses differ wildly, a cached loss would decide wrongly."""
    data = tl.datasets.Split(DATA.train.x, torch.arange(100.0) * 10)
    ensemble = runs(3)
    law = tl.Metropolis(0.05)
    state, key = law.init(ensemble.q), noise.key(ensemble.seed, 3)
    loss = tl.losses.mse
    order = noise.permutation(key, 100)
    for step in range(5):
        points = order[:, 20 * step : 20 * step + 20]
        potential = Batch(ensemble, loss, data.x[points], data.y[points], own=True)
        moved = state.q + 0.05 * key.at(later=step).normal(0, state.q.shape[1], torch.float32)
        better = potential.loss(moved) <= potential.loss(state.q)
        state = state._replace(q=torch.where(better[:, None], moved, state.q))
    found = train(ensemble, law, steps=5, data=data, loss=loss)
    assert torch.equal(found.final.q, state.q)


def test_going_on_with_other_data_takes_their_loss():
    """A loss that was cached for other data would never be reached again; the counts go on."""
    small = tl.datasets.Split(DATA.train.x[:4], DATA.train.y[:4])
    first = train(runs(4), AMC, 300, None, data=small)
    second = train(runs(4), AMC, 200, None, start=first.final)
    whole = runs(4).potential(tl.losses.bce, DATA.train)
    assert bool((whole(first.final.q) > first.final.state.loss + 0.01).any()), "the first loss was of other data"
    torch.testing.assert_close(second.final.state.loss, whole(second.final.q))
    assert bool((second.final.state.accepted > first.final.state.accepted).all())


@pytest.mark.parametrize("law", [tl.Metropolis(0.05), dataclasses.replace(AMC, signal_norm=True)])
@pytest.mark.parametrize("batch_size", [None, 20])
def test_a_resumed_run_and_a_single_replica_are_the_same_run(law, batch_size):
    whole = train(runs(4), law, 46, batch_size)
    half = train(runs(4), law, 20, batch_size)
    rest = train(runs(4), law, 26, batch_size, start=half.final)
    for a, b in zip(pytree.tree_leaves(whole.final.state), pytree.tree_leaves(rest.final.state), strict=True):
        assert torch.equal(a, b)
    alone = train(runs([2]), law, 46, batch_size)
    torch.testing.assert_close(alone.final.q[0], whole.final.q[2])
    traced = train(runs(4), law, 46, batch_size, compile="trace")
    assert torch.equal(traced.final.q, whole.final.q)


@needs_compiler
def test_compiled_steps_take_the_same_path_and_values_never_compile_again():
    law = dataclasses.replace(AMC, signal_norm=True)
    ensemble = tl.Ensemble(tl.models.mlp((2, 5, 1)), 4, seed=1, device="cpu", dtype=torch.float64)
    plain = train(ensemble, law, 60, None)
    monte_carlo._columns.cache_clear()  # as in a process whose first step is a compiled one
    quick = train(ensemble, law, 60, None, compile=True)
    torch.testing.assert_close(quick.final.q, plain.final.q)
    assert quick.compiled and not plain.compiled
    before = compiled.compilations()
    each = torch.tensor([0.01, 0.02, 0.03, 0.04])
    train(ensemble, dataclasses.replace(law, step_size=each, mean_rate=-0.01, patience=5), 60, None, compile=True)
    assert compiled.compilations() == before


def test_a_compiled_tanh_is_pytorchs_and_gone_afterwards():
    from torch._inductor import lowering

    before = lowering.lowerings[torch.ops.aten.tanh.default]
    x = torch.randn(100)
    if compiled.possible("cpu"):
        assert torch.equal(compiled.compile_step(lambda x: [torch.tanh(x)], [x])(x)[0], torch.tanh(x))
    assert lowering.lowerings[torch.ops.aten.tanh.default] is before


# Signal norm, neuron by neuron


def heard(module, x):
    """The mean squares of one forward pass, by name."""
    names, listener = list(dict(module.named_parameters())), Listener(module)
    with listener:
        module(x)
    return dict(zip(names, listener.mean_squares(names).tolist(), strict=True))


def test_signals_of_linear_layers():
    module = tl.models.mlp((3, 4, 4, 2)).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    found = heard(module, x)
    h = [x]
    for layer in (module[1], module[3]):  # after the layer that makes points columns
        h.append(torch.tanh(h[-1] @ layer.weight.T + layer.bias))
    for name, inputs in (("0", h[0]), ("2", h[1]), ("4", h[2])):
        by_hand = sum(s**2 for row in inputs.tolist() for s in row) / 7
        assert found[f"{name}.weight"] == pytest.approx(by_hand)
        assert found[f"{name}.bias"] == 1
    rows = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    rows.load_state_dict(module.state_dict())
    assert list(heard(rows, x).values()) == pytest.approx(list(found.values()))
    torch.testing.assert_close(rows(x), module(x))


def test_signals_of_a_convolution():
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    x = torch.randn(4, 2, 5, 6)
    padded = torch.zeros(4, 2, 7, 8)
    padded[:, :, 1:6, 1:7] = x
    patches = [padded[:, :, i : i + 3, j : j + 3].square().sum((1, 2, 3)) for i in (0, 2, 4) for j in (0, 2, 4)]
    assert heard(conv, x)["weight"] == pytest.approx(float(torch.stack(patches).mean()), rel=1e-5)
    circular = nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular")
    x = torch.randn(4, 2, 5)
    assert heard(circular, x)["weight"] == pytest.approx(3 * float(x.square().sum((1, 2)).mean()) / 5, rel=1e-5)


@pytest.mark.parametrize(
    "layer",
    [tl.models.Recurrent(3, 4), tl.models.Recurrent(3, 4, "gru"), nn.RNN(3, 4, batch_first=True), nn.LSTM(3, 4)],
)
def test_signals_of_recurrent_layers(layer):
    x = torch.randn(5, 6, 3)
    output = layer(x)
    states = output[0] if isinstance(output, tuple) else output
    if isinstance(layer, nn.LSTM):
        x, states = x.transpose(0, 1), states.transpose(0, 1)
    total = x.square().sum() + states[:, :-1].square().sum()  # the first hidden state is zero
    found = heard(layer, x.transpose(0, 1) if isinstance(layer, nn.LSTM) else x)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        assert found[name] == pytest.approx(float(total) / 30, rel=1e-5)
    assert found["bias_ih_l0"] == found["bias_hh_l0"] == 1


def test_signals_of_a_cell_that_is_called_again_and_again():
    cell = nn.GRUCell(3, 4)
    x = torch.randn(6, 5, 3)
    listener, h, squares = Listener(cell), torch.zeros(5, 4), []
    with listener:
        for now in x:
            squares.append(float((now.square().sum(1) + h.square().sum(1)).mean()))
            h = cell(now, h)
    found = listener.mean_squares(["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
    assert found.tolist() == pytest.approx([np.mean(squares)] * 2 + [1, 1], rel=1e-5)


def test_normalisations_and_embeddings_keep_one():
    module = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    found = heard(module, torch.tensor([0, 3, 3]))
    assert found["0.weight"] == found["1.weight"] == found["1.bias"] == 1
    assert found["2.weight"] == pytest.approx(4.0, rel=1e-3), "normalised signals: one for each of four"


def test_a_recurrent_layer_is_pytorchs():
    for kind, theirs in (("tanh", nn.RNN), ("gru", nn.GRU)):
        ours, layer = tl.models.Recurrent(3, 4, kind), theirs(3, 4, batch_first=True)
        layer.load_state_dict(ours.state_dict())
        x = torch.randn(2, 7, 3)
        torch.testing.assert_close(ours(x), layer(x)[0])
        ensemble = tl.Ensemble(tl.models.recurrent(3, 4, 2, kind=kind), 3, seed=5)
        rows = ensemble.predict(x)
        for row, output in zip(ensemble.q, rows, strict=True):
            torch.testing.assert_close(ensemble.single(row, x), output)


def test_signals_of_an_ensemble_are_those_of_each_network():
    ensemble = runs(3, dtype=torch.float64)
    x, y = ensemble.checked(DATA.train)
    loss, signals = Batch(ensemble, tl.losses.bce, x, y).loss_and_signals(ensemble.q)
    torch.testing.assert_close(loss, Batch(ensemble, tl.losses.bce, x, y).loss(ensemble.q))
    for row, found in zip(ensemble.q, signals, strict=True):
        hidden = torch.relu(x @ ensemble.named(row)["hidden.weight"].T + ensemble.named(row)["hidden.bias"])
        expected = [float(x.square().sum(1).mean()), 1.0, float(hidden.square().sum(1).mean()), 1.0]
        assert found.tolist() == pytest.approx(expected)


def test_neurons_without_signal_stay_and_biases_move_by_sigma():
    """Inputs zero: the first layer's weights stay to the bit, and the biases get sigma whatever the signals."""
    data = tl.datasets.Split(torch.zeros(10, 2), torch.zeros(10))
    ensemble = runs(400)
    law = tl.AdaptiveMonteCarlo(0.01, 0.0, 100, True)
    flat = lambda output, target: output.sum() * 0  # noqa: E731
    moved = ensemble.named(train(ensemble, law, 1, None, data=data, loss=flat).final.q - ensemble.q)
    assert not bool(moved["hidden.weight"].any())
    for name in ("hidden.bias", "output.bias"):
        assert z_score((moved[name] ** 2).mean(1), 1e-4) < Z
    hidden = torch.relu(ensemble.named(ensemble.q)["hidden.bias"]).square().sum(1)
    alive = hidden > 1e-3
    share = moved["output.weight"][:, 0].square().mean(1) * hidden
    assert z_score(share[alive], 1e-4) < Z and z_score(share[alive], 1.2e-4) > Z


def test_scale():
    assert scale(torch.tensor([0.0, 4.0, 1.0])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "groups=2"),
        (nn.LSTM(2, 3, num_layers=2), "num_layers=2"),
        (nn.Bilinear(2, 2, 2), "Bilinear"),
        (nn.ConvTranspose2d(2, 2, 3), "ConvTranspose2d"),
    ],
)
def test_layers_that_signal_norm_does_not_take(layer, words):
    with pytest.raises(ValueError, match=words):
        Listener(nn.Sequential(layer))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tl.Metropolis(0.0), "step_size=0.0 is not allowed"),
        (lambda: tl.Metropolis(0.1, -1.0), "temperature=-1.0 is not allowed"),
        (lambda: tl.AdaptiveMonteCarlo(0.1, math.nan), "mean_rate=nan is not allowed"),
        (lambda: tl.AdaptiveMonteCarlo(0.1, 0.1, 0), "patience=0 is not allowed: it must be at least 1"),
        (lambda: tl.AdaptiveMonteCarlo(0.1, 0.1, 10, "on"), "signal_norm='on' is not allowed"),
        (
            lambda: tl.simulate(bowl, tl.AdaptiveMonteCarlo(signal_norm=True), torch.ones(2, 2), 3),
            "signal_norm=True needs a network",
        ),
        (lambda: tl.models.mlp((3,)), "the input and the output at least"),
        (lambda: tl.models.Recurrent(2, 3, "lstm"), "kind='lstm' is not allowed"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_paper_s_constant():
    assert monte_carlo.SHRINK == 0.95


# Progressive batching


GROWING = tl.AdaptiveMonteCarlo(0.1, 0.01, 20)


def progressively(error, steps=40, first=5, law=GROWING):
    labels = DATA.train.y
    order = torch.arange(100).reshape(2, 50).T.flatten()  # both classes in every batch
    data = tl.datasets.Split(DATA.train.x[order], labels[order])
    look = {"sigma": lambda s: s.sigma[:, 0], "loss": lambda s: s.loss}
    given = {"steps": steps, "first": first, "error": error, "every": 5, "observe": look, "compile": False}
    found = train_progressively(runs(6), law, data, data.y, loss=tl.losses.bce, **given)
    return data, *found


def test_a_batch_that_is_never_learned_stays():
    """Then it is training on the first points, to the bit."""
    data, frame, final = progressively(error=0.0)
    plain = train(runs(6), GROWING, 40, None, data=tl.datasets.Split(data.x[:5], data.y[:5]))
    assert (frame["batch"] == 5).all()
    assert torch.equal(final.q, plain.final.q) and torch.equal(final.state.sigma, plain.final.state.sigma)


def test_a_batch_that_is_learned_doubles_up_to_the_whole_set():
    """An error of almost 1 is passed by whoever is right about one point. The loss is that of the new batch."""
    data, frame, final = progressively(error=0.999, first=20)
    expected = [20, 40, 80, 100, 100, 100, 100, 100]
    for _, rows in frame.groupby("replica"):
        assert rows["batch"].tolist() == expected
    whole = runs(6).potential(tl.losses.bce, data)
    torch.testing.assert_close(final.state.loss, whole(final.q))


def test_replicas_double_one_by_one_and_start_anew():
    law = tl.AdaptiveMonteCarlo(0.3, 0.01, 2)
    _, frame, _ = progressively(error=0.25, steps=200, law=law)
    table = frame.pivot(index="step", columns="replica", values="batch")
    assert table.iloc[-1].nunique() > 1 or (table.nunique(axis=1) > 1).any(), "each at its own time"
    assert bool((table.diff().dropna() >= 0).all().all())
    grew = table.diff().shift(-1) > 0
    sigma = frame.pivot(index="step", columns="replica", values="sigma")
    before, after = sigma.to_numpy()[:-1][grew.to_numpy()[:-1]], sigma.to_numpy()[1:][grew.to_numpy()[:-1]]
    assert len(before) and (before < 0.3).any() and (after > 0.3 * 0.95**3).all(), "the step size is reset"


def test_progressive_batching_refuses():
    with pytest.raises(ValueError, match="first=200 is larger than the data"):
        progressively(0.1, first=200)
    with pytest.raises(ValueError, match=r"error=-0\.1 is not allowed"):
        progressively(-0.1)
