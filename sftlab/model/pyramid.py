"""The two models of `scenes`: a detector and a dense predictor on one trunk with a feature pyramid."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from transformers import AutoConfig, ResNetModel

from ..assets import card
from ..errors import AssetError, MissingWeights, few
from .heads import init_head

WIDTH = 64  # channels of every level of the pyramid
ZOOM = 2  # images are doubled, so that the finest level has a step of 2 of their pixels, small next to a distant sign


class Pyramid(nn.Module):
    """A ResNet of transformers and a feature pyramid.

    Shapes: [batch, 3, H, W] -> ``{"0": [batch, 64, H/4, W/4], ..., "3": [batch, 64, H/32, W/32]}``.

    Source: Lin et al. (2017), Feature Pyramid Networks for Object Detection, section 3.
    """

    out_channels = WIDTH

    def __init__(self, config):
        super().__init__()
        self.trunk = ResNetModel(config)
        self.fpn = FeaturePyramidNetwork(config.hidden_sizes, WIDTH)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
        maps = self.trunk(images, output_hidden_states=True).hidden_states[1:]
        return self.fpn({str(i): x for i, x in enumerate(maps)})


class BoxHead(nn.Module):
    """Two linear layers on each pooled box; in a list, so that a plan's layers end with the predictor alone."""

    def __init__(self, pooled: int, width: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH * pooled**2, width), nn.Linear(width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return x


def detector(config, facts: dict, classes: int) -> FasterRCNN:
    """A Faster R-CNN for small pictures: anchors of 6 to 48 of their pixels, few proposals, few boxes in the loss.

    ``classes`` counts the background. Pictures of the size of pretraining, ``facts["image_size"]`` (height, width), are
    doubled; of others the shorter side is brought to twice that height.
    """
    levels, pooled, width = [str(i) for i in range(len(config.hidden_sizes))], 5, 128
    sizes, ratios = [(ZOOM * 6 * 2**i,) for i in range(len(levels))], [(0.5, 1.0, 2.0)] * len(levels)
    return FasterRCNN(
        Pyramid(config),
        min_size=ZOOM * min(facts["image_size"]),
        max_size=2 * ZOOM * max(facts["image_size"]),  # for pictures much wider than high; no limit to a photo
        image_mean=facts["mean"], image_std=facts["std"],
        rpn_anchor_generator=AnchorGenerator(sizes, ratios),
        rpn_pre_nms_top_n_train=200, rpn_post_nms_top_n_train=200, rpn_batch_size_per_image=64,
        rpn_pre_nms_top_n_test=200, rpn_post_nms_top_n_test=100,
        box_batch_size_per_image=32, box_detections_per_img=50,
        box_roi_pool=MultiScaleRoIAlign(levels, pooled, sampling_ratio=2, canonical_scale=112),
        box_head=BoxHead(pooled, width),
        box_predictor=FastRCNNPredictor(width, classes),
    )  # fmt: skip


class DensePredictor(nn.Module):
    """All levels brought to the size of the finest and added up, a convolution, a 1x1 head, logits at full size.

    Shapes: ``input`` [batch, 3, H, W] in [0, 1] -> logits [batch, classes, H, W].

    Source: Kirillov et al. (2019), Panoptic Feature Pyramid Networks, section 3, with less on each level.
    """

    def __init__(self, config, facts: dict, classes: int):
        super().__init__()
        self.register_buffer("shift", torch.tensor(facts["mean"])[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(facts["std"])[:, None, None], persistent=False)
        self.backbone = Pyramid(config)
        self.mix = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        images = F.interpolate((input - self.shift) / self.scale, scale_factor=ZOOM, mode="bilinear")
        return F.interpolate(self.logits(self.backbone(images)), input.shape[-2:], mode="bilinear")

    def logits(self, maps: dict[str, torch.Tensor]) -> torch.Tensor:
        finest, *coarser = maps.values()
        return self.head(self.mix(finest + sum(F.interpolate(x, finest.shape[-2:], mode="bilinear") for x in coarser)))


def load_scenes(place: Path, task, seed: int, pretrained: bool) -> nn.Module:
    """A detector or a dense predictor from the folder of `scenes`, with a new last layer; see :func:`sftlab.load`."""
    from safetensors.torch import load_file

    build, last = (detector, "roi_heads.box_predictor.") if task.kind == "detection" else (DensePredictor, "head.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = AutoConfig.from_pretrained(place, local_files_only=True)
            found = load_file(place / "model.safetensors") if pretrained else {}
        except Exception as error:  # safetensors has one of its own
            raise AssetError(f"{place} does not hold a checkpoint that can be read: {error}") from error
        model = build(config, card("scenes")["facts"], len(task.label_names))
    for number, layer in enumerate(m for m in model.get_submodule(last[:-1]).modules() if hasattr(m, "weight")):
        init_head(layer, seed + number)
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith(last)}
    bad = [name for name in wanted if pretrained and getattr(found.get(name), "shape", None) != wanted[name].shape]
    if bad:
        raise MissingWeights(f"{place}: {len(bad)} weights below the head are missing or reshaped: {few(bad, 5)}")
    model.load_state_dict({name: found.get(name, value) for name, value in wanted.items()}, strict=False)
    new = [name for name in model.state_dict() if name.startswith(last)]
    model.loading = {"used": len(wanted) * pretrained, "unused": sorted(set(found) - set(wanted)), "new": new}
    return model
