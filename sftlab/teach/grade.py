"""``sftlab grade FOLDER``: the checks of all submissions, each in a process of its own that cannot harm the others.

What is safe, and what is not:

* The verdict is computed here. The submission's process only answers calls with data (``remote.py``), so patching
  sftlab, printing "passed" or writing to the pipe does not make an answer right. The exercises that hand over live
  objects (``checks.INSIDE``) are the exception: their check runs in the submission's process, which could lie; the
  report marks them.
* With bubblewrap a submission sees no file but Python and sftlab, no network and no other process; without it, on
  Linux, it still can neither write, delete, start processes nor reach the network, but it can read what you can read,
  other submissions included. Elsewhere only time and memory are limited. The report says which it was.
* A submission may call ``torch``'s own function instead of writing it. Whether it did is for a person to read.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import SftlabError
from .chapters import chapters, read
from .checks import CHECKS, INSIDE
from .exercises import Result, verdict
from .grade_report import write
from .layout import MARK, Exercise, exercises
from .remote import load
from .sandbox import Box, Ended, bubblewrap
from .submissions import Submission, collect

AT_ONCE = max(1, min(8, os.cpu_count() or 1))
STATUS = {"passed": "passed", "timed out": "timed out"}  # of a check -> of the report; all others are "failed"


@dataclass(frozen=True)
class Grade:
    """One exercise of one student; status is passed, failed, timed out, missing or broken file."""

    student: str
    file: str
    exercise: str
    status: str
    message: str = ""
    inside: bool = False  # the verdict came from the submission's own process


def grade(
    folder: Path | str,
    out: Path | str | None = None,
    seconds: float = 20,
    memory: int = 2 * 2**30,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Grade]:
    """Check all submissions in a folder, and write ``report.csv`` and ``report.html``.

    Args:
        folder: one notebook, or one folder of notebooks, for each student.
        out: where the reports go; default: the folder ``report`` beside it.
        seconds: for each exercise of each submission, start-up not counted.
        memory: bytes for each, on top of what Python and torch take.
        progress: called with a line for each exercise that is done.

    Raises:
        SftlabError: no such folder, nothing in it, or no chapter with exercises is installed.
    """
    folder = Path(folder)
    found = collect(folder)
    asked = _asked(found)
    jobs = [(s, e) for s in found if not s.problem for e in asked if e.name in _marked(s, asked)]
    grades = [Grade(s.student, s.file, e.name, "broken file", s.problem) for s in found if s.problem for e in asked]
    grades += _missing(found, asked)
    boxes: set[Box] = set()
    # Threads only wait: the work is done in the boxes.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for done, graded in enumerate(pool.map(lambda job: _one(*job, seconds, memory, boxes), jobs), start=1):
                grades.append(graded)
                progress(f"{done} of {len(jobs)}: {graded.student}, {graded.exercise}: {graded.status}")
        except BaseException:  # Ctrl-C: the submissions are processes that do not hear it
            pool.shutdown(wait=False, cancel_futures=True)
            for box in list(boxes):
                box.close()
            raise
    order = {e.name: i for i, e in enumerate(asked)}
    grades.sort(key=lambda g: (g.student, g.file, order[g.exercise]))
    target = Path(out) if out else folder.resolve().parent / f"{folder.resolve().name}-report"
    write(grades, asked, target, *isolation())
    return grades


def isolation() -> tuple[bool, str]:
    """Whether submissions are isolated from everything, and a sentence about it."""
    if bubblewrap():
        return (
            True,
            "Each exercise ran in bubblewrap: without network, without any file but Python, sftlab and its data.",
        )
    weaker = "Isolation was weaker than it can be: bubblewrap is missing or does not work here"
    if not _filters():
        return False, f"{weaker}, and there is no kernel filter. Only time and memory were limited; grade on Linux."
    return False, (
        f"{weaker}. Submissions had no network, no new processes and could not change files, but could read the files "
        "that you can read, other submissions included. Install the package `bubblewrap`."
    )


def _filters() -> bool:
    from .confine import platform, sys

    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


def _asked(found: Iterable[Submission]) -> list[Exercise]:
    """The exercises of the chapters that at least one submission belongs to; of all chapters if none does."""
    known = {name: es for name in chapters() if (es := exercises(read(name), name))}  # appendices have none
    marks = {mark for s in found for mark in s.marks()}
    files = [s.file for s in found]
    own = [c for c, es in known.items() if marks & {e.name for e in es} or any(c in file for file in files)]
    asked = [e for c in own or known for e in known[c] if e.name in CHECKS]
    if not asked:
        raise SftlabError("there are no chapters with exercises here. Grade from a checkout of the course.")
    return asked


def _marked(submission: Submission, asked: list[Exercise]) -> set[str]:
    """The exercises that a submission has a cell for: by its mark, or by what it defines where the mark was deleted."""
    marks = set(submission.marks())
    text = "\n".join(submission.cells)
    return marks | {e.name for e in asked if e.name not in marks and f"def {e.answer}(" in text}


def _missing(found: list[Submission], asked: list[Exercise]) -> list[Grade]:
    """Exercises that a student has in none of the notebooks; reported once, for the student's first."""
    grades = []
    for student in {s.student for s in found}:
        own = [s for s in found if s.student == student and not s.problem]
        there = {name for s in own for name in _marked(s, asked)}
        if own:
            gone = [e.name for e in asked if e.name not in there]
            grades += [
                Grade(student, own[0].file, n, "missing", "No cell of this exercise was handed in.") for n in gone
            ]
    return grades


def _one(submission: Submission, exercise: Exercise, seconds: float, memory: int, boxes: set) -> Grade:
    cells = [[source, exercise.name in MARK.findall(source)] for source in submission.cells]
    own = [source for source, mine in cells if mine]
    if own and all(source.strip() == exercise.stub.strip() for source in own):
        found, inside = Result(exercise.name, "not written", "Nothing is written: the stub is still there."), False
    else:
        if not own:
            cells = [[source, f"def {exercise.answer}(" in source] for source in submission.cells]
        found, inside = _run(cells, exercise, seconds, memory, boxes)
    notes = [found.message, found.look and f"Where to look: {found.look}"]
    notes += [
        f"({len(own)} cells of this exercise were handed in; the last definition counts.)" if len(own) > 1 else ""
    ]
    status = STATUS.get(found.status, "failed")
    message = " ".join(filter(None, notes))
    return Grade(submission.student, submission.file, exercise.name, status, message, inside)


def _run(cells: list, exercise: Exercise, seconds: float, memory: int, boxes: set) -> tuple[Result, bool]:
    name, inside = exercise.name, exercise.name in INSIDE
    box = None

    def run():
        nonlocal box
        box = Box(seconds, memory)
        boxes.add(box)
        answer = load(box, cells, exercise.answer)
        if not inside:
            CHECKS[name](answer)
            return
        said = box.ask({"judge": name, "seconds": seconds})
        if said.get("status") != "passed":
            # Whatever else it says is a text to be shown.
            raise Ended(" ".join(str(said.get(key, ""))[:1000] for key in ("message", "look")).strip() or "Not passed.")

    try:
        return verdict(name, run, seconds), inside
    finally:
        if box:
            boxes.discard(box)
            box.close()
