"""Names in sentences: form, tags, no name known from training, no copies, and a recipe that repeats itself."""

import hashlib
import importlib.util
import json
import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import sftlab as sl
from sftlab.sets import people
from sftlab.sets.people import KINDS, TAGS, TRAITS

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "people"
SIZES = {"train": 715, "val": 108, "test": 230}
SPLITS = people.splits()
EVERY = [row for rows in SPLITS.values() for row in rows]


def load_recipe(path: Path = DATA / "recipes" / "people.py"):
    spec = importlib.util.spec_from_file_location("people_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = load_recipe()


def names(row: dict) -> list[tuple[str, str]]:
    """(words of the name, kind), counted here from the tags."""
    found = []
    for word, tag in zip(row["words"], row["tags"], strict=True):
        if tag[0] == "B":
            found.append(([word], tag[2:]))
        elif tag[0] == "I":
            found[-1][0].append(word)
    return [(" ".join(words), kind) for words, kind in found]


def stems(rows: list[dict]) -> set[str]:
    """Words of names without the generic ones, by the recipe's way of comparing."""
    parts = {w for row in rows for name, _ in names(row) for w in re.findall(r"[^\W\d_]{2,}", name)}
    return {RECIPE.stem(word) for word in parts} - RECIPE.GENERIC_STEMS


# Form


@pytest.mark.parametrize("split", SIZES)
def test_file_is_columns_of_word_trait_tag(split):
    """UTF-8, LF, three columns, one empty line between sentences; sizes; every trait, one in a sentence."""
    raw = (FOLDER / f"{split}.conll").read_bytes()
    assert b"\r" not in raw and raw.endswith(b"\n") and b"\n\n\n" not in raw
    blocks = [block.split("\n") for block in raw.decode("utf-8").rstrip("\n").split("\n\n")]
    assert len(blocks) == SIZES[split] == len(SPLITS[split])
    for block in blocks:
        rows = [line.split("\t") for line in block]
        assert all(len(row) == 3 and all(row) and not re.search(r"\s", "".join(row)) for row in rows), block
        assert len({row[1] for row in rows}) == 1 and rows[0][1] in TRAITS and {row[2] for row in rows} <= set(TAGS)
    assert {row["trait"] for row in SPLITS[split]} == set(TRAITS)


def test_digests_are_those_of_the_files():
    """asset.json lists the three files with their sha256 and states their sizes."""
    about = json.loads((FOLDER / "asset.json").read_text(encoding="utf-8"))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.conll")}
    assert about["files"] == found and about["facts"]["splits"] == SIZES and about["facts"]["labels"] == TAGS


def test_tags_are_bio():
    """An I- follows a B- or I- of its kind, in every sentence."""
    for row in EVERY:
        for before, tag in zip(["O", *row["tags"]], row["tags"], strict=False):
            assert tag[0] != "I" or before in (f"B-{tag[2:]}", tag), row


def test_task_reads_the_files():
    """1,053 sentences, BIO tags, and each example keeps its trait."""
    task = people.people()
    assert isinstance(task, sl.TagTokens) and task.label_names == TAGS
    assert {split: len(task.examples(split)) for split in task.splits} == SIZES
    assert all(row["trait"] in TRAITS for split in SIZES for row in task.examples(split))


# Splitting into words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mara's shop, N'Golo's boat.", "Mara 's shop , N'Golo 's boat ."),
        ("Sipho's and the dockers' boats", "Sipho 's and the dockers ' boats"),
        ("'Look,' said Yuki, 'don't!'", "' Look , ' said Yuki , ' don't ! '"),
        ("from Aix-en-Provence to Split–Bari", "from Aix-en-Provence to Split – Bari"),
        ("S.-J. Moon of the U.S. at 9.40 a.m.", "S.-J. Moon of the U.S. at 9.40 a.m."),
        ("Pae Ltd. (P&R), c/o Dr. Obi: 2:09:14, £5", "Pae Ltd . ( P & R ) , c / o Dr . Obi : 2:09:14 , £ 5"),
        ("HOPKIRK'S SHUTS", "HOPKIRK 'S SHUTS"),
    ],
)
def test_words(text, expected):
    """The rule of the card, case by case; no sign is lost."""
    assert people.words(text) == expected.split(" ")
    assert "".join(people.words(text)) == text.replace(" ", "")


def test_sentences_are_split_by_that_rule():
    """Every sentence put together again falls into the same words, so that a reader's sentence is treated alike."""
    written = [line for path in FOLDER.glob("written/*.tsv") for line in path.read_text(encoding="utf-8").splitlines()]
    plain = [RECIPE.MARK.sub(r"\1", line.split("\t")[0]) for line in written]
    assert sorted(people.words(text) for text in plain) == sorted(row["words"] for row in EVERY)


# Names


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_splits_share_no_name(one, other):
    """No word of a name in one split is part of a name in the other: case, diacritics and final s apart."""
    assert not stems(SPLITS[one]) & stems(SPLITS[other])


def test_stem_sees_through_form():
    """The comparison above can fail: plural, case and diacritics make no difference."""
    assert RECIPE.stem("Reefs") == RECIPE.stem("REEF") and RECIPE.stem("Trần") == RECIPE.stem("tran")
    assert RECIPE.stem("Gus") != RECIPE.stem("Gu")


