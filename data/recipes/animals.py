"""Drawn animals, cat / dog / other, in two styles: python data/recipes/animals.py

Writes data/animals/: train, val, test in the style `source` (cartoons with ink lines) and shifted_train, shifted_val,
shifted_test (soft silhouettes of textured fur before blurred, noisy backgrounds). Fur, pattern, background, place, size
and posture are drawn in the same way for all three classes, so that only the shape tells them apart.
"""

import math
import time

import numpy as np
from animal_shapes import DETAIL, FUR, POSTURES, Animal
from drawing import Canvas, Pen, clouds, finish, grain, save, shade, smaller

SIZE = 64
LABELS = ["cat", "dog", "other"]
STYLES = ["source", "shifted"]
SPLITS = {
    "train": ("source", 600),
    "val": ("source", 150),
    "test": ("source", 150),
    "shifted_train": ("shifted", 150),
    "shifted_val": ("shifted", 60),
    "shifted_test": ("shifted", 240),
}
SEED = 4102
COATS = [(226, 138, 60), (150, 150, 156), (132, 88, 54), (62, 58, 62), (238, 230, 216), (222, 186, 134),
         (112, 124, 140), (176, 96, 60), (200, 160, 110), (96, 76, 70)]  # fmt: skip
ODD = [(96, 130, 170), (150, 110, 160), (110, 150, 110), (190, 120, 120), (60, 70, 80), (210, 200, 150), (140, 90, 60)]


def rabbit(a: Animal) -> None:
    r = a.rng.uniform
    if r(0, 1) < 0.4:  # the face
        for s in (-1, 1):
            a.at(x=s * 0.2, y=0.3, turn=-s * r(0.05, 0.3)).fur("ellipse", 0, 0.36, 0.13, 0.46)
            a.at(x=s * 0.2, y=0.3, turn=-s * 0.12).soft("ellipse", 0, 0.34, 0.06, 0.34, colour=(236, 170, 170))
        a.fur("ellipse", 0, -0.2, 0.52, 0.48)
        a.soft("ellipse", 0, -0.42, 0.24, 0.17)
        for s in (-1, 1):
            a.eye(s * 0.24, -0.12, 0.075)
        a.dot(0, -0.3, 0.06, 0.045, (220, 120, 130))
        a.stroke([(0, -0.34), (0, -0.46)], 0.03)
        return
    a.soft("ellipse", -0.62, -0.42, 0.15, 0.15) if not a.plain else a.fur("ellipse", -0.62, -0.42, 0.13, 0.13)
    for lean in (-0.35, -0.1):
        a.at(x=0.32, y=0.3, turn=lean * -1 + r(-0.05, 0.1)).fur(
            "ellipse", 0, 0.32, 0.09, 0.36, colour=a.back if lean < -0.2 else None
        )
    a.fur("blob", [(-0.62, -0.5), (-0.55, -0.1), (-0.2, 0.12), (0.2, 0.02), (0.42, -0.3), (0.35, -0.7), (-0.45, -0.74)])
    a.fur("ellipse", 0.38, 0.14, 0.25, 0.22)
    a.fur("ellipse", -0.3, -0.46, 0.28, 0.26)
    a.fur("ellipse", -0.1, -0.72, 0.28, 0.08)
    a.fur("ellipse", 0.36, -0.7, 0.14, 0.07)
    a.eye(0.46, 0.2, 0.05)
    a.dot(0.61, 0.1, 0.03, 0.03, (220, 120, 130))


def bird(a: Animal) -> None:
    r = a.rng.uniform
    beak, flying = [(236, 160, 40), (70, 60, 60)][a.rng.integers(2)], r(0, 1) < 0.35
    if not flying:
        for x in (-0.06, 0.1):
            a.stroke([(x, -0.4), (x, -0.82)], 0.05, (120, 84, 50)) if not a.plain else a.fur(
                "line", [(x, -0.4), (x, -0.82)], 0.05
            )
    a.fur("polygon", [(-0.4, 0.0), (-1.0, r(-0.3, 0.2)), (-0.9, -0.35), (-0.35, -0.2)], colour=a.back)
    if flying:
        a.fur("blob", [(-0.3, 0.05), (-0.5, 0.75), (-0.2, 0.85), (0.15, 0.15)], colour=a.back)
    a.fur("blob", [(-0.55, -0.05), (-0.1, 0.2), (0.35, 0.3), (0.5, -0.1), (0.2, -0.45), (-0.2, -0.42)])
    a.pen.canvas.number = DETAIL if not a.plain else FUR
    a.pen.polygon([(0.66, 0.5), (0.98, 0.38 + r(-0.08, 0.1)), (0.66, 0.3)], beak if not a.plain else a.back)
    a.fur("ellipse", 0.48, 0.4, 0.25, 0.24)
    a.soft("ellipse", 0.25, -0.15, 0.2, 0.2)
    wing = [(-0.55, -0.2), (-0.1, 0.14), (0.22, 0.05), (0.05, -0.25)]
    a.fur("blob", [(0.1, 0.1), (-0.15, 0.95), (-0.5, 0.9), (-0.3, 0.1)] if flying else wing, colour=a.back)
    a.eye(0.55, 0.46, 0.05)


