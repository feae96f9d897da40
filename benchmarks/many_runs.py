"""What a batch costs beside its runs, from 10 runs to 10,000: ``python -m benchmarks.many_runs``.

The runs are there, as notebooks without cells; processor time of the client is counted. With ``--record`` the table
goes to results/batches/, and its figure beside it; ``--draw`` draws the table that is there.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.timing import signed
from companion.runs import batch, identity, places, pool, shown

NUMBERS = (10, 100, 1000, 10_000)
RECORD = Path(__file__).parent.parent / "results" / "batches" / "many_runs.txt"
FIGURE = RECORD.with_suffix(".svg")
LIMIT = 5.0  # seconds, that ten thousand runs may cost
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


def table(text: str) -> pd.DataFrame:
    """What was recorded: runs, what is done with them, and the seconds of it."""
    rows = text.partition("\n\n")[0].replace("hand out", "hand_out").replace("in seconds", "")
    wide = pd.read_csv(io.StringIO(rows), sep=r"\s+")
    return wide.melt("runs", var_name="what", value_name="seconds").replace("hand_out", "hand out")


def mark(text: str) -> str:
    """Stands in the figure of a record, and says of which it is."""
    return f"of the record {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def draw(text: str, path: Path) -> None:
    import matplotlib.pyplot as plt
    import seaborn as sns

    from companion import plots

    plots.style()
    frame = table(text)
    fig, ax = plt.subplots(figsize=(6.0, 3.4))
    how = {"hue": "what", "style": "what", "markers": True, "dashes": False, "errorbar": None}
    sns.lineplot(frame, x="runs", y="seconds", ax=ax, **how)
    ax.axhline(LIMIT, color="grey", linestyle="--", linewidth=1)
    ax.text(10, 0.85 * LIMIT, f"the most that is allowed: {LIMIT:g} s", va="top", color="grey")
    ax.set(xscale="log", yscale="log", xlabel="runs of the batch", ylabel="seconds of the client", ylim=(5e-4, 10))
    sns.move_legend(ax, "upper left", bbox_to_anchor=(1.02, 1), title=None)
    fig.savefig(path, bbox_inches="tight", metadata={"Date": None, "Description": mark(text)})
    plt.close(fig)


def main() -> None:
    if "--draw" in sys.argv[1:]:
        draw(RECORD.read_text(encoding="utf-8"), FIGURE)
        return
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
        draw(text + "\n", FIGURE)


if __name__ == "__main__":
    main()
