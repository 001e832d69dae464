"""The kinds of tasks beyond one class: exact sums and counts, errors with an index, metrics against hand-made cases."""

import itertools
import math
import re

import pytest
import task_nets
import torch
from nets import copies, distance, fit, same
from task_nets import CLASSES, KINDS, build, make, model_of, splits_of
from torch import nn

import sftlab as sl
from sftlab.data.batching import mix
from sftlab.errors import BadData, NoSupervision, SftlabError
from sftlab.tasks.vision import average_precision
from sftlab.train import loop
from sftlab.train.features import Source

CPU = torch.device("cpu")
PLAN = sl.full(epochs=2, lr=3e-3, head_lr=3e-3)


def gradients(model, task, groups, draw=5) -> tuple[dict, float, int]:
    """Gradients, summed loss and count of one optimizer step over ``groups`` of sample numbers."""
    source = Source(model, task, {"train": task.encode(task.examples("train"), model)})
    applied = PLAN.apply(model)
    loss, _ = loop.train_step(source, task, source.batches(groups, CPU, draw=draw), applied, None)
    return copies_of_gradients(model), float(loss.total.detach()), int(loss.count)


def copies_of_gradients(model) -> dict:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def readings(model, task, examples: list[dict], batch: int = 4) -> list:
    """What the model says of examples without labels, as ``sl.predict`` reads it."""
    items = task.encode(examples, model, labelled=False)
    source = Source(model, task, {"train": items})
    out = []
    for start in range(0, len(items), batch):
        rows = range(start, min(start + batch, len(items)))
        with torch.no_grad():
            logits = task.logits(model.eval(), next(source.batches([rows], CPU)))
        out += [task.read(items[row], outputs) for row, outputs in zip(rows, logits, strict=True)]
    return out


# Sums and counts


@pytest.mark.parametrize("kind", KINDS)
def test_p01_one_batch_of_8_equals_4_of_2(kind):
    """Gradient, loss, count and final weights do not know how a step was cut, nor in which order."""
    model, task = make(kind)
    one = gradients(model, task, [range(8)])
    assert max(float(g.abs().max()) for g in one[0].values()) > 1e-3
    for groups in ([[0, 1], [2, 3], [4, 5], [6, 7]], [[7], [1, 0, 2, 5], [3, 6, 4]]):
        other = gradients(model, task, groups)
        assert distance(one[0], other[0]) < 1e-6
        assert one[1] == pytest.approx(other[1], rel=1e-6) and one[2] == other[2]
    runs = [fit(model_of(kind), task, PLAN, micro_batch=micro_batch, validate=None) for micro_batch in (None, 3)]
    assert distance(*(copies(run.model) for run in runs)) < 1e-6
    assert [s["count"] for s in runs[0].steps] == [s["count"] for s in runs[1].steps]


