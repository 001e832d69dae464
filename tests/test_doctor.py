"""The doctor: it finds every planted fault, says nothing about programs without one, and leaves no trace."""

import copy
import random
import re
from html.parser import HTMLParser

import broken_programs
import nets
import numpy
import pytest
import torch
from broken_programs import BROKEN, CORRECT
from nets import CLASSES
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sftlab as sl
from sftlab.errors import SftlabError, UnknownName
from sftlab.study import checks_base
from sftlab.study import doctor as module


@pytest.fixture(autouse=True)
def quiet():
    from sftlab.model.loading import quiet_transformers

    with quiet_transformers():
        yield


def spoken(diagnosis, *results) -> dict[str, str]:
    return {f.name: f"{f.result}: {f.evidence}" for f in diagnosis.checks if f.result in results}


def everything(arguments) -> list:
    """All that a doctor could have changed, as comparable bytes and values."""
    model, optimizer = arguments["model"], arguments.get("optimizer")
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = [(n, t.detach().clone()) for n, t in tensors.items()]
    state += [(f"{n}.grad", None if t.grad is None else t.grad.clone()) for n, t in model.named_parameters()]
    state += [("rng", torch.get_rng_state()), ("numpy", torch.tensor(numpy.random.get_state()[1].astype("int64")))]
    rest = [[(n, p.requires_grad, id(p), id(p.grad)) for n, p in model.named_parameters()]]
    rest += [[(n, id(b)) for n, b in model.named_buffers()], [m.training for m in model.modules()], random.getstate()]
    rest += [torch.is_grad_enabled(), torch.backends.cudnn.enabled, [len(m._forward_hooks) for m in model.modules()]]
    if optimizer is not None:
        rest += [[{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]]
        rest += [[id(p) for g in optimizer.param_groups for p in g["params"]]]
        for at, one in enumerate(optimizer.state.values()):
            state += [(f"{at}.{k}", torch.as_tensor(v).clone()) for k, v in one.items()]
    loader = arguments.get("loader")
    if getattr(loader, "generator", None) is not None:
        state.append(("loader", loader.generator.get_state()))
    return [state, rest]


def assert_equal(before, after):
    assert [n for n, _ in before[0]] == [n for n, _ in after[0]]
    for (name, a), (_, b) in zip(before[0], after[0], strict=True):
        same = a is None and b is None or (a.dtype == b.dtype and torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5)))
        assert same, name
    assert before[1] == after[1]


def examine(arguments):
    """The diagnosis; afterwards everything is bit-identical, whatever was found."""
    torch.manual_seed(3)
    before = everything(arguments)
    diagnosis = sl.doctor(**arguments)
    assert_equal(before, everything(arguments))
    return diagnosis


# What it finds


@pytest.mark.parametrize("name", BROKEN)
def test_finds_the_planted_fault(name):
    """The check of the fault speaks, with evidence and a remedy; but its companions no other does; no trace is left."""
    program = BROKEN[name]
    diagnosis = examine(program.make())
    found = diagnosis[program.check]
    assert found.result in ("fault", "warning"), diagnosis
    assert len(found.evidence) > 5 and len(found.remedy) > 5
    others = spoken(diagnosis, "fault", "warning", "crashed")
    assert not others.keys() - {program.check} - program.also
    assert len(program.symptom.split()) > 3


@pytest.mark.parametrize("name", CORRECT)
def test_says_nothing_about_a_correct_program(name):
    """Neither fault nor warning, nor a check that could not be carried out, and no trace."""
    diagnosis = examine(CORRECT[name]())
    assert not spoken(diagnosis, "fault", "warning", "crashed")
    assert diagnosis.ok and len(spoken(diagnosis, "ok")) >= 10


def test_set_is_large_and_every_entry_is_one_of_pitfalls():
    """At least 32 broken and 12 correct programs; every name begins with the entry that its check points to."""
    assert len(BROKEN) >= 32 and len(CORRECT) >= 12
    assert {p.check for p in BROKEN.values()} <= {c.name for c in checks_base.CHECKS}
    for name in BROKEN:
        assert re.fullmatch(r"[ps]\d\d_\w+", name)


