"""Chapter 19: what it writes by hand equals torchvision, degenerate boxes included; own COCO files go through."""

import json

import cells
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import ops, tv_tensors
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms import v2

import sftlab as sl
from sftlab.tasks.vision import average_precision

NAME = "19_object_detection"
DATA = 'task = sl.task("street")'
OWN = '# task, elsewhere = sl.from_coco("my_pictures", "my_boxes.json"), True'


def own_coco(folder, count=40):
    """Pictures of a light square or a dark one, a few with nothing, and their COCO file."""
    draw = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(count):
        pixels = draw.integers(100, 130, (60, 80, 3), dtype=np.uint8)
        for k in range(i % 3):
            x, y, side = (int(n) for n in (draw.integers(0, 50), draw.integers(0, 35), draw.integers(12, 24)))
            pixels[y : y + side, x : x + side] = 250 * k
            box = {"id": len(annotations), "image_id": i, "category_id": k + 1, "bbox": [x, y, side, side]}
            annotations.append(box)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 80, "height": 60})
    categories = [{"id": 1, "name": "dark"}, {"id": 2, "name": "light"}]
    about = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(about), encoding="utf-8")
    return folder, folder / "boxes.json"


def test_own_coco_file_by_one_cell(tmp_path, monkeypatch):
    """The line of the comment in place of the first; all other cells stay."""
    folder, file = own_coco(tmp_path)
    line = (
        OWN.removeprefix("# ").replace('"my_pictures"', repr(str(folder))).replace('"my_boxes.json"', repr(str(file)))
    )
    space = cells.run(NAME, monkeypatch, {DATA: line})
    assert space["names"] == ["background", "dark", "light"] and space["elsewhere"]
    assert set(space["scores"]) == {"scratch", "full", "last layer", "above the body"}
    trained = {name: cost[0][1] for name, cost in space["costs"].items()}
    assert trained["last layer"] < trained["above the body"] < trained["full"] == trained["scratch"]


def test_the_comment_shows_that_line():
    (cell,) = [c for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source]
    assert OWN in cell.source


@pytest.fixture(scope="module")
def chapter():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield cells.run(NAME, monkeypatch, until="scores, costs, kept")


