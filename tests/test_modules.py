"""Anybody's module: every kind of network, number and class is right, or refused in a sentence."""

import pytest
import torch
from small import BAOAB, DATA, runs, train

import thermolib as tl


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
    kept.save(tmp_path / "samples.npy")
    torch.testing.assert_close(
        tl.Samples.load(tmp_path / "samples.npy", ensemble).predict(DATA.test.x).mean, found.result.mean
    )
    assert found.quantiles(0.5).isfinite().all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_noise_in_half_precision_is_that_of_single_precision_rounded(kind):
    key = tl.noise.key(3, 2)
    for draw in (key.normal, key.uniform):
        assert torch.equal(draw(1, 5000, kind), draw(1, 5000).to(kind))
    assert BAOAB.init(key.normal(1, 8, kind)).p.dtype == kind
