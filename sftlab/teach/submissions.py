"""Reading what a class has handed in. A file that is no usable notebook is a finding, never an error."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import SftlabError
from .layout import MARK

LARGEST = 20 * 2**20  # bytes of a notebook; a chapter has less than 1.5 MB
CELLS = 2_000
SKIPPED = ("__MACOSX", "__pycache__")


@dataclass
class Submission:
    """One notebook that was handed in.

    Attributes:
        student: the name of the folder, or of the file where it lies in the top folder.
        file: path below the top folder.
        cells: source of each code cell, in order.
        problem: why it cannot be read; empty if it can.
    """

    student: str
    file: str
    cells: list[str] = field(default_factory=list)
    problem: str = ""

    def marks(self) -> list[str]:
        """The exercises whose cells are in it."""
        return [mark for source in self.cells for mark in MARK.findall(source)]


def collect(folder: Path | str) -> list[Submission]:
    """Every submission below a folder: one notebook, or one folder of notebooks, for each student.

    Raises:
        SftlabError: no such folder, or nothing in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SftlabError(f"{folder} is no folder. Give the folder that holds one notebook or folder for each student.")
    found = []
    for entry in sorted(folder.iterdir(), key=lambda p: p.name):
        if entry.name.startswith(".") or entry.name in SKIPPED:
            continue
        if entry.is_dir() and not entry.is_symlink():
            files = [p for p in sorted(entry.rglob("*.ipynb")) if not _hidden(p.relative_to(entry))]
            found += [_read(p, entry.name, folder) for p in files]
            if not files:
                found.append(Submission(entry.name, entry.name, problem="The folder holds no notebook (*.ipynb)."))
        else:
            found.append(_read(entry, entry.stem, folder))
    if not found:
        raise SftlabError(f"{folder} is empty: nothing to grade.")
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part in SKIPPED for part in path.parts)


def _read(path: Path, student: str, folder: Path) -> Submission:
    found = Submission(student, str(path.relative_to(folder)))
    try:
        found.cells = _cells(path, folder)
    except ValueError as error:
        found.problem = str(error)
    except OSError as error:
        found.problem = f"The file cannot be read ({error.strerror})."
    return found


def _cells(path: Path, folder: Path) -> list[str]:
    """Sources of the code cells, of notebook format 3 or 4.

    Raises:
        ValueError: with a sentence for the report.
    """
    # A link could make the report show a file of the teacher's.
    if path.is_symlink() or folder.resolve() not in path.resolve().parents:
        raise ValueError("A symbolic link, which is not followed. Hand in the notebook itself.")
    if path.suffix.lower() != ".ipynb":
        raise ValueError("Not a notebook: the name does not end in .ipynb.")
    if not path.is_file():
        raise ValueError("Not a file.")
    if (size := path.stat().st_size) > LARGEST:
        said = f"The notebook has {size >> 20} MB; more than {LARGEST >> 20} MB are not read."
        raise ValueError(f"{said} Clear the outputs and hand it in again.")
    try:
        notebook = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("Not a notebook: the file is not UTF-8 text.") from None
    except RecursionError:
        raise ValueError("Not a notebook: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"Not a notebook: not valid JSON, or cut off ({str(error)[:100]}).") from None
    if not isinstance(notebook, dict):
        raise ValueError("Not a notebook: valid JSON, but no notebook in it.")
    sheets = notebook.get("worksheets")  # format 3
    cells = notebook.get("cells") if sheets is None else [c for s in _list(sheets) for c in _list(s.get("cells"))]
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError("Not a notebook: it has no list of cells.")
    metadata = notebook.get("metadata")
    language = _text(metadata, "kernelspec", "language") or _text(metadata, "language_info", "name") or "python"
    if not language.lower().startswith("python"):
        raise ValueError(f"Written for the kernel {language[:40]!r}, not for Python.")
    if len(cells) > CELLS:
        raise ValueError(f"It has {len(cells):,} cells; more than {CELLS:,} are not read.")
    sources = (cell.get("source", cell.get("input", "")) for cell in cells if cell.get("cell_type") == "code")
    return ["".join(map(str, s)) if isinstance(s, list) else str(s) for s in sources]


def _list(value) -> list:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _text(value, *keys: str) -> str:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
