"""What the papers state beside what the chapters found: gathered from the papers' files and the stored outputs.

A chapter that the papers' files give statements shows ``Verdicts``, which decide all of them.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from companion.claims import CONTRADICTED, NOT_RESOLVED, NOT_RUN, REPRODUCED, chapter, judged
from companion.claims.statements import PAPERS, Beyond, Figure, Paper, Statement, load
from companion.runs.shown import outputs

VERDICTS = (REPRODUCED, CONTRADICTED, NOT_RESOLVED, NOT_RUN)
NOTHING = "states nothing that can be decided"
#: The filter's word for a scale that its paper gives fully, partly or not at all.
SCALES = {
    "fully": "the paper's",
    "partly": "the paper's, as far as it gives one",
    "nothing": "ours, for the paper gives none",
}


@dataclass(frozen=True)
class Entry:
    """A statement with the row of the chapter that decides it, if anything can, and the place to read on."""

    paper: str
    statement: Statement
    row: judged.Row | None
    place: str  # of the statement: a chapter's page and an anchor in it, or nothing

    @property
    def verdict(self) -> str:
        return self.row.verdict if self.row else NOTHING

    @property
    def scale(self) -> str:
        """What the evidence is, in the words of the filter."""
        if self.row and self.row.yours:
            return "your run"
        if self.verdict == NOT_RUN:
            return "smaller than the paper's"
        return SCALES[self.statement.given] if self.statement.scale else "does not depend on scale"


@dataclass(frozen=True)
class Board:
    """All statements of the papers in their order, and which chapters decide some."""

    papers: tuple[Paper, ...]
    entries: tuple[Entry, ...]
    deciding: frozenset[str]

    def of(self, paper: str, *verdicts: str) -> list[Entry]:
        """The entries of a paper, of these verdicts if any are said."""
        return [e for e in self.entries if e.paper == paper and (not verdicts or e.verdict in verdicts)]

    def showing(self, paper: str, figure: Figure) -> list[Entry]:
        """The statements that stand at a figure of a paper."""
        return [entry for entry in self.of(paper) if mentions(entry.statement.where, figure.number)]

    @staticmethod
    def place(one: Beyond) -> str:
        return f"notebooks/{one.chapter}.html"


def mentions(where: str, number: str) -> bool:
    return re.search(rf"\b{re.escape(number)}(?!\w)", where) is not None


def short(paper: Paper) -> str:
    """The name of a paper without its authors."""
    return paper.name.partition(" (")[0]


def slug(paper: str, number: str) -> str:
    """The anchor of a figure on the page of all figures."""
    return f"{paper}-{number}".lower().replace(" ", "-").replace("_", "-")


def gather(source: Path, papers: Iterable[Paper] | None = None) -> Board:
    """The board of the book whose sources lie in a folder.

    Raises ValueError for a statement whose chapter is not there, or does not decide it, and for a row of a chapter that
    is no statement of it.
    """
    listed = tuple(map(load, PAPERS) if papers is None else papers)
    notebooks = {path.stem: path for path in sorted((source / "notebooks").glob("*.ipynb"))}
    found = {}
    for stem, path in notebooks.items():
        if (rows := chapter.read(outputs(path))) is not None:
            found[stem] = {(row.paper, row.id): row for row in rows}
    entries = []
    for paper in listed:
        for one in paper.statements:
            if one.chapter and one.chapter not in notebooks:
                raise ValueError(f"{paper.key}.yaml: {one.id} is decided by {one.chapter!r}, which is no chapter")
            row = None
            if one.rule != "none":
                row = found.get(one.chapter, {}).pop((paper.key, one.id), None)
                if row is None:
                    raise ValueError(f"{one.chapter} does not decide {one.id}, which {paper.key}.yaml gives it")
            page = f"notebooks/{one.chapter}.html" if one.chapter else ""
            entries.append(Entry(paper.key, one, row, f"{page}#claim-{one.id}" if row else page))
    for stem, rows in found.items():
        if rows:
            names = ", ".join(id for _, id in rows)
            raise ValueError(f"{stem} decides {names}, which no paper's file lists as a statement of that chapter")
    return Board(listed, tuple(entries), frozenset(found))


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many entries there are of each of the four verdicts."""
    all_of_them = [entry.verdict for entry in entries]
    return {verdict: all_of_them.count(verdict) for verdict in VERDICTS}


