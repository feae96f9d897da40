"""The built book in a real browser: it reads well with no network, in the dark and on a phone.

The pictures that are taken on the way are in ``_build/screenshots``.
"""

import fcntl
import functools
import io
import json
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader

import thermolib as tl
from book.tools import board, build, chapters, pdf, touch
from book.tools.pdf import BROWSER
from companion.claims.statements import PAPERS

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian's package: chromium)")
CHAPTER = "notebooks/langevin_splittings.html"
SCREENSHOTS = build.HTML.parent / "screenshots"
PHONE = {"width": 390, "height": 844}
TABLET = {"width": 820, "height": 1180}
DESK = {"width": 1280, "height": 900}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(html):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Open a page; at the end of the test, no page may have complained or asked for anything from elsewhere."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, viewport: dict = DESK, dark: bool = False) -> Page:
        context = browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")
        contexts.append(context)

        def only_from_here(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                return route.continue_()
            complaints.append(f"{path} asks for {route.request.url}")
            return route.abort()

        context.route("**/*", only_from_here)
        page = context.new_page()
        page.on("console", lambda m: m.type == "error" and complaints.append(f"{path}: {m.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{path}: {error}"))
        page.on("response", lambda r: r.status >= 400 and complaints.append(f"{path}: {r.status} for {r.url}"))
        page.goto(f"{address}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def pages() -> list[str]:
    written = sorted((chapters.ROOT / "book").rglob("*.md"))
    return [str(p.relative_to(chapters.ROOT).with_suffix(".html")) for p in written] + [
        f"notebooks/{p.stem}.html" for p in chapters.find()
    ]


#: Where colours of our own stand, and one page of each other kind: the others have what these have.
COLOURED = [CHAPTER, "notebooks/thermostat.html", "notebooks/weights.html", "book/touch.html", "book/scoreboard.html",
            "book/figures.html", "book/performance.html", "book/intro.html", "book/api/optim.html",
            "book/your_network.html"]  # fmt: skip


def shoot(page: Page, name: str) -> np.ndarray:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = page.screenshot(path=SCREENSHOTS / f"{name}.png")
    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=float)


def test_the_front_page_leads_into_the_book(visit):
    page = visit("index.html")
    page.wait_for_url("**/book/intro.html")
    assert page.locator("h1").first.inner_text().startswith("Training as thermodynamics")
    shoot(page, "front")
    page.locator(".bd-sidebar a", has_text="Scoreboard").click()
    page.wait_for_url("**/scoreboard.html")
    assert page.locator("tr[data-verdict]").count() > 0
    shoot(page, "scoreboard")


def test_mathematics_is_drawn(visit):
    page = visit("book/glossary.html")
    page.wait_for_selector("mjx-container", timeout=10_000)
    assert page.locator("mjx-container").count() == page.locator(".math").count()
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("[...document.fonts].some(f => f.family.startsWith('MJXTEX') && f.status == 'loaded')")


def test_search_finds_baoab(visit):
    page = visit("search.html?q=BAOAB")
    page.wait_for_selector("#search-results li")
    found = page.locator("#search-results li a").all_inner_texts()
    assert any("Langevin splittings" in title for title in found)
    shoot(page, "search")


@pytest.mark.parametrize(("key", "number"), [("partitioned", "Figure 9"), ("coolmomentum", "Table 2")])
@pytest.mark.parametrize("said", [str, lambda number: number.replace("Figure", "Fig.")], ids=["in full", "in short"])
def test_search_finds_a_figure_of_a_paper_first(visit, key, number, said):
    page = visit(f"search.html?q={said(number).replace(' ', '+')}")
    first = page.locator("#search-results li > a").first
    first.wait_for()
    first.click()
    page.wait_for_url(f"**/book/figures.html*#{board.slug(key, number)}")
    assert page.locator(f"#{board.slug(key, number)} h3").is_visible()


def test_the_scoreboard_is_filtered_from_the_keyboard(html, browser):
    """On a phone, from a file, with no server and no kernel."""
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.goto((html / "book" / "scoreboard.html").as_uri())
    rows, said = page.locator("tr[data-verdict]"), page.locator(".board-filters [role=status]")
    everything = rows.count()

    def shown() -> list[dict[str, str]]:
        found = page.evaluate(
            """() => [...document.querySelectorAll('tr[data-verdict]')]
              .filter(row => row.checkVisibility()).map(row => ({...row.dataset}))"""
        )
        assert said.inner_text() == f"{len(found)} of {everything} statements"
        return found

    def choice(name: str) -> str:
        return page.evaluate("name => document.querySelector(`.board-filters [name=${name}]`).value", name)

    assert said.inner_text() == f"{everything} of {everything} statements"
    assert not page.locator("details.fold").evaluate("fold => fold.open")
    page.locator(".board-filters select[name=paper]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert {row["paper"] for row in shown()} == {choice("paper")} == {PAPERS[1]}
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    paper, figure = choice("figure").split("|")  # the first of that paper: the others cannot be chosen
    assert paper == PAPERS[1] and (found := shown())
    assert all(row["paper"] == paper and figure in row["figures"].split("|") for row in found)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowUp")  # another paper has other figures
    assert choice("figure") == "" and {row["paper"] for row in shown()} == {PAPERS[0]}
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Show all"
    page.keyboard.press("Enter")
    page.wait_for_function("n => document.querySelector('.board-filters [role=status]').textContent.startsWith(n)",
                           arg=f"{everything} of")  # fmt: skip
    for name in ("verdict", "scale"):
        page.locator(f".board-filters select[name={name}]").focus()
        for value in page.locator(f".board-filters select[name={name}] option").all()[1:]:
            page.keyboard.press("ArrowDown")
            assert choice(name) == value.get_attribute("value")
            assert {row[name] for row in shown()} == {choice(name)}
        page.keyboard.press("Home")
    page.locator(".board-filters select[name=verdict]").select_option("contradicted")
    page.goto(page.url)  # the address says what was chosen
    assert choice("verdict") == "contradicted" and {row["verdict"] for row in shown()} == {"contradicted"}
    assert page.evaluate(OUTSIDE) == []
    context.close()


def test_folded_code_unfolds(visit):
    page = visit(CHAPTER)
    fold = page.locator("details.hide.above-input").first
    code = fold.locator(".highlight").first
    assert not code.is_visible()
    fold.locator("summary").click()
    assert code.is_visible()
    shoot(page, "unfolded")


def contrast(page: Page, selector: str) -> float:
    """The contrast of a text against what lies under it, as the accessibility guidelines define it."""
    rgb = page.evaluate(
        """selector => {
          let ground = document.querySelector(selector);
          const numbers = color => color.match(/[\\d.]+/g).map(Number);
          const text = numbers(getComputedStyle(ground).color);
          const seen = element => numbers(getComputedStyle(element).backgroundColor);
          while (ground.parentElement && seen(ground)[3] === 0) ground = ground.parentElement;
          return [text.slice(0, 3), seen(ground).slice(0, 3)];
        }""",
        selector,
    )

    def luminance(color):
        c = np.array(color) / 255
        return np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    low, high = sorted(map(luminance, rgb))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_by_day_and_by_night(visit, dark):
    page = visit(f"{CHAPTER}#claims", dark=dark)
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    background = shoot(page, "claims-dark" if dark else "claims-light")
    assert np.median(background) < 60 if dark else np.median(background) > 200
    for selector in (".bd-article p", "table.claims td", "table.claims small", "table.claims .verdict"):
        assert contrast(page, selector) >= 4.5, selector


AXE = Axe()


def violations(page: Page, **options) -> list[str]:
    """What axe-core says against a page: the rule, and the first elements that break it."""
    # without preload, axe does not ask again for the style sheets, some of which name others relative to themselves
    settings = {"resultTypes": ["violations"], "preload": False, **options}
    found = AXE.run(page, options=settings).response["violations"]
    return [f"{rule['id']}: {[node['html'][:150] for node in rule['nodes'][:3]]}" for rule in found]


# What is wider than the screen, where it cannot be scrolled in a box of its own.
OUTSIDE = """() => document.scrollingElement.scrollWidth <= innerWidth ? [] : ['the page',
  ...[...document.querySelectorAll('.bd-article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('pre, table, figure, .math'))
    .slice(0, 5).map(e => e.outerHTML.slice(0, 150))]"""
# Pictures that did not come, are all of one colour, or that a screen reader knows nothing of.
UNSEEN = """async () => {
  const pictures = [...document.querySelectorAll('.cell_output img, figure img')];
  for (const picture of pictures) picture.loading = 'eager';
  await Promise.allSettled(pictures.map(picture => picture.decode()));
  const draw = new OffscreenCanvas(300, 200).getContext('2d', {willReadFrequently: true});
  const shades = picture => {
    draw.fillStyle = 'white';
    draw.fillRect(0, 0, 300, 200);
    draw.drawImage(picture, 0, 0, 300, 200);
    const green = draw.getImageData(0, 0, 300, 200).data.filter((_, k) => k % 4 == 1);
    return Math.max(...green) - Math.min(...green);
  };
  return pictures.filter(p => !p.naturalWidth || shades(p) < 50 || !p.alt).map(p => p.outerHTML.slice(0, 150));
}"""
# What has the colours of its neighbours and takes axe seconds: cells of code but one, rows of a kind beyond ten.
FEWER = """() => {
  const longest = code => -code.textContent.length;
  const cells = [...document.querySelectorAll('pre')].sort((a, b) => longest(a) - longest(b));
  for (const code of cells.slice(1)) code.remove();
  const seen = {};
  for (const row of document.querySelectorAll('tr[data-verdict]'))
    if ((seen[row.dataset.verdict] = (seen[row.dataset.verdict] ?? 0) + 1) > 10) row.remove();
}"""
# Text that ends at the edge of a box which neither grows nor scrolls; formulas hold a copy for screen readers.
CUT_OFF = """() => [...document.querySelectorAll('body *')]
  .filter(e => ['hidden', 'clip'].includes(getComputedStyle(e).overflowX) && !e.closest('.math, mjx-container'))
  .filter(e => e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1 && e.innerText)
  .slice(0, 5).map(e => e.outerHTML.slice(0, 150))"""


@pytest.mark.parametrize("path", pages())
def test_a_page_reads_well(visit, path):
    """Accessible, its mathematics and pictures drawn, and nowhere wider than the screen."""
    page, name = visit(path), path.removesuffix(".html").replace("/", "-")
    page.wait_for_function("() => !window.MathJax || MathJax.startup?.promise")  # settings come first
    page.evaluate("() => window.MathJax && MathJax.startup.promise")
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate(UNSEEN) == []
    assert violations(page, rules={"color-contrast": {"enabled": False}}) == []
    for view in (DESK, TABLET, PHONE):
        page.set_viewport_size(view)
        shoot(page, f"{name}-{view['width']}")
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("path", COLOURED)
def test_a_page_has_enough_contrast(visit, path, dark):
    page = visit(path, dark=dark)
    page.wait_for_function(f"document.documentElement.dataset.theme == '{'dark' if dark else 'light'}'")
    page.evaluate(FEWER)
    shoot(page, f"{path.removesuffix('.html').replace('/', '-')}-{'night' if dark else 'day'}")
    assert violations(page, runOnly=["color-contrast"]) == []


def test_the_whole_book_is_one_pdf(html):
    with open(html.parent / "build.lock", "w") as lock:  # one build at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([sys.executable, "-m", "book.tools.pdf"], cwd=chapters.ROOT, check=True)
    book = PdfReader(pdf.PDF)
    marks = [mark for mark in book.outline if not isinstance(mark, list)]
    begins = [book.get_destination_page_number(mark) + 1 for mark in marks]
    assert len(marks) > 30 and begins == sorted(begins) and "Scoreboard" in marks[-1].title
    cover, contents = (book.pages[k].extract_text() for k in (0, 1))
    assert "Abstract" in cover and "reproduced" in cover and "Version" in cover
    assert [int(number) for number in re.findall(r"(\d+)$", contents, re.M)][: len(begins)] == begins
    assert len(book.pages) > 100 and len(pdf.PDF.read_bytes()) > 5_000_000  # the figures are in it
    assert sum(link["/Subtype"] == "/Link" for page in book.pages for link in page.get("/Annots", ())) > 1000


def test_axe_would_notice(visit):
    page = visit("book/contributing.html")
    page.evaluate("""() => document.querySelector('.bd-article').insertAdjacentHTML(
      'beforeend', '<img src="data:,"><p style="color: #aaa; background: #fff">pale</p><h4>deep</h4>')""")
    assert {"image-alt", "color-contrast"} <= {rule.partition(":")[0] for rule in violations(page)}


def test_what_is_outside_or_cut_off_would_be_noticed(visit):
    page = visit("book/contributing.html", viewport=PHONE)
    add = "html => document.querySelector('.bd-article').insertAdjacentHTML('beforeend', html)"
    assert page.evaluate(OUTSIDE) == [] and page.evaluate(CUT_OFF) == []
    page.evaluate(add, '<p style="width: 3rem; overflow: hidden">thermodynamics</p>')
    assert "thermodynamics" in page.evaluate(CUT_OFF)[0]
    page.evaluate(add, '<p style="width: 100rem">wide</p>')
    assert "wide" in page.evaluate(OUTSIDE)[1]


def test_claims_become_cards_on_a_phone(visit):
    page = visit(f"{CHAPTER}#claims", viewport=PHONE)
    row = page.locator("table.claims tbody tr").first
    assert row.evaluate("r => getComputedStyle(r).display") == "block"
    row.scroll_into_view_if_needed()
    shoot(page, "phone-claims")


def page_of_figure(name):
    """The page that a figure with a slider stands on: its chapter, which the front page may borrow it from."""
    pages = [*(chapters.ROOT / "notebooks").glob("*.md"), *(chapters.ROOT / "book").glob("*.md")]
    source = next(path for path in pages if f"{{touch}} {name}\n" in path.read_text(encoding="utf-8"))
    return source.relative_to(chapters.ROOT).with_suffix(".html").as_posix()


@pytest.mark.parametrize("name", touch.FIGURES)
def test_a_slider_moves_its_figure(visit, name):
    page = visit(page_of_figure(name))
    figure = page.locator(f"#moving-{name}")
    slider, panels, caption = figure.locator("input"), figure.locator(".panels"), figure.locator("figcaption")
    assert panels.get_attribute("role") == "img" and panels.get_attribute("aria-label")
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        slider.press(key)
        seen.append((panels.inner_html(), caption.inner_text(), slider.get_attribute("aria-valuetext")))
    assert len(set(seen)) == 3 and len({drawn for drawn, _, _ in seen}) == 3
    numbers = re.sub('href="[^"]*"', "", "".join(drawn for drawn, _, _ in seen))  # not in the pictures
    assert not re.search("NaN|undefined|null", numbers)


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_figures_that_move_can_be_read(visit, viewport):
    """The control stands above what it moves, and no text is smaller than twelve pixels."""
    for name in touch.FIGURES:
        page = visit(page_of_figure(name), viewport=viewport)
        figure = page.locator(f"#moving-{name}")
        assert figure.locator(".control").bounding_box()["y"] < figure.locator(".panels").bounding_box()["y"]
        sizes = figure.evaluate(
            """f => [...f.querySelectorAll(".panel > svg")].map(svg =>
                 parseFloat(getComputedStyle(svg).fontSize) * svg.clientWidth / svg.viewBox.baseVal.width)"""
        )
        assert min(sizes) >= 12, (name, sizes)


def test_a_figure_plays_to_its_end(visit):
    figure = visit(page_of_figure("spirals")).locator("#moving-spirals")
    slider, button = figure.locator("input"), figure.locator("button")
    slider.press("End")
    slider.press("ArrowLeft")
    button.click()
    assert button.inner_text() == "Stop"
    figure.locator("button:text('Play')").wait_for()
    assert slider.input_value() == slider.get_attribute("max")


def test_a_pixel_shows_its_classifier(visit):
    figure = visit(page_of_figure("noise")).locator("#moving-noise")
    slider, caption = figure.locator("input"), figure.locator("figcaption")
    cells = figure.locator("g[cursor=pointer]")
    cells.nth(9).click()
    assert slider.input_value() == "9"
    before = caption.inner_text()
    slider.press("ArrowDown")
    assert int(slider.input_value()) > 10 and caption.inner_text() != before
    assert len(set(caption.inner_text().split()) - set(before.split())) <= 4, "only the temperature changes"


def test_the_live_oscillators_have_the_moments_of_the_library(visit):
    page = visit(CHAPTER)
    figure = page.locator("figure.live")
    figure.locator("button").click()
    for word in figure.locator("option").all_inner_texts():
        figure.locator("select").select_option(word)
        for h in (0.3, 1.2):
            figure.locator("input[name=h]").fill(str(h))
            found = tl.exact.stationary_moments(word, curvature=1, step_size=h, friction=1, temperature=1)
            said = figure.locator("figcaption").inner_text()
            assert f"positions at {found.qq:.2f} τ and momenta at {found.pp:.2f} τ" in said, (word, h)
    before = figure.locator(".panels").inner_html()
    page.wait_for_timeout(300)
    assert figure.locator(".panels").inner_html() != before
    assert "NaN" not in before


def test_the_live_thermostat_finds_the_friction_of_the_library(visit):
    page = visit("notebooks/adaptive_langevin.html")
    figure = page.locator("#live-noise")
    for sigma, h, gamma in ((0, 0.2, 0.5), (1.5, 0.2, 0.8), (2, 0.3, 0.4)):
        for name, value in (("sigma", sigma), ("h", h), ("gamma", gamma)):
            figure.locator(f"input[name={name}]").fill(str(value))
        how = {"temperature": 1, "gradient_noise": sigma, "step_size": h}
        hot = tl.exact.stationary_moments("BAOAB", curvature=1, friction=gamma, **how).qq
        law = tl.exact.adaptive_langevin(noise=(2 * gamma) ** 0.5, coupling=1, **how).mean
        said = figure.locator("figcaption").inner_text()
        assert f"positions at {hot:.2f} τ. The thermostat goes to the friction {law:.2f}" in said
        height = float(figure.locator("polyline").get_attribute("points").split()[-200:][0].split(",")[1])
        lines = figure.locator("svg").nth(1).locator("line")
        low, unit = (float(lines.nth(k).get_attribute("y1")) for k in (0, 1))
        assert (low - height) / (low - unit) == pytest.approx(law, abs=0.4)  # it fluctuates by a tenth
        fixed, kept = (float(text) for text in figure.locator("svg").nth(0).locator("text").all_text_contents()[-4:-2])
        assert fixed == pytest.approx(hot, rel=0.15) and kept == pytest.approx(1, rel=0.15)
    before = figure.locator(".panels").inner_html()
    figure.locator("button").click()
    page.wait_for_timeout(300)
    assert figure.locator(".panels").inner_html() != before and "NaN" not in before


def test_the_live_chain_has_the_means_of_the_library(visit):
    page = visit("notebooks/thermostat.html")
    figure = page.locator("#live-chain")
    starts = {"1": 0, "3": 1}  # where the path of one link is a ring: others are chaotic, and amplify rounding
    places = torch.tensor([[float(start)] for start in starts], dtype=torch.float64)
    link = tl.NoseHooverChain(0.1, 1.0, 1)
    observe = {"q2": lambda state: state.q[:, 0].square()}
    how = {"every": 10, "observe": observe, "compile": True, "progress": False}
    path = tl.simulate(lambda q: q.square().sum(1) / 2, link, link.init(places), 40_000, **how).frame
    ends = path[path["step"] > 0].groupby("replica")["q2"].mean()
    figure.locator("input[name=links]").fill("1")
    for start, replica in starts.items():
        figure.locator("input[name=start]").fill(start)
        mean = float(figure.locator("figcaption").inner_text().split("⟨q²⟩ = ")[1].split()[0])
        assert mean == pytest.approx(ends[replica], abs=0.007) and abs(mean - 1) > 0.2, "a ring"
        for links in "23":
            figure.locator("input[name=links]").fill(links)
            mean = float(figure.locator("figcaption").inner_text().split("⟨q²⟩ = ")[1].split()[0])
            assert mean == pytest.approx(1, abs=0.1)
        figure.locator("input[name=links]").fill("1")
    before = figure.locator(".panels").inner_html()
    figure.locator("button").click()
    page.wait_for_timeout(300)
    assert figure.locator(".panels").inner_html() != before and "NaN" not in before


def test_the_live_wells_are_annealed_and_quenched_as_by_the_library(visit):
    figure = visit("notebooks/momentum_is_langevin.html").locator("#live-wells")
    lr, rho, hottest, many = 0.01, 0.99, 2.0, 1000
    how = {"gradient_noise": (4 * hottest / lr * (1 - rho) / (1 + rho)) ** 0.5, "compile": False, "progress": False}
    start = torch.linspace(-1.5, 1.5, many, dtype=torch.float64)[:, None]

    def energy(q):
        return ((q.square() - 1).square() + q / 2).sum(1)

    for exponent in ("2", "3.5"):
        steps = round(10 ** float(exponent))
        half = steps // 2
        hot = tl.simulate(energy, tl.Momentum(lr * (1 + rho) / 2, rho), start, half, every=half, **how).final
        ends = [
            tl.simulate(energy, law, begin, left, every=left, **how).final.q
            for law, begin, left in (
                (tl.CoolMomentum(lr, rho, steps), start, steps),
                (tl.Momentum(lr / 2, 0.0), hot, steps - half),
            )
        ]
        figure.locator("input").fill(exponent)
        said = figure.locator("figcaption").inner_text()
        shares = [int(share) / 100 for share in re.findall(r"(\d+) %", said)]
        for share, end in zip(shares, ends, strict=True):
            there = (end < 0.13).double().mean().item()
            assert abs(share - there) < 4 * (there * (1 - there) * (1 / 200 + 1 / many)) ** 0.5, (steps, said)
    assert shares[0] > shares[1] + 0.2, "slow cooling finds the deeper well"
    before = figure.locator(".panels").inner_html()
    figure.locator("button").click()
    figure.page.wait_for_timeout(300)
    assert figure.locator(".panels").inner_html() != before and "NaN" not in before


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["words", "noise", "chain", "wells"])
def test_live_figures_can_be_read(visit, name, viewport):
    page = {"words": CHAPTER, "noise": "notebooks/adaptive_langevin.html", "chain": "notebooks/thermostat.html",
            "wells": "notebooks/momentum_is_langevin.html"}[name]  # fmt: skip
    figure = visit(page, viewport=viewport).locator(f"#live-{name}")
    assert figure.locator(".control").bounding_box()["y"] < figure.locator(".panels").bounding_box()["y"]
    widths = figure.locator("svg").evaluate_all("all => all.map(svg => svg.clientWidth)")
    assert min(widths) * 13.5 / 300 >= 12


def test_figures_with_a_slider_are_small_and_come_out_the_same():
    stored = {path.stem: path.read_bytes() for path in touch.FOLDER.iterdir()}
    assert sorted(stored) == sorted(touch.FIGURES)
    assert [name for name, text in stored.items() if len(text) > 300_000] == []
    for name in ("gradient_noise", "temperature", "spirals", "noise", "valley"):  # from records
        assert json.loads(stored[name]) == touch.plain(touch.FIGURES[name]())
