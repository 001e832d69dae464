"""Checks of chapter 05: Kaiming's spread, a head's bias, back-propagation, CKA from Gram matrices, unit variance."""

import math

import torch
import torch.nn.functional as F

from ..compare import Wrong, call, draw, expect, expect_close, expect_repeatable, expect_shape


def kaiming_std(answer) -> None:
    """Standard deviation for a weight before a leaky ReLU, so that the mean square is kept on the way forward."""
    wide = {
        "that is the variance s²; return its root, the standard deviation.": 2 / 20,
        "fan-in is the second number of [out, in]; you took the first.": math.sqrt(2 / 30),
        "that is Xavier's, between the two fans; Kaiming serves the forward pass alone.": math.sqrt(2 / 50),
        "the 2 is missing: a ReLU keeps half of the mean square.": math.sqrt(1 / 20),
        "the half stands on the wrong side: where half is lost, weights must be larger.": math.sqrt(0.5 / 20),
    }
    expect_close(call(answer, (30, 20), 0.0), math.sqrt(2 / 20), "the spread for [30, 20] and slope 0", wide)
    expect_repeatable(answer, (30, 20), 0.0)
    kernel = {
        "the kernel is missing: a unit sums over in · height · width inputs.": math.sqrt(2 / 4),
        "only one side of the kernel is counted: a unit sums over in · height · width inputs.": math.sqrt(2 / 12),
        "that counts the outputs; fan-in is in · height · width.": math.sqrt(2 / 120),
        "fan-in is in · height · width; you counted outputs as well.": math.sqrt(2 / 480),
    }
    expect_close(call(answer, (8, 4, 3, 5), 0.0), math.sqrt(2 / 60), "the spread for [8, 4, 3, 5]", kernel)
    right = math.sqrt(2 / (1.25 * 20))
    leaky = {
        "the slope is ignored: for u < 0 a leaky ReLU lets a · u through.": math.sqrt(2 / 20),
        "the slope counts by its square, for it is squared with u.": math.sqrt(2 / (1.5 * 20)),
        "a leaky ReLU keeps more than a ReLU, so the weights are smaller, not larger.": math.sqrt(2 * 1.25 / 20),
        "the negative side is half of the units, as the positive one: (1 + a²) / 2.": math.sqrt(1 / (0.75 * 20)),
    }
    expect_close(call(answer, (30, 20), 0.5), right, "the spread for [30, 20] and slope 0.5", leaky)
    expect_close(call(answer, (30, 20), 1.0), math.sqrt(1 / 20), "the spread for slope 1, where nothing is lost,")


def head_bias(answer) -> None:
    """Bias of a head with zero weights, so that the first probabilities are the shares of the classes."""
    counts = torch.tensor([60, 30, 10])
    shares = counts / 100
    found = call(answer, counts)
    expect(
        isinstance(found, torch.Tensor) and found.is_floating_point(),
        "`head_bias` should return a tensor of floating-point numbers, one for each class.",
    )
    expect_shape(found, (3,), "the bias")
    suspects = {
        "your bias is the shares themselves. The softmax of the bias should be the shares.": shares.softmax(0),
        "your bias is the counts themselves. The softmax exponentiates it.": counts.float().softmax(0),
        "the sign is wrong: the rarest class gets the highest probability.": (-shares.log()).softmax(0),
        "all classes get the same probability: that is the bias 0.": torch.full((3,), 1 / 3),
        "that is the log-odds, ln(p / (1 - p)): right for a sigmoid for each class, not for one softmax.": (
            shares.logit().softmax(0)
        ),
        "it is the logarithm to base 2 or 10; the softmax has base e.": shares.log2().softmax(0),
        "it is the logarithm to base 10 or 2; the softmax has base e.": shares.log10().softmax(0),
    }
    expect_close(found.softmax(0), shares, "the softmax of the bias", suspects)
    expect_repeatable(answer, counts)
    rare = torch.tensor([1, 999])
    expect_close(call(answer, rare).softmax(0), rare / 1000, "the softmax of the bias for counts of 1 and 999")


