"""The built book: its pages are there, nothing is loaded from elsewhere, and every link inside it leads somewhere."""

import itertools
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from book.tools import again, chapters, reproduction, scoreboard
from companion.claims import former
from companion.runs import batch


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
        for one in batch.claimed(md.with_suffix(".ipynb"))
        for row in one["claims"]
    }
    recorded = list(reproduction.recorded(chapters.ROOT / "results"))
    assert len(recorded) > 100
    for name, chapter, claim in recorded:
        if (chapter, claim["id"]) not in asked:  # of a value of a parameter that the chapter does not have
            continue
        assert f"{claim['verdict']} ({name})" in shown[f"../notebooks/{chapter}.html#claim-{claim['id']}"]


def test_the_scoreboard_shows_every_claim_of_every_chapter(html, pages):
    board = pages[html / "book" / "scoreboard.html"]
    rows = board.select("table.claims tbody tr")
    stored = [
        (md.stem, row)
        for md in chapters.find()
        for record in batch.claimed(md.with_suffix(".ipynb"))
        for row in record["claims"]
    ]
    assert stored, "no chapter makes a claim"
    shown = {row.a["href"]: row.select_one(".verdict").text for row in rows}
    assert shown == {f"../notebooks/{stem}.html#claim-{row['id']}": row["verdict"] for stem, row in stored}
    assert former.summary([row for _, row in stored]) in board.text


def test_the_library_page_shows_public_names(html, pages):
    page = pages[html / "book" / "api.html"]
    assert page.find(id="companion.claims.former.Claims.number")


def test_each_chapter_says_how_to_run_it_again(html, pages):
    for md in chapters.find():
        box = pages[html / "notebooks" / f"{md.stem}.html"].select_one(".rerun")
        assert box.select_one("pre").text.strip() == f".venv/bin/companion run notebooks/{md.stem}"
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


def test_where_a_chapter_runs_without_installing_anything(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.delenv("GITHUB_REF_NAME", raising=False)
    assert again.repository(tmp_path) is None
    assert again.links("retrofit", None) == {}
    for command in ("init -q -b main", "remote add origin git@github.com:some-one/the.book.git"):
        subprocess.run(["git", "-C", str(tmp_path), *command.split()], check=True)
    assert again.repository(tmp_path) == ("some-one/the.book", "main")
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    assert again.links("retrofit", again.repository(tmp_path)) == {
        "Binder": "https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/notebooks/retrofit.ipynb",
        "Colab": "https://colab.research.google.com/github/a/b/blob/main/notebooks/retrofit.ipynb",
    }


@pytest.mark.parametrize(("seconds", "said"), [(3, "10 seconds"), (84, "80 seconds"), (200, "3 minutes"),
                                               (9000, "2.5 hours")])  # fmt: skip
def test_durations_are_said_as_a_reader_wants_them(seconds, said):
    assert again.duration(seconds) == said
