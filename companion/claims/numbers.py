"""A number of a paper against our runs."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    finite,
    more,
    per_run,
    positive,
    runs_to_settle,
)

__all__ = ["bootstrap", "curve", "number"]


def number(
    ours: Any,
    *,
    paper: float,
    margin: float,
    paper_runs: float = 1,
    digits: int = 2,
    draws: Any = None,
    spread: float | None = None,
) -> Verdict:
    """A number of the paper against our independent runs.

    Parameters
    ----------
    ours : one value a run.
    paper : the value that the paper prints, with ``digits`` decimals, as the mean of ``paper_runs`` runs
        (``math.inf`` for a law).
    margin : how far apart two values may be for a reader to call them the same.
    draws : which draw of the data each run has, where several runs share one: the error is then that over draws, and
        the spread of a single run has both components.
    spread : standard deviation of a single run from elsewhere, where one run of ours is all there can be.

    Raises
    ------
    ValueError : values that are not finite numbers, a margin that is not above zero, fewer than one run.
    """
    values, paper, margin = per_run("ours", ours), finite("paper", paper), positive("margin", margin)
    if not paper_runs >= 1:
        raise ValueError(f"paper_runs={paper_runs} is not allowed: it must be at least 1, or math.inf for a law")
    if spread is not None:
        return _single(values, paper, margin, positive("spread", spread), digits)
    mean, error, single, n = _components(values, draws)
    what = f"{_shown(mean, error, digits)} ({len(values)} runs{'' if draws is None else f' of {n} draws'})"
    if n < 2:
        detail = "one run of ours says nothing about how runs scatter"
        return Verdict(NOT_RESOLVED, f"{mean:.{digits}f} (1 run)", (-math.inf, math.inf), detail)
    return _number(mean, error, single, n, what, paper, margin, paper_runs, digits)


def curve(
    ours: Any, statistic: Callable[[np.ndarray], float], *, paper: float, margin: float, paper_runs: float = 1,
    digits: int = 2, seed: int = 0,
) -> Verdict:  # fmt: skip
    """A statistic of the mean curve over runs, as the step at which it reaches 90 %, with the error of a bootstrap.

    ``ours`` holds one curve a run, ``[runs, ...]``; ``statistic`` takes the mean over runs. A statistic that a
    resampled mean does not have, as a step that is never reached, may be infinite: then nothing is resolved.
    """
    curves = np.asarray(ours, dtype=float)
    if curves.ndim < 2 or len(curves) < 2:
        raise ValueError(f"ours has the shape {curves.shape}: it must hold one curve a run, of two runs or more")
    value, again = float(statistic(curves.mean(0))), bootstrap(curves, statistic, seed=seed)
    if not (math.isfinite(value) and np.isfinite(again).all()):
        lost = f"{np.isfinite(again).mean():.0%} of the resampled means reach it"
        return Verdict(NOT_RESOLVED, f"{value:.{digits}f} ({len(curves)} runs)", (-math.inf, math.inf), lost)
    n, error = len(curves), float(again.std())
    what = f"{_shown(value, error, digits)} (mean curve of {n} runs)"
    return _number(
        value, error, error * math.sqrt(n), n, what, finite("paper", paper), positive("margin", margin), paper_runs,
        digits,
    )  # fmt: skip


def bootstrap(
    runs: Any, statistic: Callable[[np.ndarray], float], *, of_mean: bool = True, samples: int = 2000, seed: int = 0
) -> np.ndarray:
    """A statistic of runs ``[runs, ...]`` that are drawn again with replacement, once for each of ``samples``.

    It is given the mean over the runs, or, with ``of_mean=False``, the runs themselves.
    """
    values, generator = np.asarray(runs, dtype=float), np.random.default_rng(seed)
    picked = generator.integers(len(values), size=(samples, len(values)))
    return np.array([statistic(values[rows].mean(0) if of_mean else values[rows]) for rows in picked])


def _number(
    mean: float, error: float, single: float, n: int, what: str, paper: float, margin: float, paper_runs: float,
    digits: int,
) -> Verdict:  # fmt: skip
    near, far = (float(stats.t.ppf(1 - level / 2, n - 1)) for level in (LEVEL, DECIDING))
    distance, allowed = abs(paper - mean), margin + 0.5 * 10.0**-digits
    theirs, half = single / math.sqrt(paper_runs), near * error

    def scatter(runs: float) -> float:
        return math.sqrt(1 / paper_runs + 1 / runs)

    interval = (mean - half, mean + half)
    reach = allowed - half
    accepted = f"means from {paper - reach:.{digits + 1}f} to {paper + reach:.{digits + 1}f} would have been accepted"
    if distance + half <= allowed and theirs <= margin:
        return Verdict(REPRODUCED, what, interval, accepted)
    if distance > margin and distance > far * math.hypot(theirs, error):
        apart = f"{distance:.{digits + 1}f} from the paper's value, where {margin:g} would be the same"
        return Verdict(CONTRADICTED, what, interval, apart)
    whose = "a single run of the paper" if paper_runs == 1 else f"the paper's mean of {paper_runs:g} runs"
    if distance <= margin and theirs > margin:
        why = f"{whose} scatters by {theirs:.2g}, more than the margin of {margin:g}"
        return Verdict(NOT_RESOLVED, what, interval, why)
    settles = runs_to_settle(n, lambda k: _decides(distance, single, k, allowed, margin, paper_runs))
    if distance > margin and settles is None:
        why = f"{whose} scatters by {theirs:.2g}, which may explain the distance of {distance:.2g}"
        return Verdict(NOT_RESOLVED, what, interval, why)
    return Verdict(NOT_RESOLVED, what, interval, more(settles, "runs"), settles)


def _decides(distance: float, single: float, n: int, allowed: float, margin: float, paper_runs: float) -> bool:
    error = single / math.sqrt(n)
    if distance + stats.t.ppf(1 - LEVEL / 2, n - 1) * error <= allowed:
        return True
    return distance > max(margin, stats.t.ppf(1 - DECIDING / 2, n - 1) * math.hypot(single / paper_runs**0.5, error))


def _single(values: np.ndarray, paper: float, margin: float, spread: float, digits: int) -> Verdict:
    """One run of ours, where its cost allows no second; how single runs scatter is known from elsewhere."""
    mean = float(values.mean())
    distance, what = abs(paper - mean), f"{mean:.{digits}f} ({len(values)} run{'s' * (len(values) > 1)})"
    interval = (mean - 3 * spread, mean + 3 * spread)
    detail = f"single runs scatter by {spread:.2g} (standard deviation, from elsewhere)"
    if distance <= margin + 0.5 * 10.0**-digits and spread <= margin:
        return Verdict(REPRODUCED, what, interval, detail)
    if distance > margin + 3 * spread:
        return Verdict(CONTRADICTED, what, interval, detail)
    return Verdict(NOT_RESOLVED, what, interval, detail)


def _components(values: np.ndarray, draws: Any) -> tuple[float, float, float, int]:
    """Mean, its standard error, the standard deviation of a single run, and the number of independent values."""
    if draws is None:
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return float(values.mean()), deviation / math.sqrt(len(values)), deviation, len(values)
    means, within, runs = by_draw(values, draws)
    n, over = len(means), float(means.var(ddof=1)) if len(means) > 1 else 0.0
    between = max(0.0, over - within / runs)
    return float(means.mean()), math.sqrt(over / n), math.sqrt(between + within), n


def _shown(mean: float, error: float, digits: int) -> str:
    places = max(digits, min(1 - math.floor(math.log10(error)), 7)) if error > 0 else digits
    return f"{mean:.{places}f} ± {error:.{places}f}"
