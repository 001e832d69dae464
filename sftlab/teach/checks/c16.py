"""Checks of chapter 16: shifted labels, usable pairs, clipped runs of words, greedy decoding, beam search."""

import torch

from ..compare import Wrong, a_kind, as_list, call, expect, expect_equal

IGNORE = -100


def shift(answer) -> None:
    """What the decoder reads: a start token and the labels moved by one place, padding as the pad token."""
    start, pad = 7, 3
    labels = [11, 12, 13, 1, IGNORE, IGNORE]
    right = [7, 11, 12, 13, 1, 3]
    suspects = {
        "it is not moved: at each place it shows the very token that has to be said.": [11, 12, 13, 1, 3, 3],
        "it is moved to the left: the decoder would read the token *after* the one that it has to say.": (
            [12, 13, 1, 3, 3, 7]
        ),
        "-100 is no token: where the labels have it, the decoder reads the pad token.": [7, 11, 12, 13, 1, IGNORE],
        "it is one longer than the labels: the last label is never read.": [7, 11, 12, 13, 1, 3, 3],
        "the first label is missing: the start token stands in front of it, not in its place.": [7, 12, 13, 1, 3, 3],
        "the EOS is missing: it is a label like any other, and what stands behind it reads it.": [7, 11, 12, 13, 3, 3],
    }
    expect_equal(call(answer, labels, start, pad), right, "what the decoder reads is", suspects)
    expect_equal(
        call(answer, [5, 1], 0, 0), [0, 5], "what the decoder reads, where start and pad are the same token, is"
    )
    expect_equal(call(answer, [1], start, pad), [7], "what the decoder reads for a sentence of one token is")


def usable(answer) -> None:
    """Numbers of the pairs that can be learnt from: both sides there, no copy, no double, plausible lengths."""
    pairs = [
        ("我喜欢喝茶。", "I like to drink tea."),
        ("", "Stir well."),
        ("把水烧开。", "   "),
        ("Stir well.", "Stir well."),
        ("我喜欢喝茶。", "I like to drink tea."),
        ("好。", "Put the rice into the pot and let it stand for an hour before you eat."),
        ("我喜欢喝茶。", "I am fond of tea."),
        ("把切好的土豆放进锅里，用小火慢慢煮二十分钟，然后加盐。", "Boil."),
        ("加盐。", "Add a bit of salt."),
    ]
    right = [0, 6, 8]
    suspects = {
        "a side of blanks is kept: strip it before you ask whether it is empty.": [0, 2, 6, 8],
        "a pair whose sides are equal is kept: it teaches copying.": [0, 3, 6, 8],
        "a pair is there twice.": [0, 4, 6, 8],
        "a source with another translation is dropped: only pairs that agree on *both* sides are doubles.": [0, 8],
        "a target that is far too long for its source is kept.": [0, 5, 6, 8],
        "a target that is far too short for its source is kept.": [0, 6, 7, 8],
        "the lengths are not looked at.": [0, 5, 6, 7, 8],
        "the letters of the English side are counted; its *words* count.": [2],
        "these are the pairs; their numbers are wanted.": [list(pairs[i]) for i in (0, 6, 8)],
        "those are the ones to drop.": [1, 2, 3, 4, 5, 7],
    }
    expect_equal(call(answer, pairs, 0.2, 2.0), right, "the list of usable pairs is", suspects)
    at_the_edge = [("好茶", "a b c d"), ("好茶", "a b c d e"), ("十个字的句子很长很长", "a b")]
    expect_equal(
        call(answer, at_the_edge, 0.2, 2.0),
        [0, 2],
        "the list of usable pairs, with ratios of 2.0, 2.5 and 0.2, is",
        {"a pair just at a limit is dropped; both limits are allowed.": []},
    )


def clipped(answer) -> None:
    """(hits, runs said) of n words; a run counts at most as often as the reference has it."""
    said, reference = "the pot the pot the lid", "the lid on the pot"
    for n, right, unclipped, sets, of_reference in (
        (1, (4, 6), (6, 6), (3, 3), (4, 5)),
        (2, (2, 5), (3, 5), (2, 3), (2, 4)),
    ):
        found = call(answer, said, reference, n)
        expect(
            isinstance(found, tuple | list) and len(found) == 2,
            f"`clipped` should return two numbers, hits and runs said, and returns {a_kind(found)}.",
            "End with `return hits, count`.",
        )
        suspects = {
            "the hits are not clipped: a run counts at most as often as it stands in the reference.": list(unclipped),
            "runs are counted as a set: what is said twice counts twice.": list(sets),
            "the second number counts the runs of the reference; precision divides by what was *said*.": (
                list(of_reference)
            ),
            "the two numbers are exchanged.": [right[1], right[0]],
        }
        expect_equal(found, list(right), f"(hits, runs said) for n = {n} is", suspects)
    expect_equal(
        call(answer, "boil it", "boil it now", 3),
        [0, 0],
        "(hits, runs said) of a text with fewer than n words is",
    )


