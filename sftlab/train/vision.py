"""Every pixel a class, and boxes around things."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from ..data.batching import mix
from ..errors import SftlabError, bad_data
from .inputs import TensorInput
from .task import IGNORE, LossSum, Task, cross_entropy_sum
from .values import ColumnTask, Reading


class Segment(ColumnTask):
    """A class for every pixel; cross-entropy summed over the labelled pixels.

    Args:
        splits: ``{"input": [C, H, W], "mask": [H, W]}``, the mask with whole numbers.
        label_names: the classes.
        ignore: values of the mask that mean "no label".
        resize: enlarge logits to the size of the mask; otherwise another size is an error.

    The model gives [batch, classes, H, W], or torchvision's dict, whose ``"out"`` is taken and whose ``"aux"`` is not
    (S15).

    Raises:
        BadData: masks of another size than the image or with values that are no class; with split and index.

    >>> examples = [{"input": torch.zeros(3, 2, 2), "mask": torch.tensor([[0, 1], [1, 255]])}]
    >>> Segment({"train": examples}, ["road", "sky"]).target(examples[0]).tolist()
    [[0, 1], [1, -100]]
    """

    kind = "segmentation"
    metric_names = ("pixel_accuracy", "mean_iou", "mean_dice")

    def __init__(self, splits, label_names, inputs=None, mask: str = "mask", ignore: Sequence[int] = (IGNORE, 255),
                 resize: bool = False, name: str = "own data"):  # fmt: skip
        self.ignore, self.resize = tuple(ignore), resize
        if any(0 <= value < len(label_names) for value in self.ignore):
            raise bad_data(name, [f"ignore={self.ignore} contains the number of a class"])
        super().__init__(splits, label_names, inputs or TensorInput(), name, mask)

    def target(self, example: dict) -> torch.Tensor:
        mask, image = example.get(self._column), example[self.inputs.column]
        if not isinstance(mask, torch.Tensor) or mask.is_floating_point() or mask.is_complex():
            raise ValueError(f"{self._column!r} must be a tensor of whole numbers, found {_kind_of(mask)}")
        if image.dim() != 3 or mask.shape != image.shape[1:]:
            raise ValueError(f"the mask is {list(mask.shape)} and the image {list(image.shape)}: [H, W] and [C, H, W]?")
        mask = mask.long()
        out = torch.where(torch.isin(mask, torch.tensor(self.ignore, dtype=torch.long)), IGNORE, mask)
        wrong = out[(out != IGNORE) & ((out < 0) | (out >= len(self.label_names)))]
        if len(wrong):
            classes = len(self.label_names)
            raise ValueError(
                f"the mask holds {wrong.unique().tolist()[:5]}; the {classes} classes are 0 to {classes - 1}"
            )
        return out

    def logits(self, model, batch: dict) -> torch.Tensor:
        out = super().logits(model, batch)
        if isinstance(out, Mapping):
            if "out" not in out:
                raise SftlabError(f"the model gave a dict without 'out'; its keys: {', '.join(map(repr, out))}")
            out = out["out"]
        size = batch.get("labels", batch["inputs"]["input"]).shape[-2:]
        if out.dim() != 4 or out.shape[1] != len(self.label_names):
            raise SftlabError(f"the model gave {list(out.shape)} instead of [batch, {len(self.label_names)}, H, W]")
        if out.shape[-2:] != size and not self.resize:
            raise SftlabError(f"the logits are {list(out.shape[-2:])} and the mask {list(size)}: Segment(resize=True)?")
        return out if out.shape[-2:] == size else F.interpolate(out, size, mode="bilinear", align_corners=False)

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        return cross_entropy_sum(logits.movedim(1, -1), batch["labels"])

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        """Not pixels but counts, which can be added: ([1, true class, predicted class], [1, true class])."""
        predicted, true = super().decode(logits.movedim(1, -1), batch)
        classes = len(self.label_names)
        table = torch.bincount(true * classes + predicted, minlength=classes**2).reshape(1, classes, classes)
        return table, table.sum(dim=2)

    def metrics(self, predicted, true) -> dict[str, float]:
        """From the counts of the whole set; classes that occur neither in masks nor in predictions are left out."""
        table = predicted.sum(dim=0).double()
        hit, both = table.diagonal(), table.sum(dim=0) + table.sum(dim=1)
        seen = both > 0
        return {
            "pixel_accuracy": float(hit.sum() / table.sum()),
            "mean_iou": float((hit / (both - hit))[seen].mean()),
            "mean_dice": float((2 * hit / both)[seen].mean()),
        }

    def read(self, item: dict, row: torch.Tensor) -> Reading:
        """The class numbers of all pixels, [H, W]."""
        return Reading(row.argmax(dim=0))


class ImagesInput(TensorInput):
    """RGB images in [0, 1], each of its own size; a dict by position, so that they move to the device."""

    def problems(self, example: dict) -> str | None:
        image = example.get(self.column)
        if found := super().problems(example):
            return found
        if image.dim() != 3 or image.shape[0] != 3 or not image.numel():
            return f"{self.column!r} must be [3, H, W], found {list(image.shape)}"
        low, high = float(image.min()), float(image.max())
        return f"{self.column!r} must be in [0, 1], found {low:.3g} to {high:.3g}" if low < 0 or high > 1 else None

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        return [{"input": example[self.column]} for example in examples]

    def collate(self, items: Sequence[dict], model) -> dict:
        return dict(enumerate(item["input"] for item in items))


class Detect(Task):
    """Boxes and their classes, with the Faster R-CNN family of torchvision.

    torchvision averages its losses over the images of a batch and draws anchors for all of them at once. Here the
    four losses are summed over images, and each image draws from its own seed, so that neither micro-batch nor company
    changes them. Images are transformed one by one and go through the backbone together if all then have one size.

    Args:
        splits: ``{"input": [3, H, W] in [0, 1], "boxes": [[x1, y1, x2, y2], ...], "labels": ["cat", ...]}``; no boxes
            at all are allowed.
        label_names: the classes without the background: the task puts it before them. Class numbers in ``labels`` run
            from 1, the first of these names; 0, the background, is an error (P34). The model has one output more
            than there are names here: ``num_classes=len(task.label_names)``.

    Raises:
        BadData: boxes that are no boxes, lie outside of the image or look like [x, y, width, height]; with split,
            index and number of the box (P34).

    >>> image = {"input": torch.rand(3, 8, 8), "boxes": [[1, 1, 4, 6]], "labels": ["cat"]}
    >>> task = Detect({"train": [image]}, ["cat", "dog"])
    >>> task.label_names, task.label_id("cat"), task.label_id(0)
    (['background', 'cat', 'dog'], 1, None)
    """

    kind = "detection"
    metric_names = ("map", "map_50")
    draws = True
    cacheable = False
    label_column = "labels"

    def __init__(self, splits, label_names, column: str = "input", name: str = "own data"):
        super().__init__(splits, ["background", *label_names], ImagesInput(column), name)

    def label_id(self, label) -> int | None:
        return super().label_id(label) or None

    def label_problem(self, example: dict) -> str | None:
        boxes, labels = example.get("boxes"), example.get("labels")
        try:
            boxes = torch.as_tensor(boxes, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            return f"'boxes' must be rows of [x1, y1, x2, y2], found {boxes!r}"
        if boxes.numel() and (boxes.dim() != 2 or boxes.shape[1] != 4):
            return f"'boxes' must be [number, 4], found {list(boxes.shape)}"
        if not hasattr(labels, "__len__") or isinstance(labels, str) or len(labels) != len(boxes):
            found = len(labels) if isinstance(labels, list | tuple | torch.Tensor) else type(labels).__name__
            return f"'labels' must have one label for each of the {len(boxes)} boxes, found {found}"
        height, width = example[self.inputs.column].shape[1:]
        for i, (box, label) in enumerate(zip(boxes.tolist(), labels, strict=True)):
            x1, y1, x2, y2 = box
            if not all(map(torch.isfinite, boxes[i])):
                return f"box {i} {box} is not finite"
            if x2 <= x1 or y2 <= y1:
                fits = min(x2, y2) > 0 and x1 + x2 <= width and y1 + y2 <= height
                hint = "; is it [x, y, width, height]?" if fits else ""
                return f"box {i} {box} must have x1 < x2 and y1 < y2{hint}"
            if min(x1, y1) < 0 or x2 > width or y2 > height:
                return f"box {i} {box} lies outside of the image, {width} wide and {height} high (are these pixels?)"
            if self.label_id(label) is None:
                zero = " (0 is the background)" if label == 0 else ""
                return (
                    f"box {i} has the label {label!r}{zero}; known: {self.label_names[1:]}, or 1 to {len(self._id) - 1}"
                )
        return None

    def add_labels(self, item: dict, example: dict) -> dict:
        boxes = torch.as_tensor(example["boxes"], dtype=item["input"].dtype).reshape(-1, 4)
        labels = torch.tensor([self.label_id(label) for label in example["labels"]], dtype=torch.long)
        return {**item, "labels": {"boxes": boxes, "labels": labels}}

    def collate_labels(self, items: Sequence[dict]) -> dict:
        return dict(enumerate(item["labels"] for item in items))

    def loss(self, model, batch: dict) -> LossSum:
        return self.loss_of(self._forward(model, batch, detect=False), batch)

    def loss_of(self, logits: list[dict], batch: dict) -> LossSum:
        total = torch.stack([row["loss"] for row in logits]).sum()
        return LossSum(total, torch.tensor(len(logits), device=total.device))

    def logits(self, model, batch: dict) -> list[dict]:
        """For each image ``boxes``, ``scores``, ``labels``, and its ``loss`` if the batch has labels."""
        return self._forward(model, batch, detect=True)

    def _forward(self, model, batch: dict, detect: bool) -> list[dict]:
        if not all(hasattr(model, part) for part in ("transform", "backbone", "rpn", "roi_heads")):
            raise SftlabError(f"Detect needs a Faster R-CNN of torchvision, found {type(model).__name__}")
        images, targets = batch["inputs"], batch.get("labels")
        seeds = batch.get("seeds") or [mix(0, index, 1) for index in batch["index"]]
        ready = []  # scaled to the model's size; which of several sizes is drawn too
        for i, seed in enumerate(seeds):
            with _drawing(seed, images[i].device):
                ready.append(model.transform([images[i]], [targets[i]] if targets else None))
        tensors = [image.tensors for image, _ in ready]
        together = len({tensor.shape for tensor in tensors}) == 1
        parts = [model.backbone(torch.cat(tensors))] if together else [model.backbone(tensor) for tensor in tensors]
        parts = [part if isinstance(part, Mapping) else {"0": part} for part in parts]
        out = []
        for i, (image, target) in enumerate(ready):
            features = {name: maps[i : i + 1] for name, maps in parts[0].items()} if together else parts[i]
            row = {}
            if targets:
                with _drawing(mix(seeds[i], 1), images[i].device), _in_training(model.rpn, model.roi_heads):
                    proposals, first = model.rpn(image, features, target)
                    second = model.roi_heads(features, proposals, image.image_sizes, target)[1]
                row["loss"] = sum({**first, **second}.values())
            if detect:
                found = model.roi_heads(features, model.rpn(image, features)[0], image.image_sizes)[0]
                row |= model.transform.postprocess(found, image.image_sizes, [tuple(images[i].shape[-2:])])[0]
            out.append(row)
        return out

    def decode(self, logits: list[dict], batch: dict) -> tuple:
        found = [{name: row[name].cpu() for name in ("boxes", "scores", "labels")} for row in logits]
        return found, [{name: value.cpu() for name, value in row.items()} for row in batch["labels"].values()]

    def metrics(self, predicted, true) -> dict[str, float]:
        """Mean average precision over classes, at ten overlaps from 0.5 to 0.95 and at 0.5."""
        each = average_precision(predicted, true)
        return {"map": float(each.mean()), "map_50": float(each[:, 0].mean())}

    def read(self, item: dict, row: dict) -> Reading:
        """(name, box) of each detection, best first, with its score."""
        names = [self.label_names[label] for label in row["labels"].tolist()]
        return Reading(list(zip(names, row["boxes"].tolist(), strict=True)), row["scores"].tolist())


def average_precision(predicted: Sequence[dict], true: Sequence[dict], most: int = 100) -> torch.Tensor:
    """[classes that have boxes, 10]: area under precision over recall, at overlaps 0.5, 0.55, ..., 0.95.

    In each image the best ``most`` detections of a class are matched in order of score, each to the free box that it
    overlaps most. Precision is made non-increasing and read at 101 recalls.

    Source: COCO evaluation (Lin et al. 2014; cocoapi, ``cocoeval.py``).

    >>> box, label = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([1])
    >>> one = {"boxes": box, "labels": label, "scores": torch.tensor([0.9])}
    >>> average_precision([one], [one]).mean().item()
    1.0
    """
    from torchvision.ops import box_iou

    overlaps = torch.arange(10, dtype=torch.float64) * 0.05 + 0.5
    rows = []
    for label in sorted({int(x) for t in true for x in t["labels"]}):
        scores, hits, boxes = [], [], 0
        for p, t in zip(predicted, true, strict=True):
            wanted = t["boxes"][t["labels"] == label].double()
            order = p["scores"].argsort(descending=True, stable=True)
            order = order[p["labels"][order] == label][:most]
            iou = box_iou(p["boxes"][order].double(), wanted)
            boxes, free = boxes + len(wanted), torch.ones(10, len(wanted), dtype=torch.bool)
            for row in iou:
                best, at = (row * free).max(dim=1) if len(wanted) else (torch.zeros(10), torch.zeros(10).long())
                hit = best >= overlaps - 1e-9
                free[hit, at[hit]] = False
                hits.append(hit)
            scores.append(p["scores"][order])
        if not hits:
            rows.append(torch.zeros(10, dtype=torch.float64))
            continue
        right = torch.stack(hits)[torch.cat(scores).argsort(descending=True, stable=True)].cumsum(dim=0).double()
        precision = right / torch.arange(1, len(right) + 1)[:, None]
        precision = torch.cat([precision.flip(0).cummax(dim=0).values.flip(0), torch.zeros(1, 10)])
        at = torch.searchsorted(
            (right / boxes).T.contiguous(), torch.linspace(0, 1, 101).double().expand(10, 101) - 1e-12
        )
        rows.append(precision.T.gather(1, at).mean(dim=1))
    return torch.stack(rows) if rows else torch.full((1, 10), torch.nan, dtype=torch.float64)


@contextmanager
def _drawing(seed: int, device: torch.device):
    """torchvision draws from torch's global generator: it is seeded inside, and as before outside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _in_training(*modules):
    """The flags that make these modules compute losses; what is inside them (dropout, norms) keeps its mode."""
    before = [module.training for module in modules]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


def _kind_of(value) -> str:
    return str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__
