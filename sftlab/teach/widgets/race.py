"""The race of optimizers: six of them on one surface, equal to torch.optim; the Python twin of race.js."""

import math
from collections.abc import Callable

import traitlets

from ...errors import unknown
from .base import Widget, picture, script, style
from .surface import contours
from .surfaces import SURFACES, Pair

OPTIMIZERS = {
    "gd": "GD", "momentum": "momentum", "nesterov": "Nesterov", "rmsprop": "RMSProp", "adam": "Adam", "adamw": "AdamW",
}  # fmt: skip
DEFAULTS = {"momentum": 0.9, "alpha": 0.99, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01}


def trajectory(name: str, gradient: Callable, start: Pair, steps: int, settings: dict) -> list[Pair]:
    """All points of an optimizer's path, the start first, as ``torch.optim`` computes them.

    Args:
        name: a key of ``OPTIMIZERS``.
        gradient: gives the two partial derivatives at a point.
        start: the first point.
        steps: how many.
        settings: ``rate`` (of GD, momentum, Nesterov), ``adaptive_rate`` (of the others), ``momentum``, ``alpha`` (of
            RMSProp), ``beta1``, ``beta2`` (of Adam and AdamW), ``weight_decay`` (of AdamW, decoupled).

    Raises:
        UnknownName: no such optimizer.

    >>> trajectory("gd", lambda x, y: (x, 20 * y), (1.0, 1.0), 1, {"rate": 0.1})
    [(1.0, 1.0), (0.9, -1.0)]
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    path, first, second, eps = [tuple(start)], [0.0, 0.0], [0.0, 0.0], 1e-8
    for t in range(1, steps + 1):
        slopes, point = gradient(*path[-1]), []
        for k, (theta, g) in enumerate(zip(path[-1], slopes, strict=True)):
            if name == "gd":
                point.append(theta - settings["rate"] * g)
            elif name in ("momentum", "nesterov"):
                first[k] = settings["momentum"] * first[k] + g
                ahead = g + settings["momentum"] * first[k] if name == "nesterov" else first[k]
                point.append(theta - settings["rate"] * ahead)
            else:
                rate, beta1, beta2 = settings["adaptive_rate"], settings["beta1"], settings["beta2"]
                if name == "rmsprop":
                    second[k] = settings["alpha"] * second[k] + (1 - settings["alpha"]) * g * g
                    point.append(theta - rate * g / (math.sqrt(second[k]) + eps))
                    continue
                second[k] = beta2 * second[k] + (1 - beta2) * g * g
                first[k] = beta1 * first[k] + (1 - beta1) * g
                kept = theta * (1 - rate * settings["weight_decay"]) if name == "adamw" else theta
                m, v = first[k] / (1 - beta1**t), second[k] / (1 - beta2**t)
                point.append(kept - rate * m / (math.sqrt(v) + eps))
        path.append(tuple(point))
    return path


class OptimizerRace(Widget):
    """The widget of :func:`optimizer_race`; ``paths()`` gives what it draws."""

    _esm = script("surfaces", "plane", "race")
    _css = style("plane", "race")
    specs = traitlets.List().tag(sync=True)
    surface = traitlets.Unicode().tag(sync=True)
    steps = traitlets.Int(100).tag(sync=True)
    shown = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rate = traitlets.Float().tag(sync=True)
    adaptive_rate = traitlets.Float().tag(sync=True)
    momentum = traitlets.Float().tag(sync=True)
    alpha = traitlets.Float().tag(sync=True)
    beta1 = traitlets.Float().tag(sync=True)
    beta2 = traitlets.Float().tag(sync=True)
    weight_decay = traitlets.Float().tag(sync=True)

    def paths(self) -> dict[str, list[Pair]]:
        """The path of each optimizer with the present settings; one that diverges ends in infinity."""
        settings = {name: getattr(self, name) for name in ("rate", "adaptive_rate", *DEFAULTS)}
        shown = SURFACES[self.surface]
        return {name: trajectory(name, shown.gradient, shown.start, self.steps, settings) for name in OPTIMIZERS}

    def static(self) -> str:
        """All paths in one picture, each with its own line style and marker."""
        from ...study.plots import axes

        surface, paths = SURFACES[self.surface], self.paths()
        figure, ax = axes(width=5.4, height=3.9)
        contours(ax, lambda x, y: (surface.value(x, y), None), surface.x, surface.y)
        styles = ("-", "--", ":", "-.", (0, (5, 4)), (0, (9, 2, 2, 2, 2, 2)))
        inks = ("#000000", "#0072B2", "#009E73", "#8a6100", "#D55E00", "#9c4a78")
        for name, line, ink, mark in zip(self.shown, styles, inks, "os^Dv*", strict=False):
            points = [p for p in paths[name] if abs(p[0]) < 100 and abs(p[1]) < 100]
            every = max(1, len(points) // 6)
            ax.plot(*zip(*points, strict=True), linestyle=line, color=ink, marker=mark, markevery=every, linewidth=1.4)
            ax.lines[-1].set_label(OPTIMIZERS[name])
        ax.set(xlim=surface.x, ylim=surface.y, xlabel="θ₁", ylabel="θ₂", title=surface.title)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        ends = []
        for name in self.shown:
            x, y = paths[name][-1]
            where = f"({x:.2g}, {y:.2g})" if abs(x) < 100 and abs(y) < 100 else "far outside, diverged"
            ends.append(f"{OPTIMIZERS[name]} {where}")
        alt = (
            f"Paths of optimizers over the contour lines of {surface.title}, from the same start. "
            f"After {self.steps} steps they stand at: {', '.join(ends)}."
        )
        return picture(figure, alt)


def optimizer_race(
    surface: str = "quadratic",
    rate: float | None = None,
    adaptive_rate: float | None = None,
    steps: int = 100,
    **settings: float,
) -> OptimizerRace:
    """Six optimizers from one start on one surface, to play, pause and step; divergence is shown and explained.

    Args:
        surface: ``"quadratic"``, ``"rosenbrock"``, ``"saddle"`` or ``"himmelblau"``.
        rate: learning rate of GD, momentum and Nesterov; default: one that works on the surface.
        adaptive_rate: learning rate of RMSProp, Adam and AdamW.
        steps: 10 to 300.
        settings: ``momentum`` (0.9), ``alpha`` (0.99), ``beta1`` (0.9), ``beta2`` (0.999), ``weight_decay`` (0.01).

    Raises:
        UnknownName: no such surface or setting.
        ValueError: a value out of the range of its slider.

    >>> race = optimizer_race("quadratic", rate=0.11)     # 2 / L is 0.1
    >>> abs(race.paths()["gd"][-1][1]) > 1e6
    True
    """
    if surface not in SURFACES:
        raise unknown("surface", surface, SURFACES)
    for name in settings:
        if name not in DEFAULTS:
            raise unknown("setting", name, DEFAULTS)
    shown, values = SURFACES[surface], {**DEFAULTS, **settings}
    rates = {"rate": rate or shown.rates[0], "adaptive_rate": adaptive_rate or shown.rates[1]}
    for name, value in rates.items():
        if not 1e-4 <= value <= 10**0.5:
            raise ValueError(f"{name} must lie between 0.0001 and 3.16, where the slider ends, not {value}")
    for name, value in values.items():
        if not 0 <= value <= {"weight_decay": 1}.get(name, 0.999):
            raise ValueError(f"{name} must lie between 0 and {1 if name == 'weight_decay' else 0.999}, not {value}")
    if not 10 <= steps <= 300:
        raise ValueError(f"steps must lie between 10 and 300, not {steps}")
    specs = [named.spec(key) for key, named in SURFACES.items()]
    return OptimizerRace(specs=specs, surface=surface, steps=int(steps), shown=list(OPTIMIZERS), **rates, **values)
