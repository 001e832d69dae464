"""The formula sheet and the chapters: every formula has its entry, every entry its test, links lead there and back."""

import contextlib
import io
import re
import sys

import nbformat
import pytest
import torch
from browser import BOOK

from sftlab.teach import chapters

sys.path.insert(0, str(BOOK))
import formulas

SHEET = formulas.SHEET.stem
FIRST_PART = [name for name in chapters.chapters() if re.match(r"0[1-8]_", name)]
GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma Sigma tau phi chi psi "
    "omega Omega Delta Lambda Phi"
).split()


def markdown(notebook) -> str:
    """The text of a notebook, without fenced code."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(notebook) -> dict[str, str]:
    """Anchor of each heading -> the text up to the next."""
    parts = re.split(r"^(?=#+ )", markdown(notebook), flags=re.MULTILINE)
    return {chapters.anchor(part.partition("\n")[0].lstrip("# ")): part for part in parts if part.startswith("#")}


def faults(notebooks: dict) -> list[str]:
    """What is wrong between the sheet and the chapters (name -> notebook), as sentences."""
    found = []
    sheet = notebooks[SHEET]
    every = formulas.entries("\n\n".join(c.source for c in sheet.cells if c.cell_type == "markdown"))
    linked = {(name, at): {chapters.anchor(e.title) for e in every if (name, at) in e.derived}
              for e in every for name, at in e.derived}  # fmt: skip
    for e in every:
        if e.body.count("$$") < 2:
            found.append(f"{e.title}: no formula")
        if not e.derived:
            found.append(f"{e.title}: no line `Derived in`")
        if len([other for other in every if chapters.anchor(other.title) == chapters.anchor(e.title)]) > 1:
            found.append(f"{e.title}: two entries")
        for name, _ in e.derived:
            if e.chapter.split(":")[0] != f"Chapter {name.split('_')[0]}":
                found.append(f"{e.title}: stands under {e.chapter}, derived in {name}")
    # Every entry is followed by a cell that compares.
    for cell, following in zip(sheet.cells, [*sheet.cells[1:], None], strict=True):
        heading = re.match(r"### (.+)", cell.source) if cell.cell_type == "markdown" else None
        if heading and (
            following is None
            or following.cell_type != "code"
            or not re.search(r"\b(same|exact)\(|assert ", following.source)
        ):
            found.append(f"{heading[1]}: no cell that verifies it")
    # Every link to a heading leads to a cell that JupyterLab finds by its id and to a heading that the book finds.
    for name, notebook in notebooks.items():
        for target, at in formulas.LINK.findall(markdown(notebook)):
            if target not in notebooks:
                found.append(f"{name}: a link to {target}.ipynb, which does not exist")
            elif at not in {cell.id for cell in notebooks[target].cells}:
                found.append(f"{name}: a link to {target}.ipynb#cell-id={at}, but no cell begins with such a heading")
            elif at not in sections(notebooks[target]):
                found.append(f"{name}: a link to {target}.ipynb#cell-id={at}, but there is no such heading")
    # There and back.
    for name in (n for n in notebooks if n in FIRST_PART):
        for at, text in sections(notebooks[name]).items():
            back = {to for target, to in formulas.LINK.findall(text) if target == SHEET}
            if "$$" in text and not linked.get((name, at)):
                found.append(f"{name}, {at}: a formula that no entry of the sheet is derived from")
            for to in linked.get((name, at), set()) - back:
                found.append(f"{name}, {at}: no link to the entry {to}")
            for to in back - linked.get((name, at), set()):
                found.append(f"{name}, {at}: links to the entry {to}, which does not link back")
    return found


def letters(math: str) -> set[str]:
    """The letters of a formula, without those of words and commands.

    >>> sorted(letters(r"\\eta_d = \\eta\\, q^d, \\text{ from } \\mathbb{E} x"))
    ['d', 'eta', 'q', 'x']
    """
    math = re.sub(r"\\(text|mathrm|mathbb|mathcal|mathbf|begin|end)(\{[^}]*\}|\s*\w)", " ", math)
    greek = set(re.findall(rf"\\({'|'.join(GREEK)})(?![a-zA-Z])", math))
    return greek | set(re.findall(r"[A-Za-z]", re.sub(r"\\[a-zA-Z]+", " ", math)))


def letters_of(text: str) -> set[str]:
    """The letters of all formulas of a text."""
    inside = [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", text, re.DOTALL)]
    return set().union(*map(letters, inside))


@pytest.fixture(scope="module")
def notebooks():
    return {name: nbformat.read(chapters.forms(name)[0], as_version=4) for name in chapters.chapters()}


@contextlib.contextmanager
def kernel(notebooks):
    """What the set-up cells of the sheet define; torch's default is put back at the end."""
    names, before = {"__name__": "__main__"}, torch.get_default_dtype()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for cell in [cell for cell in notebooks[SHEET].cells if cell.cell_type == "code"][:2]:
                exec(cell.source, names)
            yield names
    finally:
        torch.set_default_dtype(before)


