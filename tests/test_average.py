"""Averages of weights: EMA and SWA along a run, soups and WiSE-FT between models, and whose BatchNorm statistics."""

import copy

import nets
import pytest
import torch
from nets import KINDS, copies, distance, fit, make, same
from torch import nn

import sftlab as sl
from sftlab.errors import SftlabError, UnknownName
from sftlab.train.average import Averager, refresh_batch_norm
from sftlab.train.features import Source

AVERAGES = {"EMA": sl.ema(0.8), "SWA": sl.swa(0.4)}


def averager(model, average) -> Averager:
    return Averager(average, model, [name for name, _ in model.named_parameters()])


def walk(model: nn.Module, seed: int) -> None:
    """A step of a random walk of all parameters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)


def batches(model, task, size=5):
    items = task.encode(task.examples("train"), model)
    groups = [range(at, min(at + size, len(items))) for at in range(0, len(items), size)]
    return list(Source(model, task, {"train": items}).batches(groups, torch.device("cpu")))


@pytest.mark.parametrize("kind", AVERAGES)
def test_average_of_constant_weights_is_constant(kind):
    """Weights that do not move are their own average, bit for bit, however long."""
    model = nets.model_of("text")
    before, kept = copies(model), averager(model, AVERAGES[kind])
    for step in range(50):
        kept.update(step / 50)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    kept.into(model)
    assert same(before, copies(model))


@pytest.mark.parametrize("kind", AVERAGES)
def test_averages_are_their_formulas(kind):
    """EMA from the first step's weights on; SWA the plain mean of the weights from its start on."""
    model = nets.model_of("conv").double()
    kept, seen = averager(model, AVERAGES[kind]), []
    for step in range(10):
        walk(model, step)
        kept.update((step + 1) / 10)
        seen.append(model.head.weight.detach().clone())
    if kind == "SWA":
        expected, count = torch.stack(seen[3:]).mean(0), 7
    else:
        expected, count = seen[0], 10
        for value in seen[1:]:
            expected = 0.8 * expected + 0.2 * value
    kept.into(model)
    assert torch.allclose(model.head.weight, expected, rtol=0, atol=1e-12) and kept.count == count


@pytest.mark.parametrize("kind", AVERAGES)
def test_swapped_restores_bit_for_bit(kind):
    """Inside the average, outside the trained weights and buffers as they were, after an exception too."""
    model, task = make("conv")
    kept = averager(model, AVERAGES[kind])
    for step in range(6):
        walk(model, step)
        kept.update(1.0)
    before, average = copies(model), kept.state()
    with pytest.raises(KeyboardInterrupt):
        with kept.swapped(model):
            assert all(torch.equal(p, average[f"average.{n}"]) for n, p in model.named_parameters())
            assert not torch.equal(model.head.weight, before["head.weight"])
            refresh_batch_norm(model, task, batches(model, task))
            assert not torch.equal(model.block1[1].running_mean, before["block1.1.running_mean"])
            raise KeyboardInterrupt
    assert same(before, copies(model))


@pytest.mark.parametrize("kind", AVERAGES)
def test_average_resumes_exactly(kind):
    """State saved and loaded in the middle: the same average, bit for bit."""
    straight, resumed = (nets.model_of("text") for _ in range(2))
    one, two = (averager(model, AVERAGES[kind]) for model in (straight, resumed))
    for step in range(12):
        walk(straight, step)
        one.update((step + 1) / 12)
        walk(resumed, step)
        two.update((step + 1) / 12)
        if step in (2, 6):
            state = {name: value.clone() for name, value in two.state().items()}
            two = averager(resumed, AVERAGES[kind])
            two.load_state(state)
    assert same(one.state(), two.state()) and one.count == two.count
    assert all(isinstance(value, torch.Tensor) for value in one.state().values())
    with pytest.raises(SftlabError, match="not the average of these parameters"):
        Averager(sl.ema(), straight, ["head.bias"]).load_state(one.state())


@pytest.mark.parametrize("kind", AVERAGES)
@pytest.mark.parametrize("net", KINDS)
def test_fit_ends_in_the_average(net, kind):
    """What a run with an average leaves is the average of its weights after each step."""
    model, task = make(net)
    twin = copy.deepcopy(model)
    kept = averager(twin, AVERAGES[kind])

    def follow(run):
        kept.update(run.step / 12)

    plan = sl.last_k(1, epochs=4, lr=1e-2)
    fit(twin, task, plan, after_step=follow)
    run = fit(model, task, plan, average=AVERAGES[kind])
    trained = copies(twin)
    kept.into(twin)
    parameters = [name for name, _ in model.named_parameters()]
    assert same(copies(model), copies(twin), parameters) and not torch.equal(trained["head.weight"], model.head.weight)
    assert any(f"({kind})" in note for note in run.notes)


# BatchNorm


