"""Checks of chapter 17: completion mask, usable conversations, packing, exact match, the loss of DPO."""

import math

import torch

from ..compare import Wrong, a_kind, call, draw, expect, expect_close, expect_equal

IGNORE = -100


def mask(answer) -> None:
    """Labels of a conversation with several turns: the assistant's tokens, else -100."""
    ids, spans = [11, 12, 13, 14, 15, 16, 17, 18], [(2, 4), (6, 8)]
    right = [IGNORE, IGNORE, 13, 14, IGNORE, IGNORE, 17, 18]
    suspects = {
        "only the last span is learnt; every turn of the assistant counts.": [*[IGNORE] * 6, 17, 18],
        "only the first span is learnt; every turn of the assistant counts.": [-100, -100, 13, 14, *[IGNORE] * 4],
        "everything is learnt, the user's words too.": ids,
        "it is the wrong way round: the user's words are learnt.": [11, 12, -100, -100, 15, 16, -100, -100],
        "the labels are moved by one place; the loss moves them, once.": [-100, 13, 14, -100, -100, 17, 18, -100],
        "the last token of a span is missing: the end of the turn is never learnt.": [
            *[-100, -100, 13], *[IGNORE] * 3, 17, IGNORE],
        "0 is the id of a token; what is not learnt has the label -100.": [0, 0, 13, 14, 0, 0, 17, 18],
    }  # fmt: skip
    expect_equal(call(answer, ids, spans), right, "the labels are", suspects)
    expect_equal(call(answer, [5, 6], []), [IGNORE, IGNORE], "the labels of a conversation without an answer are")


def clean(answer) -> None:
    """Numbers of the pairs with two sides, a new question, and none of the test."""
    pairs = [
        ("What is the plural of ox?", "oxen"),
        (" what is the plural of OX? ", "oxen"),
        ("", "oxen"),
        ("Who bakes bread?", "  "),
        ("Who bakes bread?", "baker"),
        ("Add 2 to 3.", "5"),
        ("Name the capital of Peru.", "Lima"),
    ]
    held_out = [" ADD 2 to 3."]
    suspects = {
        "case and spaces of a question still count.": [0, 1, 4, 5, 6],
        "a question of the test is kept: that is a leak.": [0, 4, 5, 6],
        "the same question is there twice.": [0, 1, 4, 6],
        "an answer of blanks is kept.": [0, 3, 6],
        "a pair without an answer blocks the later one that has it: only kept questions count as seen.": [0, 6],
        "an empty question is kept.": [0, 2, 4, 6],
        "these are the pairs; their numbers are wanted.": [list(pairs[i]) for i in (0, 4, 6)],
        "those are the ones to drop.": [1, 2, 3, 5],
    }
    expect_equal(call(answer, pairs, held_out), [0, 4, 6], "the list of usable pairs is", suspects)
    expect_equal(call(answer, [("a", "b")], []), [0], "with nothing held out, the list of usable pairs is")


def pack(answer) -> None:
    """Positions that start anew, and a mask that is causal inside each example."""
    for lengths in ([2, 3], [1, 1, 4], [3]):
        found = call(answer, lengths)
        expect(
            isinstance(found, tuple | list) and len(found) == 2,
            f"`packed` should return two things, positions and seen, and returns {a_kind(found)}.",
            "End with `return positions, seen`.",
        )
        positions, seen = found
        right = [place for length in lengths for place in range(length)]
        suspects = {"the positions go on from example to example; each starts at 0.": list(range(sum(lengths))),
                    "positions start at 0, not at 1.": [place + 1 for place in right]}  # fmt: skip
        expect_equal(positions, right, f"for lengths {lengths} the positions are", suspects)
        expect(isinstance(seen, torch.Tensor), f"`seen` should be a tensor, and is {a_kind(seen)}.")
        expect(list(seen.shape) == 2 * [sum(lengths)], f"`seen` should be square, one row per token, not {seen.shape}.")
        blocks = torch.block_diag(*[torch.ones(n, n) for n in lengths]).bool()
        wanted, seen = blocks.tril(), seen.bool()
        if torch.equal(seen, wanted):
            continue
        everything = torch.ones_like(blocks)
        reasons = {
            "a token may look at later tokens of its example: keep the lower triangle.": blocks,
            "a token may look at other examples: that is the contamination.": everything.tril(),
            "everybody sees everybody.": everything,
            "a token does not see itself: the diagonal belongs to it.": blocks.tril(-1),
            "rows and columns are exchanged: a token sees what comes after it.": blocks.triu(),
            "true and false are exchanged.": ~wanted,
        }
        for reason, other in reasons.items():
            if torch.equal(seen, other):
                raise Wrong(f"For lengths {lengths} `seen` is wrong: {reason}")
        raise Wrong(f"For lengths {lengths} `seen` is {seen.int().tolist()}, expected {wanted.int().tolist()}.")


