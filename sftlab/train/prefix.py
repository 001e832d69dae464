"""The frozen prefix of a model: found by watching one forward pass, run once per sample, then replayed from memory."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_flatten, tree_unflatten

_NORMS = nn.BatchNorm1d | nn.BatchNorm2d
IN_MEMORY = 2**30  # bytes; larger stores are memory-mapped
_ABOUT_EQUAL = {torch.float32: 1e-5, torch.float64: 1e-9}  # of equal arithmetic in batches of another size


@dataclass
class Seen:
    """What one module did in the pass that was watched."""

    name: str
    module: nn.Module
    input: torch.Tensor | None
    output: object
    calls: int = 1


class _Reached(Exception):
    """The forward pass has come to the first module that trains."""


@contextmanager
def _hooks(model: nn.Module, before: Callable, after: Callable) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda m, a, n=name: before(n, m, a)))
        handles.append(
            module.register_forward_hook(lambda m, a, k, o, n=name: after(n, m, (*a, *k.values()), o), with_kwargs=True)
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def watch(model: nn.Module, forward: Callable[[], object]) -> tuple[list[Seen], list[tuple[nn.Module, nn.Module]]]:
    """What runs, and ends, before the first module that trains begins.

    Returns:
        The outermost modules in which nothing trains; and the pairs of a convolution and the BatchNorm it feeds.
    """
    seen: dict[int, Seen] = {}
    trains = {id(m) for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))}

    def before(name, module, args):
        if id(module) in trains:
            raise _Reached

    def after(name, module, args, output):
        if any(p.requires_grad for p in module.parameters()):
            raise _Reached  # it used parameters of a part that is never called, such as a ParameterDict
        if id(module) in seen:
            seen[id(module)].calls += 1
            return
        first = next((a for a in args if isinstance(a, torch.Tensor)), None)
        seen[id(module)] = Seen(name, module, first, output)

    with _hooks(model, before, after), torch.no_grad():
        try:
            forward()
        except _Reached:
            pass
    inside = {id(child) for s in seen.values() for child in s.module.modules() if child is not s.module}
    once = [s for s in seen.values() if s.calls == 1]
    made = {id(s.output): s.module for s in once if isinstance(s.module, nn.Conv1d | nn.Conv2d)}
    norms = [s for s in once if isinstance(s.module, _NORMS) and s.module.running_var is not None]
    pairs = [(made[id(s.input)], s.module) for s in norms if id(s.input) in made]
    return [s for s in once if id(s.module) not in inside], pairs


def _looks_up(module: nn.Module) -> bool:
    """Embeddings, perhaps with a norm: cheap, and what is computed from their shape (masks) must be right."""
    parts = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    found = [isinstance(m, nn.Embedding) for m in parts]
    return any(found) and all(e or "Norm" in type(m).__name__ for e, m in zip(found, parts, strict=True))


def _plain(module: nn.Module) -> bool:
    """A module without parameters that gives the same in every mode: pooling, activation, flattening."""
    known = type(module).__module__.split(".")[0] in ("torch", "sftlab")
    return known and not any("rop" in type(m).__name__ or "RReLU" in type(m).__name__ for m in module.modules())


def candidates(seen: list[Seen], count: int) -> list[list[Seen]]:
    """Places to cut, best first: the last frozen output; that and the biggest one before (an encoder); that one."""

    def owns(s: Seen) -> int:
        return sum(p.numel() for p in s.module.parameters())

    def storable(s: Seen) -> bool:
        tensors = [leaf for leaf in tree_flatten(s.output)[0] if leaf is not None]
        fits = all(isinstance(t, torch.Tensor) and t.is_floating_point() and len(t) == count for t in tensors)
        return bool(tensors) and fits and (not _looks_up(s.module) if owns(s) else _plain(s.module))

    good = [s for s in seen if storable(s)]
    if not any(owns(s) and not _looks_up(s.module) for s in seen) or not good:
        return []
    others = sorted((s for s in good[:-1] if owns(s)), key=owns)[-1:]
    return [good[-1:], [*others, good[-1]], others] if others else [good[-1:]]


class Prefix:
    """The cut through a model, and a call that goes on from what is stored there."""

    def __init__(self, model: nn.Module, cuts: list[Seen], seen: list[Seen], pairs: list = ()):
        self.model, self.cuts, self.pairs = model, cuts, pairs
        chosen = {id(s.module) for s in cuts}
        last = next(i for i, s in enumerate(seen) if s is cuts[-1])
        self.before = [s.module for s in seen[: last + 1]]  # all that decides what is stored
        skipped = [s for s in seen[:last] if id(s.module) not in chosen]
        self.stubs = {s.module: self._skip(s) for s in skipped if not _looks_up(s.module) and self._skippable(s)}
        self.stubs.update({s.module: (lambda *a, s=s, **k: self._given[s.name]) for s in cuts})
        self._given: dict[str, object] = {}

    @staticmethod
    def _skippable(s: Seen) -> bool:
        tensors = [leaf for leaf in tree_flatten(s.output)[0] if leaf is not None]
        can_be_nan = all(isinstance(t, torch.Tensor) and t.is_floating_point() for t in tensors)
        return can_be_nan and (next(s.module.parameters(), None) is not None or _plain(s.module))

    @staticmethod
    def _skip(s: Seen) -> Callable:
        """NaN of the right shape in place of an output that nobody reads: the stored one comes further on.

        NaN, because whoever reads it after all must be seen: empty memory can hold the very values that were just
        freed, and the comparison with the live model would pass by chance. Expanded from one number, it costs nothing.
        """
        leaves, form = tree_flatten(s.output)
        same_shape = s.input is not None and s.input.shape == getattr(s.output, "shape", None)

        def stub(*args, **kwargs):
            first = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)), None)
            rows = len(leaves[0]) if first is None else len(first)

            def unread(t):
                shape = first.shape if same_shape and first is not None else (rows, *t.shape[1:])
                return t.new_full((), torch.nan).expand(shape)

            return tree_unflatten([t if t is None else unread(t) for t in leaves], form)

        return stub

    def run(self, forward: Callable[[], object]) -> dict[str, object]:
        """Run the prefix only: the outputs at the cuts."""
        given: dict[str, object] = {}
        names = {s.name for s in self.cuts}

        def after(name, module, args, output):
            if name in names:
                given[name] = output
                if len(given) == len(names):
                    raise _Reached

        with _hooks(self.model, lambda *a: None, after), torch.no_grad():
            try:
                forward()
            except _Reached:
                pass
        return given

    @contextmanager
    def replaying(self, given: dict[str, object]) -> Iterator[None]:
        """Inside, the model takes the outputs at the cuts from ``given``; outside it is as it was."""
        self._given = given
        with _instead(self.stubs):
            yield

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Inside, each BatchNorm in eval mode is part of the convolution before it: one pass less over its output."""
        calls = {}
        for conv, norm in self.pairs:
            both = fuse_conv_bn_eval(conv, norm)
            calls[conv] = (both.to(memory_format=torch.channels_last) if both.weight.dim() == 4 else both).forward
            calls[norm] = nn.Identity().forward
        with _instead(calls):
            yield


