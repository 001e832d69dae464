"""The training loop. ``train_step`` is the whole of training; the rest is bookkeeping around it."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict

import torch

from .. import env
from ..data.batching import epoch_order, mix, split_step
from ..errors import SftlabError
from . import processes
from .average import Averager, refresh_batch_norm
from .evaluate import evaluate_source
from .features import Source, source_of
from .guards import check_finite, interruptible, left_out_line, own_randomness, seed_step, smaller_micro_batch
from .live import Live
from .plan import Applied
from .run import Cost, Run
from .schedule import SCHEDULES, progress_of
from .state import RunFolder, describe, differences, optimizer_tensors, put_optimizer, put_weights, weights
from .stopper import Stopper
from .task import LossSum, Task

READ_EVERY = 20  # optimizer steps between two looks at the loss, on a GPU


def train_step(
    source: Source, task: Task, micro_batches: Iterable[dict], applied: Applied, clip: float | None
) -> tuple[LossSum, torch.Tensor]:
    """Gradients of one optimizer step: sums over all micro-batches, then one division by the count of the whole step.

    Because the division comes last, 1 batch of 8 and 4 micro-batches of 2 give the same gradient, however unequal
    their numbers of labels are (P1, P2).

    Args:
        source: the model, or what stands for it when its frozen part is cached.
        task: gives the summed loss.
        micro_batches: collated batches on the model's device.
        applied: the stage in force.
        clip: greatest gradient norm, or None.

    Returns:
        (loss, norm): summed loss and count of the step; the gradient's norm before clipping.
    """
    parameters = applied.parameters
    for parameter in parameters:
        parameter.grad = None
    applied.enforce()
    total = count = 0
    for batch in micro_batches:
        with env.current().autocast():
            part = task.loss(source.model, batch)
        if not part.total.requires_grad:
            raise SftlabError("the loss does not depend on what the plan trains: is the head used in forward?")
        part.total.backward()
        total, count = total + part.total.detach(), count + part.count
    if processes.count() > 1:
        for parameter in parameters:  # a process whose share is empty adds zeros
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        total, count = (torch.as_tensor(x, dtype=torch.float64, device=parameters[0].device) for x in (total, count))
        processes.add_up([*(p.grad for p in parameters), total, count])
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        raise SftlabError("no trained parameter got a gradient: the loss does not depend on what the plan trains.")
    applied.add_penalty(count)
    norm, scale = torch.nn.utils.get_total_norm(gradients) / count, 1 / count
    if clip is not None:
        scale = (clip / (norm + 1e-6)).clamp(max=1) / count
    torch._foreach_mul_(gradients, scale)  # mean and clipping in one pass over the gradients
    return LossSum(total, count), norm


class Training:
    """One run between its first and its last step: what ``fit`` and ``resume`` share."""

    def __init__(self, model, task: Task, settings, out, before: dict | None = None):
        self.asked, self.task, self.before = settings, task, before
        self.device = env.current().device
        self.called, self.model = model, getattr(model, "_orig_mod", model)  # a compiled model and its module (P25)
        self.model.to(self.device)
        examples = {"train": task.examples("train")}
        if settings.validate in task.splits:
            examples["held out"] = task.examples(settings.validate)
        self.items = {split: task.encode(rows, self.model) for split, rows in examples.items()}
        self.anchors = settings.plan.anchors(self.model)
        self.trained = self._trained()
        self.stopper = Stopper(settings.monitor, settings.patience, task, self.trained)
        self.run = Run(model, task, settings.plan, batch=settings.batch, seed=settings.seed, out=out)
        self.run.note(getattr(task.inputs, "note", lambda items: "")(self.items["train"]))
        self.run.note(left_out_line(self.items["train"], len(examples["train"])))
        self.averager = Averager(settings.average, self.model, sorted(self.trained)) if settings.average else None
        self.micro_batch = settings.micro_batch or settings.batch
        self.folder = RunFolder(out) if out is not None else None
        self.at, self.memory, self.seconds = (0, 0, 0), {}, 0.0  # next (stage, epoch, row of the order)

    def _trained(self) -> set[str]:
        """Names of all parameters that some stage trains; a stage that does not fit the model is an error now."""
        names: set[str] = set()
        for stage in range(len(self.asked.plan.stages)):
            self.asked.plan.apply(self.model, stage, self.anchors)
            names |= {name for name, p in self.model.named_parameters() if p.requires_grad}
        return names

    def run_to_the_end(self, after_step, show) -> Run:
        writes = processes.rank() == 0
        with self.folder if self.folder and writes else nullcontext():
            if self.folder:
                self._open()
                processes.wait()
            return self._train(after_step, show and writes)

    def _open(self) -> None:
        """Start the folder of a new run, or take up what the last checkpoint holds."""
        about = describe(self.model, self.task, self.items, asdict(self.asked), self.trained)
        if self.before is None:
            if (self.folder.folder / "run.json").exists():
                raise SftlabError(
                    f"{self.folder.folder} already holds a run. sl.resume(folder, model, task) continues it (a "
                    "finished one is returned as it ended); for a new run choose another folder or delete this one."
                )
            processes.wait()
            if processes.rank() == 0:
                self.folder.describe(about)
            self._keep()
            return
        parts = ("settings", "task", "model")
        if lines := differences({k: self.before[k] for k in parts}, {k: about[k] for k in parts}):
            shown = "\n  ".join(lines[:12]) + (f"\n  ... and {len(lines) - 12} more" if len(lines) > 12 else "")
            raise SftlabError(f"this is not the run in {self.folder.folder}:\n  {shown}")
        state, tensors = self.folder.load()
        if not state:
            return
        put_weights(self.model, tensors["model"])
        self.at, self.seconds, self.micro_batch = tuple(state["position"]), state["seconds"], state["micro_batch"]
        for key, value in state["run"].items():
            setattr(self.run, key, value)
        for line in differences(self.before["versions"], about["versions"]):
            self.run.note(f"Continued under another version ({line}): the last digits may differ.")
        self.stopper.best, self.stopper.waited = state["stopper"]
        self.stopper.weights = {k: v.to(self.device) for k, v in tensors["best"].items()} if "best" in tensors else None
        if self.averager:
            self.averager.load_state(tensors["average"])
        self.anchors = {name: value.to(self.device) for name, value in tensors.get("anchors", {}).items()}
        self.memory = tensors.get("optimizer", {})

    def _keep(self, optimizer=None) -> None:
        """Write a checkpoint from which the run goes on at ``self.at``."""
        if not self.folder or processes.rank() > 0:
            return
        tensors = {"model": weights(self.model, self.trained)}
        extra = {
            "optimizer": optimizer_tensors(self.model, optimizer) if optimizer else None,
            "best": self.stopper.weights,
            "average": self.averager.state() if self.averager else None,
            "anchors": self.anchors,
        }
        tensors.update({name: group for name, group in extra.items() if group})
        state = {"step": self.run.step, "position": self.at, "micro_batch": self.micro_batch}
        state["seconds"] = self.seconds + time.perf_counter() - self.began if self.run.step else 0.0
        state |= {"stopper": [self.stopper.best, self.stopper.waited], "run": self.run.state()}
        self.folder.save(state, tensors)

    def _train(self, after_step, show) -> Run:
        run, plan, stopper, device = self.run, self.asked.plan, self.stopper, self.device
        seed, batch = self.asked.seed, self.asked.batch
        items, step_count = self.items["train"], math.ceil(len(self.items["train"]) / batch)
        steps = sum(stage.epochs for stage in plan.stages) * step_count
        view = Live(run, steps, show)
        self.began = time.perf_counter()
        first = min(self.at[0], len(plan.stages) - 1)  # of a finished run: the last
        applied = plan.apply(self.model, first, self.anchors)
        with own_randomness(device), env.PeakMemory(device) as memory, interruptible() as interrupted, view:
            for number, stage in enumerate(plan.stages):
                if run.stopped or number < self.at[0]:
                    continue
                applied = plan.apply(self.model, number, self.anchors)
                if self.micro_batch < batch and applied.trains_batch_norm:
                    run.note(
                        f"BatchNorm trains here and takes its statistics from micro-batches of {self.micro_batch}."
                    )
                optimizer = applied.optimizer()
                view.stage(number, applied)
                source = source_of(
                    self.called, self.model, self.task, self.items, applied, stage.epochs, self.asked.cache, run
                )
                if self.memory:
                    put_optimizer(self.model, optimizer, self.memory)
                    self.memory = {}
                if self.at[1:] == (0, 0):
                    stopper.new_stage()
                for epoch in range(self.at[1], stage.epochs):
                    order = epoch_order(source.lengths, len(items), batch, mix(seed, number), epoch)
                    for row in range(self.at[2], len(order)):
                        progress = progress_of(epoch * step_count + row, stage.epochs * step_count)
                        factor = SCHEDULES[plan.schedule](progress, plan.warmup)
                        for group in optimizer.param_groups:
                            group["lr"] = group["peak_lr"] * factor
                        loss, norm = self._step(source, applied, order[row], mix(seed, number, epoch))
                        if epoch == row == 0:
                            run.note(applied.check_gradients())
                        run.record(number, epoch, order[row], loss, norm, optimizer.param_groups[-1]["lr"])
                        # On a CPU the value is at hand: look before the weights are touched. On a GPU reading it would
                        # make the device wait, so it is read every few steps.
                        if device.type == "cpu" or run.step % READ_EVERY == 0:
                            check_finite(run, source, device)
                        optimizer.step()
                        if self.averager:
                            self.averager.update(run.step / steps)
                        self.at = (number, epoch, row + 1)
                        view.step()
                        if after_step is not None and after_step(run) == "stop":
                            run.stopped = f"by after_step at step {run.step}"
                        if interrupted():
                            run.stopped = f"interrupted after step {run.step}"
                        if run.stopped or (self.asked.save_every and run.step % self.asked.save_every == 0):
                            check_finite(run, source, device)
                            self._keep(optimizer)
                        if run.stopped:
                            break
                    check_finite(run, source, device)
                    if "held out" in self.items:
                        with self._averaged(applied):
                            run.evaluated(number, epoch, evaluate_source(source, "held out", device))
                            stopper.see(run, self.model)
                        view.evaluation()
                    if run.stopped:
                        break
                    last = stopper.exhausted or epoch + 1 == stage.epochs
                    self.at = (number + 1, 0, 0) if last else (number, epoch + 1, 0)
                    self._keep(None if last else optimizer)
                    if last:
                        break
        if self.averager:
            run.note(self.averager.note)
            self.averager.into(self.model)
            self._refresh(applied)
        stopper.restore(run, self.model)
        for parameter in self.model.parameters():
            parameter.grad = None  # nobody needs 90 MB of old gradients
        self.model.eval()
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        seconds = self.seconds + time.perf_counter() - self.began
        run.cost = Cost(seconds, memory.bytes, memory.kind, trained, run.samples)
        return run

    @contextmanager
    def _averaged(self, applied: Applied) -> Iterator[None]:
        """The weights to be evaluated: the average, if one is kept, with BatchNorm statistics of its own."""
        with self.averager.swapped(self.model) if self.averager else nullcontext():
            if self.averager:
                self._refresh(applied)
            yield

    def _refresh(self, applied: Applied) -> None:
        if self.averager.needs_batch_norm:
            rows = split_step(range(len(self.items["train"])), 64)
            batches = Source(self.model, self.task, self.items).batches(rows, self.device)
            refresh_batch_norm(self.model, self.task, batches, applied.batch_norms)

    def _step(self, source: Source, applied: Applied, rows: list[int], draw: int) -> tuple[LossSum, torch.Tensor]:
        """One step's gradients; when the device is out of memory, the same step again in smaller micro-batches."""
        while True:
            seed = self.asked.seed if processes.rank() == 0 else mix(self.asked.seed, processes.rank())
            seed_step(self.device, seed, self.run.step, self.task.augment is not None)
            groups = split_step(processes.share(rows), self.micro_batch)
            batches = source.batches(groups, self.device, draw=draw)
            try:
                return train_step(source, self.task, batches, applied, self.asked.plan.clip)
            except torch.OutOfMemoryError:
                self.micro_batch = smaller_micro_batch(self.run, min(self.micro_batch, len(rows)))
