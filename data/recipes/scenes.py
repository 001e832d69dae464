"""Pretrain `scenes` on street scenes by day: python data/recipes/scenes.py

Trunk from `glyphnet` (run data/recipes/glyphnet.py first), then a feature pyramid, a Faster R-CNN and a dense predictor
on it, trained together on 3,000 scenes in the source style. Writes data/scenes. About 20 minutes on 2 cores. The scenes
are the same each time; the weights agree to rounding.

    python data/recipes/scenes.py --measure     # 40 scenes in the target style: fine-tuned against scratch, 3 seeds
"""

import argparse
import hashlib
import json
import math
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scenes_data import CLASSES, HEIGHT, LABELS, WIDTH, scene
from transformers import ResNetConfig

import sftlab as sl
from sftlab.model.loading import load_trunk
from sftlab.model.pyramid import DensePredictor, detector
from sftlab.sets import drawn

DATA = Path(__file__).resolve().parents[1]
FOLDER = DATA / "scenes"
SEED, SCENES, STEPS, BATCH, LR, WEIGHT_DECAY = 2026, 3000, 1800, 8, 1e-3, 0.05
FEW, SEEDS = 40, 3  # scenes to fine-tune on, and draws
# Fine-tuned and scratch take the same steps, each at the rate that was best on validation with one other draw, among
# 2e-4 to 1e-3 and 5e-4 to 4e-3 for detection, 5e-4 to 6e-3 and 1e-3 to 1e-2 for segmentation.
PLANS = {
    "detection": {"epochs": 20, "fine-tuned": 2e-4, "scratch": 2e-3},
    "segmentation": {"epochs": 20, "fine-tuned": 3e-3, "scratch": 3e-3},
}
PARTS = ("embedding_size", "hidden_sizes", "depths", "layer_type", "downsample_in_first_stage")


def numbered(i: int) -> dict:
    """A source scene as tensors; boxes and labels as torchvision wants them, 0 being the background."""
    found = scene("source", [100, i])
    return {
        "image": torch.from_numpy(found["image"]).permute(2, 0, 1),
        "mask": torch.from_numpy(found["mask"]),
        "boxes": torch.from_numpy(found["boxes"]),
        "labels": torch.from_numpy(found["labels"]) + 1,
    }


def sources(count: int = SCENES) -> list[dict]:
    """The scenes of pretraining. None of them is in data/street."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(numbered, range(count), chunksize=50))


def changed(found: dict, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Mirrored half of the time, brighter or darker, each colour on its own; image, mask, target."""
    image, mask, boxes = found["image"].float() / 255, found["mask"].long(), found["boxes"].clone()
    flip, light, *colour = torch.rand(5, generator=draw).tolist()
    if flip < 0.5:
        image, mask = image.flip(2), mask.flip(1)
        boxes[:, [0, 2]] = WIDTH - boxes[:, [2, 0]]
    image = image * (0.6 + 0.6 * light) * (0.85 + 0.3 * torch.tensor(colour))[:, None, None]
    return image.clamp(0, 1), mask, {"boxes": boxes, "labels": found["labels"]}


def build(facts: dict, glyphnet: Path = DATA / "glyphnet") -> tuple:
    """The detector and the dense predictor on one trunk, the trunk as `glyphnet` left it."""
    trunk, _ = load_trunk(glyphnet)
    config = ResNetConfig(**{part: getattr(trunk.config, part) for part in PARTS})
    torch.manual_seed(SEED)
    boxes, pixels = detector(config, facts, 1 + len(LABELS)), DensePredictor(config, facts, len(CLASSES))
    boxes.backbone.trunk.load_state_dict(trunk.state_dict())
    pixels.backbone = boxes.backbone
    return boxes, pixels


def losses(boxes, pixels, batch: list[tuple]) -> dict[str, torch.Tensor]:
    """The four losses of the detector and the cross-entropy of the pixels, means over the batch."""
    images, masks, targets = zip(*batch, strict=True)
    ready, targets = boxes.transform(list(images), list(targets))  # normalised and doubled, as the dense predictor does
    maps = boxes.backbone(ready.tensors)
    proposals, found = boxes.rpn(ready, maps, targets)
    found |= boxes.roi_heads(maps, proposals, ready.image_sizes, targets)[1]
    logits = F.interpolate(pixels.logits(maps), (HEIGHT, WIDTH), mode="bilinear")
    return found | {"loss_pixels": F.cross_entropy(logits, torch.stack(masks))}


def optimizer_for(boxes, pixels) -> torch.optim.AdamW:
    parameters = list({id(p): p for model in (boxes, pixels) for p in model.parameters()}.values())
    decayed, others = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LR, fused=True)