def backward(answer) -> None:
    """Gradients of the mean cross-entropy of a two-layer tanh net: dW1, db1, dW2, db2, dx."""
    x, y, N = draw(5, 4), torch.tensor([0, 2, 1, 2, 0]), 5
    theta = [draw(6, 4, seed=1), draw(6, seed=2), draw(3, 6, seed=3), draw(3, seed=4)]
    leaves = [v.clone().requires_grad_() for v in (*theta, x)]
    W1, b1, W2, b2, leaf = leaves
    loss = F.cross_entropy((leaf @ W1.T + b1).tanh() @ W2.T + b2, y)
    right = torch.autograd.grad(loss, leaves)
    u = x @ theta[0].T + theta[1]
    h = u.tanh()
    G = ((h @ theta[2].T + theta[3]).softmax(1) - F.one_hot(y, 3)) / N
    slopes = {
        "": 1 - h**2,
        "the slope of tanh is missing between the layers.": torch.ones_like(h),
        "the slope of tanh is 1 - h², with h = tanh(u); you took u.": 1 - u**2,
        "the slope of tanh is 1 - h²; yours is that of a sigmoid, h (1 - h).": h * (1 - h),
        "tanh is no ReLU: its slope is 1 - h², not [u > 0].": (u > 0).double(),
        "the slope of tanh is 1 - h², not 1 - h.": 1 - h,
    }
    ways = {}
    for message, slope in slopes.items():
        D = (G @ theta[2]) * slope
        ways[message] = (D.T @ x, D.sum(0), G.T @ h, G.sum(0), D @ theta[0])
    found = call(answer, x, y, *theta)
    expect(
        isinstance(found, tuple | list) and len(found) == 5,
        "`backward` should return five gradients: of W1, b1, W2, b2 and x.",
        "End with `return dW1, db1, dW2, db2, dx`.",
    )
    # from the head downwards: the first wrong gradient explains those below it
    for i, name in ((2, "W2"), (3, "b2"), (0, "W1"), (1, "b1"), (4, "x")):
        suspects = {message: way[i] for message, way in ways.items() if message and i not in (2, 3)}
        suspects["the sign is wrong: start from p - y."] = -right[i]
        suspects["it is the gradient of the sum; the loss is a mean over the samples."] = right[i] * N
        if right[i].dim() == 2:
            suspects["it is transposed: a gradient has the shape of its parameter."] = right[i].T
        if name == "W2":
            suspects["the second layer sees h = tanh(u), not u."] = G.T @ u
        expect_close(found[i], right[i], f"the gradient of {name}", suspects, count=N)
    expect_repeatable(answer, x, y, *theta)


