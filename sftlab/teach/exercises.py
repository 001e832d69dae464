"""``sl.check``: is this answer right? It answers with a sentence, whatever the learner's code does."""

from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from html import escape

from ..errors import unknown
from .checks import CHECKS
from .compare import NotWritten, Wrong
from .learner import Printed, describe, own_random_state
from .limits import TimeUp, limited
from .progress import record

SECONDS = 10
_misses: dict[str, int] = {}  # of this process: after each miss the next hint is suggested


@dataclass(frozen=True)
class Result:
    """The answer of :func:`check`: true if passed; shown as a sentence, in a notebook as a marked paragraph.

    Attributes:
        name: the exercise, such as ``03-softmax``.
        status: ``passed``, ``not written``, ``wrong``, ``raised`` or ``timed out``.
        message: what is wrong and how it shows; empty if passed.
        look: where to look.
        hint: which help is next.
        printed: what the learner's code printed, its beginning.

    >>> print(Result("03-softmax", "wrong", "Each row sums to 3.", "Over which axis?"))
    03-softmax: not yet. Each row sums to 3.
    Where to look: Over which axis?
    """

    name: str
    status: str
    message: str = ""
    look: str = ""
    hint: str = ""
    printed: str = ""

    def __bool__(self) -> bool:
        return self.status == "passed"

    def __str__(self) -> str:
        lines = [f"{self.name}: passed." if self else f"{self.name}: not yet. {self.message}"]
        lines += [f"Where to look: {self.look}"] if self.look else []
        lines += [self.hint] if self.hint else []
        lines += [f"Your code printed:\n{self.printed}"] if self.printed else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # Inline styles, no background, inherited colours: legible in light and dark; the words carry the meaning.
        colour, mark, word = ("#2a8f57", "✓", "passed") if self else ("#c46a00", "✗", "not yet")
        parts = [f"<strong>{mark} {escape(self.name)}: {word}.</strong> {_code(self.message)}"]
        parts += [f"<br><em>Where to look:</em> {_code(self.look)}"] if self.look else []
        parts += [f"<br>{escape(self.hint)}"] if self.hint else []
        printed = f"Your code printed:<pre>{escape(self.printed)}</pre>" if self.printed else ""
        style = f"border-left:4px solid {colour};padding:.3em .8em;margin:.3em 0;overflow-wrap:anywhere"
        return f'<div class="sftlab-check" role="status" style="{style}">{"".join(parts)}{printed}</div>'


def check(name: str, answer, *, seconds: float = SECONDS) -> Result:
    """Check your answer to an exercise and say what is wrong with it, or that it passed.

    Errors of your code become a sentence with the line; code that does not end is stopped; the random state stays
    as it was. What is passed is remembered on this machine, see :func:`sftlab.progress`.

    Args:
        name: the exercise, as in the first line of its cell.
        answer: your function (or value).
        seconds: time limit.

    Returns:
        Result: true if passed.

    Raises:
        UnknownName: no such exercise; the message lists the nearest.
        KeyboardInterrupt: you pressed stop.

    >>> def majority_accuracy(train_labels, test_labels):
    ...     return len(test_labels) / 0
    >>> print(check("00-majority", majority_accuracy).message)
    Your code raised ZeroDivisionError in line 2, `return len(test_labels) / 0`: division by zero.
    """
    found = judge(name, answer, seconds)
    if found.status != "not written":
        record("exercise", name, bool(found))
    if found:
        _misses.pop(name, None)
        return found
    if found.status == "not written":
        hint = "Write your code in the cell above, run it, then run this cell again."
    else:
        misses = _misses[name] = _misses.get(name, 0) + 1
        hint = f"Hint {misses} below may help." if misses < 3 else "Open the hints below, and then the solution."
    return Result(found.name, found.status, found.message, found.look, hint, found.printed)


def judge(name: str, answer, seconds: float = SECONDS) -> Result:
    """Like :func:`check`, without a hint and without a record.

    >>> judge("00-majority", None).status
    'not written'
    """
    if name not in CHECKS:
        raise unknown("exercise", name, CHECKS)
    printed = Printed()

    def run():
        with own_random_state(), redirect_stdout(printed), redirect_stderr(printed):
            limited(lambda: CHECKS[name](answer), seconds)

    found = verdict(name, run, seconds)
    return replace(found, printed=str(printed))


def verdict(name: str, run: Callable[[], object], seconds: float) -> Result:
    """The result of running a check: passed if it raises nothing."""
    try:
        run()
    except NotWritten as wrong:
        return Result(name, "not written", str(wrong), wrong.look)
    except Wrong as wrong:
        return Result(name, "wrong", str(wrong), wrong.look)
    except BaseException as error:  # whatever a learner's code may raise, SystemExit included
        if isinstance(error, KeyboardInterrupt) and error.__cause__ is None and error.__suppress_context__:
            raise KeyboardInterrupt from None  # limited() says so when the person pressed stop
        return Result(name, "timed out" if isinstance(error, TimeUp) else "raised", describe(error, seconds))
    return Result(name, "passed")


def _code(text: str) -> str:
    """Text with `code` as HTML."""
    return "".join(f"<code>{escape(t)}</code>" if i % 2 else escape(t) for i, t in enumerate(text.split("`")))
