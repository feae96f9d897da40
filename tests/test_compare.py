"""Chapters are compared within their tolerances, and a changed result is seen to fail."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jupytext
import nbformat
import pytest
from head import HEAD

from book.tools import execute
from book.tools.compare import Tolerance, difference, texts, tolerance
from companion.claims.chapter import read

ROOT = Path(__file__).resolve().parents[1]
Z5 = Tolerance(zscore=5)


@pytest.mark.parametrize(
    ("within", "reference", "new"),
    [
        (Tolerance(), "loss 0.5", "loss 0.5"),
        (Tolerance(rtol=1e-6), "loss 0.5000000 at 3", "loss  0.5000001 at 3"),
        (Tolerance(atol=1e-3), "a=1e-9, b=-2.0", "a=-1e-4, b=-2.0"),
        (Tolerance(rtol=1e-6), "nan and inf", "nan and inf"),
        (Z5, "acc 0.812 ± 0.004 (10 runs)", "acc 0.800 ± 0.004 (10 runs)"),
        (Z5, "acc 0.812 ± 0.004", "acc 0.812 ± 0.011"),
        (Z5, "1.0e-05 ± 4.0e-07", "1.2e-05 ± 4.1e-07"),
        (Z5, "1 ± 0", "1 ± 0"),
        (Tolerance(zscore=5, atol=1e-3), "1 ± 0", "0.9995 ± 0.0002"),
        (Tolerance(zscore=5, rtol=1e-3), "0.8 ± 0.1 after 2.000", "0.9 ± 0.1 after 2.001"),
    ],
)
def test_agreement(within, reference, new):
    assert difference(reference, new, within) == ""


@pytest.mark.parametrize(
    ("within", "reference", "new", "why"),
    [
        (Tolerance(), "loss 0.5", "loss 0.50", "no tag"),
        (Tolerance(), "a  b", "a b", "no tag"),
        (Tolerance(rtol=1e-6), "loss 0.5", "loss 0.50001", "0.50001 instead of 0.5"),
        (Tolerance(rtol=1e-6), "loss 0.5", "cost 0.5", "text between"),
        (Tolerance(rtol=1e-6), "0.5 0.5", "0.5", "text between"),
        (Tolerance(rtol=0.5), "seed 3", "seed 4", "4 instead of 3"),
        (Tolerance(rtol=0.5), "0.5", "nan", "nan"),
        (Tolerance(rtol=0.5), "0.5", "inf", "inf"),
        (Tolerance(atol=1e-3), "0.8 ± 0.004", "0.8 ± 0.009", "0.009 instead of 0.004"),
        (Z5, "acc 0.812 ± 0.004", "acc 0.780 ± 0.004", "apart"),
        (Z5, "acc 0.812 ± 0.004", "acc 0.500 ± 0.100", "factor 5"),
        (Z5, "acc 0.812 ± 0.004", "acc 0.8120 ± 0.0007", "factor 5"),
        (Z5, "acc 0.812 ± 0.004", "acc 0.812", "text between"),
        (Z5, "acc 0.812 ± 0.004", "acc nan ± nan", "nan"),
        (Z5, "1 ± 0", "0.9 ± 0.1", "factor 5"),
        (Z5, "plain 0.812", "plain 0.813", "0.813"),
        (Z5, "0.9 ± 0.1 reproduced", "0.9 ± 0.1 differs", "text between"),
    ],
)
def test_disagreement(within, reference, new, why):
    assert why in difference(reference, new, within)


def test_tags():
    assert tolerance(["hide-input"]) == Tolerance()
    assert tolerance(["rtol=1e-6", "zscore=4"]) == Tolerance(rtol=1e-6, zscore=4)
    assert tolerance(["zscore=3"]).zscore == 3


@pytest.mark.parametrize("tag", ["rtol=small", "rtol", "atol=-1", "zscore=inf", "zscore=nan"])
def test_a_tag_without_a_sensible_number_is_refused(tag):
    with pytest.raises(ValueError, match="tag"):
        tolerance([tag])


def test_what_is_compared():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "a"},
        {"output_type": "stream", "name": "stderr", "text": "50%"},
        {"output_type": "stream", "name": "stdout", "text": "b"},
        {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "x"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no"},
    ]
    rest = [("image/png", ""), ("text/plain", "x"), ("error", "ValueError: no")]
    assert texts(outputs, keep_stderr=False) == [("stdout", "ab"), *rest]
    assert ("stderr", "50%") in texts(outputs, keep_stderr=True)


CHAPTER = (
    HEAD
    + """
# A chapter

```{code-cell} ipython3
:tags: [parameters]

shift = 0.0
```

```{code-cell} ipython3
import sys
import numpy as np
values = [shift + 0.8 + 0.01 * (i % 5) for i in range(20)]
print("progress", file=sys.stderr)
values[0];
```

