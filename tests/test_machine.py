"""``sftlab doctor --machine``: what it says about devices, speeds, folders, the network and the chapters."""

import subprocess
import sys

import pytest
import torch
import web

from sftlab import cli, machine
from sftlab.teach import chapters

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No waiting for names that cannot be looked up, and caches of the test's own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SFTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def rows_of(table) -> dict[str, list[str]]:
    return {row[0]: row for row in table.rows}


def test_the_command(capsys):
    assert cli.main(["doctor", "--machine"]) == 0
    said = capsys.readouterr().out
    assert torch.__version__ in said and "GFLOP/s" in said and "03_losses" in said


def test_a_fresh_process_needs_no_start():
    done = subprocess.run([sys.executable, "-m", "sftlab", "doctor", "--machine"], capture_output=True, text=True)
    assert done.returncode == 0 and "This machine" in done.stdout and not done.stderr


def test_every_executed_chapter_has_its_figures():
    """Measured ones, for all chapters that there are; a chapter that went has none."""
    assert sorted(machine.TINY) == chapters.chapters()
    assert all(seconds > 1 and 100 < megabytes < 8000 for seconds, megabytes in machine.TINY.values())
    assert set(machine.FULL) <= set(machine.TINY)


def test_models_of_the_full_profile_are_those_of_the_chapters():
    for name, (models, _) in machine.FULL.items():
        text = chapters.forms(name)[1].read_text(encoding="utf-8")
        for model in models.split(", "):
            assert model.removeprefix("torchvision/") in text, (name, model)


def test_speed_of_what_a_device_cannot():
    assert machine.speed(CPU, torch.float32, 0.05) > 1e8
    assert machine.speed(CPU, torch.bool, 0.05) == 0
    assert machine._speeds(CPU)[0][2] == "" and "times float32" in machine._speeds(CPU)[1][2]


def test_expected_seconds_scale_with_the_speed(monkeypatch):
    def seconds(speed):
        monkeypatch.setattr(machine, "speed", lambda *args: speed)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        return int(rows_of(machine.verdicts(CPU))["03_losses"][2])

    assert seconds(machine.REFERENCE / 4) == pytest.approx(4 * seconds(machine.REFERENCE), abs=4)


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(machine, "available", lambda: 3e8)
    assert "0.3 are free" in rows_of(machine.verdicts(CPU))["03_losses"][1]
    assert rows_of(machine.describe(CPU))["memory"][2] == "close other kernels"
    monkeypatch.setattr(machine, "available", lambda: None)
    assert rows_of(machine.verdicts(CPU))["03_losses"][1] == "runs"


def test_a_gpu_decides_about_the_full_profile(monkeypatch):
    """BERT-base needs 3.8 GB and more; what a chapter has in tiny alone is the same in both."""
    for free, said in ((40e9, "runs;"), (2e9, "too little: 2.0 GB free")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (int(free), int(free)))
        found = rows_of(machine.verdicts(torch.device("cuda")))
        assert found["14_text_classification"][4].startswith(said) and found["03_losses"][4] == "as tiny"
    assert "no GPU: hours" in rows_of(machine.verdicts(CPU))["14_text_classification"][4]


def test_a_driver_that_torch_does_not_see(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "torch (CUDA 13.0) sees no GPU" in machine._device(CPU, "CUDA 13.0")[1]


def test_folders(monkeypatch, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").write_bytes(b"0" * 20_000_000)
    assert rows_of(machine.describe(CPU))["cache of the course"][2].startswith("0.02 GB there")
    monkeypatch.setattr(machine.os, "access", lambda place, mode: False)
    assert "CANNOT BE WRITTEN" in rows_of(machine.describe(CPU))["cache of the course"][2]


def test_little_room(monkeypatch, tmp_path):
    import collections

    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage(2e9, 1e9, 1e9))
    assert "LITTLE ROOM" in rows_of(machine.describe(CPU))["cache of the course"][2]


def test_network(monkeypatch):
    assert machine.reachable("https://huggingface.co") == "not asked: HF_HUB_OFFLINE is set"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with web.serve() as server:
        server.files["here"] = b"x"
        assert machine.reachable(server.url("here")) == "reachable"
        assert machine.reachable(server.url("nothing")) == "reachable (answers 404)"
    assert machine.reachable("http://127.0.0.1:1").startswith("not reachable")
    assert machine.reachable("nonsense").startswith("not reachable")
