"""The map of a model: its layers from input to output, so that a plan can say "the last two"."""

from dataclasses import dataclass

from torch import nn

from ..errors import SftlabError


@dataclass(frozen=True)
class Layer:
    """One layer of the map: its name (a module path) and the modules and parameters that it owns."""

    name: str
    module: nn.Module
    own_only: bool = False  # parameters that sit directly on a container, such as a class token

    def parameters(self):
        """(full name, parameter) of everything that the layer owns."""
        prefix = f"{self.name}." if self.name else ""
        for name, parameter in self.module.named_parameters(recurse=not self.own_only):
            yield prefix + name, parameter


def layer_map(model: nn.Module) -> list[Layer]:
    """The layers of ``model`` from input to output; the last one is the head.

    A container that holds a ``ModuleList`` of blocks (every transformer) is opened down to its blocks; any other
    child (a ResNet's ``layer1``, an embedding) is one layer. Order is the order of definition with embeddings first,
    which in torchvision and transformers is the order of the forward pass.

    Args:
        model: any ``nn.Module``.

    Returns:
        list[Layer]: every parameter belongs to exactly one layer; layers without parameters are left out.

    Raises:
        SftlabError: the model has no parameters, or only one layer (then there is no head to tell apart).

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [layer.name for layer in layer_map(net)]
    ['0', '2']
    """
    layers = [layer for layer in _open("", model, top=True) if next(layer.parameters(), None) is not None]
    if len(layers) < 2:
        raise SftlabError(
            f"{type(model).__name__} has {len(layers)} layer(s) with parameters; a plan needs a trunk and a head. "
            "Give the model at least two child modules, the head last."
        )
    return layers


def _open(name: str, module: nn.Module, top: bool = False):
    has_blocks = any(isinstance(m, nn.ModuleList) and len(m) > 1 for m in module.modules())
    if not (top or has_blocks):
        yield Layer(name, module)
        return
    if next(module.parameters(recurse=False), None) is not None:
        yield Layer(name, module, own_only=True)
    # BART defines the norm of its embeddings after its blocks: what embeds comes first, wherever it was defined.
    for child_name, child in sorted(module.named_children(), key=lambda child: has_blocks and "embed" not in child[0]):
        path = f"{name}.{child_name}" if name else child_name
        if isinstance(module, nn.ModuleList):
            yield Layer(path, child)  # a block: never opened further
        else:
            yield from _open(path, child)
