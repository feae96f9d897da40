"""What of a chapter counts for its results: all of its code but what only draws.

A statement only draws where it stands in the cell of a named figure and

- uses nothing that trains, computes or judges: the library, torch, the companion but its plots, an experiment,
  verdicts, what a counted statement acts on, or a function or class that does one of these,
- changes nothing in place but what its cell has made, and throws no value away but that of a call that draws,
- makes no name that counted code reads.

Functions that only such statements call, and imports of what draws, do not count either, wherever they stand. What is
not understood counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from companion.runs.chapters import FIGURE

__all__ = ["bare", "counted"]

#: What draws, and what computes beside it.
DRAWS, COMPUTES = ("matplotlib", "seaborn", "companion.plots"), ("thermolib", "torch", "companion")
#: Methods whose value may be thrown away, since they change a picture.
PICTURE = re.compile(
    r"set(_\w+)?|\w*plot|(move_)?legend|ax[hv](line|span)|[hv]lines|\w*text|tight_layout|grid|tick_params|contourf?|"
    r"heatmap|add_(patch|artist|collection|line)|minorticks_o(n|ff)|errorbar|imshow|annotate|refline|semilog[xy]|loglog|"
    r"suptitle|colorbar|barh?|scatter|hist|locator_params|fill_between|decision_regions|invert_[xy]axis|label_outer|"
    r"margins|pcolormesh|despine|subplots_adjust"
)
#: What changes what it is given, or what nobody sees.
CHANGES = {
    "add", "append", "clear", "delattr", "discard", "eval", "exec", "extend", "fill", "globals", "glue", "insert",
    "locals", "manual_seed", "open", "pop", "popitem", "put", "remove", "reverse", "seed", "setattr", "setdefault",
    "shuffle", "sort", "unlink", "update", "vars", "write", "write_bytes", "write_text",
}  # fmt: skip
#: What makes a new object, which may be changed.
NEW = {"DataFrame", "assign", "copy", "dict", "list", "melt", "reset_index", "set"}
_DEFINED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_COMPREHENSION = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_DISPLAY = ast.List | ast.Dict | ast.Set | ast.Tuple | ast.Constant | ast.ListComp | ast.SetComp | ast.DictComp


def bare(source: str) -> ast.Module:
    """A piece of Python without its docstrings; comments and layout are no part of it. Raises as ast.parse."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


