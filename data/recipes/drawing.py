"""Brushes of the drawn data sets: shapes drawn three times as large, colours averaged, numbers read at pixel centres.

A canvas has two layers, colours and numbers. What is drawn while ``canvas.number`` is 7 has the number 7 there until
something else covers it, so that the mask of an object is exactly the part of it that can be seen. With
``canvas.number = None`` only colours change (shadows, details that do not count).
"""

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

DATA = Path(__file__).resolve().parents[1]
SCALE = 3


class Canvas:
    """Two layers, ``height`` x ``width`` pixels and ``margin`` more on every side, where shapes are not lost yet."""

    def __init__(self, height: int, width: int, colour=(255, 255, 255), margin: int = 0):
        self.height, self.width, self.margin = height, width, margin
        size = ((width + 2 * margin) * SCALE, (height + 2 * margin) * SCALE)
        self.colours, self.numbers = Image.new("RGB", size, rgb(colour)), Image.new("L", size, 0)
        self._colours, self._numbers = ImageDraw.Draw(self.colours), ImageDraw.Draw(self.numbers)
        self.number: int | None = 0
        self.outline: tuple | None = None  # (colour, width in pixels) around every shape

    def polygon(self, points, colour) -> None:
        """A filled polygon; ``points`` [n, 2] as x, y in pixels."""
        points = [tuple(p) for p in ((np.asarray(points, float) + self.margin) * SCALE).tolist()]
        self._colours.polygon(points, fill=rgb(colour))
        if self.outline:
            line, width = self.outline
            self._colours.line([*points, points[0]], fill=rgb(line), width=max(1, round(width * SCALE)))
        if self.number is not None:
            self._numbers.polygon(points, fill=self.number)

    def line(self, points, width: float, colour) -> None:
        """A line with round ends and joints, ``width`` in pixels."""
        points = [tuple(p) for p in ((np.asarray(points, float) + self.margin) * SCALE).tolist()]
        wide, half = max(1, round(width * SCALE)), width * SCALE / 2
        layers = [(self._colours, rgb(colour), wide, half)]
        if self.outline:
            edge = self.outline[1] * SCALE
            layers.insert(0, (self._colours, rgb(self.outline[0]), round(wide + 2 * edge), half + edge))
        if self.number is not None:
            layers.append((self._numbers, self.number, wide, half))
        for draw, fill, thick, radius in layers:
            draw.line(points, fill=fill, width=thick)
            if thick > 3:
                for x, y in points:
                    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def count(self, number: int) -> int:
        """Pixels, margin included, that have this number at present."""
        return int((np.asarray(self.numbers)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE] == number).sum())

    def large(self) -> tuple[np.ndarray, np.ndarray]:
        """Colours [3H, 3W, 3] float32 and numbers [3H, 3W], the margin cut off."""
        cut = self.margin * SCALE
        rows, columns = slice(cut, cut + self.height * SCALE), slice(cut, cut + self.width * SCALE)
        return np.asarray(self.colours)[rows, columns].astype(np.float32), np.asarray(self.numbers)[rows, columns]