def boxes(count, seed):
    """Random boxes, some of them without area, some equal, some far away."""
    draw = torch.Generator().manual_seed(seed)
    corner = 50 * torch.rand(count, 2, generator=draw)
    side = 1 + 30 * torch.rand(count, 2, generator=draw)
    side[::7] = 0
    out = torch.cat([corner, corner + side], dim=1)
    out[::5] += 1000
    out[1::9] = out[:1]
    return out


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_iou_is_torchvisions(chapter, count):
    for seed in range(20):
        a, b = boxes(count, seed), boxes(17, seed + 100)
        expected = ops.box_iou(a, b).nan_to_num(0.0)  # torchvision: 0 / 0 for two boxes without area
        found = chapter["iou"](a, b)
        assert found.shape == (count, 17) and torch.allclose(found, expected, atol=1e-6)
        assert torch.allclose(chapter["iou"](b, a), found.T)


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.7, 1.0])
def test_nms_is_torchvisions(chapter, limit):
    for seed in range(20):
        a = boxes(60, seed)
        a[:, 2:] += 1  # with area: torchvision's NaN for two without keeps both
        scores = torch.rand(60, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(chapter["nms"](a, scores, limit), ops.nms(a, scores, limit))
    assert len(chapter["nms"](torch.zeros(0, 4), torch.zeros(0), limit)) == 0


def test_boxes_are_encoded_and_decoded_as_torchvision_does(chapter):
    coder = chapter["base"].rpn.box_coder
    for seed in range(20):
        a, anchors = boxes(30, seed), boxes(30, seed + 50)
        a[:, 2:], anchors[:, 2:] = a[:, 2:] + 1, anchors[:, 2:] + 2
        t = chapter["encode"](a, anchors)
        assert torch.allclose(t, coder.encode([a], [anchors])[0], atol=1e-4)
        assert torch.allclose(chapter["decode"](t, anchors), a, atol=1e-2)
    assert chapter["encode"](torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    # A mended coder would clamp the size; that of the chapter is for boxes that exist.
    same = chapter["encode"](anchors, anchors)
    assert torch.allclose(same, torch.zeros_like(same), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_four_losses_are_torchvisions(chapter, seed):
    """On several scenes and draws of the samples; their sum is what sl.Detect trains on."""
    order = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
    for row in chapter["train"][seed : seed + 2]:
        by_hand, losses = chapter["four"](chapter["base"], row, seed)
        for name, ours in zip(order, by_hand, strict=True):
            assert torch.allclose(ours, losses[name], atol=1e-5), name


def test_average_precision_by_hand(chapter):
    """Of random lists of hits: boxes that fit exactly or not at all, so every threshold says the same."""
    for seed in range(10):
        draw = torch.Generator().manual_seed(seed)
        hits = (torch.rand(12, generator=draw) < 0.5).tolist()
        count = sum(hits) + seed % 3 + (not any(hits))
        things = torch.tensor([[20.0 * i, 0, 20 * i + 10, 10] for i in range(count)])
        found, free = [], iter(things)
        for i, hit in enumerate(hits):
            found.append(next(free) if hit else torch.tensor([20.0 * i, 500, 20 * i + 10, 510]))
        said = {"boxes": torch.stack(found), "scores": torch.linspace(1, 0.1, 12), "labels": torch.ones(12).long()}
        true = {"boxes": things, "labels": torch.ones(count).long()}
        each = average_precision([said], [true])[0]
        assert all(abs(chapter["ap"](hits, count) - v) < 1e-9 for v in each.tolist())


def test_mirrored_boxes_are_v2s(monkeypatch):
    (source,) = [c.source for c in cells.chapters.read(NAME).cells if "def mirrored" in c.source]
    names = {}
    exec(source[: source.index("row = ")], names)
    for count in (0, 1, 30):
        image, a = torch.rand(3, 50, 70), boxes(count, 3).clamp(max=50)
        told = tv_tensors.BoundingBoxes(a, format="XYXY", canvas_size=(50, 70))
        flipped = names["mirrored"](image, a)
        assert torch.equal(flipped[0], v2.functional.horizontal_flip(image))
        assert torch.equal(flipped[1], v2.functional.horizontal_flip(told).as_subclass(torch.Tensor))
        assert torch.allclose(names["mirrored"](*flipped)[1], a, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"boxes": [[60.0, 40.0, 20.0, 10.0]]}, r"is it \[x, y, width, height\]\?"),
        ({"boxes": [[5.0, 5.0, 5.0, 9.0]]}, "x1 < x2 and y1 < y2"),
        ({"labels": [0]}, "0 is the background"),
        ({"boxes": [[5.0, 5.0, 500.0, 9.0]]}, "leaves the image, 128 wide and 96 high"),
        ({"boxes": [[-3.0, 5.0, 50.0, 9.0]]}, "leaves the image"),
        ({"labels": ["tram"]}, "has the label 'tram'; known"),
        ({"labels": []}, "a label for each of the 1 boxes"),
        ({"boxes": [[float("nan"), 5.0, 50.0, 9.0]]}, r"train\[1\]"),
    ],
)
def test_targets_that_are_none_are_refused_with_their_place(change, says):
    good = sl.task("street").examples("train")[0] | {"boxes": [[5.0, 5.0, 50.0, 9.0]], "labels": ["car"]}
    with pytest.raises(sl.errors.BadData, match=says) as error:
        sl.Detect({"train": [good, good | change]}, ["pedestrian", "car", "sign"])
    assert "train[1]" in str(error.value)


def test_a_scene_without_boxes_trains():
    rows = [row | {"boxes": [], "labels": []} for row in sl.task("street").examples("train")[:2]]
    task = sl.Detect({"train": rows, "test": rows}, ["car"])
    model = sl.load("scenes", task, seed=0)
    run = sl.fit(model, task, sl.head_only(epochs=1), batch=2, validate=None, show=False)
    assert all(np.isfinite(step["loss"]) for step in run.steps)


def test_torchvisions_detectors_go_through_the_same_task():
    """As the full profile has them: random weights here, but the true class, trained for one step."""
    rows = sl.task("street").examples("train")[:2]
    task = sl.Detect({"train": rows, "test": rows}, ["pedestrian", "car", "sign"])
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=len(task.label_names), min_size=96
    )
    run = sl.fit(model, task, sl.full(epochs=1, lr=1e-4), batch=2, validate=None, show=False)
    assert np.isfinite(run.steps[-1]["loss"]) and "map_50" in sl.evaluate(model, task, "test")
