"""The built book: its pages are there, nothing is loaded from elsewhere, and every link inside it leads somewhere."""

import itertools
import pkgutil
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

import companion
import thermolib
from book.tools import again, board, chapters, reproduction, scoreboard
from companion.claims import chapter
from companion.claims.statements import PAPERS, load
from companion.evidence import Experiment, Record
from companion.evidence.records import all_records
from companion.runs.shown import claimed, outputs
from tests.test_browser import COLOURED

#: A chapter with one experiment.
NOTEBOOK = nbformat.writes(
    nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("runs = 20", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(
                "from companion.evidence import experiment\n"
                "@experiment('one', keys=['run'], check={'runs': 2}, quick={'runs': 3})\n"
                "def walk(runs):\n    ...",
                metadata={"tags": ["experiment"]},
            ),
        ]
    )
)


@pytest.fixture(scope="module")
def pages(html):
    files = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in files}


def test_every_chapter_and_page_is_there(html):
    expected = ["index", "search", "genindex"]
    written = (chapters.ROOT / "book").rglob("*.md")
    expected += [str(path.relative_to(chapters.ROOT).with_suffix("")) for path in written]
    expected += [f"notebooks/{path.stem}" for path in chapters.find()]
    assert [name for name in expected if not (html / f"{name}.html").is_file()] == []


def external(page: BeautifulSoup) -> list[str]:
    """What a browser would load from another machine while the page is read."""
    loads = page.select(
        "script[src], img[src], iframe[src], source[src], video[src], audio[src], embed[src], object[data],"
        "link[rel~=stylesheet], link[rel~=icon], link[rel~=preload], link[rel~=preconnect], link[rel~=dns-prefetch]"
    )
    addresses = [tag.get("src") or tag.get("href") or tag.get("data") or "" for tag in loads]
    return [address for address in addresses if re.match("(?:[a-z]+:)?//", address)]


def test_nothing_is_loaded_from_elsewhere(pages):
    assert {path.name: found for path, page in pages.items() if (found := external(page))} == {}


def test_styles_load_nothing_from_elsewhere(html):
    remote = re.compile(r"""(?:@import\s+|url\()\s*["']?(?:https?:)?//[^)"']+""")
    found = {path.name: remote.findall(path.read_text(encoding="utf-8")) for path in html.rglob("*.css")}
    assert {name: loads for name, loads in found.items() if loads} == {}


def test_an_external_script_would_be_noticed():
    assert external(BeautifulSoup('<script src="https://cdn.example/x.js"></script>', "html.parser"))
    assert external(BeautifulSoup('<img src="//cdn.example/x.png">', "html.parser"))


def broken(pages: dict[Path, BeautifulSoup]) -> list[tuple[str, str]]:
    """The links to pages or places of this book that do not exist."""
    places = {path: {tag.get("id") or tag.get("name") for tag in page.select("[id], a[name]")} for path, page in
              pages.items()}  # fmt: skip
    found = []
    for path, page in pages.items():
        for link in page.select("a[href]"):
            href = link["href"]
            url = urlsplit(unquote(href))
            if url.scheme or url.netloc or href in ("", "#"):
                continue
            target = (path.parent / url.path).resolve() if url.path else path
            if not target.exists() or (url.fragment and target in places and url.fragment not in places[target]):
                found.append((path.name, href))
    return found


def test_links_inside_the_book_resolve(pages):
    assert broken(pages) == []


def test_a_broken_link_would_be_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("")
    soup = BeautifulSoup(
        '<p id="here"></p><a href="#here"></a><a href="#gone"></a><a href="gone.html"></a>', "html.parser"
    )
    assert broken({page: soup}) == [("page.html", "#gone"), ("page.html", "gone.html")]


def test_every_chapter_is_in_the_table_of_contents():
    listed = scoreboard.in_order(chapters.ROOT / "_toc.yml")
    assert sorted(listed) == sorted(path.stem for path in chapters.find())


def test_the_record_shows_every_chapter_and_every_verdict_at_its_scale(html, pages):
    chapters_of, by_scale = pages[html / "book" / "reproduction.html"].select("table.reproduction, table.by-scale")
    rows = {row.a["href"]: [cell.text.strip() for cell in row.select("td")] for row in chapters_of.select("tbody tr")}
    assert rows.keys() == {f"../notebooks/{md.stem}.html" for md in chapters.find()}
    assert all(int(cells[1]) + int(cells[2]) > 0 for cells in rows.values()), "a chapter of which nothing is compared"
    shown = {row.a["href"]: row.select("td")[2].text for row in by_scale.select("tbody tr")}
    asked = {
        (md.stem, row["id"])
        for md in chapters.find()
        for one in claimed(md.with_suffix(".ipynb"))
        for row in one["claims"]
    }
    recorded = list(reproduction.recorded(chapters.ROOT / "results"))
    assert recorded
    for name, stem, claim in recorded:
        if (stem, claim["id"]) not in asked:  # of a value of a parameter that the chapter does not have
            continue
        assert f"{claim['verdict']} ({name})" in shown[f"../notebooks/{stem}.html#claim-{claim['id']}"]