@pytest.mark.parametrize("kind", KINDS)
def test_p02_loss_is_a_sum_over_samples(kind):
    """The loss of a batch is the sum of the losses of its samples alone, and so is the count."""
    model, task = make(kind)
    items = task.encode(task.examples("train"), model)[:7]
    with torch.no_grad():
        whole = task.loss(model, task.collate(items, model))
        parts = [task.loss(model, task.collate([item], model)) for item in items]
    assert float(whole.total) == pytest.approx(sum(float(p.total) for p in parts), rel=1e-6)
    assert int(whole.count) == sum(int(p.count) for p in parts)
    assert whole.total.dim() == whole.count.dim() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_p03_evaluation_does_not_depend_on_the_batch(kind):
    """Loss, metrics and count are equal for every batch size and equal to the sum by hand; modes are left alone."""
    model, task = make(kind)
    model.train()
    results = [sl.evaluate(model, task, "test", batch=batch) for batch in (1, 2, 7, 16)]
    assert all(module.training for module in model.modules())
    for result in results[1:]:
        assert result == pytest.approx(results[0], abs=1e-6)
    assert set(results[0]) == {"loss", *task.metric_names, "count"}
    items = task.encode(task.examples("test"), model.eval())
    with torch.no_grad():
        parts = [task.loss(model, task.collate([item], model)) for item in items]
    assert results[0]["loss"] == pytest.approx(sum(float(p.total) for p in parts) / results[0]["count"], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_learns_and_is_reproducible(kind):
    """A short fit lowers the loss on what it saw; again with the same seed it gives the same weights, bit for bit."""
    task = build(kind, splits_of(kind, train=8, val=3) if kind == "detect" else splits_of(kind))
    plan = sl.full(epochs=6, lr=1e-2, head_lr=1e-2)
    before = sl.evaluate(model_of(kind), task, "train")["loss"]
    runs = []
    for _ in range(2):
        torch.rand(3)  # the caller's random state does not matter
        state = torch.get_rng_state()
        runs.append(fit(model_of(kind), task, plan, monitor=(task.metric_names[0], "max")))
        assert torch.equal(state, torch.get_rng_state())
    assert sl.evaluate(fit(model_of(kind), task, plan).model, task, "train")["loss"] < before - 0.05
    assert same(copies(runs[0].model), copies(runs[1].model))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_prefix_changes_nothing(kind):
    """With everything below the head frozen, the weights are those of the run that computes it every time."""
    sizes = {"train": 6, "val": 2} if kind == "detect" else {}
    runs = [
        fit(model_of(kind), build(kind, splits_of(kind, **sizes)), sl.head_only(epochs=3), cache=cache)
        for cache in (True, False)
    ]
    assert distance(*(copies(run.model) for run in runs)) < 1e-6
    stored = any("ran once" in note for note in runs[0].notes)
    assert stored == (kind not in ("detect", "rank", "bpr")), runs[0].notes


@pytest.mark.parametrize("kind", KINDS)
def test_reading_of_unlabelled_examples(kind):
    """Without labels the model is asked the same, in any batch, and what it says can be printed."""
    model, task = make(kind)
    keep = {task.inputs.column, "note"}
    examples = [{k: v for k, v in x.items() if k in keep} for x in task.examples("test")]
    found = readings(model, task, examples)
    alone = [readings(model, task, [x])[0] for x in examples]
    same_up_to_rounding = [re.sub(r"\d\.\d+", lambda n: f"{float(n[0]):.6f}", str(x)) for x in (found, alone)]
    assert same_up_to_rounding[0] == same_up_to_rounding[1] and len(found) == 17
    kinds = {"regress": dict, "policy": str, "ctc": str, "segment": torch.Tensor}
    assert all(isinstance(x, kinds.get(kind, list)) for x in found)


# Unknown keys and types


@pytest.mark.parametrize("kind", KINDS)
def test_p35_unknown_keys_reach_the_task_and_stay(kind):
    """A column that no task knows reaches add_labels, its item and the loss of every batch."""
    seen = []

    class Noting(getattr(sl, CLASSES[kind])):
        def add_labels(self, item, example):
            return {**super().add_labels(item, example), "note": example["note"]}

        def collate(self, items, model):
            return {**super().collate(items, model), "notes": [item["note"] for item in items]}

        def loss(self, model, batch):
            seen.extend(zip(batch["index"], batch["notes"], strict=True))
            return super().loss(model, batch)

    task = build(kind, splits_of(kind), Noting)
    fit(model_of(kind), task, sl.full(epochs=1))
    assert [x["note"] for x in task.examples("train")] == [x["note"] for x in splits_of(kind)["train"]]
    kept = task.encode(task.examples("train"), model_of(kind))
    assert sorted(seen) == sorted((item["index"], task.examples("train")[item["index"]]["note"]) for item in kept)


def test_p36_the_task_decides_the_loss():
    """Whole-number targets give squared error, float answers cross-entropy: the type of a batch says nothing."""
    x = torch.zeros(5, dtype=torch.float64)
    whole = sl.Regress({"train": [{"input": x, "target": 3}, {"input": x, "target": torch.tensor(1)}]})
    model = task_nets.Mlp(1).double()
    with torch.no_grad():
        y = float(model(x[None]))
        batch = whole.collate(whole.encode(whole.examples("train"), model), model)
        assert float(whole.loss(model, batch).total) == pytest.approx((y - 3) ** 2 + (y - 1) ** 2, rel=1e-5)
    for yes in (1, 1.0, True, torch.tensor(1.0)):
        task = sl.MultiLabel({"train": [{"input": x, "labels": {"a": yes, "b": 0}}]}, ["a", "b"], sl.TensorInput())
        model = task_nets.Mlp(2).double()
        with torch.no_grad():
            p = model(x[None])[0].sigmoid()
            part = task.loss(model, task.collate(task.encode(task.examples("train"), model), model))
        assert float(part.total) == pytest.approx(float(-p[0].log() - (1 - p[1]).log()), rel=1e-5)
    discrete = sl.Policy({"train": [{"input": x, "action": torch.tensor(1)}]}, ["left", "right"])
    assert discrete.target(discrete.examples("train")[0]).tolist() == 1
    continuous = sl.Policy({"train": [{"input": x, "action": [1, 0]}]}, size=2)
    assert continuous.target(continuous.examples("train")[0]).dtype == torch.float32


# Errors with an index

NAN, X, IMAGE, WAVE = math.nan, torch.zeros(5), torch.zeros(3, 6, 5), torch.zeros(20)
MASK, PHOTO = torch.zeros(6, 5, dtype=torch.long), torch.zeros(3, 32, 40)
BAD = [
    ("multilabel", {"labels": ["a", "dd"]}, r"unknown label 'dd'.* Known: a, b, c"),
    ("multilabel", {"labels": "a"}, "must be a list of labels, or a dict, found str"),
    ("multilabel", {"labels": [3]}, "unknown label '3'"),
    ("multilabel", {"labels": {"a": 2}}, "label 'a' must be 0 or 1, found 2"),
    ("multilabel", {"labels": {"b": NAN}}, "label 'b' must be 0 or 1, found nan"),
    ("multilabel", {"input": torch.full((5,), NAN)}, "'input' holds NaN"),
    ("regress", {"y": NAN}, "'y' must be a finite number, is nan"),
    ("regress", {"x": math.inf}, "'x' must be a finite number, is inf"),
    ("regress", {"x": None}, "'x' must hold numbers, found None"),
    ("regress", {"x": "much"}, "'x' must hold numbers, found 'much'"),
    ("regress", {"y": [1.0, 2.0]}, r"'y' must be a finite number, is \[1.0, 2.0\]"),
    ("policy", {"action": 3}, "unknown action '3'.* Known: left, right, stay"),
    ("policy", {"action": 1.0}, "unknown action '1.0'"),
    ("policy", {"action": "jump"}, "unknown action 'jump'"),
    ("policy", {"weight": NAN}, "'weight' must be a finite number, is nan"),
    ("policy", {"input": [0.0]}, "'input' must be a floating-point tensor, found list"),
    ("gaussian", {"action": [1.0]}, r"'action' must be 2 finite numbers, is \[1.0\]"),
    ("gaussian", {"action": [1.0, NAN]}, "'action' must be 2 finite numbers"),
    ("gaussian", {"action": "left"}, "'action' must hold numbers"),
    ("gaussian", {"weight": [1.0, 1.0]}, "'weight' must be a finite number"),
    ("segment", {"mask": MASK.float()}, "tensor of whole numbers, found torch.float32"),
    ("segment", {"mask": MASK.tolist()}, "tensor of whole numbers, found <class 'list'>"),
    ("segment", {"mask": MASK.T}, r"'mask' is \[5, 6\], the image \[3, 6, 5\]"),
    ("segment", {"mask": MASK + 3}, r"'mask' holds \[3\]; the 3 classes are 0 to 2"),
    ("segment", {"mask": MASK[None]}, r"'mask' is \[1, 6, 5\]"),
    ("ctc", {"transcript": "abc"}, "unknown character 'c'"),
    ("ctc", {"transcript": " "}, "must be text that is not empty"),
    ("ctc", {"transcript": 5}, "'transcript' must be text"),
    ("ctc", {"audio": WAVE.long()}, "'audio' must be a floating-point tensor"),
    ("ctc", {"audio": WAVE * NAN}, "'audio' holds NaN"),
    ("rank", {"item": 15}, "'item' must be a whole number from 0 to 14, found 15"),
    ("rank", {"item": -1}, "'item' must be a whole number from 0 to 14, found -1"),
    ("rank", {"user": "ann"}, "'user' must be a whole number from 0, found 'ann'"),
    ("rank", {"user": -1}, "'user' must be a whole number from 0, found -1"),
    ("rank", {"user": 2.0}, "'user' must be a whole number"),
    ("detect", {"input": PHOTO[:1]}, r"'input' must be \[3, H, W\] in \[0, 1\], found \[1, 32, 40\]"),
    ("detect", {"input": PHOTO + 7}, r"'input' must be \[3, H, W\] in \[0, 1\], found .* tensor\(\[7., 7., 7.\]\)"),
]
BOXES = [  # P34: (boxes, labels, message)
    ([[5, 5, 5, 9]], ["cat"], r"boxes\[0\] \[5.0, 5.0, 5.0, 9.0\] needs x1 < x2 and y1 < y2"),
    ([[1, 1, 9, 9], [20, 20, 8, 6]], ["cat", "dog"], r"boxes\[1\] .* is it \[x, y, width, height\]"),
    ([[1, 1, 41, 9]], ["cat"], r"boxes\[0\] .* leaves the image, 40 wide and 32 high"),
    ([[1, -1, 4, 9]], ["cat"], r"boxes\[0\] .* leaves"),
    ([[1, 1, NAN, 9]], ["cat"], r"'boxes\[0\]' must be 4 finite numbers, is \[1, 1, nan, 9\]"),
    ([[1, 1, 9, 9]], [], r"'labels' must hold a label for each of the 1 boxes, found \[\]"),
    ([[1, 1, 9, 9]], "c", "'labels' must hold a label for each"),
    (
        [[1, 1, 9, 9], [1, 1, 9, 9]],
        ["dog", 0],
        r"boxes\[1\] .* has the label 0; known: \['cat', 'dog'\].*0 is the background",
    ),
    ([[1, 1, 9, 9]], ["background"], r"boxes\[0\] .* has the label 'background'"),
    ([[1, 1, 9, 9]], [3], r"boxes\[0\] .* has the label 3; .* or 1 to 2"),
    ([[1, 1, 9]], ["cat"], r"'boxes\[0\]' must be 4 finite numbers, is \[1, 1, 9\]"),
    ([1, 1, 9, 9], ["cat"] * 4, r"'boxes\[0\]' must be 4 finite numbers, is 1"),
    (None, [], "'boxes' must be rows of"),
    ([["a", 1, 9, 9]], ["cat"], r"'boxes\[0\]' must hold numbers"),
]


@pytest.mark.parametrize(
    ("kind", "change", "message"), BAD, ids=[f"{k}-{list(c)[0]}-{i}" for i, (k, c, _) in enumerate(BAD)]
)
def test_bad_examples_are_named(kind, change, message):
    """An example that cannot be used stops the task, with split, index, what is wrong."""
    splits = splits_of(kind)
    splits["val"][3] = {**splits["val"][3], **change}
    with pytest.raises(BadData, match=rf"1 problem\n  val\[3\]: .*{message}"):
        build(kind, splits)


@pytest.mark.parametrize(("boxes", "labels", "message"), BOXES)
def test_p34_bad_boxes_are_named(boxes, labels, message):
    """Boxes are checked before training: split, index and number of the box."""
    splits = splits_of("detect")
    splits["train"][5] = {"input": PHOTO, "boxes": boxes, "labels": labels}
    with pytest.raises(BadData, match=rf"1 problem\n  train\[5\]: {message}"):
        build("detect", splits)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_columns_and_rows_that_are_no_dicts(kind):
    """No label at all, and no dict at all, are told apart from wrong values."""
    splits = splits_of(kind, train=3)
    column = {"regress": "x", "detect": "labels"}.get(kind, build(kind, splits).label_column)
    del splits["train"][1][column]
    with pytest.raises(BadData, match=rf"train\[1\]: .*('{column}'|action 'None')"):
        build(kind, splits)
    splits["train"][1] = 5
    with pytest.raises(BadData, match=r"train\[1\]: must be a dict"):
        build(kind, splits)


def test_settings_that_contradict():
    """Arguments that cannot be meant are refused when the task is made."""
    good = {"train": [{"input": X, "action": 0}]}
    for settings in ({}, {"actions": ["a", "b"], "size": 2}):
        with pytest.raises(BadData, match="either names of actions or the size"):
            sl.Policy(good, **settings)
    with pytest.raises(BadData, match="contains the number of a class"):
        sl.Segment({"train": [{"input": IMAGE, "mask": MASK}]}, ["a", "b"], ignore=(1,))
    with pytest.raises(BadData, match="must be single characters"):
        sl.CTC({"train": [{"audio": WAVE, "transcript": "a"}]}, ["a", "bc"])
    with pytest.raises(BadData, match="'softmax' or 'bpr'"):
        sl.Rank({"train": [{"user": 0, "item": 0}]}, 5, loss="hinge")
    full = sl.Rank({"train": [{"user": 0, "item": 0}], "val": [{"user": 0, "item": 1}]}, 2)
    with pytest.raises(BadData, match="user 0 has taken all 2 items"):
        full.candidates([(0, 1)], [3])


@pytest.mark.parametrize(("kind", "net", "message"), [
    ("multilabel", lambda: task_nets.Mlp(2), r"gave \[8, 2\] where the targets are \[8, 3\]"),
    ("regress", lambda: task_nets.Mlp(1), r"gave \[8, 1\] where the targets are \[8, 2\]"),
    ("gaussian", lambda: task_nets.Mlp(3), r"must give 2 or 4 numbers, gave \[8, 3\]"),
    ("segment", lambda: task_nets.Segmenter(stride=2), r"gave .* masks of \[6, 5\]; Segment\(resize=True\)"),
    ("segment", lambda: task_nets.Mlp(3), "."),
    ("detect", lambda: task_nets.Segmenter(), "needs a Faster R-CNN of torchvision, found Segmenter"),
    ("ctc", lambda: task_nets.Listener(classes=3), r"the model gave \[8, .*, 3\], not \[8, .*, 4\]"),
])  # fmt: skip
def test_outputs_that_do_not_fit(kind, net, message):
    """A model whose outputs have another shape than the targets is an error, never a broadcast."""
    _, task = make(kind)
    if message == ".":
        net = lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))  # noqa: E731
        message = r"gave \[8, 2, 6, 5\] for 3 classes and masks of \[6, 5\]"
    with pytest.raises(SftlabError, match=message):
        fit(net().double(), task, PLAN)


