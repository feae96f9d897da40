"""Sphinx directives for what was stored: ``{recorded} FOLDER`` and ``{shown} CHAPTER FIGURE``.

The first gives every text recorded in a folder of the project, as it was printed; the second a figure of a chapter.
"""

import base64
import json
import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective


class Recorded(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir) / self.arguments[0]
        found: list[nodes.Node] = []
        for path in sorted([*folder.glob("*.txt"), *folder.glob("*.md")]):
            self.env.note_dependency(str(path))
            found.append(nodes.paragraph("", "", nodes.strong("", path.stem.replace("_", " "))))
            text = path.read_text(encoding="utf-8").rstrip()
            # tables of a record are broader than a column of text
            found.append(nodes.container("", nodes.literal_block(text, text, language="text"), classes=["full-width"]))
        return found or [nodes.paragraph("", f"no record lies in {self.arguments[0]} yet.")]


def stored(ipynb: Path, name: str) -> tuple[str, bytes, str]:
    """A figure in the outputs of a chapter: the ending of its file, the file, and the text that stands for it.

    Raises ValueError where the chapter has no such figure.
    """
    for cell in json.loads(ipynb.read_text(encoding="utf-8"))["cells"]:
        about = cell["metadata"].get("mystnb", {})
        if about.get("figure", {}).get("name") != name:
            continue
        for output in cell["outputs"]:
            data = output.get("data", {})
            if svg := "".join(data.get("image/svg+xml", "")):
                return "svg", svg.encode(), about["image"]["alt"]
            if png := "".join(data.get("image/png", "")):
                return "png", base64.b64decode(png), about["image"]["alt"]
    raise ValueError(f"{ipynb.name} has no figure {name!r} among its stored outputs")


def picture(env: BuildEnvironment, stem: str, name: str) -> nodes.image:
    """A figure of a chapter as an image that is loaded when it comes into sight, in a file of its own."""
    ipynb = Path(env.srcdir) / "notebooks" / f"{stem}.ipynb"
    env.note_dependency(str(ipynb))
    ending, data, alt = stored(ipynb, name)
    file = Path(env.doctreedir) / "figures" / f"{stem}-{name}.{ending}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return nodes.image(uri="/" + Path(os.path.relpath(file, env.srcdir)).as_posix(), alt=alt, loading="lazy")


class Shown(SphinxDirective):
    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        try:
            return [nodes.figure("", picture(self.env, *self.arguments))]
        except ValueError as error:
            raise self.error(str(error)) from None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("shown", Shown)
    app.add_directive("recorded", Recorded)
    return {"parallel_read_safe": True}
