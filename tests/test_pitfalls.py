"""One property per silent failure of PITFALLS.md, named after its number, on text, tagging and BatchNorm."""

import json
import re
from pathlib import Path

import nets
import pytest
import torch
from nets import KINDS, copies, distance, exact, fit, make, same
from torch import nn

import sftlab as sl
from sftlab import env
from sftlab.errors import MissingWeights, NonFiniteLoss
from sftlab.model.loading import load_trunk
from sftlab.train import loop
from sftlab.train.features import Source
from sftlab.train.task import LossSum

TRAINED = {  # plans that leave something frozen to the end
    "head only": sl.head_only(epochs=2),
    "last 1": sl.last_k(1, epochs=2, lr=1e-3),
    "gradual to 1": sl.Plan("gradual to 1", (sl.Stage("head", 1, 1e-2), sl.Stage(1, 2, 1e-3)), weight_decay=0.1),
}


def gradients(model, task, plan, groups, clip=None) -> tuple[dict, LossSum]:
    """Gradients and loss of one optimizer step over ``groups``, a list of micro-batches of sample numbers."""
    items = task.encode(task.examples("train"), model)
    source = Source(model, task, {"train": items})
    applied = plan.apply(model)
    loss, _ = loop.train_step(source, task, source.batches(groups, torch.device("cpu")), applied, clip)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, loss


def frozen_names(model, plan) -> set[str]:
    """Names of parameters and buffers of the layers that no stage trains, by the layer map."""
    layers = sl.layer_map(model)
    kept = max({"head": 1, "all": len(layers)}.get(s.train, None) or s.train + 1 for s in plan.stages)
    prefixes = tuple(f"{layer.name}." for layer in layers[:-kept])
    return {name for name in model.state_dict() if prefixes and name.startswith(prefixes)}


# The whole of each net; BatchNorm itself sees the micro-batch, so that net trains its head here.
MICRO = [("text", "full", {}), ("tags", "full", {}), ("conv", "full", {"batch_norm": False}), ("conv", "head only", {})]


@pytest.mark.parametrize(("kind", "plan", "net"), MICRO)
def test_p01_one_batch_of_8_equals_4_of_2(kind, plan, net):
    """Gradient, logged loss and final weights do not know how a step was cut into micro-batches."""
    model, task = make(kind, **net)
    one, loss_one = gradients(model, task, sl.plan(plan), [range(8)])
    four, loss_four = gradients(model, task, sl.plan(plan), [[0, 1], [2, 3], [4, 5], [6, 7]])
    assert distance(one, four) < 1e-6 and max(float(g.abs().max()) for g in one.values()) > 1e-3
    assert loss_one.count == loss_four.count and float(loss_one.total) == pytest.approx(float(loss_four.total), 1e-6)

    runs = []
    for micro_batch in (None, 2, 3):
        if kind == "conv" and plan == "head only":
            model, task = make(kind)
        else:
            model, task = exact(kind)
        runs.append(fit(model, task, nets.plans()[plan], micro_batch=micro_batch))
    for run in runs[1:]:
        assert distance(copies(runs[0].model), copies(run.model)) < 1e-6
        assert [s["loss"] for s in run.steps] == pytest.approx([s["loss"] for s in runs[0].steps], abs=1e-6)
        assert [s["count"] for s in run.steps] == [s["count"] for s in runs[0].steps]


def test_p01_micro_batches_through_batchnorm_are_said():
    """BatchNorm that trains normalises by the micro-batch: the run must say so."""
    model, task = make("conv")
    assert "BatchNorm" in " ".join(fit(model, task, "full", micro_batch=2).notes)


