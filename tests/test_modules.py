"""Anybody's module: every kind of network, number and class is right, or refused in a sentence."""

import math

import pytest
import torch
from small import BAOAB, DATA, needs_compiler, regression, runs, train
from torch import nn

import thermolib as tl
from thermolib.nets.ensemble import Batch


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_an_ensemble_of_any_type_finishes(kind, tmp_path):
    ensemble = runs(8, dtype=kind)
    found = tl.Predictions(DATA.test.x, every=5)
    kept = tl.Samples(ensemble, every=5)
    observe = {
        "accuracy": tl.observe.accuracy(DATA.test),
        "loss": tl.observe.loss(tl.losses.bce, DATA.test),
        "norm": lambda state: state.q.square().sum(1),
    }
    history = train(ensemble, observe=observe, collect=found, checkpoint=None)
    train(ensemble, collect=kept)
    assert history.final.q.dtype == kind
    assert history.last["step_size"].unique() == pytest.approx([0.1], rel=1e-3)
    assert history.last["loss"].between(0.3, 1).all() and history.last["diverged"].isna().all()
    same = train(runs(8), observe=observe).last  # in single precision
    assert history.last["norm"].to_numpy() == pytest.approx(same["norm"].to_numpy(), rel=0.1)
    kept.save(tmp_path / "samples")
    torch.testing.assert_close(
        tl.Samples.load(tmp_path / "samples", ensemble).predict(DATA.test.x).mean, found.result.mean
    )
    assert found.quantiles(0.5).isfinite().all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_noise_in_half_precision_is_that_of_single_precision_rounded(kind):
    key = tl.noise.key(3, 2)
    for draw in (key.normal, key.uniform):
        assert torch.equal(draw(1, 5000, kind), draw(1, 5000).to(kind))
    assert BAOAB.init(key.normal(1, 8, kind)).p.dtype == kind


def test_probabilities_are_averaged_and_votes_are_of_the_outputs():
    logits = torch.tensor([[[5.0, 0.0]], [[-30.0, 0.0]]])  # of two samples of one replica
    found = tl.Predictions(torch.zeros(1, 1), transform=lambda y: y.softmax(-1))
    for sample in logits:
        found.add(sample[None])
    expected = torch.tensor([1 / (1 + math.exp(-5)) + 1 / (1 + math.exp(30)), 1 / (1 + math.exp(5)) + 1]) / 2
    assert found.result.mean.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert found.result.mean.flatten().tolist() == pytest.approx([0.497, 0.503], abs=5e-4)
    assert found.result.votes.flatten().tolist() == [0.5, 0.5]
    assert found.quantiles(0.5).flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    ensemble = runs(3)
    kept, gathered = tl.Samples(ensemble), tl.Predictions(DATA.test.x, transform=torch.sigmoid)
    for collect in (kept, gathered):
        train(ensemble, collect=collect)
    torch.testing.assert_close(kept.predict(DATA.test.x, torch.sigmoid).mean, gathered.result.mean)
    assert bool((gathered.result.mean - kept.predict(DATA.test.x).mean.sigmoid()).abs().max() > 1e-6)