```{code-cell} ipython3
:tags: [zscore=5]

print(f"accuracy {np.mean(values):.4f} ± {np.std(values, ddof=1) / 20**0.5:.4f}")
```

```{code-cell} ipython3
:tags: [rtol=1e-6]

print("first", values[0] * (1 + 1e-9))
```

```{code-cell} ipython3
from companion.claims import chapter, judged

row = judged.Row("a", "partitioned", "It is 0.82", "Fig. 1", "0.82", ours="0.820 ± 0.003", verdict="reproduced")


class Shown(chapter.Verdicts):
    rows = [row]

    def __init__(self):
        pass


Shown()
```
"""
)


#: What is changed in the code of the stored chapter; all of it is tested as the chapters of the book are.
CHANGES = {
    "unchanged": {},
    "other_noise": {"values[0] * (1 + 1e-9)": "0.8 * (1 + 2e-8)", "shift = 0.0": "shift = 0.002"},
    "other_result": {"shift = 0.0": "shift = 0.1"},
    "other_verdict": {"0.820 ± 0.003": "0.821 ± 0.003"},
    "exploding": {"0.01 * (i % 5)": "0.2 * (i % 5) - 0.38"},
    "never_run": {},
}


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """A small chapter with its stored outputs."""
    md = tmp_path_factory.mktemp("notebooks") / "tiny.md"
    md.write_text(CHAPTER)
    assert execute.execute(md) == ""
    return md


@pytest.fixture(scope="module")
def found(chapter, tmp_path_factory):
    """What the tests of the changed chapters say: of each, how many cells passed, and why the others did not."""
    folder = tmp_path_factory.mktemp("changed") / "notebooks"
    folder.mkdir()
    for name, changes in CHANGES.items():
        notebook = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for old, new in changes.items():
            assert any(old in cell.source for cell in code)
            for cell in code:
                cell.source = cell.source.replace(old, new)
        for cell in code if name == "never_run" else ():
            cell.execution_count, cell.outputs = None, []
        nbformat.write(notebook, folder / f"{name}.ipynb")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "notebooks.conftest", "-q"]
    subprocess.run([*command, "-p", "no:cacheprovider", "--junitxml", folder / "said.xml", folder], cwd=ROOT)
    passed, said = dict.fromkeys(CHANGES, 0), dict.fromkeys(CHANGES, "")
    for case in ElementTree.parse(folder / "said.xml").iter("testcase"):
        name = case.get("classname").split(".")[-2]
        passed[name] += not len(case)
        said[name] += "".join(problem.get("message") + problem.text for problem in case)
    return passed, said, folder


def test_an_unchanged_chapter_passes(found):
    passed, said, _ = found
    assert passed["unchanged"] == 5 and not said["unchanged"]


def test_other_rounding_and_other_noise_pass(found):
    passed, said, _ = found
    assert passed["other_noise"] == 5 and not said["other_noise"]


def test_a_changed_result_fails(found):
    passed, said, _ = found
    assert passed["other_result"] == 3
    assert "0.9200 ± 0.0032 instead of 0.8200" in said["other_result"] and "apart" in said["other_result"]


def test_verdicts_are_compared_to_the_letter_and_keep_their_rows(chapter, found):
    """They come from records, which are the same everywhere."""
    *_, last = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4).cells
    (row,) = read(last.outputs)
    assert (row.ours, row.verdict) == ("0.820 ± 0.003", "reproduced")
    passed, said, _ = found
    assert passed["other_verdict"] == 4
    assert "text/html: the text differs, and the cell has no tag that allows it to" in said["other_verdict"]


def test_an_exploding_error_bar_fails(found):
    passed, said, _ = found
    assert passed["exploding"] < 5 and "factor 5" in said["exploding"]


def test_a_chapter_that_was_never_run_fails(found):
    passed, said, _ = found
    assert passed["never_run"] == 0 and "never run" in said["never_run"]


def test_a_chapter_that_failed_is_kept_as_it_came_out(found):
    *_, folder = found
    kept = {path.stem: nbformat.read(path, as_version=4) for path in (folder.parent / "runs" / "failed").iterdir()}
    assert sorted(kept) == ["exploding", "never_run", "other_result", "other_verdict"]
    (shown,) = kept["other_result"].cells[-3].outputs
    assert shown["text"].startswith("accuracy 0.92")
    nbformat.validate(kept["other_result"])


def test_the_stored_chapter_holds_no_progress_bar(chapter):
    stored = jupytext.read(chapter.with_suffix(".ipynb"))
    assert not [o for cell in stored.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]


def test_the_size_of_a_picture_is_no_result():
    def shown(size):
        return [{"output_type": "display_data", "data": {"image/png": "...", "text/plain": f"<Figure size {size}>"}}]

    assert texts(shown("640x480"), False) == texts(shown("800x600"), False) == [("image/png", "")]
