"""A Sphinx directive, ``{scoreboard}``: the claims of all chapters of the book, read from their stored outputs.

``{scoreboard} total`` gives the line of totals alone.
"""

import posixpath
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from thermolib import batch, claims


def in_order(toc: Path) -> list[str]:
    """The stems of the chapters, in the order of the table of contents."""

    def files(entry: Any) -> list[str]:
        if isinstance(entry, dict):
            here = [entry["file"]] if "file" in entry else []
            return here + [file for value in entry.values() for file in files(value)]
        return [file for value in entry for file in files(value)] if isinstance(entry, list) else []

    listed = files(yaml.safe_load(toc.read_text(encoding="utf-8")))
    return [Path(file).stem for file in listed if Path(file).parts[0] == "notebooks"]


class Scoreboard(SphinxDirective):
    """One table for each paper, and a line of totals above them."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        by_paper: dict[str, list[tuple[str, dict[str, Any]]]] = {paper: [] for paper in claims.PAPERS}
        for stem in in_order(source / "_toc.yml"):
            ipynb = source / "notebooks" / f"{stem}.ipynb"
            self.env.note_dependency(str(ipynb))
            for record in batch.claimed(ipynb):
                if record["chapter"] != stem:
                    raise self.error(f"{ipynb.name} shows claims of the chapter {record['chapter']!r}, not its own")
                by_paper[record["paper"]].append((stem, record))
        everything = [row for records in by_paper.values() for _, record in records for row in record["claims"]]
        found: list[nodes.Node] = [nodes.paragraph("", claims.summary(everything) + ".", classes=["claims-total"])]
        if self.arguments == ["total"]:
            return found
        here = posixpath.dirname(self.env.docname)
        for paper, records in by_paper.items():
            if not records:
                continue
            section = nodes.section(ids=[f"scoreboard-{paper.replace('_', '-')}"])
            section += nodes.title("", claims.PAPERS[paper])
            section += nodes.paragraph("", claims.summary([r for _, record in records for r in record["claims"]]) + ".")
            for stem, record in records:
                page = posixpath.relpath(f"notebooks/{stem}.html", here)
                section += nodes.raw("", claims.to_html(record["claims"], page, link=True), format="html")
            found.append(section)
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("scoreboard", Scoreboard)
    return {"parallel_read_safe": True}
