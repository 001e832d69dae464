"""``sl.load("torchvision/...")``: weights fetched from a server on loopback, small, in the true formats."""

import os

import pytest
import torch
import web
import zoo

import sftlab as sl
from sftlab.errors import AssetError, UnknownName
from sftlab.model.layers import layer_map
from sftlab.sets import torchvision_models

RESNET, VGG, RCNN, DEEPLAB, LRASPP = (
    "resnet18", "vgg11", "fasterrcnn_resnet50_fpn", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large",
)  # fmt: skip


@pytest.fixture
def server(monkeypatch):
    with web.serve() as found:
        yield found


@pytest.fixture
def home(tmp_path):
    return tmp_path / "torch"


def classes():
    draw = torch.Generator().manual_seed(0)
    rows = [{"image": torch.rand(3, 40, 40, generator=draw), "label": "ab"[i % 2]} for i in range(8)]
    return sl.Classify({"train": rows, "test": rows}, ["a", "b"], sl.ImageInput())


def boxes():
    rows = [{"input": torch.rand(3, 64, 96), "boxes": [[10.0, 10.0, 60.0, 50.0]], "labels": ["car"]} for _ in range(4)]
    return sl.Detect({"train": rows, "test": rows}, ["car"])


def masks():
    rows = [{"input": torch.rand(3, 64, 64), "mask": (torch.rand(64, 64) > 0.5).long()} for _ in range(4)]
    return sl.Segment({"train": rows, "test": rows}, ["skin", "lesion"])


@pytest.mark.parametrize(
    ("name", "make", "last"),
    [
        (RESNET, classes, ["fc.1"]),
        (RCNN, boxes, ["roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"]),
        (DEEPLAB, masks, ["classifier.4"]),
        (LRASPP, masks, ["classifier.low_classifier", "classifier.high_classifier"]),
    ],
)
def test_weights_arrive_the_last_layer_is_new_and_it_trains(monkeypatch, server, home, name, make, last):
    stored = zoo.use(monkeypatch, home, server, name)[name]
    task = make()
    model, again, other = (sl.load(f"torchvision/{name}", task, seed=seed) for seed in (0, 0, 1))
    assert len(server.log) == 1, "the second and third come from the disk"
    assert model.name == f"torchvision/{name}" and not model.training
    assert model.loading["new"] == [f"{place}.{part}" for place in last for part in ("weight", "bias")]
    state = {key.replace("backbone.1.", "backbone.", 1): value for key, value in model.state_dict().items()}
    if name == RCNN:
        state = model.state_dict()
    used = [key for key in stored if key not in model.loading["unused"]]
    assert model.loading["used"] == len(used)
    for key in used:
        place = key.replace("roi_heads.box_head.fc6", "roi_heads.box_head.layers.1")
        assert torch.equal(state[place.replace("roi_heads.box_head.fc7", "roi_heads.box_head.layers.3")], stored[key])
    new = model.loading["new"][0]
    assert torch.equal(again.state_dict()[new], model.state_dict()[new])
    assert not torch.equal(other.state_dict()[new], model.state_dict()[new])
    assert all(p.requires_grad for p in model.parameters()), "torchvision freezes three stages; here the plan says"
    run = sl.fit(model, task, sl.full(epochs=1), batch=4, validate=None, show=False)
    assert run.cost.trained_parameters == sum(p.numel() for p in model.parameters())
    sl.evaluate(model, task, "test")


def test_vgg_gets_global_average_pooling(monkeypatch, server, home):
    """Its old head of 119 million weights goes; what is left is its convolutions and one layer."""
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    model = sl.load(f"torchvision/{VGG}", classes(), seed=0, pretrained=False)
    assert server.log == [] and model.loading["used"] == 0
    assert [layer.name for layer in layer_map(model)][-1] == "classifier"
    assert model.classifier[1].in_features == 512 and sum(p.numel() for p in model.parameters()) < 10e6
    assert model(torch.rand(2, 3, 50, 70)).shape == (2, 2)


def test_it_sees_images_as_torchvision_does(monkeypatch, server, home):
    """Size, mean and std are those of the weights; a segmenter normalises itself."""
    zoo.use(monkeypatch, home, server, RESNET, LRASPP)
    model = sl.load(f"torchvision/{RESNET}", classes())
    assert (model.image_size, model.mean, model.std) == (224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    segmenter, seen = sl.load(f"torchvision/{LRASPP}", masks()), []
    segmenter.backbone[1].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    segmenter(torch.full((1, 3, 64, 64), 0.5))
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, 0.094 / 0.225])


