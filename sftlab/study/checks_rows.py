"""What can be seen in the rows: values, boxes, duplicates, leaks between splits, balance."""

from collections import Counter
from collections.abc import Mapping

import torch

from ..errors import few
from .checks_base import Batch, check, fault, ok, select, warning
from .checks_program import Program

MOST = {False: 4000, True: 500}  # rows of a split that are compared; True: rows of numbers


@check("finite inputs", "P4", spoils="loss")
def finite_inputs(program: Program):
    parts = [(number, key, value) for number, b in enumerate(program.batches) for key, value in b.values.items()]
    for number, batch in enumerate(program.batches):
        if isinstance(batch.labels, torch.Tensor) and batch.labels.is_floating_point():
            parts.append((number, "labels", batch.labels))
    if not parts:
        return None
    bad = [f"batch {number} {key}, row {row}" for number, key, value in parts
           for row in (~torch.isfinite(value)).reshape(len(value), -1).any(1).nonzero().flatten().tolist()]  # fmt: skip
    if bad:
        return fault(f"NaN or infinite: {few(bad)}", "mend or drop these rows; look for log(0), 0/0, empty columns")
    return ok(f"all finite in {len(parts)} tensors")


@check("input scale", "S12")
def input_scale(program: Program):
    dims = 3 if program.batches[0].boxes else 4  # a detector's images come one by one
    value = next((v for b in program.batches for v in b.values.values() if v.dim() == dims), None)
    if value is None or value.shape[-3] not in (1, 3):
        return None
    images = torch.cat([v.reshape(-1, *value.shape[-3:]) for b in program.batches
                        for v in b.values.values() if v.shape[-3:] == value.shape[-3:]]).float()  # fmt: skip
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    low, high = float(images.min()), float(images.max())
    seen = f"range {low:.3g} to {high:.3g}, mean {_numbers(mean)}, std {_numbers(std)}"
    if low >= 0 and 20 < high < 256:
        return fault(seen, "pixels 0..255: divide by 255, then normalise as in pretraining")
    if low < 0 and len(mean) == 3 and (float(mean.abs().max()) > 1.5 or float(std.max()) > 2.5):
        return fault(seen, "normalised twice, or with another mean and std than in pretraining")
    if program.expects is not None and low >= 0 and high <= 1:
        return fault(seen, f"not normalised; the model expects mean {program.expects[0]}, std {program.expects[1]}")
    return ok(seen)


def _numbers(values: torch.Tensor) -> str:
    return "/".join(f"{float(v):.2g}" for v in values)


@check("inputs differ", "S12")
def inputs_differ(program: Program):
    rows = [key for key, _ in batch_rows(program, program.batches)]
    if len(rows) < 2:
        return None
    if len(set(rows)) == 1:
        return fault(f"{len(rows)} rows, all the same", "look at the loader: every sample has the same input")
    return ok(f"{len(set(rows))} different inputs in {len(rows)} rows")


@check("boxes", "P34, S14", spoils="loss")
def boxes(program: Program):
    if not program.batches[0].boxes:
        return None
    bad, count, low = [], 0, 1
    pairs = [pair for b in program.batches for pair in zip(b.inputs, b.labels, strict=True)]
    for number, (image, target) in enumerate(pairs):
        found = target["boxes"]
        if found.dim() != 2 or found.shape[-1] != 4:
            bad.append(f"image {number}: boxes of shape {list(found.shape)}, not [n, 4]")
            continue
        count += len(found)
        low = min([low, *target["labels"].tolist()])
        height, width = image.shape[-2:]
        limit = torch.tensor([width, height, width, height], device=found.device)
        for at, box in enumerate(found):
            if bool((box[2:] <= box[:2]).any()):
                bad.append(f"image {number} box {at}: x2 <= x1 or y2 <= y1")
            elif bool((box > limit + 1).any() or (box < -1).any()):
                bad.append(f"image {number} box {at}: outside of the image")
            elif float(box.max()) <= 1:
                bad.append(f"image {number} box {at}: coordinates 0 to 1, not pixels")
    if bad:
        return fault(f"{len(bad)} bad of {count}: {few(bad, 2)}", "boxes are [x1, y1, x2, y2] in pixels of the image "
                     "as it enters the model; no box is zeros(0, 4)")  # fmt: skip
    if low < 1:
        return fault("label 0 in the targets", "0 is the background: number the classes from 1")
    return ok(f"{count} boxes in {len(pairs)} images")


