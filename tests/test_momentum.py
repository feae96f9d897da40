"""CoolMomentum: Table 1 line by line, equipartition, momentum as its limit, and the schedule resumed."""

import copy
import math

import pytest
import torch

import thermolib as tl
from thermolib.ground import noise

Z = 5.0


class Noisy:
    """The force of an oscillator with Gaussian noise."""

    def __init__(self, curvature, spread, key):
        self.curvature, self.spread, self.key = curvature, spread, key

    def force(self, q):
        return -self.curvature * q + self.spread * self.key.normal(1 << 12, q.shape[1], q.dtype)


def table(force, x, lr, rho0, steps, more=0):
    """Table 1 as it is printed, in double precision, a number at a time."""
    alpha, move, path = (1 - rho0) ** (1 / steps), 0.0, []
    for n in range(steps + more):
        rho = max(0.0, 1 - (1 - rho0) / alpha**n)
        move = rho * move + force(x) * lr * (1 + rho) / 2
        x = x + move
        path.append(x)
    return path


def test_table_1():
    """The ensemble's and the optimizer's steps are those of the table, past the end of the schedule too."""

    def force(x):
        return -x - 0.3 * x**3

    expected = table(force, 1.5, 0.1, 0.99, 60, more=20)
    start = torch.full((1, 1), 1.5, dtype=torch.float64)
    law = tl.CoolMomentum(lr=0.1, rho0=0.99, steps=60)
    seen = {"x": lambda s: s.q[:, 0]}
    run = tl.simulate(lambda q: (q**2 / 2 + 0.075 * q**4).sum(1), law, start, 80, observe=seen)
    torch.testing.assert_close(torch.tensor(run.frame["x"].tolist()[1:]), torch.tensor(expected))
    x = torch.nn.Parameter(start.clone())
    optimizer = tl.optim.CoolMomentum([x], lr=0.1, rho0=0.99, steps=60)
    for value in expected:
        x.grad = -force(x.detach())
        optimizer.step()
        assert x.item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("cooling", ["exponential", "linear"])
def test_cooling_laws(cooling):
    """The temperature, proportional to (1 + rho) / (1 - rho), falls as the law says."""
    share = torch.linspace(0, 1, 11, dtype=torch.float64)
    rho = tl.dynamics.momentum.cooled(torch.tensor(0.99, dtype=torch.float64), share, cooling)
    ratio = (1 + rho) / (1 - rho)
    falling = ratio.log() if cooling == "exponential" else ratio
    torch.testing.assert_close(falling.diff(), (falling[1] - falling[0]).expand(10))
    assert ratio[0].item() == pytest.approx(199) and rho[-1].item() == pytest.approx(0, abs=1e-12)
    assert (falling[1] < falling[0]).item()


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_equipartition_of_the_factor(rho):
    """Kinetic energy equals potential energy with lr as the squared time step, not with the rate lr (1 + rho) / 2."""
    curvature, spread, lr, replicas = 0.7, 0.8, 0.9, 40000
    law = tl.Momentum(lr=lr * (1 + rho) / 2, rho=rho)
    state = law.init(torch.zeros(replicas, 1))
    for n in range(60):
        key = noise.key(2, replicas, n)
        state = law.step(state, Noisy(curvature, spread, key), key)
    potential, squares = curvature * state.q[:, 0].square(), state.p[:, 0].square()
    for step_squared, holds in ((lr, True), (lr * (1 + rho) / 2, False)):
        difference = potential - squares / step_squared
        assert (abs(difference.mean()) < Z * difference.std() / math.sqrt(replicas)) == holds
    exact = lr * spread**2 * (1 + rho) / ((1 - rho) * (4 - lr * curvature))
    assert abs(potential.mean() - exact) < Z * potential.std() / math.sqrt(replicas)


