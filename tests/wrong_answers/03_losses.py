"""Wrong answers to the exercises of chapter 03."""

import torch
import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("03-softmax", says="With a logit of 1000 your result contains NaN")
def softmax_as_written(z):
    """Computes the formula as it is printed, which overflows."""
    return z.exp() / z.exp().sum(dim=-1, keepdim=True)


@wrong("03-softmax", says="With rows near 0 and near -2000")
def softmax_one_maximum(z):
    """Subtracts the greatest entry of the whole tensor; rows far below it become 0 / 0."""
    e = (z - z.max()).exp()
    return e / e.sum(dim=-1, keepdim=True)


@wrong("03-softmax", says="the columns sum to 1")
def softmax_first_axis(z):
    """Normalises over the first axis."""
    e = (z - z.amax(dim=0, keepdim=True)).exp()
    return e / e.sum(dim=0, keepdim=True)


@wrong("03-softmax", says="these are the logarithms")
def softmax_as_logarithm(z):
    """Returns the logarithms of the probabilities."""
    return z - z.logsumexp(dim=-1, keepdim=True)


@wrong("03-softmax", says="changes its input `z`")
def softmax_in_place(z):
    """Subtracts the maximum in place and changes the caller's logits."""
    z -= z.amax(dim=-1, keepdim=True)
    return z.exp() / z.exp().sum(dim=-1, keepdim=True)


@wrong("03-softmax", says="only where there are two")
def softmax_second_axis(z):
    """Takes dim=1 for the last axis, which is so only for two axes."""
    dim = min(1, z.dim() - 1)
    e = (z - z.amax(dim=dim, keepdim=True)).exp()
    return e / e.sum(dim=dim, keepdim=True)


@wrong("03-gradient", says="sign is wrong")
def gradient_downhill(z, q, T):
    """Takes wanted minus predicted."""
    return (q - (z / T).softmax(dim=1)) / (T * len(z))


@wrong("03-gradient", says="factor 1 / T")
def gradient_without_inner_derivative(z, q, T):
    """Forgets the inner derivative 1 / T."""
    return ((z / T).softmax(dim=1) - q) / len(z)


@wrong("03-gradient", says="gradient of the sum")
def gradient_of_the_sum(z, q, T):
    """Does not divide by the number of rows."""
    return ((z / T).softmax(dim=1) - q) / T


@wrong("03-gradient", says="divided by all N * C entries")
def gradient_over_all_entries(z, q, T):
    """Divides by the number of entries instead of the number of rows."""
    return ((z / T).softmax(dim=1) - q) / (T * z.numel())


@wrong("03-gradient", says="those of z, not of z / T")
def gradient_at_temperature_one(z, q, T):
    """Computes the probabilities without the temperature."""
    return (z.softmax(dim=1) - q) / (T * len(z))


@wrong("03-gradient", says="With a logit of 900")
def gradient_that_overflows(z, q, T):
    """Uses a softmax that overflows."""
    p = (z / T).exp()
    return (p / p.sum(dim=1, keepdim=True) - q) / (T * len(z))


@wrong("03-masked-loss", says="should return two values")
def masked_mean(logits, labels):
    """Divides at once and returns one number."""
    kept = labels != -100
    return F.cross_entropy(logits[kept], labels[kept])


@wrong("03-masked-loss", says="mean over the tokens")
def masked_mean_and_count(logits, labels):
    """Returns the mean where the sum is wanted."""
    kept = labels != -100
    return F.cross_entropy(logits[kept], labels[kept]), kept.sum()


@wrong("03-masked-loss", says="mean of the sentence means")
def masked_mean_of_means(logits, labels):
    """Averages each sentence first, then the sentences."""
    kept = labels != -100
    means = [F.cross_entropy(z[k], y[k]) for z, y, k in zip(logits, labels, kept, strict=True)]
    return torch.stack(means).mean(), kept.sum()


@wrong("03-masked-loss", says="all positions")
def masked_count_of_positions(logits, labels):
    """Counts the padding, too."""
    kept = labels != -100
    return F.cross_entropy(logits[kept], labels[kept], reduction="sum"), labels.numel()


