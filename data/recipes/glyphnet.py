"""Pretrain `glyphnet`, a small ResNet, on glyph_pictures.py: python data/recipes/glyphnet.py

Writes data/glyphnet: weights (with the head of the source task), transformers' configuration, and the facts that a
target task needs (mean, std, size of the pictures). Under a quarter of an hour on 2 cores. The pictures are the same
byte for byte each time, and so are the weights, on one kind of processor.
"""

import hashlib
import json
import math
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from glyph_pictures import GROUPS, Source
from transformers import ResNetConfig, ResNetForImageClassification

FOLDER = Path(__file__).resolve().parents[1] / "glyphnet"
SEED, STEPS, BATCH, LR, WEIGHT_DECAY, SMOOTHING = 2026, 7200, 128, 3e-3, 0.05, 0.1
# The network meets both sizes, the cheap one seven times as often. One after the other did worse: 64 at the end undid
# much of what 32 had taught.
SIZES, IMAGE_SIZE = (32, 32, 32, 32, 32, 32, 32, 64), 32
HELD_OUT = 10**6  # the first number of batches that no step sees
ARCHITECTURE = {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 176], "depths": [1, 1, 1, 1]}


def build(names: list[str], seed: int = SEED) -> ResNetForImageClassification:
    """The network with random weights: four stages of basic blocks, mean over positions, one linear layer."""
    config = ResNetConfig(
        num_channels=3,
        layer_type="basic",
        downsample_in_first_stage=False,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        **ARCHITECTURE,
    )
    torch.manual_seed(seed)
    return ResNetForImageClassification(config).to(memory_format=torch.channels_last)


def statistics(source: Source, batches: int = 16) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the source pictures, in units of the full range."""
    x = torch.cat([source.batch(HELD_OUT - 1 - i, BATCH, 32)[0] for i in range(batches)]).float() / 255
    rounded = [[round(value, 3) for value in values.tolist()] for values in (x.mean((0, 2, 3)), x.std((0, 2, 3)))]
    return rounded[0], rounded[1]


def prepare(images: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """uint8 pictures as the network wants them."""
    mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def pretrain(model, source: Source, mean, std, steps: int = STEPS, batch: int = BATCH, show=print) -> int:
    """Cross-entropy with label smoothing, AdamW, a rate that rises for 5 % of the steps and falls as a cosine.

    Returns: the number of pictures seen. A batch of large ones has half as many.
    """
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    model.train()
    began, mean_loss, seen = time.perf_counter(), 0.0, 0

    def draw(step: int):
        size = SIZES[step % len(SIZES)]
        return source.batch(step, batch if size == min(SIZES) else batch // 2, size)

    # One thread learns and another draws the next batch: two cores are busy, and sums do not depend on their number.
    torch.set_num_threads(1)
    with ThreadPoolExecutor(1, initializer=lambda: torch.set_num_threads(1)) as painter:
        ahead = painter.submit(draw, 0)
        for step in range(steps):
            images, labels = ahead.result()
            ahead = painter.submit(draw, step + 1)
            progress = (step + 0.5) / steps
            rate = min(progress / 0.05, 0.5 * (1 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = LR * rate
            logits = model(pixel_values=prepare(images, mean, std)).logits
            loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
            mean_loss += (float(loss.detach()) - mean_loss) * max(0.01, 1 / (step + 1))
            if (step + 1) % 400 == 0:
                show(f"step {step + 1:5d} of {steps}, loss {mean_loss:.3f}, {time.perf_counter() - began:.0f} s")
    model.eval()
    return seen


@torch.no_grad()
def accuracy(model, source: Source, mean, std, size: int, batches: int = 16) -> dict[str, float]:
    """Share of held-out pictures that get the right class: of all, and of each group of classes."""
    hits, groups = [], []
    owner = torch.cat([torch.full((len(r),), i) for i, r in enumerate(source.groups.values())])
    for i in range(batches):
        images, labels = source.batch(HELD_OUT + i, BATCH, size)
        hits.append(model(pixel_values=prepare(images, mean, std)).logits.argmax(dim=1) == labels)
        groups.append(owner[labels])
    hits, groups = torch.cat(hits).float(), torch.cat(groups)
    each = {name: round(float(hits[groups == i].mean()), 3) for i, name in enumerate(GROUPS)}
    return {"all": round(float(hits.mean()), 3), **each}


def save(model, source: Source, mean, std, seen: int, seconds: float, folder: Path = FOLDER) -> dict:
    """Write the checkpoint with its facts; returns asset.json as a dict."""
    scores = {f"{size} pixels": accuracy(model, source, mean, std, size) for size in sorted(set(SIZES))}
    folder.mkdir(parents=True, exist_ok=True)
    model.to(memory_format=torch.contiguous_format).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    processor = {
        "image_processor_type": "ConvNextImageProcessor",
        "do_resize": True,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
    sample = source.batch(HELD_OUT, BATCH, 32)[0]
    about = {
        "name": "glyphnet",
        "kind": "checkpoint",
        "title": "a small ResNet, pretrained on printed letters, shapes and textures, no digits",
        "facts": {
            "tasks": ["image classification"],
            "architecture": "ResNetForImageClassification (transformers), basic blocks",
            "parameters": sum(p.numel() for p in model.resnet.parameters()),
            "mean": mean,
            "std": std,
            "image_size": IMAGE_SIZE,
            "classes": {name: len(group) for name, group in source.groups.items()},
            "source": "letters of 14 scripts in 22 fonts, invented characters, shapes, textures; no digits",
            "left_out": source.left_out,
            "pictures": seen,
            "accuracy": scores,
            "pictures_sha256": hashlib.sha256(sample.numpy().tobytes()).hexdigest(),
            "recipe": "python data/recipes/glyphnet.py",
            "seconds": round(seconds),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("torch", "transformers", "numpy", "pillow", "matplotlib")},
        },
        "files": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("config.json", "model.safetensors", "preprocessor_config.json")
        },
    }
    (folder / "asset.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return about


def main() -> None:
    began = time.perf_counter()
    source = Source(SEED)
    print(f"{len(source.names)} classes, drawn in {time.perf_counter() - began:.0f} s")
    mean, std = statistics(source)
    model = build(source.names)
    seen = pretrain(model, source, mean, std)
    about = save(model, source, mean, std, seen, time.perf_counter() - began)
    print(json.dumps(about["facts"]["accuracy"], indent=2), f"{about['facts']['seconds']} s", file=sys.stderr)


if __name__ == "__main__":
    main()
