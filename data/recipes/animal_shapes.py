"""Cats and dogs, part by part: shapes for data/recipes/animals.py."""

import numpy as np
from drawing import Pen, shade

FUR, LIGHT, DETAIL = 1, 2, 3  # numbers on the canvas: what takes the pattern, lighter fur, eyes and noses


class Animal:
    """A pen with fur: ``coat`` and ``pale`` colours, ``dark`` for eyes and noses; ``plain`` leaves small things out."""

    def __init__(self, pen: Pen, rng, coat, plain: bool):
        self.pen, self.rng, self.coat, self.plain = pen, rng, coat, plain
        self.pale, self.dark = shade(coat, 1.45), (34, 28, 30) if sum(coat) > 240 else (16, 14, 18)
        self.back = shade(coat, 0.8)  # limbs on the far side

    def at(self, **place) -> "Animal":
        return Animal(self.pen.inside(**place), self.rng, self.coat, self.plain)

    def fur(self, shape: str, *args, colour=None, **kwargs) -> None:
        self.pen.canvas.number = FUR
        getattr(self.pen, shape)(*args, colour or self.coat, **kwargs)

    def join(self, shape: str, *args, colour=None) -> None:
        """The same fur once more without its ink line, so that a limb grows out of the body."""
        outline, self.pen.canvas.outline = self.pen.canvas.outline, None
        self.fur(shape, *args, colour=colour)
        self.pen.canvas.outline = outline

    def soft(self, shape: str, *args, colour=None, **kwargs) -> None:
        """Lighter parts; a silhouette does not show them."""
        if not self.plain:
            self.pen.canvas.number = LIGHT
            getattr(self.pen, shape)(*args, colour or self.pale, **kwargs)

    def dot(self, x, y, rx, ry, colour=None) -> None:
        self.pen.canvas.number = DETAIL
        self.pen.ellipse(x, y, rx, ry, colour or self.dark)

    def stroke(self, points, width=0.025, colour=None) -> None:
        if not self.plain:
            outline, self.pen.canvas.outline, self.pen.canvas.number = self.pen.canvas.outline, None, DETAIL
            self.pen.curve(points, width, colour or self.dark)
            self.pen.canvas.outline = outline

    def eye(self, x, y, size=0.04, white=None) -> None:
        if white is not None and not self.plain:
            self.dot(x, y, size * 1.35, size * 1.2, white)
            outline, self.pen.canvas.outline = self.pen.canvas.outline, None
            self.dot(x, y, size * 0.55, size * 1.1)
            self.pen.canvas.outline = outline
        else:
            self.dot(x, y, size, size)


def cat_head(a: Animal, front: bool) -> None:
    """Round, high pointed ears, a flat face: centred at the origin, about 0.28 in radius."""
    tall, wide = a.rng.uniform(0.2, 0.3), a.rng.uniform(0.9, 1.12)
    iris = [(170, 200, 80), (220, 180, 60), (110, 180, 200)][a.rng.integers(3)]
    if front:
        for s in (-1, 1):
            a.fur("polygon", [(s * 0.27 * wide, 0.06), (s * 0.25 * wide, 0.2 + tall), (s * 0.05, 0.22)])
            a.soft(
                "polygon",
                [(s * 0.23 * wide, 0.13), (s * 0.22 * wide, 0.12 + tall), (s * 0.11, 0.22)],
                colour=(232, 160, 150),
            )
        a.fur("ellipse", 0, 0, 0.3 * wide, 0.26)
        a.soft("ellipse", 0, -0.12, 0.13, 0.09)
        for s in (-1, 1):
            a.eye(s * 0.13 * wide, 0.03, 0.045, iris)
        a.dot(0, -0.07, 0.035, 0.025, (210, 120, 120))
        for s in (-1, 1):
            a.stroke([(0, -0.09), (s * 0.03, -0.15), (s * 0.09, -0.13)])
            for k in (-0.05, 0.0, 0.05):
                a.stroke([(s * 0.12, -0.1 + k / 2), (s * 0.38, -0.09 + k * 1.6)], 0.015)
        return
    a.fur("polygon", [(-0.2, 0.1), (-0.13, 0.18 + tall), (0.02, 0.2)], colour=a.back)
    a.fur("ellipse", 0, 0, 0.25, 0.22 * wide)
    a.fur("polygon", [(-0.08, 0.16), (0.04, 0.2 + tall), (0.15, 0.14)])
    a.fur("ellipse", 0.16, -0.07, 0.1, 0.085)
    a.soft("ellipse", 0.17, -0.09, 0.07, 0.055)
    a.eye(0.1, 0.05, 0.04, iris)
    a.dot(0.25, -0.04, 0.025, 0.022, (210, 120, 120))
    for k in (-0.05, 0.0, 0.05):
        a.stroke([(0.18, -0.08 + k / 2), (0.4, -0.08 + k * 1.8)], 0.015)


