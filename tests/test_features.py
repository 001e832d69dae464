"""The frozen prefix: stored outputs give what the live model gives, wherever plan, dropout and augmentation allow."""

import nets
import numpy as np
import pytest
import torch
from nets import copies, distance, fit, make, same
from torch import nn

import sftlab as sl
from sftlab.train import features, prefix


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(features, "kept", {})


class Images(nn.Module):
    """A ResNet-18 of torchvision with a new head, as people have it: no class of ours around it."""

    def __new__(cls, classes: int = 3):
        from torchvision.models import resnet18

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = resnet18(weights=None, num_classes=classes)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics as of a trained net, not 0 and 1
                module.running_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
                module.running_var.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
        return net


class EncoderDecoder(nn.Module):
    """A small BART whose decoder reads the text backwards; the head sees the mean of its states."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        from transformers import BartConfig, BartModel

        size = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 48}
        tokens = {
            "vocab_size": 200,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "decoder_start_token_id": 2,
        }
        config = BartConfig(d_model=16, dropout=dropout, init_std=0.3, **size, **heads, **tokens)
        self.bart = BartModel(config)
        self.head = nn.Linear(16, 3)
        self.tokenizer, self.max_tokens = nets.ToyTokenizer(), nets.MAX_TOKENS

    def forward(self, input_ids, attention_mask):
        hidden = self.bart(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=input_ids,
            decoder_attention_mask=attention_mask,
            use_cache=False,
        ).last_hidden_state
        return self.head(sl_mean(hidden, attention_mask))


class Vision(nn.Module):
    """A small ViT: the class token sits on a container, norms come before the blocks."""

    def __init__(self):
        super().__init__()
        from transformers import ViTConfig, ViTModel

        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
        drop = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        self.vit = ViTModel(ViTConfig(image_size=6, patch_size=3, **sizes, **drop), add_pooling_layer=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.vit(pixel_values=x).last_hidden_state[:, 0])


def sl_mean(hidden, mask):
    from sftlab.model.heads import mean_pool

    return mean_pool(hidden, mask)


def seeded(make_model):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_model()


def larger(task):
    """Images of 48 pixels: a BatchNorm that trains on maps of a single pixel would blow rounding up."""
    for rows in task.splits.values():
        for row in rows:
            row["input"] = nn.functional.interpolate(row["input"][None], size=48)[0]
    return task


MODELS = {
    "text": lambda: make("text", dropout=0.2),
    "tags": lambda: make("tags", dropout=0.2),
    "conv": lambda: make("conv", dropout=0.2),
    "ResNet-18": lambda: (Images(), larger(nets.task_of("conv"))),
    "encoder-decoder": lambda: (seeded(EncoderDecoder), nets.task_of("text")),
    "encoder-decoder with dropout": lambda: (seeded(lambda: EncoderDecoder(0.2)), nets.task_of("text")),
    "ViT": lambda: (seeded(Vision), nets.task_of("conv")),
}
# (model, plan) -> what the note must name as the place of the cut
CUTS = {
    ("text", "head only"): "pool",
    ("text", "last 1"): "trunk.encoder.layer.0",
    ("tags", "head only"): "trunk",
    ("tags", "last 1"): "trunk.encoder.layer.0",
    ("conv", "head only"): "block2",
    ("conv", "last 1"): "block1",
    ("conv", "last 2"): "stem",
    ("ResNet-18", "head only"): "avgpool",
    ("ResNet-18", "last 1"): "layer3",
    ("ResNet-18", "last 2"): "layer2",
    ("encoder-decoder", "head only"): "bart",
    ("encoder-decoder", "last 1"): "bart.encoder and bart.decoder.layers.0",
    ("encoder-decoder", "last 2"): "bart.encoder",
    ("encoder-decoder with dropout", "last 1"): "bart.encoder",
    ("ViT", "head only"): "vit",
    ("ViT", "last 2"): "vit",
}


def plan_of(name: str, epochs: int = 3) -> sl.Plan:
    return sl.head_only(epochs=epochs) if name == "head only" else sl.last_k(int(name[-1]), epochs=epochs, lr=1e-3)


def doubled(model, task):
    for rows in task.splits.values():
        for row in rows:
            if "input" in row:
                row["input"] = row["input"].double()
    return model.double(), task


@pytest.mark.parametrize(("kind", "name"), CUTS)
def test_cached_equals_live(kind, name):
    """Equal losses, evaluations and final weights, with dropout above the cut, and a line that names the cut."""
    runs = {}
    for cache in (True, False):
        model, task = doubled(*MODELS[kind]())
        runs[cache] = fit(model, task, plan_of(name), cache=cache, micro_batch=None if kind == "ResNet-18" else 3)
    note = " ".join(runs[True].notes)
    assert f"up to {CUTS[kind, name]}" in note and "ran once for each of 35 samples" in note
    assert not any("ran once" in line for line in runs[False].notes)
    for key in ("loss", "norm"):
        assert [s[key] for s in runs[True].steps] == pytest.approx([s[key] for s in runs[False].steps], abs=1e-6)
    for a, b in zip(runs[True].evaluations, runs[False].evaluations, strict=True):
        assert a == pytest.approx(b, abs=1e-6)
    assert distance(copies(runs[True].model), copies(runs[False].model)) < 1e-6


@pytest.mark.parametrize(("kind", "name"), [("text", "head only"), ("text", "last 1"), ("ResNet-18", "head only")])
def test_the_frozen_layers_run_once_per_sample(kind, name, monkeypatch):
    """Counted inside the first frozen block: each sample once, and a few probes; without the cache in every epoch."""
    seen = {}
    for cache in (True, False):
        model, task = MODELS[kind]()
        first = model.layer1[0] if kind == "ResNet-18" else model.trunk.encoder.layer[0]
        rows, real = [], type(first).forward

        def counted(self, x, *a, first=first, rows=rows, real=real, **k):
            if self is first:
                rows.append(len(x))
            return real(self, x, *a, **k)

        monkeypatch.setattr(type(first), "forward", counted)
        fit(model, task, plan_of(name, 4), cache=cache)
        monkeypatch.undo()
        monkeypatch.setattr(features, "kept", {})
        seen[cache] = sum(rows)
    assert seen[False] == 4 * 35 and 35 <= seen[True] <= 35 + 20


@pytest.mark.parametrize("kind", ["text", "conv"])
def test_with_micro_batches_gradual_plans_and_resume(kind):
    """Each stage of a plan has its own cut; the run as a whole equals the live one."""
    plan = sl.gradual(steps=(1, 2), head_epochs=3, epochs=2, lr=1e-3)
    runs = []
    for cache in (True, False):
        model, task = doubled(*make(kind, dropout=0.2, batch_norm=False))
        runs.append(fit(model, task, plan, cache=cache, micro_batch=5))
    assert sum("ran once" in line for line in runs[0].notes) >= 2
    assert distance(copies(runs[0].model), copies(runs[1].model)) < 1e-6


def test_the_next_seed_takes_the_store_over(monkeypatch):
    """Same trunk and data: nothing runs again. Another trunk, other data or another cut: it does."""
    recorded = []
    real = prefix.Store.add
    monkeypatch.setattr(
        prefix.Store, "add", lambda self, rows, given: (recorded.extend(rows), real(self, rows, given))[1]
    )

    def train(seed=0, change=None, plan="head only"):
        recorded.clear()
        model, task = make("text", dropout=0.2)
        if change:
            change(model, task)
        fit(model, task, plan_of(plan), seed=seed)
        return len(recorded)

    def other_trunk(model, task):
        with torch.no_grad():
            model.trunk.encoder.layer[1].output.dense.bias[0] += 1

    def other_embeddings(model, task):
        with torch.no_grad():
            model.trunk.embeddings.word_embeddings.weight[50, 0] += 1

    def other_text(model, task):
        task.splits["train"][0]["text"] += " red"

    assert train() == 35
    assert train(seed=1) == 0
    assert train(plan="last 1") == 35
    for change, plan in ((other_trunk, "head only"), (other_embeddings, "last 1"), (other_text, "head only")):
        assert train(plan=plan) in (0, 35)  # the plain one lies there now, as the last
        assert train(plan=plan) == 0 and train(change=change, plan=plan) == 35


def test_memory_mapped_equals_in_memory(monkeypatch):
    """A store over the limit lies in a temporary file and gives the same bits."""
    results = []
    for limit in (2**30, 1000):
        monkeypatch.setattr(prefix, "IN_MEMORY", limit)
        monkeypatch.setattr(features, "kept", {})
        for kind, name in (("text", "last 1"), ("conv", "head only")):
            model, task = make(kind, dropout=0.2)
            run = fit(model, task, plan_of(name))
            assert "ran once" in " ".join(run.notes)
            results.append(copies(model))
    assert same(results[0], results[2]) and same(results[1], results[3])


def test_a_full_disk_falls_back_to_the_live_model(monkeypatch):
    """No room for the store: a note, and the run goes on as without it."""
    monkeypatch.setattr(prefix, "IN_MEMORY", 1000)

    def full(*a, **k):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prefix.tempfile, "TemporaryFile", full)
    model, task = make("text")
    run = fit(model, task, plan_of("last 1"))
    assert "do not fit on the disk" in " ".join(run.notes)
    other, task = make("text")
    fit(other, task, plan_of("last 1"), cache=False)
    assert same(copies(model), copies(other))


def test_not_when_the_data_change_in_every_epoch():
    """Augmentation below the cut would be frozen with it: the live model runs, and sees every draw."""
    model, task = make("conv")
    task.augment = lambda item, generator: {**item, "input": item["input"] + torch.rand(1, generator=generator)}
    assert not any("ran once" in line for line in fit(model, task, plan_of("head only")).notes)


class NoisyStem(nets.ConvNet):
    """Randomness below the cut that no mode turns off."""

    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))


class DropsBelow(nets.ConvNet):
    """Dropout as a function, switched by the mode of the whole model, which trains its head."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