def greedy(answer) -> None:
    """The most probable token each time, until EOS or the limit; without start and EOS."""
    start, eos = 0, 1
    table = {(0,): 3, (0, 3): 2, (0, 3, 2): 4, (0, 3, 2, 4): 1}

    def model(read, table=table):
        if not isinstance(read, list | tuple) or not read:
            raise Wrong(
                f"`next_logits` was called with {a_kind(read)}; it takes the list of all tokens so far, start included."
            )
        if tuple(read)[0] != start:
            raise Wrong("`next_logits` was called without the start token in front.", "Begin with `[start]`.")
        if len(read) > 8:
            raise Wrong("`greedy` goes on after EOS or after the limit.", "`break` where EOS comes.")
        # Behind a beginning that the table does not have, another token than behind any that it has.
        token = table.get(tuple(int(t) for t in read), 5)
        return torch.nn.functional.one_hot(torch.tensor(token), 6).double() * 4 - 2

    suspects = {
        "the start token is in it; it was given, not said.": [0, 3, 2, 4],
        "EOS is in it; it ends the sentence and is no part of it.": [3, 2, 4, 1],
        "start and EOS are in it; only what lies between is the sentence.": [0, 3, 2, 4, 1],
    }
    found = as_list(call(answer, model, start, eos, 6))
    if found[:1] == [3] and 5 in found:
        raise Wrong(
            f"The sentence is {found}, expected [3, 2, 4]: the model was asked with a part of the beginning.",
            "Each call needs *all* tokens so far, start included.",
        )
    expect_equal(found, [3, 2, 4], "the sentence is", suspects)
    endless = {(0, *[2] * n): 2 for n in range(9)}
    expect_equal(
        call(answer, lambda read: model(read, endless), start, eos, 4),
        [2, 2, 2, 2],
        "the sentence of a model that never says EOS, with a limit of 4, is",
        {
            "one token is missing: the limit counts the tokens that are said, not the start.": [2] * 3,
            "one token too many.": [2] * 5,
        },
    )
    expect_equal(
        call(answer, lambda read: model(read, {(0,): 1}), start, eos, 4), [], "the sentence where EOS comes first is"
    )


def beam(answer) -> None:
    """The finished sentence of the best mean log-probability, of the k best beginnings at each step."""
    start, eos = 0, 1
    for seed, k, what in ((29, 3, ""), (305, 3, ""), (29, 1, " with one beam")):
        model = _toy(seed)
        right = _beam(model, start, eos, k, 5)
        found = as_list(call(answer, model, start, eos, k, 5))
        others = {
            "that is what greedy decoding says: only one beginning is kept.": _beam(model, start, eos, 1, 5),
            "finished sentences are compared by the sum; that favours short ones. Divide by the number of tokens, EOS "
            "included.": _beam(model, start, eos, k, 5, mean=False),
            "logits are added up; beginnings compare by their sum of *log-probabilities* (`log_softmax`).": (
                _beam(model, start, eos, k, 5, normal=False)
            ),
            "the first finished sentence is taken; another one, finished later, is better.": (
                _beam(model, start, eos, k, 5, first=True)
            ),
        }
        suspects = {reason: some for reason, some in others.items() if some != right}
        if found[:1] == [start]:
            raise Wrong("The sentence begins with the start token; it was given, not said.")
        expect_equal(found, right, f"the sentence{what} is", suspects)


def _toy(seed: int):
    """A model of five tokens whose logits depend on all that was said."""

    def next_logits(read):
        mixed = seed
        for token in read:
            mixed = (mixed * 31 + int(token) + 1) % 100_003
        logits = 3 * torch.randn(5, generator=torch.Generator().manual_seed(mixed), dtype=torch.float64)
        logits[0] = -30.0  # start is never said
        return logits + 2 * (mixed % 5)  # a shift, which log_softmax takes away

    return next_logits


def _beam(model, start, eos, k, limit, mean=True, normal=True, first=False) -> list[int]:
    beams, done = [(0.0, [start])], []
    for _ in range(limit):
        longer = []
        for score, read in beams:
            step = model(read).log_softmax(-1) if normal else model(read)
            longer += [(score + value, [*read, token]) for token, value in enumerate(step.tolist())]
        best = sorted(longer, reverse=True)[:k]
        done += [one for one in best if one[1][-1] == eos]
        beams = [one for one in best if one[1][-1] != eos]
        if not beams or (first and done):
            break
    done = done or beams
    best = max(done, key=lambda one: one[0] / (len(one[1]) - 1 if mean else 1))
    return [token for token in best[1][1:] if token != eos]


CHECKS = {
    "16-shift": shift,
    "16-pairs": usable,
    "16-clipped": clipped,
    "16-greedy": greedy,
    "16-beam": beam,
}
INSIDE = {"16-greedy", "16-beam"}
