"""The tools of the book: chapters are executed whole or not at all, pairs are in step, runs take known parameters."""

from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner
from head import HEAD

import thermolib as tl
from book.tools import build, chapters, execute, scoreboard, serve
from companion.runs import batch, command, execution, scheduling

CHAPTER = (
    HEAD
    + """
# A chapter

```{code-cell} ipython3
:tags: [parameters]

seed = 0
word = "BAOAB"
```

```{code-cell} ipython3
print(seed, word)
```
"""
)


@pytest.fixture
def md(tmp_path):
    path = tmp_path / "notebooks" / "tiny.md"
    path.parent.mkdir()
    path.write_text(CHAPTER)
    return path


def printed(ipynb: Path) -> str:
    cells = nbformat.read(ipynb, as_version=4).cells
    return "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", []))


def test_execution_is_the_same_to_the_byte(md):
    assert execute.execute(md) == ""
    first = md.with_suffix(".ipynb").read_bytes()
    assert execute.execute(md) == ""
    assert md.with_suffix(".ipynb").read_bytes() == first
    assert chapters.out_of_step(md) == ""


AFTER_THE_CELL = "get_ipython().events.register('post_execute', lambda: 1 / seed)"


@pytest.mark.parametrize("fails", ["print(1 / seed)", AFTER_THE_CELL], ids=["in a cell", "where figures are drawn"])
def test_a_failing_chapter_keeps_its_stored_outputs(md, fails):
    execute.execute(md)
    first = md.with_suffix(".ipynb").read_bytes()
    md.write_text(CHAPTER.replace("print(seed, word)", fails))
    assert "ZeroDivisionError" in execute.execute(md)
    assert md.with_suffix(".ipynb").read_bytes() == first
    assert sorted(path.name for path in md.parent.iterdir()) == ["tiny.ipynb", "tiny.md"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = 0", "seed = 1"),
        ("# A chapter", "# Another chapter"),
        ("[parameters]", "[parameters, hide-input]"),
    ],
)
def test_a_pair_that_is_out_of_step_is_noticed(md, old, new):
    execute.execute(md)
    md.write_text(CHAPTER.replace(old, new))
    assert "was not made from" in chapters.out_of_step(md)


def test_a_chapter_without_outputs_is_noticed(md):
    assert "never executed" in chapters.out_of_step(md)
    nbformat.write(chapters.read(md), md.with_suffix(".ipynb"))
    assert "never run" in chapters.out_of_step(md)


def test_an_unknown_chapter_is_refused(md):
    assert chapters.find(["tiny"], md.parents[1]) == [md]
    with pytest.raises(SystemExit, match="there is no chapter 'big'; there are: tiny"):
        chapters.find(["big"], md.parents[1])


def test_two_chapters_side_by_side(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name, text in (("a", CHAPTER), ("b", CHAPTER.replace("seed = 0", "seed = 1 / 0"))):
        (tmp_path / "notebooks" / f"{name}.md").write_text(text)
    done = {md.stem: error for md, error in chapters.side_by_side(execute.execute, chapters.find((), tmp_path), "")}
    assert done["a"] == "" and "ZeroDivisionError" in done["b"]


def test_the_book_is_built_again_when_a_source_changes(tmp_path):
    (tmp_path / "book").mkdir()
    page = tmp_path / "book" / "page.md"
    page.write_text("one")
    before = build.digest(tmp_path)
    assert build.digest(tmp_path) == before
    page.write_text("two")
    assert build.digest(tmp_path) != before


def test_a_chapter_without_its_data_is_left_out_and_the_book_shows_what_is_stored(tmp_path, md, monkeypatch):
    def nothing():
        raise FileNotFoundError("Nothing is not on this machine")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tl.datasets, "nothing", nothing, raising=False)
    (md.parent / "lacking.md").write_text(CHAPTER.replace("---\n\n#", "thermolib: {data: [nothing]}\n---\n\n#"))
    assert execute.execute(md.parent / "lacking.md") == ""
    for name, text in (("_toc.yml", ""), ("CONTRIBUTING.md", ""), ("_config.yml", "title: A book\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches" / "default.yaml").write_text("runs:\n  - {chapter: tiny}\n  - {chapter: lacking}\n")
    with pytest.raises(SystemExit, match=r"runs/default/tiny\.ipynb is not there: run make reproduce"):
        build.stage_runs(tmp_path)

    runs = batch.load("batches/default.yaml")
    monkeypatch.setattr(scheduling, "run_all", lambda *_, **__: [execution.execute(run) for run in runs])
    done = CliRunner().invoke(command.main, ["run", "batches/default.yaml"])
    assert done.exit_code == 3, done.output  # nothing failed, and not all is done
    said = "1 of 2 runs are done; they lie in runs/default\nlacking was left out: Nothing is not on this machine\n"
    assert done.output == said

    stage = build.stage_runs(tmp_path)
    shown = {path.stem: nbformat.read(path, as_version=4) for path in (stage / "notebooks").glob("*.ipynb")}
    assert shown["tiny"].metadata["thermolib"]["seconds"] > 0 and shown["tiny"].cells[0].source == "# A chapter"
    note = "This chapter was not executed here, and shows what is stored of it: Nothing is not on this machine."
    assert shown["lacking"].cells[0].source == f"# A chapter\n\n:::{{warning}}\n{note}\n:::\n"
    assert printed(stage / "notebooks" / "lacking.ipynb") == printed(stage / "notebooks" / "tiny.ipynb") == "0 BAOAB\n"
    config = yaml.safe_load((stage / "_config.yml").read_text())
    assert config["html"]["announcement"].endswith(", except where a chapter says otherwise.")

    monkeypatch.setattr(scheduling, "run_all", lambda *_, **__: [])
    assert (
        CliRunner().invoke(command.main, ["run", "batches/default.yaml"]).exit_code == 1
    )  # it still waits for something


def test_the_order_of_the_chapters(tmp_path):
    parts = [
        {"chapters": [{"file": "book/a"}, {"file": "notebooks/z.ipynb", "sections": [{"file": "notebooks/b.ipynb"}]}]}
    ]
    toc = tmp_path / "_toc.yml"
    toc.write_text(yaml.safe_dump({"format": "jb-book", "root": "book/intro", "parts": parts}))
    assert scoreboard.in_order(toc) == ["z", "b"]


def test_sections_of_a_docstring_become_fields():
    from book.tools import reference

    lines = [
        "Does it.",
        "",
        "Parameters",
        "----------",
        "a, b : two numbers: both",
        "    positive.",
        "",
        "Raises",
        "------",
    ]
    lines += ["ValueError : never.", "", "Source: a book.", "", "Notes", "-----", "Text."]
    reference.reword(None, "function", "f", None, None, lines)
    assert [line for line in lines if line] == [
        "Does it.",
        ":param a,b: two numbers: both",
        "    positive.",
        ":raises ValueError: never.",
        "Source: a book.",
        ".. rubric:: Notes",
        "Text.",
    ]


def test_the_book_is_served_to_this_machine_at_a_free_port_where_the_usual_one_is_taken(tmp_path):
    with serve.server(tmp_path, 0) as first, serve.server(tmp_path, first.server_port) as second:
        assert first.server_port != second.server_port and second.server_port > 0
        assert first.server_address[0] == second.server_address[0] == "127.0.0.1"
