"""Evaluation and prediction: sums over the whole set, one division, whatever the batch size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .. import env
from ..errors import bad_data
from . import processes
from .features import Source
from .task import Task


def evaluate(model: torch.nn.Module, task: Task, split: str = "test", batch: int = 64) -> dict:
    """Loss and metrics of a split. Does not depend on ``batch`` (P3) and leaves the model's modes as they were.

    Args:
        model: the model, in any mode; it is evaluated in eval mode.
        task: data and metrics.
        split: ``"val"``, ``"test"``, ``"reviews"``, ...
        batch: samples per forward pass; a matter of speed and memory only.

    With several processes each takes its share of the samples, and all get the result of the whole: call it in each.

    Returns:
        dict: ``loss`` (mean over all labels of the split, in nats), the task's metrics, ``count`` (labels).

    Raises:
        UnknownName, BadData: no such split, or an empty one.
        NoSupervision: every label of the split is masked.

    >>> import sftlab as sl
    >>> task = sl.task("headlines")
    >>> sl.evaluate(sl.load("minilm", task), task, "test")["count"]     # doctest: +SKIP
    200
    """
    device = env.current().device
    model.to(device)
    items = task.encode(task.examples(split), model)
    return evaluate_source(Source(model, task, {split: items}), split, device, batch)


def evaluate_source(source: Source, split: str, device: torch.device, batch: int = 64) -> dict:
    """:func:`evaluate` on encoded samples, through the model or through cached features."""
    totals, counts, predicted, true = [], [], [], []
    for _, group, logits in _forward(source, split, device, batch, processes.share):
        part = source.task.loss_of(logits, group)
        totals.append(part.total.double().cpu())
        counts.append(int(part.count))
        found, expected = source.task.decode(logits, group)
        predicted.append(found.cpu() if isinstance(found, torch.Tensor) else found)
        true.append(expected.cpu() if isinstance(expected, torch.Tensor) else expected)
    parts = processes.gather((float(sum(totals)), sum(counts), predicted, true))
    predicted, true = ([x for part in parts for x in part[i]] for i in (2, 3))
    metrics = source.task.metrics(_join(predicted), _join(true))
    count = sum(part[1] for part in parts)
    loss = sum(part[0] for part in parts) / count
    return {"loss": loss, **metrics, **source.task.of_loss(loss), "count": count}


def _join(parts: list):
    """One tensor from tensors, one list from lists."""
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [x for p in parts for x in p]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one example: a label, its probability, and the probability of every label."""

    label: str | list[str]
    probability: float | list[float]
    probabilities: dict[str, float] | list[dict[str, float]]

    def __str__(self) -> str:
        if isinstance(self.label, list):
            return " ".join(self.label)
        return f"{self.label} ({self.probability:.2f})"


def predict(model: torch.nn.Module, task: Task, what: str | Sequence, batch: int = 64) -> list[Prediction]:
    """Predict a split, or examples of your own.

    Args:
        model: the fine-tuned model.
        task: gives label names and decoding.
        what: the name of a split, a list of examples (dicts), or a list of plain inputs (texts, lists of words).
        batch: samples per forward pass.

    Returns:
        list[Prediction]: in the order of the input.

    Raises:
        UnknownName, BadData: no such split; an input that is not of the task's kind, with its index.

    >>> import sftlab as sl
    >>> task = sl.task("headlines")
    >>> print(sl.predict(model, task, ["The bridge is open again."])[0])     # doctest: +SKIP
    positive (0.97)
    """
    column = task.inputs.column
    if isinstance(what, str):
        examples = task.examples(what)
    else:
        examples = [x if isinstance(x, dict) else {column: x} for x in what]
    problems = [f"[{i}]: {p}" for i, x in enumerate(examples) if (p := task.inputs.problems(x))]
    if problems:
        raise bad_data("inputs to predict", problems)
    if not examples:
        return []
    device = env.current().device
    model.to(device)
    items = task.encode(examples, model, labelled=False)
    source = Source(model, task, {"these": items})
    out: list[Prediction | None] = [None] * len(items)
    for rows, _, logits in _forward(source, "these", device, batch):
        probabilities = logits.float().softmax(dim=-1).cpu()
        for row, p in zip(rows, probabilities, strict=True):
            out[row] = _read(task, items[row], p)
    return out


def _read(task: Task, item: dict, p: torch.Tensor) -> Prediction:
    if p.dim() == 1:
        best = int(p.argmax())
        named = dict(zip(task.label_names, p.tolist(), strict=True))
        return Prediction(task.label_names[best], float(p[best]), named)
    first = [at for at, word in enumerate(item["words"]) if word is not None and word not in item["words"][:at]]
    each = [_read(task, item, p[at]) for at in first]
    return Prediction([e.label for e in each], [e.probability for e in each], [e.probabilities for e in each])


def _forward(source: Source, split: str, device: torch.device, batch: int, share: Callable = list) -> Iterator[tuple]:
    """(rows, batch, logits) over all samples, similar lengths together, in eval mode and without autograd."""
    items = source.items[split]
    order = share(sorted(range(len(items)), key=lambda row: source.task.inputs.length(items[row]) or 0))
    with eval_mode(source.owner), torch.inference_mode(), env.current().autocast():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            for group in source.batches([rows], device, split):
                yield rows, group, source.task.logits(source.model, group)


@contextmanager
def eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside, and outside each module's own mode as before (``train()`` would not restore that, P5)."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
