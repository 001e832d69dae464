"""The pictures that glyphnet is pretrained on: masks and textures, bent, coloured, lit and blurred. No digits.

Everything comes from a seed: :class:`Source` draws one grey mask per letter and font, and variants of the procedural
classes; ``Source.batch(number)`` makes pictures of them. Equal seeds and numbers give equal bytes (with the library
versions in data/glyphnet/asset.json, on one kind of processor).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from glyph_figures import SHAPES, TEXTURES, invented, shape, texture
from glyphs import letters

INVENTED, SHAPES_EACH, TEXTURES_EACH = 150, 96, 48
GROUPS = {"letters": 0.62, "invented": 0.16, "shapes": 0.09, "textures": 0.13}  # share of the pictures


class Source:
    """The source task: masks and textures of all classes, drawn once, and pictures made from them by number.

    Attributes:
        names: the classes. masks: uint8 [4, N, SIDE, SIDE], of four pens. textures: uint8 [M, TILE, TILE].

    >>> images, labels = Source(seed=0).batch(7, count=16, size=32)          # doctest: +SKIP
    >>> images.shape, images.dtype                                          # doctest: +SKIP
    (torch.Size([16, 3, 32, 32]), torch.uint8)
    """

    def __init__(self, seed: int = 2026, invented_classes: int = INVENTED, each: int = SHAPES_EACH):
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.letters, self.left_out = letters()
        drawn = {name: list(masks.values()) for name, masks in self.letters.items()}
        made = {f"invented {i}": m for i, m in enumerate(invented(rng, invented_classes, each))}
        shapes = {name: [shape(name, rng) for _ in range(each)] for name in SHAPES}
        fields = {name: [texture(name, rng) for _ in range(min(each, TEXTURES_EACH))] for name in TEXTURES}
        masks = drawn | made | shapes
        self.names = [*masks, *(f"{name} texture" for name in TEXTURES)]
        self.masks = pens(torch.from_numpy(np.stack([m for group in masks.values() for m in group])))
        self.textures = torch.from_numpy(np.stack([f for group in fields.values() for f in group]))
        sizes = [len(group) for group in (*masks.values(), *fields.values())]
        self.first = torch.tensor([0, *np.cumsum(sizes)[:-1]])  # of each class; textures follow the masks
        self.count = torch.tensor(sizes)
        ends = np.cumsum([0, len(drawn), len(made), len(shapes), len(fields)])
        self.groups = {name: range(a, b) for name, a, b in zip(GROUPS, ends, ends[1:], strict=False)}

    def batch(self, number: int, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures number ``number * count`` and following: (uint8 [count, 3, size, size], classes int64 [count])."""
        g = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        share = torch.tensor(list(GROUPS.values()))
        group = torch.multinomial(share, count, replacement=True, generator=g)
        starts = torch.tensor([r.start for r in self.groups.values()])[group]
        lengths = torch.tensor([len(r) for r in self.groups.values()])[group]
        labels = starts + (torch.rand(count, generator=g) * lengths).long()
        index = self.first[labels] + (torch.rand(count, generator=g) * self.count[labels]).long()
        return picture(self.masks, self.textures, index, size, g), labels


def pens(masks: torch.Tensor) -> torch.Tensor:
    """[4, N, SIDE, SIDE]: written with a thinner pen, as they are, with a thicker and a still thicker one."""
    thin = 255 - F.max_pool2d((255 - masks).float(), 3, 1, 1)
    thick = F.max_pool2d(masks.float(), 3, 1, 1)
    thin = 0.25 * masks + 0.75 * thin  # a hairline must not vanish
    return torch.stack(
        [thin.to(torch.uint8), masks, thick.to(torch.uint8), F.max_pool2d(thick, 3, 1, 1).to(torch.uint8)]
    )


