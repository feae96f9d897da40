"""The whole book as one PDF: ``python -m book.tools.pdf``, or ``make pdf``.

The book is built as one page, and Chromium prints it, with its table of contents as bookmarks. No LaTeX is needed.
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from book.tools import build

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PDF = build.HTML.parent / "thermo-companion.pdf"

# On one page, what led to another page leads to its place here; what led to a whole page, to the page's first heading.
LINKS = """() => {
  for (const link of document.querySelectorAll('a[href]')) {
    const [page, place] = link.getAttribute('href').split('#');
    if (/^[a-z]+:/.test(page) || !page.endsWith('.html')) continue;
    const there = place || 'document-' + page.replace(/^(\\.\\.\\/)+/, '').replace(/\\.html$/, '');
    if (document.getElementById(there)) link.setAttribute('href', '#' + there);
  }
}"""
FOOT = (
    '<div style="width: 100%; font: 8px sans-serif; text-align: center">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)


def print_page(page: Path, pdf: Path) -> None:
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
        tab.evaluate(LINKS)
        tab.pdf(
            path=pdf,
            format="A4",
            scale=0.75,
            margin={"top": "15mm", "bottom": "18mm", "left": "14mm", "right": "14mm"},
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
            outline=True,
            tagged=True,
        )
        chromium.close()


def main() -> None:
    if BROWSER is None:
        raise SystemExit("no Chromium is installed, which prints the book: install it (Debian's package: chromium)")
    single = build.build(builder="singlehtml")
    # Sphinx writes the page into the folder of its first source, and all its addresses as from the folder above.
    print_page((single / "book" / "intro.html").rename(single / "whole.html"), PDF)
    print(f"the book is printed: {PDF}")


if __name__ == "__main__":
    main()
