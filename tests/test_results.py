"""Recorded runs say where they come from, and are those of the batch that the project has."""

import json
import re
from pathlib import Path

import pytest

from companion.runs import batch
from companion.runs.shown import claimed

ROOT = Path(__file__).resolve().parents[1]
RECORDS = sorted((ROOT / "results").glob("*/*/at_paper_scale.txt"))
HEAD = ("chapter", "parameters", "seed", "commit", "started", "machine", "GPU", "versions", "wall time", "memory")


def head(path: Path) -> dict[str, str]:
    """The lines above the first empty one; what is indented goes on."""
    text = re.sub(r"\n {11}", " ", path.read_text(encoding="utf-8").partition("\n\n")[0])
    return {line[:11].strip(): line[11:].strip() for line in text.splitlines()}


def run_of(path: Path) -> batch.Run:
    runs = {run.name: run for run in batch.load(ROOT / "batches" / f"{path.parents[1].name}.yaml")}
    assert path.parent.name in runs, f"{path} is a record of a run that its batch does not have"
    return runs[path.parent.name]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_record_has_its_provenance_and_is_of_a_run_of_the_batch(path):
    found, run = head(path), run_of(path)
    assert [name for name in HEAD if not found.get(name)] == []
    assert re.fullmatch(r"[0-9a-f]{7,40}", found["commit"]), "a record is made from a commit, without changes"
    assert found["chapter"] == run.chapter.stem
    expected = "; ".join(f"{k} = {v}" for k, v in run.parameters.items()) or "as in the chapter"
    assert re.sub(r"\s+", "", found["parameters"]) == re.sub(r"\s+", "", expected)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_record_judges_the_claims_of_its_chapter(path):
    """And others where there is one for each value of a parameter. Its verdicts are those that it printed; the book's
    page of records shows them (tests/test_book.py)."""
    printed = re.findall(r"^\[(reproduced|differs|not run at this scale)\] ", path.read_text(), re.M)
    kept = json.loads((path.parents[1] / "claims.json").read_text(encoding="utf-8"))[path.parent.name]
    shown = claimed(run_of(path).chapter.with_suffix(".ipynb"))
    assert {row["id"] for one in shown for row in one["claims"]} <= {row["id"] for row in kept}
    assert [row["verdict"] for row in kept] == printed
