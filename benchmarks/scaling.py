"""The cost of a replica-step from few replicas to many: the same number of replica-steps each time."""

from __future__ import annotations

from functools import partial

from benchmarks.papers_way import WHAT, ensemble
from benchmarks.timing import Row, interleaved, ratio

REPLICAS = (64, 256, 1024, 4096)
WORK = 1_024_000  # replica-steps


def run() -> list[Row]:
    for replicas in REPLICAS:
        ensemble(replicas, 10)
    works = [partial(ensemble, replicas, WORK // replicas) for replicas in REPLICAS]
    times = interleaved(works, [WORK] * len(works), repeats=3)
    return [
        Row(
            f"{WHAT}: {n} replicas",
            "us per replica-step",
            found.median * 1e6,
            "this / 64",
            ratio(found, times[0]),
            found.cores,
        )
        for n, found in zip(REPLICAS, times, strict=True)
    ]
