"""What the loop costs: ``fit`` against the same training written by hand, in interleaved rounds of one process.

Equal initial weights, equal batches, equal rates; the final weights are compared, and a round whose weights differ
by more than 1e-5 is an error, not a figure.
"""

import copy
import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from .. import env
from ..data.batching import epoch_order, mix
from ..data.collate import to_device
from ..errors import SftlabError
from ..model.loading import load
from ..sets.catalog import task as task_by_name
from ..table import Table
from ..tasks.classify import Classify
from ..tasks.inputs import TensorInput
from ..train.fit import fit
from ..train.plan import Plan, full
from ..train.task import Task
from . import Measured

SAMPLES, BATCH = 320, 32
AGREE = 1e-5


def measure(rounds: int = 5) -> Measured:
    """Median ratio over ``rounds`` interleaved rounds, for MiniLM on headlines and for a small network on vectors."""
    # A random network needs more steps than a transformer to be timed; the plans differ only in epochs.
    workloads = {
        "minilm, headlines, batch 32": (_minilm, full(epochs=1)),
        "MLP 384-512-512-3, batch 32": (_mlp, full(epochs=30, lr=1e-3)),
    }
    rows, figures = [], {}
    for name, (make, plan) in workloads.items():
        model, task = make()
        ratios, ours, by_hand, gap = _interleaved(model, task, plan, rounds)
        rows.append([name, f"{median(by_hand):.2f}", f"{median(ours):.2f}", f"{median(ratios):.3f}", f"{gap:.1e}"])
        figures[name] = {"ratios": ratios, "median": median(ratios), "largest_weight_difference": gap}
    columns = ["workload", "by hand (ms/step)", "sftlab (ms/step)", "ratio", "largest weight difference"]
    return Measured("loop", Table(columns, rows, note=f"medians of {rounds} interleaved rounds"), figures)


def _interleaved(model: nn.Module, task: Task, plan: Plan, rounds: int) -> tuple[list, list, list, float]:
    """(ratio, our ms/step, ms/step by hand) per round, and the largest difference of weights.

    Step i sees the same batch in both loops, so a round's ratio is the median over steps of ours / by hand: a moment in
    which the machine did something else costs one step, not the figure.
    """
    ratios, ours, by_hand, gap = [], [], [], 0.0
    for round_ in range(rounds + 1):  # the first one warms up
        times, models = {}, {}
        order = [("ours", _ours), ("by hand", _by_hand)]
        for name, train in order if round_ % 2 else order[::-1]:  # neither is always the one with the warm cache
            models[name] = copy.deepcopy(model)
            times[name] = train(models[name], task, plan)
        gap = max(gap, _difference(models["ours"], models["by hand"]))
        if gap > AGREE:
            raise SftlabError(f"the two loops ended in different weights (by {gap:.2e}): their times say nothing")
        if round_:
            ratios.append(median(a / b for a, b in zip(times["ours"], times["by hand"], strict=True)))
            ours.append(1000 * median(times["ours"]))
            by_hand.append(1000 * median(times["by hand"]))
    return ratios, ours, by_hand, gap


def _ours(model: nn.Module, task: Task, plan: Plan) -> list[float]:
    clock = _StepClock()
    fit(model, task, plan, batch=BATCH, seed=0, validate=None, show=False, after_step=clock)
    return clock.steps


class _StepClock:
    """Seconds from the end of each step to the end of the next: start-up (tokenising, tables) is not the loop."""

    def __init__(self):
        self.steps: list[float] = []
        self.last: float | None = None

    def __call__(self, run=None) -> None:
        now = time.perf_counter()
        if self.last is not None:
            self.steps.append(now - self.last)
        self.last = now


def _by_hand(model: nn.Module, task: Task, plan: Plan) -> list[float]:
    """The same training as a careful person writes it in plain PyTorch: no plan, no task.loss, no Run."""
    device, stage = env.current().device, plan.stages[0]
    model.to(device).train()
    items = task.encode(task.examples("train"), model)
    text = isinstance(items[0].get("input_ids"), list)
    lengths = [len(item["input_ids"]) for item in items] if text else None
    optimizer = torch.optim.AdamW(_groups(model, stage, plan.weight_decay), fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    total = stage.epochs * -(-len(items) // BATCH)
    clock, step, losses = _StepClock(), 0, []
    for epoch in range(stage.epochs):
        for rows in epoch_order(lengths, len(items), BATCH, mix(0, 0), epoch):
            batch = to_device(task.collate([items[row] for row in rows], model), device)
            progress = (step + 0.5) / total
            factor = progress / plan.warmup if progress < plan.warmup else (1 - progress) / (1 - plan.warmup)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            optimizer.zero_grad()
            with env.current().autocast():
                logits = model(**batch["inputs"])
            loss = F.cross_entropy(logits.float(), batch["labels"])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimizer.step()
            losses.append(loss.item() if device.type == "cpu" else loss.detach())
            step += 1
            clock()
    return clock.steps


def _groups(model: nn.Module, stage, decay: float) -> list[dict]:
    head = {id(p) for p in model.head.parameters()}
    rates = {True: stage.head_lr or stage.lr, False: stage.lr}
    return [
        {"params": chosen, "lr": rates[in_head], "weight_decay": decay if matrix else 0.0}
        for in_head in (False, True)
        for matrix in (True, False)
        if (chosen := [p for p in model.parameters() if (id(p) in head) == in_head and (p.dim() > 1) == matrix])
    ]


def _difference(a: nn.Module, b: nn.Module) -> float:
    return max(float((x - y).detach().abs().max()) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def _minilm() -> tuple[nn.Module, Task]:
    task = task_by_name("headlines")
    task.splits["train"] = task.splits["train"][:SAMPLES]
    return without_dropout(load("minilm", task, seed=0)), task


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(384, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU())
        self.head = nn.Linear(512, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(input))


def _mlp() -> tuple[nn.Module, Task]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, 384, generator=generator)
    examples = [{"input": row, "label": i % 3} for i, row in enumerate(x)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Net(), Classify({"train": examples}, ["a", "b", "c"], TensorInput(), name="vectors")


def without_dropout(model: nn.Module) -> nn.Module:
    """Both loops draw their dropout masks in their own way, so equal weights are asked for without dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model
