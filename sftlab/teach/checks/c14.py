"""Checks of chapter 14: pooling by the mask, cutting long texts, equal classes, two losses, an interval."""

from collections import Counter

import torch
import torch.nn.functional as F

from ..compare import a_kind, a_shape, call, draw, expect, expect_attached, expect_close


def max_pool(answer) -> None:
    """The greatest value of each component over the tokens that the mask marks as text."""
    hidden = -1 - draw(3, 5, 4).abs()  # all negative: a 0 would always win
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    hidden[1, 2:], hidden[2, 1:] = -0.5, -0.25  # padding has the largest values
    right = torch.stack([hidden[i, : int(mask[i].sum())].max(dim=0).values for i in range(3)])
    m = mask[..., None]
    suspects = {
        "padding is among the candidates: the mask is not used.": hidden.max(dim=1).values,
        "padding counts as 0, which is larger than every negative component; it must never win.": (
            (hidden * m).max(dim=1).values
        ),
        "that is the mean over the text, not the maximum.": (hidden * m).sum(1) / m.sum(1),
        "that is the first token's vector.": hidden[:, 0],
        "the mask is read the wrong way round: 1 is text, 0 is padding.": (
            hidden.masked_fill(m == 1, float("-inf")).max(dim=1).values
        ),
    }
    found = call(answer, hidden, mask)
    expect(
        isinstance(found, torch.Tensor) and found.shape == (3, 4),
        f"3 texts of 5 tokens with 4 components should give [3, 4], one vector for each text; found {a_shape(found)}.",
        "The maximum runs over the tokens, dimension 1, and not over the components.",
    )
    expect_close(found, right, "the pooled vectors", suspects)
    expect_close(
        call(answer, draw(2, 3, 4, seed=1), torch.ones(2, 3, dtype=torch.long)),
        draw(2, 3, 4, seed=1).max(dim=1).values,
        "the pooled vectors without any padding",
    )


def head_tail(answer) -> None:
    """CLS, the first ``head`` tokens, the last ones that fit, SEP."""
    ids = [101, *range(1, 21), 102]  # 22 ids
    right = [101, 1, 2, 3, 16, 17, 18, 19, 20, 102]
    found = _ids(call(answer, list(ids), 10, 3))
    say = {
        tuple([*ids[:9], 102]): "the verdict at the end is cut off: that is a plain cut of the beginning.",
        tuple(ids[:10]): "`[SEP]` is lost: the encoder has never seen a text that does not end in it.",
        tuple([*ids[:4], *ids[-7:]]): "it is one token too long: `[CLS]` and `[SEP]` count in the limit.",
        tuple([*ids[:3], *ids[-7:]]): "`[CLS]` is counted as one of the `head` tokens of the text.",
        tuple([*ids[:4], *ids[-7:-1]]): "`[SEP]` is lost: the tail ends before it.",
        tuple([*ids[:4], *ids[-5:]]): "one place is left empty: the tail can be one token longer.",
        tuple([101, *ids[-9:]]): "the beginning is missing: `head` tokens of it should stay.",
        tuple([*ids[:4], *ids[-3:]]): "the tail has `head` tokens; it should have as many as fit.",
        tuple(ids): "nothing is cut: the list is longer than `limit`.",
    }
    expect(
        found == right,
        f"22 ids with limit 10 and head 3 give {found}: "
        + say.get(tuple(found), f"expected {right}: 101, three of the beginning, five of the end, 102."),
    )
    short = [101, 5, 6, 102]
    for limit in (4, 9):
        expect(
            _ids(call(answer, list(short), limit, 2)) == short,
            f"A list of 4 ids with limit {limit} should stay as it is.",
            "Cut only what is longer than `limit`.",
        )
    found = _ids(call(answer, list(ids), 10, 8))
    expect(
        found == [*ids[:9], 102],
        f"With head 8 in a limit of 10 no place is left for the tail, only for `[SEP]`; found {found}.",
        "A slice such as `ids[-0:]` is the whole list: count from the front.",
    )
    expect(
        _ids(call(answer, list(ids), 10, 0)) == [101, *ids[-9:]],
        "With head 0 only `[CLS]` stands before the tail.",
    )


def balanced(answer) -> None:
    """As many rows of each class as the rarest has, the first ones, in their order."""
    labels = "b a a c a b a c b a".split()
    rows = [{"text": f"text {i}", "kind": label} for i, label in enumerate(labels)]
    before = [dict(row) for row in rows]
    found = call(answer, rows, "kind")
    expect(rows == before, "The rows that were given have been changed; build a new list.")
    expect(
        isinstance(found, list) and all(row in before for row in found),
        f"`balanced` should return a list of the rows themselves, and returns {a_kind(found)}.",
    )
    counts = Counter(row["kind"] for row in found)
    expect(len(found) >= len(counts) and len(counts) == 3, f"Every class should be there; found {dict(counts)}.")
    texts = [row["text"] for row in found]
    expect(
        len(set(texts)) == len(texts),
        "Rows stand in it twice: the rarer classes were filled up. Here the larger ones are cut.",
    )
    expect(
        set(counts.values()) == {2},
        f"The classes have {dict(sorted(counts.items()))} rows; each should have 2, as many as the rarest.",
    )
    first = {"text 1", "text 2", "text 0", "text 5", "text 3", "text 7"}
    expect(set(texts) == first, "Of a class that has more rows, the first ones should be kept; others were.")
    expect(
        texts == [row["text"] for row in rows if row["text"] in first],
        "The order has changed: rows should stay in the order in which they were given.",
        "Go through the rows once, instead of class by class.",
    )
    single = [{"kind": "a"}, {"kind": "b"}]
    expect(call(answer, single, "kind") == single, "Classes that are equal already should stay as they are.")


