"""A task is data, loss, metric and decoding. Its loss is a sum and a count; whoever needs a mean divides once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..errors import NoSupervision, SftlabError, bad_data, unknown
from ..table import Table

IGNORE = -100  # a position without a label: torch's default for cross-entropy


@dataclass
class LossSum:
    """A summed loss and the number of terms in it, both 0-dimensional tensors on the model's device.

    Sums can be added over micro-batches, batches and processes; means cannot (P1, P2, P3).

    >>> a, b = LossSum(torch.tensor(6.0), torch.tensor(3)), LossSum(torch.tensor(4.0), torch.tensor(1))
    >>> ((a.total + b.total) / (a.count + b.count)).item()     # not the mean of 2 and 4
    2.5
    """

    total: torch.Tensor
    count: torch.Tensor


def cross_entropy_sum(logits: torch.Tensor, labels: torch.Tensor) -> LossSum:
    """Cross-entropy summed over all labels that are not :data:`IGNORE`, in nats, and their count.

    Args:
        logits: [..., classes]; taken in float32 whatever the autocast.
        labels: [...], int64.

    >>> result = cross_entropy_sum(torch.zeros(2, 3), torch.tensor([1, -100]))
    >>> round(result.total.item(), 4), result.count.item()     # ln 3 for one label
    (1.0986, 1)
    """
    logits = logits.reshape(-1, logits.shape[-1]).float()
    labels = labels.reshape(-1)
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return LossSum(total, (labels != IGNORE).sum())


class Task(ABC):
    """What is learnt: examples in splits, how they are encoded, the loss, the decoding and the metrics.

    Args:
        splits: ``{"train": [...], "val": [...], "test": [...]}``; every example is a dict, no key is dropped (P35).
        label_names: the classes, in the order of the model's outputs.
        inputs: how the input column becomes tensors.
        name: shown in tables and errors.

    Attributes:
        augment: ``augment(item, generator) -> item``, called on an encoded training item each time it is drawn; the
            generator is a function of (seed, epoch, index), so that a resumed run draws the same (P18).

    Raises:
        BadData: no or unusable examples; the message lists them with split and index.

    >>> from sftlab.tasks.classify import Classify
    >>> task = Classify({"train": [{"text": "a", "label": 0}], "val": []}, ["no", "yes"])
    >>> len(task.examples("train")), task.label_names
    (1, ['no', 'yes'])
    """

    kind: str
    metric_names: tuple[str, ...] = ("accuracy", "macro_f1")  # what `metrics` returns
    fewest_labels = 2  # 0: the task has no classes
    draws = False  # True: the loss draws random numbers per sample, and batches carry ``seeds`` for them
    cacheable = True  # False: a frozen trunk cannot be run once and kept, because the loss looks into the model
    augment: Callable[[dict, torch.Generator], dict] | None = None
    report = ""  # what a reader of people's own files found: rows, classes, what it left out

    def __init__(self, splits: Mapping[str, Sequence[dict]], label_names: Sequence[str], inputs, name: str):
        self.splits, self.label_names, self.inputs, self.name = dict(splits), list(label_names), inputs, name
        self._id = {label: i for i, label in enumerate(self.label_names)}
        if len(self._id) < self.fewest_labels or len(self._id) != len(self.label_names):
            wrong = f"needs at least {self.fewest_labels} different labels, found {self.label_names}"
            raise bad_data(self.name, [wrong])
        if not self.splits or not self.splits.get("train", [None]):
            raise bad_data(self.name, ["the split 'train' has no examples: there is nothing to learn from"])
        problems = [
            f"{split}[{i}]: {problem}"
            for split, examples in self.splits.items()
            for i, example in enumerate(examples)
            if (problem := self.problems(example))
        ]
        if problems:
            raise bad_data(self.name, problems)

    def examples(self, split: str) -> Sequence[dict]:
        """The examples of a split.

        Raises:
            UnknownName: no such split.
            BadData: the split is empty.
        """
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        if not self.splits[split]:
            raise bad_data(self.name, [f"the split {split!r} has no examples"])
        return self.splits[split]

    def problems(self, example: dict) -> str | None:
        """What is wrong with one example, or None."""
        if not isinstance(example, Mapping):
            wanted = f"{self.inputs.column!r} and {self.label_column!r}"
            return f"must be a dict with {wanted}, found {type(example).__name__}"
        return self.inputs.problems(example) or self.label_problem(example)

    def label_id(self, label) -> int | None:
        """The class of a label that is given by name or by number; None if there is no such class."""
        if isinstance(label, str):
            return self._id.get(label)
        if isinstance(label, bool) or not hasattr(label, "__index__"):
            return None
        label = label.__index__()
        return label if 0 <= label < len(self.label_names) else None

    @property
    @abstractmethod
    def label_column(self) -> str:
        """The column that holds the labels."""

    @abstractmethod
    def label_problem(self, example: dict) -> str | None:
        """What is wrong with the labels of one example, or None."""

    @abstractmethod
    def add_labels(self, item: dict, example: dict) -> dict:
        """An encoded example with its ``labels``."""

    @abstractmethod
    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        """The labels of a batch as one tensor."""

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        """Encode examples once, before training: inputs as the model wants them, labels as class numbers.

        Raises:
            NoSupervision: no example has a label left.
        """
        items = self.inputs.encode(examples, model)
        for i, item in enumerate(items):
            item["index"] = i
        if not labelled:
            return items
        items = [self.add_labels(item, example) for item, example in zip(items, examples, strict=True)]
        kept = [item for item in items if item.pop("supervised", True)]
        if not kept:
            raise NoSupervision(
                f"{self.name}: none of the {len(examples)} examples has a label that the loss may see. "
                f"Check the column {self.label_column!r} (is everything {IGNORE}?) and the model's limit of "
                f"{getattr(model, 'max_tokens', 'unlimited')} tokens: cutting can remove all labels of a long example."
            )
        return kept

    def collate(self, items: Sequence[dict], model) -> dict:
        """One batch: ``inputs`` for the model, ``labels``, and ``index``, the numbers of the samples."""
        batch = {"inputs": self.inputs.collate(items, model), "index": [item["index"] for item in items]}
        if "labels" in items[0]:
            batch["labels"] = self.collate_labels(items)
        return batch

    def logits(self, model, batch: dict) -> torch.Tensor:
        """The model's raw outputs for a batch, whether it returns a tensor or an output object of transformers."""
        outputs = self.inputs.call(model, batch["inputs"])
        return getattr(outputs, "logits", outputs)

    def loss(self, model, batch: dict) -> LossSum:
        """The contract of the engine: a sum and a count, never a mean."""
        return self.loss_of(self.logits(model, batch), batch)

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        """The loss of logits that are there already (evaluation needs them for the metrics too)."""
        return cross_entropy_sum(logits, batch["labels"])

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        """(predicted, true) of a batch for :meth:`metrics`, as tensors or lists: here classes of labelled positions."""
        labels = batch["labels"].reshape(-1)
        seen = labels != IGNORE
        return logits.argmax(dim=-1).reshape(-1)[seen], labels[seen]

    def read(self, item: dict, answer):
        """What :func:`sftlab.predict` says of one example, from its row of the model's output."""
        raise NotImplementedError

    def errors(self, model, split: str, count: int) -> Table:
        """The worst mistakes of a split, for tasks that have labels."""
        raise SftlabError(f"a {self.kind} task has no list of mistakes; look at sl.predict(model, task, {split!r}).")

    def of_loss(self, loss: float) -> dict[str, float]:
        """Metrics that are functions of the mean loss, such as a language model's perplexity."""
        return {}

    def metrics(self, predicted, true) -> dict[str, float]:
        """Accuracy and macro-averaged F1 over the whole set, both in [0, 1]."""
        from torchmetrics.functional import accuracy, f1_score

        setting = {"task": "multiclass", "num_classes": len(self.label_names)}
        macro_f1 = float(f1_score(predicted, true, average="macro", **setting))
        return {"accuracy": float(accuracy(predicted, true, **setting)), "macro_f1": macro_f1}
