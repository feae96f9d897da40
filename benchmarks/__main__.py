"""Run benchmarks, all or those named, and print one table; with ``--record``, write it to results/benchmarks/ too.

A benchmark is a module with a function ``run()`` that returns rows; add it to ``ALL``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import images, large_step, monte_carlo, optimizer_step, papers_way, scaling, simmering
from benchmarks.timing import Row, signed
from thermolib.engine import compiled

ALL = (papers_way, scaling, large_step, optimizer_step, images, monte_carlo, simmering)
RECORDS = Path(__file__).parent.parent / "results" / "benchmarks"


def table(rows: list[Row]) -> str:
    """The rows as aligned text."""
    cells = [("", "time or rate", "cores", "ratio", "of")]
    for row in rows:
        compared = ("", "") if row.ratio is None else (f"{row.ratio:.2f}", row.against)
        cores = "" if row.cores is None else f"{row.cores:.1f}"
        cells.append((row.what, f"{row.value:.4g} {row.unit}", cores, *compared))
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    known = {module.__name__.rpartition(".")[2]: module for module in ALL}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; all if none is named")
    parser.add_argument("--record", action="store_true", help=f"write the table to {RECORDS.name}/ as well")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]!r}: there are {', '.join(known)}")
    if not compiled.possible("cpu"):
        raise SystemExit("the benchmarks compare with compiled steps, and this machine cannot compile")
    rows: list[Row] = []
    for module in [known[name] for name in given.names] or ALL:
        print(f"{module.__name__}: {module.__doc__.splitlines()[0]}", file=sys.stderr, flush=True)
        rows += module.run()
    text = signed(table(rows))
    print(text)
    if given.record:
        RECORDS.mkdir(parents=True, exist_ok=True)
        (RECORDS / f"{'_'.join(given.names) or 'timings'}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
