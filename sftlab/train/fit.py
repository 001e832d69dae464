"""``fit`` and ``resume``: what a reader calls to fine-tune."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike

import torch

from .. import env
from ..errors import SftlabError, unknown
from .average import Average
from .loop import Training
from .plan import Plan, Stage
from .plan import plan as plan_by_name
from .run import Run
from .state import RunFolder, differences
from .task import Task


@dataclass(frozen=True)
class Settings:
    """What ``fit`` was asked for, as it is stored with the run."""

    plan: Plan
    batch: int
    micro_batch: int | None
    seed: int
    validate: str | None
    monitor: tuple[str, str] | None
    patience: int | None
    average: Average | None
    cache: bool
    save_every: int | None

    @classmethod
    def read(cls, stored: dict) -> "Settings":
        """From JSON values."""
        plan = dict(stored["plan"])
        plan.update(stages=tuple(Stage(**s) for s in plan["stages"]), pull=plan["pull"] and tuple(plan["pull"]))
        average = stored["average"] and Average(**stored["average"])
        monitor = stored["monitor"] and tuple(stored["monitor"])
        return cls(**{**stored, "plan": Plan(**plan), "average": average, "monitor": monitor})


def fit(
    model: torch.nn.Module,
    task: Task,
    plan: Plan | str,
    *,
    batch: int = 16,
    micro_batch: int | None = None,
    seed: int | None = None,
    validate: str | None = "val",
    monitor: tuple[str, str] | None = None,
    patience: int | None = None,
    average: Average | None = None,
    cache: bool = True,
    out: str | PathLike | None = None,
    save_every: int | None = None,
    after_step: Callable[[Run], object] | None = None,
    show: bool | str = True,
) -> Run:
    """Fine-tune ``model`` on ``task`` by ``plan``. The model is changed in place and left in eval mode.

    Args:
        model: from :func:`sftlab.load`, or any module that the task can call.
        task: data, loss, metrics.
        plan: a :class:`Plan`, or the name of one.
        batch: samples per optimizer step.
        micro_batch: samples per forward pass; smaller saves memory and changes nothing else (a BatchNorm that
            trains is the exception, and then a note says so: it normalises what it sees at once). When a GPU runs
            out of memory it is halved, with a note, and the step is done again.
        seed: order and dropout; default: the seed of ``sl.start``. The caller's random state is left alone.
        validate: the split that is evaluated after each epoch, None for none; a task without ``val`` has none.
        monitor: ``("macro_f1", "max")`` or ``("loss", "min")``: keep the best weights of each run and return to
            them at the end. The direction is never guessed (P20).
        patience: with ``monitor``: end a stage after so many evaluations without improvement.
        average: ``sl.ema()`` or ``sl.swa()``: evaluate, and end with, averaged weights.
        cache: run the frozen layers below everything that trains once per sample instead of once per epoch, wherever
            the model's own forward pass gives the same numbers; a note says so.
        out: folder for checkpoints: one at the start, after each epoch, and where Ctrl-C stopped the run. A run that
            was killed is continued by :func:`resume` and ends as if it had not been, bit for bit on a CPU.
        save_every: with ``out``: also after so many steps.
        after_step: called with the run after every optimizer step; return ``"stop"`` to end.
        show: print the parameter groups and show a progress bar; ``"bar"``: only the bar.

    Returns:
        Run: history, cost, plots. After Ctrl-C: the run so far, at the end of a whole step, with ``run.stopped``.

    Raises:
        UnknownName: plan, split, metric or direction that does not exist.
        BadData: a split without examples.
        NoSupervision: every label is masked.
        SftlabError: ``out`` cannot be written or already holds a run; the loss does not depend on what trains.
        NonFiniteLoss: loss or gradient became NaN or infinite; names the step and the samples (P4, P28).

    >>> import sftlab as sl
    >>> task = sl.task("headlines")                                        # doctest: +SKIP
    >>> run = sl.fit(sl.load("minilm", task), task, sl.full(epochs=3))     # doctest: +SKIP
    """
    plan = plan_by_name(plan) if isinstance(plan, str) else plan
    seed = env.current().seed if seed is None else seed
    for name, size in (("batch", batch), ("micro_batch", micro_batch), ("save_every", save_every)):
        if size is not None and (size != int(size) or size < 1):
            raise ValueError(f"{name} must be a whole number, at least 1, not {size}")
    if validate not in task.splits and (monitor or validate not in (None, "val")):
        raise unknown("split", validate, task.splits)
    settings = Settings(plan, batch, micro_batch, seed, validate, monitor, patience, average, cache, save_every)
    return Training(model, task, settings, out).run_to_the_end(after_step, show)


def resume(
    out: str | PathLike,
    model: torch.nn.Module,
    task: Task,
    plan: Plan | None = None,
    *,
    after_step: Callable[[Run], object] | None = None,
    show: bool | str = True,
) -> Run:
    """Continue the run in ``out`` from its last checkpoint; it ends as if it had never been stopped.

    Args:
        out: the folder that :func:`fit` was given.
        model: loaded as it was for :func:`fit`; what training moves is taken from the checkpoint.
        task: the same task with the same data.
        plan: only to be compared with the run's own.
        after_step, show: as in :func:`fit`; hooks are not stored.

    Returns:
        Run: with the whole history. A finished run is returned as it ended, without a further step.

    Raises:
        SftlabError: data, model, plan or settings are not those of the run (each difference is listed), or another
            process is writing the folder.
        AssetError: there is no run in ``out``, or a file of it is damaged.

    >>> run = sl.fit(model, task, sl.full(), out="runs/first")              # doctest: +SKIP
    >>> run = sl.resume("runs/first", sl.load("minilm", task), task)        # doctest: +SKIP
    """
    about = RunFolder(out).description()
    settings = Settings.read(about["settings"])
    if plan is not None and plan != settings.plan:
        lines = differences({"plan": about["settings"]["plan"]}, {"plan": json.loads(json.dumps(asdict(plan)))})
        raise SftlabError(f"{out} was started with another plan:\n  " + "\n  ".join(lines))
    return Training(model, task, settings, out, about).run_to_the_end(after_step, show)
