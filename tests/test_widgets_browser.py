"""The widgets in a real browser, hosted as the book hosts them: no kernel, no network, by keyboard, on a phone."""

import re
from importlib.util import find_spec

import pytest
import torch
from browser import answer_quiz, move, need, need_browser, number, same_logits, serious_faults, watch
from torch import nn

import sftlab as sl

need(find_spec("anywidget"), 'the widgets need anywidget: pip install -e ".[lab]"')
need_browser()
import widget_page  # noqa: E402


def net() -> nn.Module:
    """A small model with blocks and a head."""
    model = nn.Module()
    model.embeddings, model.layers = nn.Embedding(200, 32), nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
    model.head = nn.Linear(32, 3)
    return model


MAKERS = {
    "logits": lambda: sl.logits_explorer([2.0, 1.0, -1.0], labels=["negative", "neutral", "positive"]),
    "surface": lambda: sl.loss_surface(),
    "own": lambda: sl.loss_surface(lambda a, b: (a * b - 1) ** 2),
    "race": lambda: sl.optimizer_race(),
    "freezing": lambda: sl.freezing_painter(net()),
    "augment": lambda: sl.augmentation_explorer(),
    "tokens": lambda: sl.tokenizer_explorer(),
    "curves": lambda: sl.curve_reader(),
    "quiz": lambda: sl.quiz("00_quickstart"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("widgets")


@pytest.fixture
def open_page(browser, folder):
    """Open a page with one widget; the test fails at its end if it saw a request outside or an error."""
    faults, contexts = [], []

    def answer(route):  # the page's own files; there is no server and no network
        name = route.request.url.removeprefix("http://127.0.0.1/")
        if "/" not in name and (folder / name).is_file():
            return route.fulfill(path=folder / name)
        faults.append(f"request to {route.request.url}")
        return route.abort()

    def open_(name, *, width=800, theme="light", system="light", **options):
        file = f"{name}.html"
        if not (folder / file).exists():
            made = MAKERS.values() if name == "all" else [MAKERS[name]]
            widget_page.write(folder, file, [make() for make in made])
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=system, **options)
        contexts.append(context)
        context.route(re.compile("^(?!blob:|data:)"), answer)
        page = context.new_page()
        watch(page, faults, ("error", "warning"))
        page.goto(f"http://127.0.0.1/{file}")
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
        page.wait_for_selector(".sl-widget")
        page.wait_for_selector(".widget-static", state="detached")  # the static form has made way
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults


# What holds for all of them


@pytest.mark.parametrize("name", MAKERS)
def test_looks(open_page, name):
    """Light, dark and phone width: nothing wider than the page, text that can be read, everything labelled."""
    backgrounds = {}
    for theme, width in (("light", 800), ("dark", 390)):
        page = open_page(name, theme=theme, width=width)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "wider than the page"
        backgrounds[theme] = page.evaluate("getComputedStyle(document.querySelector('.sl-widget')).backgroundColor")
        unmarked = "document.querySelectorAll(':is(input, select, textarea):not([data-lm-suppress-shortcuts])').length"
        assert page.evaluate(unmarked) == 0, "JupyterLab would take the keys of this input"
        unnamed = (
            "[...document.querySelectorAll('.sl-widget :is(input, select, textarea)')]"
            ".filter((e) => !e.ariaLabel && !e.labels.length).length"
        )
        assert page.evaluate(unnamed) == 0
        assert not serious_faults(page, ".sl-widget")
    assert backgrounds["light"] != backgrounds["dark"]


@pytest.mark.parametrize(
    ("mark", "system", "dark"),
    [
        ("document.documentElement.dataset.theme = 'light'", "dark", False),
        ("document.documentElement.dataset.theme = 'dark'", "light", True),
        ("document.body.dataset.jpThemeLight = 'true'", "dark", False),
        ("document.body.dataset.jpThemeLight = 'false'", "light", True),
        ("document.body.className = 'vscode-dark'", "light", True),
        ("0", "dark", True),
        ("0", "light", False),
    ],
)
def test_theme_follows_the_page_before_the_system(open_page, mark, system, dark):
    page = open_page("logits", system=system)
    page.evaluate(f"delete document.documentElement.dataset.theme; {mark}")
    colour = page.evaluate("getComputedStyle(document.querySelector('.sl-widget')).backgroundColor")
    assert (colour != "rgb(255, 255, 255)") is dark, colour


def test_widgets_share_a_page(open_page):
    """All on one page, as in the book: each keeps its look, whichever style came last."""
    single = {}
    look = "(e) => ['borderTop', 'padding', 'margin', 'display', 'font'].map((p) => getComputedStyle(e)[p]).join()"
    parts = {
        "quiz": "fieldset",
        "race": ".sl-settings .sl-slider",
        "logits": "td",
        "curves": "fieldset",
        "tokens": "li",
    }
    for name, part in parts.items():
        single[name] = open_page(name).locator(f".sl-{name} {part}").first.evaluate(look)
    page = open_page("all")
    page.wait_for_function(f"document.querySelectorAll('.sl-widget').length === {len(MAKERS)}")
    assert {name: page.locator(f".sl-{name} {part}").first.evaluate(look) for name, part in parts.items()} == single


# One by one


def test_logits_are_torchs(open_page):
    """Sliders moved by keyboard: probability, loss and gradient are what torch computes, to 1e-6."""
    page = open_page("logits")
    move(page, "negative", "ArrowLeft", 13)
    move(page, "neutral", "ArrowRight", 7)
    move(page, "temperature T", "ArrowRight", 5)
    move(page, "smoothing ε", "ArrowRight", 20)
    page.get_by_role("radio", name="neutral").check()
    same_logits(page, [0.7, 1.7, -1.0], 1, temperature=1.5, smoothing=0.2)
    z = torch.tensor([0.7, 1.7, -1.0], dtype=torch.float64) / 1.5
    assert number(page.locator(".sl-lse").inner_text()) == pytest.approx(z.logsumexp(0).item(), abs=1e-6)


def test_surface_by_keyboard_and_pointer(open_page):
    """Arrow keys move the point, a step goes down the gradient, a press puts the point under the pointer."""
    page = open_page("surface")
    place = page.get_by_role("application")
    place.focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    x, y = -2.6 + 2 * 0.12, 1.6 - 0.6

    def read(mark):
        return number(page.locator(f".sl-{mark}.sl-number").inner_text())

    assert [read("loss"), read("dx"), read("dy")] == pytest.approx([0.5 * (x * x + 20 * y * y), x, 20 * y], abs=1e-6)
    page.get_by_role("button", name="Step").click()
    x, y = x - 0.02 * x, y - 0.02 * 20 * y
    assert read("loss") == pytest.approx(0.5 * (x * x + 20 * y * y), abs=1e-6)
    move(page, "learning rate η", "ArrowRight", 20)
    assert "η = 0.2 > 2/L = 0.1" in page.locator(".sl-note").inner_text()
    box = page.locator(".sl-plane svg").bounding_box()
    middle = box["x"] + box["width"] * 191 / 346, box["y"] + box["height"] * 153 / 340  # (0, 0), see PLANE in plane.js
    page.mouse.move(middle[0] + 50, middle[1])
    page.mouse.down()
    page.mouse.move(*middle)
    page.mouse.up()
    assert [read("dx"), read("dy") / 20] == pytest.approx([0, 0], abs=0.03)
    choose = page.get_by_label("surface", exact=True)
    assert choose.locator("option").first.inner_text() == "ill-conditioned quadratic"
    choose.select_option("saddle")
    assert "saddle" in page.locator(".sl-muted").first.inner_text() and read("dx") == pytest.approx(-1.7, abs=1e-6)


def test_own_surface(open_page):
    page = open_page("own")
    move(page, "θ₁", "End", 1)
    assert number(page.locator(".sl-loss").inner_text()) == pytest.approx((3 * -1.8 - 1) ** 2, abs=1e-6)
    assert page.get_by_label("surface", exact=True).count() == 0


def test_race(open_page):
    """The losses are torch's after the shown step; too large a rate is said; play and pause."""
    page = open_page("race")
    move(page, "step shown", "ArrowLeft", 40)
    weights = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-2.6, 1.6)]
    optimizer = torch.optim.Adam(weights, 0.2)
    for _ in range(60):
        optimizer.zero_grad()
        (0.5 * (weights[0] ** 2 + 20 * weights[1] ** 2)).backward()
        optimizer.step()
    loss = 0.5 * (weights[0] ** 2 + 20 * weights[1] ** 2).item()
    assert number(page.locator("tr[data-name=adam] td").first.inner_text()) == pytest.approx(loss, rel=5e-3)
    move(page, "η of GD, momentum, Nesterov", "ArrowRight", 37)
    note = page.locator(".sl-note").inner_text()
    assert "GD: η > 2/L" in note and "momentum" not in note and "0.1" in note
    move(page, "step shown", "End", 1)
    assert "lost at" in page.locator("tr[data-name=gd]").inner_text()
    drawn = page.locator(".sl-plane .sl-path").count()
    page.get_by_role("checkbox", name="show GD").uncheck()
    assert page.locator(".sl-plane .sl-path").count() == drawn - 1
    page.get_by_role("button", name="To the start").click()
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("Number(document.querySelector('[aria-label=\"step shown\"]').value) > 3")
    page.get_by_role("button", name="Pause").press("Enter")
    stopped = page.get_by_label("step shown").input_value()
    page.wait_for_timeout(200)
    assert page.get_by_label("step shown").input_value() == stopped


