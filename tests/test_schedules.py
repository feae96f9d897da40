"""Hyperparameters as functions of the step, in every dynamics."""

import math

import pytest
import torch
from small import runs, train
from test_optim import network, vector
from test_optim import train as train_module

import thermolib as tl
from thermolib.engine import compiled

STEPS = 23
RATE = tl.schedules.cosine(0.3, STEPS + 5, 0.05)
HEAT = tl.schedules.exponential(1e-2, STEPS, 1e-4)
#: Each with its step size and, where it has one, its temperature as given.
LAWS = {
    "Langevin": lambda h, t: tl.Langevin("BAOAB", h, 1.0, t),
    "Langevin that ends behind O": lambda h, t: tl.Langevin("OBA", h, 1.0, t),
    "SGLD": tl.SGLD,
    "AdaptiveLangevin": lambda h, t: tl.AdaptiveLangevin(step_size=h, temperature=t, thermostats="tensor"),
    "LangevinInLayers": lambda h, t: tl.LangevinInLayers(h, temperature=(t, 1e-4)),
    "LOL": lambda h, t: tl.LOL(h, temperature=(t, t)),
    "AdLaLa": lambda h, t: tl.AdLaLa(h, (1e-4, t)),
    "NoseHooverChain": tl.NoseHooverChain,
    "NoseHooverChain, composed": lambda h, t: tl.NoseHooverChain(h, t, substeps=3),
    "Metropolis": tl.Metropolis,
    "AdaptiveMonteCarlo": lambda h, t: tl.AdaptiveMonteCarlo(0.1, temperature=t),
    "SGD": lambda h, t: tl.SGD(h),
    "Adam": lambda h, t: tl.Adam(h),
    "Momentum": lambda h, t: tl.Momentum(h),
    "CoolMomentum": lambda h, t: tl.CoolMomentum(h, steps=STEPS),
}
each = pytest.mark.parametrize("name", LAWS)


@each
def test_a_run_takes_its_values_step_by_step(name):
    """It is the run whose numbers are changed by hand between its steps, to the bit."""
    ensemble = runs(3)
    now = train(ensemble, LAWS[name](RATE(0), HEAT(0)), steps=1).final
    for n in range(1, STEPS):
        now = train(ensemble, LAWS[name](RATE(n), HEAT(n)), steps=1, start=now).final
    found = train(ensemble, LAWS[name](RATE, HEAT), steps=STEPS).final
    constant = train(ensemble, LAWS[name](RATE(0), HEAT(0)), steps=STEPS).final
    assert torch.equal(found.q, now.q)
    assert not torch.equal(found.q, constant.q)
    always = train(ensemble, LAWS[name](lambda n: RATE(0), lambda n: HEAT(0)), steps=STEPS).final
    assert torch.equal(always.q, constant.q)


@each
def test_a_run_that_is_continued_is_the_whole_one(name, tmp_path):
    ensemble, law = runs(3), LAWS[name](RATE, HEAT)
    whole = train(ensemble, law, steps=STEPS, checkpoint=tmp_path / "a.pt").final
    half = train(ensemble, law, steps=10).final
    assert torch.equal(train(ensemble, law, steps=STEPS - 10, start=half).final.q, whole.q)
    with pytest.raises(ValueError, match="belongs to another run"):
        other = LAWS[name](tl.schedules.cosine(0.3, 9, 0.01), tl.schedules.exponential(1e-2, 9, 1e-4))
        train(ensemble, other, steps=STEPS, checkpoint=tmp_path / "a.pt")


def test_no_schedule_compiles_anew(uncompiled):
    for rate, heat in ((RATE, HEAT), (tl.schedules.cyclical(0.2, 7), 1e-3), (0.1, tl.schedules.table([1e-3, 1e-4]))):
        train(runs(3), tl.Langevin(step_size=rate, temperature=heat), compile=True)
    assert compiled.compilations() == 1


def test_an_optimizer_with_a_scheduler_does_the_same():
    """A step of an optimizer is one of the dynamics from force to force."""
    module, steps = network(torch.float64), 10
    ensemble = tl.Ensemble(module, dtype=torch.float64)
    x, y = tl.datasets.spirals(turns=1, train=40, test=40).train
    potential = tl.nets.ensemble.Batch(ensemble, tl.losses.bce, *ensemble.checked((x, y)))
    law = tl.Langevin(step_size=RATE)
    state = law.init(vector(module)[None])
    for n in range(steps):
        state = law.with_values(law.scheduled(n)).step(state, potential, tl.noise.key(0, 1, n))
    optimizer = tl.optim.Langevin(module.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, RATE)
    for _ in range(steps):
        train_module(module, optimizer, 1)
        scheduler.step()
    torch.testing.assert_close(vector(module)[None], state.q, rtol=1e-10, atol=1e-10)


