"""Build the book.

python book/build.py           write the HTML to book/_build/html (needs npm once, for MathJax and mermaid)
python book/build.py --pdf     that, and print it into book/_build/sftlab.pdf (needs a Chromium)
python book/build.py --tables  write the chapter tables of both READMEs, the bibliography, the formulas' index
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

BOOK = Path(__file__).resolve().parent
sys.path.insert(0, str(BOOK))  # for tests, which run this file from elsewhere
import bibliography  # noqa: E402

ROOT = BOOK.parent
NOTEBOOKS = ROOT / "notebooks"
HTML = BOOK / "_build" / "html"
VENDOR = BOOK / "_static" / "vendor"
# What the book needs of the npm packages: pattern below node_modules -> folder below _static/vendor.
VENDORED = {
    "mathjax/es5/tex-svg-full.js": "mathjax",
    "mathjax/LICENSE": "mathjax",
    "mermaid/dist/mermaid.esm.min.mjs": "mermaid",
    "mermaid/dist/chunks/mermaid.esm.min/*.mjs": "mermaid/chunks/mermaid.esm.min",
    "mermaid/LICENSE": "mermaid",
}


def read_chapter(path: Path) -> dict:
    """Return title, promise and facts (level, minutes) from the first Markdown cells of an executed notebook.

    Raises SystemExit when the notebook is not valid JSON, has no H1 or has a code cell that was not executed.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        sys.exit(f"{path.name} is not a notebook: {error!r}")
    for number, cell in enumerate(cells):
        skipped = "nbval-skip" in cell.get("metadata", {}).get("tags", [])
        code = cell["cell_type"] == "code" and "".join(cell["source"]).strip()
        if code and not skipped and not cell.get("execution_count"):
            sys.exit(f"{path.name}: cell {number} was not executed. Run `make notebooks`, then build the book again.")
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    if not heading:
        sys.exit(f"{path.name}: no Markdown cell starts with a title (`# Title`).")
    # The table adds the number itself. A letter counts as one only before a mark: "A real model" keeps its article.
    title = re.sub(r"^((Chapter|Appendix)\s+)?(\d\d\b|[A-D](?=[.:]))[\s.:·–-]*", "", heading[1].strip())
    intro = re.split(r"^#+ ", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0].strip()
    intro = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", intro).replace("|", "\\|")  # links become their text
    promise = " ".join(re.split(r"\n\s*\n", intro)[0].split())
    promise = re.split(r"(?<=[.!?])[*_]*\s+(?=[*_]*[A-Z])", promise)[0].strip("*_ ")
    level = re.search(r"\b(beginner|easy|intermediate|medium|advanced|hard)\b", intro, re.IGNORECASE)
    minutes = re.search(r"\b\d+(\s*(to|-|–)\s*\d+)?\s*min(utes)?\b", intro)
    facts = ", ".join(found[0].lower() for found in (level, minutes) if found)
    return {"title": title, "learn": promise, "facts": facts}


def read_parts() -> list[dict]:
    """Return the parts of chapters.toml; what the notebooks that exist say themselves replaces the plan."""
    parts = tomllib.loads((BOOK / "chapters.toml").read_text(encoding="utf-8"))["part"]
    found = {path.stem: path for path in NOTEBOOKS.glob("*.ipynb")}
    for chapter in (chapter for part in parts for chapter in part["chapters"]):
        path = found.pop(chapter["slug"], None)
        chapter["number"] = chapter["slug"].split("_")[0]
        chapter["ready"] = path is not None
        if path:
            chapter.update({key: value for key, value in read_chapter(path).items() if value})
    if found:
        sys.exit(f"Not in book/chapters.toml: {', '.join(sorted(found))}. Add a line there.")
    return parts


def landing_table(parts: list[dict]) -> str:
    """One table and one hidden toctree for each part, included by index.md."""
    lines = ["<!-- written by build.py from chapters.toml and the notebooks -->", ""]
    for part in parts:
        lines += [f"### {part['name']}", "", "```{table}", ":class: chapters", ":widths: 30 53 17", ""]
        lines += ["| Chapter | What you learn | Level, time |", "|---|---|---|"]
        toctree = []
        for c in part["chapters"]:
            name = f"{c['number']} {c['title']}"
            if c["ready"]:
                lines.append(f"| [{name}](../notebooks/{c['slug']}.ipynb) | {c['learn']} | {c.get('facts', '')} |")
                toctree.append(f"{name} </notebooks/{c['slug']}>")
            else:
                lines.append(f"| [{name}]{{.planned}} | [{c['learn']}]{{.planned}} | [planned]{{.planned}} |")
        lines.append("```")
        if toctree:
            lines += ["", "```{toctree}", ":hidden:", f":caption: {part['name']}", "", *toctree, "```"]
        lines.append("")
    return "\n".join(lines)


