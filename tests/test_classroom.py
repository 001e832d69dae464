"""The releases for a class: no solution anywhere in the student's, the same bytes every time."""

import json
import zipfile

import nbformat
import pytest

from sftlab.errors import SftlabError
from sftlab.teach import chapters, classroom
from sftlab.teach.layout import exercises, tags
from sftlab.teach.mistakes import mistakes

NAMES = chapters.chapters()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("classroom")
    classroom.build(out)
    return out


@pytest.fixture(scope="module")
def public():
    """What students may read: of a chapter, and what a later one shows in passing of what an earlier one asks for."""
    every = [nbformat.read(chapters.forms(name)[0], as_version=4) for name in NAMES]
    return "\n".join(cell.source for one in every for cell in one.cells if "solution" not in tags(cell))


def everything(out) -> dict[str, bytes]:
    """All files of the student release, those inside the zip too."""
    found = {str(p.relative_to(out)): p.read_bytes() for p in (out / "student").rglob("*") if p.is_file()}
    with zipfile.ZipFile(out / "student.zip") as archive:
        found.update({f"zip/{name}": archive.read(name) for name in archive.namelist()})
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_a_solution_is_left(built, public, name):
    """Every line of every solution, code and prose, searched in every file: as it is and as JSON writes it."""
    notebook = nbformat.read(chapters.forms(name)[0], as_version=4)
    # Read here by hand, not by the code that removes them.
    solution = [cell for cell in notebook.cells if "solution" in tags(cell)]
    lines = {line.strip() for cell in solution for line in cell.source.splitlines()}
    secret = {line for line in lines if len(line) >= 8 and "details>" not in line and line not in public} - {
        "```python"
    }
    assert len(secret) >= 2 * len(exercises(notebook, name))
    for file, data in everything(built).items():
        text = data.decode()
        for line in secret:
            assert line not in text and json.dumps(line)[1:-1] not in text, f"{file} holds {line!r}"


@pytest.mark.parametrize("name", NAMES)
def test_student_release_keeps_what_students_need(built, name):
    """Stubs, checks and hints stay; exercises and checks have no output; no cell is tagged `solution`."""
    whole = nbformat.read(chapters.forms(name)[0], as_version=4)
    bare = nbformat.read(built / "student" / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(bare)
    text = "\n".join(cell.source for cell in bare.cells)
    for e in exercises(whole, name):
        assert e.stub in text and f'sl.check("{e.name}", {e.answer})' in text and all(hint in text for hint in e.hints)
    for cell in bare.cells:
        assert "solution" not in tags(cell) and "<summary>Solution" not in cell.source
        if "exercise" in tags(cell) or "sl.check(" in cell.source and cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert any(cell.get("outputs") for cell in bare.cells), "the outputs of the chapter itself stay"
    assert (built / "student" / "notebooks" / "text" / f"{name}.md").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_instructor_release_says_what_goes_wrong(built, name):
    """Minutes, each common mistake with the words of the check, each solution; of an appendix only the notebook."""
    if chapters.is_appendix(name):
        assert not (built / "instructor" / "notes" / f"{name}.md").exists()
        assert (built / "instructor" / "notebooks" / f"{name}.ipynb").is_file()
        return
    whole = nbformat.read(chapters.forms(name)[0], as_version=4)
    notes = (built / "instructor" / "notes" / f"{name}.md").read_text(encoding="utf-8")
    for e in exercises(whole, name):
        assert f"{e.minutes} minutes" in notes and e.solution in notes
    for mistake in mistakes(name):
        assert mistake.title in notes and mistake.source in notes and mistake.says in notes
    assert (built / "instructor" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8").count("Solution") >= 1


def test_the_same_bytes_every_time(built, tmp_path):
    """Folders and zips: a second build, elsewhere, differs in nothing."""
    classroom.build(tmp_path)
    first, second = (
        {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} for out in (built, tmp_path)
    )
    assert first == second


def test_building_again_removes_old_chapters(tmp_path):
    classroom.build(tmp_path)
    (tmp_path / "student" / "notebooks" / "99_old.ipynb").write_text("old")
    classroom.build(tmp_path)
    assert not (tmp_path / "student" / "notebooks" / "99_old.ipynb").exists()


def test_a_folder_of_somebody_else_is_not_removed(tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "thesis.txt").write_text("years")
    with pytest.raises(SftlabError, match="is not overwritten"):
        classroom.build(tmp_path)
    assert (tmp_path / "student" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    "hide",
    [
        lambda cell, line: cell.metadata.update(note=line),
        lambda cell, line: cell.update(source=f"{cell.source}\n\n{line}"),
        lambda cell, line: cell.update(attachments={"a.txt": {"text/plain": line}}),
    ],
)
def test_a_solution_that_hides_is_found(tmp_path, monkeypatch, hide):
    """A line of a solution in metadata, in another cell or in an attachment stops the build."""
    line = "    most_frequent = max(set(train_labels), key=train_labels.count)"
    strip = classroom.student

    def careless(notebook):
        bare = strip(notebook)
        hide(next(cell for cell in bare.cells if cell.cell_type == "markdown"), line)
        return bare

    monkeypatch.setattr(classroom, "student", careless)
    with pytest.raises(SftlabError, match="still holds lines of solutions"):
        classroom.build(tmp_path, ["00_quickstart"])
    assert not (tmp_path / "student.zip").exists(), "a leaking release must not be left to be handed out"


def test_untagged_solution_is_removed_too():
    """A folded solution in an ordinary cell goes; the text around it stays."""
    source = "Before.\n\n<details><summary>Solution</summary>\n\n42\n\n</details>\n\nAfter."
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source)])
    (cell,) = classroom.student(notebook).cells
    assert "Before." in cell.source and "After." in cell.source and "42" not in cell.source


def test_stale_releases_are_found(tmp_path, monkeypatch):
    assert classroom.stale(tmp_path) == []
    classroom.build(tmp_path)
    assert classroom.stale(tmp_path) == []
    stamp = tmp_path / "instructor" / "made_from.json"
    stamp.write_text(stamp.read_text().replace('"00_quickstart": "', '"00_quickstart": "0'))
    assert classroom.stale(tmp_path) == ["00_quickstart"]
