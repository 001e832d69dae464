"""``sftlab launch``: when one of two dies all stop with its error; the run goes on, and ends where one process ends."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import chapter_losses
import hub
import pytest
import torch.distributed as dist
from nets import copies, exact, same

import sftlab as sl
from sftlab import cli
from sftlab.errors import SftlabError, UnknownName
from sftlab.launch import launch

pytestmark = pytest.mark.skipif(not dist.is_available() or sys.platform == "win32", reason="needs gloo")
HERE = Path(__file__).parent
SCRIPT = """
import json, os, sys
import nets
import sftlab as sl
from sftlab.train import processes

folder, dies = sys.argv[1], sys.argv[2:] == ["dies"]
sl.start(seed=0, device="cpu", precision="float32")
model, task = nets.exact("text", train=25)

def after_step(training):
    if dies and processes.rank() == 1 and training.step == 7:
        raise RuntimeError("the second of two gave up")

there = os.path.isdir(folder + "/run")
processes.wait()  # the first process makes the folder: all look before
if there:
    run = sl.resume(folder + "/run", model, task, show=False)
else:
    run = sl.fit(model, task, sl.full(epochs=3, lr=1e-3), batch=8, micro_batch=3, out=folder + "/run", show=False,
                 save_every=2, after_step=after_step)
print("process", processes.rank(), "of", processes.count())
if processes.rank() == 0:
    with open(folder + "/found.json", "w") as f:
        json.dump({"losses": [s["loss"] for s in run.steps], "test": sl.evaluate(model, task, "test")}, f)
else:
    sl.evaluate(model, task, "test")
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path / "train.py"


def start(*arguments) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sftlab", "launch", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def alone(tmp_path):
    """What one process finds: (losses, evaluation, weights)."""
    model, task = exact("text", train=25)
    run = sl.fit(model, task, sl.full(epochs=3, lr=1e-3), batch=8, micro_batch=3, show=False)
    return [s["loss"] for s in run.steps], sl.evaluate(model, task, "test"), copies(model)


def test_one_dies_and_the_run_goes_on(script, tmp_path):
    """All stop, with the error of the one that died; the second start has the losses and weights of one process."""
    done = start("--processes", 2, script, tmp_path, "dies")
    assert done.returncode == 1 and not (tmp_path / "found.json").exists()
    last = done.stderr.split("sftlab: ")[-1]
    assert last.startswith("process 1 of 2 ended with exit status 1") and "the second of two gave up" in last
    assert "sl.resume" in last
    done = start("--processes", 2, script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("process 0 of 2") == 1 and "process 1" not in done.stdout, "only the first one prints"
    losses, test, weights = alone(tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["losses"] == pytest.approx(losses, abs=1e-5) and len(losses) == 12
    assert found["test"] == pytest.approx(test, abs=1e-5)
    model, task = exact("text", train=25)
    sl.resume(tmp_path / "run", model, task, show=False)
    assert not same(copies(model), copies(exact("text", train=25)[0]))
    for name, value in copies(model).items():
        assert value == pytest.approx(weights[name], abs=1e-5), name


def test_every_training_of_a_chapter_equals_one_process(tmp_path):
    """BERT and SmolLM2, small and random, under their names: LSTM, head only, last layers, all of it, LoRA."""
    pytest.importorskip("peft", reason="the extra `peft` is not installed")
    names = ["14_text_classification", "17_instruction_tuning"]
    cache = hub.layout(tmp_path / "hub", "google-bert/bert-base-uncased", "HuggingFaceTB/SmolLM2-135M")
    for path in cache.rglob("config.json"):  # each process draws the masks of dropout for its own samples
        path.write_text(re.sub(r'(dropout\w*": )0\.\d+', r"\g<1>0.0", path.read_text()))
    done = start("--processes", 2, HERE / "chapter_losses.py", cache, tmp_path / "found.json", *names)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    for name, runs in chapter_losses.losses(names, cache).items():
        assert len(runs) >= 16
        for number, (one, two) in enumerate(zip(runs, found[name], strict=True)):
            assert two == pytest.approx(one, abs=1e-5), (name, number)


def test_unknown_chapter():
    done = start("--processes", 2, "03_lossess")
    assert done.returncode == 1 and "Did you mean '03_losses'" in done.stderr


def test_what_cannot_be_started(tmp_path):
    with pytest.raises(SftlabError, match="there is no script none.py"):
        launch("none.py", [])
    with pytest.raises(UnknownName, match="chapter"):
        launch("99_nothing", [])
    (tmp_path / "a.py").write_text("")
    with pytest.raises(SftlabError, match="is not COUNT:NUMBER:HOST:PORT"):
        launch(str(tmp_path / "a.py"), [], 1, "two machines")
    assert cli.main(["launch", "none.py"]) == 1


def test_code_of_a_chapter_runs_without_its_exercises(monkeypatch):
    from types import SimpleNamespace

    from sftlab import launch as module
    from sftlab.teach import chapters

    cells = [("value = 1", []), ("1 / 0", ["exercise"]), ("1 / 0", ["raises-exception"]), ('sl.check("x", 1)', []),
             ("value += 1\nfound.append(value)", [])]  # fmt: skip
    found = []
    made = [SimpleNamespace(cell_type="code", source=s, metadata={"tags": tags}) for s, tags in cells]
    monkeypatch.setattr(chapters, "read", lambda name: SimpleNamespace(cells=made))
    monkeypatch.setattr("builtins.found", found, raising=False)
    module._run_chapter("any")
    assert found == [2]
