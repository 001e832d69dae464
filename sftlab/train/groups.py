"""Parameter groups: which parameter learns at which rate, with or without weight decay - and a table that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import SftlabError
from ..model.adapters import adapter_parameters
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
        return {"params": self.parameters, "lr": self.lr, "peak_lr": self.lr, "weight_decay": self.weight_decay}


def select(model: nn.Module, train: str | int | tuple) -> list[tuple[Layer, list[nn.Parameter]]]:
    """The layers in which something trains, from input to output, each with what trains in it; see :class:`Stage`.

    A norm is known by its type, an adapter by peft's own list. A bias has nothing but its name to be known by: a
    vector whose own name says bias (``bias``, ``in_proj_bias``, ``bias_ih_l0``).

    Raises:
        SftlabError: the model has nothing of what is to be trained, or fewer layers.
    """
    *trunk, head = layer_map(model)
    if train in ("bias", "norm", "adapters"):
        if train == "norm":
            wanted = norm_parameters(model)
        elif train == "adapters":
            wanted = adapter_parameters(model)
        else:
            named = model.named_parameters(remove_duplicate=False)
            wanted = {id(p) for name, p in named if "bias" in name.rpartition(".")[2] and p.dim() == 1}
        parts = [(layer, [p for _, p in layer.parameters() if id(p) in wanted]) for layer in trunk]
        parts = [(layer, parameters) for layer, parameters in parts if parameters]
        if not parts:
            what = {"bias": "bias", "norm": "normalisation layer with parameters", "adapters": "adapter"}[train]
            remedy = " Call sl.add_adapters(model) first." if train == "adapters" else " Take another plan."
            raise SftlabError(f"{type(model).__name__} has no {what} below its head {head.name!r}.{remedy}")
    else:
        first = isinstance(train, tuple)
        count = {"head": 0, "all": len(trunk)}.get(train) if isinstance(train, str) else train[1] if first else train
        if count > len(trunk):
            raise SftlabError(
                f"the plan trains the {'first' if first else 'last'} {count} layers, but {type(model).__name__} has "
                f"only {len(trunk)} below its head: {', '.join(layer.name for layer in trunk)}."
            )
        layers = trunk[:count] if first else trunk[len(trunk) - count :]
        parts = [(layer, [p for _, p in layer.parameters()]) for layer in layers]
    return [*parts, (head, [p for _, p in head.parameters()])]


def make_groups(parts: Sequence[tuple[Layer, list[nn.Parameter]]], stage, weight_decay: float) -> list[Group]:
    """Group what :func:`select` gives by rate and weight decay.

    The head learns at ``stage.head_lr`` (or ``stage.lr``), the topmost trained layer below it at ``stage.lr``, each
    trained layer below at ``stage.layer_decay`` times the one above. Weight decay applies to tensors of two or more
    dimensions outside normalisation layers: by type and shape, never by a pattern in a name (P37). A tied parameter
    is taken once.
    """
    found: dict[tuple[float, float], Group] = {}
    seen: set[int] = set()
    for depth, (layer, parameters) in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
        rate = (stage.head_lr or stage.lr) if depth == 0 else stage.lr * stage.layer_decay ** (depth - 1)
        undecayed = norm_parameters(layer.module)
        for parameter in parameters:
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            decay = 0.0 if parameter.dim() < 2 or id(parameter) in undecayed else weight_decay
            group = found.setdefault((rate, decay), Group([], rate, decay, []))
            group.parameters.append(parameter)
            if layer.name not in group.layers:
                group.layers.append(layer.name)
    return list(found.values())


def norm_parameters(module: nn.Module) -> set[int]:
    """The ids of all parameters that sit in normalisation layers."""
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
    for row, whole in enumerate((True, False)):  # layers that are frozen as a whole, and what is frozen inside others
        layers = [layer for layer in layer_map(model) if (layer.name not in trained) is whole]
        frozen = {id(p): (p, layer.name) for layer in layers for _, p in layer.parameters() if not p.requires_grad}
        if frozen:
            names = list(dict.fromkeys(name for _, name in frozen.values()))
            tensors = [p for p, _ in frozen.values()]
            place = _span(names) if whole else f"rest of {_span(names)}"
            rows.insert(row, [place, "frozen", "-", len(tensors), f"{_size(tensors):,}"])
    return Table(["layers", "peak rate", "decay", "tensors", "parameters"], rows)


def _size(parameters) -> int:
    return sum(p.numel() for p in parameters)


def _span(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    # The full path of the first and the end of the last: the table stays narrow enough for a page.
    return f"{names[0]} ... {'.'.join(names[-1].split('.')[-2:])} ({len(names)} layers)"
