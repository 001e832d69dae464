"""The two releases of the chapters for a class: without solutions for students, with everything for instructors.

Both are folders and zips with the same bytes whenever they are made from the same chapters. After writing the student
release every file of it, the zip included, is searched for every line of every solution.
"""

import json
import re
import shutil
import zipfile
from pathlib import Path

import nbformat

from ..errors import SftlabError
from .chapters import chapters, digest, forms, read, text_form
from .exercises import judge
from .layout import CHECK, SOLUTION, exercises, tags, title
from .mistakes import mistakes

OUT = Path(__file__).resolve().parents[2] / "build" / "classroom"
REMOVED = {"solution", "instructor"}  # tags of cells that students do not get
LEAST = 8  # characters that make a line of a solution worth searching for: `else:` stands everywhere


def build(out: Path | str = OUT, names: list[str] | None = None) -> list[str]:
    """Write ``student`` and ``instructor`` (folders and zips) into a folder, and return the chapters in them.

    Raises:
        SftlabError: an exercise lacks a part, a line of a solution is left, or a folder holds something else.
    """
    out, names = Path(out), names or chapters()
    sources = {name: read(name) for name in names}
    executed = {name: _executed(name, source) for name, source in sources.items()}
    files: dict[str, dict[str, str]] = {"student": {}, "instructor": {}}
    for name, notebook in executed.items():
        found = exercises(notebook, name)
        bare = student(notebook)
        for release, form in (("student", bare), ("instructor", notebook)):
            files[release][f"notebooks/{name}.ipynb"] = nbformat.writes(form) + "\n"
            files[release][f"notebooks/text/{name}.md"] = text_form(form)
        if found:
            files["instructor"][f"notes/{name}.md"] = _notes(name, notebook, found)
    files["student"]["README.md"] = _STUDENT
    files["instructor"]["README.md"] = _INSTRUCTOR
    stamp = {name: digest(source) for name, source in sources.items()}
    files["instructor"]["made_from.json"] = json.dumps(stamp, indent=1, sort_keys=True) + "\n"
    for release, contents in files.items():
        folder = out / release
        if folder.exists() and not (folder / "README.md").is_file():
            raise SftlabError(f"{folder} is no earlier release and is not overwritten. Choose another folder.")
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text.encode())
        _zip(out / f"{release}.zip", release, contents)
    if left := leaks(out, executed):
        shutil.rmtree(out / "student")  # it must not be handed out
        (out / "student.zip").unlink()
        raise SftlabError("the student release still holds lines of solutions:\n  " + "\n  ".join(left[:10]))
    return names


def stale(out: Path | str = OUT) -> list[str]:
    """Chapters that were edited since the releases in this folder were made; empty where there are none."""
    stamp = Path(out) / "instructor" / "made_from.json"
    if not stamp.is_file():
        return []
    made = json.loads(stamp.read_text(encoding="utf-8"))
    now = {name: digest(read(name)) for name in chapters()}
    return sorted(name for name in made.keys() | now.keys() if made.get(name) != now.get(name))


