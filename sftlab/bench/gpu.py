"""On a GPU: which share of the measured matmul rate a training step reaches."""

import copy
import time
from collections.abc import Callable

import torch

from .. import env
from .contestants import freeze
from .feed import Feed
from .workloads import Work


def matmul_rate(size: int = 8192, repeats: int = 20) -> float:
    """Measured floating-point operations per second of a square matmul in the precision of the run."""
    device = env.current().device
    kind = env.PRECISIONS[env.current().precision]
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    for timed in (False, True):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(repeats if timed else 3):
            a @ b
        torch.cuda.synchronize()
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def step_flops(work: Work) -> float:
    """Operations of a mean training step (forward and backward), as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    model, task = work.make()
    model = copy.deepcopy(model).to(env.current().device).train()
    freeze(model, work)
    feed = Feed(work, model, task)
    with FlopCounterMode(display=False) as counter:
        for batch in feed:
            work.loss(model, batch).backward()
    return counter.get_total_flops() / len(feed)


def matmul_share(work: Work) -> Callable[[float], float]:
    """A function from milliseconds per step to the share of the matmul rate."""
    rate, flops = matmul_rate(), step_flops(work)
    return lambda milliseconds: flops / (milliseconds / 1000) / rate
