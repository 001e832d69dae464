"""Plans: layers, groups and rates, train and eval modes, the order of samples, schedules and seeds."""

import itertools
import math

import nets
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import KINDS
from torch import nn

import sftlab as sl
from sftlab.data.batching import WINDOW, epoch_order, mix, split_step
from sftlab.errors import SftlabError, UnknownName
from sftlab.train import schedule
from sftlab.train.plan import _modes


def sequential():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 2))


def resnet():
    from torchvision.models import resnet18

    return resnet18(weights=None, num_classes=3)


def hf_bert():
    from transformers import BertForSequenceClassification

    return BertForSequenceClassification(nets.tiny_bert().config)


def hf_vit():
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    return ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=4, num_labels=3))


class ClassToken(nn.Module):
    """Parameters that sit directly on containers, above and inside: as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.body = nn.Module()
        self.body.positions = nn.Parameter(torch.zeros(1, 5, 4))
        self.body.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(3))
        self.body.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


BERT_TRUNK = ["embeddings", "encoder.layer.0", "encoder.layer.1"]
MODELS = {  # model -> names of its layers, None where only the properties are checked
    "text": (lambda: nets.model_of("text"), [*(f"trunk.{n}" for n in BERT_TRUNK), "head"]),
    "tags": (lambda: nets.model_of("tags"), [*(f"trunk.{n}" for n in BERT_TRUNK), "head"]),
    "conv": (lambda: nets.model_of("conv"), ["stem", "block1", "block2", "head"]),
    "sequential": (sequential, ["0", "2", "4"]),
    "resnet18": (resnet, ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]),
    "BERT of transformers": (hf_bert, [*(f"bert.{n}" for n in BERT_TRUNK), "bert.pooler", "classifier"]),
    "ViT of transformers": (hf_vit, None),
    "class token": (ClassToken, ["", "body", *(f"body.blocks.{i}" for i in range(3)), "body.norm", "head"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_layer_map_covers_every_parameter_once(name):
    """The layers, input to output with the head last, hold every parameter exactly once, under its full name."""
    model, expected = MODELS[name][0](), MODELS[name][1]
    layers = sl.layer_map(model)
    found = [parameter_name for layer in layers for parameter_name, _ in layer.parameters()]
    assert sorted(found) == sorted(n for n, _ in model.named_parameters())
    assert all(model.get_parameter(n) is p for layer in layers for n, p in layer.parameters())
    assert expected is None or [layer.name for layer in layers] == expected
    if name.startswith("ViT"):
        blocks = [layer.name for layer in layers if type(layer.module).__name__ == "ViTLayer"]
        assert len(blocks) == 3 and "embeddings" in layers[0].name and layers[-1].name == "classifier"


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2), nn.ReLU())])
def test_layer_map_needs_a_trunk_and_a_head(model):
    """A model of one layer, or none, has no head to tell apart."""
    with pytest.raises(SftlabError, match="a plan needs a trunk and a head"):
        sl.layer_map(model)


STAGES = ["head", 1, 2, "all"]


@pytest.mark.parametrize("train", STAGES)
@pytest.mark.parametrize("name", MODELS)
def test_groups_contain_each_trained_parameter_once(name, train):
    """Groups hold the parameters of the last layers exactly once, all others are frozen; the optimizer has the same."""
    model = MODELS[name][0]()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    layers = sl.layer_map(model)
    kept = {"head": 1, "all": len(layers)}.get(train) or train + 1
    expected = {id(p) for layer in layers[-kept:] for _, p in layer.parameters()}
    applied = sl.Plan("p", (sl.Stage(train, 1, 1e-3, 1e-2, 0.5),)).apply(model)
    assert [len(expected)] * 2 == [len(applied.parameters), len({id(p) for p in applied.parameters})]
    assert {id(p) for p in applied.parameters} == expected
    assert {id(p) for g in applied.optimizer().param_groups for p in g["params"]} == expected
    assert {id(p) for p in model.parameters() if p.requires_grad} == expected
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_tied_parameters_are_in_one_group():
    """A matrix that two layers share is trained once."""
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6, bias=False))
    model[2].weight = model[0].weight
    parameters = sl.full().apply(model).parameters
    assert len(parameters) == len({id(p) for p in parameters}) == 3


def rates(model, plan, stage=0) -> dict[str, float]:
    """Parameter name -> peak rate."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: group["lr"]
        for group in plan.apply(model, stage).optimizer().param_groups
        for p in group["params"]
    }


