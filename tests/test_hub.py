"""``sl.load`` with a model of the hub: read from a local cache that is laid out as the hub's; the network is closed."""

import json
import subprocess
import sys

import hub
import pytest
import torch

import sftlab as sl
from sftlab.sets.hub import set_padding

BERT, DISTILBERT, MARIAN, SMOLLM, QWEN, RESNET = hub.NAMES
COMPLETIONS = [{"prompt": f"{i} + {i} =", "completion": f" {2 * i}, a number"} for i in range(6)]
CHATS = [
    {"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}!"}]}
    for i in range(4)
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return hub.layout(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def full(cache, monkeypatch):
    hub.use(monkeypatch, cache)
    return cache


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty cache, for repositories that are wrong."""
    hub.use(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def headlines():
    task = sl.task("headlines")
    return sl.Classify({"train": task.splits["train"][:12]}, task.label_names)


# It loads, and it learns


@pytest.mark.parametrize("name", [BERT, DISTILBERT, SMOLLM, QWEN])
def test_text_classifier(full, headlines, name):
    """Every weight of the trunk is that of the file, in float32; the head is seeded; a run ends with finite weights."""
    model, again, other = (sl.load(name, headlines, seed=seed) for seed in (0, 0, 1))
    assert model.name == name and model.loading["new"] == ["head.weight", "head.bias"] and not model.training
    assert model.loading["used"] == len(model.trunk.state_dict())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.head.weight, again.head.weight) and not torch.equal(model.head.weight, other.head.weight)
    for (key, a), b in zip(model.trunk.state_dict().items(), other.trunk.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    run = sl.fit(model, headlines, sl.last_k(1, epochs=1), batch=4, validate=None, show=False)
    assert run.cost.trained_parameters and all(torch.isfinite(p).all() for p in model.parameters())


def test_the_old_head_is_left_over_and_named(full, headlines):
    """The layout of 2018: prefix ``bert.``, norms with gamma and beta, the heads of pretraining, a pooler."""
    from safetensors import safe_open

    file = next(full.glob("models--google-bert--*/snapshots/*/model.safetensors"))
    with safe_open(file, "pt") as f:
        model = sl.load(BERT, headlines)
        assert "bert.embeddings.LayerNorm.gamma" in f.keys()
        stored = f.get_tensor("bert.encoder.layer.0.output.LayerNorm.gamma")
        assert torch.equal(model.trunk.encoder.layer[0].output.LayerNorm.weight, stored)
        stored = f.get_tensor("bert.embeddings.word_embeddings.weight")
        assert torch.equal(model.trunk.embeddings.word_embeddings.weight, stored)
    assert {key.split(".")[0] for key in model.loading["unused"]} == {"cls", "bert"}
    assert all("pooler" in key for key in model.loading["unused"] if key.startswith("bert."))


@pytest.mark.parametrize("name", [BERT, DISTILBERT])
def test_token_tagger(full, name):
    people = sl.task("people")
    task = sl.TagTokens({"train": people.splits["train"][:8]}, people.label_names)
    model = sl.load(name, task, seed=0)
    sl.fit(model, task, sl.head_only(epochs=1), batch=4, validate=None, show=False)
    assert len(sl.predict(model, task, "train")) == 8


@pytest.mark.parametrize("kind", ["multi", "regress"])
def test_other_heads_on_texts(full, kind):
    rows = [{"text": f"text {i}", "labels": ["a"], "target": float(i)} for i in range(4)]
    make = {"multi": lambda: sl.MultiLabel({"train": rows}, ["a", "b"]),
            "regress": lambda: sl.Regress({"train": rows}, inputs=sl.TextInput())}  # fmt: skip
    task = make[kind]()
    model = sl.load(BERT, task, seed=0)
    assert model.head.out_features == len(task.label_names)
    sl.fit(model, task, sl.head_only(epochs=1), validate=None, show=False)


@pytest.mark.parametrize("name", [SMOLLM, QWEN])
@pytest.mark.parametrize("pack", [False, True])
def test_causal_language_model(full, name, pack):
    task = sl.CausalLM({"train": COMPLETIONS}, pack=pack)
    model = sl.load(name, task, seed=0)
    model.max_tokens = 64
    before = sl.evaluate(model, task, "train")["loss"]
    sl.fit(model, task, sl.full(epochs=3, lr=3e-3), batch=2, validate=None, show=False)
    assert sl.evaluate(model, task, "train")["loss"] < before
    assert len(sl.generate(model, ["1 + 1 ="], max_new_tokens=4)) == 1


@pytest.mark.parametrize("name", [SMOLLM, QWEN])
def test_padding_is_not_the_end(full, headlines, name):
    """SmolLM2 has no pad token, and Qwen's base model names its end (P8); padding changes no logit."""
    model = sl.load(name, headlines, seed=0)
    tokenizer = model.tokenizer
    assert tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.pad_token not in (tokenizer.chat_template or "")
    assert tokenizer.pad_token_id < model.trunk.get_input_embeddings().num_embeddings
    assert len(tokenizer) <= model.trunk.get_input_embeddings().num_embeddings
    long = dict(text="Three shops close, and nobody was told why they do")
    items = headlines.encode([{"text": "Good news"}, long], model, labelled=False)
    with torch.no_grad():
        together = headlines.logits(model, headlines.collate(items, model))
        alone = headlines.logits(model, headlines.collate(items[:1], model))
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_conversations(full):
    """Qwen's base model has a chat template; that of SmolLM2 has none, and the message says what to set."""
    task = sl.CausalLM({"train": CHATS})
    model = sl.load(QWEN, task, seed=0)
    sl.fit(model, task, sl.full(epochs=1), validate=None, show=False)
    ends = [item["labels"] for item in task.encode(CHATS, model)]
    end = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert all(end in labels for labels in ends)
    model = sl.load(SMOLLM, task, seed=0)
    with pytest.raises(sl.errors.SftlabError, match="set tokenizer.chat_template"):
        sl.evaluate(model, task, "train")
    model.tokenizer.chat_template = hub.CHATML
    assert sl.evaluate(model, task, "train")["loss"] > 0


def test_sequence_to_sequence(full):
    task = sl.Seq2Seq(
        {"train": [{"source": "你好。", "target": "Hello."}, {"source": "谢谢你。", "target": "Thanks."}]}
    )
    model = sl.load(MARIAN, task, seed=0)
    assert model.loading["new"] == [] and model.max_tokens == 64
    sl.fit(model, task, sl.full(epochs=1), validate=None, show=False)
    assert len(sl.generate(model, ["你好。"], max_new_tokens=4, num_beams=2)) == 1


def test_image_classifier(full):
    task = sl.Classify(
        {"train": [{"image": torch.rand(1, 8, 8), "label": i % 2} for i in range(4)]}, ["a", "b"], sl.ImageInput()
    )
    model = sl.load(RESNET, task, seed=0)
    assert (model.image_size, len(model.mean)) == (224, 3)
    model.image_size = 32
    sl.fit(model, task, sl.head_only(epochs=1), validate=None, show=False)


def test_from_scratch_needs_no_weights(own, headlines, cache):
    """The same architecture with random weights: only configuration and tokenizer are fetched."""
    there = next(cache.glob("models--distilbert--*/snapshots/*"))
    hub.snapshot(own, DISTILBERT, {p.name: p.read_bytes() for p in there.iterdir() if p.suffix != ".safetensors"})
    a, b = (sl.load(DISTILBERT, headlines, seed=seed, pretrained=False) for seed in (0, 1))
    assert a.loading["used"] == 0 and not torch.equal(a.trunk.embeddings.word_embeddings.weight,
                                                      b.trunk.embeddings.word_embeddings.weight)  # fmt: skip


def test_compare_and_doctor_know_it(full, headlines):
    task = sl.Classify({"train": headlines.splits["train"], "test": headlines.splits["train"]}, headlines.label_names)
    found = sl.compare({"head only": sl.head_only(epochs=1)}, task, model=BERT, seeds=1)
    assert len(found.values("head only")) == 1


def test_a_folder_in_any_profile(cache, headlines):
    """Files that somebody copied: no hub, no profile."""
    folder = next(cache.glob("models--google-bert--*/snapshots/*"))
    model = sl.load(BERT, headlines, folder=folder)
    assert model.name == BERT and model.loading["used"]


def test_another_process_reads_the_same_cache(full):
    """HF_HUB_CACHE and HF_HUB_OFFLINE are honoured as variables."""
    source = (
        "import sftlab as sl; sl.start(seed=0); "
        f"model = sl.load({BERT!r}, sl.task('headlines')); print(model.loading['used'])"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 10, done.stderr
    assert "%|" not in done.stderr  # no bars


def test_a_revision(full, headlines):
    commit = next(full.glob("models--google-bert--*/snapshots/*")).name
    assert sl.load(BERT, headlines, revision=commit).loading["used"]
    with pytest.raises(sl.errors.AssetError, match="bert-base-uncased at revision 'v9' could not be fetched"):
        sl.load(BERT, headlines, revision="v9")
    with pytest.raises(sl.errors.UnknownName, match="one version: leave `revision` out"):
        sl.load("minilm", headlines, revision="main")


# What goes wrong is named


def test_tiny_profile_refuses(cache, headlines):
    with pytest.raises(sl.errors.AssetError, match=r"SFTLAB_PROFILE=full, or sl.start\(profile=\"full\"\)"):
        sl.load(BERT, headlines)


def test_start_full_is_enough(full, headlines, monkeypatch):
    monkeypatch.delenv("SFTLAB_PROFILE")
    sl.start(seed=0, profile="full")
    assert sl.load(BERT, headlines).name == BERT


def test_offline_and_not_in_the_cache(own, headlines):
    with pytest.raises(sl.errors.AssetError, match="HF_HUB_OFFLINE is set, and .* does not have it") as caught:
        sl.load(BERT, headlines)
    assert "folder=" in str(caught.value) and "HF_ENDPOINT" in str(caught.value)


def answer(status, code):
    """What the hub's client raises for an answer of the server."""
    import httpx2
    from huggingface_hub import errors

    response = httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/api/models/a/b"))
    kind = {
        "RepoNotFound": errors.RepositoryNotFoundError,
        "RevisionNotFound": errors.RevisionNotFoundError,
        "GatedRepo": errors.GatedRepoError,
        "": errors.HfHubHTTPError,
    }[code]
    return kind(f"{status} {code}", response=response)


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (404, "RepoNotFound", "UnknownName", "the hub has no model 'a/b', or it is private"),
        (404, "RevisionNotFound", "UnknownName", "the hub has no model 'a/b'"),
        (403, "GatedRepo", "UnknownName", "asks you to accept its terms first"),
        (500, "", "AssetError", "could not be fetched from the Hugging Face hub"),
    ],
)
def test_answers_of_the_hub(own, headlines, monkeypatch, status, code, kind, says):
    import huggingface_hub

    def refuse(name, revision=None, allow_patterns=None):
        assert not any(p.endswith((".bin", ".py", ".pt", "*")) for p in allow_patterns)
        raise answer(status, code)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(getattr(sl.errors, kind), match=says):
        sl.load("a/b", headlines)