@wrong("03-masked-loss", says="as if -100 were class 0")
def masked_not_at_all(logits, labels):
    """Turns -100 into class 0 so that `gather` works, and forgets to leave those positions out."""
    log_p = logits.log_softmax(dim=-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -log_p.sum(), (labels != -100).sum()


@wrong("03-masked-loss", says="With infinite logits at masked positions")
def masked_by_multiplying(logits, labels):
    """Multiplies the losses of the padding by 0, which does not remove an infinity."""
    mask = (labels != -100).double()
    log_p = logits.log_softmax(dim=-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -(log_p * mask).sum(), mask.sum()


@wrong("03-masked-loss", says="no gradient can flow")
def masked_as_floats(logits, labels):
    """Returns Python numbers, so nothing can be trained."""
    kept = labels != -100
    return F.cross_entropy(logits[kept], labels[kept], reduction="sum").item(), int(kept.sum())


@wrong("03-weighted-bce", says="second term, (1 - y) ln(1 - p), is missing")
def bce_half(z, y, w):
    """Forgets the second term: a wrong yes costs nothing."""
    return (w * y * F.softplus(-z)).mean()


@wrong("03-weighted-bce", says="weight multiplies both terms")
def bce_weight_outside(z, y, w):
    """Multiplies the whole loss by the weight."""
    return (w * (y * F.softplus(-z) + (1 - y) * F.softplus(z))).mean()


@wrong("03-weighted-bce", says="For z = 1000 and y = 1 the loss contains NaN")
def bce_of_probabilities(z, y, w):
    """Computes the probability first; its logarithm is infinite for a certain mistake."""
    p = z.sigmoid()
    return -(w * y * p.log() + (1 - y) * (1 - p).log()).mean()


@wrong("03-weighted-bce", says="hides how wrong")
def bce_with_an_epsilon(z, y, w):
    """Adds a small number inside the logarithm: finite, and wrong for a certain mistake."""
    p = z.sigmoid()
    return -(w * y * (p + 1e-12).log() + (1 - y) * (1 - p + 1e-12).log()).mean()


@wrong("03-weighted-bce", says="is the sum over the entries")
def bce_summed(z, y, w):
    """Sums over the entries."""
    return (w * y * F.softplus(-z) + (1 - y) * F.softplus(z)).sum()


@wrong("03-weighted-bce", says="sigmoid of its own")
def bce_with_softmax(z, y, w):
    """Lets the labels compete in a softmax."""
    p = z.softmax(dim=1)
    return -(w * y * p.log() + (1 - y) * (1 - p).log()).mean()


@wrong("03-focal", says="should be 1 - p")
def focal_upside_down(z, y, gamma):
    """Weighs by p instead of 1 - p: what is right already counts most."""
    log_p = z.log_softmax(dim=1).gather(1, y[:, None])[:, 0]
    return -(log_p.exp() ** gamma * log_p).mean()


@wrong("03-focal", says="detached")
def focal_detached(z, y, gamma):
    """Detaches the factor: the value is right, the gradient is not."""
    log_p = z.log_softmax(dim=1).gather(1, y[:, None])[:, 0]
    factor = (1 - log_p.exp()).detach() ** gamma
    return -(factor * log_p).mean()


@wrong("03-focal", says="the loss contains infinity")
def focal_of_probabilities(z, y, gamma):
    """Takes the logarithm of a finished probability."""
    p = z.softmax(dim=1).gather(1, y[:, None])[:, 0]
    return -((1 - p) ** gamma * p.log()).mean()


@wrong("03-focal", says="gamma 0.5 the gradient contains NaN")
def focal_power_of_zero(z, y, gamma):
    """Takes the power of 1 - p itself, whose slope is infinite at 0 for gamma < 1."""
    log_p = z.log_softmax(dim=1).gather(1, y[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


@wrong("03-focal", says="each sample has its own")
def focal_of_the_mean(z, y, gamma):
    """Multiplies the mean loss by the mean factor."""
    log_p = z.log_softmax(dim=1).gather(1, y[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma).mean() * log_p.mean()


@wrong("03-focal", says="divided by the sum of the factors")
def focal_normalised(z, y, gamma):
    """Divides by the sum of the factors, as with class weights."""
    log_p = z.log_softmax(dim=1).gather(1, y[:, None])[:, 0]
    factor = (1 - log_p.exp()) ** gamma
    return -(factor * log_p).sum() / factor.sum()
