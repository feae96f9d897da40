"""Every Python snippet of the README and of the book's pages runs as it stands, and what a shell is told is there."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from book.tools.chapters import ROOT
from companion.runs import batch, chapters

SNIPPET = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "book").rglob("*.md"))] if "```python" in path.read_text()
]


#: Runs the snippets of each page in names of its own, and prints for each what went wrong. One process for all of them:
#: its start takes longer than most pages do.
RUN_ALL = """
import json, os, sys, traceback
said, standard = {}, sys.stdout
sys.stdout = sys.stderr
for page, (folder, code) in json.load(sys.stdin).items():
    os.chdir(folder)
    try:
        exec(compile(code, page, "exec"), {"__name__": "__main__"})
        said[page] = ""
    except BaseException:
        said[page] = traceback.format_exc()
json.dump(said, standard)
"""


def run(texts: dict[str, str], parent: Path) -> dict[str, str]:
    """What went wrong with the snippets of each page, one after the other, in a folder of the page's own."""
    given = {}
    for number, (page, text) in enumerate(texts.items()):
        folder = parent / str(number)
        folder.mkdir()
        (folder / "notebooks").symlink_to(ROOT / "notebooks")
        given[page] = str(folder), "\n".join(SNIPPET.findall(text))
    command = [sys.executable, "-c", RUN_ALL]
    done = subprocess.run(command, input=json.dumps(given), cwd=parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    texts = {str(page): page.read_text(encoding="utf-8") for page in PAGES}
    return run(texts, tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_snippets_of_a_page_run(page, outcomes):
    assert outcomes[str(page)] == ""


def test_a_snippet_that_fails_would_be_noticed(tmp_path):
    text = "text\n```python\n{}\n```\ntext\n```python\nassert a == 2\n```\n"
    found = run({"good": text.format("a = 2"), "bad": text.format("a = 1"), "lent": text.format("")}, tmp_path)
    assert found["good"] == "" and "AssertionError" in found["bad"]
    assert "name 'a' is not defined" in found["lent"], "a page has what it imports and defines itself, and nothing more"


def test_each_integrator_has_a_page_that_opens_with_five_lines():
    import thermolib as tl
    from thermolib.dynamics.base import Integrator

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


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").rglob("*.md"))]
TEXTS += sorted((ROOT / "notebooks").glob("*.md"))
RUN = re.compile(r"companion run\s+(notebooks/\w+)((?:\s+-p\s+\w+=(?:\"[^\"]*\"|[^\s`\"]+))*)")
CHANGED = re.compile(r"`(-p [^`]+)`")


def commands(path) -> list[tuple[str, list[str]]]:
    """The chapters that a page says to run, with what follows ``-p``; a chapter that names none means itself."""
    text = path.read_text(encoding="utf-8")
    found = [(match[1], match[2]) for match in RUN.finditer(text)]
    if path.parent.name == "notebooks":
        found += [(f"notebooks/{path.stem}", options) for options in CHANGED.findall(text)]
    return [(chapter, [word for word in shlex.split(options) if word != "-p"]) for chapter, options in found]


@pytest.mark.parametrize("page", [p for p in TEXTS if commands(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_runs_that_a_page_names_are_runs(page):
    for chapter, options in commands(page):
        pairs = [option.partition("=") for option in options]
        batch.single(ROOT / chapter, {name: chapters.literal(value) for name, _, value in pairs})


def test_targets_and_batches_that_pages_name_are_there():
    targets = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split())
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.M)) <= targets, path.name
        named = set(re.findall(r"batches/([\w-]+)\.yaml", text)) - {"NAME", "mine"}
        assert named <= {p.stem for p in (ROOT / "batches").glob("*.yaml")}, path.name


def test_the_batch_that_the_book_shows_is_a_batch(tmp_path):
    (shown,) = re.findall(r"^```yaml\n(include:.*?)^```", (ROOT / "book" / "rerun.md").read_text(), re.M | re.S)
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    shutil.copytree(ROOT / "batches", tmp_path / "batches")
    (tmp_path / "batches" / "mine.yaml").write_text(shown)
    assert len([run for run in batch.load(tmp_path / "batches" / "mine.yaml") if "slower" in run.name]) == 10
