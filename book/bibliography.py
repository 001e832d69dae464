"""The bibliography: bibliography.md names every work once, and the chapters' "Further reading" agrees with it.

`python book/build.py --tables` adds what a new chapter cites and writes which chapters cite a work. Two different
descriptions of one work are an error, wherever they stand.
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

PAGE = Path(__file__).with_name("bibliography.md")
FORM = "- A. Author, B. Author (2020). *Title.* [arXiv:1234.56789](https://arxiv.org/abs/1234.56789)"
ENTRY = re.compile(
    r"- (?P<authors>[^*]+?) \((?P<year>(?:19|20)\d\d)\)\. \*(?P<title>.+?)\*"
    r"(?P<remark>.*?) \[(?P<label>[^\]]+)\]\((?P<link>https?://\S+)\)"
)
READING = re.compile(r"^## Further reading\s*$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
HEAD = """# Bibliography

<!-- `python book/build.py --tables` adds what chapters cite; mend an entry here and in its chapter -->

Every work that a chapter names under "Further reading", by the family name of the first author, with the chapters that
name it.

"""


def read(text: str, where: str) -> list[dict]:
    """The entries of a list, in its order.

    >>> read(FORM + " The loss.", "here")[0]["link"]
    'https://arxiv.org/abs/1234.56789'
    """
    found = []
    for line in re.findall(r"^- .+$", text, re.MULTILINE):
        entry = ENTRY.match(line)
        if not entry:
            sys.exit(f"{where}: this is no reference:\n  {line}\nwrite it like this:\n  {FORM}")
        found.append(entry.groupdict())
    return found


def cited(notebooks: list[Path]) -> dict[str, list[dict]]:
    """What each chapter names under "Further reading": name of the chapter -> its entries."""
    found = {}
    for path in sorted(notebooks):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        found[path.stem] = [entry for part in READING.findall(text) for entry in read(part, path.stem)]
    return found


def merge(listed: list[dict], chapters: dict[str, list[dict]]) -> list[tuple[dict, list[str]]]:
    """Each work once, in order, with the chapters that cite it.

    Raises SystemExit when two places describe one work differently; the message quotes both.
    """
    works: dict[str, tuple[dict, list[str]]] = {}
    seen: dict[tuple[str, str], tuple[dict, str]] = {}  # by link and by title -> entry, and where it stands
    for where, entry in [
        *(("bibliography.md", entry) for entry in listed),
        *((name, entry) for name, entries in chapters.items() for entry in entries),
    ]:
        link = entry["link"].rstrip("/").lower()
        for key in (("link", link), ("title", re.sub(r"\W+", "", entry["title"]).lower())):
            other, place = seen.setdefault(key, (entry, where))
            if any(other[part] != entry[part] for part in ("authors", "year", "title", "label", "link")):
                sys.exit(
                    f"{place} and {where} describe one work differently; make them the same:\n"
                    f"  {place}: {line(other)}\n  {where}: {line(entry)}"
                )
        _, by = works.setdefault(link, (entry, []))
        if where != "bibliography.md" and where not in by:
            by.append(where)
    return sorted(works.values(), key=lambda work: (family_name(work[0]["authors"]), work[0]["year"], work[0]["title"]))


def family_name(authors: str) -> str:
    """Of the first author, for sorting.

    >>> family_name("É. Müller-Lyer, B. Author")
    'muller-lyer'
    """
    plain = unicodedata.normalize("NFKD", authors.split(",")[0].split()[-1])
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).lower()


def line(entry: dict) -> str:
    """An entry as it stands in the list, without a chapter's remark."""
    return "- {authors} ({year}). *{title}* [{label}]({link})".format(**entry)


def page(notebooks: list[Path]) -> str:
    """What bibliography.md should hold: what it holds, and what the chapters cite."""
    listed = read(PAGE.read_text(encoding="utf-8"), PAGE.name) if PAGE.exists() else []
    lines = []
    for entry, chapters in merge(listed, cited(notebooks)):
        links = ", ".join(f"[{name.split('_')[0]}](../notebooks/{name}.ipynb)" for name in chapters)
        lines.append(line(entry) + (f". In {links}." if links else ""))
    return HEAD + "\n".join(lines) + "\n"
