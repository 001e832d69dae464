"""Several labels per example, numbers, actions: what a task with one tensor of targets per example shares."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..errors import SftlabError, bad_data, unknown
from .inputs import TensorInput, TextInput
from .task import IGNORE, LossSum, Task


@dataclass(frozen=True)
class Reading:
    """What a model says of one example when that is not one class: labels, numbers, text, boxes, a mask."""

    label: object
    probability: float | list[float] | None = None
    probabilities: dict | None = None

    def __str__(self) -> str:
        return " ".join(map(str, self.label)) if isinstance(self.label, list) else str(self.label)


class ColumnTask(Task):
    """A task whose targets are one tensor per example, made by :meth:`target` from one column or a few."""

    def __init__(self, splits, label_names, inputs, name: str, column: str):
        self._column = column
        super().__init__(splits, label_names, inputs, name)

    def target(self, example: dict) -> torch.Tensor:
        """The targets of an example; a ValueError says what is wrong with them."""
        raise NotImplementedError

    @property
    def label_column(self) -> str:
        return self._column

    def label_problem(self, example: dict) -> str | None:
        try:
            self.target(example)
        except ValueError as error:
            return str(error)

    def add_labels(self, item: dict, example: dict) -> dict:
        labels = self.target(example)
        return {**item, "labels": labels, "supervised": labels.is_floating_point() or bool((labels != IGNORE).any())}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return torch.stack([item["labels"] for item in items])


class MultiLabel(ColumnTask):
    """Any number of labels per example, none included: one yes-or-no question for each label (S23).

    The loss is binary cross-entropy, summed over all (example, label) entries that are known. The task says so, not
    the type of the first batch (P36).

    Args:
        splits: ``{"text": ..., "labels": ["a", "c"]}``, names or numbers; what is not listed is a no. If some answers
            are not known, ``{"labels": {"a": 1, "b": 0}}``: what is absent is left out of the loss.
        label_names: the labels, in the order of the model's outputs.
        inputs: :class:`TextInput` (default) or :class:`TensorInput`.

    Raises:
        BadData: unknown labels, answers other than 0 and 1; with split and index.

    >>> task = MultiLabel({"train": [{"text": "Storm stops the cup final", "labels": ["sport"]}]}, ["sport", "art"])
    >>> task.target({"labels": {"art": 1}}).tolist()
    [-100, 1]
    """

    fewest_labels = 1
    metric_names = ("micro_f1", "macro_f1", "exact_match")

    def __init__(self, splits, label_names, inputs=None, labels: str = "labels", name: str = "own data"):
        inputs = inputs or TextInput()
        self.kind = f"{'tensor' if isinstance(inputs, TensorInput) else 'text'} multi-label classification"
        super().__init__(splits, label_names, inputs, name, labels)

    def target(self, example: dict) -> torch.Tensor:
        given = example.get(self._column)
        if not isinstance(given, list | tuple | set | Mapping):
            raise ValueError(f"{self._column!r} must be a list of labels, or a dict, found {type(given).__name__}")
        partly = isinstance(given, Mapping)
        row = torch.full((len(self.label_names),), IGNORE if partly else 0)
        for label in given:
            if (at := self.label_id(label)) is None:
                raise unknown("label", label, self.label_names)
            row[at] = answer = int(given[label]) if partly and given[label] in (0, 1) else 1 - partly
            if partly and answer != given[label]:
                raise ValueError(f"label {label!r} must be 0 or 1, found {given[label]!r}")
        return row

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        labels = batch["labels"]
        same_shape(logits, labels)
        known = labels != IGNORE
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
        return LossSum(loss.where(known, 0).sum(), known.sum())

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return (logits > 0).long(), batch["labels"]  # probability above 0.5

    def metrics(self, predicted, true) -> dict[str, float]:
        """F1 over all entries, mean F1 of the labels, and the share of examples without any error."""
        from torchmetrics.functional.classification import multilabel_f1_score

        setting = {"num_labels": len(self.label_names), "ignore_index": IGNORE}
        return {
            "micro_f1": float(multilabel_f1_score(predicted, true, average="micro", **setting)),
            "macro_f1": float(multilabel_f1_score(predicted, true, average="macro", **setting)),
            "exact_match": float(((predicted == true) | (true == IGNORE)).all(dim=1).double().mean()),
        }

    def read(self, item: dict, row: torch.Tensor) -> Reading:
        """The labels with a probability above 0.5."""
        p = dict(zip(self.label_names, row.float().sigmoid().tolist(), strict=True))
        found = [name for name in p if p[name] > 0.5]
        return Reading(found, [p[name] for name in found], p)


class Regress(ColumnTask):
    """Numbers: squared error, summed over all entries.

    Args:
        splits: ``{"input": ..., "target": 2.5}``.
        targets: the column, or several columns, one output of the model for each.
        inputs: :class:`TensorInput` (default) or :class:`TextInput`.

    Raises:
        BadData: targets that are missing, no numbers, or not finite; with split and index.

    >>> task = Regress({"train": [{"input": torch.zeros(2), "x": 1, "y": 2.5}]}, ["x", "y"])
    >>> task.target(task.examples("train")[0]).tolist()
    [1.0, 2.5]
    """

    fewest_labels = 1
    metric_names = ("mae", "rmse", "r2")

    def __init__(self, splits, targets: str | Sequence[str] = "target", inputs=None, name: str = "own data"):
        inputs = inputs or TensorInput()
        self.kind = f"{'tensor' if isinstance(inputs, TensorInput) else 'text'} regression"
        columns = [targets] if isinstance(targets, str) else list(targets)
        super().__init__(splits, columns, inputs, name, ", ".join(columns))

    def target(self, example: dict) -> torch.Tensor:
        return torch.stack([numbers(example.get(name), name, ()) for name in self.label_names])

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        labels = batch["labels"]
        found = as_column(logits, labels)
        return LossSum((found.float() - labels).square().sum(), torch.tensor(labels.numel(), device=labels.device))

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return as_column(logits, batch["labels"]).float(), batch["labels"]

    def metrics(self, predicted, true) -> dict[str, float]:
        """Over all entries; R2 is the mean over the columns. A constant column has an R2 of 1 (hit) or 0."""
        error, spread = predicted.double() - true.double(), true.double() - true.double().mean(dim=0)
        left, total = error.square().sum(dim=0), spread.square().sum(dim=0)
        r2 = torch.where(total > 0, 1 - left / total.clamp(min=1e-300), (left == 0).double())
        return {"mae": float(error.abs().mean()), "rmse": float(error.square().mean().sqrt()), "r2": float(r2.mean())}

    def read(self, item: dict, row: torch.Tensor) -> Reading:
        """One number, or one for each column."""
        values = row.float().reshape(-1).tolist()
        return Reading(values[0] if len(values) == 1 else values)


class Policy(ColumnTask):
    """What to do in a state: behaviour cloning, or log-likelihood weighted by returns or advantages.

    With ``actions`` the model gives logits and the loss is cross-entropy; with ``size`` it gives the mean of a
    Gaussian, [batch, size], or mean and log of the standard deviation, [batch, 2 * size]. The loss of a sample is
    multiplied by its ``"weight"`` (default 1; may be 0 or negative), but every sample counts as one: the weights scale
    the gradient, as in REINFORCE, they do not normalise it. The metrics know no weights.

    Args:
        splits: ``{"input": state, "action": 1, "weight": 0.7}``.
        actions: names of the discrete actions.
        size: or the length of a continuous action.

    Raises:
        BadData: actions that do not exist or have another length, weights that are no numbers; with split and index.

    >>> task = Policy({"train": [{"input": torch.zeros(4), "action": "left"}]}, ["left", "right"])
    >>> task.metric_names
    ('accuracy',)
    """

    def __init__(self, splits, actions=(), size: int = 0, inputs=None, column: str = "action", name: str = "own data"):
        if bool(actions) == bool(size):
            raise bad_data(name, ["a policy has either names of actions or the size of a continuous action"])
        self.size = size
        self.kind = f"{'continuous' if size else 'discrete'} policy"
        self.metric_names = ("mae",) if size else ("accuracy",)
        self.fewest_labels = 0 if size else 2
        super().__init__(splits, actions, inputs or TensorInput(), name, column)

    def target(self, example: dict) -> torch.Tensor:
        numbers(example.get("weight", 1.0), "weight", ())
        action = example.get(self._column)
        if self.size:
            return numbers(action, self._column, (self.size,))
        if (at := self.label_id(action)) is None:
            raise unknown("action", action, self.label_names)
        return torch.tensor(at)

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**super().add_labels(item, example), "weight": float(example.get("weight", 1.0))}

    def collate(self, items: Sequence[dict], model) -> dict:
        return {**super().collate(items, model), "weight": torch.tensor([item.get("weight", 1.0) for item in items])}

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        labels, weight = batch["labels"], batch["weight"]
        if not self.size:
            each = F.cross_entropy(logits.float(), labels, reduction="none")
        else:
            mean, log_std = self._gaussian(logits)
            error = (labels - mean) * (-log_std).exp()
            each = (error.square() / 2 + log_std + math.log(2 * math.pi) / 2).sum(dim=1)
        return LossSum((each * weight).sum(), torch.tensor(len(labels), device=labels.device))

    def _gaussian(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if logits.dim() != 2 or logits.shape[1] not in (self.size, 2 * self.size):
            raise SftlabError(f"the model must give {self.size} or {2 * self.size} numbers, gave {list(logits.shape)}")
        mean = logits[:, : self.size].float()
        return mean, logits[:, self.size :].float() if logits.shape[1] > self.size else torch.zeros_like(mean)

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return (self._gaussian(logits)[0] if self.size else logits.argmax(dim=1)), batch["labels"]

    def metrics(self, predicted, true) -> dict[str, float]:
        """Share of equal actions, or mean absolute error of the Gaussian's mean."""
        if self.size:
            return {"mae": float((predicted.double() - true.double()).abs().mean())}
        return {"accuracy": float((predicted == true).double().mean())}

    def read(self, item: dict, row: torch.Tensor) -> Reading:
        """The likeliest action; a continuous one is the mean."""
        if self.size:
            return Reading(row[: self.size].float().tolist())
        p = dict(zip(self.label_names, row.float().softmax(dim=0).tolist(), strict=True))
        best = max(p, key=p.get)
        return Reading(best, p[best], p)


def numbers(value, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Finite float32 numbers of a shape, or a ValueError that names the column."""
    try:
        found = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name!r} must hold numbers, found {value!r}") from None
    if found.shape != shape:
        what = f"{shape[0]} numbers" if shape else "one number"
        raise ValueError(f"{name!r} must be {what}, found the shape {list(found.shape)}")
    if not torch.isfinite(found).all():
        raise ValueError(f"{name!r} is not finite: {value!r}")
    return found


def same_shape(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Outputs and targets must agree, or broadcasting would give a loss that means nothing."""
    if logits.shape != labels.shape:
        raise SftlabError(f"the model gave {list(logits.shape)} where the targets are {list(labels.shape)}")


def as_column(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[batch] as [batch, 1]: many nets drop the last dimension when they give one number."""
    logits = logits.unsqueeze(1) if logits.dim() == 1 else logits
    same_shape(logits, labels)
    return logits
