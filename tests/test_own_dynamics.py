"""The dynamics that the book writes as examples: their laws, and their optimizers."""

import re

import pytest
import torch

import thermolib as tl
from book.tools.chapters import ROOT
from tests.test_optim import network, train, vector


@pytest.fixture(scope="module")
def page():
    """What the page defines, without what it trains."""
    text = (ROOT / "book" / "your_network.md").read_text(encoding="utf-8").partition("## A dynamics of your own")[2]
    names = {"torch": torch, "tl": tl, "__name__": "page"}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)[:2]:
        exec(compile(code, "your_network.md", "exec"), names)
    return names


def half(q):
    return 0.5 * q.square().sum(1)


def test_ubu_has_the_moments_of_its_maps(page):
    """On the harmonic oscillator one step is a linear map and a Gaussian: its stationary covariance is exact."""
    h, g, t, runs = 0.8, 1.5, 0.7, 20_000
    law = page["UBU"](step_size=h, friction=g, temperature=t)

    def free(time):
        e = torch.exp(torch.tensor(-g * time, dtype=torch.float64))
        move = torch.tensor([[1, (1 - e) / g], [0, e]], dtype=torch.float64)
        qq = t / g**2 * (2 * g * time - 3 + 4 * e - e**2)
        qp = t / g * (1 - e) ** 2
        return move, torch.tensor([[qq, qp], [qp, t * (1 - e**2)]], dtype=torch.float64)

    kick = torch.tensor([[1, 0], [-h, 1]], dtype=torch.float64)
    whole, noise = free(h)
    covariance = torch.eye(2, dtype=torch.float64)
    for _ in range(2000):
        covariance = whole @ kick @ covariance @ kick.T @ whole.T + noise
    last, noise = free(h / 2)
    covariance = last @ kick @ covariance @ kick.T @ last.T + noise
    start = torch.ones(runs, 1, dtype=torch.float64)
    seen = {f"{a}{b}": lambda s, a=a, b=b: getattr(s, a)[:, 0] * getattr(s, b)[:, 0] for a, b in ("qq", "qp", "pp")}
    history = tl.simulate(half, law, start, 60, seed=1, compile=False, observe=seen, every=60)
    last = history.frame[history.frame.step == 60]
    found = torch.tensor([last[name].mean() for name in ("qq", "qp", "pp")], dtype=torch.float64)
    expected = covariance[[0, 0, 1], [0, 1, 1]]
    assert ((found - expected).abs() < 5 * t * (2 / runs) ** 0.5).all(), (found, expected)
    assert abs(covariance[0, 0] - t) > 0.02 * t, "a step so large shows"


def test_sgnht_keeps_its_temperature_under_noise_of_the_gradient(page):
    """It finds a friction for noise that it was not told of; without the thermostat the momenta would be hotter."""
    p, runs, t, h, extra = 100, 40, 0.5, 0.02, 2.0
    law = page["SGNHT"](step_size=h, temperature=t, noise=0.25)
    calls = iter(range(10**6))

    class Noisy:
        def force(self, q):
            return -q + extra * tl.noise.key(99, runs, next(calls)).normal(0, p, q.dtype)

    state = law.init(torch.zeros(runs, p, dtype=torch.float64))
    squares, frictions = [], []
    for step in range(4000):
        state = law.step(state, Noisy(), tl.noise.key(0, runs, step))
        if step >= 2000:
            squares.append(state.p.square().mean().item())
            frictions.append(state.xi.mean().item())
    assert sum(squares) / 2000 == pytest.approx(t, rel=0.02)
    assert sum(frictions) / 2000 == pytest.approx((2 * 0.25 + h * extra**2) / (2 * t), rel=0.05)
    assert sum(frictions) / 2000 > 1.1 * 0.25 / t, "its own noise alone asks for less"


def test_they_are_optimizers(page):
    """Their steps are those of the ensemble's dynamics, and a part of a partition moves as it does alone."""
    for name, quiet in (("UBU", {"temperature": 0.0}), ("SGNHT", {"noise": 0.0, "temperature": 1e-3})):
        module = network(torch.float64)
        law = page[name](step_size=0.1, **quiet)
        ensemble = tl.Ensemble(module, dtype=torch.float64)
        x, y = tl.datasets.spirals(turns=1, train=40, test=40).train
        potential = tl.nets.ensemble.Batch(ensemble, tl.losses.bce, *ensemble.checked((x.double(), y.double())))
        state = law.init(vector(module)[None])
        for step in range(10):
            state = law.step(state, potential, tl.noise.key(0, 1, step))
        train(module, tl.optim.of(law)(module.parameters()), 10)
        torch.testing.assert_close(vector(module)[None], state.q, rtol=1e-10, atol=1e-10)