def test_freezing(open_page):
    """Space ticks, Shift with arrows paints, a drag paints, Shift-click fills; the plan can be copied."""
    page = open_page("freezing", permissions=["clipboard-read", "clipboard-write"])
    plan, boxes = page.locator("pre"), page.locator(".sl-layer input")
    assert plan.inner_text() == "plan = sl.head_only()"
    boxes.nth(6).focus()
    page.keyboard.press("Space")
    assert plan.inner_text() == "plan = sl.last_k(1)"
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+ArrowUp")
    assert plan.inner_text() == "plan = sl.last_k(3)"
    assert number(page.locator(".sl-trained").inner_text().replace(",", "")) == 3 * (32 * 32 + 32) + 99
    assert page.locator("td[data-bytes]").nth(2).get_attribute("data-bytes") == str(8 * (3 * 1056 + 99))
    page.locator(".sl-name").nth(5).click()  # off again
    assert "for layer in sl.layer_map(model)" in plan.inner_text() and '"layers.4"' not in plan.inner_text()
    boxes.nth(5).click()  # a click on the box itself
    assert plan.inner_text() == "plan = sl.last_k(3)" and boxes.nth(5).is_checked()
    page.get_by_role("button", name="Head only").click()
    page.locator(".sl-name").nth(0).click()
    page.locator(".sl-name").nth(2).click(modifiers=["Shift"])
    assert plan.inner_text() == "plan = sl.surgical(first=3)"
    start, end = (page.locator(".sl-name").nth(i).bounding_box() for i in (3, 6))
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["x"] + 5, end["y"] + 5, steps=12)
    page.mouse.up()
    assert plan.inner_text() == "plan = sl.full()" and all(boxes.nth(i).is_checked() for i in range(8))
    page.get_by_role("button", name="Copy").click()
    page.wait_for_selector("text=✓ copied")
    assert page.evaluate("navigator.clipboard.readText()") == "plan = sl.full()"
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # a page without https
    page.get_by_role("button", name="Copy").click()
    page.wait_for_selector("text=press Ctrl-C")
    assert page.evaluate("getSelection().toString()") == "plan = sl.full()"


