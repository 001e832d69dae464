"""The built book as files: pages from the chapters, folded solutions, downloads, launch buttons; and its PDF.

Builds nothing: run `python book/build.py` first. What needs a browser is in test_book_browser.py.
"""

import html
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from browser import BOOK, CHROMIUM, HTML, need

from sftlab.teach import chapters, layout

sys.path.insert(0, str(BOOK))
import bibliography

ROOT = BOOK.parent
NAMES = chapters.chapters()
NOTEBOOKS = [chapters.forms(name)[0] for name in NAMES]
built = pytest.mark.usefixtures("is_built")


@pytest.fixture
def is_built():
    need(HTML.is_dir(), "the book is not built: python book/build.py")


def page(path: str) -> str:
    return (HTML / path).read_text(encoding="utf-8")


def text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())


def pages() -> list[Path]:
    return [p for folder in ("book", "notebooks") for p in sorted((HTML / folder).rglob("*.html"))]


# Bibliography (that it is up to date is tested with the other tables, in test_chapters.py)


def test_every_reference_is_in_the_bibliography():
    """Read here by hand: authors, year and link of each line under "Further reading", and the chapter's link."""
    listed = bibliography.PAGE.read_text(encoding="utf-8").splitlines()
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        reading = "".join(cells[-1]["source"]).split("## Further reading")[1]
        for line in re.findall(r"^- .+$", reading, re.MULTILINE):
            link = re.search(r"\]\((http[^)]+)\)", line)[1]
            (own,) = [entry for entry in listed if f"]({link})" in entry]
            assert own.startswith(line.split(". *")[0]) and f"notebooks/{path.name})" in own


ENTRY = "- A. Author (2020). *A Title.* [arXiv:1](https://arxiv.org/abs/1)"


@pytest.mark.parametrize(
    "other",
    [ENTRY.replace("2020", "2021"), ENTRY.replace("A. Author", "B. Author"), ENTRY.replace("A Title", "Another"),
     ENTRY.replace("abs/1", "abs/2"), ENTRY.replace("arXiv:1", "arXiv:2")],
)  # fmt: skip
def test_two_descriptions_of_one_work_are_refused(other):
    """In two chapters, or in a chapter and the bibliography: the message quotes both and says where they stand."""
    first, second = bibliography.read(ENTRY, "x"), bibliography.read(other, "x")
    with pytest.raises(SystemExit, match=r"01_a and 02_b describe one work differently(.|\n)*2020"):
        bibliography.merge([], {"01_a": first, "02_b": second})
    with pytest.raises(SystemExit, match="bibliography.md and 02_b describe"):
        bibliography.merge(first, {"02_b": second})


def test_bibliography_is_merged_and_sorted():
    """By family name without accents; remarks of a chapter stay in the chapter; each work once, with its chapters."""
    lines = [ENTRY.replace("A. Author", name) for name in ("B. Zu, A. B", "Ä. Öl", "C. Paul")]
    lines = [line.replace("A Title", f"T{i}").replace("abs/1", f"abs/{i}") for i, line in enumerate(lines)]
    remark = lines[1].replace(" [", " Section 7: labels. [") + " Read this first."
    found = bibliography.merge(
        bibliography.read(lines[0], "x"),
        {"01_a": bibliography.read("\n".join(lines), "x"), "02_b": bibliography.read(remark, "x")},
    )
    assert [(bibliography.line(work), by) for work, by in found] == [
        (lines[1], ["01_a", "02_b"]), (lines[2], ["01_a"]), (lines[0], ["01_a"]),
    ]  # fmt: skip


def test_what_is_no_reference_is_refused():
    with pytest.raises(SystemExit, match=r"03_x: this is no reference:\n  - A book"):
        bibliography.read("- A book by somebody", "03_x")


# Exercises, solutions, glossary


@built
def test_index_of_exercises():
    """Every exercise with number, title, level and minutes; its link leads to its heading."""
    index = page("book/exercises.html")
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", index, re.DOTALL)]
    rows = [row for row in rows if row]
    wanted = [(name, e) for name in NAMES for e in layout.exercises(chapters.read(name), name)]
    assert len(rows) == len(wanted) and f"{len(wanted)} exercises, {sum(e.minutes for _, e in wanted)} minutes" in index
    for (name, e), (link, level, minutes) in zip(wanted, rows, strict=True):
        assert (text(link), text(level), text(minutes)) == (f"{e.number}. {e.title}", e.level, str(e.minutes))
        target, anchor = re.search(r'href="\.\./([^"#]+)#([^"]+)"', link).groups()
        assert target == f"notebooks/{name}.html"
        heading = re.search(rf'<section id="{anchor}">\s*<h3>(.*?)</h3>', page(target), re.DOTALL)
        assert heading and text(heading[1]).startswith(f"Exercise {e.number}: {e.title} ({e.level}")