def fish(a: Animal) -> None:
    r = a.rng.uniform
    deep = r(0.3, 0.5)
    a.fur("blob", [(-0.55, 0.0), (-0.95, 0.4), (-1.05, 0.3), (-0.88, 0.0), (-1.05, -0.3), (-0.95, -0.4)], colour=a.back)
    a.fur("polygon", [(-0.3, deep * 0.8), (0.0, deep + r(0.15, 0.3)), (0.35, deep * 0.8)], colour=a.back)
    a.fur("blob", [(-0.65, 0.0), (-0.2, deep), (0.35, deep * 0.9), (0.75, 0.05), (0.35, -deep * 0.9), (-0.2, -deep)])
    a.fur("polygon", [(0.1, -0.05), (-0.2, -0.3), (-0.1, 0.02)], colour=a.back)
    a.stroke([(0.36, deep * 0.6), (0.28, 0), (0.36, -deep * 0.6)], 0.03)
    a.eye(0.5, 0.1, 0.06, (240, 240, 240))
    a.stroke([(0.74, 0.0), (0.62, -0.06)], 0.03)


def turtle(a: Animal) -> None:
    r = a.rng.uniform
    for x in (-0.45, 0.4):
        a.fur("taper", [(x, -0.2), (x + 0.05, -0.6)], [0.22, 0.2], colour=a.back)
    a.fur("polygon", [(-0.6, -0.28), (-0.92, -0.4), (-0.6, -0.42)])
    a.fur("taper", [(0.5, -0.25), (0.82, r(-0.1, 0.2))], [0.2, 0.18])
    a.fur("ellipse", 0.86, r(0.05, 0.15), 0.19, 0.16)
    a.eye(0.92, 0.14, 0.035)
    a.fur("ellipse", 0, -0.3, 0.68, r(0.55, 0.75), arc=(0, math.pi))
    a.soft("box", -0.68, -0.4, 0.66, -0.28)
    for x in (-0.3, 0.0, 0.3):
        a.stroke([(x, -0.25), (x * 0.6, 0.2)], 0.03)


def elephant(a: Animal) -> None:
    r = a.rng.uniform
    for x in (-0.45, 0.32):
        a.fur("taper", [(x, -0.1), (x, -0.78)], [0.24, 0.2], colour=a.back)
    a.fur("taper", [(-0.66, 0.1), (-0.78, -0.3)], [0.06, 0.04])
    a.fur("blob", [(-0.7, 0.0), (-0.5, 0.38), (0.1, 0.42), (0.5, 0.3), (0.5, -0.3), (0.0, -0.38), (-0.6, -0.32)])
    for x in (-0.55, 0.2):
        a.fur("taper", [(x, -0.1), (x, -0.78)], [0.26, 0.22])
        a.join("taper", [(x, -0.1), (x, -0.5)], [0.25, 0.2])
    a.fur("taper", [(0.72, 0.2), (0.98, -0.1), (0.95, -0.5), (1.0 + r(0, 0.15), -0.66)], [0.3, 0.18, 0.14, 0.1])
    a.fur("ellipse", 0.6, 0.28, 0.3, 0.28)
    a.fur("blob", [(0.5, 0.46), (0.22, 0.42), (0.16, 0.0), (0.36, -0.14), (0.5, 0.1)], colour=a.back)
    a.eye(0.72, 0.3, 0.035)