# Labels, numbers, actions


def test_multilabel_by_hand():
    """Absent answers are masked, empty lists are eight noes; metrics agree with a count by hand."""
    rows = [["a", "c"], [], {"a": 1, "b": 0}, {"c": 1}]
    task = sl.MultiLabel(
        {"train": [{"input": X, "labels": r} for r in rows] + [{"input": X, "labels": {}}]}, "abc", sl.TensorInput()
    )
    assert [task.target(x).tolist() for x in task.examples("train")[:4]] == [
        [1, 0, 1], [0, 0, 0], [1, 0, -100], [-100, -100, 1],
    ]  # fmt: skip
    items = task.encode(task.examples("train"), None)
    assert [item["index"] for item in items] == [0, 1, 2, 3]  # nothing is known of the last one
    batch = task.collate(items, None)
    part = task.loss_of(torch.zeros(4, 3), batch)
    assert int(part.count) == 9 and float(part.total) == pytest.approx(9 * math.log(2), rel=1e-6)
    logits = torch.tensor([[1.0, -1, -1], [1, -1, -1], [1, -1, 9], [9, 9, 1]])
    found = task.metrics(*task.decode(logits, batch))
    # a: hit, false, hit; b: nothing; c: missed, hit. Together 3 hits, 1 false, 1 missed.
    assert found == pytest.approx({"micro_f1": 6 / 8, "macro_f1": (4 / 5 + 0 + 2 / 3) / 3, "exact_match": 2 / 4})
    only = sl.MultiLabel({"train": [{"input": X, "labels": {}}]}, "abc", sl.TensorInput())
    with pytest.raises(NoSupervision):
        only.encode(only.examples("train"), None)