def test_every_formula_has_its_entry_and_links_lead_there_and_back(notebooks):
    assert not faults(notebooks)
    assert len(formulas.entries(formulas.SHEET.read_text(encoding="utf-8"))) >= 78


def test_cells_are_named_as_links_expect(notebooks):
    """The ids of all cells are those that `sftlab notebooks` gives them."""
    for name, notebook in notebooks.items():
        wanted = [cell.id for cell in chapters.read(name).cells]
        assert [cell.id for cell in notebook.cells] == wanted, f"{name}: run `sftlab notebooks {name}`"


@pytest.mark.parametrize("name", FIRST_PART)
def test_every_letter_is_in_the_notation(notebooks, name):
    """In the tables of the sheet: what a formula of the chapter uses, exercises aside."""
    table = sections(notebooks[SHEET])["notation"]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    known = letters_of("\n".join(first))
    used = letters_of(markdown(notebooks[name]).split("\n## Exercises")[0])
    assert not used - known, f"{name} uses letters that the notation does not explain"


def test_letters_of_the_sheet_are_in_its_notation(notebooks):
    text = sections(notebooks[SHEET])
    known = letters_of("\n".join(r.split("|")[1] for r in text["notation"].splitlines() if r.startswith("|")))
    used = {at: letters_of(part) - known for at, part in text.items() if at not in ("notation", "further-reading")}
    assert not {at: more for at, more in used.items() if more}


def test_every_cell_runs_by_itself(notebooks):
    """After the set-up alone, as the sheet promises; a cell that leans on another one's names would fail here."""
    with kernel(notebooks) as names:
        for cell in [cell for cell in notebooks[SHEET].cells if cell.cell_type == "code"][2:]:
            own = dict(names)
            exec(cell.source, own)
            taken = [name for name, value in names.items() if own[name] is not value]
            assert not taken, f"the cells after this one need what it overwrites, {taken}:\n{cell.source}"


# That the tests above can fail


def copied(notebook):
    return nbformat.from_dict({**notebook, "cells": [dict(cell) for cell in notebook.cells]})


@pytest.mark.parametrize(
    ("where", "old", "new", "says"),
    [
        (SHEET, "### Perplexity\n\n$$", "### Perplexity\n\n$", "Perplexity: no formula"),
        (SHEET, "Derived in 04, [Nesterov]", "See 04, [Nesterov]", "Nesterov momentum: no line"),
        (SHEET, "#cell-id=nesterov)", "#cell-id=nestorov)", "no cell begins with such a heading"),
        (SHEET, "(04_gradient_descent.ipynb#cell-id=nesterov)", "(04_descent.ipynb#cell-id=nesterov)", "not exist"),
        (SHEET, "### RMSProp", "### Focal loss", "Focal loss: two entries"),
        (SHEET, "## Chapter 06: Freezing", "## Chapter 05: Freezing", "stands under Chapter 05"),
        ("03_losses", "focal-loss)", "label-smoothing)", "changing-what-counts: no link to the entry focal-loss"),
        ("03_losses", "### Softmax, and how it overflows", "### Softmax", "#cell-id=softmax-and-how-it-overflows, but"),
        ("06_freezing_strategies", "cell-id=l2-sp)", "cell-id=batchnorm)", "batchnorm, which does not link back"),
        ("05_initialisation_and_learning", "Unknown words", "$$s^2$$ Unknown words", "no entry of the sheet"),
    ],
)  # fmt: skip
def test_faults_are_found(notebooks, where, old, new, says):
    spoilt = notebooks | {where: copied(notebooks[where])}
    cell = next(c for c in spoilt[where].cells if c.cell_type == "markdown" and old in c.source)
    cell.source = cell.source.replace(old, new, 1)
    assert any(says in fault for fault in faults(spoilt)), faults(spoilt)