class Branches(nets.ConvNet):
    """The head also reads the input, past the frozen layers: the last frozen output alone does not decide."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8 + 8, 3)

    def forward(self, x):
        first = self.stem(x).relu()
        return self.head(torch.cat([first.mean((2, 3)), self.block2(self.block1(first)).mean((2, 3))], 1))


@pytest.mark.parametrize("net", [NoisyStem, DropsBelow])
def test_not_when_the_frozen_layers_are_random(net):
    model, task = seeded(net), nets.task_of("conv")
    assert not any("ran once" in line for line in fit(model, task, plan_of("head only")).notes)


def test_branches_are_stored_or_live_but_never_wrong():
    """A model that reads two frozen outputs: both are stored, or none; the result is the live one."""
    runs = []
    for cache in (True, False):
        model, task = doubled(seeded(Branches), nets.task_of("conv"))
        nn.init.zeros_(model.head.weight)  # a head of zeros hides what it is given, until it has learnt
        runs.append(fit(model, task, plan_of("head only"), cache=cache))
    assert distance(copies(runs[0].model), copies(runs[1].model)) < 1e-6


def test_batch_norm_is_folded_only_where_that_changes_nothing(monkeypatch):
    """A convolution whose output is read twice cannot take the norm in: seen, and the norms run as they are."""

    class Twice(nets.ConvNet):
        def __init__(self):
            super().__init__()
            self.block1 = nn.ModuleDict({"conv": nn.Conv2d(8, 8, 3, padding=1), "norm": nn.BatchNorm2d(8)})

        def forward(self, x):
            x = self.block1["conv"](self.stem(x).relu())
            return self.head(self.block2(x + 3 * self.block1["norm"](x)).mean((2, 3)))

    folds, real = [], features._folds
    monkeypatch.setattr(features, "_folds", lambda *a: folds.append(real(*a)) or folds[-1])
    for net, can in ((Images, True), (Twice, False)):
        runs = []
        for cache in (True, False):
            model, task = doubled(seeded(net), nets.task_of("conv"))
            for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.running_mean.fill_(0.3), norm.running_var.fill_(2.0)
            runs.append(fit(model, task, plan_of("head only"), cache=cache))
        assert folds.pop() == can and not folds and "ran once" in " ".join(runs[0].notes)
        assert distance(copies(runs[0].model), copies(runs[1].model)) < 1e-6
        assert all("forward" not in vars(module) for module in runs[0].model.modules())


def test_a_placeholder_that_is_read_is_seen():
    """What stands for skipped layers is NaN, never memory that may hold the right values by chance."""
    model, task = seeded(Branches), nets.task_of("conv")
    plan_of("head only").apply(model)
    batch = task.collate(task.encode(task.examples("train")[:4], model), model)
    seen, _ = prefix.watch(model, lambda: task.loss(model, batch))
    cut = prefix.Prefix(model, [next(s for s in seen if s.name == "block2")], seen)
    given = cut.run(lambda: task.loss(model, batch))
    with cut.replaying(given), torch.no_grad():
        assert not bool(torch.isfinite(task.loss(model, batch).total))


def test_a_hook_on_a_frozen_layer_sees_real_passes():
    """Who watches a frozen layer must not be shown placeholders."""
    model, task = make("conv")
    seen = []
    model.block1.register_forward_hook(lambda m, a, out: seen.append(float(out.detach().abs().sum())))
    run = fit(model, task, plan_of("head only"))
    assert not any("ran once" in line for line in run.notes) and len(seen) > 9 and min(seen) > 0


def test_the_model_is_itself_between_batches_and_afterwards():
    """A hook that evaluates or predicts in the middle of a cached stage gets the real model."""
    model, task = make("text", dropout=0.2)
    found = []

    def look(run):
        stored = copies(model)
        whole = sl.evaluate(model, task, "test")
        fresh = nets.model_of("text", dropout=0.2)
        fresh.load_state_dict(stored)
        found.append(whole == sl.evaluate(fresh, task, "test"))

    run = fit(model, task, plan_of("last 1"), after_step=look)
    assert "ran once" in " ".join(run.notes) and all(found)
    assert all("forward" not in vars(module) for module in model.modules())


def test_one_epoch_stores_nothing():
    model, task = make("text")
    assert not fit(model, task, plan_of("last 1", 1)).notes


def test_bfloat16_is_stored_as_it_is():
    """Under autocast the stored outputs are those of the live pass, to the precision of bfloat16."""
    sl.start(seed=0, device="cpu", precision="bfloat16")
    losses = []
    for cache in (True, False):
        model, task = make("text")
        run = fit(model, task, plan_of("last 1"), cache=cache)
        assert cache == ("ran once" in " ".join(run.notes))
        losses.append([s["loss"] for s in run.steps])
    assert losses[0] == pytest.approx(losses[1], abs=3e-2)


class Address:
    """Its repr holds an address, as that of most objects does."""


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ([1, 2], [1, 3], False),
        ([[1], [2, 3]], [[1, 2], [3]], False),
        (torch.arange(5000), torch.arange(5000).flip(0), False),
        ([torch.zeros(5000)], [torch.zeros(5000).index_fill(0, torch.tensor([2500]), 1)], False),
        (np.arange(5000), np.where(np.arange(5000) == 2500, 0, np.arange(5000)), False),
        (np.zeros((2, 3)), np.zeros((3, 2)), False),
        (1.0, 1, False),
        ("a", "b", False),
        (None, "None", False),
        (Address(), Address(), True),
        ([0.1, "x", None], [0.1, "x", None], True),
    ],
)  # fmt: skip
def test_the_fingerprint_sees_every_value_and_no_address(a, b, equal):
    """Long arrays, nested lists and types count; an object that differs in its address alone does not."""
    one, two = (features.data_fingerprint({"train": [{"index": 0, "x": value}]}) for value in (a, b))
    assert (one == two) == equal
    assert one != features.data_fingerprint({"val": [{"index": 0, "x": a}]})
