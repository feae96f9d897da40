"""A Sphinx directive, ``{library} PACKAGE``: what a package holds, made from its docstrings.

First a table of its names with their first sentences, then a section for each of its modules. Of ``thermolib`` and
``companion`` themselves, a table of names and one of rooms, of which each has a page. New names and modules appear by
themselves.
"""

import importlib
import pkgutil
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, cast

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import thermolib


class Library(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        found = [importlib.import_module(f"{package.__name__}.{name}") for name in modules(package)]
        page = self.lines(f".. automodule:: {package.__name__}", "   :no-members:", "", *_table(_names(package, found)))
        if "." not in package.__name__:
            return [*page, *self.lines(*_table([one.__name__ for one in found if hasattr(one, "__path__")]))]
        for module in found:
            section = nodes.section(ids=[module.__name__.replace(".", "-").replace("_", "-")])
            section += nodes.title("", module.__name__)
            section += self.lines(f".. automodule:: {module.__name__}")
            page.append(section)
        return page

    def lines(self, *lines: str) -> list[nodes.Node]:
        """What lines of reStructuredText come to; none, if there are none."""
        parent = nodes.Element()
        if lines:
            text = StringList(["```{eval-rst}", *lines, "```"], self.env.docname)
            self.state.nested_parse(text, self.content_offset, parent)
        return parent.children


def modules(package: ModuleType) -> list[str]:
    """The public modules that lie in a package, and no deeper."""
    return sorted(one.name for one in pkgutil.iter_modules(package.__path__) if not one.name.startswith("_"))


def _names(package: ModuleType, found: Sequence[ModuleType]) -> list[str]:
    """What a package passes on, by the modules that define it; where that is nothing, what its modules define."""
    passed = [getattr(package, name) for name in getattr(package, "__all__", ())]
    if not passed and "." in package.__name__:
        passed = [getattr(one, name) for one in found for name in getattr(one, "__all__", ())]
    rooms = [one.__name__ for one in passed if isinstance(one, ModuleType)]
    return [*(f"{one.__module__}.{one.__qualname__}" for one in passed if _ours(one)), *rooms]


def _ours(thing: Any) -> bool:
    where = getattr(thing, "__module__", None) or ""
    return where.startswith(("thermolib.", "companion.")) and hasattr(thing, "__qualname__") and bool(thing.__doc__)


def _table(names: Sequence[str]) -> list[str]:
    """A table of names, the last part of each, with their first sentences."""
    listed = [f"   ~{name}" for name in names]
    return [".. py:currentmodule:: None", ".. autosummary::", "   :nosignatures:", "", *listed, ""] if names else []


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
