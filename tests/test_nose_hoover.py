"""Nosé-Hoover chains against what must hold: the law, reversal, the conserved quantity, and where they fail.

A chain has no noise, so replicas differ by their starts. Where replicas are the samples, they start in the law
exp(-H'/T) itself, links included, which the exact flow keeps; a mean may be Z = 5 standard errors off. Every law is
also put to something that breaks it.
"""

import functools
import math

import numpy as np
import pytest
import torch
from small import needs_compiler

import thermolib as tl
from thermolib.dynamics.nose_hoover import SUZUKI_YOSHIDA, ChainState, maxwell
from thermolib.engine import compiled
from thermolib.engine.simulate import FunctionPotential
from thermolib.ground import noise

R, Z, T = 2000, 5.0, 0.6
CURVATURE = torch.tensor([0.5, 1.0, 2.0, 4.0, 7.0], dtype=torch.float64)
D = len(CURVATURE)


def well(q):
    return (CURVATURE.to(q.dtype) * q.square()).sum(1) / 2


def anharmonic(q):
    return (torch.cos(q) + 0.3 * q**4).sum(1)


def equilibrium(chain, replicas=R, temperature=T, seed=3):
    """A start in the law: positions and velocities of the well, and of links whose velocities are N(0, T/Q)."""
    drawn = noise.key(seed, replicas).normal(noise.DATA, 2 * D + chain.chain_length, torch.float64)
    q = drawn[:, :D] * (temperature / CURVATURE).sqrt()
    state = chain.init(q, math.sqrt(temperature) * drawn[:, D : 2 * D])
    return state._replace(vs=math.sqrt(temperature / chain.masses) * drawn[:, None, 2 * D :])


def run(chain, start, potential=well, steps=100, observe=None, every=None, **kwargs):
    return tl.simulate(
        potential, chain, start, steps, every=every or steps, observe=observe, compile=False, progress=False, **kwargs
    )


def whole(chain, start, potential=well, steps=50):
    """The state after whole steps: a run ends in the middle of one."""
    final = run(chain, start, potential, steps).final
    key = noise.key(0, len(final.q), steps)
    return chain.leave(final.state, FunctionPotential(potential), key)


MODES = {f"mode {i}": (lambda state, i=i: CURVATURE[i] * state.q[:, i].square()) for i in range(D)} | {
    f"speed {i}": (lambda state, i=i: state.p[:, i].square()) for i in range(D)
}


def deviations(chain, start, temperature=T, steps=60):
    """By how many standard errors K q^2 and v^2 of each degree of freedom differ from the temperature."""
    last = run(chain, start, steps=steps, observe=MODES).last
    found = last[list(MODES)].to_numpy()
    return (found.mean(0) - temperature) / (math.sqrt(2 / len(found)) * temperature)


CHAIN = tl.NoseHooverChain(0.05, T, chain_length=3, masses=2.0)


@pytest.mark.parametrize(("length", "substeps"), [(1, 0), (2, 0), (3, 0), (4, 0), (2, 3)])
def test_every_degree_of_freedom_keeps_the_temperature(length, substeps):
    chain = tl.NoseHooverChain(0.05, T, length, 2.0, substeps=substeps)
    assert np.abs(deviations(chain, equilibrium(chain))).max() < Z


