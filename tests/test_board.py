"""The papers' files against the chapters: nothing is left out, nothing is decided that is not listed."""

import json
import shlex
from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from book.tools import board, chapters, recorded
from companion.claims import CONTRADICTED, NOT_RESOLVED, REPRODUCED, chapter, former, judged
from companion.claims.statements import PAPERS, load, parse
from companion.runs.chapters import parameters_of
from companion.runs.shown import claimed

ROOT = chapters.ROOT
PAPER = """
title: A paper
name: Paper (Author 2000)
finding: Of {total} statements {judged} are judged, {reproduced} reproduced, {contradicted} not; the value is {value}.
figures:
  - {number: Figure 1, shows: A curve., ours: one#fig-curve}
  - {number: Figure 10, shows: A map., reason: It needs a cluster.}
statements:
  - {id: value, where: Figure 1, says: It is 1., rule: number, paper: 1, margin: .1, because: b, scale: s, chapter: one}
  - {id: larger, where: Figure 10, says: A > B., rule: order, scale: s, chapter: one}
  - {id: alike, where: Sec. 2, says: A and B., rule: order, scale: s, chapter: two, rows: [two/same]}
  - {id: vague, where: Sec. 1, says: It works., rule: none, reason: It says no measure., chapter: one}
beyond:
  - {id: more, says: We found more., chapter: two, rows: [two/more]}
"""


@pytest.fixture(scope="module")
def here():
    return board.gather(ROOT)


def notebook(path, *outputs):
    cells = [{"cell_type": "code", "metadata": {}, "source": "", "outputs": list(outputs)}]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {}}))


def shown(**ours):
    """The output of a ported chapter, with a verdict for each id."""
    about = {"paper": "partitioned", "says": "", "where": "", "printed": ""}
    rows = [judged.Row(id=id, ours="1.02 ± 0.01 (9 runs)", verdict=v, **about) for id, v in ours.items()]
    return {"output_type": "display_data", "data": {}, "metadata": {chapter.KEY: [asdict(row) for row in rows]}}


@pytest.fixture
def book(tmp_path):
    """A book of two chapters, of which the first is ported; gives what makes its board."""
    claims = former.Claims("partitioned", "two")
    claims.holds("same", "A and B", "Sec. 2", value=True)
    notebook(tmp_path / "notebooks" / "two.ipynb", {"data": claims._repr_mimebundle_()})

    def gather(text=PAPER, **ours):
        notebook(tmp_path / "notebooks" / "one.ipynb", shown(**ours))
        return board.gather(tmp_path, [parse("partitioned", text)])

    return gather


@pytest.mark.parametrize("key", PAPERS)
def test_a_papers_file_loads(key):
    paper = load(key)
    assert paper.figures and paper.statements
    assert paper.name == former.PAPERS[key]


def test_every_statement_has_evidence_or_a_reason_or_a_chapter_to_come(here):
    assert {entry.verdict for entry in here.entries} <= {*board.VERDICTS, board.AGAIN, board.NOTHING}
    for entry in here.entries:
        one = entry.statement
        assert bool(entry.row) == (one.chapter in here.ported and one.rule != "none"), one.id
        assert entry.row or one.rule != "none" or one.reason, one.id
        assert entry.row or one.rule == "none" or one.chapter in {md.stem for md in chapters.find()}, one.id


def test_every_chapter_knows_the_statements_it_decides_apart():
    decided = Counter((one.chapter, one.id) for key in PAPERS for one in load(key).statements if one.rule != "none")
    assert [where for where, number in decided.items() if number > 1] == []


def test_what_is_not_run_would_be_judged_by_the_command_beside_it(here):
    """Its parameters, in the place of the chapter's, are all that the statement needs."""
    rows = [entry for entry in here.entries if entry.row and "companion run notebooks/" in entry.row.command]
    for entry in rows:
        words = shlex.split(entry.row.command)
        given = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "-p")
        chapter_has = parameters_of(chapters.ROOT / "notebooks" / f"{entry.statement.chapter}.md")
        values = {name: yaml.safe_load(value) for name, value in (chapter_has | given).items()}
        assert chapter._missing(entry.statement.needs, values) == {}, entry.statement.id
    assert len(rows) > 20


def test_every_row_of_the_former_board_is_in_one_place(here):
    placed = Counter(
        row for paper in here.papers for one in (*paper.statements, *paper.beyond) for row in one.rows
    ) + Counter(row for paper in here.papers for row in paper.withdrawn)
    assert [row for row, times in placed.items() if times > 1] == []
    to_come = {
        f"{md.stem}/{row['id']}"
        for md in chapters.find()
        for one in claimed(md.with_suffix(".ipynb"))
        for row in one["claims"]
    }
    assert to_come - placed.keys() == set()
    gone = {row for row in placed.keys() - to_come if row.partition("/")[0] not in here.ported}
    assert gone == set(), "rows that no chapter shows"


