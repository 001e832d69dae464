"""The text `stories` and the data set `instructions`: python data/recipes/stories.py

Text: stories from a grammar (story_plots.py) and passages of facts, numbers and letters (story_facts.py), one document
a line. Instructions: questions with short answers about the same knowledge, split by item, so that what a test question
asks for is in no training question. The same seeds give the same bytes.
"""

import hashlib
import json
import random
from pathlib import Path

import story_facts as facts
import story_plots as plots

DATA = Path(__file__).resolve().parents[1]
DOCUMENTS = {"train": 36_000, "val": 300, "test": 300}
SEEDS = {"train": 1, "val": 2, "test": 3}
STORIES = 0.35  # of the documents
PAIRS = {"train": 110, "val": 10, "test": 20}  # of each kind that fine-tuning asks for
UNSEEN_PAIRS = 40  # of each kind that it never asks for


def documents(seed: int, count: int) -> list[str]:
    """Different documents."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        found[plots.story(rng) if rng.random() < STORIES else facts.passage(rng)] = None
    return list(found)


def text() -> dict[str, list[str]]:
    """Splits that share no document."""
    splits = {name: documents(seed, DOCUMENTS[name]) for name, seed in SEEDS.items()}
    seen = set()
    for name in ("val", "test", "train"):
        splits[name] = [line for line in splits[name] if line not in seen]
        seen.update(splits[name])
    return splits


def instructions() -> dict[str, list[dict]]:
    """``train``, ``val``, ``test`` of the seen kinds and ``unseen`` of the others; an item is in one split only."""
    rng = random.Random(7)
    kinds: dict[str, dict[str, list]] = {}
    seen = set()
    for kind, item, question, answer in facts.questions(rng):
        if question in seen:  # numbers are drawn
            continue
        seen.add(question)
        kinds.setdefault(kind, {}).setdefault(item, []).append({"kind": kind, "question": question, "answer": answer})
    splits = {name: [] for name in (*PAIRS, "unseen")}
    for kind, items in kinds.items():
        names = sorted(items)
        rng.shuffle(names)
        if kind in facts.UNSEEN:
            splits["unseen"] += [rng.choice(items[name]) for name in names[:UNSEEN_PAIRS]]
            continue
        tests, vals = names[: PAIRS["test"]], names[PAIRS["test"] : PAIRS["test"] + PAIRS["val"]]
        rows = [row for name in names[PAIRS["test"] + PAIRS["val"] :] for row in items[name]]
        rng.shuffle(rows)
        splits["train"] += rows[: PAIRS["train"]]
        splits["test"] += [rng.choice(items[name]) for name in tests]
        splits["val"] += [rng.choice(items[name]) for name in vals]
    for name in splits:
        rng.shuffle(splits[name])
    return splits


def write(name: str, title: str, facts_of: dict, files: dict[str, str]) -> None:
    """Files of a data set and asset.json with their sha256."""
    folder = DATA / name
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    digests = {file: hashlib.sha256(content.encode()).hexdigest() for file, content in files.items()}
    about = {"name": name, "kind": "data set", "title": title, "facts": facts_of, "files": digests}
    (folder / "asset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    lines = text()
    sizes = {name: len(rows) for name, rows in lines.items()}
    about = {"size": "one document, 2 to 20 sentences", "splits": sizes, "recipe": "python data/recipes/stories.py"}
    files = {f"{name}.txt": "\n".join(rows) + "\n" for name, rows in lines.items()}
    write("stories", f"{sizes['train']:,} short texts: stories, facts, arithmetic", about, files)
    splits = instructions()
    sizes = {name: len(rows) for name, rows in splits.items()}
    about = {"kinds": len({row["kind"] for rows in splits.values() for row in rows}), "splits": sizes,
             "recipe": "python data/recipes/stories.py"}  # fmt: skip
    files = {f"{name}.jsonl": "".join(json.dumps(row) + "\n" for row in rows) for name, rows in splits.items()}
    write("instructions", f"{sum(sizes.values()):,} questions with short answers", about, files)


if __name__ == "__main__":
    main()
