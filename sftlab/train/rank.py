"""Recommendation: which items a user takes next."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..data.batching import mix
from ..errors import SftlabError, bad_data
from .inputs import TensorInput
from .task import LossSum
from .values import TargetTask


@dataclass(frozen=True)
class UserInput(TensorInput):
    """The number of a user."""

    column: str = "user"

    def problems(self, example: dict) -> str | None:
        return not_below(None, example, self.column)

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        return [{"input": torch.tensor(int(example[self.column]))} for example in examples]


class Rank(TargetTask):
    """Two towers: the item that a user took is to score above items that the user did not take.

    Each example draws its own negatives, uniformly, from what its user has not taken in training: never the other
    items of the batch, which would make the loss depend on the company. Evaluation draws the same ones every time.
    The model is called as ``model(user=[B], item=[B, n])`` and gives scores [B, n], each a function of its own pair.

    Args:
        splits: ``{"user": 3, "item": 17}``.
        items: their number, or their features [items, width], which the model then gets instead of numbers.
        negatives: for each example.
        loss: ``"softmax"`` over the item and its negatives, or ``"bpr"``, mean over the negatives.

    Raises: BadData for items that do not exist and, when drawing, a user who took everything.

    Source: Rendle et al. (2009), BPR; Jean et al. (2015), sampled softmax.

    >>> task = Rank({"train": [{"user": 0, "item": 2}]}, items=4, negatives=50)
    >>> task.candidates([(0, 2)], seeds=[7])[0, 1:].unique().tolist()
    [0, 1, 3]
    """

    kind, label_column, fewest_labels = "recommendation", "item", 0
    draws, cacheable = True, False  # what a frozen tower gives is of other items every time
    metric_names = ("recall_at_10", "ndcg_at_10")

    def __init__(self, splits, items, negatives: int = 20, loss: str = "softmax", name: str = "own data"):
        self.features = items if isinstance(items, torch.Tensor) else None
        self.count, self.negatives, self.bpr = items if self.features is None else len(items), negatives, loss == "bpr"
        if loss not in ("softmax", "bpr") or negatives < 1:
            raise bad_data(name, [f"loss must be 'softmax' or 'bpr' and negatives at least 1: {loss!r}, {negatives}"])
        super().__init__(splits, [], UserInput(), name)
        self.taken = defaultdict(set)
        for example in self.splits.get("train", ()):
            self.taken[int(example["user"])].add(int(example["item"]))

    def target(self, example: dict) -> torch.Tensor:
        if found := not_below(self.count, example, "item"):
            raise ValueError(found)
        return torch.tensor(int(example["item"]))

    def candidates(self, pairs: Sequence[tuple[int, int]], seeds: Sequence[int]) -> torch.Tensor:
        """[batch, 1 + negatives]: the item of each (user, item), then what its seed draws (with replacement)."""
        rows = []
        for (user, item), seed in zip(pairs, seeds, strict=True):
            out = torch.tensor(sorted(self.taken[user] | {item}))
            if len(out) == self.count:
                raise bad_data(self.name, [f"user {user} has taken all {self.count} items: nothing to compare with"])
            generator = torch.Generator().manual_seed(seed)
            free = torch.randint(self.count - len(out), (self.negatives,), generator=generator)
            # The n-th item that is not in `out` is n plus the number of those in `out` before it.
            free += torch.searchsorted(out - torch.arange(len(out)), free, right=True)
            rows.append(torch.cat([torch.tensor([item]), free]))
        return torch.stack(rows)

    def collate(self, items: Sequence[dict], model) -> dict:
        pairs = [(int(item["input"]), int(item.get("labels", 0))) for item in items]
        return {**super().collate(items, model), "pairs": pairs}  # on the host, where negatives are drawn

    def _drawn(self, batch: dict) -> torch.Tensor:
        seeds = batch.get("seeds") or [mix(0, index, 1) for index in batch["index"]]
        return self.candidates(batch["pairs"], seeds).to(batch["labels"].device)

    def _scores(self, model, batch: dict, item: torch.Tensor) -> torch.Tensor:
        given = item if self.features is None else self.features.to(item.device)[item]
        scores = model(user=batch["inputs"]["input"], item=given)
        if scores.shape != item.shape:
            raise SftlabError(f"the model gave {list(scores.shape)} for {list(item.shape)} pairs")
        return scores

    def loss(self, model, batch: dict) -> LossSum:
        return self.loss_of(self._scores(model, batch, self._drawn(batch)), batch, drawn=True)

    def loss_of(self, logits: torch.Tensor, batch: dict, drawn: bool = False) -> LossSum:
        scores = (logits if drawn else logits.gather(1, self._drawn(batch))).float()
        true, other = scores.split([1, self.negatives], dim=1)
        each = -F.logsigmoid(true - other).mean(1) if self.bpr else scores.logsumexp(1) - true[:, 0]
        return LossSum(each.sum(), torch.tensor(len(each), device=each.device))

    def logits(self, model, batch: dict) -> torch.Tensor:
        """Scores of all items, [batch, items], computed for a thousand items at a time."""
        user = batch["inputs"]["input"]
        parts = torch.arange(self.count, device=user.device).split(1000)
        return torch.cat([self._scores(model, batch, part.expand(len(user), -1)) for part in parts], dim=1)

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        """(rank of the item among those that its user has not taken in training, from 1; the item)."""
        scores, labels = logits.float().cpu().clone(), batch["labels"].cpu()
        for row, (user, item) in zip(scores, batch["pairs"], strict=True):
            row[list(self.taken[user] - {item})] = -torch.inf
        # Equal scores count against the item: a model that says the same of everything finds nothing.
        return (scores >= scores.gather(1, labels[:, None])).sum(dim=1), labels

    def metrics(self, predicted, true) -> dict[str, float]:
        """Share of examples whose item is among the first ten, and the same with 1 / log2(1 + rank) for 1."""
        found = (predicted <= 10).double()
        gain = found / (predicted + 1).double().log2()
        return {"recall_at_10": float(found.mean()), "ndcg_at_10": float(gain.mean())}

    def read(self, item: dict, row: torch.Tensor) -> list[int]:
        """The ten best items that the user has not taken in training."""
        best = row.argsort(descending=True).tolist()
        return [i for i in best if i not in self.taken[int(item["input"])]][:10]


def not_below(limit: int | None, example: dict, column: str) -> str | None:
    value = example.get(column)
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if whole and 0 <= int(value) and (limit is None or int(value) < limit):
        return None
    return f"{column!r} must be a whole number from 0{f' to {limit - 1}' if limit else ''}, found {value!r}"