def test_every_figure_of_ours_is_there(here):
    named = [one for paper in here.papers for figure in paper.figures for one in figure.ours]
    named += [f"{e.statement.chapter}#{e.statement.figure}" for e in here.entries if e.statement.figure]
    for stem, _, name in (one.partition("#") for one in dict.fromkeys(named)):
        ending, data, alt = recorded.stored(ROOT / "notebooks" / f"{stem}.ipynb", name)
        assert ending in ("svg", "png") and len(data) > 1000 and alt, f"{stem}#{name}"


def test_a_figure_that_is_not_there_would_be_noticed():
    with pytest.raises(ValueError, match=r"weights.ipynb has no figure 'fig-none'"):
        recorded.stored(ROOT / "notebooks" / "weights.ipynb", "fig-none")


def test_what_a_ported_chapter_decides_is_on_the_board(book):
    found = book(value=REPRODUCED, larger=CONTRADICTED)
    assert {e.statement.id: e.verdict for e in found.entries} == {
        "value": REPRODUCED,
        "larger": CONTRADICTED,
        "alike": board.AGAIN,
        "vague": board.NOTHING,
    }
    assert {e.statement.id: e.place for e in found.entries} == {
        "value": "notebooks/one.html#claim-value",
        "larger": "notebooks/one.html#claim-larger",
        "alike": "notebooks/two.html#claim-same",
        "vague": "notebooks/one.html",
    }
    assert found.place(found.papers[0].beyond[0]) == "notebooks/two.html"  # where no row of it is shown
    one, ten = found.papers[0].figures
    assert [e.statement.id for e in found.showing("partitioned", one)] == ["value"]
    assert [e.statement.id for e in found.showing("partitioned", ten)] == ["larger"]


def test_findings_are_filled_in_from_the_verdicts(book):
    found = book(value=REPRODUCED, larger=CONTRADICTED)
    said = "Of 4 statements 2 are judged, 1 reproduced, 1 not; the value is 1.02 ± 0.01."
    said += " Not judged yet: 1 of its 4 statements."
    assert board.finding(found, found.papers[0]) == said
    (paper,) = found.papers
    unjudged = board.Board(found.papers, tuple(e for e in found.entries if not e.row), frozenset(), {})
    with pytest.raises(ValueError, match=r"\{value\} is neither a count nor a statement"):
        board.finding(unjudged, paper)


def test_a_paper_of_which_nothing_is_judged_says_so(here):
    for paper in here.papers:
        judged = here.of(paper.key, REPRODUCED, CONTRADICTED, NOT_RESOLVED)
        assert board.finding(here, paper).startswith("None of its") == (not judged)


def test_a_chapter_that_decides_what_is_not_listed_fails(book):
    with pytest.raises(ValueError, match="one decides other, which no paper's file lists"):
        book(value=REPRODUCED, larger=REPRODUCED, other=REPRODUCED)
    with pytest.raises(ValueError, match="one decides vague, which no paper's file lists"):
        book(value=REPRODUCED, larger=REPRODUCED, vague=REPRODUCED)


def test_a_statement_that_its_chapter_leaves_out_fails(book):
    with pytest.raises(ValueError, match=r"one does not decide larger, which partitioned.yaml gives it"):
        book(value=REPRODUCED)


def test_a_statement_of_a_chapter_that_is_not_there_fails(book):
    with pytest.raises(ValueError, match="alike is decided by 'three', which is no chapter"):
        book(PAPER.replace("chapter: two, rows: [two/same]", "chapter: three"), value=REPRODUCED, larger=REPRODUCED)


def test_a_statement_at_a_figure_that_is_not_listed_fails():
    with pytest.raises(ValueError, match="value stands at Figure 77, which is not among the figures"):
        parse("partitioned", PAPER.replace("where: Figure 1,", "where: Figure 77,"))


