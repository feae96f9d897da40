"""The noise: Philox against published words and a second implementation, its statistics, and what it depends on."""

import math

import pytest
import torch
from small import needs_compiler

from thermolib.engine import compiled
from thermolib.ground import noise

ONES = 0xFFFFFFFF
# Known answers of the authors' Random123 library, for ten rounds: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def plain_philox(counter, key, rounds):
    """The same function in Python's whole numbers, which never overflow."""
    a, b, c, d = counter
    for i in range(rounds):
        high0, low0 = divmod(a * 0xD2511F53, 2**32)
        high1, low1 = divmod(c * 0xCD9E8D57, 2**32)
        k0, k1 = (key[0] + i * 0x9E3779B9) % 2**32, (key[1] + i * 0xBB67AE85) % 2**32
        a, b, c, d = high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0
    return a, b, c, d


def words(counter, key, rounds):
    found = noise.philox(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)), rounds)
    return tuple(int(word) for word in found)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    assert words(counter, key, 10) == answer
    assert plain_philox(counter, key, 10) == answer


def test_the_rounds_in_use_against_a_second_implementation():
    for counter, key, answer in KNOWN:
        assert words(counter, key, noise.ROUNDS) == plain_philox(counter, key, noise.ROUNDS) != answer


def test_where_seed_replica_step_draw_and_index_go():
    """Key (seed, replica), counter (index / 4, step, draw, high part of the step)."""
    seed, replica, step, draw = 5, 4_000_000_000, 3 + (7 << 32), 2
    bits = noise.key(seed, torch.tensor([replica]), step).bits(draw, 12)[0]
    expected = [w for i in range(3) for w in plain_philox((i, 3, draw, 7), (seed, replica), noise.ROUNDS)]
    assert bits.tolist() == expected


def test_every_coordinate_changes_the_noise():
    seen = {
        tuple(noise.key(seed, torch.tensor([replica]), step).at(offset=offset).bits(draw, 4)[0].tolist())
        for seed in (0, 1)
        for replica in (0, 1)
        for step in (0, 1, 1 << 32)
        for offset in (0, 10)
        for draw in (0, 1)
    }
    assert len(seen) == 48


def test_a_number_does_not_depend_on_how_many_or_who_else_is_asked_for():
    many = noise.key(3, 8, 9)
    few = noise.key(3, torch.tensor([7, 2]), 9)
    assert torch.equal(many.normal(1, 103)[[7, 2], :10], few.normal(1, 10))
    assert torch.equal(many.bits(1, 103)[[7, 2], :9], few.bits(1, 9))
    assert torch.equal(many.uniform(1, 103)[[7, 2], :9], few.uniform(1, 9))


def test_later_and_offset_are_other_steps_and_draws():
    key = noise.key(0, 2, 5)
    assert torch.equal(key.at(later=3).bits(0, 8), noise.key(0, 2, 8).bits(0, 8))
    assert torch.equal(key.at(offset=3).bits(1, 8), key.bits(4, 8))


# 16 replicas, 16 steps, 4 draws, 1024 indices: a million numbers, drawn once.
SHAPE = (16, 16, 4, 1024)
AXES = ("replica", "step", "draw", "index")
LIMIT = 4.5  # standard errors: one test in 150,000 would fail by chance, and the numbers never change


@pytest.fixture(scope="module")
def numbers():
    keys = [noise.key(11, SHAPE[0], step) for step in range(SHAPE[1])]
    draws = range(SHAPE[2])
    return torch.stack([torch.stack([k.normal(d, SHAPE[3], torch.float64) for d in draws], 1) for k in keys], 1)


def moments(x):
    """Deviations of mean, variance, skewness and kurtosis from those of N(0, 1), in standard errors."""
    n = x.numel()
    exact = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}  # moment: mean and variance of x**k
    return {k: float((x**k).mean() - mean) / math.sqrt(variance / n) for k, (mean, variance) in exact.items()}


def correlation(x, axis, lag):
    """The correlation of neighbours along an axis, in standard errors."""
    n = x.shape[axis] - lag
    a, b = x.narrow(axis, 0, n), x.narrow(axis, lag, n)
    return float((a * b).mean()) * math.sqrt(a.numel())


def test_moments(numbers):
    assert numbers.shape == SHAPE
    assert all(abs(z) < LIMIT for z in moments(numbers).values()), moments(numbers)


