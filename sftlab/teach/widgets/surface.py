"""The loss surface: one point on a picture of a loss over two weights, its gradient, and a step of gradient descent."""

from collections.abc import Callable, Sequence

import traitlets

from ...errors import unknown
from .base import Widget, picture, script, style
from .surfaces import SURFACES, Pair, Surface, read_grid, sample


class LossSurface(Widget):
    """The widget of :func:`loss_surface`; ``value`` and ``gradient`` are those at its present point."""

    _esm = script("surfaces", "plane", "surface")
    _css = style("plane", "surface")
    specs = traitlets.List().tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    grid = traitlets.Dict().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    surface = traitlets.Unicode("").tag(sync=True)
    point = traitlets.List(traitlets.Float()).tag(sync=True)
    rate = traitlets.Float(0.1).tag(sync=True)
    path = traitlets.List().tag(sync=True)

    def at(self, x: float, y: float) -> tuple[float, Pair]:
        """Value and gradient at a point, as the JavaScript computes them."""
        if self.grid:
            return read_grid(self.grid, self.spec["x"], self.spec["y"], (x, y))
        shown = SURFACES[self.surface]
        return shown.value(x, y), shown.gradient(x, y)

    @property
    def value(self) -> float:
        """The loss at the present point."""
        return self.at(*self.point)[0]

    @property
    def gradient(self) -> Pair:
        """The gradient at the present point."""
        return self.at(*self.point)[1]

    def static(self) -> str:
        """Contours, the point and the direction of the gradient."""
        from ...study.plots import axes

        spec = self.spec if self.grid else SURFACES[self.surface].spec()
        figure, ax = axes(width=4.2, height=3.8)
        contours(ax, self.at, spec["x"], spec["y"])
        (x, y), (gx, gy) = self.point, self.gradient
        size = (gx**2 + gy**2) ** 0.5
        ax.plot(x, y, "o", color="#D55E00", markersize=8)
        if size > 0:
            reach = 0.15 * (spec["x"][1] - spec["x"][0]) / size
            arrow = {"arrowstyle": "->", "color": "#D55E00", "lw": 2}
            ax.annotate("", (x + reach * gx, y + reach * gy), (x, y), arrowprops=arrow)
        ax.set(xlabel=self.names[0], ylabel=self.names[1], title=spec["title"], xlim=spec["x"], ylim=spec["y"])
        alt = (
            f"Contour lines of a loss over {self.names[0]} and {self.names[1]} ({spec['title']}), a point at "
            f"({x:.2f}, {y:.2f}) with loss {self.value:.3f}, and an arrow along the gradient, across the lines."
        )
        return picture(figure, alt)


def contours(ax, at: Callable, x: Sequence[float], y: Sequence[float], count: int = 61) -> None:
    """Contour lines of ``at(x, y) -> (value, gradient)``, at levels between which equally many points lie.

    >>> contours(ax, widget.at, (-3, 3), (-3, 3))     # doctest: +SKIP
    """
    import numpy as np

    across, up = np.linspace(*x, count), np.linspace(*y, count)
    values = np.array([[at(a, b)[0] for a in across] for b in up])
    levels = np.unique(np.quantile(values, (np.arange(12) + 0.5) / 12))
    ax.contourf(across, up, values, levels=levels, cmap="Blues", alpha=0.35, extend="both")
    ax.contour(across, up, values, levels=levels, colors="#767f89", linewidths=0.6)


def loss_surface(
    loss: str | Callable = "quadratic",
    x: Pair = (-3.0, 3.0),
    y: Pair = (-3.0, 3.0),
    start: Pair | None = None,
    rate: float | None = None,
    names: tuple[str, str] = ("θ₁", "θ₂"),
    title: str = "a loss over two weights",
) -> LossSurface:
    """A point to drag, or to move by arrow keys, over a loss of two weights; value, gradient and next step follow.

    Args:
        loss: a named surface (the reader can change to another), or a function of two scalar tensors: then 33 x 33
            values and gradients are computed here, by autograd, and the picture is smooth in between.
        x, y: the ranges of the two weights, for a function.
        start: where the point begins.
        rate: the learning rate of the step.
        names: of the two weights.
        title: of the picture, for a function.

    Raises:
        UnknownName: no surface of this name.
        ValueError: the function gives no finite number that depends on its weights; ranges or start do not fit.

    >>> loss_surface("saddle", start=(1.0, 1.0)).gradient
    (1.0, 0.0)
    >>> round(loss_surface(lambda a, b: a * b, start=(1.0, 2.0)).value, 6)
    2.0
    """
    if isinstance(loss, str):
        if loss not in SURFACES:
            raise unknown("surface", loss, SURFACES)
        shown, grid, name = SURFACES[loss], {}, loss
    else:
        if not (x[0] < x[1] and y[0] < y[1]):
            raise ValueError(f"a range goes from low to high, not {x} and {y}")
        grid, name = sample(loss, x, y), ""
        lowest = min(map(min, grid["value"]))
        middle = (0.8 * x[0] + 0.2 * x[1], 0.8 * y[0] + 0.2 * y[1])
        about = "Sampled by autograd on a grid of 33 by 33 points."
        shown = Surface(title, about, loss, loss, tuple(x), tuple(y), middle, (0.1, 0.1), lowest)
    start = start or shown.start
    if not (shown.x[0] <= start[0] <= shown.x[1] and shown.y[0] <= start[1] <= shown.y[1]):
        raise ValueError(f"the start {start} lies outside of the picture, x {shown.x} and y {shown.y}")
    return LossSurface(
        specs=[] if grid else [surface.spec(key) for key, surface in SURFACES.items()],
        spec={**shown.spec(), "start": list(map(float, start))} if grid else {},
        grid=grid, names=list(names), surface=name, point=[float(v) for v in start], rate=rate or shown.rates[0],
    )  # fmt: skip
