"""Checkpoints: a run that was killed and resumed equals the run that was not; the last good one is never lost."""

import errno
import json
import os
import random
import signal
import subprocess
import sys

import nets
import pytest
import torch
from nets import copies, fit, same

import sftlab as sl
from sftlab.errors import AssetError, SftlabError
from sftlab.train import state as state_module
from sftlab.train.state import RunFolder


class Killed(BaseException):
    """Ends a run at a moment of our choice, as a kill would."""


class Scripted(sl.Classify):
    """A held-out score that is written down, so that early stopping is decided by its counter alone."""

    metric_names = ("score",)
    script = (0.5, 0.4, 0.6, 0.55, 0.5, 0.45, 0.4)

    def metrics(self, predicted, true):
        self.seen = getattr(self, "seen", -1) + 1
        return {"score": self.script[self.seen % len(self.script)]}


def noisy(item: dict, generator: torch.Generator) -> dict:
    """Augmentation by the generator it is given and, badly, by the global ones too."""
    import numpy as np

    value = item["input"] + 0.1 * torch.randn(item["input"].shape, generator=generator)
    return {**item, "input": value + 0.01 * random.random() + 0.01 * float(np.random.rand())}


LONG = sl.Plan("three stages", (sl.Stage("head", 2, 1e-2), sl.Stage(1, 2, 1e-3), sl.Stage("all", 2, 1e-3)))
CASES = {
    "text, full, dropout": ("text", {"plan": sl.full(epochs=3, lr=1e-3)}),
    "text, LP-FT, cached": ("text", {"plan": sl.lp_ft(head_epochs=3, epochs=2, lr=1e-3)}),
    "tags, stages, accumulation": ("tags", {"plan": LONG, "micro_batch": 3}),
    "conv, full, augmentation, BatchNorm": ("conv", {"plan": sl.full(epochs=3, lr=1e-3), "augment": noisy}),
    "conv, stages, augmentation": ("conv", {"plan": LONG, "augment": noisy, "micro_batch": 5}),
    "text, best weights": ("text", {"plan": sl.full(epochs=4, lr=3e-3), "monitor": ("loss", "min")}),
    "conv, cached last layers": ("conv", {"plan": sl.last_k(1, epochs=4, lr=1e-3)}),
}


def case(name: str):
    """(model, task, settings) of a case, as a new process would make them."""
    kind, settings = CASES[name]
    settings = dict(settings)
    model, task = nets.make(kind, dropout=0.2)
    task.augment = settings.pop("augment", None)
    return model, task, settings


def history(run) -> list:
    return [run.steps, run.evaluations, run.best, run.samples]


def killed_at(step: int):
    def hook(run):
        if run.step == step:
            raise Killed

    return hook


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("save_every", [None, 2], ids=["each epoch", "each 2 steps"])
def test_p07_p18_killed_anywhere_and_resumed_equals_straight(name, save_every, tmp_path):
    """Killed at several steps, each time taken up by a fresh model: history and weights are the straight run's."""
    model, task, settings = case(name)
    straight = fit(model, task, **settings)
    expected = copies(model)
    total = straight.step
    kills = sorted(random.Random(name).sample(range(1, total + 1), 4))
    model, task, settings = case(name)
    with pytest.raises(Killed):
        fit(model, task, out=tmp_path / "run", save_every=save_every, after_step=killed_at(kills[0]), **settings)
    for step in kills[1:]:
        model, task, _ = case(name)
        with pytest.raises(Killed):
            sl.resume(tmp_path / "run", model, task, after_step=killed_at(step), show=False)
    model, task, _ = case(name)
    run = sl.resume(tmp_path / "run", model, task, show=False)
    assert history(run) == history(straight)
    assert same(expected, copies(model))
    again, task, _ = case(name)  # a finished run comes back as it ended
    assert history(sl.resume(tmp_path / "run", again, task, show=False)) == history(straight)
    assert same(expected, copies(again))


def test_p07_frozen_stays_frozen_after_a_resume(tmp_path):
    """A run killed in its head-only stage goes on with the trunk frozen, and unfreezes it when the plan says so."""
    model, task = nets.make("text")
    before = copies(model)
    with pytest.raises(Killed):
        fit(model, task, LONG, out=tmp_path / "run", save_every=1, after_step=killed_at(2))
    fresh, task = nets.make("text")
    seen = []

    def check(run):
        trunk = [n for n in before if n.startswith("trunk.")]
        seen.append((run.steps[-1]["stage"], same(before, copies(fresh), trunk)))

    sl.resume(tmp_path / "run", fresh, task, after_step=check, show=False)
    assert {s for s, _ in seen} == {0, 1, 2}
    assert all(still for stage, still in seen if stage == 0) and not any(still for stage, still in seen if stage == 2)


