"""Plans that train parts of layers, the pull of L2-SP, adapters, and parameters that no gradient reaches."""

import copy
import sys
from importlib.util import find_spec

import nets
import pytest
import torch
from nets import KINDS, copies, distance, fit, make, same
from torch import nn
from torch.utils.checkpoint import checkpoint

import sftlab as sl
from sftlab.errors import SftlabError, UnknownName
from sftlab.model.adapters import adapter_parameters

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra peft")
LORA = pytest.param("LoRA", marks=needs_peft)
PARTS = {
    "bias only": sl.bias_only(epochs=2, lr=1e-2, weight_decay=0.5),
    "norm only": sl.norm_only(epochs=2, lr=1e-2, weight_decay=0.5),
    "first 1": sl.surgical(1, epochs=2, lr=1e-2, weight_decay=0.5),
    "first 2": sl.surgical(2, epochs=2, lr=1e-2, weight_decay=0.5),
    "LoRA": sl.lora(epochs=2, lr=1e-2, weight_decay=0.5),
}


def ready(kind: str, plan: str, **net):
    """(model, task), with adapters if the plan is to train them."""
    model, task = make(kind, **net)
    if plan == "LoRA":
        sl.add_adapters(model, r=2, targets=r"block\d\.0" if kind == "conv" else None)
    return model, task


def expected(model: nn.Module, plan: str) -> set[str]:
    """Names of what the plan trains, told apart by other means than the library's: types and hand-written names."""
    norms = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)
    first = {"first 1": ["trunk.embeddings.", "stem."], "first 2": ["trunk.embeddings.", "stem.", "block1."]}
    first["first 2"] += ["trunk.encoder.layer.0."]
    found = {name for name, _ in model.named_parameters() if name.startswith("head.")}
    for path, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            full = f"{path}.{name}"
            if (
                (plan == "bias only" and name == "bias")
                or (plan == "norm only" and isinstance(module, norms))
                or (plan == "LoRA" and ".lora_" in full)
                or full.startswith(tuple(first.get(plan, ["-"])))
            ):
                found.add(full)
    return found


@pytest.mark.parametrize("noisy", [False, True], ids=["as it is", "hook calls train()"])
@pytest.mark.parametrize("plan", ["bias only", "norm only", "first 1", "first 2", LORA])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_trained_is_bit_identical(kind, plan, noisy):
    """Only what the plan names moves, and all of it; everything else, buffers included, keeps every bit (P5, P6)."""
    model, task = ready(kind, plan, dropout=0.2)
    before, names = copies(model), expected(model, plan)
    assert {name for name, _ in model.named_parameters()} > names
    run = fit(model, task, PARTS[plan], after_step=(lambda run: run.model.train()) if noisy else None)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    buffers = {name for name, _ in model.named_buffers()}
    assert moved - buffers == names
    # BatchNorm statistics move where the whole of the norm trains: asked for by name, or inside a trained layer.
    statistics = {n for n in buffers if "running" in n or "tracked" in n}
    own = {"norm only": statistics, "first 2": {n for n in statistics if n.startswith("block1.")}}.get(plan, set())
    assert moved & buffers == own and bool(own) == (kind == "conv" and plan in ("norm only", "first 2"))
    assert not run.notes or "no gradient" not in " ".join(run.notes)


