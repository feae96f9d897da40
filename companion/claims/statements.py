"""What the four papers state, as data: one file a paper, ``companion/claims/papers/PAPER.yaml``.

A file lists every figure and table of its paper, every statement that the book judges, and what is ours alone
(``beyond``)::

    title: Partitioned integrators for thermodynamic parameterization of neural networks
    name: Partitioned integrators (Leimkuhler, Matthews, Vlaar 2019)
    finding: One sentence. {fig7-adlala-10000} stands for our value, {reproduced} and {judged} for counts.
    figures:
      - number: Figure 7             # or Table 2, Algorithm 1; in the order of the paper
        shows: What the figure shows, in our words.
        ours: weights#fig-weights-four    # chapter and the name of our figure; several in a list
        reason: Why there is none, where there is none.
    statements:
      - id: fig7-adlala-10000        # lower-case words joined by "-", unique in the paper
        where: Figure 7              # one of the figures above, or Sec. 5.2, Eq. 12, Abstract
        says: The sentence in our words.
        rule: number                 # number, order, share, similar, exact, holds; none where it is not judged
        paper: 0.8                   # the paper's value; for an order the two values as text, if it prints them
        runs: 1                      # how many runs of the paper the value is a mean of; inf for a law
        digits: 2                    # decimals that the paper prints
        margin: 0.03                 # how far apart two values are the same to a reader (number, similar, exact)
        because: Why that margin.
      against: 0.5                 # the share that is to be exceeded (share)
        scale: 10,000 steps, 500 nodes    # the paper's scale, for a reader
        given: fully                 # whether the paper gives it: fully, partly or nothing, where it is ours
        needs: {steps: 10000}        # what the parameters of the record must reach, once there is one
        chapter: weights             # the chapter that decides it
        taken:                       # where our values lie: one entry, or two for an order and for what is similar
          - {from: spirals, column: accuracy, turns: 4, method: AdLaLa, step: 10000}
            # a column or an expression of columns, true or false for a share; one value a run, or {per: [turns]} one a
            # run and turns; of the last step, if none or "all" is said; of several methods {by: min}, or max, mean, ...
        others:                      # other settings that fold under it: what differs in each entry of taken
          "SGLD, σ = 0.1": [{method: "SGLD, σ = 0.1"}]
        figure: fig-weights-four     # our figure that shows it
        reason: Why it is not judged (rule none).
    beyond:
      - {id: coded, says: What we found beside the paper., chapter: weights}
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

__all__ = ["PAPERS", "Figure", "Paper", "Statement", "load", "statements"]

PAPERS = ("partitioned", "coolmomentum", "monte_carlo", "simmering")
FOLDER = Path(__file__).parent / "papers"
#: The rules, and what a statement under each must say beside id, where, says and chapter.
RULES: dict[str, tuple[str, ...]] = {
    "number": ("paper", "margin", "because", "scale"),
    "order": ("scale",),
    "share": ("scale",),
    "similar": ("margin", "because", "scale"),
    "exact": ("paper", "margin", "because"),
    "holds": (),
    "none": ("reason",),
}
#: How much of a scale its paper gives.
GIVEN = ("fully", "partly", "nothing")


@dataclass(frozen=True)
class Statement:
    """One statement of a paper; the fields are those of the file."""

    id: str
    where: str
    says: str
    rule: str
    chapter: str = ""
    figure: str = ""
    paper: float | str | None = None
    runs: float = 1
    digits: int = 2
    margin: float | None = None
    against: float = 0.5
    because: str = ""
    scale: str = ""
    given: str = "fully"
    needs: dict[str, float] = field(default_factory=dict)
    taken: tuple[dict[str, Any], ...] = ()
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reason: str = ""

    @property
    def printed(self) -> str:
        """The paper's value as it is printed there."""
        if self.paper is None or isinstance(self.paper, str):
            return self.paper or ""
        if self.rule != "number":
            return f"{self.paper:g}"
        many = "" if self.runs == 1 or math.isinf(self.runs) else f" ({self.runs:g} runs)"
        return f"{self.paper:.{max(self.digits, 0)}f}{many}"


