"""``sftlab demo``: a real model, really fine-tuned, before and after in one table."""

import time

from . import env
from .model.loading import load
from .sets.catalog import task as task_by_name
from .sets.headlines import DESCRIPTIONS
from .study.baselines import majority, zero_shot
from .table import Table
from .train.evaluate import evaluate, predict
from .train.fit import fit
from .train.plan import full, head_only

SENTENCES = [
    "The bakery on Elm Street saved every job and hired two apprentices.",
    "Nobody came to the opening, and the roof leaked.",
    "The committee meets on the first Monday of each month.",
]


def demo(seed: int = 0) -> Table:
    """Fine-tune ``minilm`` on the bundled headlines and print the table, three classified sentences and what is next.

    Returns:
        Table: majority, zero-shot, head only and full fine-tuning on held-out headlines.
    """
    began = time.perf_counter()
    print(env.start(seed=seed), flush=True)
    task = task_by_name("headlines")
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in task.splits.items())
    print(f"\nheadlines: {sizes}; classes {', '.join(task.label_names)}\n", flush=True)
    rows = []

    def add(name, result, seconds, trained):
        rows.append([name, f"{result['accuracy']:.3f}", f"{result['macro_f1']:.3f}", f"{seconds:.1f}", f"{trained:,}"])

    add("majority class", majority(task), 0, 0)
    model = load("minilm", task, seed=seed)
    at = time.perf_counter()
    result = zero_shot(model, task, DESCRIPTIONS)
    add("zero-shot, label similarity", result, time.perf_counter() - at, 0)
    for name, plan in {"head only": head_only(), "full fine-tuning": full()}.items():
        model = load("minilm", task, seed=seed)
        print(f"{name} ...", flush=True)
        run = fit(model, task, plan, seed=seed, validate=None, show="bar")
        if run.stopped:
            raise KeyboardInterrupt(run.stopped)
        add(name, evaluate(model, task, "test"), run.cost.seconds, run.cost.trained_parameters)
    columns = ["method", "accuracy", "macro-F1", "seconds", "trained parameters"]
    table = Table(columns, rows, note="on 200 held-out headlines that no step has seen")
    print(f"\n{table}\n")
    for sentence, prediction in zip(SENTENCES, predict(model, task, SENTENCES), strict=True):
        print(f"  {prediction!s:<16}  {sentence}")
    print(f"\n{time.perf_counter() - began:.0f} seconds in all. Next: `make lab`, and open 00_quickstart.")
    return table
