"""Checks of chapter 08: an average's half-life, the elastic step, equal-size calibration error, forgetting, CutMix."""

import torch
import torch.nn.functional as F

from ..compare import a_kind, call, draw, expect, expect_close, expect_repeatable, expect_shape


def half_life(answer) -> None:
    """Decay of an EMA whose shares halve in so many steps."""
    suspects = {
        "that is the window's formula, 1 - 1/steps; after so many steps 35 % are left, not half.": 0.9,
        "that is the decay for a mean age of so many steps, steps / (steps + 1).": 10 / 11,
        "after one step it is halved already: the power is missing.": 0.5,
        "that is the share that remains after so many steps with 0.5 each; you want the root, not the power.": 0.5**10,
        "that is what the new weights get, 1 - beta; the question is beta.": 1 - 0.5**0.1,
        "the half is divided by the steps; shares shrink by a factor, not by a difference.": 1 - 0.5 / 10,
        "it makes e the base: the share falls to 37 %, not to a half.": torch.tensor(-0.1).double().exp(),
    }
    expect_close(call(answer, 10), 0.5**0.1, "the decay for a half-life of 10 steps", suspects)
    expect_close(call(answer, 1), 0.5, "the decay for a half-life of 1 step")
    expect_close(call(answer, 1000), 0.5**0.001, "the decay for a half-life of 1000 steps", tol=1e-8)


def elastic(answer) -> None:
    """A gradient step, then the proximal step of l1 |u - start| + l2/2 (u - start)^2, exactly."""
    start, gradient, lr, l1, l2 = draw(40, seed=1), draw(40, seed=2), 0.5, 0.6, 0.8
    theta = start + 0.6 * draw(40, seed=3)
    v = theta - lr * gradient
    d = v - start

    def soft(value, tau):
        return value.sign() * (value.abs() - tau).clamp(min=0)

    tau, kappa = lr * l1, lr * l2
    suspects = {
        "both penalties pull towards 0 there; they should pull towards `start`.": soft(v, tau) / (1 + kappa),
        "the threshold pulls towards 0 there; it should act on the distance from `start`.": (
            start + (soft(v, tau) - start) / (1 + kappa)
        ),
        "the rate is missing in the threshold: it is lr * l1.": start + soft(d, l1) / (1 + kappa),
        "the rate is missing in the division: it is 1 + lr * l2.": start + soft(d, tau) / (1 + l2),
        "the rate is missing in both penalties.": start + soft(d, l1) / (1 + l2),
        "it is multiplied by 1 - lr * l2, as weight decay does; the exact minimum divides by 1 + lr * l2.": (
            start + soft(d, tau) * (1 - kappa)
        ),
        "the threshold comes after the division; it comes first.": start + soft(d / (1 + kappa), tau),
        "what lies below the threshold has changed its sign; it should be exactly `start`.": (
            start + d.sign() * (d.abs() - tau) / (1 + kappa)
        ),
        "the L2 part is missing.": start + soft(d, tau),
        "the L1 part is missing.": start + d / (1 + kappa),
        "the start is not added again at the end: that is the change alone.": soft(d, tau) / (1 + kappa),
        "the gradient step is missing.": start + soft(theta - start, tau) / (1 + kappa),
        "the gradient step goes uphill.": start + soft(theta + lr * gradient - start, tau) / (1 + kappa),
        "the slopes of the penalties are taken at the old weights; the minimum is wanted, which gives exact zeros.": (
            theta - lr * (gradient + l1 * (theta - start).sign() + l2 * (theta - start))
        ),
    }
    right = start + soft(d, tau) / (1 + kappa)
    inputs = (theta, start, gradient, lr, l1, l2)
    found = call(answer, *inputs)
    expect_close(found, right, "the new weight", suspects)
    expect(
        bool((torch.as_tensor(found)[d.abs() < tau] == start[d.abs() < tau]).all()),
        "Weights below the threshold should be bit for bit those of the start.",
        "`start + 0` is exact; `v - (v - start)` is not.",
    )
    expect_close(call(answer, theta, start, gradient, lr, 0.0, 0.0), v, "the new weight without penalties, plain SGD,")
    expect_repeatable(answer, *inputs)