@pytest.mark.parametrize("plan", ["bias only", "norm only", "first 1", "first 2", LORA, "head only", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_partly_trained_layers(kind, plan):
    """Each trained parameter is in one group; the table names every layer and its counts add up to the model."""
    model, _ = ready(kind, plan)
    applied = (PARTS.get(plan) or sl.plan(plan)).apply(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(applied.parameters) == len({id(p) for p in applied.parameters})
    trained = {names[id(p)] for p in applied.parameters}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    if plan in PARTS:
        assert trained == expected(model, plan)
    rows = [dict(zip(applied.table().columns, row, strict=True)) for row in applied.table().rows]
    assert sum(int(r["parameters"].replace(",", "")) for r in rows) == sum(p.numel() for p in model.parameters())
    assert sum(int(r["tensors"]) for r in rows) == len(names)
    frozen = [r for r in rows if r["peak rate"] == "frozen"]
    assert sum(int(r["tensors"]) for r in frozen) == len(names) - len(trained)
    partly = plan in ("bias only", "norm only", "LoRA")
    assert any(r["layers"].startswith("rest of ") for r in frozen) == partly
    for group in applied.groups:  # a group names the layers that its parameters sit in, and no other
        inside = {
            layer.name
            for layer in sl.layer_map(model)
            for _, p in layer.parameters()
            if any(p is q for q in group.parameters)
        }
        assert set(group.layers) == inside


def test_rates_of_partly_trained_layers():
    """layer_decay counts the layers that train: the topmost of them learns at lr."""
    model = nets.model_of("conv")
    plan = sl.Plan("p", (sl.Stage(("first", 2), 1, 0.25, 0.5, layer_decay=0.5),))
    rates = {tuple(group.layers): group.lr for group in plan.apply(model).groups}
    assert rates == {("stem",): 0.125, ("block1",): 0.25, ("head",): 0.5}
    plan = sl.Plan("p", (sl.Stage("norm", 1, 0.25, layer_decay=0.5),))
    rates = {layer: group.lr for group in plan.apply(model).groups for layer in group.layers}
    assert rates == {"block1": 0.125, "block2": 0.25, "head": 0.25}


def test_every_kind_of_bias_is_found():
    """Biases that have other names than ``bias`` (attention, recurrent) train too; matrices and tables do not."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)
            self.memory = nn.GRU(4, 4)
            self.position_bias = nn.Embedding(3, 4)
            self.head = nn.Linear(4, 2)

    model = Net()
    sl.bias_only().apply(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        "attention.in_proj_bias", "attention.out_proj.bias", "memory.bias_ih_l0", "memory.bias_hh_l0",
        "head.weight", "head.bias",
    }  # fmt: skip


@pytest.mark.parametrize("net", ["bare", "norm"])
@pytest.mark.parametrize(
    ("plan", "named"),
    [
        (sl.bias_only(), "has no bias below its head 'head'"),
        (sl.norm_only(), "has no normalisation layer with parameters"),
        (sl.lora(), r"has no adapter .*Call sl.add_adapters\(model\) first"),
        (sl.surgical(5), "trains the first 5 layers, but .* only 2 below its head: body, other"),
        (sl.last_k(5), "trains the last 5 layers"),
    ],
)
def test_plans_for_parts_that_the_model_has_not(plan, named, net):
    """Nothing to train below the head: an error that says what is missing, and the model as it was."""
    model = nn.Module()
    model.body, model.other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    model.head = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)) if net == "norm" else nn.Linear(4, 2)
    with pytest.raises(SftlabError, match=named):
        plan.apply(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "train", ["biases", 0, True, ("first", 0), ("first", True), ("last", 2), ("first",), 1.5, None]
)
def test_parts_that_do_not_exist(train):
    """A misspelled part raises when the stage is written."""
    with pytest.raises(UnknownName, match="part to train"):
        sl.Stage(train, 1, 1e-3)


def test_stages_survive_json():
    """A list in place of the tuple (a plan read back from JSON) is the same stage."""
    assert sl.Stage(["first", 2], 1, 1e-3) == sl.Stage(("first", 2), 1, 1e-3)
    assert sl.l2_sp(pull=[0.1, 0.01]) == sl.l2_sp(0.1, 0.01)


# L2-SP


@pytest.mark.parametrize("kind", KINDS)
def test_l2_sp_is_the_gradient_of_the_penalty(kind):
    """Gradient with the pull = gradient of mean loss + alpha/2 |w - w0|² + beta/2 |head|², for 1x8 as for 4x2."""
    from sftlab.train import loop
    from sftlab.train.features import Source

    found = []
    for groups in ([range(8)], [[0, 1], [2, 3], [4, 5], [6, 7]]):
        model, task = nets.exact(kind)
        plan = sl.l2_sp(alpha=0.3, beta=0.2, clip=None)
        anchors = plan.anchors(model)
        assert anchors and not any(name.startswith("head.") for name in anchors)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1)
        applied = plan.apply(model, 0, anchors)
        source = Source(model, task, {"train": task.encode(task.examples("train"), model)})
        loop.train_step(source, task, source.batches(groups, torch.device("cpu")), applied, None)
        found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for p in model.parameters():
        p.grad = None
    part = task.loss(model, task.collate(source.items["train"][:8], model))
    penalty = sum(
        0.2 / 2 * (p**2).sum() if name.startswith("head.") else 0.3 / 2 * ((p - anchors[name]) ** 2).sum()
        for name, p in model.named_parameters()
    )
    (part.total / part.count + penalty).backward()
    by_hand = {name: p.grad for name, p in model.named_parameters()}
    assert distance(found[0], by_hand) < 1e-6 and distance(found[0], found[1]) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_l2_sp_holds_the_weights(kind):
    """The stronger the pull, the nearer the trunk stays to the start; a huge one leaves it within a few steps of it."""
    away = {}
    for alpha in (0.0, 0.3, 1e6):
        model, task = make(kind, batch_norm=False)
        before = {n: v for n, v in copies(model).items() if not n.startswith("head.")}
        fit(model, task, sl.l2_sp(alpha=alpha, epochs=12, lr=1e-2, head_lr=1e-2, clip=None))
        away[alpha] = sum(float(((copies(model)[n] - v) ** 2).sum()) for n, v in before.items()) ** 0.5
    assert away[1e6] < 0.25 * away[0.0] and away[0.3] < away[0.0]


def test_l2_sp_pulls_to_the_start_of_the_run():
    """In a later stage, the anchors are the weights of the start: they have to be given, and must fit."""
    model, _ = make("conv")
    stages = (sl.Stage("head", 1, 1e-2), sl.Stage("all", 1, 1e-2))
    plan = sl.Plan("p", stages, pull=(0.5, 0.1))
    anchors = plan.anchors(model)
    assert plan.anchors(model) and sl.full().anchors(model) == {}
    with pytest.raises(SftlabError, match="needs the weights of the start"):
        plan.apply(model, 1)
    with pytest.raises(SftlabError, match="have no 'stem.weight'"):
        plan.apply(model, 1, {k: v for k, v in anchors.items() if k != "stem.weight"})
    with torch.no_grad():
        model.stem.weight.add_(1.0)
    applied = plan.apply(model, 1, anchors)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    applied.add_penalty(torch.tensor(4))
    assert torch.allclose(model.stem.weight.grad, torch.full_like(model.stem.weight, 0.5 * 4))
    assert torch.allclose(model.head.weight.grad, 0.1 * 4 * model.head.weight)
    assert not model.block1[0].weight.grad.any()
    head_stage = plan.apply(model, 0, anchors)  # only the head trains: no gradient for anything else
    model.head.weight.grad = torch.zeros_like(model.head.weight)
    head_stage.add_penalty(1)
    assert [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()] == [
        "head.weight",
        "head.bias",
    ]


def test_no_pull_changes_nothing():
    """Every other plan: add_penalty leaves the gradients as they are."""
    model, _ = make("conv")
    applied = sl.full().apply(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    applied.add_penalty(7)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())


@pytest.mark.parametrize("pull", [(-1.0, 0.0), (0.1, float("nan")), (float("inf"), 0.0)])
def test_pulls_that_make_no_sense(pull):
    """Strengths below 0 or not finite raise."""
    with pytest.raises(ValueError, match="0 or more"):
        sl.l2_sp(*pull)


# Adapters


def lm(tied: bool = True):
    """A tiny GPT-2; its output matrix is the embedding if tied."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
        return GPT2LMHeadModel(GPT2Config(**sizes, tie_word_embeddings=tied)).eval()


def batch_of(model, task):
    return task.collate(task.encode(task.examples("val"), model), model)


def logits(model, task):
    """Logits of the validation split in eval mode."""
    with torch.no_grad():
        return task.logits(copy.deepcopy(model).eval(), batch_of(model, task))


def configs():
    import peft

    return {
        "LoRA": None,
        "DoRA": peft.LoraConfig(r=2, use_dora=True),
        "IA3": peft.IA3Config(),
        "LoHa": peft.LoHaConfig(r=2),
    }


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "IA3", "LoHa"])
@pytest.mark.parametrize("net", ["text", "tags"])
@needs_peft
def test_p15_adapters_start_at_zero_train_with_the_head_and_are_saved(net, kind, tmp_path):
    """Logits are as before at first; head and adapters train; saved and loaded into a fresh model, logits are equal."""
    from safetensors.torch import load_file, save_file

    model, task = make(net)
    before, untouched = logits(model, task), copies(model)
    assert sl.add_adapters(model, configs()[kind], r=2, seed=1) is model
    assert torch.allclose(logits(model, task), before, rtol=0, atol=1e-6)
    assert kind == "DoRA" or torch.equal(logits(model, task), before)
    start = copies(model)
    fit(model, task, sl.lora(epochs=3, lr=1e-2, weight_decay=0.3))
    after = logits(model, task)
    assert not torch.allclose(after, before, atol=1e-2)
    moved = {name for name, value in copies(model).items() if not torch.equal(value, start[name])}
    names = {id(p): name for name, p in model.named_parameters()}
    adapters = {names[i] for i in adapter_parameters(model)}
    assert moved == adapters | {"head.weight", "head.bias"}
    base = {n.replace(".base_layer", ""): v for n, v in copies(model).items() if n not in adapters}
    assert same(base, untouched, [n for n in untouched if not n.startswith("head.")])

    save_file(model.state_dict(), str(tmp_path / "model.safetensors"))
    fresh = sl.add_adapters(nets.model_of(net, seed=5), configs()[kind], r=2, seed=2)
    fresh.load_state_dict(load_file(str(tmp_path / "model.safetensors")))
    assert torch.equal(logits(fresh, task), after)


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "IA3", "LoHa"])
@pytest.mark.parametrize("net", ["text", "tags"])
@needs_peft
def test_p16_merged_logits_are_those_of_the_adapters(net, kind):
    """Folded in: the old architecture with the adapted logits, on real data too; the model itself is as it was."""
    model, task = make(net)
    plain = set(copies(model))
    sl.add_adapters(model, configs()[kind], r=2)
    fit(model, task, sl.lora(epochs=3, lr=1e-2))
    after, state = logits(model, task), copies(model)
    for batch in (None, batch_of(model, task)):
        merged = sl.merge_adapters(model, batch)
        assert set(copies(merged)) == plain and not hasattr(merged, "peft_config")
        found = logits(merged, task)
        assert float((found - after).abs().max() / after.abs().max()) < 1e-5
        assert [m.training for m in merged.modules()] == [False] * len(list(merged.modules()))
    assert same(state, copies(model))
    fit(merged, task, sl.full(epochs=1))  # an ordinary model again


