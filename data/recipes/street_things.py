"""What stands in a street: people, cars, signs, trees and walls, painted in metres for data/recipes/scenes_data.py."""

import math
from dataclasses import dataclass, field

import numpy as np
from drawing import Canvas, Pen, shade


@dataclass
class Look:
    """What the two styles disagree about."""

    style: str
    night: bool = False
    rain: bool = False
    ink: tuple = (30, 30, 40)
    hatch: bool = False
    lights: list = field(default_factory=list)  # (x, y, radius across, radius down, colour)

    def pick(self, rng, colours):
        """One of the colours, slightly changed; in the target style duller and darker."""
        c = np.array(colours[rng.integers(len(colours))], float) + rng.normal(0, 7) + rng.normal(0, 3, 3)
        if self.style == "target":
            c = (0.65 * c + 0.35 * c.mean()) * rng.uniform(0.7, 1.0)
        return tuple(c.clip(0, 255))


@dataclass
class Camera:
    """Where a point in metres (x to the right, y up, z away) is seen."""

    canvas: Canvas
    horizon: float
    middle: float
    focal: float
    height: float

    def see(self, points) -> np.ndarray:
        x, y, z = np.asarray(points, float).T
        return np.stack([self.middle + self.focal * x / z, self.horizon + self.focal * (self.height - y) / z], 1)

    def polygon(self, points, colour) -> None:
        self.canvas.polygon(self.see(points), colour)

    def pen(self, x: float, z: float, flip: bool = False) -> Pen:
        """A pen whose unit is a metre at depth ``z``, with its origin on the ground."""
        ((u, v),) = self.see([(x, 0, z)])
        return Pen(self.canvas, u, v, self.focal / z, flip)


SKIN = [(245, 208, 178), (224, 172, 128), (178, 120, 82), (120, 78, 52)]
CLOTH = [(206, 52, 48), (46, 88, 176), (240, 196, 56), (52, 140, 84), (130, 70, 150), (236, 236, 232), (60, 62, 72),
         (228, 128, 48), (90, 190, 200), (150, 100, 70)]  # fmt: skip
PAINT = [(200, 40, 40), (40, 84, 170), (235, 235, 238), (48, 50, 56), (168, 172, 178), (36, 120, 90), (236, 190, 50),
         (120, 40, 60), (110, 160, 210)]  # fmt: skip
WALL = [(226, 196, 160), (206, 130, 104), (188, 188, 182), (236, 224, 196), (170, 110, 90), (150, 170, 186),
        (214, 170, 120), (196, 206, 176)]  # fmt: skip
LEAF = [(76, 146, 62), (104, 166, 70), (50, 118, 60), (134, 170, 72)]


def pedestrian(pen: Pen, rng, look: Look) -> None:
    """About 1.7 units high, feet at the origin; walking or standing, in trousers or a skirt."""
    skin, hair = look.pick(rng, SKIN), look.pick(rng, [(50, 36, 28), (110, 70, 36), (210, 170, 90), (170, 170, 170)])
    top, legs = look.pick(rng, CLOTH), look.pick(rng, CLOTH[5:] + [(50, 60, 100)])
    shoe, stride, wide = (40, 36, 36), rng.uniform(0.02, 0.36), rng.uniform(0.85, 1.2)
    swing, skirt = rng.uniform(0.05, 0.35), rng.random() < 0.3
    for side, tone in ((-1, 0.8), (1, 1.0)):
        foot = side * stride
        knee = (foot * 0.4 + 0.05, 0.45)
        pen.line([(side * 0.06, 0.85), knee, (foot, 0.06)], 0.17 * wide, shade(legs, tone) if not skirt else skin)
        pen.line([(foot - 0.02, 0.05), (foot + 0.12, 0.05)], 0.11, shoe)
    if skirt:
        pen.polygon([(-0.17 * wide, 0.95), (0.17 * wide, 0.95), (0.3 * wide, 0.5), (-0.3 * wide, 0.5)], legs)
    if rng.random() < 0.25:  # a bag
        pen.box(-0.42, 0.62, -0.2, 0.86, look.pick(rng, CLOTH))
    pen.line([(-0.2 * wide, 1.34), (-0.24 - swing * 0.4, 1.08), (-0.2 - swing, 0.86)], 0.12 * wide, shade(top, 0.8))
    coat = 0.62 if rng.random() < 0.35 else 0.82
    pen.polygon([(-0.2 * wide, coat), (-0.17 * wide, 1.1), (-0.22 * wide, 1.36), (-0.12 * wide, 1.44),
                 (0.12 * wide, 1.44), (0.22 * wide, 1.36), (0.17 * wide, 1.1), (0.2 * wide, coat)], top)  # fmt: skip
    umbrella = look.rain and rng.random() < 0.55
    hand = (0.3, 1.25) if umbrella else (0.18 + swing, 0.88)
    pen.line([(0.2 * wide, 1.34), (0.25 + swing * 0.3, 1.08), hand], 0.12 * wide, shade(top, 0.9))
    pen.line([(0, 1.4), (0, 1.5)], 0.1, skin)
    pen.ellipse(0, 1.6, 0.135, 0.165, skin)
    pen.ellipse(-0.02, 1.65, 0.15, 0.14, hair, arc=(0.05 * math.pi, 1.15 * math.pi))
    if rng.random() < 0.25:  # long hair
        pen.ellipse(-0.1, 1.54, 0.07, 0.17, hair)
    if umbrella:
        pen.line([(0.3, 1.2), (0.2, 2.0)], 0.04, (60, 60, 60))
        pen.ellipse(0.18, 1.88, 0.62, 0.38, look.pick(rng, CLOTH), arc=(0, math.pi))


