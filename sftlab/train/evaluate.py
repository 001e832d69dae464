"""Evaluation and prediction: sums over the whole set, one division, whatever the batch size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from .. import env
from ..errors import SftlabError, bad_data
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


def predict(model: torch.nn.Module, task: Task, what: str | Sequence, batch: int = 64) -> list:
    """Predict a split, or examples of your own.

    Args:
        model: the fine-tuned model.
        task: gives label names and decoding.
        what: the name of a split, a list of examples (dicts), or a list of plain inputs (texts, lists of words).
        batch: samples per forward pass.

    Returns:
        list: in the order of the input. ``Prediction`` for classes and tags, else what the task reads from the model's
        output: names, numbers by column, a mask, boxes, a transcript, the best items.

    Raises:
        UnknownName, BadData: no such split; an input that is not of the task's kind, with its index.

    >>> import sftlab as sl
    >>> task = sl.task("headlines")
    >>> print(sl.predict(model, task, ["The bridge is open again."])[0])     # doctest: +SKIP
    positive (0.97)
    """
    if type(task).read is Task.read:
        raise SftlabError(f"a {task.kind} task has no labels to predict; sl.generate gives what the model writes.")
    own = [] if isinstance(what, str) else [x if isinstance(x, dict) else {task.inputs.column: x} for x in what]
    examples = task.examples(what) if isinstance(what, str) else own
    problems = [f"[{i}]: {p}" for i, x in enumerate(examples) if (p := task.inputs.problems(x))]
    if problems:
        raise bad_data("inputs to predict", problems)
    if not examples:
        return []
    device = env.current().device
    model.to(device)
    items = task.encode(examples, model, labelled=False)
    source = Source(model, task, {"these": items})
    out = [None] * len(items)
    for rows, _, logits in _forward(source, "these", device, batch):
        for row, answer in zip(rows, logits, strict=True):
            out[row] = task.read(items[row], answer)
    return out


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