def test_the_scoreboard_shows_every_statement_once(html, pages):
    page = pages[html / "book" / "scoreboard.html"]
    rows = page.select("tr[data-verdict]")
    listed = [(key, one) for key in PAPERS for one in load(key).statements]
    assert Counter((row["data-paper"], row.td.contents[0].text) for row in rows) == Counter(
        (key, " ".join(one.says.split())) for key, one in listed
    )
    decided = {
        (row.paper, row.id): row.verdict
        for md in chapters.find()
        for row in chapter.read(outputs(md.with_suffix(".ipynb"))) or []
    }
    shown = Counter(row["data-verdict"] for row in rows)
    assert {verdict: shown[verdict] for verdict in board.VERDICTS} == {
        verdict: list(decided.values()).count(verdict) for verdict in board.VERDICTS
    }
    total = page.select_one(".claims-total").text.replace("\u2019", "'")  # as the book sets apostrophes
    assert f"Of {len(listed)} statements" in total and f" {len(decided)} have a verdict" in total
    assert [v for v in board.VERDICTS if shown[v] and f" {shown[v]} {v}" not in total] == []
    assert f" {shown[board.AGAIN]} are to be judged again" in total or not shown[board.AGAIN]
    for head in page.select("tr.paper"):  # of each paper
        below = Counter(row["data-verdict"] for row in head.parent.select("tr[data-verdict]"))
        assert [v for v in below if v in board.VERDICTS and f" {below[v]} {v}" not in head.text] == []


def test_the_rules_stand_above_the_table_and_what_is_beyond_below(html, pages):
    page = pages[html / "book" / "scoreboard.html"]
    heads = [head.contents[0].strip() for head in page.select(".bd-article h2, .bd-article h3")]
    assert heads[0] == "How a verdict is reached" and heads[-1] == "Beyond the papers"
    beyond = [one for key in PAPERS for one in load(key).beyond]
    assert len(page.select("#beyond-the-papers tbody tr")) == len(beyond) > 0
    assert page.select("#beyond-the-papers tr[data-verdict]") == []


def test_the_page_of_figures_shows_every_figure(html, pages):
    page = pages[html / "book" / "figures.html"]
    for paper in map(load, PAPERS):
        for figure in paper.figures:
            section = page.find(id=board.slug(paper.key, figure.number))
            assert section.h3.contents[0] == f"{figure.number} of {board.short(paper)}"
            text = section.text.replace("’", "'")
            assert figure.shows in text and figure.reason in text
            pictures = section.select("a > img")
            assert [image.parent["href"] for image in pictures] == [
                f"../notebooks/{one.replace('#', '.html#')}" for one in figure.ours
            ]
            for image in pictures:
                assert image["loading"] == "lazy" and image["alt"]
                assert (html / "book" / image["src"]).resolve().is_file()
            there = [one for one in paper.statements if board.mentions(one.where, figure.number)]
            assert len(section.select("tr[data-verdict]")) == len(there)
            assert [one.printed for one in there if one.printed not in section.text] == []


def test_the_front_page_has_the_findings_of_each_paper(html, pages):
    found = board.gather(chapters.ROOT)
    said = [p.text for p in pages[html / "book" / "intro.html"].select("p.finding")]
    assert said == [board.finding(found, paper) for paper in found.papers]


def test_claims_that_are_to_be_judged_again_say_so(html, pages):
    for md in chapters.find():
        former_tables = len(claimed(md.with_suffix(".ipynb")))
        assert len(pages[html / "notebooks" / f"{md.stem}.html"].select("p.again")) == former_tables, md.stem


def test_every_record_is_on_the_page_of_records(html, pages):
    rows = pages[html / "book" / "reproduction.html"].select("table.records tbody tr")
    there = all_records(chapters.ROOT)
    assert [row.td.text.strip() for row in rows] == [record.name for record in there]
    for row, record in zip(rows, there, strict=True):
        about = record.provenance()
        assert f"{about['rows']:,}" in row.text and about["commit"] in row.text and about["date"] in row.text


def test_a_record_is_shown_with_its_cost_and_its_slice(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "one.ipynb").write_text(NOTEBOOK)
    about = {"parameters": {"runs": 20}, "processor seconds": 90.0, "reference loop in seconds": 0.5}
    about |= {"commit": "abc", "machine": "2 cores", "device": "cpu", "precision": "float32", "threads": 1}
    about |= {"date": "2025-01-02"}
    Record(tmp_path, "one/walk").store(pd.DataFrame({"run": range(20), "end": range(20)}), about)
    ((record, walk),) = reproduction.recorded_by(tmp_path)
    name, rows, size, made, *_, cost, again = reproduction.line(record, walk, *reproduction.within_reach(record, walk))
    assert (name, rows, size, made) == ("one/walk", "20", "0 kB", "runs = 20")
    assert (cost, again) == ("90 s, 180 loops", "runs = 2: 10%")
    Record(tmp_path, "one/other").store(pd.DataFrame({"run": [1]}), about)
    with pytest.raises(ValueError, match="results/one/other is the record of no experiment in notebooks/one"):
        list(reproduction.recorded_by(tmp_path))
    short = Record(tmp_path, "two/short")
    short.store(pd.DataFrame({"step": [1, 10, 50, 200]}), about)

    def reach(further=(), **check):
        about = {"check": check | {"runs": 1}, "quick": {}, "further": further}
        return reproduction.within_reach(
            short, Experiment(lambda runs=9, steps=200, few_steps=200: 0, "two", keys=[], **about)
        )

    assert [reach(few_steps=steps) for steps in (10, [10], [1, 50])] == [(2, 2), (2, 2), (3, 3)]
    assert reach(["steps"], steps=10) == (2, 4) and reach() == (4, 4)
    assert reach(["steps"], steps=10, few_steps=10) == (2, 2)


