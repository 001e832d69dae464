"""Averages of several models that were fine-tuned from one: soups and WiSE-FT."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from .. import env
from ..errors import SftlabError, unknown
from ..model.adapters import adapter_parameters
from ..train.average import refresh_batch_norm
from ..train.evaluate import evaluate
from ..train.features import Source
from ..train.task import Task


def soup(models: Sequence[nn.Module], task: Task | None = None) -> nn.Module:
    """The uniform average of several fine-tuned models of the same base; a new model, in eval mode.

    Args:
        models: of one architecture, fine-tuned from the same pretrained weights.
        task: needed if the models have BatchNorms that moved: their statistics are computed again on ``train`` (P24).

    Raises:
        SftlabError: no models; other names or shapes of weights (another head, another architecture); adapters.

    Source: Wortsman et al. (2022), Model Soups, recipe 1.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> bool((soup([a, b]).weight - (a.weight + b.weight) / 2).abs().max() < 1e-6)
    True
    """
    if not models:
        raise SftlabError("no models to average")
    return _mix([model.state_dict() for model in models], [1 / len(models)] * len(models), models[0], task)


def greedy_soup(
    models: Sequence[nn.Module], task: Task, metric: tuple[str, str] = ("macro_f1", "max"), split: str = "val"
) -> nn.Module:
    """Add models to the soup from the best down, each only if the soup on ``split`` does not get worse by it.

    Returns:
        nn.Module: a new model; ``members`` lists the numbers of the models in it. On ``split`` it is never below the
        best single model, which is why that split can no longer tell how good it is.

    Raises:
        UnknownName: metric or direction; SftlabError: see :func:`soup`.

    Source: Wortsman et al. (2022), Model Soups, recipe 2.

    >>> greedy_soup(models, task, metric=("macro_f1", "max")).members     # doctest: +SKIP
    [2, 0]
    """
    if metric[0] not in ("loss", *task.metric_names) or metric[1] not in ("min", "max"):
        raise unknown("metric and direction", metric, ["loss", *task.metric_names, "min", "max"])

    def score(model):
        return evaluate(model, task, split)[metric[0]] * (1 if metric[1] == "max" else -1)

    scores = [score(model) for model in models]
    order = sorted(range(len(models)), key=lambda i: -scores[i])
    made = soup([models[i] for i in order[:1]])
    members, best = order[:1], scores[order[0]]
    for number in order[1:]:
        tried = soup([models[i] for i in (*members, number)], task)
        if (found := score(tried)) >= best:
            members, best, made = [*members, number], found, tried
    made.members = members
    return made


def wise_ft(before: nn.Module | Mapping, after: nn.Module, alpha: float, task: Task | None = None) -> nn.Module:
    """Between the weights before and after fine-tuning: (1 - alpha) of the first, alpha of the second; a new model.

    Args:
        before: the model, or its ``state_dict()``, as fine-tuning found it.
        after: the fine-tuned model.
        alpha: 0 gives ``before``, 1 ``after``; often better under distribution shift than both.
        task: see :func:`soup`.

    Source: Wortsman et al. (2022), Robust Fine-Tuning of Zero-Shot Models, equation 1.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> torch.equal(wise_ft(a, b, alpha=1.0).weight, b.weight)
    True
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], not {alpha}")
    start = before.state_dict() if isinstance(before, nn.Module) else before
    return _mix([start, after.state_dict()], [1 - alpha, alpha], after, task)


def _mix(states: Sequence[Mapping], shares: Sequence[float], like: nn.Module, task: Task | None) -> nn.Module:
    """A copy of ``like`` with the weighted mean of the states; integers are those of the greatest share."""
    if adapter_parameters(like):
        raise SftlabError("the mean of two LoRA factors is not the mean of their products: sl.merge_adapters first.")
    first = states[0]
    for number, state in enumerate(states):
        other = [k for k in first.keys() | state.keys() if k not in first or k not in state]
        other = other or [k for k in first if first[k].shape != state[k].shape]
        if other:
            raise SftlabError(
                f"models 0 and {number} cannot be averaged: {len(other)} weights are missing in one or of another "
                f"shape, such as {sorted(other)[0]!r}. All must be fine-tuned from one model, with the same head."
            )
    most = states[max(range(len(shares)), key=lambda i: shares[i])]
    mixed = {}
    for name, value in first.items():
        if not value.is_floating_point() or all(torch.equal(value, s[name].to(value)) for s in states):
            mixed[name] = most[name]
            continue
        parts = [
            s[name].to(value.device, torch.float64) * share for s, share in zip(states, shares, strict=True) if share
        ]
        mixed[name] = torch.stack(parts).sum(0)
    made = copy.deepcopy(like)
    made.load_state_dict(mixed)
    names = [n for n in first if n.endswith("running_mean")]
    moved = [n for n in names if not all(torch.equal(first[n], s[n]) for s in states)]
    if moved and max(shares) < 1:
        if task is None:
            raise SftlabError(f"the models have BatchNorms that moved ({moved[0]!r}): give the task, to refresh them.")
        device = env.current().device
        items = task.encode(task.examples("train"), made.to(device))
        groups = [range(at, min(at + 64, len(items))) for at in range(0, len(items), 64)]
        norms = [made.get_submodule(name.rpartition(".")[0]) for name in moved]
        refresh_batch_norm(made, task, Source(made, task, {"train": items}).batches(groups, device), norms)
    return made.eval()
