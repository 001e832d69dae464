"""What the pretrained `glyphnet` is worth: few labels of real pictures, fine-tuned against trained from scratch."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from .. import env
from ..model.loading import load
from ..sets import real
from ..study.compare import plus_minus
from ..table import Table
from ..tasks.classify import Classify
from ..train.evaluate import evaluate
from ..train.fit import fit
from ..train.plan import Plan, full, head_only, lp_ft
from . import Measured

# (target, labels per class, jittered): from one digit of each kind to ten patches of each surface. Digits stand here
# twice: shifted and turned pictures are worth a good part of what pretraining brings, and cost nothing.
TARGETS = (
    ("digits", 1, False),
    ("digits", 5, False),
    ("digits", 10, False),
    ("faces", 10, False),
    ("textures", 10, False),
    ("digits", 1, True),
    ("digits", 5, True),
    ("digits", 10, True),
)
BATCH = 16
RATES = (3e-4, 1e-3, 3e-3, 1e-2)  # scratch is trained at each of them, and the best on validation counts
TUNED = 2  # draws of labels on which scratch's rate is chosen


def plans(examples: int) -> dict[str, Plan]:
    """The ways to fine-tune, in a number of epochs that gives few examples as many steps as many.

    Their settings were chosen on the validation splits, with other draws than those that are reported.

    >>> list(plans(100))
    ['head only', 'LP-FT', 'full']
    """
    head, body = epochs(100, examples), epochs(150, examples)
    return {
        "head only": head_only(epochs=head, lr=1e-2),
        "LP-FT": lp_ft(head_epochs=head, epochs=body, head_only_lr=1e-2, lr=1e-3, head_lr=1e-3),
        "full": full(epochs=body, lr=1e-3, head_lr=1e-2),
    }


def scratch(examples: int, lr: float) -> Plan:
    """The same architecture from random weights, twice as long."""
    return full(epochs=epochs(300, examples), lr=lr, head_lr=None)


def epochs(steps: int, examples: int) -> int:
    """Passes over the examples that make about ``steps`` optimizer steps.

    >>> epochs(150, 10), epochs(150, 100)
    (150, 21)
    """
    return max(1, round(steps / math.ceil(examples / BATCH)))


def few(task: Classify, per_class: int, draw: int, jittered: bool = False) -> Classify:
    """The task with ``per_class`` training examples of each class, drawn by a seed; validation and test stay whole."""
    generator = torch.Generator().manual_seed(draw)
    order = torch.randperm(len(task.examples("train")), generator=generator).tolist()
    taken: dict[int, list[dict]] = {i: [] for i in range(len(task.label_names))}
    for i in order:
        example = task.examples("train")[i]
        mine = taken[task.label_id(example[task.label_column])]
        if len(mine) < per_class:
            mine.append(example)
    splits = task.splits | {"train": [example for mine in taken.values() for example in mine]}
    small = Classify(splits, task.label_names, task.inputs, task.label_column, task.name)
    small.augment = jitter if jittered else None
    return small


def jitter(item: dict, generator: torch.Generator) -> dict:
    """The picture turned by up to 11 degrees, sheared, scaled and shifted by up to 12 %: drawn anew for every step."""
    most = torch.tensor([0.2, 0.12, 0.15, 0.12, 0.12])
    turn, grow, shear, right, down = ((2 * torch.rand(5, generator=generator) - 1) * most).tolist()
    cosine, sine = (1 + grow) * math.cos(turn), (1 + grow) * math.sin(turn)
    matrix = torch.tensor([[[cosine, shear - sine, right], [sine, cosine, down]]])
    image = item["input"][None]
    grid = F.affine_grid(matrix, image.shape, align_corners=False)
    return {**item, "input": F.grid_sample(image, grid, padding_mode="border", align_corners=False)[0]}


def score(task: Classify, plan: Plan, seed: int, split: str, pretrained: bool = True, name: str = "glyphnet") -> float:
    """Accuracy of a split after one fine-tuning."""
    model = load(name, task, seed=seed, pretrained=pretrained)
    fit(model, task, plan, batch=BATCH, seed=seed, validate=None, show=False)
    return evaluate(model, task, split)["accuracy"]


def best_rate(task: Classify, per_class: int, jittered: bool, name: str = "glyphnet") -> float:
    """The rate of :data:`RATES` at which scratch does best on validation, over draws that are not reported."""
    found = {}
    for lr in RATES:
        smalls = [few(task, per_class, 1000 + draw, jittered) for draw in range(TUNED)]
        found[lr] = sum(
            score(small, scratch(len(small.splits["train"]), lr), i, "val", pretrained=False, name=name)
            for i, small in enumerate(smalls)
        )
    return max(found, key=found.get)


def compare(
    task: Classify, per_class: int, jittered: bool, draws: int, name: str = "glyphnet"
) -> tuple[dict[str, list[float]], float]:
    """(accuracy on test by method, one value per draw; the rate of scratch)."""
    rate = best_rate(task, per_class, jittered, name=name)
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        small = few(task, per_class, draw, jittered)
        count = len(small.splits["train"])
        ways = {"scratch": scratch(count, rate), **plans(count)}
        for way, plan in ways.items():
            value = score(small, plan, draw, "test", pretrained=way != "scratch", name=name)
            found.setdefault(way, []).append(value)
    return found, rate


def measure(draws: int = 5, targets: tuple[tuple[str, int, bool], ...] = TARGETS, name: str = "glyphnet") -> Measured:
    """Accuracy of scratch, head only, LP-FT and full fine-tuning on each target, mean and spread over draws of labels.

    Args:
        draws: how often the labelled examples are drawn anew (with the seed of the head and of the order).
        targets: (name of a function of :mod:`sftlab.sets.real`, labels per class, pictures shifted and turned or not).
        name: the checkpoint.

    Returns:
        Measured: ``figures["accuracy"]["digits, 5 per class"]["full"]`` lists one value per draw.
    """
    env.start(seed=0)
    rows, figures, rates = [], {}, {}
    for target, per_class, jittered in targets:
        make: Callable[[], Classify] = getattr(real, target)
        shown = f"{target}, shifted and turned" if jittered else target
        label = f"{shown}, {per_class} per class"
        figures[label], rates[label] = compare(make(), per_class, jittered, draws, name)
        rows.append([shown, str(per_class), *map(plus_minus, figures[label].values()), f"{rates[label]:g}"])
    note = (
        f"accuracy on the test split, mean ± standard deviation over {draws} draws of the labelled examples; scratch "
        f"at the best of {len(RATES)} learning rates, chosen on validation; shifted and turned: by chance in every "
        "step, for every method"
    )
    ways = list(next(iter(figures.values())))
    table = Table(["target", "labels per class", *ways, "rate of scratch"], rows, note=note)
    return Measured("transfer", table, {"accuracy": figures, "scratch_rate": rates})
