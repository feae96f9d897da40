"""A Sphinx directive, ``{library}``: a section for each module of thermolib, made from its docstrings.

New modules and new names appear by themselves.
"""

import importlib
import pkgutil
import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import thermolib

logger = logging.getLogger(__name__)


def modules() -> list[str]:
    """thermolib and the public modules in it, each package before what it holds."""
    found = [m.name for m in pkgutil.walk_packages(thermolib.__path__, "thermolib.")]
    return ["thermolib", *(name for name in sorted(found) if not any(p.startswith("_") for p in name.split(".")))]


class Library(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for name in modules():
            try:
                importlib.import_module(name)
            except ImportError as error:
                logger.warning("%s cannot be imported: %s", name, error)
                continue
            section = nodes.section(ids=[name.replace(".", "-").replace("_", "-")])
            section += nodes.title("", "", nodes.literal("", name))
            text = ["```{eval-rst}", f".. automodule:: {name}", "```"]
            self.state.nested_parse(StringList(text, self.env.docname), self.content_offset, section)
            sections.append(section)
        return sections


def split_arguments(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``name : text`` under Parameters and its like is a name and its meaning, where numpydoc would read a type."""
    changed: list[str] = []
    inside = False
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1]):
            inside = line.strip() in ("Parameters", "Raises", "Attributes", "Returns", "Yields")
        if inside and (match := re.fullmatch(r"(\S[^:`]*) : (.+)", line)):
            changed += [match[1], f"    {match[2]}"]
        else:
            changed.append(line)
    lines[:] = changed


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("library", Library)
    app.connect("autodoc-process-docstring", split_arguments, priority=100)  # before napoleon reads the sections
    return {"parallel_read_safe": True}
