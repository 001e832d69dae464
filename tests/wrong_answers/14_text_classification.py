"""Wrong answers to the exercises of chapter 14."""

from collections import Counter

import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("14-max-pool", says="the mask is not used")
def max_pool_without_mask(hidden, mask):
    """Takes the maximum over the padding, too."""
    return hidden.max(dim=1).values


@wrong("14-max-pool", says="padding counts as 0")
def max_pool_times_mask(hidden, mask):
    """Multiplies by the mask, as a mean would."""
    return (hidden * mask[..., None]).max(dim=1).values


@wrong("14-max-pool", says="one vector for each text; found [3, 5]")
def max_pool_over_components(hidden, mask):
    """Takes the maximum over the wrong dimension."""
    return hidden.masked_fill(mask[..., None] == 0, float("-inf")).max(dim=-1).values


@wrong("14-max-pool", says="changes its input `hidden`")
def max_pool_in_place(hidden, mask):
    """Writes minus infinity into the caller's tensor."""
    hidden[mask == 0] = float("-inf")
    return hidden.max(dim=1).values


@wrong("14-head-tail", says="a plain cut of the beginning")
def keeps_the_beginning(ids, limit, head):
    """Keeps the beginning only."""
    return [*ids[: limit - 1], ids[-1]] if len(ids) > limit else ids


@wrong("14-head-tail", says="one token too long")
def forgets_a_special_token(ids, limit, head):
    """Forgets that [CLS] takes a place."""
    return [*ids[: 1 + head], *ids[-(limit - head) :]] if len(ids) > limit else ids


@wrong("14-head-tail", says="`[CLS]` is counted")
def counts_cls_as_text(ids, limit, head):
    """Counts [CLS] among the tokens of the beginning."""
    return [*ids[:head], *ids[-(limit - head) :]] if len(ids) > limit else ids


@wrong("14-head-tail", says="should stay as it is")
def always_cuts(ids, limit, head):
    """Cuts short lists, too, so that tokens stand twice."""
    return [*ids[: 1 + head], *ids[max(0, len(ids) - (limit - 1 - head)) :]]


@wrong("14-balanced", says="Rows stand in it twice")
def fills_up(rows, column):
    """Repeats the rarer classes instead of cutting the larger ones."""
    groups = {name: [row for row in rows if row[column] == name] for name in {row[column] for row in rows}}
    most = max(map(len, groups.values()))
    return [group[i % len(group)] for group in groups.values() for i in range(most)]


@wrong("14-balanced", says="the first ones should be kept")
def keeps_the_last(rows, column):
    """Keeps the last rows of a class."""
    least, kept, out = min(Counter(row[column] for row in rows).values()), Counter(), []
    for row in reversed(rows):
        if kept[row[column]] < least:
            kept[row[column]] += 1
            out.append(row)
    return out[::-1]


@wrong("14-balanced", says="The order has changed")
def class_by_class(rows, column):
    """Puts the classes one after the other."""
    counts = Counter(row[column] for row in rows)
    least = min(counts.values())
    return [row for name in counts for row in [r for r in rows if r[column] == name][:least]]


@wrong("14-joint-loss", says="is NaN: a mean over nothing")
def mean_over_nothing(z_a, z_b, y_a, y_b):
    """Adds the two means as torch gives them."""
    return F.cross_entropy(z_a, y_a) + F.cross_entropy(z_b, y_b)


@wrong("14-joint-loss", says="divided by N")
def divides_by_all_rows(z_a, z_b, y_a, y_b):
    """Divides by the number of rows, known or not."""
    return sum(F.cross_entropy(z, y, reduction="sum") / len(y) for z, y in ((z_a, y_a), (z_b, y_b)))


@wrong("14-joint-loss", says="all known labels together")
def divides_by_all_labels(z_a, z_b, y_a, y_b):
    """One mean over the labels of both heads."""
    total = F.cross_entropy(z_a, y_a, reduction="sum") + F.cross_entropy(z_b, y_b, reduction="sum")
    return total / ((y_a != -100).sum() + (y_b != -100).sum()).clamp(min=1)


@wrong("14-wilson", says="the textbook interval, with the spread")
def textbook_interval(right, count):
    """Takes the spread at the accuracy that was seen."""
    a = right / count
    half = 1.96 * (a * (1 - a) / count) ** 0.5
    return a - half, a + half


@wrong("14-wilson", says="the middle is the accuracy that was seen")
def wrong_middle(right, count):
    """Puts Wilson's width around the accuracy that was seen."""
    a, q = right / count, 1.96**2 / count
    half = ((2 * a + q) ** 2 - 4 * (1 + q) * a**2) ** 0.5 / (2 * (1 + q))
    return a - half, a + half


@wrong("14-wilson", says="1.96 is not squared")
def not_squared(right, count):
    """Forgets the square."""
    a, q = right / count, 1.96 / count
    middle = (2 * a + q) / (2 * (1 + q))
    half = ((2 * a + q) ** 2 - 4 * (1 + q) * a**2) ** 0.5 / (2 * (1 + q))
    return middle - half, middle + half
