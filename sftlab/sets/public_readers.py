"""What the files of public data sets hold, as tasks; archives are read in memory, nothing is unpacked onto the disk."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import SftlabError
from ..tasks.classify import Classify, TagTokens
from ..tasks.inputs import ImageInput
from ..tasks.language import CausalLM, Seq2Seq
from ..tasks.vision import Detect

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CONLL = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
SIDE = 256  # pixels of the longer side of photos, at most


def _parquet(path: Path, columns: list[str]) -> Iterator[dict]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise SftlabError('this data set is stored as Parquet: pip install "sftlab[full]"') from None
    try:
        yield from parquet.read_table(path, columns=columns).to_pylist()
    except ArrowException as error:
        raise ValueError(error) from error


def _bucket(key: str, count: int) -> int:
    """One of ``count`` numbers, by a digest of the key: the same on every machine."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % count


def _split(key: str) -> str:
    """A split of its own for sets that have none: eight tenths train, one val, one test, by a digest of the key."""
    return ("val", "test", *["train"] * 8)[_bucket(key, 10)]


def _divided(rows: Iterable[tuple[str, dict]]) -> dict[str, list[dict]]:
    splits = {"train": [], "val": [], "test": []}
    for key, row in rows:
        splits[_split(key)].append(row)
    return splits


def _photo(content: bytes, side: int = SIDE) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        image.thumbnail((side, side), Image.Resampling.BILINEAR)
        return image.convert("RGB")


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def sst2(place: Path) -> Classify:
    """Its own test split has no labels: ``test`` is the published validation split, ``val`` is taken from train."""
    names, splits = ["negative", "positive"], {"train": [], "val": [], "test": []}
    for file, split in (("train.parquet", None), ("validation.parquet", "test")):
        for row in _parquet(place / file, ["sentence", "label"]):
            text = row["sentence"].strip()
            held = "val" if _bucket(text, 40) == 0 else "train"
            splits[split or held].append({"text": text, "label": names[row["label"]]})
    return Classify(splits, names, name="sst2")


def conll2003(place: Path) -> TagTokens:
    """The published splits; sentences without words are left out."""
    splits = {}
    for split, file in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = _parquet(place / f"{file}.parquet", ["tokens", "ner_tags"])
        splits[split] = [{"words": r["tokens"], "tags": [CONLL[k] for k in r["ner_tags"]]} for r in rows if r["tokens"]]
    return TagTokens(splits, CONLL, name="conll2003")


def kde4(place: Path) -> Seq2Seq:
    """Pairs that occur twice count once."""
    with zipfile.ZipFile(place / "en-zh_CN.txt.zip") as archive:
        en, zh = (archive.read(f"KDE4.en-zh_CN.{side}").decode().split("\n") for side in ("en", "zh_CN"))
    if len(en) != len(zh):
        raise ValueError(f"{len(en)} English and {len(zh)} Chinese lines")
    pairs = dict.fromkeys((z.strip(), e.strip()) for z, e in zip(zh, en, strict=True))
    rows = ((e, {"zh": z, "en": e}) for z, e in pairs if z and e)  # by the English side: equal ones stay together
    return Seq2Seq(_divided(rows), source="zh", target="en", name="opus-kde4")


def dolly(place: Path) -> CausalLM:
    """Conversations of two turns; what is given with a question stands below it."""

    def rows():
        for line in (place / "databricks-dolly-15k.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            asked = "\n\n".join(filter(None, [row["instruction"].strip(), row["context"].strip()]))
            answer = row["response"].strip()
            if asked and answer:
                messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
                yield asked, {"messages": messages, "kind": row["category"]}

    return CausalLM(_divided(rows()), name="dolly")


def cifar10(place: Path) -> Classify:
    """``val`` is every tenth picture of the published training split."""
    splits = {"train": [], "val": [], "test": []}
    for file in ("train", "test"):
        for number, row in enumerate(_parquet(place / f"{file}.parquet", ["img", "label"])):
            split = "val" if file == "train" and number % 10 == 0 else file
            image = _pixels(_photo(row["img"]["bytes"]))
            splits[split].append({"image": image, "label": CIFAR10[row["label"]]})
    return Classify(splits, CIFAR10, ImageInput(), name="cifar10")


def pets(place: Path) -> Classify:
    """Cat or dog; the breed stands beside. ``val`` is a tenth of the published training split."""
    about = {}
    with tarfile.open(place / "annotations.tar.gz") as archive:
        for split in ("trainval", "test"):
            for line in archive.extractfile(f"annotations/{split}.txt").read().decode().splitlines():
                stem, _, species, _ = line.split()
                held = "val" if split == "trainval" and _split(stem) == "val" else split.replace("trainval", "train")
                about[stem] = held, ["cat", "dog"][int(species) - 1]
    splits = {"train": [], "val": [], "test": []}
    with tarfile.open(place / "images.tar.gz") as archive:
        for member in archive:
            stem = Path(member.name).stem
            if member.isfile() and member.name.endswith(".jpg") and stem in about:
                split, label = about.pop(stem)
                image = _pixels(_photo(archive.extractfile(member).read()))
                splits[split].append(
                    {"image": image, "label": label, "breed": stem.rpartition("_")[0].replace("_", " ")}
                )
    if about:
        raise ValueError(f"{len(about)} pictures are listed and missing, such as {next(iter(about))}")
    return Classify(splits, ["cat", "dog"], ImageInput(), name="oxford-pets")


def penn_fudan(place: Path) -> Detect:
    """Boxes around the people of each mask, whose pixels count the people from 1; photos shrink with their boxes."""

    def rows():
        with zipfile.ZipFile(place / "PennFudanPed.zip") as archive:
            for name in sorted(n for n in archive.namelist() if "/PNGImages/" in n and n.endswith(".png")):
                image = _photo(archive.read(name), 2 * SIDE)
                mask = archive.read(name.replace("PNGImages", "PedMasks").replace(".png", "_mask.png"))
                with Image.open(io.BytesIO(mask), formats=("PNG",)) as found:
                    people = np.array(found)
                scale = image.width / people.shape[1], image.height / people.shape[0]
                boxes = []
                for person in sorted(set(np.unique(people).tolist()) - {0}):
                    y, x = np.nonzero(people == person)
                    corners = x.min() * scale[0], y.min() * scale[1], (x.max() + 1) * scale[0], (y.max() + 1) * scale[1]
                    boxes.append([float(value) for value in corners])
                yield name, {"input": _pixels(image).float() / 255, "boxes": boxes, "labels": ["person"] * len(boxes)}

    return Detect(_divided(rows()), ["person"], name="penn-fudan")