def joint_loss(answer) -> None:
    """Sum of two means, each over its own known labels; 0 where none is known."""
    z_a, z_b = draw(6, 3), draw(6, 4, seed=1)
    y_a, y_b = torch.tensor([0, 2, -100, 1, -100, 0]), torch.tensor([3, -100, -100, 2, 1, -100])

    def mean(z, y, over=None):
        return F.cross_entropy(z, y, reduction="sum") / (over or max(1, int((y != -100).sum())))

    right, both = mean(z_a, y_a) + mean(z_b, y_b), (y_a != -100) & (y_b != -100)
    suspects = {
        "each sum is divided by N; divide it by the number of its own known labels.": (
            mean(z_a, y_a, 6) + mean(z_b, y_b, 6)
        ),
        "the two means are averaged; they should be added.": right / 2,
        "the second head is missing.": mean(z_a, y_a),
        "the first head is missing.": mean(z_b, y_b),
        "these are sums over the labels; each head has a mean.": mean(z_a, y_a, 1) + mean(z_b, y_b, 1),
        "only rows in which both labels are known count; each head has its own rows.": (
            mean(z_a[both], y_a[both]) + mean(z_b[both], y_b[both])
        ),
    }
    together = (mean(z_a, y_a, 1) + mean(z_b, y_b, 1)) / 7
    suspects["both sums are divided by all known labels together; each head has a mean of its own."] = together
    expect_close(call(answer, z_a, z_b, y_a, y_b), right, "the loss", suspects)
    nothing = torch.full((6,), -100)
    found = call(answer, z_a, z_b, y_a, nothing)
    expect(
        not (isinstance(found, torch.Tensor) and bool(found.isnan().any())),
        "With no known label of the second head the loss is NaN: a mean over nothing.",
        "Divide the sum by the count, but at least by 1.",
    )
    expect_close(found, mean(z_a, y_a), "the loss where no label of the second head is known")
    leaf = z_a.clone().requires_grad_()
    expect_attached(call(answer, leaf, z_b, y_a, y_b), "joint_loss")


def wilson(answer) -> None:
    """Wilson's 95 % interval for right of count."""
    a, q = 0.9, 1.96**2 / 10
    right = _wilson(9, 10)
    wald = 1.96 * (a * (1 - a) / 10) ** 0.5
    half = (right[1] - right[0]) / 2
    suspects = {
        "that is the textbook interval, with the spread at the accuracy that was seen.": [a - wald, a + wald],
        "the textbook interval again, cut at 1.": [a - wald, min(1.0, a + wald)],
        "low and high are exchanged.": [right[1], right[0]],
        "the middle is the accuracy that was seen; Wilson's lies nearer to one half.": [a - half, a + half],
        "the root is not divided by 2 (1 + q).": [
            (2 * a + q) / (2 * (1 + q)) - half * 2 * (1 + q),
            (2 * a + q) / (2 * (1 + q)) + half * 2 * (1 + q),
        ],
        "1.96 is not squared.": _wilson(9, 10, 1.96**0.5),
    }
    found = call(answer, 9, 10)
    expect(
        isinstance(found, tuple | list | torch.Tensor) and len(found) == 2,
        f"`wilson` should return two numbers, `(low, high)`, and returns {a_kind(found)}.",
    )
    expect_close(found, torch.tensor(right), "the interval of 9 of 10", suspects, tol=1e-6)
    for k, n in ((10, 10), (0, 7), (45, 60)):
        expect_close(call(answer, k, n), torch.tensor(_wilson(k, n)), f"the interval of {k} of {n}", tol=1e-6)


def _wilson(k: int, n: int, z: float = 1.96) -> list[float]:
    a, q = k / n, z**2 / n
    middle, root = (2 * a + q) / (2 * (1 + q)), ((2 * a + q) ** 2 - 4 * (1 + q) * a**2) ** 0.5
    return [middle - root / (2 * (1 + q)), middle + root / (2 * (1 + q))]


def _ids(found) -> list:
    expect(
        isinstance(found, list | tuple) and all(isinstance(i, int) for i in found),
        f"`head_and_tail` should return a list of token ids, and returns {a_kind(found)}.",
    )
    return list(found)


CHECKS = {
    "14-max-pool": max_pool,
    "14-head-tail": head_tail,
    "14-balanced": balanced,
    "14-joint-loss": joint_loss,
    "14-wilson": wilson,
}
INSIDE = set()