def test_p24_batch_norm_of_ema_is_copied():
    """Under EMA the statistics are those of the last step, and the run says so."""
    model, task = make("conv")
    twin = copy.deepcopy(model)
    plan = sl.full(epochs=3, lr=1e-2)
    run = fit(model, task, plan, average=sl.ema(0.5))
    fit(twin, task, plan)
    buffers = [name for name, _ in model.named_buffers()]
    assert buffers and same(copies(model), copies(twin), buffers)
    assert any("BatchNorm statistics are those of the last step" in note for note in run.notes)


def test_p24_batch_norm_of_swa_is_of_its_own_weights():
    """Under SWA the statistics are those of the averaged weights over the training data, not another model's."""
    model, task = make("conv", train=30)
    run = fit(model, task, sl.full(epochs=4, lr=2e-2), average=sl.swa(0.5))
    assert any("computed again" in note for note in run.notes)
    images = torch.stack([example["input"] for example in task.examples("train")])
    with torch.no_grad():  # by hand: what the first norm sees of the whole split (one batch of 30)
        seen = model.block1[0](model.stem(images).relu())
    assert torch.allclose(model.block1[1].running_mean, seen.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(model.block1[1].running_var, seen.transpose(0, 1).flatten(1).var(1), rtol=1e-4)


def test_p24_norms_that_were_frozen_keep_their_statistics():
    """Only norms that the plan trains are refreshed: frozen means frozen, under SWA too."""
    model, task = make("conv")
    before = copies(model)
    fit(model, task, sl.last_k(1, epochs=3, lr=1e-2), average=sl.swa(0.3))
    assert same(before, copies(model), [n for n in before if n.startswith(("stem", "block1"))])
    assert not torch.equal(before["block2.1.running_mean"], model.block2[1].running_mean)


def test_refresh_weighs_samples_not_batches():
    """An incomplete last batch weighs by its samples; modes, momentum, dropout and random state are left alone."""
    model, task = make("conv", dropout=0.5, train=11)
    model.train()
    model.block2.eval()
    modes, state, parts = [m.training for m in model.modules()], torch.get_rng_state(), batches(model, task, size=5)
    refresh_batch_norm(model, task, parts)
    with torch.no_grad():
        seen = model.block1[0](model.stem(torch.cat([part["inputs"]["input"] for part in parts])).relu())
    assert torch.allclose(model.block1[1].running_mean, seen.mean((0, 2, 3)), atol=1e-6)
    assert modes == [m.training for m in model.modules()] and model.block1[1].momentum == 0.1
    assert torch.equal(state, torch.get_rng_state())
    once = copies(model)
    refresh_batch_norm(model, task, parts)
    assert same(once, copies(model))


def test_notes_of_averages_say_what_may_go_wrong():
    """An average that never began, or that is still mostly the first step, is said."""
    model = nets.model_of("text")
    kept = averager(model, sl.swa(0.9))
    kept.update(0.5)
    before = copies(model)
    kept.into(model)
    assert "had not begun" in kept.note and same(before, copies(model)) and not kept.needs_batch_norm
    kept = averager(model, sl.ema(0.999))
    for _ in range(75):
        kept.update(1.0)
    assert "93% of it is still the first step's" in kept.note
    kept = averager(model, sl.ema(0.9))
    for _ in range(75):
        kept.update(1.0)
    assert "first step" not in kept.note


@pytest.mark.parametrize("wrong", [lambda: sl.ema(1.0), lambda: sl.ema(-0.1), lambda: sl.swa(1.0), lambda: sl.swa(-1)])
def test_averages_that_make_no_sense(wrong):
    """Settings out of range raise when they are written."""
    with pytest.raises(ValueError):
        wrong()


# Between models


def members(kind: str, count: int = 3, **settings):
    """Models fine-tuned from one base with different orders of samples, and their task."""
    model, task = make(kind, val=30, **settings)
    found = []
    for seed in range(count):
        found.append(copy.deepcopy(model))
        fit(found[-1], task, sl.full(epochs=3 + seed, lr=1e-2, head_lr=None), seed=seed, validate=None)
    return model, found, task


@pytest.mark.parametrize("kind", ["text", "conv"])
def test_soup_is_the_mean(kind):
    """Every weight is the mean, whatever the order; members stay as they are; a soup of one model is that model."""
    _, models, task = members(kind)
    before = [copies(m) for m in models]
    made = copies(sl.soup(models, task))
    for name, _ in models[0].named_parameters():
        assert torch.allclose(made[name], sum(state[name] for state in before) / 3, atol=1e-7)
    assert distance(made, copies(sl.soup(models[::-1], task))) < 1e-6
    assert all(same(a, copies(m)) for a, m in zip(before, models, strict=True))
    assert same(before[1], copies(sl.soup([models[1]])))
    assert same(before[1], copies(sl.soup([models[1]] * 3)))
    assert not any(m.training for m in sl.soup(models, task).modules())


def test_soup_of_head_only_models_keeps_the_trunk():
    """What all members share (frozen weights, buffers, integers) keeps every bit."""
    base, task = make("conv")
    models = []
    for seed in range(3):
        models.append(copy.deepcopy(base))
        fit(models[-1], task, sl.head_only(epochs=1), seed=seed)
    made = sl.soup(models)  # no norm moved: no task is needed
    assert same(copies(base), copies(made), [n for n in copies(base) if not n.startswith("head.")])


def test_p24_soups_have_batch_norm_of_their_own():
    """Norms that moved differently: refused without data, computed again with it; the others keep theirs."""
    base, models, task = members("conv", count=2)
    tuned = copy.deepcopy(base)
    fit(tuned, task, sl.last_k(1, epochs=2, lr=1e-2))
    half = sl.wise_ft(base, tuned, 0.5, task)
    assert torch.equal(half.block1[1].running_var, base.block1[1].running_var)
    assert not torch.allclose(half.block2[1].running_var, base.block2[1].running_var)
    for make_one in (lambda t: sl.soup(models, t), lambda t: sl.wise_ft(models[0], models[1], 0.3, t)):
        with pytest.raises(SftlabError, match="BatchNorms that moved .'block1.1.running_mean'"):
            make_one(None)
        made = make_one(task)
        images = torch.stack([example["input"] for example in task.examples("train")])
        with torch.no_grad():
            seen = made.block1[0](made.stem(images).relu())
        assert torch.allclose(made.block1[1].running_mean, seen.mean((0, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("other", ["head", "architecture"])
def test_soup_refuses_other_models(other):
    """Another number of classes or other layers: an error that names a weight."""
    one, two = nets.model_of("text"), nets.model_of("text")
    if other == "head":
        two.head = nn.Linear(32, 4)
    else:
        two.more = nn.Linear(2, 2)
    with pytest.raises(SftlabError, match="models 0 and 1 cannot be averaged.*'(head.bias|more.bias)'"):
        sl.soup([one, two])
    for made_of_none in (lambda: sl.soup([]), lambda: sl.greedy_soup([], nets.task_of("text"))):
        with pytest.raises(SftlabError, match="no models"):
            made_of_none()


def test_soup_refuses_adapters():
    """The mean of the factors is not the mean of the models: fold them in first."""
    pytest.importorskip("peft", reason="needs the extra peft")
    models = [sl.add_adapters(nets.model_of("text"), r=2, seed=seed) for seed in range(2)]
    with pytest.raises(SftlabError, match="sl.merge_adapters first"):
        sl.soup(models)
    sl.soup([sl.merge_adapters(model) for model in models])


@pytest.mark.parametrize("metric", [("macro_f1", "max"), ("loss", "min")])
@pytest.mark.parametrize("kind", ["text", "conv"])
def test_greedy_soup_is_never_below_its_best_member(kind, metric):
    """On val it is at least as good as each model; the best one is in it; a ruined model is not."""
    _, models, task = members(kind)
    ruined = copy.deepcopy(models[0])
    walk(ruined, 0)
    with torch.no_grad():
        ruined.head.weight.mul_(-5)
    models.append(ruined)
    sign = 1 if metric[1] == "max" else -1
    scores = [sign * sl.evaluate(m, task, "val")[metric[0]] for m in models]
    made = sl.greedy_soup(models, task, metric)
    assert sign * sl.evaluate(made, task, "val")[metric[0]] >= max(scores)
    assert made.members[0] == scores.index(max(scores)) and 3 not in made.members
    chosen = [models[i] for i in made.members]
    assert distance(copies(made), copies(sl.soup(chosen, task))) < 1e-6
    for wrong in (("macro", "max"), ("macro_f1", "up")):
        with pytest.raises(UnknownName):
            sl.greedy_soup(models, task, wrong)


@pytest.mark.parametrize("kind", ["text", "conv"])
def test_wise_ft_ends_are_the_two_models(kind):
    """alpha 0 and 1 are the ends bit for bit, 0.25 lies a quarter of the way; state dict or model as the start."""
    base, (tuned,), task = members(kind, count=1)
    ends = copies(base), copies(tuned)
    for start in (base, ends[0]):
        assert same(ends[0], copies(sl.wise_ft(start, tuned, 0.0))) and same(
            ends[1], copies(sl.wise_ft(start, tuned, 1.0))
        )
        made = copies(sl.wise_ft(start, tuned, 0.25, task))
        for name, _ in base.named_parameters():
            assert torch.allclose(made[name], 0.75 * ends[0][name] + 0.25 * ends[1][name], atol=1e-6)
    assert same(ends[1], copies(tuned))
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            sl.wise_ft(base, tuned, alpha)
