"""Runs as ArviZ sees them: their convergence, and how many draws are independent."""

import sys

import arviz
import numpy as np
import pytest
import torch
from small import runs, train

import thermolib as tl

CURVATURE, H, T = 1.3, 0.3, 0.5
SEEN = {"position": lambda state: state.q[:, 0], "square": lambda state: state.q[:, 0].square()}


def sampled(energy, start, steps=3000, law=None, **given):
    law = law or tl.SGLD(H, T)
    given = {"observe": SEEN, "every": 1, "compile": False, "progress": False} | given
    return tl.simulate(energy, law, start, steps, **given)


def test_draws_of_an_oscillator_are_as_many_as_its_correlations_say():
    """A position of SGLD is an autoregression, q' = a q + noise: N draws are worth N (1 - a) / (1 + a)."""
    history = sampled(lambda q: CURVATURE * q.square().sum(1) / 2, torch.zeros(4, 1))
    found = history.to_arviz(after=100)
    assert list(found.posterior.data_vars) == ["position", "square"]
    assert found.posterior.sizes == {"chain": 4, "draw": 2900} and int(found.posterior.draw[0]) == 101
    first = history.frame.query("replica == 2 and step > 100")["position"].to_numpy()
    assert np.array_equal(found.posterior["position"].sel(chain=2), first)
    kept = 1 - H * CURVATURE
    expected = 4 * 2900 * (1 - kept) / (1 + kept)
    assert float(arviz.ess(found)["position"]) == pytest.approx(expected, rel=0.15)
    assert float(arviz.ess(found)["position"]) < 0.5 * 4 * 2900
    assert float(arviz.rhat(found)["position"]) < 1.01


def test_chains_that_stay_in_two_wells_do_not_agree():
    start = torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None]
    found = sampled(lambda q: 10 * (q.square() - 1).square().sum(1), start, 500, tl.SGLD(0.005, T)).to_arviz()
    assert float(arviz.rhat(found)["position"]) > 1.5


def test_diverged_replicas_are_left_out():
    law = tl.SGD(torch.tensor([0.1, 0.1, 1e6, 0.1]))
    history = sampled(lambda q: q.square().sum(1), torch.ones(4, 1), 40, law)
    assert history.frame["diverged"].notna().any()
    assert history.to_arviz().posterior.chain.values.tolist() == [0, 1, 3]


def test_what_is_refused(monkeypatch):
    history = train(runs(2), steps=7)
    with pytest.raises(ValueError, match="no observations after step 0"):
        history.to_arviz()
    with pytest.raises(ValueError, match="no observations after step 7"):
        train(runs(2), steps=7, observe={"first": lambda state: state.q[:, 0]}).to_arviz(after=7)
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install 'thermo-companion"):
        history.to_arviz()
