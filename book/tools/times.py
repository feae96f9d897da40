"""What each figure of a batch cost, and its record: ``python -m book.tools.times batches/all-methods.yaml [--record]``.

For every figure of the runs that are done: its time, and the time that it would have taken the papers' way, one network
at a time, autograd, and a Python loop over the tensors. That way is timed on a slice, for each network and each size of
minibatch, now and here.

With ``--record`` the numbers that the chapters print go to ``results/NAME/`` with where they come from, where NAME is
the batch that has the run. What is there of other runs of the batch stays.
"""

import argparse
import datetime
import functools
import json
import re
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat

from book.tools import chapters
from companion.claims import former
from companion.evidence import costs
from companion.evidence.provenance import write_whole
from companion.runs import batch, execution, shown
from companion.runs.batch import Run
from companion.runs.chapters import parameters_of

#: Nodes of the three layers, points in a minibatch.
Kind = tuple[tuple[int, int, int], int]

RESULTS = chapters.ROOT / "results"
SLICE_SECONDS = 2.0
TOLERANCE = re.compile(r"record|(zscore|rtol|atol)=.*")


def spent(run: Run) -> list[costs.Cost]:
    """What an executed chapter cost, one row per figure, network and size of minibatch."""
    collected = costs.Costs()
    for output in shown.outputs(run.out):
        collected.entries += costs.read("".join(output.get("data", {}).get("text/html", "")))
    return collected.rows


@functools.cache
def slice_of_papers_way(sizes: tuple[int, int, int], batch: int) -> float:
    """Seconds that one step takes the papers' way, on one core."""
    from benchmarks.papers_way import loop

    return per_step(lambda steps: loop(steps, sizes, batch))


def per_step(work: Callable[[int], object], seconds: float = SLICE_SECONDS) -> float:
    """Seconds per step of ``work(steps)``: the best of three slices that take about as long as asked together."""
    work(50)  # the first calls load what later ones find
    began = time.perf_counter()
    work(200)
    steps = max(200, round(seconds / 3 / ((time.perf_counter() - began) / 200)))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work(steps)
        times.append((time.perf_counter() - began) / steps)
    return min(times)


