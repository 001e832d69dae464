"""``book/benchmarks.md`` and ``benchmarks.json`` beside it: written from measurements, never by hand."""

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..table import Table
from . import describe_machine

NAME = "benchmarks"
PEERS = ("torchvision", "accelerate", "lightning", "fastai")

INTRO = """# Benchmarks

What sftlab's training costs and whether it is right, against the loop written by hand and today's libraries. This
page is written by the commands below (`--write book`) from what they measured, with the figures in
[benchmarks.json](benchmarks.json); nothing is typed in. A figure counts for the machine named below it. The other
libraries are the extra `bench`: `pip install -e ".[bench]"`.
"""

PARTS = {
    "peers": """## Equal weights, equal batches, equal settings

`sftlab bench peers` runs the same training in all libraries at once in one process, where they take turns, a step each
(on a GPU a run each), so that what else the machine does meets all of them alike: the same initial weights, the same
batches in the same order, the same AdamW groups, schedule and clipping, no dropout, nothing logged or saved. The final
weights are compared with those of the loop by hand, buffers included; where they differ by more than 0.00001 the row
is void, because another training was timed.

- **ms/step**: median over the steps; a step lasts from one forward call to the next.
- **ratio**: time of a step over the time of the same step by hand; median over all steps of all rounds, and the
  interval in which it lies with 95 % confidence, from the order of the values.
- **over sftlab**: the same, to sftlab's step.
- **samples/s**: all steps, with what happens between epochs.
- **peak memory**: growth over the loaded model and data, the library's own import included, in a process of its own.
- **first step**: seconds from the call, import of the library included, to the end of the first step; same process.
- **lines**: what the user writes, helpers for parameter groups and schedule included where they are needed.

Where a trunk is frozen, sftlab runs without its cache here, so that loops are compared; and libraries that leave a
frozen BatchNorm in train mode have a second row, in which their user keeps it in eval mode in the documented way.
""",
    "best": """## Each library at its best

`sftlab bench best` runs whole trainings with a frozen trunk as users of each library run them: sftlab computes the
frozen part once per sample, the Trainer of transformers has its own loader and groups by length (a second row has its
default order, which does not), the others get batches grouped by length. Seconds without start-up are of a process in
which the library ran before; with start-up, of a fresh one, its import included. The accuracy on the validation split
is taken after the run and not timed; a row whose accuracy is more than two standard errors from sftlab's says "not
equal": its time is of another result.
""",
    "exact": """## Who is exact

`sftlab bench exact` puts the failures of trainers (numbers as in the failure zoo) to every library, in its natural use,
on nets that train in milliseconds. A cell is "exact", the measured deviation, what is raised, or "no such feature".
""",
}
PENDING = "Not measured yet: run the command with `--write book`.\n"


@dataclass
class Part:
    """One part of the page, as a command of the bench gives it."""

    name: str
    tables: list[Table]
    figures: dict

    def __str__(self) -> str:
        return "\n\n".join([*map(str, self.tables), machine()])

    def write(self, folder: str) -> None:
        """Put the part into the page in ``folder``."""
        publish(folder, self.name, self.tables, self.figures)


def publish(folder: str, part: str, tables: list[Table], figures: dict) -> None:
    """Put one part's tables and figures into ``folder``/benchmarks.json and write the page again from all parts."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    stored = place / f"{NAME}.json"
    parts = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    parts[part] = {"machine": machine(), "tables": [vars(table) for table in tables], "figures": figures}
    stored.write_text(json.dumps(parts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (place / f"{NAME}.md").write_text(page(parts), encoding="utf-8")


def page(parts: dict) -> str:
    """The page, from the stored parts."""
    out = [INTRO]
    for name, text in PARTS.items():
        out.append(text)
        part = parts.get(name)
        out += [markdown(Table(**table)) for table in part["tables"]] if part else [PENDING]
        out += [f"Measured on {part['machine']}.\n"] if part else []
    return "\n".join(out)


def markdown(table: Table) -> str:
    """A table of the book, its caption as a heading.

    >>> print(markdown(Table(["a"], [["x | y"]], caption="C", note="n")))
    ### C
    <BLANKLINE>
    | a |
    | --- |
    | x \\| y |
    <BLANKLINE>
    n
    <BLANKLINE>
    """
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    head = [f"### {table.caption}", ""] if table.caption else []
    return "\n".join([*head, *lines, "", *([table.note, ""] if table.note else [])])


def machine() -> str:
    """Hardware and versions, those of the peers included."""
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return f"{describe_machine()}, {', '.join(found)}"
