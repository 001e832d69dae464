"""accelerate under the failures of trainers: its documented loop around a plain model."""

import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader

from .. import env
from . import probes
from .probes import NONE, Augmented, Dense, Killed, Normed, collate_vectors, mean_loss, said, seeded, state


def accelerator(**settings):
    """A fresh one: what earlier ones set is forgotten."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    return Accelerator(cpu=env.current().device.type == "cpu", **settings)


def loader(rows, size: int, collate=collate_vectors, shuffle: bool = False) -> DataLoader:
    """A torch loader, which is what accelerate prepares."""
    return DataLoader(rows, size, shuffle=shuffle, collate_fn=collate)


def fit(
    model: nn.Module, data: DataLoader, optimizer, steps: int = 1, clip: float | None = None, epochs: int = 1, each=None
):
    """The loop of the documentation; gives (logged losses, optimizer steps)."""
    made = accelerator(gradient_accumulation_steps=steps)
    model, optimizer, data = made.prepare(model, optimizer, data)
    model.train()
    losses, taken = [], 0
    for epoch in range(epochs):
        if each is not None:
            each(epoch)
        for batch in data:
            with made.accumulate(model):
                loss = mean_loss(model, batch)
                made.backward(loss)
                if clip is not None and made.sync_gradients:
                    made.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
            taken += made.sync_gradients
            losses.append(loss.item())
    return losses, taken


def gradient(rows: list[dict], size: int, steps: int, make=probes.tagger) -> tuple[torch.Tensor, None]:
    """Gradient by one SGD step of rate 1; logging is the user's."""
    model = make()
    before = state(model)
    fit(model, loader(rows, size, probes.collate_tokens), torch.optim.SGD(model.parameters(), 1.0), steps)
    after = state(model)
    return probes.vector_of({name: before[name] - after[name] for name in before}), None


def p01() -> str:
    rows = probes.rows_of_tokens(8, equal=True)
    return probes.accumulation(gradient(rows, 8, 1), gradient(rows, 2, 4))


def p02() -> str:
    rows = probes.rows_of_tokens(8)
    return probes.accumulation(gradient(rows, 8, 1), gradient(rows, 2, 4))


def p02_causal() -> str:
    rows, causal = probes.rows_of_text(8), probes.language_model
    return probes.accumulation(gradient(rows, 8, 1, causal), gradient(rows, 2, 4, causal))


def p03() -> str:
    rows, model, losses = probes.rows_of_tokens(17), probes.tagger().eval(), {}
    for size in (1, 2, 7, 16):
        made = accelerator()
        prepared, data = made.prepare(model, loader(rows, size, probes.collate_tokens))
        prepared.eval()
        seen = []
        for batch in data:  # as in the no_trainer examples
            with torch.no_grad():
                loss = prepared(**batch).loss
            seen.append(made.gather_for_metrics(loss.repeat(size)))
        losses[size] = float(torch.cat(seen).mean())
    return probes.evaluation(losses, probes.true_loss(model, rows))


def p04() -> str:
    model = seeded(Dense)
    losses, _ = fit(model, loader(probes.poisoned(16), 4), torch.optim.SGD(model.parameters(), 0.1))
    return f"logs {', '.join(f'{loss:.2f}' for loss in losses)}; {probes.nan_tensors(model)}"


def p05() -> str:
    model = seeded(Normed)
    before = state(model)
    model.trunk.requires_grad_(False)
    fit(model, loader(probes.vectors(16), 4), torch.optim.SGD(model.head.parameters(), 0.1))
    return said(probes.moved(before, state(model), "trunk."), 0.0)


def p06() -> str:
    return NONE


def p18_plain() -> str:
    return p18(noise=0.0)


def p18(noise: float = 1.0) -> str:
    found = [f"use_seedable_sampler={seedable}: {resumed(noise, seedable)}" for seedable in (False, True)]
    return "; ".join(found)


def resumed(noise: float, seedable: bool) -> str:
    """P18 with the loader's default order, or with the sampler that is a function of the epoch."""
    from accelerate import DataLoaderConfiguration
    from accelerate.utils import set_seed

    def run(folder=None, killed=False, resume=False):
        set_seed(0)
        made = accelerator(dataloader_config=DataLoaderConfiguration(use_seedable_sampler=seedable))
        model, rows = seeded(Dense), loader(Augmented(16, noise), 4, shuffle=True)
        model, optimizer, data = made.prepare(model, torch.optim.AdamW(model.parameters(), 1e-2), rows)
        step, first, skip = 0, 0, 0
        if resume:  # as in the no_trainer examples
            made.load_state(folder)
            step, first, skip = 6, 1, 2
        for epoch in range(first, 2):
            data.set_epoch(epoch)
            active = made.skip_first_batches(data, skip) if resume and epoch == first else data
            for batch in active:
                loss = mean_loss(model, batch)
                made.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                if killed and step == 6:
                    made.save_state(folder)
                if killed and step == 7:
                    raise Killed
        return state(model)

    with tempfile.TemporaryDirectory() as folder:
        straight = run()
        try:
            run(folder, killed=True)
        except Killed:
            pass
        return said(probes.moved(straight, run(folder, resume=True)))


def p19() -> str:
    return NONE


def p20() -> str:
    return NONE


def p27() -> str:
    model, kept = seeded(Dense), {}

    def each(epoch):
        if epoch == 2:
            kept.update(state(model))
            model.trunk.requires_grad_(False)

    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.5)
    fit(model, loader(probes.vectors(16), 4), optimizer, epochs=4, each=each)
    return said(probes.moved(kept, state(model), "trunk."), 0.0)


def p28() -> str:
    model = seeded(lambda: Dense(broken=True))
    fit(model, loader(probes.vectors(4), 4), torch.optim.SGD(model.parameters(), 0.1), clip=1.0)
    return probes.nan_tensors(model)


def p30() -> str:
    def weights(size, steps):
        model = seeded(Dense)
        _, taken = fit(model, loader(probes.vectors(10), size), torch.optim.SGD(model.parameters(), 0.5), steps)
        return state(model), taken

    (whole, steps), (parts, counted) = weights(4, 1), weights(2, 2)
    return probes.remainder(probes.moved(whole, parts), steps, counted)


def p35() -> str:
    rows, seen = [{**row, "weight": 2.0} for row in probes.vectors(4)], []
    made, model = accelerator(), seeded(Dense)
    for batch in made.prepare(loader(rows, 4)):
        seen += list(batch)
        made.backward(mean_loss(model, batch))
    return "exact" if "weight" in seen else "weight dropped"


def p37() -> str:
    return NONE
