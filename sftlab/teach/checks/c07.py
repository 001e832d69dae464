"""Checks of chapter 07: a larger batch, early stopping, one standard error, the sign-flip test, a smaller search."""

import math
from itertools import combinations
from statistics import mean

import torch

from ..compare import a_kind, call, draw, expect, expect_close, expect_repeatable


def larger_batch(answer) -> None:
    """(rate, steps) for another batch size at equal epochs: linear scaling for SGD, the root for Adam."""
    rate, steps = _pair(call(answer, 0.1, 16, 64, 1000, 3, "sgd"), "larger_batch", "the rate and the number of steps")
    suspects = {
        "it is divided instead of multiplied: fewer steps have to go as far.": 0.025,
        "that is the square root; SGD scales linearly.": 0.2,
        "the rate is the old one.": 0.1,
        "that is the square of the factor.": 1.6,
    }
    expect_close(rate, 0.4, "the rate of SGD for a batch four times as large", suspects)
    suspects = {
        "the last, smaller batch of each epoch is missing: round up.": 45,
        "each epoch ends with a smaller batch of its own: round up within an epoch, then multiply.": 47,
        "that is the number of steps of one epoch.": 16,
        "that counts the steps of the old batch size.": 189,
        "the steps are no whole number: round up within an epoch.": 46.875,
    }
    expect_close(steps, 48, "the number of steps for 1,000 examples, batches of 64 and 3 epochs", suspects)
    rate, _ = _pair(call(answer, 0.1, 16, 64, 1000, 3, "adam"), "larger_batch", "the rate and the number of steps")
    suspects = {
        "that is linear scaling; Adam starts with the square root.": 0.4,
        "it is divided instead of multiplied.": 0.05,
        "the rate is the old one.": 0.1,
        "that is the square root of the rate, too; only the factor has one.": math.sqrt(0.1 * 4),
    }
    expect_close(rate, 0.2, "the rate of Adam for a batch four times as large", suspects)
    rate, steps = _pair(call(answer, 0.08, 64, 16, 128, 2, "sgd"), "larger_batch", "the rate and the number of steps")
    expect_close(rate, 0.02, "the rate of SGD for a batch a quarter as large", {"it grew; it should shrink.": 0.32})
    expect_close(steps, 16, "the number of steps for 128 examples, batches of 16 and 2 epochs")


def early_stopping(answer) -> None:
    """(best epoch, epochs run) from 1 on; ties are no improvement."""
    what = "the best epoch and the epochs run"

    def ask(scores, patience, direction):
        return _pair(call(answer, scores, patience, direction), "early_stopping", what)

    losses = [0.9, 0.7, 0.8, 0.75, 0.6, 0.65, 0.62, 0.7, 0.5]
    best, run = ask(losses, 3, "min")
    suspects = {
        "epochs are counted from 1, yours from 0.": 4,
        "epoch 9 is never reached: after the third epoch without improvement, epoch 8, the run is over.": 9,
        "that is the worst epoch: with `min`, smaller is better.": 1,
        "that is the first dip; the run has to wait until `patience` epochs brought no improvement.": 2,
    }
    expect_close(best, 5, "the best epoch of 0.9 0.7 0.8 0.75 0.6 0.65 0.62 0.7 0.5 with patience 3", suspects)
    suspects = {
        "it stops one epoch too early, or is counted from 0.": 7,
        "the run does not end at epoch 8, the third without improvement.": 9,
        "epochs without improvement are counted in all; each improvement starts the count anew.": 6,
        "that is the best epoch; the run goes on for `patience` epochs.": 5,
        "that is the patience.": 3,
    }
    expect_close(run, 8, "the number of epochs run", suspects)
    best, run = ask([0.5, 0.7, 0.7, 0.6, 0.9], 2, "max")
    suspects = {
        "an equal score is no improvement: the first of the two counts.": 3,
        "the direction is `max`: greater is better.": 1,
        "epoch 5 is never reached: an equal score is no improvement, so it does not start the count anew.": 5,
    }
    expect_close(best, 2, "the best epoch of 0.5 0.7 0.7 0.6 0.9 with patience 2 and `max`", suspects)
    again = "an equal score is no improvement, so it does not start the count anew."
    expect_close(run, 4, "the number of epochs run of 0.5 0.7 0.7 0.6 0.9", {again: 5, "it stops too early.": 3})
    best, run = ask([3.0, 2.0, 1.0], 1, "min")
    expect_close(best, 3, "the best epoch of a loss that falls to the end")
    expect_close(run, 3, "the number of epochs run of a loss that falls to the end")
    best, _ = ask([-5.0, -4.0, -6.0], 5, "max")
    expect_close(best, 2, "the best epoch of -5 -4 -6", {"negative scores are scores, too: begin with -inf.": 0})


