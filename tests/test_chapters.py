"""Every chapter and appendix against the standard: its skeleton, its rules, and what nbval cannot see."""

import base64
import re
import runpy
from pathlib import Path

import nbformat
import pytest

from sftlab.teach import chapters, classroom, layout

ROOT = Path(__file__).resolve().parents[1]
NAMES = chapters.chapters()
CODE_LINES, CELLS, WORDS = 30, (25, 60), (1000, 2500)
TAGS = {"nbval-ignore-output", "raises-exception", "remove-cell", "hide-input", "exercise", "solution"}
VIEW = "application/vnd.jupyter.widget-view+json"

# Heading (a regular expression) for each part of the skeleton of CHAPTER_STANDARD.md, in order.
SKELETON = {
    "you will be able to": r"## You will be able to",
    "before you start": r"## Before you start",
    "the problem and the data": r"## The problem and the data",
    "baseline": r"## Before any training",
    "from scratch": r"## From scratch",
    "concise": r"## With the library",
    "experiment": r"##+ Experiment: .+\?",
    "error analysis": r"## What the model gets wrong",
    "widget": r"## Something to move.*",
    "broken program": r"## A broken program",
    "exercises": r"## Exercises",
    "quiz": r"## Quiz",
    "in this chapter": r"## In this chapter",
    "further reading": r"## Further reading",
}
# An appendix is for looking things up: entries between a word on how to use it and what to read. No exercises, no quiz.
APPENDIX = {
    "how to use it": r"## How to use .+",
    "entries": r"### .+",
    "further reading": r"## Further reading",
}
# Parts that wait for the teaching layer. A part that is written must leave this list (tested below).
WAITING: dict[str, set[str]] = {}


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(name):
    found = nbformat.read(chapters.forms(name)[0], as_version=4)
    nbformat.validate(found)
    return found


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def tags(cell):
    return cell.metadata.get("tags", [])


def test_there_are_chapters():
    """An empty list would let every test below pass."""
    assert "00_quickstart" in NAMES