SIDES = {  # outline of the body and of the windows, seen from the side, driving to the right, in metres
    "saloon": ([(-2.1, 0.3), (-2.15, 0.75), (-2.0, 0.95), (-1.35, 1.0), (-0.85, 1.45), (0.45, 1.47), (1.05, 1.0),
                (1.95, 0.9), (2.15, 0.7), (2.15, 0.3)],
               [[(-1.1, 1.0), (-0.75, 1.36), (-0.2, 1.38), (-0.2, 1.0)],
                [(-0.1, 1.0), (-0.1, 1.38), (0.4, 1.38), (0.85, 1.0)]]),
    "hatch": ([(-1.8, 0.3), (-1.85, 0.9), (-1.6, 1.45), (-1.2, 1.54), (0.3, 1.54), (0.95, 1.05),
               (1.7, 0.92), (1.85, 0.7), (1.85, 0.3)],
              [[(-1.55, 1.02), (-1.35, 1.42), (-0.4, 1.44), (-0.4, 1.02)],
               [(-0.28, 1.02), (-0.28, 1.44), (0.25, 1.44), (0.75, 1.02)]]),
    "van": ([(-2.3, 0.3), (-2.3, 2.0), (-2.2, 2.1), (1.1, 2.1), (1.5, 1.85), (1.85, 1.15), (2.25, 1.0), (2.3, 0.3)],
            [[(0.75, 1.2), (0.75, 1.85), (1.35, 1.8), (1.62, 1.2)],
             [(-0.3, 1.25), (-0.3, 1.8), (0.55, 1.8), (0.55, 1.25)]]),
    "pickup": ([(-2.2, 0.35), (-2.25, 1.0), (-0.45, 1.0), (-0.35, 1.6), (0.6, 1.62), (1.05, 1.1), (2.0, 1.0),
                (2.2, 0.8), (2.2, 0.35)],
               [[(-0.2, 1.08), (-0.15, 1.48), (0.5, 1.48), (0.85, 1.08)]]),
}  # fmt: skip
SHADOW = (52, 52, 60)


def car_side(pen: Pen, rng, look: Look) -> None:
    body, windows = SIDES[list(SIDES)[rng.integers(len(SIDES))]]
    paint, number = look.pick(rng, PAINT), pen.canvas.number
    ends = max(x for x, _ in body)
    pen.canvas.number = None
    pen.ellipse(0, 0.05, ends + 0.1, 0.13, SHADOW)
    pen.canvas.number = number
    for x in (-ends * 0.62, ends * 0.62):
        pen.ellipse(x, 0.34, 0.36, 0.34, (32, 32, 36))
    pen.polygon(body, paint)
    pen.polygon([(-ends, 0.3), (ends, 0.3), (ends, 0.48), (-ends, 0.48)], shade(paint, 0.72))
    for window in windows:
        pen.polygon(window, (70, 84, 100) if look.night else (176, 212, 232))
    for x in (-ends * 0.62, ends * 0.62):
        pen.ellipse(x, 0.34, 0.33, 0.33, (32, 32, 36))
        pen.ellipse(x, 0.34, 0.16, 0.16, (178, 180, 186))
    pen.box(ends - 0.22, 0.66, ends - 0.02, 0.82, (255, 240, 170))
    pen.box(-ends + 0.02, 0.66, -ends + 0.2, 0.84, (214, 36, 36))
    if look.night:
        for x, across, colour in ((ends + 0.7, 1.4, (150, 135, 80)), (-ends, 0.5, (120, 20, 15))):
            (u, v) = pen.place([(x, 0.6)])[0]
            look.lights.append((u, v, across * pen.size, 0.4 * pen.size, colour))


