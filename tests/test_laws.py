"""The integrators as they run, against the exact answers: statistical laws, and equalities to rounding.

Replicas are the samples: R of them start in the exact stationary law, so that there is no burn-in and no
autocorrelation to estimate. A mean may be Z = 5 standard errors off, which a right integrator exceeds once in 1.7
million comparisons; the whole file makes about 300, so that a false alarm comes once in some 6,000 new seeds. The
seeds are fixed. Every law is also put to an integrator that breaks it, and must refuse it.
"""

import math

import numpy as np
import pytest
import torch
from small import needs_compiler

import thermolib as tl
from tests.test_words import ALL
from thermolib import exact
from thermolib.dynamics import Positions, State
from thermolib.ground import noise

R, STEPS, Z = 20_000, 25, 5.0
K, H, G, T = 2.0, 0.7, 0.9, 0.4
AT = {"curvature": K, "step_size": H, "friction": G, "temperature": T}
RUN = {"step_size": H, "friction": G, "temperature": T}
OBSERVE = {"q": lambda state: state.q[:, 0], "p": lambda state: state.p[:, 0]}


def harmonic(q):
    return K / 2 * q.square().sum(1)


def anharmonic(q):
    return (torch.cos(q) + 0.25 * q.square() * torch.cos(0.5 * q).square() + 0.1 * q**4).sum(1)


def gaussian(s: exact.Moments, replicas: int = R, dtype=torch.float32, seed: int = 99) -> State:
    """Positions and momenta drawn from the normal law with these second moments."""
    root = torch.linalg.cholesky(torch.tensor([[s.qq, s.qp], [s.qp, s.pp]], dtype=torch.float64))
    z = noise.key(seed, replicas).normal(noise.DATA, 2, torch.float64) @ root.T
    return State(z[:, :1].to(dtype), z[:, 1:].to(dtype))


def deviations(q, p, s: exact.Moments) -> np.ndarray:
    """By how many standard errors <q^2>, <qp> and <p^2> differ from the law."""
    q, p = (np.asarray(x, dtype=np.float64).reshape(-1) for x in (q, p))
    found = np.array([np.mean(q * q), np.mean(q * p), np.mean(p * p)])
    variance = np.array([2 * s.qq**2, s.qq * s.pp + s.qp**2, 2 * s.pp**2])
    return (found - s) / np.sqrt(variance / len(q))


def run(integrator, start, potential=harmonic, steps=STEPS, seed=1, observe=OBSERVE):
    return tl.simulate(
        potential, integrator, start, steps, seed=seed, every=steps, observe=observe, compile=False, progress=False
    )


def ends(history):
    return history.last["q"].to_numpy(), history.last["p"].to_numpy()


@pytest.mark.parametrize("word", ALL)
def test_a_word_keeps_its_stationary_law(word):
    s = exact.stationary_moments(word, **AT)
    q, p = ends(run(tl.Langevin(word, **RUN), gaussian(s)))
    assert np.abs(deviations(q, p, s)).max() < Z


@pytest.mark.parametrize(
    ("word", "wrong"),
    [("BAOAB", "OBABO"), ("BAOAB", "OABAO"), ("OBA", "BOA"), ("OBA", "BAO"), ("BAOA", "AOAB"), ("AOBOA", "BOAOB")],
)
def test_two_letters_swapped_break_the_law(word, wrong):
    s = exact.stationary_moments(word, **AT)
    q, p = ends(run(tl.Langevin(wrong, **RUN), gaussian(s)))
    assert np.abs(deviations(q, p, s)).max() > Z


@pytest.mark.parametrize("wrong", [{"temperature": 1.1 * T}, {"step_size": 1.2 * H}, {"friction": 3 * G}])
def test_a_wrong_factor_breaks_the_law(wrong):
    """Friction leaves the law of BAOAB alone but not that of AOBOA: each word is sensitive to what enters it."""
    s = exact.stationary_moments("AOBOA", **AT)
    q, p = ends(run(tl.Langevin("AOBOA", **RUN | wrong), gaussian(s)))
    assert np.abs(deviations(q, p, s)).max() > Z


