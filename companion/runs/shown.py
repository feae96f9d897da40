"""What executed notebooks show: outputs, glued numbers, claims."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from companion.claims import chapter
from companion.evidence.records import Record
from companion.runs.batch import Run, state

__all__ = ["held", "outputs", "results"]


def results(runs: list[Run]) -> pd.DataFrame:
    """A tidy table of what the runs show: one row for each claim and each glued number; every run has a row.

    Columns: ``run``, ``state``, the parameters, ``id``, ``claim``, ``paper``, ``ours``, ``verdict``.
    """
    rows = []
    for run in runs:
        head = {"run": run.name, "state": state(run)[0], **run.parameters}
        try:
            rows += [{**head, **found} for found in (_record(run) if run.experiment else _notebook(run.out))] or [head]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            rows.append({**head, "ours": f"{run.out.name} cannot be read: {' '.join(str(error).split())}"})
    return pd.DataFrame(rows)


def _record(run: Run) -> list[dict[str, Any]]:
    if not run.out.is_file():
        return []
    about = Record(run.project, run.name).provenance()
    return [about["parameters"] | {"id": about["table"], "ours": f"{about['rows']} rows"}]


def _notebook(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    shown, rows = outputs(path), []
    rows += [
        {"id": row.id, "claim": row.says, "paper": row.printed, "ours": row.ours, "verdict": row.verdict}
        for row in chapter.read(shown) or ()
    ]
    for output in shown:
        if glued := output.get("metadata", {}).get("scrapbook", {}).get("name"):
            text = next((v for k, v in output.get("data", {}).items() if k.endswith("text/plain")), "")
            rows.append({"id": glued, "ours": "".join(text)})
    return rows


def outputs(path: Path) -> list[dict[str, Any]]:
    """All outputs of an executed notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def held(path: Path) -> str:
    """How many statements an executed notebook judges, and what became of them."""
    rows = chapter.read(outputs(path)) or []
    counts = Counter(row.verdict for row in rows)
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common()) or "it judges none"
    yours = " (your run)" * any(row.yours for row in rows)
    return f"{len(rows)} statement{'s' * (len(rows) != 1)}{yours}: {said}"