@pytest.mark.parametrize("kind", KINDS)
def test_p02_gradient_is_that_of_the_mean_over_all_labels(kind):
    """With unequal label counts, micro-batches point where the plain mean over all labels of the step points."""
    model, task = make(kind, batch_norm=False)
    groups = [[0, 2], [1, 3], [4, 6], [5, 7]]  # tagging: short rows and long rows apart
    found, loss = gradients(model, task, sl.full(), groups)
    items = task.encode(task.examples("train"), model)

    def by_hand(rows):
        batch = task.collate([items[row] for row in rows], model)
        logits = model(**batch["inputs"]) if kind != "conv" else model(batch["inputs"]["input"])
        return nn.functional.cross_entropy(logits.reshape(-1, 3), batch["labels"].reshape(-1))

    parameters = dict(model.named_parameters())
    expected = dict(zip(parameters, torch.autograd.grad(by_hand(range(8)), list(parameters.values())), strict=True))
    assert distance(found, expected) < 1e-6
    assert float(loss.total / loss.count) == pytest.approx(by_hand(range(8)).item(), abs=1e-6)
    if kind == "tags":  # the case can tell: the mean of means is another gradient
        means = sum(by_hand(rows) for rows in groups) / len(groups)
        wrong = dict(zip(parameters, torch.autograd.grad(means, list(parameters.values())), strict=True))
        assert distance(found, wrong) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_p03_evaluation_does_not_depend_on_the_batch(kind):
    """Loss, metrics and count of a split are equal for every batch size, and equal to one example at a time by hand."""
    model, task = make(kind, dropout=0.3, test=17)
    results = [sl.evaluate(model, task, "test", batch=batch) for batch in (1, 2, 7, 16)]
    for result in results[1:]:
        assert result == pytest.approx(results[0], abs=1e-6)
    total = count = 0.0
    for item in task.encode(task.examples("test"), model):
        with torch.no_grad():
            part = task.loss(model, task.collate([item], model))
        total, count = total + float(part.total), count + int(part.count)
    assert results[0]["loss"] == pytest.approx(total / count, abs=1e-6) and results[0]["count"] == count


@pytest.mark.parametrize("kind", KINDS)
def test_p04_a_nan_loss_is_never_logged_as_a_number(kind):
    """A NaN loss ends the run with an error that names the step and the sample; no loss of 0 stands in its place."""
    model, task = nets.model_of(kind), nets.task_of(kind, cls=poisoned(kind, "loss", 5))
    seen = []
    with pytest.raises(NonFiniteLoss, match=r"the loss is nan at step \d+ .*: \[5\]"):
        fit(model, task, sl.full(epochs=1, lr=1e-3), after_step=lambda run: seen.extend(run.steps[-1:]))
    assert all(step["loss"] > 0 for step in seen)


@pytest.mark.parametrize("noisy", [False, True], ids=["as it is", "hook calls train()"])
@pytest.mark.parametrize("plan", TRAINED)
@pytest.mark.parametrize("kind", KINDS)
def test_p05_frozen_is_bit_identical_with_buffers(kind, plan, noisy):
    """No step moves a frozen parameter or buffer, though somebody calls model.train() after every step."""
    model, task = make(kind, dropout=0.2)
    before = copies(model)
    frozen = frozen_names(model, TRAINED[plan])
    assert frozen and (kind != "conv" or any("running_mean" in name for name in frozen))
    fit(model, task, TRAINED[plan], after_step=(lambda run: run.model.train()) if noisy else None)
    after = copies(model)
    assert same(before, after, frozen)
    moved = {name for name in after.keys() - frozen if not torch.equal(before[name], after[name])}
    assert {"head.weight", "head.bias"} <= moved
    assert plan == "head only" or len(moved) > 2


