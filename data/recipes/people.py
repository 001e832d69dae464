"""From the written sentences to the data set `people`: python data/recipes/people.py

Reads data/people/written/*.tsv (sentence with marked names, trait), checks every row, and writes train.conll,
val.conll, test.conll and asset.json. The same input gives the same bytes. Training sentences are those of
written/train_*.tsv; validation and test are drawn from written/test_*.tsv, which share no name with training.
"""

import hashlib
import json
import random
import re
import sys
import time
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from sftlab.sets.people import KINDS, TAGS, TRAITS, words

DATA = Path(__file__).resolve().parents[1]
SIZES = {"train": 715, "val": 108, "test": 230}
SEED = 2026
MARK = re.compile(rf"\[([^\[\]|]+)\|({'|'.join(KINDS)})\]")

# Parts of names that say what a thing is, not which one: allowed on both sides.
GENERIC = set(
    """the of and de la in at for new old north south east west upper lower great royal national united saint st mount
    lake river street road avenue square bridge park island bay valley hill mountain coast sea university college school
    institute academy library museum gallery theatre hospital clinic council ministry department office agency bank
    group company ltd inc corp co son brother partner airline airport station club city town county fc association
    society union party league foundation trust radio television times post news press book record motor food court
    church cathedral hotel inn house hall festival orchestra international mr mrs ms dr professor sir port fort cape
    village district region republic federation state kingdom central first world""".split()
)


def stem(word: str) -> str:
    """Lower case, without diacritics and without a final s: Reefs and Reef, Trần and Tran count as one."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))
    return plain[:-1] if plain.endswith("s") and len(plain) > 3 else plain


GENERIC_STEMS = {stem(word) for word in GENERIC}


def name_stems(row: dict) -> set[str]:
    """What tells the names of a sentence apart from others."""
    found = {stem(word) for name, _ in row["names"] for word in re.findall(r"[^\W\d_]{2,}", name)}
    return found - GENERIC_STEMS


def read(folder: Path) -> list[dict]:
    """All sentences, or one error that lists every bad line."""
    rows, problems = [], []
    for path in sorted(folder.glob("*.tsv")):
        part = path.stem.split("_")[0]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where, cells = f"{path.name}:{number}", line.split("\t")
            if len(cells) != 2:
                problems.append(f"{where}: {len(cells)} columns instead of 2")
                continue
            row = {"where": where, "part": part, "text": MARK.sub(r"\1", cells[0]), "trait": cells[1]}
            row["names"] = MARK.findall(cells[0])
            row["words"], row["tags"], broken = tagged(cells[0])
            problems += [f"{where}: {problem}" for problem in row_problems(row, cells[0]) + broken]
            rows.append(row)
    problems += between(rows)
    if problems:
        sys.exit("\n".join(problems))
    return rows


def row_problems(row: dict, marked: str) -> list[str]:
    """What is wrong with one sentence."""
    found = []
    if row["trait"] not in TRAITS:
        found.append(f"unknown trait {row['trait']!r}")
    if marked != " ".join(marked.split()) or marked != unicodedata.normalize("NFC", marked):
        found.append("spaces that are not single, or text that is not NFC")
    if re.search(r"[\[\]|]", row["text"]):
        found.append(f"broken markup: {marked}")
    if any(name != name.strip() for name, _ in row["names"]):
        found.append("a marked name begins or ends with a space")
    if not 4 <= len(row["text"].split()) <= 40:
        found.append(f"{len(row['text'].split())} words; wanted are 4 to 40")
    return found


def tagged(marked: str) -> tuple[list[str], list[str], list[str]]:
    """Words, tags and problems of a marked sentence. Words are found in the plain text, as a reader's own would be."""
    text, spans, end = "", [], 0
    for mark in MARK.finditer(marked):
        text += marked[end : mark.start()]
        spans.append((len(text), len(text) + len(mark[1]), mark[2]))
        text, end = text + mark[1], mark.end()
    text += marked[end:]
    found, tags, problems, at = words(text), [], [], 0
    for word in found:
        start = text.index(word, at)
        at = start + len(word)
        inside = [span for span in spans if span[0] < at and start < span[1]]
        if any(start < first or last < at for first, last, _ in inside) or len(inside) > 1:
            problems.append(f"a name begins or ends within the word {word!r}")
        tags.append(f"{'B' if start == inside[0][0] else 'I'}-{inside[0][2]}" if inside else "O")
    return found, tags, problems


