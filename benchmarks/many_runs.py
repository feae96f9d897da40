"""What a batch costs beside its runs, from 10 runs to 10,000: ``python -m benchmarks.many_runs``.

The runs are there, as notebooks without cells; processor time of the client is counted. With ``--record`` the table
goes to results/batches/.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import signed
from companion.runs import batch, identity, places, pool, shown

NUMBERS = (10, 100, 1000, 10_000)
RECORD = Path(__file__).parent.parent / "results" / "batches" / "many_runs.txt"
CHAPTER = "```{code-cell} ipython3\n:tags: [parameters]\n\nnumber = 0\n```\n"


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = function()
    return time.process_time() - began, found


def costs(root: Path, number: int) -> list[float]:
    """Seconds to load a batch, look at its runs, tabulate them, sweep up as many partial files, and hand all out."""
    path = root / "batches" / f"of_{number}.yaml"
    path.write_text(f"runs:\n  - {{chapter: nothing, cross: {{number: 1..{number}}}}}\n")
    load, runs = seconds(lambda: batch.load(path))
    runs[0].out.parent.mkdir(parents=True)
    for run in runs:
        note = {"metadata": {"thermolib": {"inputs": run.inputs()}}}
        run.out.write_text(json.dumps({"cells": [], **note}, indent=1, sort_keys=True))
        run.out.with_name(f"{run.name}~here.1{places.PARTIAL}").touch()
    status, states = seconds(lambda: [batch.state(run)[0] for run in runs])
    assert set(states) == {"done"}
    results, _ = seconds(lambda: shown.results(runs))
    sweep, _ = seconds(lambda: places.sweep(runs))
    hand_out, _ = seconds(lambda: list(pool.outcomes(abs, range(number), 1)))
    return [load, status, results, sweep, hand_out]


def main() -> None:
    identity.library()  # read once a process, .2 s
    lines = [f"{'runs':>6}  {'load':>7}  {'status':>7}  {'results':>7}  {'sweep':>7}  {'hand out':>8}   in seconds"]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("notebooks", "batches"):
            Path(folder, name).mkdir()
        Path(folder, "notebooks", "nothing.md").write_text(CHAPTER)
        for number in NUMBERS:
            load, status, results, sweep, hand_out = costs(Path(folder), number)
            lines.append(f"{number:6}  {load:7.3f}  {status:7.3f}  {results:7.3f}  {sweep:7.3f}  {hand_out:8.3f}")
    text = signed("\n".join(lines))
    print(text)
    if "--record" in sys.argv[1:]:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
