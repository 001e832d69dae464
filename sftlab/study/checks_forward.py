"""What shows in the outputs when a batch goes through the model, alone and in company."""

import torch
from torch import nn

from ..errors import few
from .checks_base import check, fault, ok, open_batch, select, warning
from .checks_model import head_of
from .checks_program import Program, tensor_in


@check("forward", "S15", needs="outputs", spoils="outputs")
def forward(program: Program):
    outputs = program.outputs
    logits = program.logits
    if logits is None:
        return ok(f"{type(outputs).__name__} of {program.batch.size} rows")
    if not torch.isfinite(logits).all():
        return fault(f"NaN or infinite outputs of shape {list(logits.shape)}", "look for overflow in 16 bits, log(0)")
    return ok(f"outputs of shape {list(logits.shape)}, {float(logits.min()):.2g} to {float(logits.max()):.2g}")


@check("label range", "S11, P34", needs="outputs", spoils="loss")
def label_range(program: Program):
    outputs = program.class_count
    if outputs is None or outputs == 1 or not len(program.seen_labels):
        return None
    low, high = int(program.seen_labels.min()), int(program.seen_labels.max())
    seen = f"labels {low} to {high}, {outputs} outputs"
    if low < 0:
        return fault(seen, "negative labels: only ignore_index (-100) is left out")
    if high >= outputs:
        return fault(seen, "labels count from 1: subtract 1" if low == 1 and high == outputs else
                     "give the head as many outputs as there are classes")  # fmt: skip
    return ok(seen)


@check("head size", "S11", needs="outputs")
def head_size(program: Program):
    outputs = program.class_count
    if outputs in (None, 1) or program.needs_labels or program.language or not len(program.seen_labels):
        return None
    found = int(program.seen_labels.max()) + 1
    names = program.classes or len(getattr(program.task, "label_names", ()))
    if (names and outputs != names) or (not names and outputs >= max(20, 4 * found) and len(program.seen_labels) >= 8):
        return fault(f"{outputs} outputs for {names or found} classes",
                     "put a new head on: the old one's classes are not yours")  # fmt: skip
    return ok(f"{outputs} outputs, {names or found} classes")


@check("CTC lengths", needs="outputs", spoils="loss")
def ctc_lengths(program: Program):
    labels, logits = program.batch.class_labels, program.logits
    if not program.ctc or labels is None or labels.dim() != 2 or logits is None or logits.dim() != 3:
        return None
    frames = torch.full((len(labels),), logits.shape[1])
    if program.batch.mask is not None and hasattr(program.bare, "_get_feat_extract_output_lengths"):
        frames = program.bare._get_feat_extract_output_lengths(program.batch.mask.sum(1).cpu())
    short = []
    for row, (target, count) in enumerate(zip(labels.cpu(), frames.tolist(), strict=True)):
        target = target[target >= 0]
        needed = len(target) + int((target[1:] == target[:-1]).sum())  # a blank between equal letters
        if needed > count:
            short.append(f"row {row} needs {needed} frames, has {count}")
    if short:
        return fault(few(short, 2), "shorter targets or less downsampling: there is no path, the loss is infinite")
    return ok(f"enough frames in {len(labels)} rows")


@check("outputs differ", "S20", needs="outputs")
def outputs_differ(program: Program):
    logits, head = program.logits, head_of(program.bare)
    if logits is None or program.batch.size < 2:
        return None
    if head is not None and not bool(head[1].weight.any() if hasattr(head[1], "weight") else True):
        return warning(f"all weights of {head[0]} are 0", "initialise it: below it nothing learns in the first step")
    if logits.shape[0] != program.batch.size or (logits.shape[-1] == 1 and bool((logits == 1).all())):
        return None  # the latter: softmax over one unit, see "probabilities"
    spread = float((logits - logits[:1]).abs().max())
    if spread <= 1e-6 * float(logits.abs().max()):
        return fault("the outputs are the same for every row", "a dead layer, a constant head, inputs that are not "
                     "used, or saturated units: follow the activations from the input")  # fmt: skip
    return ok(f"they differ by up to {spread:.2g}")


