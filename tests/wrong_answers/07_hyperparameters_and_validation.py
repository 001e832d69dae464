"""Wrong answers to the exercises of chapter 07."""

import math

from sftlab.teach.mistakes import wrong


@wrong("07-larger-batch", says="that is linear scaling")
def larger_batch_linear(lr, batch, new, examples, epochs, optimizer):
    """Scales the rate linearly, whatever the optimizer."""
    return lr * new / batch, epochs * math.ceil(examples / new)


@wrong("07-larger-batch", says="divided instead of multiplied")
def larger_batch_upside_down(lr, batch, new, examples, epochs, optimizer):
    """Makes the rate smaller for a larger batch."""
    k = batch / new
    return lr * (k if optimizer == "sgd" else math.sqrt(k)), epochs * math.ceil(examples / new)


@wrong("07-larger-batch", says="round up within an epoch, then multiply")
def larger_batch_rounded_once(lr, batch, new, examples, epochs, optimizer):
    """Rounds the steps up once, at the end of all epochs."""
    k = new / batch
    return lr * (k if optimizer == "sgd" else math.sqrt(k)), math.ceil(epochs * examples / new)


@wrong("07-larger-batch", says="smaller batch of each epoch is missing")
def larger_batch_without_the_last(lr, batch, new, examples, epochs, optimizer):
    """Drops the last, smaller batch."""
    k = new / batch
    return lr * (k if optimizer == "sgd" else math.sqrt(k)), epochs * (examples // new)


@wrong("07-early-stopping", says="epoch 9 is never reached")
def early_stopping_one_late(scores, patience, direction):
    """Waits one epoch too long."""
    sign, best, at = (1 if direction == "max" else -1), -math.inf, 0
    for epoch, score in enumerate(scores, start=1):
        if sign * score > best:
            best, at = sign * score, epoch
        elif epoch - at > patience:
            return at, epoch
    return at, len(scores)


@wrong("07-early-stopping", says="counted in all")
def early_stopping_counts_all(scores, patience, direction):
    """Does not start the count anew after an improvement."""
    sign, best, at, misses = (1 if direction == "max" else -1), -math.inf, 0, 0
    for epoch, score in enumerate(scores, start=1):
        if sign * score > best:
            best, at = sign * score, epoch
        else:
            misses += 1
            if misses == patience:
                return at, epoch
    return at, len(scores)


@wrong("07-early-stopping", says="smaller is better")
def early_stopping_always_max(scores, patience, direction):
    """Takes the greatest for the best, whatever the direction."""
    best, at = -math.inf, 0
    for epoch, score in enumerate(scores, start=1):
        if score > best:
            best, at = score, epoch
        elif epoch - at >= patience:
            return at, epoch
    return at, len(scores)


@wrong("07-early-stopping", says="an equal score is no improvement")
def early_stopping_with_ties(scores, patience, direction):
    """Takes an equal score for an improvement."""
    sign, best, at = (1 if direction == "max" else -1), -math.inf, 0
    for epoch, score in enumerate(scores, start=1):
        if sign * score >= best:
            best, at = sign * score, epoch
        elif epoch - at >= patience:
            return at, epoch
    return at, len(scores)


@wrong("07-cheapest", says="that is the best itself")
def cheapest_best(losses):
    """Returns the setting with the smallest mean."""
    return losses.mean(dim=0).argmin().item()


@wrong("07-cheapest", says="not divided by the root of k")
def cheapest_within_a_spread(losses):
    """Takes the spread over the folds for the error of their mean."""
    mean = losses.mean(dim=0)
    best = mean.argmin()
    return (mean <= mean[best] + losses[:, best].std()).nonzero()[0].item()


@wrong("07-cheapest", says="a large error of its own")
def cheapest_own_errors(losses):
    """Gives each setting an error of its own."""
    mean, error = losses.mean(dim=0), losses.std(dim=0) / math.sqrt(len(losses))
    return (mean <= mean.min() + error).nonzero()[0].item()


@wrong("07-cheapest", says="the limit is too low")
def cheapest_biased(losses):
    """Takes the spread with n in the denominator."""
    mean = losses.mean(dim=0)
    best = mean.argmin()
    error = losses[:, best].std(correction=0) / math.sqrt(len(losses))
    return (mean <= mean[best] + error).nonzero()[0].item()


@wrong("07-sign-flip", says="d itself is missing")
def sign_flip_without_itself(d, signs):
    """Does not count the observed difference as a draw."""
    return ((signs * d).mean(dim=1).abs() >= d.mean().abs()).double().mean().item()


@wrong("07-sign-flip", says="one-sided")
def sign_flip_one_sided(d, signs):
    """Counts only the draws on the side of the observed difference."""
    far = (signs * d).mean(dim=1) >= d.mean()
    return (1 + far.sum().item()) / (1 + len(signs))


@wrong("07-sign-flip", says="exactly as far count, too")
def sign_flip_strictly(d, signs):
    """Leaves out the draws that are exactly as far from 0."""
    far = (signs * d).mean(dim=1).abs() > d.mean().abs()
    return (1 + far.sum().item()) / (1 + len(signs))


@wrong("07-expected-best", says="the best of the first three")
def expected_best_of_the_first(scores, n):
    """Takes the best of the n trials that ran first."""
    return max(scores[:n])


@wrong("07-expected-best", says="can repeat a trial")
def expected_best_repeated(scores, n):
    """Draws the n trials with replacement."""
    ordered, m = sorted(scores), len(scores)
    return sum(v * (((i + 1) / m) ** n - (i / m) ** n) for i, v in enumerate(ordered))


@wrong("07-expected-best", says="mean of the three best")
def expected_best_of_the_top(scores, n):
    """Takes the mean of the n best trials."""
    return sum(sorted(scores)[-n:]) / n


@wrong("07-expected-best", says="not n")
def expected_best_off_by_one(scores, n):
    """Chooses n trials below the best instead of n - 1."""
    ordered, m = sorted(scores), len(scores)
    return sum(math.comb(i, n) * v for i, v in enumerate(ordered)) / math.comb(m, n)