@built
@pytest.mark.parametrize("name", NAMES)
def test_solutions_and_hints_are_folded_and_closed(name):
    """Whatever a cell with the tag `solution` holds, text, code and output, is in a closed <details>."""
    markup = page(f"notebooks/{name}.html")
    article = markup[markup.index("<article") : markup.index("</article>")]
    assert "<details open" not in article and not re.search(r"<details[^>]* open", article)
    # Cells do not nest <details>: what is left without them is what a reader sees at first.
    seen = re.sub(r"\s+", "", text(re.sub(r"<details>.*?</details>", "", article, flags=re.DOTALL)))
    notebook = nbformat.read(chapters.forms(name)[0], as_version=4)
    hidden = [cell for cell in notebook.cells if "solution" in layout.tags(cell)]
    if not chapters.is_appendix(name):
        assert len(hidden) > len(layout.exercises(notebook, name)), "the broken program has a solution, too"
    shown = re.sub(r"\s+", "", "".join(c.source for c in notebook.cells if "solution" not in layout.tags(c)))
    for cell in hidden:
        blocks = layout.PYTHON.findall(cell.source) if cell.cell_type == "markdown" else [cell.source]
        lines = [re.sub(r"\s+", "", line) for block in blocks for line in block.splitlines()]
        for line in lines:
            if len(line) >= 8 and line not in shown:
                assert line in re.sub(r"\s+", "", text(article)) and line not in seen, line
    for e in layout.exercises(notebook, name):
        for number, hint in enumerate(e.hints, 1):
            words = max(re.split(r"\$[^$]*\$|[`*\n]", hint), key=len)  # a stretch without markup
            assert re.sub(r"\s+", "", words) not in seen, f"hint {number} of {e.name} is open"
    assert article.count("<summary>Solution</summary>") == len(hidden)


# Words in bold that are no terms.
EMPHASIS = {"sum and a count", "Your own data"}


def terms() -> list[tuple[str, str]]:
    """Term and definition of each entry of glossary.md."""
    body = (BOOK / "glossary.md").read_text(encoding="utf-8").split(":sorted:")[1].split("\n:::")[0]
    return re.findall(r"^(\S.*)\n((?:  .*\n?)+)", body, re.MULTILINE)


def test_glossary_is_well_formed():
    """Each term once, each with a definition of a sentence or more, in the form that Sphinx reads."""
    names = [term.lower() for term, _ in terms()]
    assert len(names) >= 28 and len(names) == len(set(names))
    for term, definition in terms():
        assert len(definition.split()) >= 8 and definition.rstrip().endswith("."), term


@pytest.mark.parametrize("name", NAMES)
def test_terms_in_bold_are_in_the_glossary(name):
    """A new term stands in bold where a chapter defines it, and in the glossary: as an entry, or in bold in one."""
    known = {part.lower() for term, definition in terms() for part in (term, *re.findall(r"\*\*(.+?)\*\*", definition))}
    notebook = nbformat.read(chapters.forms(name)[0], as_version=4)
    prose = "\n".join(
        line for cell in notebook.cells if cell.cell_type == "markdown" and "solution" not in layout.tags(cell)
        for line in cell.source.splitlines() if not line.startswith(("- **", "**Next chapter"))
    )  # fmt: skip
    bold = {b for b in re.findall(r"\*\*(.+?)\*\*", prose) if not b.endswith((".", "?", ":", "!"))} - EMPHASIS
    missing = [b for b in sorted(bold) if not {b.lower(), b.lower().removesuffix("s")} & known]
    assert not missing, f"{name}: not in book/glossary.md: {missing}; add them, or use italics for emphasis"


# Downloads, buttons, pictures


@built
@pytest.mark.parametrize("name", NAMES)
def test_download_and_launch_buttons(name):
    """The download is the chapter itself, byte for byte; Colab and Binder are given the file that is there."""
    markup, repository = (
        page(f"notebooks/{name}.html"),
        re.search(r'REPOSITORY = "https://github.com/(.+?)"', (BOOK / "conf.py").read_text(encoding="utf-8"))[1],
    )
    (link,) = set(re.findall(r'href="([^"]+\.ipynb)"[^>]*class="[^"]*btn-download-source-button', markup))
    assert (HTML / "notebooks" / link).resolve().read_bytes() == chapters.forms(name)[0].read_bytes()
    file = chapters.forms(name)[0].relative_to(ROOT).as_posix()
    links = set(map(html.unescape, re.findall(r'href="(https://(?:colab|mybinder)[^"]+)"', markup)))
    assert links == {
        f"https://colab.research.google.com/github/{repository}/blob/main/{file}",
        f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{file}",
    }
    assert (ROOT / "environment.yml").is_file(), "what Binder installs"


@built
def test_every_picture_has_alternative_text():
    """On all pages, cards included: a few words at least; and a role and a name for pictures in SVG."""
    count = 0
    for path in pages():
        markup = path.read_text(encoding="utf-8")
        article = markup[markup.index("<article") : markup.rindex("</article>")]
        for image in re.findall(r"<img\b[^>]*>", article):
            alt = re.search(r'\balt="([^"]*)"', image)
            assert alt and len(alt[1].split()) >= 3, f"{path.name}: {image[:200]}"
            count += 1
        for drawing in re.findall(r"<svg\b[^>]*>", article):
            assert "aria-label=" in drawing or "aria-hidden=" in drawing, f"{path.name}: {drawing[:200]}"
    assert count >= 10


