"""The exact answers, each against a calculation of another kind: closed forms, fixed points, quadrature, residuals."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from tests.test_words import ALL
from thermolib import exact

K, H, G, T, S = 1.7, 0.6, 0.8, 0.35, 0.9
C = math.exp(-G * H)
X = K * H * H
ROOT = math.sqrt(C)
D, E, F = 2 * (1 + C) - X, 2 * (1 + C) - C * X, 2 * (1 + C) - ROOT * X
CONF_B, CONF_C = T / K / (1 - X / 4), T * (1 + C) ** 2 / (K * ROOT * F)
CONF_D, CONF_E = T * (1 + C) ** 2 / (K * D), T * (1 + C) ** 2 / (K * C * E)
A_DRIFT, B_KICK = T * (1 - X / 4), T / (1 - X / 4)

#: Solved by computer algebra from the fixed point of the covariance, for each chain and each point of its cycle.
CLOSED = {
    "BAOAB": (T / K, 0, A_DRIFT),
    "BAOA": (T / K, H * T / 2, T),
    "AOAB": (T / K, -H * T / 2, T),
    "OABAO": (T / K * (1 - X / 4), 0, T),
    "OABA": (T / K * (1 - X / 4), 0, T),
    "ABAO": (T / K * (1 - X / 4), 0, T),
    "OBABO": (CONF_B, 0, T),
    "OBAB": (CONF_B, 0, T),
    "BABO": (CONF_B, 0, T),
    "ABOB": (CONF_B, -H / 2 * B_KICK, B_KICK),
    "BOBA": (CONF_B, H / 2 * B_KICK, B_KICK),
    "ABOBA": (T / K, 0, B_KICK),
    "AOBOA": (T / K * (1 + C) / (2 * ROOT), 0, 2 * T * (1 + C) / F),
    "BOAOB": (
        CONF_C,
        -T * H * (1 - C) * (1 + C) / (2 * ROOT * F),
        T * (X * (C * C - 6 * C + 1) + 8 * ROOT * (1 + C)) / (4 * ROOT * F),
    ),
    "AOBO": (CONF_C, -T * H * (1 + C) / F, 2 * T * (1 + C) / F),
    "OBOA": (CONF_C, T * H * (1 + C) / F, 2 * T * (1 + C) / F),
    "BOAO": (CONF_C, T * H * ROOT * (1 + C) / F, T * (2 * (1 + C) - ROOT * (1 - C) * X) / F),
    "OAOB": (CONF_C, -T * H * (1 + C) / (ROOT * F), T * (2 * ROOT * (1 + C) + X * (1 - C)) / (ROOT * F)),
    "OBA": (CONF_D, T * H * (1 + C) / D, 2 * T * (1 + C) / D),
    "AOB": (CONF_D, -T * H * (1 + C) / D, 2 * T * (1 + C) / D),
    "BAO": (CONF_D, T * C * H * (1 + C) / D, T * (1 + C) * (2 - X * (1 - C)) / D),
    "ABO": (CONF_E, -T * H * (1 + C) / E, 2 * T * (1 + C) / E),
    "BOA": (CONF_E, T * H * (1 + C) / E, 2 * T * (1 + C) / E),
    "OAB": (CONF_E, -T * H * (1 + C) / (C * E), T * (1 + C) * (2 * C + X * (1 - C)) / (C * E)),
}
AT = {"curvature": K, "step_size": H, "friction": G, "temperature": T}


@pytest.mark.parametrize("word", CLOSED)
def test_moments_meet_the_closed_forms(word):
    assert exact.stationary_moments(word, **AT) == pytest.approx(CLOSED[word], rel=1e-12, abs=1e-13)


def test_the_closed_forms_tell_words_apart():
    """Chains that a slip in the order of two letters would confuse differ by far more than the tolerance."""
    for one, other in [("BAOAB", "OBABO"), ("OBA", "BOA"), ("BAOA", "AOAB"), ("OBA", "BAO")]:
        assert exact.stationary_moments(one, **AT) != pytest.approx(CLOSED[other], rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("word", ALL)
def test_moments_are_the_fixed_point_of_the_propagator(word):
    m, q = exact.propagator(word, **AT)
    s = exact.stationary_moments(word, **AT)
    sigma = np.array([[s.qq, s.qp], [s.qp, s.pp]])
    assert m @ sigma @ m.T + q == pytest.approx(sigma, rel=1e-12, abs=1e-13)
    assert np.linalg.det(m) == pytest.approx(C, rel=1e-12)


def noisy_moments(word: str) -> np.ndarray:
    """With gradient noise, by brute force: the last force's error is carried along as a third coordinate.

    A new force replaces the error, all kicks up to the next drift use it, across the ends of words as well.
    """
    forces = {i for i, x in enumerate(word) if x == "B" and "A" in between(word, i)}
    sigma = np.zeros((3, 3))
    for _ in range(600):
        for i, x in enumerate(word):
            dt, move, noise = H / word.count(x), np.eye(3), np.zeros((3, 3))
            if x == "A":
                move[0, 1] = dt
            elif x == "B":
                if i in forces:
                    sigma[2, :] = sigma[:, 2] = 0
                    sigma[2, 2] = S * S
                move[1, 0], move[1, 2] = -K * dt, dt
            else:
                move[1, 1], noise[1, 1] = math.exp(-G * dt), T * (1 - math.exp(-2 * G * dt))
            sigma = move @ sigma @ move.T + noise
    return sigma


def between(word: str, i: int) -> str:
    """The letters between the kick before the i-th letter, read cyclically, and that letter."""
    before = (word * 2)[: len(word) + i]
    return before[before.rindex("B") + 1 :]


@pytest.mark.parametrize("word", [*ALL, "BABAO", "BABAB" + "O"])
def test_gradient_noise_is_shared_between_two_drifts(word):
    s = exact.stationary_moments(word, **AT, gradient_noise=S)
    brute = noisy_moments(word)
    assert s == pytest.approx((brute[0, 0], brute[0, 1], brute[1, 1]), rel=1e-10, abs=1e-12)


def test_gradient_noise_of_chain_a_in_closed_form():
    more = H**2 * S**2 * (1 + C) / (K * (1 - C) * (4 - X))
    assert exact.stationary_moments("BAOAB", **AT, gradient_noise=S).qq == pytest.approx(T / K + more, rel=1e-12)
    more = 4 * C**2 * H**2 * S**2 / ((1 - C**2) * (4 - X))
    assert exact.stationary_moments("BAOA", **AT, gradient_noise=S).pp == pytest.approx(T + more, rel=1e-12)


@pytest.mark.parametrize("word", ["BAOAB", "OBABO", "OBA", "BAOA", "AOBOA"])
def test_effective_temperature_is_the_limit_of_a_small_step(word):
    def error(h, factor=1.0):
        values = {"step_size": h, "friction": G, "temperature": T}
        scaled = S / math.sqrt(h)  # keeps the effect of the noise as the step shrinks
        found = K * exact.stationary_moments(word, curvature=K, gradient_noise=scaled, **values).qq
        return abs(found / (factor * exact.effective_temperature(gradient_noise=scaled, **values)) - 1)

    assert error(1e-3) < 2e-3
    assert error(1e-4) < 2e-4
    assert error(1e-4, factor=2) > 0.4


def test_infinite_friction_is_a_limit():
    for word in ("BAOAB", "OBA", "OBABO", "BAO"):
        near = exact.stationary_moments(word, **AT | {"friction": 200.0}, gradient_noise=S)
        assert exact.stationary_moments(word, **AT | {"friction": math.inf}, gradient_noise=S) == pytest.approx(near)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (["BAOAB", "OABA", "OBABO", "ABOBA"], 4),
        (["AOBOA", "BOAOB", "OAOB"], 2 * (1 + C) / ROOT),
        (["OBA", "AOB", "BAO"], 2 * (1 + C)),
        (["ABO", "BOA", "OAB"], 2 * (1 + C) / C),
    ],
)
def test_stability_limit_is_where_deviations_begin_to_grow(words, limit):
    for word in words:
        assert exact.stability_limit(word, friction=G, step_size=H) == pytest.approx(limit, rel=1e-12)
        radius = []
        for part in (0.999, 1.001):
            m, _ = exact.propagator(word, **AT | {"curvature": part * limit / H**2})
            radius.append(np.abs(np.linalg.eigvals(m)).max())
        assert radius[0] < 1 < radius[1]


def test_limits_without_friction_and_with_all_of_it():
    assert exact.stability_limit("OBA", friction=0, step_size=H) == pytest.approx(4)
    assert exact.stability_limit("OBA", friction=math.inf, step_size=H) == pytest.approx(2)
    assert exact.stability_limit("ABO", friction=math.inf, step_size=H) == math.inf
    assert exact.stability_limit("BABAO", friction=math.inf, step_size=H) == pytest.approx(4)


def fixed_point(m, q):
    return np.linalg.solve(np.eye(4) - np.kron(m, m), np.asarray(q, float).reshape(4)).reshape(2, 2)


def test_sgld_is_the_fixed_point_of_its_variance():
    v = 0.0
    for _ in range(500):
        v = (1 - H * K) ** 2 * v + 2 * H * T + H**2 * S**2
    found = exact.sgld_moment(curvature=K, step_size=H, temperature=T, gradient_noise=S)
    assert found == pytest.approx(v, rel=1e-12)


def test_oba_is_too_cold():
    values = {"step_size": H, "friction": G, "temperature": T}
    assert exact.oba_temperature(curvature=K, **values) == pytest.approx(K * CLOSED["OBA"][0], rel=1e-12)
    assert exact.oba_temperature(**values) == pytest.approx(T * (1 + C) / 2)
    assert exact.oba_temperature(**values | {"friction": math.inf}) == T / 2


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_heavy_ball_and_cool_momentum(rho):
    rate = 0.4

    def moments(eta):
        return fixed_point([[1 - eta * K, rho], [-eta * K, rho]], eta**2 * S**2 * np.ones((2, 2)))

    values = {"curvature": K, "rate": rate, "momentum": rho, "gradient_noise": S}
    assert exact.heavy_ball_moment(**values) == pytest.approx(moments(rate)[0, 0], rel=1e-12)
    cool = moments(rate * (1 + rho) / 2)
    assert exact.cool_momentum_moment(**values) == pytest.approx(cool[0, 0], rel=1e-12)
    assert K * cool[0, 0] == pytest.approx(cool[1, 1] / rate, rel=1e-12), "equipartition"
    of_eq_19 = rate * S**2 * (1 + rho) / (4 * (1 - rho))
    assert K * cool[0, 0] == pytest.approx(of_eq_19 * 4 / (4 - rate * K), rel=1e-12)
    if rho:
        plain = moments(rate)
        assert K * plain[0, 0] != pytest.approx(plain[1, 1] / rate, rel=1e-2), "without the factor there is none"


@pytest.mark.parametrize("convention", ["sde", "code"])
def test_adaptive_langevin_solves_its_fokker_planck_equation(convention):
    tau, eps, h, n = 0.7, 0.3, 0.1, 3
    law = exact.adaptive_langevin(
        temperature=tau, noise=0.6, coupling=eps, step_size=h, gradient_noise=2.0, convention=convention
    )
    diffusion = (0.6**2 + h * 2.0**2) / 2
    factor = eps if convention == "sde" else 1.0

    def residual(mean, variance):
        """What the generator's adjoint makes of the density, over the density, at a few points."""
        worst = 0.0
        for seed in range(5):
            z = torch.randn(2 * n + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

            def energy(z):  # -log density, U = sum cos q
                return (torch.cos(z[:n]).sum() + z[n:-1].square().sum() / 2) / tau + (z[-1] - mean) ** 2 / 2 / variance

            def flow(z):
                q, p, xi = z[:n], z[n:-1], z[-1]
                return torch.cat([p, torch.sin(q) - factor * xi * p, (eps * (p @ p - n * tau))[None]])

            slope = torch.func.grad(energy)(z)
            hessian = torch.func.hessian(energy)(z)
            divergence = torch.func.jacrev(flow)(z).trace()
            spread = (slope[n:-1].square() - hessian.diagonal()[n:-1]).sum()
            worst = max(worst, abs(float(flow(z) @ slope - divergence + diffusion * spread)))
        return worst

    assert residual(*law) < 1e-12
    assert residual(law.mean, 2 * law.variance) > 1e-3
    assert residual(1.1 * law.mean, law.variance) > 1e-3


def test_the_two_conventions_of_adaptive_langevin_are_one_dynamics():
    code = exact.adaptive_langevin(temperature=T, noise=0.6, coupling=0.05, convention="code")
    sde = exact.adaptive_langevin(temperature=T, noise=0.6, coupling=math.sqrt(0.05))
    assert code.mean == pytest.approx(math.sqrt(0.05) * sde.mean)
    assert code.variance == pytest.approx(0.05 * sde.variance)


@pytest.mark.parametrize("temperature", [0.0, 0.01, 0.3, 50.0])
def test_metropolis_on_a_slope(temperature):
    scale, gradient = 0.4, 1.3

    def weight(u):
        return min(1.0, math.exp(-max(u, 0.0) * gradient / temperature)) if temperature else float(u < 0)

    def mean(f):
        value = lambda u: f(u) * weight(u) * stats.norm.pdf(u, scale=scale)  # noqa: E731
        return sum(integrate.quad(value, *ends, epsabs=1e-13)[0] for ends in ((-8, 0), (0, 0.2), (0.2, 8)))

    move = exact.metropolis(scale=scale, gradient=gradient, temperature=temperature)
    assert move.acceptance == pytest.approx(mean(lambda u: 1.0), abs=1e-10)
    assert move.drift == pytest.approx(mean(lambda u: u), abs=1e-10)


def test_metropolis_limits():
    cold = exact.metropolis(scale=0.4, gradient=1.0, temperature=1e-6)
    assert cold == pytest.approx(exact.metropolis(scale=0.4, gradient=1.0), abs=1e-5)
    hot = exact.metropolis(scale=0.4, gradient=1.0, temperature=1e5)
    assert hot == pytest.approx((1.0, -(0.4**2) / 2e5), rel=1e-4)


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_metropolis_in_a_bowl(dimension):
    """The volume of a Gaussian in a ball that touches its centre, by integrating over the distance along the radius."""
    scale, radius = 0.3, 1.1

    def slice_(u):
        room = (radius**2 - (radius + scale * u) ** 2) / scale**2
        across = stats.chi2.cdf(room, dimension - 1) if dimension > 1 else float(room > 0)
        return stats.norm.pdf(u) * across

    volume = integrate.quad(slice_, -2 * radius / scale, 0, epsabs=1e-12, limit=200)[0]
    found = exact.metropolis_acceptance(scale=scale, radius=radius, dimension=dimension)
    assert found == pytest.approx(volume, abs=1e-8)


def anharmonic(q):
    return np.cos(q) + 0.5 * np.cos(2 * q)


def configurational_error(word: str, h: float) -> float:
    """The error of the mean potential against quadrature of the Gibbs density."""
    q, _, density = exact.stationary_density(word, anharmonic, step_size=h, friction=1.0, temperature=1.0)
    gibbs = np.exp(-anharmonic(q))
    found = (density.sum(1) / density.sum()) @ anharmonic(q)
    return float(found - gibbs @ anharmonic(q) / gibbs.sum())


@pytest.mark.parametrize(
    ("word", "order"),
    [("BAOAB", 2), ("ABOBA", 2), ("OBABO", 2), ("OABAO", 2), ("AOBOA", 2), ("BOAOB", 2), ("OBA", 1), ("BOA", 1)],
)
def test_order_of_accuracy(word, order):
    errors = [abs(configurational_error(word, h)) for h in (0.05, 0.1, 0.2)]
    orders = np.log2(np.divide(errors[1:], errors[:-1]))
    assert orders[0] == pytest.approx(order, abs=0.15)
    assert errors[1] > 1e-5, "the error is the word's, not the grid's"


def test_the_density_is_a_density_and_does_not_depend_on_the_grid():
    values = {"step_size": 0.5, "friction": 0.7, "temperature": 0.8}
    q, p, coarse = exact.stationary_density("BAOAB", anharmonic, **values)
    assert coarse.sum() * (q[1] - q[0]) * (p[1] - p[0]) == pytest.approx(1, abs=1e-12)
    assert coarse.min() > -1e-12
    _, _, fine = exact.stationary_density("BAOAB", anharmonic, **values, points=(128, 128))
    assert coarse == pytest.approx(fine[::2, ::2], abs=1e-10)


def test_the_density_of_a_flat_potential_is_maxwell():
    q, p, density = exact.stationary_density("OBA", np.zeros_like, step_size=0.5, friction=0.7, temperature=0.8)
    maxwell = np.exp(-(p**2) / 1.6) / math.sqrt(1.6 * math.pi) / (2 * math.pi)
    assert density == pytest.approx(np.tile(maxwell, (len(q), 1)), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: exact.stationary_moments("BAOAB", **AT | {"curvature": 4.001 / H**2}), "must be below 1"),
        (lambda: exact.stationary_moments("BAOAB", **AT | {"friction": 0.0}), "no stationary state at"),
        (lambda: exact.stationary_moments("BAXAB", **AT), "unknown letter 'X'"),
        (lambda: exact.propagator("BAOAB", **AT | {"friction": -1.0}), "friction=-1.0 is not allowed"),
        (lambda: exact.propagator("BAOAB", **AT | {"step_size": 0.0}), "step_size=0.0 is not allowed"),
        (lambda: exact.sgld_moment(curvature=2.0, step_size=1.0, temperature=T), "step_size=1 is unstable"),
        (
            lambda: exact.heavy_ball_moment(curvature=1.0, rate=4.0, momentum=0.5, gradient_noise=S),
            "rate=4 is unstable: it must be below 3",
        ),
        (
            lambda: exact.stationary_density(
                "BAOAB", anharmonic, step_size=0.1, friction=0.1, temperature=1.0, steps=3
            ),
            "steps=3 are too few",
        ),
    ],
)
def test_what_has_no_answer_is_refused_in_one_sentence(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
