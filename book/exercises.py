"""The index of exercises, read from the chapters: called by build.py. Sphinx finds it if a link leads nowhere."""

from pathlib import Path

import nbformat

from sftlab.teach.chapters import fragment
from sftlab.teach.layout import Exercise, exercises, title


def table(notebooks: list[Path]) -> str:
    """A heading and a table for each chapter that has exercises, and a sentence with the totals."""
    chapters = {path.stem: nbformat.read(path, as_version=4) for path in sorted(notebooks)}
    found = {name: exercises(notebook, name) for name, notebook in chapters.items()}
    every = [e for es in found.values() for e in es]
    lines = [f"{len(every)} exercises, {sum(e.minutes for e in every)} minutes altogether."]
    for name, es in found.items():
        if es:
            lines += [
                "",
                f"## {name.split('_')[0]} {title(chapters[name])}",
                "",
                "| Exercise | Level | Minutes |",
                "|---|---|---|",
            ]
            lines += [f"| [{e.number}. {e.title}]({address(name, e)}) | {e.level} | {e.minutes} |" for e in es]
    return "\n".join(lines) + "\n"


def address(chapter: str, e: Exercise) -> str:
    """Where its heading stands."""
    heading = f"Exercise {e.number}: {e.title} ({e.level}, {e.minutes} minutes)"
    return f"../notebooks/{chapter}.ipynb#{fragment(heading)}"
