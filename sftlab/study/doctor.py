"""The audit before training: what is wrong with a program, how one sees it, and what to do about it."""

import random
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ..data.batching import mix
from ..errors import SftlabError, unknown
from ..table import Table
from . import checks_data, checks_forward, checks_loss, checks_model, checks_rows  # noqa: F401  (they register)
from .checks_base import CHECKS, LEVELS, WIDTH, Batch, Finding, move, open_batch
from .checks_program import Program

SEVERITY = ("fault", "crashed", "warning", "ok")


class Diagnosis:
    """What the doctor found: data first, a table for the reader.

    Attributes:
        checks: every :class:`Finding` (``name``, ``result``, ``evidence``, ``remedy``, ``see``), in the order of the
            checks, those that do not apply included.
        faults: what spoils the training.
        warnings: what may be meant so, but often is not.
        crashed: checks that could not be carried out.

    >>> found = Diagnosis([Finding("dtype", "fault", "trained parameters are bfloat16", "use float32", "P13")])
    >>> found.ok, found["dtype"].remedy
    (False, 'use float32')
    """

    def __init__(self, checks: list[Finding], title: str = ""):
        self.checks, self.title = checks, title
        self.faults, self.warnings, self.crashed = map(self._with, ("fault", "warning", "crashed"))

    def _with(self, result: str) -> list[Finding]:
        return [finding for finding in self.checks if finding.result == result]

    @property
    def ok(self) -> bool:
        """No fault, and every check that applies was carried out."""
        return not self.faults and not self.crashed

    def __getitem__(self, name: str) -> Finding:
        """The finding of a check.

        Raises:
            UnknownName: no such check.
        """
        for finding in self.checks:
            if finding.name == name:
                return finding
        raise unknown("check", name, (finding.name for finding in self.checks))

    def _table(self, width: int | None) -> Table:
        shown = sorted((f for f in self.checks if f.result in SEVERITY), key=lambda f: SEVERITY.index(f.result))
        rows = []
        for f in shown:
            cells = [f.name, f.result, f.evidence, "" if f.result == "ok" else f.remedy, f.see]
            if width is None:
                rows.append(cells)
                continue
            wrapped = [textwrap.wrap(c, width) if i in (2, 3) else [c] for i, c in enumerate(cells)]
            for line in range(max(map(len, wrapped))):
                rows.append([part[line] if line < len(part) else "" for part in wrapped])
        counts = ", ".join(f"{len(self._with(r))} {r}" for r in SEVERITY)
        hidden = len(self.checks) - len(shown)
        return Table(["check", "result", "evidence", "remedy", "see"], rows, self.title,
                     f"{counts}; {hidden} do not apply")  # fmt: skip

    def __str__(self) -> str:
        return str(self._table(28))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table(None)._repr_html_()


def doctor(
    model: nn.Module,
    task=None,
    plan=None,
    *,
    loader: Iterable | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Callable | None = None,
    split: str = "train",
    val: Iterable | None = None,
    tokenizer=None,
    loading=None,
    classes: int | None = None,
    expects: tuple | None = None,
    samples: int = 128,
) -> Diagnosis:
    """Look at a program before it trains: every check says its result, what it saw, and the remedy.

    Nothing is left changed: weights, buffers, modes, gradients, optimizer and random states are as before.

    Args:
        model: from :func:`sftlab.load`, or any module.
        task: an sftlab task, or None with ``loader``.
        plan: an sftlab plan or its name; its last stage, which trains the most, is put in force while the doctor
            looks. Without one, modes and optimizer are not judged.
        loader: batches of a program of your own, such as a ``DataLoader``: ``(inputs, labels)``, or dicts with
            ``labels``. Not an iterator, for what is taken from it would be missing afterwards.
        optimizer: of that program.
        loss: ``loss(outputs, labels)``, or ``loss(model, batch)`` with a first parameter of that name. Default: the
            model's own (``outputs.loss``, a detector's sum), else cross-entropy on logits.
        split: ``"train"``, or the split that the model is about to be measured on: then it has to be in eval mode.
        val: with ``loader``: the batches of the validation set, for leaks.
        tokenizer: default ``model.tokenizer``.
        loading: what loading said: ``output_loading_info`` of transformers, or the result of ``load_state_dict``;
            default ``model.loading``.
        classes: how many classes there are, if the labels of a few batches may not show it.
        expects: (mean, std) that pixels were normalised with in pretraining; default: ``model.mean``, ``model.std``.
        samples: how many rows are looked at; some of them go through the model.

    Returns:
        Diagnosis: ``faults``, ``warnings``, ``checks``, ``ok``; a table in a notebook and in print.

    Raises:
        SftlabError: neither task nor loader, or an iterator as loader.
        UnknownName: no such split or plan.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(dim=-1))
    >>> data = [(torch.randn(8, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))]
    >>> [finding.name for finding in doctor(net, loader=data).faults]
    ['probabilities']
    """
    if (task is None) == (loader is None):
        raise SftlabError("the doctor needs either an sftlab task or a loader: doctor(model, task), or "
                          "doctor(model, loader=..., optimizer=..., loss=...)")  # fmt: skip
    for name, one in (("loader", loader), ("val", val)):
        if isinstance(one, Iterator):
            raise SftlabError(f"{name} is an iterator: looking would use it up. Give the DataLoader, or a list.")
    if isinstance(plan, str):
        from ..train.plan import plan as plan_by_name

        plan = plan_by_name(plan)
    if task is not None:
        task.examples(split)
    tokenizer = tokenizer or getattr(model, "tokenizer", None)
    loading = loading if loading is not None else getattr(model, "loading", None)
    if expects is None and hasattr(model, "mean") and hasattr(model, "std"):
        expects = model.mean, model.std
    found: list[Finding] = []
    with untouched(model, loader, val) as (restore, old_gradients), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = Program(model, [], task, plan, optimizer, loss, split, tokenizer=tokenizer, loading=loading,
                          classes=classes, expects=expects, restore=restore, old_gradients=old_gradients)  # fmt: skip
        try:
            if plan is not None:
                applied = [plan.apply(model, stage) for stage in range(len(plan.stages))][-1]
                program.optimizer = optimizer or applied.optimizer()
                found.append(Finding("plan", "ok", f"{plan.name}: {len(plan.stages)} stage(s) fit the model"))
            if task is None or plan is not None:
                program.modes = {module: module.training for module in model.modules()}
            model.eval()
            _take(program, loader, val, samples)
            found.append(Finding("data", "ok", f"{sum(b.size for b in program.batches)} rows looked at"))
        except Exception as error:
            step = "data" if found or plan is None else "plan"
            found.append(Finding(step, "fault", _sentence(error), "nothing else can be checked before this is mended"))
            found += [Finding(c.name, "not applicable", f"not run: first mend {step!r}", "", c.see) for c in CHECKS]
        else:
            found += _examine(program)
    return Diagnosis(found, f"{type(model).__name__}, {getattr(task, 'name', 'a loader')}")


