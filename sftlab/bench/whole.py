"""The table of ``sftlab bench best``: seconds of whole runs, with and without start-up, at equal validation metric."""

import copy
from dataclasses import dataclass, field
from statistics import mean, median

from ..table import Table
from ..train.evaluate import evaluate
from .contest import fresh, timed
from .roster import Contestant, at_their_best
from .workloads import Work


@dataclass
class Whole:
    """One library on one whole run; lists have one entry per round."""

    seconds: list[float] = field(default_factory=list)
    with_start: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    count: int = 0  # samples of the validation split
    error: str = ""

    def equal(self, other: "Whole") -> bool:
        """True if the two metrics agree within two standard errors of their difference."""
        a, b = mean(self.metric), mean(other.metric)
        return abs(a - b) <= 2 * ((a * (1 - a) + b * (1 - b)) / self.count) ** 0.5


def race(work: Work, rounds: int, quick: bool, contestants: list[Contestant] | None = None) -> dict[str, Whole]:
    """Interleaved whole runs in this process (start-up paid before) and once per round in a fresh one."""
    there = [one for one in contestants or at_their_best(work) if not one.missing]
    found = {one.name: Whole() for one in there}
    model, task = work.make()
    for round_ in range(rounds):
        first = round_ % len(there)
        for one in there[first:] + there[:first]:
            whole, own = found[one.name], copy.deepcopy(model)
            if whole.error:
                continue
            run = timed(one, work, own, task)
            whole.error = run.error
            if not whole.error:
                whole.seconds.append(run.clock.total)
                result = evaluate(own, task, "val")
                whole.metric.append(result["accuracy"])
                whole.count = result["count"]
                started = fresh(one, work, quick)
                whole.with_start.append(started["total"])
                whole.memory.append(started["memory"] / 2**20)
    return found


def warm_up(small: Work) -> None:
    """Imports and first calls of every library, on the quick form of a run."""
    model, task = small.make()
    for one in at_their_best(small):
        if not one.missing:
            timed(one, small, copy.deepcopy(model), task)


def table(work: Work, found: dict[str, Whole]) -> Table:
    """Seconds, how many times as long as sftlab, memory, and the metric, which tells whether the runs are equal."""
    ours = found["sftlab"]
    rows = []
    for one in at_their_best(work):
        whole = found.get(one.name)
        if whole is None:
            rows.append([one.name, f"not installed (extra bench): {', '.join(one.missing)}", *["-"] * 6])
        elif whole.error:
            rows.append([one.name, whole.error, *["-"] * 6])
        else:
            times = [median(a / b for a, b in zip(whole.seconds, ours.seconds, strict=True))]
            times.append(median(a / b for a, b in zip(whole.with_start, ours.with_start, strict=True)))
            warm, cold = f"{median(whole.seconds):.2f}", f"{median(whole.with_start):.2f}"
            row = [one.name, warm, f"{times[0]:.2f}", cold, f"{times[1]:.2f}", f"{median(whole.memory):.0f}"]
            rows.append(
                [*row, one.lines(work), f"{mean(whole.metric):.3f}{'' if whole.equal(ours) else ': not equal'}"]
            )
    columns = ["library", "seconds", "times sftlab", "with start-up", "times sftlab, with start-up"]
    return Table([*columns, "peak memory (MiB)", "lines", "accuracy"], rows, caption=work.name)
