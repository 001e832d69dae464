"""The engine's properties on a CUDA device, in bfloat16: ``pytest -m gpu``; skipped with a reason elsewhere."""

import nets
import pytest
import torch

import sftlab as sl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

# bfloat16 has 8 bits of precision: results of equal mathematics agree to about 1e-2, not to 1e-6.
CLOSE = 2e-2


@pytest.fixture(autouse=True)
def on_gpu(env):
    return sl.start(seed=0, device="cuda")


@pytest.mark.parametrize("kind", nets.KINDS)
def test_accumulation_gives_the_same_loss(kind):
    """Micro-batches of 2 and one batch of 8 log the same losses, within bfloat16."""
    losses = []
    for micro_batch in (None, 2):
        model, task = nets.make(kind, dropout=0.0, batch_norm=False)
        run = sl.fit(model, task, "full", batch=8, micro_batch=micro_batch, show=False)
        losses.append([step["loss"] for step in run.steps])
    assert losses[0] == pytest.approx(losses[1], rel=CLOSE, abs=CLOSE)


@pytest.mark.parametrize("kind", nets.KINDS)
def test_frozen_means_bit_identical(kind):
    """Head only moves no parameter and no buffer outside the head."""
    model, task = nets.make(kind)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    sl.fit(model, task, "head only", batch=8, show=False)
    after = {k: v.cpu() for k, v in model.state_dict().items()}
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved and all(name.startswith("head") for name in moved)


def test_weights_stay_float32_and_memory_is_measured():
    """bfloat16 is the arithmetic, not the weights (P13); the cost names the device's own peak."""
    model, task = nets.make("text")
    run = sl.fit(model, task, "full", batch=8, show=False)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert run.cost.memory_kind == "device" and run.cost.peak_memory > 0


def test_a_bad_sample_is_found():
    """Losses are read every few steps only, and still name the step and the sample."""
    model, task = nets.make("conv", batch_norm=False)
    task.splits["train"][3]["input"].fill_(3e38)
    with pytest.raises(sl.errors.NonFiniteLoss, match=r"step \d+"):
        sl.fit(model, task, "full", batch=8, show=False)
