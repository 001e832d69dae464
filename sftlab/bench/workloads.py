"""What the peers are timed on: five trainings, each with a seeded model, a task and a plan.

Everything is made here or bundled, dropout is off (each library draws its masks in its own way), and equal calls
give equal weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..data.collate import length_mask, pad
from ..model.loading import load
from ..sets.catalog import task as task_by_name
from ..tasks.classify import Classify
from ..tasks.inputs import TensorInput
from ..tasks.language import CausalLM
from ..train.plan import Plan, full, head_only, last_k
from ..train.task import IGNORE, Task


@dataclass(frozen=True)
class Work:
    """One workload.

    Attributes:
        make: gives (model, task); equal weights and data each time.
        plan: one stage; peers take rates, decay, warm-up and clipping from it.
        head: prefix of the head's parameters.
        trained: prefixes of what trains; ``("",)`` is everything.
        causal: a language model of transformers, which computes its own loss.
        norms: the frozen part has BatchNorm, so it matters whether it is in eval mode.
    """

    name: str
    make: Callable[[], tuple[nn.Module, Task]]
    plan: Plan
    batch: int
    head: str = "head."
    trained: tuple[str, ...] = ("",)
    causal: bool = False
    norms: bool = False

    @property
    def frozen(self) -> bool:
        """True if a part of the model does not train."""
        return self.trained != ("",)

    def logits(self, model: nn.Module, batch: dict) -> torch.Tensor:
        """The model's outputs for a flat batch (inputs and labels in one dict)."""
        if "input" in batch:
            return model(batch["input"])
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return getattr(outputs, "logits", outputs)

    def mean_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over the labels of a batch, as users of every peer write it."""
        logits = getattr(logits, "logits", logits)
        if self.causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORE)

    def loss(self, model: nn.Module, batch: dict) -> torch.Tensor:
        """The loss of a flat batch."""
        return self.mean_loss(self.logits(model, batch), batch["labels"])


def workloads(quick: bool = False) -> list[Work]:
    """The five workloads; ``quick`` has the same models with two or three small steps, to see that everything runs.

    >>> [work.name for work in workloads(quick=True)][0]
    'MLP on cached features'
    """
    n, batch = (10, 4) if quick else (320, 32)
    images, side = (10, 32) if quick else (256, 64)
    shared, image = {"batch": batch}, {"head": "fc.", "norms": True}
    return [
        Work("MLP on cached features", lambda: mlp(n), full(epochs=1 if quick else 30, lr=1e-3), **shared),
        Work("MiniLM, headlines", lambda: minilm(n), full(epochs=1), **shared),
        Work(
            "ResNet-18, head only",
            lambda: resnet(images, side),
            head_only(epochs=1 if quick else 2, lr=1e-2),
            trained=("fc.",),
            **shared,
            **image,
        ),
        Work(
            "ResNet-18, last block",
            lambda: resnet(images, side),
            last_k(1, epochs=1 if quick else 2, lr=1e-4),
            trained=("layer4.", "fc."),
            **shared,
            **image,
        ),
        Work(
            "causal LM, completion only",
            lambda: causal_lm(n // 2 if not quick else n),
            # Adam magnifies rounding where a gradient is near its epsilon (1e-8), in proportion to the rate.
            full(epochs=1 if quick else 2, lr=5e-5, head_lr=None),
            head="lm_head.",
            causal=True,
            batch=batch // 2,
        ),
    ]


def whole_runs(quick: bool = False) -> list[Work]:
    """The two trainings with a frozen trunk that each library runs at its best, with a validation split."""
    n, val, side, batch = (12, 8, 32, 4) if quick else (384, 256, 96, 32)
    head = head_only(epochs=2 if quick else 10, lr=3e-3)
    last2 = last_k(2, epochs=1 if quick else 5)
    return [
        Work("ResNet-18, head only, whole run", lambda: resnet(n, side, val), head, batch, "fc.", ("fc.",), norms=True),
        Work(
            "MiniLM, last 2 layers, whole run",
            lambda: minilm(n if quick else None, dropout=True),
            last2,
            batch,
            trained=("trunk.encoder.layer.4.", "trunk.encoder.layer.5.", "head."),
        ),
    ]


class Mlp(nn.Module):
    """384 -> 512 -> 512 -> 3: where the loop's own cost shows."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(384, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU())
        self.head = nn.Linear(512, 3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(input))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A model from seed 0; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def mlp(samples: int) -> tuple[nn.Module, Task]:
    """Vectors of 384 numbers and three classes."""
    x = torch.randn(samples, 384, generator=torch.Generator().manual_seed(0))
    examples = [{"input": row, "label": i % 3} for i, row in enumerate(x)]
    return seeded(Mlp), Classify({"train": examples}, ["a", "b", "c"], TensorInput(), name="vectors")