def test_replicas_that_diverge_are_left_out_and_counted(tmp_path):
    ensemble = runs(4)
    law = tl.SGD(torch.tensor([0.01, 0.01, 0.01, 1e30]))
    found, kept = tl.Predictions(DATA.test.x), tl.Samples(ensemble)
    for collect in (found, kept):
        history = train(ensemble, law, loss=tl.losses.mse, steps=12, collect=collect)
    assert history.last["diverged"].notna().tolist() == [False, False, False, True]
    alone = tl.Predictions(DATA.test.x)
    train(runs(3), tl.SGD(0.01), loss=tl.losses.mse, steps=12, collect=alone)
    kept.save(tmp_path / "samples")
    for result in (
        found.result,
        kept.predict(DATA.test.x),
        tl.Samples.load(tmp_path / "samples", ensemble).predict(DATA.test.x),
    ):
        assert result.diverged.tolist() == [False, False, False, True]
        for one, other in zip(result.pooled(), alone.result.pooled(), strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(found.quantiles(0.1, 0.9, pool=True), alone.quantiles(0.1, 0.9, pool=True))


def test_numbers_that_are_none_are_refused():
    found = tl.Predictions(torch.zeros(4, 1))
    outputs = torch.zeros(3, 4, 1)
    outputs[1, 2] = torch.nan
    with pytest.raises(ValueError, match="outputs has 1 replicas with NaN or infinite numbers"):
        found.add(outputs)
    assert len(found) == 0
    found.add(outputs, diverged=torch.tensor([True, True, True]))
    with pytest.raises(ValueError, match="all replicas diverged"):
        found.result.pooled()


class Returns(nn.Module):
    """A layer whose output a function changes."""

    def __init__(self, change, outputs=12):
        super().__init__()
        self.layer, self.change = nn.Linear(2, outputs), change

    def forward(self, x):
        return self.change(self.layer(x))


def test_outputs_may_have_any_shape():
    ensemble = tl.Ensemble(Returns(lambda y: y.unflatten(-1, (3, 4))), 2, device="cpu")
    found = tl.Predictions(DATA.test.x)
    train(ensemble, loss=lambda y, target: y.square().mean(), collect=found)
    mean, spread, votes, *_ = found.result
    assert mean.shape == spread.shape == votes.shape == (2, 40, 3, 4)
    torch.testing.assert_close(votes.sum(-1), torch.ones(2, 40, 3).double())
    torch.testing.assert_close(mean[1], torch.stack(list(found.kept))[:, 1].double().mean(0))


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (Returns(lambda y: (y, y)), "module=Returns returns a tuple: wrap it"),
        (Returns(lambda y: {"logits": y}), "module=Returns returns a dict: wrap it"),
        (Returns(lambda y: nn.functional.dropout(y)), "draws random numbers of its own"),
    ],
    ids=["tuple", "dict", "random"],
)
def test_what_cannot_predict_is_refused_before_it_trains(module, sentence, monkeypatch):
    ensemble = tl.Ensemble(module, 2, device="cpu")
    monkeypatch.setattr(tl.Langevin, "enter", None)
    with pytest.raises(ValueError, match=sentence):
        train(ensemble, loss=lambda y, target: y[0].square().mean())


def test_a_module_without_a_row_for_each_input_cannot_be_asked():
    ensemble = tl.Ensemble(Returns(lambda y: y.sum(0)), 2, device="cpu")
    with pytest.raises(ValueError, match=r"returned the shape \(12,\) for 40 inputs"):
        tl.Predictions(DATA.test.x).read(ensemble, ensemble.q, torch.arange(2))


def test_frozen_parameters_stay_put():
    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    module[0].weight.requires_grad_(False)
    ensemble, free = (
        tl.Ensemble(module, 3, device="cpu"),
        tl.Ensemble(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), 3, device="cpu"),
    )
    for law in (BAOAB, tl.Metropolis(0.1), tl.AdaptiveMonteCarlo(0.1), tl.AdLaLa(), tl.Adam()):
        final = train(ensemble, law).final.q
        named = ensemble.named(final)
        assert torch.equal(named["0.weight"], module[0].weight.expand(3, 8, 2))
        assert not torch.equal(named["0.bias"], ensemble.named(ensemble.q)["0.bias"])
        x = DATA.test.x
        by_hand = torch.tanh(x @ module[0].weight.T + named["0.bias"][1]) @ named["2.weight"][1].T + named["2.bias"][1]
        torch.testing.assert_close(ensemble.predict(x, final)[1], by_hand.detach())
    assert ensemble.parameters == 17 and ensemble.names == ("0.bias", "2.weight", "2.bias")
    for name in ensemble.names:  # the others begin as they do where all are trained
        assert torch.equal(ensemble.named(ensemble.q)[name], free.named(free.q)[name])
    with pytest.raises(ValueError, match="no parameters to train"):
        tl.Ensemble(module.requires_grad_(False), 2)


class Scaled(nn.Module):
    """A normalisation of one's own, and a linear layer that begins in its own way."""

    class Begun(nn.Linear):
        def reset_parameters(self):
            nn.init.constant_(self.weight, 0.25)
            nn.init.zeros_(self.bias)

    def __init__(self):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.full((3,), 1.5)), self.Begun(3, 2)


def test_classes_that_are_not_known_keep_their_values():
    modules = [nn.Embedding(5, 4), nn.PReLU(), nn.MultiheadAttention(8, 2), nn.Bilinear(3, 3, 2), Scaled()]
    for module in modules:
        ensemble = tl.Ensemble(module, 2, device="cpu")
        for name, value in module.named_parameters():
            assert torch.equal(ensemble.named(ensemble.q)[name], value.expand(2, *value.shape)), name
    asked = tl.Ensemble(nn.PReLU(), 2, tl.init.normal(0.1), device="cpu")
    assert not torch.equal(*asked.q), "an initialiser that is asked for has all"


