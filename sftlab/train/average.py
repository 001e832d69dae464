"""Averages of the weights along one run: EMA and SWA. Those between several models are in study/soup.py."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from .. import env
from ..errors import SftlabError
from .evaluate import eval_mode
from .task import Task


@dataclass(frozen=True)
class Average:
    """Which average of the weights a run keeps: made by :func:`ema` and :func:`swa`."""

    kind: str
    decay: float = 0.0
    start: float = 0.0


def ema(decay: float = 0.999) -> Average:
    """Exponential moving average: after each step, ``decay`` of the average and the rest of the new weights.

    >>> ema(0.99).decay
    0.99
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1), not {decay}")
    return Average("EMA", decay=decay)


def swa(start: float = 0.75) -> Average:
    """Stochastic weight averaging: the plain mean of the weights after each step from ``start`` of the run on.

    Source: Izmailov et al. (2018), Averaging Weights Leads to Wider Optima and Better Generalization.

    >>> swa(0.5).start
    0.5
    """
    if not 0 <= start < 1:
        raise ValueError(f"start is a share of the run in [0, 1), not {start}")
    return Average("SWA", start=start)


class Averager:
    """Keeps an average of the named parameters of a model beside the weights that train.

    Args:
        average: from :func:`ema` or :func:`swa`.
        model: the model that trains.
        names: its parameters to average (what stays frozen may be among them).

    Buffers are never averaged. BatchNorm statistics (P24) are those of the trained model under EMA, and have to be
    computed again by :func:`refresh_batch_norm` under SWA (``needs_batch_norm``).
    """

    def __init__(self, average: Average, model: nn.Module, names: Iterable[str]):
        self.average, self.count = average, 0
        parameters = dict(model.named_parameters())
        self._pairs = {name: (parameters[name], parameters[name].detach().clone()) for name in names}
        self._batch_norm = any("BatchNorm" in type(module).__name__ for module in model.modules())
        swa_ = average.kind == "SWA"
        self._update = get_swa_multi_avg_fn() if swa_ else get_ema_multi_avg_fn(average.decay)

    @property
    def needs_batch_norm(self) -> bool:
        """True if :func:`refresh_batch_norm` must follow :meth:`into` or stand first in :meth:`swapped`."""
        return self._batch_norm and self.average.kind == "SWA" and self.count > 0

    @property
    def note(self) -> str:
        """A line on what the average is, and of whom the BatchNorm statistics are."""
        if not self.count:
            return f"{self.average.kind} had not begun: the weights are those of the last step."
        line = f"The weights are an average over {self.count} steps ({self.average.kind})."
        first = self.average.decay ** (self.count - 1)
        if self.average.kind == "EMA" and first > 0.05:
            line += f" {first:.0%} of it is still the first step's: take a smaller decay or train longer."
        if self._batch_norm:
            swa_ = self.average.kind == "SWA"
            line += f" BatchNorm statistics are {'computed again for it' if swa_ else 'those of the last step'}."
        return line

    def update(self, progress: float) -> None:
        """Take in the weights after an optimizer step; ``progress`` runs from 0 to 1 over the whole run."""
        if self.average.kind == "SWA" and progress < self.average.start:
            return
        now, kept = ([pair[i].detach() for pair in self._pairs.values()] for i in (0, 1))
        if self.count == 0:
            torch._foreach_copy_(kept, now)
        else:
            self._update(kept, now, self.count)
        self.count += 1

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """The average's weights inside; outside the trained ones again, with all buffers, bit for bit."""
        before = [(value, value.detach().clone()) for value in (*model.parameters(), *model.buffers())]
        try:
            self.into(model)
            yield
        finally:
            with torch.no_grad():
                for value, kept in before:
                    value.copy_(kept)

    def into(self, model: nn.Module) -> None:
        """Put the average's weights into the model; nothing if the average has not begun."""
        if self.count:
            parameters = dict(model.named_parameters())
            with torch.no_grad():
                for name, (_, kept) in self._pairs.items():
                    parameters[name].copy_(kept)

    def state(self) -> dict[str, torch.Tensor]:
        """All that a checkpoint needs: the average's weights and the number of steps in it."""
        kept = {f"average.{name}": kept for name, (_, kept) in self._pairs.items()}
        return {"count": torch.tensor(self.count), **kept}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from :meth:`state`.

        Raises:
            SftlabError: it is the state of other parameters.
        """
        if state.keys() != self.state().keys():
            raise SftlabError(f"not the average of these parameters: {sorted(state.keys() ^ self.state().keys())[:5]}")
        self.count = int(state["count"])
        for name, (_, kept) in self._pairs.items():
            kept.copy_(state[f"average.{name}"])


def refresh_batch_norm(
    model: nn.Module, task: Task, batches: Iterable[dict], only: Iterable[nn.Module] | None = None
) -> None:
    """Compute BatchNorm statistics again for the present weights: means over all samples of a pass of the data.

    Args:
        model: in any mode; modes are left as they were. Dropout is off.
        task: calls the model.
        batches: collated batches of the training split, on the model's device.
        only: the BatchNorms to refresh, such as ``applied.batch_norms``; default: all.
    """
    norms = [m for m in (model.modules() if only is None else only) if "BatchNorm" in type(m).__name__]
    norms = [(m, m.momentum) for m in norms if m.running_mean is not None]
    seen = 0
    if not norms:
        return
    with eval_mode(model), torch.no_grad(), env.current().autocast():
        try:
            for module, _ in norms:
                module.reset_running_stats()
                module.training = True
            for batch in batches:
                seen += len(batch["index"])
                for module, _ in norms:  # a running mean over samples: an incomplete batch weighs less
                    module.momentum = len(batch["index"]) / seen
                task.logits(model, batch)
        finally:
            for module, momentum in norms:
                module.momentum = momentum
