"""Where a well-kept implementation of the same algorithm exists, ours makes the same steps: PyTorch's optimizers, and
the samplers of `posteriors`, which are given our noise."""

import pytest
import torch

import thermolib as tl

STEPS = 25


@pytest.fixture(scope="module")
def problem():
    """A small network in double precision, its data, and where it starts."""
    ensemble = tl.Ensemble(tl.models.mlp((2, 20, 1)), seed=3, dtype=torch.float64)
    x, y = tl.datasets.spirals(turns=1, train=60, test=60).train
    return ensemble, tl.datasets.Split(x.double(), y.double())


def ours(problem, integrator):
    """The positions at the end of the last whole step."""
    ensemble, data = problem
    potential, seen = ensemble.potential(tl.losses.bce, data), []

    def end(state):
        seen.append(state.q[0].clone())
        return state.q[:, 0]

    tl.simulate(potential, integrator, ensemble.q, STEPS, seed=5, observe={"q": end}, every=STEPS, compile=False)
    return seen[-1]


def pytorch(problem, make):
    """What an optimizer of PyTorch makes of the same module from the same start."""
    ensemble, data = problem
    module = tl.models.mlp((2, 20, 1)).double()
    torch.nn.utils.vector_to_parameters(ensemble.q[0], module.parameters())
    optimizer = make(module.parameters())
    for _ in range(STEPS):
        optimizer.zero_grad()
        tl.losses.bce(module(data.x), data.y).backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


PYTORCH = {
    "SGD": (tl.SGD(0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
    "momentum": (tl.Momentum(0.1, 0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "Adam": (tl.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "Adam, other moments": (tl.Adam(0.01, 0.8, 0.95, 1e-6), lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6)),
}


@pytest.mark.parametrize("name", PYTORCH)
def test_it_makes_the_steps_of_pytorch(problem, name):
    integrator, make = PYTORCH[name]
    torch.testing.assert_close(ours(problem, integrator), pytorch(problem, make), rtol=0, atol=1e-12)


def test_another_momentum_would_be_noticed(problem):
    there = pytorch(problem, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True))
    assert (ours(problem, tl.Momentum(0.1, 0.9)) - there).abs().max() > 1e-4


@pytest.fixture
def noise(monkeypatch):
    """The normal numbers that our integrators draw, in their order."""
    drawn, plain = [], tl.noise.Key.normal

    def normal(self, *given):
        drawn.append(plain(self, *given))
        return drawn[-1]

    monkeypatch.setattr(tl.noise.Key, "normal", normal)
    return drawn


def sampler(problem, noise, monkeypatch, name, start, **given):
    """What a sampler of `posteriors` makes of the log density -L, with the numbers that ours drew."""
    module = pytest.importorskip("posteriors.sgmcmc", reason="posteriors is in the extra [test]")
    ensemble, data = problem
    potential = ensemble.potential(tl.losses.bce, data)
    transform = getattr(module, name).build(lambda q, batch: (-potential(q)[0], torch.empty(0)), **given)
    numbers = iter(noise)
    monkeypatch.setattr(torch, "randn_like", lambda like: next(numbers).to(like))
    state = transform.init(ensemble.q, **start)
    for _ in range(STEPS):
        state, _ = transform.update(state, None)
    return state.params[0]


@pytest.mark.filterwarnings("ignore:The Tensor default:FutureWarning", "ignore:To copy construct:UserWarning")
@pytest.mark.parametrize("temperature", [1e-3, 0.1])
def test_sgld_is_that_of_posteriors(problem, noise, monkeypatch, temperature):
    here = ours(problem, tl.SGLD(0.2, temperature))
    there = sampler(problem, noise, monkeypatch, "sgld", {}, lr=0.2, temperature=temperature)
    assert len(noise) == STEPS
    torch.testing.assert_close(here, there, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The Tensor default:FutureWarning", "ignore:To copy construct:UserWarning")
@pytest.mark.parametrize("friction", [0.5, 10.0])
def test_baoa_is_that_of_posteriors(problem, noise, monkeypatch, friction):
    here = ours(problem, tl.Langevin("BAOA", 0.3, friction, 1e-2))
    given = {"lr": 0.3, "alpha": friction, "temperature": 1e-2}
    there = sampler(problem, noise, monkeypatch, "baoa", {"momenta": 0.0}, **given)
    assert len(noise) == STEPS
    torch.testing.assert_close(here, there, rtol=0, atol=1e-6)  # theirs has the friction in single precision


@pytest.mark.filterwarnings("ignore:The Tensor default:FutureWarning", "ignore:To copy construct:UserWarning")
def test_another_temperature_would_be_noticed(problem, noise, monkeypatch):
    here = ours(problem, tl.SGLD(0.2, 0.1))
    there = sampler(problem, noise, monkeypatch, "sgld", {}, lr=0.2, temperature=0.101)
    assert (here - there).abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore:The Tensor default:FutureWarning", "ignore:To copy construct:UserWarning")
def test_another_friction_would_be_noticed(problem, noise, monkeypatch):
    here = ours(problem, tl.Langevin("BAOA", 0.3, 0.5, 1e-2))
    given = {"lr": 0.3, "alpha": 0.505, "temperature": 1e-2}
    there = sampler(problem, noise, monkeypatch, "baoa", {"momenta": 0.0}, **given)
    assert (here - there).abs().max() > 1e-4
