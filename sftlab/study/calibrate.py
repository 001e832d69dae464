"""Is a probability of 0.8 right in 8 cases of 10? The gap, and one number that closes most of it."""

from dataclasses import dataclass

import torch

from .. import env
from ..errors import SftlabError
from ..table import Table
from ..train.evaluate import eval_mode
from ..train.features import Source
from ..train.task import IGNORE, Task


@dataclass(frozen=True)
class Calibration:
    """What :func:`temperature_scale` found; ``float(...)`` of it is the temperature."""

    temperature: float
    loss_before: float
    loss_after: float
    ece_before: float
    ece_after: float
    count: int
    split: str

    def __float__(self) -> float:
        return self.temperature

    def table(self) -> Table:
        """Loss and calibration error with the logits as they are and divided by the temperature."""
        rows = [
            ["1", f"{self.loss_before:.4f}", f"{self.ece_before:.4f}"],
            [f"{self.temperature:.3f}", f"{self.loss_after:.4f}", f"{self.ece_after:.4f}"],
        ]
        return Table(["temperature", "loss", "calibration error"], rows, note=f"{self.count} labels of {self.split!r}")

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def temperature_scale(model: torch.nn.Module, task: Task, split: str = "val") -> Calibration:
    """The one number to divide the logits by, so that the probabilities fit a held-out split. No prediction changes.

    Args:
        model: the fine-tuned model; it is not changed.
        task: a task with one class per label.
        split: held out from training; not the one that the calibration is reported on.

    Returns:
        Calibration: ``temperature`` (above 1: the model was too sure), loss and calibration error before and after.

    Raises:
        SftlabError: the task has no classes; UnknownName, BadData: no such split, or an empty one.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks, section 4.2.

    >>> float(sl.temperature_scale(model, task))     # doctest: +SKIP
    1.61
    """
    logits, labels = _logits(model, task, split)
    inverse = torch.ones((), dtype=torch.float64, requires_grad=True)  # in 1/T the loss is convex
    optimizer = torch.optim.LBFGS([inverse], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss(scale):
        return torch.nn.functional.cross_entropy(logits * scale, labels, reduction="sum")

    def closure():
        optimizer.zero_grad()
        value = loss(inverse) / len(labels)
        value.backward()
        return value

    optimizer.step(closure)
    # Bounds, because perfectly separated data wants T = 0 and data worse than chance a negative one.
    scale = inverse.detach().clamp(0.01, 100)
    before, after = (float(loss(s) / len(labels)) for s in (torch.ones_like(scale), scale))
    gaps = [expected_calibration_error((logits * s).softmax(-1), labels) for s in (1, scale)]
    return Calibration(1 / float(scale), before, after, *gaps, len(labels), split)


def expected_calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """The mean distance of confidence and accuracy: predictions are put into bins of equal width by their probability.

    Args:
        probabilities: [samples, classes].
        labels: [samples], class numbers.
        bins: how many between 0 and 1.

    Source: Guo et al. (2017), equation 3; Naeini et al. (2015).

    >>> sure = torch.tensor([[0.75, 0.25]] * 4)
    >>> expected_calibration_error(sure, torch.tensor([0, 0, 0, 1])), expected_calibration_error(sure, torch.zeros(4))
    (0.0, 0.25)
    """
    confidence, predicted = probabilities.double().max(dim=-1)
    right = (predicted == labels).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, place.cpu(), (right - confidence).cpu())
    return float(sums.abs().sum() / len(labels))


def _logits(model, task: Task, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of all labelled positions of a split, in float64 on the CPU."""
    if not task.label_names or type(task).loss_of is not Task.loss_of:
        raise SftlabError(f"{task.kind} has no probabilities of one class among several to scale.")
    device = env.current().device
    items = task.encode(task.examples(split), model.to(device))
    groups = [range(at, min(at + 64, len(items))) for at in range(0, len(items), 64)]
    logits, labels = [], []
    with eval_mode(model), torch.no_grad(), env.current().autocast():
        for batch in Source(model, task, {split: items}).batches(groups, device, split):
            seen = batch["labels"] != IGNORE
            logits.append(task.logits(model, batch)[seen].double().cpu())
            labels.append(batch["labels"][seen].cpu())
    return torch.cat(logits), torch.cat(labels)
