"""Real pictures that come with scikit-learn and scikit-image: digits, faces, textures, coins, a cell, stained tissue.

Nothing is downloaded: the pictures lie in the two packages (the extra ``vision``), masks and boxes in ``data/``.
"""

import hashlib
import json
from itertools import islice

import torch

from ..assets import find_asset
from ..errors import AssetError, SftlabError
from ..tasks.classify import Classify
from ..tasks.inputs import ImageInput
from ..tasks.vision import Detect, Segment

# What every split, box and mask below was made for: sha256 of the pixels, as bytes 0 to 255.
PIXELS = {
    "digits": "b41ca9fd335466eee997366c2e6f6bbe0a1b4582afe091fc4eba35f4a254182f",
    "lfw_subset": "4621670220ef7f4ca9261a20601e1aaa9d7d4275b6535ce42cd1abed1b185953",
    "brick": "664a145c5253f0d66db1a12776785f0ea35a44cc7447ffc933f6d6118dc58643",
    "grass": "b18dae4c68bf850a7a7b28a29d1846c76be890665117b57fd125fe29c4d4ede6",
    "gravel": "3d51ad45f789cd8b98534b7af6bce774e499ead45421135afd757358c7230009",
    "coins": "e080cc03805f1fa70516c3cb84883d4633bda2a1b51841da7c22f3d14c072451",
    "cell": "dc464a59c68346fbe7a36fb75421d02a5e29780874b92efd3c920a319bfcb3b0",
    "immunohistochemistry": "c5b3ef509a92f16d4c29be8cf0300fe75d53e13a3ce650159db932caea8dcc1b",
}
TEXTURES = ["brick", "grass", "gravel"]
TISSUE = ["background", "gland", "nucleus"]

# Columns of pixels of the square photos (512 x 512). What lies between is used by no split.
BANDS = {"train": (0, 256), "val": (272, 336), "test": (352, 512)}

# The four rows of six coins: first and last row of pixels + 1, and the split.
COIN_ROWS = [("train", 0, 84), ("train", 84, 148), ("val", 152, 223), ("test", 227, 303)]
COIN_TILES = {
    "train": (range(0, 85, 42), range(0, 321, 32)),
    "val": ([156], range(0, 321, 64)),
    "test": ([232], range(0, 321, 64)),
}

# The cell lies around row 374, column 429: its left half, its upper right and its lower right quarter.
CELL_TILES = {
    "train": (range(254, 447, 24), range(181, 374, 24)),
    "val": (range(222, 319, 48), (437, 485)),
    "test": (range(382, 479, 48), (437, 485)),
}
TISSUE_TILES = {
    "train": (range(0, 449, 32), range(0, 193, 32)),
    "val": (range(0, 449, 64), [272]),
    "test": (range(0, 449, 64), [352, 416]),
}