def table(rows: list[costs.Cost], slices: dict[Kind, float]) -> str:
    """Time and ratio of every figure, as text."""
    lines = [("figure", "network", "batch", "replica-steps", "here [s]", "papers' way [s]", "ratio")]
    ours = theirs = 0.0
    for row in sorted(rows, key=_place):
        each = slices.get(_kind(row))
        estimate = row.replica_steps * each if each else None
        ours, theirs = ours + row.seconds, theirs + (estimate or 0.0)
        ratio = f"{estimate / row.seconds:.0f}" if estimate else "-"
        plain = f"{estimate:,.0f}" if estimate else "-"
        steps = f"{row.replica_steps:,}"
        lines.append((row.figure, row.network, str(row.batch), steps, f"{row.seconds:.1f}", plain, ratio))
    comparable = sum(row.seconds for row in rows if slices.get(_kind(row)))
    plain, ratio = (f"{theirs:,.0f}", f"{theirs / comparable:.0f}") if comparable else ("-", "-")
    lines.append(("all", "", "", f"{sum(r.replica_steps for r in rows):,}", f"{ours:.1f}", plain, ratio))
    widths = [max(len(line[i]) for line in lines) for i in range(7)]
    return "\n".join(
        "  ".join(t.ljust(w) if i < 2 else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _place(row: costs.Cost) -> tuple[bool, int, str]:
    """Figures by their number, then what has none."""
    number = re.match(r"Figs?\. (\d+)", row.figure)
    return (not number, int(number[1]) if number else 0, row.figure)


def _kind(row: costs.Cost) -> Kind | None:
    """The network and the size of a minibatch, where the papers' loop can be timed for it: one hidden layer, and more
    than one input. With one input there is a curve to be fitted by moves without a gradient."""
    sizes = tuple(int(size) for size in row.network.split("-")) if re.fullmatch(r"\d+-\d+-\d+", row.network) else ()
    return (sizes, row.batch) if len(sizes) == 3 and sizes[0] > 1 else None


def printed(run: Run) -> str:
    """The numbers and the claims that an executed chapter shows."""
    parts = []
    for cell in nbformat.read(run.out, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        numbers = any(TOLERANCE.fullmatch(tag) for tag in cell.metadata.get("tags", []))
        for output in cell.outputs:
            data = output.get("data", {})
            if former.read("".join(data.get("text/html", ""))) or (numbers and "text/plain" in data):
                if not any(mime.startswith("image/") for mime in data):
                    parts.append("".join(data["text/plain"]).rstrip())
            elif numbers and output.get("name") == "stdout":
                parts.append(output["text"].rstrip())
    return "\n\n".join(parts)


def measured(run: Run) -> dict[str, Any]:
    """When a run started, how many seconds it took, and what its figures cost."""
    made = batch.note(run.out)
    return {"started": made["started"], "seconds": made["seconds"], "figures": [asdict(row) for row in spent(run)]}


def record(runs: list[Run], folder: Path, names: list[str]) -> None:
    """Write what the runs print and what they cost to ``folder``, with their provenance.

    What is recorded there of other runs is kept if it is among ``names``, those of the batch.
    """
    for run in runs:
        made = batch.note(run.out)
        head = {
            "chapter": run.chapter.stem,
            "parameters": "; ".join(f"{k} = {v}" for k, v in run.parameters.items()) or "as in the chapter",
            "seed": run.parameters.get("seed", parameters_of(run.chapter).get("seed", "none")),
            **{name: made[name] for name in ("commit", "started", "machine", "GPU", "versions")},
            "wall time": f"{made['seconds']:.0f} s, threads: {made['threads']}",
            "memory": f"{made['peak memory in GiB']} GiB at most",
        }
        there = folder / run.name / "at_paper_scale.txt"
        there.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(name, str(value)) for name, value in head.items()]
        write_whole(there, "\n".join(lines) + "\n\n" + printed(run) + "\n")
    claimed = {run.name: [row for one in shown.claimed(run.out) for row in one["claims"]] for run in runs}
    found = {name: [{k: row[k] for k in ("id", "ours", "verdict")} for row in rows] for name, rows in claimed.items()}
    for file, new in (("claims.json", found), ("times.json", {run.name: measured(run) for run in runs})):
        old = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        kept = {name: (old | new)[name] for name in names if name in old | new}
        write_whole(folder / file, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "times.txt", summary(json.loads((folder / "times.json").read_text())) + "\n")


def _line(name: str, value: str) -> str:
    return textwrap.fill(f"{name:<11}{value}", 110, subsequent_indent=" " * 11)


def wall(runs: dict[str, dict[str, Any]]) -> float:
    """Seconds from the start of the first run to the end of the last."""
    starts = [datetime.datetime.strptime(run["started"], "%Y-%m-%d %H:%M:%S UTC").timestamp() for run in runs.values()]
    ends = [start + run["seconds"] for start, run in zip(starts, runs.values(), strict=True)]
    return max(ends) - min(starts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m book.tools.times", description=__doc__.splitlines()[0])
    parser.add_argument("batch", help="its file, as in batches/all-methods.yaml")
    parser.add_argument("--record", action="store_true", help="write the numbers to results/NAME")
    args = parser.parse_args()
    all_runs = [run for run in batch.load(args.batch) if not run.experiment]  # a record has its own seconds
    runs = [run for run in all_runs if batch.state(run)[0] == "done"]
    if left := [run.name for run in all_runs if run not in runs]:
        print(f"not done, and left out here: {', '.join(left)}")
    if not runs:
        raise SystemExit(f"no run of {args.batch} is done; first: companion run {args.batch}")
    for folder in dict.fromkeys(run.out.parent for run in runs):
        part = [run for run in runs if run.out.parent == folder]
        print(f"\n{summary({run.name: measured(run) for run in part})}")
        if args.record:
            record(part, RESULTS / folder.name, [run.name for run in all_runs if run.out.parent == folder])
            print(f"recorded in {(RESULTS / folder.name).relative_to(chapters.ROOT)}")


def summary(runs: dict[str, dict[str, Any]]) -> str:
    """What the figures of these runs cost, and the runs; each is as :func:`measured` gives it."""
    rows = [costs.Cost(**row) for run in runs.values() for row in run["figures"]]
    slices = {kind: slice_of_papers_way(*kind) for kind in sorted({_kind(row) for row in rows} - {None})}
    each = ", ".join(
        f"{1e6 * s:.0f} µs ({'-'.join(map(str, sizes))}, batch {size})" for (sizes, size), s in slices.items()
    )
    took = ", ".join(f"{name} {run['seconds']:.0f}" for name, run in runs.items())
    total, whole = sum(run["seconds"] for run in runs.values()), wall(runs)
    span = f"{whole:.0f} s from the first start to the last end" if whole < 1.2 * total else "in several sittings"
    here = execution.provenance(chapters.ROOT)
    return "\n".join(
        [
            *([table(rows, slices), "", "here: on one core, compilation and observations included."] if rows else []),
            *([f"papers' way: replica-steps times the time of a step, measured on one core: {each}."] if each else []),
            textwrap.fill(f"The chapters took {total:.0f} s of one core ({took}), {span}.", 110),
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; "
            + "; ".join(f"{name} {here[name]}" for name in ("commit", "machine", "versions")),
        ]
    )


if __name__ == "__main__":
    main()
