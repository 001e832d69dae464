"""The widgets: JavaScript and Python compute what torch computes; state, static forms, the quiz's bank."""

import base64
import html
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sftlab as sl
from sftlab.errors import BadData, SftlabError, UnknownName

pytest.importorskip("anywidget", reason='the widgets need anywidget: pip install -e ".[lab]"')
from ipywidgets.embed import embed_data

from sftlab.teach import chapters
from sftlab.teach.widgets import augment, bank, base, curve_runs, curves, freezing, logits, quiz, race, surfaces

BESIDE = str(Path(sys.executable).parent)  # the extra `book` brings Node.js as a Python package
NODE = shutil.which("node", path=os.pathsep.join([BESIDE, os.environ.get("PATH", "")]))
if os.environ.get("SFTLAB_REQUIRE_BROWSER") and not NODE:
    raise RuntimeError("SFTLAB_REQUIRE_BROWSER is set, but Node.js is missing: the JavaScript would not be tested")
needs_node = pytest.mark.skipif(not NODE, reason='Node.js is missing: pip install -e ".[book]"')
VIEW = "application/vnd.jupyter.widget-view+json"


def net() -> nn.Module:
    """A small model with blocks and a head."""
    model = nn.Module()
    model.embeddings, model.layers = nn.Embedding(20, 8), nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
    model.head = nn.Linear(8, 3)
    return model


MAKERS = {
    "logits": lambda: sl.logits_explorer(),
    "surface": lambda: sl.loss_surface(),
    "own surface": lambda: sl.loss_surface(lambda a, b: (a * b - 1) ** 2),
    "race": lambda: sl.optimizer_race(),
    "freezing": lambda: sl.freezing_painter(net()),
    "augmentation": lambda: sl.augmentation_explorer(),
    "tokens": lambda: sl.tokenizer_explorer(),
    "curves": lambda: sl.curve_reader(),
    "quiz": lambda: sl.quiz("00_quickstart"),
}


@pytest.fixture
def js(tmp_path):
    """Run an expression in Node.js: ``m`` is the widget's own script as a module, ``d`` the data."""

    def run(names, expression, data=None):
        (tmp_path / "widget.mjs").write_text(base.script(*names.split()), encoding="utf-8")
        (tmp_path / "data.json").write_text(json.dumps(data), encoding="utf-8")
        (tmp_path / "run.mjs").write_text(
            'import * as m from "./widget.mjs"; import fs from "fs";\n'
            'const d = JSON.parse(fs.readFileSync("data.json", "utf8"));\n'
            f'fs.writeFileSync("out.json", JSON.stringify(await (async () => {expression})()));',
            encoding="utf-8",
        )
        done = subprocess.run([NODE, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))

    return run


def close(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), np.asarray(expected, dtype=float), rtol=tolerance, atol=tolerance
    )


# Every widget


@pytest.fixture(scope="module", params=MAKERS)
def widget(request):
    return MAKERS[request.param]()


def test_state_is_stored(widget):
    """The script, the style and every value lie in the stored state, as JSON, and fit into a notebook."""
    state = embed_data(views=[widget], drop_defaults=False)["manager_state"]["state"][widget.model_id]["state"]
    assert state["_esm"] == widget._esm and "export default" in state["_esm"] and state["_css"] == widget._css
    assert {name for name, trait in widget.traits(sync=True).items()} - {"layout"} <= state.keys()
    assert len(json.dumps(state)) < 300_000


def test_static_form(widget):
    """Where no script runs there is a picture with alternative text, or a text, in the same output."""
    data, _ = widget._repr_mimebundle_()
    assert VIEW in data and not {"image/png", "image/svg+xml"} & set(data) and "0x" not in data["text/plain"]
    assert len(re.sub("<[^>]+>", "", data["text/html"])) > 40 or "<img" in data["text/html"]
    for image in re.findall("<img [^>]*>", data["text/html"]):
        alt = html.unescape(re.search('alt="([^"]*)"', image)[1])
        assert len(alt.split()) >= 8 and "class 1 class" not in alt
        assert 500 < len(base64.b64decode(re.search('base64,([^"]+)', image)[1])) < 150_000


