"""What glyphnet's source has besides letters: invented characters, shapes and textures, as grey pictures.

Every function draws from a numpy generator that it is given, so that equal seeds give equal bytes.
"""

import numpy as np
from glyphs import SIDE, fit, like_a_digit
from PIL import Image, ImageDraw

TILE = 96  # edge of a texture


# Invented characters and shapes


def stroke(draw: ImageDraw.ImageDraw, points: np.ndarray, width: float) -> None:
    """A smooth line through points [N, 2] in pixels (Catmull-Rom), with round ends."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, 9)[:-1, None]
    curve = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        curve.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate([*curve, points[-1:]])
    draw.line([tuple(p) for p in curve], fill=255, width=max(1, round(width)), joint="curve")
    for x, y in (curve[0], curve[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)


def invented(rng: np.random.Generator, count: int, each: int) -> list[list[np.ndarray]]:
    """Characters that no script has: two or three strokes, written ``each`` times by a shaky hand."""
    out = []
    while len(out) < count:
        strokes = [rng.uniform(0.1, 0.9, (rng.integers(2, 6), 2)) for _ in range(rng.integers(2, 4))]
        for i in range(1, len(strokes)):  # most strokes begin on another one
            if rng.random() < 0.6:
                other = strokes[rng.integers(i)]
                strokes[i][0] = other[rng.integers(len(other))]
        if not like_a_digit([written(strokes, 4.0), written(strokes, 8.0)]).any():
            jitter = [rng.normal(0, 0.035, (each, *s.shape)) for s in strokes]
            widths = rng.uniform(2.0, 9.0, each)
            out.append(
                [written([s + j[n] for s, j in zip(strokes, jitter, strict=True)], widths[n]) for n in range(each)]
            )
    return out


def written(strokes: list[np.ndarray], width: float) -> np.ndarray:
    picture = Image.new("L", (2 * SIDE, 2 * SIDE))
    for points in strokes:
        stroke(ImageDraw.Draw(picture), points * 2 * SIDE, width)
    return fit(picture)


def polar(radii: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """Corners [N, 2] around the centre of a picture of 96 pixels, at evenly spaced angles."""
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + turn
    return 48 + np.stack([radii * np.cos(angle), radii * np.sin(angle)], axis=1)


def shape(kind: str, rng: np.random.Generator) -> np.ndarray:
    """One variant of a shape as a mask; half of the closed ones are outlines."""
    picture = Image.new("L", (2 * SIDE, 2 * SIDE))
    draw, width = ImageDraw.Draw(picture), int(rng.integers(4, 13))
    turn, inner, aspect = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6), rng.uniform(0.35, 1)
    corners = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "star": 10, "sun": 24, "blob": 48}
    if kind in corners:
        n = corners[kind]
        radii = np.full(n, 42.0)
        if kind in ("star", "sun"):
            radii[1::2] *= inner
        if kind == "blob":
            angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
            radii = 27 + sum(rng.normal(0, 9 / k) * np.cos(k * angle + rng.uniform(0, 7)) for k in range(2, 6))
        points = [tuple(p) for p in polar(radii, turn)]
        draw.polygon(points, fill=255) if rng.random() < 0.5 else draw.line([*points, *points[:2]], 255, width, "curve")
    elif kind in ("disc", "ellipse"):
        half = 40 * (aspect * 0.8 if kind == "ellipse" else 1)
        draw.ellipse((8, 48 - half, 88, 48 + half), fill=255)
    elif kind == "rings":  # several, around one centre: a single ring would be a 0
        for r in range(6, 44, 2 * max(4, width)):
            draw.ellipse((48 - r, 48 - r, 48 + r, 48 + r), outline=255, width=max(4, width))
    elif kind in ("cross", "asterisk", "tripod"):
        for k in range({"cross": 4, "asterisk": 6, "tripod": 3}[kind]):
            at = turn + 2 * np.pi * k / {"cross": 4, "asterisk": 6, "tripod": 3}[kind]
            draw.line((48, 48, 48 + 42 * np.cos(at), 48 + 42 * np.sin(at)), fill=255, width=width)
    elif kind == "arc":
        start = np.degrees(turn)
        draw.arc((8, 8, 88, 88), start, start + rng.uniform(90, 220), fill=255, width=width)
    elif kind == "sector":
        start = np.degrees(turn)
        draw.pieslice((8, 8, 88, 88), start, start + rng.uniform(60, 300), fill=255)
    elif kind == "crescent":
        draw.ellipse((8, 8, 88, 88), fill=255)
        x, y = 48 + 24 * np.cos(turn), 48 + 24 * np.sin(turn)
        draw.ellipse((x - 34, y - 34, x + 34, y + 34), fill=0)
    elif kind in ("zigzag", "wave", "spiral"):
        t = np.linspace(0, 1, 60)
        turns = rng.integers(2, 5)
        if kind == "spiral":
            x, y = (
                48 + 42 * t * np.cos(2 * np.pi * turns * t + turn),
                48 + 42 * t * np.sin(2 * np.pi * turns * t + turn),
            )
        else:
            phase = turns * t
            y = 48 + 20 * (np.sin(2 * np.pi * phase) if kind == "wave" else 4 * np.abs(phase % 1 - 0.5) - 1)
            x = 6 + 84 * t
        draw.line(list(zip(x, y, strict=True)), fill=255, width=max(3, width // 2), joint="curve")
    elif kind == "dots":
        for x, y in rng.uniform(10, 86, (rng.integers(3, 9), 2)):
            draw.ellipse((x - width, y - width, x + width, y + width), fill=255)
    else:  # window: a square with a bar or a cross in it
        draw.rectangle((8, 8, 88, 88), outline=255, width=width)
        draw.line((8, 48, 88, 48), fill=255, width=width)
        draw.line((48, 8, 48, 88), fill=255, width=width)
    return fit(picture)


SHAPES = (
    "triangle", "square", "pentagon", "hexagon", "star", "sun", "blob", "disc", "ellipse", "rings", "cross", "asterisk",
    "tripod", "arc", "sector", "crescent", "zigzag", "wave", "spiral", "dots", "window",
)  # fmt: skip


# Textures


def noise(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power ``slope``; ``stretch`` above 1 draws it out to lines."""
    fy, fx = np.meshgrid(np.fft.fftfreq(TILE) * stretch, np.fft.fftfreq(TILE), indexing="ij")
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(TILE, TILE))) * radius**-slope).real
    return field / field.std()


