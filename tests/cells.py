"""Running the cells of a chapter outside of Jupyter, with a few lines exchanged: other data, fewer steps."""

from contextlib import redirect_stdout
from io import StringIO

from sftlab.teach import chapters, layout


def run(name: str, replace: dict[str, str], until: str = "## Exercises") -> dict:
    """Execute the code cells of a chapter up to a heading, in one namespace, which is returned.

    ``replace`` maps lines of the chapter to what stands there instead; each must be there, or the chapter has changed
    and the test with it.
    """
    missing, names = set(replace), {"__name__": "__main__"}
    for cell in chapters.read(name).cells:
        if cell.cell_type == "markdown" and until in cell.source.splitlines():
            break
        if cell.cell_type != "code" or {"exercise", "solution"} & set(layout.tags(cell)):
            continue
        source = cell.source
        for old, new in replace.items():
            if old in source:
                missing.discard(old)
                source = source.replace(old, new)
        with redirect_stdout(StringIO()):
            exec(compile(source, f"{name}: {source.splitlines()[0]}", "exec"), names)
    assert not missing, f"{name} has no longer the lines {missing}"
    return names
