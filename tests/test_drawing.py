"""What only draws does not make a run stale; what trains, computes or judges does, wherever it stands."""

import pytest
from head import HEAD

from companion.runs import batch
from tests.test_batch import project

__all__ = ["project"]

CELLS = {
    "setup": """
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import thermolib as tl
from companion import claims, plots

plots.use_theme()


def panel(ax, frame):
    \"\"\"Draws.\"\"\"
    marks = []
    for name, part in frame.groupby("method"):
        marks.append(name)
        sns.lineplot(part, x="step", y="loss", ax=ax, color="red")
    ax.set(title=", ".join(marks))
""",
    "experiment": "found = tl.train(0.1)\nframe = found.frame\nrate = 2",
    "figure": """
CUT = 3.0
best = frame.groupby("step").mean()
shown = frame.assign(high=frame.loss > CUT)
shown["high"] = ~shown["high"]
fig, (ax, other) = plt.subplots(1, 2, figsize=(6, 3))
panel(ax, shown)
for name, frame_of in shown.groupby("high"):
    other.plot(frame_of.step, frame_of.loss, label=name)
ax.legend(loc="upper left");
""",
    "judge": """
verdicts = claims.Verdicts("tiny")
verdicts.number("a", best.loss.iloc[-1])
verdicts
""",
}


def chapter(cells):
    heads = {"figure": "---\nmystnb:\n  figure:\n    name: fig-a\n    caption: A loss.\ntags: [hide-input]\n---\n"}
    return HEAD + "\n".join(
        f"```{{code-cell}} ipython3\n{heads.get(name, '')}\n{source.strip()}\n```\n" for name, source in cells.items()
    )


@pytest.fixture
def stale(project):
    """Whether a change of the cells makes the run of the chapter stale."""

    def change(where, old, new):
        md = project / "notebooks" / "tiny.md"
        md.write_text(chapter(CELLS))
        before = batch.single("notebooks/tiny").inputs()
        assert CELLS[where].count(old) == 1
        md.write_text(chapter(CELLS | {where: CELLS[where].replace(old, new)}))
        return batch.single("notebooks/tiny").inputs() != before

    return change


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        ("figure", "figsize=(6, 3)", "figsize=(7, 3)"),
        ("figure", "CUT = 3.0", "CUT = 4.0"),
        ("figure", '~shown["high"]', '1 - shown["high"]'),
        ("figure", "upper left", "upper right"),
        ("figure", "label=name", "label=str(name)"),
        ("figure", "panel(ax, shown)\n", "panel(ax, shown)\nax.axvline(CUT)\n"),
        ("figure", "ax.legend", "frame = shown.query('high')\nax.legend"),  # which nothing reads below
        ("setup", 'color="red"', 'color="blue"'),
        ("setup", "marks.append(name)", "marks.append(name.title())"),
        ("setup", "import seaborn as sns", "import seaborn as sns\nfrom matplotlib import ticker"),
        ("setup", "Draws.", "Draws a curve."),
        ("experiment", "rate = 2", "rate = 2  # as printed"),
    ],
)
def test_a_change_of_what_only_draws_is_none(stale, where, old, new):
    assert not stale(where, old, new)


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        ("experiment", "0.1", "0.2"),
        ("experiment", "rate = 2", "rate = 3"),
        ("judge", '"a"', '"b"'),
        ("judge", "iloc[-1]", "iloc[-2]"),
        ("setup", "plots.use_theme()", "plots.use_theme()\nimport torch"),
        ("figure", ".mean()", ".median()"),  # which is judged
        ("figure", "CUT = 3.0", "CUT = 3.0\nx = claims.number(1.0, paper=2.0)"),
        ("figure", "CUT = 3.0", "CUT = 3.0\nworse = tl.train(0.3)"),
        ("figure", "CUT = 3.0", 'CUT = 3.0\nframe["loss"] = 0.0'),
        ("figure", "CUT = 3.0", "CUT = 3.0\nsame = frame\nsame.loc[0] = 1"),
        ("figure", "CUT = 3.0", "CUT = 3.0\nfor one in [frame]:\n    one.loss = 0.0"),
        ("figure", "CUT = 3.0", "CUT = 3.0\nframe.drop(columns='loss', inplace=True)"),
        ("figure", "CUT = 3.0", "CUT = 3.0\nfound.forget()"),
        ("figure", "CUT = 3.0", "CUT = 3.0\nfound.seed(3)"),
        ("figure", "CUT = 3.0", "CUT = 3.0\nglue('loss', 0.3)"),
        ("figure", "CUT = 3.0", "CUT = 3.0\n%time"),
        ("figure", "CUT = 3.0", "CUT = 3.0\ndel frame"),
        ("figure", "ax.legend", "best = best.abs()\nax.legend"),
        ("figure", "ax.legend", "if rate:\n    best = 2 * best\nax.legend"),
        ("figure", "panel(ax, shown)\n", "def wrong(x):\n    x.loss = 0.0\n\n\nwrong(frame)\n"),
        ("figure", "panel(ax, shown)\n", "def wrong():\n    return tl.train(0.4)\n\n\nmore = wrong()\n"),
        ("setup", "marks = []", "marks = []\n    frame.loss = 0.0"),
    ],
)
def test_a_change_of_what_trains_computes_or_judges_is_one(stale, where, old, new):
    assert stale(where, old, new)


def test_a_cell_that_names_no_figure_counts_whole(project):
    md = project / "notebooks" / "tiny.md"
    cells = {"setup": CELLS["setup"], "plain": CELLS["figure"]}
    md.write_text(chapter(cells))
    before = batch.single("notebooks/tiny").inputs()
    md.write_text(chapter(cells | {"plain": cells["plain"].replace("6, 3", "7, 3")}))
    assert batch.single("notebooks/tiny").inputs() != before