@dataclass
class Pen:
    """Draws in coordinates of its own: x to the right, y UP, from (x, y) on the canvas, ``size`` pixels a unit."""

    canvas: Canvas
    x: float = 0.0
    y: float = 0.0
    size: float = 1.0
    flip: bool = False
    turn: float = 0.0  # radians, counter-clockwise
    stretch: float = 1.0  # of x

    def place(self, points) -> np.ndarray:
        points = np.asarray(points, float).reshape(-1, 2) * [self.stretch, 1]
        c, s = math.cos(self.turn), math.sin(self.turn)
        points = points @ np.array([[c, s], [-s, c]])
        return points * [-self.size if self.flip else self.size, -self.size] + [self.x, self.y]

    def polygon(self, points, colour) -> None:
        self.canvas.polygon(self.place(points), colour)

    def blob(self, points, colour) -> None:
        """A closed smooth curve through the points."""
        self.polygon(smooth(points, closed=True), colour)

    def line(self, points, width: float, colour) -> None:
        self.canvas.line(self.place(points), width * self.size, colour)

    def curve(self, points, width: float, colour) -> None:
        """A smooth open curve through the points."""
        self.line(smooth(points, closed=False), width, colour)

    def taper(self, points, widths, colour) -> None:
        """A smooth open curve whose width goes through ``widths``: tails, legs, necks."""
        points = smooth(points, closed=False)
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], 1) / (np.hypot(*along.T)[:, None] + 1e-9)
        half = np.interp(np.linspace(0, 1, len(points)), np.linspace(0, 1, len(widths)), widths)[:, None] / 2
        turn, caps = np.linspace(0, math.pi, 7)[1:-1, None], []
        for at, way in ((-1, 1), (0, -1)):  # half a circle at either end
            u, v = along[at] / (np.hypot(*along[at]) + 1e-9) * way, across[at] * way
            caps.append(points[at] + half[at] * (np.cos(turn) * v + np.sin(turn) * u))
        self.polygon(np.concatenate([points + across * half, caps[0], (points - across * half)[::-1], caps[1]]), colour)

    def ellipse(self, x, y, rx, ry, colour, turn: float = 0.0, arc=(0.0, 2 * math.pi)) -> None:
        """An ellipse, or the part of it between two angles (cut straight), turned about its centre."""
        angle = np.linspace(*arc, 36)
        c, s = math.cos(turn), math.sin(turn)
        u, v = rx * np.cos(angle), ry * np.sin(angle)
        self.polygon(np.stack([x + c * u - s * v, y + s * u + c * v], 1), colour)

    def box(self, x1, y1, x2, y2, colour) -> None:
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour)

    def inside(self, **changes) -> "Pen":
        """A pen at a place given in this pen's coordinates, with sizes and turns on top of this one's."""
        x, y = self.place([(changes.pop("x", 0), changes.pop("y", 0))])[0]
        size, turn = self.size * changes.pop("size", 1), self.turn + changes.pop("turn", 0)
        return Pen(self.canvas, x, y, size, self.flip, turn, changes.pop("stretch", self.stretch))


def smooth(points, closed: bool, steps: int = 8) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]] if closed else [2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def rgb(colour) -> tuple[int, int, int]:
    return tuple(int(min(255, max(0, round(float(c))))) for c in colour)


def shade(colour, factor: float) -> tuple:
    """Darker (below 1) or lighter, towards white (above 1)."""
    c = np.asarray(colour, float)
    return tuple(c * factor if factor <= 1 else 255 - (255 - c) * (2 - factor))


def smaller(array: np.ndarray) -> np.ndarray:
    """The mean of each 3 x 3 block: [3H, 3W, ...] to [H, W, ...]."""
    height, width = array.shape[0] // SCALE, array.shape[1] // SCALE
    return array.reshape(height, SCALE, width, SCALE, *array.shape[2:]).mean((1, 3))


def centres(array: np.ndarray) -> np.ndarray:
    """The middle of each 3 x 3 block: what is at the centre of each pixel."""
    return array[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def clouds(rng, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in [0, 1] with patches of about ``cell`` pixels: [height, width]."""
    rows, columns = math.ceil(height / cell) + 3, math.ceil(width / cell) + 3
    grid = Image.fromarray(rng.random((rows, columns)).astype(np.float32))
    big = grid.resize((math.ceil(columns * cell), math.ceil(rows * cell)), Image.BICUBIC)
    top, left = round(cell), round(cell)
    return np.asarray(big)[top : top + height, left : left + width].clip(0, 1)


def grain(rng, image: np.ndarray, strength: float) -> np.ndarray:
    """The same noise on red, green and blue, in few levels, so that files stay small."""
    noise = np.round(rng.normal(0, 1, image.shape[:2]).clip(-2, 2)) * strength
    return image + noise[..., None]


def finish(image: np.ndarray, step: int = 4) -> np.ndarray:
    """uint8, rounded to multiples of ``step``: the eye does not see it, and files are a third smaller."""
    return (np.round(image / step) * step).clip(0, 255).astype(np.uint8)


def save(name: str, title: str, splits: dict[str, dict], facts: dict) -> None:
    """Write ``data/NAME/SPLIT.npz`` and ``asset.json`` with their sha256."""
    folder, digests = DATA / name, {}
    folder.mkdir(exist_ok=True)
    for split, arrays in splits.items():
        path = folder / f"{split}.npz"
        np.savez_compressed(path, **arrays)
        digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    versions = {name: version(name) for name in ("numpy", "pillow")}
    facts = {
        **facts,
        "versions": versions,
        "splits": {split: len(arrays["images"]) for split, arrays in splits.items()},
    }
    about = {"name": name, "kind": "data set", "title": title, "facts": facts, "files": digests}
    (folder / "asset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.glob("*.npz"))
    print(f"{name}: {facts['splits']}, {size / 2**20:.2f} MB")