def cheapest(answer) -> None:
    """Number of the first setting whose mean is within one standard error of the best mean."""
    # the best has the spread 0.08 over four folds, so the error 0.04: the limit is 0.44
    around = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64) * math.sqrt(3) / 2
    means = torch.tensor([0.60, 0.46, 0.43, 0.40, 0.41], dtype=torch.float64)
    losses = means + around[:, None] * torch.tensor([0.60, 0.02, 0.02, 0.08, 0.02], dtype=torch.float64)
    suspects = {
        "that is the best itself; a cheaper one is as good within one standard error.": 3,
        "the spread is not divided by the root of k: that is the error of one fold, not of their mean.": 1,
        "that is the last one within the limit; the cheapest comes first.": 4,
        "that one has a large error of its own. The limit is the same for all: one standard error of the best.": 0,
    }
    expect_close(call(answer, losses), 2, "the number of the cheapest setting", suspects)
    # two folds, spread 0.1, error 0.071: the limit is 0.471
    means = torch.tensor([0.9, 0.46, 0.4, 0.5, 0.5, 0.5], dtype=torch.float64)
    two = means + torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * 0.1 / math.sqrt(2)
    low = "the limit is too low: n - 1 in the spread, and the root of k (the folds), not k, not the number of settings."
    expect_close(call(answer, two), 1, "the number of the cheapest setting with two folds", {low: 2})
    expect_close(call(answer, draw(5, 1)), 0, "the number of the cheapest setting if there is only one")
    expect_repeatable(answer, losses)


def sign_flip(answer) -> None:
    """Two-sided p-value of the sign-flip test, with the observed difference counted as a draw."""
    d = torch.tensor([1.0, 1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    signs = torch.where(draw(39, 8) > 0, 1.0, -1.0).double()
    means, D = (signs * d).mean(1), d.mean()
    far = int((means.abs() >= D).sum())
    assert 0 < int((means.abs() > D).sum()) < far < 39 and int((means >= D).sum()) < far
    suspects = {
        "d itself is missing as one more draw: add 1 above and below.": far / 39,
        "the 1 is missing above the line.": far / 40,
        "the 1 is missing below the line.": (far + 1) / 39,
        "that is one-sided: draws that are as far on the other side count, too.": (1 + int((means >= D).sum())) / 40,
        "draws that are exactly as far count, too: greater or equal.": (1 + int((means.abs() > D).sum())) / 40,
        "that is the share of draws that are nearer; the p-value is the others'.": (1 + 39 - far) / 40,
        "the means are compared without their absolute values.": (1 + int((means <= -D).sum())) / 40,
    }
    found = call(answer, d, signs)
    expect(
        not isinstance(found, torch.Tensor) or found.dim() == 0,
        f"A p-value is one number, and yours has the shape {list(getattr(found, 'shape', []))}.",
        "Count over the draws.",
    )
    expect_close(found, (1 + far) / 40, "the p-value", suspects)
    expect_close(call(answer, -d, signs), (1 + far) / 40, "the p-value of the same difference the other way round")
    none = torch.zeros(8, dtype=torch.float64)
    expect_close(call(answer, none, signs), 1.0, "the p-value of two plans that never differ")
    expect_repeatable(answer, d, signs)


def expected_best(answer) -> None:
    """Mean of the best of n over all choices of n different trials."""
    scores = [0.71, 0.64, 0.80, 0.90, 0.55, 0.86]

    def right(n, best=max):
        return mean(best(some) for some in combinations(scores, n))

    def repeated(n):
        ordered, m = sorted(scores), len(scores)
        return sum(v * (((i + 1) / m) ** n - (i / m) ** n) for i, v in enumerate(ordered))

    suspects = {
        "that is the best of all trials; with three it need not be among them.": max(scores),
        "that is the best of the first three: it depends on the order in which they ran.": max(scores[:3]),
        "that is the mean of all trials.": mean(scores),
        "your draws can repeat a trial; the three are different ones.": repeated(3),
        "greater is better; yours is the mean of the lowest of three.": right(3, min),
        "that is the mean of the three best.": mean(sorted(scores)[-3:]),
        "that is the expected best of two trials: shifted by one.": right(2),
        "that is the expected best of four trials: shifted by one.": right(4),
        "the scores are not sorted: `i` has to be the number of trials below.": (
            sum(math.comb(i, 2) * v for i, v in enumerate(scores)) / math.comb(6, 3)
        ),
        "the best one takes a place itself: n - 1 of those below are left to choose, not n.": (
            sum(math.comb(i, 3) * v for i, v in enumerate(sorted(scores))) / math.comb(6, 3)
        ),
    }
    expect_close(call(answer, list(scores), 3), right(3), "the expected best of 3 out of 6 trials", suspects)
    expect_close(call(answer, list(scores), 1), mean(scores), "the expected best of 1 trial, the mean,")
    expect_close(call(answer, list(scores), 6), max(scores), "the expected best of all 6 trials")
    expect_close(call(answer, [0.5, 0.5, 0.7, 0.7], 2), 0.5 / 6 + 0.7 * 5 / 6, "the expected best with ties")
    many = [(7 * i) % 101 / 101 for i in range(60)]  # all choices of 30 of 60: more than can be listed
    wanted = sum(math.comb(i, 29) * v for i, v in enumerate(sorted(many))) / math.comb(60, 30)
    expect_close(call(answer, many, 30), wanted, "the expected best of 30 out of 60 trials")
    expect_repeatable(answer, list(scores), 2)


def _pair(found, name: str, what: str) -> tuple:
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        f"`{name}` should return two numbers, {what}; it returns {a_kind(found)}.",
        "`return a, b`",
    )
    return tuple(found)


CHECKS = {
    "07-larger-batch": larger_batch,
    "07-early-stopping": early_stopping,
    "07-cheapest": cheapest,
    "07-sign-flip": sign_flip,
    "07-expected-best": expected_best,
}
INSIDE: set[str] = set()
