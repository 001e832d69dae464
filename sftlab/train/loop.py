"""The training loop. ``train_step`` is the whole of training; the rest is bookkeeping around it."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch

from .. import env
from ..data.batching import epoch_order, mix, split_step
from ..errors import NonFiniteLoss, SftlabError, unknown
from .evaluate import eval_mode, evaluate_items
from .features import Source, cached, live
from .live import Live
from .plan import Applied, Plan
from .plan import plan as plan_by_name
from .run import Cost, Run
from .schedule import SCHEDULES, progress_of
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
    applied.add_penalty(count)
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        raise SftlabError("no trained parameter got a gradient: the loss does not depend on what the plan trains.")
    norm, scale = torch.nn.utils.get_total_norm(gradients) / count, 1 / count
    if clip is not None:
        scale = (clip / (norm + 1e-6)).clamp(max=1) / count
    torch._foreach_mul_(gradients, scale)  # mean and clipping in one pass over the gradients
    return LossSum(total, count), norm


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
    cache: bool = True,
    average=None,
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
            trains is the exception, and then a note says so: it normalises what it sees at once).
        seed: order and dropout; default: the seed of ``sl.start``. The caller's random state is left alone.
        validate: the split that is evaluated after each epoch, None for none; a task without ``val`` has none.
        monitor: ``("macro_f1", "max")`` or ``("loss", "min")``: keep the best weights of each run and return to
            them at the end. The direction is never guessed (P20).
        patience: with ``monitor``: end a stage after so many evaluations without improvement.
        cache: when only the head trains, run the frozen trunk once per sample instead of once per epoch.
        after_step: called with the run after every optimizer step; return ``"stop"`` to end.
        show: print the parameter groups and show a progress bar; ``"bar"``: only the bar.

    Returns:
        Run: history, cost, plots. After Ctrl-C: the run so far, at the end of a whole step, with ``run.stopped``.

    Raises:
        UnknownName: plan, split, metric or direction that does not exist.
        BadData: a split without examples.
        NoSupervision: every label is masked.
        NonFiniteLoss: loss or gradient became NaN or infinite; names the step and the samples (P4, P28).

    >>> import sftlab as sl
    >>> task = sl.task("headlines")                                        # doctest: +SKIP
    >>> run = sl.fit(sl.load("minilm", task), task, sl.full(epochs=3))     # doctest: +SKIP
    """
    plan = plan_by_name(plan) if isinstance(plan, str) else plan
    seed = env.current().seed if seed is None else seed
    stopper = Stopper(monitor, patience, task)
    for name, size in (("batch", batch), ("micro_batch", micro_batch)):
        if size is not None and (size != int(size) or size < 1):
            raise ValueError(f"{name} must be a whole number, at least 1, not {size}")
    device = env.current().device
    model.to(device)
    items = task.encode(task.examples("train"), model)
    if validate not in task.splits and (monitor or validate not in (None, "val")):
        raise unknown("split", validate, task.splits)
    held_out = task.encode(task.examples(validate), model) if validate in task.splits else None
    run = Run(model, task, plan, batch=batch, seed=seed)
    run.note(_cut_line(items))
    run.note(_left_out_line(items, len(task.examples("train"))))
    step_count = math.ceil(len(items) / batch)
    view = Live(run, sum(stage.epochs for stage in plan.stages) * step_count, show)
    began = time.perf_counter()
    from .average import Averager, refresh_batch_norm

    anchors = plan.anchors(model)
    averager = average and Averager(average, model, [name for name, _ in model.named_parameters()])
    total_steps = sum(stage.epochs for stage in plan.stages) * step_count
    with _own_randomness(device), env.PeakMemory(device) as memory, _interruptible() as interrupted, view:
        for number, stage in enumerate(plan.stages):
            applied = plan.apply(model, number, anchors)
            if micro_batch and micro_batch < batch and applied.trains_batch_norm:
                run.note(f"BatchNorm trains here and takes its statistics from micro-batches of {micro_batch}.")
            optimizer = applied.optimizer()
            view.stage(number, applied)
            make = cached if cache and applied.head_only and hasattr(model, "classify") else live
            source = make(model, task, {"train": items, "held out": held_out}, run)
            stopper.new_stage()
            for epoch in range(stage.epochs):
                order = epoch_order(source.lengths, len(items), batch, mix(seed, number), epoch)
                for at, rows in enumerate(order):
                    factor = SCHEDULES[plan.schedule](
                        progress_of(epoch * step_count + at, stage.epochs * step_count), plan.warmup
                    )
                    for group in optimizer.param_groups:
                        group["lr"] = group["peak_lr"] * factor
                    _seed_step(device, seed, run.step)
                    batches = source.batches(split_step(rows, micro_batch), device, draw=mix(seed, number, epoch))
                    loss, norm = train_step(source, source.task, batches, applied, plan.clip)
                    if epoch == at == 0:
                        run.note(applied.check_gradients())
                    run.record(number, epoch, rows, loss, norm, optimizer.param_groups[-1]["lr"])
                    # On a CPU the value is at hand: look before the weights are touched. On a GPU reading it would
                    # make the device wait, so it is read every few steps.
                    if device.type == "cpu" or run.step % READ_EVERY == 0:
                        check_finite(run, source, device)
                    optimizer.step()
                    if averager:
                        averager.update(run.step / total_steps)
                    view.step()
                    if after_step is not None and after_step(run) == "stop":
                        run.stopped = f"by after_step at step {run.step}"
                    if interrupted():
                        run.stopped = f"interrupted after step {run.step}"
                    if run.stopped:
                        break
                check_finite(run, source, device)
                if held_out is not None:
                    run.evaluated(number, epoch, evaluate_items(source, source.items["held out"], device))
                    stopper.see(run, model)
                    view.evaluation()
                if run.stopped or stopper.exhausted:
                    break
            if run.stopped:
                break
    if averager:
        averager.into(model)
        run.note(averager.note)
        if averager.needs_batch_norm:
            rows = split_step(range(len(items)), 64)
            refresh_batch_norm(
                model, task, live(model, task, {"train": items}, None).batches(rows, device), applied.batch_norms
            )
    stopper.restore(run, model)
    for parameter in model.parameters():
        parameter.grad = None  # nobody needs 90 MB of old gradients
    model.eval()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    run.cost = Cost(time.perf_counter() - began, memory.bytes, memory.kind, trained, run.samples)
    return run