def test_regression_by_hand():
    """Metrics over the whole set; one output may come without its dimension, and never broadcasts."""
    task = sl.Regress({"train": [{"input": X, "x": 0, "y": 0}]}, ["x", "y"])
    true = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    found = task.metrics(true + torch.tensor([1.0, 0.0]), true)
    assert found == pytest.approx({"mae": 0.5, "rmse": math.sqrt(0.5), "r2": (1 - 3 / 8 + 1) / 2})
    one = sl.Regress({"train": [{"input": X, "target": float(i)} for i in range(4)]})
    batch = one.collate(one.encode(one.examples("train"), None), None)
    part = one.loss_of(torch.zeros(4), batch)
    assert float(part.total) == 14 and int(part.count) == 4


def test_policy_by_hand():
    """Weights multiply a sample's loss and do not change the count; the Gaussian is torch's."""
    model, task = make("policy")
    items = task.encode(task.examples("train"), model)
    batch = task.collate(items, model)
    with torch.no_grad():
        logits = model(batch["inputs"]["input"]).float()
    each = nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
    weight = torch.tensor([x["weight"] for x in task.examples("train")])
    assert weight.unique().tolist() == [0.0, 0.5, 2.0]
    part = task.loss_of(logits, batch)
    assert float(part.total) == pytest.approx(float(each @ weight), rel=1e-6) and int(part.count) == 24

    model, task = make("gaussian")
    batch = task.collate(task.encode(task.examples("train"), model), model)
    with torch.no_grad():
        logits = model(batch["inputs"]["input"]).float()
    for outputs, std in ((logits, logits[:, 2:].exp()), (logits[:, :2], torch.ones(24, 2))):
        log_p = torch.distributions.Normal(logits[:, :2], std).log_prob(batch["labels"]).sum(1)
        assert float(task.loss_of(outputs, batch).total) == pytest.approx(float(-log_p @ batch["weight"]), rel=1e-5)
    plain = sl.Policy({"train": [{"input": X, "action": 1}]}, ["a", "b"])
    assert plain.collate(plain.encode(plain.examples("train"), None), None)["weight"].tolist() == [1.0]