@pytest.mark.parametrize("head_lr", [None, 0.5])
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("name", MODELS)
def test_layer_wise_rates(name, decay, head_lr):
    """The head learns at head_lr, the topmost trunk layer at lr, each one below at layer_decay times that above."""
    model = MODELS[name][0]()
    found = rates(model, sl.full(lr=0.25, head_lr=head_lr, layer_decay=decay))
    assert len(found) == len(list(model.parameters()))
    for below_head, layer in enumerate(reversed(sl.layer_map(model))):
        expected = (head_lr or 0.25) if below_head == 0 else 0.25 * decay ** (below_head - 1)
        assert [found[n] for n, _ in layer.parameters()] == [expected] * len(list(layer.parameters()))


def test_rates_of_the_named_plans():
    """Each named plan trains what its name says, at the rates of its arguments, stage by stage."""
    model = nets.model_of("conv")

    def trained(plan, stage):
        return {name.split(".")[0]: rate for name, rate in rates(model, plan, stage).items()}

    assert trained(sl.head_only(lr=0.1), 0) == {"head": 0.1}
    assert trained(sl.last_k(2, lr=0.1, head_lr=0.2), 0) == {"block1": 0.1, "block2": 0.1, "head": 0.2}
    lp_ft = sl.lp_ft(head_only_lr=0.3, lr=0.1, layer_decay=0.5)
    assert trained(lp_ft, 0) == {"head": 0.3}
    assert trained(lp_ft, 1) == {"stem": 0.025, "block1": 0.05, "block2": 0.1, "head": 0.1}
    gradual = sl.gradual(steps=(1, 2), lr=0.1, head_lr=0.2)
    assert [sorted(trained(gradual, i)) for i in range(4)] == [
        ["head"],
        ["block2", "head"],
        ["block1", "block2", "head"],
        ["block1", "block2", "head", "stem"],
    ]
    with pytest.raises(SftlabError, match="only 3 below its head: stem, block1, block2"):
        sl.last_k(4).apply(model)


WRONG = {
    "no epochs": lambda: sl.full(epochs=0),
    "half an epoch": lambda: sl.full(epochs=1.5),
    "rate 0": lambda: sl.full(lr=0.0),
    "rate of the head": lambda: sl.full(head_lr=-1e-3),
    "huge rate": lambda: sl.full(lr=10.0),
    "decay above 1": lambda: sl.full(layer_decay=1.1),
    "decay 0": lambda: sl.full(layer_decay=0.0),
    "warmup 1": lambda: sl.full(warmup=1.0),
    "no stage": lambda: sl.Plan("p", ()),
    "no layer": lambda: sl.last_k(0),
}


@pytest.mark.parametrize("what", WRONG)
def test_plans_that_make_no_sense(what):
    """Settings outside their range raise when the plan is written, not when it runs."""
    with pytest.raises(ValueError):
        WRONG[what]()


def test_plan_by_name():
    """Every named plan can be had by its name, with settings; an unknown one raises."""
    assert sl.plan("gradual", epochs=2).stages[1].epochs == 2
    assert sl.plan("last k", k=1).stages[0].train == 1
    with pytest.raises(UnknownName):
        sl.plan("LPFT")


# A tree of modules: "on" and "off" are trained and frozen linear layers, "drop" has no parameters, "bn" (BatchNorm
# without scale) only buffers; a list is a container.
LEAVES = st.sampled_from(["on", "off", "drop", "bn"])
TREES = st.recursive(LEAVES, lambda children: st.lists(children, min_size=1, max_size=4), max_leaves=12)


def build(tree) -> nn.Module:
    if isinstance(tree, list):
        return nn.Sequential(*map(build, tree))
    if tree in ("on", "off"):
        return nn.Linear(2, 2).requires_grad_(tree == "on")
    return nn.Dropout() if tree == "drop" else nn.BatchNorm1d(2, affine=False)


def flat(tree) -> list[str]:
    return [leaf for child in tree for leaf in flat(child)] if isinstance(tree, list) else [tree]


def expected_modes(tree) -> list[bool]:
    """The rule, leaf by leaf: own gradient; inside something wholly frozen: off; else the neighbour with parameters."""
    leaves = flat(tree)
    fixed = [{"on": True, "off": False}.get(leaf) for leaf in leaves]

    def close(tree, start):
        inside = flat(tree)
        if "off" in inside and "on" not in inside:
            fixed[start : start + len(inside)] = [False] * len(inside)
        elif isinstance(tree, list):
            for child in tree:
                close(child, start)
                start += len(flat(child))

    close(tree, 0)
    modes = []
    for at, leaf in enumerate(leaves):
        before = [fixed[i] for i in range(at) if fixed[i] is not None]
        after = [fixed[i] for i in range(at + 1, len(leaves)) if fixed[i] is not None]
        if fixed[at] is not None:
            modes.append(fixed[at])
        elif leaf == "drop":
            modes.append(after[0] if after else True)
        else:
            modes.append(before[-1] if before else None)  # None: see the test of buffers at the input
    return modes


