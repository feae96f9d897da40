"""The chapters of a project: their files, and the parameters, the experiments and the data that one of them has."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["FIGURE", "checked", "code_cells", "experiments_of", "files", "lacking", "literal", "parameters_of", "read"]

#: Stands among the tags of a cell that names a figure.
FIGURE = "mystnb.figure"
_FIGURE = re.compile(r"^mystnb:\s*\n(?:[ \t]+.*\n)*?[ \t]+figure:[ \t]*$", re.M)
_CELL = re.compile(r"^(`{3,})\{code-cell\}[^\n]*\n(?:---\n(.*?)^---\n|((?::[^\n]*\n)*))(.*?)^\1[ \t]*$", re.M | re.S)


def files(root: Path) -> dict[str, Path]:
    """The chapters of a project: stem to ``.md`` file."""
    return {path.stem: path for path in sorted((root / "notebooks").glob("*.md"))}


def read(md: Path) -> Any:
    """The chapter as a notebook without outputs. Cells are numbered, so that one text always gives one file."""
    import jupytext

    notebook = jupytext.read(md)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"c{i:03d}"
    notebook.metadata.get("jupytext", {}).pop("text_representation", None)  # it holds the version of jupytext
    return notebook


def code_cells(md: Path) -> list[tuple[set[str], str]]:
    """The tags and the source of each code cell, read from the text alone: lists of chapters are there at once.

    A cell that names a figure has FIGURE among its tags. Raises ValueError where the file cannot be read.
    """
    try:
        text = md.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{md.name} cannot be read: {error}") from None
    return list(_cells(text))


def _cells(text: str) -> Iterator[tuple[set[str], str]]:
    for cell in _CELL.finditer(text):
        head = cell[2] or cell[3] or ""
        listed = re.search(r"^:?tags:\s*(\[[^\]]*\]|(?:\n\s*- .*)+)", head, re.M)
        tags = set(re.findall(r"[^\s,\[\]\"']+", listed[1])) - {"-"} if listed else set()
        yield tags | ({FIGURE} if _FIGURE.search(head) else set()), cell[4].strip("\n")


def _body(md: Path, tag: str) -> Iterator[tuple[ast.stmt, str]]:
    for tags, source in code_cells(md):
        if tag in tags:
            try:
                yield from ((node, source) for node in ast.parse(source).body)
            except SyntaxError as error:
                raise ValueError(f"a cell of {md.name} that is tagged {tag} is no Python: {error}") from None


def parameters_of(md: Path) -> dict[str, str]:
    """What the cell tagged ``parameters`` assigns: name to value, as it is written there."""
    return _parameters_of(md, _changed(md))


def _changed(md: Path) -> int:
    return md.stat().st_mtime_ns if md.is_file() else 0


@functools.lru_cache(256)
def _parameters_of(md: Path, _changed: int) -> dict[str, str]:
    found = {}
    for node, source in _body(md, "parameters"):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and node.value:
            found[target.id] = " ".join(_written(node.value, source).split())
    return found


def _written(node: ast.expr, source: str) -> str:
    """As ast.get_source_segment, which takes the source apart character by character."""
    lines = source.encode().split(b"\n")[node.lineno - 1 : node.end_lineno]
    lines[-1] = lines[-1][: node.end_col_offset]
    lines[0] = lines[0][node.col_offset :]
    return b"\n".join(lines).decode()


def experiments_of(md: Path) -> list[str]:
    """The names of the experiments in the cells tagged ``experiment``, which are not run for that.

    Raises ValueError where such a cell is no Python.
    """
    return _experiments_of(md, _changed(md))


@functools.lru_cache(256)
def _experiments_of(md: Path, _changed: int) -> list[str]:
    functions = [node for node, _ in _body(md, "experiment") if isinstance(node, ast.FunctionDef)]
    return [one.name for one in functions if any(map(_experiment, one.decorator_list))]


def _experiment(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "experiment"


def lacking(notebook: Any) -> str:
    """Why data that a chapter's head names are not to be had on this machine, in a sentence; empty where they are."""
    return next(filter(None, map(_lacking, notebook.metadata.get("thermolib", {}).get("data", []))), "")


@functools.cache
def _lacking(name: str) -> str:
    from thermolib import datasets  # here, since it brings torch, which lists of chapters do without

    try:
        getattr(datasets, name)()
    except FileNotFoundError as error:
        return str(error)
    return ""


def literal(text: str) -> Any:
    """``1e-5`` is a number, ``[1, 2]`` a list, ``BAOAB`` a word."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def checked(md: Path, known: dict[str, str], parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters, where ``known`` has each of them and each is of the kind that stands there.

    Raises ValueError otherwise: papermill itself would only log an unknown name, and run with the defaults.
    """
    found = {}
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(f"{md.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        default = literal(known[name])
        if isinstance(value, str) and not isinstance(default, str):
            value = literal(value)  # YAML reads 1e-5 as text
        if not _alike(value, default):
            raise ValueError(f"{name}={value!r} is not allowed for {md.name}: {_kind(default)}, as in {known[name]}")
        found[name] = value
    return found


def _alike(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple) and (not default or all(_alike(v, default[0]) for v in value))
    if isinstance(default, dict):
        return (
            isinstance(value, dict)
            and set(value) == set(default)
            and all(_alike(value[k], default[k]) for k in default)
        )
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    kinds = {bool: "it is True or False", int: "it is a whole number", float: "it is a number", str: "it is text"}
    if isinstance(default, list | tuple):
        return "it is a list" + (f" of which each: {_kind(default[0])}" if default else "")
    if isinstance(default, dict):
        return "it is a dict with these keys and values of these kinds"
    return kinds.get(type(default), f"it is of type {type(default).__name__}")