def test_every_check_is_proven_by_a_broken_program():
    """A check that no planted fault can make speak would be a decoration."""
    proven = {p.check for p in BROKEN.values()}
    assert {c.name for c in checks_base.CHECKS} - proven == {"forward", "loss", "one batch"}  # see the tests below


@pytest.mark.parametrize("kind", nets.KINDS)
@pytest.mark.parametrize("plan", [None, *nets.plans()])
def test_own_nets_under_every_plan(kind, plan):
    """The library's own programs are sound under each of its plans."""
    model, task = nets.make(kind, dropout=0.1)
    diagnosis = sl.doctor(model, task, plan and nets.plans()[plan])
    assert not spoken(diagnosis, "fault", "warning", "crashed")
    assert (diagnosis["optimizer complete"].result == "ok") == (plan is not None)


def test_a_model_that_refuses_the_batch_is_said_once():
    """The sentence of the exception, and nothing that follows from it."""
    diagnosis = sl.doctor(nn.Linear(5, 3), loader=[(torch.randn(8, 6), torch.arange(8) % 3)])
    assert list(spoken(diagnosis, "fault", "crashed")) == ["forward"] and "mat1" in diagnosis["forward"].evidence
    assert "forward" in diagnosis["one batch"].evidence


def test_a_loss_that_refuses_the_outputs_is_said_once():
    """A loss on a dict instead of its ``out`` (S15), or on labels of another shape."""
    batch = (torch.randn(8, 6), torch.randn(7, 3))
    diagnosis = sl.doctor(nn.Linear(6, 3), loader=[batch], loss=nn.L1Loss())
    assert list(spoken(diagnosis, "fault", "crashed")) == ["loss"]


def test_infinite_loss_is_found():
    """log(0) on finite inputs."""
    diagnosis = sl.doctor(
        nn.Linear(6, 3), loader=[(torch.zeros(8, 6), torch.arange(8) % 3)], loss=lambda out, y: (out * 0).log().mean()
    )
    assert diagnosis["loss"].result == "fault" and "inf" in diagnosis["loss"].evidence


def test_a_batch_that_cannot_be_learned_is_found():
    """What trains has no influence on a loss that does depend on it, by name only."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(()))
            self.body.requires_grad_(False)

        def forward(self, x):
            return self.body(x) + 1e-6 * self.scale

    diagnosis = sl.doctor(Net(), loader=[(torch.randn(8, 6), torch.arange(8) % 3)])
    assert diagnosis["one batch"].result in ("fault", "warning")


def test_task_without_labels_left():
    """What encoding raises becomes a finding: the doctor answers where ``fit`` would stop."""
    model, task = nets.make("text")
    for example in task.splits["train"]:
        example["label"] = -100
    diagnosis = sl.doctor(model, task)
    assert diagnosis["data"].result == "fault" and "none of the" in diagnosis["data"].evidence


def test_plan_that_does_not_fit_the_model():
    """More layers than there are: a finding, not an exception."""
    model, task = nets.make("conv")
    diagnosis = sl.doctor(model, task, sl.last_k(9))
    assert diagnosis["plan"].result == "fault" and "only 3" in diagnosis["plan"].evidence


# No trace


class Restless(nn.Module):
    """Changes whatever it can in its forward pass, and draws random numbers."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.fail_at = fail_at

    def forward(self, x):
        self.calls = self.calls + 1  # a new tensor in the buffer's place
        with torch.no_grad():
            self.embed.weight.div_(1.01)  # as Embedding(max_norm=...) does
        if self.fail_at is not None and int(self.calls) >= self.fail_at:
            raise RuntimeError("the lights went out")
        random.random(), numpy.random.rand()
        return self.head(self.norm(self.embed(x) + 1e-3 * torch.randn(8)))


