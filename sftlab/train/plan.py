"""A plan says what trains, when and how fast; ``apply`` sets gradients, modes and groups of a model together."""

from dataclasses import dataclass, field

import torch
from torch import nn

from ..errors import SftlabError, unknown
from ..model.layers import layer_map
from .groups import Group, make_groups
from .schedule import SCHEDULES


@dataclass(frozen=True)
class Stage:
    """One stage of a plan: which layers train, for how long, how fast.

    Args:
        train: ``"head"``, ``"all"``, or a number k for the last k layers of the trunk and the head.
        epochs: passes over the training data.
        lr: peak learning rate of the topmost trained trunk layer.
        head_lr: peak learning rate of the head; default ``lr``.
        layer_decay: each trunk layer further down learns at this factor of the one above it.

    Raises:
        UnknownName, ValueError: a part that does not exist; epochs, rate or decay out of range.

    >>> Stage("all", epochs=3, lr=1e-4, head_lr=1e-3).train
    'all'
    """

    train: str | int
    epochs: int
    lr: float
    head_lr: float | None = None
    layer_decay: float = 1.0

    def __post_init__(self):
        if not (self.train in ("head", "all") or (isinstance(self.train, int) and self.train >= 1)):
            raise unknown("part to train", self.train, ["head", "all", "a number of layers, at least 1"])
        if self.epochs < 1 or self.epochs != int(self.epochs):
            raise ValueError(f"epochs must be a whole number, at least 1, not {self.epochs}")
        for name in ("lr", "head_lr"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < 10:
                raise ValueError(f"{name} must lie between 0 and 10, not {rate}; typical: 2e-5 to 1e-3")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must lie in (0, 1], not {self.layer_decay}")


@dataclass(frozen=True)
class Plan:
    """Stages and the settings they share.

    Args:
        name: shown in tables.
        stages: run one after the other, each with an optimizer of its own: what a stage freezes is not in its
            optimizer, so neither momentum nor weight decay can move it (P27).
        schedule: ``"linear"``, ``"cosine"`` or ``"constant"``, over each stage.
        warmup: share of a stage's steps in which the rate rises from 0.
        weight_decay: of AdamW, on matrices and kernels only (P37).
        clip: greatest norm of the gradient; None for no clipping.

    >>> plan = Plan("head, then all", (Stage("head", 5, 1e-2), Stage("all", 2, 1e-4)), schedule="cosine")
    >>> len(plan.stages)
    2
    """

    name: str
    stages: tuple[Stage, ...]
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float | None = 1.0

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if not self.stages:
            raise ValueError("a plan needs at least one stage")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the steps in [0, 1), not {self.warmup}")

    @property
    def needs_anchors(self) -> bool:
        return False

    def trained(self, model: nn.Module) -> set[str]:
        """Names of all parameters that some stage trains."""
        names: set[str] = set()
        for stage in range(len(self.stages)):
            self.apply(model, stage)
            names |= {name for name, p in model.named_parameters() if p.requires_grad}
        return names

    @classmethod
    def read(cls, stored: dict) -> "Plan":
        """From JSON values."""
        return cls(**{**stored, "stages": tuple(Stage(**stage) for stage in stored["stages"])})

    def apply(self, model: nn.Module, stage: int = 0, anchors=None) -> "Applied":
        """Make a stage true on a model: ``requires_grad``, train and eval modes, and parameter groups, all at once.

        Args:
            model: any module with a head as its last layer, see :func:`sftlab.layer_map`.
            stage: number of the stage.

        Returns:
            Applied: with ``groups``, ``table()`` and ``enforce()``, which sets the modes again (``model.train()``
            would undo them, P5).

        Raises:
            SftlabError: the stage trains more layers than the model has.

        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> applied = head_only(epochs=1).apply(net)
        >>> [p.requires_grad for p in net.parameters()], net[1].training
        ([False, False, False, False, True, True], False)
        """
        now = self.stages[stage]
        layers = layer_map(model)
        kept = {"head": 1, "all": len(layers)}.get(now.train, None) or now.train + 1
        if kept > len(layers):
            raise SftlabError(
                f"plan {self.name!r} trains the last {now.train} layers, but {type(model).__name__} has only "
                f"{len(layers) - 1} below its head: {', '.join(layer.name for layer in layers[:-1])}."
            )
        groups = make_groups(layers[-kept:], now, self.weight_decay)
        trained = {id(p) for group in groups for p in group.parameters}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
            if not parameter.requires_grad:
                parameter.grad = None
        applied = Applied(model, groups, _modes(model), head_only=kept == 1)
        applied.enforce()
        return applied


@dataclass
class Applied:
    """A stage that is in force on a model."""

    model: nn.Module
    groups: list[Group]
    modes: list[tuple[nn.Module, bool]] = field(repr=False)
    head_only: bool

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that trains."""
        return [p for group in self.groups for p in group.parameters]

    @property
    def trains_batch_norm(self) -> bool:
        """True if a BatchNorm is in train mode: its result then depends on what else is in the (micro-)batch."""
        return any(training and "BatchNorm" in type(module).__name__ for module, training in self.modes)

    def enforce(self) -> None:
        """Set every module's mode as the plan wants it, whatever ``train()`` or ``eval()`` did before."""
        for module, training in self.modes:
            module.training = training

    def add_penalty(self, count) -> None:
        pass

    def optimizer(self) -> torch.optim.AdamW:
        """A fused AdamW over the groups; frozen parameters are not in it."""
        return torch.optim.AdamW([group.for_optimizer() for group in self.groups], fused=True)

    def table(self):
        """The groups with layers, rate, weight decay and counts, and what is frozen (P29)."""
        from .groups import table

        return table(self.model, self.groups)


def _modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """For each module: train mode (True) or eval mode.

    A module whose parameters are all frozen is in eval mode with everything inside it: BatchNorm then neither uses
    nor moves batch statistics, dropout is off. A module without parameters (dropout between layers) follows the
    next module that has some; one with buffers only follows the one before it.
    """
    modes: list[tuple[nn.Module, bool]] = []
    waiting: list[int] = []  # positions in `modes` of parameterless modules whose neighbour has not come yet
    before: bool | None = None

    def visit(module: nn.Module, inside_frozen: bool) -> None:
        nonlocal before
        parameters = list(module.parameters())
        if inside_frozen or (parameters and not any(p.requires_grad for p in parameters)):
            for frozen in module.modules():
                modes.append((frozen, False))
            settle(False)
            return
        if not parameters:
            modes.append((module, bool(before)))
            if before is None or next(module.buffers(), None) is None:
                waiting.append(len(modes) - 1)
            for child in module.children():
                visit(child, False)
            return
        modes.append((module, True))
        if next(module.parameters(recurse=False), None) is not None:
            settle(True)
        for child in module.children():
            visit(child, False)

    def settle(training: bool) -> None:
        nonlocal before
        before = training
        for position in waiting:
            modes[position] = (modes[position][0], training)
        waiting.clear()

    visit(model, False)
    for position in waiting:  # nothing with parameters follows: outputs of the head
        modes[position] = (modes[position][0], True)
    return modes


def head_only(epochs: int = 20, lr: float = 1e-2, **shared) -> Plan:
    """Train the head on a frozen trunk (linear probing). The trunk runs once per sample if the model allows.

    >>> head_only(epochs=5).stages[0].train
    'head'
    """
    return Plan("head only", (Stage("head", epochs, lr),), **shared)


def last_k(k: int, epochs: int = 3, lr: float = 5e-5, head_lr: float | None = 1e-3, **shared) -> Plan:
    """Train the last ``k`` layers of the trunk and the head.

    >>> last_k(2).name
    'last 2'
    """
    return Plan(f"last {k}", (Stage(k, epochs, lr, head_lr),), **shared)


def full(epochs: int = 3, lr: float = 1.5e-4, head_lr: float | None = 1e-3, layer_decay: float = 1.0, **shared) -> Plan:
    """Train everything; ``layer_decay`` below 1 makes lower layers learn more slowly.

    Source: Howard and Ruder (2018), ULMFiT, section 3.2 (discriminative rates).

    >>> full(layer_decay=0.8).stages[0].layer_decay
    0.8
    """
    return Plan("full", (Stage("all", epochs, lr, head_lr, layer_decay),), **shared)


def lp_ft(
    head_epochs: int = 20, epochs: int = 3, head_only_lr: float = 1e-2, lr: float = 1e-4,
    head_lr: float | None = None, layer_decay: float = 1.0, **shared,
) -> Plan:  # fmt: skip
    """First the head alone, then everything from there, so that a random head does not distort the trunk.

    Source: Kumar et al. (2022), Fine-Tuning can Distort Pretrained Features, section 4.

    >>> [stage.train for stage in lp_ft().stages]
    ['head', 'all']
    """
    second = Stage("all", epochs, lr, head_lr, layer_decay)
    return Plan("LP-FT", (Stage("head", head_epochs, head_only_lr), second), **shared)


def gradual(
    steps: tuple[int, ...] = (1, 3), epochs: int = 1, head_epochs: int = 20, head_only_lr: float = 1e-2,
    lr: float = 1e-4, head_lr: float | None = 1e-3, layer_decay: float = 1.0, **shared,
) -> Plan:  # fmt: skip
    """Unfreeze from the top: the head, then the last ``steps[0]`` layers, then more, then all.

    Source: Howard and Ruder (2018), ULMFiT, section 3.3.

    >>> [stage.train for stage in gradual(steps=(1, 3)).stages]
    ['head', 1, 3, 'all']
    """
    stages = [Stage("head", head_epochs, head_only_lr)]
    stages += [Stage(k, epochs, lr, head_lr, layer_decay) for k in (*steps, "all")]
    return Plan("gradual", tuple(stages), **shared)


PLANS = {"head only": head_only, "last k": last_k, "full": full, "LP-FT": lp_ft, "gradual": gradual}


def plan(name: str, **settings) -> Plan:
    """A plan by name, for command lines and tables: ``plan("full", epochs=2)``.

    Raises:
        UnknownName: no such plan; the message lists the nearest names.

    >>> plan("head only", epochs=2).stages[0].epochs
    2
    """
    if name not in PLANS:
        raise unknown("plan", name, PLANS)
    return PLANS[name](**settings)
