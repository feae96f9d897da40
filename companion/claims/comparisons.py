"""One mean against another, and shares of trials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

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
    runs_to_settle,
)

__all__ = ["order", "share", "similar"]


def order(larger: Any, smaller: Any, paired: bool = False, draws: Any = None) -> Verdict:
    """The statement that the first mean exceeds the second.

    Parameters
    ----------
    larger, smaller : one value a run. Runs that diverge or do not arrive count as the worst, plus or minus infinity;
        then ranks decide (Mann and Whitney; the signs of the differences where runs are paired).
    paired : whether run i of both shares its data and seed.
    draws : which draw of the data each pair has, where several share one: pairs are averaged for each draw.

    Raises
    ------
    ValueError : NaN, fewer than two runs of each, pairs of different number.
    """
    high, low = per_run("larger", larger, infinite=True), per_run("smaller", smaller, infinite=True)
    if min(len(high), len(low)) < 2:
        raise ValueError(f"there are {len(high)} and {len(low)} runs: an order needs at least two of each")
    if paired and len(high) != len(low):
        raise ValueError(f"there are {len(high)} and {len(low)} runs: pairs need as many of each")
    if draws is not None:
        if not paired:
            raise ValueError("draws are for pairs: say paired=True")
        high, low = (by_draw(values, draws)[0] for values in (high, low))
    if not (np.isfinite(high).all() and np.isfinite(low).all()):
        return _ranks(high, low, paired)
    difference, error, freedom, spread = _difference(high, low, paired)
    half = float(stats.t.ppf(1 - DECIDING / 2, freedom)) * error if error else 0.0
    interval = (difference - half, difference + half)
    what = f"{_plain(high.mean())} against {_plain(low.mean())} ({len(high)} {'pairs' if paired else 'runs of each'})"
    size = f"; {abs(difference) / spread:.1f} standard deviations of a run" if spread else ""
    detail = f"difference {_interval(difference, half)}{size}"
    if interval[0] > 0:
        return Verdict(REPRODUCED, what, interval, detail)
    if interval[1] < 0:
        return Verdict(CONTRADICTED, what, interval, detail)
    n = len(high)

    def decides(k: int) -> bool:
        return abs(difference) > stats.t.ppf(1 - DECIDING / 2, k - 1) * error * math.sqrt(n / k)

    settles = runs_to_settle(n, decides) if difference else None
    return Verdict(NOT_RESOLVED, what, interval, f"{detail}; {more(settles, 'runs of each')}", settles)


def _ranks(high: np.ndarray, low: np.ndarray, paired: bool) -> Verdict:
    first, second = (high, low) if paired else (high[:, None], low[None])
    above = float((first > second).mean() + 0.5 * (first == second).mean())
    lost = sum(int((~np.isfinite(values)).sum()) for values in (high, low))
    if paired:
        found = share(above * len(high), len(high))
        what = f"above in {above:.0%} of {len(high)} pairs; {lost} runs did not arrive, and count as worst"
        return Verdict(found.verdict, what, found.interval, found.detail, found.settles)
    test = stats.mannwhitneyu(high, low)
    what = f"above in {above:.0%} of all pairs of {len(high)} and {len(low)} runs; {lost} of these did not arrive"
    detail = f"ranks, p = {test.pvalue:.2g}"
    if test.pvalue < DECIDING and above != 0.5:
        return Verdict(REPRODUCED if above > 0.5 else CONTRADICTED, what, (above, above), detail)
    return Verdict(NOT_RESOLVED, what, (0.0, 1.0), detail)


def similar(one: Any, other: Any, *, margin: float, paired: bool = False) -> Verdict:
    """The statement that two means are alike, within ``margin`` of each other.

    Raises ValueError for values that are not finite, fewer than two runs of each, a margin that is not above zero.
    """
    first, second, margin = per_run("one", one), per_run("other", other), positive("margin", margin)
    if min(len(first), len(second)) < 2 or (paired and len(first) != len(second)):
        raise ValueError(f"there are {len(first)} and {len(second)} runs: at least two of each, as many if paired")
    difference, error, freedom, _ = _difference(first, second, paired)
    near, far = (float(stats.t.ppf(1 - level / 2, freedom)) * error if error else 0.0 for level in (LEVEL, DECIDING))
    what = f"{_plain(first.mean())} and {_plain(second.mean())} ({len(first)} {'pairs' if paired else 'runs of each'})"
    detail = f"difference {_interval(difference, near)}, where {margin:g} would be alike"
    if abs(difference) + near <= margin:
        return Verdict(REPRODUCED, what, (difference - near, difference + near), detail)
    if abs(difference) - far > margin:
        return Verdict(CONTRADICTED, what, (difference - far, difference + far), detail)
    n = len(first)

    def decides(k: int) -> bool:
        part, size = error * math.sqrt(n / k), abs(difference)
        inside = size + stats.t.ppf(1 - LEVEL / 2, k - 1) * part <= margin
        return inside or size - stats.t.ppf(1 - DECIDING / 2, k - 1) * part > margin

    settles = runs_to_settle(n, decides)
    interval = (difference - near, difference + near)
    return Verdict(NOT_RESOLVED, what, interval, f"{detail}; {more(settles, 'runs of each')}", settles)


def share(successes: float, trials: int, against: float = 0.5) -> Verdict:
    """The statement that something happens in more than a share of cases; half a success counts a tie.

    The interval is that of Clopper and Pearson at the level .003. Raises ValueError for trials that are not a whole
    number above zero, successes outside [0, trials], a share outside (0, 1).
    """
    if int(trials) != trials or trials < 1 or not 0 <= successes <= trials or not 0 < against < 1:
        raise ValueError(f"successes={successes}, trials={trials}, against={against} is not a share of trials")
    k, n = float(successes), int(trials)
    low = float(stats.beta.ppf(DECIDING / 2, k, n - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(1 - DECIDING / 2, k + 1, n - k)) if k < n else 1.0
    what = f"{k:g} of {n}"
    detail = f"share {k / n:.3f}, interval {low:.3f} to {high:.3f}, against {against:g}"
    if low > against:
        return Verdict(REPRODUCED, what, (low, high), detail)
    if high < against:
        return Verdict(CONTRADICTED, what, (low, high), detail)
    z, part = float(stats.norm.ppf(1 - DECIDING / 2)), k / n
    gap = part - against
    settles = math.ceil(z**2 * max(part * (1 - part), against * (1 - against)) / gap**2) if gap else None
    if settles is not None and not n < settles <= 1_000_000:
        settles = None
    return Verdict(NOT_RESOLVED, what, (low, high), f"{detail}; {more(settles, 'trials')}", settles)


def _difference(first: np.ndarray, second: np.ndarray, paired: bool) -> tuple[float, float, float, float]:
    """Difference of means, its standard error, degrees of freedom, and the standard deviation of a run."""
    if paired:
        apart = first - second
        deviation, n = float(apart.std(ddof=1)), len(apart)
        return float(apart.mean()), deviation / math.sqrt(n), n - 1, deviation
    a, b = (float(values.var(ddof=1)) / len(values) for values in (first, second))
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1)) if a + b else 1.0
    spread = math.sqrt((float(first.var(ddof=1)) + float(second.var(ddof=1))) / 2)
    return float(first.mean() - second.mean()), math.sqrt(a + b), freedom, spread


def _interval(difference: float, half: float) -> str:
    return f"{difference:.3g} (from {difference - half:.3g} to {difference + half:.3g})"


def _plain(value: float) -> str:
    return f"{value:.4g}"
