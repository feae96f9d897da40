"""A Sphinx directive, ``{library}``: a section for each module of the two packages, made from its docstrings.

New modules and new names appear by themselves.
"""

import importlib
import pkgutil
import re
from types import ModuleType
from typing import Any, cast

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import companion
import thermolib

logger = logging.getLogger(__name__)


def modules() -> list[str]:
    """The two packages and the public modules in them, each package before what it holds."""
    found = ["thermolib", *sorted(m.name for m in pkgutil.walk_packages(thermolib.__path__, "thermolib."))]
    found += ["companion", *sorted(m.name for m in pkgutil.walk_packages(companion.__path__, "companion."))]
    return [name for name in found if not any(part.startswith("_") for part in name.split("."))]


class Library(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for name in modules():
            try:
                module = importlib.import_module(name)
            except ImportError as error:
                logger.warning("%s cannot be imported: %s", name, error)
                continue
            section = nodes.section(ids=[name.replace(".", "-").replace("_", "-")])
            section += nodes.title("", name)
            self.parse(section, "```{eval-rst}", f".. automodule:: {name}", *_members(module), "```")
            sections.append(section)
        return sections

    def parse(self, parent: nodes.Element, *lines: str) -> None:
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, parent)


def _members(module: ModuleType) -> list[str]:
    """A module shows what it defines; a package lists what it passes on, which is shown where it is defined."""
    if not hasattr(module, "__path__"):
        return []
    listed = ["   :no-members:", ""]
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            listed.append(f"- :py:mod:`{thing.__name__}`")
        elif getattr(thing, "__module__", "").startswith(("thermolib.", "companion.")) and hasattr(
            thing, "__qualname__"
        ):
            listed.append(f"- :py:obj:`{name} <{thing.__module__}.{thing.__qualname__}>`")
    return listed


FIELDS = {"Parameters": "param {}", "Attributes": "var {}", "Raises": "raises {}", "Returns": "returns"}


def reword(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Underlined sections of a docstring, whose entries are ``name : text``, become the fields that Sphinx knows."""
    changed: list[str] = []
    field = ""
    skip = False
    for line, after in zip(lines, [*lines, ""][1:], strict=True):
        if skip:
            skip = False
            continue
        if line.strip() and re.fullmatch(r"-{3,}", after.strip()):
            field, skip = FIELDS.get(line.strip(), ""), True
            changed += ["", ""] if field else [f".. rubric:: {line.strip()}", ""]
        elif field and (entry := re.fullmatch(r"(\S[^:`]*) : (.+)", line)):
            changed.append(f":{field.format(entry[1].replace(', ', ','))}: {entry[2]}")
        elif field == "returns" and re.match(r"\S", line) and not changed[-1]:
            changed.append(f":returns: {line}")
        elif field and re.match(r"\S", line):  # what follows a section stands for itself
            field = ""
            changed += ["", line]
        else:
            changed.append(line)
    lines[:] = changed


def resolve(app: Sphinx, env: BuildEnvironment, node: nodes.Element, text: nodes.Element) -> nodes.reference | None:
    """``Langevin`` and ``thermolib.Langevin`` lead to where the class is shown, which is the module that defines it; so
    does ``thermolib.losses``, whatever folder holds it."""
    if node["refdomain"] != "py":
        return None
    thing: Any = thermolib
    for part in node["reftarget"].removeprefix("thermolib.").split("."):
        thing = getattr(thing, part, None)
    if isinstance(thing, ModuleType):
        name = thing.__name__
    else:
        name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    domain = cast(PythonDomain, env.get_domain("py"))
    # A name that the package does not pass on is found where only one module shows it.
    found = domain.find_obj(env, "", "", name, None) or domain.find_obj(env, "", "", node["reftarget"], None, 1)
    if len(found) != 1:
        return None
    ((name, there),) = found
    return make_refnode(app.builder, node["refdoc"], there.docname, there.node_id, [text], name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("library", Library)
    app.connect("autodoc-process-docstring", reword)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
