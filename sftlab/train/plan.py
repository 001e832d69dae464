"""A plan says what trains, when and how fast; ``apply`` sets gradients, modes and groups of a model together."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import SftlabError, unknown
from ..model.layers import layer_map
from .applied import Applied, _modes
from .groups import make_groups, select
from .schedule import SCHEDULES

PARTS = ("head", "all", "bias", "norm", "adapters")


@dataclass(frozen=True)
class Stage:
    """One stage of a plan: which layers train, for how long, how fast.

    Args:
        train: the head always, and with it: ``"head"`` nothing else, ``"all"`` everything, a number k the last k
            layers of the trunk, ``("first", k)`` the first k, ``"bias"`` all biases, ``"norm"`` all parameters of
            normalisation layers, ``"adapters"`` what :func:`sftlab.add_adapters` put in.
        epochs: passes over the training data.
        lr: peak learning rate of the topmost trained trunk layer.
        head_lr: peak learning rate of the head; default ``lr``.
        layer_decay: each trunk layer further down learns at this factor of the one above it.

    Raises:
        UnknownName, ValueError: a part that does not exist; epochs, rate or decay out of range.

    >>> Stage("all", epochs=3, lr=1e-4, head_lr=1e-3).train
    'all'
    """

    train: str | int | tuple[str, int]
    epochs: int
    lr: float
    head_lr: float | None = None
    layer_decay: float = 1.0

    def __post_init__(self):
        if isinstance(self.train, list):  # read back from JSON
            object.__setattr__(self, "train", tuple(self.train))
        first = isinstance(self.train, tuple) and len(self.train) == 2 and self.train[0] == "first"
        count = self.train[1] if first else self.train
        if self.train not in PARTS and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise unknown("part to train", self.train, [*PARTS, "a number of layers, at least 1", "('first', k)"])
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
        pull: (alpha, beta) of :func:`l2_sp`; None for no pull.

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
    pull: tuple[float, float] | None = None

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if not self.stages:
            raise ValueError("a plan needs at least one stage")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the steps in [0, 1), not {self.warmup}")
        if self.pull is not None and not all(0 <= strength < float("inf") for strength in self.pull):
            raise ValueError(f"alpha and beta of the pull must be 0 or more, not {self.pull}")
        object.__setattr__(self, "pull", self.pull and tuple(self.pull))  # a list, if read back from JSON

    def anchors(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Copies of all weights below the head, to be taken when a run begins; {} if the plan needs none."""
        if self.pull is None:
            return {}
        head = {id(p) for p in layer_map(model)[-1].module.parameters()}
        return {name: p.detach().clone() for name, p in model.named_parameters() if id(p) not in head}

    def apply(self, model: nn.Module, stage: int = 0, anchors: Mapping[str, torch.Tensor] | None = None) -> Applied:
        """Make a stage true on a model: ``requires_grad``, train and eval modes, and parameter groups, all at once.

        Args:
            model: any module with a head as its last layer, see :func:`sftlab.layer_map`.
            stage: number of the stage.
            anchors: for a plan with a pull: the weights at the start of the run, from :meth:`anchors`. Left out in
                the first stage: the present ones.

        Returns:
            Applied: with ``groups``, ``table()`` and ``enforce()``, which sets the modes again (``model.train()``
            would undo them, P5).

        Raises:
            SftlabError: the model has not what the stage trains; anchors are missing.

        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> applied = head_only(epochs=1).apply(net)
        >>> [p.requires_grad for p in net.parameters()], net[1].training
        ([False, False, False, False, True, True], False)
        """
        now = self.stages[stage]
        groups = make_groups(select(model, now.train), now, self.weight_decay)
        pull = self._pull(model, stage, anchors) if self.pull is not None else []
        trained = {id(p) for group in groups for p in group.parameters}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
            if not parameter.requires_grad:
                parameter.grad = None
        pull = [(strength, p, anchor) for strength, p, anchor in pull if id(p) in trained]
        applied = Applied(model, groups, _modes(model), pull)
        applied.enforce()
        return applied

    def _pull(self, model, stage, anchors):
        """(strength, parameter, where to; None for 0) of every parameter."""
        if anchors is None and stage > 0:
            raise SftlabError(f"stage {stage} of {self.name!r} needs the weights of the start: apply(..., anchors=...)")
        anchors = self.anchors(model) if anchors is None else anchors
        head = {id(p) for p in layer_map(model)[-1].module.parameters()}
        pull = []
        for name, parameter in model.named_parameters():
            if id(parameter) in head:
                pull.append((self.pull[1], parameter, None))
            elif name not in anchors or anchors[name].shape != parameter.shape:
                raise SftlabError(f"the anchors of {self.name!r} have no {name!r} of shape {list(parameter.shape)}.")
            else:
                pull.append((self.pull[0], parameter, anchors[name].to(parameter)))
        return pull


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