def equal_size(answer) -> None:
    """Calibration error with groups of equal size, in the order of the confidence."""
    p = (2 * draw(43, 5)).softmax(1)
    labels = torch.where(draw(43, seed=1) > 0.3, draw(43, 5, seed=2).argmax(1), p.argmax(1))
    sure, said = p.max(1)
    right, order = (said == labels).double(), sure.argsort()

    def groups(index, signed=False, plain=False):
        parts = [(right[g] - sure[g], len(g)) for g in index.chunk(4)]
        gaps = torch.stack([gap.mean() if signed else gap.mean().abs() for gap, _ in parts])
        return gaps.mean() if plain else sum(gap * n for gap, (_, n) in zip(gaps, parts, strict=True)) / 43

    place = (sure * 4).ceil().long().clamp(1, 4) - 1
    width = torch.zeros(4).double().index_add_(0, place, right - sure).abs().sum() / 43
    suspects = {
        "the bins have equal width; they should hold equally many predictions.": width,
        "the groups are not in the order of the confidence: sort first.": groups(torch.arange(43)),
        "over- and underconfident groups cancel: take the absolute value of each group's gap.": (
            groups(order, signed=True).abs()
        ),
        "the sign is lost nowhere: take the absolute value of each group's gap.": groups(order, signed=True),
        "that is the mean of |correct - confidence| over single predictions; average within a group first.": (
            (right - sure).abs().mean()
        ),
        "the groups count alike, but the last is smaller: weigh each by its share of the samples.": (
            groups(order, plain=True)
        ),
        "it is not divided by the number of samples.": groups(order) * 43,
        "it is the largest gap; the mean over all samples is wanted.": max(
            (right[g] - sure[g]).mean().abs() for g in order.chunk(4)
        ),
        "confidence is the probability of the predicted class, not that of the label.": sum(
            (right[g] - p[torch.arange(43), labels][g]).sum().abs()
            for g in p[torch.arange(43), labels].argsort().chunk(4)
        )
        / 43,
    }
    expect_close(call(answer, p, labels, 4), groups(order), "the calibration error", suspects, tol=1e-7)
    expect_repeatable(answer, p, labels, 4)
    expect_close(call(answer, p, labels, 1), (right - sure).mean().abs(), "the calibration error with a single group")
    sure_and_right = torch.eye(3).double()
    expect_close(call(answer, sure_and_right, torch.arange(3), 2), 0.0, "the calibration error of a perfect model")


def forgetting(answer) -> None:
    """Mean over all tasks but the last: best accuracy before the final training, minus accuracy at the end."""
    a = torch.tensor(
        [
            [0.90, 0.10, 0.20, 0.05],
            [0.70, 0.80, 0.30, 0.10],
            [0.75, 0.85, 0.95, 0.97],
            [0.60, 0.88, 0.50, 0.70],
        ]
    ).double()
    past, end = a[:-1, :-1].max(0).values, a[-1, :-1]
    suspects = {
        "that is the drop from the accuracy right after each task; a task may have gained before it was lost: "
        "take the best of the past.": (a.diagonal()[:-1] - end).mean(),
        "a gain counts as 0 there, and should count as negative: the last row is among the maxima, or what is below "
        "0 is cut off.": (a[:, :-1].max(0).values - end).mean(),
        "the last task is counted as well; nothing has been trained after it.": (a[:-1].max(0).values - a[-1]).mean(),
        "the last task is counted as well, and the last row is among the maxima.": (a.max(0).values - a[-1]).mean(),
        "the last task is counted as 0; divide by the number of the others.": (past - end).sum() / 4,
        "the maximum runs along the columns; a task is a column.": (a[:-1, :-1].max(1).values - end).mean(),
        "rows and columns are exchanged: accuracy[i, j] is that of task j after training on task i.": (
            (a[:-1, :-1].max(1).values - a[:-1, -1]).mean()
        ),
        "the sign is wrong: what is lost counts as positive.": (end - past).mean(),
        "it is the sum; the mean over the tasks is wanted.": (past - end).sum(),
        "that is the first row minus the last; the best of the past is wanted.": (a[0, :-1] - end).mean(),
        "that is the loss in the last training alone; the best of the past is wanted.": (a[-2, :-1] - end).mean(),
    }
    found = call(answer, a)
    expect_close(found, (past - end).mean(), "the mean forgetting", suspects)
    expect_repeatable(answer, a)
    two = torch.tensor([[0.9, 0.2], [0.4, 0.8]]).double()
    expect_close(call(answer, two), 0.5, "the forgetting of two tasks, 0.9 before and 0.4 after")


