"""Parameter groups: which parameter learns at which rate, with or without weight decay - and a table that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..model.layers import Layer, layer_map
from ..table import Table


@dataclass
class Group:
    """Parameters that share a peak rate and a weight decay."""

    layers: list[str]
    lr: float
    weight_decay: float
    parameters: list[nn.Parameter]

    def for_optimizer(self) -> dict:
        """The form that torch.optim takes; ``peak_lr`` is what the schedule multiplies."""
        return {
            "params": self.parameters,
            "lr": self.lr,
            "peak_lr": self.lr,
            "weight_decay": self.weight_decay,
        }


def make_groups(layers: Sequence[Layer], stage, weight_decay: float) -> list[Group]:
    """Group the parameters of the trained layers (input to output, the head last) by rate and weight decay.

    The head learns at ``stage.head_lr`` (or ``stage.lr``), the topmost trunk layer at ``stage.lr``, each layer below
    at ``stage.layer_decay`` times the one above. Weight decay applies to tensors of two or more dimensions outside
    normalisation layers: by type and shape, never by a pattern in a name (P37). A tied parameter is taken once.
    """
    found: dict[tuple[float, float], Group] = {}
    seen: set[int] = set()
    for depth, layer in zip(range(len(layers) - 1, -1, -1), layers, strict=True):
        rate = (stage.head_lr or stage.lr) if depth == 0 else stage.lr * stage.layer_decay ** (depth - 1)
        undecayed = _norm_parameters(layer.module)
        for _, parameter in layer.parameters():
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            decay = 0.0 if parameter.dim() < 2 or id(parameter) in undecayed else weight_decay
            group = found.setdefault((rate, decay), Group([], rate, decay, []))
            group.parameters.append(parameter)
            if layer.name not in group.layers:
                group.layers.append(layer.name)
    return list(found.values())


def _norm_parameters(module: nn.Module) -> set[int]:
    return {
        id(parameter)
        for part in module.modules()
        if type(part).__name__.rstrip("0123456789d").endswith("Norm")  # LayerNorm, BatchNorm2d, LlamaRMSNorm, ...
        for parameter in part.parameters(recurse=False)
    }


def table(model: nn.Module, groups: Sequence[Group]) -> Table:
    """What trains at which rate, and what is frozen, before the first step."""
    trained = {layer for group in groups for layer in group.layers}
    rows = [
        [_span(g.layers), f"{g.lr:.2g}", f"{g.weight_decay:g}", len(g.parameters), f"{_size(g.parameters):,}"]
        for g in groups
    ]
    frozen = [layer for layer in layer_map(model) if layer.name not in trained]
    if frozen:
        tensors = [p for layer in frozen for _, p in layer.parameters() if not p.requires_grad]
        rows.insert(0, [_span([layer.name for layer in frozen]), "frozen", "-", len(tensors), f"{_size(tensors):,}"])
    return Table(["layers", "peak rate", "decay", "tensors", "parameters"], rows)


def _size(parameters) -> int:
    return sum(p.numel() for p in parameters)


def _span(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    # The full path of the first and the end of the last: the table stays narrow enough for a page.
    return f"{names[0]} ... {'.'.join(names[-1].split('.')[-2:])} ({len(names)} layers)"
