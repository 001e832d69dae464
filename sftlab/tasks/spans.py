"""Entities in BIO tags: which spans a sequence means, how well they are found, and tags that are never invalid."""

from collections.abc import Sequence

import torch

from ..errors import bad_data
from ..table import Table


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans that a sequence of BIO tags means, as (kind, first word, word after the last).

    Read as seqeval's default and the script of CoNLL-2000 read them: an I- without an open entity of its kind opens
    one, so every sequence has a meaning, valid or not.

    Args:
        tags: ``O``, ``B-KIND`` or ``I-KIND`` for each word of one sentence.

    Raises:
        BadData: another tag; the message names its place.

    Source: Tjong Kim Sang and De Meulder (2003), the CoNLL-2003 shared task.

    >>> entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"])
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    """
    spans, kind, start = [], None, 0
    for at, tag in enumerate([*tags, "O"]):
        prefix, _, this = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not this):
            raise bad_data("tags", [f"[{at}]: {tag!r} is not O, B-KIND or I-KIND"])
        if kind is not None and (prefix != "I" or this != kind):
            spans.append((kind, start, at))
            kind = None
        if tag != "O" and kind is None:
            kind, start = this, at
    return spans


def is_valid(tags: Sequence[str]) -> bool:
    """Whether every I- continues an entity of its kind.

    >>> is_valid(["B-PER", "I-PER"]), is_valid(["O", "I-PER"]), is_valid(["B-LOC", "I-PER"])
    (True, False, False)
    """
    return all(_may_follow(before, tag) for before, tag in zip(["O", *tags], tags, strict=False))


def entity_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of whole entities, for each kind and for ``"all"``.

    An entity counts only if kind, first and last word are right; half an entity is a miss and a false alarm. Where
    nothing was said, or nothing is there, the score is 0, as in seqeval.

    Args:
        predicted, true: BIO tags of the same sentences, word by word.

    Returns:
        dict: kind -> ``precision``, ``recall``, ``f1``, and ``support``, how many there are.

    Raises:
        BadData: no sentences, not as many, or of other lengths; a tag that is none.

    >>> scores = entity_scores([["B-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "B-LOC"]])
    >>> scores["all"]["f1"], scores["LOC"]["f1"], scores["PER"]["recall"]
    (0.5, 1.0, 0.0)
    """
    if not true or len(predicted) != len(true):
        raise bad_data("sentences", [f"{len(predicted)} predicted for {len(true)} true ones"])
    problems = [f"[{i}]: {len(p)} tags for {len(t)} words" for i, (p, t) in enumerate(zip(predicted, true, strict=True))
                if len(p) != len(t)]  # fmt: skip
    if problems:
        raise bad_data("sentences", problems)
    said, there = ({(i, *span) for i, tags in enumerate(some) for span in entities(tags)} for some in (predicted, true))
    kinds = sorted({kind for _, kind, *_ in said | there})
    return {
        kind: _scores(*({one for one in some if kind in ("all", one[1])} for some in (said, there)))
        for kind in ("all", *kinds)
    }


def entity_table(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> Table:
    """:func:`entity_scores` as a table.

    >>> print(entity_table([["B-PER"]], [["B-PER"]]))
    entity  precision  recall     F1  support
    all         1.000   1.000  1.000        1
    PER         1.000   1.000  1.000        1
    """
    rows = [
        [kind, *(f"{s[name]:.3f}" for name in ("precision", "recall", "f1")), s["support"]]
        for kind, s in entity_scores(predicted, true).items()
    ]
    return Table(["entity", "precision", "recall", "F1", "support"], rows)


def constrained_tags(log_probabilities: torch.Tensor, label_names: Sequence[str]) -> list[str]:
    """The most probable sequence of tags in which every I- continues an entity of its kind (Viterbi).

    Tags are independent given the text, so the sum of their log-probabilities is what a sequence scores; greedy
    decoding takes the best of each word and may say O I-PER. Where its sequence is valid, this gives the same.

    Args:
        log_probabilities: [words, tags], of one sentence.
        label_names: the tags, in the order of the columns.

    Raises:
        BadData: another number of columns, or a value that is NaN; no tag that may open a sentence.

    Source: Forney (1973), The Viterbi Algorithm.

    >>> logp = torch.tensor([[0.5, 0.1, 0.4], [0.2, 0.1, 0.7]]).log()     # greedy: O I-PER
    >>> constrained_tags(logp, ["O", "B-PER", "I-PER"])
    ['O', 'O']
    """
    words, columns = log_probabilities.shape
    if columns != len(label_names) or log_probabilities.isnan().any():
        wrong = "NaN among them" if columns == len(label_names) else f"{columns} columns for {len(label_names)} tags"
        raise bad_data("log-probabilities", [wrong])
    if not words:
        return []
    allowed = torch.tensor([[_may_follow(a, b) for b in label_names] for a in label_names])
    barred = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill_(~allowed, -torch.inf)
    opening = torch.tensor([0.0 if _may_follow("O", tag) else -torch.inf for tag in label_names], dtype=torch.float64)
    logp = log_probabilities.detach().double().cpu()
    best, came_from = opening + logp[0], []
    for at in range(1, words):
        total, where = (best[:, None] + barred).max(dim=0)
        best = total + logp[at]
        came_from.append(where)
    if torch.isinf(best).all():
        raise bad_data("log-probabilities", ["every valid sequence has the probability 0"])
    path = [int(best.argmax())]
    for where in reversed(came_from):
        path.append(int(where[path[-1]]))
    return [label_names[tag] for tag in reversed(path)]


def _may_follow(before: str, tag: str) -> bool:
    return not tag.startswith("I-") or before[:2] in ("B-", "I-") and before[2:] == tag[2:]


def _scores(said: set, there: set) -> dict[str, float]:
    hits = len(said & there)
    precision, recall = hits / len(said) if said else 0.0, hits / len(there) if there else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": len(there)}