def batch_rows(program: Program, batches: list[Batch]) -> list[tuple]:
    """(what identifies the input, label) of every row; token ids without their padding."""
    rows = []
    for batch in batches:
        real = program.real(batch) if batch.ids is not None else None
        for at in range(batch.size):
            one, label = (select(x, [at], batch.size) for x in (batch.inputs, batch.labels))
            key = _key(one) if real is None else tuple(batch.ids[at][real[at]].tolist())
            rows.append((key, tuple(label.flatten().tolist()) if isinstance(label, torch.Tensor) else repr(label)))
    return rows


def _key(value):
    """Letters and digits of a text, in lower case; a hash of numbers."""
    if isinstance(value, str):
        return tuple("".join(c if c.isalnum() else " " for c in value.lower()).split())
    if isinstance(value, torch.Tensor):
        return hash(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    if isinstance(value, Mapping):
        return hash(tuple(_key(v) for k, v in value.items() if "mask" not in k))
    if not isinstance(value, list | tuple):
        return value
    words = all(isinstance(v, str) for v in value)
    return tuple(v.lower() for v in value) if words else hash(tuple(map(_key, value)))


def split_rows(program: Program, split: str) -> list[tuple]:
    """(key, label) per row of a loader, or per example of a task: at most MOST, all over the split."""
    if split not in program.rows:
        found, task = program.held_out.get(split, ()), program.task
        if task is None:
            program.rows[split] = batch_rows(program, found)
        elif found:
            step = max(1, len(found) // MOST[isinstance(found[0].get(task.inputs.column), torch.Tensor)])
            pairs = ((e.get(task.inputs.column), e.get(task.label_column)) for e in found[::step])
            whole = str | list | tuple | Mapping | torch.Tensor  # the number of a user or an item is no content
            program.rows[split] = [(_key(value), repr(label)) for value, label in pairs if isinstance(value, whole)]
    return program.rows.get(split, [])


@check("split leak", "S22")
def split_leak(program: Program):
    train, others = [key for key, _ in split_rows(program, "train")], [s for s in program.held_out if s != "train"]
    if not train or not others:
        return None
    known, places, parts, worst = set(train), {}, [], 0.0
    for key in known:
        for word in set(key) if isinstance(key, tuple) else ():
            places.setdefault(word, []).append(key)
    for split in others:
        keys = [key for key, _ in split_rows(program, split)]
        exact = [at for at, key in enumerate(keys) if key in known]
        near = [at for at, key in enumerate(keys) if key not in known and _near(key, places)]
        if exact or near:
            parts.append(f"{split}: {len(exact)} equal, {len(near)} nearly, of {len(keys)}; rows {few(exact + near)}")
            worst = max(worst, (len(exact) + len(near)) / len(keys))
    if not parts:
        return ok(f"no row of {', '.join(others)} in train")
    return (fault if worst > 0.05 else warning)("; ".join(parts), "remove them from train: the score would be memory")


def _near(key, places: dict) -> bool:
    """Four words in five are those of one training text; then at least one of its rarest fifth is among them."""
    if not isinstance(key, tuple) or len(words := set(key)) < 5:
        return False
    rare = sorted(words, key=lambda w: len(places.get(w, ())))[: len(words) // 5 + 1]
    return any(len(words & set(k)) >= 0.8 * len(words | set(k)) for w in rare for k in places.get(w, ()))


@check("contradictions", "S22")
def contradictions(program: Program):
    seen: dict = {}
    for key, label in split_rows(program, "train"):
        seen.setdefault(key, []).append(label)
    if len(seen) < 2:
        return None  # said by "inputs differ"
    twice = [labels for labels in seen.values() if len(labels) > 1]
    against = [labels for labels in twice if len(set(labels)) > 1]
    if against:
        return warning(f"{len(against)} inputs have different labels: {few(against[0], 2)}",
                       "decide which label is right, or drop these rows")  # fmt: skip
    return ok(f"{len(twice)} inputs occur more than once, always with the same label")


@check("class balance", "S25", needs="outputs")
def class_balance(program: Program):
    labels = [label for _, label in split_rows(program, "train")]
    one_each = all(b.class_labels is not None and b.class_labels.dim() == 1 for b in program.batches)
    if len(labels) < 16 or not one_each or (program.class_count or 2) < 2:
        return None
    counts = Counter(labels)
    label, most = counts.most_common(1)[0]
    while isinstance(label, tuple) and len(label) == 1:  # a loader's label comes in the form of its batch
        label = label[0]
    seen = f"{len(counts)} classes in {len(labels)} rows; the largest ({label}) has {most / len(labels):.0%}"
    if len(counts) == 1:
        return warning(seen, "one class only: is the loader shuffled? is the label column the right one?")
    if most > 0.8 * len(labels):
        return warning(seen, "report balanced measures beside the majority baseline, weigh or resample")
    return ok(seen)
