"""How an exercise stands in a chapter, and reading it from there.

    ### Exercise 2: Cross-entropy by hand (medium, 10 minutes)     Markdown: heading and task
    # exercise 00-cross-entropy                                    code, tagged `exercise`: the stub, ending in `...`
    sl.check("00-cross-entropy", cross_entropy)                    code: the check
    <details><summary>Hint 1</summary> ...                         Markdown: two or more hints
    <details><summary>Solution</summary> ...                       Markdown, tagged `solution`: a python block, and why

The chapter is the only place where they are written; tests, releases and grading read them here.
"""

import re
from dataclasses import dataclass

from nbformat import NotebookNode

from ..errors import SftlabError

HEADING = re.compile(r"^### Exercise (\d+): (.+) \((easy|medium|hard), (\d+) minutes\)$", re.MULTILINE)
MARK = re.compile(r"^# exercise (\S+)[ \t]*$", re.MULTILINE)
CHECK = re.compile(r"""^sl\.check\(\s*["']([^"']+)["']\s*,\s*(\w+)\s*\)$""", re.MULTILINE)
HINT = re.compile(r"<details><summary>Hint (\d+)</summary>(.*?)</details>", re.DOTALL)
SOLUTION = re.compile(r"<details>\s*<summary>\s*Solution.*?</details>[ \t]*\n?", re.DOTALL | re.IGNORECASE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter; the text parts are as they stand there."""

    name: str
    number: int
    title: str
    level: str
    minutes: int
    task: str
    stub: str
    answer: str  # the name that the check cell hands over
    hints: tuple[str, ...]
    solution: str  # a complete definition
    why: str  # the whole solution cell


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def title(notebook: NotebookNode) -> str:
    """The heading of a chapter."""
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE)[1]


def set_up_imports(notebook: NotebookNode) -> str:
    """The import lines of the first code cell: what a stub and a solution may use."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    return "\n".join(line for line in first.source.splitlines() if line.startswith(("import ", "from ")))


def exercises(notebook: NotebookNode, chapter: str) -> list[Exercise]:
    """The exercises of a chapter, in order.

    Raises:
        SftlabError: a part is missing or stands twice; the message names chapter, exercise and part.
    """
    groups: list[list[NotebookNode]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^#{1,3} ", cell.source, re.MULTILINE):
            if heading := HEADING.search(cell.source):
                groups.append([heading])
            elif re.search(r"^### Exercise", cell.source, re.MULTILINE):
                raise SftlabError(
                    f"{chapter}: write `### Exercise 1: title (easy, 5 minutes)`, not {cell.source[:60]!r}"
                )
            elif groups:
                groups.append([None])
        if groups and groups[-1][0]:
            groups[-1].append(cell)
    found = [_exercise(cells, chapter) for cells in groups if cells[0]]
    if [e.number for e in found] != list(range(1, len(found) + 1)):
        raise SftlabError(f"{chapter}: exercises are numbered {[e.number for e in found]}, expected 1, 2, 3 ...")
    return found


def _exercise(cells: list, chapter: str) -> Exercise:
    heading, *cells = cells
    where = f"{chapter}, exercise {heading[1]}"

    def one(part: str, matching: list):
        if len(matching) != 1:
            raise SftlabError(f"{where}: expected one {part}, found {len(matching)}. See sftlab/teach/layout.py.")
        return matching[0]

    code = [cell for cell in cells if cell.cell_type == "code" and "solution" not in tags(cell)]
    stub = one("code cell tagged `exercise`", [cell for cell in code if "exercise" in tags(cell)])
    mark = MARK.match(stub.source)
    if not mark:
        raise SftlabError(f"{where}: the first line of its stub should be `# exercise NAME`")
    check = one("cell with sl.check(name, answer)", [m for c in code if (m := CHECK.search(c.source))])
    if check[1] != mark[1]:
        raise SftlabError(f"{where}: the stub is {mark[1]!r}, the check {check[1]!r}")
    marked = [cell.source for cell in cells if cell.cell_type == "markdown" and "solution" in tags(cell)]
    solution = one("Markdown cell tagged `solution`", marked)
    if not PYTHON.search(solution):
        raise SftlabError(f"{where}: the solution has no ```python block")
    hints = [
        m for c in cells if c.cell_type == "markdown" and "solution" not in tags(c) for m in HINT.finditer(c.source)
    ]
    if [m[1] for m in hints] != [str(i + 1) for i in range(len(hints))]:
        raise SftlabError(f"{where}: hints are numbered {[m[1] for m in hints]}, expected 1, 2 ...")
    task = cells[0].source[heading.end() :].strip()
    facts = (int(heading[1]), heading[2], heading[3], int(heading[4]))
    texts = tuple(m[2].strip() for m in hints)
    return Exercise(mark[1], *facts, task, stub.source, check[2], texts, PYTHON.search(solution)[1], solution)
