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