def test_values_of_a_statement_are_taken_from_where_its_file_says():
    runs = {"method": ["A", "A", "B", "B"] * 2, "run": [0, 1] * 4, "step": [1] * 4 + [2] * 4}
    frame = pd.DataFrame(runs | {"accuracy": [0.0] * 4 + [0.1, 0.4, 0.3, 0.2]})
    of = {"from": "spirals", "column": "accuracy"}
    assert list(chapter._values(frame, **of, method="A")) == [0.1, 0.4]
    assert list(chapter._values(frame, **of, method="A", step=1)) == [0, 0]
    assert list(chapter._values(frame, **of, method="A", step=9)) == [0.1, 0.4], "a run that ended sooner"
    assert list(chapter._values(frame, **of, method=["A", "B"], by="max")) == [0.3, 0.4]
    assert list(chapter._values(frame, **of, method="A", by="mean", step="all")) == [0.05, 0.2]
    above = of | {"column": "accuracy > 0.15"}
    assert list(chapter._values(frame, **above, by="all", method=["A", "B"])) == [False, True]
    assert list(chapter._values(frame, **above, per=["method"])) == [False, True, True, True], "run 0 of A, of B, run 1"
    with pytest.raises(ValueError, match="takes several values of a run"):
        chapter._values(frame, **of, method=["A", "B"])
    with pytest.raises(ValueError, match="others change, one by one, the entries of taken"):
        parse(
            "partitioned",
            PAPER.replace("scale: s, chapter: one}", "scale: s, chapter: one, others: {a: [{step: 1}]}}", 1),
        )
    one = "chapter: one, taken: [{from: spirals, column: accuracy}, {from: spirals, column: loss}]}"
    with pytest.raises(ValueError, match="value: taken has 2 entries, which the rule 'number' cannot use"):
        parse("partitioned", PAPER.replace("scale: s, chapter: one}", f"scale: s, {one}", 1))


def test_other_settings_fold_under_their_statement_by_its_rule(monkeypatch):
    """What the file lists under others, and what a chapter adds, is judged as the statement is."""
    taken = "[{from: spirals, column: accuracy, method: A}, {from: spirals, column: accuracy, method: B}]"
    others = "others: {alone: [{}, {method: C}], reversed: [{method: B}, {method: A}]}"
    order = "larger, where: Figure 10, says: A > B., rule: order, scale: s, chapter: one"
    paper = parse("partitioned", PAPER.replace(order, f"{order}, taken: {taken}, {others}"))
    mine = [("partitioned", one) for one in paper.statements if one.chapter == "one" and one.rule != "none"]
    monkeypatch.setattr(chapter, "statements", lambda name: mine)
    values = {"A": [0.8, 0.9, 0.85], "B": [0.5, 0.6, 0.56], "C": [0.7, 0.95, 0.86]}
    frame = pd.DataFrame(
        [{"method": m, "run": i, "step": 1, "accuracy": v} for m, runs in values.items() for i, v in enumerate(runs)]
    )
    verdicts = chapter.Verdicts("one")
    spirals = SimpleNamespace(frame=frame, scale="record", parameters={})
    verdicts.taken(spirals=spirals)
    verdicts.number("value", [1.0, 1.01, 0.99], of=spirals)
    verdicts.variant("value", "twice as long", [2.0, 2.01, 1.99])
    verdicts.variant("value", "not to be had", "it diverges", "at the first step")
    value, larger = verdicts.rows
    assert larger.verdict == "reproduced" and "pairs" in larger.ours
    assert {v["setting"]: v["verdict"] for v in larger.variants} == {
        "alone": "not resolved",
        "reversed": "contradicted",
    }
    longer, diverged = value.variants
    assert (longer["verdict"], diverged["verdict"], diverged["detail"]) == ("contradicted", "", "at the first step")
    with pytest.raises(ValueError, match="'nothing' is no statement that one decides"):
        verdicts.variant("nothing", "a", "b")


def test_a_smaller_run_is_shown_and_not_judged(monkeypatch):
    """The row has the means, the command and its cost; at the paper's scale the statement's rule judges."""
    value = "{id: value, where: Figure 1, says: It is 1., rule: number, paper: 1, margin: .1, because: b, scale: s,"
    paper = parse("partitioned", PAPER.replace(value, f"{value} needs: {{steps: 100}},"))
    mine = [("partitioned", one) for one in paper.statements if one.id == "value"]
    monkeypatch.setattr(chapter, "statements", lambda name: mine)
    for steps, verdict, ours in ((10, "not run at the paper's scale", "1.01"), (100, "reproduced", "1.010")):
        verdicts = chapter.Verdicts("one")
        of = SimpleNamespace(scale="record", parameters={"steps": steps})
        found = verdicts.at_scale("value", [1.0, 1.02, 1.01], of=of, command="run it", cost="1 h")
        (row,) = verdicts.rows
        assert found == row.verdict == verdict
        assert row.ours == ours if steps == 10 else row.ours.startswith(ours)
        assert (row.command, row.cost) == (("run it", "1 h") if steps == 10 else ("", ""))


def test_the_filter_says_how_much_of_a_scale_the_paper_gives(book):
    def kind(word):
        return book(PAPER.replace("scale: s, chapter: one}", f"scale: s, {word} chapter: one}}", 1), value="reproduced",
                    larger="reproduced").entries[0].scale  # fmt: skip

    assert kind("") == kind("given: fully,") == "the paper's"
    assert kind("given: partly,") == "the paper's, as far as it gives one"
    assert kind("given: nothing,") == "ours, for the paper gives none"
    with pytest.raises(ValueError, match="value: given 'half' is not known; known: fully, partly, nothing"):
        kind("given: half,")
