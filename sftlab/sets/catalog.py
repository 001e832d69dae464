"""The tasks that the course brings along, by name."""

from ..errors import unknown
from ..tasks.classify import Classify
from ..train.task import Task
from . import headlines


def _sentiment(name: str) -> Task:
    return Classify(headlines.splits(), headlines.SENTIMENTS, label="label", name=name)


def _topic(name: str) -> Task:
    splits = {split: rows for split, rows in headlines.splits().items() if split != "reviews"}  # they have other topics
    return Classify(splits, headlines.TOPICS, label="topic", name=name)


TASKS = {"headlines": _sentiment, "headlines-topic": _topic}


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
    return TASKS[name](name)
