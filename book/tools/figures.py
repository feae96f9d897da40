"""A Sphinx directive, ``{figures}``: every figure and table of the four papers beside ours.

An entry has the number, our figure as it is stored in its chapter, the statements that stand there with their verdicts,
the scale and the cost, and leads to the place in the chapter. Each is in the general index as well, by its number
alone: the search of the book ranks that first.
"""

import posixpath
from collections.abc import Iterable
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools import again, board, recorded, scoreboard
from companion.claims import NOT_RUN
from companion.claims.statements import Figure, Paper
from companion.evidence.records import all_records

COLUMNS = ("Statement", "Paper", "Here", "Scale", "Verdict")


class Figures(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        found = scoreboard.of_book(self.env)
        parts: list[nodes.Node] = []
        for paper in found.papers:
            section = nodes.section(ids=[f"figures-{paper.key.replace('_', '-')}"])
            section += [nodes.title("", paper.name), nodes.paragraph("", "", nodes.emphasis("", paper.title))]
            section += [self.entry(found, paper, figure) for figure in paper.figures]
            parts.append(section)
        return parts

    def entry(self, found: board.Board, paper: Paper, figure: Figure) -> nodes.section:
        id = board.slug(paper.key, figure.number)
        section = nodes.section(ids=[id])
        section += nodes.title("", f"{figure.number} of {board.short(paper)}")
        names = dict.fromkeys([figure.number, figure.number.replace("Figure", "Fig.")])  # what readers search for
        section += addnodes.index(entries=[("single", name, id, "main", None) for name in names], inline=False)
        text, pictures = nodes.container(classes=["about"]), nodes.container(classes=["pictures"])
        text += nodes.paragraph("", figure.shows)
        stems: list[str] = []
        for one in figure.ours:
            stem, _, name = one.partition("#")
            page = posixpath.relpath(f"notebooks/{stem}.html#{name}", posixpath.dirname(self.env.docname))
            try:
                image = recorded.picture(self.env, stem, name)
            except (OSError, ValueError) as error:
                raise self.error(f"{paper.key}.yaml, {figure.number}: {error}") from None
            pictures += nodes.paragraph("", "", nodes.reference("", "", image, refuri=page, internal=True))
            if stem not in stems:
                stems.append(stem)
        entries = found.showing(paper.key, figure)
        stems = stems or list(dict.fromkeys(e.statement.chapter for e in entries if e.statement.chapter))
        if figure.reason:
            text += nodes.paragraph("", figure.reason)
        for stem in stems:
            link, _ = self.parse_inline(f"{{doc}}`/notebooks/{stem}`")
            said = f": {made(found, Path(self.env.srcdir), stem, entries)}" if figure.ours else ""
            text += nodes.paragraph("", "", *link, nodes.Text(said))
        if entries:
            text += nodes.paragraph("", f"{tally(entries)}.")
        section += nodes.container("", *([pictures] if figure.ours else []), text, classes=["paper-figure"])
        if entries:
            columns = COLUMNS if any(entry.row for entry in entries) else [name for name in COLUMNS if name != "Here"]
            rows = "".join(board.line(entry, found, scoreboard.root(self.env), columns) for entry in entries)
            section += nodes.raw("", board.table(f"<tbody>{rows}</tbody>", columns), format="html")
        return section


def tally(entries: Iterable[board.Entry]) -> str:
    """How many statements there are of each verdict, in words."""
    verdicts = [entry.verdict for entry in entries]
    each = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    many = f"{len(verdicts)} statement{'s' * (len(verdicts) > 1)}"
    if len(each) == 1:
        return f"{many}, {verdicts[0]}"
    return f"{many}: " + ", ".join(f"{number} {verdict}" for verdict, number in each.items())


def made(found: board.Board, source: Path, stem: str, entries: Iterable[board.Entry]) -> str:
    """From what a chapter draws a figure of these statements, and what that cost."""
    records = [one.provenance() for one in all_records(source) if one.name.startswith(f"{stem}/")]
    if stem in found.deciding and records:
        adopted = [part for about in records for part in about.get("adopted", {}).values()]
        seconds = sum(about["wall seconds"] for about in records)
        seconds += sum(part["wall time in seconds"] for part in adopted)
        machines = ", ".join(dict.fromkeys(about["machine"] for about in [*records, *adopted]))
        small = [entry.verdict == NOT_RUN for entry in entries]
        scale = " at the paper's scale" if not any(small) else " in part at the paper's scale" if not all(small) else ""
        return f"drawn from records{scale}, which took {again.duration(seconds)} ({machines})."
    seconds = again.took(source, stem)
    took = f", which took {again.duration(seconds)} on one core" if seconds else ""
    if stem in found.deciding:
        return f"computed in the chapter{took}."
    return f"drawn from a run of reduced size{took}; to be drawn again at the paper's scale."


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("figures", Figures)
    return {"parallel_read_safe": True}
