"""Checks of chapter 01: a new output layer, a frozen trunk, a budget of labels, the evidence, a rank correlation."""

import copy
import math

import torch
from torch import nn

from ..compare import Wrong, a_kind, call, draw, expect, expect_close, expect_repeatable


def replace_head(answer) -> None:
    """The same layers, with a new last one for another number of classes."""
    for width, old, new in ((6, 9, 4), (5, 3, 7)):
        model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, old)).double()
        before, was = copy.deepcopy(model), list(model[:2].parameters())
        found = call(answer, model, new)
        expect(
            isinstance(found, nn.Module),
            f"`replace_head` returns {a_kind(found)}, not a model.",
            "End with `return model`.",
        )
        x = draw(5, 8)
        try:
            z = found(x)
        except RuntimeError as error:
            raise Wrong(
                f"The model with the new layer cannot be called any more: {error}",
                "The new layer takes as many inputs as the old one: `in_features`. Its numbers should have the type "
                "of the model's (here float64): `dtype=`.",
            ) from None
        linear = [m for m in found.modules() if isinstance(m, nn.Linear)]
        expect(
            len(linear) <= 2,
            f"The new layer stands behind the old one: the model now has {len(linear)} linear layers, expected 2.",
            "The old output layer knows the old classes. It has to go: put the new one in its place.",
        )
        expect(
            tuple(z.shape) == (5, new),
            f"For 5 inputs and {new} classes the model returns {list(z.shape)}, expected [5, {new}].",
            "`out_features` is only a note of a layer's size: to change it does not change the weights. "
            "Make a new layer.",
        )
        now = list(found.parameters())[:2]
        same = all(torch.equal(a, b) for a, b in zip(now, before[0].parameters(), strict=True))
        expect(
            same,
            "The layers below the output layer do not hold the pretrained weights any more.",
            "Only the last layer is new; nothing else may be made or initialised again.",
        )
        expect(
            all(a is b for a, b in zip(now, was, strict=True)),
            "The layers below are copies: an optimizer that was given the model's parameters would not train them.",
            "Put the new layer into the model itself: `model[-1] = ...`.",
        )
        expect(
            linear[-1].bias is not None, "The new layer has no bias.", "`nn.Linear` makes one unless told otherwise."
        )
        kept, old_rows = min(old, new), before[-1].weight
        expect(
            not torch.equal(linear[-1].weight[:kept], old_rows[:kept]),
            "The new layer holds rows of the old one. They belong to other classes.",
            "A new task starts with new weights: leave them as `nn.Linear` makes them.",
        )
        expect(all(p.requires_grad for p in linear[-1].parameters()), "The new layer is frozen: it could not learn.")


def freeze_trunk(answer) -> None:
    """No gradient and no moving statistics below the head; the parameters of the head for the optimizer."""
    torch.manual_seed(0)
    model = _Net().double().train()
    found = call(answer, model)
    expect(
        not isinstance(found, torch.Tensor | str) and hasattr(found, "__iter__"),
        f"`freeze_trunk` returns {a_kind(found)}, not a list of parameters.",
    )
    given = list(found)
    expect(
        all(isinstance(p, nn.Parameter) for p in given) and len(given) > 0,
        "The list for the optimizer should hold parameters, and at least one.",
        "`list(model.head.parameters())`",
    )
    head, trunk = {id(p) for p in model.head.parameters()}, list(model.trunk.parameters())
    expect(
        all(p.requires_grad for p in model.head.parameters()),
        "The head is frozen as well: nothing is left that could learn.",
        "`model.parameters()` are all; `model.trunk.parameters()` those of the trunk.",
    )
    left = sum(p.requires_grad for p in trunk)
    expect(
        left == 0,
        f"{left} of {len(trunk)} tensors of the trunk still ask for a gradient.",
        "`requires_grad_(False)` for every parameter of the trunk, also those of the normalisation.",
    )
    expect(
        {id(p) for p in given} == head,
        "The list for the optimizer is not the parameters of the head: weight, bias and nothing else.",
        "What is frozen does not belong to an optimizer.",
    )
    before = copy.deepcopy(model.trunk.state_dict())
    nn.functional.cross_entropy(model(draw(16, 4) + 3), torch.arange(16) % 3).backward()
    with torch.no_grad():  # a step by hand: the first import of torch.optim may take longer than a check may
        for p in given:
            p -= 0.1 * p.grad
    moved = [name for name, value in model.trunk.state_dict().items() if not torch.equal(value, before[name])]
    expect(
        not moved,
        f"After one step the trunk is not what it was: {', '.join(moved)} moved, although no gradient reached it.",
        "BatchNorm in train mode goes on averaging what it sees. A frozen trunk is in `eval()` mode.",
    )
    expect(
        not any(m.training for m in model.trunk.modules()),
        "A part of the trunk is still in train mode, such as its dropout.",
        "`model.trunk.eval()`",
    )
    expect(model.head.training, "The head is in eval mode; it trains, so it stays in train mode.")


