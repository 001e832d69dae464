"""Entities in BIO tags: spans as seqeval reads them, scores of whole entities, decoding that is never invalid."""

import random
from itertools import product

import pytest
import torch
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

import sftlab as sl
from sftlab.errors import BadData
from sftlab.tasks.spans import constrained_tags, entities, entity_scores, entity_table, is_valid

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def by_the_rule(tags):
    """Spans, from the rule said otherwise: a word opens one unless it continues the kind of the word before by I-."""
    kinds = [tag[2:] for tag in tags]
    opens = [bool(k) and not (i and tags[i][0] == "I" and kinds[i - 1] == k) for i, k in enumerate(kinds)]
    spans = []
    for i in (i for i, o in enumerate(opens) if o):
        end = i + 1
        while end < len(tags) and kinds[end] == kinds[i] and not opens[end]:
            end += 1
        spans.append((kinds[i], i, end))
    return spans


def test_spans_of_every_short_sequence():
    """All 3,905 sequences of up to five tags, invalid ones too: disjoint, in order, as the rule says."""
    for length in range(6):
        for tags in product(TAGS, repeat=length):
            spans = entities(tags)
            assert spans == by_the_rule(list(tags))
            assert all(a[2] <= b[1] for a, b in zip(spans, spans[1:], strict=False))
            assert sum(end - start for _, start, end in spans) == sum(tag != "O" for tag in tags)


def test_spans_equal_seqevals():
    """Spans of any tags, invalid ones too, and the F1 of pairs of them."""
    draw = random.Random(0)
    for _ in range(300):
        length = draw.randint(1, 12)
        said, true = (draw.choices(TAGS, k=length) for _ in range(2))
        assert [(kind, start, end + 1) for kind, start, end in get_entities(said)] == entities(said)
        if entities(said) or entities(true):
            assert abs(entity_scores([said], [true])["all"]["f1"] - f1_score([true], [said])) < 1e-12


@pytest.mark.parametrize("tag", ["PER", "X-PER", "B-", "I", "b-PER"])
def test_other_tags_are_refused(tag):
    with pytest.raises(BadData, match=r"\[1\].*is not O, B-KIND or I-KIND"):
        entities(["O", tag])


def test_scores_count_whole_entities():
    """A wrong edge, a wrong kind and a word too many are a miss and a false alarm each."""
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "I-LOC", "I-LOC"], ["O", "O"]]
    said = [["B-PER", "O", "O", "B-LOC"], ["O", "B-PER", "I-PER", "I-PER"], ["O", "B-LOC"]]
    found = entity_scores(said, true)
    assert found["all"] == {"precision": 1 / 4, "recall": 1 / 3, "f1": pytest.approx(2 / 7), "support": 3}
    assert found["PER"]["f1"] == 0 and found["PER"]["support"] == 1
    assert found["LOC"]["precision"] == 0.5 and found["LOC"]["recall"] == 0.5
    assert entity_scores(true, true)["all"]["f1"] == 1.0
    assert entity_scores([["O"]], [["O"]]) == {"all": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}}
    assert [row[0] for row in entity_table(said, true).rows] == ["all", "LOC", "PER"]


def test_sentences_have_to_fit():
    with pytest.raises(BadData, match="1 predicted for 2"):
        entity_scores([["O"]], [["O"], ["O"]])
    with pytest.raises(BadData, match=r"\[1\]: 2 tags for 1 words"):
        entity_scores([["O"], ["O", "O"]], [["O"], ["O"]])
    with pytest.raises(BadData, match="0 predicted for 0"):
        entity_scores([], [])


def test_constrained_equals_the_best_of_all_valid_sequences():
    """Brute force over all sequences of four words; where greedy is valid, both agree."""
    draw, valid_greedy = torch.Generator().manual_seed(0), 0
    valid = [tags for tags in product(range(5), repeat=4) if is_valid([TAGS[t] for t in tags])]
    for _ in range(60):
        logp = (2 * torch.randn(4, 5, generator=draw)).log_softmax(dim=1)
        best = max(valid, key=lambda tags: sum(logp[at, tag].item() for at, tag in enumerate(tags)))
        found = constrained_tags(logp, TAGS)
        assert found == [TAGS[tag] for tag in best] and is_valid(found)
        greedy = [TAGS[i] for i in logp.argmax(dim=1).tolist()]
        valid_greedy += is_valid(greedy)
        assert not is_valid(greedy) or found == greedy
    assert 5 < valid_greedy < 55


def test_constrained_decoding_is_valid_on_long_sentences_and_other_orders_of_tags():
    draw, order = torch.Generator().manual_seed(1), ["I-LOC", "B-PER", "O", "I-PER", "B-LOC"]
    for length in (1, 2, 50, 300):
        tags = constrained_tags(torch.randn(length, 5, generator=draw).log_softmax(dim=1), order)
        assert len(tags) == length and is_valid(tags)
    assert constrained_tags(torch.empty(0, 5), order) == []


def test_what_cannot_be_decoded_is_said():
    with pytest.raises(BadData, match="4 columns for 5 tags"):
        constrained_tags(torch.zeros(2, 4), TAGS)
    with pytest.raises(BadData, match="NaN"):
        constrained_tags(torch.full((2, 5), torch.nan), TAGS)
    only_inside = torch.full((1, 5), -torch.inf)
    only_inside[0, 2] = 0.0
    with pytest.raises(BadData, match="every valid sequence has the probability 0"):
        constrained_tags(only_inside, TAGS)


def test_public_names():
    assert sl.entity_scores is entity_scores and sl.constrained_tags is constrained_tags and sl.entities is entities
