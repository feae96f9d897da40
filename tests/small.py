"""A small training problem for the tests of runs, and what they ask of the machine."""

import warnings

import pytest

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
