"""Where a stage's batches come from: through the whole model, or from stored outputs of its frozen prefix."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .. import env
from ..data.batching import mix
from ..data.collate import to_device
from ..errors import SftlabError
from .prefix import Prefix, Store, agree, candidates, watch
from .task import Task

KEEP = 2  # stores that stay after their run: the next seed or plan with the same frozen prefix takes them over
MISFIT = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, SftlabError)  # of a cut that does not do
kept: dict[str, dict] = {}


@dataclass
class Source:
    """What a stage trains on: a model to call, the task that feeds it, and encoded samples by split."""

    owner: torch.nn.Module  # tokenizer, modes, weights
    task: Task
    items: dict[str, list[dict]]
    model: object = None  # what the task calls: the owner, its compiled form, or the replay of a cached prefix

    def __post_init__(self):
        self.model = self.owner if self.model is None else self.model

    @property
    def lengths(self) -> list[int] | None:
        """Length of each training sample, None if they are all of one size."""
        lengths = [self.task.inputs.length(item) for item in self.items["train"]]
        return None if None in lengths else lengths

    def batches(
        self, groups: Sequence[Sequence[int]], device: torch.device, split: str = "train", draw: int | None = None
    ) -> Iterator[dict]:
        """Collated batches on the device, one per group of sample numbers.

        Args:
            draw: names the pass over the data; augmentation is a function of it and of the sample (P18). None: no
                augmentation, and the same random numbers for a sample every time.
        """
        for rows in groups:
            items = [self.items[split][row] for row in rows]
            if draw is not None and self.task.augment is not None:
                seeds = [mix(draw, item["index"]) for item in items]
                drawn = [torch.Generator().manual_seed(seed) for seed in seeds]
                items = [self.task.augment(item, own) for item, own in zip(items, drawn, strict=True)]
            batch = self.task.collate(items, self.owner)
            if self.task.draws:
                batch["seeds"] = [mix(draw or 0, item["index"], 1) for item in items]
            if isinstance(self.model, Replay):
                self.model.now = split, rows
            yield to_device(batch, device)


class Replay:
    """Stands for a model whose frozen prefix is stored: the task calls it as it would call the model."""

    def __init__(self, model: torch.nn.Module, prefix: Prefix, stores: dict, device: torch.device):
        self.model, self.prefix, self.stores, self.device = model, prefix, stores, device
        self.now: tuple[str, Sequence[int]] = ("", ())

    def __call__(self, *args, **kwargs):
        split, rows = self.now
        given = {name: store.take(rows, self.device) for name, store in self.stores[split].items()}
        with self.prefix.replaying(given):
            return self.model(*args, **kwargs)

    def __getattr__(self, name: str):
        return getattr(self.model, name)


def source_of(model, raw: torch.nn.Module, task: Task, items: dict, applied, epochs: int, cache: bool, run) -> Source:
    """The fastest source that gives the same numbers; a line in the run's notes says when it is the cached one.

    Args:
        model: what is called (perhaps compiled), ``raw`` the module itself.
        applied: the stage in force.
        epochs: of the stage; one pass alone gains nothing from a store.
        cache: False: always through the whole model.
    """
    live = Source(raw, task, items, model)
    if not cache or epochs < 2 or task.augment is not None or not task.cacheable:
        return live
    device = next(raw.parameters()).device
    prefix = _find(live, applied, device)
    if prefix is None:
        return live
    try:
        stores = _stores(live, prefix, device)
    except OSError as error:
        run.note(f"The outputs of the frozen layers do not fit on the disk ({error}); they are computed every time.")
        return live
    count = sum(len(rows) for rows in items.values() if rows)
    names = " and ".join(s.name for s in prefix.cuts)
    size = sum(s.size for by_name in stores.values() for s in by_name.values())
    run.note(
        f"The frozen layers up to {names} ran once for each of {count:,} samples ({size / 2**20:,.1f} MiB stored)."
    )
    replay = Replay(raw, prefix, stores, device)
    return _without_inputs(Source(raw, task, items, replay), applied, device)


def _find(live: Source, applied, device: torch.device) -> Prefix | None:
    """A cut whose replay was seen to equal the live model on the shortest, a middle and the longest sample."""
    lengths = live.lengths or [0] * len(live.items["train"])
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    of_length = {lengths[row]: row for row in (order[0], order[len(order) // 2], order[-1])}  # one for each length
    probes = [[row] for row in of_length.values()]
    autocast = env.current().autocast

    def forward(rows):
        with autocast():
            return live.task.loss(live.owner, next(live.batches([rows], device)))

    seen, pairs = watch(live.owner, lambda: forward(probes[-1]))
    if any(m._forward_hooks or m._forward_pre_hooks for s in seen for m in s.module.modules()):
        return None  # somebody watches the frozen layers: they must really run
    for cuts in candidates(seen, 1):
        prefix = Prefix(live.owner, cuts, seen, pairs)
        if all(_same(live, prefix, applied, rows, forward) for rows in probes):
            if not _folds(live, prefix, lambda: forward(probes[-1])):
                prefix.pairs = []
            return prefix
    return None


def _folds(live: Source, prefix: Prefix, forward) -> bool:
    """True if the stored outputs are the same with BatchNorm folded into the convolutions."""
    live.owner.eval()
    plain = prefix.run(forward)
    with prefix.folded():
        return agree(plain, prefix.run(forward))


def _same(live: Source, prefix: Prefix, applied, rows: list[int], forward) -> bool:
    """The prefix gives the same in train and eval mode, whatever is drawn; what follows cannot tell it was replaced."""
    given = []
    with torch.random.fork_rng(devices=[]):
        for seed, training in ((0, True), (1, True), (1, False)):
            torch.manual_seed(seed)
            applied.enforce() if training else live.owner.eval()
            given.append(prefix.run(lambda: forward(rows)))
    if any(len(g) != len(prefix.cuts) for g in given) or not all(agree(given[0], g) for g in given[1:]):
        return False
    live.owner.eval()
    expected = _watched(live, applied, lambda: forward(rows))
    try:
        with prefix.replaying(given[0]):
            found = _watched(live, applied, lambda: forward(rows))
    except MISFIT:
        return False  # this cut does not carry all that the rest of the model reads; the live model is always right
    return agree(expected, found)


def _without_inputs(source: Source, applied, device: torch.device) -> Source:
    """The same samples without their pictures, if nothing reads them any more: stacking them would cost every step."""
    if not getattr(source.task.inputs, "one_shape", False):
        return source
    items = {s: [{**item, "input": item["input"][..., :0]} for item in rows] for s, rows in source.items.items()}
    light = Source(source.owner, source.task, items, source.model)
    source.owner.eval()
    try:
        loss = [lambda s=s: s.task.loss(s.model, next(s.batches([[0]], device))) for s in (source, light)]
        return light if agree(_watched(source, applied, loss[0]), _watched(light, applied, loss[1])) else source
    except MISFIT:
        return source


def _watched(live: Source, applied, forward) -> list:
    """What the modules that train are given, the loss, and its gradients.

    The inputs, because behind a head of zeros a wrong one would be hidden. The gradients, because equal numbers do not
    show that something that trains was replaced.
    """
    given = []
    trained = [m for m in live.owner.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    handles = [m.register_forward_pre_hook(lambda m, args: given.append([*map(_detached, args)])) for m in trained]
    try:
        total = forward().total
        reached = total.requires_grad  # if not, the loop says so
        gradients = torch.autograd.grad(total, applied.parameters, allow_unused=True) if reached else []
    finally:
        for handle in handles:
            handle.remove()
    return [*given, total.detach(), [torch.zeros(0) if g is None else g for g in gradients]]


def _detached(value: object) -> object:
    return value.detach().clone() if isinstance(value, torch.Tensor) else None


def _stores(live: Source, prefix: Prefix, device: torch.device, batch: int = 64) -> dict:
    key = _fingerprint(live, prefix)
    if key in kept:
        return kept[key]
    live.owner.eval()
    with prefix.folded():
        stores = {split: _run(live, prefix, split, device, batch) for split, items in live.items.items() if items}
    while len(kept) >= KEEP:
        kept.pop(next(iter(kept)))
    kept[key] = stores
    return stores


def _run(live: Source, prefix: Prefix, split: str, device: torch.device, batch: int) -> dict[str, Store]:
    stores = {s.name: Store() for s in prefix.cuts}
    for rows in _equal_shapes(live, live.items[split], batch):
        with env.current().autocast():
            group = next(live.batches([rows], device, split))
            for column, value in group["inputs"].items():
                if isinstance(value, torch.Tensor) and value.dim() == 4:  # convolutions are faster in this layout
                    group["inputs"][column] = value.contiguous(memory_format=torch.channels_last)
            given = prefix.run(lambda group=group: live.task.loss(live.owner, group))
        for name, store in stores.items():
            store.add(rows, given[name])
    for store in stores.values():
        store.close()
    return stores


def _equal_shapes(live: Source, items: list[dict], batch: int) -> Iterator[list[int]]:
    """Batches without padding, so that what is stored of a sample does not depend on its company."""
    groups: dict[tuple, list[int]] = {}
    if getattr(live.task.inputs, "one_shape", False):
        groups[()] = list(range(len(items)))
        items = []
    for row, item in enumerate(items):
        inputs = live.task.collate([item], live.owner)["inputs"]
        groups.setdefault(tuple(v.shape for v in inputs.values()), []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch]


def _fingerprint(live: Source, prefix: Prefix) -> str:
    """Of the frozen weights and buffers, the encoded samples, the place of the cut and the precision."""
    digest = hashlib.sha256(repr(([s.name for s in prefix.cuts], env.current().precision)).encode())
    for module in prefix.before:
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(bytes_of(value))
    return data_fingerprint(live.items, digest)


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The values of a tensor of any dtype and layout, for a digest."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def data_fingerprint(items: dict[str, list[dict]], digest=None) -> str:
    """SHA-256 of encoded samples: every key and value, tensors by their bytes."""
    digest = digest or hashlib.sha256()

    def take(value):
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                take(value[key])
        elif isinstance(value, list | tuple) and not all(type(v) is int for v in value):
            digest.update(f"{len(value)}".encode())
            for part in value:
                take(part)
        elif isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(bytes_of(value))
        elif hasattr(value, "tobytes"):  # arrays and pictures: their repr is cut short, or an address
            digest.update(f"{getattr(value, 'dtype', '')}{getattr(value, 'shape', '')}".encode() + value.tobytes())
        else:
            plain = isinstance(value, str | int | float | list | tuple | None)
            digest.update((repr(value) if plain else type(value).__name__).encode())

    for split, rows in items.items():
        digest.update(split.encode())
        for item in rows or []:
            take(item)
    return digest.hexdigest()
