"""Sphinx directives for what is gathered from the chapters: ``{scoreboard}`` and ``{errata}``.

The first shows the claims of all chapters, read from their stored outputs; ``{scoreboard} total`` the line of totals
alone. The second shows the misprints and open points of the papers: the tables of chapters whose head is ``where | what
| decided by`` or ``printed | should be``, and the claims of those whose names begin with ``errata``.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from companion.claims import former
from companion.runs import batch

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


class Scoreboard(SphinxDirective):
    """A line of totals, and for each paper the tables of its chapters, each under the chapter's title."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        by_paper: dict[str, list[tuple[str, dict[str, Any]]]] = {paper: [] for paper in former.PAPERS}
        for stem in in_order(source / "_toc.yml"):
            ipynb = source / "notebooks" / f"{stem}.ipynb"
            self.env.note_dependency(str(ipynb))
            for record in batch.claimed(ipynb):
                if record["chapter"] != stem:
                    raise self.error(f"{ipynb.name} shows claims of the chapter {record['chapter']!r}, not its own")
                by_paper[record["paper"]].append((stem, record))
        everything = [row for records in by_paper.values() for _, record in records for row in record["claims"]]
        found: list[nodes.Node] = [nodes.paragraph("", former.summary(everything) + ".", classes=["claims-total"])]
        if self.arguments == ["total"]:
            return found
        here = posixpath.dirname(self.env.docname)
        for paper, records in by_paper.items():
            if not records:
                continue
            section = nodes.section(ids=[f"scoreboard-{paper.replace('_', '-')}"])
            section += nodes.title("", former.PAPERS[paper])
            section += nodes.paragraph("", former.summary([r for _, record in records for r in record["claims"]]) + ".")
            before = ""
            for stem, record in records:
                page = posixpath.relpath(f"notebooks/{stem}.html", here)
                if stem != before:
                    chapter, _ = self.parse_inline(f"{{doc}}`/notebooks/{stem}`")
                    section += nodes.paragraph("", "", *chapter, classes=["claims-chapter"])
                before = stem
                section += nodes.raw("", former.to_html(record["claims"], page, link=True), format="html")
            found.append(section)
        return found


class Errata(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        sections: dict[str, nodes.section] = {}
        for stem in in_order(source / "_toc.yml"):
            ipynb = source / "notebooks" / f"{stem}.ipynb"
            self.env.note_dependency(str(ipynb))
            found, records = tables(ipynb), batch.claimed(ipynb)
            if not found:
                continue
            if not records:
                raise self.error(f"{ipynb.name} has a table of errata and no claim, which would say of which paper")
            paper = records[0]["paper"]
            if paper not in sections:
                sections[paper] = nodes.section(ids=[f"errata-{paper.replace('_', '-')}"])
                sections[paper] += nodes.title("", former.PAPERS[paper])
            self.parse(sections[paper], f"From {{doc}}`../notebooks/{stem}`:")
            for table in found:
                self.parse(sections[paper], *table.splitlines())
            if stem.startswith("errata"):
                page = posixpath.relpath(f"notebooks/{stem}.html", posixpath.dirname(self.env.docname))
                rows: list[dict[str, Any]] = [row for record in records for row in record["claims"]]
                sections[paper] += nodes.raw("", former.to_html(rows, page, link=True), format="html")
        return [sections[paper] for paper in former.PAPERS if paper in sections]

    def parse(self, parent: nodes.Element, *lines: str) -> None:
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, parent)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("scoreboard", Scoreboard)
    app.add_directive("errata", Errata)
    return {"parallel_read_safe": True}
