"""Loss surfaces over two weights: the named ones, and a grid sampled from any loss; the Python twin of surfaces.js."""

from collections.abc import Callable
from dataclasses import dataclass

Pair = tuple[float, float]


@dataclass(frozen=True)
class Surface:
    """A function of two weights with its gradient, and how to show it.

    Args:
        title, formula: what the reader sees.
        value, gradient: functions of two floats.
        x, y: the ranges that are drawn.
        start: where a path begins.
        rates: good learning rates for gradient descent and for Adam.
        lowest: the least value.
        curvature: L, the greatest curvature, where it is the same everywhere.

    >>> SURFACES["quadratic"].gradient(1.0, 1.0)
    (1.0, 20.0)
    """

    title: str
    formula: str
    value: Callable[[float, float], float]
    gradient: Callable[[float, float], Pair]
    x: Pair
    y: Pair
    start: Pair
    rates: Pair
    lowest: float
    curvature: float | None = None

    def spec(self, key: str = "") -> dict:
        """What the JavaScript needs to know besides the functions, which it has itself."""
        shown = ("title", "formula", "x", "y", "start", "rates", "lowest", "curvature")
        return {"key": key} | {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in shown}


# Products instead of powers: a float's power raises OverflowError where its product becomes infinity.
SURFACES = {
    "quadratic": Surface(
        "ill-conditioned quadratic",
        "f(θ) = ½ (θ₁² + 20 θ₂²): curvatures 1 and L = 20",
        lambda x, y: 0.5 * (x * x + 20 * y * y),
        lambda x, y: (x, 20 * y),
        (-3, 3), (-3, 3), (-2.6, 1.6), (0.02, 0.2), 0.0, 20.0,
    ),
    "rosenbrock": Surface(
        "Rosenbrock's valley",
        "f(θ) = (1 − θ₁)² + 100 (θ₂ − θ₁²)²: a curved valley, the minimum at (1, 1)",
        lambda x, y: (1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x),
        lambda x, y: (-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)),
        (-2, 2), (-1, 3), (-1.5, 2.5), (0.0005, 0.1), 0.0,
    ),
    "saddle": Surface(
        "saddle",
        "f(θ) = ½ θ₁² − ½ θ₂² + ¼ θ₂⁴: a saddle at (0, 0), minima at (0, ±1)",
        lambda x, y: 0.5 * x * x - 0.5 * y * y + 0.25 * y * y * y * y,
        lambda x, y: (x, y * y * y - y),
        (-2, 2), (-2, 2), (-1.7, 0.02), (0.1, 0.05), -0.25,
    ),
    "himmelblau": Surface(
        "four valleys (Himmelblau)",
        "f(θ) = (θ₁² + θ₂ − 11)² + (θ₁ + θ₂² − 7)²: four minima of value 0",
        lambda x, y: (x * x + y - 11) * (x * x + y - 11) + (x + y * y - 7) * (x + y * y - 7),
        lambda x, y: (
            4 * x * (x * x + y - 11) + 2 * (x + y * y - 7),
            2 * (x * x + y - 11) + 4 * y * (x + y * y - 7),
        ),
        (-5, 5), (-5, 5), (-0.5, -0.5), (0.005, 0.2), 0.0,
    ),
}  # fmt: skip


def sample(loss: Callable, x: Pair, y: Pair, count: int = 33) -> dict[str, list[list[float]]]:
    """Values and gradients of ``loss`` at the nodes of a grid, by autograd.

    Args:
        loss: takes two scalar tensors, gives a scalar tensor.
        x, y: ranges of the two weights.
        count: nodes along each.

    Returns:
        dict: ``value``, ``dx``, ``dy``, and ``dxy`` (by differences of dx): rows along y, columns along x.

    Raises:
        ValueError: the loss is not a single finite number somewhere, or does not depend on the weights.

    >>> sample(lambda a, b: a * b, (0, 1), (0, 2), count=3)["dx"]
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    import torch

    found = {"value": [], "dx": [], "dy": []}
    for b in torch.linspace(*y, count, dtype=torch.float64):
        rows = [[], [], []]
        for a in torch.linspace(*x, count, dtype=torch.float64):
            weights = a.clone().requires_grad_(), b.clone().requires_grad_()
            value = loss(*weights)
            if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
                raise ValueError("loss must give one number as a tensor that depends on the two weights it is given")
            if not value.isfinite():
                raise ValueError(f"loss is {value.item()} at ({a:.3g}, {b:.3g}); choose other ranges")
            slopes = torch.autograd.grad(value, weights, allow_unused=True)
            numbers = [value.item(), *(0.0 if slope is None else slope.item() for slope in slopes)]
            for row, number in zip(rows, numbers, strict=True):
                row.append(number)
        for name, row in zip(found, rows, strict=True):
            found[name].append(row)
    step = (y[1] - y[0]) / (count - 1)
    (twist,) = torch.gradient(torch.tensor(found["dx"], dtype=torch.float64), spacing=step, dim=0, edge_order=2)
    return {**found, "dxy": twist.tolist()}


def read_grid(grid: dict, x: Pair, y: Pair, at: Pair) -> tuple[float, Pair]:
    """Value and gradient at a point of a sampled surface: bicubic between the nodes, held at the rim.

    >>> value, slopes = read_grid(sample(lambda a, b: a * b, (0, 1), (0, 2), count=3), (0, 1), (0, 2), (0.3, 0.7))
    >>> round(value, 9), [round(slope, 9) for slope in slopes]
    (0.21, [0.7, 0.3])
    """
    (i, u, hx), (j, v, hy) = (
        _place(position, low, high, count)
        for position, (low, high), count in zip(at, (x, y), (len(grid["value"][0]), len(grid["value"])), strict=True)
    )

    def read(p, q):
        return sum(
            q[b] * (p[a] * grid["value"][j + b][i + a] + hx * p[2 + a] * grid["dx"][j + b][i + a])
            + hy * q[2 + b] * (p[a] * grid["dy"][j + b][i + a] + hx * p[2 + a] * grid["dxy"][j + b][i + a])
            for b in (0, 1)
            for a in (0, 1)
        )

    return read(_basis(u), _basis(v)), (read(_steep(u), _basis(v)) / hx, read(_basis(u), _steep(v)) / hy)


def _place(position: float, low: float, high: float, count: int) -> tuple[int, float, float]:
    """The cell of a position, the share of the cell below it, and the cell's width."""
    width = (high - low) / (count - 1)
    where = min(max((position - low) / width, 0), count - 1)
    cell = min(int(where), count - 2)
    return cell, where - cell, width


def _basis(t: float) -> tuple[float, ...]:
    """Hermite's cubics at t: for the values at 0 and 1, then for the slopes there."""
    return (1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t), t * (1 - t) ** 2, t * t * (t - 1)


def _steep(t: float) -> tuple[float, ...]:
    """The derivatives of :func:`_basis`."""
    return 6 * t * (t - 1), 6 * t * (1 - t), (1 - t) * (1 - 3 * t), t * (3 * t - 2)