def test_temperature_of_an_ensemble():
    """It is K<x^2> of the closed form with the base rate as squared time step, not with the rate lr (1 + rho) / 2."""
    curvature, spread, lr, rho, replicas = 0.7, 0.8, 0.9, 0.9, 2000
    exact = curvature * tl.exact.cool_momentum_moment(curvature=curvature, rate=lr, momentum=rho, gradient_noise=spread)
    law = tl.Momentum(lr=lr * (1 + rho) / 2, rho=rho)
    state = law.init(torch.zeros(replicas, 20))
    for n in range(250):
        key = noise.key(3, replicas, n)
        state = law.step(state, Noisy(curvature, spread, key), key)
    for step_squared, holds in ((lr, True), (lr * (1 + rho) / 2, False)):
        seen = tl.observe.momentum_temperature(step_squared)(state)
        assert (abs(seen.mean() - exact) < Z * seen.std() / math.sqrt(replicas)) == holds
    rescaled = tl.observe.momentum_temperature()(state)
    torch.testing.assert_close(rescaled, tl.observe.momentum_temperature(lr)(state) * lr)
    part = tl.observe.momentum_temperature(part=slice(3, 5))(state)
    torch.testing.assert_close(part, state.p[:, 3:5].square().mean(1))
    with pytest.raises(ValueError, match="lr=0"):
        tl.observe.momentum_temperature(0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: tl.optim.CoolMomentum(p, lr=0.1, steps=20),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=0.01),
    ],
    ids=["CoolMomentum", "SGD", "Adam"],
)
def test_thermometer(make):
    """Eq. (22) summed by hand, of the trained parameters, and of all that the module stores."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)).double()
    module[0].bias.requires_grad_(False)
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    stored = [*module.named_parameters(), *((n, b) for n, b in module.named_buffers() if n.endswith(("mean", "var")))]
    meters = [tl.observe.Thermometer(module), tl.observe.Thermometer(module, statistics=True)]
    assert [m.size for m in meters] == [sum(t.numel() for _, t in named) for named in (trained, stored)] == [25, 37]
    optimizer = make([p for _, p in trained])
    for steps in (3, 5):
        sums = [0.0, 0.0]
        for _ in range(steps):
            before = [{n: t.detach().clone() for n, t in named} for named in (trained, stored)]
            optimizer.zero_grad()
            module(torch.randn(8, 3, dtype=torch.float64)).square().sum().backward()
            optimizer.step()
            for i, named in enumerate((trained, stored)):
                sums[i] += sum((t.detach() - before[i][n]).square().sum().item() for n, t in named)
                meters[i].step()
        for meter, total in zip(meters, sums, strict=True):
            assert meter.read() == pytest.approx(total / (meter.size * steps), rel=1e-12)
            with pytest.raises(ValueError, match="no step since the last reading"):
                meter.read()
    with pytest.raises(ValueError, match="module=ReLU"):
        tl.observe.Thermometer(torch.nn.ReLU())


def test_constant_rho_is_torch_momentum():
    torch.manual_seed(0)
    ours, theirs = (tl.models.shlp(2, 6).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    data = tl.datasets.spirals(turns=1, train=40, test=40)
    x, y = data.train.x.double(), data.train.y.double()
    a = tl.optim.CoolMomentum(ours.parameters(), lr=0.1, rho0=0.9, steps=10**15)
    b = torch.optim.SGD(theirs.parameters(), lr=0.1 * 1.9 / 2, momentum=0.9)
    ensemble = tl.Ensemble(ours, dtype=torch.float64)
    q = torch.nn.utils.parameters_to_vector(ours.parameters()).detach()[None].clone()
    c = tl.train(ensemble, tl.Momentum(0.1 * 1.9 / 2, 0.9), data, loss=tl.losses.bce, steps=30, start=q).final.q
    for _ in range(30):
        for module, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            tl.losses.bce(module(x), y).backward()
            optimizer.step()
    ends = [torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in (ours, theirs)]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(c[0], ends[1], rtol=1e-5, atol=1e-6)  # the data are in single precision there


def test_resumed_in_the_middle_of_the_schedule():
    def go(x, optimizer, steps):
        for _ in range(steps):
            x.grad = x.detach().clone()
            optimizer.step()

    x = torch.nn.Parameter(torch.ones(3))
    optimizer = tl.optim.CoolMomentum([x], lr=0.1, steps=40, warmup=5)
    go(x, optimizer, 17)
    y = torch.nn.Parameter(x.detach().clone())
    twin = tl.optim.CoolMomentum([y], lr=0.3, steps=9)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    go(x, optimizer, 30)
    go(y, twin, 30)
    assert torch.equal(x, y)
    assert optimizer.momentum(optimizer.param_groups[0]) == 0.0


@pytest.mark.parametrize("cooling", tl.dynamics.momentum.COOLING)
def test_an_ensemble_resumed_in_the_middle_of_the_schedule(cooling):
    """Continued from its last state a run ends to the bit where it would have ended; started anew it does not."""
    law = tl.CoolMomentum(lr=0.1, rho0=0.99, steps=torch.tensor([40.0, 20.0]), cooling=cooling)

    def go(start, steps):
        return tl.simulate(lambda q: (q**4 / 4 - q**2 / 2).sum(1), law, start, steps, progress=False).final

    whole, half = go(torch.full((2, 3), 0.3), 50), go(torch.full((2, 3), 0.3), 17)
    assert torch.equal(go(half, 33).q, whole.q)
    assert not torch.equal(go(half.state, 33).q, whole.q)


def test_warmup():
    """During the warm-up rho is zero and the rate half of lr; then the schedule is where it would have been."""
    x = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = tl.optim.CoolMomentum([x], lr=0.1, rho0=0.9, steps=20, warmup=3)
    for n in range(5):
        rho = 0.0 if n < 3 else 1 - 0.1 ** (1 - n / 20)
        assert optimizer.momentum(optimizer.param_groups[0]) == pytest.approx(rho)
        x.grad = torch.ones_like(x)
        optimizer.step()
        if n < 3:
            assert x.item() == pytest.approx(1 - 0.05 * (n + 1))
    law = tl.CoolMomentum(lr=0.1, rho0=0.9, steps=20, warmup=3)
    run = tl.simulate(lambda q: q.sum(1), law, torch.ones(1, 1, dtype=torch.float64), 5)
    assert run.final.q.item() == pytest.approx(x.item())


def test_bad_input():
    x = [torch.nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match="steps is missing"):
        tl.optim.CoolMomentum(x, lr=0.1)
    for change, sentence in [
        ({"lr": 0.0}, "lr=0.0"),
        ({"rho0": 1.0}, "rho0=1.0"),
        ({"steps": 0}, "steps=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"cooling": "none"}, "cooling='none'"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            tl.CoolMomentum(**{"steps": 10} | change)
        with pytest.raises(ValueError, match=sentence):
            tl.optim.CoolMomentum(x, **{"steps": 10} | change)
    with pytest.raises(ValueError, match="steps is missing"):
        tl.CoolMomentum()
    with pytest.raises(ValueError, match=r"rho=1\.5"):
        tl.Momentum(rho=1.5)
