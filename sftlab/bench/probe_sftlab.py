"""sftlab under the failures of trainers, by its public functions."""

import tempfile

import torch

from ..errors import NonFiniteLoss, UnknownName
from ..tasks.classify import Classify
from ..tasks.inputs import TensorInput
from ..train.evaluate import evaluate
from ..train.fit import fit, resume
from ..train.plan import Plan, Stage, full, head_only
from . import probes
from .probes import SCORES, Dense, Killed, Normed, Norms, said, seeded, state

PLAIN = {"schedule": "constant", "warmup": 0.0, "clip": None, "weight_decay": 0.0}
NAMES = ["a", "b", "c"]


def task_of(rows: list[dict], cls=Classify, val: list[dict] | None = None):
    """Vectors as a task."""
    splits = {"train": rows, **({"val": val} if val else {})}
    return cls({k: [{**r, "label": r["labels"]} for r in v] for k, v in splits.items()}, NAMES, TensorInput())


def train(model, task, plan, **settings):
    """``fit`` in silence, in batches of 4."""
    return fit(model, task, plan, **{"batch": 4, "seed": 0, "validate": None, "show": False, **settings})


def gradient(rows, micro_batch: int | None, make=probes.tagger, cls=probes.Tags) -> tuple[torch.Tensor, float]:
    """Gradient and logged loss of the first step over ``rows``."""
    model, found = make(), {}

    def keep(run):
        found.update({name: p.grad.clone() for name, p in model.named_parameters()})

    run = train(model, probes.tags_task(rows, cls), full(1, **PLAIN), batch=8, micro_batch=micro_batch, after_step=keep)
    return probes.vector_of(found), run.steps[0]["loss"]


def p01() -> str:
    rows = probes.rows_of_tokens(8, equal=True)
    return probes.accumulation(gradient(rows, None), gradient(rows, 2))


def p02() -> str:
    rows = probes.rows_of_tokens(8)
    return probes.accumulation(gradient(rows, None), gradient(rows, 2))


def p02_causal() -> str:
    rows, causal = probes.rows_of_text(8), (probes.language_model, probes.NextTokens)
    return probes.accumulation(gradient(rows, None, *causal), gradient(rows, 2, *causal))


def p03() -> str:
    rows, model = probes.rows_of_tokens(17), probes.tagger()
    losses = {size: evaluate(model, probes.tags_task(rows), "test", batch=size)["loss"] for size in (1, 2, 7, 16)}
    return probes.evaluation(losses, probes.true_loss(model, rows))


class Unchecked(Classify):
    """Data that became NaN after it was checked."""

    def problems(self, example: dict) -> None:
        return None


def p04() -> str:
    model = seeded(Dense)
    try:
        run = train(model, task_of(probes.poisoned(16), Unchecked), full(1))
    except NonFiniteLoss as error:
        named = "the sample named" if "[9]" in str(error) else "without the sample"
        return f"raises NonFiniteLoss, {named}; {probes.nan_tensors(model)}"
    return f"logs {run.steps[-1]['loss']}; {probes.nan_tensors(model)}"


def p05() -> str:
    model = seeded(Normed)
    before = state(model)
    train(model, task_of(probes.vectors(16)), head_only(1), cache=False, after_step=lambda run: run.model.train())
    return said(probes.moved(before, state(model), "trunk."), 0.0)


def p06() -> str:
    model, x = seeded(Normed), torch.stack([row["input"] for row in probes.vectors(8)])
    applied = head_only(1).apply(model)
    trainable = sum(p.requires_grad for p in model.trunk.parameters())
    model.train()
    applied.enforce()
    with torch.no_grad():
        in_training = model.trunk(x)
        gap = float((in_training - model.eval().trunk(x)).abs().max())
    return probes.frozen_norms(trainable, gap)


def p18_plain() -> str:
    return p18(noise=0.0)


