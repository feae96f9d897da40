"""What a paper says, what we found, and a verdict that is computed from the two.

A chapter collects its claims and shows them in its last cell::

    claims = former.Claims(paper="partitioned", chapter="langevin_splittings")
    claims.number("fig1-accuracy", "BAOAB at temperature 1e-5 reaches 96 %", "Fig. 1", paper=0.96, runs=accuracy)
    claims

The book gathers the claims of all its chapters on the scoreboard. The rules:

=====================  ==============================================================================================
``number``             *reproduced* when our mean is within :math:`2\\sqrt{s^2/n_\\mathrm{paper} + s^2/n}` of the
                       paper's number, plus half a unit of the last digit that the paper prints; else *differs*.
                       :math:`s` is the standard deviation of our :math:`n` runs: the paper's :math:`n_\\mathrm{paper}`
                       runs are taken to scatter as ours do.
``order``              *reproduced* when the difference of the means exceeds 3 combined standard errors; else *differs*,
                       and the detail says whether the order is the other one or could not be resolved.
``exact``              *reproduced* when our value is within the stated tolerance of the paper's closed form.
``holds``              *reproduced* when a statement that the chapter computes is true.
``not_run``            *not run at this scale*: what stands there needs more than the chapter spends; with the command
                       that runs it, and with our runs at the smaller scale where there are any.
=====================  ==============================================================================================

Every number of ours is written ``mean ± standard error`` (for ``exact``: ``value ± tolerance``).
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Claims", "improved", "mean_error", "median_error", "plus_minus", "read", "share", "summary", "to_html"]

# The data travel inside the table that a reader sees: a MIME type of their own would be unknown to whatever shows it.
_OPENING, _CLOSING = '<script type="application/vnd.thermo-claims+json">', "</script>"
REPRODUCED, DIFFERS, NOT_RUN = "reproduced", "differs", "not run at this scale"
VERDICTS = (REPRODUCED, DIFFERS, NOT_RUN)
PAPERS = {
    "partitioned": "Partitioned integrators (Leimkuhler, Matthews, Vlaar 2019)",
    "coolmomentum": "CoolMomentum (Borysenko, Byshkin 2021)",
    "monte_carlo": "Adaptive Monte Carlo (Whitelam, Selin, Benlolo, Casert, Tamblyn 2022)",
    "simmering": "Simmering (Babayan, Aliahmadi, van Anders 2024)",
}


def plus_minus(mean: float, error: float) -> str:
    """``mean ± error``, the error with two significant digits and the mean to the same decimal."""
    mean, error = float(mean), float(error)
    if error <= 1e-14 * abs(mean):  # equal runs: what is left is the rounding of their mean
        return f"{mean:.6g} ± 0"
    decimals = 1 - math.floor(math.log10(error))
    if decimals > 7 or abs(mean) >= 1e6:
        leading = math.floor(math.log10(abs(mean))) if mean else 0
        return f"{mean:.{max(decimals + leading, 1)}e} ± {error:.1e}"
    decimals = max(decimals, 0)
    return f"{mean:.{decimals}f} ± {error:.{decimals}f}"


def mean_error(runs: Any) -> str:
    """The mean of independent runs with its standard error, as in ``0.957 ± 0.003``."""
    values = _runs("runs", runs)
    return plus_minus(values.mean(), _standard_error(values))


def median_error(runs: Any) -> str:
    r"""The median of independent runs with its standard error, where a few that go astray would decide the mean.

    The error is that of a normal sample, :math:`\sqrt{\pi/2n}` standard deviations, of which 1.349 lie between the
    quartiles.
    """
    values = _runs("runs", runs)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return plus_minus(middle, math.sqrt(math.pi / 2 / len(values)) * (high - low) / 1.349)


def share(hits: Any) -> tuple[float, float]:
    """The share of trials that hold and its standard error, which is never zero: those of one more trial either way.

    ``hits`` holds one number a trial: 1, 0, or 1/2 for a draw.
    """
    values = _runs("hits", hits)
    part = (values.sum() + 1) / (len(values) + 2)
    return float(part), math.sqrt(part * (1 - part) / (len(values) + 2))


def improved(after: Any, before: Any) -> tuple[float, float]:
    """The :func:`share` of trials in which a number is higher after than before, a draw counting half, and its error.

    ``after`` and ``before`` hold one number a trial, in the same order.
    """
    late, early = _runs("after", after), _runs("before", before)
    if len(late) != len(early):
        raise ValueError(f"after has {len(late)} trials and before {len(early)}: there must be as many of each")
    return share((late > early) + 0.5 * (late == early))


class Claims:
    """The claims of one chapter, shown as a table.

    Parameters
    ----------
    paper : the paper they come from, one of ``PAPERS``.
    chapter : the stem of the chapter's file, as in ``"langevin_splittings"``.

    Every method adds a row and returns its verdict. It takes an ``id`` that is unique in the chapter (lower-case words
    joined by ``-``), the ``sentence`` of the paper in short, ``where`` it stands (``"Fig. 1"``), and, where a figure
    shows it, ``figure``: that figure's name. The rules for the verdicts are in the module's text.

    Attributes: ``rows``, a dictionary of texts for each claim, in their order: what the method was given as ``id``,
    ``sentence``, ``where`` and ``figure``, the ``rule``, what stands on both sides as ``paper`` and ``ours``, the
    ``verdict``, a ``detail``, and the ``command`` of what is not run.

    Raises
    ------
    ValueError : a paper that is not known, a chapter that is not the stem of a file. The methods: an id that is not of
        that form or is taken, an empty sentence or place, a number or a run that is not finite, fewer than two runs,
        fewer than one run of the paper, a tolerance that is not above zero, a ``value`` that is neither True nor
        False, an empty command.
    """

    def __init__(self, paper: str, chapter: str) -> None:
        if paper not in PAPERS:
            raise ValueError(f"paper={paper!r} is not known; it is one of {', '.join(map(repr, PAPERS))}")
        if not re.fullmatch(r"[a-z0-9_]+", chapter):
            raise ValueError(f"chapter={chapter!r} is not the stem of a chapter's file, as in 'langevin_splittings'")
        self.paper, self.chapter = paper, chapter
        self.rows: list[dict[str, str]] = []

    def number(
        self,
        id: str,
        sentence: str,
        where: str,
        *,
        paper: float,
        runs: Any,
        paper_runs: int = 1,
        digits: int = 2,
        figure: str | None = None,
    ) -> str:
        """A number that the paper prints with ``digits`` decimals, against our independent runs."""
        paper, values = _number("paper", paper), _runs("runs", runs)
        if paper_runs < 1:
            raise ValueError(f"paper_runs={paper_runs} must be at least 1")
        error = _standard_error(values)
        margin = 2 * math.sqrt(values.std(ddof=1) ** 2 / paper_runs + error**2) + 0.5 * 10.0**-digits
        return self._add(
            id,
            sentence,
            where,
            figure,
            rule="number",
            paper=f"{paper:.{max(digits, 0)}f}" + (f" ({paper_runs} runs)" if paper_runs > 1 else ""),
            ours=f"{plus_minus(values.mean(), error)} ({len(values)} runs)",
            verdict=REPRODUCED if abs(paper - values.mean()) <= margin else DIFFERS,
        )

    def order(
        self,
        id: str,
        sentence: str,
        where: str,
        *,
        larger: Any,
        smaller: Any,
        paper: tuple[float, float] | None = None,
        figure: str | None = None,
    ) -> str:
        """The paper's statement that one mean exceeds another."""
        high, low = _runs("larger", larger), _runs("smaller", smaller)
        difference = high.mean() - low.mean()
        error = math.hypot(_standard_error(high), _standard_error(low))
        detail = f"difference {plus_minus(difference, error)}"
        if difference > 3 * error:
            verdict = REPRODUCED
        elif difference < -3 * error:
            verdict, detail = DIFFERS, f"the order is the other one: {detail}"
        else:
            verdict, detail = DIFFERS, f"not resolved by these runs: {detail}"
        return self._add(
            id,
            sentence,
            where,
            figure,
            rule="order",
            paper="larger" if paper is None else f"{_number('paper', paper[0]):g} > {_number('paper', paper[1]):g}",
            ours=f"{mean_error(high)} against {mean_error(low)} ({len(high)} and {len(low)} runs)",
            verdict=verdict,
            detail=detail,
        )

    def exact(
        self,
        id: str,
        sentence: str,
        where: str,
        *,
        paper: float,
        ours: float,
        tolerance: float,
        figure: str | None = None,
    ) -> str:
        """A closed form of the paper against a value of ours that has no noise."""
        paper, value, tolerance = _number("paper", paper), _number("ours", ours), _number("tolerance", tolerance)
        if tolerance <= 0:
            raise ValueError(f"tolerance={tolerance:g} must be above zero")
        return self._add(
            id,
            sentence,
            where,
            figure,
            rule="exact",
            paper=f"{paper:.6g}",
            ours=plus_minus(value, tolerance),
            verdict=REPRODUCED if abs(paper - value) <= tolerance else DIFFERS,
        )

    def holds(
        self, id: str, sentence: str, where: str, *, value: Any, detail: str = "", figure: str | None = None
    ) -> str:
        """A statement that the chapter computed to be true or false."""
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"value={value!r} must be True or False")
        return self._add(
            id,
            sentence,
            where,
            figure,
            rule="holds",
            paper="yes",
            ours="yes" if value else "no",
            verdict=REPRODUCED if value else DIFFERS,
            detail=detail,
        )

    def not_run(
        self,
        id: str,
        sentence: str,
        where: str,
        *,
        command: str,
        paper: float | None = None,
        runs: Any = None,
        digits: int = 2,
        detail: str = "",
        figure: str | None = None,
    ) -> str:
        """What the chapter does not run at the paper's scale: ``command`` does; ``runs`` are at a smaller scale."""
        if not command.strip():
            raise ValueError("command is empty; it must be the command that runs this claim at the paper's scale")
        return self._add(
            id,
            sentence,
            where,
            figure,
            rule="not_run",
            paper="" if paper is None else f"{_number('paper', paper):.{max(digits, 0)}f}",
            ours="" if runs is None else f"{mean_error(runs)} at a smaller scale ({np.size(_runs('runs', runs))} runs)",
            verdict=NOT_RUN,
            detail=detail,
            command=command.strip(),
        )

    def _add(self, id: str, sentence: str, where: str, figure: str | None, **row: str) -> str:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
            raise ValueError(f"id={id!r} must be lower-case words joined by '-', as in 'fig1-accuracy'")
        if any(r["id"] == id for r in self.rows):
            raise ValueError(f"id={id!r} is already a claim of this chapter; every claim needs its own")
        if not sentence.strip() or not where.strip():
            raise ValueError(f"claim {id!r} needs a sentence and the place in the paper where it stands")
        self.rows.append(
            {
                "id": id,
                "sentence": sentence.strip(),
                "where": where.strip(),
                "paper": "",
                "ours": "",
                "detail": "",
                "command": "",
                "figure": figure or "",
            }
            | row
        )
        return row["verdict"]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/html": to_html(self.rows) + _OPENING + self._data() + _CLOSING,
            "text/plain": str(self),
        }

    def _data(self) -> str:
        record = {"paper": self.paper, "chapter": self.chapter, "claims": self.rows}
        # "<" is escaped so that no sentence can end the element that holds it.
        return json.dumps(record, ensure_ascii=False, indent=1).replace("<", "\\u003c")

    def __str__(self) -> str:
        lines = [f"{PAPERS[self.paper]}: {summary(self.rows)}"]
        for r in self.rows:
            lines.append(f"[{r['verdict']}] {r['sentence']} ({r['where']})")
            facts = {"paper": r["paper"], "ours": r["ours"], "detail": r["detail"], "run it": r["command"]}
            lines += [f"    {name}: {text}" for name, text in facts.items() if text]
        return "\n".join(lines)

    __repr__ = __str__


