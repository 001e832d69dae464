"""Street scenes in two styles, drawn with exact boxes and masks: python data/recipes/scenes_data.py

Writes data/street/: target style (night and rain, ink lines, hatching) train, val, test, and `source` (day, flat
colours), which shows after fine-tuning what has been forgotten. The source scenes that the checkpoint `scenes` is
pretrained on are drawn by data/recipes/scenes.py with :func:`scene` and are not stored.

A scene is a small world in metres seen through a pinhole camera; everything is painted from far to near.
"""

import math
import time

import numpy as np
from drawing import Canvas, Pen, centres, clouds, finish, grain, save, shade, smaller, smooth
from street_things import LEAF, WALL, Camera, Look, car_end, car_side, facade, ground, pedestrian, plate, tree

HEIGHT, WIDTH = 96, 128
CLASSES = ["other", "road", "pavement", "building", "sky", "vegetation", "pedestrian", "car", "sign"]
OTHER, ROAD, PAVEMENT, BUILDING, SKY, VEGETATION, PEDESTRIAN, CAR, SIGN = range(9)
LABELS = ["pedestrian", "car", "sign"]  # what has boxes: classes 6, 7, 8
FIRST = 20  # numbers of objects on the canvas; below stand the classes of what is not an object
SPLITS = {"train": ("target", 160), "val": ("target", 40), "test": ("target", 100), "source": ("source", 40)}
STYLES = ["source", "target"]
SEED = 4101


def sky(canvas: Canvas, rng, look: Look, horizon: float) -> None:
    canvas.number = SKY
    low, high = (218, 234, 246), (120, 178, 232)
    if look.night:
        low, high = (70, 74, 120), (34, 38, 84)
    elif look.rain:
        low, high = (168, 174, 182), (128, 134, 146)
    outline, canvas.outline = canvas.outline, None
    for band in range(12):
        colour = np.array(high) + (np.array(low) - high) * band / 11
        top, end = -50 if band == 0 else horizon * band / 12, horizon + 2
        canvas.polygon([(-60, top), (190, top), (190, end), (-60, end)], colour)
    for _ in range(rng.integers(0, 4)):
        x, y, size = rng.uniform(0, WIDTH), rng.uniform(2, horizon * 0.6), rng.uniform(3, 7)
        cloud = shade(low, 1.6) if not look.night else shade(low, 0.8)
        for k in (-1, 0, 1):
            Pen(canvas, x, y, size).ellipse(k, 0.2 * (k == 0), 0.9, 0.5, cloud)
    if look.night and rng.random() < 0.5:
        Pen(canvas, rng.uniform(10, WIDTH - 10), rng.uniform(5, 16), 4).ellipse(0, 0, 1, 1, (250, 244, 210))
    canvas.outline = outline


