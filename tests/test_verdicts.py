"""The rules of verdicts on simulated runs whose truth is known: how often they are wrong, and how often they decide."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from companion.claims import (
    CONTRADICTED,
    NOT_RESOLVED,
    REPRODUCED,
    bootstrap,
    comparisons,
    curve,
    exact,
    holds,
    number,
    numbers,
    order,
    share,
    similar,
    verdict,
)

MARGIN = 0.02
COUNTS, SPREADS = (3, 5, 10, 30), (0.1, 1 / 3, 2 / 3, 1.0)  # spreads of a run in margins


def rates(verdicts):
    found = Counter(judged.verdict for judged in verdicts)
    return [found[kind] / sum(found.values()) for kind in (REPRODUCED, CONTRADICTED, NOT_RESOLVED)]


def numbers_judged(away, n, spread, samples, seed=0, known=None):
    """Verdicts on n runs whose true mean is ``away`` margins from that of the paper's one run, printed with digits."""
    generator = np.random.default_rng(seed)
    ours = generator.normal(0.5, spread * MARGIN, (samples, n))
    paper = generator.normal(0.5 + away * MARGIN, spread * MARGIN, samples).round(3)
    return [number(o, paper=p, margin=MARGIN, digits=3, spread=known) for o, p in zip(ours, paper, strict=True)]


def wrong(n, spread, samples, known=None):
    """What is too often wrong in verdicts on numbers: empty for a good rule."""
    equal, three = (rates(numbers_judged(away, n, spread, samples, known=known)) for away in (0, 3))
    found = []
    if equal[1] >= 0.01:
        found.append(f"n={n}, spread {spread:.2f}: {equal[1]:.1%} of equal truths are contradicted")
    if three[0] >= (0.001 if spread <= 1 / 3 else 0.03):
        found.append(f"n={n}, spread {spread:.2f}: {three[0]:.1%} of what is three margins off is reproduced")
    return found


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("spread", SPREADS)
def test_numbers_are_seldom_judged_wrongly(n, spread):
    assert not wrong(n, spread, samples=1500)


@pytest.mark.parametrize(("n", "most"), [(30, 0.035), (100, 0.015)])
def test_a_single_run_of_the_paper_may_be_one_that_failed(n, most):
    """One run in ten fails: a standard deviation alone would call equal truths different in four cases of a hundred."""
    generator = np.random.default_rng(0)

    def runs(*shape):
        fails = generator.random(shape) < 0.1
        return np.where(fails, generator.uniform(0.6, 0.99, shape), generator.normal(0.99, 0.003, shape))

    judged = [number(runs(n), paper=round(float(runs(1)[0]), 3), margin=0.02, digits=3) for _ in range(2000)]
    assert 0 < rates(judged)[1] < most
    found = number([*[0.99, 0.991] * 50, 0.7], paper=0.72, margin=0.02)
    assert found.verdict == NOT_RESOLVED and found.detail.startswith("single runs of ours lie as far")


def test_a_rule_with_two_standard_errors_in_place_of_t_fails(monkeypatch):
    monkeypatch.setattr(numbers, "quantile", lambda level, freedom: 2.0)
    assert wrong(3, 1.0, samples=500)
    assert wrong(3, 2 / 3, samples=500)


def test_a_rule_that_forgets_how_the_paper_scatters_fails(monkeypatch):
    plain = numbers._Found.within
    monkeypatch.setattr(numbers._Found, "within", lambda self, level, n, besides=0.0: plain(self, level, n))
    assert wrong(30, 1.0, samples=500)


def test_the_power_of_the_rule_for_numbers(capsys):
    lines = ["reproduced, contradicted where the truth is equal, off by one margin, off by three"]
    for spread in SPREADS:
        for n in COUNTS:
            found = [rates(numbers_judged(away, n, spread, samples=150, seed=1)) for away in (0, 1, 3)]
            lines.append(
                f"spread {spread:.2f} margins, n = {n:2d}: " + "  ".join(f"{r:5.0%} {c:4.0%}" for r, c, _ in found)
            )
            if spread <= 1 / 3 and n >= 5:
                assert found[0][0] > 0.8 and found[2][1] > 0.7  # a third of the margin, and five runs, decide
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_one_run_where_the_spread_is_known_from_elsewhere():
    for spread in SPREADS:
        assert not wrong(1, spread, samples=1500, known=spread * MARGIN)
    assert rates(numbers_judged(0, 1, 0.2, 500, known=0.2 * MARGIN))[0] > 0.95
    assert rates(numbers_judged(3, 1, 0.2, 500, known=0.2 * MARGIN))[1] > 0.95
    found = number(0.9170, paper=0.9160, margin=0.01, digits=4, spread=0.002)
    assert found.verdict == REPRODUCED and "known from elsewhere" in found.detail and "(1 run)" in found.ours


