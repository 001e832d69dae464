"""What can be seen in the model and its optimizer before anything runs: modes, what is frozen, who updates what."""

import torch
from torch import nn

from ..errors import few
from .checks_base import check, fault, ok, warning
from .checks_program import Program


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, BatchNorm2d, LlamaRMSNorm, ..."""
    return type(module).__name__.rstrip("0123456789d").endswith("Norm")


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def head_of(model: nn.Module) -> tuple[str, nn.Module] | None:
    """The last layer with weights that is not a norm."""
    found = [(n, m) for n, m in model.named_modules() if _own(m) and not is_norm(m) and not isinstance(m, nn.Embedding)]
    return found[-1] if found else None


@check("BatchNorm", "P5")
def batch_norm(program: Program):
    norms = [(name, m) for name, m in program.model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms or not program.modes or program.split != "train":
        return None
    moving = [n for n, m in norms if program.modes[m] and _shut(m)]
    if moving:
        return fault(f"{len(moving)} of {len(norms)} frozen ones are in train mode: {few(moving)}",
                     "call eval() on the frozen part after every model.train(): its statistics move")  # fmt: skip
    return ok(f"{len(norms)} layers, {sum(program.modes[m] for _, m in norms)} in train mode, none of them frozen")


@check("norms", "P6")
def norms(program: Program):
    if program.plan is not None or not program.trained:
        return None
    head = head_of(program.model)
    of_norms = {id(p) for m in program.model.modules() if is_norm(m) for p in _own(m)}
    of_head = {id(p) for p in head[1].parameters()} if head else set()
    rest = [p for p in program.model.parameters() if id(p) not in of_norms | of_head]
    open_norms = [n for n, p in program.trained.items() if id(p) in of_norms]
    if open_norms and rest and not any(p.requires_grad for p in rest):
        return warning(f"the trunk is frozen but for {len(open_norms)} tensors of norms: {few(open_norms, 2)}",
                       "freeze them too, or say that you train norms on purpose")  # fmt: skip
    return ok(f"{len(open_norms)} of {len(of_norms)} tensors of norms train")


@check("modes", "S20")
def modes(program: Program):
    acting = [m for m in program.modes if "Dropout" in type(m).__name__ and getattr(m, "p", 0) > 0]
    acting += [m for m in program.modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not acting:
        return None
    on = [m for m in acting if program.modes[m]]
    seen = f"{len(on)} of {len(acting)} dropout and BatchNorm layers are in train mode"
    if program.split != "train":
        return fault(seen, "call model.eval() before you measure; train() before the next epoch") if on else ok(seen)
    above, frozen, opened = [], [], False
    for module in program.modes:  # in order of definition: does anything below, or in it, train?
        opened = opened or any(p.requires_grad for p in _own(module))
        if module in acting:
            (above if opened and not _shut(module) else frozen).append(module)
    if program.plan is None and program.optimizer is not None and above and not any(program.modes.values()):
        return warning("the whole model is in eval mode: no dropout, no batch statistics",
                       "call model.train() before the loop (from_pretrained returns eval mode)")  # fmt: skip
    noisy = [m for m in frozen if program.modes[m] and not _own(m)]
    if 2 * len(noisy) > len(acting) and len(noisy) > 1:
        return warning(f"{len(noisy)} dropout layers act inside the frozen trunk", "call eval() on the frozen trunk "
                       "after model.train(): its features need no noise, and can be cached")  # fmt: skip
    return ok(seen)


def _shut(module: nn.Module) -> bool:
    """It has parameters, and none of them trains."""
    return bool(_own(module)) and not any(p.requires_grad for p in _own(module))


@check("something trains", "P15", spoils="gradients")
def something_trains(program: Program):
    if program.split != "train":
        return None
    total = sum(p.numel() for p in program.model.parameters())
    count = sum(p.numel() for p in program.trained.values())
    if not count:
        return fault("every parameter is frozen", "set requires_grad on what shall learn, at least the head")
    new, head = loaded(program)["new"], head_of(program.model)
    shut = [name for name, p in program.model.named_parameters() if not p.requires_grad and name in new]
    if not shut and head and type(program.inner).__name__.endswith("Classification"):
        shut = [f"{head[0]}.{n}" for n, p in head[1].named_parameters() if not p.requires_grad]
    if shut:
        return fault(f"the new head is frozen: {few(shut)}", "train it too (peft: task_type or modules_to_save)")
    return ok(f"{count:,} of {total:,} parameters ({count / total:.1%})")


def loaded(program: Program) -> dict[str, list[str]]:
    """What a load said: ``missing``, ``unexpected``, and ``new``, the missing ones or what sl.load reports as new."""
    said = program.loading
    if said is None:
        return {"missing": [], "unexpected": [], "new": []}
    get = said.get if isinstance(said, dict) else lambda key, default=(): getattr(said, key, default)
    missing = [*map(str, get("missing_keys", ()))]
    missing += [str(k[0] if isinstance(k, tuple) else k) for k in get("mismatched_keys", ())]
    unexpected = [*map(str, get("unexpected_keys", ())), *map(str, get("unused", ()))]
    return {"missing": missing, "unexpected": unexpected, "new": [*missing, *map(str, get("new", ()))]}


@check("loading", "P14, P25")
def loading(program: Program):
    if program.loading is None:
        return None
    said, head = loaded(program), head_of(program.bare)
    base = getattr(program.bare, "base_model_prefix", "")
    if base and any(n.startswith(f"{base}.") for n, _ in program.bare.named_parameters()):
        lost = [key for key in said["missing"] if key.startswith(f"{base}.") and ".pooler." not in key]
    else:
        lost = [key for key in said["missing"] if head is None or not key.startswith(head[0])]
    if lost:
        prefixed = any("module." in key or "_orig_mod." in key for key in said["unexpected"])
        remedy = "strip 'module.' or '_orig_mod.' from the names" if prefixed else "names in file and model must agree"
        unplaced = few(said["unexpected"], 2) or "none"
        return fault(
            f"{len(lost)} weights of the trunk are random: {few(lost, 2)}; without a place: {unplaced}", remedy
        )
    return ok(f"new: {few(said['new']) or 'none'}; unused: {few(said['unexpected'], 2) or 'none'}")


@check("tied weights", "P16, P17")
def tied_weights(program: Program):
    if not getattr(program.config, "tie_word_embeddings", False) or program.embedding is None:
        return None
    try:
        out = program.bare.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    if out is None or out.weight.shape != program.embedding.weight.shape:
        return None
    if out.weight is program.embedding.weight:
        return ok("input and output embeddings are one tensor")
    return fault("the configuration says tied, but input and output embeddings are two tensors",
                 "call model.tie_weights() after loading or replacing embeddings")  # fmt: skip


@check("dtype", "P13")
def dtype(program: Program):
    if not program.trained or program.split != "train":
        return None
    low = {p.dtype for p in program.trained.values()} & {torch.bfloat16, torch.float16}
    found = ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in program.trained.values()}))
    if low:
        return fault(f"trained parameters are {found}", "load with dtype=torch.float32 and use autocast: small steps "
                     "round to nothing in 16 bits")  # fmt: skip
    return ok(f"trained parameters are {found}")


def _groups(program: Program) -> list[dict]:
    return program.optimizer.param_groups if program.optimizer is not None else []


@check("optimizer complete", "S18")
def optimizer_complete(program: Program):
    if not _groups(program):
        return None
    held = {id(p) for g in _groups(program) for p in g["params"]}
    left = [name for name, p in program.trained.items() if id(p) not in held]
    own = {id(p) for p in program.model.parameters()}
    if held and not held & own:
        return None  # said by the next check
    if left:
        return fault(f"{len(left)} of {len(program.trained)} trainable tensors are not in it: {few(left)}",
                     "build the optimizer after the model is complete and unfrozen, from all that trains")  # fmt: skip
    return ok(f"holds all {len(program.trained)} trainable tensors")


@check("optimizer's own", "P27, S5")
def optimizer_own(program: Program):
    if not _groups(program):
        return None
    names = {id(p): name for name, p in program.model.named_parameters()}
    held = [p for g in _groups(program) for p in g["params"]]
    strangers = [p for p in held if id(p) not in names]
    if strangers:
        return fault(f"{len(strangers)} of {len(held)} tensors in it are not of this model",
                     "build it from this model, after copies, to(), LoRA and new heads")  # fmt: skip
    if len({id(p) for p in held}) < len(held):
        return fault(f"{len(held) - len({id(p) for p in held})} tensors are in it twice: they take two steps",
                     "give every parameter to one group only")  # fmt: skip
    frozen = [p for p in held if not p.requires_grad]
    state = program.optimizer.state
    moved = [names[id(p)] for p in frozen if state.get(p) or id(p) in program.old_gradients]
    if moved:
        return fault(f"{len(moved)} frozen tensors have momentum or a gradient in it: {few(moved)}",
                     "build a new optimizer from what trains: momentum and decay still move these")  # fmt: skip
    return ok(f"{len(held)} tensors, {len(frozen)} of them frozen and without momentum")


@check("weight decay", "P37")
def weight_decay(program: Program):
    decays = {bool(g.get("weight_decay", 0)) for g in _groups(program)}
    small = {id(p) for m in program.model.modules() for p in _own(m) if is_norm(m) or p.dim() < 2}
    names = {id(p): name for name, p in program.model.named_parameters()}
    hit = [names.get(id(p), "?") for g in _groups(program) if g.get("weight_decay", 0) for p in g["params"]
           if id(p) in small and p.requires_grad]  # fmt: skip
    if not decays:
        return None
    if hit and (len(decays) == 2 or max(g.get("weight_decay", 0) for g in _groups(program)) > 0.05):
        return warning(f"{len(hit)} norms and biases are decayed: {few(hit)}",
                       "choose by module type and dimension, not by a pattern in the name")  # fmt: skip
    return ok(f"{len(hit)} norms and biases are decayed")


@check("learning rate", "P29")
def learning_rate(program: Program):
    if not _groups(program):
        return None
    # A warmup starts at 0; its peak is in initial_lr.
    rates = [float(max(g.get("lr", 0), g.get("initial_lr", 0))) for g in _groups(program)]
    adam = "Adam" in type(program.optimizer).__name__ or "Lion" in type(program.optimizer).__name__
    seen = f"{type(program.optimizer).__name__}, {few(sorted({f'{r:.2g}' for r in rates}))}"
    own = {id(p) for p in head_of(program.model)[1].parameters()} if head_of(program.model) else set()
    trunk = [r for r, g in zip(rates, _groups(program), strict=True)
             if any(id(p) not in own and p.requires_grad for p in g["params"])]  # fmt: skip
    if not all(rates):
        return fault(f"{seen}: a rate of 0 moves nothing", "leave frozen groups out, give the others a rate")
    limit = 5e-3 if sum(p.numel() for p in program.trained.values()) > 10**5 else 0.05
    above = max(max(rates) / (0.5 if adam else 20), max([*trunk, 0]) / limit if adam else 0)
    remedy = "Adam: 1e-5 to 5e-4 for pretrained layers, 1e-3 to 1e-2 for a new head"
    if above > 1:
        return (fault if above > 5 else warning)(f"{seen}: too high for {type(program.inner).__name__}", remedy)
    if max(rates) < 1e-7:
        return warning(f"{seen}: too low to move anything", remedy)
    return ok(seen)


@check("gradients before", "S6")
def gradients_before(program: Program):
    if program.split != "train" or program.optimizer is None:
        return None
    left = [n for n, p in program.trained.items() if id(p) in program.old_gradients]
    if left:
        return warning(f"{len(left)} parameters already have a gradient: {few(left)}",
                       "optimizer.zero_grad() before the first backward and after every step")  # fmt: skip
    return ok("none")