# Pixels


def test_segmentation_by_hand():
    """Metrics come from the counts of the whole set; unlabelled pixels and classes that never occur are left out."""
    _, task = make("segment")
    masks = [torch.tensor([[0, 0, 1, 255]]), torch.tensor([[1, 1, -100, 1]])]
    answers = [torch.tensor([[0, 1, 1, 2]]), torch.tensor([[1, 0, 2, 1]])]
    parts = []
    for mask, answer in zip(masks, answers, strict=True):
        labels = task.target({"input": torch.zeros(3, 1, 4), "mask": mask})[None]
        logits = nn.functional.one_hot(answer, 3).movedim(-1, 0)[None].float()
        parts.append(task.decode(logits, {"labels": labels}))
    found = task.metrics(*(torch.cat(p) for p in zip(*parts, strict=True)))
    # class 0: 1 hit, 1 missed, 1 false; class 1: 3 hits, 1 missed, 1 false; class 2 nowhere
    assert found == pytest.approx(
        {"pixel_accuracy": 4 / 6, "mean_iou": (1 / 3 + 3 / 5) / 2, "mean_dice": (1 / 2 + 3 / 4) / 2}
    )


def test_segmentation_takes_out_and_only_out():
    """S15: a dict gives its "out"; another dict is named by its keys; ``resize`` brings logits to the mask's size."""
    _, task = make("segment")
    wrapped, bare = model_of("segment"), model_of("segment")
    bare.wrap = False
    assert sl.evaluate(wrapped, task, "test") == sl.evaluate(bare, task, "test")

    class Other(nn.Module):
        def forward(self, x):
            return {"masks": x, "aux": x}

    with pytest.raises(SftlabError, match="a dict without 'out'; its keys: 'masks', 'aux'"):
        task.logits(Other(), {"inputs": {"input": torch.zeros(1, 3, 6, 5)}})
    small = task_nets.Segmenter(stride=2).double()
    resized = sl.Segment(task.splits, task.label_names, resize=True)
    batch = resized.collate(resized.encode(resized.examples("train"), small)[:2], small)
    expected = nn.functional.interpolate(small(batch["inputs"]["input"])["out"], (6, 5), mode="bilinear")
    assert torch.equal(resized.logits(small, batch), expected)
    splits = splits_of("segment", train=2)
    splits["train"][1] = {"input": torch.zeros(3, 4, 4), "mask": MASK[:4, :4]}
    with pytest.raises(BadData, match=r"\[1\]: \[3, 4, 4\] instead of \[3, 6, 5\]"):
        fit(wrapped, build("segment", splits), PLAN)


# Boxes


def test_p34_background_is_class_0():
    """The task adds the background; the reader's numbers begin with 1, and names mean the same."""
    splits = {"train": [{"input": PHOTO, "boxes": [[1, 1, 9, 9]] * 2, "labels": x} for x in (["cat", "dog"], [1, 2])]}
    task = build("detect", splits)
    assert task.label_names == ["background", "cat", "dog"]
    named, numbered = (task.target(x) for x in task.examples("train"))
    assert torch.equal(named["labels"], numbered["labels"]) and named["labels"].tolist() == [1, 2]
    with pytest.raises(BadData, match="different labels"):
        sl.Detect(splits, ["background", "cat", "dog"])


