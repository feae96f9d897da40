"""A Sphinx directive, ``{recorded} FOLDER``: every text recorded in a folder of the project, as it was printed."""

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
            found.append(nodes.literal_block(text, text, language="text"))
        return found or [nodes.paragraph("", f"no record lies in {self.arguments[0]} yet.")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("recorded", Recorded)
    return {"parallel_read_safe": True}
