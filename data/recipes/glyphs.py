"""The letters that glyphnet is pretrained on, as grey pictures: 14 scripts in fonts that matplotlib ships, no digits.

Numbers of any script are left out by their Unicode category, and letters that look like a digit by comparing pictures.
"""

import re
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

SIDE = 48  # edge of a mask; what is drawn fills 36 of it
DEJAVU = [f"DejaVu{x}" for x in (
    "Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique", "SansMono", "SansMono-Bold", "SansMono-Oblique",
    "SansMono-BoldOblique", "Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic",
)]  # fmt: skip
STIX = ["STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta"]
# Of Computer Modern only the Latin letters stand where Unicode has them.
TEX = ["cmr10", "cmb10", "cmss10", "cmti10", "cmtt10", "cmmi10"]
SCRIPTS = (
    "LATIN", "GREEK", "COPTIC", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "NKO", "LAO", "GEORGIAN", "CANADIAN",
    "TIFINAGH", "LISU", "OLD",  # Old Italic
)  # fmt: skip
# Doubles of digits, and of a bar and a ring (a handwritten 1 and 0), that are known by name or were seen by eye. What
# else looks like a digit is found by comparing pictures, see `like_a_digit`.
DOUBLES = (
    "OoΟοσОоӨՕօסםهەߋⵔⴰꓳᴏᴑ𐌏ϴ",  # 0
    "lI|ıΙιІіӀǀןוߊߗᑊⵏꓲ𐌉",  # 1
    "ƻƧƨꙄꙅԶՁ",  # 2
    "ЗзӠӡƷʒȜȝɜƐɛЭэვჳპꜢꜣ",  # 3
    "Чч",  # 4
    "Ƽƽ",  # 5
    "ƄƅбЬьϬ",  # 6
    "Ȣȣᴕʔʕ𐌚",  # 8, 9
)
# Their digits are what letters are compared with. The digits of the other fonts are for the test of the comparison.
DIGIT_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Italic", *STIX, "cmb10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
ALIKE, SAME = 0.90, 0.965  # correlation of blurred pictures: like a digit; one class