@pytest.mark.parametrize("split", SIZES)
def test_kinds_are_balanced(split):
    """Each kind is between a quarter and a half of all names, and some sentences have none."""
    kinds = Counter(kind for row in SPLITS[split] for _, kind in names(row))
    assert set(kinds) == set(KINDS) and all(0.25 <= count / kinds.total() <= 0.5 for count in kinds.values())
    assert 0.05 <= sum(not names(row) for row in SPLITS[split]) / len(SPLITS[split]) <= 0.15


def test_ambiguous_names_play_several_roles():
    """At least 40 names are marked with two kinds or more; Washington and Jordan with all three, Amazon with two."""
    kinds = defaultdict(set)
    for row in EVERY:
        for name, kind in names(row):
            kinds[name.lower()].add(kind)
    assert sum(len(found) > 1 for found in kinds.values()) >= 40
    assert kinds["washington"] == kinds["jordan"] == set(KINDS) and kinds["amazon"] == {"LOC", "ORG"}


@pytest.mark.parametrize("split", SIZES)
def test_capitals_do_not_solve_it(split):
    """Tagging each run of capitalised words as a person reaches less than half of the score, name and kind exact."""
    hits = total = found = 0
    for row in SPLITS[split]:
        guess = re.findall(r"(?:(?<= )|^)[A-Z]\S*(?: [A-Z]\S*)*", " ".join(row["words"]))
        true = Counter(names(row))
        hits += (true & Counter((name, "PER") for name in guess)).total()
        total, found = total + true.total(), found + len(guess)
    assert 0 < 2 * hits / (total + found) < 0.5


# No copies, no templates


def test_no_two_sentences_look_alike():
    """No two sentences share more than half of their different words, or a run of five."""
    bags = [{word.lower() for word in row["words"] if word[0].isalnum()} for row in EVERY]
    having = defaultdict(list)
    for i, bag in enumerate(bags):
        for word in bag:
            having[word].append(i)
    for i, bag in enumerate(bags):
        for j, both in Counter(j for word in bag for j in having[word] if j > i).items():
            assert both <= 0.5 * (len(bag) + len(bags[j]) - both), (EVERY[i]["words"], EVERY[j]["words"])
    runs = Counter()
    for row in EVERY:
        low = [word.lower() for word in row["words"] if word[0].isalnum()]
        runs.update({tuple(low[at : at + 5]) for at in range(len(low) - 4)})
    assert not [run for run, times in runs.items() if times > 1]


def test_no_template():
    """No opening of three words occurs more than five times."""
    opening, times = Counter(tuple(row["words"][:3]) for row in EVERY).most_common(1)[0]
    assert times <= 5, opening


# The recipe


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(FOLDER / "written", tmp_path / "written")
    return tmp_path


def test_recipe_gives_the_same_bytes(copy):
    """From the written sentences, in another folder: the three files byte for byte, asset.json but for the seconds."""
    RECIPE.main(copy)
    for split in SIZES:
        assert (copy / f"{split}.conll").read_bytes() == (FOLDER / f"{split}.conll").read_bytes()
    made, stored = (json.loads((folder / "asset.json").read_text(encoding="utf-8")) for folder in (copy, FOLDER))
    assert made["facts"].pop("seconds") >= 0 and stored["facts"].pop("seconds") >= 0 and made == stored


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A row without its trait", "1 columns instead of 2"),
        ("[Zyxa Qwert|PER] sings all day\tloud", "unknown trait 'loud'"),
        ("[Zyxa Qwert|PRE] sings all day\tplain", "broken markup"),
        ("[Zyxa Qwert|PER sings all day\tplain", "broken markup"),
        ("[Zyxa |PER]Qwert sings all day\tplain", "begins or ends with a space"),
        ("A half-[Zyxa|PER] sings all day\tplain", "within the word 'half-Zyxa'"),
        ("[Zyxa|PER]  sings all day\tplain", "spaces that are not single"),
        ("[Zyxa|PER] sings\tplain", "2 words; wanted are 4 to 40"),
        ("The [Velquists|ORG] sing all day\tplain", "part of a name in training too"),
        ("So do [Zyxa|PER], [Adebayo Sanni|PER] called the verdict a bad joke told by a court\tplain", "too similar"),
    ],
)
def test_recipe_refuses_a_bad_row(copy, line, said):
    """A mistake stops the recipe with file and line; a name on both sides is reported where it stands in the test."""
    path = copy / "written" / "train_1.tsv"
    number = len(path.read_text(encoding="utf-8").splitlines()) + 1
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(SystemExit) as caught:
        RECIPE.main(copy)
    assert said in str(caught.value) and f"train_1.tsv:{number}" in str(caught.value)


# The card


def test_card_says_what_the_files_say():
    """The table of the card, counted from the files."""
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    for split, rows in SPLITS.items():
        kinds, traits = Counter(kind for row in rows for _, kind in names(row)), Counter(row["trait"] for row in rows)
        cells = [split, len(rows), f"{sum(len(row['words']) for row in rows):,}", *(kinds[kind] for kind in KINDS)]
        cells += [sum(not names(row) for row in rows), *(traits[trait] for trait in TRAITS)]
        assert f"| {' | '.join(map(str, cells))} |" in card, split
