"""The reports of grading: a CSV for the gradebook and one HTML page that reads well in the dark and on a phone."""

import csv
from collections import Counter
from html import escape
from pathlib import Path

STATUSES = {"passed": "✓", "failed": "✗", "timed out": "…", "missing": "–", "broken file": "⚠"}


def write(grades: list, asked: list, out: Path, isolated: bool, about: str) -> None:
    """Write ``report.csv`` and ``report.html`` into a folder.

    Args:
        grades: of all students and exercises.
        asked: the exercises, in order.
        out: the folder, made if it is not there.
        isolated: whether submissions were isolated from files, network and each other.
        about: a sentence about that.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "report.csv", "w", newline="", encoding="utf-8-sig") as file:  # the mark is for Excel
        rows = csv.writer(file)
        rows.writerow(["student", "file", "exercise", "status", "message", "verdict", "isolation"])
        strength = "full" if isolated else "weaker"
        for g in grades:
            side = "submission's own process" if g.inside else "grader"
            rows.writerow([*map(_cell, (g.student, g.file, g.exercise, g.status, g.message)), side, strength])
    (out / "report.html").write_text(_page(grades, asked, isolated, about), encoding="utf-8")


def _cell(text: str) -> str:
    """A spreadsheet takes a text that begins so for a formula; a student's file name must not become one."""
    text = text.replace("\x00", "")
    return f"'{text}" if text[:1] in "=+-@\t\r" and text[:1] else text


def _page(grades: list, asked: list, isolated: bool, about: str) -> str:
    students = sorted({g.student for g in grades})
    counts = {e.name: Counter(g.status for g in grades if g.exercise == e.name) for e in asked}
    head = "".join(f"<th scope=col>{s}</th>" for s in STATUSES)
    lines = "".join(
        f"<tr><th scope=row>{escape(e.name)}<br><small>{escape(e.title)}</small></th>"
        + "".join(f"<td>{counts[e.name][s] or ''}</td>" for s in STATUSES)
        + "</tr>"
        for e in asked
    )
    parts = []
    for student in students:
        own = [g for g in grades if g.student == student]
        passed = sum(g.status == "passed" for g in own)
        items = "".join(
            f'<li class="{g.status.split()[0]}"><strong><span aria-hidden=true>{STATUSES[g.status]}</span> '
            f"{escape(g.exercise)}: {g.status}</strong> {_code(g.message)}"
            f"{' <em>(verdict of the submission itself)</em>' if g.inside else ''}"
            f"<br><small>{escape(_printable(g.file))}</small></li>"
            for g in own
        )
        name = escape(_printable(student))
        parts.append(f"<details><summary>{name}: {passed} of {len(own)} passed</summary><ul>{items}</ul></details>")
    note = f'<p class="{"note" if isolated else "warn"}">{escape(about)}</p>'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Grades</title>{_STYLE}</head><body><main>'
        f"<h1>Grades: {len(students)} students, {len(asked)} exercises</h1>{note}"
        f'<h2>Exercises</h2><div class="wide" tabindex=0 role=region aria-label="Results of each exercise"><table>'
        f"<thead><tr><th scope=col>exercise</th>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        f"{''.join(_messages(e.name, grades) for e in asked)}<h2>Students</h2>{''.join(parts)}</main></body></html>\n"
    )


def _messages(exercise: str, grades: list) -> str:
    """What went wrong in one exercise, the most frequent first, each with the students it concerns."""
    students: dict[tuple[str, str], list[str]] = {}
    for g in grades:
        if g.exercise == exercise and g.status != "passed":
            students.setdefault((g.status, g.message), []).append(g.student)
    if not students:
        return ""
    items = "".join(
        f"<li><strong>{len(who)} {status}</strong> {_code(message)}"
        f"<br><small>{escape(_printable(', '.join(who)))}</small></li>"
        for (status, message), who in sorted(students.items(), key=lambda item: (-len(item[1]), item[0]))
    )
    return f"<details><summary>{escape(exercise)}: what went wrong</summary><ul>{items}</ul></details>"


def _code(text: str) -> str:
    pieces = _printable(text).split("`")
    return "".join(f"<code>{escape(t)}</code>" if i % 2 else escape(t) for i, t in enumerate(pieces))


def _printable(text: str) -> str:
    """Without control characters and without marks that turn the direction of a line."""
    return "".join(c if c.isprintable() or c in "\n " else "\N{REPLACEMENT CHARACTER}" for c in text)


_STYLE = """<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'"><style>
:root { color-scheme: light dark; --line: #767676; --good: #1b7a43; --bad: #b3261e; --late: #8a5300; --card: #f4f4f4 }
@media (prefers-color-scheme: dark) {
  :root { --line: #8f8f8f; --good: #6fd397; --bad: #ff9d94; --late: #f0b35c; --card: #262626 }
}
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 }
main { max-width: 60rem; margin: auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem }
.wide { overflow-x: auto } table { border-collapse: collapse; overflow-wrap: normal }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right }
tbody th, thead th:first-child { text-align: left; font-weight: 600 }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem }
summary { cursor: pointer; font-weight: 600 } ul { list-style: none; padding: 0 } li { margin: .7rem 0 }
li.passed strong { color: var(--good) } li.failed strong, li.broken strong { color: var(--bad) }
li.timed strong, li.missing strong { color: var(--late) }
code { background: var(--card); padding: 0 .2rem }
.note, .warn { border-left: 4px solid var(--line); padding-left: .8rem }
.warn { border-color: var(--bad); font-weight: 600 }
@media (max-width: 30rem) { table { font-size: .8rem } th, td { padding: .3rem } }
@media print { details:not([open]) > * { display: block } }
</style>"""