@pytest.mark.parametrize("plan", TRAINED)
@pytest.mark.parametrize("kind", KINDS)
def test_p06_frozen_has_one_meaning(kind, plan):
    """In training, frozen layers (norms too) ask for no gradient and compute what they compute in evaluation."""
    model, task = make(kind, dropout=0.5)
    frozen = frozen_names(model, TRAINED[plan])
    item = task.encode(task.examples("train"), model)[:6]
    inputs = task.collate(item, model)["inputs"]
    top = sl.layer_map(model)[1 if plan != "head only" else 2].module  # the topmost layer that stays frozen
    seen = []
    top.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        task.inputs.call(model.eval(), inputs)
    for stage in range(len(TRAINED[plan].stages)):
        applied = TRAINED[plan].apply(model, stage)
        assert not any(p.requires_grad for name, p in model.named_parameters() if name in frozen)
        model.train()
        applied.enforce()
        assert model.head.training and model.training
        with torch.no_grad():
            task.inputs.call(model, inputs)
        first, now = ((x[0] if isinstance(x, tuple) else x) for x in (seen[0], seen[-1]))
        assert torch.equal(first, now)


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a random BERT, saved in bfloat16; (folder, tensors) and a way to write others."""
    from safetensors.torch import save_file

    bert = nets.tiny_bert()
    bert.config.save_pretrained(tmp_path)
    tensors = {name: value.to(torch.bfloat16) for name, value in bert.state_dict().items()}

    def write(tensors):
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        save_file(tensors, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})

    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "bfloat16"
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write(tensors)
    return tmp_path, tensors, write


def test_p13_weights_load_in_float32(checkpoint):
    """A bfloat16 checkpoint trains in float32: its values exactly, and updates below bfloat16's grid are kept."""
    folder, tensors, _ = checkpoint
    trunk, loading = load_trunk(folder)
    assert {p.dtype for p in trunk.parameters()} == {torch.float32} and loading["used"] == len(trunk.state_dict())
    assert all(torch.equal(value, tensors[name].float()) for name, value in trunk.state_dict().items())
    from sftlab.model.heads import TextClassifier

    model = TextClassifier(trunk, 3)
    model.tokenizer, model.max_tokens = nets.ToyTokenizer(), nets.MAX_TOKENS
    before = copies(model)
    fit(model, nets.task_of("text"), sl.full(epochs=1, lr=1e-6))
    matrices = [name for name, p in model.named_parameters() if p.dim() > 1 and "layer" in name]
    moved = [float((model.state_dict()[name] != before[name]).float().mean()) for name in matrices]
    kept = [float((model.state_dict()[n].bfloat16() != before[n].bfloat16()).float().mean()) for n in matrices]
    assert min(moved) > 0.9 and max(kept) < 0.5  # bfloat16 would have lost the other half


@pytest.mark.parametrize("kind", KINDS)
def test_p13_autocast_leaves_the_weights_in_float32(kind):
    """precision="bfloat16" is arithmetic: parameters, buffers and gradients stay float32, the logits are bfloat16."""
    sl.start(seed=0, device="cpu", precision="bfloat16")
    model, task = make(kind)
    seen = set()
    model.head.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    model.head.weight.register_hook(lambda gradient: seen.add(("gradient", gradient.dtype)))
    fit(model, task, nets.plans()["full"])
    assert seen == {torch.bfloat16, ("gradient", torch.float32)}
    assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}


def renamed(tensors):
    return {name.replace("encoder.layer.1", "encoder.block.1"): value for name, value in tensors.items()}


def prefixed(tensors):
    return {f"_orig_mod.{name}": value for name, value in tensors.items()}


def without_one(tensors):
    return {name: value for name, value in tensors.items() if name != "encoder.layer.0.attention.self.query.weight"}


def reshaped(tensors):
    return {**tensors, "embeddings.word_embeddings.weight": tensors["embeddings.word_embeddings.weight"][:150]}


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (renamed, ["16 weights of the trunk are missing", "encoder.layer.1.", "encoder.block.1."]),
        (prefixed, ["_orig_mod."]),
        (without_one, ["1 weights of the trunk are missing", "encoder.layer.0.attention.self.query.weight"]),
        (reshaped, ["1 have another shape", "embeddings.word_embeddings.weight"]),
    ],
)
def test_p14_missing_trunk_weights_raise(checkpoint, damage, named):
    """Renamed, prefixed, missing or reshaped weights end in MissingWeights that names them, never in a random trunk."""
    folder, tensors, write = checkpoint
    write(damage(tensors))
    with pytest.raises(MissingWeights) as raised:
        load_trunk(folder)
    assert all(part in str(raised.value) for part in named)


def test_p14_leftover_keys_are_listed(checkpoint):
    """The old task's head in the file is no error: it is listed, and the trunk is the file's."""
    folder, tensors, write = checkpoint
    write({**tensors, "classifier.weight": torch.zeros(5, 32)})
    trunk, loading = load_trunk(folder)
    assert loading["unused"] == ["classifier.weight"]
    assert all(torch.equal(value, tensors[name].float()) for name, value in trunk.state_dict().items())


