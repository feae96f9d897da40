"""For units and chapters alike: a skip that is not known fails, and the files that took longest are named."""

import fnmatch
import os
from collections import Counter
from pathlib import Path

import pytest

#: Lines of ``where | why | package``, as the file itself explains.
KNOWN = Path(__file__).parent / "tests" / "known_skips.txt"


def unknown(where, why):
    """What to say of a skip that is not known; nothing of one that is.

    ``MISSING`` holds the system packages that could not be installed, and then nobody may skip for want of another.
    Where nobody has said what there is, on a reader's own machine, any of the packages may be missing.
    """
    missing = os.environ.get("MISSING")
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            known, because, package = (part.strip() for part in line.split("|"))
            told = package == "-" or missing is None or package in missing.split()
            if told and fnmatch.fnmatchcase(where, known) and fnmatch.fnmatchcase(why, because):
                return ""
    return f"a skip that is not known (tests/known_skips.txt): {why}"


def judged(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2].removeprefix("Skipped: ")
        if problem := unknown(report.nodeid, why):
            report.outcome, report.longrepr = "failed", problem
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport():
    return judged((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report():
    return judged((yield))


def pytest_terminal_summary(terminalreporter):
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("files that took longest")
    for name, spent in seconds.most_common(10):
        terminalreporter.write_line(f"{spent:6.0f} s  {name}")
