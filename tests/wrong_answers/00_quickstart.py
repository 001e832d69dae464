"""Wrong answers to the exercises of chapter 00."""

import torch
import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("00-majority", says="must not look there")
def majority_of_the_test_split(train_labels, test_labels):
    """Takes the most frequent label of the test split."""
    most = max(set(test_labels), key=test_labels.count)
    return test_labels.count(most) / len(test_labels)


@wrong("00-majority", says="a share, between 0 and 1")
def majority_as_a_count(train_labels, test_labels):
    """Returns how many are right, not which share."""
    most = max(set(train_labels), key=train_labels.count)
    return test_labels.count(most)


@wrong("00-majority", says="Measure on the test labels")
def majority_measured_on_train(train_labels, test_labels):
    """Measures on the training labels."""
    most = max(set(train_labels), key=train_labels.count)
    return train_labels.count(most) / len(train_labels)


@wrong("00-majority", says="divided by the number of classes")
def majority_is_one_over_classes(train_labels, test_labels):
    """Takes 1 divided by the number of classes, as if they were balanced."""
    return 1 / len(set(train_labels))


@wrong("00-cross-entropy", says="a sum instead of a mean")
def cross_entropy_summed(z, y):
    """Sums over the samples."""
    log_p = z - z.logsumexp(dim=1, keepdim=True)
    return -log_p[torch.arange(len(y)), y].sum()


@wrong("00-cross-entropy", says="wrong sign")
def cross_entropy_without_minus(z, y):
    """Forgets the minus sign."""
    log_p = z - z.logsumexp(dim=1, keepdim=True)
    return log_p[torch.arange(len(y)), y].mean()


@wrong("00-cross-entropy", says="over the samples (dim 0)")
def cross_entropy_over_samples(z, y):
    """Normalises over the samples."""
    log_p = z - z.logsumexp(dim=0, keepdim=True)
    return -log_p[torch.arange(len(y)), y].mean()


@wrong("00-cross-entropy", says="applied twice")
def cross_entropy_of_probabilities(z, y):
    """Applies the softmax twice."""
    return F.cross_entropy(z.softmax(dim=1), y)


@wrong("00-cross-entropy", says="exp(1000) overflows")
def cross_entropy_unstable(z, y):
    """Computes exp of the logits first, which overflows."""
    p = z.exp() / z.exp().sum(dim=1, keepdim=True)
    return -p[torch.arange(len(y)), y].log().mean()


@wrong("00-cross-entropy", says="no gradient can flow")
def cross_entropy_as_a_float(z, y):
    """Returns a Python number, so nothing can be trained."""
    return F.cross_entropy(z, y).item()


@wrong("00-cross-entropy", says="changes its input `z`")
def cross_entropy_in_place(z, y):
    """Subtracts the maximum in place and changes the caller's logits."""
    with torch.no_grad():
        z -= z.max(dim=1, keepdim=True).values
    return F.cross_entropy(z, y)


@wrong("00-cross-entropy", says="its mean is the expected number")
def cross_entropy_per_sample(z, y):
    """Returns one loss for each sample."""
    return F.cross_entropy(z, y, reduction="none")


@wrong("00-macro-f1", says="that is the accuracy")
def macro_f1_is_accuracy(predicted, labels, classes):
    """Computes the share of right answers."""
    return sum(p == y for p, y in zip(predicted, labels, strict=True)) / len(labels)


@wrong("00-macro-f1", says="weighted by their size")
def macro_f1_weighted(predicted, labels, classes):
    """Weights the classes by their size."""
    total = 0.0
    for name in classes:
        hits = sum(p == y == name for p, y in zip(predicted, labels, strict=True))
        total += labels.count(name) * 2 * hits / max(1, predicted.count(name) + labels.count(name))
    return total / len(labels)


@wrong("00-macro-f1", says="the recall, is missing")
def macro_f1_is_precision(predicted, labels, classes):
    """Averages the precision alone."""
    hits = [sum(p == y == name for p, y in zip(predicted, labels, strict=True)) for name in classes]
    return sum(h / max(1, predicted.count(name)) for h, name in zip(hits, classes, strict=True)) / len(classes)


@wrong("00-macro-f1", says="ZeroDivisionError")
def macro_f1_divides_by_zero(predicted, labels, classes):
    """Does not think of a class that is never predicted."""
    total = 0.0
    for name in classes:
        hits = sum(p == y == name for p, y in zip(predicted, labels, strict=True))
        precision, recall = hits / predicted.count(name), hits / labels.count(name)
        total += 2 * precision * recall / (precision + recall)
    return total / len(classes)


@wrong("00-macro-f1", says="divide by the number of all classes")
def macro_f1_leaves_classes_out(predicted, labels, classes):
    """Leaves out the classes that are never predicted."""
    found = []
    for name in set(predicted):
        hits = sum(p == y == name for p, y in zip(predicted, labels, strict=True))
        found.append(2 * hits / (predicted.count(name) + labels.count(name)))
    return sum(found) / len(found)
