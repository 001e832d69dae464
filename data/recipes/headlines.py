"""From the written sentences to the data sets `headlines` and `reviews`: python data/recipes/headlines.py

Reads data/*/written/ (text, label, topic, trait), checks every row, and writes CSV files and asset.json with their
sha256. The same input gives the same bytes. 800 sentences for training and 200 for validation are drawn from
written/*.tsv, each class and topic in both. The 200 of the test split are those in written/test/: they were written
after settings had been tuned on the others, so that their score is that of sentences nobody has tuned on.
"""

import csv
import hashlib
import json
import random
import re
import sys
from itertools import combinations
from pathlib import Path

DATA = Path(__file__).resolve().parents[1]
LABELS = ["negative", "neutral", "positive"]
TRAITS = ["plain", "negation", "irony", "mixed", "numbers"]
COLUMNS = ["text", "label", "topic", "trait"]
PER_CELL = 40
SPLITS = {"train": 800, "val": 200, "test": 200}
SEED = 2026


def read(folder: Path) -> list[dict]:
    """All written rows, or one error that lists every bad line."""
    rows, problems = [], []
    for path in sorted(folder.rglob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            cells = line.split("\t")
            where = f"{path.name}:{number}"
            if len(cells) != 4:
                problems.append(f"{where}: {len(cells)} columns instead of 4")
                continue
            row = dict(zip(COLUMNS, cells, strict=True))
            fresh = path.parent.name == "test"
            if row["label"] not in LABELS or row["trait"] not in TRAITS or not (fresh or row["topic"] == path.stem):
                problems.append(f"{where}: unknown label, trait or topic: {cells[1:]}")
            if not row["text"].isascii() or row["text"] != " ".join(row["text"].split()):
                problems.append(f"{where}: not plain ASCII with single spaces")
            rows.append({**row, "fresh": fresh})
    for a, b in near_duplicates([row["text"] for row in rows]):
        problems.append(f"too similar: {rows[a]['text']!r} and {rows[b]['text']!r}")
    if problems:
        sys.exit("\n".join(problems))
    return rows


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def near_duplicates(texts: list[str], run: int = 5, overlap: float = 0.5) -> list[tuple[int, int]]:
    """Pairs that share a run of ``run`` words, or more than ``overlap`` of their different words (Jaccard)."""
    runs: dict[tuple, set[int]] = {}
    bags = [set(words(text)) for text in texts]
    for i, text in enumerate(texts):
        w = words(text)
        for start in range(len(w) - run + 1):
            runs.setdefault(tuple(w[start : start + run]), set()).add(i)
    pairs = {pair for group in runs.values() for pair in combinations(sorted(group), 2)}
    by_word: dict[str, list[int]] = {}
    for i, bag in enumerate(bags):
        for word in bag:
            by_word.setdefault(word, []).append(i)
    candidates = {pair for group in by_word.values() if len(group) < 60 for pair in combinations(group, 2)}
    for a, b in candidates:
        if len(bags[a] & bags[b]) > overlap * len(bags[a] | bags[b]):
            pairs.add((a, b))
    return sorted(pairs)


def split(rows: list[dict]) -> dict[str, list[dict]]:
    """800 / 200 / 200: every topic equally often in every split, every class as evenly as the numbers allow."""
    rng = random.Random(SEED)
    out: dict[str, list[dict]] = {name: [] for name in SPLITS}
    out["test"] = [row for row in rows if row["fresh"]]
    rows = [row for row in rows if not row["fresh"]]
    for t, topic in enumerate(sorted({row["topic"] for row in rows})):
        for c, label in enumerate(LABELS):
            cell = [row for row in rows if row["topic"] == topic and row["label"] == label]
            rng.shuffle(cell)
            # Hard ones last: the spare rows are taken from them, so that about a fifth of the set is hard; and
            # every sixth row of this order goes to validation, so that both splits are equally hard.
            cell.sort(key=lambda row: row["trait"] != "plain")
            cell = cell[:PER_CELL]
            # 20 validation rows per topic over three classes: 7, 7, 6, the 6 wandering from topic to topic.
            val = 6 if (t + c) % 3 == 0 else 7
            spare = 6 if (t + c) % 3 == 1 else 7
            first, second = (0, 3) if (t + c) % 2 else (3, 0)
            held = cell[first::6][:val]
            # The rows of a first test split, scored while settings were tuned: spent, so no split has them now.
            spent = cell[second::6][:spare]
            out["val"] += held
            out["train"] += [row for row in cell if row not in held and row not in spent]
    for name, part in out.items():
        rng.shuffle(part)
        if len(part) != SPLITS[name]:
            sys.exit(f"{name}: {len(part)} rows instead of {SPLITS[name]}")
    return out


def write(folder: Path, title: str, parts: dict[str, list[dict]]) -> None:
    digests = {}
    for name, rows in parts.items():
        path = folder / f"{name}.csv"
        with open(path, "w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {"name": folder.name, "kind": "data set", "title": title, "files": digests}
    (folder / "asset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    headlines = read(DATA / "headlines" / "written")
    write(DATA / "headlines", "1,200 news sentences: three sentiments, ten topics", split(headlines))
    reviews = read(DATA / "reviews" / "written")
    random.Random(SEED).shuffle(reviews)
    write(DATA / "reviews", "150 product and film sentences: the out-of-domain test", {"reviews": reviews})


if __name__ == "__main__":
    main()
