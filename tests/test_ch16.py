"""Chapter 16: its decoding equals the library's; its cells run on own pairs and with the full profile's model."""

import cells
import hub
import torch

import sftlab as sl

NAME = "16_machine_translation"
OPUS = "Helsinki-NLP/opus-mt-zh-en"
LATER = "by_hand = [decode"  # the cell behind those that define decoding and loss
DATA = "TRAIN, TEST, EPOCHS = 128, 32, 2"


def data_cell(**changes):
    """The cell that makes the tasks, with few pairs, and what the reader changes in it."""
    (source,) = [c.source for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source]
    for old, new in {DATA: "TRAIN, TEST, EPOCHS = 24, 4, 1", **changes}.items():
        assert old in source
        source = source.replace(old, new)
    return {DATA: source}


def test_the_cells_run_in_the_full_profile(monkeypatch, tmp_path):
    """A small random model under the true name: only the weights are missing here."""
    hub.use(monkeypatch, hub.layout(tmp_path, OPUS))
    names = cells.run(NAME, monkeypatch, data_cell())
    assert names["base"].name == OPUS and names["base"].config.d_model == 32 and names["elsewhere"]
    assert set(names["results"]) >= {"full", "rehearsal", "WiSE-FT", "from scratch"}


def test_the_cells_run_on_own_pairs(monkeypatch, tmp_path):
    """Two files of the reader's, by changing the cell that makes the task."""
    rows = sl.task("zh-en-cooking").examples("train")[:120]
    for side in ("zh", "en"):
        (tmp_path / f"my.{side}.txt").write_text("\n".join(row[side] for row in rows), encoding="utf-8")
    own = f"kitchen = sl.from_parallel_text({str(tmp_path / 'my.zh.txt')!r}, {str(tmp_path / 'my.en.txt')!r})"
    task = data_cell(
        **{'everyday, kitchen = sl.task("zh-en"), sl.task("zh-en-cooking")': f'everyday = sl.task("zh-en")\n{own}'}
    )
    names = cells.run(NAME, monkeypatch, task)
    assert names["kitchen"].name == "my.zh" and names["elsewhere"]
    assert {row["source"] for row in names["exams"]["kitchen, test"]} <= {row["zh"] for row in rows}


def test_decoding_by_hand_equals_generate(monkeypatch):
    """Greedy and beam search of the chapter on many sentences, for three widths; a trained and a random model."""
    names = cells.run(NAME, monkeypatch, data_cell(), until=LATER)
    for model in (names["base"], names["untrained"].to(names["env"].device)):
        sources = [row["zh"] for row in sl.task("zh-en-cooking").examples("test")[:15]]
        for k in (1, 2, 5):
            decode = names["greedy"] if k == 1 else lambda m, x, k=k: names["beam"](m, x, k)
            by_hand = [decode(model, model.tokenizer(source)["input_ids"]) for source in sources]
            made = sl.generate(model, sources, max_new_tokens=names["LIMIT"], num_beams=k)
            same = sum(a == b for a, b in zip(by_hand, made, strict=True))
            assert same >= len(sources) - 1, (k, by_hand, made)  # one tie may be rounded the other way


def test_the_shifted_loss_is_the_tasks(monkeypatch):
    """What the mended program of the chapter computes; unmoved labels give another loss."""
    names = cells.run(NAME, monkeypatch, data_cell(), until=LATER)
    base, exam, (x, y) = names["base"], names["exam"], names["ids"](names["first"])
    with torch.no_grad():
        loss = exam.loss(base, exam.collate(exam.encode([names["first"]], base), base))
    found = [
        torch.nn.functional.cross_entropy(names["logits"](base, x, [read])[0], torch.tensor(y))
        for read in ([names["start"], *y[:-1]], y)
    ]
    assert torch.allclose(found[0], loss.total / loss.count, atol=1e-4)
    assert abs(found[1] - found[0]) > 0.5
