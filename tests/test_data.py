"""The written data sets: counts, balance, variety, no leak between splits, and cards that say what the files say.

``python tests/test_data.py`` writes the numbers of the cards anew.
"""

import csv
import hashlib
import importlib.util
import json
import math
import re
import shutil
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest

from sftlab.sets import headlines
from sftlab.sets.catalog import task

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
FILES = {"train": "headlines", "val": "headlines", "test": "headlines", "reviews": "reviews"}
SIZES = {"train": 800, "val": 200, "test": 200, "reviews": 150}
LABELS = ("negative", "neutral", "positive")
TRAITS = ("plain", "negation", "irony", "mixed", "numbers")
COLUMNS = ["text", "label", "topic", "trait"]


def load_recipe(path: Path):
    """The recipe as a module, from the folder it lies in."""
    spec = importlib.util.spec_from_file_location("headlines_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(split: str) -> list[dict]:
    """Rows, read without the library."""
    with open(DATA / FILES[split] / f"{split}.csv", encoding="ascii", newline="") as f:
        return list(csv.DictReader(f))


RECIPE = load_recipe(DATA / "recipes" / "headlines.py")
SPLITS = {split: read(split) for split in FILES}
NEWS = [row for split in ("train", "val", "test") for row in SPLITS[split]]
EVERY = NEWS + SPLITS["reviews"]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def runs(text: str, length: int) -> set[tuple]:
    found = words(text)
    return {tuple(found[at : at + length]) for at in range(len(found) - length + 1)}


def count(rows: list[dict], column: str) -> Counter:
    return Counter(row[column] for row in rows)


# Form


@pytest.mark.parametrize("split", FILES)
def test_file_is_plain(split):
    """ASCII, LF, one header, four filled cells, single spaces, none at the ends; the labels and traits we know."""
    raw = (DATA / FILES[split] / f"{split}.csv").read_bytes()
    assert raw.isascii() and b"\r" not in raw and raw.endswith(b"\n") and not raw.endswith(b"\n\n")
    assert raw.split(b"\n", 1)[0] == b"text,label,topic,trait"
    for row in SPLITS[split]:
        assert list(row) == COLUMNS
        assert all(cell and cell == " ".join(cell.split()) for cell in row.values()), row
        assert row["label"] in LABELS and row["trait"] in TRAITS
        assert 4 <= len(words(row["text"])) <= 30, row


def test_library_reads_what_the_files_hold():
    """``splits`` gives every row of every file, in order, and the constants of the module are those of the files."""
    assert headlines.splits() == SPLITS
    assert tuple(headlines.SENTIMENTS) == LABELS
    assert headlines.TOPICS == sorted(count(NEWS, "topic"))
    assert set(task("headlines-topic").splits) == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["headlines", "reviews"])
def test_digests_are_those_of_the_files(name):
    """asset.json lists every CSV file of the folder with its sha256."""
    listed = json.loads((DATA / name / "asset.json").read_text(encoding="utf-8"))["files"]
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (DATA / name).glob("*.csv")}
    assert listed == found


# Counts


