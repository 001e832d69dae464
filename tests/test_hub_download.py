"""Models of the hub, fetched over HTTP from a server on loopback that answers as the hub does, by fresh processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hub
import pytest
import web

import sftlab as sl
from sftlab.sets.hub import PINS, fetch

BERT, _, MARIAN, *_ = hub.NAMES


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return hub.layout(tmp_path_factory.mktemp("made"), BERT, MARIAN)


@pytest.fixture
def server(made):
    with web.serve() as found:
        for folder in made.glob("models--*/snapshots/*"):
            hub.serve(found, folder, folder.parents[1].name.removeprefix("models--").replace("--", "/"))
        yield found


@pytest.fixture
def run(server, tmp_path):
    """Run Python code in a process whose hub is the server; its HTTP requests for files end up in ``server.log``."""

    def go(code: str, **variables):
        environment = {
            **os.environ, "HF_ENDPOINT": server.address, "HF_HUB_CACHE": str(tmp_path / "hub"),
            "SFTLAB_CACHE": str(tmp_path / "sftlab"), "SFTLAB_PROFILE": "full", "HF_HUB_OFFLINE": "0", **variables,
        }  # fmt: skip
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    go.snapshot = lambda name: next((tmp_path / "hub").glob(f"models--{name.replace('/', '--')}/snapshots/*"))
    return go


def fetching(name: str = BERT) -> str:
    return f"from sftlab.sets.hub import fetch; print(fetch({name!r}))"


def files_of(server) -> list:
    return [(path.rsplit("/", 1)[-1], wanted) for path, wanted in server.log if "/resolve/" in path]


def test_first_from_the_hub_second_from_the_cache(server, run):
    """The second process asks for nothing at all, because the commit is pinned and was complete."""
    first = run(fetching())
    assert first.returncode == 0, first.stderr
    assert Path(first.stdout.strip()).name == PINS[BERT] and "Fetching" in first.stderr  # a bar
    assert {name for name, _ in files_of(server)} >= {"config.json", "model.safetensors", "tokenizer.json"}
    server.log.clear()
    second = run(fetching())
    assert second.stdout == first.stdout and server.log == [] and "%|" not in second.stderr
    server.files.clear()
    again = run(f"import sftlab as sl; print(sl.load({BERT!r}, sl.task('headlines'), seed=0).loading['used'])")
    assert again.returncode == 0 and int(again.stdout) > 10, again.stderr


def test_a_break_is_taken_up(server, run, tmp_path):
    """A file of 25 MB, broken off after 15: what the hub's client had written is not asked for again."""
    folder = tmp_path / "made" / PINS[BERT]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(250)) * 100_000)
    hub.serve(server, folder, BERT)
    server.breaks = [15_000_000]
    done = run(fetching())
    assert done.returncode == 0, done.stderr
    weights = [wanted for name, wanted in files_of(server) if name == "model.safetensors"]
    assert len(weights) == 2 and weights[1].startswith("bytes=10"), weights
    assert (run.snapshot(BERT) / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_an_altered_file_is_refused(server, run):
    assert run(fetching()).returncode == 0
    file = run.snapshot(BERT) / "model.safetensors"
    content = file.read_bytes()
    file.resolve().write_bytes(content[:-4] + b"....")
    done = run(fetching())
    assert done.returncode and "model.safetensors is truncated or altered" in done.stderr
    assert "expected sha256" in done.stderr and str(file.resolve()) in done.stderr
    file.resolve().unlink()
    file.unlink()
    assert run(fetching()).returncode == 0 and file.read_bytes() == content


def test_a_small_file_that_changed_since_the_first_use(server, run, tmp_path):
    """Its digest was written down, wherever the hub's cache has it from."""
    assert run(fetching()).returncode == 0
    file = run.snapshot(BERT) / "config.json"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content + b" ")
    done = run(fetching())
    assert done.returncode and "config.json is truncated or altered" in done.stderr
    recorded = json.loads(next((tmp_path / "sftlab" / "digests").glob("*.json")).read_text())
    assert set(recorded) == {p.name for p in run.snapshot(BERT).iterdir()}


def test_offline(server, run):
    done = run(fetching(), HF_HUB_OFFLINE="1")
    assert done.returncode and "HF_HUB_OFFLINE is set" in done.stderr and server.log == []
    assert run(fetching()).returncode == 0
    server.log.clear()
    assert run(fetching(), HF_HUB_OFFLINE="1").returncode == 0 and server.log == []


def test_disk_full(server, run):
    """Nothing is taken for complete; with room it goes on."""
    full = (
        "import errno, huggingface_hub.file_download as f\ndef no(*a, **k): raise OSError(errno.ENOSPC, 'No space')\n"
    )
    done = run(full + "f.http_get = no\n" + fetching())
    assert done.returncode and "is full" in done.stderr, done.stderr
    assert run(fetching()).returncode == 0


def test_weights_that_are_a_pickle_become_safetensors(server, run, tmp_path):
    """opus-mt-zh-en has no others: read by a reader of tensors only, once."""
    code = (
        "import sftlab as sl; task = sl.Seq2Seq({'train': [{'source': 'a', 'target': 'b'}]}); "
        f"model = sl.load({MARIAN!r}, task, seed=0); print(model.loading['used'], model.name)"
    )
    done = run(code)
    assert done.returncode == 0 and MARIAN in done.stdout, done.stderr
    (made,) = (tmp_path / "sftlab" / "converted").glob("*/model.safetensors")
    before = made.stat().st_mtime_ns
    assert run(code).stdout == done.stdout and made.stat().st_mtime_ns == before
    made.write_bytes(made.read_bytes()[:-1])
    done = run(code)
    assert done.returncode and "truncated or altered. Delete it" in done.stderr


def test_such_a_pickle_runs_no_code(made, tmp_path, monkeypatch):
    import torch

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    hub.use(monkeypatch, tmp_path / "own")
    there = next(made.glob(f"models--{MARIAN.replace('/', '--')}/snapshots/*"))
    folder = hub.snapshot(tmp_path / "own", MARIAN, {p.name: p.read_bytes() for p in there.iterdir()})
    torch.save({"a": Runs()}, folder / "pytorch_model.bin")
    task = sl.Seq2Seq({"train": [{"source": "a", "target": "b"}]})
    with pytest.raises(sl.errors.AssetError, match="does not hold tensors"):
        sl.load(MARIAN, task)
    assert not (tmp_path / "ran").exists()


def test_every_pin_is_a_commit():
    assert all(len(commit) == 40 and set(commit) <= set("0123456789abcdef") for commit in PINS.values())


def test_without_weights(server, run, made, monkeypatch, tmp_path):
    """From scratch needs the configuration only, and is no proof that the weights are there."""
    done = run(f"from sftlab.sets.hub import fetch; fetch({BERT!r}, weights=False)")
    assert done.returncode == 0 and "model.safetensors" not in {name for name, _ in files_of(server)}
    assert run(fetching()).returncode == 0 and "model.safetensors" in {name for name, _ in files_of(server)}
    with pytest.raises(sl.errors.AssetError, match="the profile is tiny"):
        fetch(BERT)
