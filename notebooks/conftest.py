"""Chapters are executed again by nbval; here it learns how their numbers are compared (book/tools/compare.py).

It lies beside the chapters, so that it also holds when one of them is tested alone: ``pytest notebooks/NAME.ipynb``.
"""

import datetime
import json
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

from book.tools import compare
from companion.runs import chapters, execution

ROOT = Path(__file__).resolve().parents[1]
#: What the last comparison of each chapter took and gave; `make test RECORD=1` keeps it in results/.
COMPARED = ROOT / "runs" / "compared.json"


def compare_outputs(self, test, ref, skip_compare=None):
    tags = self.cell.metadata.get("tags", [])
    within = compare.tolerance(tags)
    old = compare.texts(ref, keep_stderr="check-stderr" in tags)
    new = compare.texts(test, keep_stderr="check-stderr" in tags)
    self.comparison_traceback = []
    if [kind for kind, _ in old] != [kind for kind, _ in new]:
        kinds = [", ".join(kind for kind, _ in side) or "nothing" for side in (new, old)]
        self.comparison_traceback.append(f"the cell now gives {kinds[0]} where {kinds[1]} is stored")
        return False
    for (kind, reference), (_, text) in zip(old, new, strict=True):
        if problem := compare.difference(self.sanitize(reference), self.sanitize(text), within):
            self.comparison_traceback.append(
                f"{kind}: {problem}\n--- stored\n{reference[:2000]}\n--- now\n{text[:2000]}"
            )
    return not self.comparison_traceback


def execute_cell_input(self, cell_input, allow_stdin=None):
    # nbval runs cells without history, and then the `;` that hides a result is not honoured.
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)


for owner, method in [(IPyNbCell, compare_outputs), (RunningKernel, execute_cell_input)]:
    if not hasattr(owner, method.__name__):
        raise RuntimeError(f"this nbval has no {owner.__name__}.{method.__name__}: install the version that is pinned")
    setattr(owner, method.__name__, method)


def pytest_runtest_setup(item):
    if isinstance(item, IPyNbCell) and (reason := chapters.lacking(item.parent.nb)):
        pytest.skip(reason)
    if isinstance(item, IPyNbCell) and item.cell.source.strip() and item.cell.execution_count is None:
        pytest.fail("this cell was never run, so there is nothing to compare with: run make chapters", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed and isinstance(item, IPyNbCell):
        item.parent.failed = True
    return report


def pytest_runtest_teardown(item, nextitem):
    """Behind its last cell, a chapter that failed is kept as it came out now, in ``runs/failed``."""
    chapter = item.parent
    if not getattr(chapter, "failed", False) or (nextitem and nextitem.parent is chapter):
        return
    for cell in (other for other in item.session.items if other.parent is chapter):
        cell.cell.outputs = cell.test_outputs or []
    place = item.path.parents[1] / "runs" / "failed" / item.path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(chapter.nb, place)


_reports = defaultdict(list)


def pytest_runtest_logreport(report):
    file, _, cell = report.nodeid.partition("::")
    if file.startswith("notebooks/") and cell:
        _reports[Path(file).stem].append(report)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput") or not _reports:
        return  # the process that gave the chapters to the workers hears of all of them
    kept = json.loads(COMPARED.read_text()) if COMPARED.is_file() else {}
    for stem, reports in _reports.items():
        outcomes = {report.outcome for report in reports}
        kept[stem] = {
            "agrees": outcomes == {"passed"},
            "seconds": round(sum(report.duration for report in reports)),
            "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
            **execution.provenance(ROOT),
        }
    COMPARED.parent.mkdir(exist_ok=True)
    COMPARED.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
