"""Sphinx directives for what was stored: ``{recorded} FOLDER`` and ``{shown} CHAPTER FIGURE``.

The first gives every text recorded in a folder of the project, as it was printed; the second a figure of a chapter.
"""

import base64
import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
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


class Shown(SphinxDirective):
    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        stem, name = self.arguments
        path = Path(self.env.srcdir) / "notebooks" / f"{stem}.ipynb"
        self.env.note_dependency(str(path))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            about = cell["metadata"].get("mystnb", {})
            if about.get("figure", {}).get("name") != name:
                continue
            for output in cell["outputs"]:
                if svg := "".join(output.get("data", {}).get("image/svg+xml", "")):
                    data = base64.b64encode(svg.encode()).decode()
                    image = nodes.image(uri=f"data:image/svg+xml;base64,{data}", alt=about["image"]["alt"])
                    return [nodes.figure("", image)]
        raise self.error(f"{path.name} has no figure {name!r} in SVG")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("shown", Shown)
    app.add_directive("recorded", Recorded)
    return {"parallel_read_safe": True}
