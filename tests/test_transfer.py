"""Distillation, pseudo-labels, calibration, and the two searches that must leave no trace."""

import copy
import random

import nets
import numpy as np
import pytest
import torch
from nets import KINDS, copies, distance, exact, fit, make, same
from torch import nn

import sftlab as sl
from sftlab.errors import NonFiniteLoss, SftlabError
from sftlab.study import finder
from sftlab.train import loop
from sftlab.train.features import Source


def gradients(model, task, groups) -> tuple[dict, float]:
    """Gradients and mean loss of one step over ``groups``."""
    source = Source(model, task, {"train": task.encode(task.examples("train"), model)})
    applied = sl.full().apply(model)
    batches = source.batches(groups, torch.device("cpu"), draw=3)
    loss, _ = loop.train_step(source, task, batches, applied, None)
    return {name: p.grad.clone() for name, p in model.named_parameters()}, float(loss.total / loss.count)


def teacher_of(kind, **net) -> nn.Module:
    """Another model of the kind, with opinions: logits far from equal."""
    teacher = nets.model_of(kind, seed=9, **net)
    with torch.no_grad():
        teacher.head.weight.mul_(10)
    return teacher.train()


# Distillation


@pytest.mark.parametrize("plan", ["head only", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_distillation_of_weight_0_is_the_plain_task(kind, plan):
    """Without the teacher's share the run is that of the task, bit for bit."""
    ends = []
    for distil in (False, True):
        model, task = make(kind, dropout=0.2)
        if distil:
            task = sl.Distill(task, teacher_of(kind), weight=0.0)
        run = fit(model, task, nets.plans()[plan])
        ends.append((copies(model), [s["loss"] for s in run.steps], run.evaluations, sl.evaluate(model, task, "test")))
    assert same(ends[0][0], ends[1][0]) and ends[0][1:] == ends[1][1:]


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_is_its_formula(kind):
    """(1 - w) CE + w T² KL, summed over labelled positions, divided once; the same for 1x8 and 4x2."""
    model, task = exact(kind)
    teacher = teacher_of(kind, batch_norm=False).double()
    distil = sl.Distill(task, teacher, temperature=3.0, weight=0.7)
    one, loss = gradients(model, distil, [range(8)])
    four, again = gradients(model, distil, [[0, 2], [1, 3], [4, 6], [5, 7]])
    assert distance(one, four) < 1e-6 and loss == pytest.approx(again, abs=1e-6)
    batch = task.collate(task.encode(task.examples("train"), model)[:8], model)
    labels = batch["labels"].reshape(-1)
    student = task.logits(model, batch).reshape(-1, 3)[labels != -100]
    with torch.no_grad():
        wanted = task.logits(teacher.eval(), batch).reshape(-1, 3)[labels != -100].div(3).softmax(-1)
    divergence = (wanted * (wanted.log() - student.div(3).log_softmax(-1))).sum(-1).mean()
    by_hand = 0.3 * nn.functional.cross_entropy(student, labels[labels != -100]) + 0.7 * 9 * divergence
    for p in model.parameters():
        p.grad = None
    by_hand.backward()
    assert loss == pytest.approx(by_hand.item(), abs=1e-6)
    assert distance(one, {name: p.grad for name, p in model.named_parameters()}) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_stays_as_it_is(kind):
    """The teacher's weights, buffers and gradients are untouched, whatever mode it came in; the student follows it."""
    model, task = make(kind, dropout=0.0)
    teacher = teacher_of(kind, dropout=0.5)
    before = copies(teacher)
    distil = sl.Distill(task, teacher, weight=1.0)
    far = distil.loss(model.eval(), distil.collate(distil.encode(task.examples("train"), model), model))
    fit(model, distil, sl.full(epochs=8, lr=3e-3))
    near = distil.loss(model, distil.collate(distil.encode(task.examples("train"), model), model))
    assert near.total.item() < 0.7 * far.total.item()
    assert same(before, copies(teacher)) and all(p.grad is None for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())


def test_distillation_from_stored_features():
    """Head only: the teacher sees the texts, the student's head the stored outputs; the same end as live."""
    ends = []
    for cache in (True, False):
        model, task = make("text")
        distil = sl.Distill(task, teacher_of("text"), weight=0.8)
        fit(model, distil, sl.head_only(epochs=2), cache=cache)
        ends.append(copies(model))
    assert distance(*ends) < 1e-6


def test_teacher_with_a_tokenizer_of_its_own():
    """The teacher gets the ids of its own tokenizer."""

    class Other(nets.ToyTokenizer):
        @staticmethod
        def pieces(word):
            return [50 + len(word)]

    model, task = make("text")
    teacher = teacher_of("text")
    teacher.tokenizer = Other()
    distil = sl.Distill(task, teacher)
    batch = distil.collate(distil.encode(task.examples("train")[:4], model), model)
    ids = Other()([example["text"] for example in task.examples("train")[:4]])["input_ids"]
    assert batch["teacher"]["input_ids"][0, : len(ids[0])].tolist() == ids[0]
    assert batch["inputs"]["input_ids"].tolist() != batch["teacher"]["input_ids"].tolist()


def test_teacher_sees_the_same_view():
    """Under augmentation both see the same random view; the student's is that of the plain task."""
    model, task = make("conv")
    task.augment = lambda item, g: {**item, "input": item["input"] + torch.randn(3, 6, 6, generator=g)}
    distil = sl.Distill(task, teacher_of("conv"))

    def batch(t):
        source = Source(model, t, {"train": t.encode(t.examples("train"), model)})
        return next(source.batches([range(5)], torch.device("cpu"), draw=7))

    found = batch(distil)
    assert torch.equal(found["inputs"]["input"], found["teacher"]["input"])
    assert torch.equal(found["inputs"]["input"], batch(task)["inputs"]["input"])
    assert not torch.equal(found["inputs"]["input"][0], task.examples("train")[0]["input"])


def test_teachers_that_do_not_fit():
    """Other classes, other tokens, another loss, settings out of range: errors."""
    model, task = make("tags")
    other = teacher_of("tags")
    other.head = nn.Linear(32, 5)
    before = copies(model)
    with pytest.raises(SftlabError, match="the 3 classes of the task"):
        fit(model, sl.Distill(task, other), "full")
    shorter = teacher_of("tags")
    shorter.max_tokens = 6
    with pytest.raises(SftlabError, match="the same tokens"):
        fit(model, sl.Distill(task, shorter), "full")
    assert same(before, copies(model))

    class OtherLoss(sl.Classify):
        def loss_of(self, logits, batch):
            return super().loss_of(logits * 2, batch)

    with pytest.raises(SftlabError, match="cross-entropy of its classes"):
        sl.Distill(nets.task_of("text", cls=OtherLoss), model)
    for settings in ({"temperature": 0.0}, {"weight": 1.1}, {"weight": -0.1}):
        with pytest.raises(ValueError):
            sl.Distill(task, model, **settings)


# Pseudo-labels


@pytest.mark.parametrize("kind", KINDS)
def test_pseudo_labels(kind):
    """What is kept: every example above the threshold, whole, with the label that predict gives; ready to train on."""
    model, task = make(kind, test=30)
    fit(model, task, sl.full(epochs=3, lr=3e-3))
    examples = [{**example, "source": i} for i, example in enumerate(task.examples("test"))]
    column = task.label_column
    bare = [{k: v for k, v in example.items() if k != column} for example in examples]
    found = sl.predict(model, task, examples)
    lowest = [min(p.probability) if kind == "tags" else p.probability for p in found]
    threshold = sorted(lowest)[15]
    kept = sl.pseudo_label(model, task, bare, threshold)
    assert [k["source"] for k in kept] == [i for i, p in enumerate(lowest) if p >= threshold] and 10 < len(kept) < 20
    for example in kept:
        at = example["source"]
        assert example[column] == found[at].label and example["probability"] == lowest[at]
        assert all(example[key] is bare[at][key] for key in bare[at])
    assert sl.pseudo_label(model, task, bare, 1.1) == [] and all(column not in example for example in bare)
    splits = {**task.splits, "train": [*task.splits["train"], *kept]}
    more = type(task)(splits, task.label_names, **({"inputs": task.inputs} if kind == "conv" else {}))
    fit(model, more, sl.full(epochs=1))


def test_pseudo_labels_of_cut_texts():
    """A row of words that is cut at the model's limit has no label behind it: it is left out, not half labelled."""
    model, task = make("tags")
    rows = [{"words": ["red"] * 60}, {"words": ["red"] * 5}]
    assert [len(row["tags"]) for row in sl.pseudo_label(model, task, rows, 0.0)] == [5]


# Calibration


@pytest.mark.parametrize("kind", KINDS)
def test_temperature_undoes_a_known_factor(kind):
    """Logits that were multiplied by 4 get 4 times the temperature; the loss falls; no prediction changes."""
    model, task = make(kind, val=60)
    fit(model, task, sl.full(epochs=4, lr=3e-3), validate=None)
    first = sl.temperature_scale(model, task)
    before = copies(model)
    with torch.no_grad():
        model.head.weight.mul_(4)
        model.head.bias.mul_(4)
    second = sl.temperature_scale(model, task)
    assert float(second) == pytest.approx(4 * float(first), rel=1e-3)
    assert second.loss_after == pytest.approx(first.loss_after, abs=1e-5)
    assert second.ece_after == pytest.approx(first.ece_after, abs=1e-3)
    assert second.loss_after <= second.loss_before
    assert second.loss_before == pytest.approx(sl.evaluate(model, task, "val")["loss"], abs=1e-5)
    assert f"{float(second):.3f}" in str(second) and second.count == sl.evaluate(model, task, "val")["count"]
    assert not any(m.training for m in model.modules()) and before.keys() == copies(model).keys()


def test_temperature_is_the_minimum():
    """No other temperature has a lower loss."""
    model, task = make("tags", val=40)
    fit(model, task, sl.full(epochs=3, lr=3e-3), validate=None)
    found = sl.temperature_scale(model, task)
    from sftlab.study.calibrate import _logits

    logits, labels = _logits(model, task, "val")
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        loss = nn.functional.cross_entropy(logits / (found.temperature * factor), labels)
        assert float(loss) >= found.loss_after


def test_temperature_of_hopeless_and_of_perfect_models_is_finite():
    """Perfectly separated, or worse than chance: the temperature stays inside its bounds."""
    model, task = make("conv", val=40)
    head = model.head
    logits = nn.functional.one_hot(torch.tensor([task.label_id(e["label"]) for e in task.examples("val")]), 3).float()
    for sign in (1, -1):
        queue = iter((sign * logits).split(64))
        model.forward = lambda x, queue=queue: next(queue)
        found = sl.temperature_scale(model, task)
        assert 0.01 <= found.temperature <= 100 and np.isfinite(found.loss_after)
    assert head is model.head


@pytest.mark.parametrize("bins", [5, 15])
def test_calibration_error_is_that_of_torchmetrics(bins):
    """The same figure as torchmetrics on random predictions."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    generator = torch.Generator().manual_seed(0)
    probabilities = (torch.randn(500, 4, generator=generator) * 2).softmax(-1)
    labels = torch.randint(4, (500,), generator=generator)
    expected = multiclass_calibration_error(probabilities, labels, 4, n_bins=bins)
    assert sl.expected_calibration_error(probabilities, labels, bins) == pytest.approx(float(expected), abs=1e-6)


# Searches


def everything(model) -> list:
    """All that a search could change: tensors, gradients, flags, modes, hooks, random states."""
    tensors = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    flags = [(p.requires_grad, id(p), p.data_ptr(), p._version) for p in model.parameters()]
    modes = [(id(m), m.training, len(m._forward_hooks)) for m in model.modules()]
    states = [torch.get_rng_state(), torch.tensor(np.random.get_state()[1].astype(np.int64)), random.getstate()]
    return [*tensors, *grads, flags, modes, *states, np.random.get_state()[2:], sorted(vars(model))]


def equal(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


SEARCHES = {
    "lr_find": lambda model, task, plan: sl.lr_find(model, task, plan, steps=12, batch=8),
    "batch_find": lambda model, task, plan: sl.batch_find(model, task, plan, most=8),
}


@pytest.mark.parametrize("end", ["whole", "error", "Ctrl-C"])
@pytest.mark.parametrize("plan", ["head only", "gradual", "L2-SP"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("search", SEARCHES)
def test_searches_leave_no_trace(search, kind, plan, end, monkeypatch):
    """Parameters, buffers, gradients, flags, modes and all random states are bit-identical, however it ended."""
    model, task = make(kind, dropout=0.3)

    def draw(item, generator):  # an augmentation that takes what it finds
        random.random(), np.random.rand(), torch.rand(2)
        return item

    task.augment = draw
    list(model.parameters())[0].requires_grad_(False)
    list(model.modules())[2].train()
    for p in list(model.parameters())[1:3]:
        p.grad = torch.randn_like(p)
    right, calls = loop.train_step, []

    def breaks(*args):
        calls.append(0)
        if len(calls) == 3:
            raise ZeroDivisionError if end == "error" else KeyboardInterrupt
        return right(*args)

    if end != "whole":
        monkeypatch.setattr(loop, "train_step", breaks)
    before = everything(model)
    if end == "whole":
        SEARCHES[search](model, task, plan)
    else:
        with pytest.raises(ZeroDivisionError if end == "error" else KeyboardInterrupt):
            SEARCHES[search](model, task, plan)
    assert equal(before, everything(model))


def test_lr_find_is_reproducible_and_sweeps():
    """Equal seeds give equal curves; rates grow evenly; the suggestion lies where the loss falls, and is of use."""
    model, task = make("text", dropout=0.2)
    one = sl.lr_find(model, task, sl.full(head_lr=None), steps=60, batch=8, seed=1)
    torch.rand(3)  # dropout is a function of the seed, not of what was drawn before
    two = sl.lr_find(model, task, sl.full(head_lr=None), steps=60, batch=8, seed=1)
    assert one.losses == two.losses and one.losses != sl.lr_find(model, task, "full", steps=60, seed=2).losses
    ratios = {round(b / a, 9) for a, b in zip(one.rates, one.rates[1:], strict=False)}
    assert len(ratios) == 1 and one.rates[0] == pytest.approx(1e-7)
    at = one.rates.index(one.suggestion)
    assert one.smoothed[at] > one.smoothed[at + 2] and 1e-5 < one.suggestion < 0.3
    assert f"{one.suggestion:.1e}" in str(one) and one.plot().axes[0].get_xscale() == "log"
    for rate in (one.suggestion, 1e-7):
        run = fit(copy.deepcopy(model), task, sl.full(epochs=3, lr=rate, head_lr=None))
        assert (run.steps[-1]["loss"] < 0.9 * one.losses[0]) == (rate == one.suggestion)


def test_lr_find_keeps_the_ratio_of_rates(monkeypatch):
    """The rate that is swept is the stage's lr; the head and decayed layers keep their ratio to it."""
    model, task = make("conv")
    seen, ready = [], finder._ready

    def watched(*args):
        source, applied, optimizer = ready(*args)
        step = optimizer.step
        optimizer.step = lambda: (seen.append([g["lr"] for g in optimizer.param_groups]), step())
        return source, applied, optimizer

    monkeypatch.setattr(finder, "_ready", watched)
    plan = sl.full(lr=1e-3, head_lr=1e-2, layer_decay=0.5)
    found = sl.lr_find(model, task, plan, steps=10, highest=1e-3)
    peaks = [group.lr for group in plan.apply(copy.deepcopy(model)).groups]
    assert len(seen) == len(found.rates) == 10
    for rate, rates in zip(found.rates, seen, strict=True):
        assert rates == pytest.approx([peak / 1e-3 * rate for peak in peaks])


def test_lr_find_stops_when_the_loss_diverges():
    """A loss that explodes or becomes NaN ends the search; no such step is in the result."""
    model, task = make("conv", batch_norm=False)
    found = sl.lr_find(model, task, sl.full(clip=None), steps=40, highest=1e6)
    assert "diverged at" in found.end and len(found.rates) < 40 and all(np.isfinite(found.losses))
    task.examples("train")[0]["input"] = torch.full((3, 6, 6), torch.inf)
    with pytest.raises(NonFiniteLoss, match="at the lowest rate"):
        sl.lr_find(model, task, batch=24)
    for wrong in ({"lowest": 0.0}, {"lowest": 2.0}, {"steps": 5}):
        with pytest.raises(ValueError):
            sl.lr_find(model, task, **wrong)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_batch_find_stops_when_memory_runs_out(error, monkeypatch):
    """The largest power of two that fitted; tried on the longest samples; other errors are not swallowed."""
    model, task = make("text")
    right, seen = loop.train_step, []

    def limited(source, task, batches, *args):
        batches = list(batches)
        seen.append(batches[0]["inputs"]["input_ids"].shape)
        if seen[-1][0] > 16:
            raise error("DefaultCPUAllocator: can't allocate memory")
        return right(source, task, batches, *args)

    monkeypatch.setattr(loop, "train_step", limited)
    found = sl.batch_find(model, task, "gradual")
    assert found.micro_batch == 16 and [(n, fits) for n, _, fits in found.tried] == [
        (1, True), (2, True), (4, True), (8, True), (16, True), (32, False),
    ]  # fmt: skip
    items = task.encode(task.examples("train"), model)
    assert {length for _, length in seen} == {max(len(item["input_ids"]) for item in items)}
    assert "32 is too much for the memory" in str(found)

    def broken(*args):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        sl.batch_find(model, task)


def test_batch_find_keeps_to_a_limit(monkeypatch):
    """On a CPU: a limit in bytes, or a stated maximum; not even one sample is an error."""
    model, task = make("conv")
    found = sl.batch_find(model, task, most=32)
    assert found.micro_batch == 32 and "most=32" in str(found) and all(used > 0 for _, used, _ in found.tried)
    monkeypatch.setattr(finder, "_peak", lambda source, task, rows, *args: len(rows) * 2**20)
    found = sl.batch_find(model, task, limit_bytes=9 * 2**20)
    assert found.micro_batch == 8 and "16 is too much for 9 MiB" in str(found)
    with pytest.raises(SftlabError, match="not even one sample fits"):
        sl.batch_find(model, task, limit_bytes=5)
