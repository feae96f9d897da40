"""Execute a batch of chapters and say what each figure cost: ``python -m book.tools.batch paper-1 [--record]``.

A batch is ``batches/NAME.yaml``: chapters with parameters. Each entry is executed into ``runs/NAME/``, one process to a
core, and skipped where it lies there already and neither the chapter nor its parameters nor the library have changed
since. At the end stands a table: for every figure its time, and the time that it would have taken the papers' way, one
network at a time, autograd, and a Python loop over the tensors. That way is timed on a slice, for each network and each
size of minibatch, when the chapters are done.

With ``--record`` the numbers that the chapters print go to ``results/NAME/`` with where they come from.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import yaml
from papermill.exceptions import PapermillExecutionError

from book.tools import chapters, rerun
from thermolib import claims, costs

BATCHES = chapters.ROOT / "batches"
RESULTS = chapters.ROOT / "results"
SLICE_SECONDS = 2.0
VERSIONS = ("torch", "numpy", "pandas", "scipy")
TOLERANCE = re.compile(r"record|(zscore|rtol|atol)=.*")


@dataclass(frozen=True)
class Entry:
    """One chapter with parameters, and where its run lies."""

    batch: str
    chapter: str
    parameters: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def md(self) -> Path:
        return chapters.NOTEBOOKS / f"{self.chapter}.md"

    @property
    def out(self) -> Path:
        return rerun.RUNS / self.batch / f"{self.name or self.chapter}.ipynb"

    @property
    def note(self) -> Path:
        """Lies beside a run that is complete: what it was made from, and how long it took."""
        return self.out.with_suffix(".json")

    def digest(self) -> str:
        """Changes when anything changes that the run depends on."""
        total = hashlib.sha256(self.md.read_bytes() + json.dumps(self.parameters, sort_keys=True).encode())
        for path in sorted((chapters.ROOT / "thermolib").rglob("*.py")):
            total.update(path.read_bytes())
        return total.hexdigest()

    def done(self) -> bool:
        return (
            self.out.is_file() and self.note.is_file() and json.loads(self.note.read_text())["digest"] == self.digest()
        )


def read(name: str, folder: Path = BATCHES) -> list[Entry]:
    """The entries of a batch; SystemExit where one cannot be run."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise SystemExit(f"there is no batch {name!r}; there are: {there}")
    found = []
    for item in yaml.safe_load(path.read_text())["runs"]:
        if unknown := set(item) - {"chapter", "parameters", "name"}:
            raise SystemExit(
                f"{path.name}: {item.get('chapter', 'an entry')} says {min(unknown)!r}, which is not known"
            )
        entry = Entry(name, item["chapter"], item.get("parameters") or {}, item.get("name", ""))
        chapters.find([entry.chapter])
        known = rerun.parameters_of(chapters.read(entry.md))
        if missing := [key for key in entry.parameters if key not in known]:
            raise SystemExit(
                f"{path.name}: {entry.md.name} has no parameter {missing[0]!r}; it has: {', '.join(known)}"
            )
        found.append(entry)
    outs = [entry.out for entry in found]
    if twice := {out.stem for out in outs if outs.count(out) > 1}:
        raise SystemExit(f"{path.name}: two entries are called {min(twice)!r}; give each a name of its own")
    return found


def execute(entry: Entry, position: int) -> str:
    """Execute one entry; returns what went wrong, or nothing."""
    began, digest = time.time(), entry.digest()
    bar = {"desc": entry.out.stem, "position": position, "leave": False, "disable": None}
    try:
        rerun.run(entry.md, entry.out, entry.parameters, progress=bar)
    except PapermillExecutionError as error:
        return str(error).strip()
    note = {
        "digest": digest,
        "seconds": time.time() - began,
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "commit": commit(),
    }
    entry.note.write_text(json.dumps(note, indent=1))
    return ""


def execute_all(entries: list[Entry], cores: int) -> float:
    """Execute what is not done yet; returns the seconds that this took."""
    left = [entry for entry in entries if not entry.done()]
    for entry in entries:
        if entry not in left:
            print(f"{entry.out.stem}: is there, unchanged", flush=True)
    began, failed = time.perf_counter(), 0
    with ProcessPoolExecutor(cores) as pool:
        jobs = {pool.submit(execute, entry, i % cores): entry for i, entry in enumerate(left)}
        for number, job in enumerate(as_completed(jobs), 1):
            entry, error = jobs[job], job.result()
            if error:
                failed += 1
                print(f"\n{entry.out.stem} failed:\n{error}\n", file=sys.stderr, flush=True)
            else:
                seconds = json.loads(entry.note.read_text())["seconds"]
                print(f"[{number}/{len(left)}] {entry.out.stem}: {seconds:.0f} s", flush=True)
    if failed:
        raise SystemExit(f"{failed} of {len(left)} chapters failed; the others are kept")
    return time.perf_counter() - began


