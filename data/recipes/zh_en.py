"""From the written sentence pairs to the data set `zh_en`: python data/recipes/zh_en.py

Reads data/zh_en/written/{general,cooking}/*.tsv (Chinese, English, manner), checks every row, and writes CSV files and
asset.json with their sha256. The same input gives the same bytes. The column ``origin`` says ``written`` of sentences
that were written for the course, ``grammar`` of those derived from data/zh_en/grammar/ (see zh_en_grammar.py), and
``variation`` of written ones in which a word was exchanged for another (see zh_en_variations.py).

- general/{train,val,test}.csv, cooking/{train,val,test}.csv: the written pairs, every file of written/ in every split
  as evenly as the numbers allow; training has grammar rows and variations of its own rows after them.
- general/compositions.csv, cooking/compositions.csv: grammar rows with a verb and a noun (the column ``pair``) that
  stand together in no training row of their domain, though each stands in some.

Grammar and variations make more rows than are stored: data/recipes/translator.py pretrains on many more.
"""

import csv
import hashlib
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from zh_en_grammar import Grammar
from zh_en_variations import Variations

FOLDER = Path(__file__).resolve().parents[1] / "zh_en"
COLUMNS = ["zh", "en", "manner", "origin"]
MANNERS = ("plain", "spoken", "formal", "note")
SIZES = {"general": {"val": 150, "test": 250}, "cooking": {"val": 75, "test": 150}}
MADE = {"general": {"grammar": 5000, "variation": 3000}, "cooking": {"grammar": 900, "variation": 600}}  # of training
FILES = {"general": ("words.txt", "patterns.txt"), "cooking": ("cooking.txt",)}
PAIRED = {"general": ("verb", "got", "ba"), "cooking": ("cut", "cook", "dose")}  # sections whose pairs are held out
COMPOSITIONS = 250
HELD_OUT = 0.15  # share of the pairs that training must not see
SEED = 2026


