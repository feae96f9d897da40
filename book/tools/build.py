"""Build the book from the stored outputs of its chapters: ``python -m book.tools.build``.

With ``--runs``, from the runs that ``make reproduce`` has just made. The book is in ``_build/html`` either way, built
from nothing each time: an incremental build forgets the warnings of the pages that it does not read again.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from book.tools import chapters
from companion.runs import batch
from companion.runs.chapters import lacking, read

ROOT = chapters.ROOT
HTML = ROOT / "_build" / "html"
SOURCES = ("_config.yml", "_toc.yml", "CONTRIBUTING.md", "book", "notebooks", "thermolib", "companion", "results")
SUFFIXES = (".md", ".ipynb", ".py", ".yml", ".bib", ".css", ".js", ".txt", ".json", ".csv", ".svg", ".png")


def digest(root: Path = ROOT) -> str:
    """Changes when anything changes that the book is built from."""
    total = hashlib.sha256()
    for name in SOURCES:
        there = root / name
        for path in [there] if there.is_file() else sorted(there.rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def fresh() -> bool:
    """Is the book that is there the one that would be built from the stored outputs?"""
    stamp = HTML / ".built-from"
    return stamp.is_file() and stamp.read_text() == digest()


def build(source: Path = ROOT, builder: str = "html", toc: Path | None = None) -> Path:
    """Build the book that lies at ``source`` and return its folder; any warning is an error.

    With a table of contents of its own, which leaves pages out, what leads to them does not.
    """
    before, there = digest(), HTML.with_name(builder)
    for old in (there, ROOT / "_build" / ".doctrees"):
        shutil.rmtree(old, ignore_errors=True)
    # extensions import each other, and the library, from here
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    strict = ["--toc", str(toc)] if toc else ["-W", "-n"]
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)]
    done = subprocess.run(
        [*command, "--path-output", str(ROOT), "--builder", builder, "--all", "--keep-going", "-q", *strict],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        shutil.rmtree(there, ignore_errors=True)  # half a book must not be mistaken for one
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise SystemExit("the book could not be built:\n" + "\n".join(said[-60:]))
    (there / ".built-from").write_text(before if source == ROOT else "runs")
    return there


def stage_runs(root: Path = ROOT) -> Path:
    """A copy of the book's sources in which the chapters are the runs in ``runs/default/``.

    A chapter whose data are not to be had was left out of the runs: it has its stored outputs, and says so.
    """
    stage = root / "_build" / "of_runs"
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "notebooks").mkdir(parents=True)
    for name in ("book", "results"):
        if (root / name).is_dir():
            shutil.copytree(root / name, stage / name)
    for name in ("_toc.yml", "CONTRIBUTING.md"):
        shutil.copy(root / name, stage / name)
    left_out = 0
    for run in batch.load(root / "batches" / "default.yaml"):
        notebook = run.chapter.with_suffix(".ipynb")
        if batch.state(run)[0] != "done" and (reason := lacking(read(run.chapter))):
            (stage / "notebooks" / notebook.name).write_text(json.dumps(stored(notebook, reason)))
            left_out += 1
            continue
        if not run.out.exists():
            raise SystemExit(f"{run.out.relative_to(root)} is not there: run make reproduce")
        content = json.loads(run.out.read_text())
        for cell in content["cells"]:
            # The progress bars and warnings of a run are no part of the page.
            cell["outputs"] = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
            if cell["cell_type"] != "code":
                del cell["outputs"]
        (stage / "notebooks" / notebook.name).write_text(json.dumps(content))
    config = yaml.safe_load((root / "_config.yml").read_text())
    but = ", except where a chapter says otherwise" if left_out else ""
    config.setdefault("html", {})["announcement"] = (
        f"The results in this copy of the book were computed on this machine on {time.strftime('%Y-%m-%d')}{but}."
    )
    (stage / "_config.yml").write_text(yaml.safe_dump(config))
    return stage


def stored(notebook: Path, reason: str) -> dict[str, Any]:
    """A chapter with its stored outputs, and a note under its title that says why it was not executed here."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    first = next(cell for cell in content["cells"] if cell["cell_type"] == "markdown")
    title, _, rest = "".join(first["source"]).partition("\n")
    note = f":::{{warning}}\nThis chapter was not executed here, and shows what is stored of it: {reason}.\n:::"
    first["source"] = f"{title}\n\n{note}\n{rest}"
    return content


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m book.tools.build", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", action="store_true", help="show the runs in runs/default/, not the stored outputs")
    build(stage_runs() if parser.parse_args().runs else ROOT)
    print(f"the book is built; open {HTML / 'index.html'}")


if __name__ == "__main__":
    main()