def test_moments_notice_a_wrong_variance_and_heavy_tails(numbers):
    assert abs(moments(numbers * 1.005)[2]) > LIMIT
    heavy = torch.where(torch.arange(numbers.numel()).reshape(SHAPE) % 1000 == 0, 4.0, 1.0) * numbers
    assert abs(moments(heavy)[4]) > LIMIT


@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.parametrize("axis", AXES)
def test_neighbours_are_not_correlated(numbers, axis, lag):
    """The values, and their squares: the two numbers of a Box-Muller pair share a radius."""
    at = AXES.index(axis)
    assert abs(correlation(numbers, at, lag)) < LIMIT
    assert abs(correlation((numbers.square() - 1) / math.sqrt(2), at, lag)) < LIMIT


def test_correlations_are_noticed(numbers):
    assert abs(correlation(numbers + 0.1 * numbers.roll(1, 0), 0, 1)) > LIMIT


def test_seeds_are_not_correlated(numbers):
    other = noise.key(12, SHAPE[0], 0).normal(0, SHAPE[3], torch.float64)
    assert abs(float((numbers[:, 0, 0] * other).mean())) * math.sqrt(other.numel()) < LIMIT


def test_uniform_numbers_fill_the_interval_evenly():
    x = noise.key(0, 64).uniform(0, 4096, torch.float64)
    assert float(x.min()) > 0 and float(x.max()) < 1
    counts = torch.histc(x, 64, 0, 1)
    expected = x.numel() / 64
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi2 - 63) / math.sqrt(2 * 63) < LIMIT


def test_the_extreme_words_give_finite_numbers(monkeypatch):
    for word in (0, ONES):
        monkeypatch.setattr(noise, "philox", lambda c, k, w=word: tuple(torch.full_like(c[0], w) for _ in range(4)))
        assert noise.key(0, 1).normal(0, 4).isfinite().all()


@needs_compiler
def test_compiled_is_eager_to_the_rounding_of_logarithm_and_cosine():
    def draw(*key):
        drawn = noise.Key(*key)
        return [drawn.bits(3, 1001), drawn.normal(3, 1001, torch.float32), drawn.normal(3, 1001, torch.float64)]

    example = noise.key(ONES, torch.tensor([0, 5, ONES]), step=(1 << 40) + 3)[:3]
    eager, fast = draw(*example), compiled.compile_step(draw, example)(*example)
    assert torch.equal(eager[0], fast[0])
    assert torch.allclose(eager[1], fast[1], rtol=0, atol=2e-6 * 7)
    assert torch.allclose(eager[2], fast[2], rtol=0, atol=4e-15 * 7)


def test_a_permutation_is_one_and_each_replica_has_its_own():
    order = noise.permutation(noise.key(0, 5), 100)
    assert torch.equal(order.sort(1).values, torch.arange(100).expand(5, 100))
    assert len({tuple(row.tolist()) for row in order}) == 5
    assert not torch.equal(order, noise.permutation(noise.key(0, 5, step=1), 100))
    assert torch.equal(order[[3]], noise.permutation(noise.key(0, torch.tensor([3])), 100))


def test_permutations_of_several_steps_are_those_of_each():
    steps = torch.tensor([3, (1 << 32) + 3, 4])
    orders = noise.permutation(noise.key(0, 5)._replace(step=steps[:, None, None]), 10)
    each = [noise.permutation(noise.key(0, 5, step=int(step)), 10) for step in steps]
    assert torch.equal(orders, torch.stack(each))


def test_all_permutations_are_equally_likely():
    order = noise.permutation(noise.key(0, 24_000), 4)
    counts = torch.bincount((order * torch.tensor([64, 16, 4, 1])).sum(1))
    counts = counts[counts > 0].double()
    assert len(counts) == 24
    chi2 = float(((counts - 1000) ** 2 / 1000).sum())
    assert abs(chi2 - 23) / math.sqrt(2 * 23) < LIMIT


def test_equal_words_do_not_spoil_a_permutation(monkeypatch):
    """Ties go by index, on every device and with every sorting algorithm."""
    monkeypatch.setattr(noise, "philox", lambda c, k: tuple(torch.full_like(c[0], 7) for _ in range(4)))
    assert torch.equal(noise.permutation(noise.key(0, 2), 10), torch.arange(10).expand(2, 10))
