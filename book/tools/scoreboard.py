"""Sphinx directives for what is gathered from papers and chapters: ``{scoreboard}``, ``{findings}`` and ``{errata}``.

The first shows every statement of the papers with its verdict, the second one sentence of findings for each paper, the
third the misprints and open points of the papers: the tables of chapters whose head is ``where | what | decided by`` or
``printed | should be``, and the verdicts of those whose names begin with ``errata``.
"""

import functools
import html
import json
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from book.tools import board
from companion.claims import chapter
from companion.claims.statements import PAPERS, load
from companion.runs.shown import outputs

TABLE = re.compile(r"^\| where \| what \| decided by \|\n(?:\|.*\|(?:\n|$))+", re.M)


def in_order(toc: Path) -> list[str]:
    """The stems of the chapters, in the order of the table of contents."""

    def files(entry: Any) -> list[str]:
        if isinstance(entry, dict):
            here = [entry["file"]] if "file" in entry else []
            return here + [file for value in entry.values() for file in files(value)]
        return [file for value in entry for file in files(value)] if isinstance(entry, list) else []

    listed = files(yaml.safe_load(toc.read_text(encoding="utf-8")))
    return [Path(file).stem for file in listed if Path(file).parts[0] == "notebooks"]


def tables(ipynb: Path) -> list[str]:
    """The tables of errata in a chapter."""
    cells = json.loads(ipynb.read_text(encoding="utf-8"))["cells"]
    text = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return [found for one in text for found in TABLE.findall(one)]


def of_book(env: BuildEnvironment) -> board.Board:
    """The board of the book that is being built; the page that asks for it depends on every chapter."""
    for path in (Path(env.srcdir) / "notebooks").glob("*.ipynb"):
        env.note_dependency(str(path))
    return gathered(Path(env.srcdir))


#: Several pages of one build ask for the same board.
gathered = functools.cache(board.gather)


def root(env: BuildEnvironment) -> str:
    """The way from the page that is being read to the top of the book."""
    return posixpath.relpath(".", posixpath.dirname(env.docname)) + "/"


class Scoreboard(SphinxDirective):
    """The totals, the filters, and a section each for what is judged, undecidable, and beyond."""

    def run(self) -> list[nodes.Node]:
        found, top = of_book(self.env), root(self.env)
        judged = [entry for entry in found.entries if entry.row]
        nothing = [entry for entry in found.entries if entry.verdict == board.NOTHING]
        total = f"Of {len(found.entries)} statements of the four papers {len(judged)} have a verdict"
        total += f": {board.summary(judged)}." if judged else "."
        total += f" {len(nothing)} state nothing that can be decided." if nothing else ""
        parts: list[nodes.Node] = [nodes.paragraph("", total, classes=["claims-total"]), _html(filters(found))]
        parts.append(_section("Judged statements", _html(self.by_paper(found, judged, board.COLUMNS))))
        if nothing:
            inside = self.by_paper(found, nothing, ("Statement", "Where"))
            fold = f"<details class='fold'><summary>Show {len(nothing)} statements and reasons</summary>"
            parts.append(_section("Statements that nothing can decide", _html(f"{fold}{inside}</details>")))
        lines = "".join(
            f'<tr><td data-label="Paper">{board.short(paper)}</td><td data-label="What">'
            f'<a href="{top}{found.place(one)}">{html.escape(one.says)}</a></td></tr>'
            for paper in found.papers
            for one in paper.beyond
        )
        said = "What the chapters found beside the papers. It is no statement of theirs, and is in no total."
        more = board.table(f"<tbody>{lines}</tbody>", ("Paper", "What"))
        parts.append(_section("Beyond the papers", nodes.paragraph("", said), _html(more)))
        return parts

    def by_paper(self, found: board.Board, entries: list[board.Entry], columns: Iterable[str]) -> str:
        columns, body = tuple(columns), ""
        for paper in found.papers:
            if here := [entry for entry in entries if entry.paper == paper.key]:
                judged = f": {board.summary(here)}" if here[0].row else f": {len(here)}"
                head = f'<tr class="paper"><th scope="rowgroup" colspan="{len(columns)}">{paper.name}{judged}</th></tr>'
                rows = "".join(board.line(entry, found, root(self.env), columns) for entry in here)
                body += f"<tbody>{head}{rows}</tbody>"
        return board.table(body, columns)