@needs_peft
def test_p16_tied_matrix_is_refused():
    """An adapter on the embedding that is the output matrix too: folding it in changes both; refused, and said why."""
    model = sl.add_adapters(lm(), r=2, targets=["wte"], seed=0)
    with torch.no_grad():
        model.transformer.wte.lora_embedding_B["default"].normal_()
    state = copies(model)
    with pytest.raises(SftlabError, match="'transformer.wte' shares its matrix with 'lm_head.weight'"):
        sl.merge_adapters(model)
    assert same(state, copies(model))
    apart = sl.add_adapters(lm(tied=False), r=2, targets=["wte"], seed=0)
    with torch.no_grad():
        apart.transformer.wte.lora_embedding_B["default"].normal_()
    sl.merge_adapters(apart)
    beside = sl.add_adapters(lm(), r=2, seed=0)  # the other layers of a tied model
    with torch.no_grad():
        beside.transformer.h[0].attn.c_attn.lora_B["default"].weight.normal_()
    sl.merge_adapters(beside)


@needs_peft
def test_p16_merge_is_refused_when_logits_differ(monkeypatch):
    """Whatever goes wrong in the folding is seen on the probe."""
    import peft

    model, _ = make("text")
    sl.add_adapters(model, r=2)
    right = peft.tuners.lora.Linear.merge

    def wrong(self, *args, **kwargs):
        right(self, *args, **kwargs)
        self.base_layer.weight.data[0] += 0.1

    monkeypatch.setattr(peft.tuners.lora.Linear, "merge", wrong)
    with pytest.raises(SftlabError, match="not merged: the logits would differ by"):
        sl.merge_adapters(model)