@pytest.mark.parametrize("fail_at", [None, 1, 2, 4, 9])
def test_leaves_no_trace_of_a_restless_model(fail_at):
    """Also when the model changes itself, when it fails half way, and when the loader draws."""
    torch.manual_seed(0)
    model = Restless(fail_at)
    model.norm.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = TensorDataset(torch.randn(32, 6), torch.arange(32) % 3)
    loader = DataLoader(data, 8, shuffle=True, generator=torch.Generator().manual_seed(5))
    arguments = {"model": model, "loader": loader, "optimizer": optimizer}
    diagnosis = examine(arguments)
    assert bool(diagnosis.faults or diagnosis.crashed) >= (fail_at == 1)


def test_leaves_no_trace_when_interrupted():
    """Ctrl-C in the middle of a check passes through, and everything is put back."""
    model, task = nets.make("conv")
    before = everything({"model": model})

    def pressed(module, inputs):
        raise KeyboardInterrupt

    hook = model.head.register_forward_pre_hook(pressed)
    with pytest.raises(KeyboardInterrupt):
        sl.doctor(model, task, sl.full())
    hook.remove()
    assert_equal(before, everything({"model": model}))


def test_training_is_the_same_with_and_without_the_doctor():
    """The run that follows does not know that somebody looked."""
    ends = []
    for look in (False, True):
        model, task = nets.make("conv", dropout=0.1)
        if look:
            sl.doctor(model, task, sl.full())
        ends.append(nets.copies(nets.fit(model, task, nets.plans()["full"]).model))
    assert nets.same(*ends)


# Crashes


def test_a_check_that_crashes_is_reported_and_the_others_go_on(monkeypatch):
    """With the sentence of the exception."""

    def bad(program):
        raise ZeroDivisionError("nothing to divide")

    broken = checks_base.Check("the new one", "P0", bad, "data", "all")
    monkeypatch.setattr(module, "CHECKS", [broken, *checks_base.CHECKS])
    diagnosis = sl.doctor(*nets.make("text"))
    assert diagnosis["the new one"].result == "crashed"
    assert diagnosis["the new one"].evidence == "ZeroDivisionError: nothing to divide"
    assert not diagnosis.ok and not diagnosis.faults and diagnosis["one batch"].result == "ok"
    assert "the new one" in str(diagnosis)


def test_arguments_are_checked():
    """Neither task nor loader, both, an iterator, names that do not exist."""
    model, task = nets.make("text")
    for wrong in ({}, {"task": task, "loader": []}, {"loader": iter([])}, {"loader": [], "val": iter([])}):
        with pytest.raises(SftlabError):
            sl.doctor(model, **wrong)
    for wrong in ({"split": "dev"}, {"plan": "everything"}):
        with pytest.raises(UnknownName):
            sl.doctor(model, task, **wrong)
    with pytest.raises(UnknownName, match="'padding'"):
        sl.doctor(model, task)["paddings"]


# How it reads


