"""One source per chapter: a notebook with outputs and its text form, kept equal and executed reproducibly."""

import hashlib
import json
import os
import re
from pathlib import Path

import nbformat

from ..errors import SftlabError, unknown

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
TEXT = NOTEBOOKS / "text"
WIDGETS = "application/vnd.jupyter.widget-state+json"


def chapters() -> list[str]:
    """The names of all chapters; a chapter exists as soon as one of its two forms does."""
    return sorted({p.stem for p in (*NOTEBOOKS.glob("[0-9A-D]*_*.ipynb"), *TEXT.glob("[0-9A-D]*_*.md"))})


def is_appendix(name: str) -> bool:
    """Whether a name is that of an appendix: a reference, without exercises and quiz.

    >>> is_appendix("B_formula_sheet"), is_appendix("03_losses")
    (True, False)
    """
    return name[0].isalpha()


def anchor(heading: str) -> str:
    """What a link names to lead to a heading: ``03_losses.ipynb#cell-id=ANCHOR``.

    It is the id of the cell that begins with this heading, because only by the id JupyterLab finds a place in a
    notebook that it has just opened. The book understands the same link, see :func:`fragment`.

    >>> anchor("The gradient, step by step")
    'the-gradient-step-by-step'
    """
    return re.sub(r"[^a-z0-9\- ]", "", heading.lower()).replace(" ", "-")


def fragment(heading: str) -> str:
    """The part of such a link behind the ``#``; Sphinx makes the anchors of headings by this function."""
    return f"cell-id={anchor(heading)}"


def forms(name: str) -> tuple[Path, Path]:
    """The notebook and the text form of a chapter; one of them may not exist yet."""
    return NOTEBOOKS / f"{name}.ipynb", TEXT / f"{name}.md"


def execute(name: str | None = None) -> list[str]:
    """Bring the two forms of a chapter (or of all) in line, execute the notebook, and write both.

    The form that was changed last is the source. Running it twice gives the same bytes, apart from what the cells
    themselves print.

    Raises:
        UnknownName: no such chapter.
        SftlabError: a cell failed; the message names chapter and cell and shows the error.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    found = chapters()
    if name is not None and name not in found:
        raise unknown("chapter", name, found)
    os.environ.update(SFTLAB_QUIET="1", HF_HUB_OFFLINE="1")  # nothing that moves gets into a stored output
    done = [name] if name else found
    for chapter in done:
        notebook = read(chapter)
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise SftlabError(f"{chapter}: a cell failed\n{error}") from None
        notebook = stable(notebook, chapter)
        notebook.metadata["sftlab"] = {"executed": digest(notebook)}
        write(notebook, chapter)
    return done


def digest(notebook: nbformat.NotebookNode) -> str:
    """The sha256 of what determines the outputs: kinds, tags and sources of the cells, in order."""
    cells = [[cell.cell_type, cell.metadata.get("tags", []), cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode()).hexdigest()


def stale(name: str) -> str:
    """What is stale in a chapter, with the command that mends it; empty if nothing is.

    The text form must hold the same cells as the notebook, and the notebook the outputs of these very cells: an
    edited source that was not executed again is found by the digest that :func:`execute` stores.
    """
    mend = f"run `sftlab notebooks {name}`"
    notebook_form, text = forms(name)
    for form in (notebook_form, text):
        if not form.exists():
            return f"{name}: {form.name} is missing, {mend}"
    notebook = nbformat.read(notebook_form, as_version=4)
    if text.read_text(encoding="utf-8") != text_form(notebook):
        return f"{name}: text form and notebook differ, {mend} (the form that was changed last is the source)"
    if notebook.metadata.get("sftlab", {}).get("executed") != digest(notebook):
        return f"{name}: the sources were edited after the last execution, its outputs are stale, {mend}"
    return ""


def read(name: str) -> nbformat.NotebookNode:
    """The chapter from whichever form was changed last, with cell ids that depend on content only.

    The id of a cell with a heading is the :func:`anchor` of its first one that text follows, for links; of all others
    a hash.
    """
    import jupytext

    notebook = jupytext.read(max((p for p in forms(name) if p.exists()), key=lambda p: p.stat().st_mtime))
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        heading = cell.cell_type == "markdown" and re.search(r"^#+ (.+)$(?!\n+#)", cell.source, re.MULTILINE)
        name_of = anchor(heading[1]) if heading else ""
        cell.id = hashlib.sha1(f"{cell.cell_type}{cell.source}".encode()).hexdigest()[:8]
        if name_of and len(name_of) <= 64 and name_of not in seen:  # what nbformat allows
            cell.id = name_of
        elif cell.id in seen:
            cell.id = hashlib.sha1(f"{number}{cell.source}".encode()).hexdigest()[:8]
        seen.add(cell.id)
    return notebook


def write(notebook: nbformat.NotebookNode, name: str) -> None:
    """Write the notebook and its text form; the text form first, so that the notebook is the newer one."""
    TEXT.mkdir(parents=True, exist_ok=True)
    notebook_form, text = forms(name)
    text.write_text(text_form(notebook), encoding="utf-8")
    nbformat.write(notebook, notebook_form)


def text_form(notebook: nbformat.NotebookNode) -> str:
    """The form that reviewers read and diff: MyST Markdown, without outputs."""
    import jupytext

    bare = nbformat.from_dict({**notebook, "metadata": {"kernelspec": notebook.metadata.kernelspec}})
    text = jupytext.writes(bare, fmt="md:myst")
    # jupytext notes its own version in the header: a new release would make every chapter look edited.
    return re.sub(r"^jupytext:\n(?: .*\n)+", "", text, count=1, flags=re.MULTILINE)


def stable(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Take out what differs between two equal runs: timing, addresses, temporary paths, random widget ids."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    states = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    ids = {old: hashlib.sha1(f"{name}/{i}".encode()).hexdigest()[:32] for i, old in enumerate(states)}
    text = nbformat.writes(notebook)
    for old, new in ids.items():
        text = text.replace(old, new)
    text = re.sub(r"(?<= at )0x[0-9a-f]{6,}", "0x0", text)
    # From the beginning of a word only, as in tests/sanitize.cfg: tried at every letter of a figure it takes minutes.
    text = re.sub(r"(?<![^\s\"])[^\s\"]*/ipykernel_\d+/\d+\.py", "cell.py", text)
    notebook = nbformat.reads(text, 4)
    if states:
        held = notebook.metadata.widgets[WIDGETS]
        held["state"] = dict(sorted(held["state"].items()))
    return notebook
