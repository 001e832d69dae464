"""The logits explorer: from logits to probabilities, loss and gradient, with the formulas in the present numbers."""

import math
from collections.abc import Sequence

import traitlets

from .base import Widget, picture, script, style


def softmax_loss(logits: Sequence[float], label: int, temperature: float = 1.0, smoothing: float = 0.0) -> dict:
    """Cross-entropy of one example and all that leads to it; the Python twin of ``softmaxLoss`` in logits.js.

    Equal to ``torch.nn.functional.cross_entropy(z / temperature, label, label_smoothing=smoothing)`` and its gradient
    with respect to z.

    Args:
        logits: z, one number a class.
        label: index of the right class.
        temperature: T; the softmax is taken of z / T.
        smoothing: epsilon; the target is epsilon / K everywhere and 1 - epsilon more at the label.

    Returns:
        dict: ``log_sum_exp``, ``probabilities``, ``target``, ``loss`` (in nats), ``gradient``.

    >>> found = softmax_loss([2.0, 1.0, -1.0], label=0)
    >>> round(found["loss"], 4), [round(g, 3) for g in found["gradient"]]
    (0.349, [-0.295, 0.259, 0.035])
    """
    scaled = [z / temperature for z in logits]
    greatest = max(scaled)
    log_sum_exp = greatest + math.log(sum(math.exp(s - greatest) for s in scaled))
    log_p = [s - log_sum_exp for s in scaled]
    target = [smoothing / len(scaled) + (1 - smoothing) * (k == label) for k in range(len(scaled))]
    return {
        "log_sum_exp": log_sum_exp,
        "probabilities": [math.exp(value) for value in log_p],
        "target": target,
        "loss": -sum(q * value for q, value in zip(target, log_p, strict=True)),
        "gradient": [(math.exp(v) - q) / temperature for v, q in zip(log_p, target, strict=True)],
    }


class LogitsExplorer(Widget):
    """The widget of :func:`logits_explorer`; ``found`` is what :func:`softmax_loss` gives for its present state."""

    _esm = script("logits")
    _css = style("logits")
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    logits = traitlets.List(traitlets.Float()).tag(sync=True)
    label = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    smoothing = traitlets.Float(0.0).tag(sync=True)

    @property
    def found(self) -> dict:
        """Probabilities, loss and gradient of the present state."""
        return softmax_loss(self.logits, self.label, self.temperature, self.smoothing)

    def static(self) -> str:
        """Bars of the probabilities and of the gradient."""
        from ...study.plots import axes

        found = self.found
        figure, (left, right) = axes(2, width=3.6, height=2.6)
        left.bar(self.labels, found["probabilities"])
        left.set(ylabel="probability p", ylim=(0, 1), title=f"loss {found['loss']:.3f} nats")
        bars = right.bar(self.labels, found["gradient"], color="#D55E00")
        for bar, value in zip(bars, found["gradient"], strict=True):
            bar.set_hatch("//" if value < 0 else "")
        right.axhline(0, color="black", linewidth=1)
        right.set(ylabel="gradient of the loss", title=f"right label: {self.labels[self.label]}")
        said = {
            name: ", ".join(f"{label} {v:.3f}" for label, v in zip(self.labels, found[name], strict=True))
            for name in ("probabilities", "gradient")
        }
        alt = (
            f"Two bar charts. Probabilities: {said['probabilities']}. Gradient of the loss: {said['gradient']}. "
            f"The right label is {self.labels[self.label]}, the loss {found['loss']:.3f} nats."
        )
        return picture(figure, alt)


def logits_explorer(
    logits: Sequence[float] = (2.0, 1.0, -1.0),
    labels: Sequence[str] | None = None,
    label: int = 0,
    temperature: float = 1.0,
    smoothing: float = 0.0,
) -> LogitsExplorer:
    """Sliders for logits; probabilities, log-sum-exp, loss and gradient follow. Equal to torch to 1e-6.

    Args:
        logits: two to five numbers between -6 and 6.
        labels: a name for each; default: class 1, class 2, ...
        label: index of the right one.
        temperature: between 0.1 and 5.
        smoothing: label smoothing, between 0 and 0.5.

    Raises:
        ValueError: a number of logits that does not fit, or a value out of range.

    >>> logits_explorer([1.0, 0.0], labels=["no", "yes"]).found["probabilities"][0] > 0.73
    True
    """
    labels = list(labels) if labels is not None else [f"class {k + 1}" for k in range(len(logits))]
    if not 2 <= len(logits) <= 5 or len(labels) != len(logits):
        raise ValueError(f"two to five logits with a label each, not {len(logits)} logits and {len(labels)} labels")
    if not all(-6 <= z <= 6 for z in logits):
        raise ValueError(f"each logit must lie between -6 and 6, where the sliders end: {list(logits)}")
    if not 0 <= label < len(logits):
        raise ValueError(f"label must be an index below {len(logits)}, not {label}")
    if not 0.1 <= temperature <= 5 or not 0 <= smoothing <= 0.5:
        raise ValueError(f"temperature in [0.1, 5] and smoothing in [0, 0.5], not {temperature} and {smoothing}")
    return LogitsExplorer(
        labels=labels, logits=list(logits), label=label, temperature=temperature, smoothing=smoothing
    )  # fmt: skip