@pytest.mark.parametrize("kill", range(2, 18, 2))
def test_p19_the_counter_of_early_stopping_survives(kill, tmp_path):
    """Patience 3 ends the run after the same evaluation, however late it was killed and resumed."""

    def make():
        model = nets.model_of("conv")
        return model, nets.task_of("conv", cls=Scripted)

    plan = sl.full(epochs=7, lr=1e-3)
    model, task = make()
    straight = fit(model, task, plan, monitor=("score", "max"), patience=3)
    assert len(straight.evaluations) == 6 and straight.best["score"] == 0.6
    expected = copies(model)
    model, task = make()
    with pytest.raises(Killed):
        fit(
            model, task, plan, monitor=("score", "max"), patience=3, out=tmp_path / "r", after_step=killed_at(kill)
        )  # fmt: skip
    model, task = make()
    task.seen = len(RunFolder(tmp_path / "r").load()[0]["run"]["evaluations"]) - 1
    run = sl.resume(tmp_path / "r", model, task, show=False)
    assert history(run) == history(straight) and same(expected, copies(model))


@pytest.mark.parametrize("average", ["ema", "swa"])
@pytest.mark.parametrize("kind", ["text", "conv"])
def test_p18_averages_survive(kind, average, tmp_path):
    """The averaged weights after a kill and a resume are those of the straight run, BatchNorm included."""
    average = {"ema": lambda: sl.ema(0.9), "swa": lambda: sl.swa(0.3)}[average]()
    plan = sl.gradual(steps=(1,), head_epochs=1, epochs=2, lr=1e-3)
    model, task = nets.make(kind, dropout=0.2)
    straight = fit(model, task, plan, average=average)
    expected = copies(model)
    model, task = nets.make(kind, dropout=0.2)
    with pytest.raises(Killed):
        fit(model, task, plan, average=average, out=tmp_path / "run", save_every=2, after_step=killed_at(8))
    model, task = nets.make(kind, dropout=0.2)
    run = sl.resume(tmp_path / "run", model, task, show=False)
    assert history(run) == history(straight) and same(expected, copies(model))


def test_ctrl_c_keeps_what_was_done(tmp_path):
    """A run stopped in the middle of an epoch is continued by run.resume() from that very step."""
    model, task, settings = case("text, full, dropout")
    straight = fit(model, task, **settings)
    expected = copies(model)
    model, task, settings = case("text, full, dropout")
    stopped = fit(
        model, task, out=tmp_path / "run", after_step=lambda r: "stop" if r.step == 5 else None, **settings
    )  # fmt: skip
    assert stopped.stopped and stopped.step == 5
    run = stopped.resume(show=False)
    assert run.stopped is None and history(run) == history(straight) and same(expected, copies(model))


def test_ctrl_c_in_the_middle_reaches_the_disk(tmp_path):
    """The signal itself: the checkpoint holds the step after which the run ended."""
    model, task = nets.make("text")

    def press(run):
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    run = fit(model, task, sl.full(epochs=3), out=tmp_path / "run", after_step=press)
    assert "interrupted" in run.stopped
    assert RunFolder(tmp_path / "run").load()[0]["step"] == run.step


def test_a_run_without_a_folder_cannot_be_resumed():
    model, task = nets.make("conv")
    with pytest.raises(SftlabError, match="keeps no checkpoints.*out=FOLDER"):
        fit(model, task, sl.full(epochs=1)).resume()


# Another run


@pytest.fixture
def stored(tmp_path):
    """A run that was killed in its second epoch."""
    model, task = nets.make("text")
    with pytest.raises(Killed):
        fit(model, task, sl.last_k(1, epochs=3, lr=1e-3), out=tmp_path / "run", after_step=killed_at(5))
    return tmp_path / "run"


def other_data():
    model, task = nets.make("text")
    task.splits["train"][3] = {"text": "another text", "label": "red"}
    return model, task, None


