"""Running a learner's code: what it printed, in which of its lines it failed, and the random state as it was."""

import io
import linecache
import random
import sysconfig
from contextlib import contextmanager
from pathlib import Path

from .limits import TimeUp

SHOWN, FLOOD = 800, 1_000_000
_PACKAGE = str(Path(__file__).resolve().parents[1])
_NOT_THEIRS = tuple({_PACKAGE, *(sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib"))})


class Flood(BaseException):
    """The code prints without end. Not an ``Exception``, so that it is not swallowed easily."""


class Printed(io.TextIOBase):
    """Stands for stdout: keeps the beginning, counts the rest, and stops a flood.

    >>> out = Printed()
    >>> _ = out.write("a" * 3000)
    >>> str(out)[-31:]
    'a\\n... and 2,200 more characters'
    """

    def __init__(self):
        self.kept, self.count = "", 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.kept += text[: max(0, SHOWN - len(self.kept))]
        self.count += len(text)
        if self.count > FLOOD:
            raise Flood
        return len(text)

    def __str__(self) -> str:
        more = self.count - len(self.kept)
        return f"{self.kept}\n... and {more:,} more characters" if more > 0 else self.kept.rstrip()


@contextmanager
def own_random_state():
    """The global generators of Python, NumPy and torch are afterwards where they were before."""
    import numpy as np
    import torch

    python, numpy_ = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_)


def line_of(error: BaseException) -> tuple[int, str] | None:
    """The innermost line of the learner's own code that an error went through: number and text."""
    found = None
    step = error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if not file.startswith((*_NOT_THEIRS, "<frozen")):
            found = step.tb_lineno, linecache.getline(file, step.tb_lineno, step.tb_frame.f_globals).strip()
        step = step.tb_next
    return found


def describe(error: BaseException, seconds: float) -> str:
    """What happened to the learner's code, in a sentence or two.

    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError as error:
    ...     print(describe(error, seconds=10))
    Your code raised ZeroDivisionError in line 2, `1 / 0`: division by zero.
    """
    line = getattr(error, "line", None) or line_of(error)  # an error from another process brings its line along
    if hasattr(error, "sentence"):  # of the grader's sandbox
        return error.sentence
    at = f" in line {line[0]}" + (f", `{line[1]}`" if line[1] else "") if line else ""
    if isinstance(error, TimeUp):
        limit = error.args[0] if error.args else seconds
        return f"Your code took longer than {limit:g} s and was stopped{at}. Does a loop never end?"
    if isinstance(error, Flood):
        return f"Your code printed more than {FLOOD:,} characters and was stopped{at}. Take the print out of the loop."
    if isinstance(error, SystemExit):
        return f"Your code called exit(){at}. Return a value instead."
    kind = getattr(error, "kind", None) or type(error).__name__
    try:
        said = " ".join(str(error).split())
    except Exception:  # a learner's exception class may fail to print
        said = "(its message cannot be shown)"
    said = said if len(said) <= 300 else said[:300] + " ..."
    advice = {
        "RecursionError": " The function calls itself without end: where should it stop?",
        "MemoryError": " It asked for more memory than there is: which array is larger than it needs to be?",
    }.get(kind, "")
    return f"Your code raised {kind}{at}{f': {said.rstrip(chr(46))}' if said else ''}.{advice}"
