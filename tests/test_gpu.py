"""The engine's properties on a CUDA device, in bfloat16: ``pytest -m gpu``; skipped with a reason elsewhere."""

import nets
import pytest
import torch
from nets import copies

import sftlab as sl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

# bfloat16 has 8 bits of precision: results of equal mathematics agree to about 1e-2, not to 1e-6.
CLOSE = 2e-2
EXACT = 1e-4  # float32 with other kernels for other batch sizes


@pytest.fixture(autouse=True, params=["bfloat16", "float32"])
def on_gpu(env, request):
    return sl.start(seed=0, device="cuda", precision=request.param)


def close(precision: str) -> float:
    return CLOSE if precision == "bfloat16" else EXACT


@pytest.mark.parametrize("kind", nets.KINDS)
def test_accumulation_gives_the_same_loss(kind, on_gpu):
    """Micro-batches of 2 and one batch of 8 log the same losses (2e-2 in bfloat16, 1e-4 in float32)."""
    losses = []
    for micro_batch in (None, 2):
        model, task = nets.make(kind, dropout=0.0, batch_norm=False)
        run = sl.fit(model, task, "full", batch=8, micro_batch=micro_batch, show=False)
        losses.append([step["loss"] for step in run.steps])
    limit = close(on_gpu.precision)
    assert losses[0] == pytest.approx(losses[1], rel=limit, abs=limit)


@pytest.mark.parametrize("kind", nets.KINDS)
def test_evaluation_does_not_depend_on_the_batch(kind, on_gpu):
    """Loss and count of a split are equal for batch sizes 1, 2, 7 and 16."""
    model, task = nets.make(kind)
    results = [sl.evaluate(model, task, "test", batch=batch) for batch in (1, 2, 7, 16)]
    for result in results[1:]:
        assert result["loss"] == pytest.approx(results[0]["loss"], abs=close(on_gpu.precision))
        assert result["count"] == results[0]["count"]


@pytest.mark.parametrize("kind", nets.KINDS)
def test_frozen_means_bit_identical(kind):
    """Head only moves no parameter and no buffer outside the head."""
    model, task = nets.make(kind)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    sl.fit(model, task, "head only", batch=8, show=False)
    after = {k: v.cpu() for k, v in model.state_dict().items()}
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved and all(name.startswith("head") for name in moved)


@pytest.mark.parametrize("kind", nets.KINDS)
def test_cached_equals_live(kind, on_gpu):
    """Stored outputs of the frozen layers give the losses of the live model."""
    losses = []
    for cache in (True, False):
        model, task = nets.make(kind)
        run = sl.fit(model, task, sl.last_k(1, epochs=3), batch=8, cache=cache, show=False)
        assert cache == ("ran once" in " ".join(run.notes))
        losses.append([step["loss"] for step in run.steps])
    limit = close(on_gpu.precision)
    assert losses[0] == pytest.approx(losses[1], rel=limit, abs=limit)


@pytest.mark.parametrize("kind", nets.KINDS)
def test_resumed_is_close_to_straight(kind, on_gpu, tmp_path):
    """A run that was stopped and resumed logs the losses of the straight one, dropout included."""
    losses = []
    for stop in (None, 4):
        model, task = nets.make(kind, dropout=0.2)
        out = tmp_path / str(stop)
        hook = (lambda run: "stop" if run.step == 4 else None) if stop else None
        run = sl.fit(model, task, sl.full(epochs=3), batch=8, out=out, after_step=hook, show=False)
        run = run.resume(show=False) if stop else run
        losses.append([step["loss"] for step in run.steps])
    limit = close(on_gpu.precision)
    assert losses[0] == pytest.approx(losses[1], rel=limit, abs=limit)


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


class Wide(torch.nn.Module):
    """A forward pass that needs about 64 MiB per sample."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(8, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        wide = self.body(x)[:, None].expand(-1, 2**20, -1)
        return self.head((wide * wide.tanh()).mean(1))


def test_out_of_memory_halves_the_micro_batch():
    """With a limit on the device's memory the run ends with smaller micro-batches and the losses of the large one."""
    rows = [{"input": torch.randn(8), "label": i % 3} for i in range(16)]
    task = sl.Classify({"train": rows}, ["a", "b", "c"], sl.TensorInput())
    states, notes = [], []
    start = copies(Wide())
    total = torch.cuda.get_device_properties(0).total_memory
    for limit in (None, 2**31):
        model = Wide()
        model.load_state_dict(start)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0 if limit is None else min(1.0, limit / total))
        try:
            run = sl.fit(model, task, sl.full(epochs=1), batch=16, show=False)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        states.append([s["loss"] for s in run.steps])
        notes.append(" ".join(run.notes))
    assert "Out of memory" in notes[1] and "Out of memory" not in notes[0]
    assert states[0] == pytest.approx(states[1], rel=CLOSE)
