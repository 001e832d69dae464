"""The six training runs behind the learning-curve reader: real ones, of a small network, each with one change.

``python -m sftlab.teach.widgets.curve_runs`` trains them again (a few seconds) and writes ``static/curves.json``.
"""

import json

import torch
import torch.nn.functional as F
from torch import nn

from .base import STATIC

EPOCHS, NOISE = 40, 0.1  # a tenth of all labels is wrong, in the training and in the held-out data


def examples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in ten dimensions; the class depends on a product of two coordinates and on a third, with label noise.

    >>> x, y = examples(5, seed=0)
    >>> list(x.shape), list(y.shape)
    ([5, 10], [5])
    """
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 10, generator=draw)
    y = (x[:, 0] * x[:, 1] + 0.6 * x[:, 2] > 0).long()
    wrong = torch.rand(count, generator=draw) < NOISE
    return x, torch.where(wrong, 1 - y, y)


def train(
    count: int = 3000, hidden: int = 32, lr: float = 3e-3, batch: int = 50, decay: float = 1e-2, sgd: bool = False,
    linear: bool = False, leak: bool = False, held_out: int | None = None,
) -> dict[str, list[float]]:  # fmt: skip
    """Train a network with one hidden layer; the mean loss of each epoch, in nats, on both sets.

    Args:
        count: training examples.
        hidden, linear: width of the hidden layer, or none at all.
        lr, batch, decay, sgd: of AdamW, or of plain SGD.
        leak: the label stands in the inputs, too.
        held_out: so many held-out examples are drawn anew each epoch; default: the same 1,000.

    >>> sorted(train(count=20, linear=True))
    ['train', 'val']
    """
    torch.manual_seed(0)
    (x, y), (x_val, y_val) = examples(count, 1), examples(1000, 2)
    if leak:
        x, x_val = torch.cat([x, 2.0 * y[:, None]], 1), torch.cat([x_val, 2.0 * y_val[:, None]], 1)
    width = x.shape[1]
    body = [nn.Linear(width, 2)] if linear else [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2)]
    net = nn.Sequential(*body)
    optimizer = (
        torch.optim.SGD(net.parameters(), lr) if sgd else torch.optim.AdamW(net.parameters(), lr, weight_decay=decay)
    )
    curves = {"train": [], "val": []}
    for _ in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(count).split(batch):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            chosen = torch.randperm(1000)[:held_out] if held_out else slice(None)
            curves["train"].append(round(total / count, 4))
            curves["val"].append(round(F.cross_entropy(net(x_val[chosen]), y_val[chosen]).item(), 4))
    return curves


RUNS = {
    "good": {},
    "underfit": {"linear": True},
    "overfit": {"count": 200, "hidden": 128, "decay": 0.0, "batch": 25, "lr": 6e-3},
    "rate": {"lr": 3.0, "sgd": True},
    "leak": {"leak": True},
    "noisy": {"held_out": 25},
}

if __name__ == "__main__":
    found = {name: train(**settings) for name, settings in RUNS.items()}
    (STATIC / "curves.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
