r"""Schedules: hyperparameters as functions of the step n, counted from 0.

Any function will do that takes the number of the step and returns a number that is not negative, or a tensor of one for
each replica, ``[R]``. These are the usual ones; their values may be such tensors, too. A schedule is asked outside of
what is compiled, so that another one compiles nothing anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from thermolib.ground import checks

__all__ = ["cosine", "cyclical", "exponential", "table"]

Schedule = Callable[[int], Any]


def cosine(start: Any, steps: float, end: Any = 0.0) -> Schedule:
    r"""From start to end along half a cosine, and constant from then on.

    .. math:: v_n = v_S + \tfrac12 (v_0 - v_S)\left(1 + \cos\frac{\pi n}{S}\right)

    ``start`` and ``end`` are :math:`v_0` and :math:`v_S`, in the units of the hyperparameter, ``steps`` is S. Raises
    ValueError for a negative start or end, and where S is not above zero.

    Source: Loshchilov and Hutter (2017), Eq. (5).
    """
    _check(steps, start=start, end=end)
    return lambda n: end + (start - end) * (1 + math.cos(math.pi * min(n / steps, 1.0))) / 2


def exponential(start: Any, steps: float, end: Any) -> Schedule:
    r"""From start to end by the same factor at each step, and constant from then on: :math:`v_n = v_0 (v_S/v_0)^{n/S}`.

    Arguments and refusals are those of :func:`cosine`; start and end are above zero.
    """
    _check(steps, start=start, end=end)
    checks.above("start", start)
    checks.above("end", end)
    return lambda n: start * (end / start) ** min(n / steps, 1.0)


def cyclical(start: Any, cycle: float, end: Any = 0.0) -> Schedule:
    r"""Cosines from start to end, one after the other: to look for a mode, and to sample it.

    .. math:: v_n = v_S + \tfrac12 (v_0 - v_S)\left(1 + \cos\frac{\pi\,(n \bmod C)}{C}\right)

    ``cycle`` is C, in steps; else as :func:`cosine`.

    Source: Zhang et al. (2020), Eq. (1).
    """
    _check(cycle, start=start, end=end)
    return lambda n: end + (start - end) * (1 + math.cos(math.pi * (n % cycle) / cycle)) / 2


def table(values: Any) -> Schedule:
    """The n-th of values ``[S]``, or for each replica ``[S, R]``; the last from then on.

    Raises ValueError for values that are negative, no numbers or none at all.
    """
    values = torch.as_tensor(values)
    if not values.numel() or values.ndim not in (1, 2):
        raise ValueError(f"values has shape {tuple(values.shape)}: it must be [steps] or [steps, replicas]")
    checks.at_least("values", values)
    return lambda n: values[min(n, len(values) - 1)]


def _check(steps: float, **values: Any) -> None:
    checks.above("steps", steps)
    for name, value in values.items():
        checks.at_least(name, value)