def cutmix(answer) -> None:
    """Pictures with a rectangle of another one pasted in, and labels mixed by the area that was pasted."""
    x, y, other = draw(4, 2, 6, 5), torch.tensor([0, 2, 1, 2]), torch.tensor([2, 0, 3, 1])
    for where, ends in (("inside", (1, 4, 2, 4)), ("over the edge", (-2, 3, 3, 9))):
        top, bottom, left, right_end = ends
        t, b, le, r = max(top, 0), min(bottom, 6), max(left, 0), min(right_end, 5)
        right = x.clone()
        right[:, :, t:b, le:r] = x[other, :, t:b, le:r]
        share, asked = (b - t) * (r - le) / 30, (bottom - top) * (right_end - left) / 30
        hard = F.one_hot(y, 3).double()
        found = call(answer, x, y, other, *ends, 3)
        expect(
            isinstance(found, tuple | list) and len(found) == 2,
            f"`cutmix` should return the pictures and the soft labels; it returns {a_kind(found)}.",
            "`return pictures, labels`",
        )
        chain = x.clone()
        for i in range(4):
            chain[i, :, t:b, le:r] = chain[other[i], :, t:b, le:r]
        outside = x[other].clone()
        outside[:, :, t:b, le:r] = x[:, :, t:b, le:r]
        turned = x.clone()
        turned[:, :, max(left, 0) : min(right_end, 6), t : min(b, 5)] = x[
            other, :, max(left, 0) : min(right_end, 6), t : min(b, 5)
        ]
        back = x.clone()
        back[other, :, t:b, le:r] = x[:, :, t:b, le:r]
        suspects = {
            "nothing is pasted.": x,
            "later pictures get rectangles from pictures that are changed already: read from the old ones.": chain,
            "the rectangle is kept and all around it is replaced; it is the other way round.": outside,
            "rows and columns are exchanged: rows are the third axis.": turned,
            "picture other[i] got the rectangle of picture i; it is the other way round.": back,
        }
        if where != "inside":
            naive = x.clone()
            naive[:, :, top:bottom, left:right_end] = x[other, :, top:bottom, left:right_end]
            look = "a negative end counts from the other side in a slice: bring the ends into the picture first."
            suspects = {look: naive, **suspects}
        expect_close(found[0], right, f"with a rectangle {where} the picture", suspects)
        expect_shape(found[1], (4, 3), "the tensor of soft labels")
        labels = {
            "the labels are not mixed.": hard,
            "the two shares are exchanged: the pasted part counts by its area.": (
                share * hard + (1 - share) * hard[other]
            ),
            "both labels count a half; they count by area.": (hard + hard[other]) / 2,
            "each row is mixed with itself: `other` is missing.": (1 - share) * hard + share * hard,
        }
        if where != "inside":
            labels["the area is that of the whole rectangle, also where it lies outside the picture."] = (
                1 - asked
            ) * hard + asked * hard[other]
        mixed = (1 - share) * hard + share * hard[other]
        expect_close(found[1], mixed, f"with a rectangle {where} the soft label", labels)
    expect_repeatable(answer, x, y, other, 1, 4, 2, 4, 3)


CHECKS = {
    "08-half-life": half_life,
    "08-elastic": elastic,
    "08-equal-size": equal_size,
    "08-forgetting": forgetting,
    "08-cutmix": cutmix,
}
INSIDE: set[str] = set()
