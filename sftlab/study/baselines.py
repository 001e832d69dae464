"""What you get without fine-tuning: the numbers that a fine-tuned model has to beat."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from .. import env
from ..errors import SftlabError, unknown
from ..train.task import Task


def majority(task: Task, split: str = "test") -> dict:
    """Always predict the most frequent class of the training split.

    Returns:
        dict: the task's metrics on ``split``, ``predicted`` (the class) and ``count``.

    >>> import sftlab as sl
    >>> sl.majority(sl.task("headlines"))["accuracy"] < 0.4
    True
    """
    column = task.label_column
    counts = Counter(task.label_id(example[column]) for example in task.examples("train"))
    most = counts.most_common(1)[0][0]
    true = _labels(task, split)
    return {**task.metrics(torch.full_like(true, most), true), "predicted": task.label_names[most], "count": len(true)}


def zero_shot(model, task: Task, descriptions: Mapping[str, str], split: str = "test") -> dict:
    """Classify by similarity: the label whose description lies closest to the text, by cosine of the trunk's vectors.

    No label is used. It works as far as the pretrained space happens to arrange texts by what you ask.

    Args:
        model: with ``features(input_ids, attention_mask)``, such as what :func:`sftlab.load` gives for text.
        task: a text classification.
        descriptions: one sentence per label.
        split: the split to classify.

    Returns:
        dict: the task's metrics and ``count``.

    Raises:
        UnknownName: a description for a label that does not exist, or none for one that does.

    Source: Yin et al. (2019), Benchmarking Zero-shot Text Classification, the label-similarity baseline.

    >>> zero_shot(model, task, {"bad": "This is bad news.", "good": "This is good news."})     # doctest: +SKIP
    """
    for label in set(descriptions) ^ set(task.label_names):
        raise unknown("label to describe", label, task.label_names)
    texts = [example[task.inputs.column] for example in task.examples(split)]
    labels = embed(model, task, [descriptions[label] for label in task.label_names])
    predicted = (embed(model, task, texts) @ labels.T).argmax(dim=1)
    true = _labels(task, split)
    return {**task.metrics(predicted, true), "count": len(true)}


def embed(model, task: Task, texts: Sequence[str], batch: int = 64) -> torch.Tensor:
    """Unit vectors of texts from the model's trunk: [texts, width], float32, on the CPU.

    >>> embed(model, task, ["The bridge is open again."]).shape     # doctest: +SKIP
    torch.Size([1, 384])
    """
    from ..train.evaluate import eval_mode
    from ..train.features import Source

    if not hasattr(model, "features"):
        raise SftlabError(f"{type(model).__name__} has no features(): there is no vector to compare.")
    device = env.current().device
    model.to(device)
    items = task.encode([{task.inputs.column: text} for text in texts], model, labelled=False)
    source = Source(model, task, {"train": items})
    groups = [range(start, min(start + batch, len(items))) for start in range(0, len(items), batch)]
    with eval_mode(model), torch.inference_mode(), env.current().autocast():
        vectors = [model.features(**group["inputs"]).float().cpu() for group in source.batches(groups, device)]
    return torch.nn.functional.normalize(torch.cat(vectors), dim=1)


def _labels(task: Task, split: str) -> torch.Tensor:
    return torch.tensor([task.label_id(example[task.label_column]) for example in task.examples(split)])