def label_budget(answer) -> None:
    """Indices of ``per_class`` examples of each class, drawn by a seed."""
    labels = [0] * 30 + [1] * 12 + [2] * 20 + [1] * 5 + [0] * 9
    many = []
    for seed in (0, 1, 2):
        found = call(answer, labels, 4, seed)
        many.append(sorted(_indices(found, len(labels))))
    chosen = many[0]
    expect(
        len(chosen) == 12,
        f"For 3 classes and 4 examples of each, {len(chosen)} indices come back, expected 12.",
        "`per_class` is the number for each class.",
    )
    expect(
        all(len(set(some)) == 12 for some in many),
        "An index stands in the list twice: one example would count as two labels.",
        "Draw without putting back: `torch.randperm`, not `torch.randint`.",
    )
    for some in many:
        counts = [sum(labels[i] == k for i in some) for k in range(3)]
        expect(
            counts == [4, 4, 4],
            f"The three classes are drawn {counts} times, expected 4 each.",
            "Draw in each class by itself: collect the indices of a class first.",
        )
    expect_repeatable(answer, labels, 4, 0)
    expect(
        not many[0] == many[1] == many[2],
        "Seeds 0, 1 and 2 give the same examples: the seed is not used, so there is no spread to measure.",
        "`torch.randperm(n, generator=torch.Generator().manual_seed(seed))`",
    )
    seen: set[int] = set()
    for seed in range(60):
        seen |= set(_indices(call(answer, labels, 4, seed), len(labels)))
    missing = len(labels) - len(seen)
    expect(
        missing == 0,
        f"{missing} of {len(labels)} examples are never drawn in 60 draws.",
        "Shuffle all indices of a class, not only its first ones.",
    )


def evidence(answer) -> None:
    """ln N(y; 0, I / beta + F F^T / alpha)."""
    F, y, alpha, beta = draw(7, 3), draw(7, seed=1), 0.5, 4.0
    right = _density(F, y, alpha, beta)
    constant = 3.5 * math.log(2 * math.pi)
    C = torch.eye(7).double() / beta + F @ F.T / alpha
    swapped = _density(F, y, beta, alpha)
    suspects = {
        "the constant, n/2 ln 2 pi, is missing.": right + constant,
        "the factor 1/2 is missing.": 2 * right,
        "alpha and beta have changed places: 1/beta is the noise, on the diagonal.": swapped,
        "alpha and beta are variances here: the covariance takes 1/alpha and 1/beta.": _density(
            F, y, 1 / alpha, 1 / beta
        ),
        "the sign is wrong: it is a log density, the greater the better.": -right,
        "the logarithm of the determinant is missing.": right + C.logdet() / 2,
        "the determinant has the wrong sign: a wide Gaussian has a low density.": right + C.logdet(),
        "the quadratic term, t^T Sigma^-1 t, is missing.": right + y @ torch.linalg.solve(C, y) / 2,
        "the quadratic term takes the covariance itself: it is its inverse.": right
        + y @ torch.linalg.solve(C, y) / 2
        - y @ C @ y / 2,
        "the noise 1/beta on the diagonal is missing.": _singular(F, y, alpha),
        "it is divided by the number of samples: that is the score, not the evidence.": right / 7,
    }
    expect_close(call(answer, F, y, alpha, beta), right, "the evidence", suspects)
    expect_repeatable(answer, F, y, alpha, beta)
    F, y = draw(600, 4), draw(600, seed=1)
    found = call(answer, F, y, 1.0, 50.0)
    if isinstance(found, float | torch.Tensor) and not math.isfinite(float(found)):
        raise Wrong(
            f"With 600 samples the evidence is {float(found)}: the determinant is a product of 600 numbers, too small "
            "or too large for any float.",
            "Ask for its logarithm: `torch.logdet`, `torch.linalg.slogdet`, or the sum of the logarithms of the "
            "eigenvalues.",
        )
    expect_close(found, _density(F, y, 1.0, 50.0), "the evidence of 600 samples")