@dataclass(frozen=True)
class Figure:
    """A figure, table or algorithm of a paper, and ours: ``chapter#figure`` each."""

    number: str
    shows: str
    ours: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Beyond:
    """What the book found beside the papers; it is in no total."""

    id: str
    says: str
    chapter: str


@dataclass(frozen=True)
class Paper:
    """A paper's file."""

    key: str
    title: str
    name: str
    finding: str
    figures: tuple[Figure, ...]
    statements: tuple[Statement, ...]
    beyond: tuple[Beyond, ...]


@functools.cache
def load(key: str) -> Paper:
    """The file of a paper. Raises ValueError, naming file and entry, for what is missing, unknown or said twice."""
    if key not in PAPERS:
        raise ValueError(f"there is no paper {key!r}; there are: {', '.join(PAPERS)}")
    return parse(key, (FOLDER / f"{key}.yaml").read_text(encoding="utf-8"))


def parse(key: str, text: str) -> Paper:
    """A paper from the text of its file; raises as :func:`load`."""
    try:
        said = yaml.safe_load(text)
        figures = tuple(_made(Figure, item, f"figure {item.get('number')}") for item in said["figures"])
        listed = tuple(_statement(item) for item in said["statements"])
        beyond = tuple(_made(Beyond, item, f"beyond {item.get('id')}") for item in said.get("beyond") or ())
        paper = Paper(key, said["title"], said["name"], said["finding"], figures, listed, beyond)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{key}.yaml: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{key}.yaml: {error}") from None
    for names in ([s.id for s in (*listed, *beyond)], [f.number for f in figures]):
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{key}.yaml: {twice[0]!r} is there twice")
    there = {item.number for item in figures}
    for one in listed:
        for number in re.findall(r"(?:Figure|Table|Algorithm) \w+", one.where):
            if number not in there:
                raise ValueError(f"{key}.yaml: {one.id} stands at {number}, which is not among the figures")
    for item in figures:
        if not item.ours and not item.reason:
            raise ValueError(f"{key}.yaml: {item.number} has neither a figure of ours nor a reason for having none")
    return paper


def _statement(item: dict[str, Any]) -> Statement:
    made: Statement = _made(Statement, item, f"statement {item.get('id')}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", made.id):
        raise ValueError(f"id {made.id!r} must be lower-case words joined by '-'")
    if made.rule not in RULES:
        raise ValueError(f"{made.id}: rule {made.rule!r} is not known; known: {', '.join(RULES)}")
    wanted = RULES[made.rule] + (() if made.rule == "none" else ("chapter",))
    if missing := [name for name in wanted if getattr(made, name) in (None, "")]:
        raise ValueError(f"{made.id}: {missing[0]} is missing, which the rule {made.rule!r} needs")
    if made.given not in GIVEN:
        raise ValueError(f"{made.id}: given {made.given!r} is not known; known: {', '.join(GIVEN)}")
    if made.margin is not None and not made.margin > 0:
        raise ValueError(f"{made.id}: margin {made.margin} must be above zero")
    if made.taken and len(made.taken) != {"number": 1, "share": 1, "order": 2, "similar": 2}.get(made.rule):
        raise ValueError(f"{made.id}: taken has {len(made.taken)} entries, which the rule {made.rule!r} cannot use")
    if made.others and (made.rule == "share" or any(len(one) != len(made.taken) for one in made.others.values())):
        raise ValueError(f"{made.id}: others change, one by one, the entries of taken of a number or a comparison")
    if made.rule in ("number", "exact") and isinstance(made.paper, str):
        raise ValueError(f"{made.id}: paper {made.paper!r} must be a number")
    return made


def _made(kind: Any, item: dict[str, Any], name: str) -> Any:
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(item) - known):
        raise ValueError(f"{name} says {unknown[0]!r}, which is not known; known: {', '.join(sorted(known))}")
    lists = {"ours", "rows", "taken"}
    given = {k: tuple([v] if isinstance(v, str) else v) if k in lists else v for k, v in item.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{name}: {str(error).split(') ')[-1]}") from None


def statements(chapter: str) -> Iterator[tuple[str, Statement]]:
    """Paper and statement, for all that a chapter decides."""
    for key in PAPERS:
        for one in load(key).statements:
            if one.chapter == chapter and one.rule != "none":
                yield key, one