@pytest.mark.parametrize("name", ["./bert", "a/b/c", "/bert", "-a/b"])
def test_a_name_that_no_repository_can_have(own, headlines, name):
    with pytest.raises(sl.errors.UnknownName, match="A name is owner/name"):
        sl.load(name, headlines)


def copy(cache, own, name, **changes):
    """A repository with other files; None drops one."""
    there = next(cache.glob(f"models--{name.replace('/', '--')}/snapshots/*"))
    files = {p.name: p.read_bytes() for p in there.iterdir()} | changes
    return hub.snapshot(own, name, {file: content for file, content in files.items() if content is not None})


def test_pickles_are_refused(cache, own, headlines):
    copy(cache, own, BERT, **{"model.safetensors": None, "pytorch_model.bin": b"cos\nsystem\n"})
    with pytest.raises(sl.errors.AssetError, match="has no model.safetensors.* are pickles: they can run code") as said:
        sl.load(BERT, headlines)
    assert "refs/pr/1" in str(said.value)


def test_code_of_the_repository_is_never_run(cache, own, headlines, tmp_path):
    there = next(cache.glob("models--google-bert--*/snapshots/*"))
    config = json.loads((there / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    copy(cache, own, BERT, **{"config.json": json.dumps(config).encode(), "mine.py": code.encode()})
    with pytest.raises(sl.errors.AssetError):
        sl.load(BERT, headlines)
    assert not (tmp_path / "ran").exists()


def test_missing_trunk_weights_are_named(cache, own, headlines):
    folder = copy(cache, own, BERT)
    hub.rewrite(folder, lambda name: None if "layer.1.attention" in name else name)
    with pytest.raises(sl.errors.MissingWeights, match=r"10 weights of the trunk are missing"):
        sl.load(BERT, headlines)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_files(cache, own, headlines, file):
    folder = copy(cache, own, DISTILBERT)
    (folder / file).write_bytes(b"{ not this")
    with pytest.raises(sl.errors.AssetError, match="distilbert"):
        sl.load(DISTILBERT, headlines)


def test_a_tokenizer_of_another_model(cache, own, headlines):
    other = next(cache.glob("models--Helsinki*/snapshots/*/tokenizer.json")).read_bytes()
    copy(cache, own, DISTILBERT, **{"tokenizer.json": other, "vocab.txt": None})
    with pytest.raises(sl.errors.AssetError):
        sl.load(DISTILBERT, headlines)


def test_tasks_that_a_model_cannot_do(full, headlines):
    with pytest.raises(sl.errors.UnknownName, match="an encoder with a decoder"):
        sl.load(MARIAN, headlines)
    with pytest.raises(sl.errors.UnknownName, match="one stack of layers"):
        sl.load(BERT, sl.Seq2Seq({"train": [{"source": "a", "target": "b"}]}))
    with pytest.raises(sl.errors.UnknownName, match="this task is detection"):
        sl.load(RESNET, sl.task("coins"))
    images = sl.Classify({"train": [{"image": torch.rand(1, 8, 8), "label": 0}]}, ["a", "b"], sl.ImageInput())
    with pytest.raises(sl.errors.UnknownName, match="take microsoft/resnet-18"):
        sl.load(BERT, images)


# Padding


class Plain:
    """As much of a tokenizer as set_padding reads."""

    def __init__(self, **facts):
        self.bos_token = self.eos_token = self.unk_token = self.pad_token = self.chat_template = None
        self.added_tokens_decoder = {}
        self.__dict__.update(facts)

    def convert_ids_to_tokens(self, ids):
        return [f"word{i}" for i in ids]


@pytest.mark.parametrize(
    ("facts", "pad"),
    [
        ({"pad_token": "[PAD]"}, "[PAD]"),
        ({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, "<unk>"),
        ({"eos_token": "</s>", "pad_token": "</s>", "unk_token": "</s>"}, "word0"),
        ({"eos_token": "e", "unk_token": "u", "added_tokens_decoder": {1: "e", 2: "<|fim_pad|>"}}, "<|fim_pad|>"),
        ({"eos_token": "e", "chat_template": "uses <turn>", "added_tokens_decoder": {3: "x", 4: "<turn>"}}, "x"),
    ],
)
def test_which_token_pads(facts, pad):
    tokenizer = Plain(**facts)
    set_padding(tokenizer)
    assert tokenizer.pad_token == pad
