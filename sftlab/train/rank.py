"""Recommendation: which items a user takes next."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..data.batching import mix
from ..errors import SftlabError, bad_data
from .task import LossSum, Task
from .values import Reading

CHUNK = 1024  # items scored at once against all users of a batch


@dataclass(frozen=True)
class UserInput:
    """The number of a user; the model is called with ``user`` [batch] and ``item`` [batch, candidates]."""

    column: str = "user"
    users: int | None = None

    def problems(self, example: dict) -> str | None:
        return whole(example.get(self.column), self.column, self.users)

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        return [{"user": int(example[self.column])} for example in examples]

    def length(self, item: dict) -> None:
        return None

    def collate(self, items: Sequence[dict], model) -> dict:
        return {"user": torch.tensor([item["user"] for item in items])}


class Rank(Task):
    """Two towers: the item that a user took is to score above items that the user did not take.

    Each example draws its own negatives, uniformly, from the items that its user has not taken in training: never the
    other items of the batch, which would make the loss depend on the company. Evaluation draws the same ones always.

    Args:
        splits: ``{"user": 3, "item": 17}``.
        items: number of items, or their features [items, width], which the model then gets instead of numbers.
        negatives: drawn for each example.
        loss: ``"softmax"`` over the item and its negatives, or ``"bpr"``, the mean over the negatives of
            ``-log sigmoid(score - score of the negative)``.
        users: number of users, to check the data; optional.

    The model is called as ``model(user=[B], item=[B, n])`` and gives scores [B, n], each a function of its own pair.

    Raises:
        BadData: users or items that do not exist, users who took everything; with split and index.

    Source: Rendle et al. (2009), BPR; Jean et al. (2015), sampled softmax.

    >>> task = Rank({"train": [{"user": 0, "item": 2}]}, items=4, negatives=5)
    >>> 2 in task.candidates([(0, 2)], seeds=[7])[0, 1:]
    False
    """

    kind = "recommendation"
    metric_names = ("recall_at_10", "ndcg_at_10")
    fewest_labels = 0
    draws = True
    label_column = "item"

    def __init__(self, splits, items, negatives: int = 20, loss: str = "softmax", users=None, name: str = "own data"):
        self.features = items if isinstance(items, torch.Tensor) else None
        self.count, self.negatives, self.bpr = (
            len(items) if self.features is not None else items,
            negatives,
            loss == "bpr",
        )
        if loss not in ("softmax", "bpr") or negatives < 1:
            raise bad_data(name, [f"loss must be 'softmax' or 'bpr' and negatives at least 1: {loss!r}, {negatives}"])
        super().__init__(splits, [], UserInput(users=users), name)
        self.taken = defaultdict(set)
        for example in self.splits.get("train", ()):
            self.taken[int(example["user"])].add(int(example["item"]))
        full = [
            f"{split}[{i}]: user {x['user']} has taken all {self.count} items: nothing to compare with"
            for split, examples in self.splits.items()
            for i, x in enumerate(examples)
            if len(self.taken[int(x["user"])] | {int(x["item"])}) == self.count
        ]
        if full:
            raise bad_data(name, full)

    def label_problem(self, example: dict) -> str | None:
        return whole(example.get("item"), "item", self.count)

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**item, "labels": int(example["item"])}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return torch.tensor([item["labels"] for item in items])

    def collate(self, items: Sequence[dict], model) -> dict:
        return {**super().collate(items, model), "pairs": [(item["user"], item.get("labels")) for item in items]}

    def candidates(self, pairs: Sequence[tuple[int, int]], seeds: Sequence[int]) -> torch.Tensor:
        """[batch, 1 + negatives]: the item, then what its seed draws (with replacement)."""
        rows = []
        for (user, item), seed in zip(pairs, seeds, strict=True):
            without = torch.tensor(sorted(self.taken[user] | {item}))
            draw = torch.Generator().manual_seed(seed)
            free = torch.randint(self.count - len(without), (self.negatives,), generator=draw)
            # The n-th item that is not in `without`: n, and one more for each of those before it.
            free += torch.searchsorted(without - torch.arange(len(without)), free, right=True)
            rows.append(torch.cat([torch.tensor([item]), free]))
        return torch.stack(rows)

    def _drawn(self, batch: dict) -> torch.Tensor:
        seeds = batch.get("seeds") or [mix(0, index, 1) for index in batch["index"]]
        return self.candidates(batch["pairs"], seeds).to(batch["labels"].device)

    def _scores(self, model, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        given = item if self.features is None else self.features.to(item.device)[item]
        scores = model(user=user, item=given)
        if scores.shape != item.shape:
            raise SftlabError(f"the model gave {list(scores.shape)} for {list(item.shape)} pairs")
        return scores

    def loss(self, model, batch: dict) -> LossSum:
        return self._loss(self._scores(model, batch["inputs"]["user"], self._drawn(batch)))

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        return self._loss(logits.gather(1, self._drawn(batch)))

    def _loss(self, scores: torch.Tensor) -> LossSum:
        scores = scores.float()
        each = (
            -F.logsigmoid(scores[:, :1] - scores[:, 1:]).mean(dim=1) if self.bpr else -scores.log_softmax(dim=1)[:, 0]
        )
        return LossSum(each.sum(), torch.tensor(len(each), device=each.device))

    def logits(self, model, batch: dict) -> torch.Tensor:
        """Scores of all items, [batch, items]."""
        user = batch["inputs"]["user"]
        parts = torch.arange(self.count, device=user.device).split(CHUNK)
        return torch.cat([self._scores(model, user, part.expand(len(user), -1)) for part in parts], dim=1)

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        """(rank of the item among those that its user has not taken in training, from 1; the item)."""
        scores = logits.float().cpu()
        for row, (user, item) in zip(scores, batch["pairs"], strict=True):
            row[list(self.taken[user] - {item})] = -torch.inf
        labels = batch["labels"].cpu()
        # Equal scores count against the item: a model that says the same of everything finds nothing.
        return (scores >= scores.gather(1, labels[:, None])).sum(dim=1), labels

    def metrics(self, predicted, true) -> dict[str, float]:
        """Share of examples whose item is among the first ten, and the same with 1 / log2(1 + rank) for 1."""
        found = predicted <= 10
        return {
            "recall_at_10": float(found.double().mean()),
            "ndcg_at_10": float((found / (predicted + 1).double().log2()).mean()),
        }

    def read(self, item: dict, row: torch.Tensor) -> Reading:
        """The ten best items that the user has not taken in training."""
        row = row.float().clone()
        row[list(self.taken[item["user"]])] = -torch.inf
        return Reading(row.topk(min(10, self.count - len(self.taken[item["user"]]))).indices.tolist())


def whole(value, name: str, limit: int | None) -> str | None:
    """What keeps a value from being a number from 0 to below ``limit``, or None."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 0:
        return f"{name!r} must be a whole number from 0 on, found {value!r}"
    return None if limit is None or int(value) < limit else f"{name!r} {value} is not below {limit}, their number"
