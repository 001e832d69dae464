"""The tasks that the course brings along, by name."""

from ..errors import unknown
from ..tasks.classify import Classify
from ..train.task import Task
from . import drawn, headlines, pairs, people, public, real, stories


def _sentiment() -> Task:
    return Classify(headlines.splits(), headlines.SENTIMENTS, label="label", name="headlines")


def _topic() -> Task:
    splits = {split: rows for split, rows in headlines.splits().items() if split != "reviews"}  # they have other topics
    return Classify(splits, headlines.TOPICS, label="topic", name="headlines-topic")


TASKS = {
    "headlines": _sentiment,
    "headlines-topic": _topic,
    "people": people.people,
    "zh-en": pairs.zh_en,
    "zh-en-cooking": pairs.zh_en_cooking,
    "stories": stories.stories,
    "instructions": stories.instructions,
    "digits": real.digits,
    "faces": real.faces,
    "textures": real.textures,
    "coins": real.coins,
    "coins-segmentation": real.coins_segmentation,
    "cells": real.cells,
    "histology": real.histology,
    "street": drawn.street,
    "street-segmentation": drawn.street_segmentation,
    "animals": drawn.animals,
    "animals-shifted": drawn.animals_shifted,
    "lesions": drawn.lesions,
    "cells-drawn": drawn.cells_drawn,
}


def task(name: str) -> Task:
    """A task of the course: its data with loss, metric and label names. The page "Data and checkpoints" shows samples.

    Args:
        name: text: ``"headlines"`` (sentiment), ``"headlines-topic"``, ``"people"`` (entities), ``"zh-en"``,
            ``"zh-en-cooking"`` (translation), ``"stories"``, ``"instructions"`` (a language model). Real pictures, with
            the extra ``vision``: ``"digits"``, ``"faces"``, ``"textures"``, ``"coins"`` (boxes),
            ``"coins-segmentation"``, ``"cells"``, ``"histology"``. Drawn pictures: ``"street"`` (boxes),
            ``"street-segmentation"``, ``"animals"``, ``"animals-shifted"``, ``"lesions"``, ``"cells-drawn"``. In the
            full profile public data sets, which are fetched: ``"sst2"``, ``"conll2003"``, ``"opus-kde4"``, ``"dolly"``,
            ``"cifar10"``, ``"oxford-pets"``, ``"penn-fudan"``; see ``sftlab data``.

    Raises:
        UnknownName: no such task; the message lists the nearest names.
        AssetError: the bundled files are missing or altered; a public data set is not here and cannot be fetched.
        SftlabError: the task needs a package that is not installed; the message names the extra.

    >>> task("headlines").label_names
    ['negative', 'neutral', 'positive']
    """
    if name in public.SETS:
        return public.task(name)
    if name not in TASKS:
        raise unknown("task", name, [*TASKS, *public.SETS])
    return TASKS[name]()
