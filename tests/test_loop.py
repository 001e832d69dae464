"""The loop: equal to one written by hand, reproducible, stoppable, and clear about what is wrong."""

import math
import random
import signal
import threading

import nets
import numpy as np
import pytest
import torch
from nets import KINDS, copies, distance, exact, fit, make, same
from torch.nn import functional as F

import sftlab as sl
from sftlab.data.batching import epoch_order, mix
from sftlab.errors import BadData, NoSupervision, SftlabError, UnknownName

PLAN = sl.full(epochs=2, lr=1e-3, head_lr=3e-3, layer_decay=0.5, weight_decay=0.1, warmup=0.25)


def by_hand(model, task, batch: int, epochs: int, seed: int) -> list[float]:
    """PLAN in plain PyTorch: one forward and backward pass per step, mean loss, clip_grad_norm_, AdamW."""
    items = task.encode(task.examples("train"), model)
    lengths = [len(item["input_ids"]) for item in items] if "input_ids" in items[0] else None
    layers = {"conv": ["stem", "block1", "block2", "head"]}.get(
        task.name, ["trunk.embeddings", "trunk.encoder.layer.0", "trunk.encoder.layer.1", "head"]
    )
    groups = []
    for layer, rate in zip(layers, [0.25e-3, 0.5e-3, 1e-3, 3e-3], strict=True):
        for decay in (0.1, 0.0):
            members = [
                p
                for name, p in model.named_parameters()
                if name.startswith(layer + ".") and (p.dim() > 1) == (decay > 0)
            ]
            groups.append({"params": members, "lr": rate, "peak": rate, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, foreach=False)
    steps, at, losses = epochs * math.ceil(len(items) / batch), 0, []
    for epoch in range(epochs):
        for rows in epoch_order(lengths, len(items), batch, mix(seed, 0), epoch):
            done = (at + 0.5) / steps
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * (done / 0.25 if done < 0.25 else (1 - done) / 0.75)
            model.train()
            inputs = task.collate([items[row] for row in rows], model)
            logits = model(**inputs["inputs"]) if lengths else model(inputs["inputs"]["input"])
            loss = F.cross_entropy(logits.reshape(-1, 3).float(), inputs["labels"].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            at += 1
    return losses


@pytest.mark.parametrize("kind", [*KINDS, "conv with BatchNorm"])
def test_fit_equals_a_loop_written_by_hand(kind):
    """Weights, buffers and logged losses equal those of a plain PyTorch loop to 1e-6, an incomplete batch included."""
    norm, kind = "Norm" in kind, kind.split()[0]
    model, task = exact(kind, train=20)
    hand = exact(kind)[0]
    if norm:
        model, hand = (nets.model_of(kind).double() for _ in range(2))
    before = copies(model)
    run = fit(model, task, PLAN, seed=5)
    losses = by_hand(hand, task, batch=8, epochs=2, seed=5)
    assert [step["loss"] for step in run.steps] == pytest.approx(losses, abs=1e-6)
    assert distance(copies(model), copies(hand)) < 1e-6 < 1e-3 < distance(copies(model), before)


@pytest.mark.parametrize("plan", ["head only", "full", "gradual"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_everything(kind, plan):
    """The same seed gives bit-identical weights and history, dropout included; another seed gives others."""
    runs = []
    for seed, drawn in ((1, 0), (1, 7), (2, 0)):
        model, task = make(kind, dropout=0.3)
        torch.rand(drawn)
        runs.append(fit(model, task, nets.plans()[plan], seed=seed))
    first, again, other = (copies(run.model) for run in runs)
    assert same(first, again) and runs[0].steps == runs[1].steps and runs[0].evaluations == runs[1].evaluations
    assert distance(first, other) > 1e-4


def test_the_default_seed_is_that_of_start():
    """fit without a seed takes the seed of sl.start."""
    runs = []
    for started, seed in ((6, None), (0, 6)):
        sl.start(seed=started, device="cpu", precision="float32")
        model, task = make("conv", dropout=0.3)
        runs.append(fit(model, task, "head only", seed=seed))
    assert runs[0].seed == 6 and same(copies(runs[0].model), copies(runs[1].model))


@pytest.mark.parametrize("kind", KINDS)
def test_the_random_state_of_the_caller_is_left_alone(kind):
    """fit, evaluate and predict draw nothing from Python's, NumPy's or torch's global generators."""

    def states():
        return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())

    model, task = make(kind, dropout=0.3)
    before = states()
    fit(model, task, nets.plans()["gradual"])
    sl.evaluate(model, task)
    sl.predict(model, task, "test")
    assert states() == before


class Scripted(sl.Classify):
    """A task whose held-out score is written down beforehand."""

    script = (0.3, 0.9, 0.5, 0.4, 0.95, 0.1)
    metric_names = ("score",)

    def metrics(self, predicted, true):
        self.calls = getattr(self, "calls", -1) + (len(true) > 1)  # one label alone: somebody asks for the names
        return {"score": self.script[max(0, self.calls)]}


def scripted_run(epochs=6, **settings):
    """A run on the script, with the weights after each epoch."""
    model, task = nets.model_of("conv"), nets.task_of("conv", cls=Scripted)
    kept = []

    def keep(run):
        if run.step % 3 == 0:  # 24 samples in batches of 8
            kept.append(copies(run.model))

    run = fit(model, task, sl.full(epochs=epochs, lr=1e-2), after_step=keep, **settings)
    return run, kept


@pytest.mark.parametrize(
    ("direction", "patience", "ran", "best"),
    [("max", None, 6, 4), ("min", None, 6, 5), ("max", 2, 4, 1), ("max", 3, 6, 4), ("min", 1, 2, 0), ("min", 4, 5, 0)],
)
def test_monitor_keeps_the_best_weights_and_patience_ends_the_run(direction, patience, ran, best):
    """After the run the weights and buffers are those of the best epoch in the stated direction (P20)."""
    run, kept = scripted_run(monitor=("score", direction), patience=patience)
    assert len(run.evaluations) == ran == len(kept)
    assert run.best is run.evaluations[best] and run.best["score"] == Scripted.script[best]
    assert same(copies(run.model), kept[best])
    assert run.stopped is None  # as planned, not stopped by somebody


def test_monitor_takes_the_loss():
    """The held-out loss can be watched: the least one wins, here not the last."""
    model, task = make("conv")
    # Every training label is wrong, so that the held-out loss grows.
    for example in task.splits["train"]:
        example["label"] = (task.label_id(example["label"]) + 1) % 3
    run = fit(model, task, sl.full(epochs=6, lr=1e-2), monitor=("loss", "min"))
    losses = [e["loss"] for e in run.evaluations]
    assert run.best["loss"] == min(losses) < losses[-1]
    assert sl.evaluate(model, task, "val")["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_without_monitor_the_last_weights_stay():
    """No monitor, no guess: the last weights are kept."""
    run, kept = scripted_run()
    assert run.best is None and same(copies(run.model), kept[-1])


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        (("acuracy", "max"), "unknown metric 'acuracy'. Did you mean 'accuracy'"),
        (("accuracy", "higher"), "a metric and a direction"),
        (("accuracy",), "a metric and a direction"),
        ("accuracy", "a metric and a direction"),
    ],
)
def test_monitor_that_does_not_exist(monitor, said):
    """A wrong metric, direction or form of monitor raises UnknownName that shows what is right."""
    model, task = make("conv")
    with pytest.raises(UnknownName, match=said):
        fit(model, task, "full", monitor=monitor)


def test_monitor_is_checked_before_the_first_step():
    """A typing error in the metric's name must not cost an epoch and the weights."""
    model, task = make("conv")
    before = copies(model)
    with pytest.raises(UnknownName):
        fit(model, task, "full", monitor=("acuracy", "max"))
    assert same(before, copies(model))


def test_monitor_needs_a_held_out_split():
    """A monitor without a split to watch, or patience without a monitor, raises before any training."""
    model, task = nets.model_of("conv"), nets.task_of("conv", val=0)
    with pytest.raises(UnknownName, match="unknown split 'val'"):
        fit(model, task, "full", monitor=("loss", "min"))
    with pytest.raises(ValueError, match="patience needs a monitor"):
        fit(model, task, "full", patience=2)


def press(times: int, at: int):
    """A hook that presses Ctrl-C at a step."""

    def hook(run):
        if run.step == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return hook


@pytest.mark.parametrize("plan", ["head only", "full", "gradual"])
@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_ends_at_a_whole_step(kind, plan):
    """Ctrl-C returns the run so far: the weights are those of a run that was told to stop at that step."""

    def stop(run):
        return "stop" if run.step == 4 else None

    before = signal.getsignal(signal.SIGINT)
    model, task = make(kind, dropout=0.3)
    try:
        run = fit(model, task, nets.plans()[plan], after_step=press(1, at=4))
    except KeyboardInterrupt:  # would end pytest, not only this test
        pytest.fail("the first Ctrl-C was raised")
    assert signal.getsignal(signal.SIGINT) is before
    assert run.stopped == "interrupted after step 4" and len(run.steps) == 4 and run.cost.seconds > 0
    other, task = make(kind, dropout=0.3)
    told = fit(other, task, nets.plans()[plan], after_step=stop)
    assert told.stopped == "by after_step at step 4" and told.steps == run.steps
    assert same(copies(model), copies(other))
    assert run.evaluations[-1]["step"] == 4 and not model.training and repr(run)
    assert all(p.grad is None for p in model.parameters())


def test_a_second_ctrl_c_ends_at_once():
    """Two presses raise KeyboardInterrupt, and the old handler is back."""
    before = signal.getsignal(signal.SIGINT)
    model, task = make("conv")
    with pytest.raises(KeyboardInterrupt):
        fit(model, task, "full", after_step=press(2, at=2))
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_keeps_the_best_weights():
    """A monitored run that is interrupted still returns to its best weights."""
    kept = []

    def hook(run):
        if run.step % 3 == 0:
            kept.append(copies(run.model))
        if run.step == 10:
            signal.raise_signal(signal.SIGINT)

    model, task = nets.model_of("conv"), nets.task_of("conv", cls=Scripted)
    run = fit(model, task, sl.full(epochs=6, lr=1e-2), after_step=hook, monitor=("score", "max"))
    assert run.stopped and run.best["score"] == 0.9 and same(copies(model), kept[1])


def test_an_error_in_a_hook_is_raised_and_the_handler_is_back():
    """What a hook raises reaches the caller; signal handler and random state are as before."""
    before, state = signal.getsignal(signal.SIGINT), torch.get_rng_state()

    def fails(run):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fit(*make("text", dropout=0.3), "full", after_step=fails)
    assert signal.getsignal(signal.SIGINT) is before and torch.equal(state, torch.get_rng_state())


def test_fit_in_a_thread():
    """Outside the main thread, where no signal arrives, a run works and gives the same weights."""
    models = [nets.model_of("conv") for _ in range(2)]
    thread = threading.Thread(target=fit, args=(models[0], nets.task_of("conv"), "full"))
    thread.start()
    thread.join()
    fit(models[1], nets.task_of("conv"), "full")
    assert same(copies(models[0]), copies(models[1])) and not same(copies(models[0]), copies(nets.model_of("conv")))


def head_runs(**settings):
    """The same head-only run with cached features and live; the head has dropout, the trunk would have."""
    runs = []
    for cache in (True, False):
        model, task = make("text", dropout=0.3)
        runs.append(fit(model, task, sl.head_only(epochs=3), cache=cache, **settings))
    return runs


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_cached_head_only_equals_live(micro_batch):
    """Training the head on stored features gives the weights and evaluations of the live run to 1e-6."""
    cached, live = head_runs(micro_batch=micro_batch)
    assert distance(copies(cached.model), copies(live.model)) < 1e-6
    assert [s["loss"] for s in cached.steps] == pytest.approx([s["loss"] for s in live.steps], abs=1e-6)
    for a, b in zip(cached.evaluations, live.evaluations, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_cached_evaluation_equals_live_evaluation():
    """The held-out results of a cached run are those of the whole model, and the run says that it cached."""
    cached, live = head_runs()
    assert sl.evaluate(cached.model, cached.task, "val") == pytest.approx(
        {k: v for k, v in cached.evaluations[-1].items() if k not in ("step", "stage", "epoch")}, abs=1e-6
    )
    assert any("ran once for each of 35 samples" in note for note in cached.notes) and not live.notes


@pytest.mark.parametrize("kind", KINDS)
def test_history_and_cost(kind):
    """Every step is logged once, with rate, loss and count; the cost counts samples and trained parameters."""
    model, task = make(kind, train=20)
    run = fit(model, task, sl.lp_ft(head_epochs=1, epochs=2, lr=1e-3), batch=8)
    assert [s["step"] for s in run.steps] == list(range(1, 10)) and run.step == 9
    assert [(s["stage"], s["epoch"]) for s in run.steps] == [(0, 0)] * 3 + [(1, 0)] * 3 + [(1, 1)] * 3
    labels = sum(len(e["tags"]) if kind == "tags" else 1 for e in task.examples("train"))
    assert sum(s["count"] for s in run.steps) == 3 * labels
    assert all(math.isfinite(s["loss"]) and s["norm"] > 0 and s["lr"] > 0 for s in run.steps)
    assert [e["step"] for e in run.evaluations] == [3, 6, 9]
    assert set(run.evaluations[0]) == {"step", "stage", "epoch", "loss", "accuracy", "macro_f1", "count"}
    assert run.cost.samples == 60 and run.cost.trained_parameters == sum(p.numel() for p in model.parameters())
    assert run.cost.seconds > 0 and run.cost.peak_memory > 0 and "60" not in str(run.table()).split("\n")[0]
    assert f"{run.cost.trained_parameters:,} parameters trained" in str(run.cost)
    assert len(run.table().rows) == 3 and "LP-FT" in repr(run)
    assert not model.training and run.stopped is None


def test_history_without_a_held_out_split():
    """validate=None, or a task without the split, trains and evaluates nothing."""
    for validate, val in ((None, 11), ("val", 0)):
        model, task = make("conv", val=val)
        run = fit(model, task, nets.plans()["full"], validate=validate)
        assert run.evaluations == [] and len(run.steps) == 6
        assert len(run.plot().axes) == 1 and run.table().rows == []


@pytest.mark.parametrize("kind", KINDS)
def test_plot(kind):
    """The plot has a panel for the loss and one for the scores, labelled, and stays out of pyplot's list."""
    import matplotlib.pyplot as plt

    model, task = make(kind)
    figure = fit(model, task, nets.plans()["full"]).plot()
    left, right = figure.axes
    assert left.get_xlabel() == right.get_xlabel() == "optimizer step" and "nats" in left.get_ylabel()
    assert [len(line.get_xdata()) for line in left.lines] == [6, 2]
    assert {line.get_label() for line in right.lines} == {"accuracy", "macro-f1"}
    assert not plt.get_fignums()


@pytest.mark.parametrize("kind", ["text", "conv", "tags"])
def test_errors_lists_the_worst_mistakes(kind):
    """errors() holds wrong predictions only, the surest first, at most as many as asked for."""
    model, task = make(kind)
    run = fit(model, task, sl.head_only(epochs=1, lr=1e-4))
    table = run.errors("test", 3)
    if kind == "tags":
        return  # whatever form it takes, it does not fail
    wrong = [
        (p.probability, i)
        for i, (p, example) in enumerate(zip(sl.predict(model, task, "test"), task.examples("test"), strict=True))
        if p.label != example["label"]
    ]
    assert [int(row[0]) for row in table.rows] == [i for _, i in sorted(wrong, key=lambda w: -w[0])][:3]
    assert table.note == f"{len(wrong)} of 11 wrong in 'test'" and len(wrong) > 3
    assert all(row[1] != row[2] for row in table.rows)
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        run.errors("tset")


def test_errors_skips_masked_labels():
    """An example without a label cannot be wrong."""
    model, task = make("text")
    task.splits["val"] = [*task.splits["val"], {"text": "no label here", "label": -100}]
    assert "no label here" not in str(fit(model, task, "full").errors("val", 100))


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_and_predict_leave_the_modes(kind):
    """Every module is in the mode it was in before, not all in one; results are those of eval mode."""
    model, task = make(kind, dropout=0.5)
    expected = sl.evaluate(model.eval(), task)
    for i, module in enumerate(model.modules()):
        module.training = i % 3 == 0
    before, state = [m.training for m in model.modules()], copies(model)
    assert sl.evaluate(model, task) == expected
    sl.predict(model, task, "test")
    assert [m.training for m in model.modules()] == before and same(state, copies(model))


def own_inputs(task):
    return [example[task.inputs.column] for example in task.examples("test")]


@pytest.mark.parametrize("kind", KINDS)
def test_predict_keeps_the_order(kind):
    """Predictions come in the order of the input, equal for a split, dicts, plain inputs and one at a time."""
    model, task = make(kind)
    split = sl.predict(model, task, "test", batch=4)
    assert len({str(p.probability) for p in split}) > 6
    unlabelled = [{task.inputs.column: x, "note": "kept"} for x in own_inputs(task)]
    alone = [sl.predict(model, task, [x])[0] for x in own_inputs(task)]
    for others in (sl.predict(model, task, own_inputs(task)), sl.predict(model, task, unlabelled, batch=1), alone):
        for a, b in zip(split, others, strict=True):
            assert a.label == b.label and a.probability == pytest.approx(b.probability, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_reads_the_model(kind):
    """Label, probability and all probabilities agree with the model's own logits; a tag for each word."""
    model, task = make(kind)
    for x, p in zip(own_inputs(task), sl.predict(model, task, own_inputs(task)), strict=True):
        item = task.encode([{task.inputs.column: x}], model, labelled=False)
        with torch.no_grad():
            logits = task.logits(model, task.collate(item, model))[0]
        if kind == "tags":
            first = [item[0]["words"].index(w) for w in range(len(x))]
            assert p.label == [nets.CLASSES[i] for i in logits[first].argmax(1)] and len(p.label) == len(x)
        else:
            assert p.label == nets.CLASSES[logits.argmax()] == max(p.probabilities, key=p.probabilities.get)
            assert sum(p.probabilities.values()) == pytest.approx(1, abs=1e-6) and p.label in str(p)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_with_nothing_or_with_bad_inputs(kind):
    """No input gives no prediction; inputs of another kind are listed with their index."""
    model, task = make(kind)
    assert sl.predict(model, task, []) == []
    bad = {"text": ["fine", "  ", 5], "tags": [["fine"], ["", "x"], 5], "conv": [torch.ones(3, 6, 6), [1.0], "no"]}
    with pytest.raises(BadData) as raised:
        sl.predict(model, task, bad[kind])
    assert "2 problems" in str(raised.value) and "[1]: " in str(raised.value) and "[2]: " in str(raised.value)
    with pytest.raises(UnknownName, match="unknown split 'vall'. Did you mean 'val'"):
        sl.predict(model, task, "vall")


class Weighted(sl.Classify):
    """Uses a column that the library knows nothing about."""

    def add_labels(self, item, example):
        return {**super().add_labels(item, example), "weight": example["weight"]}

    def collate(self, items, model):
        return {**super().collate(items, model), "weight": torch.tensor([item["weight"] for item in items])}

    def loss(self, model, batch):
        each = F.cross_entropy(self.logits(model, batch), batch["labels"], reduction="none")
        return sl.LossSum((each * batch["weight"]).sum(), batch["weight"].sum())


@pytest.mark.parametrize(("kind", "plan"), [("text", "full"), ("conv", "full"), ("text", "head only")])
def test_unknown_keys_reach_the_task(kind, plan):
    """Extra columns stay with the examples and reach the loss: weight 0 is as good as absent (P35)."""
    model, task = make(kind, batch_norm=False)
    for examples in task.splits.values():
        for i, example in enumerate(examples):
            example.update(weight=float(i % 2), note=f"number {i}")
    weighted = Weighted(task.splits, task.label_names, task.inputs)
    assert weighted.examples("train")[3]["note"] == "number 3"
    run = fit(model, weighted, nets.plans()[plan], batch=24, validate=None)
    assert [step["count"] for step in run.steps] == [12, 12]


def test_a_text_of_ten_thousand_words_is_cut_and_said():
    """A text over the model's limit is cut, keeps its closing token, trains, and stands in the run's notes."""
    model, task = make("text")
    task.splits["train"][7]["text"] = "word " * 10_000
    item = task.encode(task.examples("train"), model)[7]
    assert len(item["input_ids"]) == nets.MAX_TOKENS and item["input_ids"][-1] == 3 and item["cut_from"] == 10_002
    notes = " ".join(fit(model, task, "full").notes)
    assert "1 of 24 texts" in notes and "index 7" in notes and "10,002 tokens" in notes and "40" in notes
    assert len(sl.predict(model, task, ["word " * 10_000])) == 1


def test_examples_without_a_label_are_dropped_and_said():
    """Rows without a label do not train; the run says how many there were."""
    model, task = make("text")
    for i in (2, 5):
        task.splits["train"][i]["label"] = -100
    run = fit(model, task, nets.plans()["full"])
    assert run.cost.samples == 2 * 22
    assert "2 of 24" in " ".join(run.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_all_labels_masked(kind):
    """Nothing left to learn from raises NoSupervision before any step, in fit and in evaluate."""
    model, task = make(kind)
    for split in ("train", "test"):
        for example in task.splits[split]:
            if kind == "tags":
                example["tags"] = [-100] * len(example["words"])
            else:
                example["label"] = -100
    before = copies(model)
    with pytest.raises(NoSupervision, match="none of the 24 examples"):
        fit(model, task, "full")
    with pytest.raises(NoSupervision, match="none of the 11 examples"):
        sl.evaluate(model, task, "test")
    assert same(before, copies(model))


def test_cutting_away_all_labels():
    """Tags that all lie behind the model's limit are no supervision."""
    model = nets.model_of("tags")
    task = sl.TagTokens({"train": [{"words": ["w"] * 60, "tags": [-100] * 50 + ["red"] * 10}]}, nets.CLASSES)
    with pytest.raises(NoSupervision, match="limit of 40 tokens"):
        fit(model, task, "full")


def test_all_problems_of_the_data_are_listed_at_once():
    """One BadData names every wrong example with split and index, and the nearest label."""
    splits = {
        "train": [
            {"text": "a", "label": "red"},
            {"text": "b", "label": "gren"},
            {"text": "", "label": "blue"},
            {"text": 5, "label": 1},
        ],
        "val": [
            {"text": "c", "label": 3},
            {"text": "d", "label": -1},
            {"text": "e"},
            {"label": 0},
            {"text": "f", "label": True},
        ],
    }
    with pytest.raises(BadData) as raised:
        sl.Classify(splits, nets.CLASSES, name="mine")
    said = str(raised.value).splitlines()
    assert said[0] == "mine: 8 problems" and len(said) == 9
    expected = [
        ("train[1]", "Did you mean 'green'"), ("train[2]", "is empty"), ("train[3]", "must be text, found int"),
        ("val[0]", "label 3 is not one of the 3 classes 0 to 2"), ("val[1]", "label -1"), ("val[2]", "label None"),
        ("val[3]", "must be text, found NoneType"), ("val[4]", "label True"),
    ]  # fmt: skip
    for line, (where, what) in zip(said[1:], expected, strict=True):
        assert line.strip().startswith(where) and what in line


def test_problems_of_tags_and_tensors():
    """Tags of another number than words, unknown tags, and tensors that are not finite are listed with index."""
    words = [{"words": ["a", "b"], "tags": ["red"]}, {"words": ["a"], "tags": ["rde"]}, {"words": [], "tags": []},
             {"words": "ab", "tags": ["red", "red"]}, {"words": ["a"]}]  # fmt: skip
    with pytest.raises(BadData, match="5 problems") as raised:
        sl.TagTokens({"train": words}, nets.CLASSES)
    assert "one tag for each of the 2 words, found 1" in str(raised.value)
    assert "Did you mean 'red'" in str(raised.value)
    inputs = [torch.full((2,), math.inf), torch.tensor([math.nan]), torch.tensor([1]), None]
    with pytest.raises(BadData, match="4 problems"):
        sl.Classify({"train": [{"input": x, "label": 0} for x in inputs]}, nets.CLASSES, sl.TensorInput())


def test_examples_that_are_not_dicts():
    """A list of plain texts as examples is listed as a problem, not met with an AttributeError."""
    with pytest.raises(BadData, match=r"train\[0\]"):
        sl.Classify({"train": ["just a text"]}, nets.CLASSES)


@pytest.mark.parametrize("labels", [range(3), np.arange(3), torch.arange(3), nets.CLASSES])
def test_labels_by_number_or_name(labels):
    """Labels may be names or numbers, also NumPy's and torch's."""
    task = sl.Classify({"train": [{"text": "a", "label": label} for label in labels]}, nets.CLASSES)
    assert [task.label_id(example["label"]) for example in task.examples("train")] == [0, 1, 2]


def test_empty_data():
    """No examples at all, no splits, an empty held-out split, fewer than two labels: BadData that says so."""
    for splits in ({}, {"train": []}):
        with pytest.raises(BadData, match="nothing to learn from"):
            sl.Classify(splits, nets.CLASSES)
    model, task = make("text")
    task.splits["val"] = []
    with pytest.raises(BadData, match="'val' has no examples"):
        fit(model, task, "full")
    for names in (["red"], [], ["red", "red"]):
        with pytest.raises(BadData, match="2 different labels"):
            sl.Classify({"train": [{"text": "a", "label": "red"}]}, names)


UNKNOWN = {
    "task": (lambda: sl.task("headline"), "unknown task 'headline'. Did you mean 'headlines'"),
    "model": (lambda: sl.load("minlm", nets.task_of("text")), "unknown model 'minlm'. Did you mean 'minilm'"),
    "data set as model": (lambda: sl.load("headlines", nets.task_of("text")), "unknown model 'headlines'"),
    "head": (lambda: sl.load("minilm", nets.task_of("conv")), "has no head for tensor classification: it is for text"),
    "plan": (lambda: sl.plan("ful"), "unknown plan 'ful'. Did you mean 'full'"),
    "plan of fit": (lambda: fit(*make("conv"), "gradul"), "unknown plan 'gradul'. Did you mean 'gradual'"),
    "split": (lambda: sl.evaluate(*make("conv"), "tset"), "unknown split 'tset'. Did you mean 'test'"),
    "schedule": (lambda: sl.full(schedule="cosin"), "unknown schedule 'cosin'. Did you mean 'cosine'"),
    "part": (lambda: sl.Stage("haed", 1, 1e-3), "unknown part to train 'haed'. Did you mean 'head'"),
    "device": (lambda: sl.start(device="cud"), "unknown device 'cud'. Did you mean 'cuda'"),
    "precision": (lambda: sl.start(device="cpu", precision="bfloat"), "Did you mean 'bfloat16'"),
    "profile": (lambda: sl.start(device="cpu", precision="float32", profile="tny"), "Did you mean 'tiny'"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNKNOWN)
def test_unknown_names_come_with_the_nearest(what):
    """A name that does not exist raises UnknownName with what was meant and what there is."""
    ask, said = UNKNOWN[what]
    with pytest.raises(UnknownName) as raised:
        ask()
    assert said in str(raised.value) and "Known: " in str(raised.value)


def test_stop_from_a_hook():
    """A hook that returns "stop" ends the run after that step; any other value does not."""
    seen = []

    def hook(run):
        seen.append(run.step)
        return "stop" if run.step == 5 else True

    run = fit(*make("conv"), nets.plans()["gradual"], after_step=hook)
    assert seen == [1, 2, 3, 4, 5] and run.stopped == "by after_step at step 5" and len(run.steps) == 5


@pytest.mark.parametrize("sizes", [{"batch": 0}, {"batch": -1}, {"micro_batch": 0}, {"micro_batch": -2}], ids=str)
def test_sizes_below_one(sizes):
    """A batch or micro-batch below 1 raises a ValueError that names it."""
    name, value = next(iter(sizes.items()))
    with pytest.raises(ValueError, match=f"^{name} must be .*at least 1, not {value}"):
        fit(*make("conv"), "full", **sizes)


def test_non_finite_loss_is_named_under_batchnorm_of_features():
    """The search for the guilty sample works for every net, and moves no running statistics."""

    class Broken(sl.Classify):
        def loss(self, model, batch):
            part = super().loss(model, batch)
            return sl.LossSum(part.total * (math.nan if 3 in batch["index"] else 1), part.count)

    examples = [{"input": torch.randn(4), "label": i % 2} for i in range(8)]
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    with pytest.raises(sl.errors.NonFiniteLoss, match=r"do it alone: \[3\]"):
        fit(net, Broken({"train": examples}, ["a", "b"], sl.TensorInput()), "full")
    assert int(net[1].num_batches_tracked) == 1


def test_a_model_without_a_tokenizer():
    """A text model without its tokenizer is told where to get one."""
    model, task = make("text")
    model.tokenizer = None
    with pytest.raises(SftlabError, match="has no tokenizer. Load it with sl.load"):
        fit(model, task, "full")


def test_a_loss_that_does_not_depend_on_what_trains():
    """A head that forward forgets ends in a sentence about the plan."""

    class Unused(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(108, 3), torch.nn.Linear(3, 3)

        def forward(self, x):
            return self.body(x.flatten(1))

    with pytest.raises(SftlabError, match="does not depend on what the plan trains"):
        fit(Unused(), nets.task_of("conv"), "head only")
