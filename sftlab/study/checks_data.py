"""What can be seen in the data alone: label masks, token ids, pixel statistics, duplicates and leaks."""

from collections import Counter
from collections.abc import Mapping

import torch

from .checks_base import Batch, Program, check, fault, few, ok, select, warning


def _supervised(labels: torch.Tensor, ignore: int) -> torch.Tensor:
    return labels != ignore


@check("supervised labels", "P9, P11", spoils="loss")
def supervised_labels(program: Program):
    rows = [_supervised(b.class_labels, program.ignored).reshape(b.size, -1) for b in program.batches
            if b.class_labels is not None and b.class_labels.shape[:1] == (b.size,)]  # fmt: skip
    if not rows:
        return None
    counts = torch.cat([r.sum(1) for r in rows])
    places = sum(r.numel() for r in rows)
    empty = (counts == 0).nonzero().flatten().tolist()
    seen = f"{int(counts.sum())} labels of {places} places in {len(counts)} rows"
    if len(empty) == len(counts):
        return fault(f"no label in {len(counts)} rows: all are masked", "check the mask: does the template mark what "
                     "the assistant says ({% generation %})? is the prompt longer than the limit?")  # fmt: skip
    if empty:
        return warning(f"{seen}; {len(empty)} rows without any: {few(empty, 5)}",
                       "drop these rows, or cut the prompt instead of the answer")  # fmt: skip
    return ok(f"{seen}; least {int(counts.min())} per row")


@check("end of text", "P8")
def end_of_text(program: Program):
    eos = program.special("eos")
    if not eos or not (program.language or program.needs_labels):
        return None
    shown = learnt = ended = rows = 0
    for batch in program.batches:
        if batch.class_labels is None or (program.language and batch.ids is None):
            return None
        labels = batch.class_labels
        learnt += sum(int((labels == i).sum()) for i in eos)
        ids = batch.ids if program.language else labels
        shown += sum(int((ids[:, 1:] == i).sum()) for i in eos)
        ended += int(sum((ids == i).any(1) for i in eos).clamp(max=1).sum())
        rows += batch.size
    if learnt:
        return ok(f"{learnt} end-of-text labels in {rows} rows")
    if program.language and shown:
        return fault(f"{shown} end-of-text tokens in the inputs, 0 in the labels",
                     "mask padding by length, not by id: give the tokenizer a padding token of its own")  # fmt: skip
    whole = program.language and all(program.real(b).all() for b in program.batches)  # chunks of a long text
    if whole or ended:
        return None
    return warning(f"no end-of-text token in {rows} rows", "append tokenizer.eos_token to every answer, "
                   "or the model never learns to stop")  # fmt: skip


@check("end of turn", "P9")
def end_of_turn(program: Program):
    special = set(getattr(program.tokenizer, "all_special_ids", None) or ())
    special |= set(getattr(program.tokenizer, "added_tokens_decoder", None) or ())
    special -= program.special("eos") | program.special("pad") | program.special("bos")
    if not program.language or not special:
        return None
    spans = cut = 0
    for batch in program.batches:
        seen = _supervised(batch.class_labels, program.ignored)
        ends = seen[:, :-1] & ~seen[:, 1:] & program.real(batch)[:, 1:]
        wanted = torch.isin(batch.ids[:, 1:], torch.tensor(sorted(special), device=batch.ids.device))
        spans, cut = spans + int(ends.sum()), cut + int((ends & wanted).sum())
    if not spans:
        return None
    if cut * 2 > spans:
        return fault(f"{cut} of {spans} answers end before a special token that has no label",
                     "supervise the token that ends the turn, or the model never ends it")  # fmt: skip
    return ok(f"{cut} of {spans} answers stop short of a special token")