@cache
def font(name: str) -> ImageFont.FreeTypeFont:
    """A font of the matplotlib wheel, 64 pixels high."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), 64)


@cache
def covered(name: str) -> frozenset[int]:
    """The code points that a font has a glyph of its own for (its cmap without .notdef)."""
    from fontTools.ttLib import TTFont

    with TTFont(font(name).path, lazy=True) as file:
        return frozenset(code for code, glyph in file.getBestCmap().items() if glyph != ".notdef")


def fit(picture: Image.Image, side: int = SIDE, fill: float = 0.75) -> np.ndarray | None:
    """Cut to what is drawn, bring its longer edge to ``fill`` of ``side`` and centre it: uint8 [side, side]."""
    box = picture.getbbox()
    if box is None:
        return None
    cut = picture.crop(box)
    scale = fill * side / max(cut.size)
    cut = cut.resize([max(1, round(edge * scale)) for edge in cut.size], Image.Resampling.BOX if scale < 1 else 2)
    out = Image.new("L", (side, side))
    out.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return np.asarray(out)


def glyph(name: str, character: str) -> np.ndarray | None:
    """One character of one font as a mask; None if the font draws nothing."""
    picture = Image.new("L", (192, 160))
    ImageDraw.Draw(picture).text((56, 40), character, font=font(name), fill=255)
    return fit(picture)


def vectors(masks: list[np.ndarray]) -> torch.Tensor:
    """Blurred small pictures with mean 0 and length 1, so that a dot product is a correlation: [N, 256]."""
    x = torch.from_numpy(np.stack(masks)).float()[:, None]
    x = F.avg_pool2d(F.avg_pool2d(x, 5, 1, 2), 3).flatten(1)
    return F.normalize(x - x.mean(dim=1, keepdim=True), dim=1)


def squared(mask: np.ndarray) -> np.ndarray:
    """The mask stretched to a square: a narrow letter and a wide one of the same form become equal."""
    picture = Image.fromarray(mask)
    return np.asarray(picture.crop(picture.getbbox()).resize((36, 36)).resize((SIDE, SIDE)))


def candidates() -> dict[str, list[tuple[str, str]]]:
    """base character -> [(font, character)]: letters without accents of :data:`SCRIPTS`, never a number.

    Mathematical alphabets (script, Fraktur, double-struck, ...) are further fonts of the letter they stand for.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name in [*DEJAVU, *STIX, *TEX]:
        for code in sorted(covered(name)):
            character, base = chr(code), chr(code)
            kind, parts = unicodedata.category(character), unicodedata.decomposition(character).split()
            if name in TEX and not (character.isascii() and character.isalpha()):
                continue
            if parts[:1] == ["<font>"] and len(parts) == 2:
                base = chr(int(parts[1], 16))
            elif parts:
                continue
            label = unicodedata.name(base, "")
            if (
                kind not in ("Lu", "Ll", "Lo")
                or unicodedata.category(base)[0] == "N"
                or unicodedata.decomposition(base)
            ):
                continue
            if label.split(" ")[0] not in SCRIPTS or " WITH " in label:
                continue
            # Of the 403 Canadian syllables the plain ones: the others are these with dots.
            if label.startswith("CANADIAN") and not re.search(r"SYLLABICS [PTKCMNSYL]?[EIOA]$", label):
                continue
            found.setdefault(base, []).append((name, character))
    return found


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """What a letter must not look like: the digits of many fonts, a bar and a ring; as they are, and squared."""
    bar, ring = Image.new("L", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(bar).rectangle((21, 4, 26, 43), fill=255)
    ImageDraw.Draw(ring).ellipse((8, 4, 40, 44), outline=255, width=5)
    masks = [fit(bar), fit(ring), *(glyph(name, digit) for name in DIGIT_FONTS for digit in "0123456789")]
    return vectors(masks), vectors([squared(mask) for mask in masks[1:]])


def like_a_digit(masks: list[np.ndarray]) -> torch.Tensor:
    """True for each mask that is close to a digit of any of the fonts."""
    plain, stretched = digits()
    found = (
        (vectors(masks) @ plain.T).amax(dim=1),
        (vectors([squared(mask) for mask in masks]) @ stretched.T).amax(dim=1),
    )
    return torch.maximum(*found) > ALIKE


@cache
def letters() -> tuple[dict[str, dict[tuple[str, str], np.ndarray]], str]:
    """(classes, left out): class name -> {(font, character): mask}, and the letters that look like digits.

    Letters that look the same (A of Latin, Greek, Cyrillic; v and V, as size says nothing here) are one class.
    """
    kept, out = {}, {}
    for base, places in candidates().items():
        masks = {place: mask for place in places if (mask := glyph(*place)) is not None}
        bad = dict(zip(masks, like_a_digit(list(masks.values())).tolist(), strict=True)) if masks else {}
        if masks and (base in "".join(DOUBLES) or any(bad[place] for place in masks if place[1] == base)):
            out[base] = next(iter(masks.values()))
        elif masks := {place: mask for place, mask in masks.items() if not bad[place]}:
            kept[base] = masks
    # What looks the same as a letter that is left out goes with it: B of the Lisu with the Latin one.
    x = vectors([next(iter(masks.values())) for masks in kept.values()])
    lost = ((x @ vectors(list(out.values())).T).amax(dim=1) > SAME).tolist()
    out |= {base: kept.pop(base) for base, gone in zip(list(kept), lost, strict=True) if gone}
    x = x[~torch.tensor(lost)]
    near, names, classes = x @ x.T > SAME, [], {}
    for i, (base, masks) in enumerate(kept.items()):
        same = next((names[j] for j in range(i) if near[i, j]), None)
        names.append(same or unicodedata.name(base).lower())
        classes.setdefault(names[-1], {}).update(masks)
    return classes, "".join(sorted(out))
