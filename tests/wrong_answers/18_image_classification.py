"""Wrong answers to the exercises of chapter 18."""

import torch

from sftlab.teach.mistakes import wrong


@wrong("18-output-size", says="padding is added on both sides")
def one_side_padded(n, layers):
    """Adds the padding once."""
    for k, s, p in layers:
        n = (n + p - k) // s + 1
    return n


@wrong("18-output-size", says="add 1")
def forgets_the_first_window(n, layers):
    """Leaves out the window at the first place."""
    for k, s, p in layers:
        n = (n + 2 * p - k) // s
    return n


@wrong("18-output-size", says="whole number")
def divides_exactly(n, layers):
    """Does not round down."""
    for k, s, p in layers:
        n = (n + 2 * p - k) / s + 1
    return n


@wrong("18-confusion", says="rows and columns are exchanged")
def predicted_by_true(true, said, classes):
    """Puts the prediction into the row."""
    return torch.bincount(said * classes + true, minlength=classes**2).reshape(classes, classes)


@wrong("18-confusion", says="counted once")
def writes_each_place_once(true, said, classes):
    """Adds with an index, which writes each place a single time."""
    m = torch.zeros(classes, classes)
    m[true, said] += 1
    return m


@wrong("18-confusion", says="should be [4, 4]")
def only_classes_that_occur(true, said, classes):
    """Counts classes from the samples."""
    c = int(max(true.max(), said.max())) + 1
    return torch.bincount(true * c + said, minlength=c**2).reshape(c, c)


@wrong("18-occlusion", says="the sign is turned")
def gains(score, image, size):
    """Covered minus whole."""
    return -_occlusion(score, image, size)


@wrong("18-occlusion", says="subtract them")
def covered_scores(score, image, size):
    """Forgets to compare with the whole image."""
    return score(image[None]) - _occlusion(score, image, size)


@wrong("18-occlusion", says="changes its input `image`")
def in_place(score, image, size):
    """Covers the caller's image."""
    out = _occlusion(score, image, size)
    image[:, :size, :size] = 0
    return out


@wrong("18-occlusion", says="stay covered")
def never_uncovers(score, image, size):
    """Covers one square after the other in the same copy."""
    whole, copy, rows = score(image[None])[0], image.clone(), []
    for i in range(0, image.shape[1], size):
        rows.append([])
        for j in range(0, image.shape[2], size):
            copy[:, i : i + size, j : j + size] = 0
            rows[-1].append((whole - score(copy[None])[0]).item())
    return torch.tensor(rows)


def _occlusion(score, image, size):
    whole, rows = score(image[None])[0], []
    for i in range(0, image.shape[1], size):
        rows.append([])
        for j in range(0, image.shape[2], size):
            copy = image.clone()
            copy[:, i : i + size, j : j + size] = 0
            rows[-1].append((whole - score(copy[None])[0]).item())
    return torch.tensor(rows)


@wrong("18-fold-batch-norm", says="the convolution's own bias is lost")
def loses_the_bias(weight, bias, mean, var, gamma, beta, eps):
    """Takes the convolution for one without bias."""
    factor = gamma / (var + eps).sqrt()
    return weight * factor[:, None, None, None], beta - mean * factor


@wrong("18-fold-batch-norm", says="`eps` is missing")
def forgets_eps(weight, bias, mean, var, gamma, beta, eps):
    """Divides by the root of the variance alone."""
    factor = gamma / var.sqrt()
    return weight * factor[:, None, None, None], (bias - mean) * factor + beta


@wrong("18-fold-batch-norm", says="the mean is not scaled")
def mean_after_the_factor(weight, bias, mean, var, gamma, beta, eps):
    """Subtracts the mean too late."""
    factor = gamma / (var + eps).sqrt()
    return weight * factor[:, None, None, None], bias * factor - mean + beta


@wrong("18-receptive-field", says="strides are left out")
def without_strides(layers):
    """Adds the kernels only."""
    return 1 + sum(k - 1 for k, _, _ in layers)


@wrong("18-receptive-field", says="own stride counts for the layers after it")
def stride_too_early(layers):
    """Multiplies before it adds."""
    r = jump = 1
    for k, s, _ in layers:
        jump *= s
        r += (k - 1) * jump
    return r


@wrong("18-receptive-field", says="kernels do not multiply")
def multiplies(layers):
    """Multiplies the kernels."""
    out = 1
    for k, _, _ in layers:
        out *= k
    return out
