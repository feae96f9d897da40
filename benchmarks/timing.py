"""How the benchmarks time: one after the other in turns, and medians, because machines are shared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Row", "Times", "interleaved", "ratio"]


@dataclass
class Row:
    """A line of the table. ``ratio`` says how it compares, ``against`` with what."""

    what: str
    unit: str
    value: float
    against: str = ""
    ratio: float | None = None


@dataclass
class Times:
    """Seconds per item, one entry a repeat."""

    each: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.each)


def interleaved(works: Sequence[Callable[[], object]], items: Sequence[int], repeats: int = 7) -> list[Times]:
    """Time each of the works once, then each once again, and so on: what disturbs the machine disturbs all of them."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, number, found in zip(works, items, times, strict=True):
            began = time.perf_counter()
            work()
            found.append((time.perf_counter() - began) / number)
    return [Times(found) for found in times]


def ratio(slow: Times, fast: Times) -> float:
    """How many times as fast: the median over the repeats of the ratio within a repeat."""
    return statistics.median(a / b for a, b in zip(slow.each, fast.each, strict=True))
