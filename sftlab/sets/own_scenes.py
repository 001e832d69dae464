"""Your own pictures with boxes (COCO) or with masks as tasks."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import ImageOps

from ..errors import unknown
from ..tasks.vision import Detect, Segment
from .own_files import Findings, check_labels, divide, files_of, nearest, read_text
from .own_images import Decoder, by, by_stem, key_of, open_picture

IMAGE = "input"  # the column of Detect and Segment
NO_LABEL = 255  # in masks
LOSSLESS = ("PNG", "BMP", "GIF", "TIFF")
PARTS = ("images", "annotations", "categories")


def from_coco(
    images, annotations, *, max_side: int = 512, val: float = 0.15, test: float = 0.15, seed: int = 0
) -> Detect:
    """A detection task from pictures and a COCO file.

    A ``bbox`` is [x, y, width, height] in pixels of the upright picture (EXIF is applied); the task has [x1, y1, x2,
    y2]. Boxes that leave their picture by at most a pixel are cut, those with ``iscrowd`` are skipped, pictures without
    boxes are kept: ``report`` counts them. Pictures are decoded as by ``from_image_folder``, and boxes shrink along.

    Args:
        images: the folder that ``file_name`` starts from, or folders by split.
        annotations: the file, or files by split.
        max_side, val, test, seed: as for ``from_image_folder``; there are no strata.

    Returns:
        Detect: with ``input`` (float32 [3, height, width] in [0, 1]), ``boxes``, ``labels``, ``file``. The classes are
        the categories that have boxes, in the order of their ids. ``report`` counts boxes.

    Raises:
        BadData: everything that is wrong, at once: with line and column of bad JSON, the index in ``images``,
            ``annotations`` or ``categories``, or the picture's file.
        ValueError: ``val`` and ``test`` leave nothing for training.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (20, 10)).save(folder / "a.png")
    >>> about = {"images": [{"id": 0, "file_name": "a.png"}], "categories": [{"id": 7, "name": "cat"}]}
    >>> about["annotations"] = [{"image_id": 0, "category_id": 7, "bbox": [2, 3, 8, 4]}]
    >>> _ = (folder / "coco.json").write_text(json.dumps(about))
    >>> from_coco(folder, folder / "coco.json", val=0, test=0).examples("train")[0]["boxes"]
    [[2.0, 3.0, 10.0, 7.0]]
    """
    found = Findings("from_coco")
    files = files_of(annotations, found)
    folders = images if isinstance(images, Mapping) else dict.fromkeys(files, images)
    if set(folders) != set(files):
        found.problem("images", f"has the splits {list(folders)}, the annotations have {list(files)}")
        found.raise_problems()
    decoder, rows, names = Decoder(found, max_side, torch.float32), {}, []
    for split, path in files.items():
        rows[split], categories = _coco_rows(path, Path(folders[split]), decoder, found)
        names += [name for name in categories if name not in names]
    seen = [(name, split, row["file"]) for split, group in rows.items() for row in group for name in row["labels"]]
    check_labels(seen, found, names, single=False)
    used, place = {name for name, _, _ in seen}, next(iter(files.values()))
    if not used and not found.problems:
        found.problem(place, "there are no boxes: nothing to find")
    if "background" in used:
        found.problem(place, "a category is called 'background': the task needs that name for what is in no box")
    if unused := [name for name in names if name not in used]:
        found.notes.append(f"categories without boxes, left out: {', '.join(unused)}")
    decoder.notes()
    splits = divide(rows, found, lambda row: key_of(row[IMAGE]), val=val, test=test, seed=seed, place=place)
    task = Detect(splits, [name for name in names if name in used], name=place.stem)
    return found.report(task, lambda row: row["labels"])


def from_mask_folder(
    images, masks, label_names, *, values=None, max_side: int = 512, val: float = 0.15, test: float = 0.15, seed=0
) -> Segment:
    """A segmentation task from pictures and masks of equal names, such as ``images/a.jpg`` and ``masks/a.png``.

    A mask is greyscale or a palette picture of the size of its (upright) picture, saved without loss: PNG, not JPEG.
    Its values are class numbers; 255 means "no label". Pictures are decoded as by ``from_image_folder``, and masks
    shrink along, each pixel taking the class of the nearest one.

    Args:
        images, masks: folders, or folders by split.
        label_names: the classes.
        values: what values mean, if they are no class numbers: ``{0: "sky", 255: "cell"}`` for grey values, ``{(255, 0,
            0): "car"}`` for colours; None means "no label".
        max_side, val, test, seed: as for ``from_image_folder``; there are no strata.

    Returns:
        Segment: with ``input`` (float32 [3, height, width] in [0, 1]), ``mask`` (int64 [height, width]), ``file``.
        ``report`` counts the pictures that a class occurs in.

    Raises:
        BadData: everything that is wrong, at once, with the file and the reason.
        ValueError: ``val`` and ``test`` leave nothing for training.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name, picture in {"images": np.zeros((1, 4, 3)), "masks": np.array([[0, 0, 9, 255]])}.items():
    ...     (folder / name).mkdir()
    ...     Image.fromarray(picture.astype(np.uint8)).save(folder / name / "a.png")
    >>> values = {0: "sky", 9: "cell", 255: None}
    >>> task = from_mask_folder(folder / "images", folder / "masks", ["sky", "cell"], values=values, val=0, test=0)
    >>> task.examples("train")[0]["mask"].tolist()
    [[0, 0, 1, 255]]
    """
    found, names = Findings("from_mask_folder"), list(label_names)
    values = values or {}
    for value, name in values.items():
        if name is not None and name not in names:
            found.problem(f"values[{value!r}]", str(unknown("label", name, names)))
    if len({isinstance(value, tuple) for value in values}) > 1:
        found.problem("values", "mixes grey values and colours: give all as numbers, or all as (red, green, blue)")
    folders, beside = files_of(images, found, "folder"), files_of(masks, found, "folder")
    if set(folders) != set(beside):
        found.problem("masks", f"has the splits {list(beside)}, the images have {list(folders)}")
    found.raise_problems()
    numbers = {value: NO_LABEL if name is None else names.index(name) for value, name in values.items()}
    decoder, rows, there, place = Decoder(found, max_side, torch.float32), {}, set(), next(iter(beside.values()))
    for split, folder in folders.items():
        rows[split] = []
        for file, mask in by_stem(folder, beside[split], found):
            picture, classes = decoder.picture(file), _mask(mask, numbers, len(names), found)
            if picture is None or classes is None:
                continue
            image, size = picture
            if classes.shape != size[::-1]:
                found.problem(mask, f"is {by(classes.shape[::-1])} pixels, its picture {file.name} is {by(size)}")
                continue
            there |= set(np.unique(classes).tolist())
            # The middle of each new pixel says which old one it takes.
            y = ((np.arange(image.shape[1]) + 0.5) * size[1] / image.shape[1]).astype(int)
            x = ((np.arange(image.shape[2]) + 0.5) * size[0] / image.shape[2]).astype(int)
            decoder.bytes += 8 * len(y) * len(x)
            rows[split].append({IMAGE: image, "mask": torch.from_numpy(classes[y][:, x]), "file": str(file)})
    if not found.problems and there <= {0, NO_LABEL} and len(there) > 1 and not numbers:
        values = f"values={{0: {names[0]!r}, 255: {names[-1]!r}}}"
        found.problem(place, f"the masks hold 0 and 255 only, and 255 means no label: pass {values}")
    elif not found.problems and len(there - {NO_LABEL}) < 2:
        found.problem(place, f"the masks hold {sorted(there)} only: one class alone is no task")
    decoder.notes()
    splits = divide(rows, found, lambda row: key_of(row[IMAGE]), val=val, test=test, seed=seed, place=place)

    def classes_in(row):
        return [names[i] for i in row["mask"].unique().tolist() if i != NO_LABEL]

    return found.report(Segment(splits, names, name=place.name), classes_in)


def _coco_file(path: Path, found: Findings) -> dict | None:
    """The content of a COCO file with its three lists, or None after noting what is wrong."""
    content = read_text(path, found)
    if content is None:
        return None
    try:
        content = json.loads(content)
    except (ValueError, RecursionError) as error:
        at = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        found.problem(f"{path}{at}", f"no JSON: {getattr(error, 'msg', error)}")
        return None
    if not isinstance(content, dict):
        found.problem(path, f"must be an object with {', '.join(PARTS)}, found a {type(content).__name__}")
        return None
    lacking = [part for part in PARTS if not isinstance(content.get(part), list)]
    for part in lacking:
        found.problem(path, f"has no list {part!r}.{nearest(part, set(content) - set(PARTS))}")
    return None if lacking else content


def _by_id(path: Path, part: str, name: str, content: dict, found: Findings) -> dict:
    """Images or categories by their ids; ids and names stand once."""
    table, first = {}, {}
    if not content[part]:
        found.problem(path, f"{part!r} is empty")
    for at, row in enumerate(content[part]):
        place, row = f"{path}: {part}[{at}]", row if isinstance(row, dict) else {}
        if isinstance(row.get("id"), bool) or not isinstance(row.get("id"), int | str):
            found.problem(place, f"needs an 'id', a whole number, found {row.get('id')!r}")
            continue
        if not isinstance(row.get(name), str) or not row[name].strip():
            found.problem(place, f"needs a {name!r}, found {row.get(name)!r}.{nearest(name, set(row) - {name})}")
            continue
        twins = [(key, first[key, row[key]]) for key in ("id", name) if (key, row[key]) in first]
        for key, before in twins:
            found.problem(place, f"has the {key} of {part}[{before}], {row[key]!r}")
        first |= {(key, row[key]): at for key in ("id", name) if (key, row[key]) not in first}
        if not twins:
            table[row["id"]] = row
    return table


def _coco_rows(path: Path, folder: Path, decoder: Decoder, found: Findings) -> tuple[list[dict], list[str]]:
    """The examples of a file, and the names of its categories in the order of their ids."""
    content = _coco_file(path, found)
    if content is None:
        return [], []
    categories = _by_id(path, "categories", "name", content, found)
    rows, sizes = {}, {}
    for number, about in _by_id(path, "images", "file_name", content, found).items():
        file, said = folder / about["file_name"], (about.get("width"), about.get("height"))
        picture = decoder.picture(file, None if None in said else said)
        rows[number] = {IMAGE: picture and picture[0], "boxes": [], "labels": [], "file": str(file)}
        sizes[number] = picture and picture[1]
    ids = {}
    for at, about in enumerate(content["annotations"]):
        place, about = f"{path}: annotations[{at}]", about if isinstance(about, dict) else {}
        lacking = [key for key in ("image_id", "category_id", "bbox") if key not in about]
        for key in lacking:
            found.problem(place, f"has no {key!r}.{nearest(key, set(about))}")
        if "id" in about and ids.setdefault(repr(about["id"]), at) != at:
            found.problem(place, f"has the id of annotations[{ids[repr(about['id'])]}], {about['id']!r}")
        if lacking:
            continue
        if about.get("iscrowd"):
            decoder.counts["crowds instead of boxes, skipped"] += 1
            continue
        image, category = (key if isinstance(key := about[k], int | str) else None for k in ("image_id", "category_id"))
        if image not in rows:
            found.problem(place, f"image_id {about['image_id']!r} is the id of no image")
        if category not in categories:
            known = ", ".join(map(repr, categories))
            found.problem(place, f"category_id {about['category_id']!r} is the id of no category; known: {known}")
        box = _corners(about["bbox"], sizes.get(image))
        if isinstance(box, str):
            found.problem(place, f"bbox {about['bbox']!r} {box}")
        elif category in categories and sizes.get(image):
            x, y, w, h = about["bbox"]
            decoder.counts["boxes cut at the edge"] += math.dist(box, (x, y, x + w, y + h)) > 1e-6
            high, wide = rows[image][IMAGE].shape[1:]
            shrunk = zip(box, (wide, high) * 2, sizes[image] * 2, strict=True)
            rows[image]["boxes"].append([value * new / old for value, new, old in shrunk])
            rows[image]["labels"].append(categories[category]["name"])
    decoder.counts["pictures without boxes"] += sum(not row["boxes"] for row in rows.values())
    names = [categories[number]["name"] for number in sorted(categories, key=lambda n: (isinstance(n, str), n))]
    return [row for row in rows.values() if row[IMAGE] is not None], names


def _corners(bbox, size: tuple[int, int] | None) -> list[float] | str:
    """[x1, y1, x2, y2] inside of a picture of (width, height), or what is wrong."""
    numbers = isinstance(bbox, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in bbox)
    if not numbers or len(bbox) != 4 or not all(-1e9 < v < 1e9 for v in bbox):
        return "must be 4 finite numbers: x, y, width, height"
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        return "has no area: width and height must be above 0"
    if size is None:  # the picture has a problem of its own
        return bbox
    box = [max(x, 0.0), max(y, 0.0), float(min(x + width, size[0])), float(min(y + height, size[1]))]
    if max(box[0] - x, box[1] - y, x + width - box[2], y + height - box[3]) > 1:
        corners = x < width <= size[0] and y < height <= size[1]
        return f"leaves its picture, {by(size)} pixels" + "; is it [x1, y1, x2, y2]?" * corners
    if box[2] - box[0] < 0.01 or box[3] - box[1] < 0.01:
        return "has no area inside of its picture"
    return [float(v) for v in box]


def _mask(path: Path, numbers: dict, classes: int, found: Findings) -> np.ndarray | None:
    """Class numbers [height, width], int64, or None after noting what is wrong."""
    upright = open_picture(path, found, rgb=False, counts=Counter())
    if upright is None:
        return None
    if upright.format not in LOSSLESS:
        found.problem(path, f"is a {upright.format}, whose compression changes class numbers: save masks as PNG")
        return None
    ImageOps.exif_transpose(upright, in_place=True)
    if any(isinstance(value, tuple) for value in numbers):
        red, green, blue = np.moveaxis(np.asarray(upright.convert("RGB")).astype(np.int64), -1, 0)
        values, known = red << 16 | green << 8 | blue, {r << 16 | g << 8 | b: n for (r, g, b), n in numbers.items()}
    else:
        known = numbers or {**{i: i for i in range(classes)}, NO_LABEL: NO_LABEL}
        values = np.asarray(upright)
        if values.ndim == 3:  # a grey picture that was saved as RGB
            values = np.asarray(upright.convert("RGB"))
            values = values[..., 0] if (values == values[..., :1]).all() else values
        if values.ndim == 3 or upright.mode == "F":
            found.problem(path, f"is in colour (mode {upright.mode}): pass values={{(red, green, blue): class, ...}}")
            return None
    wrong = set(np.unique(values).tolist()) - set(known)
    if wrong:
        shown = [(v >> 16, v >> 8 & 255, v & 255) if known is not numbers and numbers else v for v in sorted(wrong)[:5]]
        what = f"{', '.join(map(str, shown))} in {int(np.isin(values, list(wrong)).sum())} pixels"
        known = "not in values=" if numbers else f"the {classes} classes are 0 to {classes - 1}; or pass values="
        found.problem(path, f"holds {what}: {known}")
        return None
    out = np.full(values.shape, NO_LABEL)
    for value, number in known.items():
        out[values == value] = number
    return out
