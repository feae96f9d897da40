"""What executed notebooks show: outputs, glued numbers, claims."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from companion.claims import chapter, former
from companion.evidence.records import Record
from companion.runs.batch import Run, state

__all__ = ["claimed", "held", "outputs", "results"]


def results(runs: list[Run]) -> pd.DataFrame:
    """A tidy table of what the runs that are there show: one row for each claim, each glued number and each record.

    Columns: ``run``, ``state``, the parameters, ``id``, ``claim``, ``paper``, ``ours``, ``verdict``.
    """
    rows = []
    for run in runs:
        head = {"run": run.name, "state": state(run)[0], **run.parameters}
        if not run.out.is_file():
            rows.append(head)
            continue
        if run.experiment:
            try:
                about = Record(run.project, run.name).provenance()
                head |= about["parameters"] | {"id": about["table"], "ours": f"{about['rows']} rows"}
            except ValueError as error:
                head["ours"] = str(error)
            rows.append(head)
            continue
        names = {"id": "id", "claim": "sentence", "paper": "paper", "ours": "ours", "verdict": "verdict"}
        for shown in claimed(run.out):
            rows += [{**head, **{k: row.get(v, "") for k, v in names.items()}} for row in shown["claims"]]
        rows += [
            {**head, "id": row.id, "claim": row.says, "paper": row.printed, "ours": row.ours, "verdict": row.verdict}
            for row in chapter.read(outputs(run.out)) or ()
        ]
        for output in outputs(run.out):
            if glued := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                text = next((v for k, v in output.get("data", {}).items() if k.endswith("text/plain")), "")
                rows.append({**head, "id": glued, "ours": "".join(text)})
    return pd.DataFrame(rows)


def outputs(path: Path) -> list[dict[str, Any]]:
    """All outputs of an executed notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def claimed(path: Path) -> list[dict[str, Any]]:
    """What each ``Claims`` object of an executed notebook shows."""
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs(path)]
    return [shown for page in pages if (shown := former.read(page))]


def held(path: Path) -> str:
    """How many claims an executed notebook makes, and what became of them."""
    if rows := chapter.read(outputs(path)):
        counts = Counter(row.verdict for row in rows)
        said = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
        return f"{len(rows)} statements{' (your run)' * any(row.yours for row in rows)}: {said}"
    return former.summary([row for shown in claimed(path) for row in shown["claims"]])
