"""What a GPU would be asked, on the device that holds no numbers: it mixes with no other, and cannot be looked at.

On a GPU a look waits for all that was queued, so that a hidden one in a step costs more than the step. What a run looks
at openly is the data before its first step, whether replicas are finite between two observations, and the observations.
"""

from dataclasses import dataclass

import pytest
import torch
from torch.utils import _pytree as pytree

import thermolib as tl
from tests.records import OPTIMIZERS, RECORDS
from tests.test_optim import network
from thermolib.dynamics.base import Integrator, Positions
from thermolib.engine import train as training
from thermolib.engine.chunks import Chunk, _Stepper
from thermolib.nets.ensemble import Ensemble

META = torch.device("meta")
LAWS = {name: record.counterpart(**record.arguments) for name, record in RECORDS.items()} | {
    "SGD, clipped": tl.SGD(0.1, clip=1.0),
    "Adam, clipped": tl.Adam(0.1, clip=1.0),
    "AdaptiveMonteCarlo, signal norm": tl.AdaptiveMonteCarlo(0.1, signal_norm=True),
    "NoseHooverChain, composed": tl.NoseHooverChain(0.1, 1e-3, substeps=3, increment=1e-4),
    "a value for each replica": tl.Langevin(step_size=torch.tensor([0.1, 0.2, 0.3]), temperature=1e-3),
}
DATA = tl.datasets.spirals(turns=1, train=40, test=40)
SPLITS = tl.datasets.random_splits(DATA.train, 30, 3)
MODULES = {
    "perceptron": tl.models.shlp(2, 6),
    "norm": torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.LayerNorm(6), torch.nn.Tanh(), torch.nn.Linear(6, 1)),
    "frozen": torch.nn.Sequential(torch.nn.Linear(2, 6).requires_grad_(False), torch.nn.ReLU(), torch.nn.Linear(6, 1)),
}


def stepper(monkeypatch, law, data=DATA, module="perceptron", **given):
    """The steps of a chunk that ``tl.train`` would make, of networks and data that have no numbers to be checked."""
    monkeypatch.setattr(training, "run", lambda job, *_: job)
    monkeypatch.setattr(Ensemble, "checked", lambda self, data: data.to(self.device, self.dtype))
    ensemble = Ensemble(MODULES[module], 3, device=META)
    job = tl.train(ensemble, law, data, loss=tl.losses.bce, steps=10, **given)
    state = job.integrator.init(ensemble.q)
    columns = job.integrator.columns(ensemble.q).hyperparameters
    job.columns = {name: value.expand(3, 1).contiguous() for name, value in columns.items()}
    job.structure = pytree.tree_structure(state)
    made = _Stepper(job, 0)
    return made, made.begin(Chunk(state, 0, torch.empty(3, dtype=torch.int64, device=META), state))


def advance(made, chunk):
    """The first steps, and the end of a word."""
    state = made.advance(chunk, 3).state
    seen = made.law(3).leave(state, made.potential(3), made.key(3))
    assert {leaf.device for leaf in pytree.tree_leaves((state, seen))} == {META}
    return seen


@pytest.mark.parametrize("data", [DATA, SPLITS], ids=["shared", "own"])
@pytest.mark.parametrize("batch_size", [None, 20])
@pytest.mark.parametrize("name", LAWS)
def test_a_step_of_a_run(name, batch_size, data, monkeypatch):
    advance(*stepper(monkeypatch, LAWS[name], data, batch_size=batch_size))


@pytest.mark.parametrize("module", MODULES)
def test_networks_and_priors(module, monkeypatch):
    law = tl.Langevin(step_size=0.1) if module == "frozen" else tl.AdLaLa(0.1)
    if module == "norm":
        law = tl.Partitioned({"0": tl.SGD(), "*": tl.Langevin(temperature=1e-3)})
    for prior in (2.0, lambda named: sum(p.square().sum() for p in named.values())):
        advance(*stepper(monkeypatch, law, batch_size=10, module=module, prior=prior))


def half(q):
    return q.square().sum(1) / 2


@pytest.mark.parametrize("data", [DATA, SPLITS], ids=["shared", "own"])
def test_observations_and_collectors(data, monkeypatch):
    chain = tl.NoseHooverChain(0.1, 1e-3)
    test = data.test.to(META, torch.float32)
    observe = {
        "accuracy": tl.observe.accuracy(test),
        "loss": tl.observe.loss(tl.losses.bce, test),
        "determination": tl.observe.r_squared(test),
        "kinetic": tl.observe.kinetic_temperature(),
        "virial": tl.observe.virial_temperature(half),
        "configurational": tl.observe.configurational_temperature(half),
        "estimated": lambda state: tl.observe.laplacian(half)(wide(state)),
        "energy": tl.observe.extended_energy(half, chain),
    }
    made, chunk = stepper(monkeypatch, chain, data, observe=observe)
    state = advance(made, chunk)
    for name, observation in made.observations.items():
        value = observation(state)
        assert value.device == META and value.shape == (3,), name
    collected = tl.Predictions(test.x if data is DATA else test).read
    assert collected(made.job.observe["loss"].ensemble, state.q, made.rows).device == META


def wide(state):
    """So many positions that a trace is estimated."""
    return state._replace(q=state.q.repeat(1, 1 + 256 // state.q.shape[1]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer(name):
    module = network().to(META)
    optimizer = RECORDS[name].build(module)
    for _ in range(3):
        for p in module.parameters():
            p.grad = torch.empty_like(p)
        optimizer.step()
    found = [x for state in optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
    assert {x.device for x in (*found, *module.parameters())} == {META}


@dataclass(frozen=True)
class Careless(Integrator):
    """Its constant lies on the CPU, or it looks at its numbers."""

    looks: bool = False
    structure = ("looks",)

    def step(self, state, potential, key):
        if self.looks and state.q.norm() > 1:
            return state
        return Positions(state.q + torch.ones(state.q.shape))


@pytest.mark.parametrize(
    "looks, said", [(False, "device cpu is not on the expected device meta"), (True, "on meta tensors")]
)
def test_what_a_gpu_would_suffer_from_is_seen(looks, said, monkeypatch):
    made, chunk = stepper(monkeypatch, Careless(looks))
    with pytest.raises(RuntimeError, match=said):
        advance(made, chunk)
