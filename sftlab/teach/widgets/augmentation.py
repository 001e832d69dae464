"""The augmentation explorer: changes to a picture and to a text, and when they change what the label says."""

import base64

import numpy as np
import traitlets

from .augment import IMAGE, WORDS, augment_image, augment_text, drawn
from .base import Widget, picture, script, style

TEXT = "The audit found nothing wrong, and not a single complaint reached the office in 12 months."
TEXT_LABEL = "positive"
SYNONYMS = {
    "found": ["saw", "reported"], "wrong": ["amiss", "faulty"], "single": ["lone"], "complaint": ["grievance"],
    "reached": ["came to"], "office": ["bureau", "desk"], "audit": ["review", "inspection"], "good": ["fine", "decent"],
    "bad": ["poor"], "great": ["excellent"], "opens": ["starts"], "closes": ["shuts"], "film": ["movie"],
    "price": ["cost"], "prices": ["costs"], "rise": ["climb"], "fall": ["drop"], "people": ["persons"],
    "new": ["fresh"], "city": ["town"], "council": ["board"], "report": ["account"], "week": ["seven days"],
}  # fmt: skip
FILLERS = ["also", "again", "still", "indeed", "of course"]
CRITICAL = [
    "no", "not", "never", "nobody", "nothing", "none", "neither", "nor", "without", "hardly", "but", "although",
    "despite", "good", "bad", "great", "worse", "better", "best", "worst", "rise", "fall", "more", "less", "n't",
    "don't", "doesn't", "didn't", "won't", "isn't", "can't", "cannot", "failed", "wins", "loses",
]  # fmt: skip


def bundled() -> list[dict]:
    """Four pictures, each with what its label becomes when it is turned or mirrored.

    >>> [picture["label"] for picture in bundled()]
    ['6', 'b', 'right', 'tree']
    """

    def glyph(text, size):
        return drawn(lambda ax: ax.text(0.5, 0.47, text, size=size, weight="bold", ha="center", va="center"))

    def tree(ax):
        from matplotlib.patches import Circle, Polygon, Rectangle

        ax.add_patch(Rectangle((0, 0), 1, 1, color="#bcd8ee"))
        ax.add_patch(Rectangle((0, 0), 1, 0.2, color="#8fb573"))
        ax.add_patch(Circle((0.82, 0.83), 0.09, color="#f5c542"))
        ax.add_patch(Rectangle((0.42, 0.12), 0.1, 0.25, color="#7a5230"))
        for low, wide in ((0.3, 0.32), (0.48, 0.26), (0.64, 0.18)):
            ax.add_patch(Polygon([(0.47 - wide, low), (0.47 + wide, low), (0.47, low + 0.27)], color="#2f6b3a"))

    lying = "a lying 6 is not read as a 6 any more."
    side = "a b on its side is no letter."
    made = [
        ("the digit 6", "6", glyph("6", 60), {
            "mirror": "a mirrored 6 is no digit.", "half turn": "a 6 upside down is a 9.", "quarter turn": lying,
            "three quarter turn": lying, "mirror, half turn": "a 6 mirrored from top to bottom is no digit.",
            "mirror, quarter turn": lying, "mirror, three quarter turn": lying,
        }),
        ("the letter b", "b", glyph("b", 56), {
            "mirror": "a mirrored b is a d.", "half turn": "a b upside down is a q.", "quarter turn": side,
            "mirror, half turn": "a b mirrored from top to bottom is a p.", "three quarter turn": side,
            "mirror, quarter turn": side, "mirror, three quarter turn": side,
        }),
        ("an arrow", "right", glyph("→", 54), {
            "mirror": "it points left.", "half turn": "it points left.", "quarter turn": "it points up.",
            "three quarter turn": "it points down.", "mirror, quarter turn": "it points down.",
            "mirror, three quarter turn": "it points up.",
        }),
        ("a tree", "tree", drawn(tree), {}),
    ]  # fmt: skip
    return [packed(name, label, pixels, changes) for name, label, pixels, changes in made]


def packed(name: str, label: str, pixels: np.ndarray, changes: dict[str, str]) -> dict:
    """A picture as the JavaScript takes it."""
    height, width, channels = pixels.shape
    raw = base64.b64encode(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()).decode()
    size = {"width": width, "height": height, "channels": channels}
    return {"name": name, "label": label, "pixels": raw, **size, "changes": changes}


