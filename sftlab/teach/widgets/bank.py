"""The plain-text form of a quiz, ``notebooks/quiz/NN_name.md``: readable as Markdown, diffable, read with line numbers.

::

    # Quiz: A real model in one minute

    ## What does `F.cross_entropy` take?

    Text or a fenced block of code may stand here.

    - [x] Logits.
      > It applies log-softmax itself.
    - [ ] Probabilities.
      > Then the softmax is applied twice.

A question with ``(several answers)`` at the end of its heading has check boxes; any other has one right choice. The
lines under a choice that begin with ``>`` explain it; every choice has such lines.
"""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...errors import bad_data, unknown

BANKS = Path(__file__).resolve().parents[3] / "notebooks" / "quiz"  # not from `chapters`: that needs nbformat
SEVERAL = re.compile(r"\s*\(several answers\)\s*$")


@dataclass
class Choice:
    """What can be picked, whether it is right, and why or why not."""

    text: str
    right: bool
    line: int
    explanation: str = ""


@dataclass
class Question:
    """A question with its choices; ``text`` is what stands between heading and choices."""

    title: str
    several: bool
    line: int
    text: str = ""
    choices: list[Choice] = field(default_factory=list)


def read_bank(text: str, where: str = "quiz") -> tuple[str, list[Question]]:
    """Title and questions of a bank.

    Args:
        text: the file's text.
        where: its name, for the message.

    Raises:
        BadData: the bank has problems; the message lists all of them, each with its line.

    >>> title, questions = read_bank('''# Quiz: sums
    ... ## What is $1 + 1$?
    ... - [x] 2
    ...   > One more than one.
    ... - [ ] 11
    ...   > Those are digits side by side.
    ... ''')
    >>> title, questions[0].title, [choice.right for choice in questions[0].choices]
    ('Quiz: sums', 'What is $1 + 1$?', [True, False])
    """
    title, questions, problems, fenced = "", [], [], 0
    for number, line in enumerate(text.splitlines(), 1):
        last = questions[-1] if questions else None
        if line.startswith("```") and not (last and last.choices):
            fenced = 0 if fenced else number
        if fenced or line.startswith("```"):
            if last:
                last.text += line + "\n"
            else:
                problems.append(f"line {number}: code stands before the first question")
        elif found := re.fullmatch(r"#\s+(.+)", line):
            if title or questions:
                problems.append(f"line {number}: a second title; a question begins with ##")
            title = title or found[1].strip()
        elif found := re.fullmatch(r"##\s+(.+)", line):
            heading = found[1].strip()
            questions.append(Question(SEVERAL.sub("", heading), bool(SEVERAL.search(heading)), number))
        elif found := re.fullmatch(r"[-*]\s+\[(.?)\]\s*(.*)", line):
            if not last:
                problems.append(f"line {number}: a choice stands before the first question (## ...)")
            elif found[1] not in " xX" or not found[1]:
                problems.append(f"line {number}: write [x] for a right choice, [ ] for a wrong one, not [{found[1]}]")
            else:
                last.choices.append(Choice(found[2].strip(), found[1] in "xX", number))
        elif found := re.fullmatch(r"\s*>\s?(.*)", line):
            if not (last and last.choices):
                problems.append(f"line {number}: an explanation (>) without a choice above it")
            else:
                choice = last.choices[-1]
                choice.explanation = f"{choice.explanation} {found[1].strip()}".strip()
        elif line.strip():
            if not last:
                problems.append(f"line {number}: text before the first question (## ...): {line.strip()[:40]!r}")
            elif not last.choices:
                last.text += line + "\n"
            elif line.startswith("  ") and not last.choices[-1].explanation:
                last.choices[-1].text += " " + line.strip()
            else:
                problems.append(
                    f"line {number}: neither a choice (- [ ]) nor an explanation (>): {line.strip()[:40]!r}"
                )
        elif last and not last.choices:
            last.text += "\n"
    if fenced:
        problems.append(f"line {fenced}: this block of code is not closed")
    if not title:
        problems.append("line 1: no title (# Quiz: ...)")
    if not questions:
        problems.append("line 1: no question (## ...)")
    seen: dict[str, int] = {}
    for question in questions:
        problems += _faults(question)
        if question.title in seen:
            problems.append(f"line {question.line}: the same question as in line {seen[question.title]}")
        seen.setdefault(question.title, question.line)
        question.text = question.text.strip("\n")
    if problems:
        raise bad_data(where, sorted(problems, key=lambda p: int(re.match(r"line (\d+)", p)[1])), shown=50)
    return title, questions


def _faults(question: Question) -> list[str]:
    """What is wrong with one question, each with its line."""
    at, found = f"line {question.line}: ", []
    right = sum(choice.right for choice in question.choices)
    if len(question.choices) < 2:
        found.append(f"{at}a question needs at least two choices, this one has {len(question.choices)}")
    elif not right:
        found.append(f"{at}no choice is right: mark one with [x]")
    elif right > 1 and not question.several:
        found.append(f"{at}{right} choices are right: add (several answers) to the heading, or keep one [x]")
    elif right == len(question.choices):
        found.append(f"{at}all choices are right: nothing can be answered wrongly")
    texts: dict[str, int] = {}
    for choice in question.choices:
        if not choice.text:
            found.append(f"line {choice.line}: this choice is empty")
        elif choice.text in texts:
            found.append(f"line {choice.line}: the same choice as in line {texts[choice.text]}")
        texts.setdefault(choice.text, choice.line)
        if not choice.explanation:
            found.append(f"line {choice.line}: this choice has no explanation; write it below, after >")
    for line, text in [
        (question.line, question.title),
        *((question.line, part) for part in re.sub(r"```.*?```", "", question.text, flags=re.DOTALL).split("\n\n")),
        *((choice.line, f"{choice.text}\n{choice.explanation}") for choice in question.choices),
    ]:
        for stretch in text.split("\n"):
            if stretch.count("`") % 2:
                found.append(f"line {line}: a backtick without its partner in {stretch.strip()[:40]!r}")
            elif re.sub(r"`[^`]*`", "", stretch).count("$") % 2:
                found.append(f"line {line}: a $ without its partner in {stretch.strip()[:40]!r}")
    return found


def banks() -> list[str]:
    """The names of the chapters that have a quiz.

    >>> "00_quickstart" in banks()
    True
    """
    return sorted(path.stem for path in BANKS.glob("*.md"))


def load_bank(chapter: str) -> tuple[str, list[dict]]:
    """Title and questions of a chapter's bank, as plain dictionaries.

    Raises:
        UnknownName: the chapter has no quiz; the message lists the nearest names.
        BadData: the bank has problems; the message lists all of them, each with its line.

    >>> len(load_bank("00_quickstart")[1])
    5
    """
    if chapter not in banks():
        raise unknown("quiz", chapter, banks())
    path: Path = BANKS / f"{chapter}.md"
    title, questions = read_bank(path.read_text(encoding="utf-8"), f"notebooks/quiz/{path.name}")
    return title, [asdict(question) for question in questions]
