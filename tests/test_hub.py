"""Models of the hub by name, from a local cache with small random ones: loaded, trained, refused."""

import hub
import pytest
import torch

import sftlab as sl
from sftlab.errors import AssetError, MissingWeights, UnknownName

ROWS = [{"text": f"row {i} is {word}", "label": word} for i, word in enumerate(["good", "bad"] * 4)]
TAGGED = [{"words": ["Mara", "sings", "here"], "tags": ["B-PER", "O", "O"]}] * 8
TALK = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"Hello {i}"}]} for i in "ab"]
PAIRS = [{"source": "我喜欢茶。", "target": "I like tea."}, {"source": "他在家。", "target": "He is at home."}]
TASKS = {
    "google-bert/bert-base-uncased": lambda: sl.Classify({"train": ROWS}, ["good", "bad"]),
    "distilbert/distilbert-base-uncased": lambda: sl.TagTokens({"train": TAGGED}, ["O", "B-PER", "I-PER"]),
    "Helsinki-NLP/opus-mt-zh-en": lambda: sl.Seq2Seq({"train": PAIRS}),
    "HuggingFaceTB/SmolLM2-135M": lambda: sl.CausalLM({"train": TALK}),
    "Qwen/Qwen2.5-0.5B": lambda: sl.CausalLM({"train": TALK}, pack=True),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    cache = tmp_path_factory.mktemp("hub")
    hub.fill(cache, *hub.MODELS)
    return cache


@pytest.fixture
def full(filled, monkeypatch):
    """Profile full, with the local cache; afterwards as before."""
    before = sl.start(seed=0)
    hub.use(monkeypatch, filled)
    sl.start(seed=0, profile="full")
    yield filled
    sl.start(seed=before.seed, profile=before.profile)


@pytest.mark.parametrize("name", hub.MODELS)
def test_a_model_of_the_hub_loads_in_float32_and_trains(full, name):
    """Every weight of the trunk is there, two seeds differ in the head alone, and a step lowers the loss."""
    task = TASKS[name]()
    model, other = (sl.load(name, task, seed=seed, dropout=0.0) for seed in (0, 1))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.name == name and model.revision == hub.COMMIT and model.loading["used"] > 10
    differ = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, other.state_dict()[k])}
    assert differ <= {"head"} and bool(differ) == (
        task.kind not in ("causal language modelling", "sequence to sequence")
    )
    scratch = sl.load(name, task, seed=0, pretrained=False)
    assert any(not torch.equal(v, scratch.state_dict()[k]) for k, v in model.state_dict().items() if "head" not in k)
    first = sl.evaluate(model, task, "train")["loss"]
    sl.fit(model, task, sl.full(epochs=5, lr=1e-2), batch=8, validate=None, show=False)
    assert sl.evaluate(model, task, "train")["loss"] < first


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M", "Helsinki-NLP/opus-mt-zh-en"])
def test_a_language_model_of_the_hub_generates(full, name):
    model = sl.load(name, TASKS[name](), seed=0)
    prompts = [[TALK[0]["messages"][0]], "Hello"] if "Smol" in name else [pair["source"] for pair in PAIRS]
    both = sl.generate(model, prompts, max_new_tokens=5)
    assert both == [sl.generate(model, [prompt], max_new_tokens=5)[0] for prompt in prompts]


def test_the_tiny_profile_fetches_nothing(filled, monkeypatch):
    hub.use(monkeypatch, filled)
    sl.start(seed=0, profile="tiny")
    with pytest.raises(AssetError, match=r"SFTLAB_PROFILE=full"):
        sl.load("google-bert/bert-base-uncased", TASKS["google-bert/bert-base-uncased"]())


@pytest.mark.parametrize("name", ["nobody/nothing", "a/b/c", "-bad/name-"])
def test_what_is_not_there_is_explained(full, name):
    """Offline and not cached, or no name at all: what failed, and what to do."""
    with pytest.raises(AssetError, match=r"(?s)could not be fetched.*Check the name and the connection"):
        sl.load(name, TASKS["google-bert/bert-base-uncased"]())


def test_pickles_are_refused(full, tmp_path, monkeypatch):
    folder = hub.snapshot(tmp_path, "old/model")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    torch.save({}, folder / "pytorch_model.bin")
    hub.use(monkeypatch, tmp_path)
    with pytest.raises(AssetError, match=r"no safetensors file.*refs/pr"):
        sl.load("old/model", TASKS["google-bert/bert-base-uncased"]())


def test_other_kinds_and_other_names(full):
    """No detector comes from the hub; a revision belongs to the hub; names of the course work as before."""
    boxes = sl.Detect({"train": [{"image": torch.rand(3, 32, 32), "boxes": [[1, 1, 9, 9]], "labels": ["a"]}]}, ["a"])
    with pytest.raises(UnknownName, match="not for detection"):
        sl.load("google-bert/bert-base-uncased", boxes)
    with pytest.raises(ValueError, match="revision is for models of the hub"):
        sl.load("translator", TASKS["Helsinki-NLP/opus-mt-zh-en"](), revision="main")
    assert sl.load("translator", TASKS["Helsinki-NLP/opus-mt-zh-en"]()).name == "translator"
    with pytest.raises(UnknownName, match="Did you mean 'translator'"):
        sl.load("translater", TASKS["Helsinki-NLP/opus-mt-zh-en"]())


def test_missing_weights_are_an_error_and_a_folder_is_used_as_it_is(full, tmp_path):
    """P14 for the hub too; a copy of the files needs no hub."""
    from safetensors.torch import load_file, save_file

    name, task = "google-bert/bert-base-uncased", TASKS["google-bert/bert-base-uncased"]()
    source = full / f"models--{name.replace('/', '--')}" / "snapshots" / hub.COMMIT
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert sl.load(name, task, folder=tmp_path).loading["used"] > 10
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("bert.encoder.layer.0.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingWeights, match=r"encoder\.layer\.0\.output\.dense\.weight"):
        sl.load(name, task, folder=tmp_path)
