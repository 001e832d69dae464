"""Measures what data/translator/card.md states: python data/recipes/measure_translator.py

BLEU and chrF of the checkpoint `translator` before and after fine-tuning on cooking (three seeds), on the test sets of
both domains, and of the same architecture trained from scratch for as many steps. Prints a table in Markdown.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import sftlab as sl
from sftlab.sets.pairs import translation_scores, zh_en, zh_en_cooking

FOLDER = Path(__file__).resolve().parents[1] / "translator"
SEEDS = (0, 1, 2)
EPOCHS, BATCH, RATE = 6, 32, 5e-4


def load(folder: Path, pretrained: bool = True, seed: int = 0):
    """The checkpoint in float32, or random weights of its architecture, with tokenizer and limit."""
    torch.manual_seed(seed)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    if not pretrained:
        model = AutoModelForSeq2SeqLM.from_config(model.config, dtype=torch.float32)
    model.tokenizer, model.max_tokens = AutoTokenizer.from_pretrained(folder), 64
    return model.eval()


def scores(model, tasks: dict, batch: int = 50) -> dict[str, dict[str, float]]:
    """BLEU and chrF on the test and compositions split of every task, by greedy decoding."""
    out = {}
    for name, task in tasks.items():
        for split in ("test", "compositions"):
            rows = task.examples(split)
            made = sl.generate(model, [row["zh"] for row in rows], max_new_tokens=48, batch=batch)
            out[f"{name} {split}"] = translation_scores(made, [row["en"] for row in rows])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--rate", type=float, default=RATE)
    asked = parser.parse_args()
    sl.start(seed=0)
    tasks = {"general": zh_en(), "cooking": zh_en_cooking()}
    table = {"pretrained": [scores(load(asked.folder), tasks)], "fine-tuned": [], "from scratch": []}
    for seed in asked.seeds:
        for name in ("fine-tuned", "from scratch"):
            model, begin = load(asked.folder, name == "fine-tuned", seed), time.perf_counter()
            rate = asked.rate if name == "fine-tuned" else 1e-3
            plan = sl.full(epochs=asked.epochs, lr=rate, head_lr=None)
            run = sl.fit(model, tasks["cooking"], plan, batch=BATCH, seed=seed, validate=None, show=False)
            table[name].append(scores(model, tasks))
            took = time.perf_counter() - begin
            print(f"{name}, seed {seed}: {run.cost.seconds:.0f} s, with the tests {took:.0f} s", flush=True)
    columns = list(table["pretrained"][0])
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, runs in table.items():
        for metric in ("bleu", "chrf"):
            values = [[run[column][metric] for run in runs] for column in columns]
            spread = ["" if len(v) < 2 else f" ± {statistics.stdev(v):.1f}" for v in values]
            cells = [f"{statistics.mean(v):.1f}{s}" for v, s in zip(values, spread, strict=True)]
            print(f"| {name}, {metric} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