@given(st.lists(TREES, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_modes_follow_the_plan(tree):
    """Frozen is eval with all that is inside; dropout follows the next layer with parameters, bare buffers the last."""
    model = build(tree)
    modes = _modes(model)
    assert {id(m) for m, _ in modes} == {id(m) for m in model.modules()}
    for module, training in modes:
        module.training = training
    leaves = [m for m in model.modules() if not isinstance(m, nn.Sequential)]
    for leaf, expected in zip(leaves, expected_modes(tree), strict=True):
        assert expected is None or leaf.training is expected, leaf
    for container in model.modules():
        parameters = list(container.parameters())
        if isinstance(container, nn.Sequential) and parameters:
            assert container.training is any(p.requires_grad for p in parameters)


def head_only_net(*below: nn.Module) -> nn.Sequential:
    return nn.Sequential(*below, nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("net", "training"),
    [
        # dropout before the head belongs to the head, dropout inside or before the frozen trunk does not
        (head_only_net(nn.Linear(2, 2), nn.Dropout()), {"1": True}),
        (head_only_net(nn.Dropout(), nn.Linear(2, 2)), {"0": False}),
        (head_only_net(nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(2, 2), nn.Dropout()))), {"0.1.1": False}),
        (head_only_net(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout()))), {"1.1.0": True}),
        # statistics without a scale belong to what they normalise
        (head_only_net(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)), {"1": False}),
        (head_only_net(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.BatchNorm1d(2, affine=False))), {"1.0": False}),
        # dropout after the head
        (nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Dropout())), {"1.1": True}),
    ],
)
def test_modes_of_layers_without_parameters(net, training):
    """Head only: who follows the head and who the trunk, also inside nested containers, also after train()."""
    applied = sl.head_only().apply(net)
    net.train()
    applied.enforce()
    assert {name: net.get_submodule(name).training for name in training} == training


def test_statistics_of_the_input_do_not_move_under_a_frozen_trunk():
    """BatchNorm without a scale as the very first layer is part of the frozen trunk: its buffers stay (P5)."""
    net = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2), nn.Linear(2, 2))
    sl.head_only().apply(net)
    before = net[0].running_mean.clone()
    net(torch.randn(16, 2) + 5)
    assert torch.equal(before, net[0].running_mean)


@pytest.mark.parametrize("kind", KINDS)
def test_modes_of_the_real_nets(kind):
    """Training the last block: everything below is in eval mode, the block, the head and the model are not."""
    model = nets.model_of(kind, dropout=0.3)
    applied = sl.last_k(1).apply(model.train())
    layers = [layer.module for layer in sl.layer_map(model)]
    for _ in range(2):
        assert not any(m.training for layer in layers[:-2] for m in layer.modules())
        assert all(m.training for layer in layers[-2:] for m in layer.modules()) and model.training
        model.train()
        applied.enforce()
        model.eval()
        applied.enforce()


COUNTS = st.integers(1, 400)


@given(st.data(), COUNTS, st.integers(1, 40), st.integers(-(2**31), 2**31), st.integers(0, 50), st.booleans())
@settings(max_examples=150, deadline=None)
def test_epoch_order_is_a_permutation(data, count, batch, seed, epoch, by_length):
    """Every sample once; full steps but one; the same for the same arguments; drawn from no global state."""
    lengths = None
    if by_length:
        lengths = data.draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
    state = torch.get_rng_state()
    order = epoch_order(lengths, count, batch, seed, epoch)
    assert torch.equal(state, torch.get_rng_state())
    assert sorted(i for step in order for i in step) == list(range(count))
    sizes = sorted(map(len, order))
    assert len(order) == math.ceil(count / batch) and set(sizes[1:]) <= {batch} and 1 <= sizes[0] <= batch
    assert order == epoch_order(lengths, count, batch, seed, epoch)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(0, 1000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_epoch_order_differs_between_epochs_and_seeds(seed, batch, epoch, by_length):
    """Another epoch or another seed brings another order of 200 samples, also when they are batched by length."""
    lengths = [1 + (7 * i) % 31 for i in range(200)] if by_length else None
    one = epoch_order(lengths, 200, batch, seed, epoch)
    assert one != epoch_order(lengths, 200, batch, seed, epoch + 1)
    assert one != epoch_order(lengths, 200, batch, seed + 1, epoch)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 16), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_epoch_order_saves_padding(lengths, batch, seed):
    """Inside a window steps are runs of the sorted lengths: no step pads more than the sorted order makes it."""
    if len(lengths) > WINDOW * batch:
        lengths = lengths[: WINDOW * batch]
    order = epoch_order(lengths, len(lengths), batch, seed, 0)
    spans = sorted((min(lengths[i] for i in step), max(lengths[i] for i in step)) for step in order)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("batch", [0, -3])
