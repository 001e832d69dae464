"""Your own pictures as tasks: opening any picture safely, and folders of classes."""

import hashlib
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import BadData
from ..tasks.classify import Classify
from ..tasks.inputs import ImageInput
from .own_files import WHOLE, Findings, check_labels, divide, missing, nearest

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # not EPS and the like, which run programs
LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # and everything that begins with a dot
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
MOST_PIXELS = 64_000_000  # of one picture: 190 MB while it is decoded
MOST_BYTES = 4 * 2**30  # of all pictures of a task, decoded


def from_image_folder(
    folder, *, label_names=None, max_side: int = 512, val: float = 0.15, test: float = 0.15, seed: int = 0
) -> Classify:
    """An image classification task from a folder of classes, ``folder/CLASS/picture.png``, or from one for each split.

    All pictures (PNG, JPEG, WebP, BMP, GIF, TIFF; of several frames the first) are decoded now and kept as uint8, up to
    0.8 MB each, and 4 GiB together. The camera's orientation (EXIF) is applied. Greyscale and palettes become RGB,
    what is transparent becomes white, CMYK is converted without a colour profile, 16 bits become 8 by dividing by 257.
    Hidden files, Thumbs.db and the like are ignored. A JPEG whose data were altered without being cut off cannot be
    told from a good one.

    Args:
        folder: holds a folder per class, or ``train``, ``val`` and ``test`` with a folder per class in each.
        label_names: the classes and their order; default: the folders, sorted.
        max_side: larger pictures are shrunk until no side is longer, in pixels; ``report`` says how many.
        val, test, seed: as for ``from_csv``; equal pictures stay together.

    Returns:
        Classify: with ``image`` (uint8 [3, height, width]), ``label``, ``file``; and ``report``.

    Raises:
        BadData: everything that is wrong, at once, with the file and the reason.
        ValueError: ``val`` and ``test`` leave nothing for training.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for i in range(20):
    ...     (folder / "ab"[i % 2]).mkdir(exist_ok=True)
    ...     Image.new("RGB", (8, 6), (i, 0, 0)).save(folder / "ab"[i % 2] / f"{i}.png")
    >>> task = from_image_folder(folder)
    >>> task.label_names, task.examples("val")[0]["image"].shape
    (['a', 'b'], torch.Size([3, 6, 8]))
    """
    found, folder = Findings("from_image_folder"), Path(folder)
    decoder, rows, seen = Decoder(found, max_side, torch.uint8), {}, []
    for split, place in _split_folders(folder, found).items():
        rows[split] = []
        for inside in visible(place, found):
            if not inside.is_dir():
                loose(inside, found, "stands in no class: put it into the folder of its class")
                continue
            files = visible(inside, found)
            if not files:
                found.problem(inside, "no pictures in this class: add some, or remove the folder")
            for file in files:
                if file.is_dir():
                    found.problem(file, "is a folder inside a class: move its pictures up")
                elif file.suffix.lower() not in SUFFIXES:
                    found.problem(file, f"is no picture: move it away; pictures end in {', '.join(SUFFIXES)}")
                else:
                    seen.append((inside.name, split, file))
                    if (picture := decoder.picture(file)) is not None:
                        rows[split].append({"image": picture[0], "label": inside.name, "file": str(file)})
        if not any(s == split for _, s, _ in seen) and not found.problems:
            found.problem(place, "holds no folder with pictures")
    names = check_labels(seen, found, label_names)
    decoder.notes()
    splits = divide(
        rows, found, lambda row: key_of(row["image"]), lambda row: row["label"],
        val=val, test=test, seed=seed, place=folder,
    )  # fmt: skip
    return found.report(Classify(splits, names, ImageInput(), name=folder.name), lambda row: [row["label"]])


class Decoder:
    """Opens pictures, and counts what it did to them.

    Args:
        found: where problems go.
        max_side: pixels of the longer side, at most.
        dtype: uint8 in 0..255, or float32 in [0, 1], four times the memory.
    """

    def __init__(self, found: Findings, max_side: int, dtype: torch.dtype):
        if max_side != int(max_side) or max_side < 1:
            raise ValueError(f"max_side must be a whole number of pixels, at least 1, not {max_side}")
        self.found, self.max_side, self.dtype, self.counts, self.bytes = found, max_side, dtype, Counter(), 0

    def picture(self, path: Path, size: tuple[int, int] | None = None) -> tuple[torch.Tensor, tuple] | None:
        """The picture [3, height, width], and the (width, height) that it had; None if there is a problem.

        Args:
            size: (width, height) that it must have before it is shrunk.
        """
        if self.bytes > MOST_BYTES:
            return None
        image = open_picture(path, self.found, rgb=True, counts=self.counts)
        if image is None:
            return None
        if size is not None and image.size != size:
            turned = "; it is stored rotated (EXIF), save it upright" if image.size == size[::-1] else ""
            self.found.problem(path, f"is {by(image.size)} pixels, its labels are for {by(size)}{turned}")
            return None
        before, scale = image.size, min(1, self.max_side / max(image.size))
        if scale < 1:
            self.counts[f"pictures larger than {self.max_side} pixels, shrunk"] += 1
            small = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            image = image.resize(small, Image.Resampling.BILINEAR)  # Pillow's averages over all pixels that it covers
        self.bytes += image.width * image.height * 3 * self.dtype.itemsize
        if self.bytes > MOST_BYTES:
            self.found.problem(
                path,
                f"the pictures up to this one fill {MOST_BYTES / 2**30:.0f} GiB of memory: pass a smaller max_side= "
                f"than {self.max_side} (half of it needs a quarter), or fewer pictures",
            )
            return None
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return (pixels if self.dtype == torch.uint8 else pixels.to(self.dtype) / 255), before

    def notes(self) -> None:
        self.found.notes += [f"{n} {what}" for what, n in self.counts.items() if n]