def cells(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(distance to the nearest of ``count`` points, to the second nearest, number of the nearest), over the edges."""
    points = rng.uniform(0, TILE, (count, 2)).astype(np.float32)
    grid = np.stack(np.mgrid[:TILE, :TILE], axis=-1)[:, :, None].astype(np.float32)
    gap = np.abs(grid - points)
    distance = np.sqrt((np.minimum(gap, TILE - gap) ** 2).sum(axis=-1))
    two = np.partition(distance, 1, axis=-1)
    return two[..., 0], two[..., 1], distance.argmin(axis=-1)


def texture(kind: str, rng: np.random.Generator) -> np.ndarray:
    """One variant of a texture, uint8 [TILE, TILE]."""
    y, x = np.mgrid[:TILE, :TILE].astype(float)
    period = rng.uniform(8, 24)
    bend = noise(rng, 2.5) * rng.uniform(0, 0.12)
    u, v = x / period + bend, y / (period * rng.uniform(0.5, 1)) + bend
    grain = noise(rng, rng.uniform(0, 1)) * rng.uniform(0.05, 0.3)
    sine = np.sin(2 * np.pi * u)
    row = np.floor(v)
    if kind == "stripes":
        field = sine
    elif kind == "bars":
        field = sine > rng.uniform(-0.6, 0.6)
    elif kind == "checks":
        field = (np.floor(u) + row) % 2
    elif kind == "plaid":
        field = sine + np.sin(2 * np.pi * v)
    elif kind == "grid":
        field = (u % 1 < 0.2) | (v % 1 < 0.2)
    elif kind == "bricks":
        shifted = u / 2 + row / 2
        tone = np.sin(np.floor(shifted) * 12.9 + row * 78.2) * 0.5
        field = np.where((shifted % 1 < 0.08) | (v % 1 < 0.15), rng.choice([-2, 2]), tone)
    elif kind == "weave":
        field = np.where((np.floor(u) + row) % 2, np.sin(np.pi * (u % 1)), np.sin(np.pi * (v % 1)) - 0.6)
    elif kind == "scales":
        field = np.hypot((u + row / 2) % 1 - 0.5, v % 1)
    elif kind == "polka":
        field = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < rng.uniform(0.2, 0.4)
    elif kind == "ripples":
        field = np.sin(2 * np.pi * (np.hypot(x - rng.uniform(0, TILE), y - rng.uniform(0, TILE)) / period + bend))
    elif kind in ("white", "pink", "clouds"):
        field = noise(rng, {"white": 0.0, "pink": 1.0, "clouds": 2.0}[kind])
    elif kind in ("fibres", "wood"):
        field = noise(rng, 1.0 if kind == "fibres" else 1.6, stretch=rng.uniform(4, 8))
    elif kind == "marble":
        field = np.abs(noise(rng, 1.7))
    elif kind == "spots":
        field = noise(rng, 1.6) > rng.uniform(0.3, 1.0)
    elif kind == "blades":
        picture = Image.new("L", (TILE, TILE), 60)
        for _ in range(rng.integers(120, 260)):
            a, (px, py), tone = rng.normal(-1.57, 0.5), rng.uniform(0, TILE, 2), int(rng.integers(20, 255))
            reach = rng.uniform(8, 24)
            ImageDraw.Draw(picture).line((px, py, px + reach * np.cos(a), py + reach * np.sin(a)), tone, 2)
        field = np.asarray(picture) / 60.0
    else:
        near, second, which = cells(rng, int(rng.integers(20, 70)))
        tones = rng.normal(size=which.max() + 1)[which]
        if kind == "pebbles":
            field = np.minimum(second - near, 4) + 0.6 * tones + 0.1 * near
        elif kind == "mosaic":
            field = tones
        else:  # cracks
            field = second - near < 2
    field = field.astype(float)
    field = (field - field.mean()) / (field.std() + 1e-6) + grain
    return np.clip(128 + 52 * field, 0, 255).astype(np.uint8)


TEXTURES = (
    "stripes", "bars", "checks", "plaid", "grid", "bricks", "weave", "scales", "polka", "ripples", "white", "pink",
    "clouds", "fibres", "wood", "marble", "spots", "blades", "pebbles", "mosaic", "cracks",
)  # fmt: skip