def test_a_network_that_is_trained_already_is_one_argument():
    module = tl.models.shlp(2, 8)
    values = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert torch.equal(runs(3, init=None).q[0], tl.Ensemble(module, 3, seed=1, device="cpu").q[0])
    ensemble = tl.Ensemble(module, 3, tl.init.module(), device="cpu")
    assert torch.equal(ensemble.q, values.expand(3, -1))
    spread = tl.Ensemble(module, 3000, tl.init.module(torch.linspace(0.1, 0.3, 3000)), device="cpu").q - values
    assert float((spread / torch.linspace(0.1, 0.3, 3000)[:, None]).std()) == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="spread=-1"):
        tl.init.module(-1)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_pytorchs_recurrent_layers_work(layer, tmp_path):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.output = layer(2, 3, batch_first=True), nn.Linear(3, 1)

        def forward(self, x):
            return self.output(self.layer(x)[0][:, -1])

    module = Last()
    ensemble = tl.Ensemble(module, 2, seed=3, device="cpu")
    data = tl.datasets.Split(DATA.train.x[:, None] * torch.linspace(0.5, 1, 4)[:, None], DATA.train.y)
    for law in (BAOAB, tl.Metropolis(0.1)):
        observe = {"accuracy": tl.observe.accuracy(data)}
        name = tmp_path / type(law).__name__
        history = train(ensemble, law, data=data, steps=6, observe=observe, checkpoint=name)
    outputs = ensemble.predict(data.x, history.final.q)
    for row, output in zip(history.final.q, outputs, strict=True):
        alone = torch.func.functional_call(module, ensemble.named(row), (data.x,))
        torch.testing.assert_close(output, alone.detach())
    x, y = ensemble.checked(data)
    q = ensemble.q.clone().requires_grad_()
    batch = Batch(ensemble, tl.losses.bce, x, y)
    for number, row in enumerate(q):
        alone = tl.losses.bce(torch.func.functional_call(module, ensemble.named(row), (x,)), y)
        (gradient,) = torch.autograd.grad(alone, q)
        torch.testing.assert_close(batch.force(ensemble.q)[number], -gradient[number])


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (nn.Dropout(0.1), "1=Dropout is not allowed while it drops neurons: call module.eval"),
        (nn.LSTM(4, 4, num_layers=2, dropout=0.1), "1=LSTM is not allowed while it drops neurons"),
        (nn.BatchNorm1d(4), "1=BatchNorm1d is not allowed while it gathers statistics"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_layers_with_numbers_of_their_own_are_refused_with_the_remedy(layer, sentence):
    module = nn.Sequential(nn.Linear(2, 4), layer)
    with pytest.raises(ValueError, match=sentence):
        tl.Ensemble(module, 2)
    tl.Ensemble(module.eval(), 2, device="cpu")
    module = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    ensemble = tl.Ensemble(module, 2, device="cpu")
    final = train(ensemble).final.q
    alone = torch.func.functional_call(module, ensemble.named(final[1]), (DATA.test.x,))
    torch.testing.assert_close(ensemble.predict(DATA.test.x, final)[1], alone.detach())


class Shift(tl.dynamics.base.Splitting):
    """A splitting with a letter of its own that moves positions, and one that does not."""

    alphabet = "ABXY"

    def __init__(self, word, step_size=0.1):
        self.__dict__.update(word=word, step_size=step_size)

    @property
    def hyperparameters(self):
        return {"step_size": self.step_size}

    def init(self, q):
        return tl.dynamics.State(q.clone(), torch.zeros_like(q))

    def map_X(self, state, dt, draw):
        return state._replace(q=state.q + dt * state.p)

    def map_Y(self, state, dt, draw):
        return state._replace(p=state.p.clone())


class Counted:
    """How often the force of a potential was evaluated."""

    def __init__(self, q):
        self.q, self.calls = q, 0

    def force(self, q):
        self.calls += 1
        return -q


@pytest.mark.parametrize(("word", "forces"), [("BABXB", 2), ("BAXB", 1), ("BABYB", 1), ("XBAB", 2)])
def test_a_letter_that_moves_positions_asks_for_a_fresh_force(word, forces):
    """On p^2/2 + q^2/2 from q = 1 the energy stays; X and A together move by two steps a step."""
    law = Shift(word)
    energy = {"energy": lambda state: (state.q.square() + state.p.square() * (1 + ("X" in word)))[:, 0] / 2}
    start = torch.ones(1, 1, dtype=torch.float64)
    run = {"every": 1, "observe": energy, "progress": False, "compile": False}
    found = tl.simulate(lambda q: q.square().sum(1) / 2, law, start, 2000, **run).frame["energy"]
    assert found.between(0.44, 0.56).all()  # words that are not symmetric err in the first order
    state, potential = law.init(start), Counted(start)
    for step in range(5):
        state = law.step(state, potential, tl.noise.key(0, 1, step))
    assert potential.calls == 5 * forces


class Copying(tl.SGD):
    """A dynamics of one's own that works on copies."""

    def init(self, q):
        return tl.dynamics.Positions(q.clone())

    def step(self, state, potential, key):
        return super().step(tl.dynamics.Positions(state.q.clone()), potential, key)


class Twice(tl.SGD):
    """One that asks for a force where it has moved to."""

    def step(self, state, potential, key):
        q = state.q + 0.5 * self.step_size * potential.force(state.q)
        return tl.dynamics.Positions(state.q + self.step_size * potential.force(q))


@needs_compiler
@pytest.mark.parametrize("how", [False, True])
def test_a_dynamics_that_copies_positions_works_among_partitions(how):
    def final(law):
        law = tl.Partitioned({"hidden": law, "output": BAOAB}, step_size=0.1)
        return train(runs(3), law, steps=8, compile=how).final.q

    torch.testing.assert_close(final(Copying(0.1)), final(tl.SGD(0.1)))
    with pytest.raises(ValueError, match="asks for a second force in one step"):
        final(Twice(0.1))


def test_the_posterior_of_bayesian_linear_regression():
    """Against the closed form: mean and covariance, within 4.5 standard errors."""
    problem, replicas = regression(), 2000
    n, data, precision = problem.n, problem.data, problem.precision
    covariance, mean = problem.covariance, problem.mean
    ensemble = tl.Ensemble(nn.Linear(1, 1), replicas, seed=2, device="cpu")
    law = tl.Langevin("BAOAB", step_size=0.5, friction=1.0, temperature=1 / n)

    def sampled(prior, count=replicas, steps=60):
        some = tl.Ensemble(nn.Linear(1, 1), count, seed=2, device="cpu")
        given = {"loss": problem.loss, "prior": prior}
        return train(some, law, data=data, batch_size=None, steps=steps, every=steps, **given).final.q.double()

    def far(q):
        """The largest of the errors of mean and covariance in standard errors."""
        spread = covariance.diag().sqrt()
        of_mean = (q.mean(0) - mean) / (spread / replicas**0.5)
        of_variance = (q.var(0) / covariance.diag() - 1) / (2 / replicas) ** 0.5
        return float(torch.cat([of_mean, of_variance]).abs().max())

    q = sampled(precision)
    assert far(q) < 4.5
    assert abs(float(torch.corrcoef(q.T)[0, 1]) - float(covariance[0, 1] / covariance.diag().prod().sqrt())) < 0.1
    assert far(sampled(None)) > 10, "without the prior it is another law"
    by_hand = sampled(lambda p: precision / 2 * sum(value.square().sum() for value in p.values()), 5)
    torch.testing.assert_close(by_hand, sampled(precision, 5), rtol=1e-4, atol=1e-5)
    quiet = ensemble.potential(tl.losses.mse, data, precision)(ensemble.q) - ensemble.potential(tl.losses.mse, data)(
        ensemble.q
    )
    torch.testing.assert_close(quiet, precision / (2 * n) * ensemble.q.square().sum(1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        (-1.0, "prior=-1.0 is not allowed"),
        (lambda p: p["output.weight"].square(), "loss with its prior returned the shape"),
        (torch.ones(4), "loss with its prior returned the shape"),
    ],
    ids=["negative", "no number", "tensor"],
)
def test_priors_that_are_none_are_refused(prior, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(runs(4), prior=prior)


class Two(nn.Module):
    """A module of two inputs."""

    def __init__(self):
        super().__init__()
        self.layer, self.other = nn.Linear(2, 8), nn.Linear(1, 8)

    def forward(self, place, *, phase):
        return torch.tanh(self.layer(place) + self.other(phase)).mean(-1, keepdim=True)


class Positional(Two):
    def forward(self, place, phase):
        return super().forward(place, phase=phase)


PLACE, PHASE, LABEL = DATA.train.x, DATA.train.x[:, :1].cos(), DATA.train.y


@pytest.mark.parametrize("batch_size", [None, 20])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_several_inputs_are_the_arguments_of_the_module(own, batch_size):
    """As one tensor of all of them, taken apart by the module, to the bit."""

    class Joined(Two):
        def forward(self, x):
            return super().forward(x[..., :2], phase=x[..., 2:])

    def made(x):
        split = tl.datasets.Split(x, LABEL)
        if own:
            order = torch.stack([torch.randperm(100, generator=torch.Generator().manual_seed(k)) for k in range(3)])
            pick = {True: lambda t: t[order], False: lambda t: t}[own]
            x = {k: pick(t) for k, t in x.items()} if isinstance(x, dict) else x
            x = tuple(map(pick, x)) if isinstance(x, tuple) else pick(x) if isinstance(x, torch.Tensor) else x
            split = tl.datasets.Splits(x, LABEL[order])
        return split

    finals, outputs = [], []
    for module, x in (
        (Joined(), torch.cat([PLACE, PHASE], 1)),
        (Positional(), (PLACE, PHASE)),
        (Two(), {"phase": PHASE, "place": PLACE}),
    ):
        ensemble, data = tl.Ensemble(module, 3, seed=1, device="cpu"), made(x)
        found = tl.Predictions(data if own else data.x)
        observe = {"accuracy": tl.observe.accuracy(data), "loss": tl.observe.loss(tl.losses.bce, data)}
        history = train(ensemble, data=data, batch_size=batch_size, collect=found, observe=observe)
        finals.append(
            torch.cat([history.final.q.flatten(), torch.tensor(history.last[[*observe]].to_numpy()).flatten()])
        )
        outputs.append(found.result.mean)
    for final, output in zip(finals, outputs, strict=True):
        assert torch.equal(final, finals[0]) and torch.equal(output, outputs[0])


class Pairs(torch.utils.data.Dataset):
    """A data set of one's own, whose items are pairs."""

    def __init__(self, two=False):
        self.two = two

    def __len__(self):
        return 100

    def __getitem__(self, i):
        return (((PLACE[i], PHASE[i]) if self.two else PLACE[i]), LABEL[i])


def test_pytorchs_data_sets_are_taken():
    both = torch.utils.data.TensorDataset(PLACE, PHASE, LABEL)
    one = torch.utils.data.TensorDataset(PLACE, LABEL)
    for module, sets, expected in (
        (tl.models.shlp(2, 8), (one, Pairs(), (PLACE.numpy(), LABEL.numpy())), tl.datasets.Split(PLACE, LABEL)),
        (Positional(), (both, Pairs(two=True)), tl.datasets.Split((PLACE, PHASE), LABEL)),
    ):
        ensemble = tl.Ensemble(module, 3, seed=1, device="cpu")
        whole = train(ensemble, data=expected, batch_size=None)
        parts = train(ensemble, data=expected, batch_size=25)
        for data in sets:
            observe = {"loss": tl.observe.loss(tl.losses.bce, data)}
            history = train(ensemble, data=data, batch_size=None, observe=observe)
            assert torch.equal(history.final.q, whole.final.q)
            loss = ensemble.potential(tl.losses.bce, expected)(whole.final.q)
            assert history.last["loss"].to_numpy() == pytest.approx(loss.numpy())
        loader = torch.utils.data.DataLoader(sets[0], batch_size=25, shuffle=True)
        assert torch.equal(train(ensemble, data=loader, batch_size=None).final.q, parts.final.q)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from zip(PLACE, LABEL, strict=True)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (torch.utils.data.DataLoader(Stream(), batch_size=5), "data=DataLoader is not allowed: it must be a Split of"),
        (tl.datasets.Split((PLACE, PHASE[1:]), LABEL), "data has 99 or 100 inputs and 100 targets"),
        (tl.datasets.Split((PLACE, PHASE / 0), LABEL), "data has 100 inputs that are NaN or infinite"),
        (tl.datasets.Split((), LABEL), "data has no inputs and 100 targets"),
    ],
    ids=["stream", "lengths", "infinite", "none"],
)
def test_data_that_are_none_are_refused(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(tl.Ensemble(Positional(), 2, device="cpu"), data=data)
