"""A number of a paper against our runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    quantile,
    runs_to_settle,
)

__all__ = ["bootstrap", "curve", "number"]


@dataclass(frozen=True)
class _Found:
    """Our mean, its standard error, and the standard deviation of a single run, from n independent runs or draws."""

    mean: float
    error: float
    single: float
    n: int
    known: bool = False  # whether the standard deviation is known from elsewhere

    def within(self, level: float, n: int, besides: float = 0.0) -> float:
        """Half of the interval from n runs or draws that scatter as these do; ``besides`` is another error."""
        error = math.hypot(self.error * math.sqrt(self.n / n), besides)
        return quantile(level, math.inf if self.known else n - 1) * error


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
    spread : standard deviation of a single run, known from elsewhere, where one run of ours is all there can be.

    A single run of the paper that lies among our own runs is never excluded, whatever their standard deviation.

    Raises
    ------
    ValueError : values that are not finite numbers, a margin that is not above zero, fewer than one run of the paper.
    """
    values = per_run("ours", ours)
    found = _components(values, draws)
    if spread is not None:
        single = positive("spread", spread)
        found = _Found(found.mean, single / math.sqrt(found.n), single, found.n, known=True)
    many = f"{len(values)} run{'s' * (len(values) > 1)}"
    if draws is not None:
        many += f" of {found.n} draw{'s' * (found.n > 1)}"
    unit, alone = "runs" if draws is None else "draws", paper_runs == 1 and len(values) > 1
    reached = (float(values.min()), float(values.max())) if alone else None
    return _judge(found, many, paper, margin, paper_runs, digits, unit, reached)


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
    if np.isnan(curves).any():
        raise ValueError("ours holds values that are not numbers: decide how diverged runs count")
    value, again = float(statistic(curves.mean(0))), bootstrap(curves, statistic, seed=seed)
    n, many = len(curves), f"mean curve of {len(curves)} runs"
    if not (math.isfinite(value) and np.isfinite(again).all()):
        lost = f"{np.isfinite(again).mean():.0%} of the resampled means reach it"
        return Verdict(NOT_RESOLVED, f"{value:.{max(digits, 0)}f} ({many})", (-math.inf, math.inf), lost)
    single = float(again.std()) * n / math.sqrt(n - 1)  # a bootstrap's variance is (n-1)/n of what it should be
    return _judge(_Found(value, single / math.sqrt(n), single, n), many, paper, margin, paper_runs, digits)


def bootstrap(
    runs: Any, statistic: Callable[[np.ndarray], float], *, of_mean: bool = True, samples: int = 2000, seed: int = 0
) -> np.ndarray:
    """A statistic of runs ``[runs, ...]`` that are drawn again with replacement, once for each of ``samples``.

    It is given the mean over the runs, or, with ``of_mean=False``, the runs themselves.
    """
    values, generator = np.asarray(runs, dtype=float), np.random.default_rng(seed)
    picked = generator.integers(len(values), size=(samples, len(values)))
    return np.array([statistic(values[rows].mean(0) if of_mean else values[rows]) for rows in picked])


def _judge(
    found: _Found,
    many: str,
    paper: float,
    margin: float,
    paper_runs: float,
    digits: int,
    unit: str = "runs",
    reached: tuple[float, float] | None = None,
) -> Verdict:
    paper, margin = finite("paper", paper), positive("margin", margin)
    if not paper_runs >= 1:
        raise ValueError(f"paper_runs={paper_runs} is not allowed: it must be at least 1, or math.inf for a law")
    n, places = found.n, max(digits, 0)
    if n < 2 and not found.known:
        detail = f"one {unit[:-1]} of ours says nothing about how {unit} scatter"
        return Verdict(NOT_RESOLVED, f"{found.mean:.{places}f} ({many})", (-math.inf, math.inf), detail)
    distance, allowed = abs(paper - found.mean), margin + 0.5 * 10.0**-digits
    theirs = found.single / math.sqrt(paper_runs)
    # where one run in ten fails, the paper's single run may be one of those, however far away: no normal law says so
    ours = reached is not None and reached[0] - 0.5 * 10.0**-digits <= paper <= reached[1] + 0.5 * 10.0**-digits

    def supported(k: int) -> bool:
        return theirs <= margin and distance + found.within(LEVEL, k) <= allowed

    def apart(k: int) -> bool:
        return distance > margin and distance > found.within(DECIDING, k, besides=theirs)

    def excluded(k: int) -> bool:
        return apart(k) and not ours

    half = found.within(LEVEL, n)
    what, interval = f"{_shown(found.mean, half, places)} ({many})", (found.mean - half, found.mean + half)
    known = f"; single runs scatter by {found.single:.2g}, as is known from elsewhere" if found.known else ""
    if supported(n):
        reach = allowed - half
        detail = f"means from {paper - reach:.{places + 1}f} to {paper + reach:.{places + 1}f} would have been accepted"
        return Verdict(REPRODUCED, what, interval, detail + known)
    if excluded(n):
        detail = f"{distance:.{places + 1}f} from the paper's value, where {margin:g} would be the same"
        return Verdict(CONTRADICTED, what, interval, detail + known)
    settles = runs_to_settle(n, lambda k: supported(k) or excluded(k))
    whose = "a single run of the paper" if paper_runs == 1 else f"the paper's mean of {paper_runs:g} runs"
    if ours and apart(n):
        detail, settles = "single runs of ours lie as far from their mean as the paper's", None
    elif settles is None and theirs > margin and distance <= allowed:
        detail = f"{whose} scatters by {theirs:.2g}, more than the margin of {margin:g}"
    elif settles is None:
        detail = f"{whose} scatters by {theirs:.2g}, which may explain the distance of {distance:.2g}"
    else:
        detail = more(settles, unit)
    return Verdict(NOT_RESOLVED, what, interval, detail + known, settles)


def _components(values: np.ndarray, draws: Any) -> _Found:
    if draws is None:
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return _Found(float(values.mean()), deviation / math.sqrt(len(values)), deviation, len(values))
    groups = by_draw(values, draws)
    n, freedom = len(groups), len(values) - len(groups)
    means = np.array([group.mean() for group in groups])
    over = float(means.var(ddof=1)) if n > 1 else 0.0
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / freedom if freedom else 0.0
    between = max(0.0, over - within * sum(1 / len(group) for group in groups) / n)
    return _Found(float(means.mean()), math.sqrt(over / n), math.sqrt(between + within), n)


def _shown(mean: float, half: float, places: int) -> str:
    places = max(places, min(1 - math.floor(math.log10(half)), 7)) if half > 0 else places
    return f"{mean:.{places}f} ± {half:.{places}f}"
