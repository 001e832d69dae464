"""Real pictures: the right pixels, splits that share none, boxes that fit, masks that fit, tasks that run."""

import importlib.util
import json
import shutil
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import nn

import sftlab as sl
from sftlab.errors import AssetError, SftlabError
from sftlab.sets import real

DATA = Path(__file__).parents[1] / "data"
CLASSIFY = {"digits": (1000, 297, 500), "faces": (100, 20, 80), "textures": (384, 96, 240)}
SEGMENT = {"coins_segmentation": (33, 6, 6), "cells": (81, 6, 6), "histology": (105, 8, 16)}
TILED = {"textures": 16, "coins_segmentation": 64, "cells": 48, "histology": 64}
NAMES = [*CLASSIFY, "coins", *SEGMENT]


@pytest.fixture(scope="module")
def tasks():
    """Every task once."""
    pytest.importorskip("skimage", reason="the extra `vision` is not installed")
    pytest.importorskip("sklearn", reason="the extra `vision` is not installed")
    return {name: getattr(real, name)() for name in NAMES}


def load_recipe(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_recipe", DATA / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def image_of(example: dict) -> torch.Tensor:
    return example["image" if "image" in example else "input"]


def apart(a: tuple, b: tuple) -> int:
    """Rows or columns of pixels between two rectangles (top, left, bottom, right); negative if they overlap."""
    return max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3])


def rectangles(task, split: str) -> list[tuple]:
    found = []
    for example in task.examples(split):
        (top, left), (height, width) = example["place"], image_of(example).shape[1:]
        found.append((top, left, top + height, left + width))
    return found


# Pictures


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_rgb_in_0_1_and_use_the_range(tasks, name):
    """float32 [3, H, W] within [0, 1], not all dark (scaled once, not twice), and no picture twice in two splits."""
    seen = {}
    for split in ("train", "val", "test"):
        images = [image_of(example) for example in tasks[name].examples(split)]
        assert all(x.dtype == torch.float32 and x.shape[0] == 3 and x.min() >= 0 and x.max() <= 1 for x in images)
        assert max(float(x.max()) for x in images) > 0.7
        seen[split] = {x.contiguous().numpy().tobytes() for x in images}
    assert not any(seen[a] & seen[b] for a, b in combinations(seen, 2))


@pytest.mark.parametrize("name", CLASSIFY)
def test_sizes_and_classes(tasks, name):
    """The sizes that the cards state; every class in every split as often as in the whole, to one and a half."""
    task = tasks[name]
    assert tuple(len(task.examples(split)) for split in ("train", "val", "test")) == CLASSIFY[name]
    whole = Counter(row["label"] for split in task.splits for row in task.examples(split))
    assert set(whole) == set(task.label_names)
    for split in task.splits:
        found = Counter(row["label"] for row in task.examples(split))
        for label in whole:
            assert abs(found[label] - whole[label] * found.total() / whole.total()) <= 1.5, (split, label)


@pytest.mark.parametrize("name", ["digits", "faces"])
@pytest.mark.parametrize("count", [10, 20, 50])
def test_prefixes_are_stratified(tasks, name, count):
    """The first 10, 20, 50 training examples have every class as evenly as possible."""
    found = Counter(row["label"] for row in tasks[name].examples("train")[:count])
    assert len(found) == len(tasks[name].label_names) and max(found.values()) - min(found.values()) <= 1


def test_labels_belong_to_their_pictures(tasks):
    """Splits are drawn, and labels with them: digits by the nearest class mean, faces by their order in the library."""
    import numpy as np
    from skimage.data import lfw_subset

    rows = tasks["digits"].examples("train")
    x, y = torch.stack([row["image"][0].flatten() for row in rows]), [int(row["label"]) for row in rows]
    means = torch.stack([x[[label == k for label in y]].mean(0) for k in range(10)])
    assert (torch.cdist(x, means).argmin(1) == torch.tensor(y)).float().mean() > 0.85
    first = {(image * 255).round().astype(np.uint8).tobytes() for image in lfw_subset()[:100]}
    for row in tasks["faces"].examples("test"):
        pixels = (row["image"][0] * 255).round().to(torch.uint8).contiguous().numpy().tobytes()
        assert (row["label"] == "face") == (pixels in first)