def dog_head(a: Animal, front: bool) -> None:
    """A muzzle that stands out, ears that hang or stand behind it."""
    hang, long, deep = a.rng.random() < 0.65, a.rng.uniform(0.2, 0.34), a.rng.uniform(0.16, 0.22)
    if front:
        wide = a.rng.uniform(0.24, 0.29)
        a.fur("ellipse", 0, 0.04, wide, 0.25)
        for s in (-1, 1):
            if hang:
                a.fur(
                    "blob",
                    [(s * 0.16, 0.24), (s * 0.33, 0.17), (s * 0.38, -0.1), (s * 0.3, -0.22), (s * 0.24, 0.0)],
                    colour=a.back,
                )
            else:
                a.fur("polygon", [(s * wide, 0.12), (s * (wide + 0.03), 0.42), (s * 0.09, 0.26)], colour=a.back)
        a.fur(
            "blob",
            [(-0.15, 0.02), (-0.19, -0.14), (-0.13, -0.27), (0, -0.32), (0.13, -0.27), (0.19, -0.14), (0.15, 0.02)],
        )
        a.soft("ellipse", 0, -0.15, 0.15, 0.16)
        for s in (-1, 1):
            a.eye(s * 0.11, 0.09, 0.038)
        a.dot(0, -0.05, 0.085, 0.06)
        a.stroke([(0, -0.1), (0, -0.19), (0.1, -0.23)])
        a.stroke([(0, -0.19), (-0.1, -0.23)])
        if a.rng.random() < 0.5:
            a.soft(
                "blob",
                [(-0.06, -0.24), (0.06, -0.24), (0.06, -0.38), (0, -0.42), (-0.06, -0.38)],
                colour=(230, 110, 120),
            )
        return
    if not hang:
        a.fur("polygon", [(-0.16, 0.1), (-0.12, 0.42), (0.0, 0.18)], colour=a.back)
    if a.rng.random() < 0.35:
        a.soft("blob", [(0.18, -0.14), (0.26, -0.16), (0.24, -0.34), (0.17, -0.32)], colour=(230, 110, 120))
    a.fur("taper", [(0.06, -0.03), (0.1 + long, -0.08)], [deep * 1.5, deep * 0.8])
    a.fur("ellipse", 0, 0.03, 0.21, 0.2)
    a.stroke([(0.14 + long, -0.12), (0.16, -0.12), (0.12, -0.08)])
    a.dot(0.16 + long, -0.02, 0.05, 0.042)
    a.eye(0.1, 0.09, 0.036)
    if hang:
        drop = a.rng.uniform(0.2, 0.34)
        a.fur(
            "blob",
            [(-0.04, 0.18), (0.04, 0.05), (-0.02, 0.1 - drop), (-0.14, 0.06 - drop), (-0.18, 0.05)],
            colour=a.back,
        )
    else:
        a.fur("polygon", [(-0.08, 0.16), (0.02, 0.45), (0.09, 0.18)])


def tail(a: Animal, kind: str, x: float, y: float) -> None:
    """From (x, y) backwards, that is to the left: long and thin of a cat, short, curled or bushy of a dog."""
    r = a.rng.uniform
    if kind == "cat":
        path = [
            (0, 0),
            (-0.2, 0.1),
            (-0.3, r(0.3, 0.5)),
            (-0.22 - r(0, 0.25), r(0.6, 0.8)),
            (-0.1 - r(0, 0.5), r(0.75, 0.95)),
        ]
        if r(0, 1) < 0.3:
            path = [(0, 0), (-0.25, -0.05), (-0.5, -0.3), (-0.75, -0.3), (-0.85, -0.12)]
        a.at(x=x, y=y).fur("taper", path, [0.11, 0.1, 0.08])
    elif r(0, 1) < 0.35:
        a.at(x=x, y=y).fur("taper", [(0, 0), (-0.14, 0.2), (0.0, 0.34), (0.12, 0.24), (0.06, 0.16)], [0.13, 0.12, 0.08])
    elif r(0, 1) < 0.5:
        a.at(x=x, y=y).fur("taper", [(0, 0), (-0.18, 0.12), (-0.28, r(0.25, 0.4))], [0.1, 0.07, 0.03])
    else:
        a.at(x=x, y=y).fur("taper", [(0, 0), (-0.2, -0.02), (-0.4, r(-0.2, 0.15))], [0.1, 0.2, 0.03])


HEADS = {"cat": cat_head, "dog": dog_head}


