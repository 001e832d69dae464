"""What the browser tests share: axe-core, what a page may not do, and what a module needs to run at all.

CHROMIUM may name the browser, AXE the file axe.min.js of axe-core (`npm ci` in book/ brings it). With
SFTLAB_REQUIRE_BROWSER, as in CI, a test that would skip fails instead.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
sys.path.insert(0, str(BOOK))
from chromium import CHROMIUM, started  # noqa: E402, F401

HTML = BOOK / "_build" / "html"
AXE = Path(os.environ.get("AXE", BOOK / "node_modules" / "axe-core" / "axe.min.js"))


def need(there, what: str) -> None:
    """Skip (the whole module, when called at its top) unless something is there; fail where it is required."""
    if there:
        return
    if os.environ.get("SFTLAB_REQUIRE_BROWSER"):
        raise RuntimeError(f"SFTLAB_REQUIRE_BROWSER is set, but {what}")
    pytest.skip(what, allow_module_level=True)


def need_browser() -> None:
    """The two things that every browser test needs."""
    need(find_spec("playwright"), 'playwright is not installed: pip install -e ".[test]"')
    need(CHROMIUM, "there is no Chromium: install one or set CHROMIUM")


def watch(page, faults: list[str], kinds=("error",)) -> None:
    """Collect what the page complains about: errors of its scripts, and messages of these kinds on its console."""
    page.on("console", lambda message: faults.append(message.text) if message.type in kinds else None)
    page.on("pageerror", lambda error: faults.append(str(error)))


def serious_faults(page, part: str = "html") -> list[tuple]:
    """What axe-core finds in a part of the page that is serious or critical: rule, element, and what is wrong."""
    need(AXE.is_file(), "axe-core is missing: run `npm ci` in book/")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("(part) => axe.run(part, { resultTypes: ['violations'] })", part)["violations"]
    return [
        (fault["id"], node["html"][:200], node["failureSummary"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def number(text: str) -> float:
    """A number as the widgets write it."""
    return float(text.replace("−", "-").replace(",", ""))


def move(root, label: str, key: str, times: int) -> None:
    """Move a slider by keyboard, as a reader without a mouse does."""
    slider = root.get_by_role("slider", name=label, exact=True)
    slider.focus()
    for _ in range(times):
        slider.press(key)


def logits_shown(root) -> dict[str, list[float]]:
    """What the logits explorer shows."""

    def column(n):
        return [number(t) for t in root.locator(f".sl-logits tbody td:nth-child({n}) .sl-number").all_inner_texts()]

    return {"loss": [number(root.locator(".sl-logits .sl-loss").inner_text())], "p": column(2), "gradient": column(4)}


def logits_of_torch(logits: list[float], label: int, temperature=1.0, smoothing=0.0) -> dict[str, list[float]]:
    """What torch computes for the same."""
    import torch
    import torch.nn.functional as F

    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(z / temperature, torch.tensor(label), label_smoothing=smoothing)
    loss.backward()
    return {"loss": [loss.item()], "p": (z / temperature).softmax(0).tolist(), "gradient": z.grad.tolist()}


def same_logits(root, logits: list[float], label: int, **options) -> None:
    """The explorer shows what torch computes, to 1e-6."""
    shown = logits_shown(root)
    for name, values in logits_of_torch(logits, label, **options).items():
        assert shown[name] == pytest.approx(values, abs=1e-6), name


def answer_quiz(root, questions: list[dict]) -> None:
    """Pick the right choices of a quiz, check each question, and see that it is passed."""
    blocks = root.locator(".sl-quiz fieldset")
    for i, question in enumerate(questions):
        for c, choice in enumerate(question["choices"]):
            if choice["right"]:
                blocks.nth(i).locator("input").nth(c).check()
        blocks.nth(i).get_by_role("button", name="Check").click()
        assert blocks.nth(i).locator("[role=status]").inner_text() == "✓ Right."
        assert blocks.nth(i).locator(".sl-reason:visible").count() == len(question["choices"])
    n = len(questions)
    assert f"{n} of {n} right: quiz passed" in root.locator(".sl-quiz .sl-score").inner_text()
