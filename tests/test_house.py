"""The rooms of the library, what it may import, and how large it may be."""

import ast
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "thermolib"
#: From the highest to the lowest: a room imports itself and those below it.
ROOMS = ("optim", "observe", "engine", "nets", "data", "exact", "dynamics", "ground")
#: What the library knows nothing of: the rest of the project, command lines, clusters, figures.
FOREIGN = {"companion", "papermill", "click", "dask", "distributed", "psutil", "matplotlib", "seaborn"}
LONGEST = 300
#: Files that are too long still. An entry goes when its file is short enough; none comes.
TOO_LONG: set[str] = set()
#: Lines of code of the library, without blank lines, comments and docstrings: at most. It is to come down to 3500.
CODE = 4698


def files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imported(text: str) -> list[str]:
    """What a file imports, wherever in it, as full names."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += ["." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names]
    return names


def upward(text: str, room: str) -> list[str]:
    """The imports of a file in a room that do not lead downward; names that the whole library passes on do not."""
    below = ROOMS[ROOMS.index(room) :]
    ours = [name for name in imported(text) if name.split(".")[0] in ("thermolib", "")]
    return [name for name in ours if name.split(".")[1:2] == [] or name.split(".")[1] not in below]


def test_rooms_import_downward_only():
    assert {path.name for path in LIBRARY.iterdir() if path.name != "__pycache__"} == {*ROOMS, "__init__.py"}
    found = {}
    for path in files(LIBRARY):
        room, *rest = path.relative_to(LIBRARY).parts
        if rest and (wrong := upward(path.read_text(encoding="utf-8"), room)):
            found[str(path.relative_to(ROOT))] = wrong
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "from thermolib.engine.train import train",
        "import thermolib",
        "from thermolib import observe, Word",
        "from . import x",
    ],
)
def test_an_upward_import_would_be_noticed(line):
    assert upward(f"def f():\n    {line}\n", "nets")
    assert not upward("from thermolib import data\nfrom thermolib.nets.init import normal\nimport torch\n", "nets")


def test_no_file_is_long():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for package in (LIBRARY, ROOT / "companion")
        for path in files(package)
    }
    assert {path for path, length in lengths.items() if length > LONGEST} == TOO_LONG


def test_the_library_knows_nothing_of_chapters_command_lines_and_figures():
    named = {
        str(path): {name.split(".")[0] for name in imported(path.read_text())} & FOREIGN for path in files(LIBRARY)
    }
    assert {path: names for path, names in named.items() if names} == {}
    look = f"import sys, thermolib; print(sorted({FOREIGN} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rules_and_files_do_without_torch():
    """What starts a run, judges numbers and makes the book from stored outputs begins at once."""
    names = "companion.runs.command, companion.claims.statements, companion.evidence.records, book.tools.build"
    look = f"import sys, book.tools.compare, book.tools.execute, {names}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, comments, docstrings."""
    text = path.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            prose |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__):
        if token.type not in nothing:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - prose)


def test_code_is_counted_without_blank_lines_comments_and_docstrings(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""Text."""\n\n# why\ndef f(a):  # how\n    """More\n    text."""\n    return (\n\n        a\n    )\n'
    )
    assert code_lines(path) == 4


def test_the_library_is_small():
    count = sum(map(code_lines, files(LIBRARY)))
    print(f"{count} lines of code in thermolib")
    assert count <= CODE