def rank_correlation(answer) -> None:
    """Spearman's rank correlation; ties share the mean of their ranks."""
    a, b = [0.1, 3.0, 0.5, 0.9, 90.0], [0.2, 0.6, 0.4, 0.9, 0.95]
    wrong_ranks = torch.tensor(a).argsort().double(), torch.tensor(b).argsort().double()
    suspects = {
        "that is the correlation of the values; put their ranks in their place.": _pearson(a, b),
        "`argsort` gives the order, not the ranks. Who comes first is at its first place; the rank of each is "
        "`argsort` of `argsort`.": _pearson(*wrong_ranks),
        "the sign is wrong: one of the two is ranked from the greatest, the other from the least.": -0.9,
        "that is the share of pairs in the same order (Kendall); the correlation of the ranks is wanted.": 0.8,
        "that is the mean product of the ranks; subtract their mean and divide by their spread.": 0.0,
    }
    expect_close(call(answer, a, b), 0.9, "the rank correlation", suspects)
    expect_close(call(answer, a, a), 1.0, "the rank correlation of a list with itself")
    expect_close(call(answer, a, [-x for x in a]), -1.0, "the rank correlation of a list with its negative")
    expect_close(
        call(answer, [x**3 for x in a], b),
        0.9,
        "the rank correlation, where one list is raised to the third power,",
        {"a rank does not depend on how far apart the values are.": _pearson([x**3 for x in a], b)},
    )
    expect_close(call(answer, [10.0, 2.0], [5.0, 1.0]), 1.0, "the rank correlation of two pairs")
    a, b = [1.0, 2.0, 2.0, 3.0, 0.5], [1.0, 2.0, 3.0, 4.0, 0.0]
    right = _pearson([2, 3.5, 3.5, 5, 1], [2, 3, 4, 5, 1])
    suspects = {
        "equal values must have equal ranks: the mean of the places they take (here 3.5 and 3.5, not 3 and 4).": 1.0,
        "of two equal values the second has another rank than the first: both take the mean of their places.": (
            _pearson([2, 4, 3, 5, 1], [2, 3, 4, 5, 1])
        ),
        "equal values take the mean of their places, not the lowest.": _pearson([2, 3, 3, 5, 1], [2, 3, 4, 5, 1]),
        "equal values take the mean of their places, not the highest.": _pearson([2, 4, 4, 5, 1], [2, 3, 4, 5, 1]),
        "after equal values the places go on counting: 1, 2, 3.5, 3.5, 5.": _pearson([2, 3, 3, 4, 1], [2, 3, 4, 5, 1]),
    }
    expect_close(call(answer, a, b), right, "the rank correlation with two equal values", suspects)


class _Net(nn.Module):
    """A trunk with BatchNorm and dropout, and a head."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(x))


def _density(F: torch.Tensor, y: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    C = torch.eye(len(y)).double() / beta + F @ F.T / alpha
    return torch.distributions.MultivariateNormal(torch.zeros(len(y)).double(), C).log_prob(y)


def _singular(F: torch.Tensor, y: torch.Tensor, alpha: float) -> torch.Tensor:
    C = F @ F.T / alpha + 1e-6 * torch.eye(len(y)).double()
    return -(y @ torch.linalg.solve(C, y) + C.logdet() + len(y) * math.log(2 * math.pi)) / 2


def _pearson(a, b) -> float:
    a, b = (torch.as_tensor(v).double() for v in (a, b))
    a, b = a - a.mean(), b - b.mean()
    return ((a * b).sum() / (a.norm() * b.norm())).item()


def _indices(found, most: int) -> list[int]:
    found = found.tolist() if hasattr(found, "tolist") else found
    expect(
        isinstance(found, list | tuple) and all(isinstance(i, int) and not isinstance(i, bool) for i in found),
        f"`label_budget` returns {a_kind(found)}; expected a list of indices, whole numbers.",
        "Return where the examples stand, not their labels in a dictionary.",
    )
    expect(all(0 <= i < most for i in found), f"An index is not between 0 and {most - 1}.")
    return list(found)


CHECKS = {
    "01-replace-head": replace_head,
    "01-freeze": freeze_trunk,
    "01-label-budget": label_budget,
    "01-evidence": evidence,
    "01-rank-correlation": rank_correlation,
}
INSIDE = {"01-replace-head", "01-freeze"}