def between(rows: list[dict]) -> list[str]:
    """Names that training and the rest share; sentences with half of their words, or five words in a row, in common."""
    seen: dict[str, str] = {}
    for row in rows:
        if row["part"] == "train":
            seen.update(dict.fromkeys(name_stems(row) - set(seen), row["where"]))
    problems = [
        f"{row['where']}: part of a name in training too ({seen[word]}): {word}"
        for row in rows
        if row["part"] != "train"
        for word in sorted(name_stems(row) & set(seen))
    ]
    spoken = [re.findall(r"\w+", row["text"].lower()) for row in rows]
    bags = [set(words) for words in spoken]
    runs = [set(zip(*(words[at:] for at in range(5)), strict=False)) for words in spoken]
    for a, b in combinations(range(len(rows)), 2):
        if len(bags[a] & bags[b]) > 0.5 * len(bags[a] | bags[b]) or not runs[a].isdisjoint(runs[b]):
            problems.append(f"{rows[b]['where']}: too similar to {rows[a]['where']}")
    return problems


def divide(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """(val, test): every trait in the same proportion; sentences that share a name stay together."""
    groups: list[tuple[set[str], list[dict]]] = []
    for row in rows:
        stems, members = name_stems(row), [row]
        for group in [group for group in groups if group[0] & stems]:
            stems, members = stems | group[0], group[1] + members
            groups.remove(group)
        groups.append((stems, members))
    share = SIZES["val"] / (SIZES["val"] + SIZES["test"])
    wanted = {trait: round(share * count) for trait, count in Counter(row["trait"] for row in rows).items()}
    wanted["plain"] += SIZES["val"] - sum(wanted.values())
    random.Random(SEED).shuffle(groups)
    groups.sort(key=lambda group: -len(group[1]))  # the large ones while there is room for them
    val = []
    for _, members in groups:
        taken = Counter(row["trait"] for row in val + members)
        if all(taken[trait] <= wanted[trait] for trait in taken):
            val += members
    return val, [row for row in rows if row not in val]


def write(folder: Path, parts: dict[str, list[dict]], started: float) -> None:
    digests = {}
    for name, rows in parts.items():
        blocks = []
        for row in rows:
            pairs = zip(row["words"], row["tags"], strict=True)
            # The tag comes last and the word first, as in CoNLL-2003: readers take these two columns.
            blocks.append("".join(f"{word}\t{row['trait']}\t{tag}\n" for word, tag in pairs))
        path = folder / f"{name}.conll"
        path.write_bytes("\n".join(blocks).encode())
        digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {
        "labels": TAGS,
        "size": "one sentence, 4 to 47 words and signs",
        "splits": {name: len(rows) for name, rows in parts.items()},
        "recipe": "python data/recipes/people.py",
        "seconds": round(time.perf_counter() - started),
    }
    about = {"name": "people", "kind": "data set", "title": "1,053 sentences: people, places, organisations"}
    text = json.dumps({**about, "facts": facts, "files": digests}, indent=2, ensure_ascii=False)
    (folder / "asset.json").write_text(text + "\n", encoding="utf-8")


def main(folder: Path = DATA / "people") -> None:
    started = time.perf_counter()
    rows = read(folder / "written")
    train, rest = ([row for row in rows if (row["part"] == "train") == wanted] for wanted in (True, False))
    val, test = divide(rest)
    parts = {"train": train, "val": val, "test": test}
    for seed, (name, part) in enumerate(parts.items()):
        random.Random(SEED + seed).shuffle(part)
        if len(part) != SIZES[name]:
            sys.exit(f"{name}: {len(part)} sentences instead of {SIZES[name]}")
    write(folder, parts, started)


if __name__ == "__main__":
    main()
