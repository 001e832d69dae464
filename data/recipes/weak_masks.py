"""Masks for two medical images of scikit-image, made by thresholds and not by people: python data/recipes/weak_masks.py

Needs scikit-image (pip install 'sftlab[vision]'). Writes mask.png (the number of the class of each pixel) and
asset.json into data/cell and data/histology. The cards say what such weak labels get wrong.
"""

import hashlib
import importlib.metadata
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color, data, filters, morphology

DATA = Path(__file__).resolve().parents[1]


def cell(photo: np.ndarray) -> np.ndarray:
    """0 background, 1 cell: brighter than Otsu's threshold, largest part, holes filled."""
    smooth = filters.gaussian(photo, 2)
    return largest(smooth > filters.threshold_otsu(smooth)).astype(np.uint8)


def histology(photo: np.ndarray) -> np.ndarray:
    """0 background, 1 gland, 2 nucleus outside the glands.

    The image is separated into its two dyes. Where the brown one, averaged over a few pixels, is above Otsu's
    threshold, there is a gland; bays and small holes (pale nuclei) are filled, small islands dropped. Outside the
    glands and away from their border, spots with much of the blue dye are nuclei.
    """
    dyes = color.rgb2hed(photo)
    brown = filters.gaussian(dyes[..., 2], 4)
    gland = morphology.closing(brown > filters.threshold_otsu(brown), morphology.disk(7))
    gland = ~sized(~sized(gland, 600), 600)
    blue = filters.gaussian(dyes[..., 0], 1)
    outside = ~morphology.dilation(gland, morphology.disk(3))
    spots = outside & (blue > filters.threshold_otsu(blue[outside]))
    nucleus = sized(morphology.opening(spots, morphology.disk(1)), 20)
    return np.where(gland, 1, np.where(nucleus, 2, 0)).astype(np.uint8)


def sized(found: np.ndarray, least: int) -> np.ndarray:
    """Without the connected parts of fewer than ``least`` pixels."""
    parts, _ = ndimage.label(found)
    return (found & (np.bincount(parts.ravel())[parts] >= least)).astype(bool)


def largest(found: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(found)
    return ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


# name: (recipe, image, classes, tiles that sftlab.sets.real cuts, title)
SETS = {
    "cell": (
        cell,
        data.cell,
        ["background", "cell"],
        (81, 6, 6),
        "One cell in a phase image, with a mask by threshold",
    ),
    "histology": (
        histology,
        data.immunohistochemistry,
        ["background", "gland", "nucleus"],
        (105, 8, 16),
        "Glands and nuclei in stained tissue, with masks by threshold",
    ),
}


def main(folder: Path = DATA) -> None:
    for name, (recipe, photo, labels, tiles, title) in SETS.items():
        started = time.perf_counter()
        mask = recipe(photo())
        path = folder / name / "mask.png"
        Image.fromarray(mask).save(path, optimize=True)
        about = {
            "name": name,
            "kind": "data set",
            "title": title,
            "facts": {
                "labels": labels,
                "size": f"one image, {mask.shape[0]} x {mask.shape[1]} pixels, from scikit-image",
                "splits": dict(zip(("train", "val", "test"), tiles, strict=True)),
                "pixels": {label: int((mask == i).sum()) for i, label in enumerate(labels)},
                "recipe": "python data/recipes/weak_masks.py",
                "seconds": round(time.perf_counter() - started),
                "versions": {lib: importlib.metadata.version(lib) for lib in ("scikit-image", "scipy", "numpy")},
            },
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        }
        (folder / name / "asset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