def p18(noise: float = 1.0) -> str:
    def make():
        task = task_of(probes.vectors(16))
        task.augment = lambda item, generator: {
            **item, "input": item["input"] + noise * torch.randn(6, generator=generator),
        }  # fmt: skip
        return seeded(Dense), task

    def kill(run):
        if run.step == 7:
            raise Killed

    (straight, task), (killed, _) = make(), make()
    train(straight, task, full(2, lr=1e-2))
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(killed, task, full(2, lr=1e-2), out=folder, save_every=2, after_step=kill)
        except Killed:
            pass
        (resumed, task), again = make(), []
        resume(folder, resumed, task, show=False, after_step=again.append)
    # It was saved at step 6 of 8 and killed at 7: to begin anew would give the same weights, but it is no resume.
    repeated = len(again) != 2
    return f"repeats {len(again)} steps" if repeated else said(probes.moved(state(straight), state(resumed)), 0.0)


class Scripted(Classify):
    """A task whose metrics are written down."""

    metric_names = ("score", "wer", "accuracy")
    script = SCORES
    seen = 0

    def metrics(self, predicted, true) -> dict:
        value = self.script[self.seen % len(self.script)]
        self.seen += 1
        return {name: value for name in self.metric_names}


def p19() -> str:
    settings = {"validate": "val", "monitor": ("score", "max"), "patience": 3}
    plan = full(10, **PLAIN)

    def make():
        task = task_of(probes.vectors(8), Scripted, probes.vectors(4))
        task.script = [0.5]
        return seeded(Dense), task

    def kill(run):
        if len(run.evaluations) == 3:
            raise Killed

    straight = train(*make(), plan, **settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(*make(), plan, out=folder, save_every=1, after_step=kill, **settings)
        except Killed:
            pass
        resumed = resume(folder, *make(), show=False)
    return probes.stopping(len(straight.evaluations), len(resumed.evaluations))


def p20() -> str:
    def best(monitor):
        task = task_of(probes.vectors(8), Scripted, probes.vectors(4))
        run = train(seeded(Dense), task, full(3, **PLAIN), validate="val", monitor=monitor)
        return run.best[monitor[0]]

    try:
        best("wer")
        return "guesses the direction"
    except UnknownName:  # a metric without a direction is refused
        return probes.kept_both(best(("wer", "min")), best(("accuracy", "max")))


def p27() -> str:
    model, kept = seeded(Dense), {}
    plan = Plan("all, then head", (Stage("all", 2, 1e-2), Stage("head", 2, 1e-2)), weight_decay=0.5)
    train(model, task_of(probes.vectors(16)), plan, cache=False, after_step=lambda run: keep_at(8, run, kept))
    return said(probes.moved(kept, state(model), "trunk."), 0.0)


def keep_at(step: int, run, kept: dict) -> None:
    if run.step == step:
        kept.update(state(run.model))


def p28() -> str:
    model = seeded(lambda: Dense(broken=True))
    try:
        train(model, task_of(probes.vectors(4)), full(1))
    except NonFiniteLoss:
        return f"raises NonFiniteLoss; {probes.nan_tensors(model)}"
    return probes.nan_tensors(model)


def p30() -> str:
    def run(micro_batch):
        model = seeded(Dense)
        done = train(model, task_of(probes.vectors(10)), full(1, lr=1e-2, **PLAIN), micro_batch=micro_batch)
        return state(model), done.step

    (whole, steps), (parts, counted) = run(None), run(2)
    return probes.remainder(probes.moved(whole, parts), steps, counted)


class Weighted(Classify):
    """A task that looks at a column of its own."""

    seen: list = []

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**super().add_labels(item, example), "weight": example.get("weight")}

    def collate(self, items, model) -> dict:
        self.seen.append([item["weight"] for item in items])
        return super().collate(items, model)


def p35() -> str:
    rows = [{**row, "weight": 2.0} for row in probes.vectors(4)]
    task = task_of(rows, Weighted)
    task.seen = []
    train(seeded(Dense), task, full(1))
    return "exact" if task.seen == [[2.0] * 4] else "weight dropped"


def p37() -> str:
    model = seeded(Norms)
    groups = full(1, weight_decay=0.1).apply(model).optimizer().param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    return probes.decayed_norms([name for name, p in model.weights().items() if id(p) in decayed])
