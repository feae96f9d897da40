"""What each figure of a batch cost, and its record: ``python -m book.tools.times batches/paper-1.yaml [--record]``.

For every figure of the runs that are done: its time, and the time that it would have taken the papers' way, one network
at a time, autograd, and a Python loop over the tensors. That way is timed on a slice, for each network and each size of
minibatch, now and here.

With ``--record`` the numbers that the chapters print go to ``results/NAME/`` with where they come from, where NAME is
the batch that has the run.
"""

import argparse
import datetime
import json
import re
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import nbformat

from book.tools import chapters
from thermolib import batch, claims, costs
from thermolib.batch import Run

RESULTS = chapters.ROOT / "results"
SLICE_SECONDS = 2.0
TOLERANCE = re.compile(r"record|(zscore|rtol|atol)=.*")


def spent(run: Run) -> list[costs.Cost]:
    """What an executed chapter cost, one row per figure, network and size of minibatch."""
    collected = costs.Costs()
    for output in batch.outputs(run.out):
        collected.entries += costs.read("".join(output.get("data", {}).get("text/html", "")))
    return collected.rows


def slice_of_papers_way(hidden: int, batch: int) -> float:
    """Seconds that one step takes the papers' way, on one core."""
    from benchmarks.papers_way import loop

    return per_step(lambda steps: loop(steps, hidden=hidden, batch=batch))


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


def table(rows: list[costs.Cost], slices: dict[tuple[int, int], float]) -> str:
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


def _kind(row: costs.Cost) -> tuple[int, int] | None:
    """Hidden nodes and size of minibatch, where the papers' loop can be timed for it: two inputs, one output."""
    network = re.fullmatch(r"2-(\d+)-1", row.network)
    return (int(network[1]), row.batch) if network else None


def printed(run: Run) -> str:
    """The numbers and the claims that an executed chapter shows."""
    parts = []
    for cell in nbformat.read(run.out, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        numbers = any(TOLERANCE.fullmatch(tag) for tag in cell.metadata.get("tags", []))
        for output in cell.outputs:
            data = output.get("data", {})
            if claims.read("".join(data.get("text/html", ""))) or (numbers and "text/plain" in data):
                if not any(mime.startswith("image/") for mime in data):
                    parts.append("".join(data["text/plain"]).rstrip())
            elif numbers and output.get("name") == "stdout":
                parts.append(output["text"].rstrip())
    return "\n\n".join(parts)


def record(runs: list[Run], summary: str, folder: Path) -> None:
    """Write what the runs print, and the summary, to ``folder`` with their provenance."""
    for run in runs:
        made = batch.note(run.out)
        head = {
            "chapter": run.chapter.stem,
            "parameters": "; ".join(f"{k} = {v}" for k, v in run.parameters.items()) or "as in the chapter",
            "seed": run.parameters.get("seed", batch.parameters_of(batch.read(run.chapter)).get("seed", "none")),
            **{name: made[name] for name in ("commit", "started", "machine", "GPU", "versions")},
            "wall time": f"{made['seconds']:.0f} s, threads: {made['threads']}",
            "memory": f"{made['peak memory in GiB']} GiB at most",
        }
        there = folder / run.name / "at_paper_scale.txt"
        there.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(name, str(value)) for name, value in head.items()]
        there.write_text("\n".join(lines) + "\n\n" + printed(run) + "\n")
    (folder / "times.txt").write_text(summary + "\n")
    found = {run.name: [row for shown in batch.claimed(run.out) for row in shown["claims"]] for run in runs}
    kept = {name: [{k: row[k] for k in ("id", "ours", "verdict")} for row in rows] for name, rows in found.items()}
    (folder / "claims.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    rows = [asdict(row) for run in runs for row in spent(run)]
    (folder / "times.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _line(name: str, value: str) -> str:
    return textwrap.fill(f"{name:<11}{value}", 110, subsequent_indent=" " * 11)


def wall(runs: list[Run]) -> float:
    """Seconds from the start of the first run to the end of the last."""
    notes = [batch.note(run.out) for run in runs]
    starts = [datetime.datetime.strptime(made["started"], "%Y-%m-%d %H:%M:%S UTC").timestamp() for made in notes]
    return max(start + made["seconds"] for start, made in zip(starts, notes, strict=True)) - min(starts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m book.tools.times", description=__doc__.splitlines()[0])
    parser.add_argument("batch", help="its file, as in batches/paper-1.yaml")
    parser.add_argument("--record", action="store_true", help="write the numbers to results/NAME")
    args = parser.parse_args()
    runs = batch.load(args.batch)
    if left := [run.name for run in runs if batch.state(run)[0] != "done"]:
        print(f"not done, and left out here: {', '.join(left)}")
        runs = [run for run in runs if run.name not in left]
    if not runs:
        raise SystemExit(f"no run of {args.batch} is done; first: thermolib run {args.batch}")
    kinds = {kind for run in runs for row in spent(run) if (kind := _kind(row))}
    slices = {kind: slice_of_papers_way(*kind) for kind in sorted(kinds)}
    for folder in dict.fromkeys(run.out.parent for run in runs):
        part = [run for run in runs if run.out.parent == folder]
        text = summary(part, slices)
        print(f"\n{text}")
        if args.record:
            record(part, text, RESULTS / folder.name)
            print(f"recorded in {(RESULTS / folder.name).relative_to(chapters.ROOT)}")


def summary(runs: list[Run], slices: dict[tuple[int, int], float]) -> str:
    """The table of times of these runs, and what it means."""
    rows = [row for run in runs for row in spent(run)]
    kinds = {_kind(row) for row in rows}
    slices = {kind: seconds for kind, seconds in slices.items() if kind in kinds}
    each = ", ".join(f"{1e6 * s:.0f} µs (2-{hidden}-1, batch {size})" for (hidden, size), s in slices.items())
    alone = sum(batch.note(run.out)["seconds"] for run in runs)
    here = batch.provenance(chapters.ROOT)
    return "\n".join(
        [
            table(rows, slices),
            "",
            "here: on one core, compilation and observations included.",
            f"papers' way: replica-steps times the time of a step, measured on one core: {each or 'none measured'}.",
            f"The chapters took {alone:.0f} s of one core, {wall(runs):.0f} s from the first start to the last end.",
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; "
            + "; ".join(f"{name} {here[name]}" for name in ("commit", "machine", "versions")),
        ]
    )


if __name__ == "__main__":
    main()
