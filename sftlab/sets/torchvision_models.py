"""Torchvision's own models, with its weights, by name: ``sl.load("torchvision/resnet50", task)``."""

from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from .. import assets, env
from ..errors import AssetError, UnknownName, unknown
from ..model.heads import init_head
from .download import download, only_in_full
from .pickles import as_safetensors

PREFIX = "torchvision/"
MODULES = {
    "image classification": "torchvision.models",
    "detection": "torchvision.models.detection",
    "segmentation": "torchvision.models.segmentation",
}
# Torchvision's files carry the first eight digits of their sha256 in their names. Where the whole digest is publicly
# known it stands here. What is made of a file (see ``fetch``) has its digest beside it, and must keep it.
DIGESTS = {"resnet18-f37072fd.pth": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"}


def names(kind: str) -> list[str]:
    """The models for a kind of task: those whose new last layer :func:`load` knows where to put."""
    from torchvision import models

    if kind == "detection":
        return sorted(n for n in models.list_models(models.detection) if n.startswith("fasterrcnn_"))
    if kind == "segmentation":
        return sorted(models.list_models(models.segmentation))
    return sorted(n for n in models.list_models(models) if n.startswith(("resnet", "vgg", "mobilenet_v3", "densenet")))


def load(name: str, task, seed: int | None = None, pretrained: bool = True, dropout: float = 0.1) -> nn.Module:
    """A model of torchvision with a new last layer for ``task``, as :func:`sftlab.load` describes it.

    Classifiers get global average pooling, dropout and one linear layer, VGG too, whose old head had most of its
    weights. A Faster R-CNN gets a new predictor; its BatchNorm is frozen, as torchvision does it, unless ``pretrained``
    is False. A segmenter gets a new last convolution, normalises its images itself and loses its auxiliary head (S15).
    Everything can be trained: what is frozen is for the plan to say, not for torchvision's default of three stages.

    Raises:
        UnknownName: no such model, or none for this kind of task.
        AssetError: the profile is tiny, or the weights cannot be fetched.
    """
    from torchvision import models

    known = names(task.kind) if task.kind in MODULES else []
    short = name.removeprefix(PREFIX)
    if not known:
        raise UnknownName(f"torchvision's models are for {', '.join(MODULES)}; this task is {task.kind}.")
    if short not in known:
        raise unknown(f"model of torchvision for {task.kind}", short, known)
    seed = env.current().seed if seed is None else seed
    weights = models.get_model_weights(short).DEFAULT
    extra = {} if task.kind == "image classification" else {"weights_backbone": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if pretrained:
            with _fetched(weights) as found:
                model = models.get_model(short, weights=weights, **extra)
        else:
            found, model = {}, models.get_model(short, weights=None, **extra)
        new = _HEADS[task.kind](model, len(task.label_names), dropout)
    for number, layer in enumerate(m for n in new for m in model.get_submodule(n).modules() if hasattr(m, "bias")):
        init_head(layer, seed + number)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    state = model.state_dict()
    fresh = [key for key in state if key.startswith(tuple(f"{n}." for n in new))]
    model.loading = {"used": (len(state) - len(fresh)) * pretrained, "new": fresh,
                     "unused": sorted(set(found) - set(state) | set(found) & set(fresh))}  # fmt: skip
    seen = weights.transforms()
    if task.kind == "detection":
        model.roi_heads.box_head = BoxHead(model.roi_heads.box_head)
    elif task.kind == "image classification":
        model.image_size, model.mean, model.std = seen.crop_size[0], seen.mean, seen.std
    else:
        from torchvision.transforms import v2

        model.backbone = nn.Sequential(v2.Normalize(seen.mean, seen.std), model.backbone)
    model.name = PREFIX + short
    return model.eval()


def _new_classifier(model: nn.Module, classes: int, dropout: float) -> list[str]:
    if hasattr(model, "fc"):
        width, last = model.fc.in_features, "fc"
    else:
        width = next(m.in_features for m in model.classifier.modules() if isinstance(m, nn.Linear))
        last = "classifier"
        if hasattr(model, "avgpool"):  # VGG pools to 7 x 7
            width //= _area(model.avgpool.output_size)
            model.avgpool = nn.AdaptiveAvgPool2d(1)
    setattr(model, last, nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes)))
    return [f"{last}.1"]


def _area(size) -> int:
    return size**2 if isinstance(size, int) else size[0] * size[1]


def _new_predictor(model: nn.Module, classes: int, dropout: float) -> list[str]:
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

    width = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor = FastRCNNPredictor(width, classes)
    return ["roi_heads.box_predictor"]


class BoxHead(nn.Module):
    """Torchvision's layers on each pooled box, in a list, so that a plan's layers end with the predictor alone."""

    def __init__(self, head: nn.Module):
        super().__init__()
        two = hasattr(head, "fc6")  # torchvision writes the first version's steps into its forward
        self.layers = nn.ModuleList(
            [nn.Flatten(), head.fc6, nn.ReLU(), head.fc7, nn.ReLU()] if two else list(head.children())
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _new_segmenter(model: nn.Module, classes: int, dropout: float) -> list[str]:
    if hasattr(model, "aux_classifier"):
        model.aux_classifier = None
    sums = ("classifier.low_classifier", "classifier.high_classifier")  # LR-ASPP adds up two
    last = [n for n in sums if n in dict(model.named_modules())] or [f"classifier.{len(model.classifier) - 1}"]
    for place in last:
        parent, _, child = place.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Conv2d(model.get_submodule(place).in_channels, classes, 1))
    return last


_HEADS = {"image classification": _new_classifier, "detection": _new_predictor, "segmentation": _new_segmenter}


def fetch(weights) -> Path:
    """The weights of torchvision as safetensors, in torch's own cache (``TORCH_HOME``); fetched if not there.

    Torchvision gives out pickles. The file is checked, read once by torch's reader that can only make tensors
    (``weights_only``), and written again as safetensors, which is what is loaded from then on.

    Raises:
        AssetError: the profile is tiny; no connection; the file is another; the disk is full.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    source = folder / weights.url.rsplit("/", 1)[-1]
    target = source.with_suffix(".safetensors")
    if target.is_file():
        return as_safetensors(source, target)
    only_in_full(f"{source.name} holds weights of torchvision")
    expected = DIGESTS.get(source.name, source.stem.rsplit("-", 1)[-1])
    download(weights.url, source, expected)
    if not assets.sha256(source).startswith(expected):  # it lay there: another program fetched half of it
        raise AssetError(f"{source} is truncated or altered. Delete it: it is then fetched again.")
    return as_safetensors(source, target)


@contextmanager
def _fetched(weights):
    """Torchvision's builders ask their weights for the tensors: they get those of :func:`fetch`, and no pickle."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = fetch(weights)
    try:
        state = load_file(place)
    except (OSError, SafetensorError) as error:
        raise AssetError(f"{place} cannot be read: {error}. Delete it: it is then made again.") from error
    kind = type(weights)
    kind.get_state_dict = lambda self, *args, **keywords: dict(state)
    try:
        yield state
    finally:
        del kind.get_state_dict  # back to the one it inherits
