"""Every pixel a class, and boxes around things."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from ..data.batching import mix
from ..errors import SftlabError, bad_data
from ..train.task import IGNORE, LossSum, cross_entropy_sum
from .inputs import TensorInput
from .values import TargetTask, numbers


class Segment(TargetTask):
    """A class for every pixel; cross-entropy summed over the labelled pixels.

    The model gives [batch, classes, H, W], or torchvision's dict: its ``"out"`` is used, its ``"aux"`` is not (S15), so
    set ``model.aux_classifier = None``: as the layer defined last it would be taken for the head.

    Args:
        splits: ``{"input": [C, H, W], "mask": [H, W]}``, the mask with whole numbers.
        label_names: the classes.
        ignore: values of the mask that mean "no label".
        resize: bring logits to the size of the mask; otherwise another size is an error.

    Raises: BadData for masks of another size than the image or with values that are no class, and images of no pixels.

    >>> task = Segment({"train": [{"input": torch.zeros(3, 1, 2), "mask": torch.tensor([[1, 255]])}]}, ["road", "sky"])
    >>> task.target(task.examples("train")[0]).tolist()
    [[1, -100]]
    """

    kind, label_column = "segmentation", "mask"
    metric_names = ("pixel_accuracy", "mean_iou", "mean_dice")

    def __init__(self, splits, label_names, ignore=(IGNORE, 255), resize: bool = False, name: str = "own data"):
        self.ignore, self.resize = torch.tensor(ignore), resize
        if any(0 <= value < len(label_names) for value in ignore):
            raise bad_data(name, [f"ignore={ignore} contains the number of a class"])
        super().__init__(splits, label_names, TensorInput(), name)

    def target(self, example: dict) -> torch.Tensor:
        mask, image, classes = example.get("mask"), example[self.inputs.column], len(self.label_names)
        if not isinstance(mask, torch.Tensor) or mask.is_floating_point():
            found = getattr(mask, "dtype", type(mask))
            raise ValueError(f"'mask' must be a tensor of whole numbers, found {found}; use mask.round().long()")
        if not image.numel():
            raise ValueError(f"the image has no pixels, its shape is {list(image.shape)}; leave it out")
        if image.dim() != 3 or mask.shape != image.shape[1:]:
            shapes = f"'mask' is {list(mask.shape)}, the image {list(image.shape)}: not [H, W] and [C, H, W]"
            raise ValueError(f"{shapes}; resize the mask to the image, by nearest pixel")
        mask = mask.long().masked_fill(torch.isin(mask.long(), self.ignore), IGNORE)
        if wrong := sorted(set(mask.unique().tolist()) - {IGNORE, *range(classes)}):
            known = f"the {classes} classes are 0 to {classes - 1}"
            raise ValueError(f"'mask' holds {wrong[:5]}; {known}: map them to classes, or to 255 for no label")
        return mask

    def logits(self, model, batch: dict) -> torch.Tensor:
        out, size = super().logits(model, batch), batch["inputs"]["input"].shape[-2:]
        if isinstance(out, Mapping):
            if "out" not in out:
                raise SftlabError(f"the model gave a dict without 'out'; its keys: {', '.join(map(repr, out))}")
            out = out["out"]
        if self.resize and out.shape[-2:] != size:
            out = F.interpolate(out, size, mode="bilinear", align_corners=False)
        if out.shape[1:] != (len(self.label_names), *size):
            raise SftlabError(
                f"the model gave {list(out.shape)} for {len(self.label_names)} classes and masks of {list(size)}; "
                "Segment(resize=True) brings smaller logits to the size of the mask"
            )
        return out

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        return cross_entropy_sum(logits.movedim(1, -1), batch["labels"])

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        """Not pixels but counts, which need little memory: ([1, true class, predicted class], [1, true class])."""
        predicted, true = super().decode(logits.movedim(1, -1), batch)
        classes = len(self.label_names)
        table = torch.bincount(true * classes + predicted, minlength=classes**2).reshape(1, classes, classes)
        return table, table.sum(dim=2)

    def metrics(self, predicted, true) -> dict[str, float]:
        """From the counts of the whole set; classes that occur neither in masks nor in predictions are left out."""
        table = predicted.sum(dim=0).double()
        hit, both = table.diagonal(), table.sum(dim=0) + table.sum(dim=1)
        iou, dice = ((x / y)[both > 0].mean() for x, y in ((hit, both - hit), (2 * hit, both)))
        return dict(zip(self.metric_names, map(float, (hit.sum() / table.sum(), iou, dice)), strict=True))

    def read(self, item: dict, row: torch.Tensor) -> torch.Tensor:
        return row.argmax(dim=0)  # the class of each pixel, [H, W]


class ImagesInput(TensorInput):
    """RGB images in [0, 1], each of its own size; a dict by position, so that they move to the device."""

    one_shape = False

    def problems(self, example: dict) -> str | None:
        if found := super().problems(example):
            return found
        image = example[self.column]
        right = image.dim() == 3 and len(image) == 3 and image.numel() and image.min() >= 0 and image.max() <= 1
        found = f"{list(image.shape)}, {image.reshape(-1)[:3]} ..."
        return None if right else f"{self.column!r} must be [3, H, W] in [0, 1], found {found}"

    def collate(self, items: Sequence[dict], model) -> dict:
        return dict(enumerate(item["input"] for item in items))


class Detect(TargetTask):
    """Boxes and their classes, with the Faster R-CNN family of torchvision.

    torchvision averages its losses over a batch and draws anchors for all of its images at once. Here the four losses
    of each image are added up and every image draws from its own seed, so that company changes nothing. Images go
    through the backbone together only if all have one size after their transformation.

    Args:
        splits: ``{"input": [3, H, W] in [0, 1], "boxes": [[x1, y1, x2, y2], ...], "labels": ["cat", ...]}``, in
            pixels; no boxes at all are allowed.
        label_names: the classes. The task puts the background before them, as class 0: numbers in ``labels`` begin
            with 1, the first of these names, and 0 is an error (P34). The model has ``len(task.label_names)`` classes.

    Raises: BadData for boxes that are none, leave the image or look like [x, y, width, height], and unknown labels.

    >>> image = {"input": torch.rand(3, 8, 8), "boxes": [[1, 1, 4, 6]], "labels": ["cat"]}
    >>> task = Detect({"train": [image]}, ["cat", "dog"])
    >>> task.label_names, task.label_id("cat"), task.label_id(0)
    (['background', 'cat', 'dog'], 1, None)
    """

    kind, label_column, draws, cacheable = "detection", "labels", True, False
    metric_names = ("map", "map_50")

    def __init__(self, splits, label_names, name: str = "own data"):
        super().__init__(splits, ["background", *label_names], ImagesInput(), name)

    def label_id(self, label) -> int | None:
        return super().label_id(label) or None

    def target(self, example: dict) -> dict[str, torch.Tensor]:
        boxes, labels, image = example.get("boxes"), example.get("labels"), example[self.inputs.column]
        if not isinstance(boxes, list | tuple | torch.Tensor):
            raise ValueError(f"'boxes' must be rows of [x1, y1, x2, y2], found {boxes!r}")
        if not isinstance(labels, list | tuple | torch.Tensor) or len(labels) != len(boxes):
            raise ValueError(f"'labels' must hold a label for each of the {len(boxes)} boxes, found {labels!r}")
        boxes = [numbers(box, f"boxes[{i}]", (4,)).tolist() for i, box in enumerate(boxes)]
        height, width = image.shape[1:]
        for i, ((x1, y1, x2, y2), label) in enumerate(zip(boxes, labels, strict=True)):
            sizes = 0 < x2 <= width - x1 and 0 < y2 <= height - y1
            known = f"known: {self.label_names[1:]}, or 1 to {len(self._id) - 1} (0 is the background)"
            for wrong, what in (
                (x2 <= x1 or y2 <= y1, "needs x1 < x2 and y1 < y2" + "; is it [x, y, width, height]?" * sizes),
                (min(x1, y1) < 0 or x2 > width or y2 > height, f"leaves the image, {width} wide and {height} high"),
                (self.label_id(label) is None, f"has the label {label!r}; {known}"),
            ):
                if wrong:
                    raise ValueError(f"boxes[{i}] {boxes[i]} {what}")
        ids = torch.tensor([self.label_id(label) for label in labels], dtype=torch.long)
        return {"boxes": torch.tensor(boxes, dtype=image.dtype).reshape(-1, 4), "labels": ids}

    def collate_labels(self, items: Sequence[dict]) -> dict:
        return dict(enumerate(item["labels"] for item in items))

    def logits(self, model, batch: dict, detect: bool = True) -> list[dict]:
        """For each image ``boxes``, ``scores``, ``labels``, and its ``loss`` if the batch has labels."""
        if not all(hasattr(model, part) for part in ("transform", "backbone", "rpn", "roi_heads")):
            raise SftlabError(f"Detect needs a Faster R-CNN of torchvision, found {type(model).__name__}")
        images, targets, out = batch["inputs"], batch.get("labels"), []
        seeds = batch.get("seeds") or [mix(0, index, 1) for index in batch["index"]]
        ready = []
        for i, seed in enumerate(seeds):
            with _drawing(model, seed, images[i].device):  # of several sizes, one is drawn
                ready.append(model.transform([images[i]], [targets[i]] if targets else None))
        tensors = [image.tensors for image, _ in ready]
        together = len({tensor.shape for tensor in tensors}) == 1
        maps = [model.backbone(x) for x in ([torch.cat(tensors)] if together else tensors)]
        maps = [x if isinstance(x, Mapping) else {"0": x} for x in maps]
        for i, (image, target) in enumerate(ready):
            features = {name: x[i : i + 1] for name, x in maps[0].items()} if together else maps[i]
            row = {}
            if targets:
                with _drawing(model, mix(seeds[i], 1), images[i].device):
                    boxes, losses = model.rpn(image, features, target)
                    if len(boxes[0]) or len(target[0]["boxes"]):  # otherwise torchvision takes the mean of nothing, NaN
                        losses |= model.roi_heads(features, boxes, image.image_sizes, target)[1]
                row["loss"] = sum(losses.values())
            if detect:
                found = model.roi_heads(features, model.rpn(image, features)[0], image.image_sizes)[0]
                row |= model.transform.postprocess(found, image.image_sizes, [tuple(images[i].shape[-2:])])[0]
            out.append(row)
        return out

    def loss(self, model, batch: dict) -> LossSum:
        return self.loss_of(self.logits(model, batch, detect=False), batch)

    def loss_of(self, logits: list[dict], batch: dict) -> LossSum:
        total = sum(row["loss"] for row in logits)
        return LossSum(total, torch.tensor(len(logits), device=total.device))

    def decode(self, logits: list[dict], batch: dict) -> tuple:
        """Two lists of dicts on the CPU: what was found, what is there."""
        found = [{name: row[name].cpu() for name in ("boxes", "scores", "labels")} for row in logits]
        return found, [{name: value.cpu() for name, value in row.items()} for row in batch["labels"].values()]

    def metrics(self, predicted, true) -> dict[str, float]:
        each = average_precision(predicted, true)
        return {"map": float(each.mean()), "map_50": float(each[:, 0].mean())}

    def read(self, item: dict, row: dict) -> list[tuple[str, list[float], float]]:
        """(name, box, score) of each detection, best first."""
        names = [self.label_names[label] for label in row["labels"].tolist()]
        return list(zip(names, row["boxes"].tolist(), row["scores"].tolist(), strict=True))


@contextmanager
def _drawing(model, seed: int, device: torch.device):
    """Seeds torch's global generator, from which torchvision draws; two flags say that losses are wanted.

    What is inside of the two parts (norms, dropout) keeps its mode (P5).
    """
    before = model.rpn.training, model.roi_heads.training
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            model.rpn.training = model.roi_heads.training = True
            yield
        finally:
            model.rpn.training, model.roi_heads.training = before


def average_precision(predicted: Sequence[dict], true: Sequence[dict], most: int = 100) -> torch.Tensor:
    """[classes that have boxes, 10]: area under precision over recall, at overlaps 0.5, 0.55, ..., 0.95.

    In each image the best ``most`` detections of a class are matched in order of score, each to the free box that it
    overlaps most; precision, made non-increasing, is read at 101 recalls. Source: cocoapi, ``cocoeval.py``.
    """
    from torchvision.ops import box_iou

    overlaps = torch.linspace(0.5, 0.95, 10).double()
    recalls = torch.linspace(0, 1, 101).double().expand(10, 101) - 1e-9
    out = []
    for label in sorted({label for t in true for label in t["labels"].tolist()}):
        scores, hits, count = [], [torch.zeros(0, 10, dtype=torch.bool)], 0
        for p, t in zip(predicted, true, strict=True):
            wanted = t["boxes"][t["labels"] == label].double()
            order = p["scores"].argsort(descending=True, stable=True)
            order = order[p["labels"][order] == label][:most]
            scores.append(p["scores"][order])
            count, free = count + len(wanted), torch.ones(10, len(wanted) + 1, dtype=torch.bool)
            # A last column for no box at all, so that there is always a maximum.
            for iou in F.pad(box_iou(p["boxes"][order].double(), wanted), (0, 1)):
                best, at = (iou * free).max(dim=1)
                hits.append((best > overlaps - 1e-6)[None])
                free[hits[-1][0], at[hits[-1][0]]] = False
        right = torch.cat(hits)[torch.cat(scores).argsort(descending=True, stable=True)].double().cumsum(dim=0)
        precision = right / torch.arange(1, len(right) + 1)[:, None]
        precision = F.pad(precision.flip(0), (0, 0, 1, 0)).cummax(dim=0).values.flip(0)
        at = torch.searchsorted((right / count).T.contiguous(), recalls.contiguous())
        out.append(precision.T.gather(1, at).mean(dim=1))
    return torch.stack(out) if out else torch.full((1, 10), torch.nan)