@needs_peft
def test_adapters_sit_in_the_layers_they_adapt():
    """The layer map is that of before, the head last and without adapters, each adapter in its own layer."""
    model, _ = make("text")
    names = [layer.name for layer in sl.layer_map(model)]
    sl.add_adapters(model, r=2)
    layers = sl.layer_map(model)
    assert [layer.name for layer in layers] == names
    ids = adapter_parameters(model)
    counts = [sum(id(p) in ids for _, p in layer.parameters()) for layer in layers]
    assert counts == [0, 12, 12, 0] and layers[-1].name == "head"


@needs_peft
def test_adapters_of_a_sequential_model():
    """The last layer is the head, though its name ends like that of a target."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 2)))
    sl.add_adapters(net, r=2, targets=["0"])
    assert [n for n, m in net.named_modules() if hasattr(m, "get_base_layer")] == ["0", "2.0"]
    assert all(p.requires_grad for p in net[3].parameters())
    x = torch.randn(5, 4)
    with torch.no_grad():
        net[0].lora_B["default"].weight.normal_()
    with pytest.raises(SftlabError, match="needs a batch"):
        sl.merge_adapters(net)
    merged = sl.merge_adapters(net, x)
    assert torch.allclose(merged(x), net(x), atol=1e-6) and type(merged[0]) is nn.Linear


@needs_peft
def test_adapters_are_seeded_and_draw_nothing():
    """Equal seeds give equal adapters, whatever was drawn; the caller's random state is left alone."""
    state = torch.get_rng_state()
    first = copies(sl.add_adapters(nets.model_of("text"), r=2, seed=3))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    assert same(first, copies(sl.add_adapters(nets.model_of("text"), r=2, seed=3)))
    assert distance(first, copies(sl.add_adapters(nets.model_of("text"), r=2, seed=4))) > 0.01