def filters(found: board.Board) -> str:
    """The controls above the tables; board.js shows them, and works them."""
    papers = "".join(f'<option value="{p.key}">{board.short(p)}</option>' for p in found.papers)
    figures = ""
    for paper in found.papers:
        names = [figure.number for figure in paper.figures if found.showing(paper.key, figure)] + [board.ELSEWHERE]
        options = "".join(f'<option value="{paper.key}|{name}">{name}</option>' for name in names)
        figures += f'<optgroup label="{board.short(paper)}" data-paper="{paper.key}">{options}</optgroup>'
    kinds = {"verdict": [*board.VERDICTS, board.NOTHING], "scale": []}
    kinds["scale"] = list(dict.fromkeys(entry.scale for entry in found.entries))
    there = {entry.verdict for entry in found.entries}
    lists = {
        name: "".join(
            f'<option value="{html.escape(value)}">{html.escape(value)}</option>'
            for value in values
            if name == "scale" or value in there
        )
        for name, values in kinds.items()
    }
    controls = {"paper": papers, "figure": figures, **lists}
    selects = "".join(
        f'<label>{name.capitalize()}<select name="{name}"><option value="">all</option>{options}</select></label>'
        for name, options in controls.items()
    )
    number = len(found.entries)
    return (
        f'<form class="board-filters" hidden>{selects}<button type="reset">Show all</button>'
        f'<p role="status">{number} of {number} statements</p></form>'
    )


class Findings(SphinxDirective):
    """The sentence of findings of a paper, filled in from the verdicts."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        found = of_book(self.env)
        (paper,) = (paper for paper in found.papers if paper.key == self.arguments[0])
        return [nodes.paragraph("", board.finding(found, paper), classes=["finding"])]


class Errata(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        sections: dict[str, nodes.section] = {}
        for stem in in_order(source / "_toc.yml"):
            ipynb = source / "notebooks" / f"{stem}.ipynb"
            self.env.note_dependency(str(ipynb))
            found, rows = tables(ipynb), chapter.read(outputs(ipynb))
            if not found:
                continue
            if not rows:
                raise self.error(f"{ipynb.name} has a table of errata and no verdict, which would say of which paper")
            paper = rows[0].paper
            if paper not in sections:
                sections[paper] = nodes.section(ids=[f"errata-{paper.replace('_', '-')}"])
                sections[paper] += nodes.title("", load(paper).name)
            self.parse(sections[paper], f"From {{doc}}`../notebooks/{stem}`:")
            for table in found:
                self.parse(sections[paper], *table.splitlines())
            if stem.startswith("errata"):
                entries = [e for e in of_book(self.env).entries if e.row and e.statement.chapter == stem]
                shown = "".join(board.line(entry, of_book(self.env), root(self.env)) for entry in entries)
                sections[paper] += _html(board.table(f"<tbody>{shown}</tbody>"))
        return [sections[paper] for paper in PAPERS if paper in sections]

    def parse(self, parent: nodes.Element, *lines: str) -> None:
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, parent)


def _html(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def _section(title: str, *inside: nodes.Node) -> nodes.section:
    section = nodes.section(ids=[nodes.make_id(title)])
    section += [nodes.title("", title), *inside]
    return section


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("scoreboard", Scoreboard)
    app.add_directive("findings", Findings)
    app.add_directive("errata", Errata)
    app.add_js_file("board.js", loading_method="defer")
    return {"parallel_read_safe": True}
