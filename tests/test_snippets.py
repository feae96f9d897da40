"""Every Python snippet of the README and of the book's pages runs as it stands, a page from top to bottom."""

import re
import subprocess
import sys

import pytest

from book.tools.chapters import ROOT

SNIPPET = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "book").rglob("*.md"))] if "```python" in path.read_text()
]


def run(text: str, folder) -> subprocess.CompletedProcess:
    """The snippets of a page, one after the other, in a new process whose folder is ``folder``."""
    code = "\n".join(SNIPPET.findall(text))
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_snippets_of_a_page_run(page, tmp_path):
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    done = run(page.read_text(encoding="utf-8"), tmp_path)
    assert not done.returncode, done.stderr[-2000:]


def test_a_snippet_that_fails_would_be_noticed(tmp_path):
    assert run("text\n```python\na = 1\n```\ntext\n```python\nassert a == 2\n```\n", tmp_path).returncode


def test_each_integrator_has_a_page_that_opens_with_five_lines():
    import thermolib as tl
    from thermolib.integrators.base import Integrator

    pages = {path: path.read_text(encoding="utf-8") for path in (ROOT / "book" / "integrators").glob("*.md")}
    for path, text in pages.items():
        first = SNIPPET.search(text)
        assert first and not text[: first.start()].partition("\n")[2].strip(), f"{path.name} begins with something else"
        lines = [line for line in first[1].splitlines() if line.strip()]
        assert len(lines) <= 7, f"{path.name} begins with {len(lines)} lines"
    names = [n for n in tl.__all__ if isinstance(getattr(tl, n), type) and issubclass(getattr(tl, n), Integrator)]
    names = [n for n in names if n not in ("SGD", "Adam")] + ["LOL", "AdLaLa", "LangevinInLayers"]
    shown = " ".join(pages.values())
    assert [n for n in names if not re.search(rf"^\.\. auto(class|function):: thermolib\.{n}$", shown, re.M)] == []
