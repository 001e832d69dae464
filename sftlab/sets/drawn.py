"""Drawn pictures whose every pixel is known: street scenes, animals, skin lesions, cells."""

from ..assets import card
from ..tasks.classify import Classify
from ..tasks.inputs import ImageInput
from ..tasks.vision import Detect, Segment
from .pictures import load_pictures

STREET = ("train", "val", "test", "source")
SPLITS = ("train", "val", "test")


def street() -> Detect:
    """Find pedestrians, cars and signs at night and in rain: 160 / 40 / 100 scenes, 96 x 128 pixels.

    The split ``source`` has 40 scenes in the style that the checkpoint `scenes` was pretrained on, by day: what a model
    loses on it is what fine-tuning has made it forget.

    Raises:
        AssetError: a file is missing or altered.

    >>> task = street()
    >>> task.label_names, task.examples("test")[0]["input"].shape
    (['background', 'pedestrian', 'car', 'sign'], torch.Size([3, 96, 128]))
    """
    return Detect(_splits("street", STREET), card("street")["facts"]["labels"], name="street")


def street_segmentation() -> Segment:
    """A class for every pixel of the scenes of :func:`street`: nine classes, from road to sign.

    Raises:
        AssetError: a file is missing or altered.

    >>> street_segmentation().label_names[1:5]
    ['road', 'pavement', 'building', 'sky']
    """
    names = card("street")["facts"]["mask_labels"]
    return Segment(_splits("street", STREET), names, name="street-segmentation")


def animals() -> Classify:
    """Cat, dog or other, drawn as cartoons: 600 / 150 / 150 pictures, 64 x 64 pixels.

    Raises:
        AssetError: a file is missing or altered.

    >>> animals().label_names
    ['cat', 'dog', 'other']
    """
    splits = {split: load_pictures("animals", split) for split in SPLITS}
    return Classify(splits, card("animals")["facts"]["labels"], ImageInput(), name="animals")


def animals_shifted() -> Classify:
    """The same three classes in another style, soft shapes of textured fur: 150 / 60 / 240 pictures.

    Raises:
        AssetError: a file is missing or altered.

    >>> len(animals_shifted().examples("test"))
    240
    """
    splits = {split: load_pictures("animals", f"shifted_{split}") for split in SPLITS}
    return Classify(splits, card("animals")["facts"]["labels"], ImageInput(), name="animals-shifted")


def lesions() -> Segment:
    """Skin or lesion for every pixel: 120 / 30 / 60 pictures, 64 x 64 pixels; a quarter of the lesions are very small.

    Raises:
        AssetError: a file is missing or altered.

    >>> lesions().examples("train")[0]["mask"].unique().tolist()
    [0, 1]
    """
    return Segment(_splits("lesions", SPLITS), card("lesions")["facts"]["labels"], name="lesions")


def cells_drawn() -> Segment:
    """Background, cell or nucleus for every pixel: 120 / 30 / 60 pictures of touching cells, 64 x 64 pixels.

    Raises:
        AssetError: a file is missing or altered.

    >>> cells_drawn().label_names
    ['background', 'cell', 'nucleus']
    """
    return Segment(_splits("cells_drawn", SPLITS), card("cells_drawn")["facts"]["labels"], name="cells-drawn")


def _splits(name: str, splits: tuple[str, ...]) -> dict[str, list[dict]]:
    """The pictures of a data set, with the image in the column that Detect and Segment read."""
    return {split: [{"input": e.pop("image"), **e} for e in load_pictures(name, split)] for split in splits}
