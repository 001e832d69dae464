"""Findings, the register of checks, and batches of any form with their inputs and labels found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

LEVELS = ("data", "outputs", "loss", "gradients", "all")  # what a check needs; "all": that nothing is at fault yet
LABELS = ("labels", "label", "targets", "target", "label_ids", "y")
WIDTH = 8  # rows of the batch that goes through the model


@dataclass(frozen=True)
class Finding:
    """One row of the diagnosis: the check, its result, what was seen, what to do, and the entry of PITFALLS."""

    name: str
    result: str  # "ok", "warning", "fault", "not applicable", "crashed"
    evidence: str = ""
    remedy: str = ""
    see: str = ""


@dataclass(frozen=True)
class Check:
    """A function of a ``Program`` that gives (result, evidence, remedy), or None where it does not apply."""

    name: str
    see: str
    look: Callable
    needs: str
    spoils: str  # a fault here means that checks from this level on cannot be run, or would mislead


CHECKS: list[Check] = []


def check(name: str, see: str = "", needs: str = "data", spoils: str = "all"):
    """Register a check."""

    def register(look):
        CHECKS.append(Check(name, see, look, needs, spoils))
        return look

    return register


def ok(evidence: str) -> tuple:
    return "ok", evidence, ""


def warning(evidence: str, remedy: str) -> tuple:
    return "warning", evidence, remedy


def fault(evidence: str, remedy: str) -> tuple:
    return "fault", evidence, remedy


@dataclass
class Batch:
    """One batch with its inputs and labels found; ``raw`` is what the loader or the task gave."""

    raw: object
    inputs: object
    labels: object

    @cached_property
    def size(self) -> int:
        return size_of(self.inputs)

    @cached_property
    def ids(self) -> torch.Tensor | None:
        """Token ids [rows, tokens], if the inputs have some."""
        found = self.inputs.get("input_ids") if isinstance(self.inputs, dict) else self.inputs
        return found if isinstance(found, torch.Tensor) and found.dim() == 2 and self._are_ids(found) else None

    def _are_ids(self, found: torch.Tensor) -> bool:
        return isinstance(self.inputs, dict) or not found.is_floating_point()

    @cached_property
    def mask(self) -> torch.Tensor | None:
        found = self.inputs.get("attention_mask") if isinstance(self.inputs, dict) else None
        return found if isinstance(found, torch.Tensor) and found.dim() == 2 else None

    @cached_property
    def values(self) -> dict[str, torch.Tensor]:
        """Floating-point inputs, masks left out."""
        named = self.inputs if isinstance(self.inputs, dict) else {"inputs": self.inputs}
        flat = {}
        for key, value in named.items():
            for i, one in enumerate(value if isinstance(value, list | tuple) else [value]):
                if isinstance(one, torch.Tensor) and one.is_floating_point() and "mask" not in str(key):
                    flat[key if one is value else f"{key}[{i}]"] = one
        return flat

    @cached_property
    def class_labels(self) -> torch.Tensor | None:
        """Labels as whole numbers, or None."""
        found = self.labels
        whole = isinstance(found, torch.Tensor) and not found.is_floating_point() and found.dtype != torch.bool
        return found if whole else None

    @property
    def boxes(self) -> bool:
        rows = self.labels
        return isinstance(rows, list) and bool(rows) and isinstance(rows[0], Mapping) and "boxes" in rows[0]


def open_batch(raw, task) -> Batch:
    """Find inputs and labels in what a loader gives: (inputs, labels), a dict, or a batch of a task."""
    if task is not None:
        return Batch(raw, *(list(v.values()) if numbered(v) else v for v in (raw["inputs"], raw.get("labels"))))
    if isinstance(raw, Mapping):
        raw = dict(raw)
        names = [key for key in LABELS if key in raw]
        return Batch(raw, {k: v for k, v in raw.items() if k not in names}, raw[names[0]] if names else None)
    if isinstance(raw, tuple | list) and len(raw) >= 2:
        rows = isinstance(raw[1], tuple | list) and raw[1] and isinstance(raw[1][0], Mapping)
        inputs, labels = (list(raw[0]), list(raw[1])) if rows else (raw[0], raw[1])
        inputs = dict(inputs) if isinstance(inputs, Mapping) else inputs
        inputs = tuple(inputs) if isinstance(inputs, list) and isinstance(labels, torch.Tensor) else inputs
        return Batch((inputs, labels, *raw[2:]), inputs, labels)
    single = isinstance(raw, tuple | list) and len(raw) == 1
    return Batch(tuple(raw), raw[0], None) if single else Batch(raw, raw, None)


def numbered(value) -> bool:
    """A dict with one entry per row: {0: ..., 1: ...}."""
    return isinstance(value, dict) and bool(value) and all(isinstance(key, int) for key in value)


def size_of(value) -> int:
    """Rows of a batch: the first tensor's first dimension, or the length of a list."""
    if isinstance(value, torch.Tensor):
        return value.shape[0] if value.dim() else 1
    if isinstance(value, Mapping):
        return next((size_of(v) for v in value.values() if isinstance(v, torch.Tensor | list)), 1)
    return size_of(value[0]) if isinstance(value, tuple) and value else len(value) if isinstance(value, list) else 1


def select(value, rows: list[int], size: int):
    """The rows of everything in a batch that has one entry per row: tensors and lists (a tuple is structure)."""
    if isinstance(value, torch.Tensor):
        return value[rows] if value.dim() and value.shape[0] == size else value
    if numbered(value) and len(value) == size:
        return dict(enumerate(select(list(value.values()), rows, size)))
    if isinstance(value, Mapping):
        return {key: select(v, rows, size) for key, v in value.items()}
    if isinstance(value, list) and len(value) == size:
        return [value[row] for row in rows]
    return tuple(select(v, rows, size) for v in value) if isinstance(value, tuple) else value


def move(value, device):
    """Everything that is a tensor, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: move(v, device) for key, v in value.items()}
    return type(value)(move(v, device) for v in value) if type(value) in (list, tuple) else value
