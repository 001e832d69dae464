"""Which samples go into which step: a pure function of (seed, epoch), so that a resumed run sees the same order."""

from collections.abc import Sequence

import torch

# Samples are sorted by length inside windows of this many batches: padding falls to a few per cent while
# neighbours in length still meet different company in every epoch.
WINDOW = 25


def epoch_order(lengths: Sequence[int] | None, count: int, batch: int, seed: int, epoch: int) -> list[list[int]]:
    """Split ``count`` samples into shuffled batches; with ``lengths``, batches hold samples of similar length.

    Every sample occurs exactly once. The last incomplete batch is kept (P30); it may come anywhere in the epoch.

    Args:
        lengths: number of tokens of each sample, or None when all samples have one size.
        count: number of samples.
        batch: samples per optimizer step.
        seed, epoch: the only sources of randomness.

    Returns:
        list of lists of sample indices, one per optimizer step.

    Raises:
        ValueError: ``batch`` is below 1.

    >>> epoch_order(None, 5, 2, seed=0, epoch=0) == epoch_order(None, 5, 2, seed=0, epoch=0)
    True
    >>> sorted(i for step in epoch_order([3, 9, 4, 8, 5], 5, 2, seed=0, epoch=1) for i in step)
    [0, 1, 2, 3, 4]
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    order = torch.randperm(count, generator=generator).tolist()
    if lengths is not None:
        window = WINDOW * batch
        order = [
            i
            for start in range(0, count, window)
            for i in sorted(order[start : start + window], key=lambda i: lengths[i])
        ]
    steps = [order[start : start + batch] for start in range(0, count, batch)]
    if lengths is not None:  # otherwise each window would run from short to long
        steps = [steps[i] for i in torch.randperm(len(steps), generator=generator).tolist()]
    return steps


def split_step(rows: Sequence[int], micro_batch: int | None) -> list[list[int]]:
    """Cut one optimizer step into micro-batches of at most ``micro_batch`` samples.

    >>> split_step([4, 1, 7], 2)
    [[4, 1], [7]]
    """
    size = micro_batch or len(rows)
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def mix(*numbers: int) -> int:
    """One 63-bit seed from several small integers; neighbours give unrelated seeds (splitmix64, Steele et al. 2014).

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return state >> 1
