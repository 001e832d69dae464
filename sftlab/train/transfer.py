"""Learning from another model: distillation, and pseudo-labels for examples that have none."""

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import SftlabError
from .evaluate import predict
from .task import IGNORE, LossSum, Task


def Distill(task: Task, teacher: nn.Module, temperature: float = 2.0, weight: float = 0.5) -> Task:
    """A task whose training loss also follows a teacher: (1 - weight) CE + weight T² KL(teacher, student).

    Both parts are summed over the labelled positions and share their count. All else - encoding, evaluation,
    decoding, metrics - is the task's own. With augmentation the teacher sees the same view as the student.

    Args:
        task: a task with one class per label, such as :class:`Classify` or :class:`TagTokens`.
        teacher: a model of the same classes; it is not trained, and keeps its own tokenizer.
        temperature: T, softens both distributions.
        weight: share of the teacher, from 0 (the task alone) to 1.

    Raises:
        SftlabError: a task with another loss; in training: a teacher of other classes or, per token, other tokens.

    Source: Hinton et al. (2015), Distilling the Knowledge in a Neural Network, section 2.

    >>> run = sl.fit(student, sl.Distill(task, teacher, temperature=2.0), sl.full())     # doctest: +SKIP
    """
    if type(task).loss_of is not Task.loss_of or not task.label_names:
        raise SftlabError(f"Distill needs a task whose loss is the cross-entropy of its classes, not {task.kind}.")
    if temperature <= 0 or not 0 <= weight <= 1:
        raise ValueError(f"temperature must be above 0 and weight in [0, 1], not {temperature} and {weight}")
    kind = type("Distill", (_WithTeacher, type(task)), {})  # the task's own class, with a teacher in front of it
    made = kind.__new__(kind)
    made.__dict__.update(task.__dict__)
    made.plain, made.teacher, made.temperature, made.weight = task, teacher, temperature, weight
    if task.augment is not None:
        made.augment = made.augment_both
    return made


class _WithTeacher:
    """What :func:`Distill` puts before the methods of a task's class."""

    def augment_both(self, item: dict, generator: torch.Generator) -> dict:
        twin = torch.Generator()
        twin.set_state(generator.get_state())
        seen = self.plain.augment({**item, **item["teacher"]}, twin)
        return {**self.plain.augment(item, generator), "teacher": {key: seen[key] for key in item["teacher"]}}

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        items = super().encode(examples, model, labelled)
        seen = self.plain.inputs.encode([examples[item["index"]] for item in items], self.teacher)
        return [{**item, "teacher": view} for item, view in zip(items, seen, strict=True)]

    def collate(self, items: Sequence[dict], model) -> dict:
        # The plain task's inputs: this one's may have been exchanged for stored features.
        seen = self.plain.inputs.collate([item["teacher"] for item in items], self.teacher)
        return {**super().collate(items, model), "teacher": seen}

    def loss(self, model, batch: dict) -> LossSum:
        logits = self.logits(model, batch)
        part = self.loss_of(logits, batch)
        with torch.no_grad():
            teacher = self.teacher.to(logits.device).eval()
            targets = self.plain.logits(teacher, {**batch, "inputs": batch["teacher"]})
        if targets.shape != logits.shape:
            raise SftlabError(
                f"the teacher's logits are {list(targets.shape)}, the student's {list(logits.shape)}: both need the "
                f"{len(self.label_names)} classes of the task and, where every token has a label, the same tokens."
            )
        seen = batch["labels"] != IGNORE
        soft, given = (torch.log_softmax(x[seen].float() / self.temperature, dim=-1) for x in (logits, targets))
        distance = nn.functional.kl_div(soft, given, reduction="sum", log_target=True) * self.temperature**2
        return LossSum((1 - self.weight) * part.total + self.weight * distance, part.count)


def pseudo_label(model: nn.Module, task: Task, examples: Sequence, threshold: float = 0.9) -> list[dict]:
    """Label examples by what the model is sure of, to add them to a training split.

    Args:
        model: the fine-tuned model.
        task: gives the columns and label names.
        examples: dicts, or plain inputs, with or without labels (which are not looked at); never the test split.
        threshold: keep an example if the model gives its label at least this probability (every one of its labels).

    Returns:
        list[dict]: each example as it was, with the predicted label in the task's label column and its probability
        (of several labels the lowest) under ``"probability"``.

    Source: Lee (2013), Pseudo-Label.

    >>> more = sl.pseudo_label(model, task, ["The bridge is open again."])     # doctest: +SKIP
    >>> task = sl.Classify({**task.splits, "train": [*task.splits["train"], *more]}, task.label_names)  # doctest: +SKIP
    """
    examples = [x if isinstance(x, dict) else {task.inputs.column: x} for x in examples]
    kept = []
    for example, found in zip(examples, predict(model, task, examples), strict=True):
        several = isinstance(found.label, list)
        if several and len(found.label) != len(example[task.inputs.column]):
            continue  # cut at the model's limit: the words behind it have no label
        probability = min(found.probability) if several else found.probability
        if probability >= threshold:
            kept.append({**example, task.label_column: found.label, "probability": probability})
    return kept
