"""A small training problem for the tests of runs, and what they ask of the machine."""

import warnings
from types import SimpleNamespace

import pytest
import torch

import thermolib as tl
from thermolib.engine import compiled

with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    needs_compiler = pytest.mark.skipif(
        not compiled.possible("cpu"), reason="steps cannot be compiled here: no C++ compiler or no Python headers"
    )
compiled.possible.cache_clear()

DATA = tl.datasets.trigonometric(train=100, test=40, seed=3)
BAOAB = tl.Langevin("BAOAB", step_size=0.1, friction=1.0, temperature=1e-3)


def runs(replicas=4, hidden=8, seed=1, **kwargs):
    """Perceptrons 2-8-1: 33 parameters, so chunks of 64 replicas."""
    return tl.Ensemble(tl.models.shlp(2, hidden), replicas=replicas, seed=seed, device="cpu", **kwargs)


def train(ensemble, integrator=BAOAB, steps=23, batch_size=20, **kwargs):
    """Epochs of five steps."""
    kwargs = {"every": 7, "compile": False, "progress": False, "workers": 1, "loss": tl.losses.bce} | kwargs
    data = kwargs.pop("data", DATA)
    return tl.train(ensemble, integrator, data, steps=steps, batch_size=batch_size, **kwargs)


def regression():
    """Bayesian linear regression, a loss whose density at 1 / n is its posterior, and that in closed form."""
    n, variance, precision = 40, 0.5, 3.0
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, 1, generator=generator)
    y = (0.9 * x[:, 0] - 2) + variance**0.5 * torch.randn(n, generator=generator)
    design = torch.cat([x, torch.ones(n, 1)], 1).double()
    covariance = torch.linalg.inv(design.T @ design / variance + precision * torch.eye(2).double())
    return SimpleNamespace(
        n=n,
        data=tl.datasets.Split(x, y),
        precision=precision,
        loss=lambda output, target: tl.losses.mse(output, target) / (2 * variance),
        covariance=covariance,
        mean=covariance @ (design.T @ y.double()) / variance,
    )


class Counting:
    """How many gradients and how many losses a run of an integrator evaluates, on half a square."""

    def __init__(self, fixed=True):
        self.fixed, self.forces, self.losses = fixed, 0, 0

    def force(self, q):
        self.forces += 1
        return -q

    def loss(self, q):
        self.losses += 1
        return q.square().sum(1) / 2
