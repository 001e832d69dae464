"""The text `stories`, the data set `instructions` and the checkpoint `storylm`: what their cards promise."""

import json
import random
import sys
from pathlib import Path

import pytest

import sftlab as sl
from sftlab.errors import BadData
from sftlab.sets import stories

DATA = Path(__file__).resolve().parents[1] / "data"
SPLITS = stories.conversations()


@pytest.fixture(scope="module")
def recipe():
    sys.path.insert(0, str(DATA / "recipes"))
    import stories as made

    yield made
    sys.path.remove(str(DATA / "recipes"))
    for name in ("stories", "story_facts", "story_plots"):
        sys.modules.pop(name, None)


def test_recipe_makes_the_same_bytes(recipe):
    """The instructions and the test documents, made anew."""
    for name, rows in recipe.instructions().items():
        stored = (DATA / "instructions" / f"{name}.jsonl").read_text(encoding="utf-8")
        assert stored == "".join(json.dumps(row) + "\n" for row in rows)
    stored = (DATA / "stories" / "val.txt").read_text(encoding="utf-8").splitlines()
    assert stored == recipe.documents(recipe.SEEDS["val"], recipe.DOCUMENTS["val"])


def test_splits_share_no_item(recipe):
    """What a test question is about is in no training question, in whatever wording."""
    items = {}
    for kind, item, question, _ in recipe.facts.questions(random.Random(7)):
        items.setdefault((kind, question), item)
    used = {name: {(r["kind"], items[r["kind"], r["question"]]) for r in rows} for name, rows in SPLITS.items()}
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not used[one] & used[two]


def test_kinds():
    """Fifteen kinds to train and test, 110 and 20 of each; three others."""
    count = {name: {} for name in SPLITS}
    for name, rows in SPLITS.items():
        for row in rows:
            count[name][row["kind"]] = count[name].get(row["kind"], 0) + 1
    assert set(count["train"].values()) == {110} and set(count["test"].values()) == {20}
    assert set(count["train"]) == set(count["test"]) == set(count["val"]) and len(count["train"]) == 15
    assert set(count["unseen"]) == {"comparatives", "colours", "before"}


def test_numbers_are_right():
    """Every answer to a sum, a difference, a comparison and a count is computed again from the question."""
    for row in (row for rows in SPLITS.values() for row in rows):
        said = [
            int(word)
            for word in row["question"].replace("?", "").replace(".", "").replace(",", "").split()
            if word.isdigit()
        ]
        answer = row["answer"]
        if row["kind"] == "sum":
            assert int(answer) == sum(said)
        elif row["kind"] == "difference":
            assert int(answer) == abs(said[0] - said[1])
        elif row["kind"] == "greater":
            assert int(answer) == max(said)
        elif row["kind"] == "count":
            assert answer == " ".join(map(str, range(said[0], said[1] + 1)))


def test_scenes_are_true(recipe):
    """Where a thing was put last is where it is."""
    rng = random.Random(3)
    for _ in range(300):
        said, question, answer = recipe.plots.scene(rng, recipe.plots.cast(rng))
        where = [text for text in said if question.split()[-1].rstrip("?") in text]
        assert answer.split()[-1] in where[-1], (said, question, answer)


def test_text_has_no_instruction():
    """Pretraining reads no training, test or unseen question (sentences of a reading stand in stories)."""
    text = (DATA / "stories" / "train.txt").read_text(encoding="utf-8")
    asked = [row["question"] for rows in SPLITS.values() for row in rows if row["kind"] != "reading"]
    assert not [question for question in asked if question in text]
    assert "<|" not in text
    documents = {name: set((DATA / "stories" / f"{name}.txt").read_text(encoding="utf-8").splitlines())
                 for name in ("train", "val", "test")}  # fmt: skip
    assert not documents["train"] & (documents["val"] | documents["test"]) and not documents["val"] & documents["test"]


def test_exact_match():
    assert sl.exact_match(["  in the Box. ", "box", ""], ["in the box", "in the box", "x"]) == [True, False, False]
    with pytest.raises(BadData, match="1 of them for 2"):
        sl.exact_match(["a"], ["a", "b"])
    with pytest.raises(BadData):
        sl.exact_match([], [])


@pytest.mark.parametrize("name", ["stories", "instructions"])
def test_cards_say_what_a_reader_must_know(name):
    card = (DATA / name / "card.md").read_text(encoding="utf-8")
    for said in ("CC BY 4.0", "python data/recipes/stories.py", "## Bias", "## Origin"):
        assert said in card


@pytest.fixture(scope="module")
def storylm():
    if not (DATA / "storylm" / "asset.json").exists():
        pytest.skip("the checkpoint `storylm` is not made yet: python data/recipes/storylm.py")
    return sl.load("storylm", sl.task("instructions"))


def test_checkpoint_is_small_and_knows_its_template(storylm):
    """2 to 6 million parameters, at most 12 MB, and a template that leaves what was said as it was."""
    facts = json.loads((DATA / "storylm" / "asset.json").read_text(encoding="utf-8"))["facts"]
    assert 2e6 <= sum(p.numel() for p in storylm.parameters()) == facts["parameters"] <= 6e6
    assert sum(path.stat().st_size for path in (DATA / "storylm").iterdir()) <= 12 * 2**20
    tokenizer = storylm.tokenizer
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    item = sl.task("instructions").encode(SPLITS["train"][:1], storylm)[0]
    learnt = [t for t in item["labels"] if t != -100]
    assert tokenizer.decode(learnt) == f" {SPLITS['train'][0]['answer']}</s>"
    assert item["input_ids"].count(tokenizer.bos_token_id) == 1


def test_every_conversation_fits(storylm):
    lengths = [
        len(item["input_ids"]) for rows in SPLITS.values() for item in sl.task("instructions").encode(rows, storylm)
    ]
    assert max(lengths) < storylm.max_tokens


def test_checkpoint_knows_but_does_not_answer(storylm):
    """It completes facts and sums; asked in the template, it answers at most one question in ten."""
    begun = {"The opposite of hot is": "cold", "The capital of Italy is": "Rome", "The capital of Spain is": "Madrid",
             "The plural of tree is": "trees", "A chair is made of": "wood"}  # fmt: skip
    known = sl.generate(storylm, list(begun), max_new_tokens=1)
    assert sum(text.strip() == right for text, right in zip(known, begun.values(), strict=True)) >= 3, known
    sums = [(a, b) for a in range(2, 20, 4) for b in range(1, 20, 4)]
    said = sl.generate(storylm, [f"{a} plus {b} is" for a, b in sums], max_new_tokens=1)
    assert sum(text.strip() == str(a + b) for text, (a, b) in zip(said, sums, strict=True)) >= 0.9 * len(sums), said
    rows = SPLITS["test"]
    said = sl.generate(storylm, [row["messages"][:1] for row in rows], max_new_tokens=12, batch=64)
    assert sum(sl.exact_match(said, [row["answer"] for row in rows])) <= 0.1 * len(rows)
