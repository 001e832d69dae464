"""Which exercises and quizzes are done: kept in one file on this machine, never sent anywhere.

The file is ``progress.json`` in ``SFTLAB_HOME``, by default the user's configuration folder. With ``SFTLAB_QUIET``
(tests, executing chapters) and without ``SFTLAB_HOME`` nothing is written, so that the authors' runs do not mark a
person's progress. Where the folder cannot be written, progress lasts as long as the process.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

from ..errors import unknown
from ..table import Table

KINDS = ("exercise", "quiz")
_memory: dict[Path | None, dict] = {}  # folder that cannot be written (None: shall not) -> entries of this process
_note = ""  # what happened to the file, shown below the table


def home() -> Path | None:
    """The folder that holds the file; None if nothing shall be written."""
    if chosen := os.environ.get("SFTLAB_HOME"):
        return Path(chosen)
    if os.environ.get("SFTLAB_QUIET"):
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "sftlab"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "sftlab"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sftlab"


def record(kind: str, name: str, passed: bool) -> None:
    """Remember a try. Once passed stays passed; a broken or read-only folder is no error.

    Args:
        kind: ``exercise`` or ``quiz``.
        name: such as ``03-softmax``, of a quiz ``03_losses``; it begins with the chapter.
        passed: whether it was right.

    Raises:
        UnknownName: another kind.
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)

    def count(held):
        entry = held.setdefault(f"{kind} {name}", {"tries": 0})
        entry["tries"] += 1
        if passed:
            entry.setdefault("passed", date.today().isoformat())

    _change(count)


def progress(reset: bool | str = False) -> Table:
    """Show which exercises and quizzes are done, chapter by chapter.

    Args:
        reset: True forgets everything; a name (``03-softmax``) or a chapter (``03``) forgets that.

    Returns:
        Table: one row for each chapter. The file is on this machine only; the note says where.

    >>> progress().columns
    ['chapter', 'exercises done', 'quizzes done', 'open']
    """

    def forget(held):
        for key in list(held):
            name = key.split(" ", 1)[1]
            if reset is True or reset in (name, _chapter(name)):
                del held[key]

    if reset:
        _change(forget)
    held = _load()
    # What the course has, not what was once recorded: an exercise that was renamed would stay open for ever.
    names = {kind: set(_known(kind)) for kind in KINDS}
    done = {kind: {n for n in names[kind] if held.get(f"{kind} {n}", {}).get("passed")} for kind in KINDS}
    rows = []
    for chapter in sorted({_chapter(n) for kind in KINDS for n in names[kind]}):
        mine = {kind: sorted(n for n in names[kind] if _chapter(n) == chapter) for kind in KINDS}
        counts = [f"{sum(n in done[k] for n in mine[k])} of {len(mine[k])}" if mine[k] else "-" for k in KINDS]
        still = [n for kind in KINDS for n in mine[kind] if n not in done[kind]]
        rows.append([chapter, *counts, ", ".join(still) or "nothing"])
    folder = home()
    where = f"Kept in {folder / 'progress.json'}, nowhere else." if folder else "Kept until this process ends."
    return Table(["chapter", "exercises done", "quizzes done", "open"], rows, note=_note or where)


def _chapter(name: str) -> str:
    """``03`` of the exercise ``03-softmax`` and of the quiz ``03_losses``."""
    return re.split("[-_]", name)[0]


def _known(kind: str) -> list[str]:
    from .checks import CHECKS
    from .widgets.bank import banks

    return list(CHECKS) if kind == "exercise" else banks()


def _change(change: Callable[[dict], None]) -> None:
    """Change the entries and write them whole, one process at a time."""
    global _note
    folder = home()
    if folder is not None and folder not in _memory:
        from filelock import FileLock, Timeout

        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Not waited for long: a lost entry is better than a notebook that hangs.
            with FileLock(folder / "progress.lock", timeout=2):
                held = _load()
                change(held)
                _write(folder, held)
            return
        except (OSError, Timeout, NotImplementedError) as error:  # some network folders have no locks
            why = getattr(error, "strerror", None) or type(error).__name__
            _note = f"Kept until this process ends only: {folder} cannot be written ({why})."
    _memory[folder] = _load()
    change(_memory[folder])


def _load() -> dict[str, dict]:
    folder = home()
    if folder is None or folder in _memory:
        return _memory.get(folder, {})
    path = folder / "progress.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = found["entries"]
        if not all(" " in key and isinstance(value["tries"], int) for key, value in entries.items()):
            raise ValueError("entries of another form")
        return entries
    except OSError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _set_aside(path)
        return {}


def _set_aside(path: Path) -> None:
    """Keep a file that cannot be understood under another name, and say so."""
    global _note
    number = 1
    while (aside := path.with_name(f"progress-unreadable-{number}.json")).exists():
        number += 1
    try:
        os.replace(path, aside)
        _note = f"The old file could not be understood and is kept as {aside}; progress starts anew."
    except OSError:
        _note = f"{path} cannot be understood."


def _write(folder: Path, held: dict) -> None:
    """Write whole or not at all: another process, or a power cut, never sees half a file."""
    handle, name = tempfile.mkstemp(dir=folder, prefix="progress-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"version": 1, "entries": held}, file, indent=1, sort_keys=True)
        os.replace(name, folder / "progress.json")
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
