"""Augmentation of a picture and of a text, as the explorer's JavaScript does it; the Python twin of augment.js."""

import math
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

IMAGE = {
    "flip_x": False, "flip_y": False, "rotation": 0.0, "crop": 1.0, "brightness": 1.0, "contrast": 1.0, "noise": 0.0,
    "seed": 1,
}  # fmt: skip
WORDS = {"delete": True, "swap": True, "insert": True, "replace": True, "rate": 0.2, "seed": 1}
TURNS = ("", "quarter turn", "half turn", "three quarter turn")


def random_numbers(seed: int) -> Iterator[float]:
    """Numbers in [0, 1) that JavaScript draws alike: mulberry32, ``randomNumbers`` in base.js.

    >>> round(next(random_numbers(1)), 6)
    0.627074
    """
    low, state = 0xFFFFFFFF, seed & 0xFFFFFFFF
    while True:
        state = (state + 0x6D2B79F5) & low
        t = ((state ^ (state >> 15)) * (state | 1)) & low
        t = ((t + (((t ^ (t >> 7)) * (t | 61)) & low)) & low) ^ t
        yield (t ^ (t >> 14)) / 4294967296


def augment_image(pixels: np.ndarray, settings: dict) -> np.ndarray:
    """Crop, flips, rotation, contrast, brightness and noise of a picture.

    Args:
        pixels: [height, width, channels], 0 to 255.
        settings: see ``IMAGE``; the rotation is in degrees against the clock, ``crop`` is the kept share of a side.

    Returns:
        np.ndarray: the same shape, float64, not rounded. Bilinear; the rim's pixels are repeated outside.

    >>> bool((augment_image(np.eye(4)[:, :, None], IMAGE)[:, :, 0] == np.eye(4)).all())
    True
    """
    s, draw = {**IMAGE, **settings}, random_numbers(settings.get("seed", 1))
    height, width, channels = pixels.shape
    left, top = (1 - s["crop"]) * next(draw), (1 - s["crop"]) * next(draw)
    angle = s["rotation"] * math.pi / 180
    dy, dx = np.mgrid[:height, :width] + 0.5 - np.array([height / 2, width / 2])[:, None, None]
    u = (math.cos(angle) * dx - math.sin(angle) * dy) / width * (-1 if s["flip_x"] else 1) + 0.5
    v = (math.sin(angle) * dx + math.cos(angle) * dy) / height * (-1 if s["flip_y"] else 1) + 0.5
    x = np.clip((left + s["crop"] * u) * width - 0.5, 0, width - 1)
    y = np.clip((top + s["crop"] * v) * height - 0.5, 0, height - 1)
    i, j = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    a, b = (x - i)[:, :, None], (y - j)[:, :, None]
    upper = (1 - a) * pixels[j, i] + a * pixels[j, i + 1]
    lower = (1 - a) * pixels[j + 1, i] + a * pixels[j + 1, i + 1]
    result = (1 - b) * upper + b * lower
    result = ((result - result.mean()) * s["contrast"] + result.mean()) * s["brightness"]
    if s["noise"] > 0:
        drawn = np.array([[next(draw), next(draw)] for _ in range(result.size)]).reshape(*result.shape, 2)
        result += 255 * s["noise"] * np.sqrt(-2 * np.log(1 - drawn[..., 0])) * np.cos(2 * np.pi * drawn[..., 1])
    return np.clip(result, 0, 255)


def pose(settings: dict) -> str:
    """How a picture stands after flips and rotation: ``"mirror"``, ``"half turn"``, ``"mirror, quarter turn"``, ...

    >>> pose({"flip_x": True, "flip_y": True, "rotation": 0})
    'half turn'
    """
    turn = math.floor((settings["rotation"] + (180 if settings["flip_y"] else 0)) / 90 + 0.5) % 4
    mirror = "mirror" if settings["flip_x"] != settings["flip_y"] else ""
    return ", ".join(filter(None, [mirror, TURNS[turn]]))


def augment_text(
    text: str, settings: dict, synonyms: dict[str, Sequence[str]], fillers: Sequence[str]
) -> list[dict[str, str]]:
    """The words of a text after random deletions, swaps, insertions and replacements.

    Args:
        text: words between spaces.
        settings: see ``WORDS``; ``rate`` is the share of words that change.
        synonyms: what a word, in lower case, may be replaced by.
        fillers: what may be inserted.

    Returns:
        list[dict]: ``word`` and ``kind`` (kept, deleted, swapped, inserted, replaced), ``from`` if replaced.

    >>> [w["kind"] for w in augment_text("a b", {"rate": 1.0, "delete": True, "seed": 1}, {}, [])]
    ['deleted', 'deleted']
    """
    s, words, found = settings, text.split(), []
    kinds = [kind for kind in ("delete", "swap", "insert", "replace") if s.get(kind)]
    draw = random_numbers(s["seed"])
    i = 0
    while i < len(words):
        word, draws = words[i], [next(draw), next(draw), next(draw)]
        kind = kinds[int(draws[1] * len(kinds))] if draws[0] < s["rate"] and kinds else ""

        def pick(options, share=draws[2]):
            return options[int(share * len(options))]

        if kind == "delete":
            found.append({"word": word, "kind": "deleted"})
        elif kind == "swap" and i + 1 < len(words):
            found += [{"word": words[i + 1], "kind": "swapped"}, {"word": word, "kind": "swapped"}]
            i += 1
            _ = next(draw), next(draw), next(draw)
        elif kind == "insert":
            found += [{"word": word, "kind": "kept"}, {"word": pick(fillers), "kind": "inserted"}]
        elif kind == "replace" and synonyms.get(bare(word)):
            found.append({"word": pick(synonyms[bare(word)]), "kind": "replaced", "from": word})
        else:
            found.append({"word": word, "kind": "kept"})
        i += 1
    return found


def bare(word: str) -> str:
    """A word in lower case without the marks around it.

    >>> bare('"Not,')
    'not'
    """
    return re.sub(r"^[\W_]+|[\W_]+$", "", word.lower())


def endangered(found: list[dict[str, str]], critical: Sequence[str]) -> list[str]:
    """Deleted or moved words that carry the label: the critical ones, and figures.

    >>> endangered([{"word": "not", "kind": "deleted"}, {"word": "a", "kind": "deleted"}], ["not"])
    ['not']
    """
    gone = [w["word"] for w in found if w["kind"] in ("deleted", "swapped")]
    return [word for word in gone if bare(word) in critical or re.search(r"[0-9]", word)]


def drawn(paint: Callable, side: int = 64) -> np.ndarray:
    """A picture painted with matplotlib on a square from 0 to 1: [side, side, 3], uint8.

    >>> drawn(lambda ax: ax.text(0.5, 0.5, "6")).shape
    (64, 64, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side / 64, side / 64), dpi=64)
    canvas, ax = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    paint(ax)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
