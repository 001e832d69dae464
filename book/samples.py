"""The page that shows samples of every bundled data set, and one page for each card: called by build.py.

Drawn anew from the files at every build, so that the page cannot show what is no longer there.
"""

import json
import random
from html import escape
from pathlib import Path

import sftlab as sl
from sftlab.sets.catalog import TASKS

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
COLUMNS, ROWS = 8, 2  # pictures of a sheet
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"]  # Okabe and Ito (2008)
LINES = ["-", "--", ":", "-."]


def write(folder: Path) -> None:
    """Write ``data.md``, ``samples/*.png`` and ``cards/*.md`` into ``folder``."""
    for part in ("samples", "cards"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cards = sorted(path.parent.name for path in DATA.glob("*/card.md"))
    for name in cards:
        write_if_new(folder / "cards" / f"{name}.md", (DATA / name / "card.md").read_text(encoding="utf-8"))
    lines = ["```{toctree}", ":hidden:", "", *(f"_generated/cards/{name}" for name in cards), "```", ""]
    lines += ["| card | kind | what it is | files |", "|---|---|---|---|"]
    for name in cards:
        lines.append(f"| [{name}](_generated/cards/{name}.md) | {' | '.join(_about(name))} |")
    lines.append("")
    for name in TASKS:
        lines += [f"## `{name}`", "", *samples(name, folder), ""]
    write_if_new(folder / "data.md", "\n".join(lines))


def _about(name: str) -> tuple[str, str, str]:
    """Kind, title and size of what a card describes; what ships inside a Python package has no files here."""
    path = DATA / name / "asset.json"
    if not path.exists():
        title = (DATA / name / "card.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# Data card: ")
        return "data set", title, "in a Python package"
    about = json.loads(path.read_text(encoding="utf-8"))
    files = [DATA / name / file for file in about["files"]]
    size = sum(file.stat().st_size for file in files if file.exists()) / 2**20
    return about["kind"], about["title"], f"{size:.1f} MB" if size else "in a Python package"


def write_if_new(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # an untouched file is not read again by Sphinx
        path.write_text(text, encoding="utf-8")


def samples(name: str, folder: Path) -> list[str]:
    """Markdown lines: what kind of task it is, how many examples each split has, and some of them."""
    task = sl.task(name)
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in task.splits.items())
    labels = f"; labels: {', '.join(map(str, task.label_names))}" if task.label_names else ""
    lines = [f"{task.kind[0].upper()}{task.kind[1:]}. Examples: {counts}{labels}.", ""]
    first = next(iter(task.splits["train"]))
    if any(key in first for key in ("image", "input")):
        for split, rows in task.splits.items():
            if split == "train" or split not in ("val", "test"):
                path = folder / "samples" / f"{name}-{split}.png"
                sheet(task, rows, path)
                alt = f"Pictures of the split {split} of {name} with their labels, boxes or outlines of masks"
                lines += [f"**{split}**", "", f"![{alt}](_generated/samples/{path.name})", ""]
        return lines
    columns = ["sentence"] * ("tags" in first) + [key for key in first if isinstance(first[key], str)]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in list(task.splits["train"])[:8]:
        cells = [tagged(row) if key == "sentence" else str(row[key]) for key in columns]
        lines.append("| " + " | ".join(escape(cell, quote=False).replace("|", "\\|") for cell in cells) + " |")
    return lines


def tagged(row: dict) -> str:
    """A sentence with its entities in brackets: ``[Clara Venn: PER] left``.

    >>> tagged({"words": ["Clara", "Venn", "left"], "tags": ["B-PER", "I-PER", "O"]})
    '[Clara Venn: PER] left'
    """
    words, open_kind = [], None
    for word, tag in zip(row["words"], row["tags"], strict=True):
        if open_kind and not tag.startswith("I-"):
            words[-1] += f": {open_kind}]"
            open_kind = None
        if tag.startswith("B-"):
            word, open_kind = f"[{word}", tag[2:]
        words.append(word)
    return " ".join(words) + (f": {open_kind}]" if open_kind else "")


def sheet(task, rows: list[dict], path: Path) -> None:
    """Pictures side by side, with their label, their boxes or the outlines of their mask."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = random.Random(0).sample(list(rows), min(COLUMNS * ROWS, len(rows)))
    figure, all_axes = plt.subplots(ROWS, COLUMNS, figsize=(12, 3.6), dpi=100)
    for axes in all_axes.flat:
        axes.axis("off")
    names = [str(label) for label in task.label_names if label != "background"]
    for axes, row in zip(all_axes.flat, chosen, strict=False):
        image = row["image"] if "image" in row else row["input"]
        axes.imshow(image.expand(3, -1, -1).movedim(0, -1).numpy(), interpolation="nearest")
        if "mask" in row:
            for number in range(1, len(task.label_names)):
                if bool((row["mask"] == number).any()):
                    colour = COLOURS[(number - 1) % len(COLOURS)]
                    axes.contour((row["mask"] == number).numpy(), [0.5], colors=[colour], linewidths=1)
        for (x1, y1, x2, y2), label in zip(row.get("boxes", ()), row.get("labels", ()), strict=False):
            number = names.index(label) if label in names else int(label) - 1
            style = {"edgecolor": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}
            axes.add_patch(plt.Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, linewidth=1.2, **style))
        if "label" in row:
            axes.set_title(row["label"], fontsize=9)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.93 if "label" in chosen[0] else 0.995, 0.03, 0.12)
    figure.patch.set_facecolor("white")
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    write(Path(__file__).resolve().parent / "_generated")
