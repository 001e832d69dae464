"""Chapter 19: its boxes, losses and average precision against torchvision and COCO; targets that are refused, with the
image's index; it runs on one's own COCO file and in the full profile."""

import json

import cells
import numpy as np
import pytest
import torch
import web
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchmetrics.detection import MeanAveragePrecision
from torchvision import ops, tv_tensors
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms import v2

import sftlab as sl
from sftlab.errors import BadData
from sftlab.tasks.vision import average_precision

NAME = "19_object_detection"
DATA = 'task = sl.task("street")'
OWN = '# task, elsewhere = sl.from_coco("my_pictures", "my_boxes.json"), True'
RCNN, MOBILE = "fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")


@pytest.fixture(scope="module")
def chapter():
    """The chapter's functions up to average precision, and an untrained detector."""
    pytest.importorskip("pycocotools", reason="the extra `vision` is not installed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield cells.run(NAME, monkeypatch, until="scores, costs, kept")


@pytest.fixture(scope="module")
def mirrored():
    """The function of a cell behind the experiments."""
    (source,) = [c.source for c in cells.chapters.read(NAME).cells if "def mirrored" in c.source]
    exec(source.split("\nrow =")[0], space := {})
    return space["mirrored"]


# Boxes, many draws: whole numbers in a small square, so that equal, touching and empty boxes are frequent.

SIDE = st.integers(0, 12)
BOX = st.tuples(SIDE, SIDE, SIDE, SIDE).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)
SOLID = st.tuples(SIDE, SIDE, st.integers(1, 9), st.integers(1, 9)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
MANY = settings(max_examples=200, deadline=None)


def tensor(boxes) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


@MANY
@given(a=st.lists(BOX, max_size=6), b=st.lists(BOX, max_size=6))
def test_iou_is_torchvisions(chapter, a, b):
    """None, boxes without area and equal boxes included; 0 / 0, torchvision's NaN, is 0 here. Symmetric, in [0, 1]."""
    found = chapter["iou"](tensor(a), tensor(b))
    assert found.shape == (len(a), len(b))
    assert torch.equal(found, ops.box_iou(tensor(a), tensor(b)).nan_to_num(0.0))
    assert torch.equal(found, chapter["iou"](tensor(b), tensor(a)).T)
    assert bool(((found >= 0) & (found <= 1)).all())


@MANY
@given(boxes=st.lists(BOX, max_size=15), limit=st.sampled_from([0.0, 0.2, 0.45, 0.71, 1.0]), data=st.data())
def test_nms_is_torchvisions(chapter, boxes, limit, data):
    """Ties of scores included; what is kept does not overlap by more than the limit, what is not kept does."""
    scores = data.draw(st.lists(st.integers(0, 8), min_size=len(boxes), max_size=len(boxes)))
    scores, boxes = torch.tensor(scores, dtype=torch.float64) / 8, tensor(boxes)
    kept = chapter["nms"](boxes, scores, limit)
    assert torch.equal(kept, ops.nms(boxes, scores, limit))
    overlaps = chapter["iou"](boxes, boxes[kept])
    assert all(overlaps[i, at] <= limit for at in range(len(kept)) for i in kept[:at].tolist())
    gone = set(range(len(boxes))) - set(kept.tolist())
    assert all((overlaps[i] > limit).any() for i in gone)


@MANY
@given(boxes=st.lists(BOX, max_size=8))
def test_other_notations_are_torchvisions(chapter, boxes):
    boxes = tensor(boxes)
    assert torch.equal(chapter["to_corners"](ops.box_convert(boxes, "xyxy", "xywh")), boxes)
    assert torch.equal(chapter["to_centres"](boxes), ops.box_convert(boxes, "xyxy", "cxcywh"))


@MANY
@given(pairs=st.lists(st.tuples(SOLID, SOLID), max_size=8))
def test_encoding_is_torchvisions_and_back(chapter, pairs):
    """For boxes and anchors with an area; no boxes at all included."""
    boxes, anchors = (tensor([pair[k] for pair in pairs]) for k in (0, 1))
    t = chapter["encode"](boxes, anchors)
    coder = chapter["base"].rpn.box_coder
    assert torch.allclose(t, coder.encode_single(boxes, anchors), atol=1e-9)
    assert torch.allclose(chapter["decode"](t, anchors), boxes, atol=1e-9)
    if len(pairs):
        assert torch.allclose(coder.decode_single(t, anchors), boxes, atol=1e-9)
    moved = chapter["encode"](3 * boxes + 7, 3 * anchors + 7)
    assert torch.allclose(moved, t, atol=1e-9), "neither place nor scale of the picture should matter"


@MANY
@given(boxes=st.lists(BOX, max_size=6), high=st.integers(12, 20), wide=st.integers(21, 30))
def test_mirrored_is_torchvisions(mirrored, boxes, high, wide):
    """Image and boxes; twice gives both back; the caller's boxes stay."""
    image, boxes = torch.arange(3.0 * high * wide).reshape(3, high, wide), tensor(boxes)
    before = boxes.clone()
    picture, flipped = mirrored(image, boxes)
    told = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(high, wide))
    both = v2.RandomHorizontalFlip(p=1.0)({"image": tv_tensors.Image(image), "boxes": told})
    assert torch.equal(picture, both["image"]) and torch.equal(flipped, torch.as_tensor(both["boxes"]))
    again = mirrored(picture, flipped)
    assert torch.equal(again[0], image) and torch.equal(again[1], before) and torch.equal(boxes, before)