def summary(entries: list[Entry]) -> str:
    """The counts in words, without those that are zero."""
    said = [f"{number} {verdict}" for verdict, number in counts(entries).items() if number]
    return ", ".join(said) or "none judged yet"


def finding(board: Board, paper: Paper) -> str:
    """The sentence of findings of a paper, with its counts and values filled in, and how many statements wait."""
    entries = board.of(paper.key)
    number = counts(entries)
    judged = sum(number.values()) - number[NOT_RUN]
    filled: dict[str, object] = {e.statement.id: e.row.ours.partition(" (")[0] for e in entries if e.row}
    filled |= {"reproduced": number[REPRODUCED], "contradicted": number[CONTRADICTED], "judged": judged}
    filled |= {"total": len(entries)}
    if unknown := [name for name in re.findall(r"{([^{}]*)}", paper.finding) if name not in filled]:
        raise ValueError(f"{paper.key}.yaml: finding: {{{unknown[0]}}} is neither a count nor a statement")
    if not judged:
        return f"None of its {len(entries)} statements has been judged by the rules of this book yet."
    said = re.sub(r"{([^{}]*)}", lambda m: str(filled[m[1]]), paper.finding).strip()
    waiting = number[NOT_RUN]
    return f"{said} Not judged yet: {waiting} of its {len(entries)} statements." if waiting else said


#: The columns of a table of statements, where all are shown.
COLUMNS = ("Statement", "Where", "Paper", "Here", "Scale", "Verdict")


def line(entry: Entry, board: Board, root: str, columns: Iterable[str] = COLUMNS) -> str:
    """A row of a table of statements; ``root`` is the way from its page to the top of the book."""
    one, row, texts = entry.statement, entry.row, {}
    says = html.escape(one.says)
    texts["Statement"] = f'<a href="{root}{entry.place}">{says}</a>' if entry.place else says
    if entry.verdict == NOTHING:
        texts["Statement"] += f"<small>{html.escape(one.reason)}</small>"
    (paper,) = (paper for paper in board.papers if paper.key == entry.paper)
    figures = [f.number for f in paper.figures if mentions(one.where, f.number)]
    where = html.escape(one.where)
    for number in figures:
        link = f'<a href="{root}book/figures.html#{slug(paper.key, number)}">{number}</a>'
        where = re.sub(rf"\b{re.escape(number)}(?!\w)", link, where)
    texts["Where"] = where
    texts["Paper"] = html.escape(one.printed)
    texts["Here"] = html.escape(row.ours) if row else ""
    before = {"smaller than the paper's": "smaller than ", "your run": "your run; the paper's is "}.get(entry.scale, "")
    texts["Scale"] = html.escape(before + one.scale) if one.scale else ""
    texts["Verdict"] = judged.badge(entry.verdict, bool(row and row.yours)) + (judged.folded(row) if row else "")
    cells = "".join(f'<td data-label="{name}">{texts[name]}</td>' for name in columns)
    about = {"paper": paper.key, "figures": "|".join(figures) or ELSEWHERE, "verdict": entry.verdict}
    data = "".join(f' data-{k}="{html.escape(v)}"' for k, v in {**about, "scale": entry.scale}.items())
    return f"<tr{data}>{cells}</tr>"


#: The figure of a statement that stands at none.
ELSEWHERE = "elsewhere in the text"


def table(body: str, columns: Iterable[str] = COLUMNS) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return f'<div class="board-box"><table class="claims board"><thead><tr>{head}</tr></thead>{body}</table></div>'