@pytest.mark.parametrize("empty", [[], torch.zeros(0, 4)])
def test_p34_no_boxes_give_a_finite_loss(empty):
    """An image without boxes has a [0, 4] target and a finite loss, even where the model proposes nothing either."""
    model = model_of("detect")
    task = build("detect", {"train": [{"input": PHOTO.double(), "boxes": empty, "labels": []}]})
    items = task.encode(task.examples("train"), model)
    assert items[0]["labels"]["boxes"].shape == (0, 4)
    for threshold in (0.0, 2.0):  # no proposal has a score of 2
        model.rpn.score_thresh = threshold
        part = task.loss(model, task.collate(items, model))
        assert math.isfinite(part.total.item()) and int(part.count) == 1 and part.total.requires_grad


def test_detection_loss_and_boxes_are_torchvisions():
    """For one image, the four losses and the detections are those of the model's own forward."""
    model, task = make("detect")
    items = task.encode(task.examples("train"), model)
    for at in range(6):
        batch = task.collate([items[at]], model)
        with torch.no_grad():
            (found,) = task.logits(model, batch)
            own = model([batch["inputs"][0]])[0]
            assert all(torch.equal(found[name], own[name]) for name in own) and set(own) < set(found)
            model.training = model.rpn.training = model.roi_heads.training = True
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(mix(mix(0, items[at]["index"], 1), 1))
                losses = model([batch["inputs"][0]], [items[at]["labels"]])
            model.eval()
        assert len(losses) == 4
        assert float(found["loss"]) == pytest.approx(float(sum(losses.values())), rel=1e-12)


def test_detection_leaves_no_trace():
    """Modes and the caller's random state are as before; another draw is another loss, the same draw the same."""
    model, task = make("detect")
    model.train()
    model.rpn.eval()
    modes = [module.training for module in model.modules()]
    source = Source(model, task, {"train": task.encode(task.examples("train"), model)})
    state = torch.get_rng_state()
    losses = [
        float(task.loss(model, next(source.batches([rows], CPU, draw=draw))).total.detach())
        for rows, draw in ((range(4), 1), (range(4), 1), (range(4), 2))
    ]
    assert torch.equal(state, torch.get_rng_state()) and modes == [module.training for module in model.modules()]
    assert losses[0] == losses[1] and abs(losses[0] - losses[2]) > 1e-6
    assert not task.cacheable and build("regress", splits_of("regress")).cacheable


def test_images_of_one_size_share_a_pass_through_the_backbone():
    """One pass for a batch whose transformed images have one size, one for each image otherwise."""
    model = model_of("detect")
    passes = []
    model.backbone.register_forward_hook(lambda module, args, output: passes.append(len(args[0])))
    square, wide = torch.zeros(3, 32, 32).double(), torch.zeros(3, 32, 80).double()
    for images, expected in (([square] * 3, [3]), ([square, wide, square], [1, 1, 1])):
        task = build("detect", {"train": [{"input": image, "boxes": [], "labels": []} for image in images]})
        passes.clear()
        task.loss(model, task.collate(task.encode(task.examples("train"), model), model))
        assert passes == expected


def boxes(*rows, scores=None, labels=None) -> dict:
    out = {"boxes": torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)}
    out["labels"] = torch.tensor(labels or [1] * len(rows), dtype=torch.long)
    return out if scores is None else {**out, "scores": torch.tensor(scores, dtype=torch.float32)}


def test_average_precision_by_hand():
    """Cases whose answer follows from the definition of COCO with pencil and paper."""
    a, b, far = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]

    def ap(predicted, true):
        return average_precision(predicted, true).mean(dim=0)

    assert ap([boxes(a, b, scores=[0.9, 0.8])], [boxes(a, b)]).tolist() == pytest.approx([1] * 10)
    assert ap([boxes(scores=[])], [boxes(a)]).tolist() == [0] * 10
    # The example in the documentation of torchmetrics: an overlap of 0.776 counts at six of ten thresholds.
    found = ap([boxes([258, 41, 606, 285], scores=[0.5])], [boxes([214, 41, 562, 285])])
    assert found.tolist() == pytest.approx([1] * 6 + [0] * 4)
    # One of two boxes: precision 1 at the 51 recalls up to 0.5.
    assert ap([boxes(a, scores=[0.9])], [boxes(a, b)])[0] == pytest.approx(51 / 101)
    # A miss before two hits: precision 1/2, 2/3, made non-increasing from the right: 2/3 at every recall.
    assert ap([boxes(far, a, b, scores=[0.9, 0.8, 0.7])], [boxes(a, b)])[0] == pytest.approx(2 / 3)
    # A miss after the hits costs nothing, a second detection of the same box is a miss.
    assert ap([boxes(a, b, far, scores=[0.9, 0.8, 0.7])], [boxes(a, b)])[0] == pytest.approx(1)
    assert ap([boxes(a, a, b, scores=[0.9, 0.8, 0.7])], [boxes(a, b)])[0] == pytest.approx((51 + 50 * 2 / 3) / 101)
    # Order is over all images: the sure miss of the second image comes first; an image without boxes counts too.
    found = ap([boxes(a, scores=[0.5]), boxes(far, scores=[0.9])], [boxes(a), boxes()])
    assert found[0] == pytest.approx(0.5)
    # Each detection takes the free box that it overlaps most; exactly 0.5 is a match at 0.5.
    assert ap([boxes([0, 0, 10, 5], scores=[0.9])], [boxes(a)]).tolist() == [1] + [0] * 9
    # Mean over the classes that have boxes: class 2 is never found, class 3 exists only in the predictions.
    each = average_precision([boxes(a, b, scores=[0.9, 0.8], labels=[1, 3])], [boxes(a, far, labels=[1, 2])])
    assert each.tolist() == [[1] * 10, [0] * 10]
    assert average_precision([boxes(scores=[])], [boxes()]).isnan().all()
    # More than 100 detections in an image: the rest is not looked at.
    many = boxes(*[far] * 100, a, scores=[*[0.9] * 100, 0.1])
    assert ap([many], [boxes(a)])[0] == 0


