"""Lightning under the failures of trainers."""

import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader

from . import probes
from .probes import NONE, SCORES, Augmented, Dense, Killed, Normed, collate_vectors, mean_loss, said, seeded, state


def module(net: nn.Module, make_optimizer, script: tuple[str, list[float]] | None = None):
    """A LightningModule as the documentation writes it; ``script``: a metric and its values, one per evaluation."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.trunk, self.keys = net, getattr(net, "trunk", None), []
            self.values = iter(script[1]) if script else None

        def training_step(self, batch, batch_idx):
            self.keys = list(batch)
            loss = mean_loss(self.net, batch)
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            if script:
                self.log(script[0], next(self.values))
            self.log("val_loss", mean_loss(self.net, batch))

        def configure_optimizers(self):
            return make_optimizer(self.parameters())

    return Module()


def fit(made, loader, callbacks=(), val=None, ckpt=None, **settings):
    """Train without output and give the Trainer back."""
    import lightning as L

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet["enable_checkpointing"] = any(isinstance(c, L.pytorch.callbacks.ModelCheckpoint) for c in callbacks)
    settings = {"max_epochs": 1, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0, **settings}
    trainer = L.Trainer(callbacks=list(callbacks), **quiet, **settings)
    loader, val = (DataLoader(x, batch_size=None) if isinstance(x, list) else x for x in (loader, val))
    trainer.fit(made, loader, val, ckpt_path=ckpt)
    return trainer


def sgd(rate: float):
    """An optimizer factory."""
    return lambda parameters: torch.optim.SGD(parameters, rate)


def adamw(parameters):
    """AdamW with a decay that shows."""
    return torch.optim.AdamW(parameters, 1e-2, weight_decay=0.5)


def gradient(rows: list[dict], size: int, steps: int, make=probes.tagger) -> tuple[torch.Tensor, None]:
    """Gradient by one SGD step of rate 1; what is logged is each micro-batch's own loss."""
    model = make().train()
    before = state(model)
    fit(module(model, sgd(1.0)), probes.cut(rows, size), accumulate_grad_batches=steps)
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
    import lightning as L

    rows, model, losses = probes.rows_of_tokens(17), probes.tagger(), {}
    for size in (1, 2, 7, 16):
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
        loader = DataLoader(probes.cut(rows, size), batch_size=None)
        found = trainer.validate(module(model, sgd(1.0)), loader, verbose=False)
        losses[size] = found[0]["val_loss"]
    return probes.evaluation(losses, probes.true_loss(model, rows))


def p04() -> str:
    model, logged = seeded(Dense), []
    import lightning as L

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            logged.append(float(trainer.callback_metrics["loss"]))

    fit(module(model, sgd(0.1)), probes.cut(probes.poisoned(16), 4, collate_vectors), [Watch()])
    return f"logs {', '.join(f'{loss:.2f}' for loss in logged)}; {probes.nan_tensors(model)}"


def finetuning(train_bn: bool):
    """The callback of the documentation that freezes the trunk."""
    from lightning.pytorch.callbacks import BaseFinetuning

    class Freeze(BaseFinetuning):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.trunk, train_bn=train_bn)

        def finetune_function(self, pl_module, epoch, optimizer):
            pass

    return Freeze()


def trainable(parameters):
    """An optimizer over what trains, as the callback asks for."""
    return torch.optim.SGD([p for p in parameters if p.requires_grad], 0.1)


def p05() -> str:
    from inspect import signature

    from lightning.pytorch.callbacks import BaseFinetuning

    default, found = signature(BaseFinetuning.freeze).parameters["train_bn"].default, []
    for train_bn in (True, False):
        model = seeded(Normed).train()
        before = state(model)
        fit(module(model, trainable), probes.cut(probes.vectors(16), 4, collate_vectors), [finetuning(train_bn)])
        name = f"train_bn={train_bn}{' (default)' * (train_bn == default)}"
        found.append(f"{name}: {said(probes.moved(before, state(model), 'trunk.'), 0.0)}")
    return "; ".join(found)