@pytest.mark.parametrize("word", ["BAOAB", "OBABO", "BOAOB", "OBA", "OAB"])
@pytest.mark.parametrize("friction", [G, 1.15 * G])
def test_correlations_decay_as_the_propagator_says(word, friction):
    """E[z_n z_0^T] = M^n Sigma; a friction 15 % too high must be noticed."""
    s, n = exact.stationary_moments(word, **AT), 3
    m, _ = exact.propagator(word, **AT)
    sigma = np.array([[s.qq, s.qp], [s.qp, s.pp]])
    expected = np.linalg.matrix_power(m, n) @ sigma
    start = gaussian(s, 4 * R)
    after = np.stack(ends(run(tl.Langevin(word, **RUN | {"friction": friction}), start, steps=n)))
    before = np.stack([x.numpy().ravel() for x in start])
    products = after[:, None] * before[None]
    # of products of normal numbers: E[x^2 y^2] - E[xy]^2 = <xx><yy> + <xy>^2
    variance = np.outer(np.diag(sigma), np.diag(sigma)) + expected**2
    z = np.abs(products.mean(-1) - expected) / np.sqrt(variance / (4 * R))
    assert (z.max() < Z) == (friction == G)


@pytest.mark.parametrize("word", ["BAOAB", "BAOA", "OABA"])
def test_infinite_friction_is_taken_exactly(word):
    s = exact.stationary_moments(word, **AT | {"friction": math.inf})
    q, p = ends(run(tl.Langevin(word, **RUN | {"friction": math.inf}), gaussian(s)))
    assert np.abs(deviations(q, p, s)).max() < Z


def test_oba_with_infinite_friction_has_half_the_temperature():
    h = 0.1
    half = exact.oba_temperature(step_size=h, friction=math.inf, temperature=T, curvature=K) / K
    word = tl.Langevin("OBA", step_size=h, friction=math.inf, temperature=T)
    start = gaussian(exact.stationary_moments("OBA", **AT | {"friction": math.inf, "step_size": h}))
    q, _ = ends(run(word, start, steps=100))
    error = half * math.sqrt(2 / R)
    assert abs(np.mean(q**2) - half) < Z * error
    assert abs(np.mean(q**2) - T / K) > Z * error


def test_four_temperatures_in_one_call_meet_four_laws():
    temperatures = [0.0, 0.1, 0.4, 1.6]
    laws = [exact.stationary_moments("BAOAB", **AT | {"temperature": max(t, 1e-12)}) for t in temperatures]
    starts = [gaussian(law, R // 2, seed=i) for i, law in enumerate(laws)]
    start = State(torch.cat([s.q for s in starts]), torch.cat([s.p for s in starts]))
    each = torch.tensor(temperatures).repeat_interleave(R // 2)
    history = run(tl.Langevin("BAOAB", **RUN | {"temperature": each}), start)
    for t, law in zip(temperatures, laws, strict=True):
        rows = history.last[np.isclose(history.last["temperature"], t)]
        assert len(rows) == R // 2
        if t == 0:
            assert rows["q"].abs().max() < 1e-4
            continue
        assert np.abs(deviations(rows["q"], rows["p"], law)).max() < Z
        other = exact.stationary_moments("BAOAB", **AT | {"temperature": 1.2 * t})
        assert np.abs(deviations(rows["q"], rows["p"], other)).max() > Z


class Noisy:
    """A harmonic force with an error of its own at each evaluation, from numbers that no integrator uses."""

    def __init__(self, size: float, key: noise.Key) -> None:
        self.size, self.key, self.asked = size, key, 0

    def force(self, q):
        self.asked += 1
        return -K * q + self.size * self.key.normal(noise.DATA + self.asked, q.shape[1], q.dtype)


def with_gradient_noise(word: str, size: float, h: float, steps: int, shared: bool = True) -> tuple:
    """The moments' deviations after some steps, each with a new error of the force.

    The run begins where the first force is asked for, in the law of the word turned to begin there. ``shared=False``
    breaks the rule that the kicks at the ends of two successive words have one error.
    """
    integrator = tl.Langevin(word, **RUN | {"step_size": h})
    parsed = tl.Word(word)
    turned = "".join(piece.letter for piece in parsed.tail + parsed.head)
    at = AT | {"step_size": h, "gradient_noise": size}
    state, keys, errors = gaussian(exact.stationary_moments(turned, **at)), noise.key(5, R), noise.key(6, R)
    for n in range(steps):
        potential = Noisy(size, errors.at(later=n))
        if shared:
            state = integrator.step(state, potential, keys.at(later=n))
        else:
            state = integrator.leave(state, potential, keys.at(later=n))
            state = integrator.enter(state, Noisy(size, errors.at(later=n + 1000)), keys.at(later=n + 1))
    state = integrator.leave(state, Noisy(size, errors.at(later=steps)), keys.at(later=steps))
    return deviations(state.q, state.p, exact.stationary_moments(word, **at)), state


@pytest.mark.parametrize("word", ["BAOAB", "BAOA", "OBABO", "ABOBA", "AOBOA", "OBA", "BOA", "BABAO"])
def test_gradient_noise_heats_as_the_exact_law_says(word):
    assert np.abs(with_gradient_noise(word, 1.2, H, STEPS)[0]).max() < Z


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=needs_compiler)])
def test_gradient_noise_of_a_run(compile):
    """``simulate`` gives each replica its own error of the force: BAOAB meets its law for two of them in one call."""
    sizes = [1.2, 2.4]
    laws = [exact.stationary_moments("BAOAB", **AT, gradient_noise=size) for size in sizes]
    start = State(
        *(torch.cat(parts) for parts in zip(*(gaussian(law, seed=i) for i, law in enumerate(laws)), strict=True))
    )
    each, word = torch.tensor(sizes).repeat_interleave(R), tl.Langevin("BAOAB", **RUN)
    run = {"observe": OBSERVE, "every": 30, "compile": compile, "progress": False, "seed": 1}
    last = tl.simulate(harmonic, word, start, 60, gradient_noise=each, **run).last
    for law, other, rows in zip(laws, laws[::-1], (last[:R], last[R:]), strict=True):
        assert np.abs(deviations(rows["q"], rows["p"], law)).max() < Z
        assert np.abs(deviations(rows["q"], rows["p"], other)).max() > Z
    half = tl.simulate(harmonic, word, start, 30, gradient_noise=each, **run).final
    again = tl.simulate(harmonic, word, half, 30, gradient_noise=each, **run).last
    assert list(again["q"]) == list(last["q"]), "continued, it is the same run"


