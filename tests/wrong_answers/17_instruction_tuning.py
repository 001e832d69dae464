"""Wrong answers to the exercises of chapter 17."""

import torch
import torch.nn.functional as F

from sftlab.teach.mistakes import wrong


@wrong("17-mask", says="everything is learnt")
def mask_nothing(ids, spans):
    """Learns the user's words too."""
    return list(ids)


@wrong("17-mask", says="only the last span")
def mask_of_the_last_turn(ids, spans):
    """Starts the list anew for each span."""
    labels = [-100] * len(ids)
    for start, stop in spans:
        labels = [-100] * len(ids)
        labels[start:stop] = ids[start:stop]
    return labels


@wrong("17-mask", says="the end of the turn is never learnt")
def mask_without_end(ids, spans):
    """Takes the stop for the number of the last token and leaves it out."""
    labels = [-100] * len(ids)
    for start, stop in spans:
        labels[start : stop - 1] = ids[start : stop - 1]
    return labels


@wrong("17-clean", says="that is a leak")
def clean_with_leak(pairs, held_out):
    """Drops doubles and forgets the test."""
    seen, kept = set(), []
    for i, (question, answer) in enumerate(pairs):
        key = question.strip().lower()
        if key and answer.strip() and key not in seen:
            kept.append(i)
            seen.add(key)
    return kept


@wrong("17-clean", says="blocks the later one")
def clean_that_blocks(pairs, held_out):
    """Marks a question as seen before it is kept."""
    seen, kept = {question.strip().lower() for question in held_out}, []
    for i, (question, answer) in enumerate(pairs):
        key = question.strip().lower()
        if key and answer.strip() and key not in seen:
            kept.append(i)
        seen.add(key)
    return kept


@wrong("17-clean", says="case and spaces")
def clean_by_the_letter(pairs, held_out):
    """Compares questions as they are written."""
    seen, kept = set(held_out), []
    for i, (question, answer) in enumerate(pairs):
        if question.strip() and answer.strip() and question not in seen:
            kept.append(i)
            seen.add(question)
    return kept


@wrong("17-pack", says="the contamination")
def pack_causal(lengths):
    """The usual causal mask over the whole row."""
    n = sum(lengths)
    return [i for length in lengths for i in range(length)], torch.ones(n, n).tril().bool()


@wrong("17-pack", says="each starts at 0")
def pack_that_counts_on(lengths):
    """Positions of the row."""
    blocks = torch.block_diag(*[torch.ones(length, length) for length in lengths])
    return list(range(sum(lengths))), blocks.tril().bool()


@wrong("17-pack", says="keep the lower triangle")
def pack_that_sees_ahead(lengths):
    """Keeps examples apart, and lets each token see what it has to predict."""
    positions = [i for length in lengths for i in range(length)]
    return positions, torch.block_diag(*[torch.ones(length, length) for length in lengths]).bool()


@wrong("17-match", says="no exact match")
def match_inside(said, right):
    """Asks whether the reference stands in the answer."""

    def plain(text):
        return text.strip().lower().removesuffix(".").strip()

    said, right = [plain(text) for text in said], [plain(text) for text in right]
    hits = sum(b in a for a, b in zip(said, right, strict=True))
    return hits / len(right), max(right.count(text) for text in right) / len(right)


@wrong("17-match", says="case still counts")
def match_with_case(said, right):
    """Forgets to bring both into lower case."""

    def plain(text):
        return text.strip().removesuffix(".").strip()

    said, right = [plain(text) for text in said], [plain(text) for text in right]
    hits = sum(a == b for a, b in zip(said, right, strict=True))
    return hits / len(right), max(right.count(text) for text in right) / len(right)


@wrong("17-match", says="shares are wanted")
def match_counts(said, right):
    """Returns counts."""

    def plain(text):
        return text.strip().lower().removesuffix(".").strip()

    said, right = [plain(text) for text in said], [plain(text) for text in right]
    return sum(a == b for a, b in zip(said, right, strict=True)), max(right.count(text) for text in right)


@wrong("17-dpo", says="the sign is missing")
def dpo_upwards(good, bad, good_0, bad_0, beta):
    """Would be minimised by preferring the wrong answers."""
    return F.logsigmoid(beta * ((good - good_0) - (bad - bad_0))).mean()


@wrong("17-dpo", says="the reference is missing")
def dpo_without_reference(good, bad, good_0, bad_0, beta):
    """Compares the two answers under the policy only."""
    return -F.logsigmoid(beta * (good - bad)).mean()


@wrong("17-dpo", says="underflows")
def dpo_that_underflows(good, bad, good_0, bad_0, beta):
    """Takes the logarithm of a sigmoid that is 0."""
    return -torch.log(torch.sigmoid(beta * ((good - good_0) - (bad - bad_0)))).mean()