def _take(program: Program, loader, val, samples: int) -> None:
    """Fill in batches: of a task from examples all over the split, of a loader from its start."""
    task = program.task
    if task is None:
        program.batches = _first_batches(loader, samples)
        program.held_out = {"train": program.batches}
        if val is not None:
            program.held_out["val"] = _first_batches(val, samples)
        return
    examples = task.examples(program.split)
    picked = examples[:: max(1, len(examples) // samples)][:samples]
    program.items = task.encode(picked, program.model)
    for at in range(0, len(program.items), WIDTH):
        items = program.items[at : at + WIDTH]
        raw = task.collate(items, program.model)
        if task.draws:
            raw["seeds"] = [mix(0, item["index"], 1) for item in items]
        program.batches.append(open_batch(move(raw, program.device), task))
    program.held_out = {split: examples for split, examples in task.splits.items() if examples}


def _first_batches(loader, samples: int) -> list[Batch]:
    batches: list[Batch] = []
    for raw in loader:
        batches.append(open_batch(raw, None))
        if sum(b.size for b in batches) >= samples:
            break
    if not batches:
        raise SftlabError("the loader gives no batch (drop_last with few samples?)")
    return batches


def _examine(program: Program) -> list[Finding]:
    """Run the checks from the cheap to the dear; a fault keeps those from running that it would mislead."""
    found, blocked = [], {}
    for check in sorted(CHECKS, key=lambda c: LEVELS.index(c.needs)):
        by = next((name for level, name in blocked.items() if LEVELS.index(level) <= LEVELS.index(check.needs)), None)
        if by is not None:
            found.append(Finding(check.name, "not applicable", f"not run: first mend {by!r}", "", check.see))
            continue
        try:
            with torch.enable_grad():
                result = check.look(program) or ("not applicable", "", "")
        except Exception as error:
            # The model or the loss refuses the batch: that is the program's fault, not the check's.
            own = check.name in ("forward", "loss")
            result = ("fault" if own else "crashed", _sentence(error), "look at shapes and types" if own else "")
        found.append(Finding(check.name, *result, check.see))
        if result[0] == "fault":
            blocked.setdefault(check.spoils, check.name)
            blocked.setdefault("all", check.name)
    return found


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]


@contextmanager
def untouched(model: nn.Module, *loaders) -> Iterator[tuple[Callable, set[int]]]:
    """Put everything back at the end, whatever happened: (a function that restores the weights now, ids with .grad)."""
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    slots = [(module._buffers, dict(module._buffers)) for module in modules]
    tensors = {*model.parameters(), *(b for _, own in slots for b in own.values() if b is not None)}
    saved = [(tensor, tensor.detach().clone()) for tensor in tensors]
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    parts = [part for loader in loaders for part in (loader, getattr(loader, "sampler", None)) if part is not None]
    generators = {g for part in parts if isinstance(g := getattr(part, "generator", None), torch.Generator)}
    drawn = [(g, g.get_state()) for g in generators]
    numpy, python = sys.modules.get("numpy"), random.getstate()
    of_numpy = numpy.random.get_state() if numpy else None

    def restore():
        with torch.no_grad():
            for tensor, value in saved:
                tensor.copy_(value)
        for p in model.parameters():
            p.grad = None

    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    recurrent = cuda and any(isinstance(module, nn.RNNBase) for module in modules)
    cudnn = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()  # its RNNs refuse eval mode
    with torch.random.fork_rng(devices=cuda), cudnn:
        try:
            for p in model.parameters():
                p.grad = None
            yield restore, {id(p) for p, _, grad in flags if grad is not None and bool(grad.any())}
        finally:
            for own, before in slots:
                own.clear()
                own.update(before)
            restore()
            for module, training in modes:
                module.training = training
            for p, wanted, grad in flags:
                p.requires_grad_(wanted)
                p.grad = grad
            for generator, state in drawn:
                generator.set_state(state)
            random.setstate(python)
            if numpy:
                numpy.random.set_state(of_numpy)
