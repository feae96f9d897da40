"""Execute chapters and store what they print: ``python -m book.tools.execute [NAME]``.

The stored file depends on the chapter alone: no random cell ids, no progress bars, no times. So an unchanged chapter
executed again gives the same bytes, and a diff shows what a change did.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from book.tools import chapters

SECONDS_PER_CELL = 900


def execute(md: Path) -> str:
    """Execute one chapter and rewrite its ``.ipynb``; where it fails, keep the old one and return the error."""
    notebook = chapters.read(md)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # each kernel would warn about its local port
        resources={"metadata": {"path": str(md.parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        return str(error).strip() or type(error).__name__
    for cell in notebook.cells:
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if errors and "raises-exception" not in cell.metadata.get("tags", []):  # of a figure that cannot be drawn
            return f"{errors[0].ename}: {errors[0].evalue}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and "check-stderr" not in cell.metadata.get("tags", []):
            # Progress bars and warnings carry rates, paths and process ids: they are no result.
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)
    whole = md.with_suffix(".ipynb.tmp")
    nbformat.write(notebook, whole)
    os.replace(whole, md.with_suffix(".ipynb"))
    return ""


def main() -> None:
    failed = 0
    for md, error in chapters.side_by_side(execute, chapters.find(sys.argv[1:]), "executing"):
        if error:
            failed += 1
            print(f"\n{md.name} failed, and its stored outputs are as they were:\n{error}\n", file=sys.stderr)
    if failed:
        raise SystemExit(f"{failed} chapter(s) failed")


if __name__ == "__main__":
    main()