def student(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without solutions: tagged cells and folded solutions are gone, exercises and checks have no output."""
    bare = nbformat.from_dict(json.loads(json.dumps(notebook)))
    bare.cells = [cell for cell in bare.cells if not REMOVED & set(tags(cell))]
    for cell in bare.cells:
        if cell.cell_type == "markdown":
            # A folded solution in a cell without the tag; its text must not decide whether it is found.
            cell.source = SOLUTION.sub("", cell.source).rstrip()
        elif "exercise" in tags(cell) or CHECK.search(cell.source):
            cell.outputs, cell.execution_count = [], None
    bare.cells = [cell for cell in bare.cells if cell.source.strip()]
    bare.metadata = nbformat.from_dict({k: v for k, v in bare.metadata.items() if k != "sftlab"})
    return bare


def public_text(notebook: nbformat.NotebookNode) -> str:
    """The sources that students read."""
    return "\n".join(SOLUTION.sub("", cell.source) for cell in notebook.cells if not REMOVED & set(tags(cell)))


def solution_lines(notebook: nbformat.NotebookNode, public: str) -> set[str]:
    """Every line of every solution of a chapter that does not also stand in a part that students read.

    ``public``: what they read of all chapters; what one of them asks for, a later one may show in passing.
    """
    secret = set()
    for cell in notebook.cells:
        if REMOVED & set(tags(cell)):
            secret.update(_lines(cell.source))
            for output in cell.get("outputs", []):
                secret.update(_lines(str(output.get("text", ""))))
        else:
            secret.update(line for block in SOLUTION.findall(cell.source) for line in _lines(block))
    markup = re.compile(r"</?details>.*|```\w*")
    return {line for line in secret if len(line) >= LEAST and not markup.fullmatch(line) and line not in public}


def leaks(out: Path | str, executed: dict[str, nbformat.NotebookNode]) -> list[str]:
    """Lines of solutions in any file of the student release, each with the file that holds it."""
    folder, found = Path(out) / "student", []
    texts = {str(p.relative_to(out)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    with zipfile.ZipFile(Path(out) / "student.zip") as archive:
        texts.update({f"student.zip: {name}": archive.read(name) for name in archive.namelist()})
    # In a notebook a line is a JSON string: searched as it is, as JSON, and as JSON in ASCII.
    plain = {name: data.decode("utf-8", "replace") for name, data in texts.items()}
    public = "\n".join(map(public_text, executed.values()))
    for chapter, notebook in executed.items():
        for line in sorted(solution_lines(notebook, public)):
            forms = {line, json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1]}
            found += [f"{name}: {chapter}: {line}" for name, text in plain.items() if any(f in text for f in forms)]
    return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _executed(name: str, source: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its outputs; where its sources are not those of the text form, without any."""
    path = forms(name)[0]
    if path.exists():
        notebook = nbformat.read(path, as_version=4)
        if digest(notebook) == digest(source):
            return notebook
    return source


def _notes(name: str, notebook: nbformat.NotebookNode, found: list) -> str:
    """What an instructor wants to have at hand: times, common mistakes with what the check says, solutions."""
    wrong = mistakes(name)
    lines = [
        f"# {title(notebook)}: notes for instructors",
        "",
        f"{len(found)} exercises, {sum(e.minutes for e in found)} minutes.",
    ]
    lines += ["", "| exercise | level | minutes | hints | common mistakes |", "|---|---|---|---|---|"]
    for e in found:
        own = sum(m.exercise == e.name for m in wrong)
        lines.append(f"| {e.number}. {e.title} (`{e.name}`) | {e.level} | {e.minutes} | {len(e.hints)} | {own} |")
    for e in found:
        lines += ["", f"## Exercise {e.number}: {e.title} ({e.level}, {e.minutes} minutes)", "", e.task]
        lines += ["", "### Common mistakes, and what the check says"]
        for m in (m for m in wrong if m.exercise == e.name):
            said = judge(e.name, m.answer)
            lines += ["", f"**{m.title}** The check: “{' '.join([said.message, said.look]).strip()}”"]
            lines += ["", "```python", m.source, "```"]
        lines += ["", "### Solution", "", re.sub(r"</?details>(<summary>.*?</summary>)?\n*", "", e.why).strip()]
    return "\n".join(lines) + "\n"


def _zip(path: Path, release: str, contents: dict[str, str]) -> None:
    """The same bytes from the same contents: sorted, without times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(f"sftlab-{release}/{name}", (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            archive.writestr(entry, contents[name].encode())


_STUDENT = """# SFT Lab: student release

Open a chapter in `notebooks/` with JupyterLab, run it from the top, and write your answers in the cells that begin
with `# exercise`. The cell below each says at once whether it is right. Hand in the notebook as it is; only the cells
with `# exercise`, imports and your own functions are looked at. Do not rename the functions.
"""
_INSTRUCTOR = """# SFT Lab: instructor release

`notebooks/` holds the chapters with outputs and solutions; `notes/` holds for each chapter the times, the common
mistakes with what the check says, and the solutions. Collect the students' notebooks in one folder, one notebook or
one folder for each, and run `sftlab grade FOLDER`.
"""
