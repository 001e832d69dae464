"""The built book in a real browser: offline, free of errors, readable on a phone and in dark mode, searchable.

Builds nothing: run `python book/build.py` first. CHROMIUM may name the browser.
"""

import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

HTML = Path(__file__).parents[1] / "book" / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = sorted(p.relative_to(HTML).as_posix() for d in ("book", "notebooks") for p in (HTML / d).glob("*.html"))

if os.environ.get("SFTLAB_REQUIRE_BROWSER") and not (PAGES and CHROMIUM):
    raise RuntimeError("SFTLAB_REQUIRE_BROWSER is set, but the built book or a Chromium is missing")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not PAGES, reason="the book is not built: python book/build.py"),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium found: install one or set CHROMIUM"),
]


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


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, base):
    """A phone-wide page that answers nothing from outside; the test fails at its end if it saw a fault."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="light")
    faults = []

    def outside(route):
        faults.append(f"request to {route.request.url}")
        route.abort()

    page.route(lambda url: not url.startswith((base, "blob:", "data:")), outside)
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.close()
    assert not faults


@pytest.mark.parametrize("path", PAGES)
def test_page(page, base, path):
    page.goto(base + path, wait_until="networkidle")
    # Every formula and every diagram has become a drawing; mermaid waits with diagrams in closed parts.
    waiting = ".math:not(:has(mjx-container)), pre.mermaid:not(:has(svg), [data-mermaid-deferred])"
    page.wait_for_function("(waiting) => !document.querySelector(waiting)", arg=waiting)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "wider than a phone"
    assert page.locator("mjx-merror, .error-text:visible").count() == 0, "a formula or a diagram was not understood"


def test_dark_mode(page, base):
    page.goto(base + "book/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator("button.theme-switch-button:visible").first.click()
    page.locator("button.theme-change-button[data-mode=dark]:visible").first.click()
    page.wait_for_function(f"(light) => {background} !== light", arg=light)


def test_search(page, base):
    page.goto(base + "search.html?q=fine-tuning")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li", has_text="Glossary").count()


def test_top_of_the_site_leads_to_the_landing_page(page, base):
    page.goto(base)
    page.wait_for_url(base + "book/index.html")
