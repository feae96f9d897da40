"""Run all benchmarks and print one table; with ``--record``, write it to results/benchmarks/ too.

A benchmark is a module with a function ``run()`` that returns rows; add it to ``ALL``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import images, large_step, momentum_step, monte_carlo, papers_way, scaling, simmering
from benchmarks.timing import Row, signed
from thermolib.engine import compiled

ALL = (papers_way, scaling, large_step, momentum_step, images, monte_carlo, simmering)
RECORD = Path(__file__).parent.parent / "results" / "benchmarks" / "timings.txt"


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
    parser.add_argument("--record", action="store_true", help=f"write the table to {RECORD.parent.name}/ as well")
    record = parser.parse_args().record
    if not compiled.possible("cpu"):
        raise SystemExit("the benchmarks compare with compiled steps, and this machine cannot compile")
    rows: list[Row] = []
    for module in ALL:
        print(f"{module.__name__}: {module.__doc__.splitlines()[0]}", file=sys.stderr, flush=True)
        rows += module.run()
    text = signed(table(rows))
    print(text)
    if record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