def test_one_run_alone_decides_nothing():
    for found in (
        number(0.95, paper=0.95, margin=0.02),
        number([0.95] * 8, paper=0.95, margin=0.02, draws=[0] * 8),
        order(0.9, 0.1),
        order([0.9, 0.8], [0.1, 0.2], paired=True, draws=[7, 7]),
        similar([0.5], [0.5, 0.5], margin=0.1),
    ):
        assert found.verdict == NOT_RESOLVED and found.settles is None
        assert "says nothing about how" in found.detail


def test_runs_that_share_a_draw_count_once():
    """Five draws of eight runs: nearly all of the scatter is between draws."""
    generator, margin, labels = np.random.default_rng(2), 0.01, np.repeat(range(5), 8)
    judged, naive = [], []
    for _ in range(600):
        ours = generator.normal(0.5, 0.02, 5).repeat(8) + generator.normal(0, 0.004, 40)
        judged.append(number(ours, paper=0.5, margin=margin, paper_runs=math.inf, draws=labels))
        naive.append(number(ours, paper=0.5, margin=margin, paper_runs=math.inf))
    assert rates(judged)[1] < 0.01 < rates(naive)[1]
    assert judged[0].ours.endswith("(40 runs of 5 draws)")
    sized = number(generator.normal(0, 3, 400).repeat(50) + generator.normal(0, 4, 20_000), paper=0, margin=9,
                   draws=np.repeat(range(400), 50))  # fmt: skip
    assert sized.interval[1] - sized.interval[0] == pytest.approx(2 * 1.966 * 3 / 20, rel=0.1)
    found = numbers._components(generator.normal(0, 3, 400).repeat(50) + generator.normal(0, 4, 20_000),
                                np.repeat(range(400), 50))  # fmt: skip
    assert found.single == pytest.approx(5, rel=0.1)  # both components


def test_pairs_that_share_a_draw_count_once():
    generator, labels = np.random.default_rng(3), np.repeat(range(5), 8)
    judged, naive = [], []
    for _ in range(600):
        low = generator.normal(0, 1, 40)
        high = low + generator.normal(0, 1, 5).repeat(8) + generator.normal(0, 0.3, 40)
        judged.append(order(high, low, paired=True, draws=labels))
        naive.append(order(high, low, paired=True))
    assert rates(judged)[0] < 0.005 and rates(judged)[1] < 0.005 and rates(naive)[0] > 0.05
    assert "(5 draws)" in judged[0].ours


ORDERS = {
    "three": (3, 3, 1.0, False),
    "five": (5, 5, 1.0, False),
    "ten": (10, 10, 1.0, False),
    "thirty": (30, 30, 1.0, False),
    "other spreads": (5, 5, 0.2, False),
    "other numbers": (3, 10, 0.5, False),
    "two": (2, 10, 0.3, False),
    "three pairs": (3, 3, 1.0, True),
    "thirty pairs": (30, 30, 1.0, True),
}


def orders_judged(n, m, spread, paired, away=0.0, samples=1500):
    generator = np.random.default_rng(4)
    high, low = generator.normal(away, 1, (samples, n)), generator.normal(0, spread, (samples, m))
    low = low + high - away if paired else low
    return [order(h, s, paired) for h, s in zip(high, low, strict=True)]


@pytest.mark.parametrize("case", ORDERS)
def test_an_order_that_is_not_there_is_seldom_found(case):
    found = rates(orders_judged(*ORDERS[case]))
    assert found[0] < 0.005 and found[1] < 0.005


def test_orders_with_a_normal_quantile_or_with_freedom_that_is_too_large_fail(monkeypatch):
    plain = comparisons.quantile
    monkeypatch.setattr(comparisons, "quantile", lambda level, freedom: plain(level, 28))
    assert max(rates(orders_judged(*ORDERS["three"], samples=500))[:2]) > 0.005
    assert max(rates(orders_judged(*ORDERS["other numbers"], samples=500))[:2]) > 0.005