class Cells(HTMLParser):
    """The text of the cells, and the tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_text_is_narrow_and_the_worst_stands_first():
    """At most 100 columns; faults, then warnings, then what is well; checks that do not apply are counted only."""
    for name in ("p05_statistics_of_the_frozen_trunk_move", "p14_keys_with_a_prefix_and_strict_off"):
        diagnosis = sl.doctor(**BROKEN[name].make())
        text = str(diagnosis)
        assert max(map(len, text.splitlines())) <= 100
        results = [line.split("  ")[1:] for line in text.splitlines()[2:-1]]
        assert BROKEN[name].check in text.splitlines()[2] and results
        hidden = [f for f in diagnosis.checks if f.result == "not applicable"]
        assert hidden and f"{len(hidden)} do not apply" in text
        assert not any(re.search(rf"^{re.escape(f.name)}  ", text, re.M) for f in hidden)


def test_html_is_escaped_and_holds_the_same():
    """What a model or its error says cannot become markup."""
    finding = checks_base.Finding("loss", "fault", "<script>alert(1)</script>", "a & b", "P4")
    html = Cells(sl.Diagnosis([finding], "<b>Net</b>")._repr_html_())
    assert "script" not in html.tags and "b" not in html.tags
    assert "<script>alert(1)</script>" in html.text and "a & b" in html.text


def test_diagnosis_is_data():
    """Lists, names, and a verdict."""
    findings = [checks_base.Finding("a", "ok"), checks_base.Finding("b", "warning"), checks_base.Finding("c", "fault")]
    both = sl.Diagnosis(findings)
    assert [f.name for f in both.faults] == ["c"] and [f.name for f in both.warnings] == ["b"]
    assert not both.ok and sl.Diagnosis(findings[:2]).ok and both["b"] is findings[1]


# Programs that did not come from sftlab


def test_batches_of_every_form():
    """Tuples, lists, dicts with their own names, several inputs; the program is the same, so is the diagnosis."""
    torch.manual_seed(0)
    x, y = torch.randn(16, 6), torch.arange(16) % 3

    class Named(nn.Linear):
        def forward(self, features):
            return {"logits": super().forward(features)}

    class Two(nn.Linear):
        def forward(self, left, right):
            return (super().forward(torch.cat([left, right], 1)), "and more")

    forms = [
        (nn.Linear(6, 3), (x, y)),
        (nn.Linear(6, 3), [x, y]),
        (Named(6, 3), {"features": x, "target": y, "name": ["row"] * 16}),
        (Two(6, 3), ([x[:, :2], x[:, 2:]], y)),
        (nn.Linear(6, 3), {"anything": x, "y": y}),
    ]
    for model, batch in forms:
        diagnosis = sl.doctor(model, loader=[batch])
        assert not spoken(diagnosis, "fault", "warning", "crashed")
        assert diagnosis["head size"].evidence == "3 outputs, 3 classes"
        assert diagnosis["one batch"].result == "ok"


def test_loss_as_a_function_of_model_and_batch():
    """A first parameter named ``model`` gets the model and the batch as the loader gave it."""
    x = torch.randn(16, 6)

    def loss(model, batch):
        (row,) = batch
        return (model(row) - row).pow(2).mean()

    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6))
    diagnosis = sl.doctor(model, loader=DataLoader(TensorDataset(x), 8), loss=loss)
    assert diagnosis["gradients"].result == "ok" and not spoken(diagnosis, "fault", "crashed")


class ByNumber(sl.Classify):
    """Batches with one entry per row, {0: ..., 1: ...}, and random numbers per sample, as some tasks have."""

    draws = True

    def collate(self, items, model):
        batch = super().collate(items, model)
        rows = batch["inputs"]["input"]
        return {**batch, "inputs": dict(enumerate(rows)), "labels": dict(enumerate(batch["labels"]))}

    def logits(self, model, batch):
        assert len(batch["seeds"]) == len(batch["index"]) == len(batch["inputs"]) == len(batch["labels"])
        assert list(batch["inputs"]) == list(range(len(batch["inputs"])))
        return model(torch.stack(list(batch["inputs"].values())))

    def loss_of(self, logits, batch):
        return super().loss_of(logits, {"labels": torch.stack(list(batch["labels"].values()))})


def test_task_with_batches_of_its_own():
    """Rows are taken from every part of a batch, whatever the task puts into it."""
    task = nets.task_of("conv", cls=ByNumber)
    for example in task.splits["val"]:
        example["input"] = example["input"] * 1.5  # no copies of training rows
    diagnosis = sl.doctor(nets.model_of("conv"), task, sl.full())
    assert not spoken(diagnosis, "fault", "warning", "crashed")
    assert diagnosis["company"].result == "ok" and diagnosis["finite inputs"].evidence == "all finite in 24 tensors"


def test_numbers_of_users_and_items_are_no_duplicates():
    """A column of ids repeats by nature: it is no content that could leak."""

    class Ids(sl.TextInput):
        def problems(self, example):
            return None

        def encode(self, examples, model):
            return [{"input_ids": [example["text"]]} for example in examples]

    rows = [{"text": i % 5 + 1, "label": CLASSES[i % 3]} for i in range(24)]
    task = sl.Classify({"train": rows, "val": rows[3:9]}, CLASSES, Ids())
    diagnosis = sl.doctor(nets.model_of("text"), task)
    assert diagnosis["split leak"].result == diagnosis["contradictions"].result == "not applicable"


def test_compiled_and_parallel_models_are_looked_into():
    """The wrapper is no fault, and nothing is compiled for the sake of looking."""
    program = CORRECT["plain_loop_with_everything"]()

    def never(graph, inputs):
        raise AssertionError("compiled")

    for wrap in (lambda net: torch.compile(net, backend=never), nn.DataParallel):
        diagnosis = sl.doctor(**{**program, "model": wrap(program["model"])})
        assert not spoken(diagnosis, "fault", "warning", "crashed")


def test_real_detector_of_torchvision():
    """A Faster R-CNN with its four losses."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator

    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8), nn.ReLU())
    body.out_channels = 8
    anchors = AnchorGenerator(((16,),), ((1.0,),))
    model = FasterRCNN(body, 3, min_size=32, max_size=32, rpn_anchor_generator=anchors, box_detections_per_img=3,
                       rpn_pre_nms_top_n_train=8, rpn_post_nms_top_n_train=8, box_batch_size_per_image=8)  # fmt: skip
    arguments = {"model": model.train(), "loader": broken_programs.scenes(count=2)}
    assert not spoken(examine(arguments), "fault", "crashed")