def test_epoch_order_needs_a_batch(batch):
    """A batch below 1 raises, and names the number."""
    with pytest.raises(ValueError, match=str(batch)):
        epoch_order(None, 5, batch, seed=0, epoch=0)


@given(st.lists(st.integers(), min_size=1, max_size=60), st.one_of(st.none(), st.integers(1, 70)))
def test_split_step_keeps_every_sample(rows, micro_batch):
    """Micro-batches joined are the step, and none is larger than asked for."""
    parts = split_step(rows, micro_batch)
    assert [row for part in parts for row in part] == rows
    assert all(1 <= len(part) <= (micro_batch or len(rows)) for part in parts)


SHARES = st.floats(0, 1)
WARMUPS = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("name", schedule.SCHEDULES)
@given(progress=SHARES, warmup=WARMUPS)
def test_schedules_stay_between_0_and_1(name, progress, warmup):
    """A schedule scales the peak rate, it never exceeds it or turns it round."""
    assert 0 <= schedule.SCHEDULES[name](progress, warmup) <= 1


@pytest.mark.parametrize("name", schedule.SCHEDULES)
@given(a=SHARES, b=SHARES, warmup=st.floats(0.01, 0.99))
def test_schedules_rise_then_fall(name, a, b, warmup):
    """Linear up to 1 at the end of the warm-up, then never up again; the end is 0, of a constant 1."""
    f = schedule.SCHEDULES[name]
    a, b = sorted((a, b))
    assert f(0.0, warmup) == 0 and f(warmup, warmup) == pytest.approx(1)
    assert f(a * warmup, warmup) == pytest.approx(a)
    after = [warmup + (1 - warmup) * x for x in (a, b)]
    assert f(after[0], warmup) >= f(after[1], warmup) - 1e-12
    assert f(1.0, warmup) == pytest.approx(1 if name == "constant" else 0, abs=1e-12)


def test_schedules_without_warmup():
    """With no warm-up the first step has nearly the full rate; half-way linear and cosine have half of it."""
    assert [f(0.0, 0.0) for f in schedule.SCHEDULES.values()] == [1, 1, 1]
    assert schedule.constant(0.5, 0.0) == 1
    assert schedule.linear(0.5, 0.0) == pytest.approx(0.5) == schedule.cosine(0.5, 0.0)
    assert schedule.cosine(0.25, 0.0) == pytest.approx((2 + math.sqrt(2)) / 4)


@given(st.integers(1, 5000))
def test_progress_covers_the_stage_evenly(steps):
    """Progress is the middle of the step: symmetric, strictly rising, never 0 or 1, so that no step is wasted."""
    first, last = schedule.progress_of(0, steps), schedule.progress_of(steps - 1, steps)
    assert 0 < first <= last < 1 and first + last == pytest.approx(1)


def test_fit_follows_the_schedule():
    """The rate that a run logs is peak times schedule, anew in each stage."""
    run = nets.fit(*nets.make("conv"), sl.lp_ft(head_epochs=2, epochs=3, head_only_lr=0.1, lr=0.01, warmup=0.2))
    expected = [0.1 * schedule.linear((i + 0.5) / 6, 0.2) for i in range(6)]
    expected += [0.01 * schedule.linear((i + 0.5) / 9, 0.2) for i in range(9)]
    assert [s["lr"] for s in run.steps] == pytest.approx(expected)


def test_mix_has_no_collisions_on_a_grid():
    """Different (seed, epoch) give different seeds, also nested as the loop uses them, within 63 bits."""
    grid = [mix(a, b) for a in range(-20, 280) for b in range(300)]
    assert len(set(grid)) == len(grid) and all(0 <= seed < 2**63 for seed in grid)
    nested = [mix(mix(seed, stage), epoch) for seed in range(60) for stage in range(6) for epoch in range(60)]
    assert len(set(nested)) == len(nested) and not set(nested) & set(grid)
    assert mix(1, 2) != mix(2, 1) and mix(3) != mix(3, 0) != mix(0, 3)


@given(st.integers(0, 2**20), st.integers(0, 2**20))
def test_mix_spreads_neighbours(a, b):
    """Neighbours give seeds that differ in many bits."""
    assert 10 <= (mix(a, b) ^ mix(a, b + 1)).bit_count() <= 53
    assert 10 <= (mix(a, b) ^ mix(a + 1, b)).bit_count() <= 53