def test_kicks_that_do_not_share_a_force_break_the_law_of_gradient_noise():
    assert np.abs(with_gradient_noise("BAOAB", 1.2, H, STEPS, shared=False)[0]).max() > Z


def test_gradient_noise_gives_the_effective_temperature():
    """At a small step. Without the factor 1/2 of the formula the temperature would be 40 % too high."""
    size, h = 3.0, 0.1
    hot = exact.effective_temperature(step_size=h, friction=G, temperature=T, gradient_noise=size)
    _, state = with_gradient_noise("BAOAB", size, h, 60)
    error = hot * math.sqrt(2 / R)
    found = K * float(state.q.double().square().mean())
    assert abs(found - hot) < Z * error + 0.01 * hot  # the formula is of first order: 1 % for this step
    wrong = 2 * hot - T
    assert abs(found - wrong) > Z * error + 0.01 * wrong


def test_sgld_keeps_its_law():
    at = {"step_size": 0.3, "temperature": T}
    variance = exact.sgld_moment(curvature=K, **at)
    start = gaussian(exact.Moments(variance, 0.0, 1.0)).q
    q = run(tl.SGLD(**at), start, observe={"q": OBSERVE["q"]}).last["q"].to_numpy()
    error = variance * math.sqrt(2 / R)
    assert abs(np.mean(q**2) - variance) < Z * error
    assert abs(np.mean(q**2) - T / K) > Z * error, "its own law is not the Gibbs law"


@pytest.mark.parametrize(("word", "met"), [("BAOAB", True), ("OBA", False)])
def test_an_anharmonic_law(word, met):
    """The mean potential on a periodic potential, from the density that the map of densities gives for BAOAB."""
    at = {"step_size": 0.6, "friction": 5.0, "temperature": 1.0}  # OBA is off by 25 standard errors
    q, _, density = exact.stationary_density("BAOAB", lambda x: np.cos(x) + 0.5 * np.cos(2 * x), **at, points=(64, 96))
    weight, u = density.sum(1) / density.sum(), np.cos(q) + 0.5 * np.cos(2 * q)
    mean = weight @ u
    error = math.sqrt(weight @ (u - mean) ** 2 / R)

    def potential(x):
        return (torch.cos(x) + 0.5 * torch.cos(2 * x)).sum(1)

    first = np.random.default_rng(3).choice(q, R, p=np.clip(weight, 0, None) / np.clip(weight, 0, None).sum())
    start = State(torch.tensor(first)[:, None], noise.key(8, R).normal(noise.DATA, 1, torch.float64))
    history = run(tl.Langevin(word, **at), start, potential, 60, observe={"u": lambda s: potential(s.q)})
    assert (abs(history.last["u"].mean() - mean) < Z * error) == met


@pytest.mark.parametrize("word", ALL)
def test_without_temperature_the_mean_is_the_propagator(word):
    m, _ = exact.propagator(word, **AT | {"temperature": 0.0})
    z = np.array([0.8, -0.3])
    start = State(*(torch.tensor([[x]], dtype=torch.float64) for x in z))
    history = run(tl.Langevin(word, **RUN | {"temperature": 0.0}), start, steps=7)
    found = np.array([x[0] for x in ends(history)])
    assert found == pytest.approx(np.linalg.matrix_power(m, 7) @ z, rel=1e-12, abs=1e-14)
    assert found != pytest.approx(np.linalg.matrix_power(m, 6) @ z, rel=1e-3)
    turned, _ = exact.propagator(word[1:] + word[0], **AT)
    if not np.allclose(turned, m):
        assert found != pytest.approx(np.linalg.matrix_power(turned, 7) @ z, rel=1e-3)