@check("start of text", "P10, P32")
def start_of_text(program: Program):
    bos, start = program.special("bos"), getattr(program.config, "decoder_start_token_id", None)
    found = rows = 0
    for batch in program.batches:
        if program.needs_labels and start is not None and batch.class_labels is not None:
            twice = (batch.class_labels[:, 0] == start).tolist()
        elif bos and batch.ids is not None and batch.ids.shape[1] > 1:
            real = program.real(batch)
            heads = [ids[keep][:2].tolist() for ids, keep in zip(batch.ids, real, strict=True)]
            twice = [len(head) == 2 and head[0] == head[1] and head[0] in bos for head in heads]
        else:
            return None
        found, rows = found + sum(twice), rows + len(twice)
    if not found:
        return ok(f"once at most, in {rows} rows")
    return fault(f"{found} of {rows} rows start with two start tokens", "tokenise templated text with "
                 "add_special_tokens=False; let the collator take the decoder's start from the labels")  # fmt: skip


@check("vocabulary", "S7", spoils="outputs")
def vocabulary(program: Program):
    table = program.embedding
    if table is None:
        return None
    ids = torch.cat([b.ids.flatten() for b in program.batches if b.ids is not None])
    if ids.is_floating_point() or int(ids.min()) < 0:
        return fault(f"token ids from {float(ids.min()):.3g} to {float(ids.max()):.3g}, {ids.dtype}",
                     "ids are names, not quantities: never scale or standardise them (S8)")  # fmt: skip
    rows, known = table.num_embeddings, _length(program.tokenizer)
    seen = f"greatest id {int(ids.max())}, tokenizer {known or 'not given'}, embedding {rows}"
    if int(ids.max()) >= rows or (known or 0) > rows:
        return fault(seen, "use the checkpoint's own tokenizer; after adding tokens: model.resize_token_embeddings("
                     "len(tokenizer))")  # fmt: skip
    unknown = getattr(program.tokenizer, "unk_token_id", None)
    share = float((ids == unknown).float().mean()) if unknown is not None else 0.0
    if known and known < 0.8 * rows:
        return warning(seen, "is this the tokenizer of the checkpoint, or one fitted again? ids would change meaning")
    if share > 0.2:
        return warning(f"{share:.0%} of the tokens are unknown to the tokenizer", "use the checkpoint's own tokenizer")
    return ok(seen)


def _length(tokenizer) -> int | None:
    return len(tokenizer) if hasattr(tokenizer, "__len__") else None


@check("truncation", "P11")
def truncation(program: Program):
    if program.task is not None:
        cut, rows = sum("cut_from" in item for item in program.items), len(program.items)
        limit = getattr(program.model, "max_tokens", None)
        if limit is None:
            return None
    else:
        limits = [getattr(program.tokenizer, "model_max_length", None),
                  getattr(program.config, "max_position_embeddings", None)]  # fmt: skip
        limit = min((x for x in limits if isinstance(x, int) and x < 10**6), default=None)
        real = [program.real(b) for b in program.batches if b.ids is not None]
        if limit is None or not real:
            return None
        lengths = torch.cat([r.sum(1) for r in real])
        if program.language and int(lengths.min()) == int(lengths.max()):
            return None  # a long text in chunks
        cut, rows = int((lengths >= limit).sum()), len(lengths)
    seen = f"{cut} of {rows} rows reach the limit of {limit} tokens"
    return warning(seen, "what is behind the cut is lost: raise the limit, cut elsewhere, or split long texts") \
        if cut > 0.1 * rows else ok(seen)  # fmt: skip


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
    value = next((v for b in program.batches for v in b.values.values() if v.dim() in (3, 4)), None)
    if value is None or value.shape[-3] not in (1, 3):
        return None
    images = torch.cat([v.reshape(-1, *value.shape[-3:]) for b in program.batches
                        for v in b.values.values() if v.shape[-3:] == value.shape[-3:]]).float()  # fmt: skip
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    low, high = float(images.min()), float(images.max())
    seen = f"range {low:.3g} to {high:.3g}, mean {_numbers(mean)}, std {_numbers(std)}"
    if high > 20 and low >= 0:
        return fault(seen, "pixels 0..255: divide by 255, then normalise as in pretraining")
    if low < 0 and (float(mean.abs().max()) > 1.5 or float(std.max()) > 2.5):
        return fault(seen, "normalised twice, or with another mean and std than in pretraining")
    if program.expects is not None and low >= 0 and high <= 1:
        return fault(seen, f"not normalised; the model expects mean {program.expects[0]}, std {program.expects[1]}")
    return ok(seen)


