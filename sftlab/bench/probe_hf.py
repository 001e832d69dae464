"""The Trainer of transformers under the failures of trainers, with its defaults where it has them."""

import tempfile

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from .. import env
from . import probes
from .probes import NONE, SCORES, Augmented, Dense, Killed, Normed, Norms, collate_vectors, said, seeded, state


class Own(nn.Module):
    """A net as the models of transformers are: it takes the labels and returns its loss."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, input: torch.Tensor, labels: torch.Tensor | None = None) -> dict:
        logits = self.net(input)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def trainer(model: nn.Module, folder: str, rows, collate, batches=None, optimizer=None, **settings):
    """A Trainer on ``rows``, or on ``batches`` in their order; ``optimizer`` gets a constant rate."""
    from transformers import PreTrainedModel, Trainer, TrainingArguments

    class Ordered(Trainer):
        def get_train_dataloader(self):
            return super().get_train_dataloader() if batches is None else batches

        def training_step(self, model, inputs, *args, **kwargs):
            self.keys = list(inputs)
            return super().training_step(model, inputs, *args, **kwargs)

    model = model if isinstance(model, PreTrainedModel) else Own(model)
    defaults = {
        "max_grad_norm": 0.0,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": env.current().device.type == "cpu",
        "seed": 0,
    }
    constant = (optimizer, LambdaLR(optimizer, lambda step: 1.0)) if optimizer else (None, None)
    arguments = TrainingArguments(folder, **{**defaults, **settings})
    return Ordered(model, arguments, collate, rows, eval_dataset=rows, optimizers=constant)


def run(model, rows, collate=collate_vectors, batches=None, optimizer=None, callbacks=(), **settings):
    """Train in a temporary folder and give the trainer back."""
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(model, folder, rows, collate, batches, optimizer, **settings)
        for callback in callbacks:
            made.add_callback(callback)
        made.train()
        return made


def gradient(rows: list[dict], size: int, steps: int, make=probes.tagger) -> tuple[torch.Tensor, float]:
    """Gradient (by one SGD step of rate 1) and logged loss."""
    model = make()
    before, sgd = state(model), torch.optim.SGD(model.parameters(), 1.0)
    batches = probes.cut(rows, size)
    made = run(model, rows, probes.collate_tokens, batches, sgd, gradient_accumulation_steps=steps)
    after = state(model)
    logged = next(entry["loss"] for entry in made.state.log_history if "loss" in entry)
    return probes.vector_of({name: before[name] - after[name] for name in before}), logged


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
    rows, model, losses = probes.rows_of_tokens(17), probes.tagger(), {}
    for size in (1, 2, 7, 16):
        with tempfile.TemporaryDirectory() as folder:
            made = trainer(model, folder, rows, probes.collate_tokens, per_device_eval_batch_size=size)
            losses[size] = made.evaluate()["eval_loss"]
    return probes.evaluation(losses, probes.true_loss(model, rows))


def p04() -> str:
    model, rows = seeded(Dense), probes.poisoned(16)
    made = run(model, rows, batches=probes.cut(rows, 4, collate_vectors))
    logged = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return f"logs {', '.join(f'{loss:.2f}' for loss in logged)}; {probes.nan_tensors(model)}"


def p05() -> str:
    model = seeded(Normed)
    before = state(model)
    model.trunk.requires_grad_(False)
    run(model.eval(), probes.vectors(16))
    return said(probes.moved(before, state(model), "trunk."), 0.0)


def p06() -> str:
    return NONE


def p18_plain() -> str:
    return p18(noise=0.0)


def p18(noise: float = 1.0) -> str:
    from transformers import TrainerCallback, set_seed

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 7:
                raise Killed

    def make(folder):
        set_seed(0)
        model = seeded(Dense)
        settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
        return model, trainer(model, folder, Augmented(16, noise), collate_vectors, **settings)

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        straight, made = make(one)
        made.train()
        killed, made = make(two)
        made.add_callback(Kill())
        try:
            made.train()
        except Killed:
            pass
        resumed, made = make(two)
        made.train(resume_from_checkpoint=True)
    return said(probes.moved(state(straight), state(resumed)))


def scripted(folder: str, script: list[float], metric: str, epochs: int, callbacks=(), **settings):
    """A Trainer that evaluates after each epoch and finds the scripted values."""
    values = iter(script)
    made = trainer(
        seeded(Dense),
        folder,
        probes.vectors(8),
        collate_vectors,
        num_train_epochs=epochs,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        **settings,
    )
    made.compute_metrics = lambda predictions: {metric: next(values)}
    for callback in callbacks:
        made.add_callback(callback)
    return made


def p19() -> str:
    from transformers import EarlyStoppingCallback, TrainerCallback

    class Kill(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch >= 3:
                raise Killed

    def evaluations(made):
        return sum("eval_score" in entry for entry in made.state.log_history)

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        straight = scripted(one, [0.5] * 10, "score", 10, [EarlyStoppingCallback(3)])
        straight.train()
        try:
            scripted(two, [0.5] * 10, "score", 10, [EarlyStoppingCallback(3), Kill()]).train()
        except Killed:
            pass
        resumed = scripted(two, [0.5] * 10, "score", 10, [EarlyStoppingCallback(3)])
        resumed.train(resume_from_checkpoint=True)
    return probes.stopping(evaluations(straight), evaluations(resumed))


def p20() -> str:
    def best(metric):
        with tempfile.TemporaryDirectory() as folder:
            made = scripted(folder, SCORES, metric, 3)
            made.train()
            return made.state.best_metric

    return probes.kept_both(best("wer"), best("accuracy"))


def p27() -> str:
    from transformers import TrainerCallback

    net, kept = seeded(Dense), {}

    class Freeze(TrainerCallback):
        def on_epoch_begin(self, args, state_, control, **kwargs):
            if state_.epoch >= 2 and not kept:
                kept.update(state(net))
                net.trunk.requires_grad_(False)

    run(net, probes.vectors(16), callbacks=[Freeze()], num_train_epochs=4, weight_decay=0.5, learning_rate=1e-2)
    return said(probes.moved(kept, state(net), "trunk."), 0.0)


def p28() -> str:
    model = seeded(lambda: Dense(broken=True))
    run(model, probes.vectors(4), max_grad_norm=1.0)
    return probes.nan_tensors(model)


def p30() -> str:
    def weights(size, steps):
        model, rows = seeded(Dense), probes.vectors(10)
        sgd = torch.optim.SGD(model.parameters(), 0.5)
        batches = probes.cut(rows, size, collate_vectors)
        made = run(model, rows, batches=batches, optimizer=sgd, gradient_accumulation_steps=steps)
        return state(model), made.state.global_step

    (whole, steps), (parts, counted) = weights(4, 1), weights(2, 2)
    return probes.remainder(probes.moved(whole, parts), steps, counted)


def p35() -> str:
    made = run(seeded(Dense), [{**row, "weight": 2.0} for row in probes.vectors(4)])
    return "exact" if "weight" in made.keys else "weight dropped"


def p37() -> str:
    model = seeded(Norms)
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(model, folder, probes.vectors(4), collate_vectors, weight_decay=0.1)
        groups = made.create_optimizer().param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    return probes.decayed_norms([name for name, p in model.weights().items() if id(p) in decayed])