def cka(answer) -> None:
    """Linear CKA of two sets of features, from their uncentred Gram matrices [N, N]."""
    X, Y = draw(7, 3) + 1.5, draw(7, 4, seed=1) - 1.0
    Y[:, 0] += X[:, 1]
    K, L = X @ X.T, Y @ Y.T
    H = torch.eye(7).double() - 1 / 7
    Kc, Lc = H @ K @ H, H @ L @ H
    right = (Kc * Lc).sum() / (Kc.norm() * Lc.norm())
    flat = [v - v.mean() for v in (K, L)]
    rows = [v - v.mean(1, keepdim=True) for v in (K, L)]
    suspects = {
        "nothing is centred: a constant added to all features would change it.": (K * L).sum() / (K.norm() * L.norm()),
        "only the mean of all entries is subtracted; centre rows and columns, H K H.": (
            (flat[0] * flat[1]).sum() / (flat[0].norm() * flat[1].norm())
        ),
        "only one side is centred, H K; both are needed, H K H.": (
            (rows[0] * rows[1]).sum() / (rows[0].norm() * rows[1].norm())
        ),
        "one of the two matrices is not centred.": (Kc * L).sum() / (Kc.norm() * L.norm()),
        "one of the two matrices is not centred, the first.": (K * Lc).sum() / (K.norm() * Lc.norm()),
        "the denominator has the squared norms; take the norms.": right / (Kc.norm() * Lc.norm()),
        "the root is too much.": right.sqrt(),
        "it is not divided by the norms.": (Kc * Lc).sum(),
        "it is divided by the traces; take the Frobenius norms.": (Kc * Lc).sum() / (Kc.trace() * Lc.trace()),
        "the product in the numerator is entry by entry, or a trace; not the norm of a matrix product.": (
            (Kc @ Lc).norm() / (Kc.norm() * Lc.norm())
        ),
        "the sum over all entries of a matrix product is no inner product: after centring it is 0.": 0.0,
    }
    found = call(answer, K, L)
    expect(
        not isinstance(found, torch.Tensor) or found.dim() == 0,
        f"CKA is one number, and yours has the shape {list(getattr(found, 'shape', []))}.",
        "Multiply entry by entry, then sum over all entries.",
    )
    expect_close(found, right, "the CKA", suspects)
    expect_repeatable(answer, K, L)
    expect_close(call(answer, K, 9 * K), 1.0, "the CKA of features and three times the same features")
    moved = (X + 5) @ (X + 5).T
    expect_close(call(answer, K, moved), 1.0, "the CKA of features and the same features with 5 added to all")


def unit_weights(answer) -> None:
    """Weights rescaled from the first to the last layer, each so that its pre-activation has mean square 1."""
    weights, x = [draw(12, 6) * 0.3, draw(12, 12, seed=1) * 2, draw(5, 12, seed=2) * 0.1], draw(40, 6, seed=3)
    ways: dict[str, list] = {
        "": [],
        "it is divided by the mean square; divide by its root.": [],
        "it is divided by the standard deviation, which leaves out the mean; take the root of the mean square.": [],
        "the mean square is measured after the ReLU; measure before it.": [],
        "it is multiplied by the root of the mean square; divide.": [],
        "the signal went on through the old weights: layers below change what this one sees. "
        "Go on with the rescaled output.": [],
        "the ReLU is missing on the way to this layer.": [],
    }
    for number, seen in enumerate(ways.values()):
        h = x
        for W in weights:
            u = h @ W.T
            size = u.square().mean().sqrt()
            by = [size, size**2, u.std(), u.relu().square().mean().sqrt(), 1 / size, size, size][number]
            seen.append(W / by)
            h = u.relu() if number == 5 else (u / by if number == 6 else (u / by).relu())
    right = ways.pop("")
    found = call(answer, weights, x)
    expect(
        isinstance(found, list | tuple) and len(found) == 3,
        "`unit_weights` should return a list with one matrix for each layer.",
        "Append each rescaled matrix to a new list, and return the list.",
    )
    for i, (mine, wanted) in enumerate(zip(found, right, strict=True)):
        suspects = {message: seen[i] for message, seen in ways.items()}
        suspects["it is as it was before."] = weights[i]
        expect_close(mine, wanted, f"the matrix of layer {i + 1}", suspects)
    expect_repeatable(answer, weights, x)
    (single,) = _one(call(answer, [torch.ones(2, 3).double()], torch.tensor([[1.0, 1.0, 1.0]]).double()))
    expect_close(single, torch.full((2, 3), 1 / 3), "the matrix of ones for one input of ones, where u = 3,")


def _one(found) -> list:
    if not isinstance(found, list | tuple) or len(found) != 1:
        raise Wrong("For a single layer `unit_weights` should return a list with one matrix.")
    return list(found)


CHECKS = {
    "05-kaiming-std": kaiming_std,
    "05-head-bias": head_bias,
    "05-backward": backward,
    "05-cka": cka,
    "05-unit-weights": unit_weights,
}
INSIDE: set[str] = set()