def digits() -> Classify:
    """Ten handwritten digits, 8 x 8 pixels, white on black: 1,000 / 297 / 500, stratified; so is every prefix of train.

    The digits of 13 people of whom nothing more is known: the same hand occurs in all splits.

    Raises:
        SftlabError: the extra ``vision`` is missing.

    >>> task = digits()     # doctest: +SKIP
    >>> len(task.examples("train")), task.examples("train")[0]["image"].shape     # doctest: +SKIP
    (1000, torch.Size([3, 8, 8]))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _missing(error) from error
    found = load_digits()
    images = _checked("digits", (found.images * (255 / 16)).round())
    splits = _divided(images, [str(label) for label in found.target], {"train": 1000, "val": 297, "test": 500})
    return Classify(splits, [str(i) for i in range(10)], ImageInput(), name="digits")


def faces() -> Classify:
    """Face or no face, 25 x 25 pixels, grey: 100 / 20 / 80, stratified; so is every prefix of train.

    Crops from Labeled Faces in the Wild. Who is in them and which come from one photo is not known; a person may
    occur in two splits.

    Raises:
        SftlabError: the extra ``vision`` is missing.

    >>> faces().label_names     # doctest: +SKIP
    ['no face', 'face']
    """
    images = _checked("lfw_subset", (_skimage().lfw_subset() * 255).round())
    splits = _divided(images, ["face"] * 100 + ["no face"] * 100, {"train": 100, "val": 20, "test": 80})
    return Classify(splits, ["no face", "face"], ImageInput(), name="faces")


def textures() -> Classify:
    """Brick, grass or gravel, 16 x 16 pixels, grey: 384 / 96 / 240 patches, the classes equal.

    Patches of one photo are 16 pixels apart, and each split has its own part of each of the three photos. Larger
    patches would be too easy. ``place`` is the upper left corner of a patch in its photo.

    Raises:
        SftlabError: the extra ``vision`` is missing.

    >>> len(textures().examples("train"))     # doctest: +SKIP
    384
    """
    splits = {}
    for split, (left, right) in BANDS.items():
        places = range(0, 512, 32), range(left, right, 32)
        each = [_tiles(_photo(name), *places, 16, "image", label=name) for name in TEXTURES]
        splits[split] = [example for three in zip(*each, strict=True) for example in three]
    return Classify(splits, TEXTURES, ImageInput(), name="textures")


def coins() -> Detect:
    """Find the coins on parts of a real photo: 18 / 3 / 3 pictures of two or three coins in a row.

    Two rows of coins (12) are for training, one (6) for validation and one (6) for the test; in these two each coin
    occurs once. Boxes were checked by eye. Pictures are of several sizes.

    Raises:
        SftlabError: the extra ``vision`` is missing.
        AssetError: a file is missing or altered.

    >>> [len(coins().examples(split)) for split in ("train", "val", "test")]     # doctest: +SKIP
    [18, 3, 3]
    """
    photo = _float(_photo("coins"))
    file = find_asset("coins") / "annotations.json"
    boxes = [row["bbox"] for row in json.loads(file.read_text(encoding="utf-8"))["annotations"]]
    splits: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    for row, (split, top, bottom) in enumerate(COIN_ROWS):
        here = [(x, y, x + width, y + height) for x, y, width, height in boxes[6 * row : 6 * row + 6]]
        cuts = [0, *((a[2] + b[0]) // 2 for a, b in zip(here, here[1:], strict=False)), photo.shape[2]]
        windows = [(i, i + n) for n in (2, 3) for i in range(7 - n)] if split == "train" else [(0, 2), (2, 4), (4, 6)]
        for first, last in windows:
            left, right = cuts[first], cuts[last]
            inside = [[x1 - left, y1 - top, x2 - left, y2 - top] for x1, y1, x2, y2 in here[first:last]]
            splits[split].append(
                {
                    "input": photo[:, top:bottom, left:right].clone(),
                    "boxes": [[float(side) for side in box] for box in inside],
                    "labels": ["coin"] * len(inside),
                    "place": (top, left),
                }
            )
    return Detect(splits, ["coin"], name="coins")


def coins_segmentation() -> Segment:
    """Coin or background for every pixel of 64 x 64 tiles: 33 / 6 / 6, from the same rows of coins as :func:`coins`.

    Training tiles overlap each other, the others do not. Masks were checked by eye.

    Raises: as :func:`coins`.
    """
    mask = (_mask("coins") > 0).long()
    return _segment("coins-segmentation", _photo("coins"), mask, COIN_TILES, 64, ["background", "coin"])


def cells() -> Segment:
    """One cell in a phase image, 48 x 48 tiles: 81 / 6 / 6. The mask is a threshold, see ``data/cell/card.md``.

    Training has the left half of the cell, validation its upper and test its lower right quarter, 16 pixels apart.

    Raises: as :func:`coins`.
    """
    return _segment("cells", _photo("cell"), _mask("cell"), CELL_TILES, 48, ["background", "cell"])


def histology() -> Segment:
    """Glands and nuclei in stained tissue, 64 x 64 tiles: 105 / 8 / 16. Weak labels, see ``data/histology/card.md``.

    The masks come from thresholds on the two dyes, not from people. Splits are bands of one image, 16 pixels apart.

    Raises: as :func:`coins`.
    """
    return _segment("histology", _photo("immunohistochemistry"), _mask("histology"), TISSUE_TILES, 64, TISSUE)


def _segment(name: str, photo, mask: torch.Tensor, places: dict, size: int, label_names: list[str]) -> Segment:
    splits = {split: _tiles(photo, *corners, size, "input", mask) for split, corners in places.items()}
    return Segment(splits, label_names, name=name)


def _tiles(photo, tops, lefts, size: int, column: str, mask: torch.Tensor | None = None, **more) -> list[dict]:
    """Squares of a photo by their upper left corners, with the same part of the mask; copies, not views."""
    image, examples = _float(photo), []
    for top in tops:
        for left in lefts:
            part = slice(top, top + size), slice(left, left + size)
            example = {column: image[:, *part].clone(), "place": (top, left), **more}
            examples.append(example if mask is None else {**example, "mask": mask[part].clone()})
    return examples


def _divided(images, labels: list[str], sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Splits in which the classes are as frequent as in the whole; every prefix of a split is so, too.

    Within each class images are drawn in random order; the k-th of n stands at (k + 1/2) / n of the whole order.
    """
    import numpy as np

    order = np.random.default_rng(0).permutation(len(labels))
    counts, seen, position = {label: labels.count(label) for label in set(labels)}, {}, {}
    for i in order:
        seen[labels[i]] = seen.get(labels[i], 0) + 1
        position[i] = (seen[labels[i]] - 0.5) / counts[labels[i]]
    ranked = iter(sorted(order, key=position.__getitem__))
    return {
        split: [{"image": _float(images[i]), "label": labels[i]} for i in islice(ranked, size)]
        for split, size in sizes.items()
    }


def _missing(error: ImportError) -> SftlabError:
    return SftlabError(f"real pictures need scikit-learn and scikit-image: pip install 'sftlab[vision]' ({error})")


def _skimage():
    try:
        import skimage.data
    except ImportError as error:
        raise _missing(error) from error
    return skimage.data


def _photo(name: str):
    """uint8 [height, width] or [height, width, 3]."""
    return _checked(name, getattr(_skimage(), name)())


def _checked(name: str, pixels):
    """The pixels as bytes, if they are those that splits, boxes and masks were made for."""
    pixels = pixels.astype("uint8")
    if (found := hashlib.sha256(pixels.tobytes()).hexdigest()) != PIXELS[name]:
        raise AssetError(
            f"the pictures {name!r} of the installed scikit-learn or scikit-image are not those that the splits, boxes "
            f"and masks were made for.\n  expected sha256 {PIXELS[name]}\n  found    sha256 {found}\n"
            "Install scikit-learn 1.9 and scikit-image 0.26."
        )
    return pixels


def _float(pixels) -> torch.Tensor:
    """float32 [3, height, width] in [0, 1]."""
    image = torch.from_numpy(pixels).float() / 255
    return (image.expand(3, -1, -1) if image.dim() == 2 else image.movedim(2, 0)).contiguous()


def _mask(name: str) -> torch.Tensor:
    """int64 [height, width]."""
    import numpy as np
    from PIL import Image

    with Image.open(find_asset(name) / "mask.png") as image:
        return torch.from_numpy(np.array(image)).long()
