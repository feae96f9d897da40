"""How the benchmarks time: one after the other in turns, and medians, because machines are shared."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from companion.evidence.provenance import provenance

__all__ = ["Row", "Times", "interleaved", "ratio", "signed"]


@dataclass
class Row:
    """A line of the table: ``ratio`` says how it compares, ``against`` with what, ``cores`` how many it kept busy."""

    what: str
    unit: str
    value: float
    against: str = ""
    ratio: float | None = None
    cores: float | None = None


@dataclass
class Times:
    """Seconds per item, one entry a repeat."""

    each: list[float] = field(default_factory=list)
    cores_each: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    @property
    def cores(self) -> float:
        """Processor time over time, worker processes included: below what it could use, the machine was shared."""
        return statistics.median(self.cores_each)


def interleaved(
    works: Sequence[Callable[[], object]],
    items: Sequence[int],
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Times]:
    """Time each of the works once, then each once again, and so on: what disturbs the machine disturbs all of them."""
    times = [Times() for _ in works]
    for _ in range(repeats):
        for work, number, found in zip(works, items, times, strict=True):
            began, busy = clock(), sum(os.times()[:4])
            work()
            seconds = clock() - began
            found.each.append(seconds / number)
            found.cores_each.append((sum(os.times()[:4]) - busy) / seconds)
    return times


def ratio(slow: Times, fast: Times) -> float:
    """How many times as fast: the median over the repeats of the ratio within a repeat."""
    return statistics.median(a / b for a, b in zip(slow.each, fast.each, strict=True))


def signed(text: str) -> str:
    """A record, and below it where it comes from."""
    return "\n".join([text, "", *(f"{name:<11}{value}" for name, value in provenance("numpy").items())])
