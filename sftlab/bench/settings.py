"""``sftlab bench best``: each library as its users run it, whole runs with a frozen trunk to a validation metric.

sftlab keeps the outputs of the frozen part (its default); the Trainer of transformers has its own loader, and groups
by length where lengths differ (a second row has its default order, which does not); the others get batches grouped by
length. Rates, decay and schedule are equal, so the metrics must agree within noise; the weights need not, because order
and dropout are each library's own.
"""

import copy
import tempfile
from functools import wraps

import torch
from torch import nn

from .. import env
from .contestants import factor, freeze, groups, trunk_in_eval
from .feed import Feed
from .workloads import Work


def with_cache(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """``sl.fit`` as it comes: what is frozen runs once per sample."""
    # user code
    import sftlab as sl

    sl.fit(model, task, work.plan, batch=work.batch, seed=0, validate=None, show=False)
    # end


def with_hf_loader(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """The Trainer with its own loader and sampler."""
    device, precise = feed.device.type, env.current().precision == "float32"  # bench
    with tempfile.TemporaryDirectory() as folder:  # bench
        # user code
        from torch.optim.lr_scheduler import LambdaLR
        from transformers import Trainer, TrainingArguments

        class Own(Trainer):
            def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
                return work.loss(model, inputs)

        def collate(items):
            batch = task.collate(items, model)
            return {**batch["inputs"], "labels": batch["labels"]}

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
            per_device_train_batch_size=work.batch,
            train_sampling_strategy="group_by_length" if feed.lengths else "random",
            remove_unused_columns=False,
            max_grad_norm=work.plan.clip,
            use_cpu=device == "cpu",
            bf16=not precise,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Own(model, arguments, collate, feed.items, optimizers=(optimizer, schedule))
        trainer.train()
        # end


@wraps(with_hf_loader)
def with_hf_default(model: nn.Module, task, feed: Feed, work: Work, careful: bool) -> None:
    """The Trainer with its default order: batches of whatever lengths chance puts together."""
    feed = copy.copy(feed)
    feed.lengths = None
    with_hf_loader(model, task, feed, work, careful)