def _numbers(values: torch.Tensor) -> str:
    return "/".join(f"{float(v):.2g}" for v in values)


@check("inputs differ", "S12")
def inputs_differ(program: Program):
    rows = [key for key, _ in _rows(program.batches, program)]
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


def _rows(batches: list[Batch], program: Program) -> list[tuple]:
    """(what identifies the input, label) of every row; texts without their padding."""
    rows = []
    for batch in batches:
        real = program.real(batch) if batch.ids is not None else None
        for at in range(batch.size):
            one = select(batch.inputs, [at], batch.size)
            if batch.ids is not None:
                key = tuple(batch.ids[at][real[at]].tolist())
            else:
                key = _bytes(one)
            label = select(batch.labels, [at], batch.size)
            rows.append((key, _plain(label)))
    return rows


def _bytes(value):
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().numpy().tobytes() if value.dtype != torch.bfloat16 else str(value)
    if isinstance(value, Mapping):
        return tuple(_bytes(v) for k, v in value.items() if "mask" not in k)
    return tuple(map(_bytes, value)) if isinstance(value, list | tuple) else value


def _plain(label):
    return tuple(label.flatten().tolist()) if isinstance(label, torch.Tensor) else repr(label)


def labelled_rows(program: Program, split: str) -> list[tuple]:
    """(key, label) per example of a task, or per row of a loader."""
    found = program.held_out[split]
    if program.task is None:
        return _rows(found, program)
    column, label = program.task.inputs.column, program.task.label_column
    return [(_text(e.get(column)), repr(e.get(label))) for e in found if e.get(column) is not None]


def _text(value):
    """Letters and digits in lower case: what a reader would call the same text."""
    if isinstance(value, str):
        return tuple("".join(c if c.isalnum() else " " for c in value.lower()).split())
    words = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    return tuple(v.lower() for v in value) if words else _bytes(value)


@check("split leak", "S22")
def split_leak(program: Program):
    if len(program.held_out) < 2:
        return None
    train = [key for key, _ in labelled_rows(program, "train")]
    known, words = set(train), {}
    for row, key in enumerate(train):
        for word in set(key) if isinstance(key, tuple) else ():
            words.setdefault(word, set()).add(row)
    parts, worst, total = [], 0.0, 0
    for split in program.held_out:
        if split == "train":
            continue
        keys = [key for key, _ in labelled_rows(program, split)]
        exact = [at for at, key in enumerate(keys) if key in known]
        near = [at for at, key in enumerate(keys) if key not in known and _near(key, train, words)]
        total += len(exact) + len(near)
        if exact or near:
            parts.append(f"{split}: {len(exact)} equal, {len(near)} nearly, of {len(keys)}; rows "
                         f"{few([*exact, *near])}")  # fmt: skip
            worst = max(worst, (len(exact) + len(near)) / len(keys))
    if not total:
        return ok(f"no row of {few([s for s in program.held_out if s != 'train'])} in train")
    return (fault if worst > 0.05 else warning)("; ".join(parts), "remove them from train: the score would be memory")


def _near(key, train: list, words: dict) -> bool:
    """Nine words in ten are the same as those of one training text."""
    if not isinstance(key, tuple) or len(set(key)) < 5:
        return False
    shared = Counter(row for word in set(key) for row in words.get(word, ()))
    return any(n / len(set(key) | set(train[row])) >= 0.8 for row, n in shared.most_common(3))


@check("contradictions", "S22")
def contradictions(program: Program):
    seen: dict = {}
    for key, label in labelled_rows(program, "train"):
        seen.setdefault(key, []).append(label)
    twice = {key: labels for key, labels in seen.items() if len(labels) > 1}
    if len(seen) == 1:
        return None  # said by "inputs differ"
    against = [labels for labels in twice.values() if len(set(labels)) > 1]
    if against:
        return warning(f"{len(against)} inputs have different labels: {few(against[0], 2)}",
                       "decide which label is right, or drop these rows")  # fmt: skip
    return ok(f"{len(twice)} inputs occur more than once, always with the same label")
