"""Skin lesions and cells with exact masks, drawn: python data/recipes/lesions.py

Writes data/lesions/ (skin / lesion: a pigmented blob under hairs, some of them very small) and data/cells_drawn/
(background / cell / nucleus: touching cells under a fluorescence microscope or in a stain, with the number of cells).
"""

import math
import time

import numpy as np
from drawing import SCALE, Canvas, Pen, centres, clouds, finish, grain, save, shade, smaller

SIZE = 64
LARGE = SIZE * SCALE
SPLITS = {"train": 120, "val": 30, "test": 60}
SMALL = 0.25  # share of lesions with a radius below 4.5 pixels
SEED = 4103
SKIN = [(236, 196, 172), (224, 176, 148), (206, 152, 122), (170, 118, 88), (122, 82, 62), (242, 208, 192)]
PIGMENT = [(120, 72, 48), (92, 56, 44), (74, 44, 40), (150, 92, 60), (132, 70, 66), (70, 56, 62)]
Y, X = (np.mgrid[:LARGE, :LARGE] + 0.5) / SCALE


def radius(rng, angle: np.ndarray, rough: float) -> np.ndarray:
    """An irregular outline: its distance from the middle by direction, 1 on average."""
    out = np.ones_like(angle)
    for k in range(2, 8):
        out += rough / k**0.7 * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * math.pi))
    return out.clip(0.35, 2)


def inside(rng, x: float, y: float, size: float, rough: float, narrow: float = 1.0) -> np.ndarray:
    """How far in an irregular blob a point is: 0 in the middle, 1 on the outline, [192, 192]."""
    turn = rng.uniform(0, math.pi)
    u, v = X - x, Y - y
    u, v = (
        (u * math.cos(turn) + v * math.sin(turn)) / narrow**0.5,
        (v * math.cos(turn) - u * math.sin(turn)) * narrow**0.5,
    )
    return np.hypot(u, v) / size / radius(rng, np.arctan2(v, u), rough)


