"""Where a stage's batches come from: the model itself, or the stored outputs of its frozen trunk."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from .. import env
from ..data.batching import mix
from ..data.collate import to_device
from .inputs import TensorInput
from .task import Task


@dataclass
class Source:
    """What a stage trains on: something callable with parameters in it, the task that feeds it, and its samples."""

    owner: torch.nn.Module  # the real model: tokenizer, modes
    model: Callable  # what the task calls
    task: Task
    items: dict[str, list[dict]]
    ordered_by: Task | None = None  # whose lengths order the samples, if not `task`'s: cached batches are the live ones

    @property
    def lengths(self) -> list[int] | None:
        """Length of each training sample, None if they are all of one size."""
        lengths = [(self.ordered_by or self.task).inputs.length(item) for item in self.items["train"]]
        return None if None in lengths else lengths

    def batches(
        self, groups: Sequence[Sequence[int]], device: torch.device, split: str = "train", draw: int | None = None
    ) -> Iterator[dict]:
        """Collated batches on the device, one per group of sample numbers.

        Args:
            draw: names the pass over the data; augmentation is a function of it and of the sample (P18). None: no
                augmentation, and the same random numbers for a sample every time.
        """
        for rows in groups:
            items = [self.items[split][row] for row in rows]
            if draw is not None and self.task.augment is not None:
                items = [
                    self.task.augment(item, torch.Generator().manual_seed(mix(draw, item["index"]))) for item in items
                ]
            batch = self.task.collate(items, self.owner)
            if self.task.draws:
                batch["seeds"] = [mix(draw or 0, item["index"], 1) for item in items]
            yield to_device(batch, device)


def live(model, task: Task, items: dict, run) -> Source:
    """Every batch goes through the whole model."""
    return Source(model, model, task, items)


def cached(model, task: Task, items: dict, run) -> Source:
    """Run the frozen trunk once per sample, then train the head on what it gave.

    The same numbers as :func:`live` up to rounding, because a frozen trunk is in eval mode: no dropout, no moving
    statistics. ``model`` offers ``features(**inputs)`` and ``classify(features)``.
    """
    device = next(model.parameters()).device
    stored = {split: _run_trunk(model, task, rows, device) if rows else rows for split, rows in items.items()}
    view = copy.copy(task)  # the same task, fed with vectors instead of text
    view.inputs = TensorInput()
    count = sum(len(rows) for rows in stored.values() if rows)
    run.note(f"The frozen trunk ran once for each of {count:,} samples; the head trains on its stored outputs.")
    return Source(model, model.classify, view, stored, ordered_by=task)


def _run_trunk(model, task: Task, items: list[dict], device: torch.device, batch: int = 64) -> list[dict]:
    source = live(model, task, {"train": items}, None)
    order = sorted(range(len(items)), key=lambda row: task.inputs.length(items[row]) or 0)
    stored: list[dict | None] = [None] * len(items)
    model.eval()
    # no_grad, not inference_mode: the stored vectors enter autograd later, as inputs of the head.
    with torch.no_grad(), env.current().autocast():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            for group in source.batches([rows], device):
                for row, vector in zip(rows, model.features(**group["inputs"]).float().cpu(), strict=True):
                    stored[row] = {**items[row], "input": vector}  # nothing is dropped (P35)
    return stored
