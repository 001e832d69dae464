"""Drawn pictures: masks and boxes are exact, the recipe draws the same again, and only shape tells animals apart."""

import hashlib
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sftlab as sl
from sftlab import assets
from sftlab.errors import AssetError, MissingWeights
from sftlab.model.layers import layer_map
from sftlab.model.pyramid import load_scenes
from sftlab.sets import drawn

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
SIZES = {
    "street": {"train": 160, "val": 40, "test": 100, "source": 40},
    "animals": {"train": 600, "val": 150, "test": 150, "shifted_train": 150, "shifted_val": 60, "shifted_test": 240},
    "lesions": {"train": 120, "val": 30, "test": 60},
    "cells_drawn": {"train": 120, "val": 30, "test": 60},
}
EVERY = [(name, split) for name, splits in SIZES.items() for split in splits]
TASKS = [
    drawn.street,
    drawn.street_segmentation,
    drawn.animals,
    drawn.animals_shifted,
    drawn.lesions,
    drawn.cells_drawn,
]
WITH_HEAD = {
    "detection": (drawn.street, "roi_heads.box_predictor"),
    "segmentation": (drawn.street_segmentation, "head"),
}


@pytest.fixture(scope="module")
def recipe():
    """A function that imports a recipe by name."""
    sys.path.insert(0, str(DATA / "recipes"))
    yield importlib.import_module
    sys.path.remove(str(DATA / "recipes"))


