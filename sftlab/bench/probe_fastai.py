"""fastai under the failures of trainers."""

import tempfile
from functools import partial

import torch
from torch import nn

from . import probes
from .probes import NONE, SCORES, Dense, Killed, Normed, Norms, collate_vectors, said, seeded, state


def learner(model: nn.Module, batches: list[dict], rate: float = 0.1, val=(), opt_func=None, **settings):
    """A Learner around batches of tuples; without ``opt_func`` plain SGD of a constant rate."""
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    def loss(outputs, labels, reduction="mean"):
        logits = getattr(outputs, "logits", outputs)
        if "Llama" in type(model).__name__:  # the next token, as its own loss has it
            logits, labels = logits[:, :-1], labels[:, 1:]
        return nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction=reduction)

    tuples = [[tuple(batch.values()) for batch in part] for part in (batches, val)]
    made = DataLoaders(*tuples, device=torch.device("cpu"))
    return Learner(
        made,
        model,
        loss_func=loss,
        opt_func=opt_func or partial(OptimWrapper, opt=torch.optim.SGD),
        lr=rate,
        **settings,
    )


def fit(made, epochs: int = 1, callbacks=(), **settings) -> None:
    """Train without output."""
    with made.no_bar(), made.no_logging():
        made.fit(epochs, cbs=list(callbacks), **settings)


def gradient(rows: list[dict], size: int, make=probes.tagger) -> tuple[torch.Tensor, None]:
    """Gradient by one SGD step of rate 1; micro-batches through GradientAccumulation, which counts samples."""
    from fastai.callback.training import GradientAccumulation

    model = make().train()
    before = state(model)
    fit(learner(model, probes.cut(rows, size), 1.0), callbacks=[GradientAccumulation(8)] * (size < 8))
    after = state(model)
    return probes.vector_of({name: before[name] - after[name] for name in before}), None


def p01() -> str:
    rows = probes.rows_of_tokens(8, equal=True)
    return probes.accumulation(gradient(rows, 8), gradient(rows, 2))


def p02() -> str:
    rows = probes.rows_of_tokens(8)
    return probes.accumulation(gradient(rows, 8), gradient(rows, 2))


def p02_causal() -> str:
    rows, causal = probes.rows_of_text(8), probes.language_model
    return probes.accumulation(gradient(rows, 8, causal), gradient(rows, 2, causal))


def p03() -> str:
    rows, model, losses = probes.rows_of_tokens(17), probes.tagger(), {}
    for size in (1, 2, 7, 16):
        batches = probes.cut(rows, size)
        losses[size] = float(learner(model, batches, val=batches).validate()[0])
    return probes.evaluation(losses, probes.true_loss(model, rows))


def p04() -> str:
    model = seeded(Dense)
    made = learner(model, probes.cut(probes.poisoned(16), 4, collate_vectors))
    fit(made)
    logged = [float(loss) for loss in made.recorder.losses]
    return f"logs {', '.join(f'{loss:.2f}' for loss in logged)}; {probes.nan_tensors(model)}"


def frozen(count: int = 16):
    """A Learner with two groups whose trunk is frozen by ``freeze``, and its model."""
    model = seeded(Normed)
    batches = probes.cut(probes.vectors(count), 4, collate_vectors)
    made = learner(model, batches, splitter=lambda net: [list(net.trunk.parameters()), list(net.head.parameters())])
    made.freeze()
    return made, model


def p05() -> str:
    made, model = frozen()
    before = state(model)
    fit(made)
    return said(probes.moved(before, state(model), "trunk."), 0.0)


def p06() -> str:
    made, model = frozen()
    x = collate_vectors(probes.vectors(8))["input"]
    tensors = sum(p.requires_grad for p in model.trunk.parameters())
    with torch.no_grad():
        gap = float((model.train().trunk(x) - model.eval().trunk(x)).abs().max())
    return probes.frozen_norms(tensors, gap)


def p18_plain() -> str:
    return NONE


def p18() -> str:
    return NONE  # Learner.fit starts at an epoch


def scripted(name: str, values: list[float], folder: str):
    """A Learner whose metric finds the values one after the other."""
    from fastai.learner import Metric

    class Found(Metric):
        left = iter(values)

        def reset(self):
            pass

        def accumulate(self, learn):
            pass

        @property
        def value(self):
            return next(self.left)

        @property
        def name(self):
            return name

    batches = probes.cut(probes.vectors(8), 4, collate_vectors)
    return learner(seeded(Dense), batches, 0.0, val=batches[:1], metrics=[Found()], path=folder)


def p19() -> str:
    from fastai.callback.core import Callback
    from fastai.callback.tracker import EarlyStoppingCallback

    class Kill(Callback):
        def before_epoch(self):
            if self.epoch == 3:
                self.learn.save("killed")
                raise Killed

    def run(folder, callbacks=(), resume=False):
        made = scripted("score", [0.5] * 40, folder)
        if resume:
            made.load("killed")
        try:
            fit(made, 10, [EarlyStoppingCallback("score", patience=3), *callbacks], start_epoch=3 if resume else 0)
        except Killed:
            pass
        return made.epoch + 1

    with tempfile.TemporaryDirectory() as folder:
        straight = run(folder)
        run(folder, [Kill()])
        return probes.stopping(straight, run(folder, resume=True))


def p20() -> str:
    from fastai.callback.tracker import SaveModelCallback

    def best(metric):
        with tempfile.TemporaryDirectory() as folder:
            saver = SaveModelCallback(monitor=metric)
            fit(scripted(metric, SCORES, folder), 3, [saver])
            return float(saver.best)

    return probes.kept_both(best("wer"), best("accuracy"))


def p27() -> str:
    from fastai.optimizer import Adam

    model = seeded(Dense)
    batches = probes.cut(probes.vectors(16), 4, collate_vectors)
    split = {"splitter": lambda net: [list(net.trunk.parameters()), list(net.head.parameters())]}
    made = learner(model, batches, 1e-2, opt_func=Adam, wd=0.5, **split)
    fit(made, 2)
    made.freeze()
    kept = state(model)
    fit(made, 2)
    return said(probes.moved(kept, state(model), "trunk."), 0.0)


def p28() -> str:
    from fastai.callback.training import GradientClip

    model = seeded(lambda: Dense(broken=True))
    fit(learner(model, probes.cut(probes.vectors(4), 4, collate_vectors)), callbacks=[GradientClip(1.0)])
    return probes.nan_tensors(model)


def p30() -> str:
    from fastai.callback.core import Callback
    from fastai.callback.training import GradientAccumulation

    class Count(Callback):
        taken = 0

        def after_step(self):
            self.taken += 1

    def weights(size, callbacks=()):
        model, count = seeded(Dense), Count()
        made = learner(model, probes.cut(probes.vectors(10), size, collate_vectors), 0.5)
        fit(made, callbacks=[count, *callbacks])
        return state(model), count.taken

    (whole, steps), (parts, counted) = weights(4), weights(2, [GradientAccumulation(4)])
    return probes.remainder(probes.moved(whole, parts), steps, counted)


def p35() -> str:
    return NONE  # its batches are tuples without names


def p37() -> str:
    from fastai.optimizer import Adam

    model = seeded(Norms)
    made = learner(model, [], opt_func=Adam, wd=0.1)
    made.create_opt()
    decayed = {id(p) for p in model.parameters() if made.opt.state[p].get("do_wd", True)}
    return probes.decayed_norms([name for name, p in model.weights().items() if id(p) in decayed])