def check_finite(run: Run, source: Source, device: torch.device) -> None:
    """Read the losses that wait on the device; raise if one of them, or a gradient norm, is not finite."""
    bad = run.read_losses()
    if bad is None:
        return
    culprits = []
    if not math.isfinite(bad["loss"]):  # the slow path of a failed run: which samples do it alone?
        for row in bad["rows"]:
            with eval_mode(source.owner), torch.no_grad():
                part = source.task.loss(source.model, next(source.batches([[row]], device)))
            if not math.isfinite(float(part.total)):
                culprits.append(source.items["train"][row]["index"])
    samples = culprits or [source.items["train"][row]["index"] for row in bad["rows"]]
    what = "loss" if not math.isfinite(bad["loss"]) else "gradient"
    raise NonFiniteLoss(
        f"the {what} is {bad['loss'] if what == 'loss' else bad['norm']} at step {bad['step']} (epoch {bad['epoch']}, "
        f"rate {bad['lr']:.2g}). {'Samples that do it alone' if culprits else 'Samples of the step'}: "
        f"{samples[:20]}{' ...' if len(samples) > 20 else ''} of the training split. "
        "Look at these samples (empty? infinite values? log of 0?), then try a tenth of the rate or float32."
    )


def _seed_step(device: torch.device, seed: int, step: int) -> None:
    """Dropout is a function of (seed, step): a resumed run draws what the straight run would have drawn."""
    if device.type == "cuda":
        torch.cuda.manual_seed(mix(seed, step))
    elif device.type == "mps":
        torch.mps.manual_seed(mix(seed, step))
    else:
        torch.default_generator.manual_seed(mix(seed, step))


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        yield


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the run after the current step, so that no half-made update is left; a second one ends it at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # signals reach the main thread only
        return

    def handler(number, frame):
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _cut_line(items: list[dict]) -> str:
    cut = [item for item in items if "cut_from" in item]
    if not cut:
        return ""
    longest = max(cut, key=lambda item: item["cut_from"])
    return (
        f"{len(cut)} of {len(items)} texts are longer than {len(longest['input_ids'])} tokens and were cut "
        f"(the longest: index {longest['index']}, {longest['cut_from']:,} tokens)."
    )


def _left_out_line(items: list[dict], count: int) -> str:
    left_out = sorted(set(range(count)) - {item["index"] for item in items})
    if not left_out:
        return ""
    return (
        f"{len(left_out)} of {count} examples have no label that the loss may see and were left out: "
        f"index {', '.join(map(str, left_out[:10]))}{' ...' if len(left_out) > 10 else ''}."
    )
