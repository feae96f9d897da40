"""Adaptive Langevin against its stationary law, in both conventions, with and without gradient noise.

Replicas start in the stationary law and are compared after they have decorrelated; means are compared at z = 5 standard
errors over independent replicas, a false alarm in 1.7 million.
"""

import math

import pytest
import torch

import thermolib as tl
from thermolib.dynamics.adaptive_langevin import AdaptiveState
from thermolib.ground import noise

Z = 5.0
T, SIGMA, COUPLING, H, N, R = 0.5, 0.6, 0.05, 0.05, 20, 400


def harmonic(q):
    return 0.5 * q.square().sum(1)


class Noisy:
    """A harmonic force with Gaussian noise of its own, drawn from the step's key."""

    def __init__(self, spread, key):
        self.spread, self.key = spread, key

    def force(self, q):
        return -q + self.spread * self.key.normal(1 << 12, q.shape[1], q.dtype)


def stationary(convention, gradient_noise=0.0):
    """Mean and variance of xi."""
    friction = (SIGMA**2 + H * gradient_noise**2) / (2 * T)
    return (friction, COUPLING * T) if convention == "code" else (friction / COUPLING, T)


def start(convention, gradient_noise=0.0, seed=3):
    key = noise.key(seed, R)
    mean, variance = stationary(convention, gradient_noise)
    q, p = (math.sqrt(T) * key.normal(noise.INIT + i, N) for i in range(2))
    return AdaptiveState(q, p, mean + math.sqrt(variance) * key.normal(noise.INIT + 2, 1))


def run(integrator, state, steps=1500, gradient_noise=0.0, every=50):
    """Time averages per replica of xi, its square, and the configurational temperature."""
    sums = torch.zeros(3, R, dtype=torch.float64)
    for step in range(steps):
        key = noise.key(7, R, step)
        state = integrator.step(state, Noisy(gradient_noise, key), key)
        if step % every == 0:
            xi = state.xi[:, 0].double()
            sums += torch.stack([xi, xi**2, state.q.double().square().mean(1)])
    return sums / len(range(0, steps, every))


def assert_law(values, expected, holds=True):
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    assert (abs(mean - expected) < Z * error + 0.005 * abs(expected)) == holds, f"{mean} ± {error}, exactly {expected}"


@pytest.mark.parametrize("word", ["BACDEDCAB", "BAFEFAB"])
@pytest.mark.parametrize("convention", ["sde", "code"])
def test_stationary_thermostat(word, convention):
    law = tl.AdaptiveLangevin(word, H, T, SIGMA, COUPLING, convention)
    xi, squares, temperature = run(law, start(convention))
    mean, variance = stationary(convention)
    assert_law(xi, mean)
    assert_law(squares - 2 * mean * xi + mean**2, variance)
    assert_law(temperature, T)


def test_gradient_noise_raises_the_friction_and_not_the_temperature():
    law = tl.AdaptiveLangevin("BACDEDCAB", H, T, SIGMA, COUPLING, "code")
    xi, _, temperature = run(law, start("code", 2.0), gradient_noise=2.0)
    assert_law(xi, stationary("code", 2.0)[0])
    assert_law(xi, stationary("code")[0], holds=False)
    assert_law(temperature, T)


class NormForSquare(tl.AdaptiveLangevin):
    """A known mistake: the norm where the squared norm belongs."""

    def map_E(self, state, dt, draw):
        energy = state.p.square().sum(1, keepdim=True).sqrt()
        return state._replace(xi=state.xi + dt * self.coupling * (energy - state.p.shape[1] * self.temperature))


def test_a_wrong_thermostat_is_seen():
    law = NormForSquare("BACDEDCAB", H, T, SIGMA, COUPLING, "code")
    _, _, temperature = run(law, start("code"), steps=3000)
    assert_law(temperature, T, holds=False)


