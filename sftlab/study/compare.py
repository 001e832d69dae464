"""Compare plans over several seeds: mean and spread, and what each one costs."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev

from ..errors import unknown
from ..sets.hub import load
from ..table import Table
from ..train.evaluate import evaluate
from ..train.fit import fit
from ..train.plan import Plan
from ..train.task import Task


class Comparison:
    """Results of :func:`compare`: ``results[plan]`` is a list of one dict per seed.

    >>> results = {"a": [{"f1": 0.5}, {"f1": 0.6}], "b": [{"f1": 0.8}, {"f1": 0.82}]}
    >>> Comparison(results, "f1", "test").exceeds("b", "a")
    True
    """

    def __init__(self, results: dict[str, list[dict]], metric: str, split: str):
        self.results, self.metric, self.split = results, metric, split

    def values(self, name: str, metric: str | None = None) -> list[float]:
        """One value per seed."""
        if name not in self.results:
            raise unknown("plan", name, self.results)
        return [result[metric or self.metric] for result in self.results[name]]

    def exceeds(self, better: str, worse: str, metric: str | None = None) -> bool:
        """:func:`exceeds` of the two plans' values."""
        return exceeds(self.values(better, metric), self.values(worse, metric))

    def table(self) -> Table:
        metrics = [k for k in next(iter(self.results.values()))[0] if k not in ("seconds", "trained", "memory", "seed")]
        rows = []
        for name, results in self.results.items():
            cells = [plus_minus([result[m] for result in results]) for m in metrics]
            last = results[-1]
            rows.append([name, *cells, f"{mean(r['seconds'] for r in results):.1f}", f"{last['trained']:,}"])
        count = len(next(iter(self.results.values())))
        note = f"{self.split} split, mean ± standard deviation over {count} seed{'s' * (count != 1)}"
        return Table(["plan", *metrics, "seconds", "trained"], rows, note=note)

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def compare(
    plans: Mapping[str, Plan],
    task: Task,
    model: str | Callable = "minilm",
    seeds: int | Sequence[int] = 3,
    split: str = "test",
    batch: int = 16,
    pretrained: Mapping[str, bool] | None = None,
) -> Comparison:
    """Fine-tune by every plan with every seed, and evaluate.

    Args:
        plans: name -> plan.
        task: the task.
        model: a checkpoint's name, or a function ``seed -> model`` for a model of your own.
        seeds: how many (0, 1, 2, ...) or which.
        split: where to evaluate; choose on ``"val"``, report on ``"test"``.
        batch: samples per optimizer step.
        pretrained: ``{"scratch": False}`` starts that row from random weights.

    Returns:
        Comparison: shows as a table; ``values``, ``exceeds``.

    >>> import sftlab as sl
    >>> sl.compare({"head only": sl.head_only(), "full": sl.full()}, task, seeds=5)     # doctest: +SKIP
    """
    if not plans:
        raise ValueError("compare needs at least one plan")
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    pretrained = pretrained or {}
    for name in pretrained:
        if name not in plans:
            raise unknown("plan", name, plans)
    results: dict[str, list[dict]] = {name: [] for name in plans}
    for seed in seeds:  # seeds outside, so that an interrupted comparison has equally many of each plan
        for name, plan in plans.items():
            if callable(model):
                fresh = model(seed)
            else:
                fresh = load(model, task, seed=seed, pretrained=pretrained.get(name, True))
            run = fit(fresh, task, plan, batch=batch, seed=seed, validate=None, show=False)
            if run.stopped:
                raise KeyboardInterrupt(f"{name}, seed {seed}: {run.stopped}")
            found = {k: v for k, v in evaluate(fresh, task, split).items() if isinstance(v, float) and k != "loss"}
            cost = {"seconds": run.cost.seconds, "trained": run.cost.trained_parameters, "memory": run.cost.peak_memory}
            results[name].append({"seed": seed, **found, **cost})
    metric = next(k for k in reversed(results[name][0]) if k not in ("seconds", "trained", "memory", "seed"))
    return Comparison(results, metric, split)


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds (n - 1); 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def exceeds(a: Sequence[float], b: Sequence[float]) -> bool:
    """True if the mean of ``a`` is above that of ``b`` by more than the larger of the two spreads over seeds.

    A difference inside the spread is not called one.

    >>> exceeds([0.8, 0.9], [0.5, 0.6]), exceeds([0.8, 0.9], [0.75, 0.85])
    (True, False)
    """
    return mean(a) - mean(b) > max(spread(a), spread(b))


def plus_minus(values: Sequence[float]) -> str:
    """Mean and spread as text.

    >>> plus_minus([0.8, 0.9])
    '0.850 ± 0.071'
    """
    return f"{mean(values):.3f} ± {spread(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"