@pytest.mark.parametrize("split", FILES)
def test_size_and_balance_of_classes(split):
    """800 / 200 / 200 / 150 rows; the classes differ by one row at most."""
    assert len(SPLITS[split]) == SIZES[split]
    classes = count(SPLITS[split], "label")
    assert set(classes) == set(LABELS)
    assert max(classes.values()) - min(classes.values()) <= 1


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_balance_of_topics(split):
    """Ten topics, equally often in every split, and in each the classes differ by one row at most."""
    topics = count(SPLITS[split], "topic")
    assert len(topics) == 10 and set(topics.values()) == {SIZES[split] // 10}
    for topic in topics:
        classes = Counter(row["label"] for row in SPLITS[split] if row["topic"] == topic)
        assert len(classes) == 3 and max(classes.values()) - min(classes.values()) <= 1, (topic, classes)


def test_reviews_are_another_domain():
    """Product and film, 75 each, 25 per class; no topic of the news."""
    assert count(SPLITS["reviews"], "topic") == {"product": 75, "film": 75}
    cells = Counter((row["topic"], row["label"]) for row in SPLITS["reviews"])
    assert set(cells.values()) == {25}


@pytest.mark.parametrize("split", FILES)
def test_hard_cases_are_everywhere(split):
    """Every trait occurs in every split; at least 15 % of the rows are hard; no class is only plain."""
    traits = count(SPLITS[split], "trait")
    assert set(traits) == set(TRAITS)
    assert 1 - traits["plain"] / len(SPLITS[split]) >= 0.15
    for label in LABELS:
        hard = [row["trait"] != "plain" for row in SPLITS[split] if row["label"] == label]
        assert sum(hard) / len(hard) >= 0.10, (split, label)


def test_irony_is_never_neutral():
    """As the cards say: no ironic sentence is neutral, and in the news most are negative."""
    ironic = [row["label"] for row in EVERY if row["trait"] == "irony"]
    assert "neutral" not in ironic
    news = [row["label"] for row in NEWS if row["trait"] == "irony"]
    assert news.count("negative") > len(news) / 2


# No leaks, no templates


def test_recipe_finds_no_near_duplicates():
    """The recipe's own check, over the splits and the reviews together: across them as well as inside."""
    pairs = RECIPE.near_duplicates([row["text"] for row in EVERY])
    assert not pairs, [(EVERY[a]["text"], EVERY[b]["text"]) for a, b in pairs]


def test_recipe_sees_planted_near_duplicates():
    """The check above can fail: a shared run of five words, and the same words in another order."""
    texts = [
        "The ferry left the harbour at noon with nobody aboard",
        "Nobody knew why the ferry left the harbour that week",
        "Noon: with nobody aboard, left the harbour at the ferry",
        "Bakers of Marrow Bay vote on a later start",
    ]
    assert RECIPE.near_duplicates(texts) == [(0, 1), (0, 2)]


@pytest.mark.parametrize(("one", "other"), list(combinations(FILES, 2)))
def test_splits_share_no_run_of_five_words(one, other):
    """Counted here, without the recipe: no five words in a row occur in two splits."""
    there = set().union(*(runs(row["text"], 5) for row in SPLITS[other]))
    shared = [row["text"] for row in SPLITS[one] if runs(row["text"], 5) & there]
    assert not shared


def test_no_two_sentences_look_alike():
    """Counted here on pieces of four letters, which see changed endings and word order: no pair shares 40 % of them."""
    pieces = []
    for row in EVERY:
        text = " ".join(words(row["text"]))
        pieces.append({text[at : at + 4] for at in range(len(text) - 3)})
    having = defaultdict(list)
    for i, found in enumerate(pieces):
        for piece in found:
            having[piece].append(i)
    for i, found in enumerate(pieces):
        shared = Counter(j for piece in found for j in having[piece] if j > i)
        for j, both in shared.items():
            assert both < 0.4 * (len(found) + len(pieces[j]) - both), (EVERY[i]["text"], EVERY[j]["text"])


def test_held_out_sentences_are_not_made_of_training_phrases():
    """Of the three-word runs of validation and test at most 5 % occur in training, of the four-word runs 1 %."""
    for length, bound in ((3, 0.05), (4, 0.01)):
        seen = set().union(*(runs(row["text"], length) for row in SPLITS["train"]))
        asked = [run for split in ("val", "test") for row in SPLITS[split] for run in runs(row["text"], length)]
        assert sum(run in seen for run in asked) / len(asked) <= bound, length


def test_no_template_and_a_rich_vocabulary():
    """No opening of three words occurs more than six times; a quarter of all words are different ones."""
    opening, times = Counter(tuple(words(row["text"])[:3]) for row in NEWS).most_common(1)[0]
    assert times <= 6, opening
    spoken = [word for row in NEWS for word in words(row["text"])]
    assert len(set(spoken)) / len(spoken) >= 0.25


# Not solvable by a trick


def capitals(row: dict) -> int:
    return sum(word[0].isupper() for word in row["text"].split())


ONE_FEATURE = {
    "length in words": lambda row: len(words(row["text"])),
    "length in tens of letters": lambda row: len(row["text"]) // 10,
    "final full stop": lambda row: row["text"].endswith("."),
    "length and final full stop": lambda row: (len(words(row["text"])) // 4, row["text"].endswith(".")),
    "a digit": lambda row: any(c.isdigit() for c in row["text"]),
    "a comma": lambda row: "," in row["text"],
    "a quotation mark": lambda row: "'" in row["text"] or '"' in row["text"],
    "capitals": capitals,
    "topic": lambda row: row["topic"],
    "trait": lambda row: row["trait"],
}


@pytest.mark.parametrize("feature", ONE_FEATURE)
def test_form_does_not_give_the_label_away(feature):
    """The best rule on one outward feature, learned on train, is right on less than 45 % of validation and test."""
    value = ONE_FEATURE[feature]
    seen = defaultdict(Counter)
    for row in SPLITS["train"]:
        seen[value(row)][row["label"]] += 1
    rule = {v: labels.most_common(1)[0][0] for v, labels in seen.items()}
    held_out = SPLITS["val"] + SPLITS["test"]
    assert sum(rule.get(value(row), LABELS[0]) == row["label"] for row in held_out) / len(held_out) < 0.45


def naive_bayes(train: list[dict], test: list[dict]) -> float:
    """Macro-F1 of a bag of words with add-one smoothing; the classes are balanced, so no prior."""
    bags = {label: Counter(w for r in train if r["label"] == label for w in words(r["text"])) for label in LABELS}
    size = len(set().union(*bags.values()))
    total = {label: sum(bag.values()) + size for label, bag in bags.items()}

    def score(row, label):
        return sum(math.log((bags[label][word] + 1) / total[label]) for word in words(row["text"]))

    predicted = [max(LABELS, key=lambda label: score(row, label)) for row in test]
    f1 = []
    for label in LABELS:
        hits = sum(p == label == row["label"] for p, row in zip(predicted, test, strict=True))
        f1.append(2 * hits / (predicted.count(label) + count(test, "label")[label]))
    return sum(f1) / len(f1)


def test_key_words_do_not_solve_it():
    """A bag of words learns much, and stays below the 0.85 that fine-tuning has to reach (tests/test_quality.py)."""
    assert 0.40 < naive_bayes(SPLITS["train"], SPLITS["test"]) < 0.85


# The recipe


@pytest.fixture
def copy(tmp_path):
    """The written sentences and the recipe in a folder of their own: (folder, recipe module)."""
    for name in ("headlines", "reviews"):
        shutil.copytree(DATA / name / "written", tmp_path / "data" / name / "written")
    (tmp_path / "data" / "recipes").mkdir()
    path = shutil.copyfile(DATA / "recipes" / "headlines.py", tmp_path / "data" / "recipes" / "headlines.py")
    return tmp_path / "data", load_recipe(path)


def test_recipe_gives_the_same_bytes(copy):
    """From the written sentences, in another folder: every file of the checkout, byte for byte."""
    folder, recipe = copy
    recipe.main()
    for name in ("headlines", "reviews"):
        made = sorted(p.name for p in (folder / name).iterdir() if p.is_file())
        assert made == sorted(["asset.json", *(f"{split}.csv" for split in FILES if FILES[split] == name)])
        for file in made:
            assert (folder / name / file).read_bytes() == (DATA / name / file).read_bytes(), f"{name}/{file}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A row without its columns", "1 columns instead of 4"),
        ("A sentence of good cheer\thappy\tsport\tplain", "unknown label, trait or topic"),
        ("A sentence of good cheer\tpositive\tsport\tsarcasm", "unknown label, trait or topic"),
        ("A sentence of good cheer\tpositive\tgardening\tplain", "unknown label, trait or topic"),
        ("Two  spaces in the sentence\tpositive\tsport\tplain", "not plain ASCII with single spaces"),
        ("A caf\u00e9 in the sentence\tpositive\tsport\tplain", "not plain ASCII with single spaces"),
    ],
)
def test_recipe_refuses_a_bad_row(copy, line, said):
    """A mistake in the written sentences stops the recipe with file, line number and what is wrong."""
    folder, recipe = copy
    path = folder / "headlines" / "written" / "sport.tsv"
    number = len(path.read_text(encoding="utf-8").splitlines()) + 1
    with open(path, "a", encoding="utf-8") as f:
        f.write(line + "\n")
    with pytest.raises(SystemExit) as caught:
        recipe.main()
    assert f"sport.tsv:{number}: {said}" in str(caught.value)


