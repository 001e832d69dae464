"""The formula sheet, notebooks/text/B_formula_sheet.md: its entries, and its index, which is written from them.

An entry is a heading below that of its chapter, the formula, a line `Derived in NN, [section](NN_name.ipynb#...)`, and
a code cell. `python book/build.py --tables` writes the index; the sheet has to be executed again when it changes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from sftlab.teach.chapters import fragment

SHEET = Path(__file__).resolve().parents[1] / "notebooks" / "text" / "B_formula_sheet.md"
LINK = re.compile(r"\]\((\w+)\.ipynb#cell-id=([\w-]+)\)")
INDEX = re.compile(r"(?<=^## Index\n\n).*?(?=\n\n\+\+\+\n)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One formula."""

    chapter: str  # the heading above: `Chapter 03: Losses`
    title: str
    body: str  # everything between its heading and the next
    derived: tuple[tuple[str, str], ...]  # notebook and anchor of the sections that it names


def entries(text: str) -> list[Entry]:
    """The entries of the sheet, in order, from its text form."""
    found, chapter = [], ""
    for part in re.split(r"^(?=#{2,3} )", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if heading.startswith("## "):
            chapter = heading[3:] if heading.startswith("## Chapter ") else ""
        elif heading.startswith("### ") and chapter:
            lines = "\n".join(re.findall(r"^Derived in .+$", body, re.MULTILINE))
            found.append(Entry(chapter, heading[4:], body, tuple(LINK.findall(lines))))
    return found


def with_index(text: str) -> str:
    """The sheet with the index that its entries make."""
    lines, every = ["| Chapter | Formulas |", "|---|---|"], entries(text)
    for chapter in dict.fromkeys(e.chapter for e in every):
        own = [e for e in every if e.chapter == chapter]
        links = ", ".join(f"[{e.title}]({SHEET.stem}.ipynb#{fragment(e.title)})" for e in own)
        name = chapter.removeprefix("Chapter ").replace(":", "", 1)
        lines.append(f"| [{name}]({own[0].derived[0][0]}.ipynb) | {links} |")
    return INDEX.sub(lambda _: "\n".join(lines), text, count=1)