def spent(entry: Entry) -> list[costs.Cost]:
    """What the runs of an executed entry cost, one row per figure, network and size of minibatch."""
    collected = costs.Costs()
    for output in _outputs(entry):
        collected.entries += costs.read("".join(output.get("data", {}).get("text/html", "")))
    return collected.rows


def slice_of_papers_way(hidden: int, batch: int) -> float:
    """Seconds that one step takes the papers' way, on one core."""
    import torch

    import thermolib as tl
    from benchmarks.papers_way import loop

    data = tl.datasets.spirals(turns=4, train=max(1000, 2 * batch)).train
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return per_step(lambda steps: loop(data, steps, hidden=hidden, batch=batch))
    finally:
        torch.set_num_threads(before)


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
    ratio = f"{theirs / comparable:.0f}" if comparable else "-"
    lines.append(("all", "", "", f"{sum(r.replica_steps for r in rows):,}", f"{ours:.1f}", f"{theirs:,.0f}", ratio))
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


def printed(entry: Entry) -> str:
    """The numbers and the claims that an executed entry shows."""
    parts = []
    for cell in nbformat.read(entry.out, as_version=4).cells:
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


def _outputs(entry: Entry) -> list[Any]:
    notebook = nbformat.read(entry.out, as_version=4)
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def commit() -> str:
    """The commit of what ran, and whether anything differed from it."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=chapters.ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return name + (" with changes" if git("status", "--porcelain", "--", "thermolib", "notebooks/*.md") else "")


def machine() -> str:
    """The processor that this runs on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    return f"{os.cpu_count()} cores, {names[0] if names else platform.processor() or platform.machine()}"


def versions() -> str:
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in VERSIONS)])


def record(entries: list[Entry], summary: str, folder: Path) -> None:
    """Write what the entries print, and the summary, to ``folder`` with their provenance."""
    for entry in entries:
        note = json.loads(entry.note.read_text())
        head = {
            "chapter": entry.chapter,
            "parameters": "; ".join(f"{k} = {v}" for k, v in entry.parameters.items()) or "as in the chapter",
            "seed": entry.parameters.get("seed", rerun.parameters_of(chapters.read(entry.md)).get("seed", "none")),
            "commit": note["commit"],
            "date": note["date"],
            "machine": machine(),
            "versions": versions(),
            "wall time": f"{note['seconds']:.0f} s on one core",
        }
        there = folder / (entry.name or entry.chapter) / "at_paper_scale.txt"
        there.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(name, str(value)) for name, value in head.items()]
        there.write_text("\n".join(lines) + "\n\n" + printed(entry) + "\n")
    (folder / "times.txt").write_text(summary + "\n")
    rows = [asdict(row) for entry in entries for row in spent(entry)]
    (folder / "times.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _line(name: str, value: str) -> str:
    return textwrap.fill(f"{name:<11}{value}", 110, subsequent_indent=" " * 11)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m book.tools.batch", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the batch, as in paper-1")
    parser.add_argument("--record", action="store_true", help="write the numbers to results/NAME")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="these runs of the batch, and no others")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="chapters side by side, one to a core")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # for the kernels: the chapters already share the cores
    entries = read(args.name)
    if args.only:
        if unknown := set(args.only) - {e.out.stem for e in entries}:
            raise SystemExit(
                f"{args.name} has no run {min(unknown)!r}; it has: {', '.join(e.out.stem for e in entries)}"
            )
        entries = [e for e in entries if e.out.stem in args.only]
    wall = execute_all(entries, max(1, args.cores))
    rows = [row for entry in entries for row in spent(entry)]
    kinds = sorted({kind for row in rows if (kind := _kind(row))})
    slices = {kind: slice_of_papers_way(*kind) for kind in kinds}
    each = ", ".join(f"{1e6 * s:.0f} µs (2-{hidden}-1, batch {batch})" for (hidden, batch), s in slices.items())
    alone = sum(json.loads(entry.note.read_text())["seconds"] for entry in entries)
    summary = "\n".join(
        [
            table(rows, slices),
            "",
            "here: on one core, compilation and observations included.",
            f"papers' way: replica-steps times the time of a step, measured on one core: {each or 'none measured'}.",
            f"The chapters took {alone:.0f} s of one core, and this call {wall:.0f} s on {args.cores}, what was done "
            "before left out.",
            f"commit {commit()}; {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {machine()}; {versions()}",
        ]
    )
    print(f"\n{summary}")
    if args.record:
        folder = RESULTS / args.name
        record(entries, summary, folder)
        print(f"recorded in {folder.relative_to(chapters.ROOT)}")


if __name__ == "__main__":
    main()
