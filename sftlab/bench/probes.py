"""The nets and data on which trainers are tried for exactness, and how a deviation is said."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from ..data.collate import length_mask, pad
from ..train.task import IGNORE, LossSum, Task, cross_entropy_sum
from .workloads import Ids, seeded

NONE = "no such feature"
SCORES = [0.9, 0.5, 0.7]  # a metric over three evaluations: the least and the greatest are not the last


class Killed(Exception):
    """The run is killed here."""

    def __init__(self, *said):
        super().__init__(*(said or ["killed"]))  # fastai rewrites the message of what passes through it


def said(deviation: float, limit: float = 1e-6, text: str = "off by {:.1e}") -> str:
    """``exact``, or the deviation.

    >>> said(1e-9), said(0.25)
    ('exact', 'off by 2.5e-01')
    """
    return "exact" if deviation <= limit else text.format(deviation)


# Tokens: rows of unequal length with unequal numbers of labels.


def tagger() -> nn.Module:
    """A BERT of width 16 that tags tokens, as transformers has it: given labels, it returns its own mean loss."""
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2,
    )  # fmt: skip
    return seeded(lambda: BertForTokenClassification(config))


def language_model() -> nn.Module:
    """A Llama of width 16; given labels, it returns the mean loss of the next tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    return seeded(lambda: LlamaForCausalLM(config))


def rows_of_text(count: int) -> list[dict]:
    """The rows of unequal length as a language model sees them: every token is its own label."""
    return [{**row, "labels": row["input_ids"]} for row in rows_of_tokens(count)]


def rows_of_tokens(count: int, equal: bool = False) -> list[dict]:
    """Rows of 2 to 18 tokens, every token labelled; ``equal``: rows of 6."""
    generator = torch.Generator().manual_seed(1)
    lengths = [6] * count if equal else [(2, 18, 3, 11)[i % 4] for i in range(count)]
    return [
        {
            "input_ids": torch.randint(1, 50, (n,), generator=generator).tolist(),
            "labels": torch.randint(0, 3, (n,), generator=generator).tolist(),
        }
        for n in lengths
    ]


def collate_tokens(rows: Sequence[dict]) -> dict:
    """Pad to the longest."""
    ids = [row["input_ids"] for row in rows]
    labels = pad([row["labels"] for row in rows], IGNORE)
    return {"input_ids": pad(ids, 0), "attention_mask": length_mask([len(row) for row in ids]), "labels": labels}


def cut(rows: Sequence, size: int, collate=collate_tokens) -> list:
    """Batches of ``size`` in order."""
    return [collate(rows[at : at + size]) for at in range(0, len(rows), size)]


def true_loss(model: nn.Module, rows: Sequence[dict]) -> float:
    """The mean over all labels of a set, one row at a time."""
    total = count = 0.0
    model.eval()
    with torch.no_grad():
        for row in rows:
            batch = collate_tokens([row])
            total += float(F.cross_entropy(model(batch["input_ids"]).logits[0], batch["labels"][0], reduction="sum"))
            count += len(row["labels"])
    return total / count


class Tags(Task):
    """The same rows as a task of sftlab."""

    kind, fewest_labels, label_column = "tags", 0, "labels"

    def label_problem(self, example: dict) -> None:
        return None

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**item, "labels": example["labels"]}

    def collate_labels(self, items) -> torch.Tensor:
        return pad([item["labels"] for item in items], IGNORE)

    def metrics(self, predicted, true) -> dict:
        return {"accuracy": float((predicted == true).float().mean())}


class NextTokens(Tags):
    """Tags that are the following tokens."""

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        return cross_entropy_sum(logits[:, :-1], batch["labels"][:, 1:])


def tags_task(rows: Sequence[dict], cls: type[Tags] = Tags) -> Tags:
    """A task whose training and test rows are ``rows``."""
    examples = [{"ids": row["input_ids"], "labels": row["labels"]} for row in rows]
    return cls({"train": examples, "test": examples}, ["a", "b", "c"], Ids(), "tags")


# Vectors: three classes of vectors with six numbers.


class Dense(nn.Module):
    """6 -> 8 -> 3, with a part whose gradient is NaN while the loss is finite, if asked for."""

    def __init__(self, broken: bool = False):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.bad = nn.Parameter(torch.zeros(3)) if broken else None
        self.head = nn.Linear(8, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        out = self.head(self.trunk(input))
        return out if self.bad is None else out + (self.bad**2).sqrt()  # at 0: value 0, gradient inf * 0


class Normed(nn.Module):
    """A trunk with BatchNorm and a head: [batch, 6] -> [batch, 3]."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.head = nn.Linear(8, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(input))


class Norms(nn.Module):
    """Norms of four kinds under the names that well-known models give them."""

    def __init__(self):
        super().__init__()
        self.ln_1, self.gn1, self.bn1, self.rms = nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.BatchNorm1d(6), nn.RMSNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.rms(self.bn1(self.gn1(self.ln_1(input)))))

    def weights(self) -> dict[str, nn.Parameter]:
        """Name of each norm's weight -> weight."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("head") and "weight" in name}


def vectors(count: int) -> list[dict]:
    """Rows with ``input`` and ``labels``."""
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(2))
    return [{"input": row, "labels": i % 3} for i, row in enumerate(x)]