@check("dead units", "S20", needs="outputs")
def dead_units(program: Program):
    seen: dict[str, bool] = {}

    def watch(name):
        return lambda module, inputs, output: seen.__setitem__(name, seen.get(name, False) or bool(output.any()))

    hooks = [m.register_forward_hook(watch(n)) for n, m in program.model.named_modules() if isinstance(m, nn.ReLU)]
    if not hooks:
        return None
    try:
        with torch.no_grad():
            program.call(program.batch)
    finally:
        for hook in hooks:
            hook.remove()
    dead = [name for name, alive in seen.items() if not alive]
    if dead:
        return fault(f"every unit of {few(dead)} is 0 on the whole batch", "biases far below 0, or a rate that was "
                     "too high before: load or initialise again")  # fmt: skip
    return ok(f"{len(seen)} ReLU layers, all alive")


def _close(a: torch.Tensor, b: torch.Tensor) -> tuple[bool, float]:
    loose = a.dtype in (torch.bfloat16, torch.float16)
    gap = float((a.float() - b.float()).abs().max())
    return gap <= (5e-2 if loose else 2e-3) * max(float(b.float().abs().max()), 1e-3), gap


@check("company", "P3", needs="outputs")
def company(program: Program):
    """In eval mode, the outputs of a row do not know what else is in the batch."""
    size, logits = program.batch.size, program.logits
    if logits is None or size < 2:
        return None
    along = 0 if logits.shape[0] == size else 1 if logits.dim() > 2 and logits.shape[1] == size else None
    if along is None:
        return None
    with torch.no_grad():
        alone = tensor_in(program.call(program.pick(program.batch, [0])))
    together = logits.select(along, 0)
    if alone.numel() != together.numel():
        return warning(f"alone the outputs are {list(alone.shape)}", "squeeze() drops the batch of 1: name the axis")
    same, gap = _close(alone.reshape(together.shape), together)
    if same:
        return ok(f"row 0 alone and among {size}: {gap:.1g} apart")
    return fault(f"the outputs of row 0 change by {gap:.2g} with its neighbours, in eval mode",
                 "wrong axis (batch_first? softmax(dim=0)?) or batch statistics in eval mode")  # fmt: skip


@check("padding", "P33, P31, S9", needs="outputs")
def padding(program: Program):
    """The outputs of a row are those that it has without its padding."""
    found = next(((b, r) for b in program.batches if (r := program.real(b)) is not None and not r.all()), None)
    if found is None or program.logits is None:
        return None
    batch, real = found
    row = int(real.sum(1).argmin())
    size = batch.size
    where = real[row].nonzero().flatten()
    start, stop, full = int(where[0]), int(where[-1]) + 1, real.shape[1]
    padded = program.pick(batch, [row, int(real.sum(1).argmax())] if size > 1 else [row])
    raw = _cut(select(program.pick(batch, [row]).raw, [0], 1), full, start, stop, program)
    alone = open_batch(raw, program.task)
    with torch.no_grad():
        a = tensor_in(program.call(alone))
        b = tensor_in(program.call(padded))[:1]
    if a.dim() > 2 and a.shape[1] < b.shape[1]:
        b = b[:, start:stop] if b.shape[1] == full else b[:, : a.shape[1]]
    if a.shape != b.shape:
        return None
    same, gap = _close(a, b)
    seen = f"{full - (stop - start)} places of padding change the outputs by {gap:.2g}"
    if same:
        return ok(seen)
    if batch.mask is None or bool(batch.mask[row].all()):
        return fault(seen, "pass the attention mask of the tokenizer: padding is read as text")
    left = start > 0 and "position_ids" in program.signature
    return warning(seen, "give position_ids made from the mask" if left else
                   "the model does not obey its mask: batch by length, and evaluate as you will predict")  # fmt: skip


def _cut(value, full: int, start: int, stop: int, program: Program, key: str = ""):
    """Cut the padding off every tensor [rows, full, ...]; the labels of an encoder-decoder have their own length."""
    if isinstance(value, dict):
        return {k: _cut(v, full, start, stop, program, k) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_cut(v, full, start, stop, program) for v in value)
    own = program.needs_labels and (key == "labels" or key.startswith("decoder"))
    cut = isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[1] == full and not own
    return value[:, start:stop] if cut else value
