"""Torchvision's zoo without its weights: small random models under the true names, served on loopback as ``.pth``."""

import hashlib
from functools import partial

import torch
import torchvision
from torchvision.models import detection, resnet, segmentation


def _resnet(name, weights=None, **extra):
    return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=1000)


def _faster_rcnn(name, weights=None, weights_backbone=None, **extra):
    """Torchvision's own class on a body of five convolutions, with a pyramid; images of 96 pixels."""
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops.misc import FrozenBatchNorm2d

    norm = torch.nn.BatchNorm2d if weights is None else FrozenBatchNorm2d
    channels, body = [8, 16, 24, 32], torch.nn.Sequential()
    body.add_module("conv1", torch.nn.Conv2d(3, 8, 5, stride=4, padding=2))
    for i, (before, after) in enumerate(zip([8, *channels], channels, strict=False)):
        convolution = torch.nn.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1, bias=False)
        body.add_module(f"layer{i + 1}", torch.nn.Sequential(convolution, norm(after), torch.nn.ReLU()))
    backbone = BackboneWithFPN(body, {f"layer{i + 1}": str(i) for i in range(4)}, channels, 16)
    backbone.body.conv1.requires_grad_(False)  # as torchvision freezes what it takes for the bottom
    model = detection.FasterRCNN(
        backbone, num_classes=91, min_size=96, max_size=256,
        rpn_anchor_generator=detection.rpn.AnchorGenerator(
            tuple((s,) for s in (8, 16, 32, 64, 128)), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_pre_nms_top_n_train=50, rpn_post_nms_top_n_train=50,
        rpn_pre_nms_top_n_test=25, rpn_post_nms_top_n_test=25, box_detections_per_img=25,
    )  # fmt: skip
    if weights is not None:
        model.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))
    return model


def _deeplab(name, weights=None, weights_backbone=None, **extra):
    kind = segmentation.lraspp_mobilenet_v3_large if "lraspp" in name else segmentation.deeplabv3_mobilenet_v3_large
    more = {} if "lraspp" in name else {"aux_loss": weights is not None}
    model = kind(weights=None, weights_backbone=None, num_classes=21, **more)
    if weights is not None:
        model.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))
    return model


def _classifier(name, weights=None, **extra):
    model = _resnet(name) if name.startswith("resnet") else REAL(name, weights=None)
    if weights is not None:
        model.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))
    return model


REAL = torchvision.models.get_model


def builder(name: str):
    """What builds the small model of this name."""
    if name.startswith("fasterrcnn"):
        return partial(_faster_rcnn, name)
    return partial(_deeplab if name.startswith(("deeplab", "lraspp", "fcn")) else _classifier, name)


def use(monkeypatch, home, web, *names: str) -> dict[str, dict]:
    """Serve these models' files; returns the tensors of each. ``home`` is torch's cache from now on."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, **extra: builder(name)(**extra))
    states = {}
    for name in names:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            extra = {"weights_backbone": None} if name.startswith(("faster", "deeplab", "lraspp")) else {}
            states[name] = (builder(name)(**extra)).state_dict()
        if name.startswith("deeplab"):
            states[name] = segmentation.deeplabv3_mobilenet_v3_large(
                weights=None, weights_backbone=None, num_classes=21, aux_loss=True
            ).state_dict()
        put(monkeypatch, home, web, name, states[name])
    return states


def put(monkeypatch, home, web, name: str, state) -> str:
    """Serve what ``torch.save`` makes of ``state`` as the weights of ``name``; returns the path on the server."""
    file = home / f"{name}.made"
    home.mkdir(parents=True, exist_ok=True)
    torch.save(state, file)
    content = file.read_bytes()
    file.unlink()
    path = f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    web.files[path] = content
    weights = torchvision.models.get_model_weights(name).DEFAULT
    monkeypatch.setattr(type(weights), "url", property(lambda self: web.url(path)))
    return path
