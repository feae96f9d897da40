"""The book as one PDF: ``python -m book.tools.pdf``, or ``make pdf``.

The chapters come first and the board last, and what only serves on a screen is left out. It is built as one page, and
Chromium prints it, twice: the contents name pages that are known once it is printed. No LaTeX is needed.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader

from book.tools import build

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PDF = build.HTML.parent / "thermo-companion.pdf"
#: What moves, what links, and the reference of the library: for a screen.
LEFT_OUT = ("book/touch", "book/figures", "book/api", "book/integrators", "book/contributing", "book/reproduction")
APPENDIX: dict[str, Any] = {"caption": "Appendix", "chapters": [{"file": "book/scoreboard"}]}

# On one page, what led to another page leads to its place here; what led to a whole page, to the page's first heading.
LINKS = """() => {
  for (const link of document.querySelectorAll('a[href]')) {
    const [page, place] = link.getAttribute('href').split('#');
    if (/^[a-z]+:/.test(page) || !page.endsWith('.html')) continue;
    const there = place || 'document-' + page.replace(/^(\\.\\.\\/)+/, '').replace(/\\.html$/, '');
    if (document.getElementById(there)) link.setAttribute('href', '#' + there);
  }
}"""
# The front page becomes a cover with an abstract; the contents follow it, with room for the numbers of their pages.
COVER = """({author, about}) => {
  document.querySelector('#jb-print-docs-body')?.remove();  // the theme's own title
  const article = document.querySelector('.bd-article'), front = article.querySelector('section');
  const heads = [...article.querySelectorAll('span[id^="document-"] + section > :is(h1, h2)')];
  for (const link of article.querySelectorAll('a.headerlink')) link.remove();
  const findings = [...front.querySelectorAll('p.finding')].map(one =>
    `<p><strong>${one.closest('.sd-col').querySelector('strong').textContent}.</strong> ${one.innerHTML}</p>`);
  const title = front.querySelector('h1').textContent, thesis = front.querySelector('p').textContent;
  const lines = heads.map((head, k) => {
    head.id ||= `printed-${k}`;
    return `<li><a href="#${head.id}">${head.textContent}</a><span class="printed-page">000</span></li>`;
  });
  for (const part of [...front.children]) if (!part.querySelector('span[id^="document-"]')) part.remove();
  article.insertAdjacentHTML('afterbegin', `<div class="printed-cover"><div class="printed-title">${title}</div>
    <p>${author}</p><p>${about}</p><p class="printed-head">Abstract</p><p>${thesis}</p>${findings.join('')}</div>
    <div class="printed-contents"><p class="printed-head">Contents</p><ol>${lines.join('')}</ol></div>`);
  return heads.length;
}"""
NUMBERS = """pages => document.querySelectorAll('.printed-page').forEach((one, k) => { one.textContent = pages[k]; })"""
FOOT = (
    '<div style="width: 100%; font: 8px sans-serif; text-align: center">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)


def contents(toc: dict[str, Any]) -> dict[str, Any]:
    """The table of contents of the printed book: chapters, what is for one's own project, back matter, the board."""
    out = (*LEFT_OUT, "book/scoreboard")
    parts = [
        part | {"chapters": [one for one in part["chapters"] if not one["file"].startswith(out)]}
        for part in toc["parts"]
    ]
    first, *chapters = parts
    return toc | {"parts": [*chapters[:-1], first | {"caption": "How to read and rerun it"}, chapters[-1], APPENDIX]}


def print_page(page: Path, pdf: Path, author: str, about: str) -> None:
    """Print an HTML page, mathematics and figures included."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = chromium.new_page(color_scheme="light")
        tab.set_default_timeout(600_000)
        missing: list[str] = []
        tab.on("requestfailed", lambda request: missing.append(request.url))
        tab.route("**/searchindex.js", lambda route: route.fulfill(body=""))  # one page has none, and needs none
        tab.goto(page.as_uri(), wait_until="load")
        if missing:
            raise SystemExit(f"the page lacks {len(missing)} of its files, such as {missing[0]}")
        tab.wait_for_function("() => !window.MathJax || MathJax.startup?.promise")  # settings come first
        tab.evaluate("() => window.MathJax && MathJax.startup.promise")
        chapters = tab.evaluate(COVER, {"author": author, "about": about})
        tab.evaluate(LINKS)
        on_paper(tab, pdf)
        tab.evaluate(NUMBERS, begins(PdfReader(pdf), chapters))
        on_paper(tab, pdf)
        chromium.close()


def begins(printed: PdfReader, chapters: int) -> list[int]:
    """On which page each of the chapters begins: the bookmarks that lie in no other."""
    marks = [mark for mark in printed.outline if not isinstance(mark, list)]
    if len(marks) != chapters:
        raise SystemExit(f"the book has {chapters} chapters and pages, and bookmarks for {len(marks)}")
    return [printed.get_destination_page_number(mark) + 1 for mark in marks]


def on_paper(tab: Page, pdf: Path) -> None:
    tab.pdf(
        path=pdf,
        format="A4",
        scale=0.6,
        margin={"top": "15mm", "bottom": "18mm", "left": "14mm", "right": "14mm"},
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOT,
        outline=True,
        tagged=True,
    )


def main() -> None:
    if BROWSER is None:
        raise SystemExit("no Chromium is installed, which prints the book: install it (Debian's package: chromium)")
    toc = PDF.with_name("printed_toc.yml")
    toc.parent.mkdir(exist_ok=True)
    toc.write_text(yaml.safe_dump(contents(yaml.safe_load((build.ROOT / "_toc.yml").read_text())), sort_keys=False))
    single = build.build(builder="singlehtml", toc=toc)
    cited = yaml.safe_load((build.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    author = ", ".join(one["name"] for one in cited["authors"])
    said = subprocess.run(
        ["git", "log", "-1", "--format=%cs, commit %h"], cwd=build.ROOT, capture_output=True, text=True
    )
    about = ", ".join(filter(None, [f"Version {cited['version']}", said.stdout.strip()]))
    # Sphinx writes the page into the folder of its first source, and all its addresses as from the folder above.
    print_page((single / "book" / "intro.html").rename(single / "whole.html"), PDF, author, about)
    print(f"the book is printed: {PDF}")


if __name__ == "__main__":
    main()
