"""Chapter 15: its definitions equal the library's; its cells run on a CoNLL file and with BERT from a local hub."""

import itertools
import json
from pathlib import Path

import cells
import hub
import pytest
import torch

from sftlab.tasks.spans import entities

NAME = "15_named_entity_recognition"
BERT = "google-bert/bert-base-uncased"
DATA = 'task = sl.task("people")'
LATER = "items = task.encode(test, base)"  # the cell behind those that define labels, spans and decoding
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return hub.layout(tmp_path_factory.mktemp("hub"), BERT)


@pytest.fixture
def full(cache, monkeypatch):
    hub.use(monkeypatch, cache)


def own_file(folder):
    """Rivers and birds instead of people: other kinds, no traits, words with an umlaut, a sentence without names."""
    birds, rivers = ["Kestrel", "Grey Heron", "Tüpfelsumpfhuhn"], ["Elbe", "Little Ouse", "Rio Negro"]
    lines = ["-DOCSTART- O", ""]
    for i in range(60):
        bird, river = birds[i % 3].split(), rivers[i // 3 % 3].split()
        for word, kind in ((bird, "BIRD"), (["sits", "near", "the"], ""), (river, "RIVER"), ([f"({i})", "."], "")):
            lines += [f"{w} {('I-' if k else 'B-') + kind if kind else 'O'}" for k, w in enumerate(word)]
        lines.append("")
    lines += ["Nothing O", "here O", ""]
    (folder / "my.conll").write_text("\n".join(lines), encoding="utf-8")
    return folder / "my.conll"


def checked(space):
    """What must hold for every model and data, beside the chapter's own assertions."""
    assert set(space["results"]) == {"head only", "last 2", "full", "full, from scratch"}
    assert all(len(runs) == 3 and all(0 <= run["f1"] <= 1 for run in runs) for runs in space["results"].values())
    trained = {name: runs[0]["trained"] for name, runs in space["results"].items()}
    assert trained["head only"] < trained["last 2"] < trained["full"] == trained["full, from scratch"]
    assert all(space["is_valid"](tags) for tags in space["said"])
    assert sum(space["total"].values()) == sum(len(space["spans"](t)) for t in space["true"])


def test_own_conll_by_one_cell(tmp_path, monkeypatch):
    """The cell that makes the task is replaced by the line that stands in it as a comment; all others stay."""
    path = own_file(tmp_path)
    space = cells.run(NAME, monkeypatch, {DATA: f"task, elsewhere = sl.from_conll({str(path)!r}), True"})
    assert space["TAGS"] == ["O", "B-BIRD", "I-BIRD", "B-RIVER", "I-RIVER"] and space["traits"] == ["all"]
    checked(space)


def test_the_comment_shows_that_line():
    cell = next(c for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source)
    assert '# task, elsewhere = sl.from_conll("my.conll"), True' in cell.source


def test_full_profile_from_the_same_cells(full, monkeypatch):
    """Google's BERT: small and random, but with its layout, names and tokenizer, read from the hub's cache."""
    space = cells.run(NAME, monkeypatch)
    assert space["checkpoint"] == BERT and space["base"].name == BERT and space["elsewhere"]
    checked(space)


def test_definitions_equal_the_library_on_every_short_sequence(monkeypatch):
    """Spans of all sequences of four tags; Viterbi against trying all valid sequences."""
    space = cells.run(NAME, monkeypatch, until=LATER)
    tags = space["TAGS"][:5]
    for some in itertools.product(tags, repeat=4):
        assert space["spans"](some) == set(entities(some)), some
    for seed in range(5):
        logp = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed)).double().log_softmax(1)
        valid = [p for p in itertools.product(range(7), repeat=3)
                 if space["is_valid"]([space["TAGS"][k] for k in p])]  # fmt: skip
        best = max(valid, key=lambda p: float(sum(logp[t, k] for t, k in enumerate(p))))
        assert space["viterbi"](logp) == [space["TAGS"][k] for k in best]


def test_the_broken_labels_are_caught_one_by_one(monkeypatch):
    """Each mistake alone gets its own message, and the right labels pass."""
    elsewhere = {DATA: 'task, elsewhere = sl.task("people"), True'}
    space = cells.run(NAME, monkeypatch, elsewhere, until="class Colleague")
    align, check, tags = space["align"], space["check_labels"], space["TAGS"]

    def repeated(ids, own, length):
        labels = [-100 if w is None else tags.index(own[w]) for w in ids]
        return labels + [-100] * (length - len(labels))

    def moved(ids, own, length):
        labels = align(ids, own)[1:]
        return labels + [-100] * (length - len(labels))

    def right(ids, own, length):
        return align(ids, own) + [-100] * (length - len(ids))

    def padded(ids, own, length):
        return align(ids, own) + [0] * (length - len(ids))

    assert check(right) == "Mended." and "padding has a label" in check(padded)
    assert "more labels than words" in check(repeated) and "moved by one place" in check(moved)


def test_what_was_measured_with_three_seeds():
    """The page that the chapter links to: full fine-tuning reaches 0.80 on unseen names, far above scratch."""
    found = json.loads((ROOT / "book" / "measured" / "people.json").read_text(encoding="utf-8"))
    scores = {name: torch.tensor([one["viterbi"] for one in runs]) for name, runs in found.items()}
    assert all(len(values) == 3 for values in scores.values()) and scores["full"].mean() >= 0.80
    gap = scores["full"].mean() - scores["from scratch"].mean()
    assert gap > max(scores["full"].std(), scores["from scratch"].std())
    page = (ROOT / "book" / "measured" / "people.md").read_text(encoding="utf-8")
    assert f"{scores['full'].mean():.3f} ± {scores['full'].std():.3f}" in page
    assert "measured/people.md" in (ROOT / "book" / "measurements.md").read_text(encoding="utf-8")