def test_thirty_runs_find_an_order_of_one_standard_deviation():
    found = rates(orders_judged(*ORDERS["thirty"], away=1.0, samples=300))
    assert found[0] > 0.7 and found[1] == 0
    assert rates(orders_judged(*ORDERS["ten"], away=-3.0, samples=100))[1] > 0.95


def test_runs_that_diverge_count_as_worst():
    generator, never = np.random.default_rng(5), -np.inf
    for paired in (False, True):
        verdicts = []
        for _ in range(300):
            one, other = generator.normal(0, 1, (2, 12))
            one[generator.random(12) < 0.3] = other[generator.random(12) < 0.3] = never
            verdicts.append(order(one, other, paired))
        assert max(rates(verdicts)[:2]) <= 0.005
    steady, lost = generator.normal(0, 1, 12), [0.1, *[never] * 11]
    for paired in (False, True):
        found = order(steady + 9, lost, paired)
        assert found.verdict == REPRODUCED and "11 did not arrive" in found.ours
        assert order(lost, steady + 9, paired).verdict == CONTRADICTED
    assert order([never] * 20, [never] * 20).verdict == NOT_RESOLVED
    late = order([np.inf, 3.0, 4.0], [1.0, 2.0, 2.5])  # steps to a goal: the larger, the worse
    assert late.verdict == NOT_RESOLVED and late.settles == 7  # complete separation takes seven of each


def test_runs_that_do_not_scatter_are_ranked():
    """Three accuracies of .8 and three of .9, on 38 points each, are no proof that runs always end so."""
    assert order([0.9] * 3, [0.8] * 3).verdict == NOT_RESOLVED
    assert order([0.3, 0.2, 0.4], [0.2, 0.1, 0.3], paired=True).verdict == NOT_RESOLVED  # but for rounding
    assert order([0.9] * 8, [0.8] * 8).verdict == REPRODUCED
    assert order(np.linspace(0.8, 0.9, 12) + 0.1, np.linspace(0.8, 0.9, 12), paired=True).verdict == REPRODUCED
    assert order([0.9] * 12, [0.9] * 12).verdict == NOT_RESOLVED


def test_similar_means_are_told_from_others():
    generator = np.random.default_rng(6)
    for n in COUNTS:
        for spread in (0.1, 0.5, 1.0):
            equal, three = (
                rates([similar(*generator.normal([[away], [0]], spread, (2, n)), margin=1) for _ in range(150)])
                for away in (0, 3)
            )
            assert equal[1] < 0.01 and three[0] < (0.001 if spread < 0.3 else 0.03)
            if spread == 0.1:
                assert equal[0] > 0.97 and three[1] > 0.9
    at_margin = rates([similar(*generator.normal([[1], [0]], 0.2, (2, 10)), margin=1) for _ in range(500)])
    assert at_margin[0] < 0.05  # two one-sided tests at 2.5 %
    shared = generator.normal(0, 50, 10)
    assert similar(shared, shared + generator.normal(0.1, 0.1, 10), margin=1, paired=True).verdict == REPRODUCED
    assert similar(shared, shared + generator.normal(0.1, 0.1, 10), margin=1).verdict == NOT_RESOLVED


@pytest.mark.parametrize("against", [0.5, 0.9])
def test_a_share_that_is_not_there_is_seldom_found(against):
    for trials in (*range(1, 12), 30, 100):
        chance = stats.binom.pmf(range(trials + 1), trials, against)
        verdicts = np.array([share(k, trials, against).verdict for k in range(trials + 1)])
        assert chance[verdicts == REPRODUCED].sum() <= 0.0015
        assert chance[verdicts == CONTRADICTED].sum() <= 0.0015


def test_a_share_takes_ten_trials_at_least():
    for trials in range(1, 10):
        assert {share(k, trials).verdict for k in range(trials + 1)} == {NOT_RESOLVED}
        assert share(trials, trials).settles == share(0, trials).settles == 10
    assert share(10, 10).verdict == REPRODUCED and share(0, 10).verdict == CONTRADICTED
    assert share(80, 100).verdict == REPRODUCED and share(20, 100).verdict == CONTRADICTED
    tie = share(50.0, 100)
    assert tie.verdict == NOT_RESOLVED and tie.settles is None and "not likely to settle" in tie.detail
    assert share(6.5, 10).interval[0] < share(7, 10).interval[0]  # half a success


