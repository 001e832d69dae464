"""Checks of chapter 18: sizes of maps, a confusion matrix, occlusion, a folded BatchNorm, receptive fields."""

import torch
import torch.nn.functional as F

from ..compare import a_kind, a_shape, call, draw, expect, expect_close

STEM = [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1)]  # kernel, stride, padding


def output_size(answer) -> None:
    """floor((n + 2 p - k) / s) + 1, layer by layer."""
    for n in (224, 33, 32):
        right, unpadded, ceiled, one_less = n, n, n, n
        for k, s, p in STEM:
            right = (right + 2 * p - k) // s + 1
            unpadded = (unpadded + p - k) // s + 1
            ceiled = -(-(ceiled + 2 * p - k) // s) + 1
            one_less = (one_less + 2 * p - k) // s
        k, s, p = STEM[0]
        suspects = {
            "that is the size after the first layer; go through all of them.": (n + 2 * p - k) // s + 1,
            "padding is added on both sides.": unpadded,
            "round down before you add 1: a window that does not fit is not computed.": ceiled,
            "the window at the first place counts, too: add 1.": one_less,
        }
        found = _whole(call(answer, n, list(STEM)))
        expect_close(found, right, f"the side of an image of {n} pixels after four layers", suspects)
    expect_close(_whole(call(answer, 8, [])), 8, "the side after no layer at all")


def confusion(answer) -> None:
    """Counts: row the true class, column the predicted one."""
    true, said = torch.tensor([0, 0, 1, 1, 1, 2, 2, 0]), torch.tensor([0, 1, 1, 1, 0, 0, 2, 1])
    right = torch.zeros(4, 4)
    for t, s in zip(true.tolist(), said.tolist(), strict=True):
        right[t, s] += 1
    once = torch.zeros(4, 4)
    once[true, said] = 1
    suspects = {
        "rows and columns are exchanged: the row is the true class.": right.T,
        "a pair that occurs several times is counted once: `m[true, said] += 1` writes each place a single time.": once,
        "these are shares, not counts.": right / right.sum(dim=1, keepdim=True).clamp(min=1),
        "only the right answers are counted; the errors are what you want to see.": right.diag().diag(),
    }
    found = call(answer, true, said, 4)
    if isinstance(found, torch.Tensor) and found.shape == (3, 3):
        expect(False, "Class 3 occurs nowhere, but it is a class: the matrix should be [4, 4].", "Use `classes`.")
    expect_close(found, right, "the confusion matrix", suspects)
    nothing = torch.tensor([], dtype=torch.long)
    expect_close(call(answer, nothing, nothing, 2), torch.zeros(2, 2), "the matrix of no sample at all")


def occlusion(answer) -> None:
    """What the score loses when a square is set to 0."""
    w, image = draw(3, 6, 9, seed=1), draw(3, 6, 9, seed=2)

    def score(images):
        expect(
            isinstance(images, torch.Tensor) and images.dim() == 4 and images.shape[1:] == (3, 6, 9),
            f"`score` takes images [N, 3, 6, 9] and got {a_shape(images)}.",
            "One image alone needs an axis in front: `image[None]`.",
        )
        return (images * w).sum(dim=(1, 2, 3))

    parts = (image * w).sum(dim=0)
    right = F.avg_pool2d(parts[None, None], 3)[0, 0] * 9
    whole = parts.sum()
    suspects = {
        "the sign is turned: what the score loses is positive.": -right,
        "these are the scores of the covered images; subtract them from the score of the whole one.": whole - right,
        "the squares stay covered: each cover starts from the whole image again.": (
            right.flatten().cumsum(0).reshape(right.shape)
        ),
        "the rest is covered, and the square is left; it should be the other way round.": whole - right,
        "only the first channel is covered; all three belong to the square.": (
            F.avg_pool2d((image * w)[:1][None], 3)[0, 0] * 9
        ),
    }
    found = call(answer, score, image.clone(), 3)
    expect_close(found, right, "the occlusion map", suspects, tol=1e-6)
    expect_close(call(answer, score, torch.zeros(3, 6, 9), 3), torch.zeros(2, 3), "the map of an image of zeros")


def fold(answer) -> None:
    """A convolution and the BatchNorm behind it, in eval mode, as one convolution."""
    weight, bias = draw(4, 3, 3, 3), draw(4, seed=1)
    mean, gamma, beta = draw(4, seed=2), draw(4, seed=3), draw(4, seed=4)
    var, eps = draw(4, seed=5).abs() + 0.3, 1e-2
    factor = gamma / (var + eps).sqrt()
    right = weight * factor[:, None, None, None], (bias - mean) * factor + beta
    found = call(answer, weight, bias, mean, var, gamma, beta, eps)
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        f"`fold` should return two tensors, `(weight, bias)`, and returns {a_kind(found)}.",
    )
    plain, unsafe = gamma / (var**2 + eps).sqrt(), gamma / var.sqrt()
    suspects = {
        "the variance is squared: divide by the root of the variance.": weight * plain[:, None, None, None],
        "`eps` is missing under the root.": weight * unsafe[:, None, None, None],
        "gamma is missing.": weight * ((var + eps).rsqrt())[:, None, None, None],
        "the weight is unchanged; BatchNorm scales each output channel.": weight,
        "divide by the root of the variance, not by the variance.": weight * (gamma / (var + eps))[:, None, None, None],
    }
    expect_close(found[0], right[0], "the folded weight", suspects, tol=1e-6)
    suspects = {
        "the mean is not scaled: subtract it before the factor.": bias * factor - mean + beta,
        "the bias of the convolution is not scaled: BatchNorm sees it, too.": bias - mean * factor + beta,
        "the convolution's own bias is lost.": beta - mean * factor,
        "beta is missing.": (bias - mean) * factor,
        "the mean is added; BatchNorm subtracts it.": (bias + mean) * factor + beta,
    }
    expect_close(found[1], right[1], "the folded bias", suspects, tol=1e-6)
    x = draw(2, 3, 6, 6, seed=6)
    then = F.batch_norm(F.conv2d(x, weight, bias), mean, var, gamma, beta, eps=eps)
    expect_close(F.conv2d(x, found[0], found[1]), then, "the output of the folded convolution", tol=1e-6)


