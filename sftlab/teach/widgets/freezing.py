"""The freezing painter: tick the layers that train; counts, memory and the plan follow. The twin of freezing.js."""

from collections.abc import Sequence
from html import escape

import traitlets

from ...errors import unknown
from .base import Widget, script, style


def costs(sizes: Sequence[int], trained: Sequence[bool]) -> dict[str, float]:
    """Parameters and bytes of training in float32 with AdamW, without activations.

    Args:
        sizes: parameters of each layer.
        trained: whether it trains.

    Returns:
        dict: ``total``, ``trained`` (parameters), ``share``, and in bytes ``weights``, ``gradients``, ``optimizer``.

    >>> costs([90, 10], [False, True])["optimizer"]
    80
    """
    total, count = sum(sizes), sum(n for n, on in zip(sizes, trained, strict=True) if on)
    bytes_ = {"weights": 4 * total, "gradients": 4 * count, "optimizer": 8 * count}
    return {"total": total, "trained": count, "share": count / total, **bytes_}


def plan_text(names: Sequence[str], trained: Sequence[bool]) -> str:
    """The program that trains exactly these layers: a plan of the library if there is one, else plain PyTorch.

    >>> plan_text(["embeddings", "layer.0", "layer.1", "head"], [False, False, True, True])
    'plan = sl.last_k(1)'
    """
    *below, head = map(bool, trained)
    count = sum(below)
    if head:
        if not count:
            return "plan = sl.head_only()"
        if all(below):
            return "plan = sl.full()"
        if all(below[-count:]):
            return f"plan = sl.last_k({count})"
        if all(below[:count]):
            return f"plan = sl.surgical(first={count})"
    if not count and not head:
        return "# Nothing trains: choose a layer."
    chosen = "".join(f'    "{name}",\n' for name, on in zip(names, trained, strict=True) if on)
    return (
        ("" if head else "# The head stays as it is: right only if it is already trained.\n")
        + f"train = {{\n{chosen}}}\nfor layer in sl.layer_map(model):\n"
        "    for _, parameter in layer.parameters():\n        parameter.requires_grad_(layer.name in train)\n"
        "optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)"
    )


class FreezingPainter(Widget):
    """The widget of :func:`freezing_painter`; ``plan`` is the text of its present choice."""

    _esm = script("freezing")
    _css = style("freezing")
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    trained = traitlets.List(traitlets.Bool()).tag(sync=True)

    @property
    def plan(self) -> str:
        """The program text of the present choice."""
        return plan_text(self.names, self.trained)

    @property
    def costs(self) -> dict[str, float]:
        """Parameters and memory of the present choice, see :func:`costs`."""
        return costs(self.sizes, self.trained)

    def static(self) -> str:
        """The layers as a table, with what the present choice costs."""
        found = self.costs
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td style='text-align:right'>{size:,}</td>"
            f"<td>{'trains' if on else 'frozen'}</td></tr>"
            for name, size, on in zip(self.names, self.sizes, self.trained, strict=True)
        )
        return (
            "<table><caption>Layers from input to output</caption><thead><tr><th>layer</th><th>parameters</th>"
            f"<th>state</th></tr></thead><tbody>{rows}</tbody></table>"
            f"<p>{found['trained']:,} of {found['total']:,} parameters train ({found['share']:.2%}). "
            f"AdamW keeps {found['optimizer'] / 2**20:,.2f} MiB for them.</p><pre>{escape(self.plan)}</pre>"
        )


def freezing_painter(model, train: str | int | tuple = "head") -> FreezingPainter:
    """Tick the layers of a model that shall train; parameter counts, memory and a plan to copy follow.

    Args:
        model: any module that :func:`sftlab.layer_map` can read; only names and sizes are kept.
        train: what is ticked at first: ``"head"``, ``"all"``, k for the last k layers and the head, or
            ``("first", k)``.

    Raises:
        SftlabError: the model has fewer than two layers with parameters.
        UnknownName: ``train`` names nothing of the above.

    >>> from torch import nn
    >>> painter = freezing_painter(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    >>> painter.plan, painter.costs["trained"]
    ('plan = sl.head_only()', 18)
    """
    from ...model.layers import layer_map

    layers = layer_map(model)
    below, seen, sizes = len(layers) - 1, set(), []
    for layer in layers:  # a tied parameter is counted once, where it comes first
        own = {id(p): p.numel() for _, p in layer.parameters() if id(p) not in seen}
        seen |= own.keys()
        sizes.append(sum(own.values()))
    first = isinstance(train, tuple) and len(train) == 2 and train[0] == "first"
    count = {"head": 0, "all": below}.get(train) if isinstance(train, str) else train[1] if first else train
    if not isinstance(count, int) or not 0 <= count <= below:
        raise unknown("part to train", train, ["head", "all", f"a number up to {below}", "('first', k)"])
    on = [i < count if first else i >= below - count for i in range(below)]
    return FreezingPainter(names=[layer.name for layer in layers], sizes=sizes, trained=[*on, True])