@contextmanager
def _instead(calls: dict[nn.Module, Callable]) -> Iterator[None]:
    """Inside, the modules answer with other functions than their own ``forward``."""
    own = {module: module.__dict__.get("forward") for module in calls}
    for module, call in calls.items():
        module.__dict__["forward"] = call
    try:
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward


def agree(a: object, b: object) -> bool:
    """Equal up to the rounding of arithmetic in another order."""
    left, right = tree_flatten(a)[0], tree_flatten(b)[0]
    if len(left) != len(right):
        return False
    for x, y in zip(left, right, strict=True):
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            continue
        if x.shape != y.shape:
            return False
        scale = x.abs().max().clamp(min=1e-3) if x.numel() else 1.0
        if x.numel() and not bool((x - y).abs().max() <= _ABOUT_EQUAL.get(x.dtype, 2e-2) * scale):
            return False
    return True


class Store:
    """One output per sample, of equal or of different length, in memory or in a memory-mapped temporary file."""

    def __init__(self):
        self.place: dict[tuple[int, int], tuple[int, int, tuple]] = {}  # (row, leaf) -> (offset, bytes, shape)
        self.chunks: list[torch.Tensor] = []
        self.file = None
        self.size = 0
        self.dtypes: list[torch.dtype] = []
        self.form = None
        self.bytes: torch.Tensor | None = None
        self.stacked: torch.Tensor | None = None

    def add(self, rows: list[int], given: object) -> None:
        """Take the outputs of a batch that was not padded: equal shapes, one row per sample."""
        leaves, self.form = tree_flatten(given)
        self.dtypes = [None if t is None else t.dtype for t in leaves]
        for at, leaf in enumerate(leaves):
            if leaf is None:
                continue
            flat = leaf.detach().cpu().contiguous().view(len(rows), -1).view(torch.uint8)
            for i, row in enumerate(rows):
                self.place[row, at] = (self.size + i * flat.shape[1], flat.shape[1], leaf.shape[1:])
            self._append(flat.reshape(-1))

    def _append(self, flat: torch.Tensor) -> None:
        self.chunks.append(flat)
        self.size += flat.numel()
        if self.file is None and self.size > IN_MEMORY:
            self.file = tempfile.TemporaryFile(prefix="sftlab-features-")
        if self.file is not None:
            for chunk in self.chunks:
                self.file.write(chunk.numpy().data)
            self.chunks = []

    def close(self) -> None:
        """Make what was added readable."""
        if self.file is not None:
            self.file.flush()
            self.bytes = torch.from_numpy(np.memmap(self.file, np.uint8, "c"))
        else:
            self.bytes = torch.cat(self.chunks) if self.chunks else torch.empty(0, dtype=torch.uint8)
        self.chunks = []
        shapes = {place[2] for place in self.place.values()}
        if len(self.dtypes) == len(shapes) == 1 and self.file is None:
            # One tensor of one shape for all (images, pooled texts): a single gather per batch.
            self.order = {row: offset // size for (row, _), (offset, size, _) in self.place.items()}
            self.stacked = self.bytes.view(self.dtypes[0]).view(len(self.place), *shapes.pop())

    def take(self, rows: list[int], device: torch.device) -> object:
        """The outputs of some samples as one batch, padded with zeros to the longest."""
        if self.stacked is not None:
            picked = self.stacked[torch.tensor([self.order[row] for row in rows])]
            return tree_unflatten([picked.to(device)], self.form)
        leaves = []
        for at, dtype in enumerate(self.dtypes):
            if dtype is None:
                leaves.append(None)
                continue
            parts = [self._read(*self.place[row, at], dtype) for row in rows]
            longest = [max(sizes) for sizes in zip(*(p.shape for p in parts), strict=True)]
            batch = parts[0].new_zeros((len(parts), *longest))
            for i, part in enumerate(parts):
                batch[(i, *map(slice, part.shape))] = part
            leaves.append(batch.to(device))
        return tree_unflatten(leaves, self.form)

    def _read(self, offset: int, size: int, shape: tuple, dtype: torch.dtype) -> torch.Tensor:
        return self.bytes[offset : offset + size].view(dtype).view(shape)
