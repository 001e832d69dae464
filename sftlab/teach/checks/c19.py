"""Checks of chapter 19: overlap, mirrored boxes, suppression by class, encoded boxes, average precision."""

import math

import torch

from ..compare import a_kind, call, draw, expect, expect_close, expect_equal


def iou(answer) -> None:
    """Part in common over union; 0 for boxes that do not meet or have no area."""
    a, b = _box(0, 0, 4, 2), _box(1, 1, 5, 4)
    both, areas = 3.0, (8.0, 12.0)
    suspects = {
        "the part in common is counted twice in the denominator: subtract it once.": both / sum(areas),
        "that is the part in common over the smaller box.": both / min(areas),
        "that is the part in common over the first box.": both / areas[0],
        "that is the area in common; divide it by the union.": both,
        "sides are one pixel too long: a box from 0 to 4 is 4 wide.": 8 / (15 + 20 - 8),
        "that is Dice: twice the part in common over the sum.": 2 * both / sum(areas),
    }
    expect_close(call(answer, a, b), both / (sum(areas) - both), "the IoU", suspects)
    apart = call(answer, _box(0, 0, 2, 2), _box(5, 6, 9, 9))
    expect(
        not isinstance(apart, torch.Tensor) or apart.numel() != 1 or float(apart) == 0,
        f"Boxes that lie diagonally apart have an overlap of {float(apart) if _one(apart) else apart}, expected 0.",
        "Both sides of the part in common are negative there; clamp each of them at 0.",
    )
    expect_close(apart, 0.0, "the IoU of boxes apart")
    expect_close(call(answer, _box(0, 0, 2, 2), _box(2, 0, 4, 2)), 0.0, "the IoU of boxes that touch")
    expect_close(call(answer, a, a), 1.0, "the IoU of a box with itself")
    nothing = call(answer, _box(1, 1, 1, 1), _box(1, 1, 1, 1))
    expect(
        not (_one(nothing) and math.isnan(float(nothing))),
        "Two boxes without area give NaN: 0 / 0.",
        "Divide only where the union is larger than 0.",
    )
    expect_close(nothing, 0.0, "the IoU of two boxes without area")


def flip_boxes(answer) -> None:
    """y1, y2 -> H - y2, H - y1."""
    image = draw(3, 6, 9)
    boxes = torch.tensor([[1.0, 0.0, 4.0, 2.0], [2.0, 3.0, 9.0, 6.0]], dtype=torch.float64)
    found = call(answer, image, boxes)
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        f"`upside_down` should return two things, `(image, boxes)`, and returns {a_kind(found)}.",
    )
    expect_close(found[0], image.flip(1), "the image", {
        "it is mirrored from left to right.": image.flip(2),
        "it is not mirrored.": image,
        "channels are turned round, not rows: the image is [3, H, W].": image.flip(0),
    })  # fmt: skip
    right = boxes.clone()
    right[:, [1, 3]] = 6 - boxes[:, [3, 1]]
    unswapped, sideways, less, wide = (boxes.clone() for _ in range(4))
    unswapped[:, [1, 3]] = 6 - boxes[:, [1, 3]]
    sideways[:, [0, 2]] = 9 - boxes[:, [2, 0]]
    less[:, [1, 3]] = 5 - boxes[:, [3, 1]]
    wide[:, [1, 3]] = 9 - boxes[:, [3, 1]]
    expect_close(found[1], right, "the boxes", {
        "the upper edge lies below the lower one: they change places.": unswapped,
        "they are mirrored from left to right.": sideways,
        "edges are not pixels: the lower edge of the image is H, not H - 1.": less,
        "that is the width; the height is `image.shape[1]`.": wide,
        "they stand where they stood.": boxes,
    })  # fmt: skip
    empty = call(answer, image, torch.zeros(0, 4))
    expect_close(empty[1], torch.zeros(0, 4), "the boxes of an image without any")