def test_norms_of_a_pretrained_detector_are_frozen(monkeypatch, server, home):
    """Two images in a batch are no statistics. From scratch they must be learnt."""
    zoo.use(monkeypatch, home, server, RCNN)
    kinds = [
        {type(m).__name__ for m in sl.load(f"torchvision/{RCNN}", boxes(), pretrained=p).modules()}
        for p in (True, False)
    ]
    assert "FrozenBatchNorm2d" in kinds[0] and "BatchNorm2d" not in kinds[0] and "BatchNorm2d" in kinds[1]


def test_the_head_of_a_detector_is_its_predictor(monkeypatch, server, home):
    """A plan that says "head only" trains two linear layers, not the box head below them."""
    zoo.use(monkeypatch, home, server, RCNN)
    model = sl.load(f"torchvision/{RCNN}", boxes(), seed=0)
    assert layer_map(model)[-1].name == "roi_heads.box_predictor"
    task = boxes()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sl.fit(model, task, sl.head_only(epochs=1), batch=2, validate=None, show=False)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == set(model.loading["new"])


def test_no_pickle_is_ever_unpickled(monkeypatch, server, home, tmp_path):
    """A file of weights that would run code is refused, and does not run it."""

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    zoo.use(monkeypatch, home, server, RESNET)
    zoo.put(monkeypatch, home, server, RESNET, {"conv1.weight": Runs()})
    with pytest.raises(AssetError, match="does not hold tensors"):
        sl.load(f"torchvision/{RESNET}", classes())
    assert not (tmp_path / "ran").exists()


def test_altered_and_truncated_files(monkeypatch, server, home):
    """On the server, in torch's cache, and in what was made of it."""
    zoo.use(monkeypatch, home, server, RESNET)
    path = next(iter(server.files))
    good = server.files[path]
    server.files[path] = good[:-1] + b"x"
    with pytest.raises(AssetError, match="not the file that was asked for"):
        sl.load(f"torchvision/{RESNET}", classes())
    cache = home / "hub" / "checkpoints"
    (cache / path).write_bytes(good[: len(good) // 2])  # as an older program leaves it
    with pytest.raises(AssetError, match="truncated or altered. Delete it"):
        sl.load(f"torchvision/{RESNET}", classes())
    (cache / path).unlink()
    server.files[path] = good
    sl.load(f"torchvision/{RESNET}", classes())
    made = next(cache.glob("*.safetensors"))
    made.write_bytes(made.read_bytes()[:-4] + b"....")
    with pytest.raises(AssetError, match="truncated or altered. Delete it"):
        sl.load(f"torchvision/{RESNET}", classes())
    made.unlink()
    sl.load(f"torchvision/{RESNET}", classes())


def test_interrupted_and_resumed(monkeypatch, server, home):
    zoo.use(monkeypatch, home, server, RESNET)
    server.breaks = [1_000_000]
    monkeypatch.setattr("sftlab.sets.download.time.sleep", lambda seconds: None)
    assert sl.load(f"torchvision/{RESNET}", classes()).loading["used"]
    assert [bool(wanted) for _, wanted in server.log] == [False, True]


def test_offline_and_tiny_profile(monkeypatch, server, home):
    zoo.use(monkeypatch, home, server, RESNET)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="nothing is downloaded"):
        sl.load(f"torchvision/{RESNET}", classes())
    monkeypatch.setenv("SFTLAB_PROFILE", "tiny")
    with pytest.raises(AssetError, match="the profile is tiny"):
        sl.load(f"torchvision/{RESNET}", classes())
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    sl.load(f"torchvision/{RESNET}", classes())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sl.load(f"torchvision/{RESNET}", classes())  # from the disk
    assert len(server.log) == 1


def test_names():
    with pytest.raises(UnknownName, match="Did you mean 'resnet18'"):
        sl.load("torchvision/resnet17", classes())
    with pytest.raises(UnknownName, match="detection"):
        sl.load("torchvision/resnet18", boxes())
    with pytest.raises(UnknownName, match="this task is text classification"):
        sl.load("torchvision/resnet18", sl.task("headlines"))
    with pytest.raises(UnknownName, match="has one version"):
        sl.load("torchvision/resnet18", classes(), revision="main")
    for kind in torchvision_models.MODULES:
        assert torchvision_models.names(kind)
