"""The statements that one chapter decides, judged and shown as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from companion.claims import comparisons, numbers, verdict
from companion.claims.judged import Row, counted, table
from companion.claims.statements import Statement, statements
from companion.claims.verdict import NOT_RUN, Verdict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from companion.evidence import Evidence

__all__ = ["Verdicts", "printed", "read"]

#: The key of the metadata of a cell's output under which the rows lie.
KEY = "companion"


class Verdicts:
    """The verdicts of a chapter on the statements that the papers' files give it.

    Parameters
    ----------
    chapter : the stem of the chapter's file.

    Each method judges the statement of an ``id`` with the rule of the same name in :mod:`companion.claims`, which gets
    the paper's value, margin and runs from the file. ``of`` is the evidence that it rests on: where its parameters fall
    short of what the statement ``needs``, nothing is judged ("not run at the paper's scale"); where it is a reader's,
    the row says "your run". :meth:`variant` folds another setting under a statement.

    Raises
    ------
    ValueError : a chapter that decides no statement; a statement that is not this chapter's, is judged twice or by
        another rule than its own; when shown, a statement of the chapter that was not judged.
    """

    def __init__(self, chapter: str) -> None:
        self.chapter = chapter
        self._listed: dict[str, tuple[str, Statement]] = {one.id: (key, one) for key, one in statements(chapter)}
        if not self._listed:
            raise ValueError(f"no paper's file has a statement that the chapter {chapter!r} decides")
        self._rows: dict[str, Row] = {}
        self._variants: dict[str, list[dict[str, str]]] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._listed

    def number(self, id: str, ours: Any, *, of: Evidence, draws: Any = None, spread: float | None = None) -> str:
        """Judge a number of the paper; ``ours`` has one value a run."""
        one = self._statement(id, "number")
        return self._judge(one, of, lambda: self._number(one, ours, draws=draws, spread=spread))

    def taken(self, **evidence: Evidence) -> None:
        """Judge every statement whose file says where its values lie; ``evidence`` has the records by experiment.

        Values of the same runs of one record are paired, for those share data and seeds. ``others`` of the file are
        folded under their statement.
        """
        for id, (_, one) in self._listed.items():
            if one.taken and {entry["from"] for entry in one.taken} <= set(evidence):
                of = evidence[one.taken[0]["from"]]
                values, pair = self._taken(one.taken, evidence)
                if one.rule == "share":
                    self.share(id, values[0].sum(), values[0].size, of=of)
                else:
                    getattr(self, one.rule)(id, *values, of=of, **pair)
                for setting, changes in one.others.items():
                    entries = [entry | changed for entry, changed in zip(one.taken, changes, strict=True)]
                    values, pair = self._taken(entries, evidence)
                    self.variant(id, setting, *values, **pair)

    @staticmethod
    def _taken(
        entries: Iterable[dict[str, Any]], evidence: Mapping[str, Evidence]
    ) -> tuple[list[np.ndarray], dict[str, bool]]:
        values = [_values(evidence[entry["from"]].frame, **entry) for entry in entries]
        same = len({entry["from"] for entry in entries}) == 1 and len({tuple(v.index) for v in values}) == 1
        return [v.to_numpy() for v in values], {"paired": same} if len(values) > 1 else {}

    def curve(self, id: str, ours: Any, statistic: Callable[[Any], float], *, of: Evidence) -> str:
        """Judge a number of the paper that is a statistic of a mean curve; ``ours`` has one curve a run."""
        one = self._statement(id, "number")
        given: dict[str, Any] = {"paper": one.paper, "margin": one.margin, "digits": one.digits}
        return self._judge(one, of, lambda: numbers.curve(ours, statistic, paper_runs=one.runs, **given))

    def order(
        self, id: str, larger: Any, smaller: Any, *, of: Evidence, paired: bool = False, draws: Any = None
    ) -> str:
        """Judge that one mean exceeds another."""
        one = self._statement(id, "order")
        return self._judge(one, of, lambda: self._compared(one, larger, smaller, paired=paired, draws=draws))

    def share(self, id: str, successes: float, trials: int, *, of: Evidence) -> str:
        """Judge that something happens in more than a share of cases."""
        one = self._statement(id, "share")
        return self._judge(one, of, lambda: comparisons.share(successes, trials, one.against))

    def similar(self, id: str, first: Any, second: Any, *, of: Evidence, paired: bool = False) -> str:
        """Judge that two means are alike within the statement's margin."""
        one = self._statement(id, "similar")
        return self._judge(one, of, lambda: self._compared(one, first, second, paired=paired))

    def exact(self, id: str, ours: float, *, of: Evidence | None = None) -> str:
        """Judge a closed form of the paper; the statement's margin is the tolerance."""
        one = self._statement(id, "exact")
        given: dict[str, Any] = {"paper": one.paper, "tolerance": one.margin}
        return self._judge(one, of, lambda: verdict.exact(ours, **given))

    def holds(self, id: str, value: Any, detail: str = "", *, of: Evidence | None = None) -> str:
        """Judge what has no noise and is true or false."""
        one = self._statement(id, "holds")
        return self._judge(one, of, lambda: verdict.holds(value, detail))

    def not_run(self, id: str, *, command: str, cost: str, ours: str = "", detail: str = "") -> str:
        """Say what runs a statement at the paper's scale and what that costs; ``ours`` is of a smaller run."""
        one = self._statement(id)
        self._keep(one, Row(**self._head(one), ours=ours, verdict=NOT_RUN, detail=detail, command=command, cost=cost))
        return NOT_RUN

    def at_scale(self, id: str, *values: Any, of: Evidence, command: str, cost: str, **how: Any) -> str:
        """Judge by the statement's rule where the evidence has what it needs; else say what would settle it.

        ``cost`` is what ``command`` takes. The row then has the means of the smaller runs, which are not judged.
        """
        if not self.settles(id, of):
            return str(getattr(self, self._statement(id).rule)(id, *values, of=of, **how))
        ours = " and ".join(f"{sum(map(float, value)) / len(value):.3g}" for value in values)
        detail = "ours after fewer epochs or on fewer images, not judged"
        return self.not_run(id, command=command, cost=cost, ours=ours, detail=detail)

    def settles(self, id: str, of: Evidence) -> str:
        """The command that runs a statement at the paper's scale; empty where the evidence has what it needs."""
        words = []
        for name, least in _missing(self._statement(id).needs, of.parameters).items():
            there = of.parameters[name]
            value = [*there, least] if isinstance(there, list | tuple) else least
            words.append(f"-p {name}='{json.dumps(value)}'" if isinstance(value, list) else f"-p {name}={value}")
        return " ".join([f".venv/bin/companion run notebooks/{self.chapter}", *words]) if words else ""

    def variant(self, id: str, setting: str, *ours: Any, paired: bool = False) -> None:
        """Fold a run with another setting under a statement.

        ``ours`` is text, and if need be a second with details; or what the statement's rule judges: the values of a
        number, one a run, or the two sets of values of a comparison.
        """
        one = self._statement(id)
        if isinstance(ours[0], str):
            said, found, detail = ours[0], "", ours[1] if len(ours) > 1 else ""
        elif one.rule in ("number", "order", "similar"):
            judged = self._number(one, *ours) if one.rule == "number" else self._compared(one, *ours, paired=paired)
            said, found, detail = judged.ours, judged.verdict, judged.detail
        else:
            raise ValueError(f"{id}: values can only stand for a number or a comparison; say in words what came out")
        self._variants.setdefault(id, []).append({"setting": setting, "ours": said, "verdict": found, "detail": detail})

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of the papers' files. Raises ValueError where a statement was not judged."""
        if missing := [id for id in self._listed if id not in self._rows]:
            raise ValueError(f"{self.chapter} does not judge {', '.join(missing)}, which the papers' files give it")
        return [Row(**asdict(self._rows[id]) | {"variants": self._variants.get(id, [])}) for id in self._listed]

    @staticmethod
    def _number(one: Statement, ours: Any, *, draws: Any = None, spread: float | None = None) -> Verdict:
        given: dict[str, Any] = {"paper": one.paper, "margin": one.margin, "digits": one.digits}
        return numbers.number(ours, paper_runs=one.runs, draws=draws, spread=spread, **given)

    @staticmethod
    def _compared(one: Statement, first: Any, second: Any, *, paired: bool, draws: Any = None) -> Verdict:
        if one.rule == "order":
            return comparisons.order(first, second, paired, draws)
        return comparisons.similar(first, second, margin=float(one.margin or 0), paired=paired)

    def _statement(self, id: str, rule: str = "") -> Statement:
        if id not in self._listed:
            known = ", ".join(self._listed)
            raise ValueError(f"{id!r} is no statement that {self.chapter} decides; it decides: {known}")
        one = self._listed[id][1]
        if rule and one.rule != rule:
            raise ValueError(f"{id} is judged by the rule {one.rule!r} in its paper's file, not by {rule!r}")
        return one

    def _head(self, one: Statement) -> dict[str, Any]:
        about = {"id": one.id, "paper": self._listed[one.id][0], "says": one.says, "where": one.where}
        return about | {"printed": one.printed, "scale": one.scale, "figure": one.figure}

    def _judge(self, one: Statement, of: Evidence | None, rule: Callable[[], Verdict]) -> str:
        judged, yours = rule(), of is not None and of.scale != "record"
        found, detail, command = judged.verdict, judged.detail, ""
        if of is not None and (short := _short(one.needs, of.parameters)):
            found, detail = NOT_RUN, f"with {short}: {judged.verdict}, which is not counted"
            command = self.settles(one.id, of)
        row = Row(
            **self._head(one), ours=judged.ours, verdict=found, detail=detail, command=command, yours=yours
        )  # fmt: skip
        self._keep(one, row)
        return found

    def _keep(self, one: Statement, row: Row) -> None:
        if one.id in self._rows:
            raise ValueError(f"{one.id} is judged twice; fold other settings under it with variant()")
        self._rows[one.id] = row

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        rows = self.rows
        data = {"text/html": table(rows), "text/plain": str(self)}
        return data, {KEY: [asdict(row) for row in rows]}

    def __str__(self) -> str:
        lines = [counted(self.rows)]
        for row in self.rows:
            said = [row.ours, row.detail, f"run it: {row.command} ({row.cost})" if row.cost else row.command]
            lines.append(f"[{'your run: ' * row.yours}{row.verdict}] {row.says} ({row.where}: {row.printed or 'said'})")
            lines += [f"    {text}" for text in said if text]
            lines += [f"    {v['setting']}: {v['ours']} {v['verdict']}".rstrip() for v in row.variants]
        return "\n".join(lines)

    __repr__ = __str__


