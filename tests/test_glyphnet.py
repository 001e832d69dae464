"""glyphnet: no digit in its source, pictures from a seed, a checkpoint that says what it is, features worth having."""

import hashlib
import importlib.util
import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

import sftlab as sl
from sftlab.bench import few_labels as transfer
from sftlab.model.loading import load_trunk
from sftlab.sets import real

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data" / "glyphnet"
if not (FOLDER / "asset.json").exists():
    pytest.skip("the checkpoint `glyphnet` is not made yet: data/recipes/glyphnet.py", allow_module_level=True)
ABOUT = json.loads((FOLDER / "asset.json").read_text(encoding="utf-8"))
FACTS = ABOUT["facts"]


def recipe(name: str):
    """A recipe as a module; glyphnet.py imports its neighbour glyphs.py."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "data" / "recipes" / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


glyphs, figures, pictures, glyphnet = map(recipe, ("glyphs", "glyph_figures", "glyph_pictures", "glyphnet"))


@pytest.fixture(scope="module")
def source():
    """All letters, with few variants of the drawn classes."""
    return pictures.Source(glyphnet.SEED, invented_classes=6, each=3)


@pytest.fixture(scope="module")
def digits():
    return real.digits()


# No digits


def test_no_code_point_of_the_source_is_a_number(source):
    """Neither the characters that are drawn nor what they stand for (an alphabet of mathematics: its letter)."""
    drawn = {character for masks in source.letters.values() for _, character in masks}
    assert len(drawn) > 1000
    for character in drawn:
        for form in (character, *unicodedata.normalize("NFKC", character)):
            assert unicodedata.category(form).startswith("L"), (character, unicodedata.name(form))
            assert unicodedata.numeric(form, None) is None or unicodedata.category(form) != "Nd"
            assert "DIGIT" not in unicodedata.name(form) and "NUMBER" not in unicodedata.name(form), character
            assert form not in source.left_out


def test_letters_that_look_like_digits_are_left_out(source):
    """The round and the straight letters of every script, and what a reader would take for 2, 3, 5, 6 or 8."""
    for double in "OoΟοОоՕօסםlIΙІӀוןЗзӠƷʒȜƧƨƼƽбȢ\U0001030f\U0001031a":
        assert double in source.left_out or double not in glyphs.candidates(), unicodedata.name(double)
    assert FACTS["left_out"] == source.left_out


def test_no_drawn_letter_looks_like_a_digit(source):
    """Every mask of every font, by the comparison of the recipe."""
    masks = [mask for drawn in source.letters.values() for mask in drawn.values()]
    assert len(masks) > 5000 and not glyphs.like_a_digit(masks).any()


@pytest.mark.parametrize("name", ["DejaVuSans-BoldOblique", "DejaVuSansMono-Bold", "DejaVuSerif-Bold", "cmr10"])
def test_every_digit_of_other_fonts_is_recognised_as_one(name):
    """The comparison that leaves letters out would find the digits of fonts that it was not given."""
    masks = [glyphs.glyph(name, digit) for digit in "0123456789"]
    assert glyphs.like_a_digit(masks).float().mean() >= 0.9
    assert not glyphs.like_a_digit([glyphs.glyph(name, letter) for letter in "AMWKHX"]).any()


def test_invented_characters_are_not_like_digits(source):
    first, last = source.groups["invented"].start, source.groups["invented"].stop - 1
    masks = source.masks[1][int(source.first[first]) : int(source.first[last] + source.count[last])]
    assert glyphs.like_a_digit(list(masks.numpy())).float().mean() < 0.1  # a shaky hand may come near one


def test_every_letter_is_in_its_font(source):
    """The code point has a glyph of its own, which is not the box for missing ones."""
    boxes = {name: glyphs.glyph(name, "\U000e0fff") for name in glyphs.DEJAVU[:1] + glyphs.STIX}
    for masks in source.letters.values():
        for (name, character), mask in masks.items():
            assert ord(character) in glyphs.covered(name)
            assert mask.any() and (name not in boxes or not np.array_equal(mask, boxes[name])), (name, character)


def test_every_script_has_classes(source):
    counts = {script: sum(name.startswith(script.lower()) for name in source.letters) for script in glyphs.SCRIPTS}
    assert min(counts.values()) >= 5, counts
    assert FACTS["classes"]["letters"] == len(source.letters)


# Pictures


def test_pictures_are_a_function_of_seed_and_number(source):
    """Another source of the same seed draws the same bytes, in whatever order; another number or seed does not."""
    images, labels = source.batch(5, 24, 32)
    source.batch(6, 24, 32)
    again = pictures.Source(glyphnet.SEED, invented_classes=6, each=3)
    assert torch.equal(again.masks, source.masks) and torch.equal(again.textures, source.textures)
    assert again.names == source.names
    for made in (source.batch(5, 24, 32), again.batch(5, 24, 32)):
        assert torch.equal(made[0], images) and torch.equal(made[1], labels)
    assert not torch.equal(source.batch(6, 24, 32)[0], images)
    again.seed += 1
    assert not torch.equal(again.batch(5, 24, 32)[0], images)


@pytest.mark.parametrize("size", [32, 64])
def test_pictures_have_the_right_form(source, size):
    """uint8, three channels, the classes of the source; every group of classes occurs, and few pictures are empty."""
    images, labels = source.batch(1, 256, size)
    assert images.shape == (256, 3, size, size) and images.dtype == torch.uint8
    assert 0 <= labels.min() and labels.max() < len(source.names)
    for name, group in source.groups.items():
        share = np.mean([label in group for label in labels.tolist()])
        assert abs(share - pictures.GROUPS[name]) < 0.12, (name, share)
    assert (images.float().std(dim=(1, 2, 3)) > 8).float().mean() > 0.9


# The checkpoint


def test_facts_agree_with_the_files():
    for name, digest in ABOUT["files"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert len(config["id2label"]) == sum(FACTS["classes"].values())
    processor = json.loads((FOLDER / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert (processor["image_mean"], processor["image_std"]) == (FACTS["mean"], FACTS["std"])
    assert processor["size"] == {"height": FACTS["image_size"], "width": FACTS["image_size"]}
    assert (FOLDER / "model.safetensors").stat().st_size <= 4_000_000
    assert FACTS["seconds"] <= 900 and FACTS["recipe"] == "python data/recipes/glyphnet.py"


def test_trunk_loads_with_nothing_missing():
    """Through AutoModel, in float32; only the head of the source task has no place in it."""
    trunk, loading = load_trunk(FOLDER)
    assert all(key.startswith("classifier.") for key in loading["unused"]) and loading["used"] == len(
        trunk.state_dict()
    )
    assert sum(p.numel() for p in trunk.parameters()) == FACTS["parameters"]
    assert 200_000 <= FACTS["parameters"] <= 1_000_000
    for size in (32, 64):
        pooled = trunk(torch.zeros(2, 3, size, size)).pooler_output
        assert pooled.shape == (2, trunk.config.hidden_sizes[-1], 1, 1) and torch.isfinite(pooled).all()


def test_measured_mean_and_spread_are_those_of_the_pictures(source):
    """The facts are statistics of what the network saw, not copied from another model."""
    mean, std = glyphnet.statistics(source, batches=3)
    assert np.abs(np.subtract(mean, FACTS["mean"])).max() < 0.03
    assert np.abs(np.subtract(std, FACTS["std"])).max() < 0.03


def test_the_source_task_was_learnt(source):
    """The stored head reads letters it has not seen in this form: most right, among hundreds."""
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(FOLDER).eval()
    names = [model.config.id2label[i] for i in range(len(source.letters))]
    assert names == list(source.letters)
    images, labels = source.batch(glyphnet.HELD_OUT + 77, 192, FACTS["image_size"])
    seen = labels < len(names)
    with torch.no_grad():
        logits = model(glyphnet.prepare(images[seen], FACTS["mean"], FACTS["std"])).logits[:, : len(names)]
    accuracy = (logits.argmax(dim=1) == labels[seen]).float().mean()
    assert accuracy > FACTS["accuracy"][f"{FACTS['image_size']} pixels"]["letters"] - 0.1 > 0.3


def test_card_says_what_the_facts_say():
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    for said in (f"{FACTS['parameters']:,}", FACTS["recipe"], "CC BY 4.0", "no digits", f"{FACTS['pictures']:,}"):
        assert said in card, said
    for size, scores in FACTS["accuracy"].items():
        assert f"| {size} | " + " | ".join(f"{value:.3f}" for value in scores.values()) + " |" in card, size


# Transfer


def probe(model, task, train: list[dict], test: list[dict]) -> float:
    """Accuracy of the nearest class mean of frozen features, each scaled by its spread."""

    @torch.no_grad()
    def features(examples):
        inputs = torch.stack([item["input"] for item in task.inputs.encode(examples, model)])
        return model.features(inputs), torch.tensor([task.label_id(example["label"]) for example in examples])

    (x, y), (u, v) = features(train), features(test)
    center, scale = x.mean(dim=0), x.std(dim=0) + 1e-5
    x, u = (x - center) / scale, (u - center) / scale
    means = torch.stack([x[y == label].mean(dim=0) for label in range(len(task.label_names))])
    return float((torch.cdist(u, means).argmin(dim=1) == v).float().mean())


def test_frozen_features_beat_random_ones_on_digits(digits):
    """Five examples of each digit: pretrained features are better than those of the same network untrained."""
    few = transfer.few(digits, 5, draw=3)
    train, test = few.examples("train"), few.examples("val")
    scores = {
        pretrained: probe(sl.load("glyphnet", digits, seed=0, pretrained=pretrained), digits, train, test)
        for pretrained in (True, False)
    }
    assert scores[True] > scores[False] + 0.1 and scores[True] > 0.8, scores


def test_what_was_measured_is_what_the_card_says():
    """The table of the card is that of the bench; fine-tuning beats scratch by more than the spread of both."""
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    measured = ROOT / "book" / "measured"
    rows = [line.split("|")[1:-1] for line in (measured / "transfer.md").read_text(encoding="utf-8").splitlines()]
    for row in (row for row in rows if len(row) == 7 and "±" in row[2]):
        assert "|" + "|".join(row[:6]) + "|" in card
    accuracy = json.loads((measured / "transfer.json").read_text(encoding="utf-8"))["accuracy"]
    for label, least, above in (("1", 0.75, 0.15), ("5", 0.94, 0.08), ("10", 0.965, 0.04)):
        found = accuracy[f"digits, {label} per class"]
        assert np.mean(found["head only"]) >= max(least, np.mean(found["scratch"]) + above), label
    for label in ("faces", "textures"):
        found = accuracy[f"{label}, 10 per class"]
        gain = np.mean(found["full"]) - np.mean(found["scratch"])
        assert gain > max(np.std(found["full"], ddof=1), np.std(found["scratch"], ddof=1)), label


def test_few_draws_the_asked_number_and_leaves_the_test_alone(digits):
    """Draws differ, a draw repeats, classes are equal, validation and test are those of the whole task."""
    one, same, other = (transfer.few(digits, 5, draw) for draw in (0, 0, 1))
    labels = [example["label"] for example in one.examples("train")]
    assert len(labels) == 50 and all(labels.count(name) == 5 for name in digits.label_names)
    assert [id(x) for x in one.examples("train")] == [id(x) for x in same.examples("train")]
    assert [id(x) for x in one.examples("train")] != [id(x) for x in other.examples("train")]
    for split in ("val", "test"):
        assert one.examples(split) is digits.examples(split)


def test_bench_in_miniature(monkeypatch):
    """One draw, one epoch: a row of the table per target, a value per draw, the rate that was chosen."""
    monkeypatch.setattr(transfer, "epochs", lambda steps, examples: 1)
    monkeypatch.setattr(transfer, "RATES", (1e-3,))
    monkeypatch.setattr(transfer, "TUNED", 1)
    result = transfer.measure(draws=1, targets=(("digits", 1, True),))
    (row,) = result.table.rows
    assert row[:2] == ["digits, shifted and turned", "1"] and len(row) == len(result.table.columns)
    scores = result.figures["accuracy"]["digits, shifted and turned, 1 per class"]
    assert set(scores) == {"scratch", "head only", "LP-FT", "full"}
    assert all(len(values) == 1 and 0 <= values[0] <= 1 for values in scores.values())
    assert result.figures["scratch_rate"] == {"digits, shifted and turned, 1 per class": 1e-3}
