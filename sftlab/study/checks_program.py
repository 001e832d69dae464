"""One view of a fine-tuning program for all checks: how it is called, what it gives, and what its loss is."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import SftlabError
from .checks_base import LABELS, WIDTH, Batch, move, open_batch, select


@dataclass
class Program:
    """A fine-tuning program before its first step."""

    model: nn.Module
    batches: list[Batch]
    task: object = None
    plan: object = None
    optimizer: object = None
    criterion: Callable | None = None
    split: str = "train"
    held_out: dict = field(default_factory=dict)  # split -> its batches, or a task's examples
    tokenizer: object = None
    loading: object = None
    classes: int | None = None
    expects: tuple | None = None
    modes: dict = field(default_factory=dict)  # module -> train mode, as training would find it
    rows: dict = field(default_factory=dict)  # split -> (key, label) of its rows, once they were read
    items: list = field(default_factory=list)  # a task's encoded examples
    restore: Callable = lambda: None  # puts the weights back
    old_gradients: set = field(default_factory=set)  # ids of parameters that came with a gradient

    @cached_property
    def bare(self) -> nn.Module:
        """The model without compile's and DataParallel's wrapper."""
        inner = getattr(self.model, "_orig_mod", self.model)
        return inner.module if isinstance(getattr(inner, "module", None), nn.Module) else inner

    @cached_property
    def config(self):
        for module in self.bare.modules():
            if hasattr(module, "config"):
                return module.config
        return None

    @cached_property
    def batch(self) -> Batch:
        """The first rows of the first batch: what goes through the model."""
        first = self.batches[0]
        return self.pick(first, list(range(min(WIDTH, first.size))))

    @cached_property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def pick(self, batch: Batch, rows: list[int]) -> Batch:
        return open_batch(move(select(batch.raw, rows, batch.size), self.device), self.task)

    @cached_property
    def trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @cached_property
    def embedding(self) -> nn.Embedding | None:
        """The table that token ids are looked up in."""
        if self.batches[0].ids is None:
            return None
        for module in self.bare.modules():
            try:
                if isinstance(found := module.get_input_embeddings(), nn.Embedding):
                    return found
            except (AttributeError, NotImplementedError):
                continue
        tables = [m for m in self.bare.modules() if isinstance(m, nn.Embedding)]
        return max(tables, key=lambda t: t.num_embeddings, default=None)

    def special(self, name: str) -> set[int]:
        """Ids of a special token: ``"eos"``, ``"bos"``, ``"pad"``."""
        sources = [self.tokenizer, self.config, getattr(self.bare, "generation_config", None)]
        found = [getattr(source, f"{name}_token_id", None) for source in sources]
        if name == "pad" and self.embedding is not None:
            found.append(self.embedding.padding_idx)
        first = next((x for x in found if x is not None), None) if name == "pad" else found
        ids = [i for x in (first if isinstance(first, list) else [first]) for i in (x if isinstance(x, list) else [x])]
        return {i for i in ids if isinstance(i, int)}

    def real(self, batch: Batch) -> torch.Tensor | None:
        """[rows, tokens]: True where a token is not padding, by the mask or else by the runs of the padding id."""
        if batch.mask is not None and bool((batch.mask == 0).any()):
            return batch.mask != 0
        if batch.ids is None:
            return None if batch.mask is None else batch.mask != 0
        pads = torch.isin(batch.ids, torch.tensor(sorted(self.special("pad")), device=batch.ids.device))
        right = pads.flip(1).long().cumprod(1).flip(1).bool()
        left = pads.long().cumprod(1).bool()
        outer = right | left
        if self.special("pad") & (self.special("eos") | self.special("bos")):  # the first one is the token itself
            outer = (right & right.roll(1, 1)) | (left & left.roll(-1, 1))
            outer[:, 0] &= left[:, 0] & pads[:, :2].all(1)
        return ~outer

    @cached_property
    def language(self) -> bool:
        """The labels are the input's own tokens: a causal language model."""
        for batch in self.batches:
            ids, labels = batch.ids, batch.class_labels
            if ids is None or labels is None or labels.shape != ids.shape:
                return False
            for a, b in ((labels, ids), (labels[:, :-1], ids[:, 1:])):
                seen = a >= 0
                if seen.any():
                    if float((a == b)[seen].float().mean()) > 0.9:
                        return True
        return "causal" in str(getattr(self.task, "kind", ""))

    @cached_property
    def ctc(self) -> bool:
        """The loss is CTC, by the names of model, task and loss, or by what a loss function calls."""
        called = getattr(getattr(self.criterion, "__code__", None), "co_names", ())
        names = (type(self.bare), getattr(self.task, "kind", ""), type(self.criterion), self.criterion, called)
        return "ctc" in str(names).lower()

    @property
    def inner(self) -> nn.Module:
        """The model below peft's wrapper."""
        return self.bare.get_base_model() if hasattr(self.bare, "get_base_model") else self.bare

    @cached_property
    def signature(self) -> dict:
        return inspect.signature(self.inner.forward).parameters

    def call(self, batch: Batch, labels: bool = True):
        """What the model itself returns."""
        if self.task is not None:
            return self.task.logits(self.bare, batch.raw)
        if batch.boxes:
            return self.bare(batch.inputs)
        if not isinstance(batch.inputs, dict):
            return self.bare(*batch.inputs) if isinstance(batch.inputs, tuple) else self.bare(batch.inputs)
        known = batch.raw if labels and isinstance(batch.raw, dict) else batch.inputs
        named = {key: value for key, value in known.items() if key in self.signature}
        if named:
            return self.bare(**named)
        tensors = [value for value in batch.inputs.values() if isinstance(value, torch.Tensor)]
        return self.bare(*tensors)

    def loss_of(self, batch: Batch) -> torch.Tensor:
        """The loss as the program computes it (of a task: the mean)."""
        if self.task is not None:
            part = self.task.loss(self.bare, batch.raw)
            return part.total / part.count
        if self.criterion is not None:
            if next(iter(_parameters(self.criterion)), "") == "model":
                return self.criterion(self.bare, batch.raw)
            return self.criterion(tensor_in(self.call(batch, labels=self.needs_labels)), batch.labels)
        if batch.boxes:
            self.bare.train()  # torchvision's detectors give losses in train mode only
            try:
                return sum(self.bare(batch.inputs, batch.labels).values())
            finally:
                self.bare.eval()
        outputs = self.call(batch)
        own = getattr(outputs, "loss", None) if not isinstance(outputs, torch.Tensor) else None
        if own is not None:
            return own
        logits = tensor_in(outputs)
        if not isinstance(batch.labels, torch.Tensor):
            raise SftlabError(f"no labels found (looked for {', '.join(LABELS)}): pass loss=function(model, batch)")
        return F.cross_entropy(by_class(logits, batch.labels), batch.labels.reshape(-1))

    @property
    def needs_labels(self) -> bool:
        return bool(getattr(self.config, "is_encoder_decoder", False))

    @cached_property
    def outputs(self):
        """Of the probe batch, without autograd."""
        with torch.no_grad():
            return self.call(self.batch)

    @cached_property
    def logits(self) -> torch.Tensor | None:
        """The outputs as one tensor; None for a detector."""
        found = tensor_in(self.outputs)
        return found if isinstance(found, torch.Tensor) and found.is_floating_point() else None

    @cached_property
    def class_count(self) -> int | None:
        """Outputs per label, where the outputs are classes."""
        logits, labels = self.logits, self.batch.class_labels
        if logits is None or labels is None or logits.dim() != labels.dim() + 1 or self.ctc:
            return None
        if logits.shape[:-1] == labels.shape:
            return logits.shape[-1]
        return logits.shape[1] if logits.shape[:1] + logits.shape[2:] == labels.shape else None

    @cached_property
    def seen_labels(self) -> torch.Tensor:
        """All class labels that were looked at, those that the loss leaves out aside."""
        found = torch.cat([b.class_labels.flatten() for b in self.batches if b.class_labels is not None])
        return found[found != self.ignored]

    @property
    def ignored(self) -> int:
        """The label that the loss leaves out."""
        return getattr(self.criterion, "ignore_index", -100)

    @cached_property
    def named_loss(self) -> str | None:
        """The loss, if it is one of torch's."""
        return LOSSES.get(type(self.criterion).__name__) or LOSSES.get(getattr(self.criterion, "__name__", ""))

    @cached_property
    def loss_kind(self) -> set[str]:
        """Which of torch's losses the program's is: by its name, else by comparing its value with theirs."""
        if self.named_loss:
            return {self.named_loss}
        logits, labels = self.logits, self.batch.labels
        if logits is None or not isinstance(labels, torch.Tensor) or self.loss.numel() != 1:
            return set()
        logits, found = logits.float(), set()
        for name, compute in candidates(logits, labels).items():
            try:
                if math.isclose(float(compute()), float(self.loss), rel_tol=1e-3, abs_tol=1e-6):
                    found.add(name)
            except (RuntimeError, IndexError, ValueError):
                continue  # this loss cannot be of such shapes
        return found

    @cached_property
    def loss(self) -> torch.Tensor:
        """Of the probe batch, with autograd."""
        return self.loss_of(self.batch)

    @cached_property
    def growth(self) -> float:
        """How many times the loss twice the batch has: 1 for a mean, 2 for a sum; 0: not known."""
        size = self.batch.size
        if self.task is not None or size < 2 or self.loss.numel() != 1 or not float(self.loss):
            return 0.0
        twice = open_batch(move(select(self.batch.raw, [*range(size)] * 2, size), self.device), None)
        with torch.no_grad():
            return float(self.loss_of(twice)) / float(self.loss)