@pytest.mark.parametrize("wrong", [1.15 * T, 0.85 * T])
def test_another_temperature_breaks_the_law(wrong):
    chain = tl.NoseHooverChain(0.05, wrong, 3, 2.0)
    assert np.abs(deviations(chain, equilibrium(CHAIN))).max() > Z


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_all_second_moments_of_coupled_oscillators_keep_their_values(length):
    """Of positions, velocities and both, 55 of them; another temperature breaks them."""
    turn = torch.linalg.qr(noise.key(5, 1).normal(0, D * D, torch.float64).reshape(D, D))[0]
    stiffness = turn @ CURVATURE.diag() @ turn.T
    assert bool((stiffness - stiffness.diag().diag()).abs().amax(1).min() > 0.1), "all are coupled"
    expected = T * torch.block_diag(stiffness.inverse(), torch.eye(D))

    def farthest(temperature):
        chain = tl.NoseHooverChain(0.05, temperature, length, 2.0)
        start = equilibrium(tl.NoseHooverChain(0.05, T, length, 2.0))
        start = start._replace(q=start.q @ turn.T, p=start.p @ turn.T)
        final = whole(chain, start, lambda q: ((q @ stiffness) * q).sum(1) / 2, 60)
        z = torch.cat([final.q, final.p], 1)
        error = ((expected.diag().outer(expected.diag()) + expected.square()) / R).sqrt()
        return float(((z.T @ z / R - expected) / error).abs().max())

    assert farthest(T) < Z < farthest(1.2 * T)


def test_a_count_of_degrees_of_freedom_that_is_one_too_low_breaks_the_law():
    """Molecules lose three degrees of freedom to the motion of the whole; networks lose none."""
    chain = tl.NoseHooverChain(0.05, T * (D - 1) / D, 1, 2.0)  # for one link, N - 1 for N is a lower temperature
    assert np.abs(deviations(chain, equilibrium(chain, temperature=T))).max() > Z


@pytest.mark.parametrize(("length", "substeps"), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (1, 1), (3, 5)])
def test_time_reversal(length, substeps):
    """With all velocities turned round, the way back leads to the start."""
    chain = tl.NoseHooverChain(0.05, T, length, 1.3, substeps=substeps)
    start = equilibrium(chain, 3)
    there = whole(chain, start, anharmonic)
    back = whole(chain, there._replace(p=-there.p, vs=-there.vs), anharmonic)
    assert (back.q - start.q).abs().max() < 1e-10
    assert (back.s - start.s).abs().max() < 1e-10
    assert (there.q - start.q).abs().max() > 0.1
    half = whole(chain, there._replace(p=-there.p), anharmonic)
    assert (half.q - start.q).abs().max() > 1e-3, "links that go on forwards do not lead back"


def energies(chain, start, steps, potential=anharmonic, every=1):
    observe = {"H": tl.observe.extended_energy(potential, chain)}
    frame = run(chain, start, potential, steps, observe, every).frame
    return frame.pivot(index="step", columns="replica", values="H").to_numpy()


