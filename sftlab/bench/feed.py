"""Equal batches for every library, and a clock that all of them pass: the model's own forward call."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from .. import env
from ..data.batching import epoch_order, mix
from ..data.collate import to_device
from .workloads import Work

SETTLE = 1  # steps that are not timed on a GPU


class Feed:
    """The batches of a workload, in the order in which ``sftlab.fit`` takes them with seed 0.

    A plain iterable with a length, which every library accepts as a loader; each ``iter`` is the next epoch. Samples
    are encoded before, collated when they are asked for: what ``fit`` does, too.

    Args:
        form: ``"dict"``: inputs and labels in one flat dict; ``"tuple"``: the same values in a tuple, labels last.
    """

    def __init__(self, work: Work, model: nn.Module, task, form: str = "dict"):
        self.task, self.model, self.form = task, model, form
        self.epochs, self.at = work.plan.stages[0].epochs, 0
        self.items = task.encode(task.examples("train"), model)
        lengths = [task.inputs.length(item) for item in self.items]
        self.lengths = None if None in lengths else lengths
        self.batch, self.device = work.batch, env.current().device

    def rows(self, epoch: int) -> list[list[int]]:
        """Numbers of the samples of each step of an epoch."""
        return epoch_order(self.lengths, len(self.items), self.batch, mix(0, 0), epoch)

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * len(self)

    def __iter__(self) -> Iterator:
        epoch, self.at = self.at, self.at + 1
        for rows in self.rows(epoch):
            batch = self.task.collate([self.items[row] for row in rows], self.model)
            flat = to_device({**batch["inputs"], "labels": batch["labels"]}, self.device)
            yield tuple(flat.values()) if self.form == "tuple" else flat

    def samples(self) -> list[int]:
        """Number of samples of each step of the run."""
        return [len(rows) for epoch in range(self.epochs) for rows in self.rows(epoch)]


class Clock:
    """Seconds from one forward call to the next: the whole of a step, with the library's work around it.

    ``hand_over`` is called at each forward call; the time until it returns belongs to others and is not counted.
    On a GPU a forward call only queues work, so there the clock waits for the device once after the first step and once
    at the end, and every step gets the mean.
    """

    def __init__(self, model: nn.Module, hand_over: Callable[[], None] | None = None):
        self.at: list[float] = []
        self.hand_over, self.away = hand_over, 0.0
        self.began = time.perf_counter()
        self.cuda = env.current().device.type == "cuda"
        self.handle = model.register_forward_pre_hook(self._see)

    def _see(self, module, args) -> None:
        if self.cuda and len(self.at) == SETTLE:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.at.append(now - self.away)
        if self.hand_over:
            self.hand_over()
            self.away += time.perf_counter() - now

    def stop(self) -> None:
        """The run is over."""
        if self.cuda:
            torch.cuda.synchronize()
        self.ended = time.perf_counter() - self.away
        self.handle.remove()

    @property
    def steps(self) -> list[float]:
        """Seconds of each step but the last, whose end nobody announces."""
        if not self.cuda:
            return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]
        count = len(self.at) - SETTLE
        return [(self.ended - self.at[SETTLE]) / count] * count if count > 0 else []

    @property
    def first(self) -> float:
        """Seconds from the start of the clock to the end of the first step."""
        return (self.at[1] if len(self.at) > 1 else self.ended) - self.began

    @property
    def total(self) -> float:
        """Seconds of the whole run, start-up included."""
        return self.ended - self.began