def test_freezing_by_touch(open_page):
    page = open_page("freezing", width=390, has_touch=True)
    page.locator(".sl-name").nth(6).tap()
    assert page.locator("pre").inner_text() == "plan = sl.last_k(1)"
    page.locator(".sl-layer input").nth(5).tap()
    assert page.locator("pre").inner_text() == "plan = sl.last_k(2)"


def test_augmentation(open_page):
    """A 6 that is turned over is a 9; a deleted negation is reported."""
    page = open_page("augment")
    notes = page.locator(".sl-note")
    page.get_by_label("mirror left and right").check()
    assert "no digit" in notes.nth(0).inner_text()
    page.get_by_label("mirror top and bottom").check()
    assert "is a 9" in notes.nth(0).inner_text()
    page.get_by_role("button", name="Reset").click()
    move(page, "contrast", "Home", 1)
    assert "Hardly anything" in notes.nth(0).inner_text()
    page.get_by_label("picture", exact=True).select_option("3")
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("mirror left and right").check()
    assert 'Still "tree"' in notes.nth(0).inner_text()
    for kind in ("swap", "insert", "replace"):
        page.get_by_label(kind, exact=True).uncheck()
    page.locator("textarea").fill("not not not not not not")
    move(page, "share of words", "End", 1)
    assert page.locator("del").count() > 1 and "may be wrong" in notes.nth(1).inner_text()


