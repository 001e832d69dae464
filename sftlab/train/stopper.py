"""Early stopping and the best weights, by a metric and a direction that are both said (PITFALLS P20)."""

import torch

from ..errors import unknown
from .run import Run
from .state import put_weights, weights
from .task import Task


class Stopper:
    """Keeps the best weights by an explicit direction and says when patience is over."""

    def __init__(self, monitor: tuple[str, str] | None, patience: int | None, task: Task, trained: set[str]):
        if patience is not None and (monitor is None or patience < 1):
            raise ValueError("patience needs a monitor such as ('macro_f1', 'max') and a number of at least 1")
        if monitor is not None and (isinstance(monitor, str) or len(monitor) != 2 or monitor[1] not in ("min", "max")):
            raise unknown("monitor (a metric and a direction)", monitor, ["('macro_f1', 'max')", "('loss', 'min')"])
        if monitor is not None:  # asked of the task now, not after the first epoch
            known = ["loss", *task.metric_names]
            if monitor[0] not in known:
                raise unknown("metric", monitor[0], known)
        self.monitor, self.patience, self.trained = monitor, patience, trained
        self.best: dict | None = None
        self.weights: dict | None = None
        self.waited = 0

    def new_stage(self) -> None:
        """Patience counts within a stage; the best weights are those of the whole run."""
        self.waited = 0

    def see(self, run: Run, model: torch.nn.Module) -> None:
        if self.monitor is None:
            return
        metric, direction = self.monitor
        latest = run.evaluations[-1]
        sign = 1 if direction == "max" else -1
        if self.best is None or sign * latest[metric] > sign * self.best[metric]:
            self.best, self.waited = latest, 0
            self.weights = {name: value.detach().clone() for name, value in weights(model, self.trained).items()}
        else:
            self.waited += 1

    @property
    def exhausted(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def restore(self, run: Run, model: torch.nn.Module) -> None:
        if self.weights is not None:
            put_weights(model, self.weights)
            run.best = self.best
