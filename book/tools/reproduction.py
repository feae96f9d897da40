"""A Sphinx directive, ``{reproduction}``: what was executed again, where, when, how it was compared, and what came out.

The first table has a row for each record in ``results/``: where it comes from, and what every test recomputes of it.
The second has a row for each chapter, from ``results/compared.json``, which ``make test RECORD=1`` writes.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools import compare, scoreboard
from companion.evidence.experiment import Experiment, of_chapter
from companion.evidence.records import Record, all_records

#: Columns that parameters belong to which are not called after them.
COLUMNS = {"moves": "step", "looks": "step"}
#: Columns that count from zero, so that n of them end with n - 1.
COUNTED = {"run", "replica", "split", "draw"}
#: Tags of cells that are executed again, and whose outputs are not compared.
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip", "raises-exception"}


def compared(ipynb: Path) -> tuple[int, int, str]:
    """How many cells of a chapter are compared to the letter, how many within a tolerance, and within which."""
    found: list[compare.Tolerance] = []
    for cell in nbformat.read(ipynb, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or NOT_COMPARED & set(tags):
            continue
        if compare.texts(cell.outputs, keep_stderr=False):
            found.append(compare.tolerance(tags))
    within = [tolerance for tolerance in found if not tolerance.exact]
    said = [
        _range("{} standard errors", [t.zscore for t in within]),
        _range("relative {}", [t.rtol for t in within]),
        _range("absolute {}", [t.atol for t in within]),
    ]
    return len(found) - len(within), len(within), "; ".join(filter(None, said))


def _range(words: str, values: list[float | None]) -> str:
    """From the smallest to the largest of the values that there are."""
    there = sorted({value for value in values if value})
    return words.format(" to ".join(f"{value:g}" for value in dict.fromkeys((there[0], there[-1])))) if there else ""


def recorded_by(source: Path) -> Iterator[tuple[Record, Experiment]]:
    """Each record, and the experiment that made it."""
    for stem, group in itertools.groupby(all_records(source), lambda record: record.name.partition("/")[0]):
        experiments = {one.name: one for one, _ in of_chapter(source / "notebooks" / f"{stem}.ipynb").values()}
        for record in group:
            if record.name not in experiments:
                raise ValueError(f"results/{record.name} is the record of no experiment in notebooks/{stem}")
            yield record, experiments[record.name]


def line(record: Record, one: Experiment, near: int, far: int) -> list[str]:
    """Experiment, rows, size, parameters, date, commit, machine, cost and slice of a record, as texts."""
    about = record.provenance()
    seconds, loop = about["processor seconds"], about["reference loop in seconds"]
    return [
        record.name,
        f"{about['rows']:,}",
        f"{record.table.stat().st_size / 1024:,.0f} kB",
        _said(about["parameters"]),
        about["date"],
        about["commit"],
        f"{about['machine']}; {about['device']}, {about['precision']}, threads: {about['threads']}",
        f"{seconds:,.0f} s, {seconds / loop:,.0f} loops",
        f"{_said(one.check)}: {near / about['rows']:.0%}"
        + f", one audit of four {far / about['rows']:.0%}" * (far > near),
    ]


def within_reach(record: Record, one: Experiment) -> tuple[int, int]:
    """How many rows of a record an audit chooses from, and how many where it goes on to the end.

    A parameter of the slice belongs to the column of its name, without the s: numbers say how far the slice goes, texts
    which values it has, unless an audit picks others.
    """
    frame = record.frame()
    near = far = pd.Series(True, frame.index)
    for name in one.check.keys() - set(one.pick):
        given, words = np.atleast_1d(one.check[name]), name.split("_")
        text, number = given.dtype.kind == "U", np.isscalar(one.check[name])
        for column in frame.columns.intersection([COLUMNS.get(word, word.removesuffix("s")) for word in words]):
            values = frame[column]
            if given.size and text == pd.api.types.is_string_dtype(values):
                within = values.isin(given) if text else values <= given.max() - (number and column in COUNTED)
                near, far = near & within, far if name in one.further else far & within
    return int(near.sum()), int(far.sum())


def _said(parameters: dict[str, Any]) -> str:
    """Names and values; of a list of names, how many there are."""

    def said(name: str, value: Any) -> str:
        words = isinstance(value, list) and any(isinstance(item, str) for item in value)
        return f"{len(value)} {name}" if words else f"{name} = {value}"

    return ", ".join(said(name, value) for name, value in parameters.items())


class Reproduction(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        stems = scoreboard.in_order(source / "_toc.yml")
        notebooks = {stem: source / "notebooks" / f"{stem}.ipynb" for stem in stems}
        kept = source / "results" / "compared.json"
        for path in [kept, *notebooks.values()]:
            self.env.note_dependency(str(path))
        found: list[nodes.Node] = []
        if there := list(recorded_by(source)):
            reach = [within_reach(*one) for one in there]
            near, far = np.sum(reach, axis=0)
            rows = sum(record.provenance()["rows"] for record, _ in there)
            said = (
                f"The {len(there)} records have {rows:,} rows. An audit chooses from {near:,} of them, "
                f"{near / rows:.0%}, and one audit of four from {far:,}, {far / rows:.0%}."
            )
            found.append(nodes.paragraph(text=said))
            head = ("Experiment", "Rows", "Size", "Parameters", "Date", "Commit", "Machine", "Cost", "Recomputed")
            lines = [line(*one, *rows) for one, rows in zip(there, reach, strict=True)]
            found.append(table(head, [[nodes.Text(text) for text in texts] for texts in lines], "records"))
        again = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        lines, machines = [], dict[str, str]()
        for stem, ipynb in notebooks.items():
            exact, within, how = compared(ipynb)
            chapter, _ = self.parse_inline(f"{{doc}}`/notebooks/{stem}`")
            row = [*chapter, *map(nodes.Text, (f"{exact}", f"{within}", how))]
            if run := again.get(stem):
                where = "; ".join(run[name] for name in ("machine", "versions"))
                machine = machines.setdefault(where, f"{len(machines) + 1}")
                result = "agrees" if run["agrees"] else "does not agree, or waits for data"
                row += map(nodes.Text, (result, f"{run['seconds']:,}", run["date"], run["commit"][:12], machine))
            else:
                row += map(nodes.Text, ("not compared yet", "", "", "", ""))
            lines.append(row)
        head = ("Chapter", "To the letter", "Within", "Tolerances", "Outcome", "Seconds", "Date", "Commit", "Machine")
        found.append(table(head, lines, "reproduction"))
        found += [nodes.paragraph("", f"Machine {number}: {where}.") for where, number in machines.items()]
        return found


def table(head: tuple[str, ...], rows: list[list[Any]], kind: str) -> nodes.Node:
    def line(cells: list[Any]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))

    columns = [nodes.colspec(colwidth=1) for _ in head]
    group = nodes.tgroup("", *columns, cols=len(head))
    group += nodes.thead("", line([nodes.Text(name) for name in head]))
    group += nodes.tbody("", *map(line, rows))
    # a wide table scrolls in its own box
    return nodes.container("", nodes.table("", group, classes=[kind]), classes=["wide"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("reproduction", Reproduction)
    return {"parallel_read_safe": True}