def other_labels():
    model, task = nets.make("text")
    row = task.splits["train"][3]
    row["label"] = nets.CLASSES[nets.CLASSES.index(row["label"]) - 1]
    return model, task, None


def other_trunk():
    model, task = nets.make("text")
    with torch.no_grad():
        model.trunk.embeddings.word_embeddings.weight[7, 7] += 1e-3
    return model, task, None


def other_shape():
    task = nets.task_of("text")
    model = nets.model_of("text")
    model.head = torch.nn.Linear(32, 3, bias=False)
    return model, task, None


def other_plan():
    return *nets.make("text"), sl.last_k(1, epochs=3, lr=2e-3)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (other_data, ["task.data"]),
        (other_labels, ["task.data"]),
        (other_trunk, ["model.frozen weights"]),
        (other_shape, ["model.tensors.head.bias", "now"]),
        (other_plan, ["plan.stages[0].lr: 0.001 in the run, 0.002 now"]),
    ],
)
def test_another_run_is_refused(stored, other, said):
    """Other data, labels, frozen weights, architecture or plan: refused with what differs; the run stays as it was."""
    model, task, plan = other()
    before = {p.name: p.stat().st_mtime_ns for p in stored.iterdir()}
    with pytest.raises(SftlabError) as raised:
        sl.resume(stored, model, task, plan, show=False)
    assert all(part in str(raised.value) for part in said), raised.value
    assert {p.name: p.stat().st_mtime_ns for p in stored.iterdir()} == before


def test_fit_does_not_write_over_a_run(stored):
    """A cell that is run twice neither overwrites nor silently mixes two runs."""
    model, task = nets.make("text")
    with pytest.raises(SftlabError, match=r"already holds a run.*sl\.resume"):
        fit(model, task, sl.last_k(1, epochs=3, lr=1e-3), out=stored)


def test_one_writer_at_a_time(stored):
    """A second process that continues the same run is refused."""
    model, task = nets.make("text")
    with RunFolder(stored), pytest.raises(SftlabError, match="being written by another run"):
        sl.resume(stored, model, task, show=False)


def test_no_run_there(tmp_path):
    with pytest.raises(AssetError, match="holds no run"):
        sl.resume(tmp_path / "nothing", *nets.make("text"), show=False)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
def test_damaged_files_are_named(stored, file, how):
    """A checkpoint that the disk damaged is an error with the file's name, never a half-loaded model."""
    (place,) = RunFolder(stored).checkpoints()
    path = place / file
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        at = len(data) - 9 if file.endswith("safetensors") else 12
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    model, task = nets.make("text")
    before = copies(model)
    with pytest.raises(AssetError, match="damaged|not what was written|damage"):
        sl.resume(stored, model, task, show=False)
    assert same(before, copies(model))


# Never lose the last good one