def test_other_pixels_are_refused(monkeypatch, tasks):
    """A library whose photo differs by one pixel would not fit the boxes: an error with both digests."""
    from skimage import data

    changed = data.coins().copy()
    changed[0, 0] += 1
    monkeypatch.setattr(data, "coins", lambda: changed)
    with pytest.raises(AssetError, match=r"expected sha256 [0-9a-f]{64}\n  found    sha256 [0-9a-f]{64}"):
        real.coins()


@pytest.mark.parametrize(
    ("name", "module"), [(name, "skimage.data") for name in NAMES[1:]] + [("digits", "sklearn.datasets")]
)
def test_missing_extra_is_named(monkeypatch, name, module):
    """Without the library the error says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SftlabError, match=r"pip install 'sftlab\[vision\]'"):
        getattr(real, name)()


# Places


@pytest.mark.parametrize("name", TILED)
def test_tiles_of_different_splits_are_apart(tasks, name):
    """At least 8 pixels between any two tiles of different splits; validation and test tiles do not overlap at all."""
    task, photos = tasks[name], {"textures": 3}.get(name, 1)
    places = {split: set(rectangles(task, split)) for split in task.splits}
    assert all(len(places[split]) == len(task.examples(split)) // photos for split in places)
    assert all(bottom - top == right - left == TILED[name] for s in places for top, left, bottom, right in places[s])
    for one, other in combinations(places, 2):
        assert min(apart(a, b) for a in places[one] for b in places[other]) >= 8, (one, other)
    for split in ("val", "test"):
        assert min(apart(a, b) for a, b in combinations(places[split], 2)) >= 0


def test_apart_sees_overlap():
    """The measure above can fail."""
    assert apart((0, 0, 10, 10), (5, 5, 15, 15)) == -5 and apart((0, 0, 10, 10), (0, 14, 10, 20)) == 4


def test_coin_pictures_of_different_splits_are_apart(tasks):
    """Four rows of pixels between pictures of different splits; 12, 6 and 6 coins; in val and test each coin once."""
    places = {split: rectangles(tasks["coins"], split) for split in ("train", "val", "test")}
    for one, other in combinations(places, 2):
        assert min(apart(a, b) for a in places[one] for b in places[other]) >= 4
    coins = {split: Counter() for split in places}
    for split, found in coins.items():
        for example in tasks["coins"].examples(split):
            top, left = example["place"]
            found.update((x1 + left, y1 + top, x2 + left, y2 + top) for x1, y1, x2, y2 in example["boxes"])
    assert [len(found) for found in coins.values()] == [12, 6, 6]
    assert set(coins["val"].values()) == set(coins["test"].values()) == {1}


# Boxes and masks


@pytest.fixture(scope="module")
def coin_mask():
    return real._mask("coins")


@pytest.fixture(scope="module")
def coin_rows():
    return json.loads((DATA / "coins" / "annotations.json").read_text(encoding="utf-8"))["annotations"]


def test_boxes_are_tight_around_masks(coin_mask, coin_rows):
    """24 coins, numbered; each box is the smallest around its mask; area is the number of its pixels; none overlap."""
    assert coin_mask.shape == (303, 384) and sorted(coin_mask.unique().tolist()) == list(range(25))
    for row in coin_rows:
        y, x = (coin_mask == row["id"]).nonzero(as_tuple=True)
        left, top, width, height = row["bbox"]
        assert (int(x.min()), int(y.min())) == (left, top) and row["area"] == len(x)
        assert (int(x.max()) + 1, int(y.max()) + 1) == (left + width, top + height)
        assert 0 < left and 0 < top and left + width < 384 and top + height < 303
    boxes = [(y, x, y + h, x + w) for x, y, w, h in (row["bbox"] for row in coin_rows)]
    assert min(apart(a, b) for a, b in combinations(boxes, 2)) >= 5


def test_coins_are_round_and_whole(coin_mask, coin_rows):
    """Each mask is one piece without holes and fills its box nearly as a circle does (pi / 4 = 0.785)."""
    ndimage = pytest.importorskip("scipy.ndimage")
    for row in coin_rows:
        coin = (coin_mask == row["id"]).numpy()
        assert ndimage.label(coin)[1] == 1 and (ndimage.binary_fill_holes(coin) == coin).all()
        assert 0.72 < row["area"] / (row["bbox"][2] * row["bbox"][3]) < 0.82, row


def test_masks_end_where_coins_end(tasks, coin_mask):
    """One pixel inside each outline the photo is brighter than two pixels outside, by 25 grey levels at the median."""
    from scipy import ndimage
    from skimage.data import coins

    photo, mask = coins().astype(float), coin_mask.numpy()
    outside = ndimage.distance_transform_edt(mask == 0)
    for number in range(1, 25):
        coin = mask == number
        near = ndimage.binary_dilation(coin, iterations=5)
        inner = photo[coin & (ndimage.distance_transform_edt(coin) <= 2)]
        outer = photo[near & (outside > 2) & (outside <= 4)]
        assert sorted(inner)[len(inner) // 2] - sorted(outer)[len(outer) // 2] > 25, number


def test_boxes_in_pictures_lie_on_coins(tasks, coin_mask):
    """Cutting moved the boxes with the pixels: inside each box the mask of one coin touches all four sides."""
    for split in ("train", "val", "test"):
        for example in tasks["coins"].examples(split):
            (top, left), (height, width) = example["place"], example["input"].shape[1:]
            part = coin_mask[top : top + height, left : left + width]
            assert len(example["boxes"]) == len(part.unique()) - 1, "a coin without a box, or cut"
            for x1, y1, x2, y2 in (map(int, box) for box in example["boxes"]):
                inside = part[y1:y2, x1:x2]
                (number,) = set(inside.unique().tolist()) - {0}
                assert all((side == number).any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
                assert (part == number).sum() == (coin_mask == number).sum(), "the picture cuts the coin"


@pytest.mark.parametrize("name", SEGMENT)
def test_masks_have_every_class_in_every_split(tasks, name):
    """Sizes; masks as large as tiles; each class has at least 2 % of the pixels of each split."""
    task = tasks[name]
    assert tuple(len(task.examples(split)) for split in ("train", "val", "test")) == SEGMENT[name]
    for split in task.splits:
        masks = torch.stack([example["mask"] for example in task.examples(split)])
        assert masks.shape[1:] == (TILED[name],) * 2 and masks.dtype == torch.int64
        shares = torch.bincount(masks.flatten(), minlength=len(task.label_names)) / masks.numel()
        assert len(shares) == len(task.label_names) and shares.min() > 0.02, (split, shares)


def test_weak_masks_follow_the_stains(tasks):
    """Glands are brown (red above blue), nuclei blue, the cell brighter than its surroundings."""

    def mean(name, label):
        pairs = [(row["input"], row["mask"] == label) for row in tasks[name].examples("test")]
        return torch.cat([image[:, where] for image, where in pairs], dim=1).mean(1)

    background, gland, nucleus = (mean("histology", label) for label in range(3))
    assert gland[0] > gland[2] + 0.1 and nucleus[2] > nucleus[0] + 0.05 and (background > nucleus).all()
    assert mean("cells", 1)[0] > mean("cells", 0)[0] + 0.3


@pytest.mark.parametrize(("name", "task"), [("cell", "cells"), ("histology", "histology")])
def test_asset_states_what_the_task_has(tasks, name, task):
    """asset.json: the classes and the numbers of tiles."""
    facts = json.loads((DATA / name / "asset.json").read_text(encoding="utf-8"))["facts"]
    found = {split: len(tasks[task].examples(split)) for split in tasks[task].splits}
    assert facts["labels"] == tasks[task].label_names and facts["splits"] == found


# Recipes


def test_coin_recipe_gives_the_same_files(tasks, tmp_path):
    """Written again into another folder: the same boxes, byte for byte, and the same pixels of the mask."""
    from PIL import Image

    folder = tmp_path / "coins"
    folder.mkdir()
    load_recipe("coins").main(folder)
    assert (folder / "annotations.json").read_bytes() == (DATA / "coins" / "annotations.json").read_bytes()
    with Image.open(folder / "mask.png") as made, Image.open(DATA / "coins" / "mask.png") as stored:
        assert made.mode == stored.mode == "L" and made.tobytes() == stored.tobytes()


def test_coin_corrections_matter(tasks, monkeypatch):
    """Without the corrections by hand the mask of coin 24 runs into the border of the print."""
    from skimage.data import coins

    recipe = load_recipe("coins")
    monkeypatch.setattr(recipe, "CORRECTIONS", [])
    assert recipe.annotations(recipe.make_mask(coins()))["annotations"][23]["bbox"][2] > 45


def test_weak_mask_recipe_gives_the_same_pixels(tasks, tmp_path):
    """Both masks again, in another folder."""
    from PIL import Image

    for name in ("cell", "histology"):
        (tmp_path / name).mkdir()
    load_recipe("weak_masks").main(tmp_path)
    for name in ("cell", "histology"):
        with Image.open(tmp_path / name / "mask.png") as made, Image.open(DATA / name / "mask.png") as stored:
            assert made.mode == stored.mode == "L" and made.tobytes() == stored.tobytes()


def test_files_are_small():
    """All files of these sets together are under 40 kB."""
    folders = [DATA / name for name in ("coins", "cell", "histology", "digits", "faces", "textures")]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < 40_000


def test_altered_mask_is_refused(tasks, tmp_path, monkeypatch):
    """Masks are checked by their sha256 like every other asset."""
    shutil.copytree(DATA / "histology", tmp_path / "histology")
    with open(tmp_path / "histology" / "mask.png", "ab") as file:
        file.write(b"\0")
    monkeypatch.setenv("SFTLAB_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match=r"mask.png is truncated or altered"):
        real.histology()


# Tasks run


class Classifier(nn.Module):
    image_size, mean, std = 16, (0.5,) * 3, (0.25,) * 3

    def __init__(self, classes: int):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.body(x).relu().mean((2, 3)))


@pytest.mark.parametrize("name", CLASSIFY)
def test_classification_runs(tasks, name):
    """Five epochs of a tiny net on 100 pictures: a finite loss, and a smaller one than before."""
    whole = tasks[name]
    assert whole.kind == "image classification"
    splits = {split: whole.examples(split)[:100] for split in whole.splits}
    task = sl.Classify(splits, whole.label_names, sl.ImageInput())
    torch.manual_seed(0)
    model = Classifier(len(task.label_names))
    before = sl.evaluate(model, task, "val")["loss"]
    sl.fit(model, task, sl.full(epochs=5, lr=1e-2))
    assert sl.evaluate(model, task, "val")["loss"] < before < 10


@pytest.mark.parametrize("name", SEGMENT)
def test_segmentation_runs(tasks, name):
    """A tiny convolutional net: finite loss, IoU and Dice in [0, 1]."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, len(tasks[name].label_names), 1))
    found = sl.evaluate(model, tasks[name], "test")
    assert 0 < found["loss"] < 10 and 0 <= found["mean_iou"] <= found["mean_dice"] <= 1


def test_detection_runs(tasks):
    """A tiny Faster R-CNN: a finite loss with a gradient, mAP in [0, 1]."""
    import task_nets

    torch.manual_seed(0)
    model, task = task_nets.detector(), tasks["coins"]
    batch = task.collate(task.encode(task.examples("train")[:4], model), model)
    loss = task.loss(model, batch)
    loss.total.backward()
    assert torch.isfinite(loss.total) and int(loss.count) == 4
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0
    assert 0 <= sl.evaluate(model, task, "test")["map"] <= 1