@pytest.fixture
def bundled(checkpoint, tmp_path_factory, monkeypatch):
    """The course's assets are one checkpoint, ``tiny``, with a real tokenizer: sl.load works on it."""
    from transformers import BertTokenizer

    from sftlab import assets

    folder = checkpoint[0]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{c}" for c in "abcdefgh"), *nets.CLASSES]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    root = tmp_path_factory.mktemp("data")
    folder.rename(root / "tiny")
    files = {p.name: assets.sha256(p) for p in (root / "tiny").iterdir()}
    about = {
        "name": "tiny",
        "kind": "checkpoint",
        "files": files,
        "facts": {"tasks": ["text classification", "token tagging"], "max_tokens": 24},
    }
    (root / "tiny" / "asset.json").write_text(json.dumps(about), encoding="utf-8")
    monkeypatch.setattr(assets, "bundled_root", lambda: root)
    return root


@pytest.mark.parametrize("kind", ["text", "tags"])
def test_p23_the_seed_of_load_seeds_the_head(bundled, kind):
    """Equal seeds give equal heads whatever was drawn before; other seeds give others; nobody's state is touched."""
    task = nets.task_of(kind)
    first = sl.load("tiny", task, seed=3)
    torch.rand(17)
    second, other = sl.load("tiny", task, seed=3), sl.load("tiny", task, seed=4)
    assert same(copies(first), copies(second))
    assert not torch.equal(first.head.weight, other.head.weight)
    sl.start(seed=3, device="cpu", precision="float32")
    assert same(copies(first), copies(sl.load("tiny", task)))
    assert same(copies(first), copies(other), [n for n in copies(first) if not n.startswith("head")])
    scratch = [sl.load("tiny", task, seed=s, pretrained=False) for s in (3, 3, 4)]
    assert same(copies(scratch[0]), copies(scratch[1])) and distance(copies(scratch[0]), copies(scratch[2])) > 0.01
    fit(first, task, sl.full(epochs=1))  # it is a whole model: it trains


def test_p23_load_leaves_the_random_state_alone(bundled):
    """Loading draws nothing from the caller's random numbers."""
    state = torch.get_rng_state()
    sl.load("tiny", nets.task_of("text"), seed=3)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_p27_what_a_stage_freezes_does_not_move(kind):
    """Momentum and weight decay of an earlier stage do not reach the trunk that a later stage freezes."""
    model, task = make(kind)
    stages = (sl.Stage("all", 2, 1e-2), sl.Stage("head", 3, 1e-2))
    kept = {}

    def keep(run):
        if run.step == 6:  # 24 samples in batches of 8, two epochs
            kept.update(copies(run.model))

    initial = copies(model)
    fit(model, task, sl.Plan("all, then head", stages, weight_decay=0.5), after_step=keep, cache=False)
    trunk = [name for name in kept if not name.startswith("head.")]
    assert same(kept, copies(model), trunk)
    assert not torch.equal(kept["head.weight"], model.head.weight)
    moved = [name for name, p in model.named_parameters() if not torch.equal(initial[name], p)]
    assert set(moved) >= {name for name, p in model.named_parameters() if p.dim() > 1}


@pytest.mark.parametrize("plan", ["LP-FT", "gradual"])
@pytest.mark.parametrize("kind", KINDS)
def test_p27_each_stage_moves_only_its_own(kind, plan):
    """After every step of every stage, what the stage does not train is as it was when the stage began."""
    model, task = make(kind, dropout=0.2)
    plan = nets.plans(weight_decay=0.5)[plan]
    layers = sl.layer_map(model)
    state = {"stage": None, "start": copies(model)}

    def check(run):
        stage = run.steps[-1]["stage"]
        if stage != state["stage"]:
            state.update(stage=stage, start=state["last"] if "last" in state else state["start"])
        train = plan.stages[stage].train
        kept = {"head": 1, "all": len(layers)}.get(train, None) or train + 1
        prefixes = tuple(f"{layer.name}." for layer in layers[:-kept])
        now = copies(run.model)
        assert same(state["start"], now, [n for n in now if prefixes and n.startswith(prefixes)])
        assert all(not torch.equal(state["start"][n], now[n]) for n in now if n.startswith("head."))
        state["last"] = now

    run = fit(model, task, plan, after_step=check)
    assert run.steps[-1]["stage"] == len(plan.stages) - 1


def poisoned(kind, how: str, at: int):
    """A task class whose loss (or only the gradient of it) is NaN when sample ``at`` is in the batch."""

    class Poisoned(sl.TagTokens if kind == "tags" else sl.Classify):
        def loss(self, model, batch):
            part = super().loss(model, batch)
            if at in batch["index"]:
                # The root of zero is zero, and its derivative infinite: 0 * inf is NaN in the gradient alone.
                nothing = torch.sqrt(part.total * 0) if how == "gradient" else part.total * torch.nan
                part = LossSum(part.total + nothing, part.count)
            return part

    return Poisoned


