"""Chapter 17: its mask, loss and packing are the library's; its cells run with the full profile's model."""

import cells
import hub
import torch

import sftlab as sl

NAME = "17_instruction_tuning"
SMOL = "HuggingFaceTB/SmolLM2-135M"
DATA = "TRAIN, TEST, EPOCHS = 480, 150, 2"


def data_cell():
    """The cell that makes the tasks, with few rows."""
    (source,) = [c.source for c in cells.chapters.read(NAME).cells if c.cell_type == "code" and DATA in c.source]
    return {DATA: source.replace(DATA, "TRAIN, TEST, EPOCHS = 16, 6, 1").replace("[:60]", "[:4]")}


def test_the_cells_run_in_the_full_profile(monkeypatch, tmp_path):
    """A small random model under the true name, which brings no chat template: only the weights are missing here."""
    hub.use(monkeypatch, hub.layout(tmp_path, SMOL))
    names = cells.run(NAME, monkeypatch, data_cell())
    assert names["base"].name == SMOL and names["elsewhere"]
    assert set(names["results"]) >= {"full", "LoRA", "last 2", "from scratch", "all tokens"}


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
