"""A Sphinx extension: a box under the title of each chapter that says how to run it again, and how long it takes.

The time is that of the last run whose record was kept: in ``results/compared.json``, or, where the book shows runs, in
the metadata of each. Links to Binder and Colab need an address from which these can fetch the book: they are there
where the book is built by GitHub, or from a clone of a repository on GitHub.
"""

import json
import os
import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def repository(root: Path) -> tuple[str, str] | None:
    """Owner and name on GitHub, and the branch; None where the book has no such address."""
    if there := os.environ.get("GITHUB_REPOSITORY"):
        return there, os.environ.get("GITHUB_REF_NAME", "main")

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
        return done.stdout.strip()

    found = re.fullmatch(
        r"(?:https://|git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", git("remote", "get-url", "origin")
    )
    return (found[1], git("branch", "--show-current") or "main") if found else None


def links(stem: str, there: tuple[str, str] | None) -> dict[str, str]:
    """Where a chapter can be run without installing anything: name to address."""
    if there is None:
        return {}
    name, branch = there
    return {
        "Binder": f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/notebooks/{stem}.ipynb",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{branch}/notebooks/{stem}.ipynb",
    }


def duration(seconds: float) -> str:
    """As a reader wants it: ``80 seconds``, ``3 minutes``, ``2.5 hours``."""
    if seconds < 120:
        return f"{10 * max(1, round(seconds / 10))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def took(source: Path, stem: str) -> float:
    """Seconds of the last run of a chapter that is on record; zero where there is none."""

    def read(name: str) -> dict[str, Any]:
        path = source / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    run = read(f"notebooks/{stem}.ipynb")["metadata"].get("thermolib", {})
    return run.get("seconds") or read("results/compared.json").get(stem, {}).get("seconds", 0)


def add_box(app: Sphinx, doctree: nodes.document, page: str) -> None:
    folder, _, stem = page.rpartition("/")
    if folder != "notebooks":
        return
    seconds = took(Path(app.srcdir), stem)
    takes = f", about {duration(seconds)} on one core" if seconds else ""
    command = f".venv/bin/companion run notebooks/{stem}"
    box = nodes.container(classes=["rerun"])
    # Not a heading: the box belongs to the page, not to its outline.
    box += nodes.paragraph("", "", nodes.strong("", "Rerun this"), nodes.Text(takes))
    box += nodes.literal_block(command, command, language="bash")
    ways = nodes.paragraph(classes=["ways"])
    source = posixpath.join(app.config.html_context.get("content_root", ".."), "_sources", "notebooks", f"{stem}.ipynb")
    ways += nodes.raw("", f'<a href="{source}" download>Download the notebook</a>', format="html")
    for name, address in links(stem, repository(Path(app.confdir))).items():
        ways += [nodes.Text(" · "), nodes.reference("", name, refuri=address)]
    more = posixpath.relpath("book/rerun.html", folder)
    ways += [nodes.Text(" · "), nodes.reference("", "With other parameters, many at once", refuri=more, internal=True)]
    box += ways
    title = next(iter(doctree.findall(nodes.title)))
    title.parent.insert(title.parent.index(title) + 1, box)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", add_box)
    return {"parallel_read_safe": True}
