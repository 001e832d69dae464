"""Chapter 17: its mask, loss and packing are the library's; its cells run with the full profile's model."""

import json

import cells
import hub
import torch

import sftlab as sl

NAME = "17_instruction_tuning"
SMOL = "HuggingFaceTB/SmolLM2-135M"
DATA = "TRAIN, TEST, EPOCHS = 480, 300, 2"
OWN = '# task, elsewhere = sl.from_conversations("my.jsonl"), True'


def data_cell(own: str = OWN):
    """The cell that makes the tasks, with few rows; ``own`` instead of the comment on own data."""
    (source,) = [c.source for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source]
    few = source.replace(DATA, "TRAIN, TEST, EPOCHS = 16, 6, 1").replace("[:60]", "[:4]")
    assert OWN in few
    return {DATA: few.replace(OWN, own)}


def test_the_cells_run_in_the_full_profile(monkeypatch, tmp_path):
    """A small random model under the true name, which brings no chat template: only the weights are missing here."""
    hub.use(monkeypatch, hub.layout(tmp_path, SMOL))
    names = cells.run(NAME, monkeypatch, data_cell())
    assert names["base"].name == SMOL and names["elsewhere"]
    assert set(names["results"]) >= {"full", "LoRA", "last 2", "from scratch", "all tokens"}


def test_own_conversations_go_through(monkeypatch, tmp_path):
    """A file of conversations, one of them with several turns, by the line that the chapter shows."""
    said = [{"role": "user", "content": "And again?"}, {"role": "assistant", "content": "Again."}]
    data = [
        [{"role": "user", "content": f"Say number {i}."}, {"role": "assistant", "content": f"Number {i}."}]
        + said * (i == 3)
        for i in range(60)
    ]
    path = tmp_path / "my.jsonl"
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in data), encoding="utf-8")
    names = cells.run(NAME, monkeypatch, data_cell(f"task, elsewhere = sl.from_conversations({str(path)!r}), True"))
    assert names["elsewhere"] and len(names["rows"]["train"]) == 42 and "full" in names["results"]


def test_labels_by_hand_are_the_tasks(monkeypatch):
    """Of every test and unseen conversation; with one BOS, and EOS learnt once."""
    names = cells.run(NAME, monkeypatch, data_cell(), until="def coloured")
    rows, base, tok = names["rows"], names["base"], names["tok"]
    some = rows["test"] + rows["unseen"]
    items = sl.task("instructions").encode(some, base)
    for row, item in zip(some, items, strict=True):
        ids, labels = names["encode"](row)
        assert (ids, labels) == (item["input_ids"], item["labels"])
        assert labels.count(tok.eos_token_id) == 1 and ids.count(tok.bos_token_id) == 1


def test_dpo_pushes_apart(monkeypatch):
    """The gradient of the chapter's loss raises the preferred answer and lowers the rejected one."""
    (cell,) = [c.source for c in cells.chapters.read(NAME).cells if "def dpo_loss" in c.source]
    names = {"F": torch.nn.functional}
    exec(cell[cell.index("def dpo_loss") : cell.index("policy =")], names)
    values = [torch.randn((), requires_grad=True) for _ in range(4)]
    names["dpo_loss"](*values, beta=0.3).backward()
    assert values[0].grad < 0 < values[1].grad and values[2].grad > 0 > values[3].grad
