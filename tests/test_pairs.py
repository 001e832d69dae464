"""Chinese-English pairs: form, splits without copies, compositions that training has not seen, a recipe that repeats
itself; and the checkpoint `translator` with its tokenizer."""

import csv
import hashlib
import importlib.util
import json
import re
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from sftlab import assets
from sftlab.errors import BadData
from sftlab.sets import pairs

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "zh_en"
SIZES = {
    "general": {"train": 11020, "val": 150, "test": 250, "compositions": 250},
    "cooking": {"train": 2025, "val": 75, "test": 150, "compositions": 250},
}
MANNERS = {"plain", "spoken", "formal", "note"}


def load_recipe(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_recipe", DATA / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(domain: str, split: str) -> list[dict]:
    """Rows, read without the library."""
    with open(FOLDER / domain / f"{split}.csv", encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


RECIPE = load_recipe("zh_en")
SPLITS = {domain: {split: read(domain, split) for split in sizes} for domain, sizes in SIZES.items()}
EVERY = [(d, s, row) for d, splits in SPLITS.items() for s, rows in splits.items() for row in rows]


def written(domain: str, split: str) -> list[dict]:
    return [row for row in SPLITS[domain][split] if row["origin"] == "written"]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9']+", text.lower()))


def bigrams(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}


def jaccard(a: set, b: set) -> float:
    return len(a & b) / max(1, len(a | b))


# Form


def test_sizes_and_origins():
    """The promised number of rows; val and test are written, compositions are grammar, training has all three."""
    for domain, sizes in SIZES.items():
        assert {split: len(rows) for split, rows in SPLITS[domain].items()} == sizes
        assert len(written(domain, "val")) == sizes["val"] and len(written(domain, "test")) == sizes["test"]
        assert {row["origin"] for row in SPLITS[domain]["compositions"]} == {"grammar"}
    assert len(written("general", "train")) == 3020 and len(written("cooking", "train")) == 525
    assert sum(len(written("general", split)) for split in ("train", "val", "test")) >= 3000
    assert sum(len(written("cooking", split)) for split in ("train", "val", "test")) >= 600


def test_rows_are_well_formed():
    """Chinese without Latin letters, plain English with single spaces, lengths within what the recipe allows."""
    for domain, split, row in EVERY:
        assert list(row)[:4] == ["zh", "en", "manner", "origin"], (domain, split)
        assert row["manner"] in MANNERS and row["origin"] in ("written", "grammar", "variation")
        assert row["en"].isascii() and row["en"] == " ".join(row["en"].split()), row
        assert re.search(r"[一-鿿]", row["zh"]) and not re.search(r"[A-Za-z\s{}=+|]", row["zh"]), row
        assert not re.search(r"[{}=+|_~*]|OWN", row["en"]), row
        assert 2 <= len(row["en"].split()) <= 20 and 2 <= len(re.findall(r"[一-鿿0-9]", row["zh"])) <= 30, row


def test_english_of_the_grammar_agrees():
    """Articles before vowels, subject and verb, capitals: what a synchronous grammar gets wrong first."""
    articles = r"\b(a [aeio]|an [bcdfgjklmnpqrstvwxyz])"
    verbs = r"^(I (is|has|does)|(He|She|It) (are|have|do|am|were)|(We|They|You) (is|has|am|was|does))\b"
    doubled = r"\b(do|does|did|will|can|don't|doesn't) (I|you|he|she|we|they|be|not )*(is|are|was|has|had|am)\b"
    for row in (row for _, _, row in EVERY if row["origin"] == "grammar"):
        assert not re.search(f"{articles}|{verbs}|{doubled}", row["en"]), row
        assert row["en"][0] == row["en"][0].upper() and row["en"][-1] in ".?!", row


def test_digests_are_those_of_the_files():
    """asset.json lists every CSV file with its sha256 and its number of rows."""
    about = json.loads((FOLDER / "asset.json").read_text(encoding="utf-8"))
    found = {
        p.relative_to(FOLDER).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in FOLDER.rglob("*.csv")
    }
    assert about["files"] == found
    assert about["facts"]["splits"] == {f"{d}/{s}": n for d, sizes in SIZES.items() for s, n in sizes.items()}


def test_recipe_gives_the_same_bytes(tmp_path):
    """Run again, from the same written sentences and words, the recipe writes every file as it is."""
    RECIPE.write(tmp_path)
    for path in [*FOLDER.rglob("*.csv"), FOLDER / "asset.json"]:
        assert (tmp_path / path.relative_to(FOLDER)).read_bytes() == path.read_bytes(), path


def test_recipe_names_bad_rows():
    """Each kind of fault is found by name."""
    faults = {
        ("你好吗？", "How are you?", "odd"): "unknown manner",
        ("你好吗？", "How  are you?", "plain"): "single spaces",
        ("你好吗?", "How are you?", "plain"): "half-width",
        ("你好OK。", "You are okay.", "plain"): "Latin",
        ("好。", "Good.", "plain"): "English words",
    }
    assert not list(RECIPE._problems("你好吗？", "How are you?", "spoken"))
    for row, what in faults.items():
        assert any(what in problem for problem in RECIPE._problems(*row)), (row, what)
    close = [
        ("我每天早上六点起床。", "I get up at six."),
        ("我每天早上七点起床。", "He sings."),
        ("天黑了。", "It is dark."),
    ]
    assert RECIPE.near_duplicates(close) == [(0, 1)]


# Splits


def test_no_sentence_stands_in_two_splits():
    """Neither side of any row, over both domains (training of one domain may not hold the test of the other either)."""
    held_out = [row for _, split, row in EVERY if split != "train"]
    train = [row for _, split, row in EVERY if split == "train"]
    for side in ("zh", "en"):
        assert not {row[side].lower() for row in held_out} & {row[side].lower() for row in train}
        assert len({row[side] for row in train}) == len(train)
    for one, other in combinations(("val", "test", "compositions"), 2):
        for domain in SIZES:
            assert not {row["zh"] for row in SPLITS[domain][one]} & {row["zh"] for row in SPLITS[domain][other]}


@pytest.mark.parametrize("domain", SIZES)
def test_no_test_sentence_is_nearly_a_training_sentence(domain):
    """No row of val and test shares more than 0.65 of its words, or 0.6 of its bigrams, with a row of training."""
    train = [(words(row["en"]), bigrams(row["zh"])) for row in SPLITS[domain]["train"]]
    by_word: dict[str, list[int]] = {}
    for number, (bag, _) in enumerate(train):
        for word in bag:
            by_word.setdefault(word, []).append(number)
    for row in SPLITS[domain]["val"] + SPLITS[domain]["test"]:
        bag, pieces = words(row["en"]), bigrams(row["zh"])
        rarest = sorted(bag, key=lambda word: len(by_word.get(word, ())))[: max(1, len(bag) // 2)]
        for number in {n for word in rarest for n in by_word.get(word, ())}:
            other, others = train[number]
            assert jaccard(bag, other) <= 0.65 and jaccard(pieces, others) <= 0.6, (
                row,
                SPLITS[domain]["train"][number],
            )


@pytest.mark.parametrize("domain", SIZES)
def test_compositions_are_held_out(domain):
    """Both parts of a pair stand in training sentences, never in one; and no pair is in more than two test rows."""
    train = [row["zh"] for row in SPLITS[domain]["train"]]
    found: dict[str, int] = {}
    for row in SPLITS[domain]["compositions"]:
        for pair in row["pair"].split():
            verb, noun = pair.split("+")
            assert verb in row["zh"] and noun in row["zh"], row
            with_noun = [text for text in train if noun in text]
            assert with_noun and any(verb in text for text in train), pair
            assert not any(verb in text for text in with_noun), pair
            found[pair] = found.get(pair, 0) + 1
    assert len(found) >= 100 and max(found.values()) <= 3


def test_tasks_give_what_the_files_hold():
    """``zh_en`` and ``zh_en_cooking`` hold every row of every split, in order."""
    for task, domain in ((pairs.zh_en(), "general"), (pairs.zh_en_cooking(), "cooking")):
        assert {split: [{**e} for e in task.examples(split)] for split in task.splits} == SPLITS[domain]


def test_scores():
    """A perfect translation has 100, a wrong one less; as many references as translations are asked for."""
    pytest.importorskip("sacrebleu")
    right = ["The cat sat on the mat.", "It is raining outside today."]
    assert pairs.translation_scores(right, right) == pytest.approx({"bleu": 100.0, "chrf": 100.0})
    assert pairs.translation_scores(["A dog ran.", "It is raining outside."], right)["bleu"] < 60
    with pytest.raises(BadData, match="1 of them for 2"):
        pairs.translation_scores(right[:1], right)


# Checkpoint


@pytest.fixture(scope="module")
def translator():
    """Model in float32 and tokenizer, loaded as anybody would; nothing is missing."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    if not (DATA / "translator" / "asset.json").exists():
        pytest.skip("the checkpoint `translator` is not made yet: python data/recipes/translator.py")
    folder = assets.find_asset("translator")
    model, info = AutoModelForSeq2SeqLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    model.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model.max_tokens = assets.card("translator")["facts"]["max_tokens"]
    return model.eval()


def test_checkpoint_is_small(translator):
    """At most 12 MB, 3 to 5 million parameters, safetensors."""
    facts = assets.card("translator")["facts"]
    assert (DATA / "translator" / "model.safetensors").stat().st_size <= 12e6
    assert 3e6 <= facts["parameters"] <= 5e6


def test_tokenizer_round_trip_and_no_unknowns(translator):
    """Every row of every split comes back exactly, within the model's length, without the token for unknowns."""
    tokenizer = translator.tokenizer
    for side in ("zh", "en"):
        texts = [row[side] for _, split, row in EVERY if split != "train"]
        ids = tokenizer(texts)["input_ids"]
        assert [tokenizer.decode(i, skip_special_tokens=True) for i in ids] == texts
        assert not any(tokenizer.unk_token_id in i for i in ids)
        assert max(map(len, ids)) <= translator.max_tokens
        assert all(i[-1] == tokenizer.eos_token_id for i in ids)


def test_vocabulary_has_what_cooking_needs(translator):
    """Fewer than 2 in 100 Chinese characters of the cooking test set are spelt in bytes."""
    tokenizer = translator.tokenizer
    tokens = [t for row in SPLITS["cooking"]["test"] for t in tokenizer.tokenize(row["zh"])]
    assert sum(token.startswith("<0x") for token in tokens) / 3 < 0.02 * len(tokens)


def test_checkpoint_translates_the_general_domain(translator):
    """Ten general sentences share far more words with their own translation than with those of the others."""
    from sftlab.tasks.generate import generate

    rows = SPLITS["general"]["compositions"][:5] + SPLITS["general"]["test"][:5]
    made = [words(text) for text in generate(translator, [row["zh"] for row in rows], max_new_tokens=40)]
    right = [words(row["en"]) for row in rows]
    own = np.mean([jaccard(made[i], right[i]) for i in range(10)])
    others = np.mean([jaccard(made[i], right[j]) for i in range(10) for j in range(10) if i != j])
    assert own > 0.35 and own > 3 * others, (own, others)


def test_pretraining_reads_nothing_of_cooking():
    """The recipe takes rows of the general domain only; no written cooking sentence is among them."""
    source = (DATA / "recipes" / "translator.py").read_text(encoding="utf-8")
    assert 'Domain("general")' in source and source.count("Domain(") == 1
    cooking = {row["zh"] for split in SPLITS["cooking"].values() for row in split}
    assert not cooking & {row["zh"] for row in SPLITS["general"]["train"]}
    sys.modules.pop("zh_en", None)


# Cards


def numbers() -> str:
    """The block of Markdown with the data set's numbers, as its card has it."""
    kinds = ("written", "grammar", "variation")
    lines = [f"| domain, split | rows | {' | '.join(kinds)} | English words | Chinese characters |", "|---" * 7 + "|"]
    for domain, splits in SPLITS.items():
        for split, rows in splits.items():
            cells = [f"{len(rows):,}", *(f"{sum(row['origin'] == kind for row in rows):,}" for kind in kinds)]
            cells.append(f"{sum(len(row['en'].split()) for row in rows) / len(rows):.1f}")
            cells.append(f"{sum(len(row['zh']) for row in rows) / len(rows):.1f}")
            lines.append(f"| {domain}, {split} | {' | '.join(cells)} |")
    lines.append("")
    for domain in SPLITS:
        rows = [row for split in ("train", "val", "test") for row in written(domain, split)]
        manners = [f"{manner} {sum(row['manner'] == manner for row in rows):,}" for manner in sorted(MANNERS)]
        lines.append(f"- Manners of the written pairs, {domain}: {', '.join(manners)}.")
    train = SPLITS["general"]["train"]
    known = {word for row in train for word in words(row["en"])}, {sign for row in train for sign in row["zh"]}
    for domain in SPLITS:
        test = SPLITS[domain]["test"]
        running = [w for row in test for w in words(row["en"])], [sign for row in test for sign in row["zh"]]
        share = [100 * sum(x in have for x in text) / len(text) for text, have in zip(running, known, strict=True)]
        lines.append(
            f"- Of the text of the {domain} test, general training has {share[0]:.1f} % of the English words and "
            f"{share[1]:.1f} % of the Chinese characters."
        )
    return "\n".join(lines)


BLOCK = re.compile(r"(?<=<!-- numbers: python tests/test_pairs.py -->\n\n).*?(?=<!-- end of numbers -->)", re.DOTALL)


def test_card_has_the_numbers_of_the_files():
    """Every figure in the table is counted from the files; after a change: ``python tests/test_pairs.py``."""
    (block,) = BLOCK.findall((FOLDER / "card.md").read_text(encoding="utf-8"))
    assert block.strip() == numbers(), f"write the card anew: python tests/test_pairs.py\n{numbers()}"


def test_cards_say_what_a_reader_must_know():
    """Origin, grammar rows, licence, bias, recipe; for the checkpoint the measured scores too."""
    for name, recipe in (("zh_en", "zh_en.py"), ("translator", "translator.py")):
        if not (DATA / name / "asset.json").exists():
            continue  # the checkpoint is not made yet
        card = (DATA / name / "card.md").read_text(encoding="utf-8")
        for said in (
            "language model",
            "grammar",
            "CC BY 4.0",
            f"python data/recipes/{recipe}",
            "## Bias",
            "compositions",
        ):
            assert said in card, (name, said)


if __name__ == "__main__":
    path = FOLDER / "card.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda match: numbers() + "\n\n", text), encoding="utf-8", newline="\n")
    print(f"written: {path}")