@pytest.mark.parametrize(("length", "substeps"), [(1, 0), (2, 0), (3, 0), (4, 0), (3, 3)])
def test_the_extended_energy_is_conserved_to_second_order(length, substeps):
    errors = []
    for h in (0.04, 0.02, 0.01):
        chain = tl.NoseHooverChain(h, T, length, 1.5, substeps=substeps)
        found = energies(chain, equilibrium(chain, 16), round(2.4 / h), every=round(0.16 / h))
        errors.append(np.sqrt(np.mean((found - found[0]) ** 2)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders == pytest.approx([2, 2], abs=0.1)


def test_without_the_heat_of_the_chain_nothing_is_conserved():
    """The energy of parameters and links alone wanders by as much as the heat that goes in and out."""
    chain = tl.NoseHooverChain(0.01, T, 3, 1.5)
    start = equilibrium(chain, 8)
    kept = energies(chain, start, 300, every=30)
    assert np.abs(kept - kept[0]).max() < 1e-2
    wrong = {"H": lambda state: anharmonic(state.q) + state.p.square().sum(1) / 2}
    bare = run(chain, start, anharmonic, 300, wrong, 30).frame.pivot(index="step", columns="replica", values="H")
    assert np.abs(bare - bare.iloc[0]).max().max() > 0.1


def test_the_extended_energy_does_not_drift():
    """Over 100,000 steps it wanders by little, up as often as down."""
    chain = tl.NoseHooverChain(0.02, T, 3, 1.5)
    wrong = tl.NoseHooverChain(0.02, 1.1 * T, 3, 1.5)
    observe = {
        "H": tl.observe.extended_energy(anharmonic, chain),
        "wrong": tl.observe.extended_energy(anharmonic, wrong),
    }
    start = equilibrium(chain, 24)
    last = tl.simulate(anharmonic, chain, start, 100_000, every=100_000, observe=observe, progress=False).frame
    moved = (last.groupby("replica").last() - last.groupby("replica").first())[["H", "wrong"]]
    assert moved["H"].abs().max() < 0.05
    assert abs(moved["H"].mean()) < Z * moved["H"].sem()
    assert moved["wrong"].abs().max() > 0.2


def ergodicity(length):
    """Long time averages of K q^2 / T of single oscillators that start at rest at various places."""
    chain = tl.NoseHooverChain(0.1, 1.0, length, 1.0)
    q = torch.linspace(0.3, 4, 16, dtype=torch.float64)[:, None]
    history = tl.simulate(
        lambda x: x.square().sum(1) / 2,
        chain,
        chain.init(q),
        20_000,
        every=20,
        observe={"x2": lambda state: state.q[:, 0].square(), "v4": lambda state: state.p[:, 0] ** 4},
        progress=False,
    )
    return history.frame.groupby("replica")[["x2", "v4"]].mean()


def test_one_link_on_one_oscillator_is_not_ergodic_and_three_are():
    one, three = ergodicity(1), ergodicity(3)
    assert (three["x2"] - 1).abs().max() < 0.15
    assert (three["v4"] - 3).abs().max() < 1.0
    assert (one["x2"] - 1).abs().max() > 0.4
    assert (one["v4"] - 3).abs().max() > 1.5
    assert one["x2"].std() > 4 * three["x2"].std()


def test_infinite_masses_are_position_verlet():
    chain = tl.NoseHooverChain(0.05, T, 3, math.inf)
    start = equilibrium(CHAIN, 4)
    found = whole(chain, start._replace(vs=torch.zeros_like(start.vs)), anharmonic, 40)
    q, p = start.q, start.p
    for _ in range(40):
        q = q + 0.025 * p
        p = p - 0.05 * torch.func.grad(lambda x: anharmonic(x).sum())(q)
        q = q + 0.025 * p
    torch.testing.assert_close(found.q, q, rtol=1e-12, atol=1e-12)
    heavy = whole(tl.NoseHooverChain(0.05, T, 3, 100.0), start, anharmonic, 40)
    assert (heavy.q - q).abs().max() > 1e-3


def test_infinite_masses_between_half_steps_of_the_chain_are_velocity_verlet():
    chain = tl.NoseHooverChain(0.05, T, 3, math.inf, substeps=3)
    start = equilibrium(CHAIN, 4)
    found = whole(chain, start._replace(vs=torch.zeros_like(start.vs)), anharmonic, 40)
    verlet = tl.Langevin("BAB", step_size=0.05)
    final = run(verlet, tl.dynamics.State(start.q, start.p), anharmonic, 40).final
    expected = verlet.leave(final.state, FunctionPotential(anharmonic), noise.key(0, 4, 40))
    torch.testing.assert_close(found.q, expected.q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("substeps", "order"), [(1, 2), (3, 4), (5, 4), (7, 6)])
def test_the_flow_of_the_chain_has_the_order_of_its_weights(substeps, order):
    weights = SUZUKI_YOSHIDA[substeps]
    assert len(weights) == substeps
    assert sum(weights) == pytest.approx(1, abs=1e-13)
    if substeps > 1:
        assert sum(w**3 for w in weights) == pytest.approx(0, abs=1e-13)
    assert flow_order(weights) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("copied", [(0.828981543588751, -0.657963087177502, 0.828981543588751)])
def test_weights_that_are_copied_from_package_to_package_have_order_two(copied):
    """Their sum is 1, but the sum of their cubes is not 0."""
    assert sum(copied) == pytest.approx(1)
    assert abs(sum(w**3 for w in copied)) > 0.1
    assert flow_order(copied) == pytest.approx(2, abs=0.1)


def after(h, weights):
    """The flow of the chain alone, for a time of 2 in steps of ``h``."""
    chain = tl.NoseHooverChain(2 * h, T, 3, 1.5, substeps=len(weights))
    table, kept = SUZUKI_YOSHIDA, dict(SUZUKI_YOSHIDA)
    table[len(weights)] = tuple(weights)
    try:
        state = equilibrium(CHAIN, 4)
        bound = chain.columns(state.q)
        for _ in range(round(2 / h)):
            state = bound._flow(state, torch.as_tensor(bound.temperature))
        return torch.cat([state.p.flatten(), state.vs.flatten()])
    finally:
        table.update(kept)


@functools.cache
def exact_flow():
    return after(1 / 512, SUZUKI_YOSHIDA[7])


def flow_order(weights):
    """How fast the error of the chain's own flow falls with the step, against one with very small steps."""
    coarse, fine = (float((after(h, weights) - exact_flow()).norm()) for h in (1 / 8, 1 / 16))
    return math.log2(coarse / fine)


def test_the_temperature_climbs_its_stairs():
    chain = tl.NoseHooverChain(0.01, 0.05, 2, increment=0.02, stair=10)
    found = [
        float(chain.columns(torch.zeros(1, 1))._temperature(noise.key(0, 1, n))) for n in (0, 9, 10, 20, 29, 30, 99)
    ]
    assert found == pytest.approx([0, 0, 0.02, 0.04, 0.04, 0.05, 0.05])


def test_at_temperature_zero_the_chain_only_takes_energy_away():
    chain = tl.NoseHooverChain(0.01, 0.0, 2, 1.0)
    start = chain.init(torch.ones(3, D, dtype=torch.float64))
    energy = {"E": lambda state: well(state.q) + state.p.square().sum(1) / 2}
    found = run(chain, start, steps=2000, observe=energy, every=25).frame.pivot(
        index="step", columns="replica", values="E"
    )
    assert (found.diff().iloc[1:] < 1e-4).all().all()
    assert (found.iloc[-1] < 0.7 * found.iloc[0]).all()


def test_a_chain_for_each_tensor_is_a_chain_for_each_when_they_do_not_interact():
    both = tl.NoseHooverChain(0.05, T, 3, 2.0, thermostats="tensor").bind({"a": 2, "b": D - 2})
    drawn = equilibrium(CHAIN, 4)
    found = whole(both, both.init(drawn.q, drawn.p))
    for part in (slice(0, 2), slice(2, D)):
        alone = tl.NoseHooverChain(0.05, T, 3, 2.0)
        k = CURVATURE[part]
        own = whole(alone, alone.init(drawn.q[:, part], drawn.p[:, part]), lambda q, k=k: (k * q.square()).sum(1) / 2)
        torch.testing.assert_close(found.q[:, part], own.q, rtol=1e-12, atol=1e-12)
    together = whole(CHAIN, CHAIN.init(drawn.q, drawn.p))
    assert (together.q - found.q).abs().max() > 1e-3


def test_a_replica_alone_is_the_replica_in_the_batch():
    each = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    drawn = equilibrium(CHAIN, 3)
    batch = tl.NoseHooverChain(0.05, each, 2, (torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), 1.5))
    together = whole(batch, batch.init(drawn.q, drawn.p))
    alone = tl.NoseHooverChain(0.05, float(each[1]), 2, (2.0, 1.5))
    own = whole(alone, alone.init(drawn.q[1:2], drawn.p[1:2]))
    torch.testing.assert_close(together.q[1:2], own.q, rtol=1e-12, atol=1e-12)


def test_maxwell_has_the_temperature():
    v = maxwell(torch.zeros(R, D), torch.full((R,), T), seed=2)
    assert abs(float(v.square().mean()) - T) < Z * T * math.sqrt(2 / (R * D))


@needs_compiler
def test_other_values_compile_nothing_new():
    def go(**values):
        chain = tl.NoseHooverChain(0.05, chain_length=3, **values)
        return tl.simulate(well, chain, chain.init(torch.ones(4, D)), 20, compile=True, progress=False)

    go(temperature=0.1)
    before = compiled.compilations()
    history = go(temperature=0.4, masses=3.0, increment=0.1, stair=5)
    assert compiled.compilations() == before
    eager = tl.NoseHooverChain(0.05, 0.4, 3, 3.0, increment=0.1, stair=5)
    expected = run(eager, eager.init(torch.ones(4, D)), steps=20).final
    torch.testing.assert_close(history.final.q, expected.q, rtol=1e-5, atol=1e-6)


def test_the_optimizer_goes_on_where_another_stopped():
    """Eq. (39): from the last two iterates, over the learning rate."""
    module = torch.nn.Linear(3, 1)
    before = [p.detach().clone() for p in module.parameters()]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.01)
    law = tl.optim.NoseHooverChain(module.parameters(), step_size=0.1, previous=before, previous_lr=0.002)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
        torch.testing.assert_close(law.state[p]["p"], torch.full_like(p, 5.0), rtol=1e-4, atol=1e-4)
    law.step()
    assert (next(module.parameters()) - before[0] > 0.4).all()
    with pytest.raises(ValueError, match="previous has 1 tensors"):
        tl.optim.NoseHooverChain(module.parameters(), previous=before[:1])


