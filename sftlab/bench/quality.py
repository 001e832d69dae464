"""What fine-tuning gains on the bundled headlines: every baseline and plan over several seeds, in and out of domain."""

from .. import env
from ..model.loading import load
from ..sets.catalog import task as task_by_name
from ..sets.headlines import DESCRIPTIONS
from ..study.baselines import majority, zero_shot
from ..study.compare import plus_minus
from ..table import Table
from ..train.evaluate import evaluate
from ..train.fit import fit
from ..train.plan import full, head_only
from . import Measured

SPLITS = ("val", "test", "reviews")


def measure(seeds: int = 5) -> Measured:
    """Macro-F1 of majority, zero-shot, head only and full fine-tuning on each split, mean and spread over seeds."""
    env.start(seed=0)
    task = task_by_name("headlines")
    scores: dict[str, dict[str, list[float]]] = {
        "majority class": {s: [majority(task, s)["macro_f1"]] for s in SPLITS},
        "zero-shot": {s: [zero_shot(load("minilm", task), task, DESCRIPTIONS, s)["macro_f1"]] for s in SPLITS},
    }
    seconds: dict[str, list[float]] = {}
    for name, plan in {"head only": head_only(), "full": full()}.items():
        scores[name] = {s: [] for s in SPLITS}
        for seed in range(seeds):
            model = load("minilm", task, seed=seed)
            run = fit(model, task, plan, seed=seed, validate=None, show=False)
            seconds.setdefault(name, []).append(run.cost.seconds)
            for split in SPLITS:
                scores[name][split].append(evaluate(model, task, split)["macro_f1"])
    rows = [
        [name, *(plus_minus(by_split[s]) for s in SPLITS), plus_minus(seconds[name]) if name in seconds else "-"]
        for name, by_split in scores.items()
    ]
    note = f"macro-F1, mean ± standard deviation over {seeds} seeds; reviews are another domain"
    return Measured("headlines", Table(["method", *SPLITS, "seconds"], rows, note=note), {"macro_f1": scores})