def test_style_touches_nothing_else(widget):
    """Every rule begins at a class of ours, or at the page's theme followed by one."""
    css = re.sub(r"/\*.*?\*/", "", widget._css, flags=re.DOTALL)
    for selectors in re.findall(r"([^{}@;]+)\{", re.sub(r"@(media|container)[^{]*\{", "", css)):
        for selector in re.split(r",(?![^(]*\))", selectors):
            assert re.match(r"\s*((html|body)[.\[][\w\-=\"\]]+ )?\.sl-", selector), selector


def test_script_asks_for_nothing(widget):
    """No address but the names of the W3C's languages, no import, no way to evaluate text."""
    addresses = set(re.findall(r"https?://[^\s\"'`]+", widget._esm))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses
    for word in ("</script", "fetch(", "import(", "XMLHttpRequest", "innerHTML", "eval(", "WebSocket", "localStorage"):
        assert word not in widget._esm


def test_notebook_keeps_the_state(tmp_path):
    """A notebook executed as `sftlab notebooks` does it holds view, static form and state."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    cells = ["import sftlab as sl\nsl.logits_explorer([1.0, 0.0])", "sl.quiz('00_quickstart')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    for cell in notebook.cells:
        data = cell.outputs[0].data
        assert "export default" in state[data[VIEW]["model_id"]]["state"]["_esm"] and data["text/html"]


def test_missing_package_names_the_extra(tmp_path):
    """Without anywidget the error says what to install."""
    code = "import sys; sys.modules['anywidget'] = None; import sftlab; sftlab.quiz('00_quickstart')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert 'pip install -e ".[lab]"' in done.stderr.splitlines()[-1]


# Logits


def cases(count=60):
    draw = random.Random(0)
    for _ in range(count):
        k = draw.randint(2, 5)
        yield [
            [draw.uniform(-6, 6) for _ in range(k)],
            draw.randrange(k),
            draw.uniform(0.1, 5),
            draw.choice([0, 0.1, 0.5]),
        ]


def test_softmax_loss_is_torchs():
    for z, label, temperature, smoothing in cases():
        logits_ = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        loss = F.cross_entropy(logits_ / temperature, torch.tensor(label), label_smoothing=smoothing)
        loss.backward()
        found = logits.softmax_loss(z, label, temperature, smoothing)
        close(found["loss"], loss.item())
        close(found["gradient"], logits_.grad)
        close(found["probabilities"], (logits_ / temperature).softmax(0).detach())
        close(found["log_sum_exp"], (logits_ / temperature).logsumexp(0).item())


@needs_node
def test_softmax_loss_in_javascript(js):
    given = list(cases())
    for case, found in zip(given, js("logits", "d.map((c) => m.softmaxLoss(...c))", given), strict=True):
        expected = logits.softmax_loss(*case)
        for there, here in {
            "logSumExp": "log_sum_exp",
            "probabilities": "probabilities",
            "loss": "loss",
            "gradient": "gradient",
            "target": "target",
        }.items():
            close(found[there], expected[here])


def test_logits_explorer_refuses_what_it_cannot_show():
    for settings in (
        {"logits": [1.0]},
        {"logits": [1.0] * 6},
        {"labels": ["a"]},
        {"logits": [7.0, 0.0]},
        {"label": 3},
        {"temperature": 0},
        {"smoothing": 0.9},
    ):
        with pytest.raises(ValueError):
            sl.logits_explorer(**settings)


# Surfaces


def points(surface, count=40):
    draw = random.Random(1)
    return [[draw.uniform(*surface.x), draw.uniform(*surface.y)] for _ in range(count)]


@pytest.mark.parametrize("name", surfaces.SURFACES)
def test_gradients_are_autograds(name):
    surface = surfaces.SURFACES[name]
    for x, y in points(surface):
        a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, y))
        surface.value(a, b).backward()
        close(surface.gradient(x, y), [a.grad.item(), b.grad.item()])
        assert surface.value(x, y) >= surface.lowest - 1e-9


@needs_node
def test_surfaces_in_javascript(js):
    given = {name: points(surface) for name, surface in surfaces.SURFACES.items()}
    found = js(
        "surfaces",
        "Object.entries(d).map(([n, ps]) => ps.map((p) => "
        "[m.SURFACES[n].value(...p), ...m.SURFACES[n].gradient(...p)]))",
        given,
    )
    for (name, at), rows in zip(given.items(), found, strict=True):
        surface = surfaces.SURFACES[name]
        close(rows, [[surface.value(*p), *surface.gradient(*p)] for p in at])
    assert js("surfaces", "Object.keys(m.SURFACES)") == list(surfaces.SURFACES)


def classifier(a, b):
    """The loss of a linear classifier without bias on five points."""
    x = torch.tensor([[1.0, 0.2], [0.3, 1.5], [-1.0, 0.4], [-0.5, -1.0], [0.9, -0.6]], dtype=torch.float64)
    y = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    return F.binary_cross_entropy_with_logits(x @ torch.stack([a, b]), y)


@needs_node
def test_sampled_surface(js):
    """Close to the loss itself between the nodes, its gradient the derivative of what is drawn, equal in JavaScript."""
    shown = sl.loss_surface(classifier, x=(-4, 4), y=(-3, 5))
    at = [[random.Random(i).uniform(-4, 4), random.Random(-i - 1).uniform(-3, 5)] for i in range(40)]
    for p in at:
        value, slopes = shown.at(*p)
        a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in p)
        loss = classifier(a, b)
        loss.backward()
        close(value, loss.item(), 1e-4)
        close(slopes, [a.grad.item(), b.grad.item()], 2e-3)
        h = 1e-6
        close((shown.at(p[0] + h, p[1])[0] - shown.at(p[0] - h, p[1])[0]) / (2 * h), slopes[0], 1e-6)
    found = js(
        "surfaces",
        "{ const s = m.gridSurface(d.grid, [-4, 4], [-3, 5]);"
        " return d.at.map((p) => [s.value(...p), ...s.gradient(...p)]); }",
        {"grid": shown.grid, "at": [*at, [-9, 9]]},
    )
    close(found, [[shown.at(*p)[0], *shown.at(*p)[1]] for p in [*at, [-9, 9]]])


@needs_node
def test_contours_lie_where_the_value_is(js):
    """On a plane, both ends of every segment have exactly the level, and together they cross the grid."""
    grid = [2 * i + 3 * j for j in range(6) for i in range(7)]
    segments = js("plane", "m.contourSegments(d, 7, 11.5)", grid)
    assert segments and all(abs(2 * x + 3 * y - 11.5) < 1e-9 for s in segments for x, y in (s[:2], s[2:]))
    assert js("plane", "m.contourLevels([0, 1, 2, 3, 1000], 5)") == [0, 1, 2, 2, 3]


def test_loss_surface_refuses():
    with pytest.raises(UnknownName, match="quadratic"):
        sl.loss_surface("quadratik")
    with pytest.raises(ValueError, match="outside"):
        sl.loss_surface(start=(9, 9))
    with pytest.raises(ValueError, match="tensor"):
        sl.loss_surface(lambda a, b: 1.0)
    with pytest.raises(ValueError, match="nan"):
        sl.loss_surface(lambda a, b: (a * b).sqrt())
    with pytest.raises(ValueError, match="low to high"):
        sl.loss_surface(lambda a, b: a * b, x=(1, 0))


# The race

SETTINGS = {
    "rate": 0.002,
    "adaptive_rate": 0.05,
    "momentum": 0.8,
    "alpha": 0.95,
    "beta1": 0.85,
    "beta2": 0.98,
    "weight_decay": 0.1,
}
TORCH = {
    "gd": lambda p, s: torch.optim.SGD(p, s["rate"]),
    "momentum": lambda p, s: torch.optim.SGD(p, s["rate"], momentum=s["momentum"]),
    "nesterov": lambda p, s: torch.optim.SGD(p, s["rate"], momentum=s["momentum"], nesterov=True),
    "rmsprop": lambda p, s: torch.optim.RMSprop(p, s["adaptive_rate"], alpha=s["alpha"]),
    "adam": lambda p, s: torch.optim.Adam(p, s["adaptive_rate"], betas=(s["beta1"], s["beta2"])),
    "adamw": lambda p, s: torch.optim.AdamW(
        p, s["adaptive_rate"], betas=(s["beta1"], s["beta2"]), weight_decay=s["weight_decay"]
    ),
}


def settings(surface):
    return {**SETTINGS, "rate": surface.rates[0] / 2, "adaptive_rate": surface.rates[1] / 2}


@pytest.mark.parametrize("surface", surfaces.SURFACES.values(), ids=surfaces.SURFACES)
@pytest.mark.parametrize("name", TORCH)
def test_trajectories_are_torchs(name, surface):
    """100 steps of torch.optim in float64, each point to 1e-6."""
    weights = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in surface.start]
    optimizer, path = TORCH[name](weights, settings(surface)), [surface.start]
    for _ in range(100):
        optimizer.zero_grad()
        surface.value(*weights).backward()
        optimizer.step()
        path.append([w.item() for w in weights])
    close(race.trajectory(name, surface.gradient, surface.start, 100, settings(surface)), path, 1e-6)


@needs_node
def test_trajectories_in_javascript(js):
    given = [
        [n, s, surfaces.SURFACES[s].start, settings(surfaces.SURFACES[s])] for n in TORCH for s in surfaces.SURFACES
    ]
    run = "d.map(([n, s, start, set]) => m.trajectory(n, m.SURFACES[s].gradient, start, 100, set))"
    found = js("surfaces plane race", run, given)
    for (n, s, start, set_), path in zip(given, found, strict=True):
        close(path, race.trajectory(n, surfaces.SURFACES[s].gradient, start, 100, set_), 1e-6)
    assert js("surfaces plane race", "m.OPTIMIZERS") == race.OPTIMIZERS


@needs_node
@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov"])
def test_bounds_divide_stable_from_lost(js, name):
    """1 % below the bound that the widget states a path ends in the minimum, 1 % above it leaves the picture."""
    surface, momentum = surfaces.SURFACES["quadratic"], 0.5
    bound = js("surfaces plane race", "m.bounds(20, 0.5)")[name]
    ends = []
    for rate in (0.99 * bound, 1.01 * bound):
        path = race.trajectory(name, surface.gradient, surface.start, 3000, {"rate": rate, "momentum": momentum})
        ends.append(abs(path[-1][1]))
    assert ends[0] < 1e-3 and ends[1] > 1e3


@needs_node
def test_divergence_is_seen(js):
    paths = "[[[0, 0], [5, 0], [99, 0]], [[0, 0]], [[0, 0], [NaN, 0]]]"
    expression = f"{paths}.map((path) => m.divergesAt(path, [-3, 3], [-3, 3]))"
    assert js("surfaces plane race", expression) == [2, -1, 1]


def test_race_that_overflows_has_a_static_form():
    lost = sl.optimizer_race("rosenbrock", rate=1.0, adaptive_rate=3.0)
    assert "GD far outside, diverged" in lost.static() and not np.isfinite(lost.paths()["gd"][-1]).all()


def test_race_refuses():
    with pytest.raises(UnknownName, match="momentum"):
        sl.optimizer_race(momentun=0.5)
    for wrong in ({"rate": 99}, {"steps": 5}, {"momentum": 1.5}):
        with pytest.raises(ValueError):
            sl.optimizer_race(**wrong)


# Freezing


def masks():
    draw = random.Random(2)
    fixed = [
        [False] * 5 + [True],
        [True] * 6,
        [False] * 6,
        [False] * 3 + [True] * 3,
        [True, True] + [False] * 3 + [True],
        [True] * 5 + [False],
    ]
    return fixed + [[draw.random() < 0.5 for _ in range(6)] for _ in range(30)]


def test_plan_text_trains_exactly_what_is_ticked():
    """The text is run: afterwards the ticked layers require a gradient and no others."""
    for mask in masks():
        model = net()
        painter = sl.freezing_painter(model)
        painter.trained = mask
        scope = {"sl": sl, "torch": torch, "model": model}
        if not any(mask):
            assert painter.plan.startswith("# Nothing trains")
            continue
        exec(painter.plan, scope)
        if "plan" in scope:
            scope["plan"].apply(model)
        for layer, on in zip(sl.layer_map(model), mask, strict=True):
            assert all(p.requires_grad is on for _, p in layer.parameters()), painter.plan
        assert painter.costs["trained"] == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_memory_is_adamws():
    """Eight bytes for each trained parameter are what AdamW keeps, four what its gradient takes."""
    model = net()
    painter = sl.freezing_painter(model, train=2)
    sl.last_k(2).apply(model)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    sum(p.sum() for p in model.parameters() if p.requires_grad).backward()
    optimizer.step()
    kept = sum(t.nbytes for state in optimizer.state.values() for t in state.values() if t.dim())
    assert kept == painter.costs["optimizer"]
    assert sum(p.grad.nbytes for p in model.parameters() if p.grad is not None) == painter.costs["gradients"]
    assert painter.plan == "plan = sl.last_k(2)"


@needs_node
def test_freezing_in_javascript(js):
    painter = sl.freezing_painter(net())
    found = js(
        "freezing",
        "d.masks.map((t) => [m.planText(d.names, t), m.costs(d.sizes, t)])",
        {"names": painter.names, "sizes": painter.sizes, "masks": masks()},
    )
    for mask, (text, cost) in zip(masks(), found, strict=True):
        assert text == freezing.plan_text(painter.names, mask) and cost == freezing.costs(painter.sizes, mask)


def test_freezing_counts_tied_weights_once_and_refuses():
    model = net()
    model.head = nn.Linear(8, 20, bias=False)
    model.head.weight = model.embeddings.weight
    assert sum(sl.freezing_painter(model).sizes) == sum(p.numel() for p in model.parameters())
    with pytest.raises(UnknownName, match="a number up to 5"):
        sl.freezing_painter(net(), train=9)


# Tokens

SENTENCES = [
    "", " ", "Hello, world!", "Fine-tuning's un-frozen layers: $3.50 (or €4)…",
    "Ünïcödé café naïve Ångström ﬁne İstanbul ẞtraße",
    "你好，世界。漢字とかな 한국어", "emoji 😀👍🏽 ❤️ 👩‍👩‍👧",
    "tabs\tand\nlines\r\nand\u00a0spaces\u200b\u2009", "a" * 101, "antidisestablishmentarianism",
    "[CLS] typed [MASK] by [SEP] hand [UNK][PAD] [cls]", "Привет мир, Ελληνικά ΣΊΣΥΦΟΣ, עברית, العربية, हिन्दी",
    "\x00\x01\x0b\x0c\x85\ufffd\ufeff soft\u00adhyphen",
    "“quotes” ‘single’ — – ‑ ~ ^ ` | < > = +", "½ ² ① Ⅷ ™ ©", "😀😀 ⅓ ﷽ 𝔘𝔫𝔦", "don't stop-believing e-mail@x.org http://x.org/?a=1&b=2",
]  # fmt: skip


@needs_node
def test_tokens_are_hugging_faces(js):
    """Pieces, ids and mask on all sentences and lengths."""
    explorer = sl.tokenizer_explorer()
    given = [[text, length] for text in SENTENCES for length in (4, 12, 64)]
    found = js(
        "tokens",
        "{ const { ids } = await m.readVocabulary(d.vocabulary);"
        " return d.given.map(([t, n]) => m.encode(t, ids, true, n)); }",
        {"vocabulary": explorer.vocabulary, "given": given},
    )
    for (text, length), result in zip(given, found, strict=True):
        explorer.text, explorer.length = text, length
        pieces, ids, mask = explorer.encode()
        assert [p["piece"] for p in result["pieces"]] == pieces, text
        assert [p["id"] for p in result["pieces"]] == ids and [p["mask"] for p in result["pieces"]] == mask


@needs_node
def test_characters_are_treated_alike(js):
    """Cleaning and splitting of every character of the common scripts, symbols and emoji."""
    rules = sl.tokenizer_explorer().tokenizer.backend_tokenizer
    blocks = [
        (0, 0x590),
        (0x900, 0x964),
        (0x1E00, 0x2E40),
        (0x3000, 0xA000),
        (0xAC00, 0xD7A4),
        (0xF900, 0x10000),
        (0x1F000, 0x1FA00),
    ]
    texts = [f"a{chr(c)}b" for low, high in blocks for c in range(low, high)]
    found = js("tokens", "d.map((t) => [m.normalize(t, true), m.splitWords(t)])", texts)
    for text, (clean, words) in zip(texts, found, strict=True):
        assert clean == rules.normalizer.normalize_str(text), hex(ord(text[1]))
        assert words == [w for w, _ in rules.pre_tokenizer.pre_tokenize_str(text)], hex(ord(text[1]))


def test_tokenizer_explorer_refuses():
    with pytest.raises(ValueError, match="between 4 and 64"):
        sl.tokenizer_explorer(length=100)
    with pytest.raises(SftlabError, match="WordPiece"):
        sl.tokenizer_explorer(tokenizer=object())


# Augmentation


def changes(count=12):
    draw = random.Random(3)
    for _ in range(count):
        yield {
            "flip_x": draw.random() < 0.5, "flip_y": draw.random() < 0.5, "rotation": draw.uniform(-180, 180),
            "crop": draw.uniform(0.3, 1),
            "brightness": draw.uniform(0, 2), "contrast": draw.uniform(0, 2),
            "noise": draw.choice([0, 0.2]), "seed": draw.randint(1, 99),
        }  # fmt: skip


@needs_node
def test_pictures_in_javascript(js):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3))
    given = list(changes())
    found = js(
        "augment",
        "d.all.map((s) => [Array.from(m.augmentImage(d.pixels, 13, 9, 3, s)), m.pose(s)])",
        {"pixels": pixels.ravel().tolist(), "all": given},
    )
    for s, (values, pose) in zip(given, found, strict=True):
        close(values, augment.augment_image(pixels, s).ravel(), 1e-6)
        assert pose == augment.pose(s)


def test_picture_operations_are_what_they_say():
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3))
    found = {
        name: augment.augment_image(pixels, s).round()
        for name, s in {
            "x": {"flip_x": True},
            "y": {"flip_y": True},
            "half": {"rotation": 180},
            "quarter": {"rotation": 90},
            "dark": {"brightness": 0.5},
        }.items()
    }
    assert (found["x"] == pixels[:, ::-1]).all() and (found["y"] == pixels[::-1]).all()
    assert (found["half"] == pixels[::-1, ::-1]).all() and (found["quarter"] == np.rot90(pixels)).all()
    close(augment.augment_image(pixels, {"brightness": 0.5}), pixels / 2)
    flat = augment.augment_image(pixels, {"contrast": 0.0})
    assert flat.std() < 1e-9 and abs(flat.mean() - pixels.mean()) < 1e-9
    noisy = augment.augment_image(np.full((40, 40, 3), 128), {"noise": 0.1, "seed": 5})
    assert (
        abs(noisy.std() / 255 - 0.1) < 0.01
        and (noisy != augment.augment_image(np.full((40, 40, 3), 128), {"noise": 0.1, "seed": 6})).any()
    )


@needs_node
def test_texts_in_javascript(js):
    explorer = sl.augmentation_explorer()
    given = [{**augment.WORDS, "rate": rate, "seed": seed} for rate in (0.0, 0.3, 1.0) for seed in range(1, 20)]
    data = {
        "text": explorer.text,
        "all": given,
        "synonyms": explorer.synonyms,
        "fillers": explorer.fillers,
        "critical": explorer.critical,
    }
    found = js(
        "augment",
        "d.all.map((s) => m.augmentText(d.text, s, d.synonyms, d.fillers))"
        ".map((f) => [f, m.endangered(f, d.critical)])",
        data,
    )
    seen = set()
    for s, (words, lost) in zip(given, found, strict=True):
        here = augment.augment_text(explorer.text, s, explorer.synonyms, explorer.fillers)
        assert words == here and lost == augment.endangered(here, explorer.critical)
        seen |= {w["kind"] for w in here}
        if s["rate"] == 0:
            assert " ".join(w["word"] for w in here) == explorer.text and not lost
    assert seen == {"kept", "deleted", "swapped", "inserted", "replaced"}


def test_label_that_changes_is_known():
    """A 6 upside down is a 9; a lost negation is reported; a tree may be mirrored."""
    six, _, _, tree = sl.augmentation_explorer().pictures
    assert "9" in six["changes"][augment.pose({"flip_x": True, "flip_y": True, "rotation": 0})] and not tree["changes"]
    assert augment.endangered(
        [{"word": "Not,", "kind": "deleted"}, {"word": "12", "kind": "swapped"}, {"word": "no", "kind": "kept"}],
        ["not", "no"],
    ) == ["Not,", "12"]


def test_own_picture():
    explorer = sl.augmentation_explorer(torch.rand(3, 200, 100), label="cat")
    assert explorer.pixels().shape == (96, 48, 3) and explorer.pictures[0]["label"] == "cat"
    with pytest.raises(ValueError, match="label"):
        sl.augmentation_explorer(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="height"):
        sl.augmentation_explorer(torch.rand(8, 8), label="cat")


# Curves


def test_curves_show_what_they_are_said_to_show():
    """Each stored run has the sign of its diagnosis, and none of the other runs has it."""
    found = curves.curves()
    last = {name: (run["train"][-1], run["val"][-1]) for name, run in found.items()}
    jumps = {
        name: {part: np.abs(np.diff(values[5:], 2)).mean() for part, values in run.items()}
        for name, run in found.items()
    }
    turns = {
        name for name, run in found.items() if run["val"][-1] > min(run["val"]) + 0.3 and jumps[name]["val"] < 0.05
    }
    assert turns == {"overfit"}
    assert {n for n, (train, val) in last.items() if val < 0.1} == {"leak"}
    assert {n for n in found if jumps[n]["train"] > 0.01} == {"rate"}
    assert {n for n in found if jumps[n]["val"] > 0.05} == {"rate", "noisy"}
    assert {n for n, (train, val) in last.items() if train > 0.55 and jumps[n]["train"] < 0.01} == {"underfit"}
    assert abs(last["good"][0] - last["good"][1]) < 0.1 and 0.33 < last["good"][1] < 0.5


@pytest.mark.parametrize("name", ["overfit", "leak"])
def test_curves_come_again(name):
    """The recipe gives the stored numbers (to what another build of torch may change)."""
    again = curve_runs.train(**curve_runs.RUNS[name])
    close(again["train"], curves.curves()[name]["train"], 0.05)
    close(again["val"], curves.curves()[name]["val"], 0.05)


@needs_node
def test_explanations_in_javascript(js):
    keys = list(curves.DIAGNOSES)
    found = js(
        "curves",
        "d.keys.map((a) => d.keys.map((b) => m.explain(d.texts, a, b)))",
        {"keys": keys, "texts": curves.DIAGNOSES},
    )
    assert [[(f["right"], f["text"]) for f in row] for row in found] == [
        [curves.explain(a, b) for b in keys] for a in keys
    ]
    close(
        js("curves", "m.curvePoints([0, 1, 2], 2, { left: 10, top: 5, width: 100, height: 50 })"),
        [[10, 55], [60, 30], [110, 5]],
    )


# The quiz

GOOD = """# Quiz: a title