REFUSED = {
    "chain_length=0 is not allowed: it must be at least 1": {"chain_length": 0},
    "masses=0.0 is not allowed: it must be above 0 or infinite": {"masses": 0.0},
    "masses has 3 entries: it must have one for each of the 2 links": {"masses": (1.0, 2.0, 3.0)},
    "substeps=4 is not allowed: it must be 0, 1, 3, 5 or 7": {"substeps": 4},
    "increment=0.0 is not allowed: it must be above 0 or infinite": {"increment": 0.0},
    "temperature=-1.0 is not allowed: it must be at least 0 and finite": {"temperature": -1.0},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_bad_input(sentence):
    with pytest.raises(ValueError) as caught:
        tl.NoseHooverChain(**REFUSED[sentence])
    assert str(caught.value) == sentence


def test_velocities_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="velocity has shape"):
        CHAIN.init(torch.zeros(2, D), torch.zeros(2, 1))


def test_the_state_has_no_more_than_the_next_step_needs():
    state = CHAIN.init(torch.zeros(2, D))
    assert isinstance(state, ChainState)
    assert state.s.shape == state.vs.shape == (2, 1, 3)


@pytest.mark.parametrize(
    ("links", "spread", "hot"), [(1, 2.0, (0.95, 1.05)), (1, 6.0, (0.95, 1.05)), (2, 6.0, (2.5, 4.0))]
)
def test_two_links_cannot_take_the_heat_of_a_noisy_gradient(links, spread, hot):
    """K<q^2>/T and the mean friction, over 40 replicas of 10 oscillators: one link finds the friction h s^2/2T that the
    noise needs; two can have sqrt(T/Q) at most, their first has <Q v^2> = T, and where that is too little they heat."""
    temperature, h = 0.42, 0.05
    chain = tl.NoseHooverChain(h, temperature, links, 1.0)
    start, velocity = (temperature**0.5 * noise.key(seed, 40).normal(0, 10) for seed in (1, 2))
    observe = {
        "hot": lambda state: state.q.square().mean(1) / temperature,
        "friction": lambda state: state.vs[:, 0, 0],
        "link": lambda state: state.vs[:, 0, 0].square() / temperature,
    }
    how = {"gradient_noise": spread, "seed": 3, "every": 5, "observe": observe, "compile": False, "progress": False}
    frame = tl.simulate(lambda q: q.square().sum(1) / 2, chain, chain.init(start, velocity), 2500, **how).frame
    found = frame[frame["step"] > 1000][["hot", "friction", "link"]].mean()
    needed = h * spread**2 / (2 * temperature)
    assert hot[0] < found["hot"] < hot[1]
    if links == 1:
        assert found["friction"] == pytest.approx(needed, rel=0.05)
    else:
        assert found["friction"] < temperature**0.5 < needed
        assert found["link"] == pytest.approx(1, abs=0.1)
