"""Where the chapters are, how their two files are compared, and how several are run side by side.

A chapter is ``notebooks/NAME.md``, the only file that is edited by hand, and ``notebooks/NAME.ipynb``, made from it
together with what its cells printed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import nbformat
from tqdm import tqdm

from companion.runs.chapters import files, read

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"


def find(names: Sequence[str] = (), root: Path = ROOT) -> list[Path]:
    """The ``.md`` files of the named chapters, or of all."""
    there = files(root)
    if unknown := [name for name in names if name not in there]:
        raise SystemExit(f"there is no chapter {unknown[0]!r}; there are: {', '.join(there)}")
    return [there[name] for name in names] if names else list(there.values())


def out_of_step(md: Path) -> str:
    """What is wrong with the pair that ``md`` belongs to; empty where nothing is."""
    ipynb = md.with_suffix(".ipynb")
    remedy = f"run: make chapters NAME={md.stem}"
    if not ipynb.exists():
        return f"{md.name} was never executed; {remedy}"
    stored = nbformat.read(ipynb, as_version=4)
    if [_content(c) for c in read(md).cells] != [_content(c) for c in stored.cells]:
        return f"{ipynb.name} was not made from the {md.name} that is here; {remedy}"
    if any(c.cell_type == "code" and c.source.strip() and c.execution_count is None for c in stored.cells):
        return f"{ipynb.name} holds cells that were never run; {remedy}"
    return ""


def _content(cell: nbformat.NotebookNode) -> tuple:
    return cell.cell_type, cell.source.strip(), dict(cell.metadata)


def side_by_side(work: Callable[[Path], str], items: Sequence[Path], verb: str) -> Iterator[tuple[Path, str]]:
    """Do ``work`` on every item, one process to a core, with a progress bar; yields each item and what came back."""
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(items) or 1)) as pool, tqdm(total=len(items)) as bar:
        bar.set_description(verb)
        jobs = {pool.submit(work, item): item for item in items}
        for job in as_completed(jobs):
            bar.update()
            yield jobs[job], job.result()
