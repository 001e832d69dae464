"""Checks of chapter 00: the majority baseline, cross-entropy from logits, macro-F1."""

import math

import torch

from ..compare import call, draw, expect, expect_attached, expect_close, expect_repeatable


def majority(answer) -> None:
    """Accuracy on the test labels of always saying the most frequent training label."""
    train = ["good"] * 5 + ["bad"] * 3 + ["plain"] * 2
    test = ["bad"] * 6 + ["good"] * 3 + ["plain"]
    what = "the accuracy"
    suspects = {
        "that is the most frequent label of the test split. A baseline must not look there; "
        "it knows the training labels only.": 0.6,
        "that is how many are right. Accuracy is a share, between 0 and 1.": 3.0,
        "that is the share of that label in the training split. Measure on the test labels.": 0.5,
        "that is 1 divided by the number of classes, right only if the test labels are balanced. Count.": 1 / 3,
    }
    expect_close(call(answer, train, test), 0.3, what, suspects)
    found = call(answer, ["good", "good", "bad"], ["bad", "plain"])
    expect_close(found, 0.0, "the accuracy, where the most frequent training label is not in the test split,")
    expect_close(call(answer, ["bad"], ["bad", "bad"]), 1.0, "the accuracy, where all labels are the same,")


def cross_entropy(answer) -> None:
    """Mean cross-entropy of logits z [N, C] for labels y [N]."""
    z, y = draw(4, 3), torch.tensor([0, 2, 1, 1])
    right = torch.nn.functional.cross_entropy(z, y)
    over_samples = -z.log_softmax(dim=0)[torch.arange(4), y].mean()
    twice = torch.nn.functional.cross_entropy(z.softmax(dim=1), y)
    suspects = {
        "the probabilities are computed over the samples (dim 0) instead of over the classes (dim 1): "
        "each row of p should sum to 1.": over_samples,
        "the softmax is applied twice: `log_softmax` and `cross_entropy` take logits, not probabilities.": twice,
        "there is no logarithm: you average the probabilities of the right labels, not their logarithms.": -(
            z.softmax(dim=1)[torch.arange(4), y].mean()
        ),
        "that is minus the mean logit of the right label: logsumexp, the normalising term, is missing.": -(
            z[torch.arange(4), y].mean()
        ),
    }
    found = call(answer, z, y)
    expect_close(found, right, "the loss", suspects, count=4)
    expect_repeatable(answer, z, y)
    large = torch.tensor([[1000.0, 0.0, -1000.0], [0.0, 900.0, 0.0]])
    expect_close(
        call(answer, large, torch.tensor([0, 1])),
        0.0,
        "the loss of logits as large as 1000 (exp(1000) overflows; `logsumexp` does not)",
    )
    flat = call(answer, torch.zeros(5, 7), torch.arange(5))
    expect_close(flat, math.log(7), "the loss of 7 equal logits, which is log 7,")
    leaf = z.clone().requires_grad_()
    result = call(answer, leaf, y)
    expect_attached(result, getattr(answer, "__name__", "answer"))
    (gradient,) = torch.autograd.grad(result, leaf)
    one_hot = torch.nn.functional.one_hot(y, 3)
    expect_close(gradient, (z.softmax(dim=1) - one_hot) / 4, "the gradient of the loss", count=4)


def macro_f1(answer) -> None:
    """Mean of the F1 of each class, 0 for a class that was never predicted."""
    labels, predicted = list("aaaabbbcc"), list("aaaabbaac")  # every mistake below gives another number here
    counts = {name: _counts(predicted, labels, name) for name in "abc"}
    f1 = {name: 2 * hit / (said + there) for name, (hit, said, there) in counts.items()}
    weighted = sum(f1[name] * labels.count(name) for name in "abc") / len(labels)
    precision = sum(hit / said for hit, said, _ in counts.values()) / 3
    recall = sum(hit / there for hit, _, there in counts.values()) / 3
    suspects = {
        "that is the accuracy: every sample counts the same. In macro-F1 every class counts the same.": 7 / 9,
        "the classes are weighted by their size. In macro-F1 every class counts the same.": weighted,
        "that is the mean precision: how many of the class were found, the recall, is missing.": precision,
        "that is the mean recall: how many of those called so are right, the precision, is missing.": recall,
        "that is F1 of the mean precision and the mean recall. Compute F1 for each class, then the mean.": (
            2 * precision * recall / (precision + recall)
        ),
        "that is the arithmetic mean of precision and recall; F1 is their harmonic mean.": (precision + recall) / 2,
    }
    found = call(answer, predicted, labels, ["a", "b", "c"])
    expect_close(found, sum(f1.values()) / 3, "macro-F1", suspects, count=3)
    never = call(answer, ["a"] * 4, ["a", "a", "b", "c"], ["a", "b", "c"])
    of_a = 2 / 3
    expect_close(
        never,
        of_a / 3,
        "macro-F1, where two of three classes are never predicted,",
        {"a class that is never predicted has an F1 of 0, and it counts: divide by the number of all classes.": of_a},
    )
    expect(
        abs(float(call(answer, ["a", "b"], ["a", "b"], ["a", "b"])) - 1) < 1e-6,
        "macro-F1 of a perfect prediction is not 1.",
        "With every prediction right, precision and recall of every class are 1.",
    )


def _counts(predicted: list, labels: list, name: str) -> tuple[int, int, int]:
    """Hits of a class, how often it was predicted, how often it is there."""
    hits = sum(p == y == name for p, y in zip(predicted, labels, strict=True))
    return hits, predicted.count(name), labels.count(name)


CHECKS = {"00-majority": majority, "00-cross-entropy": cross_entropy, "00-macro-f1": macro_f1}
INSIDE: set[str] = set()