def horse(a: Animal) -> None:
    r = a.rng.uniform
    a.fur("taper", [(-0.55, 0.12), (-0.78, 0.0), (-0.8, -0.45)], [0.08, 0.14, 0.04], colour=a.back)
    for x, s in ((-0.42, 0.06), (0.32, 0.1)):
        a.fur("taper", [(x, -0.05), (x + s, -0.45), (x + s, -0.9)], [0.15, 0.09, 0.07], colour=a.back)
    a.fur("taper", [(0.36, 0.05), (0.62, 0.55)], [0.36, 0.2])
    a.fur("blob", [(-0.6, 0.02), (-0.42, 0.24), (0, 0.18), (0.42, 0.22), (0.5, -0.05), (0.3, -0.2), (-0.3, -0.18)])
    for x, s in ((-0.48, -0.06), (0.38, -0.03)):
        a.fur("taper", [(x, -0.05), (x + s, -0.45), (x + s, -0.9)], [0.19, 0.1, 0.08])
        a.join("taper", [(x, -0.05), (x + s, -0.45)], [0.17, 0.08])
    a.join("taper", [(0.36, 0.05), (0.6, 0.5)], [0.32, 0.17])
    a.fur("polygon", [(0.56, 0.66), (0.58, 0.86), (0.68, 0.7)])
    a.fur("taper", [(0.62, 0.62), (0.98, r(0.22, 0.4))], [0.24, 0.14])
    a.fur("taper", [(0.5, 0.72), (0.34, 0.4), (0.22, 0.18)], [0.1, 0.14, 0.06], colour=a.back)
    a.eye(0.7, 0.6, 0.03)


def mouse(a: Animal) -> None:
    r = a.rng.uniform
    a.fur("taper", [(-0.5, -0.45), (-0.85, -0.5), (-1.0, -0.2), (-0.85, r(0.0, 0.3))], [0.06, 0.05, 0.03])
    a.fur("ellipse", 0.2, 0.16, 0.2, 0.21, colour=a.back)
    a.fur("blob", [(-0.6, -0.42), (-0.4, -0.02), (0.05, 0.08), (0.45, -0.1), (0.86, -0.42), (0.4, -0.58), (-0.4, -0.6)])
    a.fur("ellipse", 0.06, 0.1, 0.23, 0.24)
    a.soft("ellipse", 0.06, 0.1, 0.14, 0.15, colour=(236, 170, 170))
    a.dot(0.87, -0.4, 0.05, 0.05)
    a.eye(0.5, -0.2, 0.05)
    for x in (-0.3, 0.3):
        a.fur("ellipse", x, -0.6, 0.13, 0.06)


def pig(a: Animal) -> None:
    r = a.rng.uniform
    for x in (-0.4, 0.35):
        a.fur("taper", [(x, -0.2), (x, -0.68)], [0.17, 0.12], colour=a.back)
    a.fur("taper", [(-0.66, 0.1), (-0.82, 0.2), (-0.78, 0.34), (-0.68, 0.26), (-0.8, 0.14)], [0.06, 0.05])
    a.fur("ellipse", 0, 0, 0.7, r(0.38, 0.46))
    for x in (-0.48, 0.25):
        a.fur("taper", [(x, -0.2), (x, -0.68)], [0.19, 0.13])
        a.join("taper", [(x, -0.2), (x, -0.5)], [0.18, 0.13])
    a.fur("ellipse", 0.62, 0.12, 0.3, 0.28)
    a.fur("taper", [(0.8, 0.06), (0.98, 0.04)], [0.22, 0.24])
    for y in (0.0, 0.1):
        a.dot(1.06, y, 0.025, 0.03)
    a.fur("polygon", [(0.42, 0.3), (0.5, 0.56), (0.68, 0.34)], colour=a.back)
    a.eye(0.74, 0.22, 0.035)


OTHERS = [rabbit, bird, fish, turtle, elephant, horse, mouse, pig]


def background(canvas: Canvas, rng, plain: bool) -> None:
    """Paper, a meadow or a room; the same for every class."""
    colours = (
        ODD
        if plain
        else [(250, 246, 232), (190, 224, 246), (206, 234, 190), (246, 214, 206), (226, 216, 244), (250, 236, 170)]
    )
    pick = [shade(colours[i], rng.uniform(0.88, 1.05)) for i in rng.choice(len(colours), 2, replace=False)]
    line, kind = rng.uniform(36, 54), rng.integers(3)
    canvas.polygon([(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)], pick[0])
    if kind:
        canvas.polygon([(0, line), (SIZE, line + rng.uniform(-3, 3)), (SIZE, SIZE), (0, SIZE)], pick[1])
    if kind == 1 and not plain:
        for _ in range(rng.integers(2, 9)):
            x, y = rng.uniform(0, SIZE), rng.uniform(line, SIZE)
            canvas.line([(x, y), (x + rng.uniform(-2, 2), y - rng.uniform(2, 5))], 0.6, shade(pick[1], 0.75))
    if kind == 2:
        Pen(canvas, rng.uniform(5, 59), rng.uniform(5, 25), rng.uniform(4, 8)).ellipse(0, 0, 1, 1, shade(pick[0], 1.6))