## One?

A text with `code` and $x_1$.

```python
# not a title
- [x] not a choice
```

- [ ] wrong
  > because
  > of this
- [x] right,
  in two lines
  > since $p$

## Several? (several answers)
- [x] a
  > 1
- [x] b
  > 2
- [ ] c
  > 3
"""


@pytest.mark.parametrize("name", bank.banks())
def test_banks_are_good(name):
    """Each bank belongs to a chapter and has four to six questions."""
    title, questions = bank.load_bank(name)
    assert 4 <= len(questions) <= 6 and title
    assert name in chapters.chapters()


def test_bank_is_read():
    title, (one, several) = bank.read_bank(GOOD)
    assert title == "Quiz: a title" and not one.several and several.several and several.title == "Several?"
    assert "# not a title" in one.text and len(one.choices) == 2
    assert one.choices[0].explanation == "because of this" and one.choices[1].text == "right, in two lines"


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("# Quiz: a title", ""), 1, "no title"),
        (("- [x] right,", "- [ ] right,"), 3, "no choice is right"),
        (("- [ ] wrong", "- [x] wrong"), 3, r"2 choices are right: add \(several answers\)"),
        (("  > since $p$\n", ""), 15, "no explanation"),
        (("- [x] right,", "- [y] right,"), 15, r"write \[x\]"),
        (("## One?", "One?"), 3, "before the first question"),
        (("```\n\n", "\n"), 7, "not closed"),
        (("`code`", "`code"), 3, "backtick"),
        (("since $p$", "since $p"), 15, r"a \$ without"),
        (("- [x] b", "- [x] a"), 22, "same choice as in line 20"),
        (("## Several?", "## One?"), 19, "same question as in line 3"),
        (("- [ ] c\n  > 3\n", ""), 19, "all choices are right"),
        (("- [ ] c", "c"), 24, "neither a choice"),
        (("## Several? (several answers)", "# Several?"), 19, "a second title"),
        (("- [ ] wrong\n", ""), 12, "an explanation .* without a choice"),
    ],
)
def test_bank_names_the_line(change, line, said):
    assert change[0] in GOOD
    with pytest.raises(BadData, match=rf"(?s)mine.*line {line}: [^\n]*{said}"):
        bank.read_bank(GOOD.replace(*change, 1), "mine")


def test_all_problems_of_a_bank_come_at_once():
    with pytest.raises(BadData) as caught:
        bank.read_bank("## A?\n- [ ] x\n## B?\ntext\n")
    assert str(caught.value).count("\n") == 4 and "line 1: no title" in str(caught.value)
    with pytest.raises(UnknownName, match="00_quickstart"):
        sl.quiz("00_quikstart")


@needs_node
def test_judge_in_javascript(js):
    _, questions = bank.load_bank("00_quickstart")
    given = [[q, [c for c in range(4) if picked >> c & 1]] for q in questions for picked in range(16)]
    assert js("tex quiz", "d.map((g) => m.judge(...g))", given) == [quiz.judge(*g) for g in given]


@needs_node
def test_formulas_become_mathml(js):
    """Scripts, fractions and sums are built; what is not known stays readable."""
    tree = js(
        "tex",
        "d.map(m.texTree)",
        [r"-\log p_{y_i}", r"\frac{e^{z_k}}{\sum_j e^{z_j}}", "x_1^2", r"\foo 3", r"\text{if } n"],
    )
    flat = [json.dumps(t, ensure_ascii=False) for t in tree]
    assert '"msub"' in flat[0] and '"log"' in flat[0] and '"−"' in flat[0]
    assert '"mfrac"' in flat[1] and "∑" in flat[1] and '"msup"' in flat[1]
    assert '"msubsup"' in flat[2] and r"\\foo" in flat[3] and '"if "' in flat[4]
    parts = js("tex", "m.inlineParts('a `b*c*` $d_1$ **e** *f* 2 * 3 * 4')")
    assert parts == [
        ["text", "a "],
        ["code", "b*c*"],
        ["text", " "],
        ["math", "d_1"],
        ["text", " "],
        ["strong", "e"],
        ["text", " "],
        ["emphasis", "f"],
        ["text", " 2 * 3 * 4"],
    ]


def test_every_formula_of_the_banks_is_understood(js):
    if not NODE:
        pytest.skip("Node.js is missing")
    for path in bank.BANKS.glob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        formulas = re.findall(r"\$([^$\n]+)\$", text)
        for formula, tree in zip(formulas, js("tex", "d.map(m.texTree)", formulas), strict=True):
            assert '"mtext", "\\\\' not in json.dumps(tree), f"{path.name}: {formula}"


def test_passed_quiz_is_recorded(monkeypatch):
    """The one hook: with a module `progress`, a passed quiz is recorded once."""
    import types

    seen = []
    module = types.ModuleType("sftlab.teach.progress")
    module.record = lambda kind, name, passed: seen.append((kind, name, passed))
    monkeypatch.setitem(sys.modules, "sftlab.teach.progress", module)
    taken = sl.quiz("00_quickstart")
    assert not seen
    taken.done = True
    taken.done = True
    assert seen == [("quiz", "00_quickstart", True)]


def test_static_quiz_is_complete():
    """Every choice and every explanation stands in the static form; nothing of the text becomes HTML."""
    taken = sl.quiz("00_quickstart")
    assert taken.static().count("<li>") == 2 * sum(len(q["choices"]) for q in taken.questions)
    taken.questions = [
        {
            "title": "<b>?",
            "text": "```\n<i>\n```",
            "several": False,
            "choices": [{"text": "`<u>`", "explanation": "$a<b$", "right": True}],
        }
    ]
    assert not re.search("<u>|<i>|<b>\\?", taken.static()) and r"\(a&lt;b\)" in taken.static()
