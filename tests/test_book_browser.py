"""The built book in a real browser: offline, free of errors, alive without a kernel, readable by everybody.

Builds nothing: run `python book/build.py` first. CHROMIUM may name the browser.
"""

import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import HTML, answer_quiz, logits_shown, move, need, need_browser, same_logits, serious_faults, watch

from sftlab.teach.widgets.bank import load_bank

PAGES = sorted(p.relative_to(HTML).as_posix() for d in ("book", "notebooks") for p in (HTML / d).glob("*.html"))
need(PAGES, "the book is not built: python book/build.py")
need_browser()


class Handler(SimpleHTTPRequestHandler):
    # Windows takes these types from its registry, where they are often wrong; a module with a wrong type does not load.
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript", ".mjs": "text/javascript"}

    def __init__(self, *args):
        super().__init__(*args, directory=str(HTML))

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def base():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser, base):
    """A phone-wide page that answers nothing from outside; the test fails at its end if it saw a fault."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="light")
    faults = []

    def outside(route):
        faults.append(f"request to {route.request.url}")
        route.abort()

    page.route(lambda url: not url.startswith((base, "blob:", "data:")), outside)
    watch(page, faults)
    yield page
    page.close()
    assert not faults


CUT = """() => [...document.querySelectorAll("div.math")].filter((math) => {
  const parts = [...math.querySelectorAll("svg use")].map((part) => part.getBoundingClientRect());
  return Math.min(...parts.map((part) => part.left)) < math.getBoundingClientRect().left - 1;
}).map((math) => math.textContent.slice(0, 60))"""


@pytest.mark.parametrize("path", PAGES)
def test_page(page, base, path):
    page.goto(base + path, wait_until="networkidle")
    # Every formula and every diagram has become a drawing; mermaid waits with diagrams in closed parts.
    waiting = ".math:not(:has(mjx-container)), pre.mermaid:not(:has(svg), [data-mermaid-deferred])"
    page.wait_for_function("(waiting) => !document.querySelector(waiting)", arg=waiting)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "wider than a phone"
    wrong = '[data-mml-node="merror"], .error-text:visible'
    assert page.locator(wrong).count() == 0, "a formula or a diagram was not understood"
    assert page.evaluate(CUT) == [], "formulas that begin left of where one can scroll"


def test_dark_mode(page, base):
    page.goto(base + "book/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator("button.theme-switch-button:visible").first.click()
    page.locator("button.theme-change-button[data-mode=dark]:visible").first.click()
    page.wait_for_function(f"(light) => {background} !== light", arg=light)


def test_search(page, base):
    page.goto(base + "search.html?q=fine-tuning")
    page.wait_for_selector("#search-results li:has-text('Glossary')")  # results come in one by one


def test_top_of_the_site_leads_to_the_landing_page(page, base):
    page.goto(base)
    page.wait_for_url(base + "book/index.html")


@pytest.mark.parametrize("path", PAGES)
def test_accessibility(page, base, path):
    """axe-core finds nothing serious on a page with all its widgets, everything unfolded, in light and in dark."""
    page.set_viewport_size({"width": 1300, "height": 900})
    page.goto(base + path, wait_until="networkidle")
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    page.add_style_tag(content="* { transition: none !important }")  # no colour is measured half way
    for theme in ("light", "dark"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
        faults = serious_faults(page)
        assert not faults, (theme, faults)


@pytest.mark.parametrize(("theme", "width"), [("light", 1300), ("dark", 1300), ("light", 390), ("dark", 390)])
def test_a_chapter_is_alive_without_a_kernel(page, base, theme, width):
    """Chapter 03: the logits are moved, and are torch's; the point on the surface steps; the quiz is passed."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.goto(base + "notebooks/03_losses.html")
    page.wait_for_selector(".sl-quiz fieldset")
    page.wait_for_selector(".widget-static", state="detached")  # the static forms have made way
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    light = "rgb(255, 255, 255)"
    for part in (".sl-logits", ".sl-surface", ".sl-quiz"):
        colour = page.locator(part).evaluate("(e) => getComputedStyle(e).backgroundColor")
        assert (colour == light) is (theme == "light"), (part, colour)
    labels = page.locator(".sl-logits input[type=radio]")
    same_logits(page, [2.0, 1.0, -1.0], 0)
    before = logits_shown(page)
    move(page.locator(".sl-logits"), "negative", "ArrowLeft", 15)
    labels.nth(2).check()
    same_logits(page, [0.5, 1.0, -1.0], 2)
    assert logits_shown(page) != before
    loss = page.locator(".sl-surface .sl-loss.sl-number")
    before = loss.inner_text()
    page.locator(".sl-surface").get_by_role("button", name="Step").click()
    assert loss.inner_text() != before
    answer_quiz(page, load_bank("03_losses")[1])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