def test_recipe_refuses_a_copied_sentence(copy):
    """A sentence that is nearly another one stops the recipe, and both are shown."""
    folder, recipe = copy
    first = (folder / "headlines" / "written" / "sport.tsv").read_text(encoding="utf-8").splitlines()[0].split("\t")
    with open(folder / "headlines" / "written" / "health.tsv", "a", encoding="utf-8") as f:
        f.write("\t".join([first[0] + " again", first[1], "health", first[3]]) + "\n")
    with pytest.raises(SystemExit) as caught:
        recipe.main()
    assert "too similar" in str(caught.value) and repr(first[0]) in str(caught.value)


def test_recipe_refuses_too_few_sentences(copy):
    """A topic with too few sentences cannot fill its splits: an error, not a smaller data set."""
    folder, recipe = copy
    path = folder / "headlines" / "written" / "sport.tsv"
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if "\tnegative\t" not in line]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="rows instead of"):
        recipe.main()


# The cards


def share(part: float) -> str:
    return f"{100 * part:.1f} %"


def numbers(name: str) -> str:
    """The block of Markdown with a data set's numbers, as its card has it."""
    lines = ["| split | rows | " + " | ".join([*LABELS, *TRAITS]) + " | hard |", "|---" * 11 + "|"]
    rows = []
    for split in (split for split in FILES if FILES[split] == name):
        part = SPLITS[split]
        rows += part
        label, trait = count(part, "label"), count(part, "trait")
        cells = [len(part), *(label[x] for x in LABELS), *(trait[x] for x in TRAITS)]
        lines.append(f"| {split} | {' | '.join(map(str, cells))} | {share(1 - trait['plain'] / len(part))} |")
    lengths = [len(words(row["text"])) for row in rows]
    spoken = [word for row in rows for word in words(row["text"])]
    stops = sum(row["text"].endswith(".") for row in rows) / len(rows)
    topics = ", ".join(f"{topic} {times:,}" for topic, times in sorted(count(rows, "topic").items()))
    held_out = "reviews" if name == "reviews" else "test"
    f1 = naive_bayes(SPLITS["train"], SPLITS[held_out])
    return "\n".join(
        [
            *lines,
            "",
            f"- Topics: {topics}.",
            f"- Length: {min(lengths)} to {max(lengths)} words, {sum(lengths) / len(lengths):.1f} on average; "
            f"{share(stops)} end in a full stop.",
            f"- Vocabulary: {len(spoken):,} words, {len(set(spoken)):,} of them different.",
            f"- For comparison: naive Bayes on the words, trained on train, has a macro-F1 of {f1:.3f} on {held_out}.",
        ]
    )