def minilm(samples: int | None, dropout: bool = False) -> tuple[nn.Module, Task]:
    """The bundled headlines, with their real spread of lengths."""
    task = task_by_name("headlines")
    task.splits["train"] = task.splits["train"][:samples]
    model = load("minilm", task, seed=0)
    return model if dropout else without_dropout(model), task


def without_dropout(model: nn.Module) -> nn.Module:
    """Dropout off for good: its masks would differ between libraries, and with them the weights."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def resnet(samples: int, side: int, val: int = 0) -> tuple[nn.Module, Task]:
    """ResNet-18 with random weights and settled BatchNorm statistics, on gratings of four directions under noise."""
    from torchvision.models import resnet18

    model = seeded(lambda: resnet18(weights=None, num_classes=4))
    examples = [grating(i, side) for i in range(samples + val)]
    model.train()
    with torch.no_grad():  # a pretrained trunk has statistics of real images, not mean 0 and variance 1
        for _ in range(10 if samples > 32 else 2):
            model(torch.stack([example["input"] for example in examples[:64]]))
    splits = {"train": examples[:samples], **({"val": examples[samples:]} if val else {})}
    return model.eval(), Classify(splits, ["-", "/", "|", "\\"], TensorInput(), name="gratings")


def grating(index: int, side: int) -> dict:
    """One image: stripes in the direction of its class, random phase and width, under noise half as strong."""
    generator = torch.Generator().manual_seed(index)
    label = index % 4
    phase, period = torch.rand(2, generator=generator).tolist()
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    along = [y, (x + y) / 2**0.5, x, (x - y) / 2**0.5][label]
    wave = torch.sin(2 * torch.pi * (along / (6 + 6 * period) + phase))
    return {"input": wave.expand(3, -1, -1) + torch.randn(3, side, side, generator=generator) / 2, "label": label}


class Ids:
    """Token ids that are there already."""

    column, pack = "ids", False

    def problems(self, example: dict) -> str | None:
        return None if example.get("ids") else "'ids' is empty"

    def encode(self, examples, model) -> list[dict]:
        return [{"input_ids": example["ids"]} for example in examples]

    def length(self, item: dict) -> int:
        return len(item["input_ids"])

    def collate(self, items, model) -> dict:
        rows = [item["input_ids"] for item in items]
        return {"input_ids": pad(rows, 0), "attention_mask": length_mask([len(row) for row in rows])}

    def call(self, model, inputs: dict):
        return model(**inputs)


class Completion(CausalLM):
    """Learn what follows the prompt, of ids that need no tokenizer: ``{"ids": [...], "prompt": 8}``."""

    def __init__(self, splits):
        Task.__init__(self, splits, (), Ids(), "completions")

    def label_problem(self, example: dict) -> str | None:
        return None if 0 < example["prompt"] < len(example["ids"]) else "nothing follows the prompt"

    def add_labels(self, item: dict, example: dict) -> dict:
        prompt = example["prompt"]
        return {**item, "labels": [IGNORE] * prompt + list(example["ids"][prompt:])}


def causal_lm(samples: int) -> tuple[nn.Module, Task]:
    """A Llama of about 3 million parameters; prompts of 8 to 24 tokens, completions of 8 to 72."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=2048, hidden_size=192, intermediate_size=512, num_hidden_layers=5, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    examples = []
    for _ in range(samples):
        prompt, rest = (int(torch.randint(low, high, (), generator=generator)) for low, high in ((8, 25), (8, 73)))
        ids = torch.randint(3, 2048, (prompt + rest,), generator=generator).tolist()
        examples.append({"ids": ids, "prompt": prompt})
    return seeded(lambda: LlamaForCausalLM(config)).eval(), Completion({"train": examples})
