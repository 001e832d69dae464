"""What stands around a step: finite losses, own random numbers, Ctrl-C, memory, and lines about the data."""

import math
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ..data.batching import mix
from ..errors import NonFiniteLoss
from .evaluate import eval_mode
from .features import Source
from .run import Run


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


def seed_step(device: torch.device, seed: int, step: int, everything: bool) -> None:
    """Dropout is a function of (seed, step): a resumed run draws what the straight run would have drawn.

    ``everything``: Python's and NumPy's generators too, for an augmentation that uses them instead of its own.
    """
    if everything:
        random.seed(mix(seed, step))
        np.random.seed(mix(seed, step) % 2**32)
    if device.type == "cuda":
        torch.cuda.manual_seed(mix(seed, step))
    elif device.type == "mps":
        torch.mps.manual_seed(mix(seed, step))
    else:
        torch.default_generator.manual_seed(mix(seed, step))


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Inside, the run draws its own numbers; the caller's generators are as they were afterwards."""
    ours = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(ours[0])
        np.random.set_state(ours[1])


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
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


def left_out_line(items: list[dict], count: int) -> str:
    left_out = sorted(set(range(count)) - {i for item in items for i in item.get("indices", [item["index"]])})
    if not left_out:
        return ""
    return (
        f"{len(left_out)} of {count} examples have no label that the loss may see and were left out: "
        f"index {', '.join(map(str, left_out[:10]))}{' ...' if len(left_out) > 10 else ''}."
    )


def smaller_micro_batch(run: Run, size: int) -> int:
    """Half the micro-batch after the device ran out of memory; the optimizer step stays what it was (P1).

    Raises:
        torch.OutOfMemoryError: one sample alone does not fit.
    """
    if size <= 1:
        raise torch.OutOfMemoryError(
            "the device is out of memory with one sample at a time. Train fewer layers, cut the samples, "
            "use a smaller model, or free what another process holds."
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    run.note(f"Out of memory: micro-batches of {-(-size // 2)} from step {run.step + 1} on; the steps stay the same.")
    return -(-size // 2)