def match(answer) -> None:
    """(share of exact matches, share of the most frequent reference)."""
    said = [" Paris.", "in Rome", "four", "4", "Paris", "oslo "]
    right = ["Paris", "Rome", "4", "4.", "Lima", "Oslo"]
    found = call(answer, said, right)
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        f"`score` should return two numbers, accuracy and majority, and returns {a_kind(found)}.",
        "End with `return accuracy, majority`.",
    )
    suspects = {
        "case still counts.": [2 / 6, 2 / 6],
        "case, spaces and full stops still count.": [0.0, 1 / 6],
        "full stops still count.": [1 / 6, 1 / 6],
        "a reference that only stands *in* the answer is no exact match.": [4 / 6, 2 / 6],
        "these are counts; shares are wanted.": [3, 2],
        "the second number is of what was said; the baseline comes from the references.": [3 / 6, 3 / 6],
        "the most frequent reference is counted before it is brought into its plain form.": [3 / 6, 1 / 6],
        "the two numbers are exchanged.": [2 / 6, 3 / 6],
    }
    expect_close(list(found), [3 / 6, 2 / 6], "(accuracy, majority)", suspects, tol=1e-6)


def dpo(answer) -> None:
    """The mean of -log sigmoid of beta times the difference of the two log ratios."""
    good, bad, good_0, bad_0 = (draw(5, seed=seed) * 3 - 4 for seed in range(4))
    beta = 0.4
    x = beta * ((good - good_0) - (bad - bad_0))
    log = torch.nn.functional.logsigmoid
    suspects = {
        "the sign is missing: a loss is *minus* the log-likelihood.": log(x).mean(),
        "good and bad are exchanged: it learns to prefer what was rejected.": -log(-x).mean(),
        "the reference is missing: nothing holds the policy to it.": -log(beta * (good - bad)).mean(),
        "beta is missing.": -log(x / beta).mean(),
        "it is summed; the mean is wanted.": -log(x).sum(),
        "the sigmoid has no logarithm.": -torch.sigmoid(x).mean(),
        "policy and reference are exchanged.": -log(beta * ((good_0 - good) - (bad_0 - bad))).mean(),
    }
    found = call(answer, good, bad, good_0, bad_0, beta)
    expect(
        not (isinstance(found, torch.Tensor) and found.numel() != 1),
        "The loss has one value per pair; their mean is wanted.",
        "End with `.mean()`.",
    )
    expect_close(found, -log(x).mean(), "the loss", suspects, tol=1e-6)
    zero = torch.zeros(3, dtype=torch.float64)
    agreed = call(answer, zero, zero, zero, zero, 0.1)
    expect_close(agreed, math.log(2), "the loss where policy and reference agree", tol=1e-6)
    far = torch.full((2,), 2000.0, dtype=torch.float64)
    expect_close(
        call(answer, -far, far, zero[:2], zero[:2], 1.0),
        4000.0,
        "the loss of a pair that is ordered wrongly by far",
        {"`log(sigmoid(x))` underflows; `logsigmoid` does not.": math.inf},
        tol=1e-6 / 4000,  # it is relative to what is expected
    )


CHECKS = {"17-mask": mask, "17-clean": clean, "17-pack": pack, "17-match": match, "17-dpo": dpo}
INSIDE = set()
