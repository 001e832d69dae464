"""``sftlab bench peers``: interleaved rounds of equal training; a row whose weights differ is void."""

import contextlib
import copy
import io
import json
import logging
import math
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from torch import nn

from .. import env
from ..errors import SftlabError
from ..table import Table
from ..train import features
from .feed import Clock, Feed
from .gpu import matmul_share
from .roster import Contestant, contestants_of
from .turns import together
from .workloads import Work

AGREE = {"float32": 1e-5, "bfloat16": 1e-3}  # greatest difference of final weights; bfloat16 rounds at 2**-8
REFERENCE, OURS = "by hand", "sftlab"


@dataclass
class Result:
    """What was measured of one contestant on one workload; lists have one entry per round."""

    lines: int
    milliseconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    ratios: list[list[float]] = field(default_factory=list)  # of each step, to the same step by hand
    memory: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    gap: float = 0.0
    error: str = ""

    @property
    def void(self) -> str:
        """Why the times say nothing, or an empty string."""
        if self.error:
            return self.error
        limit = AGREE[env.current().precision]
        return f"void: weights differ by {self.gap:.1e}" if not self.gap <= limit else ""


def race(work: Work, rounds: int, contestants: list[Contestant] | None = None) -> dict[str, Result]:
    """Interleaved rounds of all contestants whose packages are there; the first round warms up.

    Each round starts from the same weights with the same batches, and all take turns, a step each; who begins changes
    from round to round. So step i of one is timed beside step i of another, and their ratio is of one moment of the
    machine. On a GPU, where only whole runs can be timed, whole runs take turns.
    """
    there = [one for one in contestants or contestants_of(work) if not one.missing]
    results = {one.name: Result(one.lines(work)) for one in there}
    model, task = work.make()
    for round_ in range(rounds + 1):
        first = round_ % len(there)
        order = [one for one in there[first:] + there[:first] if not results[one.name].error]
        runs = {one.name: Training(one, work, copy.deepcopy(model), task) for one in order}
        with quiet():
            if env.current().device.type == "cuda":
                for run in runs.values():
                    run()
            else:
                together(list(runs.values()))
        hand = runs[REFERENCE].clock.steps
        for name, run in runs.items():
            result, clock = results[name], run.clock
            result.error = result.error or run.error
            if len(clock.steps) != len(hand):
                result.error = result.error or f"void: {len(clock.steps) + 1} steps instead of {len(hand) + 1}"
            result.gap = max(result.gap, difference(run.model.state_dict(), runs[REFERENCE].model.state_dict()))
            if round_ and not result.error:
                result.milliseconds.append(1000 * median(clock.steps))
                result.ratios.append([a / b for a, b in zip(clock.steps, hand, strict=True)])
                result.rates.append(sum(run.samples[: len(hand)]) / sum(clock.steps))
    return results


def over_sftlab(results: dict[str, Result], name: str) -> list[float]:
    """Time of each step over sftlab's of the same step: both are known over the step by hand. Empty without sftlab."""
    mine, ours = results[name], results.get(OURS)
    if ours is None or ours.void or len(mine.ratios) != len(ours.ratios):
        return []
    return [a / b for both in zip(mine.ratios, ours.ratios, strict=True) for a, b in zip(*both, strict=True)]


def interval(values: list[float]) -> tuple[float, float]:
    """About 95 % confidence for the median, from the order of the values alone (the binomial's normal approximation).

    >>> interval([float(i) for i in range(100)])
    (39.0, 60.0)
    """
    ordered, half = sorted(values), 1.96 * math.sqrt(len(values)) / 2
    middle = len(values) / 2
    return ordered[max(0, math.floor(middle - half) - 1)], ordered[min(len(values), math.ceil(middle + half) + 1) - 1]


class Training:
    """One run of a contestant, timed: ``clock``, ``samples`` of each step, and the ``error`` of a peer in one line."""

    def __init__(self, one: Contestant, work: Work, model: nn.Module, task):
        self.one, self.work, self.model, self.task = one, work, model, task
        self.error, self.clock, self.samples = "", None, []

    def __call__(self, hand_over: Callable[[], None] | None = None) -> None:
        """Train to the end; the callable lets others do a step before each forward call."""
        self.model.to(env.current().device)
        feed = Feed(self.work, self.model, self.task)
        self.samples, self.clock = feed.samples(), Clock(self.model, hand_over)
        try:
            self.one.train(self.model, self.task, feed, self.work, self.one.careful)
        except Exception as problem:  # what a peer raises is a result of the table; by hand and sftlab must not fail
            if not self.one.needs:
                raise
            self.error = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:100]}"
        self.clock.stop()