def p06() -> str:
    found = []
    for train_bn in (True, False):
        model = seeded(Normed).train()
        fit(module(model, trainable), probes.cut(probes.vectors(4), 4, collate_vectors), [finetuning(train_bn)])
        x = collate_vectors(probes.vectors(8))["input"]
        tensors = sum(p.requires_grad for p in model.trunk.parameters())
        with torch.no_grad():
            gap = float((model.train().trunk(x) - model.eval().trunk(x)).abs().max())
        found.append(f"train_bn={train_bn}: {probes.frozen_norms(tensors, gap)}")
    return "; ".join(found)


def p18_plain() -> str:
    return p18(noise=0.0)


def p18(noise: float = 1.0) -> str:
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Kill(L.Callback):
        def on_train_batch_start(self, trainer, *args):
            if trainer.global_step == 7:
                raise Killed

    def run(folder, callbacks=(), ckpt=None):
        L.seed_everything(0, verbose=False)
        model = seeded(Dense).train()
        loader = DataLoader(Augmented(16, noise), 4, shuffle=True, collate_fn=collate_vectors)
        saver = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)
        try:
            fit(module(model, adamw), loader, [saver, *callbacks], ckpt=ckpt, max_epochs=2)
        except Killed:
            pass
        return state(model)

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        straight = run(one)
        run(two, [Kill()])
        resumed = run(two, ckpt=f"{two}/step=6.ckpt")
    return said(probes.moved(straight, resumed))


def p19() -> str:
    import lightning as L
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    class Kill(L.Callback):
        def on_train_epoch_start(self, trainer, *args):
            if trainer.current_epoch == 3:
                raise Killed

    def run(folder, callbacks=(), ckpt=None):
        batches = probes.cut(probes.vectors(8), 4, collate_vectors)
        stop = EarlyStopping("score", mode="max", patience=3)
        saver = ModelCheckpoint(folder, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
        made = module(seeded(Dense).train(), sgd(0.0), ("score", [0.5] * 40))
        try:
            callbacks = [stop, saver, *callbacks]
            return fit(made, batches, callbacks, val=batches[:1], ckpt=ckpt, max_epochs=10).current_epoch
        except Killed:
            return None

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        straight = run(one)
        run(two, [Kill()])
        resumed = run(two, ckpt=f"{two}/epoch=2.ckpt")
    return probes.stopping(straight, resumed)


def p20() -> str:
    from lightning.pytorch.callbacks import ModelCheckpoint

    def best(metric):
        batches = probes.cut(probes.vectors(8), 4, collate_vectors)
        made = module(seeded(Dense).train(), sgd(0.0), (metric, SCORES))
        with tempfile.TemporaryDirectory() as folder:
            saver = ModelCheckpoint(folder, monitor=metric)
            fit(made, batches, [saver], val=batches[:1], max_epochs=3)
            return round(float(saver.best_model_score), 6)

    return probes.kept_both(best("wer"), best("accuracy"))


def p27() -> str:
    import lightning as L

    model, kept = seeded(Dense).train(), {}

    class Freeze(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                kept.update(state(model))
                pl_module.trunk.requires_grad_(False)

    batches = probes.cut(probes.vectors(16), 4, collate_vectors)
    fit(module(model, adamw), batches, [Freeze()], max_epochs=4)
    return said(probes.moved(kept, state(model), "trunk."), 0.0)


def p28() -> str:
    model = seeded(lambda: Dense(broken=True)).train()
    fit(module(model, sgd(0.1)), probes.cut(probes.vectors(4), 4, collate_vectors), gradient_clip_val=1.0)
    return probes.nan_tensors(model)


def p30() -> str:
    def weights(size, steps):
        model = seeded(Dense).train()
        batches = probes.cut(probes.vectors(10), size, collate_vectors)
        trainer = fit(module(model, sgd(0.5)), batches, accumulate_grad_batches=steps)
        return state(model), trainer.global_step

    (whole, steps), (parts, counted) = weights(4, 1), weights(2, 2)
    return probes.remainder(probes.moved(whole, parts), steps, counted)


def p35() -> str:
    rows = [{**row, "weight": 2.0} for row in probes.vectors(4)]
    made = module(seeded(Dense), sgd(0.1))
    fit(made, probes.cut(rows, 4, collate_vectors))
    return "exact" if "weight" in made.keys else "weight dropped"


def p37() -> str:
    return NONE