@pytest.mark.parametrize("failing", ["model", "optimizer", "state.json"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, failing):
    """When a file of the third checkpoint cannot be written, the error says so, and the second is whole."""
    import safetensors.torch

    real = safetensors.torch.save_file
    flush = state_module._flushed_digest
    count = {"checkpoints": 0}

    def full(path):
        path.write_bytes(b"half a fi")
        raise OSError(errno.ENOSPC, "No space left on device")

    def save_file(tensors, path, *a):
        count["checkpoints"] += path.name == "model.safetensors"
        if count["checkpoints"] == 3 and path.name == f"{failing}.safetensors":
            full(path)
        return real(tensors, path, *a)

    def flushed(path):
        if count["checkpoints"] == 3 and path.name == failing:
            full(path)
        return flush(path)

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    monkeypatch.setattr(state_module, "_flushed_digest", flushed)
    model, task = nets.make("text", dropout=0.2)
    with pytest.raises(
        SftlabError, match=r"could not be written.*No space left.*checkpoint-000002\) is untouched.*sl.resume"
    ):
        fit(model, task, sl.full(epochs=3, lr=1e-3), out=tmp_path / "run")
    assert [p.name for p in RunFolder(tmp_path / "run").checkpoints()] == ["checkpoint-000002"]
    assert not list((tmp_path / "run").glob(".writing-*"))
    count["checkpoints"] = 10
    model, task = nets.make("text", dropout=0.2)
    run = sl.resume(tmp_path / "run", model, task, show=False)
    straight, task = nets.make("text", dropout=0.2)
    assert history(run) == history(fit(straight, task, sl.full(epochs=3, lr=1e-3)))
    assert same(copies(straight), copies(model))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes on Windows")
def test_a_real_write_error(tmp_path):
    """The operating system refuses the file (a limit on its size): a sentence, not a broken checkpoint."""
    import resource

    model, task = nets.make("text")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(SftlabError, match="could not be written"):
            fit(model, task, sl.full(epochs=1), out=tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not RunFolder(tmp_path / "run").checkpoints() and not list((tmp_path / "run").glob(".writing-*"))


def test_a_folder_that_cannot_be_written_is_said_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    model, task = nets.make("conv")
    steps = []
    with pytest.raises(SftlabError, match="no checkpoint can be written to .*file"):
        fit(model, task, sl.full(epochs=1), out=tmp_path / "file" / "run", after_step=steps.append)
    assert not steps


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_kill_9_at_a_hundred_random_moments(tmp_path):
    """A run that is killed a hundred times, wherever it stands, loses nothing: it ends as the straight run."""
    here = os.path.dirname(__file__)
    command = [sys.executable, os.path.join(here, "kill_nine.py"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=os.path.dirname(here))
    assert done.returncode == 0, done.stderr
    assert "killed 100 times" in done.stdout


# What is in it


def test_the_description_is_readable(stored):
    """run.json says in JSON what was asked: plan, sizes, seed, data, architecture, versions."""
    about = json.loads((stored / "run.json").read_text(encoding="utf-8"))
    assert about["settings"]["plan"]["stages"][0]["train"] == 1 and about["settings"]["batch"] == 8
    assert about["versions"]["torch"] == torch.__version__.split("+")[0] or about["versions"]["torch"]
    assert about["task"]["labels"] == nets.CLASSES and len(about["task"]["data"]) == 64
    assert "head.weight" in about["model"]["tensors"]


def test_only_what_trains_is_stored(stored):
    """A frozen trunk is not written again and again: the checkpoint holds the trained layers, the head and buffers."""
    tensors = RunFolder(stored).load()[1]
    assert {n.split(".")[0] for n in tensors["model"]} == {"trunk", "head"}
    assert not any("embeddings.word" in n or "layer.0." in n for n in tensors["model"])


class Tied(torch.nn.Module):
    """Embedding and output share their matrix."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(6, 6)
        self.words = torch.nn.Linear(6, 3, bias=False)
        self.head = torch.nn.Linear(6, 3, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(self.body(x)) + self.words(x)


def test_p17_tied_weights_come_back_tied(tmp_path):
    """Shared parameters are stored once and are still one parameter after the resume."""

    def make():
        torch.manual_seed(0)
        rows = [{"input": torch.randn(6), "label": i % 3} for i in range(12)]
        return Tied(), sl.Classify({"train": rows}, ["a", "b", "c"], sl.TensorInput())

    model, task = make()
    straight = fit(model, task, sl.full(epochs=3, lr=1e-2))
    other, task = make()
    with pytest.raises(Killed):
        fit(other, task, sl.full(epochs=3, lr=1e-2), out=tmp_path / "run", after_step=killed_at(3))
    again, task = make()
    sl.resume(tmp_path / "run", again, task, show=False)
    assert again.head.weight is again.words.weight
    assert same(copies(straight.model), copies(again))


def test_p25_a_compiled_model_is_stored_under_its_own_names(tmp_path):
    """torch.compile wraps the module: stored names have no _orig_mod prefix, and a plain model takes them up."""
    model, task = nets.make("conv")
    compiled = torch.compile(model, backend="eager")
    with pytest.raises(Killed):
        fit(compiled, task, sl.full(epochs=2, lr=1e-3), out=tmp_path / "run", after_step=killed_at(4))
    tensors = RunFolder(tmp_path / "run").load()[1]
    assert not any("_orig_mod" in name for group in tensors.values() for name in group)
    plain, task = nets.make("conv")
    sl.resume(tmp_path / "run", plain, task, show=False)
    straight, task = nets.make("conv")
    fit(straight, task, sl.full(epochs=2, lr=1e-3))
    assert nets.distance(copies(straight), copies(plain)) < 1e-6


def test_p25_the_compiled_model_is_what_runs():
    """fit calls the compiled form, not the module inside it."""
    model, task = nets.make("conv")
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    fit(torch.compile(model, backend=backend), task, sl.full(epochs=1))
    assert graphs
