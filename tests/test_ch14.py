"""Chapter 14: text classification with one's own CSV file, and with BERT from a local hub layout."""

import csv
import math

import cells
import hub
import pytest
import torch

NAME = "14_text_classification"
BERT = "google-bert/bert-base-uncased"
DATA = 'task = sl.task("headlines")'
WORDS = "the a river mill town shop roof bridge opens closes burns grows falls again slowly well badly not".split()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return hub.layout(tmp_path_factory.mktemp("hub"), BERT)


@pytest.fixture
def full(cache, monkeypatch):
    hub.use(monkeypatch, cache)


def own_file(folder, columns):
    """Texts of three kinds; with semicolons, quotes and an umlaut in them."""
    draw = torch.Generator().manual_seed(0)
    with open(folder / "my.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, columns, delimiter=";", extrasaction="ignore")
        writer.writeheader()
        for i in range(60):
            words = [WORDS[k] for k in torch.randint(len(WORDS), (3 + i % 14,), generator=draw)]
            kind = ("bad", "fair", "good")[i % 3]
            topic = ("Zürich", "sport")[i % 2]
            writer.writerow({"text": f'"{kind}"; {" ".join(words)} {i}', "label": kind, "topic": topic})
    return folder / "my.csv"


def checked(space):
    """What must hold for every model and data, beside the chapter's own assertions."""
    assert set(space["scores"]) == {"LSTM, scratch", "encoder, scratch", "head only", "last 2", "full"}
    assert all(len(values) == 3 and all(0 <= v <= 1 for v in values) for values in space["scores"].values())
    trained = {name: cost[0][1] for name, cost in space["costs"].items()}
    assert trained["head only"] < trained["last 2"] < trained["full"] == trained["encoder, scratch"]
    assert set(space["pooling"]) == {"CLS", "mean", "max"} and len(space["length"]) >= 3
    assert set(space["alone"]) == set(space["both"]) == {"sentiment", "topic"}
    assert space["finding"].name == "padding" and space["shift"] > 0
    assert all(0 <= a <= 1 for _, a in space["table"].values())


def test_own_csv_by_one_cell(tmp_path, monkeypatch):
    """The cell that makes the task is replaced by the line that stands in it as a comment; all others stay."""
    path = own_file(tmp_path, ["text", "label", "topic"])
    space = cells.run(NAME, monkeypatch, {DATA: f"task, elsewhere = sl.from_csv({str(path)!r}), True"})
    assert space["task"].label_names == ["bad", "fair", "good"] and space["ends"] == ["bad", "good"]
    assert space["names"] == ["Zürich", "sport"] or space["names"] == ["sport", "Zürich"]
    checked(space)


def test_the_comment_shows_that_line():
    cell = next(c for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source)
    assert '# task, elsewhere = sl.from_csv("my.csv"), True' in cell.source


def test_full_profile_from_the_same_cells(full, monkeypatch):
    """Google's BERT: small and random, but with its layout, names and tokenizer, read from the hub's cache."""
    space = cells.run(NAME, monkeypatch)
    assert space["checkpoint"] == BERT and space["base"].name == BERT and space["elsewhere"]
    assert any(key.startswith("cls.") for key in space["base"].loading["unused"])
    checked(space)


def test_full_profile_with_own_data_without_topics(full, tmp_path, monkeypatch):
    """Both at once; there is no second label, so the two heads learn the same."""
    path = own_file(tmp_path, ["text", "label"])
    space = cells.run(NAME, monkeypatch, {DATA: f"task, elsewhere = sl.from_csv({str(path)!r}), True"})
    assert space["second"] == "label"
    checked(space)


def test_formulas_of_exercise_5():
    """The interval of the last solution against the definition: both ends fulfil the equation."""
    from sftlab.teach.checks.c14 import _wilson

    for k, n in ((9, 10), (10, 10), (0, 7), (45, 60)):
        for p in _wilson(k, n):
            assert math.isclose(abs(k / n - p), 1.96 * math.sqrt(max(0.0, p * (1 - p)) / n), abs_tol=1e-6)