@pytest.mark.parametrize(("high", "wide"), [(32, 32), (64, 96), (192, 256), (96, 32)])
def test_anchors_are_torchvisions(chapter, high, wide):
    maps = [torch.zeros(1, 1, high // step, wide // step) for step in (4, 8, 16, 32)]
    theirs = chapter["generator"](ImageList(torch.zeros(1, 3, high, wide), [(high, wide)]), maps)[0]
    ours = chapter["every_anchor"](high, wide)
    assert torch.equal(ours, theirs) and len(ours) == 3 * sum(m[0, 0].numel() for m in maps)


# Losses and average precision


@pytest.mark.parametrize("number", range(4))
def test_four_losses_are_those_of_the_model_and_the_task(chapter, number):
    """By hand, by torchvision and by sl.Detect, whose loss is their sum."""
    from sftlab.data.batching import mix

    task, model, row = chapter["task"], chapter["base"], chapter["train"][number]
    by_hand, losses = chapter["four"](model, row, seed=mix(mix(0, 0, 1), 1))
    for name, ours in zip(LOSSES, by_hand, strict=True):
        assert torch.allclose(ours, losses[name], atol=1e-6), name
        assert float(ours.detach()) > 0, name
    one = sl.Detect({"train": [row]}, task.label_names[1:])
    batch = one.collate(one.encode(one.examples("train"), model), model)
    assert torch.allclose(one.loss(model, batch).total, sum(by_hand), atol=1e-5)


def test_image_without_boxes_has_losses_of_stages_without_boxes(chapter):
    """Nothing to regress: both box losses are 0, the others finite, by hand as by torchvision."""
    row = chapter["train"][0] | {"boxes": [], "labels": []}
    by_hand, losses = chapter["four"](chapter["base"], row, seed=3)
    for name, ours in zip(LOSSES, by_hand, strict=True):
        assert torch.allclose(ours, losses[name], atol=1e-6) and bool(ours.isfinite()), name
    assert float(by_hand[1].detach()) == float(by_hand[3].detach()) == 0


def test_each_loss_reaches_its_parts(chapter):
    assert chapter["taught"] == {
        "loss_objectness": {"body", "thing?"}, "loss_rpn_box_reg": {"body", "where?"},
        "loss_classifier": {"body", "box head", "class"}, "loss_box_reg": {"body", "box head", "box"},
    }  # fmt: skip


def test_smooth_l1_is_torchs(chapter):
    d = torch.linspace(-2, 2, 401).double()
    theirs = torch.nn.functional.smooth_l1_loss(d, torch.zeros_like(d), beta=1 / 9, reduction="sum")
    assert torch.allclose(chapter["smooth_l1"](d), theirs)


@MANY
@given(things=st.lists(SOLID, min_size=1, max_size=5), found=st.lists(SOLID, max_size=8), data=st.data())
def test_average_precision_by_hand(chapter, things, found, data):
    """Greedy matching at 0.5 and formula (6) by hand, against the library's; scores are all different."""
    order = data.draw(st.permutations(range(len(found))))
    scores = torch.tensor([(n + 1) / 16 for n in order])
    found, things = tensor(found), tensor(things)
    free, hits = set(range(len(things))), []
    for i in scores.argsort(descending=True).tolist():
        overlap = ops.box_iou(found[i : i + 1], things)[0]
        best = max(sorted(free), key=lambda j: overlap[j].item(), default=None)
        hits.append(best is not None and bool(overlap[best] > 0.5 - 1e-6))
        free -= {best} if hits[-1] else set()
    ones = torch.ones(len(found), dtype=torch.long), torch.ones(len(things), dtype=torch.long)
    theirs = average_precision(
        [{"boxes": found, "scores": scores, "labels": ones[0]}], [{"boxes": things, "labels": ones[1]}]
    )[0, 0]
    assert chapter["ap"](hits, len(things)) == pytest.approx(float(theirs), abs=1e-9)


def test_average_precision_is_torchmetrics():
    """Several images and classes, one image without things, one without detections."""
    pytest.importorskip("pycocotools", reason="the extra `vision` is not installed")
    draw = torch.Generator().manual_seed(0)

    def boxes(count):
        corner = 40 * torch.rand(count, 2, generator=draw)
        return torch.cat([corner, corner + 3 + 20 * torch.rand(count, 2, generator=draw)], dim=1)

    true, said = [], []
    for n in range(12):
        count = 0 if n == 3 else 1 + n % 5
        t = {"boxes": boxes(count), "labels": torch.randint(1, 4, (count,), generator=draw)}
        near = t["boxes"] + 2 * torch.randn(count, 4, generator=draw)
        near[:, 2:] = near[:, 2:].maximum(near[:, :2] + 1)  # a detector's boxes have an area
        p = {"boxes": torch.cat([near, boxes(3)]), "labels": torch.cat([t["labels"], torch.tensor([1, 2, 3])])}
        p = {k: v[: 0 if n == 7 else None] for k, v in p.items()}
        true.append(t)
        said.append(p | {"scores": torch.rand(len(p["labels"]), generator=draw)})
    judge = MeanAveragePrecision()
    judge.update(said, true)
    theirs, ours = judge.compute(), average_precision(said, true)
    assert float(ours.mean()) == pytest.approx(float(theirs["map"]), abs=1e-6)
    assert float(ours[:, 0].mean()) == pytest.approx(float(theirs["map_50"]), abs=1e-6)


# Targets


BAD = {
    "x, y, width, height": ([[60.0, 40.0, 20.0, 10.0]], ["car"], r"\[60.0, 40.0, 20.0, 10.0\] needs x1 < x2 .*"
                            r"is it \[x, y, width, height\]\?"),
    "no width": ([[1.0, 1.0, 4.0, 6.0], [5.0, 5.0, 5.0, 9.0]], ["car", "car"], r"boxes\[1\] .* needs x1 < x2"),
    "no height": ([[5.0, 5.0, 9.0, 5.0]], ["car"], r"boxes\[0\] .* needs x1 < x2 and y1 < y2"),
    "label 0": ([[5.0, 5.0, 9.0, 9.0]], [0], r"the label 0; known: .*0 is the background"),
    "outside": ([[5.0, 5.0, 137.0, 9.0]], ["car"], r"leaves the image, 128 wide and 96 high"),
    "before the edge": ([[-2.0, 5.0, 9.0, 9.0]], ["car"], r"leaves the image"),
    "no number": ([[float("nan"), 5.0, 50.0, 9.0]], ["car"], "must be 4 finite numbers"),
    "unknown": ([[5.0, 5.0, 9.0, 9.0]], ["tram"], r"has the label 'tram'; known"),
    "labels missing": ([[5.0, 5.0, 9.0, 9.0]], [], r"a label for each of the 1 boxes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("at", [0, 3])
def test_bad_targets_are_refused_with_the_image(kind, at):
    """Before any training: the split, the image's number, the box, and what to do."""
    boxes, labels, message = BAD[kind]
    rows = [{"input": torch.rand(3, 96, 128), "boxes": [[1.0, 1.0, 9.0, 9.0]], "labels": ["car"]} for _ in range(5)]
    rows[at] |= {"boxes": boxes, "labels": labels}
    with pytest.raises(BadData, match=rf"train\[{at}\]: .*{message}"):
        sl.Detect({"train": rows}, ["car"])


def test_images_without_boxes_train():
    """Alone and among others: the losses are finite, and something moves."""
    empty = {"input": torch.rand(3, 96, 128), "boxes": [], "labels": []}
    one = {"input": torch.rand(3, 96, 128), "boxes": [[10.0, 10.0, 40.0, 30.0]], "labels": ["car"]}
    for rows in ([empty, empty], [empty, one]):
        task = sl.Detect({"train": rows, "test": rows}, ["car"])
        model = sl.load("scenes", task, seed=0)
        before = [p.detach().clone() for p in model.parameters()]
        run = sl.fit(model, task, sl.full(epochs=1), batch=2, validate=None, show=False)
        assert np.isfinite([step["loss"] for step in run.steps]).all()
        after = list(model.parameters())
        assert all(bool(p.isfinite().all()) for p in after)
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_torchvisions_detectors_go_through_the_same_task():
    """Random weights here, but the true class, trained for one step."""
    rows = sl.task("street").examples("train")[:2]
    task = sl.Detect({"train": rows, "test": rows}, ["pedestrian", "car", "sign"])
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=len(task.label_names), min_size=96
    )
    run = sl.fit(model, task, sl.full(epochs=1, lr=1e-4), batch=2, validate=None, show=False)
    assert np.isfinite(run.steps[-1]["loss"]) and "map_50" in sl.evaluate(model, task, "test")


# One's own data, and the full profile


def own_file(folder):
    """Pictures of two sizes with dark and light squares, a few without any; a COCO file with one category too many."""
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    images, annotations = [], []
    for i in range(40):
        wide, high = ((96, 72), (80, 80))[i % 2]
        pixels = draw.integers(100, 140, (high, wide, 3), dtype=np.uint8)
        for _ in range(0 if i % 13 == 5 else 1 + i % 3):
            x, y, side, kind = *draw.integers(2, 44, 2).tolist(), int(draw.integers(14, 26)), int(draw.integers(2))
            pixels[y : y + side, x : x + side] = 230 if kind else 20
            annotations.append(
                {"id": len(annotations), "image_id": i, "category_id": 7 + kind, "bbox": [x, y, side, side]}
            )
        Image.fromarray(pixels).save(folder / "pictures" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": wide, "height": high})
    categories = [{"id": 7, "name": "Fleck"}, {"id": 8, "name": "Lücke"}, {"id": 9, "name": "never"}]
    about = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(about), encoding="utf-8")
    return folder / "pictures", folder / "boxes.json"


def checked(space):
    """What must hold for every model and data, beside the chapter's own assertions."""
    assert set(space["scores"]) == {"scratch", "full", "last layer", "above the body"}
    assert all(len(values) == 3 and all(0 <= v <= 1 for v in values) for values in space["scores"].values())
    trained = {name: cost[0][1] for name, cost in space["costs"].items()}
    assert trained["last layer"] < trained["above the body"] < trained["full"]
    # Torchvision's norms are frozen in a pretrained detector: constants, no parameters.
    assert trained["full"] == trained["scratch"] or not space["usual"]
    assert set(space["share"]) == {"scratch", "pretrained"}
    assert min(space["share"]["pretrained"]) >= 0.9 or not space["usual"], "coins are the same whatever the task"
    assert space["finding"].name == "boxes"
    assert space["check_mended"](space["cropped"]).startswith(("Not yet", "A box without"))
    assert space["check_mended"](space["mended"]).startswith("Mended")


def test_own_coco_file_by_one_cell(tmp_path, monkeypatch):
    """The cell that makes the task is replaced by the line that stands in it as a comment; all others stay."""
    pytest.importorskip("skimage", reason="the extra `vision` is not installed")
    pictures, boxes = map(str, own_file(tmp_path))
    line = OWN.removeprefix("# ").replace('"my_pictures"', repr(pictures)).replace('"my_boxes.json"', repr(boxes))
    space = cells.run(NAME, monkeypatch, {DATA: line})
    assert space["names"] == ["background", "Fleck", "Lücke"] and space["elsewhere"]
    checked(space)


def test_the_comment_shows_that_line():
    (cell,) = [c for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source]
    assert OWN in cell.source


def test_full_profile_from_the_same_cells(monkeypatch, tmp_path):
    """Torchvision's detectors under their true names, small and random, fetched from a server on loopback."""
    pytest.importorskip("skimage", reason="the extra `vision` is not installed")
    with web.serve() as server:
        zoo.use(monkeypatch, tmp_path, server, RCNN, MOBILE)
        space = cells.run(NAME, monkeypatch)
    assert space["env"].profile == "full" and space["elsewhere"] and not space["usual"]
    assert space["base"].name == f"torchvision/{RCNN}" and space["base"].loading["used"]
    assert space["other"].name == f"torchvision/{MOBILE}" and space["other"].loading["used"]
    assert len(space["sizes"]) == 5, "five maps, one more than the course's own detector"
    checked(space)