def car_end(camera: Camera, x: float, z: float, rng, look: Look, front: bool) -> None:
    """A car seen from behind or from the front, with the side that the camera can see."""
    paint, number, canvas = look.pick(rng, PAINT), camera.canvas.number, camera.canvas
    tall, wide, long = rng.choice([1.45, 1.55, 2.05]), rng.uniform(0.84, 0.94), rng.uniform(3.6, 4.4)
    pen, glass = camera.pen(x, z), (70, 84, 100) if look.night else (176, 212, 232)
    canvas.number = None
    pen.ellipse(0, 0.02, wide + 0.12, 0.14, SHADOW)
    canvas.number = number
    inner = -np.sign(x) * wide
    if abs(x) > wide:  # the side towards the middle of the picture
        xs, top = x + inner, x + inner * 0.8
        for depth in (z + 0.8, z + long - 0.8):
            ring = np.linspace(0, 2 * math.pi, 20)
            camera.polygon(
                np.stack([np.full(20, xs), 0.33 + 0.33 * np.sin(ring), depth + 0.33 * np.cos(ring)], 1), (30, 30, 34)
            )
        camera.polygon([(xs, 0.3, z), (xs, 0.95, z), (xs, 0.9, z + long), (xs, 0.3, z + long)], shade(paint, 0.75))
        rear = 0.2 if tall > 2 else 0.5
        cabin = [(xs, 0.95, z + rear / 2), (top, tall, z + rear), (top, tall, z + long - 1.6), (xs, 0.93, z + long - 1)]
        camera.polygon(cabin, shade(paint, 0.68))
        pane = [(0.9 * a + 0.1 * b) for a, b in zip(np.array(cabin, float), [np.mean(cabin, 0)] * 4, strict=True)]
        camera.polygon(pane, shade(glass, 0.85))
    for side in (-1, 1):
        pen.box(side * wide * 0.62 - 0.13, 0, side * wide * 0.62 + 0.13, 0.42, (30, 30, 34))
    pen.blob([(-wide, 0.26), (-wide * 1.0, 0.6), (-wide * 0.96, 0.95), (0, 1.0), (wide * 0.96, 0.95), (wide, 0.6),
              (wide, 0.26), (0, 0.22)], paint)  # fmt: skip
    pen.polygon([(-wide * 0.94, 0.93), (-wide * 0.74, tall - 0.06), (-wide * 0.6, tall), (wide * 0.6, tall),
                 (wide * 0.74, tall - 0.06), (wide * 0.94, 0.93)], paint)  # fmt: skip
    pen.polygon(
        [(-wide * 0.8, 0.98), (-wide * 0.66, tall - 0.12), (wide * 0.66, tall - 0.12), (wide * 0.8, 0.98)], glass
    )
    pen.box(-wide * 0.97, 0.26, wide * 0.97, 0.4, shade(paint, 0.6))
    pen.box(-0.24, 0.44, 0.24, 0.58, (240, 240, 230))
    lamp = (255, 244, 190) if front else (216, 34, 34)
    for side in (-1, 1):
        pen.ellipse(side * wide * 0.76, 0.7, 0.17, 0.12, lamp)
        if look.night:
            u, v = pen.place([(side * wide * 0.76, 0.68)])[0]
            size = (0.5 if front else 0.4) * pen.size
            look.lights.append((u, v, size, size * 0.8, (150, 134, 86) if front else (110, 22, 18)))
    if look.night and front:
        u, v = pen.place([(0, -0.35)])[0]
        look.lights.append((u, v, 1.2 * pen.size, 0.4 * pen.size, (70, 62, 40)))


