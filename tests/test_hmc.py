"""Hamiltonian Monte Carlo and preconditioned SGLD: what their records cannot say of them."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from small import regression

import thermolib as tl
from thermolib.dynamics import hmc

T, RUNS = 0.6, 20_000


def well(q):
    return (q**4 / 4 - q**2 / 2 + q / 3).sum(1)


def moment(power):
    """Of the well at T, by quadrature."""

    def weight(x):
        return math.exp(-(x**4 / 4 - x**2 / 2 + x / 3) / T)

    above, below = (integrate.quad(lambda x, n=n: x**n * weight(x), -6, 6)[0] for n in (power, 0))
    return above / below


def ends(law, steps=60):
    start = 0.7 * tl.noise.key(2, RUNS).normal(tl.noise.DATA, 1)  # in the tails, large steps would be refused for long
    return tl.simulate(well, law, start, steps, compile=False, progress=False).final


def deviation(q, power):
    return (q.pow(power).mean() - moment(power)) / (q.pow(power).std() / math.sqrt(RUNS))


@pytest.mark.parametrize("step_size", [0.2, 0.8])
def test_an_anharmonic_law_at_any_step_size(step_size, monkeypatch):
    law = tl.HMC(step_size, T, leaps=3)
    final = ends(law)
    assert all(abs(deviation(final.q, power)) < 4.5 for power in (1, 2, 4))
    if step_size > 0.5:  # without the test its large steps blow up
        assert (final.state.accepted < 60).any()
        monkeypatch.setattr(hmc, "accepted", lambda old, new, temperature, key: torch.ones_like(old, dtype=torch.bool))
        assert not all(abs(deviation(ends(law).q, power)) < 4.5 for power in (1, 2, 4))


def test_a_loss_that_is_not_finite_is_a_rejection():
    law = tl.HMC(0.3, T, leaps=3)
    final = tl.simulate(
        lambda q: torch.where(q[:, 0].abs() < 1, q.square().sum(1) / 2, torch.nan),
        law,
        torch.zeros(500, 1),
        50,
        compile=False,
        progress=False,
    ).final
    assert (final.q.abs() < 1).all() and (final.state.accepted > 0).all() and (final.state.accepted < 50).any()


def test_the_posterior_of_bayesian_linear_regression():
    """On an ensemble, against the closed form."""
    problem, replicas = regression(), 1000
    ensemble = tl.Ensemble(torch.nn.Linear(1, 1), replicas, seed=2, device="cpu")
    history = tl.train(
        ensemble,
        tl.HMC(step_size=0.5, temperature=1 / problem.n, leaps=3),
        problem.data,
        loss=problem.loss,
        prior=problem.precision,
        steps=25,
        compile=False,
        progress=False,
        workers=1,
    )
    q = history.final.q.double()
    variance = problem.covariance.diag()
    assert ((q.mean(0) - problem.mean).abs() < 4.5 * (variance / replicas).sqrt()).all()
    assert ((q.var(0) / variance - 1).abs() < 4.5 * (2 / replicas) ** 0.5).all()
    assert (history.final.state.accepted > 5).all()


def test_it_asks_for_a_loss_and_so_is_no_optimizer():
    module = torch.nn.Linear(2, 1)
    module(torch.ones(1, 2)).sum().backward()
    with pytest.raises(ValueError, match="asks for the loss, and there is only a force"):
        tl.optim.of(tl.HMC)(module.parameters()).step()


def test_preconditioned_without_temperature_is_pytorchs_rmsprop():
    module = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    ensemble = tl.Ensemble(module, init=tl.init.module(), dtype=torch.float64, device="cpu")
    data = tl.datasets.spirals(turns=1, train=40, test=40).train
    law = tl.PreconditionedSGLD(step_size=0.01, alpha=0.9, epsilon=1e-6)
    given = {"loss": tl.losses.bce, "steps": 20, "compile": False, "progress": False, "workers": 1}
    found = tl.train(ensemble, law, data, **given).final.q
    optimizer = torch.optim.RMSprop(module.parameters(), lr=0.01, alpha=0.9, eps=1e-6)
    for _ in range(20):
        optimizer.zero_grad()
        tl.losses.bce(module(data.x.double()), data.y.double()).backward()
        optimizer.step()
    expected = torch.nn.utils.parameters_to_vector(module.parameters())[None]
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_preconditioned_on_a_slope_moves_as_its_equations_say(alpha):
    """Where the force is constant the preconditioner is known at every step, and the law a normal one."""
    slope, h, steps, count = 2.0, 0.05, 12, 40_000
    law = tl.PreconditionedSGLD(h, T, alpha, epsilon=0.1)
    start = torch.zeros(count, 1, dtype=torch.float64)
    final = tl.simulate(lambda q: slope * q[:, 0], law, start, steps, compile=False, progress=False).final
    scale = h / (slope * np.sqrt(1 - alpha ** np.arange(1, steps + 1)) + 0.1)
    mean, variance = -slope * scale.sum(), 2 * T * scale.sum()
    assert abs(final.q.mean() - mean) < 4.5 * math.sqrt(variance / count)
    assert abs(final.q.var() / variance - 1) < 4.5 * math.sqrt(2 / count)
    wrong = 2 * T * (scale**2).sum()
    assert abs(final.q.var() / wrong - 1) > 4.5 * math.sqrt(2 / count)
