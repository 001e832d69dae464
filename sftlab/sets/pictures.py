"""Bundled pictures: one ``.npz`` file per split, read into examples."""

from functools import lru_cache
from pathlib import Path

import torch

from ..assets import card, find_asset
from ..errors import AssetError


def load_pictures(name: str, split: str) -> list[dict]:
    """The pictures of a bundled data set with what is known of each.

    Args:
        name: the data set, a folder in ``data/``.
        split: ``"train"``, ``"val"``, ``"test"``, ...: the name of a file.

    Returns:
        list[dict]: ``image`` (float32 [3, height, width] in [0, 1]) and, as far as the data set has them, ``label`` (a
        name), ``mask`` (int64 [height, width]), ``count`` (how many things there are), ``boxes`` ([x1, y1, x2, y2]
        each, in pixels) with their ``labels``.

    Raises:
        AssetError: the file is missing or altered, or no such split.

    >>> load_pictures("animals", "val")[0]["image"].shape     # doctest: +SKIP
    torch.Size([3, 64, 64])
    """
    folder, facts = find_asset(name), card(name)["facts"]
    if f"{split}.npz" not in card(name)["files"]:
        raise AssetError(f"data set {name!r} has no split {split!r}; it has {', '.join(facts['splits'])}")
    arrays, names = _arrays(folder / f"{split}.npz"), facts["labels"]
    examples = [{"image": image} for image in arrays["images"].permute(0, 3, 1, 2).float() / 255]
    for example, label in zip(examples, arrays.get("labels", ()), strict="labels" in arrays):
        example["label"] = names[label]
    for example, mask in zip(examples, arrays.get("masks", ()), strict="masks" in arrays):
        example["mask"] = mask.long()
    for example, count in zip(examples, arrays.get("counts", ()), strict="counts" in arrays):
        example["count"] = int(count)
    if "boxes" in arrays:
        for example in examples:
            example |= {"boxes": [], "labels": []}
        for box, label, image in zip(
            *(arrays[key].tolist() for key in ("boxes", "box_labels", "box_images")), strict=True
        ):
            examples[image]["boxes"].append(box)
            examples[image]["labels"].append(names[label])
    return examples


@lru_cache(maxsize=8)
def _arrays(path: Path) -> dict[str, torch.Tensor]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}
