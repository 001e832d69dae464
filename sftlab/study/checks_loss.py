"""What shows in the loss and its gradients, and whether one batch can be learned."""

import math

import torch

from ..errors import few
from .checks_base import check, fault, ok, warning
from .checks_program import Program

STEPS = 20  # of each trial to learn one batch
RATES = {True: (3e-2, 0.3, 3e-3), False: (1e-3, 1e-2, 1e-4)}  # True: little trains, as a head or a small net


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
    seen = f"{'/'.join(sorted(kind))}, outputs {list(logits.shape)}, labels {list(labels.shape)} {labels.dtype}"
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