def arrays(name: str, split: str) -> dict[str, np.ndarray]:
    """What the file holds, read without the library."""
    with np.load(DATA / name / f"{split}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def facts(name: str) -> dict:
    return json.loads((DATA / name / "asset.json").read_text(encoding="utf-8"))["facts"]


def around(boxes: np.ndarray) -> tuple:
    """x1, y1, x2, y2 as whole numbers."""
    return tuple(boxes.astype(int).T)


# Form


@pytest.mark.parametrize(("name", "split"), EVERY)
def test_file_has_what_its_card_says(name, split):
    """Number, size and type of pictures, masks, labels and boxes; the digest; class numbers that have names."""
    found, about = arrays(name, split), assets.card(name)
    assert about["files"][f"{split}.npz"] == hashlib.sha256((DATA / name / f"{split}.npz").read_bytes()).hexdigest()
    count, (height, width) = SIZES[name][split], about["facts"]["size"]
    assert about["facts"]["splits"][split] == count
    assert found["images"].shape == (count, height, width, 3) and found["images"].dtype == np.uint8
    classes = len(about["facts"]["labels"])
    if name == "animals":
        assert found["labels"].dtype == np.int64 and set(found["labels"]) == set(range(classes))
        return
    assert found["masks"].shape == (count, height, width) and found["masks"].dtype == np.uint8
    assert set(np.unique(found["masks"])) == set(range(len(about["facts"].get("mask_labels", range(classes)))))
    if name == "street":
        assert found["boxes"].dtype == np.float32 and found["boxes"].shape == (len(found["box_labels"]), 4)
        assert set(found["box_labels"]) == set(range(classes)) and set(found["box_images"]) <= set(range(count))


@pytest.mark.parametrize("make", TASKS)
def test_task_is_what_the_files_hold(make):
    """Every split of the task has the pictures of its file, in order, as numbers in [0, 1]."""
    task = make()
    name = {"street-segmentation": "street", "animals-shifted": "animals", "cells-drawn": "cells_drawn"}.get(
        task.name, task.name
    )
    column = task.inputs.column
    for split, examples in task.splits.items():
        found = arrays(name, f"shifted_{split}" if task.name == "animals-shifted" else split)
        assert len(examples) == len(found["images"])
        for i in (0, len(examples) - 1):
            assert np.array_equal(
                (examples[i][column] * 255).round().byte().permute(1, 2, 0).numpy(), found["images"][i]
            )
            if "masks" in found:
                assert np.array_equal(examples[i]["mask"].numpy(), found["masks"][i])


@pytest.mark.parametrize("name", SIZES)
def test_no_picture_twice(name):
    """Over all splits together: no two pictures are equal, and no two nearly so at a quarter of the size."""
    images = np.concatenate([arrays(name, split)["images"] for split in SIZES[name]])
    assert len({image.tobytes() for image in images}) == len(images)
    count, height, width, _ = images.shape
    small = images.reshape(count, height // 4, 4, width // 4, 4, 3).mean((2, 4)).reshape(count, -1).astype(np.float32)
    squares = (small**2).sum(1)
    apart = squares[:, None] + squares - 2 * small @ small.T + 1e9 * np.eye(count)
    assert np.sqrt(apart.min() / small.shape[1]) > 3  # of 255, root mean square


# The recipe draws the same again


@pytest.mark.parametrize(("name", "split"), EVERY)
def test_recipe_draws_the_same(recipe, name, split):
    """The first pictures of each split, drawn again: every array equal (pixels to 1 % with another Pillow or NumPy)."""
    module = {"street": "scenes_data", "animals": "animals"}.get(name, "lesions")
    draw = recipe(module).split
    again = draw(name, split, 3) if module == "lesions" else draw(split, 3)
    found, same = arrays(name, split), facts(name)["versions"] == {"numpy": np.__version__, "pillow": pillow()}
    for key in ("images", "masks", "labels", "counts"):
        if key in found:
            assert (again[key] != found[key][:3]).mean() <= (0 if same else 0.01), key
    if name == "street":
        seen = found["box_images"] < 3
        assert np.array_equal(again["box_images"], found["box_images"][seen])
        assert np.array_equal(again["box_labels"], found["box_labels"][seen])
        assert np.abs(again["boxes"] - found["boxes"][seen]).max() <= (0 if same else 1)


def pillow() -> str:
    import PIL

    return PIL.__version__


def test_another_key_is_another_picture(recipe):
    scene = recipe("scenes_data").scene
    first, again, other = (scene("target", [2, i])["image"] for i in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


# The brushes


def test_numbers_are_those_of_pixel_centres(recipe):
    """A disc has the pixels whose centres lie in it; what is covered is lost; None leaves the numbers alone."""
    drawing = recipe("drawing")
    canvas = drawing.Canvas(32, 32, margin=8)
    canvas.number = 7
    drawing.Pen(canvas, 16, 16, 9).ellipse(0, 0, 1, 1, (200, 0, 0))
    y, x = np.mgrid[:32, :32] + 0.5
    distance = np.hypot(x - 16, y - 16)
    numbers = drawing.centres(canvas.large()[1])
    assert (numbers[distance < 8.6] == 7).all() and (numbers[distance > 9.4] == 0).all()
    assert canvas.count(7) == (numbers == 7).sum()
    canvas.number = 8
    drawing.Pen(canvas, 16, 16).box(-30, -30, 0, 30, (0, 0, 200))  # the left half, and some of the margin
    numbers = drawing.centres(canvas.large()[1])
    assert (numbers[:, :16] == 8).all() and not (numbers[:, 16:] == 8).any()
    assert canvas.count(8) > (numbers == 8).sum()  # the margin counts
    canvas.number = None
    drawing.Pen(canvas, 16, 16).box(-30, -30, 30, 30, (0, 0, 0))
    large, after = canvas.large()
    assert np.array_equal(drawing.centres(after), numbers) and not large.any()


def test_colours_are_means(recipe):
    """A third of a pixel that is covered counts a third."""
    drawing = recipe("drawing")
    canvas = drawing.Canvas(2, 2, (0, 0, 0))
    drawing.Pen(canvas).box(-1, -3, 0.3, 3, (90, 90, 90))
    assert drawing.smaller(canvas.large()[0])[:, :, 0].tolist() == [[30, 0], [30, 0]]


# Street scenes


@pytest.mark.parametrize("split", SIZES["street"])
def test_boxes_are_those_of_what_can_be_seen(recipe, split):
    """Drawn again with a mask for each object: the box is the smallest around it, its pixels carry its class, none is
    shared; an object with fewer than 20 pixels has no box."""
    scenes = recipe("scenes_data")
    style, number = scenes.SPLITS[split][0], list(scenes.SPLITS).index(split)
    for i in range(6):
        found = scenes.scene(style, [number, i])
        assert found["instances"].sum(0).max(initial=0) <= 1
        for box, label, instance in zip(found["boxes"], found["labels"], found["instances"], strict=True):
            rows, columns = np.nonzero(instance)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (found["mask"][instance == 1] == scenes.PEDESTRIAN + label).all()
            assert instance.sum() >= 20


@pytest.mark.parametrize("split", SIZES["street"])
def test_every_bundled_box_touches_its_object(split):
    """On each of its four sides lies a pixel of its class, and all boxes lie in the picture."""
    found = arrays("street", split)
    for image, label, x1, y1, x2, y2 in zip(
        found["box_images"], found["box_labels"], *around(found["boxes"]), strict=True
    ):
        assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 96
        there = found["masks"][image] == 6 + label
        assert all(
            side.any() for side in (there[y1:y2, x1], there[y1:y2, x2 - 1], there[y1, x1:x2], there[y2 - 1, x1:x2])
        )
        assert there[y1:y2, x1:x2].sum() >= 20


@pytest.mark.parametrize("split", SIZES["street"])
def test_scenes_are_rich(split):
    """Of each class at least 0.7 boxes a scene, some cut by the edge, some overlapping, some 12 pixels wide or high at
    most, some 30 at least; and each of the nine classes has 0.3 % of the pixels or more."""
    found = arrays("street", split)
    assert (np.bincount(found["box_labels"]) / SIZES["street"][split]).min() >= 0.7
    x1, y1, x2, y2 = around(found["boxes"])
    assert ((x1 == 0) | (x2 == 128)).sum() >= 5
    longer = np.maximum(x2 - x1, y2 - y1)
    assert (longer <= 12).sum() >= 10 and (longer >= 30).sum() >= 10
    pairs = [(a, b) for a in range(len(x1)) for b in range(a) if found["box_images"][a] == found["box_images"][b]]
    overlap = [x1[a] < x2[b] and x1[b] < x2[a] and y1[a] < y2[b] and y1[b] < y2[a] for a, b in pairs]
    assert sum(overlap) >= 10
    assert (np.bincount(found["masks"].ravel(), minlength=9) / found["masks"].size).min() >= 0.003


def test_styles_are_far_apart():
    """The target style is darker by a third, and its pixels differ more from their neighbours in the sky."""
    source, target = arrays("street", "source"), arrays("street", "test")
    assert target["images"].mean() < 0.67 * source["images"].mean()

    def rough(found):
        step = np.abs(np.diff(found["images"].astype(float).mean(3), axis=2))
        return step[(found["masks"][:, :, 1:] == 4) & (found["masks"][:, :, :-1] == 4)].mean()

    assert rough(target) > 3 * rough(source)


# Animals


@pytest.mark.parametrize("split", SIZES["animals"])
def test_animals_are_balanced(split):
    assert len(set(np.bincount(arrays("animals", split)["labels"]))) == 1


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("shifted_train", "shifted_test"), ("train", "shifted_test")]
)
@pytest.mark.parametrize("what", ["mean colour", "histogram"])
def test_colour_does_not_tell_animals_apart(train, test, what):
    """The nearest class mean of the mean colour, or of the colours' histograms, is right on less than half."""

    def features(images):
        if what == "mean colour":
            return images.mean((1, 2))
        return np.stack(
            [[np.bincount(i[..., c].ravel() // 32, minlength=8) for c in range(3)] for i in images]
        ).reshape(len(images), -1)

    seen, asked = arrays("animals", train), arrays("animals", test)
    x, y = features(seen["images"]), features(asked["images"])
    means = np.stack([x[seen["labels"] == label].mean(0) for label in range(3)])
    nearest = ((y[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == asked["labels"]).mean() < 0.5


def test_shape_tells_animals_apart(recipe):
    """With the picture reduced to its silhouette, the nearest of 80 known ones of each class is right on over 60 %."""
    shapes, animals = recipe("animal_shapes"), recipe("animals")
    drawing, rng = recipe("drawing"), np.random.default_rng(0)

    def silhouette(label):
        canvas = drawing.Canvas(64, 64, margin=24)
        animal = shapes.Animal(drawing.Pen(canvas, 32, 33, 26), rng, (200, 150, 100), True)
        if label == "other":
            animals.OTHERS[rng.integers(len(animals.OTHERS))](animal)
        else:
            shapes.POSTURES[rng.integers(len(shapes.POSTURES))](animal, label)
        seen = drawing.smaller((canvas.large()[1] > 0).astype(np.float32))
        return seen.reshape(32, 2, 32, 2).mean((1, 3)).ravel()

    known, asked = (np.stack([[silhouette(label) for label in animals.LABELS] for _ in range(n)]) for n in (80, 40))
    known, asked = known.reshape(240, -1), asked.reshape(120, -1)
    apart = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T
    assert (apart.argmin(1) % 3 == np.arange(120) % 3).mean() > 0.6


# Lesions and cells


@pytest.mark.parametrize("split", SIZES["lesions"])
def test_lesions_are_darker_than_their_skin_and_some_are_tiny(split):
    """Each picture has a lesion; darker than the skin close by; a tenth to two fifths are below 70 pixels."""
    found = arrays("lesions", split)
    sizes = found["masks"].sum((1, 2))
    assert sizes.min() >= 8 and 0.1 < (sizes < 70).mean() < 0.4 and (sizes > 500).mean() > 0.2
    for image, mask in zip(found["images"].astype(float).mean(3), found["masks"], strict=True):
        near = sum(np.roll(np.roll(mask, dy, 0), dx, 1) for dy in (-4, 0, 4) for dx in (-4, 0, 4)) > 0
        assert np.median(image[mask == 1]) < np.median(image[near & (mask == 0)])


def test_cells_know_how_many_they_are():
    """The number of cells that were drawn comes with each example; other data sets have none."""
    counts = [example["count"] for example in drawn.cells_drawn().examples("test")]
    assert counts == arrays("cells_drawn", "test")["counts"].tolist() and len(set(counts)) > 3
    assert "count" not in drawn.lesions().examples("test")[0]


@pytest.mark.parametrize("split", SIZES["cells_drawn"])
def test_cells_touch_and_are_counted(split):
    """As many cells as counted, or fewer where they touch: pieces of cell never exceed the count, and in most pictures
    there are fewer; nuclei lie inside cells, and no more pieces of nucleus than cells."""
    from scipy import ndimage

    found = arrays("cells_drawn", split)
    touching = []
    for mask, count in zip(found["masks"], found["counts"], strict=True):
        pieces, nuclei = ndimage.label(mask > 0)[1], ndimage.label(mask == 2)[1]
        assert 1 <= count <= 20 and pieces <= count + 2 and nuclei <= count + 2  # an irregular outline may fray
        touching.append(pieces < count)
        background = ndimage.binary_dilation(mask == 0)
        assert (background & (mask == 2)).sum() <= 0.1 * max(1, (mask == 2).sum())
    assert np.mean(touching) > 0.8


# The checkpoint


@pytest.fixture(scope="module", params=WITH_HEAD)
def kind(request):
    if not (DATA / "scenes" / "asset.json").exists():
        pytest.skip("the checkpoint `scenes` is not made yet: python data/recipes/scenes.py")
    return request.param


def few(kind: str, count: int = 4):
    if not (DATA / "scenes" / "asset.json").exists():
        pytest.skip("the checkpoint `scenes` is not made yet: python data/recipes/scenes.py")
    task = WITH_HEAD[kind][0]()
    task.splits = {split: examples[:count] for split, examples in task.splits.items()}
    return task


def test_scenes_load_with_every_weight_below_a_new_head(kind):
    """The weights are those of the file, the head is new, seeded, and the last layer of the map."""
    task, head = few(kind), WITH_HEAD[kind][1]
    one, same, other = (sl.load("scenes", task, seed=seed) for seed in (1, 1, 2))
    stored = load_file(DATA / "scenes" / "model.safetensors")
    for (name, value), again, different in zip(
        one.state_dict().items(), same.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(value, again) and value.dtype in (torch.float32, torch.int64)
        if name.startswith(f"{head}."):
            assert name in one.loading["new"]
            assert not name.endswith("weight") or not torch.equal(value, different)
        else:
            assert torch.equal(value, stored[name].to(value.dtype)) and torch.equal(value, different)
    layers = [layer.name for layer in layer_map(one)]
    assert layers[0] == "backbone.trunk.embedder" and layers[-1] == head
    outputs = {
        "detection": lambda m: m.roi_heads.box_predictor.cls_score.out_features,
        "segmentation": lambda m: m.head.out_channels,
    }
    assert outputs[kind](one) == len(task.label_names)
    assert one.image_size == [96, 128] and not one.training


def test_from_scratch_shares_nothing_with_the_checkpoint(kind):
    task = few(kind)
    pretrained, scratch = sl.load("scenes", task, seed=0), sl.load("scenes", task, seed=0, pretrained=False)
    pairs = zip(pretrained.named_parameters(), scratch.parameters(), strict=True)
    shared = [name for (name, a), b in pairs if a.dim() > 1 and torch.equal(a, b)]
    assert shared and all(name.startswith(WITH_HEAD[kind][1]) for name in shared)
    assert scratch.loading["used"] == 0


def test_missing_weights_are_an_error(kind, tmp_path):
    """A weight of the trunk that is missing, or has another shape, is named (P14); a broken file is an error."""
    stored = load_file(DATA / "scenes" / "model.safetensors")
    (tmp_path / "config.json").write_bytes((DATA / "scenes" / "config.json").read_bytes())
    key = next(name for name in stored if name.startswith("backbone.trunk") and name.endswith("weight"))
    for damaged in ({k: v for k, v in stored.items() if k != key}, {**stored, key: stored[key][:1].clone()}):
        save_file(damaged, tmp_path / "model.safetensors")
        with pytest.raises(MissingWeights, match=key):
            load_scenes(tmp_path, few(kind), 0, True)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(AssetError, match="does not hold a checkpoint"):
        load_scenes(tmp_path, few(kind), 0, True)


def test_detector_doubles_scenes_and_nothing_else():
    """96 x 128 becomes 192 x 256, a multiple of the coarsest step; a photo of 303 x 384 is brought to that height."""
    model = sl.load("scenes", few("detection"), seed=0)
    for size, seen in (((96, 128), (192, 256)), ((303, 384), (192, 243))):
        ready, _ = model.transform([torch.zeros(3, *size)])
        assert ready.image_sizes == [seen]


def test_head_only_moves_nothing_below_the_head(kind):
    """Weights and buffers below the head are the same bits after training the head alone; the head has moved."""
    task, head = few(kind), WITH_HEAD[kind][1]
    model = sl.load("scenes", task, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sl.fit(model, task, sl.head_only(epochs=2), batch=4, seed=0, validate=None, show=False)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(f"{head}.") for name in moved)


def test_a_few_steps_lower_the_loss(kind):
    """Training everything for ten steps on four scenes lowers their loss, and the metrics are finite numbers."""
    task = few(kind)
    model = sl.load("scenes", task, seed=0)
    before = sl.evaluate(model, task, "train")
    sl.fit(model, task, sl.full(epochs=10, lr=5e-4, head_lr=5e-3), batch=4, seed=0, validate=None, show=False)
    after = sl.evaluate(model, task, "train")
    assert after["loss"] < 0.8 * before["loss"]
    assert all(np.isfinite(after[name]) for name in task.metric_names)


# The cards


@pytest.mark.parametrize("name", [*SIZES, "scenes"])
def test_card_says_what_a_reader_must_know(name):
    """Recipe with its seconds, sizes of the splits, bias, licence."""
    if not (DATA / name / "asset.json").exists():
        pytest.skip(f"the checkpoint `{name}` is not made yet")
    card, about = " ".join((DATA / name / "card.md").read_text(encoding="utf-8").split()), facts(name)
    for said in (about["recipe"], f"{about['seconds']} seconds", "Bias", "CC BY 4.0", "Good for"):
        assert said in card, said
    for split, count in about.get("splits", {}).items():
        assert f"| {split} | {count} |" in card, split
