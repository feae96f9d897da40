"""Style, types, and the two files of every chapter: with these in it, one run of pytest says everything."""

import subprocess
import sys

import pytest

from book.tools.chapters import ROOT


@pytest.mark.parametrize(
    "command", ["ruff check --output-format=concise .", "ruff format --check .", "mypy", "book.tools.pairs"]
)
def test_the_project_passes(command):
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{command}:\n{done.stdout}{done.stderr}", pytrace=False)