def test_each_module_is_on_one_page_of_the_library(html, pages):
    shown = [mark["id"].removeprefix("module-") for page in pages.values() for mark in page.select("[id^=module-]")]
    walked = [pkgutil.walk_packages(one.__path__, f"{one.__name__}.") for one in (thermolib, companion)]
    there = [found.name for found in itertools.chain(*walked) if not found.name.rpartition(".")[2].startswith("_")]
    assert sorted(shown) == sorted(
        ["thermolib", "companion", *(name for name in there if name != "companion.installed")]
    )
    page = pages[html / "book" / "api" / "dynamics.html"]
    assert page.find(id="thermolib.dynamics.momentum.CoolMomentum")
    assert "simulated annealing" in page.find("table").text, "the first sentence of each name"


def test_the_pages_whose_contrast_is_measured_have_every_colour_of_the_book_s_own(html, pages):
    style = re.sub(r"/\*.*?\*/", "", (chapters.ROOT / "book" / "_static" / "book.css").read_text(), flags=re.S)
    rules = re.findall(r"([^{}]+)\{([^{}]*\b(?:color|background)\s*:[^{}]*)\}", style)
    selectors = {re.sub(r"^html\[.*?\] |:(?:target|hover|focus)\b|::\w+", "", rule.strip()) for rule, _ in rules}
    assert len(selectors) > 20
    judged = [html / path for path in COLOURED]
    for selector in selectors:
        order = [*judged, *(pages.keys() - set(judged))]
        found = next((path for path in order if pages[path].select_one(selector)), None)
        assert found is None or found in judged, f"{selector} has a colour on {found}"


def test_each_chapter_says_how_to_run_it_again(html, pages):
    address = yaml.safe_load((chapters.ROOT / "_config.yml").read_text())["repository"]["url"]
    for md in chapters.find():
        box = pages[html / "notebooks" / f"{md.stem}.html"].select_one(".rerun")
        assert box.select_one("pre").text.strip() == again.commands(md.stem, address)
        assert (again.NO_ADDRESS in box.text) == (address == "")
        assert box.select_one("a[download]")["href"].endswith(f"/{md.stem}.ipynb")
        took = again.took(chapters.ROOT, md.stem)
        assert not took or f"about {again.duration(took)} on one core" in box.text


def test_the_time_of_a_chapter_is_the_recorded_one(tmp_path):
    for folder in ("notebooks", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notebooks" / "a.ipynb").write_text('{"metadata": {}}')
    assert again.took(tmp_path, "a") == 0
    (tmp_path / "results" / "compared.json").write_text('{"a": {"seconds": 84}}')
    assert again.took(tmp_path, "a") == 84
    (tmp_path / "notebooks" / "a.ipynb").write_text('{"metadata": {"thermolib": {"seconds": 12.5}}}')
    assert again.took(tmp_path, "a") == 12.5


def test_the_pages_follow_the_papers(html, pages):
    for here, there in itertools.pairwise(scoreboard.in_order(chapters.ROOT / "_toc.yml")):
        following = pages[html / "notebooks" / f"{here}.html"].select_one("a.right-next")
        assert following["href"] == f"{there}.html"


def test_commands_and_links_follow_from_the_address():
    run = ["make book", ".venv/bin/companion run notebooks/retrofit"]
    assert again.commands("retrofit", "").splitlines() == run
    clone = ["git clone https://github.com/a/b.git", "cd b"]
    assert again.commands("retrofit", "https://github.com/a/b.git").splitlines() == clone + run
    assert again.links("retrofit", "", "main") == again.links("retrofit", "https://example.org/a/b", "main") == {}
    assert again.links("retrofit", "https://github.com/a/b.git", "main") == {
        "Binder": "https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/notebooks/retrofit.ipynb",
        "Colab": "https://colab.research.google.com/github/a/b/blob/main/notebooks/retrofit.ipynb",
    }


@pytest.mark.parametrize(("seconds", "said"), [(3, "10 seconds"), (84, "80 seconds"), (200, "3 minutes"),
                                               (9000, "2.5 hours")])  # fmt: skip
def test_durations_are_said_as_a_reader_wants_them(seconds, said):
    assert again.duration(seconds) == said
