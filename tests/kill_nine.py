"""Kill a run a hundred times at random moments; what is left must be whole, and the end that of the straight run.

python tests/kill_nine.py FOLDER

A process of its own, with one thread: the children are forks, and a fork of a process that has run threads may hang.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import nets
import torch

import sftlab as sl
from sftlab.train.state import RunFolder

PLAN = sl.full(epochs=60, lr=1e-3)


def make():
    """The model and the task, as a new process would make them."""
    return nets.make("conv", dropout=0.2, train=12)


def train(out: Path):
    """Start the run, or go on with it."""
    model, task = make()
    if (out / "run.json").exists():
        return sl.resume(out, model, task, show=False)
    return nets.fit(model, task, PLAN, batch=4, out=out, save_every=1)


def main(out: Path) -> None:
    """Kill, look, and compare at the end."""
    torch.set_num_threads(1)
    sl.start(seed=0, device="cpu", precision="float32")
    model, task = make()
    straight = nets.fit(model, task, PLAN, batch=4)  # first: the children need not import what it imports
    moments, steps, longest = random.Random(0), [], 0.12
    for _ in range(100):
        child = os.fork()
        if child == 0:
            try:
                train(out)
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if (out / "run.json").exists():
            state, tensors = RunFolder(out).load()  # what lies there is whole
            steps.append(state.get("step", 0))
            assert not state or "model" in tensors
        if len(steps) >= 5 and steps[-1] == steps[-5]:
            longest = min(1.0, 1.3 * longest)  # a busy machine: let it come further than its start
    assert steps == sorted(steps) and steps[-1] > 0, steps
    print("killed 100 times, at steps", steps)
    run = train(out)
    assert [run.steps, run.evaluations] == [straight.steps, straight.evaluations]
    assert nets.same(nets.copies(straight.model), nets.copies(run.model))
    assert len(RunFolder(out).checkpoints()) == 1 and not list(out.glob(".writing-*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
