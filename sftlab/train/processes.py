"""More than one process (``torchrun``): every sum is added up over all of them before the one division.

Each process takes its share of the samples of a step, without padding the last share by repeated samples (P22), so
training and evaluation give what one process gives.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist


def count() -> int:
    """Number of processes, 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if count() > 1 else 0


def share(rows: Sequence) -> list:
    """This process's part of ``rows``: every row is in exactly one part.

    >>> share([4, 8, 15])     # one process: all of it
    [4, 8, 15]
    """
    return list(rows[rank() :: count()])


def add_up(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor, in place, by its sum over all processes; one message per dtype."""
    for dtype in dict.fromkeys(t.dtype for t in tensors):  # the same order in every process
        group = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.detach().reshape(-1) for t in group])
        dist.all_reduce(flat)
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))


def gather(value: object) -> list:
    """What each process gave, in the order of their numbers."""
    if count() == 1:
        return [value]
    parts = [None] * count()
    dist.all_gather_object(parts, value)
    return parts


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        dist.barrier()
