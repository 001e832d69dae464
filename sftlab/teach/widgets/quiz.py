"""The quiz of a chapter: questions from a plain-text bank, every choice explained. The twin of quiz.js."""

import re
from collections.abc import Sequence
from html import escape

import traitlets

from .bank import load_bank
from .base import Widget, script, style


def judge(question: dict, picked: Sequence[int]) -> dict:
    """Whether exactly the right choices are picked, how many are missing, and how many are wrong.

    >>> judge({"choices": [{"right": True}, {"right": False}]}, [0])
    {'right': True, 'missing': 0, 'wrong': 0}
    """
    right = {i for i, choice in enumerate(question["choices"]) if choice["right"]}
    missing, wrong = len(right - set(picked)), len(set(picked) - right)
    return {"right": not missing and not wrong, "missing": missing, "wrong": wrong}


class Quiz(Widget):
    """The widget of :func:`quiz`.

    Attributes:
        answers: one dict a question: ``picked`` (indices), ``checked``, ``shown`` (the reader asked for the answer).
        done: True once all questions were answered rightly; it stays so. Observe it, or let the quiz itself tell
            ``sftlab.teach.progress``, which it does where that module exists.
    """

    _esm = script("tex", "quiz")
    _css = style("quiz")
    chapter = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    questions = traitlets.List().tag(sync=True)
    answers = traitlets.List().tag(sync=True)
    done = traitlets.Bool(False).tag(sync=True)

    @traitlets.observe("done")
    def _passed(self, change) -> None:
        """The one place that keeps progress."""
        try:
            from ..progress import record
        except ImportError:
            return
        if change["new"]:
            record("quiz", self.chapter, True)

    def static(self) -> str:
        """The questions as text, answers and explanations folded."""
        parts = [f"<p><b>{escape(self.title)}</b></p>"]
        for number, question in enumerate(self.questions, 1):
            choices = "".join(f"<li>{_html(choice['text'])}</li>" for choice in question["choices"])
            answers = "".join(
                f"<li><b>{'right' if choice['right'] else 'wrong'}.</b> {_html(choice['explanation'])}</li>"
                for choice in question["choices"]
            )
            parts.append(
                f"<p><b>{number}. {_html(question['title'])}</b>{' (several answers)' * question['several']}</p>"
                f"{_blocks(question['text'])}<ol type='A'>{choices}</ol>"
                f"<details><summary>Answers</summary><ol type='A'>{answers}</ol></details>"
            )
        return "".join(parts)


def _html(text: str) -> str:
    """Inline Markdown as HTML; mathematics as TeX that MathJax finds."""
    marks = [("code", "<code>{}</code>"), ("math", r"\({}\)"), ("strong", "<b>{}</b>"), ("emphasis", "<i>{}</i>")]
    pattern = r"`(?P<code>[^`]+)`|\$(?P<math>[^$]+)\$|\*\*(?P<strong>[^*]+)\*\*|\*(?P<emphasis>[^*\s][^*]*)\*"
    wrap, text = dict(marks), escape(text, quote=False)
    return re.sub(pattern, lambda found: wrap[found.lastgroup].format(found[found.lastgroup]), text)


def _blocks(text: str) -> str:
    """Paragraphs and fenced code as HTML."""
    html = []
    for i, part in enumerate(re.split(r"```\w*\n(.*?)```", text, flags=re.DOTALL)):
        if i % 2:
            html.append(f"<pre>{escape(part.rstrip())}</pre>")
        else:
            html += [f"<p>{_html(block)}</p>" for block in part.split("\n\n") if block.strip()]
    return "".join(html)


def quiz(chapter: str) -> Quiz:
    """The quiz of a chapter, from ``notebooks/quiz/CHAPTER.md``; its form is described in ``bank.py``.

    Args:
        chapter: ``"00_quickstart"``, ``"03_losses"``, ...

    Raises:
        UnknownName: the chapter has no quiz; the message lists the nearest names.
        BadData: the bank has problems; the message lists all of them, each with its line.

    >>> quiz("00_quickstart").done
    False
    """
    title, questions = load_bank(chapter)
    return Quiz(chapter=chapter, title=title, questions=questions)
