"""Two processes give what one gives: training, evaluation, schedule, checkpoints."""

import os
import sys
import traceback
from datetime import timedelta

import nets
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from nets import copies, exact

import sftlab as sl

pytestmark = pytest.mark.skipif(not dist.is_available() or sys.platform == "win32", reason="needs gloo and a file lock")
KINDS = ("text", "tags", "conv")
PLAN = sl.lp_ft(head_epochs=2, epochs=2, lr=1e-3)


def train(kind: str, out=None) -> dict:
    """A run with odd sizes: the last step has one sample, the held-out split 11."""
    model, task = exact(kind, train=25)
    run = sl.fit(model, task, PLAN, batch=8, micro_batch=3, out=out, show=False)
    test = sl.evaluate(model, task, "test", batch=4)
    return {"state": copies(model), "steps": run.steps, "evaluations": run.evaluations, "test": test}


def worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"  # a machine without a network
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    try:
        sl.start(seed=0, device="cpu", precision="float32")
        results = {kind: train(kind, f"{folder}/{kind}") for kind in KINDS}
        torch.save(results, f"{folder}/{rank}.pt")
    except BaseException:
        with open(f"{folder}/{rank}.txt", "w", encoding="utf-8") as f:
            f.write(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(results of one process, results of the two)."""
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(worker, (2, str(folder)), nprocs=2)
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_p01_two_processes_train_as_one(kind, both):
    """Losses, counts, rates and final weights are those of one process, and equal in both."""
    alone = train(kind)
    for result in (both[1][0][kind], both[1][1][kind]):
        assert nets.distance(alone["state"], result["state"]) < 1e-6
        assert [s["count"] for s in result["steps"]] == [s["count"] for s in alone["steps"]]
        assert [s["loss"] for s in result["steps"]] == pytest.approx([s["loss"] for s in alone["steps"]], abs=1e-6)
    assert nets.same(both[1][0][kind]["state"], both[1][1][kind]["state"])


@pytest.mark.parametrize("kind", KINDS)
def test_p21_the_schedule_counts_optimizer_steps(kind, both):
    """As many steps and the same rates as with one process: the schedule does not know how many there are."""
    alone = train(kind)
    assert [s["lr"] for s in both[1][0][kind]["steps"]] == [s["lr"] for s in alone["steps"]]
    assert len(alone["steps"]) == 4 * 4 and alone["steps"][-1]["lr"] < 0.2 * max(s["lr"] for s in alone["steps"])


@pytest.mark.parametrize("kind", KINDS)
def test_p22_evaluation_counts_every_sample_once(kind, both):
    """11 samples in two processes: loss, metrics and count of the whole split, in both, without a repeated sample."""
    alone = train(kind)
    for result in (both[1][0][kind], both[1][1][kind]):
        assert result["test"] == pytest.approx(alone["test"], abs=1e-6)
        assert result["test"]["count"] == alone["test"]["count"]
        for ours, theirs in zip(result["evaluations"], alone["evaluations"], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6)


def test_one_process_writes_the_checkpoint(both):
    """The folder holds one whole checkpoint, and a single process returns the finished run from it."""
    folder, results = both
    model, task = exact("conv", train=25)
    run = sl.resume(folder / "conv", model, task, show=False)
    assert nets.same(copies(model), results[0]["conv"]["state"]) and run.steps == results[0]["conv"]["steps"]