def plate(pen: Pen, rng, look: Look) -> None:
    """The plate of a traffic sign, about one unit wide, centred at the origin: six kinds."""
    red, white, blue = ((208, 30, 38), (246, 246, 242), (28, 84, 176))
    if look.style == "target":
        red, white, blue = shade(red, 0.95), shade(white, 0.95), (40, 90, 190)
    kind, ring = rng.integers(6), np.linspace(0, 2 * math.pi, 9)[:-1] + math.pi / 8
    three = np.array([(-0.55, -0.42), (0.55, -0.42), (0, 0.55)])
    if kind == 0:  # a speed limit
        pen.ellipse(0, 0, 0.52, 0.52, red)
        pen.ellipse(0, 0, 0.36, 0.36, white)
        for side in (-0.13, 0.13):
            pen.line([(side, -0.14), (side, 0.14)], 0.1, (30, 30, 30))
    elif kind == 1:  # a warning
        pen.polygon(three, red)
        pen.polygon(three * 0.62 + [0, -0.02], white)
        pen.line([(0, -0.16), (0, 0.14)], 0.1, (30, 30, 30))
    elif kind == 2:  # a direction
        pen.ellipse(0, 0, 0.52, 0.52, blue)
        pen.line([(0, -0.28), (0, 0.2)], 0.13, white)
        pen.polygon([(-0.24, 0.08), (0.24, 0.08), (0, 0.36)], white)
    elif kind == 3:  # stop
        pen.polygon(np.stack([0.54 * np.cos(ring), 0.54 * np.sin(ring)], 1), red)
        pen.box(-0.34, -0.1, 0.34, 0.1, white)
    elif kind == 4:  # right of way
        pen.polygon([(0, -0.58), (0.58, 0), (0, 0.58), (-0.58, 0)], white)
        pen.polygon([(0, -0.4), (0.4, 0), (0, 0.4), (-0.4, 0)], (242, 190, 40))
    else:  # parking
        pen.box(-0.46, -0.5, 0.46, 0.5, blue)
        pen.line([(-0.14, -0.3), (-0.14, 0.28)], 0.12, white)
        pen.ellipse(0.0, 0.14, 0.22, 0.2, white)
        pen.ellipse(0.0, 0.14, 0.1, 0.08, blue)


def tree(pen: Pen, rng, look: Look) -> None:
    """About five units high; a round crown, a poplar or a fir."""
    leaf, kind = look.pick(rng, LEAF), rng.integers(3)
    pen.line([(0, 0), (rng.normal(0, 0.05), 2.2)], rng.uniform(0.22, 0.35), (104, 76, 54))
    if kind == 2:
        for base, wide in ((1.0, 1.3), (2.1, 1.05), (3.2, 0.75)):
            pen.polygon([(-wide, base), (wide, base), (0, base + 1.9)], shade(leaf, 0.85))
        return
    across, up = (1.5, 1.6) if kind == 0 else (0.8, 2.1)
    angles = np.linspace(0, 2 * math.pi, 9)[:-1]
    for size, tone, lift in ((1.0, 0.82, 0), (0.68, 1.0, 0.25)):
        radius = rng.uniform(0.85, 1.12, 8) * size
        pen.blob(
            np.stack([across * radius * np.cos(angles), 3.4 + lift + up * radius * np.sin(angles)], 1),
            shade(leaf, tone),
        )


def facade(camera: Camera, corners, rng, look: Look, wall, windows: tuple[int, int]) -> None:
    """A wall between two corners (x, z), from the ground up, with a grid of windows and perhaps a door."""
    (xa, za), (xb, zb), high = corners

    def at(s, y):
        return (xa + (xb - xa) * s, y, za + (zb - za) * s)

    def panel(s1, s2, y1, y2, colour):
        camera.polygon([at(s1, y1), at(s2, y1), at(s2, y2), at(s1, y2)], colour)

    panel(0, 1, 0, high, wall)
    columns, rows = windows
    lit = [(250, 214, 120), (240, 190, 90)]
    for row in range(rows):
        y = 1.2 + row * (high - 1.0) / rows
        for column in range(columns):
            s = (column + 0.5) / columns
            glass = (150, 190, 214) if not look.night else lit[rng.integers(2)] if rng.random() < 0.35 else (48, 52, 66)
            if row == 0 and column == columns // 2:
                panel(s - 0.16 / columns, s + 0.16 / columns, 0, 2.1, shade(wall, 0.5))
            else:
                panel(s - 0.24 / columns, s + 0.24 / columns, y, y + (high - 1.0) / rows * 0.55, glass)


def ground(camera: Camera, left: float, right: float, near: float, far: float, colour) -> None:
    """A rectangle on the ground, between two x and two z."""
    camera.polygon([(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)], colour)