# Sound


def test_p33_padding_does_not_change_the_loss():
    """With a net that masks, and for any net with ``alone``; a net that does not mask is seen to differ."""
    splits = splits_of("ctc")
    for mask, alone in ((True, False), (False, True), (False, False)):
        task = sl.CTC(splits, "ab ", sl.AudioInput(alone=alone))
        model = task_nets.Listener(mask=mask).double()
        items = task.encode(task.examples("test"), model)
        with torch.no_grad():
            together = task.logits(model, task.collate(items, model))
            single = [task.logits(model, task.collate([item], model))[0] for item in items]
        assert len({len(row) for row in single}) > 2
        error = max(float((a - b).abs().max()) for a, b in zip(together, single, strict=True))
        assert error < 1e-9 if mask or alone else error > 1e-3


@pytest.mark.parametrize(("norm", "alone"), [("layer", False), ("group", True)])
def test_p33_wav2vec2(norm, alone):
    """transformers' own model: output lengths are its own, and padding changes nothing (group norm: only if alone)."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(2, 2), conv_kernel=(3, 3), num_feat_extract_layers=2, feat_extract_norm=norm,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, do_stable_layer_norm=norm == "layer",
        mask_time_prob=0.0, hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
        final_dropout=0.0, layerdrop=0.0, initializer_range=0.2,
    )  # fmt: skip
    model = Wav2Vec2ForCTC(config).double().eval()
    task = sl.CTC(splits_of("ctc"), "ab ", sl.AudioInput(alone=alone))
    results = [sl.evaluate(model, task, "test", batch=batch) for batch in (1, 7, 16)]
    assert results[1] == pytest.approx(results[0], abs=1e-6) and results[2] == pytest.approx(results[0], abs=1e-6)
    assert task.cacheable is not alone
    one, four = (gradients(model, task, groups)[0] for groups in ([range(8)], [[0, 1], [2, 3], [4, 5], [6, 7]]))
    assert distance(one, four) < 1e-6
    if alone:  # the case can tell
        padded = sl.CTC(splits_of("ctc"), "ab ")
        assert abs(sl.evaluate(model, padded, "test", batch=16)["loss"] - results[0]["loss"]) > 1e-4


def test_ctc_by_hand():
    """The loss is the sum over all alignments, the count that of characters; decoding merges and drops blanks."""
    task = sl.CTC({"train": [{"audio": torch.zeros(3), "transcript": "ab"}]}, "ab")
    scores = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))

    def collapse(path):
        return [c for c, _ in itertools.groupby(path) if c]

    p = scores.log_softmax(-1)
    paths = [path for path in itertools.product(range(3), repeat=3) if collapse(path) == [1, 2]]
    expected = -torch.stack([sum(p[t, c] for t, c in enumerate(path)) for path in paths]).logsumexp(0)
    batch = {"labels": torch.tensor([[1, 2]]), "frames": [3]}
    part = task.loss_of([scores], batch)
    assert float(part.total) == pytest.approx(float(expected), rel=1e-5) and int(part.count) == 2
    rows = [nn.functional.one_hot(torch.tensor(row), 3).float() for row in ([1, 1, 0, 1, 2], [0, 0, 0], [2, 2, 1])]
    assert [str(task.read({}, row)) for row in rows] == ["aab", "", "ba"]


def test_ctc_metrics_divide_sums():
    """Edits of the whole set over its length, not the mean of the sentences' rates."""
    _, task = make("ctc")
    found = task.metrics(["a b", "aaaa"], ["a b b a", "aaab"])
    assert found == pytest.approx({"wer": 3 / 5, "cer": 5 / 11})


@pytest.mark.parametrize(("text", "samples", "need"), [("a", 0, 1), ("ab", 2, 2), ("aab", 6, 4), ("aaa", 8, 5)])
def test_transcripts_that_do_not_fit_are_named(text, samples, need):
    """Equal neighbours need a blank between them: counted before training, with the index."""
    splits = splits_of("ctc", train=4)
    splits["train"][2] = {"audio": torch.zeros(samples).double(), "transcript": text}
    task, model = build("ctc", splits), model_of("ctc")
    frames = int(model.output_lengths(torch.tensor(samples)))
    with pytest.raises(BadData, match=rf"\n  \[2\]: needs {need} frames and gets {frames}"):
        fit(model, task, PLAN)
    splits["train"][2]["audio"] = torch.zeros(2 * need).double()
    task.encode(build("ctc", splits).examples("train"), model)