def test_cooling_follows_its_exact_law():
    """Of SGLD on a harmonic oscillator the mean square obeys a recursion, whatever the schedules."""
    curvature, count, steps = 2.0, 40_000, 30
    rate, heat = tl.schedules.cyclical(0.3, 12, 0.05), tl.schedules.exponential(2.0, steps, 0.1)
    start = 0.5 * tl.noise.key(5, count).normal(0, 1)
    seen = {"square": lambda state: state.q[:, 0].square()}
    history = tl.simulate(
        lambda q: curvature * q.square().sum(1) / 2,
        tl.SGLD(rate, heat),
        start,
        steps,
        observe=seen,
        every=steps,
        compile=False,
        progress=False,
    )
    expected, constant = 0.25, 0.25
    for n in range(steps):
        expected = (1 - rate(n) * curvature) ** 2 * expected + 2 * rate(n) * heat(n)
        constant = (1 - rate(0) * curvature) ** 2 * constant + 2 * rate(0) * heat(0)
    found, error = history.last["square"].mean(), 5 * expected * math.sqrt(2 / count)
    assert abs(found - expected) < error < abs(constant - expected)


def test_each_replica_has_its_own_and_the_table_shows_them():
    ends = torch.tensor([0.1, 0.2, 0.4])
    law = tl.Langevin(step_size=tl.schedules.exponential(0.4, 10, ends), temperature=HEAT)
    history = train(runs(3), law, steps=14, every=7)
    table = history.frame.pivot(index="step", columns="replica", values="step_size")
    assert table.loc[0].tolist() == [0.4, 0.4, 0.4] and table.loc[14].tolist() == pytest.approx(ends.tolist())
    assert table.loc[7].tolist() == pytest.approx((0.4 * (ends / 0.4) ** 0.7).tolist())
    alone = train(runs([2]), tl.Langevin(step_size=tl.schedules.exponential(0.4, 10, 0.4), temperature=HEAT), steps=14)
    torch.testing.assert_close(alone.final.q[0], history.final.q[2])


@each
def test_the_step_size_has_two_names(name):
    make = LAWS[name](0.1, 0.0)
    kind = {"LangevinInLayers": tl.LangevinInLayers, "LOL": tl.LOL, "AdLaLa": tl.AdLaLa}.get(name, type(make))
    more = {"steps": STEPS} if kind is tl.CoolMomentum else {}
    assert kind(lr=0.1, **more) == kind(step_size=0.1, **more)
    with pytest.raises(ValueError, match="two names for the step size"):
        kind(lr=0.1, step_size=0.1)


def test_the_shapes_of_schedules():
    cosine, waves = tl.schedules.cosine(2.0, 10, 1.0), tl.schedules.cyclical(2.0, 10, 1.0)
    assert [cosine(n) for n in (0, 5, 10, 11)] == pytest.approx([2, 1.5, 1, 1])
    assert [waves(n) for n in (0, 5, 10, 15)] == pytest.approx([2, 1.5, 2, 1.5])
    assert [tl.schedules.exponential(8.0, 3, 1.0)(n) for n in range(5)] == pytest.approx([8, 4, 2, 1, 1])
    assert [float(tl.schedules.table([3, 2, 1])(n)) for n in range(5)] == [3, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: train(runs(), tl.SGD(lambda n: 0.1 - n)), r"step_size at step 1=-0.9 is not allowed"),
        (lambda: train(runs(), tl.SGD(lambda n: "a")), r"step_size at step 0='a' is not allowed"),
        (lambda: train(runs(4), tl.SGD(lambda n: torch.ones(3))), "step_size has 3 values for 4 replicas"),
        (lambda: tl.AdaptiveMonteCarlo(RATE), "step_size is a schedule"),
        (lambda: tl.optim.SGLD(network().parameters(), RATE), "lr is a schedule.*lr_scheduler"),
        (lambda: tl.optim.of(tl.SGLD(0.1, HEAT))(network().parameters()), "temperature is a schedule"),
        (lambda: tl.SGD(RATE).columns(torch.ones(1, 1)), "step_size is a schedule, which only a run can ask"),
        (lambda: tl.schedules.cosine(-1.0, 10), "start=-1.0"),
        (lambda: tl.schedules.cosine(1.0, 0), "steps=0"),
        (lambda: tl.schedules.exponential(1.0, 10, 0.0), "end=0.0"),
        (lambda: tl.schedules.table([]), r"values has shape \(0,\)"),
    ],
)
def test_bad_input(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