@pytest.mark.parametrize(("how", "clip"), [("loss", 1.0), ("loss", None), ("gradient", 1.0), ("gradient", None)])
@pytest.mark.parametrize("kind", KINDS)
def test_p28_non_finite_raises_before_the_weights_are_touched(kind, how, clip):
    """A NaN loss or gradient raises with step and sample; parameters are those of the last whole step."""
    at = 13
    model, task = nets.model_of(kind), nets.task_of(kind, cls=poisoned(kind, how, at))
    kept = {"state": copies(model), "step": 0}

    def keep(run):
        kept.update(state=copies(run.model), step=run.step)

    with pytest.raises(NonFiniteLoss) as raised:
        fit(model, task, sl.full(epochs=1, lr=1e-3, clip=clip), after_step=keep)
    parameters = [name for name, _ in model.named_parameters()]
    assert same(kept["state"], copies(model), parameters)
    message = str(raised.value)
    assert f"the {how} is nan at step {kept['step'] + 1} " in message
    samples = [int(n) for n in re.search(r"\[([\d, ]+)\]", message)[1].split(", ")]
    assert samples == [at] if how == "loss" else at in samples and len(samples) == 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", ["head only", "last 1", "full", "gradual"])
def test_p29_groups_are_printed_before_the_first_step(kind, plan, capsys, monkeypatch):
    """Before each stage's first step its groups stand in the output: rate, decay and counts, and they are the truth."""
    model, task = make(kind)
    plan = nets.plans()[plan]
    printed, real = [], loop.train_step

    def watched(source, task, batches, applied, clip):
        out = capsys.readouterr().out
        if out:
            printed.append((out, applied.table(), applied.optimizer().param_groups))
        return real(source, task, batches, applied, clip)

    monkeypatch.setattr(loop, "train_step", watched)
    sl.fit(model, task, plan, batch=8, show=True)
    assert len(printed) == len(plan.stages)
    total = sum(p.numel() for p in model.parameters())
    for out, table, groups in printed:
        assert all(str(line).strip() in out for line in str(table).splitlines())
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        assert sum(int(row["parameters"].replace(",", "")) for row in rows) == total
        trained = [row for row in rows if row["peak rate"] != "frozen"]
        for row, group in zip(trained, groups, strict=True):
            assert float(row["peak rate"]) == pytest.approx(group["lr"], rel=0.05)
            assert float(row["decay"]) == group["weight_decay"]
            assert int(row["tensors"]) == len(group["params"])
            assert int(row["parameters"].replace(",", "")) == sum(p.numel() for p in group["params"])


@pytest.mark.parametrize("kind", KINDS)
def test_p30_the_incomplete_last_step_counts_with_its_own_count(kind):
    """Of 10 samples in batches of 4, the 2 that are left make a step, divided by their own number of labels."""
    from sftlab.data.batching import epoch_order, mix

    model, task = exact(kind, train=10)
    hand = nets.model_of(kind, batch_norm=False).double()
    plan = sl.full(epochs=1, lr=1e-3, head_lr=None, schedule="constant", warmup=0.0, clip=None, weight_decay=0.0)
    run = fit(model, task, plan, batch=4, micro_batch=3)

    items = task.encode(task.examples("train"), hand)
    lengths = None if kind == "conv" else [len(item["input_ids"]) for item in items]
    order = epoch_order(lengths, 10, 4, mix(0, 0), 0)
    assert sorted(map(len, order)) == [2, 4, 4]
    optimizer = torch.optim.AdamW(hand.train().parameters(), lr=1e-3, weight_decay=0.0)
    expected = []
    for rows in order:
        labels = sum(int((torch.tensor(items[row]["labels"]) != -100).sum()) for row in rows)
        optimizer.zero_grad()
        loss = 0.0
        for row in rows:  # one sample at a time: no batch, no padding
            batch = task.collate([items[row]], hand)
            logits = hand(**batch["inputs"]) if kind != "conv" else hand(batch["inputs"]["input"])
            part = nn.functional.cross_entropy(
                logits.reshape(-1, 3).float(), batch["labels"].reshape(-1), reduction="sum"
            )
            (part / labels).backward()
            loss += part.item() / labels
        optimizer.step()
        expected.append((labels, loss))
    assert [s["count"] for s in run.steps] == [count for count, _ in expected]
    assert [s["loss"] for s in run.steps] == pytest.approx([loss for _, loss in expected], abs=1e-6)
    assert distance(copies(model), copies(hand)) < 1e-6