def nms(answer) -> None:
    """Greedy, by class; kept boxes alone suppress."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [3, 0, 13, 10], [0, 0, 10, 10], [40, 40, 50, 50]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.95])
    labels = torch.tensor([1, 1, 1, 2, 1])
    found = call(answer, boxes, scores, labels, 0.55)
    # 1 goes by 0 (IoU 0.82); 2 overlaps 1 by 0.67 and 0 by 0.54: only a kept box suppresses, so it stays.
    expect_equal(found, [4, 0, 2, 3], "the indices are", {
        "a box of another class was suppressed; each class is by itself.": [4, 0, 2],
        "a box that was itself dropped has suppressed another one.": [4, 0, 3],
        "they are in the order of the boxes; the best score comes first.": [0, 2, 3, 4],
        "the worst score comes first.": [3, 2, 0, 4],
        "nothing is suppressed.": [4, 0, 1, 2, 3],
        "that is the best box of each class; boxes elsewhere stay, too.": [4, 3],
    })  # fmt: skip
    exact = torch.tensor([[0.0, 0, 2, 1], [1.0, 0, 3, 1]])  # overlap 1 / 3
    expect_equal(
        call(answer, exact, torch.tensor([0.5, 0.9]), torch.tensor([1, 1]), 1 / 3 + 1e-6), [1, 0],
        "two boxes that overlap by less than the limit give",
    )  # fmt: skip
    none = call(answer, torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.5)
    expect(
        isinstance(none, torch.Tensor | list | tuple) and len(none) == 0,
        f"Without boxes there is nothing to keep; found {none!r}.",
    )


def encode(answer) -> None:
    """Centres in sizes of the anchor, sizes as a logarithm."""
    corner, corner_a = 10 * draw(6, 2), 10 * draw(6, 2, seed=1)
    size, size_a = 2 + draw(6, 2, seed=2).abs(), 3 + draw(6, 2, seed=3).abs()
    boxes, anchors = torch.cat([corner, corner + size], 1), torch.cat([corner_a, corner_a + size_a], 1)
    move, scale = (corner + size / 2) - (corner_a + size_a / 2), size / size_a
    right = torch.cat([move / size_a, scale.log()], 1)
    suspects = {
        "distances are those of corners; take the centres.": torch.cat([(corner - corner_a) / size_a, scale.log()], 1),
        "distances are measured in sizes of the box, not of the anchor.": torch.cat([move / size, scale.log()], 1),
        "distances are in pixels; divide them by the anchor's size.": torch.cat([move, scale.log()], 1),
        "the logarithm of the sizes' quotient is missing.": torch.cat([move / size_a, scale], 1),
        "the quotient of the sizes is upside down.": torch.cat([move / size_a, -scale.log()], 1),
        "boxes and anchors are exchanged.": torch.cat([-move / size, -scale.log()], 1),
        "sizes come first; t_x and t_y should.": torch.cat([scale.log(), move / size_a], 1),
    }
    expect_close(call(answer, boxes, anchors), right, "the encoded boxes", suspects)
    expect_close(call(answer, anchors, anchors), torch.zeros(6, 4), "a box that is its anchor")
    expect_close(call(answer, torch.zeros(0, 4), torch.zeros(0, 4)), torch.zeros(0, 4), "no boxes at all, encoded")


def average_precision(answer) -> None:
    """Area under the staircase, each step as high as the best precision from there on."""
    for hits, count in (([True, False, True, True], 5), ([False, True, True], 2), ([True, False, False, True], 3)):
        right, precision, seen = [], [], 0
        for n, hit in enumerate(hits, start=1):
            seen += hit
            precision.append(seen / n)
        right = sum(max(precision[i:]) for i, hit in enumerate(hits) if hit) / count
        raw = sum(p for p, hit in zip(precision, hits, strict=True) if hit)
        grid = [max([p for i, p in enumerate(precision) if sum(hits[: i + 1]) / count >= r / 100 - 1e-9], default=0.0)
                for r in range(101)]  # fmt: skip
        suspects = {
            "precision may fall and rise again here; make it non-increasing first: the maximum from there on.": (
                raw / count
            ),
            "that is the mean over what was found; divide by `count`, all things there are.": (
                sum(max(precision[i:]) for i, hit in enumerate(hits) if hit) / max(1, sum(hits))
            ),
            "that is the precision of the whole list.": precision[-1],
            "that is the recall.": sum(hits) / count,
            "that is the mean over 101 recalls; here the exact area is asked for.": sum(grid) / 101,
            "false alarms count as steps, too; recall rises at hits only.": (
                sum(max(precision[i:]) for i in range(len(hits))) / count
            ),
        }
        shown = "".join("+" if hit else "-" for hit in hits)
        expect_close(call(answer, list(hits), count), right, f"the AP of {shown} with {count} things", suspects)
    expect_close(call(answer, [], 3), 0.0, "the AP without any detection")
    expect_close(call(answer, [False, False], 3), 0.0, "the AP without any hit")
    expect_close(call(answer, [True, True], 2), 1.0, "the AP of a perfect detector")


def _box(*sides) -> torch.Tensor:
    return torch.tensor(sides, dtype=torch.float64)


def _one(value) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)


CHECKS = {
    "19-iou": iou,
    "19-flip-boxes": flip_boxes,
    "19-nms": nms,
    "19-encode": encode,
    "19-average-precision": average_precision,
}
INSIDE = set()