@pytest.mark.parametrize("name", ["street", "street-segmentation"])
def test_models_that_normalise_themselves(name):
    """The images of `scenes` stay in [0, 1] until the model divides by its own std: no fault of the input (S12)."""
    task = sl.task(name)
    for split, rows in task.splits.items():
        task.splits[split] = rows[:4]
    diagnosis = sl.doctor(sl.load("scenes", task, seed=0), task)
    assert not spoken(diagnosis, "fault", "crashed") and diagnosis["input scale"].result == "ok"


def test_lora_of_peft():
    """With a task type nothing is wrong; without one the new head is frozen (P15)."""
    peft = pytest.importorskip("peft")
    for task_type, expected in (("SEQ_CLS", "ok"), (None, "fault")):
        setting = peft.LoraConfig(target_modules=["query"], r=4, task_type=task_type)
        model = peft.get_peft_model(broken_programs.bert(), setting)
        optimizer = broken_programs.adamw(model, 1e-3)
        diagnosis = sl.doctor(model, loader=broken_programs.text_batches(), optimizer=optimizer)
        assert diagnosis["something trains"].result == expected
        assert not spoken(diagnosis, "crashed") and len(diagnosis.faults) == (expected == "fault")


def test_p26_every_trainable_parameter_gets_a_gradient():
    """Re-entrant checkpointing on a frozen input is found; on one that requires a gradient nothing is said."""
    broken = BROKEN["p26_checkpointing_on_a_frozen_input"].make()
    assert "block.weight" in sl.doctor(**broken)["gradients"].evidence
    mended = copy.deepcopy(broken["model"])
    mended.embed.requires_grad_(True)
    assert sl.doctor(mended, loader=broken["loader"])["gradients"].result == "ok"


def test_p33_padding_is_probed():
    """A model that reads its padding is found by its outputs; one that obeys the mask is not."""
    broken = BROKEN["p33_mean_over_padding_too"].make()
    assert sl.doctor(**broken)["padding"].result == "warning"
    assert sl.doctor(broken_programs.bert(), loader=broken["loader"])["padding"].result == "ok"


@pytest.mark.slow
def test_bundled_model_is_sound():
    """all-MiniLM-L6-v2 on the headlines, under the plans of the first chapter."""
    task = sl.task("headlines")
    model = sl.load("minilm", task, seed=0)
    for plan in (None, sl.head_only(), sl.full()):
        diagnosis = sl.doctor(model, task, plan)
        assert not spoken(diagnosis, "fault", "warning", "crashed")
