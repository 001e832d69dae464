"""A mask and a box for each of the 24 coins of skimage.data.coins(): python data/recipes/coins.py

Needs scikit-image (pip install 'sftlab[vision]'). Writes data/coins/mask.png (0 for the background, the number of the
coin elsewhere), annotations.json (COCO form) and asset.json. The program proposes; CORRECTIONS holds what was changed
by hand after looking at every outline, seven times enlarged, at doubtful ones thirteen times.
"""

import hashlib
import importlib.metadata
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data, filters, measure, morphology

FOLDER = Path(__file__).resolve().parents[1] / "coins"
SECTORS = 24  # directions from the middle of a coin, each with a threshold of its own

# (coin, True to add or False to remove, first row, last row, first column, last column), all inclusive
CORRECTIONS = [
    (7, True, 142, 142, 31, 34),  # the left of two spikes that smoothing had cut off
    (7, True, 140, 142, 55, 56),  # the right one
    (7, True, 142, 142, 50, 54),
    (24, False, 0, 302, 381, 383),  # the border of the print, as bright as the coin beside it
]


def candidates(photo: np.ndarray) -> np.ndarray:
    """Brighter than their surroundings, closed, filled and smoothed: [H, W], a number for each coin."""
    smooth = filters.gaussian(photo, 1, preserve_range=True)
    bright = smooth > filters.threshold_local(smooth, 101, offset=-10)
    filled = ndimage.binary_fill_holes(morphology.closing(bright, morphology.disk(3)))
    return measure.label(morphology.opening(filled, morphology.disk(5)))


def refined(photo: np.ndarray, coin: np.ndarray) -> np.ndarray:
    """The outline where the light is half-way between rim and background, in each direction from the middle."""
    smooth = filters.gaussian(photo, 0.5, preserve_range=True)
    outside, inside = ndimage.distance_transform_edt(~coin), ndimage.distance_transform_edt(coin)
    middle = ndimage.center_of_mass(coin)
    y, x = np.indices(coin.shape)
    turn = np.arctan2(y - middle[0], x - middle[1]) / (2 * np.pi) + 0.5
    sector = (turn * SECTORS).astype(int) % SECTORS

    def level(ring: np.ndarray) -> np.ndarray:
        each = [np.median(smooth[ring & (sector == k)]) for k in range(SECTORS)]
        return ndimage.gaussian_filter1d(np.array(each), 1, mode="wrap")

    half = (level((outside > 3) & (outside <= 8)) + level((inside > 0) & (inside <= 5))) / 2
    found = (outside <= 4) & (smooth > half[sector]) | (inside > 5)
    found = morphology.closing(ndimage.binary_fill_holes(found), morphology.disk(3))
    found = ndimage.median_filter(morphology.opening(found, morphology.disk(3)), 3)
    parts = measure.label(found)
    return parts == parts[int(middle[0]), int(middle[1])]


def make_mask(photo: np.ndarray) -> np.ndarray:
    """uint8 [H, W]: 0, or the number of the coin, counted from left to right in four rows from the top."""
    proposed = candidates(photo)
    middles = ndimage.center_of_mass(proposed > 0, proposed, range(1, proposed.max() + 1))
    order = sorted(range(len(middles)), key=lambda i: ((middles[i][0] - 20) // 70, middles[i][1]))
    mask = np.zeros(photo.shape, np.uint8)
    for number, i in enumerate(order, 1):
        mask[refined(photo, proposed == i + 1)] = number
    for coin, add, top, bottom, left, right in CORRECTIONS:
        part = mask[top : bottom + 1, left : right + 1]
        part[part == (0 if add else coin)] = coin if add else 0
    return mask


def annotations(mask: np.ndarray) -> dict:
    """COCO: a bounding box [x, y, width, height] for each coin, tight around its pixels."""
    height, width = mask.shape
    rows = []
    for number, (y, x) in enumerate(ndimage.find_objects(mask), 1):
        box = [x.start, y.start, x.stop - x.start, y.stop - y.start]
        area = int((mask == number).sum())
        rows.append({"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": area, "iscrowd": 0})
    image = {"id": 1, "file_name": "skimage.data.coins()", "width": width, "height": height}
    return {"images": [image], "categories": [{"id": 1, "name": "coin"}], "annotations": rows}


def main(folder: Path = FOLDER) -> None:
    started = time.perf_counter()
    mask = make_mask(data.coins())
    Image.fromarray(mask).save(folder / "mask.png", optimize=True)
    found = annotations(mask)
    rows = ",\n  ".join(json.dumps(row) for row in found["annotations"])
    head = ",\n".join(f'"{key}": {json.dumps(found[key])}' for key in ("images", "categories"))
    (folder / "annotations.json").write_text(f'{{\n{head},\n"annotations": [\n  {rows}\n]\n}}\n', encoding="utf-8")
    about = {
        "name": folder.name,
        "kind": "data set",
        "title": "24 coins on one photo: a box and a mask for each",
        "facts": {
            "labels": ["coin"],
            "size": "one grey photo, 303 x 384 pixels, from scikit-image",
            "splits": {"train": 12, "val": 6, "test": 6},
            "recipe": "python data/recipes/coins.py",
            "seconds": round(time.perf_counter() - started),
            "versions": {name: importlib.metadata.version(name) for name in ("scikit-image", "scipy", "numpy")},
        },
        "files": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("annotations.json", "mask.png")
        },
    }
    (folder / "asset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
