"""A skip that nobody knows of fails, in a test, in a chapter and in a whole file; and the list is of what there is."""

import fnmatch
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIST = "# of this test\n\ntests/test_sky.py::* | the moon* | -\ntests/* | no telescope* | telescope\n"
TESTS = """\
import pytest

def test_known():
    pytest.skip("the moon is new")

@pytest.mark.skipif(True, reason="no telescope is installed")
def test_package():
    pass

def test_unknown():
    pytest.skip("it is raining")

@pytest.mark.xfail
def test_expected():
    assert False

def test_passes():
    pass
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "tests" / "known_skips.txt").write_text(LIST)
    return tmp_path


def test_what_is_not_known_fails(project):
    (project / "tests" / "test_sky.py").write_text(TESTS)
    (project / "tests" / "test_self.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:nbval", "--continue-on-collection-errors", "tests"]
    given = {"cwd": project, "env": os.environ | {"MISSING": ""}, "capture_output": True, "text": True}
    told = subprocess.run(command, **given).stdout
    found = dict(re.findall(r"^tests/test_sky\.py::test_(\w+) ([A-Z]+)", told, re.M))
    expected = {"known": "SKIPPED", "package": "ERROR", "unknown": "FAILED", "expected": "XFAIL", "passes": "PASSED"}
    assert found == expected, told
    for reason in ("it is raining", "no telescope is installed", "could not import 'no_such_package'"):
        assert f"a skip that is not known (tests/known_skips.txt): {reason}" in told


@pytest.mark.parametrize(
    ("missing", "known"), [(None, True), ("a telescope", True), ("a", False), ("telescopes", False), ("", False)]
)
def test_a_package_explains_a_skip_only_where_it_could_not_be_installed(project, monkeypatch, missing, known):
    spec = importlib.util.spec_from_file_location("rules", project / "conftest.py")
    rules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    monkeypatch.delenv("MISSING", raising=False)
    if missing is not None:
        monkeypatch.setenv("MISSING", missing)
    assert (rules.unknown("tests/test_stars.py::test_near[1]", "no telescope is installed") == "") == known
    assert rules.unknown("tests/test_sky.py::test_it", "the moon is new") == ""
    assert rules.unknown("tests/test_sea.py::test_it", "the moon is new")
    assert rules.unknown("notebooks/sky.ipynb::Cell 3", "no telescope is installed")


def test_the_list_is_of_tests_and_packages_that_there_are():
    lines = (ROOT / "tests" / "known_skips.txt").read_text(encoding="utf-8").splitlines()
    entries = [[part.strip() for part in line.split("|")] for line in lines if line and line[0] != "#"]
    files = [str(path.relative_to(ROOT)) for folder in ("tests", "notebooks") for path in (ROOT / folder).iterdir()]
    assert entries and [where for where, _, _ in entries if not fnmatch.filter(files, where.partition("::")[0])] == []
    installed = re.findall(r"^need \S+ (\S+)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert {package for _, _, package in entries} - {"-"} <= set(installed)