def receptive_field(answer) -> None:
    """r grows by (k - 1) times the product of the strides before."""
    for layers in (STEM, [(3, 1, 1)] * 3, [(2, 2, 0), (5, 3, 2), (3, 1, 1)]):
        right = jump = late = late_jump = 1
        for k, s, _ in layers:
            right, jump = right + (k - 1) * jump, jump * s
            late_jump *= s
            late += (k - 1) * late_jump
        product = 1
        for k, *_ in layers:
            product *= k
        suspects = {
            "strides are left out: behind a stride of 2 each step is two pixels wide.": 1
            + sum(k - 1 for k, *_ in layers),
            "a layer's own stride counts for the layers after it, not for itself.": late,
            "kernels do not multiply: each one adds its reach on both sides.": product,
            "one pixel is missing: with no layer at all it is 1.": right - 1,
            "that is the step between neighbours of the last map, not what one of them sees.": jump,
        }
        found = _whole(call(answer, list(layers)))
        expect_close(found, right, f"the receptive field of {layers}", suspects)
    expect_close(_whole(call(answer, [])), 1, "the receptive field of no layer at all")


def _whole(found):
    expect(
        isinstance(found, int) or (isinstance(found, float) and found == int(found)),
        f"A whole number of pixels is wanted, and {a_kind(found)} came back ({found!r}).",
        "`//` rounds down; `/` gives a fraction.",
    )
    return int(found)


CHECKS = {
    "18-output-size": output_size,
    "18-confusion": confusion,
    "18-occlusion": occlusion,
    "18-fold-batch-norm": fold,
    "18-receptive-field": receptive_field,
}
INSIDE = {"18-occlusion"}
