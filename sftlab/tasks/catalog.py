"""The tasks that the course brings along, by name."""

from ..data import headlines
from ..errors import unknown
from ..train.task import Task
from .classify import Classify

TASKS = {
    "headlines": lambda: headlines.sentiment(),
    "headlines-topic": lambda: headlines.topic(),
}


def task(name: str) -> Task:
    """A task of the course: bundled data with its loss, metric and label names.

    Args:
        name: ``"headlines"`` (sentiment: negative, neutral, positive) or ``"headlines-topic"`` (ten topics).

    Raises:
        UnknownName: no such task; the message lists the nearest names.
        AssetError: the bundled files are missing or altered.

    >>> task("headlines").label_names
    ['negative', 'neutral', 'positive']
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    splits, label_names, label = TASKS[name]()
    return Classify(splits, label_names, label=label, name=name)