def open_picture(path: Path, found: Findings, rgb: bool, counts: Counter) -> Image.Image | None:
    """A decoded picture, upright and RGB (or, without ``rgb``, as it is), or None after noting what is wrong."""
    if not path.is_file():
        found.problem(path, "is a folder, not a picture" if path.is_dir() else missing(path))
        return None
    large = f"more than {MOST_PIXELS / 1e6:.0f} million pixels, which is the limit: make it smaller"
    try:
        if not path.stat().st_size:
            found.problem(path, "is empty (0 bytes)")
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit is checked here, and broken metadata are not used
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    found.problem(path, f"{by(image.size)} are {large}")
                    return None
                image.verify()  # checksums of PNG; afterwards the file must be opened again
            with Image.open(path, formats=FORMATS) as image:
                image.load()  # a truncated file raises here
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                    counts["pictures with several frames, of which the first is used"] += 1
                return _upright_rgb(image, counts) if rgb else image
    except Image.DecompressionBombError:
        found.problem(path, large)
    except Image.UnidentifiedImageError:
        with open(path, "rb") as file:
            found.problem(path, f"is no {', '.join(FORMATS)} picture; it begins with {file.read(12)!r}")
    except BadData as error:
        found.problem(path, f"{error}")
    except Exception as error:  # damaged files make the decoders raise nearly everything; all of it is reported
        found.problem(path, f"cannot be decoded, it is damaged or cut off: {type(error).__name__}: {error}")
    return None


def _upright_rgb(image: Image.Image, counts: Counter) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if image.getexif().get(0x0112, 1) != 1:
        counts["pictures rotated as the camera was held (EXIF)"] += 1
    if upright.mode[0] in "IF":
        values = np.asarray(upright)
        if upright.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise BadData(f"32 bits per pixel (Pillow's mode {upright.mode}): save it with 8 or 16")
        counts["pictures with 16 bits, divided by 257"] += 1
        upright = Image.fromarray((values / 257).round().astype(np.uint8))
    if upright.has_transparency_data:
        counts["pictures with transparency, put on white"] += 1
        white = Image.new("RGBA", upright.size, "white")
        white.alpha_composite(upright.convert("RGBA"))
        upright = white
    return upright.convert("RGB")


def by_stem(images: Path, masks: Path, found: Findings) -> list[tuple[Path, Path]]:
    """Pictures with their masks."""
    sides = []
    for folder in (images, masks):
        sides.append({})
        for path in visible(folder, found):
            if path.is_dir():
                found.problem(path, "is a folder: give the folder that holds the pictures themselves")
            elif path.suffix.lower() not in SUFFIXES:
                found.notes.append(f"{path.name}: ignored")
            elif path.stem in sides[-1]:
                found.problem(path, f"has the name of {sides[-1][path.stem].name}: one of them too many")
            else:
                sides[-1][path.stem] = path
        if folder.is_dir() and not sides[-1]:
            found.problem(folder, "holds no pictures")
    for (mine, others), what in (
        (sides, f"mask of its name in {masks}"),
        (sides[::-1], f"picture of its name in {images}"),
    ):
        for stem in sorted(mine.keys() - others.keys()) if others else ():
            found.problem(mine[stem], f"has no {what}.{nearest(stem, others)}")
    return [(sides[0][stem], sides[1][stem]) for stem in sorted(sides[0].keys() & sides[1].keys())]


def key_of(image: torch.Tensor) -> tuple:
    """Equal for equal pixels."""
    return tuple(image.shape), hashlib.sha256(image.numpy().tobytes()).digest()


def by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def visible(folder: Path, found: Findings) -> list[Path]:
    """What is in a folder, sorted, without hidden files."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        found.problem(folder, f"cannot be read: {error.strerror}" if folder.exists() else missing(folder))
        return []
    return [path for path in inside if not path.name.startswith(".") and path.name.lower() not in LITTER]


def loose(path: Path, found: Findings, what: str) -> None:
    """A file beside folders: a problem if it is a picture, otherwise a note (README.md)."""
    if path.suffix.lower() in SUFFIXES:
        found.problem(path, what)
    else:
        found.notes.append(f"{path.name}: ignored")


def _split_folders(folder: Path, found: Findings) -> dict[str, Path]:
    """The folder by itself, or its train, val and test."""
    inside = visible(folder, found)
    paths = {}
    found.raise_problems()  # there is no such folder
    folders = [path for path in inside if path.is_dir()]
    named = [path for path in folders if path.name.lower() in SPLITS]
    deep = any(file.is_dir() for path in named for file in visible(path, found))
    if not named or (not deep and named != folders):  # a class may be called "train", if it holds pictures
        return {WHOLE: folder}
    for path in named:
        split = SPLITS[path.name.lower()]
        if split in paths:
            found.problem(path, f"is a second folder for {split!r}, besides {paths[split].name!r}")
        paths[split] = path
    if "train" not in paths:
        found.problem(folder, f"has {' and '.join(p.name for p in named)}, but no folder 'train'")
    for path in inside:
        if path.is_dir() and path not in named:
            found.problem(path, f"stands beside {named[0].name!r} and is no split.{nearest(path.name, SPLITS)}")
        elif not path.is_dir():
            loose(path, found, "stands in no split and no class")
    return paths