class Odd(nn.Module):
    """Norms under names that no pattern expects, and a matrix called norm."""

    class GemmaLikeRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 8))

    def __init__(self):
        super().__init__()
        self.norm = nn.Linear(4, 4)
        self.stretch = nn.LayerNorm((4, 8))
        self.g = nn.GroupNorm(2, 8)
        self.inner = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 8), self.GemmaLikeRMSNorm())
        self.words = nn.Embedding(9, 8)
        self.head = nn.Linear(8, 2)


@pytest.mark.parametrize("kind", [*KINDS, "odd"])
def test_p37_weight_decay_by_type_and_shape(kind):
    """Matrices, kernels and embeddings decay; biases and all that belongs to a norm do not, whatever the names are."""
    model = Odd() if kind == "odd" else nets.model_of(kind)
    decay = {}
    for group in sl.full(weight_decay=0.25).apply(model).optimizer().param_groups:
        decay.update({id(p): group["weight_decay"] for p in group["params"]})
    for module in model.modules():
        matrices = isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding)
        for name, parameter in module.named_parameters(recurse=False):
            assert decay.pop(id(parameter)) == (0.25 if matrices and name == "weight" else 0.0), (module, name)
    assert not decay


@pytest.mark.parametrize(
    ("speedup", "choice"),
    [(0.05, "float32"), (1.25, "float32"), (2.9, "float32"), (3.0, "bfloat16"), (8.0, "bfloat16")],
)
def test_p38_precision_comes_from_the_probe(monkeypatch, speedup, choice):
    """bfloat16 on a CPU only where the probe shows that it pays; the reason gives the figure; a wish overrules."""
    monkeypatch.setattr(env, "bf16_speedup", lambda: speedup)
    found = sl.start(seed=0, device="cpu")
    assert found.precision == choice and f"{speedup:.1f} times as fast" in found.reasons["precision"]
    assert found.reasons["precision"] in str(found)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[choice]
    assert sl.start(seed=0, device="cpu", precision=other).precision == other
    monkeypatch.setenv("SFTLAB_PRECISION", other)
    assert sl.start(seed=0, device="cpu").precision == other


def test_p38_the_probe_measures_and_leaves_no_trace(monkeypatch):
    """The real probe gives a positive figure, once, and draws nothing from the caller's random numbers."""
    monkeypatch.setattr(env, "_probed", None)
    state = torch.get_rng_state()
    first = env.bf16_speedup()
    assert first > 0 and env.bf16_speedup() == first and torch.equal(state, torch.get_rng_state())


class Wer(sl.Classify):
    """A score of which less is better, under a name that another library would maximise."""

    metric_names = ("wer",)
    script = (0.4, 0.1, 0.3, 0.9)

    def metrics(self, predicted, true):
        self.seen = getattr(self, "seen", -1) + 1
        return {"wer": self.script[self.seen]}


@pytest.mark.parametrize(("direction", "best"), [("min", 0.1), ("max", 0.9)])
def test_p20_best_is_what_the_direction_says(direction, best):
    """The direction is said, never guessed from the name; without one there is no run."""
    model, task = nets.model_of("conv"), nets.task_of("conv", cls=Wer)
    run = fit(model, task, sl.full(epochs=4), monitor=("wer", direction))
    assert run.best["wer"] == best
    for vague in ("wer", ("wer",), ("wer", "less")):
        with pytest.raises(sl.errors.UnknownName, match="a metric and a direction"):
            fit(model, nets.task_of("conv", cls=Wer), sl.full(epochs=1), monitor=vague)


def test_every_failure_has_a_test_named_after_it():
    """P1 to P38 of the course: each has at least one test here or in a neighbouring file."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    numbers = {int(n) for name in re.findall(r"def test_((?:p\d\d_)+)", source) for n in re.findall(r"p(\d\d)_", name)}
    assert numbers == set(range(1, 39))