def test_the_two_conventions_are_one_dynamics():
    """With the coupling of the SDE the root of the code's and eta = eps xi, trajectories agree to rounding."""
    key = noise.key(1, 8)
    q = key.normal(noise.INIT, 6, torch.float64)
    code = tl.AdaptiveLangevin(step_size=0.1, temperature=0.3, noise=0.4, coupling=0.04, convention="code")
    sde = tl.AdaptiveLangevin(step_size=0.1, temperature=0.3, noise=0.4, coupling=0.2, convention="sde")
    a, b = (tl.simulate(harmonic, i, q, 200, seed=5, every=200).final.state for i in (code, sde))
    torch.testing.assert_close(a.q, b.q, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(a.xi, 0.2 * b.xi, rtol=1e-9, atol=1e-9)


def test_without_coupling_to_the_energy_it_is_langevin():
    """At a vanishing coupling and a fixed xi, F is the exact O of Langevin dynamics with sigma^2 = 2 gamma T."""
    key = noise.key(1, 8)
    q, p = key.normal(noise.INIT, 6, torch.float64), key.normal(noise.INIT + 1, 6, torch.float64)
    gamma, temperature = 0.7, 0.3
    sigma = math.sqrt(2 * gamma * temperature)
    adaptive = tl.AdaptiveLangevin("BAFAB", 0.1, temperature, sigma, 1e-14, "code")
    state = AdaptiveState(q, p, torch.full((8, 1), gamma, dtype=torch.float64))
    langevin = tl.Langevin("BAOAB", 0.1, gamma, temperature)
    a = tl.simulate(harmonic, adaptive, state, 100, every=100).final.q
    b = tl.simulate(harmonic, langevin, tl.dynamics.State(q, p), 100, every=100).final.q
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("xi", [0.0, 1e-12, 1e-5, -1e-5, 4.9e-3, 5.1e-3, -0.3, 3.0])
def test_the_weak_solution_at_small_friction(xi):
    """F has the right decay and spread at any xi, zero and negative ones too."""
    law = tl.AdaptiveLangevin("BAFEFAB", 0.1, 0.3, 0.4, 1.0, "code")
    ones = torch.ones(1, 1, dtype=torch.float64)
    state = AdaptiveState(ones, ones, xi * ones)
    moved = law.columns(ones).map_F(state, 0.1 * ones, lambda: torch.zeros_like(ones))
    shaken = law.columns(ones).map_F(state, 0.1 * ones, lambda: ones)
    variance = 0.4**2 * (-math.expm1(-0.2 * xi) / (2 * xi) if xi else 0.1)
    assert moved.p.item() == pytest.approx(math.exp(-0.1 * xi), rel=1e-12)
    assert (shaken.p - moved.p).item() ** 2 == pytest.approx(variance, rel=1e-9)


def test_a_thermostat_for_each_tensor_is_as_many_separate_ones():
    q = noise.key(1, 4).normal(noise.INIT, 5, torch.float64)
    law = tl.AdaptiveLangevin(step_size=0.1, temperature=0.3, noise=0.0, coupling=0.5, thermostats="tensor")
    both = tl.simulate(harmonic, law.bind({"weight": 2, "bias": 3}), q, 50, every=50).final.state
    single = tl.AdaptiveLangevin(step_size=0.1, temperature=0.3, noise=0.0, coupling=0.5)
    for number, part in enumerate((slice(0, 2), slice(2, 5))):
        alone = tl.simulate(harmonic, single, q[:, part], 50, every=50).final.state
        torch.testing.assert_close(both.xi[:, number], alone.xi[:, 0])
        torch.testing.assert_close(both.q[:, part], alone.q)


def test_bad_input():
    for change, sentence in [
        ({"word": "BAXAB"}, "unknown letter 'X'"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"coupling": 0.0}, "coupling=0.0"),
        ({"temperature": -1e-4}, "temperature=-0.0001"),
        ({"convention": "paper"}, "convention='paper'"),
        ({"thermostats": "layer"}, "thermostats='layer'"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            tl.AdaptiveLangevin(**change)
    with pytest.raises(ValueError, match="sizes of the parameter tensors"):
        tl.AdaptiveLangevin(thermostats="tensor").init(torch.zeros(2, 3))
