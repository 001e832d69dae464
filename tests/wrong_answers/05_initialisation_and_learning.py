"""Wrong answers to the exercises of chapter 05."""

import math

import torch
import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("05-kaiming-std", says="that is the variance")
def kaiming_variance(shape, slope=0.0):
    """Returns the variance instead of the standard deviation."""
    return 2 / ((1 + slope**2) * math.prod(shape[1:]))


@wrong("05-kaiming-std", says="you took the first")
def kaiming_fan_out(shape, slope=0.0):
    """Takes the number of outputs for fan-in."""
    return math.sqrt(2 / ((1 + slope**2) * shape[0] * math.prod(shape[2:])))


@wrong("05-kaiming-std", says="the kernel is missing")
def kaiming_without_kernel(shape, slope=0.0):
    """Counts input channels, not the pixels of the kernel."""
    return math.sqrt(2 / ((1 + slope**2) * shape[1]))


@wrong("05-kaiming-std", says="the slope is ignored")
def kaiming_without_slope(shape, slope=0.0):
    """Forgets the negative side of the leaky ReLU."""
    return math.sqrt(2 / math.prod(shape[1:]))


@wrong("05-kaiming-std", says="counts by its square")
def kaiming_slope_not_squared(shape, slope=0.0):
    """Takes the slope itself instead of its square."""
    return math.sqrt(2 / ((1 + slope) * math.prod(shape[1:])))


@wrong("05-head-bias", says="the shares themselves")
def bias_of_shares(counts):
    """Sets the bias to the shares, as if the softmax changed nothing."""
    return counts / counts.sum()


@wrong("05-head-bias", says="the sign is wrong")
def bias_of_surprise(counts):
    """Takes minus the logarithm, so that rare classes come first."""
    return -(counts / counts.sum()).log()


@wrong("05-head-bias", says="right for a sigmoid")
def bias_of_log_odds(counts):
    """Takes the log-odds, which belong to sigmoids."""
    return (counts / counts.sum()).logit()


@wrong("05-backward", says="the slope of tanh is missing")
def backward_without_slope(x, y, W1, b1, W2, b2):
    """Forgets the activation on the way back."""
    h = (x @ W1.T + b1).tanh()
    G = ((h @ W2.T + b2).softmax(dim=1) - F.one_hot(y, len(b2))) / len(y)
    D = G @ W2
    return D.T @ x, D.sum(dim=0), G.T @ h, G.sum(dim=0), D @ W1


@wrong("05-backward", says="tanh is no ReLU")
def backward_with_relu(x, y, W1, b1, W2, b2):
    """Keeps the mask of the chapter's ReLU."""
    u = x @ W1.T + b1
    h = u.tanh()
    G = ((h @ W2.T + b2).softmax(dim=1) - F.one_hot(y, len(b2))) / len(y)
    D = (G @ W2) * (u > 0)
    return D.T @ x, D.sum(dim=0), G.T @ h, G.sum(dim=0), D @ W1


@wrong("05-backward", says="gradient of the sum")
def backward_of_the_sum(x, y, W1, b1, W2, b2):
    """Does not divide by the number of samples."""
    h = (x @ W1.T + b1).tanh()
    G = (h @ W2.T + b2).softmax(dim=1) - F.one_hot(y, len(b2))
    D = (G @ W2) * (1 - h**2)
    return D.T @ x, D.sum(dim=0), G.T @ h, G.sum(dim=0), D @ W1


@wrong("05-cka", says="nothing is centred")
def cka_uncentred(K, L):
    """Forgets to centre the Gram matrices."""
    return (K * L).sum() / (K.norm() * L.norm())


@wrong("05-cka", says="only the mean of all entries")
def cka_centred_by_one_mean(K, L):
    """Subtracts one mean from the whole matrix."""
    K, L = K - K.mean(), L - L.mean()
    return (K * L).sum() / (K.norm() * L.norm())


@wrong("05-cka", says="not the norm of a matrix product")
def cka_of_the_product(K, L):
    """Takes the norm of a matrix product for the inner product."""
    H = torch.eye(len(K), dtype=K.dtype) - 1 / len(K)
    K, L = H @ K @ H, H @ L @ H
    return (K @ L).norm() / (K.norm() * L.norm())


@wrong("05-unit-weights", says="divide by its root")
def unit_weights_by_the_mean_square(weights, x):
    """Divides by the mean square instead of its root."""
    out, h = [], x
    for W in weights:
        out.append(W / (h @ W.T).square().mean())
        h = (h @ out[-1].T).relu()
    return out


@wrong("05-unit-weights", says="through the old weights")
def unit_weights_not_in_sequence(weights, x):
    """Measures every layer behind the old weights."""
    out, h = [], x
    for W in weights:
        u = h @ W.T
        out.append(W / u.square().mean().sqrt())
        h = u.relu()
    return out


@wrong("05-unit-weights", says="after the ReLU")
def unit_weights_after_the_relu(weights, x):
    """Measures the mean square after the activation."""
    out, h = [], x
    for W in weights:
        out.append(W / (h @ W.T).relu().square().mean().sqrt())
        h = (h @ out[-1].T).relu()
    return out


@wrong("05-unit-weights", says="changes its input")
def unit_weights_in_place(weights, x):
    """Divides the caller's matrices in place."""
    h = x
    for W in weights:
        W /= (h @ W.T).square().mean().sqrt()
        h = (h @ W.T).relu()
    return weights