def along(camera: Camera, rng, look: Look) -> tuple[list, tuple]:
    """Looking down a street: things to paint as (depth, kind, painter), and where people, cars and signs may be."""
    half, path = rng.uniform(3.0, 3.8), rng.uniform(1.8, 2.6)
    canvas, road = camera.canvas, look.pick(rng, [(112, 114, 120), (128, 126, 128), (98, 102, 110)])
    canvas.number = VEGETATION
    ground(camera, -60, 60, 1.2, 400, look.pick(rng, LEAF))
    canvas.number = PAVEMENT
    paving = look.pick(rng, [(204, 196, 184), (190, 188, 186), (214, 202, 176)])
    ground(camera, -half - path, half + path, 1.2, 90, paving)
    canvas.number = ROAD
    ground(camera, -half, half, 1.2, 400, road)
    for z in np.arange(2.0 + rng.uniform(0, 3), 40, 4.5):
        ground(camera, -0.09, 0.09, z, z + 2.2, (236, 236, 226))
    if rng.random() < 0.4:  # a crossing
        z = rng.uniform(5, 9)
        for x in np.arange(-half + 0.3, half - 0.4, 0.95):
            ground(camera, x, x + 0.5, z, z + 2.0, (236, 236, 226))
    things = []
    for side in (-1, 1):
        z = rng.uniform(-6, 1)
        built = rng.random() < 0.85
        while z < 60:
            long, high, back = rng.uniform(5, 10), rng.uniform(4.5, 12), rng.uniform(7, 14)
            x = side * (half + path + rng.uniform(0.0, 0.8))
            if built and rng.random() < 0.82:
                wall, rows = look.pick(rng, WALL), max(2, int(high // 3))
                seed = int(rng.integers(2**31))

                def house(x=x, z=z, long=long, high=high, back=back, side=side, wall=wall, rows=rows, seed=seed):
                    own = np.random.default_rng(seed)
                    near = max(z, 1.3)
                    front = ((x, z + 0.01), (x + side * back, z + 0.01), high)
                    if z > 1.3:
                        facade(camera, front, own, look, shade(wall, 0.8), (3, rows))
                    facade(camera, ((x, near), (x, z + long), high), own, look, wall, (max(2, int(long // 2.2)), rows))

                if z + long > 1.6:
                    things.append((z + long / 2, BUILDING, house))
            elif z > 2:
                place = (x + side * rng.uniform(0.6, 3), z + long / 2)
                things.append((place[1], VEGETATION, _tree(camera, place, rng, look)))
            z += long + rng.choice([0, 0, 1.5])
        for z in np.arange(rng.uniform(4, 9), 40, rng.uniform(7, 14)):
            if rng.random() < 0.4:
                things.append((z, VEGETATION, _tree(camera, (side * (half + path * 0.85), z), rng, look)))
            elif rng.random() < 0.4:
                things.append((z, OTHER, _lamp(camera, (side * (half + 0.3), z), side, look)))
    far = rng.uniform(60, 90)
    things.append((far, VEGETATION, _hills(camera, far, rng, look)))
    return things, (half, path)


def across(camera: Camera, rng, look: Look) -> tuple[list, tuple]:
    """Looking straight at the other side of a street."""
    canvas, near, far = camera.canvas, rng.uniform(4.6, 5.6), rng.uniform(10.5, 12)
    back = far + rng.uniform(2.0, 3.2)
    canvas.number = PAVEMENT
    paving = look.pick(rng, [(204, 196, 184), (190, 188, 186), (214, 202, 176)])
    ground(camera, -60, 60, 1.2, 60, paving)
    canvas.number = ROAD
    ground(camera, -60, 60, near, far, look.pick(rng, [(112, 114, 120), (128, 126, 128), (98, 102, 110)]))
    middle = (near * far) ** 0.5
    for x in np.arange(-20 + rng.uniform(0, 3), 20, 3.2):
        ground(camera, x, x + 1.6, middle, middle * 1.03, (236, 236, 226))
    things, x = [], -22.0
    while x < 22:
        wide, high = rng.uniform(5, 9), rng.uniform(4, 10)
        if rng.random() < 0.78:
            wall, seed = look.pick(rng, WALL), int(rng.integers(2**31))
            roof, peaked = look.pick(rng, [(150, 70, 60), (96, 88, 92), (120, 84, 64)]), rng.random() < 0.5

            def house(x=x, wide=wide, high=high, wall=wall, seed=seed, roof=roof, peaked=peaked):
                rows, peak = max(2, int(high // 2.8)), x + wide / 2
                if peaked:
                    camera.polygon(
                        [(x - 0.3, high, back), (peak, high + 2.4, back), (x + wide + 0.3, high, back)], roof
                    )
                facade(camera, ((x, back), (x + wide, back), high), np.random.default_rng(seed), look, wall, (3, rows))

            things.append((back, BUILDING, house))
        else:
            for place in rng.uniform(x, x + wide, 2):
                things.append((back + 0.5, VEGETATION, _tree(camera, (place, back + 0.5), rng, look)))
        x += wide
    for x in np.arange(-14 + rng.uniform(0, 5), 14, rng.uniform(5, 9)):
        if rng.random() < 0.45:
            things.append((far + 0.5, VEGETATION, _tree(camera, (x, far + 0.5), rng, look)))
        elif rng.random() < 0.5:
            things.append((far + 0.4, OTHER, _lamp(camera, (x, far + 0.4), 1, look)))
    things.append((back + 8, VEGETATION, _hills(camera, back + 8, rng, look)))
    return things, (near, far, back)


def _tree(camera, place, rng, look):
    seed, size = int(rng.integers(2**31)), rng.uniform(0.6, 1.1)

    def paint():
        pen = camera.pen(*place)
        pen.size *= size
        tree(pen, np.random.default_rng(seed), look)

    return paint


def _lamp(camera, place, side, look):
    def paint():
        pen = camera.pen(*place)
        pen.line([(0, 0), (0, 4.6), (-side * 0.9, 4.9)], 0.12, (84, 86, 92))
        pen.ellipse(-side * 0.9, 4.85, 0.3, 0.14, (255, 236, 170) if look.night else (222, 222, 214))
        if look.night:
            u, v = pen.place([(-side * 0.9, 4.7)])[0]
            look.lights.append((u, v, 1.5 * pen.size, 1.5 * pen.size, (150, 130, 70)))

    return paint


def _hills(camera, z, rng, look):
    seed = int(rng.integers(2**31))

    def paint():
        own = np.random.default_rng(seed)
        x = np.linspace(-1.1, 1.1, 12) * z
        top = np.stack([x, own.uniform(0.0, 0.09, 12) * z + 1, np.full(12, z)], 1)
        hills = smooth(camera.see(top), closed=False)
        camera.canvas.polygon([(-60, camera.horizon + 2), *hills, (190, camera.horizon + 2)], shade(LEAF[2], 0.9))

    return paint


def objects(camera: Camera, rng, look: Look, kind: str, space: tuple) -> list:
    """People, cars and signs with a place each: (depth, class, painter)."""
    found = []

    def add(z, label, painter):
        seed = int(rng.integers(2**31))
        found.append((z, label, lambda: painter(np.random.default_rng(seed))))

    def person(x, z):
        size, flip = rng.choice([1.0, 1.0, 1.0, 0.68]) * rng.uniform(0.94, 1.08), rng.random() < 0.5

        def paint(own):
            pen = camera.pen(x, z, flip)
            pen.size *= size
            pedestrian(pen, own, look)

        add(z, PEDESTRIAN, paint)

    def side(x, z):
        flip = rng.random() < 0.5
        add(z, CAR, lambda own: car_side(camera.pen(x, z, flip), own, look))

    def sign(x, z):
        high, size = rng.uniform(2.2, 2.7), rng.uniform(0.8, 1.15)

        def pole(own):
            camera.pen(x, z).line([(0, 0), (0, high)], 0.09, (128, 130, 134))

        add(z + 0.02, OTHER, pole)

        def paint(own):
            pen = camera.pen(x, z).inside(y=high, size=size)
            if own.random() < 0.2:  # a second plate below
                plate(pen.inside(y=-1.0, size=0.85), own, look)
            plate(pen, own, look)

        add(z, SIGN, paint)

    if kind == "along":
        half, path = space
        for _ in range(rng.integers(1, 5)):
            on_road = rng.random() < 0.25
            x = rng.uniform(-half, half) if on_road else rng.choice([-1, 1]) * (half + rng.uniform(0.3, path - 0.2))
            person(x, 1 / rng.uniform(1 / 20, 1 / 4.6))
        for _ in range(rng.integers(1, 4)):
            lane = rng.choice([-1, 1])
            x = lane * (half / 2 + rng.normal(0, 0.15)) if rng.random() < 0.7 else lane * (half - 0.75)
            z, front = 1 / rng.uniform(1 / 26, 1 / 5.5), bool(lane < 0)
            add(z, CAR, lambda own, x=x, z=z, front=front: car_end(camera, x, z, own, look, front))
        if rng.random() < 0.2:
            side(rng.uniform(-half, half), rng.uniform(9, 20))
        for _ in range(rng.integers(0, 4)):
            sign(rng.choice([-1, 1]) * (half + rng.uniform(0.25, 0.6)), 1 / rng.uniform(1 / 14, 1 / 4.6))
    else:
        near, far, back = space
        for _ in range(rng.integers(1, 6)):
            z = rng.uniform(far + 0.4, back - 0.3) if rng.random() < 0.6 else rng.uniform(near - 0.8, far)
            person(rng.uniform(-0.75, 0.75) * z, z)
        for z in (far - 1.2, near + 1.4):
            for x in rng.uniform(-0.75, 0.75, rng.integers(0, 3)) * z:
                side(x, z + rng.normal(0, 0.1))
        for _ in range(rng.integers(0, 4)):
            z = far + rng.uniform(0.3, 0.8) if rng.random() < 0.7 else near - 0.4
            sign(rng.uniform(-0.75, 0.75) * z, z)
    return found


def weather(large: np.ndarray, numbers: np.ndarray, rng, look: Look) -> np.ndarray:
    """Night, rain, hatching and lights over the painted scene: [3H, 3W, 3] to [H, W, 3]."""
    if look.hatch:
        y, x = np.mgrid[: large.shape[0], : large.shape[1]]
        classes = np.where(numbers < FIRST, numbers, 0)
        stroke = np.zeros(large.shape[:2], bool)
        for number, angle, gap in ((ROAD, 0.1, 11), (BUILDING, 0.9, 10), (VEGETATION, 2.2, 8), (PAVEMENT, 0.5, 14)):
            wave = x * math.cos(angle) + y * math.sin(angle)
            stroke |= (classes == number) & (wave % gap < 2.4)
        large = np.where(stroke[..., None], large * 0.76, large)
    image = smaller(large)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    if look.night:
        image = image * [0.5, 0.52, 0.68] + [2, 4, 14]
        glow = np.zeros_like(image)
        for u, v, across_, down, colour in look.lights:
            glow += np.exp(-(((x - u) / across_) ** 2) - ((y - v) / down) ** 2)[..., None] * colour
        image = 255 - (255 - image) * (1 - glow.clip(0, 230) / 255)
    if look.rain:
        grey = image.mean(2, keepdims=True)
        image = 0.55 * image + 0.3 * grey + (14 if look.night else 32)
        fall, streaks = rng.uniform(-0.35, 0.35), np.zeros((HEIGHT, WIDTH))
        for _ in range(rng.integers(40, 90)):
            u, v, long = rng.uniform(-10, WIDTH + 10), rng.uniform(-8, HEIGHT), rng.uniform(5, 11)
            t = np.arange(0, long, 0.7)
            rows, columns = (v + t).astype(int), (u + fall * t).astype(int)
            keep = (rows >= 0) & (rows < HEIGHT) & (columns >= 0) & (columns < WIDTH)
            streaks[rows[keep], columns[keep]] += 0.5
        image = image + streaks.clip(0, 1)[..., None] * 44
    if look.style == "target":
        image = grain(rng, image * (0.9 + 0.2 * clouds(rng, HEIGHT, WIDTH, 40))[..., None], 6)
    return finish(image, 8 if look.style == "target" else 4)


def scene(style: str, key: list[int]) -> dict:
    """One scene; the same style and key give the same pixels.

    Returns:
        dict: ``image`` uint8 [H, W, 3], ``mask`` uint8 [H, W] of classes, ``boxes`` float32 [n, 4], ``labels`` int64
        [n] (0 pedestrian, 1 car, 2 sign), ``instances`` uint8 [n, H, W], the visible part of each boxed object.
    """
    rng = np.random.default_rng([SEED, STYLES.index(style), *key])
    look = Look(style)
    if style == "target":
        look.night, look.rain = [(True, False), (True, True), (False, True)][rng.choice(3, p=[0.45, 0.2, 0.35])]
        look.hatch, look.ink = rng.random() < 0.7, (24, 22, 34)
    canvas = Canvas(HEIGHT, WIDTH, margin=48)
    if style == "target":
        canvas.outline = (look.ink, 0.35)
    kind = "along" if rng.random() < 0.55 else "across"
    if kind == "along":
        camera = Camera(canvas, rng.uniform(34, 44), rng.uniform(46, 82), rng.uniform(84, 96), rng.uniform(1.9, 2.6))
    else:
        camera = Camera(canvas, rng.uniform(34, 42), WIDTH / 2, rng.uniform(80, 92), rng.uniform(2.2, 3.0))
    sky(canvas, rng, look, camera.horizon)
    things, space = (along if kind == "along" else across)(camera, rng, look)
    things += objects(camera, rng, look, kind, space)
    whole = {}  # number on the canvas: (class, pixels before anything covered it)
    for _, label, paint in sorted(things, key=lambda thing: -thing[0]):
        canvas.number = label if label < PEDESTRIAN else FIRST + len(whole)
        paint()
        if label >= PEDESTRIAN:
            whole[canvas.number] = label, canvas.count(canvas.number)
    large, numbers = canvas.large()
    image, numbers = weather(large, numbers, rng, look), centres(numbers)
    classes = np.arange(256, dtype=np.uint8)
    out = {"boxes": [], "labels": [], "instances": []}
    for number, (label, pixels) in whole.items():
        classes[number] = label
        rows, columns = np.nonzero(numbers == number)
        if len(rows) >= max(20, 0.3 * pixels):
            out["boxes"].append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            out["labels"].append(label - PEDESTRIAN)
            out["instances"].append((numbers == number).astype(np.uint8))
    return {
        "image": image,
        "mask": classes[numbers],
        "boxes": np.array(out["boxes"], np.float32).reshape(-1, 4),
        "labels": np.array(out["labels"], np.int64),
        "instances": np.array(out["instances"], np.uint8).reshape(-1, HEIGHT, WIDTH),
    }


def split(name: str, count: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of a bundled split, or of its first ``count`` scenes."""
    style, size = SPLITS[name]
    number = list(SPLITS).index(name)
    return arrays([scene(style, [number, i]) for i in range(size if count is None else count)])


def arrays(scenes: list[dict]) -> dict[str, np.ndarray]:
    """Scenes as the arrays of an .npz file."""
    return {
        "images": np.stack([s["image"] for s in scenes]),
        "masks": np.stack([s["mask"] for s in scenes]),
        "boxes": np.concatenate([s["boxes"] for s in scenes]),
        "box_labels": np.concatenate([s["labels"] for s in scenes]),
        "box_images": np.repeat(np.arange(len(scenes)), [len(s["labels"]) for s in scenes]),
    }


def main() -> None:
    began = time.perf_counter()
    splits = {name: split(name) for name in SPLITS}
    facts = {
        "labels": LABELS,
        "mask_labels": CLASSES,
        "size": [HEIGHT, WIDTH],
        "recipe": "python data/recipes/scenes_data.py",
        "seconds": round(time.perf_counter() - began),
    }
    save("street", "340 drawn street scenes with boxes and masks: night and rain, and day", splits, facts)


if __name__ == "__main__":
    main()