def test_none_of_ten_has_an_interval():
    found = share(0, 10)
    assert found.ours == "0 of 10 (0.00 to 0.31)"
    assert found.interval == (0, pytest.approx(1 - 0.0015**0.1))


def test_many_runs_do_not_reproduce_a_distant_number():
    runs = np.random.default_rng(7).normal(0.6, 0.24, 100_000)
    found = number(runs, paper=1.0, margin=0.02)
    assert found.verdict == NOT_RESOLVED and found.settles is None and "scatters by 0.24" in found.detail
    assert number(runs, paper=1.0, margin=0.02, paper_runs=100).verdict == CONTRADICTED
    assert number(runs, paper=0.6, margin=0.02).verdict == NOT_RESOLVED
    assert number(runs, paper=0.6, margin=0.02, paper_runs=math.inf).verdict == REPRODUCED


def test_almost_three_times_is_not_no_difference():
    generator = np.random.default_rng(8)
    for n in COUNTS:
        for spread in (0.2, 0.6):
            for _ in range(50):
                assert number(generator.normal(1, spread, n), paper=2.9, margin=0.6, digits=1).verdict != REPRODUCED
    close = number(generator.normal(3.1, 0.3, 20), paper=2.9, margin=0.6, digits=1)
    low, high = (float(word) for word in close.detail.split(" would")[0].split(" from ")[1].split(" to "))
    assert close.verdict == REPRODUCED and 2.2 < low < 2.9 < high < 3.6


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_interval_of_a_mean_covers_it(n):
    runs = np.random.default_rng(9).normal(5, 2, (1000, n))
    found = [number(row, paper=5, margin=0.1) for row in runs]
    assert 0.93 < np.mean([f.interval[0] < 5 < f.interval[1] for f in found]) < 0.97
    mean, half = (float(word) for word in found[0].ours.split(" (")[0].split(" ± "))
    assert (mean - half, mean + half) == pytest.approx(found[0].interval, abs=0.02)
    assert found[0].ours.endswith(f"({n} runs)")


def test_the_last_printed_digit_of_the_paper_counts():
    runs = [0.9, 0.9, 0.9]
    assert number(runs, paper=0.92, margin=0.016, digits=2).verdict == REPRODUCED
    assert number(runs, paper=0.92, margin=0.016, digits=3).verdict == CONTRADICTED
    steps = number([30_800, 31_100, 31_600], paper=30_000, margin=3000, digits=-3)  # thousands of steps
    assert steps.verdict == REPRODUCED and steps.ours == "31167 ± 1004 (3 runs)"


def test_a_difference_within_the_margin_contradicts_nothing_however_sure_it_is():
    sure = exactly(0.517, 0.03, 100)
    found = number(sure, paper=0.5, margin=0.02, digits=4, paper_runs=math.inf)
    assert found.verdict == NOT_RESOLVED and found.settles > 100
    assert number(sure, paper=0.5, margin=0.01, digits=4, paper_runs=math.inf).verdict == CONTRADICTED


def exactly(mean, spread, n, seed=0):
    """n runs that have just this mean and standard deviation."""
    z = np.random.default_rng(seed).normal(size=n)
    return mean + spread * (z - z.mean()) / z.std(ddof=1)


def test_more_runs_than_there_are_would_settle_it():
    assert verdict.runs_to_settle(5, lambda k: True) == 6
    assert verdict.runs_to_settle(5, lambda k: k >= 70_001) == 70_001
    assert verdict.runs_to_settle(5, lambda k: k > 1_000_000) is None


