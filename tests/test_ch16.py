"""Chapter 16: its decoding equals the library's; its cells run on own pairs and with the full profile's model."""

import cells
import hub
import pytest
import torch

import sftlab as sl

NAME = "16_machine_translation"
SMALL = {"TRAIN, TEST, EPOCHS = 128, 32, 2": "TRAIN, TEST, EPOCHS = 32, 4, 1"}


@pytest.fixture(autouse=True)
def as_before():
    """Each chapter starts as it likes; afterwards the settings are those of before."""
    before = sl.start(seed=0)
    yield
    sl.start(seed=before.seed, precision=before.precision, profile=before.profile)


def test_the_cells_run_in_the_full_profile(monkeypatch, tmp_path):
    """A small random model under the true name: only the weights are missing here."""
    hub.fill(tmp_path, "Helsinki-NLP/opus-mt-zh-en")
    hub.use(monkeypatch, tmp_path)
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    names = cells.run(NAME, SMALL)
    assert names["base"].name == "Helsinki-NLP/opus-mt-zh-en" and names["base"].config.d_model == 32
    assert set(names["results"]) >= {"full", "rehearsal", "WiSE-FT", "from scratch"}


def test_the_cells_run_on_own_pairs(tmp_path):
    """Two files of the reader's, by changing the cell that makes the task."""
    rows = sl.task("zh-en-cooking").examples("train")[:120]
    for side, column in (("zh", "zh"), ("en", "en")):
        (tmp_path / f"my.{side}.txt").write_text("\n".join(row[column] for row in rows), encoding="utf-8")
    own = f"kitchen = sl.from_parallel_text({str(tmp_path / 'my.zh.txt')!r}, {str(tmp_path / 'my.en.txt')!r})"
    names = cells.run(NAME, SMALL | {'kitchen = sl.task("zh-en-cooking")': own})
    assert names["kitchen"].name == "my.zh" and not names["ours"]
    assert {row["source"] for row in names["exams"]["kitchen, test"]} <= {row["zh"] for row in rows}


def test_decoding_by_hand_equals_generate():
    """Greedy and beam search of the chapter on many sentences, for three widths; a trained and a random model."""
    names = cells.run(NAME, SMALL, until="## With the library")
    for model in (names["base"], names["untrained"].to(names["env"].device)):
        sources = [row["zh"] for row in sl.task("zh-en-cooking").examples("test")[:15]]
        for k in (1, 2, 5):
            decode = names["greedy"] if k == 1 else lambda m, x, k=k: names["beam"](m, x, k)
            by_hand = [decode(model, model.tokenizer(source)["input_ids"]) for source in sources]
            made = sl.generate(model, sources, max_new_tokens=names["LIMIT"], num_beams=k)
            same = sum(a == b for a, b in zip(by_hand, made, strict=True))
            assert same >= 14, (k, [pair for pair in zip(by_hand, made, strict=True) if pair[0] != pair[1]][:2])


def test_the_unshifted_loss_is_far_too_low_and_the_mended_is_the_tasks():
    """The broken program of the chapter: what its check tells apart."""
    names = cells.run(NAME, SMALL, until="## Before any training")
    base, exam, row = names["base"], names["exam"], names["first"]
    batch = exam.collate(exam.encode([row], base), base)
    with torch.no_grad():
        loss = exam.loss(base, batch)
    x, y = names["ids"](row)
    ids = torch.tensor([x]), torch.tensor([[names["start"], *y[:-1]]])
    with torch.no_grad():
        z = base(input_ids=ids[0], decoder_input_ids=ids[1], use_cache=False).logits[0]
    assert torch.allclose(torch.nn.functional.cross_entropy(z, torch.tensor(y)), loss.total / loss.count, atol=1e-4)
