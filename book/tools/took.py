"""A Sphinx directive, ``{took}``: the long runs, how far each has come, and what it took.

A run is a folder in ``results/campaign``: ``history.csv`` has its rows so far, ``provenance.json`` or ``result.json``
what else was kept.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools.reproduction import table

#: What a run is of, by the first word of its name: figure, unit, and how many of them the paper made.
SCALES = {
    "cifar10": ("Paper II, Fig. 1 and Table 2", "epochs", 200),
    "digits": ("Paper III, Figs. 1 and 7", "proposals", 100_000),
    "depth": ("Paper III, Fig. 6", "proposals", 1_000_000),
    "mnist": ("Paper IV, Fig. 1 (e)", "steps", 6_000),
    "higgs": ("Paper IV, Fig. 1 (e)", "steps", 15_000),
}
HEAD = ("Run", "Of", "So far", "Share of the paper's scale", "Hours", "Machine", "Device", "Precision", "Threads")
SPENT = ("wall time in seconds", "seconds of the chain", "seconds since the last start")
UNKNOWN = "not kept"


def runs(results: Path) -> list[tuple[str, ...]]:
    """A line for each run, in the order of their names. Raises ValueError for a history that cannot be read."""
    return [_line(path.parent, path) for path in sorted(results.glob("campaign/*/history.csv"))]


def _line(folder: Path, path: Path) -> tuple[str, ...]:
    try:
        history = pd.read_csv(path)
        made = int(history["epoch"].max()) + 1 if "epoch" in history else int(_of_chain(history)["step"].max())
        about = _kept(folder)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is no history of a run: {error}") from None
    figure, unit, whole = SCALES.get(folder.name.partition("-")[0], ("", "", 0))
    # the name of a GPU is its machine; of a result that was kept without these, nothing is guessed
    spent = next((f"{about[name] / 3600:.1f}" for name in SPENT if name in about), UNKNOWN)
    rest = (str(about.get(name, UNKNOWN)) for name in ("machine", "device", "precision", "threads"))
    far = f"{min(made / whole, 1):.0%}" if whole else ""
    return (folder.name, figure, f"{made:,} {unit}".strip(), far, spent, *rest)


def _of_chain(history: pd.DataFrame) -> pd.DataFrame:
    """The steps that the paper counts, where others came first."""
    chain = history[history["phase"] == "chain"] if "phase" in history else history
    return chain if len(chain) else history.head(1).assign(step=0)


def _kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("result.json", "provenance.json"):
        if (folder / name).is_file():
            found |= json.loads((folder / name).read_text(encoding="utf-8"))
    return found


class Took(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        results = Path(self.env.srcdir) / "results"
        for path in results.glob("campaign/*/*.*"):
            self.env.note_dependency(str(path))
        lines = [[nodes.Text(text) for text in line] for line in runs(results)]
        return [table(HEAD, lines, "took")] if lines else [nodes.paragraph("", "No long run is kept.")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("took", Took)
    return {"parallel_read_safe": True}
