"""Around the step: memory that runs out, and random numbers that belong to the run alone."""

import random

import nets
import numpy as np
import pytest
import torch
from nets import copies, exact, fit

import sftlab as sl
from sftlab.train import loop


class Small:
    """A device that holds ``room`` samples: more in one forward pass are out of memory, part of the time too late."""

    def __init__(self, model, room: int):
        self.room, self.sizes = room, []
        model.register_forward_pre_hook(self.check, with_kwargs=True)
        model.head.register_full_backward_pre_hook(self.check_backward)

    def check(self, module, args, kwargs):
        first = next(iter([*args, *kwargs.values()]))
        self.sizes.append(len(first))
        if len(first) > self.room + 1:
            raise torch.OutOfMemoryError("CUDA out of memory (as if)")

    def check_backward(self, module, gradient):
        if self.sizes[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory (as if, in the backward pass)")


@pytest.mark.parametrize("room", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", nets.KINDS)
def test_out_of_memory_halves_the_micro_batch_and_nothing_else(kind, room):
    """The steps, losses and weights are those of a device with room enough; one line says what happened."""
    model, task = exact(kind)
    free = fit(model, task, sl.full(epochs=2, lr=1e-3), validate=None)
    model, task = exact(kind)
    device = Small(model, room)
    run = fit(model, task, sl.full(epochs=2, lr=1e-3), validate=None)
    assert nets.distance(copies(free.model), copies(model)) < 1e-6
    assert [s["count"] for s in run.steps] == [s["count"] for s in free.steps]
    assert [s["loss"] for s in run.steps] == pytest.approx([s["loss"] for s in free.steps], abs=1e-6)
    lines = [line for line in run.notes if "Out of memory" in line]
    assert lines and "the steps stay the same" in lines[-1] and "micro-batches of 4 from step 1 on" in lines[0]
    assert max(device.sizes[-6:]) == {1: 1, 2: 2, 3: 2, 5: 4}[room]


def test_out_of_memory_with_one_sample_is_an_error():
    """Nothing is left to halve: the error says what can be done."""
    model, task = exact("text")
    Small(model, 0)
    with pytest.raises(torch.OutOfMemoryError, match="one sample at a time.*Train fewer layers"):
        fit(model, task, sl.full(epochs=1))


def test_dropout_of_a_repeated_step_is_drawn_from_the_start(monkeypatch):
    """A step that is done again does not go on in the random numbers of the failed attempt."""
    states = []
    real = loop.train_step

    def first_fails(source, task, batches, applied, clip):
        states.append(torch.get_rng_state())
        if len(states) == 1:
            torch.rand(7)
            raise torch.OutOfMemoryError("as if")
        return real(source, task, batches, applied, clip)

    monkeypatch.setattr(loop, "train_step", first_fails)
    model, task = nets.make("text", dropout=0.2)
    fit(model, task, sl.full(epochs=1))
    assert torch.equal(states[0], states[1])


def test_augmentation_leaves_the_callers_generators_alone():
    """Python's and NumPy's global generators are seeded per step inside, and are as before outside."""
    model, task = nets.make("conv")
    drawn = []

    def augment(item, generator):
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(1, generator=generator))))
        return item

    task.augment = augment
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    fit(model, task, sl.full(epochs=1), seed=5)
    first, drawn[:] = list(drawn), []
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    random.random(), np.random.rand()
    model, task = nets.make("conv")
    task.augment = augment
    fit(model, task, sl.full(epochs=1), seed=5)
    assert drawn == first and len(set(first)) == len(first) == 24


def test_augmentation_differs_between_epochs_and_not_in_evaluation():
    """Each epoch draws anew for each sample; held-out samples are never touched."""
    model, task = nets.make("conv")
    drawn = []

    def augment(item, generator):
        drawn.append((item["index"], float(torch.rand(1, generator=generator))))
        return item

    task.augment = augment
    fit(model, task, sl.full(epochs=3))
    assert len(drawn) == 3 * 24 and len(set(drawn)) == 3 * 24


def test_p18_augmentation_knows_the_sample_and_the_epoch_only():
    """What is drawn for a sample does not depend on the size of the batch, or on what else is in it."""
    drawn = {}
    for batch, micro_batch in ((8, None), (8, 3), (5, None)):
        model, task = nets.make("conv")
        found = drawn[batch, micro_batch] = set()

        def augment(item, generator, found=found):
            found.add((item["index"], float(torch.rand(1, generator=generator))))
            return item

        task.augment = augment
        fit(model, task, sl.full(epochs=2), batch=batch, micro_batch=micro_batch)
    first, *others = drawn.values()
    assert len(first) == 2 * 24 and all(other == first for other in others)