def timed(one: Contestant, work: Work, model: nn.Module, task) -> Training:
    """Train once, alone; nothing that an earlier run of sftlab has computed of this trunk is left to it."""
    features.kept.clear()
    run = Training(one, work, model, task)
    with quiet():
        run()
    return run


def difference(a: dict, b: dict) -> float:
    """Greatest absolute difference of two states, buffers included; infinite if one of them is not a number."""
    if a.keys() != b.keys():
        return math.inf
    floats = [name for name, value in b.items() if value.is_floating_point() and value.numel()]
    gaps = [float((a[name].cpu().double() - b[name].cpu().double()).abs().max()) for name in floats]
    return math.inf if any(map(math.isnan, gaps)) else max(gaps)


@contextlib.contextmanager
def quiet():
    """No output of the libraries, and the global random generators as they were before."""
    states = random.getstate(), np.random.get_state()
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


def fresh(one: Contestant, work: Work, quick: bool) -> dict:
    """Train once in a process of its own: seconds to the end of the first step, peak memory, seconds in all."""
    command = [sys.executable, "-m", "sftlab.bench.fresh", work.name, one.name, *(["--quick"] if quick else [])]
    now = env.current()
    settings = {"SFTLAB_DEVICE": str(now.device), "SFTLAB_PRECISION": now.precision}
    settings["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings})
    if done.returncode:
        raise SftlabError(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(work: Work, rounds: int, repeats: int, quick: bool) -> dict[str, Result]:
    """:func:`race`, then ``repeats`` interleaved rounds of fresh processes for memory and start-up."""
    results = race(work, rounds)
    for _ in range(repeats):
        for one in contestants_of(work):
            if one.name in results and not results[one.name].void:
                found = fresh(one, work, quick)
                results[one.name].memory.append(found["memory"] / 2**20)
                results[one.name].first.append(found["first"])
    return results


def table(work: Work, results: dict[str, Result]) -> Table:
    """The rows of a workload: the fastest first, then the void, then the absent."""
    share = matmul_share(work) if env.current().device.type == "cuda" else None
    columns = [
        "library",
        "ms/step",
        "samples/s",
        "ratio (95 %)",
        "over sftlab (95 %)",
        "peak memory (MiB)",
        "first step (s)",
        "lines",
        "largest difference",
    ]
    valid, void, absent = [], [], []
    for one in contestants_of(work):
        found = results.get(one.name)
        if found is None:
            absent.append([one.name, f"not installed (extra bench): {', '.join(one.missing)}", *["-"] * 5, "-", "-"])
        elif found.void:
            void.append([one.name, found.void, *["-"] * 5, found.lines, f"{found.gap:.1e}"])
        else:
            memory = f"{median(found.memory):.0f}" if found.memory else "-"
            first = f"{median(found.first):.2f}" if found.first else "-"
            speed = f"{median(found.milliseconds):.2f}"
            ratios = sum(found.ratios, [])
            figures = [with_interval(ratios), with_interval(over_sftlab(results, one.name))]
            row = [one.name, speed, f"{median(found.rates):.0f}", *figures, memory, first]
            valid.append((median(ratios), [*row, found.lines, f"{found.gap:.1e}"]))
    rows = [row for _, row in sorted(valid, key=lambda pair: pair[0])] + void + absent
    if share:
        columns.append("share of matmul rate")
        for row in rows:
            row.append(f"{share(float(row[1])):.1%}" if row[1][:1].isdigit() else "-")
    return Table(columns, rows, caption=work.name, note=verdict(results))


def with_interval(values: list[float]) -> str:
    """Median and interval, or a dash without values."""
    if not values:
        return "-"
    low, high = interval(values)
    return f"{median(values):.3f} ({low:.3f} to {high:.3f})"


def verdict(results: dict[str, Result]) -> str:
    """Whom the steps tell apart from sftlab, in a sentence; by hand is not a library."""
    slower, faster, neither = [], [], []
    for name, found in results.items():
        if name not in (OURS, REFERENCE) and not found.void and (values := over_sftlab(results, name)):
            low, high = interval(values)
            (slower if low > 1 else faster if high < 1 else neither).append(name)
    groups = {"slower than sftlab": slower, "faster": faster, "not told apart from it": neither}
    return "; ".join(f"{how}: {', '.join(names)}" for how, names in groups.items() if names) + "." * any(
        groups.values()
    )
