r"""The rules by which a statement of a paper is judged, on numbers alone.

A statement is *reproduced* where the evidence supports it, *contradicted* where it excludes it, and *not resolved*
where it can do neither. Intervals are two-sided t intervals; "reproduced" is tested first.

============  ======================================================================================================
``number``    With :math:`d` the distance of our mean from the paper's value, :math:`s` the standard deviation of a
              single run, :math:`n` and :math:`n_p` the runs of ours and of the paper:
              reproduced if :math:`d + t_{.95}\,s/\sqrt n \le` margin + half a unit of the paper's last digit and
              :math:`s/\sqrt{n_p} \le` margin; contradicted if :math:`d >` margin and
              :math:`d > t_{.997}\,s\sqrt{1/n_p + 1/n}`. Where :math:`s` is known from elsewhere, :math:`t` is that of
              infinitely many degrees of freedom, and one run may decide.
``order``     One mean above another: Welch's t, or the paired t, at the two-sided level .003; ranks where runs diverge
              or do not scatter.
``share``     Successes among trials against a share: the exact binomial interval at the same level.
``similar``   Two means within a margin of each other (two one-sided tests): reproduced if the interval of their
              difference lies inside the margin, contradicted if it lies outside at the level .003.
``exact``     Mathematics: our value within a tolerance of the paper's.
``holds``     What has no noise and is true or false.
============  ======================================================================================================

The level .003 is that of a paper with some 150 orders and shares: fewer than one of them is decided wrongly by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

__all__ = ["CONTRADICTED", "NOT_RESOLVED", "NOT_RUN", "REPRODUCED", "Verdict", "by_draw", "exact", "finite", "holds"]
__all__ += ["more", "per_run", "positive", "quantile", "runs_to_settle"]

REPRODUCED, CONTRADICTED, NOT_RESOLVED = "reproduced", "contradicted", "not resolved"
NOT_RUN = "not run at the paper's scale"
LEVEL, DECIDING = 0.05, 0.003


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of a statement.

    Attributes
    ----------
    verdict : ``reproduced``, ``contradicted`` or ``not resolved``.
    ours : our value in words, ``mean ± half of its 95 % interval``, with the number of runs.
    interval : the interval that decided: of our mean (``number``), of the difference (``order``, ``similar``: the
        second mean taken from the first) or of the share.
    detail : why, in one sentence: the interval that would have been accepted, the size of an effect.
    settles : how many runs would settle what is not resolved, if more runs can; else None.
    """

    verdict: str
    ours: str
    interval: tuple[float, float]
    detail: str
    settles: int | None = None


def exact(ours: float, *, paper: float, tolerance: float) -> Verdict:
    """A value that has no noise against the paper's: reproduced within the tolerance, else contradicted."""
    value, paper, tolerance = finite("ours", ours), finite("paper", paper), positive("tolerance", tolerance)
    found = REPRODUCED if abs(value - paper) <= tolerance else CONTRADICTED
    detail = f"{abs(value - paper):.2g} apart, where {tolerance:.2g} is allowed"
    return Verdict(found, f"{value:.6g}", (value, value), detail)


def holds(value: Any, detail: str = "") -> Verdict:
    """A statement without noise that is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"value={value!r} is not allowed: it must be True or False")
    found = REPRODUCED if value else CONTRADICTED
    return Verdict(found, "yes" if value else "no", (float(value), float(value)), detail)


def by_draw(values: np.ndarray, draws: Any) -> list[np.ndarray]:
    """The runs of each draw."""
    labels = np.asarray(draws)
    if labels.shape != values.shape:
        raise ValueError(f"draws has the shape {labels.shape}: it must say one draw for each of {len(values)} runs")
    return [values[labels == label] for label in np.unique(labels)]


def quantile(level: float, freedom: float) -> float:
    """How many standard errors the two-sided interval reaches to either side; infinite freedom is the normal law."""
    return float(special.stdtrit(freedom, 1 - level / 2))


def runs_to_settle(n: int, decides: Callable[[int], Any]) -> int | None:
    """The smallest number above n that would decide if runs scatter as these do; None beyond a million."""
    if not decides(1_000_000):
        return None
    low, high = n + 1, 1_000_000
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return high


def more(settles: int | None, what: str) -> str:
    return f"about {settles:,} {what} would settle it" if settles else "more runs are not likely to settle it"


def per_run(name: str, given: Any, infinite: bool = False) -> np.ndarray:
    """One value a run as an array; takes lists, arrays, series and tensors."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    try:
        values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError):
        raise ValueError(f"{name}={given!r:.60} are not numbers, one a run") from None
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} has the shape {values.shape}: it must hold one number a run")
    bad = np.isnan(values) if infinite else ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{name} holds {int(bad.sum())} value(s) that are not finite: decide how diverged runs count")
    return values


def finite(name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} is not a number") from None
    if not math.isfinite(found):
        raise ValueError(f"{name}={value!r} is not allowed: it must be a finite number")
    return found


def positive(name: str, value: Any) -> float:
    found = finite(name, value)
    if found <= 0:
        raise ValueError(f"{name}={value!r} is not allowed: it must be above zero")
    return found
