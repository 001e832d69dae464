"""Learning-rate schedules: pure functions of progress, 0 at the start of a stage and 1 at its end.

A schedule that is a function of progress has no state to save and cannot run too fast under several processes (P21).
"""

import math


def constant(progress: float, warmup: float = 0.0) -> float:
    """Rise linearly over the first ``warmup`` share of the steps, then stay at 1.

    >>> constant(0.05, warmup=0.1), constant(0.7, warmup=0.1)
    (0.5, 1.0)
    """
    return min(1.0, progress / warmup) if warmup > 0 else 1.0


def linear(progress: float, warmup: float = 0.1) -> float:
    """Rise linearly over the first ``warmup`` share of the steps, then fall linearly to 0.

    >>> round(linear(0.55, warmup=0.1), 3), linear(1.0)
    (0.5, 0.0)
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1 - progress) / (1 - warmup)) if warmup < 1 else 1.0


def cosine(progress: float, warmup: float = 0.1) -> float:
    """Rise linearly over the first ``warmup`` share, then fall along half a cosine to 0.

    Source: Loshchilov and Hutter (2017), SGDR, equation 5, without restarts.

    >>> round(cosine(0.55, warmup=0.1), 3)
    0.5
    """
    if progress < warmup:
        return progress / warmup
    after = (progress - warmup) / (1 - warmup) if warmup < 1 else 0.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, after)))


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine}


def progress_of(step: int, steps: int) -> float:
    """Progress of step ``step`` of ``steps``, taken at the middle of the step.

    The middle, so that the first step of a warm-up and the last of a decay are not wasted on a rate of exactly 0.

    >>> progress_of(0, 10), progress_of(9, 10)
    (0.05, 0.95)
    """
    return (step + 0.5) / steps
