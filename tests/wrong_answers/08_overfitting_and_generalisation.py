"""Wrong answers to the exercises of chapter 08."""

import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("08-half-life", says="the window's formula")
def decay_of_the_window(steps):
    """Takes the window for the half-life."""
    return 1 - 1 / steps


@wrong("08-half-life", says="mean age")
def decay_of_the_mean_age(steps):
    """Takes the mean age for the half-life."""
    return steps / (steps + 1)


@wrong("08-half-life", says="1 - beta")
def decay_of_the_new_share(steps):
    """Returns the share of the new weights."""
    return 1 - 0.5 ** (1 / steps)


@wrong("08-elastic", says="both penalties pull towards 0")
def elastic_towards_zero(theta, start, gradient, lr, l1, l2):
    """Pulls towards 0 and not towards the start."""
    v = theta - lr * gradient
    return v.sign() * (v.abs() - lr * l1).clamp(min=0) / (1 + lr * l2)


@wrong("08-elastic", says="as weight decay does")
def elastic_with_weight_decay(theta, start, gradient, lr, l1, l2):
    """Multiplies by 1 - lr * l2 instead of dividing."""
    d = theta - lr * gradient - start
    return start + d.sign() * (d.abs() - lr * l1).clamp(min=0) * (1 - lr * l2)


@wrong("08-elastic", says="has changed its sign")
def elastic_without_clamp(theta, start, gradient, lr, l1, l2):
    """Forgets that a weight below the threshold stops at the start."""
    d = theta - lr * gradient - start
    return start + d.sign() * (d.abs() - lr * l1) / (1 + lr * l2)


@wrong("08-elastic", says="slopes of the penalties are taken at the old weights")
def elastic_by_slopes(theta, start, gradient, lr, l1, l2):
    """Adds the slopes of the penalties to the gradient."""
    away = theta - start
    return theta - lr * (gradient + l1 * away.sign() + l2 * away)


@wrong("08-equal-size", says="the bins have equal width")
def ece_of_equal_width(probabilities, labels, bins):
    """Keeps the bins of the chapter."""
    sure, said = probabilities.max(dim=1)
    right, total = (said == labels).double(), 0.0
    for b in range(bins):
        inside = (sure > b / bins) & (sure <= (b + 1) / bins)
        total += (right[inside] - sure[inside]).sum().abs()
    return total / len(labels)


@wrong("08-equal-size", says="sort first")
def ece_unsorted(probabilities, labels, bins):
    """Cuts the predictions into groups as they come."""
    sure, said = probabilities.max(dim=1)
    gap = (said == labels).double() - sure
    return sum(part.sum().abs() for part in gap.chunk(bins)) / len(labels)


@wrong("08-equal-size", says="weigh each by its share")
def ece_of_equal_weights(probabilities, labels, bins):
    """Takes the plain mean over the groups, although the last is smaller."""
    sure, said = probabilities.max(dim=1)
    gap = ((said == labels).double() - sure)[sure.argsort()].chunk(bins)
    return sum(part.mean().abs() for part in gap) / len(gap)


@wrong("08-equal-size", says="over single predictions")
def ece_of_single_predictions(probabilities, labels, bins):
    """Takes absolute values before the mean of a group."""
    sure, said = probabilities.max(dim=1)
    gap = ((said == labels).double() - sure)[sure.argsort()].chunk(bins)
    return sum(part.abs().sum() for part in gap) / len(labels)


@wrong("08-forgetting", says="right after each task")
def forgetting_since_training(accuracy):
    """Compares with the accuracy right after training on the task."""
    return (accuracy.diagonal()[:-1] - accuracy[-1, :-1]).mean()


@wrong("08-forgetting", says="the last row is among the maxima, or")
def forgetting_with_the_end(accuracy):
    """Lets the maximum see the final accuracy as well."""
    return (accuracy[:, :-1].max(dim=0).values - accuracy[-1, :-1]).mean()


@wrong("08-forgetting", says="the last task is counted")
def forgetting_of_all_tasks(accuracy):
    """Counts the last task, which cannot be forgotten yet."""
    return (accuracy[:-1].max(dim=0).values - accuracy[-1]).mean()


@wrong("08-forgetting", says="a gain counts as 0")
def forgetting_without_gains(accuracy):
    """Does not let a gain count."""
    return (accuracy[:-1, :-1].max(dim=0).values - accuracy[-1, :-1]).clamp(min=0).mean()


@wrong("08-cutmix", says="the two shares are exchanged")
def cutmix_with_exchanged_shares(x, y, other, top, bottom, left, right, classes):
    """Gives the pasted label the share of the rest."""
    top, bottom = max(top, 0), min(bottom, x.shape[2])
    left, right = max(left, 0), min(right, x.shape[3])
    out = x.clone()
    out[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / x[0, 0].numel()
    hard = F.one_hot(y, classes).to(x.dtype)
    return out, share * hard + (1 - share) * hard[other]


@wrong("08-cutmix", says="bring the ends into the picture first")
def cutmix_without_clipping(x, y, other, top, bottom, left, right, classes):
    """Uses ends outside of the picture as they are."""
    out = x.clone()
    out[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / x[0, 0].numel()
    hard = F.one_hot(y, classes).to(x.dtype)
    return out, (1 - share) * hard + share * hard[other]


@wrong("08-cutmix", says="also where it lies outside")
def cutmix_with_the_area_asked_for(x, y, other, top, bottom, left, right, classes):
    """Mixes labels by the whole rectangle, also by what lies outside."""
    share = (bottom - top) * (right - left) / x[0, 0].numel()
    top, left, out = max(top, 0), max(left, 0), x.clone()
    out[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
    hard = F.one_hot(y, classes).to(x.dtype)
    return out, (1 - share) * hard + share * hard[other]


@wrong("08-cutmix", says="changes its input")
def cutmix_in_place(x, y, other, top, bottom, left, right, classes):
    """Pastes into the pictures that it was given."""
    top, bottom = max(top, 0), min(bottom, x.shape[2])
    left, right = max(left, 0), min(right, x.shape[3])
    x[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / x[0, 0].numel()
    hard = F.one_hot(y, classes).to(x.dtype)
    return x, (1 - share) * hard + share * hard[other]


@wrong("08-cutmix", says="the labels are not mixed")
def cutmix_of_pictures_alone(x, y, other, top, bottom, left, right, classes):
    """Leaves the labels as they are."""
    top, bottom = max(top, 0), min(bottom, x.shape[2])
    left, right = max(left, 0), min(right, x.shape[3])
    out = x.clone()
    out[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
    return out, F.one_hot(y, classes).to(x.dtype)
