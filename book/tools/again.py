"""A Sphinx extension: a box under the title of each chapter that says how to run it again, and how long it takes.

The time is that of the last run whose record was kept: in ``results/compared.json``, or, where the book shows runs, in
the metadata of each. The commands begin with a clone, and links lead to Binder and Colab, where ``repository`` in
``_config.yml`` has the project's address; where it has none, the box says so.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

NO_ADDRESS = "In the folder of the project, whose address this copy of the book does not say:"


def links(stem: str, address: str, branch: str) -> dict[str, str]:
    """Where a chapter can be run without installing anything, if the project lies on GitHub: name to address."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
    if not found:
        return {}
    return {
        "Binder": f"https://mybinder.org/v2/gh/{found[1]}/{branch}?urlpath=lab/tree/notebooks/{stem}.ipynb",
        "Colab": f"https://colab.research.google.com/github/{found[1]}/blob/{branch}/notebooks/{stem}.ipynb",
    }


def commands(stem: str, address: str) -> str:
    """From nothing to the chapter, run again."""
    folder = posixpath.basename(address.rstrip("/")).removesuffix(".git")
    clone = [f"git clone {address}", f"cd {folder}"] if address else []
    return "\n".join([*clone, "make book", f".venv/bin/companion run notebooks/{stem}"])


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
    theme = app.config.html_theme_options
    address, branch = theme.get("repository_url", ""), theme.get("repository_branch", "main")
    box = nodes.container(classes=["rerun"])
    # Not a heading: the box belongs to the page, not to its outline.
    box += nodes.paragraph("", "", nodes.strong("", "Rerun this"), nodes.Text(takes))
    if not address:
        box += nodes.paragraph("", NO_ADDRESS)
    text = commands(stem, address)
    box += nodes.literal_block(text, text, language="bash")
    ways = nodes.paragraph(classes=["ways"])
    source = posixpath.join(app.config.html_context.get("content_root", ".."), "_sources", "notebooks", f"{stem}.ipynb")
    ways += nodes.raw("", f'<a href="{source}" download>Download the notebook</a>', format="html")
    for name, there in links(stem, address, branch).items():
        ways += [nodes.Text(" · "), nodes.reference("", name, refuri=there)]
    more = posixpath.relpath("book/rerun.html", folder)
    ways += [nodes.Text(" · "), nodes.reference("", "With other parameters, many at once", refuri=more, internal=True)]
    box += ways
    title = next(iter(doctree.findall(nodes.title)))
    title.parent.insert(title.parent.index(title) + 1, box)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", add_box)
    return {"parallel_read_safe": True}
