"""Small models and tasks for the kinds that nets.py has not: labels, numbers, actions, pixels, boxes, sound, items.

``make(kind)`` gives a seeded model in float64 (for equalities to 1e-6 with Adam) and its task.
"""

import random

import torch
from torch import nn

import sftlab as sl

KINDS = ("multilabel", "regress", "policy", "gaussian", "segment", "detect", "ctc", "rank", "bpr")
USERS, ITEMS = 6, 15


class Mlp(nn.Sequential):
    def __init__(self, out: int):
        super().__init__(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, out))


class Segmenter(nn.Module):
    """A convolution and a 1x1 head; ``wrap`` gives torchvision's dict, ``stride`` smaller logits."""

    def __init__(self, wrap: bool = True, stride: int = 1):
        super().__init__()
        self.body, self.aux = nn.Conv2d(3, 8, 3, stride, padding=1), nn.Conv2d(8, 3, 1)
        self.head, self.wrap = nn.Conv2d(8, 3, 1), wrap  # the last one defined: the head of the layer map

    def forward(self, x):
        hidden = self.body(x).relu()
        return {"out": self.head(hidden), "aux": self.aux(hidden.detach())} if self.wrap else self.head(hidden)


class Backbone(nn.Module):
    out_channels = 8

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, x):
        return self.b(self.a(x).relu()).relu()


def detector():
    """A Faster R-CNN for images of 32 pixels; few anchors, few samples of each image, so that drawing matters."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    return FasterRCNN(
        Backbone(),
        num_classes=3,
        min_size=(32, 36),
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=2),
        rpn_batch_size_per_image=16,
        box_batch_size_per_image=8,
        rpn_pre_nms_top_n_train=30,
        rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_train=20,
        rpn_post_nms_top_n_test=10,
        box_detections_per_img=5,
    )


class Listener(nn.Module):
    """Strided convolutions over time that mask their padding (``mask=False``: that do not, P33)."""

    def __init__(self, classes: int = 4, mask: bool = True):
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 12, 3, 2, 1), nn.Conv1d(12, 12, 3, 1, 1)
        self.head, self.mask = nn.Linear(12, classes), mask

    def output_lengths(self, lengths):
        return (lengths - 1) // 2 + 1

    def forward(self, audio, attention_mask):
        hidden = self.a(audio[:, None]).tanh()
        if self.mask:
            lengths = self.output_lengths(attention_mask.sum(1))
            hidden = hidden * (torch.arange(hidden.shape[2]) < lengths[:, None])[:, None]
        return self.head(self.b(hidden).tanh().transpose(1, 2))


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(USERS, 4), nn.Embedding(ITEMS, 4)

    def forward(self, user, item):
        return (self.users(user)[:, None] * self.items(item)).sum(-1)


NETS = {
    "multilabel": lambda: Mlp(3),
    "regress": lambda: Mlp(2),
    "policy": lambda: Mlp(3),
    "gaussian": lambda: Mlp(4),
    "segment": Segmenter,
    "detect": detector,
    "ctc": Listener,
    "rank": Towers,
    "bpr": Towers,
}


def example(kind: str, rng: random.Random, draw: torch.Generator) -> dict:
    """One example with something to learn, and a key that no task knows."""

    def randn(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    x = randn(5)
    extra = {"note": f"n{rng.randrange(10**6)}"}
    if kind == "multilabel":
        known = {name: int(x[i] > 0) for i, name in enumerate("abc")}
        partly = {name: value for name, value in known.items() if rng.random() < 0.6}
        return {"input": x, "labels": partly if rng.random() < 0.5 else [n for n in known if known[n]], **extra}
    if kind == "regress":
        return {"input": x, "x": float(x.sum()), "y": float(x[0] - 2 * x[1] + 1), **extra}
    if kind == "policy":
        return {"input": x, "action": int(x[:3].argmax()), "weight": rng.choice([0.0, 0.5, 2.0]), **extra}
    if kind == "gaussian":
        return {"input": x, "action": [float(x[0]), float(x[1] + x[2])], "weight": rng.choice([0.5, 2.0]), **extra}
    if kind == "segment":
        image = randn(3, 6, 5)
        mask = image.argmax(0)
        hidden = torch.rand(6, 5, generator=draw) < rng.random()
        return {"input": image, "mask": mask.masked_fill(hidden, rng.choice([255, -100])), **extra}
    if kind == "detect":
        height, width = rng.choice([(32, 32), (32, 40), (40, 32)])
        image = torch.rand(3, height, width, generator=draw, dtype=torch.float64) * 0.3
        boxes, labels = [], []
        for _ in range(rng.randint(0, 2)):
            left, top, name = rng.randint(0, 14), rng.randint(0, 14), rng.choice(["cat", "dog"])
            box = [left, top, left + rng.randint(8, 16), top + rng.randint(8, 16)]
            image[0 if name == "cat" else 1, box[1] : box[3], box[0] : box[2]] += 0.6
            boxes.append(box)
            labels.append(name)
        return {"input": image.clamp(0, 1), "boxes": boxes, "labels": labels, **extra}
    if kind == "ctc":
        text = "".join(rng.choice("ab ") for _ in range(rng.randint(1, 5))).strip() or "a"
        tones = torch.cat([torch.full((8,), {"a": 1.0, "b": -1.0, " ": 0.3}[c], dtype=torch.float64) for c in text])
        return {"audio": tones + 0.1 * randn(len(tones)), "transcript": text, **extra}
    user = rng.randrange(USERS)
    return {"user": user, "item": (3 * user + rng.randrange(4)) % ITEMS, **extra}


def splits_of(kind: str, seed: int = 0, **sizes) -> dict[str, list[dict]]:
    rng, draw = random.Random(f"{kind} {seed}"), torch.Generator().manual_seed(seed)
    return {
        split: [example(kind, rng, draw) for _ in range(size)]
        for split, size in {"train": 24, "val": 11, "test": 17, **sizes}.items()
    }


def build(kind: str, splits: dict, cls=None) -> sl.Task:
    """The task of a kind over these splits; ``cls`` may be a subclass of the kind's own."""
    tensors = sl.TensorInput()
    return {
        "multilabel": lambda: (cls or sl.MultiLabel)(splits, list("abc"), tensors),
        "regress": lambda: (cls or sl.Regress)(splits, ["x", "y"]),
        "policy": lambda: (cls or sl.Policy)(splits, ["left", "right", "stay"]),
        "gaussian": lambda: (cls or sl.Policy)(splits, size=2),
        "segment": lambda: (cls or sl.Segment)(splits, ["road", "sky", "tree"]),
        "detect": lambda: (cls or sl.Detect)(splits, ["cat", "dog"]),
        "ctc": lambda: (cls or sl.CTC)(splits, "ab "),
        "rank": lambda: (cls or sl.Rank)(splits, ITEMS, negatives=4),
        "bpr": lambda: (cls or sl.Rank)(splits, ITEMS, negatives=4, loss="bpr"),
    }[kind]()


CLASSES = {
    "multilabel": "MultiLabel", "regress": "Regress", "policy": "Policy", "gaussian": "Policy", "segment": "Segment",
    "detect": "Detect", "ctc": "CTC", "rank": "Rank", "bpr": "Rank",
}  # fmt: skip


def model_of(kind: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETS[kind]().double().eval()


def make(kind: str, **sizes) -> tuple[nn.Module, sl.Task]:
    return model_of(kind), build(kind, splits_of(kind, **sizes))
