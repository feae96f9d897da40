"""Run a chapter with other parameters: ``python -m book.tools.rerun NAME -p KEY VALUE``; with ``--all``, every chapter.

The run is written to ``runs/`` and nothing else is touched. What may be set is what the chapter's cell tagged
``parameters`` assigns.
"""

import argparse
import ast
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from papermill.inspection import _infer_parameters

from book.tools import chapters

RUNS = chapters.ROOT / "runs"


def run(md: Path, out: Path, parameters: dict[str, Any] | None = None, progress: bool | dict[str, Any] = False) -> None:
    """Execute the chapter ``md`` with ``parameters`` and write the result to ``out``, whole or not at all.

    ``progress`` shows a bar in cells; a dict says how, in the words of tqdm.
    """
    parameters = parameters or {}
    notebook = chapters.read(md)
    known = list(parameters_of(notebook))
    if unknown := [name for name in parameters if name not in known]:
        # papermill itself would only log this and run with the defaults
        raise ValueError(f"{md.name} has no parameter {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.stem}.{os.getpid()}.partial")
    try:
        done = papermill.execute_notebook(
            notebook,
            None,
            parameters=parameters,
            cwd=md.parent,
            kernel_name="python3",
            progress_bar=progress,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # each kernel would warn about its local port
        )
        done.metadata.papermill["input_path"] = md.name  # papermill puts the whole notebook here
        nbformat.write(done, partial)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def parameters_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What the cell tagged ``parameters`` assigns: name to value, as it is written there."""
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill expects them on every cell
    return {p.name: p.default for p in _infer_parameters(notebook, name="python3", language="python")}


def destination(md: Path, parameters: dict[str, Any]) -> Path:
    """``runs/NAME.ipynb``, with the parameters in the name where there are any."""
    name = "-".join([md.stem, *(f"{k}={v}" for k, v in parameters.items())])
    if len(name) > 120:
        name = f"{md.stem}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return RUNS / (re.sub(r"[^\w.=+-]", "_", name) + ".ipynb")


def run_default(md: Path) -> str:
    """Run one chapter as it stands; returns its error, or nothing."""
    try:
        run(md, destination(md, {}))
    except PapermillExecutionError as error:
        return str(error).strip()
    return ""


def literal(text: str) -> Any:
    """``1e-5`` is a number, ``[1, 2]`` a list, ``BAOAB`` a word."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m book.tools.rerun", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="the chapter, as in langevin_splittings")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="set a parameter")
    parser.add_argument("--all", action="store_true", help="every chapter, with the parameters it has")
    args = parser.parse_args()
    if args.all == bool(args.name) or (args.all and args.p):
        parser.error("say either the NAME of one chapter or --all")
    if args.name:
        (md,) = chapters.find([args.name])
        parameters = {key: literal(value) for key, value in args.p}
        try:
            run(md, destination(md, parameters), parameters)
        except (ValueError, PapermillExecutionError) as error:
            raise SystemExit(str(error).strip()) from None
        print(destination(md, parameters).relative_to(chapters.ROOT))
        return
    failed = [(md, e) for md, e in chapters.side_by_side(run_default, chapters.find(), "executing") if e]
    for md, error in failed:
        print(f"\n{md.name} failed:\n{error}\n")
    if failed:
        raise SystemExit(f"{len(failed)} chapter(s) failed")


if __name__ == "__main__":
    main()
