"""One mean against another, and shares of trials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from companion.claims.verdict import (
    CONTRADICTED,
    DECIDING,
    LEVEL,
    NOT_RESOLVED,
    REPRODUCED,
    Verdict,
    by_draw,
    more,
    per_run,
    positive,
    quantile,
    runs_to_settle,
)

__all__ = ["order", "share", "similar"]


@dataclass(frozen=True)
class _Difference:
    """Two means apart, with their error, its degrees of freedom, the standard deviation of a run, and of how many."""

    value: float
    error: float
    freedom: float
    spread: float
    n: int
    paired: bool
    balance: float = 1.0  # degrees of freedom for each run of each but the first

    def half(self, level: float) -> float:
        return quantile(level, self.freedom) * self.error if self.error else 0.0

    def later(self, level: float, k: int) -> float:
        """Half of the interval from k pairs, or k runs of each, that scatter as these do."""
        return quantile(level, self.balance * (k - 1)) * self.spread * math.sqrt((1 if self.paired else 2) / k)


def order(larger: Any, smaller: Any, paired: bool = False, draws: Any = None) -> Verdict:
    """The statement that the first mean exceeds the second.

    Parameters
    ----------
    larger, smaller : one value a run. Runs that diverge or do not arrive count as the worst, plus or minus infinity;
        then ranks decide (Mann and Whitney; the signs of the differences where runs are paired), as they do where
        runs do not scatter at all.
    paired : whether run i of both shares its data and seed.
    draws : which draw of the data each pair has, where several share one: pairs are averaged for each draw.

    Raises
    ------
    ValueError : NaN, pairs of different number, draws without pairs.
    """
    high, low = per_run("larger", larger, infinite=True), per_run("smaller", smaller, infinite=True)
    _check_pairs(high, low, paired)
    if draws is not None:
        if not paired:
            raise ValueError("draws are for pairs: say paired=True")
        with np.errstate(invalid="ignore"):  # infinity less infinity
            high, low = (np.array([group.mean() for group in by_draw(values, draws)]) for values in (high, low))
        if np.isnan(high).any() or np.isnan(low).any():
            raise ValueError("a draw has runs at plus and at minus infinity: diverged runs must count as the worst")
    many = _many(high, low, paired, "draws" if draws is not None else "pairs")
    if min(len(high), len(low)) < 2:
        return _alone(high, low, many)
    if not (np.isfinite(high).all() and np.isfinite(low).all()):
        return _ranks(high, low, paired, many)
    apart = _difference(high, low, paired)
    if not apart.error:
        return _ranks(high, low, paired, many)
    half = apart.half(DECIDING)
    interval, what = (apart.value - half, apart.value + half), f"{_plain(high)} against {_plain(low)} ({many})"
    detail = f"difference {_interval(apart.value, half)}; {abs(apart.value) / apart.spread:.1f} standard deviations"
    detail += " of a run" if not paired else " of a difference"
    if interval[0] > 0:
        return Verdict(REPRODUCED, what, interval, detail)
    if interval[1] < 0:
        return Verdict(CONTRADICTED, what, interval, detail)
    settles = runs_to_settle(apart.n, lambda k: abs(apart.value) > apart.later(DECIDING, k))
    return Verdict(NOT_RESOLVED, what, interval, f"{detail}; {more(settles, _unit(paired, draws))}", settles)


def similar(one: Any, other: Any, *, margin: float, paired: bool = False) -> Verdict:
    """The statement that two means are alike: no further apart than the margin (two one-sided tests).

    ``one`` and ``other`` hold one value a run; ``paired`` says whether run i of both shares its data and seed. Raises
    ValueError for values that are not finite, pairs of different number, a margin that is not above zero.
    """
    first, second, margin = per_run("one", one), per_run("other", other), positive("margin", margin)
    _check_pairs(first, second, paired)
    many = _many(first, second, paired, "pairs")
    if min(len(first), len(second)) < 2:
        return _alone(first, second, many)
    apart = _difference(first, second, paired)
    size, near, far = abs(apart.value), apart.half(LEVEL), apart.half(DECIDING)
    what = f"{_plain(first)} and {_plain(second)} ({many})"
    detail = f"difference {_interval(apart.value, near)}, where {margin:g} would be alike"
    if size + near <= margin:
        return Verdict(REPRODUCED, what, (apart.value - near, apart.value + near), detail)
    if size - far > margin:
        return Verdict(CONTRADICTED, what, (apart.value - far, apart.value + far), detail)

    def decides(k: int) -> bool:
        return size + apart.later(LEVEL, k) <= margin or size - apart.later(DECIDING, k) > margin

    settles, interval = runs_to_settle(apart.n, decides), (apart.value - near, apart.value + near)
    return Verdict(NOT_RESOLVED, what, interval, f"{detail}; {more(settles, _unit(paired))}", settles)


def share(successes: float, trials: int, against: float = 0.5) -> Verdict:
    """The statement that something happens in more than a share of cases; half a success counts a tie.

    The interval that decides is that of Clopper and Pearson at the level .003. Raises ValueError for trials that are
    not a whole number above zero, successes outside [0, trials], a share outside (0, 1).
    """
    if not (trials >= 1 and int(trials) == trials and 0 <= successes <= trials and 0 < against < 1):
        raise ValueError(f"successes={successes}, trials={trials}, against={against} is not a share of trials")
    k, n = float(successes), int(trials)
    low, high = _binomial(k, n, DECIDING)
    what = f"{k:g} of {n} ({' to '.join(f'{end:.2f}' for end in _binomial(k, n, LEVEL))})"
    detail = f"share {k / n:.3f}, interval {low:.3f} to {high:.3f}, against {against:g}"
    if low > against:
        return Verdict(REPRODUCED, what, (low, high), detail)
    if high < against:
        return Verdict(CONTRADICTED, what, (low, high), detail)

    def decides(m: int) -> bool:
        below, above = _binomial(k / n * m, m, DECIDING)
        return below > against or above < against

    settles = runs_to_settle(n, decides)
    return Verdict(NOT_RESOLVED, what, (low, high), f"{detail}; {more(settles, 'trials')}", settles)


def _binomial(k: float, n: int, level: float) -> tuple[float, float]:
    low = float(special.betaincinv(k, n - k + 1, level / 2)) if k > 0 else 0.0
    return low, float(special.betaincinv(k + 1, n - k, 1 - level / 2)) if k < n else 1.0


def _ranks(high: np.ndarray, low: np.ndarray, paired: bool, many: str) -> Verdict:
    first, second = (high, low) if paired else (high[:, None], low[None])
    above = float((first > second).mean() + 0.5 * (first == second).mean())
    lost = sum(int((~np.isfinite(values)).sum()) for values in (high, low))
    what = f"above in {above:.0%} of all comparisons ({many}); "
    what += f"{lost} did not arrive, and count as worst" if lost else "the runs do not scatter, so that ranks decide"
    if paired:
        found = share(above * len(high), len(high))
        return Verdict(found.verdict, what, found.interval, found.detail, found.settles)
    chance = float(stats.mannwhitneyu(high, low).pvalue) if above != 0.5 else 1.0
    detail = f"ranks, p = {chance:.2g}"
    if chance < DECIDING:
        return Verdict(REPRODUCED if above > 0.5 else CONTRADICTED, what, (above, above), detail)
    z, few = quantile(DECIDING, math.inf), min(len(high), len(low))
    settles = runs_to_settle(few, lambda k: abs(above - 0.5) > z * math.sqrt((2 * k + 1) / 12) / k)
    return Verdict(NOT_RESOLVED, what, (0.0, 1.0), f"{detail}; {more(settles, 'runs of each')}", settles)


def _check_pairs(first: np.ndarray, second: np.ndarray, paired: bool) -> None:
    if paired and len(first) != len(second):
        raise ValueError(f"there are {len(first)} and {len(second)} runs: pairs need as many of each")


def _alone(first: np.ndarray, second: np.ndarray, many: str) -> Verdict:
    what = f"{_plain(first)} and {_plain(second)} ({many})"
    return Verdict(NOT_RESOLVED, what, (-math.inf, math.inf), "one run says nothing about how runs scatter")


def _difference(first: np.ndarray, second: np.ndarray, paired: bool) -> _Difference:
    value, few, most = float(first.mean() - second.mean()), *sorted((len(first), len(second)))
    rounding = 1e-14 * float(np.abs(first).max() + np.abs(second).max())
    if paired:
        spread = float((first - second).std(ddof=1))
        return _Difference(value, spread / math.sqrt(few) if spread > rounding else 0.0, few - 1, spread, few, paired)
    a, b = float(first.var(ddof=1)), float(second.var(ddof=1))
    error, spread = math.sqrt(a / len(first) + b / len(second)), math.sqrt((a + b) / 2)
    if spread <= rounding:
        return _Difference(value, 0.0, 1, spread, few, paired)
    freedom = error**4 / ((a / len(first)) ** 2 / (len(first) - 1) + (b / len(second)) ** 2 / (len(second) - 1))
    # Welch's degrees of freedom are an estimate; where numbers differ and are small it is often far too large.
    freedom = min(freedom, (few - 1) * (1 + few / most))
    return _Difference(value, error, freedom, spread, few, paired, (a + b) ** 2 / (a**2 + b**2))


def _many(first: np.ndarray, second: np.ndarray, paired: bool, pairs: str) -> str:
    if paired:
        return f"{len(first)} {pairs if len(first) > 1 else pairs[:-1]}"
    if len(first) == len(second):
        return f"{len(first)} run{'s' * (len(first) > 1)} of each"
    return f"{len(first)} and {len(second)} runs"


def _unit(paired: bool, draws: Any = None) -> str:
    return "draws" if draws is not None else "pairs" if paired else "runs of each"


def _interval(difference: float, half: float) -> str:
    return f"{difference:.3g} (from {difference - half:.3g} to {difference + half:.3g})"


def _plain(values: np.ndarray) -> str:
    mean = float(values.mean())
    return f"{mean:,.0f}" if 1000 <= abs(mean) < math.inf else f"{mean:.4g}"