def bias_only(epochs: int = 5, lr: float = 1e-3, head_lr: float | None = None, **shared) -> Plan:
    """Train all biases and the head. A BatchNorm keeps its statistics: only its bias moves.

    Source: Ben Zaken et al. (2022), BitFit.

    >>> bias_only().stages[0].train
    'bias'
    """
    return Plan("bias only", (Stage("bias", epochs, lr, head_lr),), **shared)


def norm_only(epochs: int = 5, lr: float = 1e-3, head_lr: float | None = None, **shared) -> Plan:
    """Train all parameters of normalisation layers and the head. A BatchNorm's statistics move with it.

    Source: Frankle et al. (2021), Training BatchNorm and Only BatchNorm, there from random weights.

    >>> norm_only().name
    'norm only'
    """
    return Plan("norm only", (Stage("norm", epochs, lr, head_lr),), **shared)


def surgical(first: int, epochs: int = 3, lr: float = 5e-5, head_lr: float | None = 1e-3, **shared) -> Plan:
    """Train the ``first`` layers of the trunk and the head: for inputs that changed while the labels' meaning did not.

    Source: Lee et al. (2023), Surgical Fine-Tuning Improves Adaptation to Distribution Shifts.

    >>> surgical(first=1).stages[0].train
    ('first', 1)
    """
    return Plan(f"first {first}", (Stage(("first", first), epochs, lr, head_lr),), **shared)


def l2_sp(alpha: float = 0.1, beta: float = 0.01, epochs: int = 3, lr: float = 1.5e-4,
          head_lr: float | None = 1e-3, **shared) -> Plan:  # fmt: skip
    """Train everything, with a pull of the trunk towards its pretrained weights and of the head towards 0.

    The mean loss gets alpha/2 times the squared distance of the trunk and beta/2 times the squared norm of the head,
    in place of weight decay. AdamW scales the pull like any other gradient.

    Source: Li et al. (2018), Explicit Inductive Bias for Transfer Learning, equation 3.

    >>> l2_sp(alpha=1.0).pull
    (1.0, 0.01)
    """
    stages = (Stage("all", epochs, lr, head_lr),)
    return Plan("L2-SP", stages, **{"weight_decay": 0.0, "pull": (alpha, beta), **shared})


def lora(epochs: int = 3, lr: float = 1e-3, head_lr: float | None = None, **shared) -> Plan:
    """Train the adapters that :func:`sftlab.add_adapters` put in, of whatever kind, and the head.

    Source: Hu et al. (2022), LoRA.

    >>> lora().stages[0].train
    'adapters'
    """
    return Plan("LoRA", (Stage("adapters", epochs, lr, head_lr),), **shared)


PLANS = {
    "head only": head_only, "last k": last_k, "full": full, "LP-FT": lp_ft, "gradual": gradual,
    "bias only": bias_only, "norm only": norm_only, "surgical": surgical, "L2-SP": l2_sp, "LoRA": lora,
}  # fmt: skip


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
