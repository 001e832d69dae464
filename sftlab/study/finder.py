"""Before a run: how fast may it learn, how much fits at once? Both try it on a copy and leave no trace."""

import copy
import gc
import math
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from .. import env
from ..data.batching import epoch_order
from ..errors import NonFiniteLoss, SftlabError
from ..table import Table
from ..train import loop
from ..train.features import Source
from ..train.guards import own_randomness, seed_step
from ..train.plan import Plan
from ..train.plan import plan as plan_by_name
from ..train.run import STYLE
from ..train.task import Task


@dataclass
class _Shown:
    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


@dataclass(repr=False)
class RateSearch(_Shown):
    """What :func:`lr_find` saw: ``rates``, ``losses`` (as they came), ``smoothed``, ``suggestion`` (may be None)."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    end: str

    def table(self) -> Table:
        at = sorted({*range(0, len(self.rates), max(1, len(self.rates) // 8)), len(self.rates) - 1})
        rows = [[f"{self.rates[i]:.1e}", f"{self.smoothed[i]:.3f}"] for i in at]
        found = f"suggestion: {self.suggestion:.1e}" if self.suggestion else "no suggestion: the loss never fell"
        return Table(["rate", "loss"], rows, note=f"{found}. {self.end}")

    def plot(self):
        """Loss against rate; a matplotlib figure."""
        import matplotlib.pyplot as plt

        with plt.style.context(STYLE):
            figure, ax = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
            ax.plot(self.rates, self.losses, alpha=0.4, label="each step")
            ax.plot(self.rates, self.smoothed, label="smoothed")
            if self.suggestion:
                ax.axvline(self.suggestion, linestyle="--", label=f"suggestion {self.suggestion:.1e}")
            top = 1.5 * max(self.smoothed[: max(1, len(self.smoothed) // 2)])
            ax.set(xscale="log", xlabel="peak learning rate", ylabel="loss per label (nats)", ylim=(0, top))
            ax.legend()
        plt.close(figure)
        return figure


@dataclass(repr=False)
class SizeSearch(_Shown):
    """What :func:`batch_find` saw: ``micro_batch``, the largest that fitted, and one entry of ``tried`` per size."""

    micro_batch: int
    tried: list[tuple[int, int, bool]] = field(default_factory=list)
    end: str = ""

    def table(self) -> Table:
        rows = [
            [n, f"{used / 2**20:,.0f} MiB" if used else "-", "yes" if fits else "no"] for n, used, fits in self.tried
        ]
        return Table(["micro-batch", "peak memory", "fits"], rows, note=self.end)


def lr_find(
    model: torch.nn.Module, task: Task, plan: Plan | str = "full", *, stage: int = -1, batch: int = 16,
    lowest: float = 1e-7, highest: float = 1.0, steps: int = 100, seed: int | None = None,
) -> RateSearch:  # fmt: skip
    """Train a copy of the model at a rate that grows from step to step, and look when the loss falls and diverges.

    Args:
        model: as it will be trained; it is left exactly as it is, and so are all random states.
        task: the training split is used.
        plan, stage: what trains; ``lr`` of that stage grows, the other rates keep their ratio to it.
        batch: samples per optimizer step.
        lowest, highest, steps: the rates to try, evenly on a logarithmic scale.
        seed: of order and dropout; default: the seed of ``sl.start``.

    Returns:
        RateSearch: the suggestion is the rate at which the smoothed loss falls fastest; it shows as a table.

    Raises:
        NonFiniteLoss: already at the lowest rate.

    Source: Smith (2017), Cyclical Learning Rates, section 3.3.

    >>> found = sl.lr_find(model, task, sl.full())     # doctest: +SKIP
    >>> plan = sl.full(lr=found.suggestion)            # doctest: +SKIP
    """
    if not 0 < lowest < highest or steps < 10:
        raise ValueError(f"0 < lowest < highest and at least 10 steps, not {lowest}, {highest} and {steps}")
    plan = plan_by_name(plan) if isinstance(plan, str) else plan
    seed = env.current().seed if seed is None else seed
    rates, losses, best, mean, end = [], [], math.inf, 0.0, "The loss did not diverge."
    with _no_trace(model) as (twin, device):
        source, applied, optimizer = _ready(twin, task, plan, stage, device)
        count = len(source.items["train"])
        order = (rows for epoch in range(steps) for rows in epoch_order(source.lengths, count, batch, seed, epoch))
        for step, rows in zip(range(steps), order, strict=False):
            rate = lowest * (highest / lowest) ** (step / (steps - 1))
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] / plan.stages[stage].lr * rate
            seed_step(device, seed, step, False)
            loss, norm = loop.train_step(source, task, source.batches([rows], device, draw=seed), applied, plan.clip)
            value = float(loss.total) / float(loss.count)
            mean = 0.9 * mean + 0.1 * value
            now = mean / (1 - 0.9 ** (step + 1))
            best = min(best, now)
            if not math.isfinite(value) or not math.isfinite(float(norm)) or (step > 9 and now > 4 * best):
                end = f"The loss diverged at {rate:.1e}."
                break
            rates.append(rate)
            losses.append(value)
            optimizer.step()
    if not losses:
        raise NonFiniteLoss(f"the loss or its gradient is not finite at the lowest rate, {lowest:.1e}: see sl.fit.")
    near = [losses[max(0, i - 4) : i + 5] for i in range(len(losses))]  # to both sides: no lag
    smoothed = [sum(part) / len(part) for part in near]
    falls = [smoothed[i - 2] - smoothed[i + 2] for i in range(2, len(smoothed) - 2)]
    steepest = max(range(len(falls)), key=falls.__getitem__) + 2 if falls and max(falls) > 0 else None
    return RateSearch(rates, losses, smoothed, None if steepest is None else rates[steepest], end)


def batch_find(
    model: torch.nn.Module, task: Task, plan: Plan | str = "full", *, most: int = 256, limit_bytes: int | None = None
) -> SizeSearch:
    """The largest micro-batch that fits: doubled until memory runs out, on the longest samples, a whole step each time.

    Args:
        model: as it will be trained; it is left exactly as it is, and so are all random states.
        task: the training split is used.
        plan: its stage with the most trained parameters is tried.
        most: stop here; on a CPU the only limit unless ``limit_bytes`` is given (a CPU does not run out, it swaps).
        limit_bytes: the peak memory (of the device; on a CPU of the process) that still counts as fitting.

    Returns:
        SizeSearch: ``micro_batch`` is for ``sl.fit``; it shows as a table.

    Raises:
        SftlabError: not even one sample fits.

    >>> sl.batch_find(model, task, "full").micro_batch     # doctest: +SKIP
    64
    """
    plan = plan_by_name(plan) if isinstance(plan, str) else plan
    tried, size, end = [], 1, f"Stopped at most={most}: more may fit."
    with _no_trace(model) as (twin, device):
        sizes = [sum(p.numel() for p in plan.apply(twin, n).parameters) for n in range(len(plan.stages))]
        source, applied, optimizer = _ready(twin, task, plan, sizes.index(max(sizes)), device)
        items = source.items["train"]
        longest = sorted(range(len(items)), key=lambda row: -(task.inputs.length(items[row]) or 0))
        while size <= most:
            rows = [longest[i % len(longest)] for i in range(size)]
            used = _peak(source, task, rows, applied, optimizer, plan.clip, device)
            fits = used is not None and (limit_bytes is None or used <= limit_bytes)
            tried.append((size, used or 0, fits))
            if not fits:
                end = f"{size} is too much for " + (
                    "the memory." if used is None else f"{limit_bytes / 2**20:,.0f} MiB."
                )
                break
            size *= 2
    fitted = [n for n, _, fits in tried if fits]
    if not fitted:
        raise SftlabError(f"not even one sample fits: {end} Shorten the texts, freeze more, or take a smaller model.")
    return SizeSearch(fitted[-1], tried, end)


def _peak(source, task, rows, applied, optimizer, clip, device) -> int | None:
    """Peak memory of one optimizer step, None if it did not fit."""
    try:
        with env.PeakMemory(device) as memory:
            loop.train_step(source, task, source.batches([rows], device, draw=0), applied, clip)
            optimizer.step()
        return memory.bytes
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):  # torch's allocator on a CPU
            return None
        raise
    finally:
        for parameter in applied.parameters:
            parameter.grad = None
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def _ready(twin, task: Task, plan: Plan, stage: int, device):
    number = range(len(plan.stages))[stage]
    applied = plan.apply(twin, number, plan.anchors(twin))
    return Source(twin, task, {"train": task.encode(task.examples("train"), twin)}), applied, applied.optimizer()


@contextmanager
def _no_trace(model):
    """A copy of the model on the device, and all random states as they were afterwards, whatever happens inside."""
    device = env.current().device
    with own_randomness(device):
        yield copy.deepcopy(model).to(device), device
