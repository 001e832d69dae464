"""What shows when a batch goes through the model: outputs, loss, gradients, and whether a batch can be learned."""

import math
from collections import Counter

import torch
from torch import nn

from .checks_base import Program, check, fault, few, ok, open_batch, select, tensor_in, warning
from .checks_data import labelled_rows
from .checks_model import head_of

STEPS = 20  # of each trial to learn one batch
RATES = {True: (3e-2, 0.3, 3e-3), False: (1e-3, 1e-2, 1e-4)}  # by whether little trains: a head, a small net


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


@check("loss", "P4", needs="loss", spoils="loss")
def loss(program: Program):
    value = program.loss
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        return fault(f"no single number: {list(getattr(value, 'shape', [type(value).__name__]))}", "reduction='mean'")
    if not math.isfinite(float(value)):
        return fault(f"{float(value)} on finite inputs", "log(0)? empty targets? 16 bits? CTC targets too long?")
    return ok(f"{float(value):.4g}")


@check("probabilities", "S2", needs="loss", spoils="gradients")
def probabilities(program: Program):
    logits = program.logits
    if logits is None or logits.numel() < 2:
        return None
    flat = logits.float()
    axis = 1 if program.batch.class_labels is not None and logits.dim() == 4 else -1
    sums = flat.sum(axis)
    inside = float(flat.min()) >= 0 and float(flat.max()) <= 1
    remedy = "give the loss raw outputs: remove softmax or sigmoid from the model, keep it for the prediction"
    if flat.shape[axis] == 1 and bool((flat == 1).all()):
        return fault("one output per row, always 1: softmax over one unit", "two outputs and cross-entropy, or one "
                     "and BCEWithLogitsLoss; no softmax")  # fmt: skip
    kind = program.loss_kind
    if "bce" in kind:
        return ok("probabilities, as the loss wants them")
    if inside and flat.shape[axis] > 1 and bool((sums - 1).abs().max() < 1e-3) and (kind & {"ce", "nll", "bce_logits"}):
        return fault("outputs are >= 0 and each row sums to 1", remedy)
    if inside and "bce_logits" in kind and flat.numel() >= 8:
        return fault("all outputs lie between 0 and 1, the loss takes logits", remedy)
    if "nll" in kind and "ce" not in kind:
        return fault("NLLLoss on outputs that are no log-probabilities", "CrossEntropyLoss on raw outputs")
    return ok(f"outputs from {float(flat.min()):.2g} to {float(flat.max()):.2g}")


@check("loss fits labels", "S1, S3, S23", needs="loss")
def loss_fits(program: Program):
    kind, logits, labels = program.loss_kind, program.logits, program.batch.labels
    if logits is None or not isinstance(labels, torch.Tensor) or not kind:
        return None
    seen = f"{'/'.join(sorted(kind))}, outputs {list(logits.shape)}, labels {list(labels.shape)} {_dtype(labels)}"
    crossed = logits.numel() == labels.numel() and logits.shape != labels.shape
    named = program.named_loss in ("mse", "bce", "bce_logits")
    if (named and crossed) or ("broadcast" in kind and "mse" not in kind):
        return fault(f"{seen}: broadcasting compares every row with every other", "outputs.view_as(labels)")
    classes = logits.shape[-1] if logits.dim() > 1 else 1
    if "mse of one-hot" in kind:
        return fault(f"{seen}: squared error on classes", "cross-entropy on logits; class numbers are names")
    if "mse" in kind:
        whole = not labels.is_floating_point() and int(labels.max()) <= 1000
        onehot = labels.dim() > 1 and classes > 1 and bool(((labels == 0) | (labels == 1)).all())
        if onehot or (whole and (program.classes or classes > 1)):
            return fault(f"{seen}: squared error on classes", "cross-entropy on logits; class numbers are names")
    if "ce" in kind and labels.is_floating_point() and labels.shape == logits.shape:
        if bool((labels.sum(-1) - 1).abs().max() > 1e-3):
            return fault(f"{seen}: softmax makes labels compete that may be true together",
                         "BCEWithLogitsLoss, one decision per label")  # fmt: skip
    return ok(seen)


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


@check("class balance", "S25", needs="outputs")
def class_balance(program: Program):
    labels = [label for _, label in labelled_rows(program, "train")]
    one_each = all(b.class_labels is not None and b.class_labels.dim() == 1 for b in program.batches)
    if len(labels) < 16 or not one_each or (program.class_count or 2) < 2:
        return None
    counts = Counter(labels)
    label, most = counts.most_common(1)[0]
    seen = f"{len(counts)} classes in {len(labels)} rows; the largest ({label}) has {most / len(labels):.0%}"
    if len(counts) == 1:
        return warning(seen, "one class only: is the loader shuffled? is the label column the right one?")
    if most > 0.8 * len(labels):
        return warning(seen, "report balanced measures beside the majority baseline, weigh or resample")
    return ok(seen)


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