def pretrain(boxes, pixels, optimizer, scenes: list[dict], steps: range, total: int = STEPS, show=print) -> None:
    """Some steps of ``total``; each draws its scenes from its own seed, so that a run can be cut into pieces."""
    boxes.train(), pixels.train()
    began, mean = time.perf_counter(), {}
    for step in steps:
        draw = torch.Generator().manual_seed(SEED + step)
        chosen = torch.randint(len(scenes), (BATCH,), generator=draw).tolist()
        torch.manual_seed(SEED + step)  # torchvision draws anchors and proposals
        found = losses(boxes, pixels, [changed(scenes[i], draw) for i in chosen])
        progress = (step + 0.5) / total
        for group in optimizer.param_groups:
            group["lr"] = LR * min(progress / 0.05, 0.5 * (1 + math.cos(math.pi * progress)))
        optimizer.zero_grad()
        sum(found.values()).backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 5.0)
        optimizer.step()
        for name, value in found.items():
            mean[name] = mean.get(name, value.item()) * 0.97 + value.item() * 0.03
        if (step + 1) % 50 == 0:
            each = " ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in mean.items())
            show(f"step {step + 1} of {total}: {each}, {time.perf_counter() - began:.0f} s")
    boxes.eval(), pixels.eval()


def scores(boxes, pixels) -> dict[str, float]:
    """What the pretrained heads themselves reach: on new scenes in the source style, and on the target style."""
    out = {}
    for split, style in (("source", "source"), ("test", "target")):
        out[f"{style} map"] = sl.evaluate(boxes, drawn.street(), split)["map"]
        out[f"{style} mean_iou"] = sl.evaluate(pixels, drawn.street_segmentation(), split)["mean_iou"]
    return {name: round(value, 3) for name, value in out.items()}


def save(boxes, pixels, facts: dict, seconds: float) -> None:
    FOLDER.mkdir(exist_ok=True)
    state = {**pixels.state_dict(), **boxes.state_dict()}
    state = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    save_file(state, FOLDER / "model.safetensors")
    (FOLDER / "model.safetensors").chmod(0o644)
    boxes.backbone.trunk.config.to_json_file(FOLDER / "config.json")
    names = ("torch", "torchvision", "transformers", "numpy", "pillow")
    write(
        {
            "architecture": "ResNetModel (transformers), feature pyramid, Faster R-CNN (torchvision), dense predictor",
            "parameters": sum(v.numel() for v in state.values()),
            "tasks": ["detection", "segmentation"],
            **facts,
            "classes": {"detection": LABELS, "segmentation": CLASSES},
            "source": f"{SCENES:,} drawn street scenes by day; the trunk before that: glyphnet",
            "scores": scores(boxes, pixels),
            "recipe": "python data/recipes/scenes.py",
            "seconds": round(seconds),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in names},
        }
    )


def write(facts: dict) -> None:
    files = {
        file: hashlib.sha256((FOLDER / file).read_bytes()).hexdigest() for file in ("config.json", "model.safetensors")
    }
    title = "a feature pyramid for boxes and pixels, pretrained on drawn street scenes by day"
    about = {"name": "scenes", "kind": "checkpoint", "title": title, "facts": facts, "files": files}
    (FOLDER / "asset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def few(task, seed: int):
    """The task with 40 of its 160 scenes."""
    chosen = torch.randperm(len(task.examples("train")), generator=torch.Generator().manual_seed(seed))[:FEW].tolist()
    task.splits["train"] = [task.examples("train")[i] for i in chosen]
    return task


def tuned(kind: str, pretrained: bool, seed: int, split: str = "test", rate: float | None = None) -> dict[str, float]:
    """Fine-tune everything, or train the same architecture from random weights, and evaluate."""
    task = few(drawn.street() if kind == "detection" else drawn.street_segmentation(), seed)
    rate = rate or PLANS[kind]["fine-tuned" if pretrained else "scratch"]
    model = sl.load("scenes", task, seed=seed, pretrained=pretrained)
    plan = sl.full(epochs=PLANS[kind]["epochs"], lr=rate, head_lr=max(rate, 1e-3))
    began = time.perf_counter()
    sl.fit(model, task, plan, batch=8, seed=seed, validate=None, show=False)
    seconds = time.perf_counter() - began
    return {**sl.evaluate(model, task, split), "seconds": seconds}


def measure() -> dict:
    """Mean and standard deviation over draws of 40 scenes; printed, and written into asset.json."""
    out = {}
    for kind, metrics in (("detection", ("map", "map_50", "seconds")), ("segmentation", ("mean_iou", "seconds"))):
        for pretrained in (True, False):
            runs = [tuned(kind, pretrained, seed) for seed in range(SEEDS)]
            name = f"{kind}, {'fine-tuned' if pretrained else 'scratch'}"
            columns = {metric: torch.tensor([run[metric] for run in runs]) for metric in metrics}
            out[name] = {metric: [round(float(x.mean()), 3), round(float(x.std()), 3)] for metric, x in columns.items()}
            print(name, out[name], flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="fine-tune on 40 target scenes and compare with scratch")
    if parser.parse_args().measure:
        facts = json.loads((FOLDER / "asset.json").read_text(encoding="utf-8"))["facts"]
        write({**facts, "measured": measure()})
        return
    began = time.perf_counter()
    glyphnet = json.loads((DATA / "glyphnet" / "asset.json").read_text(encoding="utf-8"))["facts"]
    facts = {"mean": glyphnet["mean"], "std": glyphnet["std"], "image_size": [HEIGHT, WIDTH]}
    scenes = sources()
    boxes, pixels = build(facts)
    pretrain(boxes, pixels, optimizer_for(boxes, pixels), scenes, range(STEPS))
    save(boxes, pixels, facts, time.perf_counter() - began)


if __name__ == "__main__":
    main()