def tables(parts: list[dict]) -> dict[Path, str]:
    """README.md with the chapter table between its markers, notebooks/README.md (JupyterLab's first page), the
    bibliography, and the formula sheet with its index."""
    import formulas

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = readme.split("<!-- chapters: python book/build.py --tables -->\n")
    after = rest.split("<!-- /chapters -->")[1]
    table = chapter_table(parts, "notebooks/")
    first_page = (
        "# SFT Lab: the chapters\n\nClick a chapter to open it, then run its cells from the top "
        "(Run, Run All Cells).\n\n" + chapter_table(parts, "") + "\n"
    )
    mark = "<!-- chapters: python book/build.py --tables -->"
    return {
        ROOT / "README.md": f"{before}{mark}\n{table}\n<!-- /chapters -->{after}",
        NOTEBOOKS / "README.md": first_page,
        bibliography.PAGE: bibliography.page(list(NOTEBOOKS.glob("*.ipynb"))),
        formulas.SHEET: formulas.with_index(formulas.SHEET.read_text(encoding="utf-8")),
    }


def chapter_table(parts: list[dict], folder: str) -> str:
    lines = ["| Chapter | What you learn | State |", "|---|---|---|"]
    for c in (chapter for part in parts for chapter in part["chapters"]):
        name = f"{c['number']} {c['title']}"
        link = f"[{name}]({folder}{c['slug']}.ipynb)" if c["ready"] else name
        lines.append(f"| {link} | {c['learn']} | {'ready' if c['ready'] else 'planned'} |")
    return "\n".join(lines)


def fetch_browser_libraries() -> None:
    """Run npm and copy what the book needs, unless this was done for the same lock file and the same list."""
    wanted = (BOOK / "package-lock.json").read_text(encoding="utf-8") + repr(VENDORED)  # as text: no CRLF difference
    fingerprint = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = VENDOR / ".stamp"
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    # Beside this Python first: the extra `book` brings npm as a Python package. On Windows npm is npm.cmd or npm.exe.
    beside = str(Path(sys.executable).parent)
    npm = shutil.which("npm", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if not npm:
        sys.exit('npm is missing. Run: pip install -e ".[book]", or install Node.js 18 or newer, which brings npm.')
    print("Installing MathJax and mermaid (npm ci) ...", flush=True)
    if subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=BOOK).returncode:
        sys.exit("npm ci failed; its message is above. It needs a package registry the first time.")
    shutil.rmtree(VENDOR, ignore_errors=True)
    for pattern, folder in VENDORED.items():
        files = sorted((BOOK / "node_modules").glob(pattern))
        if not files:
            sys.exit(f"node_modules/{pattern} does not exist: the package has changed, adapt VENDORED in build.py.")
        (VENDOR / folder).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, VENDOR / folder)
    stamp.write_text(fingerprint)  # last, so that an interrupted copy is done again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="write these tables, build nothing")
    parser.add_argument("--pdf", action="store_true", help="print the whole book into one PDF as well")
    asked = parser.parse_args()
    parts = read_parts()
    if asked.tables:
        for path, text in tables(parts).items():
            if path.read_text(encoding="utf-8") != text:  # the newer form of a notebook counts as its source
                path.write_text(text, encoding="utf-8")
        return
    needed = ["sphinx", "myst_nb", "sphinx_book_theme", *(["playwright"] if asked.pdf else [])]
    missing = [name for name in needed if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(f'Not installed: {", ".join(missing)}. Run: pip install -e ".[test,book]"')
    fetch_browser_libraries()
    import exercises  # these two need sftlab and torch: not for --tables
    import samples

    generated = BOOK / "_generated"
    generated.mkdir(exist_ok=True)
    samples.write_if_new(generated / "chapters.md", landing_table(parts))
    samples.write_if_new(generated / "exercises.md", exercises.table(list(NOTEBOOKS.glob("*.ipynb"))))
    samples.write(generated)
    doctrees = HTML.parent / "doctrees"
    options = ["-q", "-W", "--keep-going", "-b", "html", "-c", BOOK, "-d", doctrees]
    if subprocess.run([sys.executable, "-m", "sphinx", *map(str, options), str(ROOT), str(HTML)]).returncode:
        shutil.rmtree(doctrees, ignore_errors=True)  # Sphinx would not repeat the warnings of a page that it has stored
        sys.exit("The book was not built without warnings; they are above.")
    print(f"The book: {HTML / 'index.html'}")
    if asked.pdf:
        import pdf

        pages = pdf.write(HTML, HTML.parent / "sftlab.pdf")
        print(f"The PDF, {pages} pages: {HTML.parent / 'sftlab.pdf'}")
    print(
        f"To read it: {Path(sys.executable).name} -m http.server -d {HTML.relative_to(ROOT)}"
        " (diagrams and search need a server)"
    )


if __name__ == "__main__":
    main()