@dataclass
class Statement:
    """A statement at the top of a cell, or a part of one.

    It reads ``now``, and ``later`` where its functions are called; it makes, or changes, what a later one may read, the
    ``surely`` made wherever it is run. ``acts`` is whether it does more than draw, whatever its names are;
    ``changed`` are names of what it changes in place, ``new`` those of what it has just made, ``old`` the others that
    it makes.
    """

    cell: int = 0
    text: str = ""
    figure: bool = False
    node: ast.stmt | None = None
    now: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    makes: set[str] = field(default_factory=set)
    surely: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    judges: bool = False
    acts: bool = False
    counts: bool = True

    @property
    def defines(self) -> bool:
        return isinstance(self.node, ast.FunctionDef) and not self.node.decorator_list

    def look(self, node: ast.AST, own: set[str], later: bool) -> None:
        """Take in what stands in a node; ``own`` are the names that a function or a comprehension has to itself."""
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                if node.id not in own:
                    (self.later if later else self.now).add(node.id)
            elif node.id not in own:
                self.makes.add(node.id)
            return
        if isinstance(node, _DEFINED):
            if not isinstance(node, ast.Lambda):
                for one in (*node.decorator_list, *getattr(node, "bases", ())):
                    self.look(one, own, later)
                if not later:
                    self.makes.add(node.name)
            arguments = (
                [one for one in ast.walk(node.args) if isinstance(one, ast.arg)] if hasattr(node, "args") else []
            )
            inside = own | {one.arg for one in arguments} | _stored(node)
            for one in ast.iter_child_nodes(node):
                if one not in getattr(node, "decorator_list", ()):
                    self.look(one, inside, True)
            return
        if isinstance(node, _COMPREHENSION):
            own = own | {name for one in node.generators for name in _stored(one.target)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.makes |= set(_imported(node)) if not later else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.now |= set(re.findall(r"@(\w+)", node.value)) - own  # as in a query of pandas
        else:
            self.weigh(node)
        for one in ast.iter_child_nodes(node):
            self.look(one, own, later)

    def weigh(self, node: ast.AST) -> None:
        """What a node changes."""
        if isinstance(node, ast.Subscript | ast.Attribute):
            if not isinstance(node.ctx, ast.Load):
                self.changed.add(_root(node))
        elif isinstance(node, ast.Assign):
            names = {name for target in node.targets for name in _stored(target)}
            fresh = isinstance(node.value, _DISPLAY)
            fresh = fresh or (isinstance(node.value, ast.Call) and _called(node.value) in NEW)
            (self.new if fresh else self.old).update(names)
        elif isinstance(node, ast.For | ast.With | ast.NamedExpr):
            self.old |= _stored(node.target if isinstance(node, ast.For | ast.NamedExpr) else node)
        elif isinstance(node, ast.AugAssign):
            self.changed.add(_root(node.target))
        elif isinstance(node, ast.Delete | ast.Global | ast.Nonlocal | ast.Await | ast.Yield):
            self.acts = True
        elif isinstance(node, ast.Call):
            self.judges |= _called(node) in ("Claims", "Verdicts")
            if _called(node) in CHANGES or any(word.arg in ("inplace", "out") for word in node.keywords):
                self.changed.add(_root(node.func) if isinstance(node.func, ast.Attribute) else "")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _draws(node.value):
            # a function of the chapter may be called: what it does is known
            self.acts |= not isinstance(node.value.func, ast.Name) and _called(node.value) not in CHANGES


def counted(cells: Iterable[tuple[set[str], str]]) -> list[str]:
    """The code that counts, for each cell that has any; ``cells`` are tags with source, FIGURE among the tags."""
    statements = [one for number, (tags, source) in enumerate(cells) for one in _statements(number, tags, source)]
    if any(one.figure for one in statements):
        _choose(statements)
    found: dict[int, list[str]] = {}
    for one in statements:
        if one.counts:
            found.setdefault(one.cell, []).append(one.text)
    return ["\n".join(texts) for texts in found.values()]


def _choose(statements: Sequence[Statement]) -> None:
    for cell in {one.cell for one in statements if one.figure}:
        parts = [one for one in statements if one.cell == cell]
        new = set().union(*(one.new for one in parts)) - set().union(*(one.old for one in parts))
        for one in parts:
            one.acts |= not one.changed <= new
    for one in statements:
        if not one.figure:
            one.acts |= not one.changed <= one.new - one.old
        one.makes |= one.changed
    works = _works(statements)
    for one in statements:
        idle = one.defines or _only_draws(one.node)
        one.counts = not idle and (not one.figure or one.acts or bool((one.now | one.later) & works))
    left = [number for number, one in enumerate(statements) if one.counts]
    while left:
        for before in _made_by(statements, left.pop()):
            if not statements[before].counts:
                statements[before].counts = True
                left.append(before)


def _statements(number: int, tags: set[str], source: str) -> Iterator[Statement]:
    try:
        parts = bare(source).body
    except (SyntaxError, ValueError):
        words = set(re.findall(r"[^\W\d]\w*", source))
        yield Statement(number, source, now=words, later=words, makes=words, acts=True)
        return
    for node in parts:
        yield _part(node, Statement(number, ast.dump(node), FIGURE in tags, node))


def _part(node: ast.stmt, found: Statement) -> Statement:
    """Loops are taken apart: what their body makes before it reads it is not read from outside."""
    if not isinstance(node, ast.For):
        found.look(node, set(), False)
        if not isinstance(node, ast.If | ast.Try | ast.While | ast.Match):
            found.surely = set(found.makes)
        return found
    found.weigh(node)
    found.look(node.iter, set(), False)
    found.look(node.target, set(), False)
    bound = _stored(node.target)
    for one in (_part(inner, Statement()) for inner in (*node.body, *node.orelse)):
        found.now |= one.now - bound
        bound |= one.surely
        for what in ("later", "makes", "changed", "new", "old"):
            setattr(found, what, getattr(found, what) | getattr(one, what))
        found.judges, found.acts = found.judges or one.judges, found.acts or one.acts
    return found


def _made_by(statements: Sequence[Statement], number: int) -> Iterator[int]:
    """The statements that make what this one reads: the last that surely does, those since, for functions all."""
    now, later = set(statements[number].now), statements[number].later
    for at in range(number - 1, -1, -1):
        if statements[at].makes & now:
            yield at
            now -= statements[at].surely - statements[at].changed
    yield from (at for at, one in enumerate(statements) if one.makes & later)


def _works(statements: Sequence[Statement]) -> set[str]:
    """The names of what trains, computes or judges."""
    works, picture = set[str](), {"print", "display"}
    for one in statements:
        for name, what in _imported(one.node).items():
            if _of(what, DRAWS):
                picture.add(name)
            elif _of(what, COMPUTES):
                works.add(name)
        if one.judges:
            works |= one.makes
        call = one.node.value if isinstance(one.node, ast.Expr) and not one.figure else None
        if isinstance(call, ast.Call) and not _draws(call):
            works.add(_root(call))
    works -= picture
    defined = [one for one in statements if isinstance(one.node, ast.FunctionDef | ast.ClassDef)]
    before: set[str] = set()
    while works != before:
        before = set(works)
        works |= {name for one in defined if one.acts or (one.now | one.later) & works for name in one.makes}
    return works


def _stored(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)}


def _imported(node: ast.AST | None) -> dict[str, str]:
    """Name to what is imported by it."""
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {}


def _of(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _only_draws(node: ast.AST | None) -> bool:
    names = _imported(node).values()
    return bool(names) and all(_of(name, DRAWS) for name in names)


def _draws(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and bool(PICTURE.fullmatch(call.func.attr))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _root(node: ast.AST | None) -> str:
    while node is not None and not isinstance(node, ast.Name):
        node = getattr(node, "value", None) or getattr(node, "func", None)
    return node.id if node else ""