def test_an_entry_without_its_cell_is_found(notebooks):
    sheet = notebooks[SHEET]
    at = next(i for i, cell in enumerate(sheet.cells) if cell.source.startswith("### Perplexity"))
    for change in (lambda cells: cells.pop(at + 1), lambda cells: cells[at + 1].update(source="print(2)")):
        spoilt = copied(sheet)
        change(spoilt.cells)
        assert "Perplexity: no cell that verifies it" in faults(notebooks | {SHEET: spoilt})


def test_a_renamed_cell_is_found(notebooks):
    """An id that is not the heading's: the book would still find the place, JupyterLab would not."""
    spoilt = copied(notebooks["03_losses"])
    next(c for c in spoilt.cells if c.id == "the-gradient-step-by-step").id = "0a1b2c3d"
    assert any("no cell begins with such a heading" in fault for fault in faults(notebooks | {"03_losses": spoilt}))


@pytest.mark.parametrize(
    ("title", "old", "new"),
    [
        ("Gradient of softmax cross-entropy", "G = (z.softmax(1) - F", "G = (z.softmax(1) + F"),
        ("Evidence of a linear model", "Sigma.logdet()", "-Sigma.logdet()"),
        ("Balanced accuracy", "20 / (3 *", "20 / (2 +"),
        ("Rank correlation", "7**2 - 1", "7**2"),
        ("Label smoothing", "+ 0.1 / 4", "+ 0.1 / 3"),
        ("Class weights", "10 / (3 * ", "10 / ("),
        ("Squared error through a softmax", "formula = 2 * p * ((p - y)", "formula = 2 * ((p - y)"),
        ("Bound of the learning rate", "(2.01, False)", "(2.01, True)"),
        ("Momentum in two forms", "+ beta * (now - before)", "- beta * (now - before)"),
        ("Nesterov momentum", "math.sin(theta - 0.1", "math.sin(theta + 0.1"),
        ("Adam and its bias correction", "/ w.sum()", ""),
        ("Minibatch noise", "(2 - eta * lam)", "(1 - eta * lam)"),
        ("Xavier and Kaiming", "math.sqrt(2 / 300)", "math.sqrt(1 / 300)"),
        ("Default of a linear layer", "- 1 / (3 * n)", "- 1 / n"),
        ("Two weights and what they keep", "- 2 * b", "+ 2 * b"),
        ("CKA", "X, Y = X - X.mean(0), Y - Y.mean(0)", "X, Y = X, Y"),
        ("BatchNorm", "0.1 * 14 / 3", "0.1 * 3.5"),
        ("L2-SP", "alpha / 2 * (body", "alpha * (body"),
        ("Arithmetic of a step", "any(trains[:i])", "any(trains)"),
        ("Cross-validation", "(1 - hat.diag())", "(1 + hat.diag())"),
        ("k small steps or one large", "sum(g[:j])", "sum(g[: j + 1])"),
        ("Random search", "1 - (1 - 0.1) ** 3", "3 * 0.1"),
        ("Best of n scores", "1 / math.sqrt(math.pi)", "2 / math.sqrt(math.pi)"),
        ("Paired bootstrap", "- d.mean() ** 2", ""),
        ("Variance over runs and examples", "0.3**2 / 2", "0.3**2 / 3"),
        ("Runs that a gap takes", "(1.96 + 0.84)", "1.96"),
        ("Soft threshold", "(v.abs() - tau)", "(v.abs() + tau)"),
        ("Dropout", "- q / (1 - q) * h**2", "- q * h**2"),
        ("Lead of a smoothed label", "1 + 5 * (1 - 0.1)", "5 * (1 - 0.1)"),
        ("Age of a moving average", "0.95 / (1 - 0.95))", "1 / (1 - 0.95))"),
        ("Expected calibration error", "(1 - 0.6)", "(0.6 - 1)"),
        ("Slope of a temperature", "- z[range(6), y]", "+ z[range(6), y]"),
        ("WiSE-FT", "0.6 * before(x)", "0.4 * before(x)"),
    ],
)
def test_a_wrong_formula_fails_in_its_cell(notebooks, title, old, new):
    cells = notebooks[SHEET].cells
    at = next(i for i, cell in enumerate(cells) if cell.source.startswith(f"### {title}\n"))
    assert old in cells[at + 1].source
    with kernel(notebooks) as names, pytest.raises(AssertionError):
        exec(cells[at + 1].source.replace(old, new), names)
