"""Classification: one class per example, one tag per word."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.collate import pad
from ..errors import unknown
from ..table import Table
from ..train.evaluate import predict
from ..train.task import IGNORE, Task
from .inputs import ImageInput, TensorInput, TextInput, WordsInput


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


def worst_mistakes(task: Task, model, split: str, count: int) -> Table:
    """The labels that are wrong and most sure of it, for :meth:`sftlab.Run.errors`."""
    column, label = task.inputs.column, task.label_column
    rows = []
    for i, (example, p) in enumerate(zip(task.examples(split), predict(model, task, split), strict=True)):
        if isinstance(p.label, list):
            each = zip(example[label], p.label, p.probability, example[column], strict=False)
        else:
            each = [(example[label], p.label, p.probability, example[column])]
        for given, found, sure, what in each:
            true = task.label_id(given)
            if true is not None and found != task.label_names[true]:
                rows.append((sure, [i, task.label_names[true], found, f"{sure:.2f}", what]))
    rows.sort(key=lambda row: -row[0])
    note = f"{len(rows)} of {len(task.examples(split))} wrong in {split!r}"
    return Table(["index", "true", "predicted", "sure", column], [row for _, row in rows[:count]], note=note)


class Classify(Task):
    """One class per example.

    Args:
        splits: examples such as ``{"text": "Bridge reopens", "label": "positive"}``; labels by name or number.
        label_names: the classes.
        inputs: :class:`TextInput` (default), :class:`ImageInput` or :class:`TensorInput`.
        label: the column of the label.

    Raises:
        BadData: see :class:`Task`; unknown labels are listed with the nearest class.

    >>> task = Classify({"train": [{"text": "Bridge reopens", "label": "good"}]}, ["bad", "good"])
    >>> task.label_id("good")
    1
    """

    def __init__(self, splits, label_names, inputs=None, label: str = "label", name: str = "own data"):
        self._label = label
        inputs = inputs or TextInput()
        of = "image" if isinstance(inputs, ImageInput) else "tensor" if isinstance(inputs, TensorInput) else "text"
        self.kind = f"{of} classification"
        super().__init__(splits, label_names, inputs, name)

    @property
    def label_column(self) -> str:
        return self._label

    def label_problem(self, example: dict) -> str | None:
        label = example.get(self._label)
        if self.label_id(label) is not None or (isinstance(label, int) and label == IGNORE):
            return None
        if isinstance(label, str):
            return str(unknown("label", label, self.label_names))
        return f"label {label!r} is not one of the {len(self.label_names)} classes 0 to {len(self.label_names) - 1}"

    def add_labels(self, item: dict, example: dict) -> dict:
        label = self.label_id(example[self._label])
        return {**item, "labels": IGNORE if label is None else label, "supervised": label is not None}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return torch.tensor([item["labels"] for item in items])

    errors = worst_mistakes

    def read(self, item: dict, logits: torch.Tensor) -> Prediction:
        return _most_probable(self.label_names, logits)


class TagTokens(Task):
    """One tag per word. The first piece of a word carries its tag, the other pieces and special tokens none.

    Args:
        splits: examples such as ``{"words": ["Mara", "sings"], "tags": ["B-PER", "O"]}``.
        label_names: the tags.

    Raises:
        BadData: see :class:`Task`.

    Source: Devlin et al. (2019), BERT, section 5.3 (first sub-token).

    >>> task = TagTokens({"train": [{"words": ["Mara", "sings"], "tags": ["B-PER", "O"]}]}, ["O", "B-PER"])
    >>> task.label_id("B-PER")
    1
    """

    kind = "token tagging"

    def __init__(self, splits, label_names, words: str = "words", tags: str = "tags", name: str = "own data"):
        self._tags = tags
        super().__init__(splits, label_names, WordsInput(words), name)

    @property
    def label_column(self) -> str:
        return self._tags

    def label_problem(self, example: dict) -> str | None:
        tags, words = example.get(self._tags), example[self.inputs.column]
        if not isinstance(tags, list | tuple) or len(tags) != len(words):
            found = len(tags) if isinstance(tags, list | tuple) else type(tags).__name__
            return f"{self._tags!r} must have one tag for each of the {len(words)} words, found {found}"
        wrong = [t for t in tags if self.label_id(t) is None and t != IGNORE]
        return str(unknown("tag", wrong[0], self.label_names)) if wrong else None

    def add_labels(self, item: dict, example: dict) -> dict:
        words, tags = item["words"], example[self._tags]
        labels, before = [], None
        for word in words:
            tag = self.label_id(tags[word]) if word is not None and word != before else None
            labels.append(IGNORE if tag is None else tag)
            before = word
        labels += [IGNORE] * (len(item["input_ids"]) - len(labels))
        return {**item, "labels": labels, "supervised": any(label != IGNORE for label in labels)}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return pad([item["labels"] for item in items], IGNORE)

    errors = worst_mistakes

    def read(self, item: dict, logits: torch.Tensor) -> Prediction:
        words = item["words"]
        first = [at for at, word in enumerate(words) if word is not None and word not in words[:at]]
        each = [_most_probable(self.label_names, logits[at]) for at in first]
        return Prediction([e.label for e in each], [e.probability for e in each], [e.probabilities for e in each])


def _most_probable(label_names: list[str], logits: torch.Tensor) -> Prediction:
    p = logits.float().softmax(dim=-1).cpu()
    best = int(p.argmax())
    return Prediction(label_names[best], float(p[best]), dict(zip(label_names, p.tolist(), strict=True)))
