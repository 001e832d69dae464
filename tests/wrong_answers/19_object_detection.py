"""Wrong answers to the exercises of chapter 19."""

import torch
from torchvision import ops

from sftlab.teach.mistakes import wrong


@wrong("19-iou", says="subtract it once")
def over_the_sum(a, b):
    """Divides by the sum of the areas."""
    side = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    return side.prod() / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod())


@wrong("19-iou", says="lie diagonally apart")
def without_clamp(a, b):
    """Multiplies two negative sides."""
    both = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


@wrong("19-iou", says="0 / 0")
def divides_always(a, b):
    """Does not think of boxes without area."""
    both = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


@wrong("19-iou", says="one pixel too long")
def counts_pixels(a, b):
    """Takes edges for pixels."""
    side = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + 1).clamp(min=0).prod()
    return side / ((a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod() - side)


@wrong("19-flip-boxes", says="they change places")
def edges_stay_in_order(image, boxes):
    """Does not exchange the edges."""
    out = boxes.clone()
    out[:, [1, 3]] = image.shape[1] - boxes[:, [1, 3]]
    return image.flip(1), out


@wrong("19-flip-boxes", says="mirrored from left to right")
def sideways(image, boxes):
    """Mirrors as in the chapter."""
    out = boxes.clone()
    out[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
    return image.flip(2), out


@wrong("19-flip-boxes", says="not H - 1")
def edges_as_pixels(image, boxes):
    """Takes the last row for the edge."""
    out = boxes.clone()
    out[:, [1, 3]] = image.shape[1] - 1 - boxes[:, [3, 1]]
    return image.flip(1), out


@wrong("19-flip-boxes", says="changes its input `boxes`")
def in_place(image, boxes):
    """Writes into the caller's boxes."""
    boxes[:, [1, 3]] = image.shape[1] - boxes[:, [3, 1]]
    return image.flip(1), boxes


@wrong("19-nms", says="each class is by itself")
def over_all_classes(boxes, scores, labels, limit):
    """Forgets the classes."""
    return ops.nms(boxes, scores, limit)


@wrong("19-nms", says="was itself dropped")
def one_pass(boxes, scores, labels, limit):
    """Drops whatever any better box overlaps."""
    order = scores.argsort(descending=True)
    overlaps = ops.box_iou(boxes, boxes) * (labels[:, None] == labels)
    return [i for n, i in enumerate(order.tolist()) if not (overlaps[i, order[:n]] > limit).any()]


@wrong("19-nms", says="in the order of the boxes")
def sorted_by_place(boxes, scores, labels, limit):
    """Returns them by index."""
    return ops.batched_nms(boxes, scores, labels, limit).sort().values


@wrong("19-encode", says="take the centres")
def from_corners(boxes, anchors):
    """Compares corners."""
    size, size_a = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    return torch.cat([(boxes[:, :2] - anchors[:, :2]) / size_a, (size / size_a).log()], dim=1)


@wrong("19-encode", says="the logarithm of the sizes' quotient is missing")
def without_logarithm(boxes, anchors):
    """Leaves the quotient as it is."""
    size, size_a = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    move = boxes[:, :2] + size / 2 - anchors[:, :2] - size_a / 2
    return torch.cat([move / size_a, size / size_a], dim=1)


@wrong("19-encode", says="sizes of the box, not of the anchor")
def by_own_size(boxes, anchors):
    """Divides by the wrong size."""
    size, size_a = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    move = boxes[:, :2] + size / 2 - anchors[:, :2] - size_a / 2
    return torch.cat([move / size, (size / size_a).log()], dim=1)


@wrong("19-average-precision", says="make it non-increasing first")
def raw_precision(hits, count):
    """Takes the precision at each hit as it is."""
    right, area = 0, 0.0
    for n, hit in enumerate(hits, start=1):
        right += hit
        area += hit * right / n / count
    return area


@wrong("19-average-precision", says="divide by `count`")
def mean_over_found(hits, count):
    """Forgets what is never found."""
    right, precision = 0, []
    for n, hit in enumerate(hits, start=1):
        right += hit
        precision.append(right / n)
    return sum(max(precision[i:]) for i, hit in enumerate(hits) if hit) / max(1, sum(hits))


@wrong("19-average-precision", says="that is the recall")
def recall(hits, count):
    """Counts what was found."""
    return sum(hits) / count
