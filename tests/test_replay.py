"""Recorded steps, replayed: the numbers of the step, the ends compiled, nothing read after it was written over."""

import math

import pytest
import torch
from small import BAOAB, needs_compiler

import thermolib as tl
from thermolib.engine import loop
from thermolib.engine.replay import trace_step
from thermolib.nets.ensemble import Batch

NETWORKS = {
    "perceptron": (tl.models.mlp((2, 3, 3, 3, 1)), (2,), None),
    "recurrent": (tl.models.recurrent(2, 3, 1), (4, 2), 5),
    "convolution": (
        torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2), torch.nn.Flatten(-2), torch.nn.Linear(9, 1)),
        (2, 4),
        5,
    ),
}


AMC = tl.AdaptiveMonteCarlo(0.1, 0.1, 3, signal_norm=True)


def a_long_run_compiles_all_but_the_network(name, law, monkeypatch):
    module, shape, batch_size = NETWORKS[name]
    x = torch.linspace(-1, 1, 20 * math.prod(shape)).reshape(20, *shape).sin()
    data = tl.datasets.Split(x, x.reshape(20, -1).sum(1, keepdim=True))
    ensemble = tl.Ensemble(module, 3, seed=2, device="cpu", dtype=torch.float64)
    made = []

    def watched(*args, **kwargs):
        made.append(trace_step(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(loop, "trace_step", watched)

    def end(compile):
        given = {"loss": tl.losses.mse, "compile": compile, "workers": 1, "progress": False}
        return tl.train(ensemble, law, data, batch_size=batch_size, steps=12, every=12, **given).final

    plain, short = end(False), end("trace")
    monkeypatch.setattr(loop, "LONG", 12)
    long = end("trace")
    torch.testing.assert_close(short.q, plain.q)
    torch.testing.assert_close(long.q, plain.q)
    assert not torch.equal(plain.q, ensemble.q)
    replayed = [step.code + "".join(piece.code for _, piece in step.named_children()) for step in made]
    assert ["bitwise_xor" in code for code in replayed] == [True, False], "the noise is in what was compiled"
    assert all("tanh" in code or "convolution" in code for code in replayed)


@needs_compiler
@pytest.mark.parametrize(("name", "law"), [("perceptron", AMC), ("recurrent", BAOAB)], ids=["aMC", "BAOAB"])
def test_a_long_recorded_run_compiles_all_but_the_network(name, law, monkeypatch):
    a_long_run_compiles_all_but_the_network(name, law, monkeypatch)


@pytest.mark.parametrize("law", [AMC, BAOAB], ids=["aMC", "BAOAB"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_taken_apart_and_put_together(name, law, monkeypatch, uncompiled):
    a_long_run_compiles_all_but_the_network(name, law, monkeypatch)


@pytest.mark.parametrize("hidden", [2, 3, 4, 5])
def test_a_recorded_step_gives_what_the_step_gives(hidden):
    """What overwrites what only it reads: nothing may be read too late."""
    x = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(20, 2).sin()
    ensemble = tl.Ensemble(tl.models.mlp((2, *[3] * hidden, 1)), 3, device="cpu", dtype=torch.float64)
    potential = Batch(ensemble, tl.losses.mse, x, x.sum(1, keepdim=True))

    def look(q):
        return potential.loss_and_signals(q)

    def pull(q):
        return [potential.force(q)]

    for made in (look, pull):
        replay = trace_step(made, [ensemble.q])
        for q in (ensemble.q, 3 * ensemble.q):
            torch.testing.assert_close(replay(q), made(q))
        assert "tanh_" in replay.code and "tanh(" not in replay.code