@needs_peft
def test_adapters_keep_the_modes():
    """An adapter with dropout that goes into a model in eval mode is in eval mode."""
    import peft

    model, task = make("text")
    before = logits(model, task)
    sl.add_adapters(model, peft.LoraConfig(r=2, lora_dropout=0.5))
    assert not any(m.training for m in model.modules()) and torch.equal(before, logits(model, task))
    applied = sl.lora().apply(model)
    dropout = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.p == 0.5]
    assert dropout and all(m.training for m in dropout)
    sl.head_only().apply(model)
    assert not any(m.training for m in dropout) and applied.groups


def refused():
    import peft

    closed = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8), nn.Linear(4, 2))
    return {
        "twice": (sl.add_adapters(nets.model_of("text"), r=2), {}, "has adapters already"),
        "biases": (nets.model_of("text"), {"config": peft.LoraConfig(bias="all")}, "bias='all'"),
        "whole modules": (
            nets.model_of("text"),
            {"config": peft.LoraConfig(modules_to_save=["head"])},
            "modules_to_save",
        ),
        "no such target": (nets.model_of("text"), {"targets": ["qery"]}, "no module \\['qery'\\]"),
        "the head": (nets.model_of("text"), {"targets": ["head"]}, "no module \\['head'\\] below its head"),
        "convolutions": (nets.model_of("conv"), {}, "no linear layer"),
        "closed layers": (closed, {}, "it would have no effect"),
    }


@pytest.mark.parametrize(
    "what", ["twice", "biases", "whole modules", "no such target", "the head", "convolutions", "closed layers"]
)
@needs_peft
def test_adapters_that_cannot_be(what):
    """Refused with what is wrong, before anything is changed."""
    model, settings, named = refused()[what]
    names = list(model.state_dict())
    with pytest.raises(SftlabError, match=named):
        sl.add_adapters(model, **settings)
    assert list(model.state_dict()) == names


def test_merge_without_adapters():
    """Nothing to merge is an error."""
    with pytest.raises(SftlabError, match="no adapters to merge"):
        sl.merge_adapters(nets.model_of("text"))


def test_missing_peft_names_the_extra(monkeypatch):
    """Without peft the error says what to install."""
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SftlabError, match=r"pip install 'sftlab\[peft\]'"):
        sl.add_adapters(nets.model_of("text"))


# P26


def checkpointed(model: nn.Module, reentrant: bool) -> nn.Module:
    """Recompute each block in the backward pass."""
    for block in (model.block1, model.block2):
        inner = block.forward
        block.forward = lambda x, inner=inner: checkpoint(inner, x, use_reentrant=reentrant)
    return model


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(
    "plan", [sl.last_k(1, epochs=1), sl.last_k(2, epochs=1), sl.lora(epochs=1)], ids=lambda p: p.name
)
@needs_peft
def test_p26_checkpointing_on_a_frozen_input(plan):
    """Re-entrant checkpointing above a frozen stem: no gradient below the head, an error. The other kind trains."""
    for reentrant in (True, False):
        model, task = ready("conv", plan.name, batch_norm=False)
        checkpointed(model, reentrant)
        before = copies(model)
        if reentrant:
            with pytest.raises(SftlabError, match="none of them got a gradient: block"):
                fit(model, task, plan)
            assert same(before, copies(model))
            continue
        run = fit(model, task, plan)
        assert not any("no gradient" in note for note in run.notes)
        names = {n for n, p in model.named_parameters() if p.requires_grad and "lora_A" not in n}
        assert all(not torch.equal(before[n], copies(model)[n]) for n in names)


def test_p26_single_parameters_without_gradient_are_named():
    """A trained parameter that the loss does not reach is named in the notes."""
    model, task = make("conv")
    model.block1.register_parameter("idle", nn.Parameter(torch.zeros(3)))
    run = fit(model, task, sl.full(epochs=1))
    assert any("1 trained tensors got no gradient" in note and "block1.idle" in note for note in run.notes)