LOSSES = {"CrossEntropyLoss": "ce", "NLLLoss": "nll", "MSELoss": "mse", "BCEWithLogitsLoss": "bce_logits",
          "BCELoss": "bce", "cross_entropy": "ce", "nll_loss": "nll", "mse_loss": "mse", "binary_cross_entropy": "bce",
          "binary_cross_entropy_with_logits": "bce_logits"}  # fmt: skip


def candidates(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable]:
    """The mean losses that outputs and labels may have; ``ce`` last, because it may also be that of the next token."""
    if not labels.is_floating_point():
        flat = labels.reshape(-1)
        return {
            "mse": lambda: F.mse_loss(logits.view_as(labels), labels.float()),
            "mse of one-hot": lambda: F.mse_loss(by_class(logits, labels), F.one_hot(flat, logits.shape[-1]).float()),
            "nll": lambda: F.nll_loss(by_class(logits, labels), flat),
            "ce": lambda: F.cross_entropy(by_class(logits, labels), flat),
            "ce of the next": lambda: F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()),
        }
    names = ("mse_loss", "cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits")
    shaped = logits.view_as(labels) if logits.numel() == labels.numel() else logits
    tries = {LOSSES[name]: lambda name=name: getattr(F, name)(shaped, labels.float()) for name in names}
    return tries if shaped is logits else {**tries, "broadcast": lambda: F.mse_loss(logits, labels.float())}


def _parameters(function) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def tensor_in(outputs):
    """The logits in what a model returns: a tensor, ``.logits``, ``["logits"]``, ``["out"]`` (S15), or the first."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    for name in ("logits", "out"):
        if isinstance(outputs, Mapping) and name in outputs:
            return outputs[name]
    if hasattr(outputs, "logits"):
        return outputs.logits
    return outputs[0] if isinstance(outputs, tuple) and outputs else outputs


def by_class(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[labels, classes], whether the classes stand last or second (images: [batch, classes, height, width])."""
    second = logits.dim() == labels.dim() + 1 and logits.shape[:1] + logits.shape[2:] == labels.shape
    if second and logits.shape[:-1] != labels.shape:
        logits = logits.movedim(1, -1)
    return logits.reshape(-1, logits.shape[-1])