def lesion(key: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A photo [64, 64, 3] of skin and its mask [64, 64]: 1 inside the outline, whatever hair lies over it."""
    rng = np.random.default_rng([SEED, 0, *key])
    skin = np.array(shade(SKIN[rng.integers(len(SKIN))], rng.uniform(0.9, 1.05)))
    small = rng.random() < SMALL
    size = rng.uniform(2.2, 4.5) if small else rng.uniform(6, 19)
    x, y = rng.uniform(8, 56, 2) if small else 32 + rng.normal(0, 5, 2)
    depth = inside(rng, x, y, size, rng.uniform(0.03, 0.14), rng.uniform(1.0, 1.7))
    uneven = clouds(rng, LARGE, LARGE, 30) + 0.5 * clouds(rng, LARGE, LARGE, 6) - 0.75
    image = skin + uneven[..., None] * [26, 24, 22]
    for _ in range(rng.integers(0, 3)):  # redness
        spot = np.exp(-(((X - rng.uniform(0, 64)) ** 2 + (Y - rng.uniform(0, 64)) ** 2) / rng.uniform(60, 300)))
        image = image + spot[..., None] * skin.mean() / 190 * [6, -18, -14]
    first, second = (np.array(PIGMENT[i], float) for i in rng.choice(len(PIGMENT), 2, replace=False))
    mix = clouds(rng, LARGE, LARGE, max(4, 1.5 * size))[..., None]
    pigment = (first * mix + second * (1 - mix)) * (0.55 + 0.45 * skin.mean() / 190)
    pigment = pigment * min(1.0, (skin.mean() - 46) / pigment.mean())  # darker than the skin, whatever the skin
    pigment = pigment + 30 * (clouds(rng, LARGE, LARGE, 4) - 0.5)[..., None]
    soft = rng.uniform(0.6, 2.2)  # width of the rim in pixels
    cover = (0.5 + (1 - depth) * size / soft).clip(0, 1) * rng.uniform(0.65, 0.95)
    cover = cover * (1 - 0.25 * clouds(rng, LARGE, LARGE, 7))
    image = image * (1 - cover[..., None]) + pigment * cover[..., None]
    image = _hairs(image, rng, skin)
    if rng.random() < 0.25:  # a drop of gel
        drop = np.hypot(X - rng.uniform(4, 60), Y - rng.uniform(4, 60)) / rng.uniform(2, 5)
        image = image + 35 * np.exp(-(((drop - 1) / 0.18) ** 2))[..., None]
    light = 1.04 - rng.uniform(0.1, 0.4) * (np.hypot(X - 32, Y - 32) / 45) ** 2
    if rng.random() < 0.3:  # seen through a round lens
        light = light * (1 / (1 + np.exp((np.hypot(X - 32, Y - 32) - rng.uniform(34, 38)) * 1.5)))
    photo = grain(rng, smaller(image * light[..., None]), 3)
    return finish(photo, 4), centres(depth <= 1).astype(np.uint8)


def _hairs(image: np.ndarray, rng, skin: np.ndarray) -> np.ndarray:
    canvas = Canvas(SIZE, SIZE, margin=8)
    canvas.number = 1
    for _ in range(rng.choice([0, 0, 2, 5, 9])):
        x, y, turn, bend = rng.uniform(0, 64), rng.uniform(0, 64), rng.uniform(0, 2 * math.pi), rng.normal(0, 0.25)
        along = np.linspace(-1, 1, 9) * rng.uniform(10, 30)
        angle = turn + bend * np.linspace(-1, 1, 9)
        Pen(canvas).curve(
            np.stack([x + along * np.cos(angle), -y + along * np.sin(angle)], 1), rng.uniform(0.35, 0.7), (0, 0, 0)
        )
    hair = canvas.large()[1] == 1
    return np.where(hair[..., None], skin * rng.uniform(0.12, 0.35), image)


def cells(key: list[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """A microscope image [64, 64, 3], its mask (0 background, 1 cell, 2 nucleus) and the number of cells in sight."""
    rng = np.random.default_rng([SEED, 1, *key])
    stained, size = rng.random() < 0.5, rng.uniform(6, 10.5)
    centres_, want = [], rng.integers(4, 19)
    start = rng.uniform(12, 52, 2)
    for _ in range(400):  # in clumps: most cells touch another one
        if len(centres_) == want:
            break
        near = (
            np.array(centres_[rng.integers(len(centres_))])
            if centres_ and rng.random() < 0.75
            else rng.uniform(0, 64, 2)
        )
        turn = rng.uniform(0, 2 * math.pi)
        place = near + size * rng.uniform(1.4, 1.9) * np.array([math.cos(turn), math.sin(turn)]) if centres_ else start
        if (
            all(np.hypot(*(place - other)) > 1.35 * size for other in centres_)
            and (-3 < place).all()
            and (place < 67).all()
        ):
            centres_.append(place)
    depth, nuclei, tone = [], [], []
    for x, y in centres_:
        own = size * rng.uniform(0.85, 1.2)
        depth.append(inside(rng, x, y, own, 0.06, rng.uniform(1, 1.35)))
        dx, dy = rng.normal(0, 0.12, 2) * own
        nuclei.append(inside(rng, x + dx, y + dy, own * rng.uniform(0.36, 0.52), 0.06, rng.uniform(1, 1.4)))
        tone.append((rng.uniform(0.75, 1.15), rng.uniform(0.7, 1.2)))
    depth, nuclei = np.stack(depth), np.stack(nuclei)
    owner, nearest = depth.argmin(0), depth.min(0)  # where two cells meet, each ends half-way
    cell = nearest <= 1
    rim = np.sort(depth, 0)[1] - nearest if len(depth) > 1 else np.full_like(nearest, 9)
    nucleus = cell & (np.take_along_axis(nuclei, owner[None], 0)[0] <= 1)
    body, core = (np.array(t)[owner] for t in zip(*tone, strict=True))
    gap = np.exp(-((rim / 0.09) ** 2)) * cell  # a thin seam between touching cells
    texture = clouds(rng, LARGE, LARGE, 4) - 0.5
    if stained:
        paper, flesh, blue = np.array([238, 228, 236.0]), np.array([226, 150, 188.0]), np.array([104, 62, 140.0])
        image = paper + 14 * (clouds(rng, LARGE, LARGE, 20) - 0.5)[..., None] + np.zeros((LARGE, LARGE, 3))
        image = np.where(cell[..., None], flesh * (1.1 - 0.1 * body)[..., None] + 34 * texture[..., None], image)
        edge = (cell & (nearest > 0.88))[..., None]
        image = np.where(edge, image * 0.9, image)
        image = np.where(nucleus[..., None], blue * (1.25 - 0.3 * core)[..., None] + 70 * texture[..., None], image)
        image = image * (1 - 0.3 * gap)[..., None]
    else:
        image = np.zeros((LARGE, LARGE, 3)) + [6, 10, 16] + 10 * clouds(rng, LARGE, LARGE, 30)[..., None]
        glow = (0.35 + 0.65 * (1 - nearest.clip(0, 1) ** 3)) * (1 - 0.45 * gap)
        image = image + np.where(cell, (110 + 60 * texture) * body * glow, 0)[..., None] * [0.12, 1.0, 0.45]
        image = np.where(
            nucleus[..., None], image * 0.35 + ((150 + 90 * texture) * core)[..., None] * [0.2, 0.45, 1.15], image
        )
    photo = smaller(image) * (0.92 + 0.16 * clouds(rng, SIZE, SIZE, 40))[..., None]
    mask = centres(np.where(nucleus, 2, np.where(cell, 1, 0))).astype(np.uint8)
    seen = np.unique(centres(owner)[mask > 0])
    return finish(grain(rng, photo, 4), 4), mask, len(seen)


def split(kind: str, name: str, count: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of a split of ``"lesions"`` or ``"cells_drawn"``, or of its first ``count`` images."""
    number, draw = list(SPLITS).index(name), lesion if kind == "lesions" else cells
    found = [draw([number, i]) for i in range(SPLITS[name] if count is None else count)]
    out = {"images": np.stack([f[0] for f in found]), "masks": np.stack([f[1] for f in found])}
    return out if kind == "lesions" else {**out, "counts": np.array([f[2] for f in found], np.int64)}


def main() -> None:
    for kind, labels, title in (
        ("lesions", ["skin", "lesion"], "210 drawn skin lesions with masks"),
        ("cells_drawn", ["background", "cell", "nucleus"], "210 drawn microscope images of touching cells with masks"),
    ):
        began = time.perf_counter()
        splits = {name: split(kind, name) for name in SPLITS}
        seconds = round(time.perf_counter() - began)
        facts = {"labels": labels, "size": [SIZE, SIZE], "recipe": "python data/recipes/lesions.py", "seconds": seconds}
        save(kind, title, splits, facts)


if __name__ == "__main__":
    main()
