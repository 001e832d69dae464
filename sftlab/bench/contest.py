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
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from torch import nn

from .. import env
from ..errors import SftlabError
from ..table import Table
from .feed import Clock, Feed
from .gpu import matmul_share
from .roster import Contestant, contestants_of
from .workloads import Work

AGREE = {"float32": 1e-5, "bfloat16": 1e-3}  # greatest difference of final weights; bfloat16 rounds at 2**-8
REFERENCE = "by hand"


@dataclass
class Result:
    """What was measured of one contestant on one workload; lists have one entry per round."""

    lines: int
    milliseconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
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

    Each round starts from the same weights with the same batches; who begins changes from round to round. The ratio
    of a round is the median over its steps of (time / time of the same step by hand): a moment in which the machine
    did something else costs one step, not the figure.
    """
    there = [one for one in contestants or contestants_of(work) if not one.missing]
    results = {one.name: Result(one.lines(work)) for one in there}
    model, task = work.make()
    for round_ in range(rounds + 1):
        clocks, states, first = {}, {}, round_ % len(there)
        for one in there[first:] + there[:first]:
            own = copy.deepcopy(model)
            if not results[one.name].error:
                clocks[one.name], counts, results[one.name].error = timed(one, work, own, task)
                states[one.name] = {name: value.detach().cpu() for name, value in own.state_dict().items()}
        hand = clocks[REFERENCE].steps
        for name, clock in clocks.items():
            result = results[name]
            if len(clock.steps) != len(hand):
                result.error = result.error or f"void: {len(clock.steps) + 1} steps instead of {len(hand) + 1}"
            result.gap = max(result.gap, difference(states[name], states[REFERENCE]))
            if round_ and not result.error:
                result.milliseconds.append(1000 * median(clock.steps))
                result.ratios.append(median(a / b for a, b in zip(clock.steps, hand, strict=True)))
                result.rates.append(sum(counts[: len(hand)]) / sum(clock.steps))
    return results


def timed(one: Contestant, work: Work, model: nn.Module, task) -> tuple[Clock, list[int], str]:
    """Train once; gives the clock, the samples per step, and an error of a peer in one line."""
    model.to(env.current().device)
    feed, error = Feed(work, model, task), ""
    with quiet():
        clock = Clock(model)
        try:
            one.train(model, task, feed, work, one.careful)
        except Exception as problem:  # what a peer raises is a result of the table; by hand and sftlab must not fail
            if not one.needs:
                raise
            error = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:100]}"
        clock.stop()
    return clock, feed.samples(), error


def difference(a: dict, b: dict) -> float:
    """Greatest absolute difference of two states, buffers included; infinite if one of them is not a number."""
    if a.keys() != b.keys():
        return math.inf
    floats = [name for name, value in b.items() if value.is_floating_point() and value.numel()]
    gaps = [float((a[name].double() - b[name].double()).abs().max()) for name in floats]
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
        "ratio",
        "peak memory (MiB)",
        "first step (s)",
        "lines",
        "largest difference",
    ]
    valid, void, absent = [], [], []
    for one in contestants_of(work):
        found = results.get(one.name)
        if found is None:
            absent.append([one.name, f"not installed (extra bench): {', '.join(one.missing)}", *["-"] * 4, "-", "-"])
        elif found.void:
            void.append([one.name, found.void, *["-"] * 4, found.lines, f"{found.gap:.1e}"])
        else:
            memory = f"{median(found.memory):.0f}" if found.memory else "-"
            first = f"{median(found.first):.2f}" if found.first else "-"
            speed = f"{median(found.milliseconds):.2f}"
            row = [one.name, speed, f"{median(found.rates):.0f}", f"{median(found.ratios):.3f}", memory, first]
            valid.append((median(found.ratios), [*row, found.lines, f"{found.gap:.1e}"]))
    rows = [row for _, row in sorted(valid, key=lambda pair: pair[0])] + void + absent
    if share:
        columns.append("share of matmul rate")
        for row in rows:
            row.append(f"{share(float(row[1])):.1%}" if row[1][:1].isdigit() else "-")
    return Table(columns, rows, caption=work.name)
