"""How the judged statements of a chapter are shown."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

__all__ = ["Row", "badge", "counted", "folded", "table"]


@dataclass(frozen=True)
class Row:
    """One statement with its verdict, as the book reads it from the output of a chapter."""

    id: str
    paper: str
    says: str
    where: str
    printed: str
    ours: str
    verdict: str
    detail: str = ""
    scale: str = ""
    command: str = ""
    cost: str = ""
    figure: str = ""
    yours: bool = False
    variants: list[dict[str, str]] = field(default_factory=list)


def table(rows: Iterable[Row]) -> str:
    """The table at the end of a chapter, folded under the number of statements by verdict."""
    rows = list(rows)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Statement", "Paper", "Here", "Verdict"))
    body = "".join(_html(row) for row in rows)
    shown = f'<table class="claims verdicts"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<details class="verdicts"><summary>{html.escape(counted(rows))}</summary>{shown}</details>'


def counted(rows: Iterable[Row]) -> str:
    """How many statements a chapter judges, by verdict."""
    found = Counter(row.verdict for row in rows)
    return f"{found.total()} statements: " + ", ".join(f"{n} {name}" for name, n in found.most_common())


def badge(found: str, yours: bool = False) -> str:
    """A verdict as the book shows it."""
    kind = "-".join(found.split()[: 2 if found.startswith("not") else 1])
    words = html.escape(f"your run: {found}" if yours else found)
    return f'<span class="verdict {kind}">{words}</span>'


def folded(row: Row) -> str:
    """Why the verdict is what it is, and other settings, folded; open where it says how to run what was not."""
    notes = f"<p>{html.escape(row.detail)}</p>" if row.detail else ""
    if row.command:
        cost = f" ({html.escape(row.cost)})" if row.cost else ""
        notes += f"<p>run it: <code>{html.escape(row.command)}</code>{cost}</p>"
    lines = "".join(
        f"<li>{html.escape(' '.join((v['setting'] + ':', v['ours'], v['verdict'])))}</li>" for v in row.variants
    )
    notes += f"<p>other settings:</p><ul>{lines}</ul>" if lines else ""
    shown = " open" if row.command else ""
    return f"<details{shown}><summary>why</summary>{notes}</details>" if notes else ""


def _html(row: Row) -> str:
    text = {name: html.escape(value) for name, value in asdict(row).items() if isinstance(value, str)}
    place = text["where"] + (f', <a href="#{text["figure"]}">our figure</a>' if row.figure else "")
    return (
        f'<tr id="claim-{text["id"]}"><td data-label="Statement">{text["says"]} <small>{place}</small></td>'
        f'<td data-label="Paper">{text["printed"]}</td><td data-label="Here">{text["ours"]}</td>'
        f'<td data-label="Verdict">{badge(row.verdict, row.yours)}{folded(row)}</td></tr>'
    )