def test_chapter_tables_are_true():
    """README.md and JupyterLab's first page list the chapters that exist, with their own titles and promises."""
    build = runpy.run_path(str(ROOT / "book" / "build.py"))
    for path, text in build["tables"](build["read_parts"]()).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python book/build.py --tables`"


def test_nothing_is_stale(name):
    """Text form, notebook and outputs belong together, and so does a student release that was built here."""
    assert not chapters.stale(name), chapters.stale(name)
    assert name not in classroom.stale(), f"{name}: build/classroom is stale, run `make classroom`"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A chapter in a folder of its own, to be made stale."""
    for form, folder in zip(chapters.forms("00_quickstart"), (tmp_path, tmp_path / "text"), strict=True):
        folder.mkdir(exist_ok=True)
        (folder / form.name).write_bytes(form.read_bytes())
    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(chapters, "TEXT", tmp_path / "text")
    assert chapters.stale("00_quickstart") == ""
    return chapters.forms("00_quickstart")


def edited(notebook_form, change):
    notebook = nbformat.read(notebook_form, as_version=4)
    change(notebook)
    nbformat.write(notebook, notebook_form)
    return notebook


def test_edited_text_form_is_found(copied):
    text = copied[1].read_text(encoding="utf-8")
    copied[1].write_text(text.replace("You take a language", "You choose a language"), encoding="utf-8")
    assert "text form and notebook differ, run `sftlab notebooks 00_quickstart`" in chapters.stale("00_quickstart")


def test_edited_notebook_is_found(copied):
    edited(copied[0], lambda notebook: notebook.cells[1].update(source=notebook.cells[1].source + " More."))
    assert "text form and notebook differ" in chapters.stale("00_quickstart")


@pytest.mark.parametrize("kind", ["code", "markdown", "tags"])
def test_edited_and_synced_but_not_executed_is_found(copied, kind):
    """Both forms say the same, and the outputs are those of other sources: what a sync without execution leaves."""

    def change(notebook):
        cell = next(c for c in notebook.cells if c.cell_type == ("markdown" if kind == "markdown" else "code"))
        if kind == "tags":
            cell.metadata["tags"] = ["hide-input"]
        else:
            cell.source += "\n\nx = 1"

    copied[1].write_text(chapters.text_form(edited(copied[0], change)), encoding="utf-8")
    said = chapters.stale("00_quickstart")
    assert said.startswith("00_quickstart: ") and "outputs are stale, run `sftlab notebooks 00_quickstart`" in said


@pytest.mark.parametrize("which", [0, 1])
def test_missing_form_is_found(copied, which):
    copied[which].unlink()
    assert f"{copied[which].name} is missing" in chapters.stale("00_quickstart")


def test_skeleton(name, notebook):
    """All parts are there, in order; only listed parts may wait, and none waits that is written."""
    text, at = prose(notebook), 0
    for part, heading in (APPENDIX if chapters.is_appendix(name) else SKELETON).items():
        found = re.search(rf"^{heading}\s*$", text, re.MULTILINE)
        if part in WAITING.get(name, ()):
            assert not found, f"{part} is written: take it out of WAITING"
            continue
        assert found, f"{name} has no {part}: expected a heading like {heading!r}"
        if part not in ("experiment", "broken program", "widget", "error analysis"):  # these may change places
            assert found.start() > at, f"{part} stands too early"
            at = found.start()


def test_appendix_is_a_reference():
    """Which notebooks are held to the other skeleton; they have three entries or more, no exercises and no quiz."""
    appendices = [name for name in NAMES if chapters.is_appendix(name)]
    assert "B_formula_sheet" in appendices and all(name[0] in "ABCD" for name in appendices)
    for name in appendices:
        notebook = nbformat.read(chapters.forms(name)[0], as_version=4)
        assert len(re.findall(r"^### ", prose(notebook), re.MULTILINE)) >= 3
        assert not layout.exercises(notebook, name) and not re.search(r"^## Quiz", prose(notebook), re.MULTILINE)
        assert not [cell for cell in code(notebook) if re.search(r"sl\.(check|quiz)\(", cell.source)]
        assert not [cell for cell in notebook.cells if {"exercise", "solution"} & set(tags(cell))]


def test_opening(name, notebook):
    """One title, a promise, a line with level, minutes, memory and download; links before the start."""
    text = prose(notebook)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1 and text.startswith("# ")
    first = [block for block in notebook.cells[0].source.split("\n\n") if block.strip()]
    assert len(first) >= 3 and first[1].count(".") >= 1
    assert re.search(r"(Beginner|Intermediate|Advanced).*\d+ minutes.*memory.*download \d+ MB", first[2])
    if chapters.is_appendix(name):
        return
    able = re.search(r"## You will be able to\n(.+?)\n## ", text, re.DOTALL)[1]
    assert 3 <= len(re.findall(r"^- \*\*\w+", able, re.MULTILINE)) <= 5
    assert re.search(r"## Before you start.*?\]\(", text, re.DOTALL)


def test_setup_cell(notebook):
    """The first code cell imports and calls sl.start with a seed; no other cell chooses a device."""
    first, *others = code(notebook)
    assert re.search(r"import sftlab as sl", first.source) and re.search(r"sl\.start\(seed=", first.source)
    for cell in [first, *others]:
        assert not re.search(r"""["'](cuda|cpu|mps)(:\d)?["']|\.cuda\(""", cell.source), cell.source


def test_size(name, notebook):
    """25 to 60 cells, 1,000 to 2,500 words, short cells, at most 1.5 MB; what an exercise brings is not counted.

    An appendix may be as long as there are things to look up.
    """
    before = prose(notebook).split("\n## Exercises")[0]
    after = re.split(r"\n(?=## (?!Exercises))", prose(notebook)[len(before) :])[1:] if before else []
    words = len(" ".join([before, *after]).split())
    number = next((i for i, cell in enumerate(notebook.cells) if "## Exercises" in cell.source), len(notebook.cells))
    rest = [i for i, cell in enumerate(notebook.cells) if i > number and re.match(r"## ", cell.source)]
    cells = len(notebook.cells) - ((rest[0] if rest else len(notebook.cells)) - number)
    if not chapters.is_appendix(name):
        assert CELLS[0] <= cells <= CELLS[1], cells
        assert WORDS[0] <= words <= WORDS[1], words
    for cell in code(notebook):
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= CODE_LINES, cell.source
        # Wider lines have to be scrolled sideways on a page of the book.
        assert max(map(len, cell.source.splitlines())) <= 96, cell.source
    lengths = sorted(len(cell.source.splitlines()) for cell in code(notebook))
    assert lengths[len(lengths) // 2] <= 10, "the typical code cell has more than ten lines"
    assert len(nbformat.writes(notebook)) < 1.5e6


def test_claims_are_asserted(notebook):
    """A chapter asserts what it claims, and experiments have a prediction and an answer."""
    text = prose(notebook)
    assert sum("assert " in cell.source for cell in code(notebook)) >= 5
    experiments = len(re.findall(r"^##+ Experiment: ", text, re.MULTILINE))
    assert text.count("*Predict first:*") >= experiments and text.count("*Answer:*") >= experiments


def test_executed_in_order(notebook):
    """Every cell was executed, from 1 on, without an unexpected error."""
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    for cell in code(notebook):
        errors = [out for out in cell.outputs if out.output_type == "error"]
        assert bool(errors) == ("raises-exception" in tags(cell)), cell.source


def test_outputs_hold_nothing_that_moves(notebook):
    """No progress bars, no paths of the author's machine; warnings are mended, not stored."""
    for cell in code(notebook):
        for out in cell.outputs:
            assert out.get("name") != "stderr", out.get("text")
            shown = str(out.get("text", "")) + str(out.get("data", {}).get("text/plain", ""))
            assert not re.search(r"it/s|\d%\||/home/|/root/|/Users/|/tmp/|\d (s|ms|seconds)\b", shown), shown


def test_tags_and_kernel(notebook):
    """Only known tags; the kernel is called python3; no cell ends in a semicolon (nbval cannot compare it)."""
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert set(tags(cell)) <= TAGS, tags(cell)
        assert not (cell.cell_type == "code" and cell.source.rstrip().endswith(";")), cell.source


def test_figures_have_alternative_text(notebook):
    """Every picture is an <img> with alt text of a sentence, and not an empty file; Markdown images too."""
    for cell in code(notebook):
        for out in cell.outputs:
            data = out.get("data", {})
            assert not {"image/png", "image/svg+xml", "image/jpeg"} & set(data), "use sl.show(figure, alt=...)"
            for image in re.findall(r"<img [^>]*>", "".join(data.get("text/html", ""))):
                alt, source = re.search(r'alt="([^"]*)"', image), re.search(r"base64,([^\"]+)", image)
                assert alt and len(alt[1].split()) >= 8, image[:200]
                assert 500 < len(base64.b64decode(source[1])) < 150_000
    for alt in re.findall(r"!\[([^\]]*)\]\(", prose(notebook)):
        assert len(alt.split()) >= 3


def test_widgets_have_their_state(notebook):
    """A stored widget view without its state shows nothing in the book."""
    state = notebook.metadata.get("widgets", {}).get(chapters.WIDGETS, {}).get("state", {})
    for cell in code(notebook):
        for out in cell.outputs:
            view = out.get("data", {}).get(VIEW)
            assert view is None or view["model_id"] in state, "run `sftlab notebooks`"


def test_widgets_have_the_code_of_today(name, notebook):
    """The book runs the JavaScript that the notebook stored: it must be that of the library, not that of last month."""
    folder = ROOT / "sftlab" / "teach" / "widgets" / "static"
    states = notebook.metadata.get("widgets", {}).get(chapters.WIDGETS, {}).get("state", {}).values()
    for key, kind in (("_esm", "js"), ("_css", "css")):
        files = [path.read_text(encoding="utf-8") for path in folder.glob(f"*.{kind}")]
        for stored in states:
            rest = stored["state"].get(key, "") if stored["model_module"] == "anywidget" else ""
            while rest:  # files, joined
                found = next((file for file in files if rest.startswith(file)), None)
                assert found, f"{name}: a widget has changed since it was stored, run `sftlab notebooks {name}`"
                rest = rest[len(found) :].removeprefix("\n")


def test_markdown_reads_everywhere(notebook):
    """Nothing that JupyterLab shows raw: no MyST directives or roles, no GitHub alerts."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"^:::|^```\{|\{\w+\}`|^> \[!|^\(\w[\w-]*\)=", cell.source, re.MULTILINE), cell.source


def test_references_are_full(name, notebook):
    """Further reading names authors, year and a link for each entry."""
    reading = prose(notebook).split("## Further reading")[1]
    entries = re.findall(r"^- .+$", reading, re.MULTILINE)
    assert len(entries) >= 3
    for entry in entries:
        assert re.search(r"\((19|20)\d\d\)", entry) and "](http" in entry, entry
    assert "Next chapter" in reading or chapters.is_appendix(name)


def test_what_differs_between_two_runs_is_taken_out():
    """Paths of cells, wherever temporary files are, and addresses; what only resembles them stays."""
    text = "File /tmp/ipykernel_12/345.py:3\nFile C:/T/ipykernel_6/7.py\n<a at 0x7f0012345678>\n/tmp/other/345.py"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x")])
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text=text)]
    found = chapters.stable(notebook, "x").cells[0].outputs[0].text
    assert found == "File cell.py:3\nFile cell.py\n<a at 0x0>\n/tmp/other/345.py"