# The PDF


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Three pages of their own, with everything that is treated specially, printed in the clothes of the book."""
    need(HTML.is_dir(), "the book is not built: python book/build.py")
    need(find_spec("playwright") and find_spec("bs4"), 'playwright is not installed: pip install -e ".[test,book]"')
    need(CHROMIUM, "there is no Chromium: install one or set CHROMIUM")
    import pdf

    folder = tmp_path_factory.mktemp("site")
    (folder / "_static").symlink_to(HTML / "_static")
    mathjax = (
        '<script>window.MathJax = {"options": {"processHtmlClass": "math"}}</script>'
        '<script defer="defer" src="../_static/vendor/mathjax/tex-svg-full.js"></script>'
    )
    bodies = {
        "book/index.html": '<h1>Book<a class="headerlink" href="#x">#</a></h1><p id="same">Read '
        '<a href="../notebooks/a.html#same">there</a>, <a href="../notebooks/b.html">b</a>, <a href="gone.html">c</a>.',
        "notebooks/a.html": "<h1>Alpha</h1><h2 id='same'>Exercise 1: x</h2><p class='math'>\\(e^x\\)</p>"
        "<details><summary>Hint 1</summary>look</details><details><summary>Solution</summary>forty-two</details>"
        "<h2>Quiz</h2><details><summary>Answers</summary>B</details>"
        '<img alt="Three words here" src="../_static/quickstart.png" loading="lazy">',
        "notebooks/b.html": '<h1>Beta</h1><pre class="mermaid">graph TD; one --> two</pre>',
    }
    names = list(bodies)
    for name, following in zip(names, [*names[1:], None], strict=True):
        link = f'<link rel="next" href="../{following}">' if following else ""
        nav = (
            '<nav class="bd-links"><p class="caption">Part</p><ul>'
            '<li class="toctree-l1"><a href="../notebooks/a.html">01 Alpha</a></li></ul></nav>'
        )
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(
            f'<!doctype html><html lang="en"><head><title>T</title><link rel="stylesheet" href="../_static/sftlab.css">'
            f"{link}{mathjax if 'math' in bodies[name] else ''}</head><body>{nav}"
            f'<article class="bd-article">{bodies[name]}</article></body></html>',
            encoding="utf-8",
        )
    return pdf, folder


def test_pdf_is_assembled_rightly(printed):
    """Order of reading; solutions and answers at the end of the chapter; links inside, none to what is not there."""
    pdf, folder = printed
    order = pdf.reading_order(folder)
    assert order == ["book/index.html", "notebooks/a.html", "notebooks/b.html"]
    whole = pdf.assemble(folder, order)
    assert 'href="#in-1-same"' in whole and 'href="#chapter-2"' in whole and "gone.html" not in whole
    assert all(f'id="{anchor}"' in whole for anchor in ("in-0-same", "in-1-same", "chapter-1", "chapter-2"))
    chapter = whole[whole.index('id="chapter-1"') : whole.index('id="chapter-2"')]
    before, solutions = chapter.split("<h2>Solutions</h2>")
    assert "forty-two" in solutions and "Exercise 1: x" in solutions and "Quiz, question 1" in solutions
    assert "look" in before and "forty-two" not in before and "at the end of this chapter" in before
    assert whole.count("<details open") == 3
    contents = text(whole[whole.index("<nav") : whole.index("</nav>")])
    assert contents == "BookBook000Part01 Alpha000Beta000" and "<h1>01 Alpha</h1>" in chapter


def test_pdf_is_printed(printed, tmp_path):
    """Contents with the numbers of pages, formulas and diagrams drawn, an outline, tags; nothing from outside."""
    pdf, folder = printed
    count = pdf.write(folder, tmp_path / "book.pdf")
    data = (tmp_path / "book.pdf").read_bytes()
    assert data.startswith(b"%PDF") and count == 5, "contents, three chapters, the second one with a picture"
    assert pdf.beginnings(data) == [2, 3, 5]
    assert b"/Title (01 Alpha)" in data and b"/Title (Solutions)" in data and b"/Alt (Three words here)" in data
    assert b"/MarkInfo <</Type /MarkInfo\n/Marked true>>" in data


def test_pdf_that_asks_for_something_outside_is_not_written(printed, tmp_path):
    pdf, folder = printed
    copy = tmp_path / "site"
    shutil.copytree(folder, copy, symlinks=True)
    path = copy / "notebooks" / "b.html"
    path.write_text(path.read_text().replace("<pre", '<img src="https://example.org/x.png"><pre'))
    with pytest.raises(SystemExit, match=r"not written:(.|\n)*request to https://example.org/x.png"):
        pdf.write(copy, tmp_path / "book.pdf")
    assert not (tmp_path / "book.pdf").exists()