def picture(masks, textures, index: torch.Tensor, size: int, g: torch.Generator) -> torch.Tensor:
    """Masks (or, above their number, textures) as photographed by chance ``g``: uint8 [N, 3, size, size]."""
    n = len(index)

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *(shape or (1, 1, 1)), generator=g)

    def some(share: float) -> torch.Tensor:
        return torch.rand(n, 1, 1, 1, generator=g) < share

    known = masks.shape[1]
    plain = index >= known  # a texture fills the picture
    amount = between(0, 2.999)
    pen, place = amount.flatten().long(), index.clamp(max=known - 1)
    m = torch.lerp(masks[pen, place].float()[:, None], masks[pen + 1, place].float()[:, None], amount % 1) / 255
    m = F.grid_sample(m, bend(n, size, g, between), align_corners=False)

    rough = between(0.1, 0.5) * some(0.3), between(0.1, 0.5) * some(0.12)
    at = plain | (rough[0].flatten() > 0), rough[1].flatten() > 0
    fields = [torch.randint(len(textures), (n,), generator=g) for _ in range(2)]
    fields[0] = torch.where(plain, index - known, fields[0])
    grids = [turned(between(0.35, 0.9, 1), between(-math.pi, math.pi, 1)) for _ in range(2)]
    ground, other = (
        sampled(textures, field, grid, part, size) for field, grid, part in zip(fields, grids, at, strict=True)
    )

    # Two colours, most often grey, at least a quarter of the range apart; then texture on either, then light.
    back, gap = between(0, 1), between(0.25, 1)
    back, gap = torch.where(some(0.5), (back > 0.5).float(), back), torch.where(some(0.4), 1.0, gap)
    front = torch.where(back > 0.5, back - gap, back + gap)
    tint = between(-0.35, 0.35, 3, 1, 1) * some(0.5), between(-0.35, 0.35, 3, 1, 1) * some(0.5)
    back, front = back + tint[0], front + tint[1]
    x = (back + rough[0] * (ground - 0.5)) * (1 - m) + (front + rough[1] * (other - 0.5)) * m
    whole = (back + front) / 2 + between(0.4, 1.2) * (ground - 0.5) * (1 + tint[1])
    x = torch.where(plain[:, None, None, None], whole, x)
    ramp, strength = torch.linspace(-1, 1, size), between(0, 0.25) * some(0.4)
    x = x + strength * (between(-1, 1) * ramp[:, None] + between(-1, 1) * ramp)
    x = coarse(x, size, g)
    if len(at := some(0.4).flatten().nonzero()[:, 0]):
        soft = F.avg_pool2d(F.pad(x[at], (1, 1, 1, 1), mode="replicate"), 3, 1)
        x[at] += between(0, 1)[at] * (soft - x[at])
    if len(at := some(0.4).flatten().nonzero()[:, 0]):
        x[at] += between(0, 0.12)[at] * torch.randn(x[at].shape, generator=g)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def bend(n: int, size: int, g: torch.Generator, between) -> torch.Tensor:
    """Where each pixel comes from, [N, size, size, 2]: turned, slanted, scaled, shifted, and bent like handwriting."""
    angle, slant = between(-0.35, 0.35, 1), between(-0.45, 0.45, 1)
    # A mask fills 0.75 of its square: at 0.8 the letter nearly fills the picture.
    sx, sy = between(0.8, 1.25, 1), between(0.8, 1.25, 1)
    rows = [angle.cos() * sx, (slant * angle.cos() - angle.sin()) * sy, between(-0.2, 0.2, 1),
            angle.sin() * sx, (slant * angle.sin() + angle.cos()) * sy, between(-0.2, 0.2, 1)]  # fmt: skip
    grid = F.affine_grid(torch.cat(rows, dim=1).reshape(n, 2, 3), [n, 1, size, size], align_corners=False)
    for knots, most in ((4, 0.16), (7, 0.07)):
        shift = torch.randn(n, 2, knots, knots, generator=g) * between(0, most)
        up = F.interpolate(torch.eye(knots)[None], size=size, mode="linear", align_corners=True)[0].T
        grid = grid + torch.einsum("ik,nckl,jl->nijc", up, shift, up)
    return grid


def turned(zoom: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Matrices [N, 2, 3] of a rotation and a zoom."""
    rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).reshape(-1, 2, 2)
    return F.pad(rows * zoom[:, :, None], (0, 1))


def sampled(textures, field: torch.Tensor, matrix: torch.Tensor, where: torch.Tensor, size: int) -> torch.Tensor:
    """Pieces of textures in [0, 1], [N, 1, size, size]; 0.5 wherever none is asked for."""
    out = torch.full((len(field), 1, size, size), 0.5)
    if len(at := where.nonzero()[:, 0]):
        grid = F.affine_grid(matrix[at], [len(at), 1, size, size], align_corners=False)
        pieces = textures[field[at]].float()[:, None] / 255
        out[at] = F.grid_sample(pieces, grid, padding_mode="reflection", align_corners=False)
    return out


def coarse(x: torch.Tensor, size: int, g: torch.Generator) -> torch.Tensor:
    """A third of the pictures as taken at 8, 12, 16 or 24 pixels and enlarged."""
    side = torch.tensor([8, 12, 16, 24, *[size] * 8])[torch.randint(12, (len(x),), generator=g)]
    out = x.clone()
    for few in (8, 12, 16, 24):
        at = (side == few).nonzero()[:, 0]
        if len(at) and few < size:
            small = F.interpolate(x[at], size=(few, few), mode="area")
            out[at] = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return out
