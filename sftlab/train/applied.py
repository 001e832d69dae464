"""A stage in force on a model: its groups, its modes, its optimizer, its pull towards the pretrained weights."""

from dataclasses import dataclass, field

import torch
from torch import nn

from ..errors import SftlabError, few
from ..model.layers import layer_map
from .groups import Group


@dataclass
class Applied:
    """A stage that is in force on a model."""

    model: nn.Module
    groups: list[Group]
    modes: list[tuple[nn.Module, bool]] = field(repr=False)
    pull: list[tuple[float, nn.Parameter, torch.Tensor | None]] = field(default_factory=list, repr=False)  # of L2-SP

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that trains."""
        return [p for group in self.groups for p in group.parameters]

    @property
    def batch_norms(self) -> list[nn.Module]:
        """The BatchNorms in train mode: their statistics move."""
        return [module for module, training in self.modes if training and "BatchNorm" in type(module).__name__]

    @property
    def trains_batch_norm(self) -> bool:
        """True if a BatchNorm is in train mode: its result then depends on what else is in the (micro-)batch."""
        return bool(self.batch_norms)

    def enforce(self) -> None:
        """Set every module's mode as the plan wants it, whatever ``train()`` or ``eval()`` did before."""
        for module, training in self.modes:
            if module.training != training:  # reading costs a tenth of writing
                module.training = training

    def optimizer(self) -> torch.optim.AdamW:
        """A fused AdamW over the groups; frozen parameters are not in it."""
        return torch.optim.AdamW([group.for_optimizer() for group in self.groups], fused=True)

    def add_penalty(self, count: torch.Tensor | int) -> None:
        """Add the gradient of the L2-SP penalty to gradients that are still sums over a step of ``count`` labels.

        A parameter that the loss did not reach has no gradient and is left alone. Without L2-SP nothing happens.
        """
        with torch.no_grad():
            for strength, parameter, anchor in self.pull:
                if parameter.grad is not None:
                    away = parameter if anchor is None else parameter - anchor
                    parameter.grad.add_(away * (strength * count))

    def check_gradients(self) -> str:
        """After the first step's backward: a line that names trained parameters without any gradient, or "".

        Raises:
            SftlabError: nothing below the head got a gradient though the plan trains it: the way down is cut, as by
                re-entrant checkpointing on inputs that need no gradient (P26).
        """
        names = {id(p): name for name, p in self.model.named_parameters()}
        head = {id(p) for p in layer_map(self.model)[-1].module.parameters()}
        trunk = [p for p in self.parameters if id(p) not in head]
        missing = [names[id(p)] for p in self.parameters if p.grad is None]
        shown = few(missing, 5)
        if trunk and all(p.grad is None for p in trunk):
            raise SftlabError(
                f"the plan trains {len(trunk)} tensors below the head and none of them got a gradient: {shown}. Is the "
                "trunk called under no_grad or detached? With gradient checkpointing use use_reentrant=False: the "
                "re-entrant kind cuts the way down when its input is frozen."
            )
        return f"{len(missing)} trained tensors got no gradient in the first step: {shown}." if missing else ""

    def table(self):
        """The groups with layers, rate, weight decay and counts, and what is frozen (P29)."""
        from .groups import table

        return table(self.model, self.groups)


def _modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """For each module: train mode (True) or eval mode.

    A module whose parameters are all frozen is in eval mode with everything inside it: BatchNorm then neither uses
    nor moves batch statistics, dropout is off. So is a BatchNorm that trains in part (its bias alone): its statistics
    are moved only by a plan that trains the whole of it (P6). A module without parameters (dropout between layers)
    follows the next module that has some; one with buffers only follows the one before it.
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
        own = [p.requires_grad for p in module.parameters(recurse=False)]
        modes.append((module, getattr(module, "running_mean", None) is None or all(own)))
        if own:
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
