"""The same training in six ways: by hand, with sftlab, and in four libraries as their documentation teaches.

Logging is at its lightest, nothing is saved, nothing evaluated. The lines between ``# user code`` and ``# end`` are
what a user writes; :mod:`sftlab.bench.roster` counts them. A line that ends in ``# frozen`` counts where a part of the
model is frozen, one in ``# careful`` where the user also keeps the frozen part in eval mode by hand; ``# bench`` lines
belong to the measurement. Every library is imported inside its function: none is needed to install sftlab.
"""

import tempfile

import torch
from torch import nn

from .. import env
from .feed import Feed
from .workloads import Work


def groups(model: nn.Module, work: Work) -> list[dict]:
    """Groups by rate (head or not) and weight decay (matrices only), as a careful person writes them."""
    stage, decay = work.plan.stages[0], work.plan.weight_decay
    made = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            lr = (stage.head_lr or stage.lr) if name.startswith(work.head) else stage.lr
            made.setdefault((lr, decay if p.dim() > 1 else 0.0), []).append(p)
    return [{"params": ps, "lr": lr, "weight_decay": wd} for (lr, wd), ps in made.items()]


def factor(step: float, steps: int, warmup: float) -> float:
    """Linear warm-up and decay, taken at the middle of a step."""
    progress = (step + 0.5) / steps
    return progress / warmup if progress < warmup else max(0.0, (1 - progress) / (1 - warmup))


def freeze(model: nn.Module, work: Work) -> None:
    """Nothing outside ``work.trained`` gets a gradient."""
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(work.trained))


def trunk_in_eval(model: nn.Module, work: Work) -> None:
    """BatchNorm of the frozen part uses and keeps its statistics."""
    for name, child in model.named_children():
        if not f"{name}.".startswith(work.trained):
            child.eval()


def by_hand(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """Plain PyTorch."""
    # user code
    freeze(model, work)  # frozen
    model.train()
    trunk_in_eval(model, work)  # frozen
    optimizer = torch.optim.AdamW(groups(model, work), fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    step, losses = 0, []
    for _ in range(feed.epochs):
        for batch in feed:
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor(step, feed.steps, work.plan.warmup)
            optimizer.zero_grad()
            with env.current().autocast():
                loss = work.loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), work.plan.clip)
            optimizer.step()
            losses.append(loss.detach())
            step += 1
    # end


def with_sftlab(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """``sl.fit``, without the cache of the frozen part: here the loops are compared."""
    # user code
    import sftlab as sl

    sl.fit(model, task, work.plan, batch=work.batch, seed=0, validate=None, show=False, cache=False)
    # end


def with_hf(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """The Trainer of transformers, with the optimizer and the schedule handed to it."""
    device, precise = feed.device.type, env.current().precision == "float32"  # bench
    with tempfile.TemporaryDirectory() as folder:  # bench
        # user code
        from torch.optim.lr_scheduler import LambdaLR
        from transformers import Trainer, TrainingArguments

        class Own(Trainer):
            def get_train_dataloader(self):
                return feed

            def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
                if work.causal:  # bench: there the method is not needed
                    return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # bench
                return work.loss(model, inputs)

        def train(mode=True):  # careful
            type(model).train(model, mode)  # careful
            trunk_in_eval(model, work)  # careful
            return model  # careful

        if careful:  # bench
            model.train = train  # careful
        freeze(model, work)  # frozen
        optimizer = torch.optim.AdamW(groups(model, work), fused=True)
        schedule = LambdaLR(optimizer, lambda step: factor(step, feed.steps, work.plan.warmup))
        arguments = TrainingArguments(
            folder,
            num_train_epochs=feed.epochs,
            max_grad_norm=work.plan.clip,
            use_cpu=device == "cpu",
            bf16=not precise,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        Own(model, arguments, optimizers=(optimizer, schedule)).train()
        # end


def with_lightning(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """Lightning; a frozen part is put into eval mode in ``__init__``, as its transfer-learning page teaches."""
    # user code
    import lightning as L
    from torch.optim.lr_scheduler import LambdaLR

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model.train()
            freeze(self.net, work)  # frozen
            trunk_in_eval(self.net, work)  # frozen

        def training_step(self, batch, batch_idx):
            return work.loss(self.net, batch)

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(groups(self.net, work), fused=True)
            schedule = LambdaLR(optimizer, lambda step: factor(step, feed.steps, work.plan.warmup))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    trainer = L.Trainer(
        accelerator=feed.device.type if feed.device.type != "cuda" else "gpu",
        devices=1,
        max_epochs=feed.epochs,
        precision="32-true" if env.current().precision == "float32" else "bf16-mixed",
        gradient_clip_val=work.plan.clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), feed)
    # end


def with_fastai(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """fastai's Learner around the same torch optimizer."""
    feed.form = "tuple"  # bench
    # user code
    from fastai.callback.schedule import ParamScheduler
    from fastai.callback.training import BnFreeze, GradientClip
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    freeze(model, work)  # frozen
    made = groups(model, work)
    peaks = [group["lr"] for group in made]

    def rates(done):
        return [peak * factor(done * feed.steps, feed.steps, work.plan.warmup) for peak in peaks]

    callbacks = [ParamScheduler({"lr": rates}), GradientClip(work.plan.clip)]
    if careful:  # bench
        callbacks.append(BnFreeze())  # careful
    learn = Learner(
        DataLoaders(feed, [], device=feed.device),
        model,
        loss_func=work.mean_loss,
        opt_func=lambda params, lr: OptimWrapper(opt=torch.optim.AdamW(made, fused=True)),
        cbs=callbacks,
    )
    if env.current().precision == "bfloat16":  # bench
        learn.to_bf16()  # bench
    with learn.no_bar(), learn.no_logging():
        learn.fit(feed.epochs)
    # end


def with_accelerate(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """accelerate: the loop stays the user's, the library prepares its parts."""
    # user code
    from accelerate import Accelerator
    from torch.optim.lr_scheduler import LambdaLR

    precision = "no" if env.current().precision == "float32" else "bf16"
    accelerator = Accelerator(cpu=feed.device.type == "cpu", mixed_precision=precision)
    freeze(model, work)  # frozen
    optimizer = torch.optim.AdamW(groups(model, work), fused=True)
    schedule = LambdaLR(optimizer, lambda step: factor(step, feed.steps, work.plan.warmup))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, feed, schedule)
    model.train()
    if careful:  # bench
        trunk_in_eval(model, work)  # careful
    losses = []
    for _ in range(feed.epochs):
        for batch in loader:
            optimizer.zero_grad()
            loss = work.loss(model, batch)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), work.plan.clip)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
    # end
