"""Wrong answers, as plausible as learners give them: the tests refuse them, the instructor release lists them.

They stand in ``tests/wrong_answers/CHAPTER.py``, each under :func:`wrong`.
"""

import inspect
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "wrong_answers"


@dataclass(frozen=True)
class Mistake:
    """One wrong answer."""

    exercise: str
    answer: object
    says: str  # words that the check's message must contain

    @property
    def title(self) -> str:
        """The first line of its docstring."""
        return (self.answer.__doc__ or "").strip().splitlines()[0]

    @property
    def source(self) -> str:
        """Its code, without the decorator."""
        lines = dedent(inspect.getsource(self.answer)).splitlines()
        while not lines[0].startswith(("def ", "class ")):
            del lines[0]
        return "\n".join(lines)


def wrong(exercise: str, says: str) -> Callable[[Callable], Mistake]:
    """Mark a function as a wrong answer to an exercise, and say what the message must contain.

    >>> @wrong("00-majority", says="share")
    ... def counts(train_labels, test_labels):
    ...     "Returns how many are right."
    >>> counts.exercise, counts.title
    ('00-majority', 'Returns how many are right.')
    """
    return lambda answer: Mistake(exercise, answer, says)


def mistakes(chapter: str) -> list[Mistake]:
    """The wrong answers of a chapter; empty where none are written, as in an installed package."""
    path = FOLDER / f"{chapter}.py"
    if not path.is_file():
        return []
    return [value for value in runpy.run_path(str(path)).values() if isinstance(value, Mistake)]