@pytest.mark.parametrize(
    "judge",
    [
        lambda runs: number(runs(0.5, 0.6), paper=0, margin=1, digits=6),
        lambda runs: number(runs(0.5, 1.0), paper=0, margin=1, digits=6, paper_runs=math.inf),
        lambda runs: number(runs(4.0, 1.2), paper=0, margin=1, digits=6),
        lambda runs: number(runs(0.5, 1.0), paper=0, margin=1, digits=6, spread=1.0, paper_runs=9),
        lambda runs: order(runs(0.8, 1.0), runs(0, 0.5, 1)),
        lambda runs: order(runs(0.6, 1.0), runs(0, 1.0, 1)),
        lambda runs: order(runs(-0.5, 1.0), runs(0, 1e-9, 1), paired=True),
        lambda runs: similar(runs(0.3, 1.0), runs(0, 1.0, 1), margin=1),
        lambda runs: similar(runs(2, 1.0), runs(0, 1.0, 1), margin=1),
        lambda runs: similar(runs(0.5, 1.0), runs(0, 1e-9, 1), margin=1, paired=True),
    ],
)
def test_the_runs_that_are_said_to_settle_it_do_so_in_half_of_cases(judge):
    first = judge(lambda mean, spread, seed=0: exactly(mean, spread, 4, seed))
    assert first.verdict == NOT_RESOLVED and f"about {first.settles} " in first.detail
    generator = np.random.default_rng(10)

    def decided(n):
        again = [judge(lambda mean, spread, seed=0: generator.normal(mean, spread, n)) for _ in range(200)]
        return 1 - rates(again)[2]

    assert decided(first.settles) > 0.43
    assert decided(max(2, first.settles // 3)) < 0.4  # and no third as many do


def test_so_they_do_where_five_runs_are_all_that_is_known():
    """Mean and spread are estimated from five runs, and the runs that should settle it are drawn from the truth."""
    generator = np.random.default_rng(11)
    cases = {
        "number": lambda n: number(generator.normal(0.5, 0.5, n), paper=0.2, margin=1, digits=6),
        "law": lambda n: number(generator.normal(3, 1, n), paper=0, margin=1, digits=6, paper_runs=math.inf),
        "order": lambda n: order(generator.normal(1, 1, n), generator.normal(0, 1, n)),
        "similar": lambda n: similar(generator.normal(0, 0.6, n), generator.normal(0, 0.6, n), margin=1),
    }
    for name, judge in cases.items():
        settles = [found.settles for found in (judge(5) for _ in range(150)) if found.verdict == NOT_RESOLVED]
        again = [judge(n) for n in settles if n and n < 2000]
        assert len(again) > 20 and 1 - rates(again)[2] > 0.45, name


@pytest.mark.parametrize(("k", "n"), [(6, 8), (9, 9), (12, 20), (70, 120), (30, 80)])
def test_the_trials_that_are_said_to_settle_a_share_do_so_in_half_of_cases(k, n):
    first = share(k, n)
    assert first.verdict == NOT_RESOLVED and first.settles > n
    chance = stats.binom.pmf(range(first.settles + 1), first.settles, k / n)
    verdicts = np.array([share(j, first.settles).verdict for j in range(first.settles + 1)])
    assert chance[verdicts != NOT_RESOLVED].sum() > 0.43


def curves(n, generator, level=0.0):
    """Accuracies that rise to 1 with a scale of 30 steps, each run by an amount of its own."""
    return (
        1 - np.exp(-np.arange(150) / 30) + generator.normal(level, 0.02, (n, 1)) + generator.normal(0, 0.005, (n, 150))
    )


def arrives(mean):
    return float(np.argmax(mean >= 0.9)) if (mean >= 0.9).any() else math.inf


def test_a_statistic_of_a_mean_curve_has_the_error_of_a_bootstrap():
    generator = np.random.default_rng(12)
    truth = 30 * math.log(10)
    equal = [curve(curves(8, generator), arrives, paper=truth, margin=8, digits=0) for _ in range(30)]
    far = [curve(curves(8, generator), arrives, paper=truth + 60, margin=8, digits=0) for _ in range(6)]
    assert rates(equal)[0] > 0.5 and rates(equal)[1] <= 0.01 and rates(far)[1] > 0.8
    for n in (3, 10):  # where the statistic is a mean the interval is the t interval
        runs = generator.normal(0, 1, (n, 2))
        found = curve(runs, lambda mean: float(mean[0]), paper=0, margin=1)
        plain = number(runs[:, 0], paper=0, margin=1)
        assert np.diff(found.interval) == pytest.approx(np.diff(plain.interval), rel=0.06)
        assert found.verdict == plain.verdict
    assert bootstrap([[1.0], [1.0]], lambda mean: mean[0]) == pytest.approx(1)
    lost = curve(curves(5, generator, level=-0.13), arrives, paper=69, margin=8, digits=0)
    assert lost.verdict == NOT_RESOLVED and "of the resampled means reach it" in lost.detail


def test_exact_values_and_what_holds():
    assert exact(0.33334, paper=1 / 3, tolerance=1e-4).verdict == REPRODUCED
    apart = exact(0.334, paper=1 / 3, tolerance=1e-4)
    assert apart.verdict == CONTRADICTED and "0.00067 apart, where 0.0001 is allowed" in apart.detail
    assert holds(np.True_).verdict == REPRODUCED
    assert holds(False, "no minimum").verdict == CONTRADICTED and holds(False, "no minimum").detail == "no minimum"


class Tensor:
    """As much of a tensor with a gradient as matters: numpy cannot read it before it is detached."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def cpu(self):
        return np.array(self.values)


def test_runs_may_be_lists_arrays_or_tensors():
    found = [number(kind([0.94, 0.96, 0.95]), paper=0.95, margin=0.05) for kind in (list, tuple, np.array, Tensor)]
    assert len(set(found)) == 1 and found[0].ours == "0.950 ± 0.025 (3 runs)"


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: number(["x"], paper=1, margin=1), "are not numbers, one a run"),
        (lambda: number([], paper=1, margin=1), r"ours has the shape \(0,\)"),
        (lambda: number([[1.0, 2.0]], paper=1, margin=1), r"ours has the shape \(1, 2\)"),
        (lambda: number([1.0, NAN], paper=1, margin=1), r"ours holds 1 value\(s\) that are not finite"),
        (lambda: number([1.0, INFINITE], paper=1, margin=1), "decide how diverged runs count"),
        (lambda: number([1.0, 2.0], paper=NAN, margin=1), "paper=nan is not allowed"),
        (lambda: number([1.0, 2.0], paper="much", margin=1), "paper='much' is not a number"),
        (lambda: number([1.0, 2.0], paper=1, margin=0), "margin=0 is not allowed: it must be above zero"),
        (lambda: number([1.0, 2.0], paper=1, margin=1, paper_runs=0), "paper_runs=0 is not allowed"),
        (lambda: number([1.0, 2.0], paper=1, margin=1, paper_runs=NAN), "paper_runs=nan is not allowed"),
        (lambda: number([1.0, 2.0], paper=1, margin=1, spread=-1), "spread=-1 is not allowed"),
        (lambda: number([1.0, 2.0], paper=1, margin=1, draws=[0]), "draws has the shape"),
        (lambda: curve([1.0, 2.0], np.max, paper=1, margin=1), "must hold one curve a run"),
        (lambda: curve([[1.0, 2.0]], np.max, paper=1, margin=1), "of two runs or more"),
        (lambda: curve([[1.0, NAN]] * 3, np.max, paper=1, margin=1), "decide how diverged runs count"),
        (lambda: curve([[1.0, 2.0]] * 3, np.max, paper=1, margin=-1), "margin=-1 is not allowed"),
        (lambda: curve([[1.0, 2.0]] * 3, np.max, paper=1, margin=1, paper_runs=0.5), "paper_runs=0.5"),
        (lambda: order([1.0, NAN], [1.0, 2.0]), "larger holds 1 value"),
        (lambda: order([1.0, 2.0], [1.0, 2.0, 3.0], paired=True), "pairs need as many of each"),
        (lambda: order([1.0, 2.0], [1.0, 2.0], draws=[0, 1]), "draws are for pairs"),
        (lambda: order([1.0, 2.0], [1.0, 2.0], paired=True, draws=[0]), "draws has the shape"),
        (lambda: order([1.0, -INFINITE], [INFINITE, -INFINITE], paired=True, draws=[0, 0]), "plus and at minus"),
        (lambda: similar([1.0, INFINITE], [1.0, 2.0], margin=1), "one holds 1 value"),
        (lambda: similar([1.0, 2.0], [1.0, 2.0], margin=NAN), "margin=nan is not allowed"),
        (lambda: similar([1.0, 2.0], [1.0], margin=1, paired=True), "pairs need as many of each"),
        (lambda: share(11, 10), "successes=11, trials=10, against=0.5 is not a share"),
        (lambda: share(-1, 10), "successes=-1"),
        (lambda: share(1, 0), "trials=0"),
        (lambda: share(1, 1.5), "trials=1.5"),
        (lambda: share(1, NAN), "trials=nan"),
        (lambda: share(NAN, 10), "successes=nan"),
        (lambda: share(1, 10, against=1), "against=1"),
        (lambda: exact(NAN, paper=1, tolerance=1), "ours=nan is not allowed"),
        (lambda: exact(1, paper=1, tolerance=0), "tolerance=0 is not allowed"),
        (lambda: holds(1), "value=1 is not allowed: it must be True or False"),
        (lambda: holds(None), "value=None is not allowed"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