class AugmentationExplorer(Widget):
    """The widget of :func:`augmentation_explorer`; ``augmented()`` gives what it shows."""

    _esm = script("augment")
    _css = style("augment")
    pictures = traitlets.List().tag(sync=True)
    picture = traitlets.Int(0).tag(sync=True)
    image = traitlets.Dict(IMAGE).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    text_label = traitlets.Unicode().tag(sync=True)
    words = traitlets.Dict(WORDS).tag(sync=True)
    synonyms = traitlets.Dict(SYNONYMS).tag(sync=True)
    fillers = traitlets.List(FILLERS).tag(sync=True)
    critical = traitlets.List(CRITICAL).tag(sync=True)

    def pixels(self) -> np.ndarray:
        """The present picture, [height, width, channels]."""
        shown = self.pictures[self.picture]
        raw = np.frombuffer(base64.b64decode(shown["pixels"]), dtype=np.uint8)
        return raw.reshape(shown["height"], shown["width"], shown["channels"])

    def augmented(self) -> tuple[np.ndarray, list[dict[str, str]]]:
        """Picture (float, 0 to 255) and words after the present changes."""
        found = augment_text(self.text, self.words, self.synonyms, self.fillers)
        return augment_image(self.pixels(), self.image), found

    def static(self) -> str:
        """The picture as it is, mirrored, turned, and with noise."""
        import matplotlib.pyplot as plt

        ways = {
            "as it is": {}, "mirrored": {"flip_x": True}, "half turn": {"rotation": 180},
            "turned by 15°": {"rotation": 15}, "crop and noise": {"crop": 0.8, "noise": 0.1},
        }  # fmt: skip
        figure, places = plt.subplots(1, len(ways), figsize=(8, 1.9), layout="constrained")
        for ax, (title, settings) in zip(places, ways.items(), strict=True):
            shown = augment_image(self.pixels(), settings).round().astype(np.uint8)
            ax.imshow(shown if shown.shape[2] == 3 else shown[:, :, 0], cmap="gray")
            ax.set_title(title, fontsize=9)
            ax.axis("off")
        shown = self.pictures[self.picture]
        alt = f"Five versions of the same picture, {shown['name']}: {', '.join(ways)}."
        bad = "".join(f"<li>{how}: {what}</li>" for how, what in shown["changes"].items())
        return picture(figure, alt) + (f"<p>Where the label {shown['label']!r} ends:</p><ul>{bad}</ul>" if bad else "")


def augmentation_explorer(
    image=None, label: str | None = None, changes: dict[str, str] | None = None,
    text: str = TEXT, text_label: str = TEXT_LABEL,
) -> AugmentationExplorer:  # fmt: skip
    """Change a picture and a text by sliders, and see when the label stops being true.

    Args:
        image: a picture of yours, shown before the four that come along: [height, width, 3] in 0 to 255, or
            [3, height, width] in 0 to 1 as the tasks give it. Larger than 96 pixels: made smaller.
        label: what it shows.
        changes: what happens to the label, by pose: ``{"mirror": "a mirrored 6 is no digit."}``; poses are mirror,
            quarter turn, half turn, three quarter turn, and "mirror, half turn" and so on.
        text, text_label: a text to start with, and its label.

    Raises:
        ValueError: not the shape of a picture, or a picture without a label.

    >>> explorer = augmentation_explorer()
    >>> explorer.augmented()[0].shape
    (64, 64, 3)
    """
    pictures = bundled()
    if image is not None:
        if not label:
            raise ValueError("a picture needs a label: augmentation_explorer(image, label='cat')")
        pictures.insert(0, packed("your picture", label, _pixels(image), changes or {}))
    return AugmentationExplorer(pictures=pictures, text=text, text_label=text_label)


def _pixels(image) -> np.ndarray:
    """[height, width, 3], uint8, at most 96 pixels a side."""
    import torch

    values = torch.as_tensor(np.asarray(image), dtype=torch.float32)
    if values.dim() == 3 and values.shape[0] in (1, 3) and values.max() <= 1:
        values = values.permute(1, 2, 0) * 255
    if values.dim() != 3 or values.shape[2] not in (1, 3) or min(values.shape[:2]) < 2:
        raise ValueError(f"a picture is [height, width, 3] or [3, height, width], not {list(values.shape)}")
    factor = 96 / max(values.shape[:2])
    if factor < 1:
        size = [max(2, round(side * factor)) for side in values.shape[:2]]
        values = torch.nn.functional.interpolate(values.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)
    return values.clamp(0, 255).round().byte().numpy()