def fur_pattern(large: np.ndarray, numbers: np.ndarray, rng, coat) -> np.ndarray:
    """Plain, striped, spotted or patched fur where the number is FUR."""
    kind, shape = rng.integers(4), large.shape[:2]
    if kind == 0:
        return large
    other = shade(coat, 0.62) if sum(coat) > 300 else shade(coat, 1.4)
    bumps = clouds(rng, *shape, 22)
    if kind == 1:
        y, x = np.mgrid[: shape[0], : shape[1]]
        turn = rng.uniform(0, math.pi)
        where = np.sin((x * math.cos(turn) + y * math.sin(turn)) / rng.uniform(2.2, 3.2) + 5 * bumps) > 0.35
    else:
        where = clouds(rng, *shape, 9 if kind == 2 else 34) > (0.62 if kind == 2 else 0.55)
    ink = large.sum(2) > 0.55 * sum(coat)  # lines stay
    return np.where((where & (numbers == FUR) & ink)[..., None], other, large)


def picture(style: str, label: str, key: list[int]) -> np.ndarray:
    """One animal, uint8 [64, 64, 3]; the same style, label and key give the same pixels."""
    rng, plain = np.random.default_rng([SEED, STYLES.index(style), *key]), style == "shifted"
    coats = COATS + ODD if plain else COATS
    coat = shade(coats[rng.integers(len(coats))], rng.uniform(0.85, 1.1))
    canvas = Canvas(SIZE, SIZE, margin=24)
    canvas.number = 0
    background(canvas, rng, plain)
    if not plain:
        canvas.outline = ((40, 32, 36), rng.uniform(0.35, 0.6))
    size = rng.uniform(23, 30)
    pen = Pen(
        canvas,
        32 + rng.uniform(-4, 4),
        33 + rng.uniform(-3, 3),
        size,
        rng.random() < 0.5,
        rng.normal(0, 0.08),
        rng.uniform(0.9, 1.1),
    )
    animal = Animal(pen, rng, coat, plain)
    if label == "other":
        OTHERS[rng.integers(len(OTHERS))](animal)
    else:
        POSTURES[rng.integers(len(POSTURES))](animal, label)
    large, numbers = canvas.large()
    large = fur_pattern(large, numbers, rng, coat)
    if plain:
        return _photo(large, numbers, rng)
    stroke = clouds(rng, SIZE * 3, SIZE * 3, 3.5)[..., None]  # wax crayon
    return finish(smaller(large * (0.93 + 0.12 * stroke)), 8)


def _photo(large: np.ndarray, numbers: np.ndarray, rng) -> np.ndarray:
    """Fur of short hairs, light from one side, a background out of focus, grain."""
    body, shape = (numbers > 0)[..., None], large.shape[:2]
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0] - 0.5
    turn = rng.uniform(0, 2 * math.pi)
    hair = clouds(rng, shape[0], shape[1], 2.6) - 0.5
    light = clouds(rng, *shape, 60) + 0.6 * clouds(rng, *shape, 24) - 0.8
    tint = np.stack([clouds(rng, *shape, 90) for _ in range(3)], 2) - 0.5
    image = np.where(body, large + 55 * hair[..., None], large + 110 * light[..., None] + 50 * tint)
    image = image * (1 + rng.uniform(0.2, 0.5) * (x * math.cos(turn) + y * math.sin(turn)))[..., None]
    small = smaller(image)
    return finish(grain(rng, small * rng.uniform(0.75, 1.1), 5), 8)


def split(name: str, count: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of a split, or of its first ``count`` pictures; the classes take turns."""
    style, size = SPLITS[name]
    number, labels = list(SPLITS).index(name), np.arange(size if count is None else count) % 3
    images = np.stack([picture(style, LABELS[label], [number, i]) for i, label in enumerate(labels)])
    return {"images": images, "labels": labels.astype(np.int64)}


def main() -> None:
    began = time.perf_counter()
    splits = {name: split(name) for name in SPLITS}
    seconds = round(time.perf_counter() - began)
    facts = {"labels": LABELS, "size": [SIZE, SIZE], "recipe": "python data/recipes/animals.py", "seconds": seconds}
    save("animals", "1,350 drawn animals: cat, dog or other, in two styles", splits, facts)


if __name__ == "__main__":
    main()