def test_tokens(open_page):
    """What is typed is cut as the Hugging Face tokenizer cuts it."""
    page = open_page("tokens")
    text = "Überraschung! 你好 tokenizers 😀"
    page.locator("textarea").fill(text)
    move(page, "padded length", "Home", 1)
    move(page, "padded length", "ArrowRight", 8)
    here = sl.tokenizer_explorer(text, length=12)
    pieces, ids, mask = here.encode()
    assert page.locator(".sl-word").all_inner_texts() == pieces
    assert [int(i) for i in page.locator(".sl-id").all_inner_texts()] == ids
    assert [int(m[-1]) for m in page.locator(".sl-mask").all_inner_texts()] == mask
    move(page, "padded length", "Home", 1)
    assert "cut off" in page.locator(".sl-note").inner_text()


def test_curves(open_page):
    """A wrong diagnosis is explained, the right one too; six right ones are counted."""
    page = open_page("curves")
    page.get_by_role("radio", name="healthy").check()
    assert "Not this" in page.locator(".sl-note").inner_text()
    reader = sl.curve_reader()
    names = {diagnosis["key"]: diagnosis["name"] for diagnosis in reader.diagnoses}
    shown = page.locator(".sl-widget fieldset").nth(1).locator("label").all_inner_texts()
    assert shown == list(names.values()), "in the order in which they were written"
    for i, name in enumerate(names[run["key"]] for run in reader.runs):
        page.locator(".sl-widget fieldset").first.locator("input").nth(i).check()
        page.get_by_role("radio", name=name).check()
        assert page.locator(".sl-note").inner_text().startswith("✓ Right.")
    assert "6 of 6" in page.locator(".sl-score").inner_text()
    page.get_by_role("button", name="Try again").click()
    assert "0 of 6" in page.locator(".sl-score").inner_text()


def test_quiz_by_keyboard(open_page):
    """Wrong, explained, tried again, right; several answers; the result is spoken; all right is passed."""
    page = open_page("quiz")
    questions = sl.quiz("00_quickstart").questions
    blocks = page.locator("fieldset")
    first, wrong = blocks.nth(0), next(i for i, c in enumerate(questions[0]["choices"]) if not c["right"])
    first.locator("input").nth(wrong).focus()
    page.keyboard.press("Space")
    first.get_by_role("button", name="Check").press("Enter")
    verdict = first.locator("[role=status]")
    assert "Not yet" in verdict.inner_text() and first.locator(".sl-reason:visible").count() == 1
    first.get_by_role("button", name="Explain all").press("Enter")
    assert first.locator(".sl-reason:visible").count() == 4
    first.get_by_role("button", name="Try again").press("Enter")
    assert first.locator(".sl-reason:visible").count() == 0 and verdict.inner_text() == ""
    several = next(i for i, q in enumerate(questions) if q["several"])
    right = [c for c, choice in enumerate(questions[several]["choices"]) if choice["right"]]
    blocks.nth(several).locator("input").nth(right[0]).check()
    blocks.nth(several).get_by_role("button", name="Check").click()
    assert "missing" in blocks.nth(several).locator("[role=status]").inner_text()
    blocks.nth(several).get_by_role("button", name="Try again").click()
    answer_quiz(page, questions)
    assert page.locator("math").count() >= 5
    page.get_by_role("button", name="Start over").click()
    assert "0 of 5" in page.locator(".sl-score").inner_text()