def read(text: str) -> dict[str, Any] | None:
    """The paper, the chapter and the claims that an HTML output of a cell shows, or None where it shows no claims."""
    _, opening, rest = text.partition(_OPENING)
    return json.loads(rest.partition(_CLOSING)[0]) if opening else None


def summary(rows: Sequence[dict[str, str]]) -> str:
    """How many claims there are, and how many of each verdict."""
    number = {v: sum(r["verdict"] == v for r in rows) for v in VERDICTS}
    counts = [f"{n} {'differ' if v == DIFFERS and n != 1 else v}" for v, n in number.items()]
    return f"{len(rows)} claim{'s' * (len(rows) != 1)}: {', '.join(counts)}"


def to_html(rows: Sequence[dict[str, str]], page: str = "", link: bool = False) -> str:
    """The table of claims; ``link`` makes each sentence a link to the claim's row in its chapter at ``page``."""
    body = "".join(_html_row(r, page, link) for r in rows)
    head = "<thead><tr><th>Claim</th><th>Paper</th><th>Here</th><th>Verdict</th></tr></thead>"
    return f'<table class="claims">{head}<tbody>{body}</tbody></table>'


def _html_row(row: dict[str, str], page: str, link: bool) -> str:
    r = {name: html.escape(text) for name, text in row.items()}
    anchor = f"claim-{r['id']}"
    sentence = f'<a href="{page}#{anchor}">{r["sentence"]}</a>' if link else r["sentence"]
    place = r["where"]
    if r["figure"]:
        place += f', <a href="{page}#{r["figure"]}">our figure</a>'
    notes = f"<small>{r['detail']}</small>" if r["detail"] else ""
    if r["command"]:
        notes += f"<small>run it: <code>{r['command']}</code></small>"
    kind = row["verdict"].split()[0]
    opening = "<tr>" if link else f'<tr id="{anchor}">'
    return (
        f'{opening}<td data-label="Claim">{sentence}<small>{place}</small></td>'
        f'<td data-label="Paper">{r["paper"]}</td>'
        f'<td data-label="Here">{r["ours"]}{notes}</td>'
        f'<td data-label="Verdict"><span class="verdict {kind}">{r["verdict"]}</span></td></tr>'
    )


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} is not a finite number")
    return number


def _runs(name: str, runs: Any) -> np.ndarray:
    """The values of independent runs as an array; takes lists, numpy arrays, pandas series and tensors."""
    if hasattr(runs, "detach"):  # a tensor that needs a gradient, or that lives on a GPU
        runs = runs.detach().cpu()
    try:
        values = np.asarray(runs, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={runs!r} are not numbers, one a run") from None
    if values.ndim != 1:
        raise ValueError(f"{name} has the shape {values.shape}; it must hold one number a run")
    if len(values) < 2:
        raise ValueError(f"{name} holds {len(values)} run(s); a standard error needs at least 2")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{name} holds {bad} value(s) that are not finite; decide first how a diverged run counts")
    return values


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))