# Items


def test_negatives_are_what_the_user_has_not_taken():
    """Uniform over the rest, a function of the seed alone; the training items and the item itself are never drawn."""
    task = build("rank", splits_of("rank"))
    for x in task.examples("test"):
        taken = {y["item"] for y in task.examples("train") if y["user"] == x["user"]} | {x["item"]}
        task.negatives = 2000
        (row,) = task.candidates([(x["user"], x["item"])], [mix(3)])
        assert int(row[0]) == x["item"]
        counts = row[1:].bincount(minlength=task_nets.ITEMS)
        assert set(counts.nonzero().flatten().tolist()) == set(range(task_nets.ITEMS)) - taken
        expected = 2000 / (task_nets.ITEMS - len(taken))
        assert counts[counts > 0].sub(expected).abs().max() < 6 * math.sqrt(expected)
    both = task.candidates([(0, 2), (1, 5)], [7, 8])
    assert torch.equal(both[1:], task.candidates([(1, 5)], [8])) and not torch.equal(both[0, 1:], both[1, 1:])


def test_ranking_by_hand():
    """The user's training items do not compete; equal scores count against the item; loss as in the papers."""
    splits = {"train": [{"user": 0, "item": 0}, {"user": 0, "item": 1}], "val": [{"user": 0, "item": 2}]}
    task = sl.Rank(splits, 14, negatives=3)
    batch = {"labels": torch.tensor([2]), "pairs": [(0, 2)], "index": [0], "inputs": {"input": torch.tensor([0])}}
    scores = torch.arange(14.0)[None]
    for score, rank in ((99.0, 1), (12.5, 2), (3.5, 11), (4.0, 11), (-1.0, 12)):
        row = scores.clone()
        row[0, :3] = torch.tensor([1000.0, 1000.0, score])
        found, true = task.decode(row, batch)
        assert (found.tolist(), true.tolist()) == ([rank], [2])
        hit = rank <= 10
        expected = {"recall_at_10": float(hit), "ndcg_at_10": hit / math.log2(1 + rank)}
        assert task.metrics(found, true) == pytest.approx(expected)
    assert task.decode(torch.zeros(1, 14), batch)[0].tolist() == [12]
    found, _ = task.decode(scores, {**batch, "labels": torch.tensor([1]), "pairs": [(0, 1)]})
    assert found.tolist() == [13]  # a training item competes with all but the other training items
    drawn = task.candidates([(0, 2)], [mix(0, 0, 1)])[0]
    s = scores[0][drawn]
    assert float(task.loss_of(scores, batch).total) == pytest.approx(float(s.logsumexp(0) - s[0]), rel=1e-6)
    bpr = sl.Rank(splits, 14, negatives=3, loss="bpr")
    assert float(bpr.loss_of(scores, batch).total) == pytest.approx(
        -float((s[0] - s[1:]).sigmoid().log().mean()), rel=1e-6
    )
    assert task.read({"input": torch.tensor(0)}, scores[0]) == list(range(13, 3, -1))


def test_ranking_by_features():
    """With a matrix of features the model gets rows of it; a frozen tower is not stored, other items come each time."""
    features = torch.randn(task_nets.ITEMS, 4, generator=torch.Generator().manual_seed(0)).double()

    class ByFeatures(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.tower, self.users = nn.Linear(4, 8), nn.Embedding(task_nets.USERS, 4)
            self.head = nn.Linear(8, 4)

        def forward(self, user, item):
            return (self.head(self.tower(item).tanh()) * self.users(user)[:, None]).sum(-1)

    task = sl.Rank(splits_of("rank"), features, negatives=4)
    assert task.count == task_nets.ITEMS
    before = sl.evaluate(ByFeatures().double(), task, "train")["loss"]
    runs = [fit(ByFeatures().double(), task, sl.head_only(epochs=6, lr=3e-2), cache=cache) for cache in (True, False)]
    assert sl.evaluate(runs[0].model, task, "train")["loss"] < before
    assert distance(*(copies(run.model) for run in runs)) < 1e-6


def test_batchnorm_and_a_single_example():
    """Nine examples in batches of four leave one over: the message says so, and what to do; batches of three train."""
    rows = [{"input": torch.rand(3, 4, 4), "label": "ab"[i % 2]} for i in range(9)]
    task = sl.Classify({"train": rows}, ["a", "b"], sl.TensorInput())
    layers = [torch.nn.Conv2d(3, 8, 4), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8, 2)]
    net = torch.nn.Sequential(*layers)
    with pytest.raises(sl.errors.SftlabError, match="a step holds one example.*no example is left over alone"):
        sl.fit(net, task, sl.full(epochs=1), batch=4, validate=None, show=False)
    run = sl.fit(net, task, sl.full(epochs=1), batch=3, validate=None, show=False)
    assert len(run.steps) == 3
