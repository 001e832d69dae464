"""A run: what happened, what it cost, and how it looks."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import SftlabError
from ..table import Table

STYLE = str(Path(__file__).resolve().parents[1] / "sftlab.mplstyle")


@dataclass(frozen=True)
class Cost:
    """What a run cost: wall-clock seconds, peak memory in bytes (and of what), trained parameters, samples seen."""

    seconds: float
    peak_memory: int
    memory_kind: str
    trained_parameters: int
    samples: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.samples / max(self.seconds, 1e-9):.0f} samples/s, "
            f"{self.trained_parameters:,} parameters trained, peak memory {self.peak_memory / 2**20:,.0f} MiB "
            f"({self.memory_kind})"
        )


class Run:
    """History, cost and plots of a fine-tuning run.

    Attributes:
        steps: one dict per optimizer step: ``step``, ``stage``, ``epoch``, ``loss`` (mean over the step's labels,
            in nats), ``lr`` (of the head), ``norm`` (of the gradient, before clipping), ``count`` (labels).
        evaluations: one dict per evaluation: ``step``, ``stage``, ``epoch``, ``loss``, the task's metrics.
        best: the evaluation whose weights were kept, with ``monitor``.
        cost: see :class:`Cost`.
        stopped: why the run ended early, or None.
        notes: one line each about what happened to the data (cut texts, cached features).
        out: the folder of its checkpoints, or None.

    >>> run = sl.fit(model, task, "full")                       # doctest: +SKIP
    >>> run.evaluations[-1]["macro_f1"], run.cost.seconds       # doctest: +SKIP
    (0.86, 41.3)
    """

    def __init__(self, model, task, plan, batch: int, seed: int, out=None):
        self.model, self.task, self.plan, self.batch, self.seed, self.out = model, task, plan, batch, seed, out
        self.steps: list[dict] = []
        self.evaluations: list[dict] = []
        self.notes: list[str] = []
        self.best: dict | None = None
        self.cost: Cost | None = None
        self.stopped: str | None = None
        self._unread: list[dict] = []
        self.samples = 0

    @property
    def step(self) -> int:
        """Optimizer steps taken so far."""
        return len(self.steps) + len(self._unread)

    def note(self, line: str) -> None:
        """Keep a line for the reader, once."""
        if line and line not in self.notes:
            self.notes.append(line)

    def record(self, stage: int, epoch: int, rows: list[int], loss, norm, lr: float) -> None:
        """Take a step's loss as it is, on the device; :meth:`read_losses` turns it into numbers later."""
        self.samples += len(rows)
        where = {"step": self.step + 1, "stage": stage, "epoch": epoch}
        self._unread.append({**where, "lr": lr, "rows": rows, "sum": loss, "norm": norm})

    def read_losses(self) -> dict | None:
        """Move recorded losses into ``steps``; returns the first entry that is not finite, if there is one."""
        waiting, self._unread = self._unread, []
        for entry in waiting:
            rows, loss = entry.pop("rows"), entry.pop("sum")
            entry["count"] = int(loss.count)
            entry["loss"] = float(loss.total) / entry["count"] if entry["count"] else math.nan
            entry["norm"] = float(entry["norm"])
            if not math.isfinite(entry["loss"]) or not math.isfinite(entry["norm"]):
                return {**entry, "rows": rows}
            self.steps.append(entry)
        return None

    def evaluated(self, stage: int, epoch: int, result: dict) -> None:
        """Add an evaluation at the present step."""
        self.evaluations.append({"step": self.step, "stage": stage, "epoch": epoch, **result})

    def state(self) -> dict:
        """The history as JSON values, for a checkpoint."""
        return {"steps": self.steps, "evaluations": self.evaluations, "notes": self.notes, "samples": self.samples}

    def resume(self, **settings) -> "Run":
        """Go on where the run was stopped, from its last checkpoint; see :func:`sftlab.resume`.

        Raises:
            SftlabError: the run was started without ``out``.
        """
        from .fit import resume

        if self.out is None:
            raise SftlabError("this run keeps no checkpoints: only fit(..., out=FOLDER) can be continued.")
        return resume(self.out, self.model, self.task, **settings)

    def table(self) -> Table:
        """The evaluations, one row each."""
        metrics = [k for k, v in (self.evaluations or [{}])[0].items() if isinstance(v, float)]
        rows = [[e["epoch"] + 1, e["step"], *(f"{e[m]:.3f}" for m in metrics)] for e in self.evaluations]
        return Table(["epoch", "step", *metrics], rows, caption=f"{self.plan.name}: held-out results")

    def errors(self, split: str = "val", count: int = 10) -> Table:
        """The worst mistakes of a split: wrong, and most sure of it.

        Args:
            split: where to look; not the test split, unless you are done tuning.
            count: how many at most.

        Raises:
            UnknownName: no such split.
            SftlabError: the task is not one of classes or tags.

        >>> run.errors("val", 3)     # doctest: +SKIP
        """
        return self.task.errors(self.model, split, count)

    def plot(self):
        """Training and held-out loss, and the held-out metrics, against the optimizer step; a matplotlib figure.

        >>> figure = run.plot()     # doctest: +SKIP
        """
        import matplotlib.pyplot as plt

        metrics = [k for k, v in (self.evaluations or [{}])[0].items() if isinstance(v, float) and k != "loss"]
        with plt.style.context(STYLE):
            figure, axes = plt.subplots(1, 2 if metrics else 1, figsize=(8 if metrics else 4.5, 3.2), squeeze=False)
            left = axes[0][0]
            left.plot([s["step"] for s in self.steps], smooth([s["loss"] for s in self.steps]), label="training")
            steps = [e["step"] for e in self.evaluations]
            if steps:
                left.plot(steps, [e["loss"] for e in self.evaluations], "o--", label="held out")
            left.set(xlabel="optimizer step", ylabel="loss per label (nats)", ylim=(0, None))
            left.legend()
            for metric, marker in zip(metrics, "os^Dv", strict=False):
                values = [e[metric] for e in self.evaluations]
                axes[0][1].plot(steps, values, marker + "-", label=metric.replace("_", "-"))
            if metrics:
                axes[0][1].set(xlabel="optimizer step", ylabel="held-out score", ylim=(0, 1))
                axes[0][1].legend(loc="lower right")
            figure.tight_layout()
        plt.close(figure)  # the caller shows it; a notebook would show it twice
        return figure

    def __repr__(self) -> str:
        last = self.evaluations[-1] if self.evaluations else {}
        scores = ", ".join(f"{k} {v:.3f}" for k, v in last.items() if isinstance(v, float))
        return f"<Run {self.plan.name!r}: {self.step} steps{', held out: ' + scores if scores else ''}>"


def smooth(values: list[float], window: int = 10) -> list[float]:
    """Mean of the last ``window`` values at each point, so that a curve shows its trend.

    >>> smooth([4.0, 2.0, 0.0], window=2)
    [4.0, 3.0, 1.0]
    """
    sums = torch.tensor([0.0, *values]).double().cumsum(0)
    return [float((sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window)) for i in range(len(values))]