def collate_vectors(rows: Sequence[dict]) -> dict:
    """One batch; every key of the rows."""
    return {key: torch.stack([torch.as_tensor(row[key]) for row in rows]) for key in rows[0]}


def poisoned(count: int) -> list[dict]:
    """The third batch of 4 has a NaN in it."""
    rows = vectors(count)
    rows[9]["input"] = torch.full((6,), math.nan)
    return rows


class Augmented(Dataset):
    """Vectors under noise that is drawn anew each time, as a random transform of a map-style dataset does."""

    def __init__(self, count: int, noise: float = 1.0):
        self.rows, self.noise = vectors(count), noise

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict:
        row = self.rows[at]
        return {"input": row["input"] + self.noise * torch.randn(6), "labels": row["labels"]}


def mean_loss(model: nn.Module, batch: dict) -> torch.Tensor:
    """Cross-entropy of a batch, tokens or vectors."""
    if "input" in batch:
        return F.cross_entropy(model(batch["input"]), batch["labels"])
    return model(**batch).loss


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def moved(before: dict, after: dict, prefix: str = "") -> float:
    """Greatest change of what begins with ``prefix``."""
    names = [name for name, value in before.items() if name.startswith(prefix) and value.is_floating_point()]
    return max(float((before[name].double() - after[name].double()).abs().max()) for name in names)


def vector_of(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    """All gradients as one vector."""
    return torch.cat([gradients[name].double().flatten() for name in sorted(gradients)])


def nan_tensors(model: nn.Module) -> str:
    """How many tensors of a model hold NaN."""
    bad = [bool(torch.isnan(p).any()) for p in model.parameters()]
    return f"{sum(bad)} of {len(bad)} tensors NaN"


def accumulation(one: tuple, four: tuple) -> str:
    """Compare (gradient, logged loss) of one batch of 8 with that of 4 micro-batches of 2."""
    a, b = one[0], four[0]
    parts = []
    if float((a - b).abs().max()) > 1e-6:
        cosine = float(a @ b / a.norm() / b.norm())
        ratio = float(b.norm() / a.norm())
        parts.append(f"gradient x{ratio:.2f}, cosine {cosine:.3f}")
    if one[1] is not None and abs(one[1] - four[1]) > 1e-4:  # the Trainer rounds what it logs to four digits
        parts.append(f"logged loss x{four[1] / one[1]:.2f}")
    return "; ".join(parts) or "exact"


def evaluation(losses: dict[int, float], true: float) -> str:
    """Compare the loss of a set at several batch sizes with the mean over its labels."""
    if max(abs(loss - true) for loss in losses.values()) < 1e-5:
        return "exact"
    return f"{' / '.join(f'{loss:.3f}' for loss in losses.values())}, true {true:.3f}"


def kept(metric: str, value: float | None, best: float) -> str:
    """What was kept as the best of :data:`SCORES`."""
    if value is None:
        return f"{metric}: {NONE}"
    worst = min(SCORES) if best == max(SCORES) else max(SCORES)
    return f"{metric}: {'right' if value == best else 'the worst' if value == worst else f'{value}'}"


def kept_both(wer: float | None, accuracy: float | None) -> str:
    """P20 for a metric that is better when lower and for one that is better when higher."""
    found = [kept("wer", wer, min(SCORES)), kept("accuracy", accuracy, max(SCORES))]
    return "exact" if all(text.endswith("right") for text in found) else ", ".join(found)


def stopping(straight: int, resumed: int) -> str:
    """P19 from the number of evaluations until early stopping."""
    return "exact" if straight == resumed else f"stops after {resumed} evaluations, not {straight}"


def frozen_norms(trainable: int, gap: float) -> str:
    """P6: tensors of the frozen part that train, and how far its outputs in training are from those in evaluation."""
    parts = [f"{trainable} frozen tensors train"] * (trainable > 0)
    parts += [f"outputs in training differ by {gap:.2f}"] * (gap > 1e-6)
    return "; ".join(parts) or "exact"


def remainder(gap: float, steps: int, counted: int) -> str:
    """P30: accumulation of 2 + 2 + 1 batches against the same samples in whole steps."""
    parts = [f"{counted} steps, not {steps}"] * (counted != steps)
    parts += [f"weights off by {gap:.1e}"] * (gap > 1e-6)
    return "; ".join(parts) or "exact"


def decayed_norms(names: Sequence[str]) -> str:
    """P37: the norms that weight decay shrinks."""
    return f"decays {', '.join(names)}" if names else "exact"