def _values(
    frame: pd.DataFrame, column: str, by: str = "", step: Any = "last", per: Iterable[str] = (), **where: Any
) -> pd.Series:
    """One value a run: of a step, of what ``where`` says; where that lists several, what ``by`` makes of them."""
    if step != "all":
        last = frame["step"].max()
        where["step"] = last if step == "last" else min(step, last)  # runs that end sooner are judged at their end
    del where["from"]
    for name, value in where.items():
        frame = frame[frame[name].isin(value if isinstance(value, list) else [value])]
    if column not in frame:
        frame = frame.assign(**{column: lambda rows: rows.eval(column)})
    run = "run" if "run" in frame else "replica"  # what records of oscillators call it
    runs = frame.groupby([run, *per])[column]
    if not by and (runs.size() > 1).any():
        raise ValueError(f"{column}: {where} takes several values of a run, and does not say which")
    return runs.agg(by or "first")


def printed(chapter: str) -> dict[str, float]:
    """The numbers that the papers print, of the statements that a chapter decides: id to value."""
    return {one.id: float(one.paper) for _, one in statements(chapter) if isinstance(one.paper, int | float)}


def _size(value: Any) -> float:
    return float(max(value, default=-math.inf)) if isinstance(value, list | tuple) else float(value)


def _missing(needs: Mapping[str, float], parameters: Mapping[str, Any]) -> dict[str, float]:
    """What is needed and the parameters fall short of."""
    if unknown := sorted(set(needs) - set(parameters)):
        raise ValueError(f"needs: {unknown[0]!r} is no parameter of the evidence; it has: {', '.join(parameters)}")
    return {name: least for name, least in needs.items() if _size(parameters[name]) < least}


def _short(needs: Mapping[str, float], parameters: Mapping[str, Any]) -> str:
    """Which of the parameters fall short of the paper's scale, in words."""
    short = _missing(needs, parameters)
    return ", ".join(f"{name} = {_size(parameters[name]):g} of {least:g}" for name, least in short.items())


def read(outputs: Iterable[Mapping[str, Any]]) -> list[Row] | None:
    """The rows that the outputs of cells show; None where none shows any."""
    found = [output["metadata"][KEY] for output in outputs if KEY in output.get("metadata", {})]
    return [Row(**row) for rows in found for row in rows] if found else None