@check("initial loss", "P14", needs="loss")
def initial_loss(program: Program):
    value, kind, labels = float(program.loss), program.loss_kind, program.batch.labels
    value /= program.batch.size if program.growth > 1.9 else 1
    classes = program.class_count or (program.logits.shape[-1] if program.logits is not None else 0)
    if kind & {"ce", "ce of the next"} and classes > 1:
        chance, base = math.log(classes), f"ln {classes}"
    elif "bce_logits" in kind:
        chance, base = math.log(2), "ln 2"
    elif "mse" in kind and isinstance(labels, torch.Tensor):
        size = float(labels.float().pow(2).mean())
        seen = f"{value:.3g}; labels have a mean square of {size:.3g}"
        return warning(seen, "standardise the labels (and turn predictions back): they are far from what a new head "
                       "gives") if size > 1e4 else ok(seen)  # fmt: skip
    else:
        return ok(f"{value:.3g}")
    ratio = value / chance
    seen = f"{value:.3f}, {ratio:.2f} times chance ({base} = {chance:.3f})"
    if ratio > 2:
        return warning(seen, "wrong head, labels or scale of the inputs? A new head starts at chance")
    if ratio < 0.25 and not program.language and not program.needs_labels:
        return warning(seen, "a head that is trained already, or the label is in the input")
    return ok(seen)


@check("reduction", "P1", needs="loss")
def reduction(program: Program):
    """A mean does not grow with the batch, a sum does."""
    seen = f"twice the batch gives {program.growth:.2f} times the loss"
    if program.growth > 1.9:
        return warning(seen, "reduction='mean', or divide by the count: else the rate depends on the batch size")
    return ok(seen) if program.growth else None


@check("gradients", "P26, P28", needs="gradients")
def gradients(program: Program):
    names, parameters = list(program.trained), list(program.trained.values())
    if not program.loss.requires_grad:
        return fault("the loss does not depend on what trains", "detach(), no_grad(), argmax or .item() on the way?")
    found = grads_of(program, program.loss, parameters)
    without = [n for n, g in zip(names, found, strict=True) if g is None]
    broken = [n for n, g in zip(names, found, strict=True) if g is not None and not torch.isfinite(g).all()]
    if broken:
        return fault(f"NaN or infinite in {few(broken)}", "sqrt or log at 0, division by 0, overflow in 16 bits")
    if without:
        share = sum(program.trained[n].numel() for n in without) / sum(p.numel() for p in parameters)
        return (fault if share > 0.1 else warning)(
            f"{len(without)} of {len(names)} trainable tensors get none: {few(without)}",
            "not used in forward, detached, or checkpointed on a frozen input (use_reentrant=False)")  # fmt: skip
    norm = math.sqrt(sum(float(g.float().pow(2).sum()) for g in found))
    return ok(f"all {len(names)} tensors, norm {norm:.2g}") if norm else fault(
        "all gradients are 0", "saturated units, a dead layer, or a loss that is flat")  # fmt: skip


def grads_of(program: Program, loss: torch.Tensor, parameters: list) -> list:
    """Gradients, with ``.grad`` left empty. Re-entrant checkpoints need a real backward."""
    try:
        return list(torch.autograd.grad(loss, parameters, allow_unused=True))
    except RuntimeError:
        program.loss_of(program.batch).backward()
        found = [p.grad for p in parameters]
        for p in program.model.parameters():
            p.grad = None
        return found


@check("one batch", "S6, S13", needs="all")
def one_batch(program: Program):
    """A few rows can be learned by heart, with an optimizer of the doctor's own; the weights come back afterwards."""
    first, best, steps = float(program.loss.detach()), math.inf, 0
    parameters = list(program.trained.values())
    if abs(first) < 0.05:
        return ok(f"the loss is {first:.3g} already")
    rates = RATES[sum(p.numel() for p in parameters) < 10**4]
    for rate in rates:
        optimizer = torch.optim.Adam(parameters, rate)
        try:
            for _ in range(STEPS):
                loss = program.loss_of(program.batch)
                best, steps = min(best, float(loss.detach())), steps + 1
                if best < 0.5 * first:
                    break
                for p, g in zip(parameters, grads_of(program, loss, parameters), strict=True):
                    p.grad = g
                optimizer.step()
        finally:
            program.restore()
        if best < 0.97 * first:
            break
    seen = f"{steps} steps bring the loss of {program.batch.size} rows from {first:.3g} to {best:.3g}"
    remedy = "inputs without information, or a part that trains but is not used"
    return ok(seen) if best < 0.97 * first else warning(seen, remedy) if best < 0.995 * first else fault(seen, remedy)