def standing(a: Animal, kind: str) -> None:
    """From the side; dogs stand higher, with a deep chest and a neck, cats are low and slim."""
    r, dog = a.rng.uniform, kind == "dog"
    leg, deep, long = (
        (r(0.42, 0.6), r(0.2, 0.25), r(0.42, 0.6)) if dog else (r(0.32, 0.42), r(0.17, 0.21), r(0.5, 0.62))
    )
    thick, step = r(0.11, 0.15), r(0.0, 0.12)
    tail(a, kind, -long * 0.95, 0.08)
    for x, s in ((-long * 0.62, 1), (long * 0.62, -1)):
        a.fur("taper", [(x, 0), (x + s * step, -deep * 0.5 - leg * 0.5), (x + s * step, -deep - leg + 0.05)],
              [thick * 1.3, thick, thick * 0.8], colour=a.back)  # fmt: skip
    legs, foot = [], -deep - leg + 0.05
    for x, s in ((-long * 0.72, -1), (long * 0.72, 1)):
        path = [(x, -0.02), (x + s * step, -deep * 0.5 - leg * 0.5), (x + s * step, foot)]
        legs.append((path, np.array([1.7, 1, 0.85]) * thick))
        a.fur("ellipse", x + s * step + 0.04, foot - 0.02, 0.09, 0.05)
        a.fur("taper", *legs[-1])
    neck = (long * 0.9 + (0.12 if dog else 0.1), r(0.34, 0.5) if dog else r(0.14, 0.34))
    a.fur("taper", [(long * 0.55, 0.02), neck], [deep * 1.6, deep * (1.1 if dog else 1.3)])
    tuck = -deep * (0.45 if dog else 0.85)
    a.fur("blob", [(-long, 0.02), (-long * 0.75, deep * 0.9), (0, deep * 0.8), (long * 0.7, deep), (long * 1.02, 0.0),
                   (long * 0.7, -deep * (1.15 if dog else 1.0)), (0, tuck - 0.05), (-long * 0.6, tuck)])  # fmt: skip
    a.join("taper", [(long * 0.55, 0.02), neck], np.array([1.6, 1.1 if dog else 1.3]) * deep * 0.9)
    for path, widths in legs:
        a.join("taper", path, widths * 0.9)
    HEADS[kind](
        a.at(
            x=neck[0] + (0.04 if dog else 0.08),
            y=neck[1] + 0.06,
            size=r(0.95, 1.15) * (1.0 if dog else 1.05),
            turn=r(-0.2, 0.15),
        ),
        False,
    )


def sitting(a: Animal, kind: str) -> None:
    """From the side: on the haunches, straight front legs."""
    r, dog = a.rng.uniform, kind == "dog"
    lean = r(0.12, 0.3)
    tail(a.at(x=-0.36, y=-0.62, turn=r(-0.2, 0.3) if dog else r(-0.1, 0.7)), kind, 0, 0)
    a.fur("taper", [(lean + 0.06, 0.0), (lean + 0.12, -0.75)], [0.17, 0.1], colour=a.back)
    a.fur("blob", [(-0.42, -0.62), (-0.4, -0.3), (-0.18, 0.12), (lean - 0.06, 0.38), (lean + 0.16, 0.26),
                   (lean + 0.14, -0.2), (0.1, -0.6), (-0.1, -0.78), (-0.34, -0.78)])  # fmt: skip
    a.soft("ellipse", lean + 0.08, 0.0, 0.08, 0.2)
    a.fur("taper", [(lean + 0.04, -0.05), (lean + 0.02, -0.76)], [0.19, 0.11])
    a.fur("ellipse", lean + 0.06, -0.78, 0.1, 0.05)
    a.fur("ellipse", -0.2, -0.56, 0.24, 0.22)
    a.fur("ellipse", 0.0, -0.76, 0.17, 0.06)
    HEADS[kind](
        a.at(x=lean + (0.08 if dog else 0.05), y=0.52, size=r(1.0, 1.25), turn=r(-0.2, 0.2)),
        kind == "cat" and r(0, 1) < 0.5,
    )


def lying(a: Animal, kind: str) -> None:
    r = a.rng.uniform
    tail(a.at(x=-0.66, y=-0.3, turn=r(0.1, 0.6)), kind, 0, 0)
    deep = r(0.24, 0.3)
    a.fur("blob", [(-0.75, -0.36), (-0.62, -0.5 + 2 * deep), (-0.1, -0.42 + 2 * deep), (0.45, -0.4 + 2 * deep),
                   (0.58, -0.3), (0.5, -0.55), (-0.5, -0.56)])  # fmt: skip
    a.fur("ellipse", -0.48, -0.32, 0.24, 0.22)
    a.soft("ellipse", 0.1, -0.48, 0.3, 0.07)
    for y in (-0.47, -0.52):
        a.fur("taper", [(0.35, y + 0.02), (0.85, y)], [0.16, 0.09], colour=a.back if y > -0.5 else None)
    HEADS[kind](a.at(x=0.58, y=r(-0.02, 0.16), size=r(1.0, 1.25), turn=r(-0.15, 0.1)), r(0, 1) < 0.4)


def facing(a: Animal, kind: str) -> None:
    """The head from the front, large, with shoulders."""
    r = a.rng.uniform
    a.fur("blob", [(-0.62, -1.1), (-0.5, -0.62), (-0.2, -0.4), (0.2, -0.4), (0.5, -0.62), (0.62, -1.1), (0, -1.3)])
    a.soft("ellipse", 0, -0.85, 0.22, 0.3)
    HEADS[kind](a.at(y=0.05, size=r(1.9, 2.5), turn=r(-0.15, 0.15)), True)


POSTURES = [standing, standing, sitting, lying, facing]
