"""Predictions gathered along a run, the networks kept for them, and data of its own for each replica."""

import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small import DATA, runs

import thermolib as tl
from benchmarks import simmering

CHAIN = tl.NoseHooverChain(0.05, 0.01)


def splits(replicas=5):
    return tl.datasets.random_splits(DATA.train, 40, replicas, seed=4)


def train(ensemble, data, steps=24, **kwargs):
    kwargs = {"loss": tl.losses.bce, "compile": False, "progress": False, "workers": 1} | kwargs
    return tl.train(ensemble, CHAIN, data, steps=steps, every=steps, **kwargs)


def test_mean_spread_votes_and_quantiles_are_those_of_all_samples():
    y = torch.randn(60, 3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = tl.Predictions(torch.zeros(4, 1), keep=64)
    for sample in y:
        found.add(sample)
    mean, spread, votes, *_ = found.result
    torch.testing.assert_close(mean, y.mean(0))
    torch.testing.assert_close(spread, y.std(0))
    torch.testing.assert_close(votes[..., 1], (y[..., 1] > y[..., 0]).double().mean(0))
    torch.testing.assert_close(found.quantiles(0.1, 0.5), torch.quantile(y, torch.tensor([0.1, 0.5]).double(), 0))
    pooled = found.result.pooled()
    torch.testing.assert_close(pooled.mean[0], y.mean((0, 1)))
    assert (pooled.spread[0] - y.flatten(0, 1).std(0)).abs().max() < 0.02
    assert not torch.allclose(mean, y[:30].mean(0), rtol=1e-3)


def test_what_is_kept_is_bounded_and_evenly_spaced():
    found = tl.Predictions(torch.zeros(1, 1), keep=16)
    for n in range(1000):
        found.add(torch.full((1, 1, 1), float(n)))
    kept = found.kept.flatten()
    assert 8 <= len(kept) <= 16
    assert len(kept.diff().unique()) == 1
    assert len(found) == 1000
    assert found.result.mean.item() == pytest.approx(499.5)


def test_a_run_is_sampled_after_the_beginning_at_even_distances():
    ensemble = runs(5)
    kept = tl.Samples(ensemble, after=8, every=4)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
    gathered = tl.Predictions(x, after=8, every=4)
    history = train(ensemble, DATA, collect=kept)
    assert torch.equal(train(ensemble, DATA, collect=gathered).final.q, history.final.q)
    assert len(kept) == len(gathered) == 4  # steps 12, 16, 20, 24
    assert torch.equal(list(kept)[-1], history.final.q)
    assert torch.equal(next(iter(kept)), train(ensemble, DATA, steps=12).final.q)
    for one, other in zip(kept.predict(x), gathered.result, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)  # outputs are no probabilities and have no entropy


def test_samples_on_the_disk_say_what_they_are_and_are_not_taken_for_others(tmp_path):
    ensemble, path = (
        tl.Ensemble(tl.models.mlp((2, 8, 1)), [3, 0, 5], seed=7, device="cpu"),
        tmp_path / "kept.safetensors",
    )
    kept = tl.Samples(ensemble, after=5, every=6)
    warm = torch.tensor([1e-3, 2e-3, 3e-3])
    law = tl.NoseHooverChain(0.05, warm)
    tl.train(ensemble, law, DATA, loss=tl.losses.bce, steps=24, compile=False, progress=False, collect=kept)
    kept.save(path)
    arrays = load_file(path)
    assert list(arrays) == sorted(ensemble.names)
    for name, value in ensemble.named(torch.stack(list(kept))).items():
        assert np.array_equal(arrays[name], value.numpy()) and arrays[name].shape[:2] == (len(kept), 3)
    loaded = tl.Samples.load(path, ensemble)
    assert loaded.steps == kept.steps == [11, 17, 23]
    assert loaded.run == kept.run
    assert loaded.run["seed"] == 7 and loaded.run["replicas"] == [3, 0, 5]
    assert loaded.run["temperature"] == pytest.approx(warm.tolist())
    assert all(torch.equal(one, other) for one, other in zip(loaded, kept, strict=True))
    assert torch.equal(loaded.predict(DATA.test.x).mean, kept.predict(DATA.test.x).mean)
    wider, frozen = tl.models.mlp((2, 4, 1)), tl.models.mlp((2, 8, 1))
    next(frozen.parameters()).requires_grad_(False)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    for other in (wider, frozen, layers):
        with pytest.raises(ValueError, match=r"holds samples of another module, [A-Za-z]+ of 33 parameters"):
            tl.Samples.load(path, tl.Ensemble(other, 3, device="cpu"))
    tl.Samples.load(path, tl.Ensemble(tl.models.mlp((2, 8, 1)), 1, seed=9, device="cpu"))
    for text in (b"", b"no samples"):
        path.write_bytes(text)
        with pytest.raises(ValueError, match="holds no samples"):
            tl.Samples.load(path, ensemble)


def test_samples_of_what_is_frozen_belong_to_its_values(tmp_path):
    module = tl.models.mlp((2, 8, 1))
    next(module.parameters()).requires_grad_(False)
    ensemble = tl.Ensemble(module, 2, device="cpu")
    kept = tl.Samples(ensemble)
    kept.add(ensemble.q)
    kept.save(tmp_path / "kept")
    tl.Samples.load(tmp_path / "kept", tl.Ensemble(module, 2, device="cpu"))
    next(module.parameters()).add_(1)
    with pytest.raises(ValueError, match="the same values of what is not trained"):
        tl.Samples.load(tmp_path / "kept", tl.Ensemble(module, 2, device="cpu"))


def test_samples_are_thinned_to_their_limit():
    ensemble = runs(2)
    kept = tl.Samples(ensemble, limit=8)
    train(ensemble, DATA, steps=50, collect=kept)
    assert 4 <= len(kept) <= 8


def test_nothing_gathered_is_said():
    with pytest.raises(ValueError, match="no samples yet"):
        _ = tl.Predictions(torch.zeros(1, 1)).result


def test_a_sample_of_another_shape_is_refused_and_leaves_no_trace():
    found = tl.Predictions(torch.zeros(4, 1))
    found.add(torch.ones(2, 4, 1))
    with pytest.raises(ValueError, match=r"outputs has shape \(2, 5, 1\)"):
        found.add(torch.ones(2, 5, 1))
    assert len(found) == 1
    assert torch.equal(found.quantiles(0.5)[0], torch.ones(2, 4, 1))
    kept = tl.Samples(runs(2))
    with pytest.raises(ValueError, match=r"q has shape \(2, 3\)"):
        kept.add(torch.zeros(2, 3))
    assert len(kept) == 0


@pytest.mark.parametrize(("workers", "batch_size"), [(1, None), (2, None), (1, 7), (2, 7)])
def test_a_replica_with_data_of_its_own_is_that_replica_alone(workers, batch_size):
    """Many replicas are several chunks: each must find its own rows."""
    data = splits(70)
    ensemble = runs(70)
    collected = tl.Predictions(data.test, after=4, every=4)
    observe = {"accuracy": tl.observe.accuracy(data.test), "loss": tl.observe.loss(tl.losses.bce, data.train)}
    how = {"batch_size": batch_size}
    history = train(ensemble, data, observe=observe, collect=collected, workers=workers, **how)
    for number in (0, 66):
        alone = tl.Ensemble(ensemble.module, [number], seed=1, device="cpu")
        mine = tl.datasets.Data(*(tl.datasets.Split(part.x[number], part.y[number]) for part in data))
        gathered = tl.Predictions(mine.test.x, after=4, every=4)
        observe = {"accuracy": tl.observe.accuracy(mine.test), "loss": tl.observe.loss(tl.losses.bce, mine.train)}
        own = train(alone, mine, observe=observe, collect=gathered, **how)
        torch.testing.assert_close(history.final.q[number], own.final.q[0], rtol=1e-4, atol=1e-5)
        row = history.last.query("replica == @number").iloc[0]
        assert row["accuracy"] == pytest.approx(own.last["accuracy"].iloc[0])
        assert row["loss"] == pytest.approx(own.last["loss"].iloc[0], rel=1e-4)
        torch.testing.assert_close(collected.result.mean[number], gathered.result.mean[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(history.final.q[0], history.final.q[66])


def test_splits_are_refused_where_they_do_not_fit():
    with pytest.raises(ValueError, match="data has 5 splits for 4 replicas"):
        train(runs(4), splits(5))
    with pytest.raises(ValueError, match="batch_size=1000 is larger than the data"):
        train(runs(5), splits(5), batch_size=1000)


def test_random_splits_are_a_partition_and_the_same_for_any_number_of_replicas():
    data = tl.datasets.Split(torch.arange(50.0)[:, None], torch.arange(50.0))
    found = tl.datasets.random_splits(data, 30, 4, seed=1)
    for train_x, test_x in zip(found.train.x, found.test.x, strict=True):
        assert sorted(torch.cat([train_x, test_x])[:, 0].tolist()) == list(range(50))
    assert not torch.equal(found.train.x[0], found.train.x[1])
    assert torch.equal(tl.datasets.random_splits(data, 30, 2, seed=1).train.x, found.train.x[:2])
    with pytest.raises(ValueError, match="there are 50 points"):
        tl.datasets.random_splits(data, 50, 2)


def test_stacked_sets_are_what_each_run_alone_would_have():
    sets = [tl.datasets.spirals(2, 20, 10, seed=number) for number in range(3)]
    found = tl.datasets.stacked(sets, 2)
    for replica in range(6):
        for part, alone in zip(found, sets[replica // 2], strict=True):
            assert torch.equal(part.x[replica], alone.x) and torch.equal(part.y[replica], alone.y)
    for wrong in ([], [sets[0], tl.datasets.spirals(2, 30, 10)]):
        with pytest.raises(ValueError, match="sets"):
            tl.datasets.stacked(wrong, 2)


def test_min_max_fills_the_range_by_the_training_set():
    data = tl.datasets.min_max(splits(), targets=True)
    assert data.train.x.amin(1) == pytest.approx(-1, abs=1e-5)
    assert data.train.x.amax(1) == pytest.approx(1, abs=1e-5)
    assert data.test.x.abs().max() > 1
    raw = splits()
    unit = data.train.y[..., 1]
    assert (data.train.y[..., 0] * unit + unit).numpy() == pytest.approx(raw.train.y.numpy(), abs=1e-6)
    output = torch.zeros(40, 1)
    found = tl.losses.in_units(tl.losses.sse)(output, data.train.y[0])
    assert float(found) == pytest.approx(float((raw.train.y[0] - 0.5).square().sum()), rel=1e-5)
    with pytest.raises(ValueError, match=r"target has shape \(40,\)"):
        tl.losses.in_units(tl.losses.sse)(output, raw.train.y[0])


def test_the_noisy_sine():
    data = tl.datasets.noisy_sine(replicas=300, seed=2)
    residual = data.y - torch.sin(2 * math.pi * data.x[..., 0])
    n = residual.numel()
    assert abs(float(residual.mean())) < 5 * 0.1 / math.sqrt(n)
    assert float(residual.std()) == pytest.approx(0.1, abs=5 * 0.1 / math.sqrt(2 * n))
    alone = tl.datasets.noisy_sine(seed=2)
    assert torch.equal(alone.y, data.y[0])


def test_glorot_has_its_variance_and_its_bounds():
    net = tl.models.mlp((30, 50, 2))
    for name, cut in (("glorot_normal", 2 / 0.8796), ("glorot_uniform", math.sqrt(3))):
        q = tl.Ensemble(net, 40, init=getattr(tl.init, name)(), device="cpu")
        weight = q.named(q.q)["0.weight"]
        spread = math.sqrt(2 / 80)
        assert float(weight.std()) == pytest.approx(spread, rel=0.02)
        assert float(weight.abs().max()) <= cut * spread * 1.001
        assert float(weight.abs().max()) > 0.98 * cut * spread
        assert (q.named(q.q)["0.bias"] == 0).all()


def test_glorot_stratified_spreads_the_inputs():
    q = tl.Ensemble(tl.models.mlp((1, 10, 1)), 200, init=tl.init.glorot_stratified(), device="cpu")
    weight = q.named(q.q)["2.weight"][:, 0]
    spread = math.sqrt(2 / 11)
    middle = spread * (2 * (2 * torch.arange(10) + 1) / 10 - 2)
    assert (weight.mean(0) - middle).abs().max() < 5 * spread / 10 / math.sqrt(200)


def test_lenet5_has_the_size_of_lenet5():
    ensemble = tl.Ensemble(tl.models.lenet5(), 2, device="cpu")
    assert ensemble.parameters == 61_706
    assert ensemble.predict(torch.zeros(3, 784)).shape == (2, 3, 10)


@pytest.mark.parametrize(("name", "shape"), [("auto_mpg", (392, 6)), ("iris", (150, 2))])
def test_published_tables(name, shape):
    try:
        data = getattr(tl.datasets, name)()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    assert tuple(data.x.shape) == shape
    assert len(data.y) == shape[0]
    if name == "iris":
        assert torch.bincount(data.y).tolist() == [50, 50, 50]
        assert data.x.mean(0).tolist() == pytest.approx([3.0573, 1.1993], abs=1e-4)
    if name == "auto_mpg":
        assert float(data.y.mean()) == pytest.approx(23.446, abs=1e-3)
        assert torch.equal(tl.datasets.auto_mpg(1).x[:, 0], data.x[:, 2])


def test_the_coefficient_of_determination():
    """Of the mean it is 0, of the truth 1, and of an output with an error as large as the scatter below 0."""
    y = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    assert float(tl.observe.determination(y, y)) == 1
    assert float(tl.observe.determination(torch.full_like(y, 3.0), y)) == pytest.approx(0)
    assert float(tl.observe.determination(y + 3, y)) == pytest.approx(1 - 36 / 14)
    data = tl.datasets.Splits(torch.zeros(2, 4, 1), torch.stack([y[0], 2 * y[0]]))
    line = tl.Ensemble(torch.nn.Linear(1, 1), 2, init=tl.init.zeros(), device="cpu")
    state = tl.dynamics.Positions(torch.tensor([[0.0, 3.0], [0.0, 3.0]]))
    found = tl.observe.r_squared(data).bind(line)
    assert found(state).tolist() == pytest.approx([0, 1 - 92 / 56])
    assert found.of(torch.tensor([1]))(tl.dynamics.Positions(state.q[1:])).tolist() == pytest.approx([1 - 92 / 56])


def test_the_memory_of_a_prediction_does_not_depend_on_the_number_of_samples():
    """Bytes of all tensors that are held while predictions are gathered; a list of them is what it must not be."""
    few, many = simmering.memory(63 * 2), simmering.memory(63 * 16)  # 63 are kept after both
    assert many == pytest.approx(few, rel=0.02)
    assert simmering.memory(500, list) > 4 * simmering.memory(100, list)


def test_calibration_error_of_classifiers_that_know_how_sure_they_are_and_of_one_that_does_not():
    n = 200_000
    p = tl.noise.key(1, 1).uniform(1, n)[0]
    y = (tl.noise.key(2, 1).uniform(1, n)[0] < p).long()
    # each of ten bins has n/10 points, whose share of right answers has the standard deviation of sqrt(pq/(n/10))
    bound = 5 * 0.5 / math.sqrt(n / 10)
    overconfident = torch.where(p > 0.5, 1.0, 0.0)
    errors = tl.observe.calibration_error(torch.stack([p, overconfident]), y)
    assert errors[0] < bound
    # it is sure, and right in the mean of max(p, 1 - p), three quarters
    assert abs(float(errors[1]) - 0.25) < bound
    both = tl.observe.calibration_error(torch.stack([1 - p, p], -1)[None], y)
    torch.testing.assert_close(both[0], errors[0])


@pytest.mark.parametrize("classes", [1, 2])
def test_entropy_and_mutual_information_are_those_of_their_definitions(classes):
    """Three samples of two replicas: one whose samples contradict each other, one that always says the same."""
    first = torch.tensor([[0.9, 0.1, 0.8], [0.7, 0.7, 0.7]], dtype=torch.float64)
    found = tl.Predictions(torch.zeros(1, 1), transform=torch.sigmoid if classes == 1 else lambda y: y.softmax(-1))
    for sample in first.T:
        logit = sample.logit().reshape(2, 1, 1)
        found.add(logit if classes == 1 else torch.cat([torch.zeros_like(logit), logit], -1))

    def entropy(p):
        return -(p * p.log() + (1 - p) * (1 - p).log())

    result, mean = found.result, first.mean(1)
    torch.testing.assert_close(result.entropy[:, 0], entropy(mean))
    torch.testing.assert_close(result.expected_entropy[:, 0], entropy(first).mean(1))
    torch.testing.assert_close(result.mutual_information[:, 0], entropy(mean) - entropy(first).mean(1))
    assert result.mutual_information[1].abs() < 1e-12 < 0.1 < result.mutual_information[0]
    pooled = result.pooled()
    torch.testing.assert_close(pooled.mutual_information[0, 0], entropy(mean.mean()) - entropy(first).mean())


def test_outputs_that_are_no_probabilities_have_no_entropy():
    for values in (torch.full((1, 1, 1), 1.5), torch.full((1, 1, 3), 0.2), torch.full((1, 1, 2), -0.5)):
        found = tl.Predictions(torch.zeros(1, 1))
        found.add(values)
        with pytest.raises(ValueError, match="no predictions of probabilities"):
            found.result.mutual_information  # noqa: B018
    found = tl.Predictions(torch.zeros(1, 1), transform=torch.sigmoid)  # a replica that diverged spoils none
    found.add(torch.tensor([0.0, math.nan]).reshape(2, 1, 1), diverged=torch.tensor([False, True]))
    assert found.result.entropy[0, 0] == pytest.approx(math.log(2))


def normal_samples(spread, noise, points=4000, samples=400):
    """Predictions with a spread, and targets that scatter by it and by the noise of an observation."""
    draw = torch.Generator().manual_seed(1)
    centre = torch.randn(points, generator=draw, dtype=torch.float64)
    found = tl.Predictions(torch.zeros(points, 1), keep=2)
    for _ in range(samples):
        one = centre + spread * torch.randn(points, generator=draw, dtype=torch.float64)
        found.add(torch.stack([one, one])[..., None])
    scatter = math.hypot(spread, noise) * torch.randn(points, generator=draw, dtype=torch.float64)
    return found.result, centre, centre + scatter


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_cover_as_often_as_they_say(level):
    result, centre, target = normal_samples(0.4, 0.3)
    low, high = tl.observe.interval(result, level, noise=0.3)
    assert low.shape == (2, 4000)
    half = 0.5 * math.sqrt(2) * float(torch.special.erfinv(torch.tensor(level)))
    assert float((high - low).mean()) / 2 == pytest.approx(half, rel=0.01)
    assert float((high + low - 2 * centre).abs().mean()) < 0.05
    covered = tl.observe.coverage(result, target, level, noise=0.3)
    assert (covered - level).abs().max() < 5 * math.sqrt(level * (1 - level) / 4000)
    without = tl.observe.coverage(result, target, level)  # the noise of the data forgotten
    assert (without < level - 0.05).all()
    assert torch.equal(tl.observe.coverage(result, torch.stack([target, target + 9]), level, 0.3)[1], torch.tensor(0.0))


def test_the_log_density_is_that_of_the_normal_law_and_best_with_the_noise_there_is():
    result, _, target = normal_samples(0.4, 0.3)
    law = torch.distributions.Normal(result.mean[..., 0], (result.spread[..., 0].square() + 0.09).sqrt())
    torch.testing.assert_close(tl.observe.log_density(result, target, 0.3), law.log_prob(target).mean(1))
    best = tl.observe.log_density(result, target, 0.3)
    assert all((tl.observe.log_density(result, target, wrong) < best).all() for wrong in (0.0, 0.1, 0.6))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda one: tl.observe.interval(one, 1.0), r"level=1.0 is not allowed"),
        (lambda one: tl.observe.interval(one, 0.0), r"level=0.0 is not allowed"),
        (lambda one: tl.observe.coverage(one, torch.zeros(1), noise=-1.0), r"noise=-1.0 is not allowed"),
        (lambda one: tl.observe.log_density(one._replace(mean=one.mean.expand(1, 1, 2)), torch.zeros(1)), "has 2 out"),
        (lambda one: tl.observe.calibration_error(torch.tensor([[1.5]]), torch.tensor([1])), "between 0 and 1"),
    ],
)
def test_bad_scores_are_refused(call, says):
    found = tl.Predictions(torch.zeros(1, 1))
    found.add(torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match=says):
        call(found.result)