@cache
def read() -> list[dict]:
    """All written rows, or one error that lists every bad line and every near-duplicate."""
    rows, problems = [], []
    for path in sorted((FOLDER / "written").rglob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            cells, where = line.split("\t"), f"{path.parent.name}/{path.name}:{number}"
            if len(cells) != 3:
                problems.append(f"{where}: {len(cells)} columns instead of 3")
                continue
            problems += [f"{where}: {what}" for what in _problems(*cells)]
            rows.append(
                dict(zip(COLUMNS, [*cells, "written"], strict=True)) | {"file": path.parent.name + "/" + path.stem}
            )
    for a, b in near_duplicates([(row["zh"], row["en"]) for row in rows]):
        problems.append(f"too similar: {rows[a]['en']!r} and {rows[b]['en']!r}")
    if problems:
        sys.exit("\n".join(problems))
    return rows


def _problems(zh: str, en: str, manner: str) -> Iterator[str]:
    """What is wrong with the form of a pair."""
    words, characters = len(en.split()), len(re.findall(r"[一-鿿0-9]", zh))
    if manner not in MANNERS:
        yield f"unknown manner {manner!r}"
    if not en.isascii() or en != " ".join(en.split()):
        yield "English: not plain ASCII with single spaces"
    if not re.search(r"[一-鿿]", zh) or re.search(r"[A-Za-z\s,;:!?\"'()]|\.$", zh):
        yield "Chinese: Latin letters, spaces or half-width punctuation"
    if not 2 <= words <= 20 or not 2 <= characters <= 30:
        yield f"{words} English words (2 to 20) and {characters} Chinese characters (2 to 30)"


@cache
def bags(zh: str, en: str) -> tuple[frozenset, frozenset]:
    """The different words of the English and the different pairs of neighbours of the Chinese sentence."""
    return frozenset(re.findall(r"[a-z0-9']+", en.lower())), frozenset(zh[i : i + 2] for i in range(len(zh) - 1))


def alike(a: tuple, b: tuple) -> bool:
    """Whether two pairs share more than 0.65 of their English words or 0.6 of their Chinese bigrams (Jaccard)."""
    return any(len(x & y) > limit * len(x | y) for x, y, limit in zip(bags(*a), bags(*b), (0.65, 0.6), strict=True))


def near_duplicates(pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Numbers of pairs that are alike, or that have one side in common."""
    groups: dict[object, list[int]] = defaultdict(list)
    for i, (zh, en) in enumerate(pairs):
        for feature in {zh, en.lower(), *bags(zh, en)[1]}:
            groups[feature].append(i)
    candidates = {pair for group in groups.values() if len(group) < 80 for pair in combinations(group, 2)}
    same = {pair for i, (zh, en) in enumerate(pairs) for f in (zh, en.lower()) for pair in combinations(groups[f], 2)}
    return sorted(same | {(a, b) for a, b in candidates if alike(pairs[a], pairs[b])})


def split(domain: str) -> dict[str, list[dict]]:
    """The written rows: test, val and train, drawn file by file, so that each topic has its share of each."""
    rng, rows, out = np.random.default_rng(SEED), read(), {"train": [], "val": [], "test": []}
    files = sorted({row["file"] for row in rows if row["file"].startswith(domain)})
    for number, file in enumerate(files):
        group = [row for row in rows if row["file"] == file]
        group = [group[i] for i in rng.permutation(len(group))]
        for name, size in SIZES[domain].items():
            take = size * (number + 1) // len(files) - size * number // len(files)
            out[name] += group[:take]
            group = group[take:]
        out["train"] += group
    return {name: [part[i] for i in rng.permutation(len(part))] for name, part in out.items()}


class Domain:
    """A grammar, the pairs that are held out of its training rows, and the written rows."""

    def __init__(self, name: str):
        self.name, self.written = name, split(name)
        self.grammar = Grammar([FOLDER / "grammar" / file for file in FILES[name]])
        self.held_out = self._held_out()
        self.apart = [(row["zh"], row["en"]) for part in ("val", "test") for row in self.written[part]]
        self.by_bigram: dict[str, list[int]] = defaultdict(list)
        for i, pair in enumerate(self.apart):
            for bigram in bags(*pair)[1]:
                self.by_bigram[bigram].append(i)

    def _held_out(self) -> dict[str, set[str]]:
        """Noun -> verbs that training never sees in one sentence with it. Nouns of one character are left alone: they
        are part of other words."""
        rng, out = np.random.default_rng(SEED), defaultdict(set)
        texts = [row["zh"] for row in self.written["train"]]
        for verb, noun in sorted({pair for section in PAIRED[self.name] for pair in self.grammar.pairs(section)}):
            drawn = rng.random() < HELD_OUT
            if drawn and len(noun) > 1 and not any(verb in text and noun in text for text in texts):
                out[noun].add(verb)
        return dict(out)

    def held(self, zh: str) -> list[tuple[str, str]]:
        """The held-out pairs whose two parts occur in a Chinese sentence, wherever."""
        return [(verb, noun) for noun, verbs in self.held_out.items() if noun in zh for verb in verbs if verb in zh]

    def rows(self, composed: bool = False) -> Iterator[dict]:
        """Grammar rows without end, each once: for training, or ``composed`` of a held-out pair."""
        return self._new(self.grammar.sentence, composed, np.random.default_rng([SEED, composed]), "grammar")

    def variations(self) -> Iterator[dict]:
        """Written training rows without end in which a word or more was exchanged for another one of its kind."""
        source = Variations(self.written["train"], self.grammar)
        return self._new(source.sentence, False, np.random.default_rng([SEED, 2]), "variation")

    def _new(self, sentence, composed: bool, rng, origin: str) -> Iterator[dict]:
        """What ``sentence(rng)`` gives, each once, and none that is like a written row of val or test."""
        seen = {row[side] for part in self.written.values() for row in part for side in ("zh", "en")}
        while True:
            zh, en, made = sentence(rng)
            held = [f"{verb}+{noun}" for verb, noun in made if verb in self.held_out.get(noun, ())]
            if zh in seen or en in seen or bool(held) != composed or (not composed and self.held(zh)):
                continue
            if any(True for _ in _problems(zh, en, "plain")):
                continue
            near = {i for bigram in bags(zh, en)[1] for i in self.by_bigram.get(bigram, ())}
            if not any(alike((zh, en), self.apart[i]) for i in near):
                seen |= {zh, en}
                yield {"zh": zh, "en": en, "manner": "plain", "origin": origin, "pair": " ".join(held)}

    def training(self) -> list[dict]:
        """Written rows, then the stored ones of the grammar, then the stored variations."""
        made, rows = {"grammar": self.rows(), "variation": self.variations()}, list(self.written["train"])
        seen = {row[side] for row in rows for side in ("zh", "en")}
        for kind, n in MADE[self.name].items():
            # A variation may be a sentence of the grammar.
            fresh = (row for row in made[kind] if not seen & {row["zh"], row["en"]})
            own = [next(fresh) for _ in range(n)]
            rows, seen = rows + own, seen | {row[side] for row in own for side in ("zh", "en")}
        return rows

    def compositions(self, training: list[dict]) -> list[dict]:
        """Rows with a held-out pair of which both parts occur in training; no pair in more than two of them."""
        known, rows, used = "\n".join(row["zh"] for row in training), [], defaultdict(int)
        for row in self.rows(composed=True):
            parts = [part for pair in row["pair"].split() for part in pair.split("+")]
            if all(part in known for part in parts) and used[row["pair"]] < 2:
                used[row["pair"]] += 1
                rows.append(row)
            if len(rows) == COMPOSITIONS:
                return rows


def write(folder: Path = FOLDER) -> None:
    """All CSV files of both domains and asset.json, into ``folder``."""
    begin, digests, counts = time.perf_counter(), {}, {}
    for name in SIZES:
        domain = Domain(name)
        training = domain.training()
        parts = domain.written | {"train": training, "compositions": domain.compositions(training)}
        for part, rows in parts.items():
            path = folder / name / f"{part}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = COLUMNS + ["pair"] * (part == "compositions")
            with open(path, "w", encoding="utf-8", newline="") as f:
                writer = csv.DictWriter(f, columns, extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            digests[f"{name}/{part}.csv"] = hashlib.sha256(path.read_bytes()).hexdigest()
            counts[f"{name}/{part}"] = len(rows)
    facts = {
        "source": "zh", "target": "en", "splits": counts, "made": MADE,
        "recipe": "python data/recipes/zh_en.py",
    }  # fmt: skip
    about = {"name": "zh_en", "kind": "data set", "title": "Chinese-English sentence pairs: everyday life, and cooking"}
    text = json.dumps(about | {"facts": facts, "files": digests}, indent=2, ensure_ascii=False)
    (folder / "asset.json").write_text(text + "\n", encoding="utf-8")
    print(f"{sum(counts.values()):,} rows in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    write()