BLOCK = re.compile(r"(?<=<!-- numbers: python tests/test_data.py -->\n\n).*?(?=\n\n<!-- end of numbers -->)", re.DOTALL)


@pytest.mark.parametrize("name", ["headlines", "reviews"])
def test_card_has_the_numbers_of_the_files(name):
    """Every figure in the card is counted from the files; after a change: ``python tests/test_data.py``."""
    (block,) = BLOCK.findall((DATA / name / "card.md").read_text(encoding="utf-8"))
    assert block == numbers(name), f"write the card anew: python tests/test_data.py\n{numbers(name)}"


@pytest.mark.parametrize("name", ["headlines", "reviews"])
def test_card_says_what_a_reader_must_know(name):
    """Origin, rule of labelling, licence, bias and recipe are in the card."""
    card = (DATA / name / "card.md").read_text(encoding="utf-8")
    for said in ("language model", "CC BY 4.0", "python data/recipes/headlines.py", "## Bias", "## Rule", *TRAITS):
        assert said in card, said


def test_minilm_card_agrees_with_its_asset_file():
    """The card of the checkpoint names each file with its digest, the package, the hub's name and the facts."""
    card = (DATA / "minilm" / "card.md").read_text(encoding="utf-8")
    about = json.loads((DATA / "minilm" / "asset.json").read_text(encoding="utf-8"))
    for file, digest in about["files"].items():
        assert f"| `{file}` | `{digest}` |" in card, file
    facts = about["facts"]
    for said in (
        about["package"]["pypi"],
        about["hub"],
        f"{facts['max_tokens']} tokens",
        f"{facts['pooling']} pooling",
    ):
        assert said in card.lower() if said.islower() else said in card, said
    for said in ("Apache-2.0", "22.7 M", "sftlab assets add minilm FOLDER", "SFTLAB_PROFILE=full"):
        assert said in card, said


if __name__ == "__main__":
    for name in ("headlines", "reviews"):
        path = DATA / name / "card.md"
        text = path.read_text(encoding="utf-8")
        path.write_text(BLOCK.sub(lambda match, name=name: numbers(name), text), encoding="utf-8", newline="\n")
        print(f"written: {path.relative_to(ROOT)}")
