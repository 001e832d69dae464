"""Several labels per example, numbers, actions: tasks whose targets are made by one function of the example."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from ..errors import SftlabError, bad_data, unknown
from .inputs import TensorInput, TextInput
from .task import IGNORE, LossSum, Task


class TargetTask(Task):
    """A task with ``target(example)``, one function for checking (a ValueError says what is wrong) and encoding.

    ``read(item, row)`` gives what the model's outputs for one example say: labels, numbers, a text, a mask, boxes.
    """

    def label_problem(self, example: dict) -> str | None:
        try:
            self.target(example)
        except ValueError as error:
            return str(error)

    def add_labels(self, item: dict, example: dict) -> dict:
        labels = self.target(example)
        masked = isinstance(labels, torch.Tensor) and not labels.is_floating_point() and bool((labels == IGNORE).all())
        return {**item, "labels": labels, "supervised": not masked}

    def collate_labels(self, items: Sequence[dict]):
        labels = [item["labels"] for item in items]
        return torch.stack(labels) if labels[0].dim() != 1 else pad_sequence(labels, True, IGNORE)


class MultiLabel(TargetTask):
    """Any number of labels per example: binary cross-entropy, summed over all known (example, label) entries (S23).

    Args:
        splits: ``{"text": ..., "labels": ["a", "c"]}``, names or numbers; what is not listed is a no. Where some
            answers are not known, ``{"labels": {"a": 1, "b": 0}}``: what is absent is left out of the loss.
        label_names, inputs: as for :class:`sftlab.Classify`.

    Raises: BadData for unknown labels and for answers other than 0 and 1.

    >>> task = MultiLabel({"train": [{"text": "Storm stops the cup final", "labels": ["sport"]}]}, ["sport", "art"])
    >>> task.target({"labels": {"art": 1}}).tolist()
    [-100, 1]
    """

    fewest_labels, label_column = 1, "labels"
    metric_names = ("micro_f1", "macro_f1", "exact_match")

    def __init__(self, splits, label_names, inputs=None, name: str = "own data"):
        self.kind = f"{'tensor' if isinstance(inputs, TensorInput) else 'text'} multi-label"
        super().__init__(splits, label_names, inputs or TextInput(), name)

    def target(self, example: dict) -> torch.Tensor:
        given = example.get("labels")
        partly = isinstance(given, Mapping)
        if not partly and not isinstance(given, list | tuple | set):
            raise ValueError(f"'labels' must be a list of labels, or a dict, found {type(given).__name__}")
        row = torch.full((len(self.label_names),), IGNORE if partly else 0)
        for label, answer in given.items() if partly else ((label, 1) for label in given):
            if self.label_id(label) is None:
                raise unknown("label", label, self.label_names)
            if answer not in (0, 1):
                raise ValueError(f"label {label!r} must be 0 or 1, found {answer!r}")
            row[self.label_id(label)] = int(answer)
        return row

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        known = batch["labels"] != IGNORE
        loss = F.binary_cross_entropy_with_logits(*columns(logits, batch["labels"]), reduction="none")
        return LossSum(loss.where(known, 0).sum(), known.sum())

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return (logits > 0).long(), batch["labels"]  # a probability above 0.5

    def metrics(self, predicted, true) -> dict[str, float]:
        from torchmetrics.functional.classification import multilabel_f1_score

        setting = {"num_labels": len(self.label_names), "ignore_index": IGNORE}
        f1 = [multilabel_f1_score(predicted, true, average=average, **setting) for average in ("micro", "macro")]
        right = ((predicted == true) | (true == IGNORE)).all(dim=1)  # the whole example
        return dict(zip(self.metric_names, map(float, (*f1, right.double().mean())), strict=True))

    def read(self, item: dict, row: torch.Tensor) -> list[str]:
        return [name for name, logit in zip(self.label_names, row.tolist(), strict=True) if logit > 0]


class Regress(TargetTask):
    """Numbers: squared error, summed over all entries.

    Args:
        splits: ``{"input": ..., "target": 2.5}``.
        targets: the column, or several columns, one output of the model for each.
        inputs: :class:`TensorInput` (default) or :class:`TextInput`.

    Raises: BadData for targets that are missing, no numbers, or not finite.

    >>> task = Regress({"train": [{"input": torch.zeros(2), "x": 1, "y": 2.5}]}, ["x", "y"])
    >>> task.target(task.examples("train")[0]).tolist()
    [1.0, 2.5]
    """

    fewest_labels, label_column = 1, "target"
    metric_names = ("mae", "rmse", "r2")

    def __init__(self, splits, targets: str | Sequence[str] = "target", inputs=None, name: str = "own data"):
        self.kind = f"{'text' if isinstance(inputs, TextInput) else 'tensor'} regression"
        super().__init__(splits, [targets] if isinstance(targets, str) else targets, inputs or TensorInput(), name)

    def target(self, example: dict) -> torch.Tensor:
        return torch.stack([numbers(example.get(name), name, ()) for name in self.label_names])

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        found, true = columns(logits, batch["labels"])
        return LossSum((found - true).square().sum(), torch.tensor(true.numel(), device=true.device))

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return columns(logits, batch["labels"])

    def metrics(self, predicted, true) -> dict[str, float]:
        """Over all entries; R2 is the mean over the columns, and for a constant column 1 (hit) or 0."""
        error, spread = predicted.double() - true, true.double() - true.double().mean(dim=0)
        left, total = error.square().sum(dim=0), spread.square().sum(dim=0)
        r2 = torch.where(total > 0, 1 - left / total, (left == 0).double())
        return {"mae": float(error.abs().mean()), "rmse": float(error.square().mean().sqrt()), "r2": float(r2.mean())}

    def read(self, item: dict, row: torch.Tensor) -> dict[str, float]:
        return dict(zip(self.label_names, row.reshape(-1).tolist(), strict=True))


class Policy(TargetTask):
    """What to do in a state: behaviour cloning, or log-likelihood weighted by returns or advantages.

    A sample's loss is multiplied by its ``"weight"`` (any number, default 1), but every sample counts as one: weights
    scale the gradient, as in REINFORCE, and do not normalise it. The metrics know no weights.

    Args:
        splits: ``{"input": state, "action": 1, "weight": 0.7}``.
        actions: names of the discrete actions; the model gives logits, the loss is cross-entropy.
        size: or the length of a continuous action; the model gives the mean of a Gaussian, or mean and logarithm of
            the standard deviation, [batch, 2 * size].

    Raises: BadData for actions that do not exist or have another length, and weights that are no numbers.

    >>> Policy({"train": [{"input": torch.zeros(4), "action": "left"}]}, ["left", "right"]).metric_names
    ('accuracy',)
    """

    label_column = "action"

    def __init__(self, splits, actions=(), size: int = 0, inputs=None, name: str = "own data"):
        if bool(actions) == bool(size):
            raise bad_data(name, ["a policy has either names of actions or the size of a continuous action"])
        self.size, self.kind = size, "continuous policy" if size else "discrete policy"
        self.metric_names, self.fewest_labels = (("mae",), 0) if size else (("accuracy",), 2)
        super().__init__(splits, actions, inputs or TensorInput(), name)

    def target(self, example: dict) -> torch.Tensor:
        numbers(example.get("weight", 1.0), "weight", ())
        if self.size:
            return numbers(example.get("action"), "action", (self.size,))
        if (at := self.label_id(example.get("action"))) is None:
            raise unknown("action", example.get("action"), self.label_names)
        return torch.tensor(at)

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**super().add_labels(item, example), "weight": float(example.get("weight", 1.0))}

    def collate(self, items: Sequence[dict], model) -> dict:
        return {**super().collate(items, model), "weight": torch.tensor([item.get("weight", 1.0) for item in items])}

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        labels = batch["labels"]
        if self.size:
            mean, log_std = self._gaussian(logits)
            error = (labels - mean) * (-log_std).exp()
            each = (error.square() / 2 + log_std + math.log(2 * math.pi) / 2).sum(dim=1)
        else:
            each = F.cross_entropy(logits.float(), labels, reduction="none")
        return LossSum((each * batch["weight"]).sum(), torch.tensor(len(labels), device=labels.device))

    def _gaussian(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if logits.shape[1:] == (self.size,):
            logits = torch.cat([logits, torch.zeros_like(logits)], dim=1)  # a standard deviation of 1
        if logits.shape[1:] != (2 * self.size,):
            raise SftlabError(f"the model must give {self.size} or {2 * self.size} numbers, gave {list(logits.shape)}")
        return logits.float().chunk(2, dim=1)

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return (self._gaussian(logits)[0] if self.size else logits.argmax(dim=1)), batch["labels"]

    def metrics(self, predicted, true) -> dict[str, float]:
        each = (predicted.double() - true).abs() if self.size else (predicted == true).double()
        return {self.metric_names[0]: float(each.mean())}

    def read(self, item: dict, row: torch.Tensor) -> str | list[float]:
        return row[: self.size].tolist() if self.size else self.label_names[int(row.argmax())]


def numbers(value, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Finite float32 numbers of a shape, or a ValueError that names the column."""
    try:
        found = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name!r} must hold numbers, found {value!r}") from None
    if found.shape != shape or not found.isfinite().all():
        raise ValueError(
            f"{name!r} must be {f'{shape[0]} finite numbers' if shape else 'a finite number'}, is {value!r}"
        )
    return found


def columns(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in float32, whatever they were (P36), and of one shape, with [batch] for [batch, 1]: never broadcast."""
    logits = logits.unsqueeze(1) if logits.dim() == 1 else logits
    if logits.shape != labels.shape:
        raise SftlabError(f"the model gave {list(logits.shape)} where the targets are {list(labels.shape)}")
    return logits.float(), labels.float()