START = noise.key(4, 3).normal(noise.DATA, 5, torch.float64)


def path(integrator, start=START, steps=20):
    """Where a run of whole words ends, ``[R, P]``: the final state is in the middle of a word."""
    each = {f"q{i}": lambda state, i=i: state.q[:, i] for i in range(START.shape[1])}
    last = run(integrator, start, anharmonic, steps, observe=each).last
    return torch.tensor(last[list(each)].to_numpy())


def test_chain_a_without_temperature_and_with_infinite_friction_is_gradient_descent():
    cold = {"step_size": 0.3, "friction": math.inf, "temperature": 0.0}
    descent = path(tl.SGD(step_size=0.3**2 / 2))
    assert torch.allclose(path(tl.Langevin("BAOA", **cold)), descent, rtol=1e-12, atol=1e-14)
    # BAOAB begins with half a kick: from p = hG/2, which is what a word leaves behind, it is the same descent
    force = -torch.func.grad(lambda q: anharmonic(q).sum())(START)
    found = path(tl.Langevin("BAOAB", **cold), State(START, 0.15 * force))
    assert torch.allclose(found, descent, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(path(tl.Langevin("BAOAB", **cold)), descent, rtol=1e-3)
    assert not torch.allclose(path(tl.SGD(step_size=0.3**2)), descent, rtol=1e-3)


def torch_path(make, steps=20):
    """The path of one of PyTorch's optimizers, row by row: each row is a problem of its own."""
    rows = []
    for row in START:
        q = row.clone().requires_grad_()
        optimizer = make([q])
        for _ in range(steps):
            optimizer.zero_grad()
            anharmonic(q[None]).sum().backward()
            optimizer.step()
        rows.append(q.detach())
    return torch.stack(rows)


def test_sgd_is_pytorchs():
    expected = torch_path(lambda q: torch.optim.SGD(q, lr=0.03))
    assert torch.allclose(path(tl.SGD(step_size=0.03)), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("values", [{}, {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}])
def test_adam_is_pytorchs(values):
    full = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8} | values
    betas = (full["beta1"], full["beta2"])
    expected = torch_path(lambda q: torch.optim.Adam(q, lr=0.05, betas=betas, eps=full["epsilon"]))
    assert torch.allclose(path(tl.Adam(step_size=0.05, **values)), expected, rtol=1e-11, atol=1e-13)
    wrong = torch_path(lambda q: torch.optim.Adam(q, lr=0.05, betas=betas[::-1], eps=full["epsilon"]))
    assert not torch.allclose(expected, wrong, rtol=1e-3)


@pytest.mark.parametrize("method", ["SGD", "Adam"])
def test_a_longer_gradient_is_shortened(method):
    """Row by row, as PyTorch clips that of a network (which adds 1e-6 to the length)."""
    length = 0.5

    def make(q):
        optimizer = getattr(torch.optim, method)(q, lr=0.05)
        optimizer.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_norm_(q, length) and None)
        return optimizer

    law = {"SGD": tl.SGD, "Adam": tl.Adam}[method]
    expected = torch_path(make)
    assert torch.allclose(path(law(0.05, clip=length)), expected, rtol=1e-4)
    assert not torch.allclose(path(law(0.05)), expected, rtol=1e-3)


def test_oba_without_temperature_is_momentum_with_the_map_that_is_right():
    r"""With v = p/h the recursion is v <- c v + G, q <- q + h^2 v: momentum c and rate h^2, where c = exp(-gamma h).

    The momentum that the paper gives in section 2.4, h c, is that of another recursion.
    """
    h, c = 0.2, math.exp(-0.5 * 0.2)
    found = path(tl.Langevin("OBA", step_size=h, friction=0.5, temperature=0.0))
    right = torch_path(lambda q: torch.optim.SGD(q, lr=h**2, momentum=c))
    printed = torch_path(lambda q: torch.optim.SGD(q, lr=h**2, momentum=h * c))
    assert torch.allclose(found, right, rtol=1e-11, atol=1e-13)
    assert not torch.allclose(found, printed, rtol=1e-3)


def test_a_run_from_its_positions_alone_starts_at_rest():
    final = run(tl.SGLD(step_size=0.1), START, anharmonic, 1, observe=None).final
    assert isinstance(final.state, Positions)
    assert torch.equal(tl.Langevin("BAOAB", **RUN).init(START).p, torch.zeros_like(START))
