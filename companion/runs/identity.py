"""What a result is of: the code, the parameters and the installed versions that it was made with.

Code counts by what it does: comments, docstrings, blank lines and quotes do not, nor do the prose of a chapter, what of
it only draws, plots and what executes runs. ``companion accept`` says of any other change that it is harmless, and the
result keeps that.
"""

from __future__ import annotations

import ast
import datetime
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from companion.installed import versions
from companion.runs.chapters import code_cells
from companion.runs.drawing import bare, counted

__all__ = ["inputs", "library", "note", "plain"]

#: Whose installed versions count, besides Python's.
PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn")
#: Rooms of ``companion`` that no number of a result comes from.
BESIDE = ("plots", "runs")


def plain(source: str) -> str:
    """What a piece of Python does, as text: without comments, docstrings and layout; as it is where it is no Python."""
    try:
        return ast.dump(bare(source))
    except (SyntaxError, ValueError):
        return source


@functools.cache
def library() -> str:
    """A hash of the modules that a result depends on; this process has imported them, and they are read once."""
    top = Path(__file__).parents[2]
    found = hashlib.sha256()
    for path in sorted(path for package in ("thermolib", "companion") for path in (top / package).rglob("*.py")):
        name = path.relative_to(top)
        if name.parts[:2] not in [("companion", room) for room in BESIDE]:
            found.update(f"{name.as_posix()}\0{plain(path.read_text(encoding='utf-8'))}\0".encode())
    return found.hexdigest()[:16]


_versions = functools.cache(versions)


@functools.lru_cache(256)
def _chapter(md: Path, _changed: int) -> str:
    cells = list(code_cells(md))
    given = [plain(source) for tags, source in cells if "parameters" in tags]
    return _hash("\0".join([*given, "", *counted(cells)]))


def inputs(chapter: Path, parameters: Mapping[str, Any]) -> dict[str, str]:
    """What identifies a run: a short text for each thing that its result depends on."""
    return {
        "notebook": _chapter(chapter, chapter.stat().st_mtime_ns),
        "parameters": _hash(json.dumps(parameters, sort_keys=True)),
        "library": library(),
        "environment": _hash(_versions(*PACKAGES)),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def note(path: Path) -> dict[str, Any]:
    """What a run wrote about itself into its notebook; empty where the file is none of ours, or broken.

    A notebook has its metadata behind its cells, so that it is not read whole where its end is enough.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 20_000, 0))
            end = file.read()
        at = end.rfind(b'\n "metadata": {\n')
        if at >= 0:
            return json.loads(b"{" + end[at:])["metadata"]["thermolib"]
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["thermolib"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def accept(path: Path, now: Mapping[str, str], commit: str) -> list[str]:
    """Write into a result that what changed since it was made is harmless; returns what that is.

    Raises ValueError where its parameters are others, and where the notebook cannot be read or written.
    """
    from companion.evidence.provenance import write_whole

    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        about = notebook["metadata"]["thermolib"]
        since = [name for name, value in now.items() if about["inputs"].get(name) != value]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path} cannot be read, or was made by hand: run it again") from None
    if "parameters" in since:
        raise ValueError(f"{path.name} was made with other parameters: that is no harmless change, run it again")
    if since:
        said = {"changed": since, "on": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", "commit": commit}
        about["accepted"] = [*about.get("accepted", []), said]
        about["inputs"] = dict(now)
        write_whole(path, json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return since
