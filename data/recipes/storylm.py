"""The checkpoint `storylm`, a small causal language model: python data/recipes/storylm.py

Trains a BPE tokenizer and a Llama of four layers on the text of data/stories (python data/recipes/stories.py makes it).
It reads no question and no instruction. Seeded: the same machine, threads and versions give the same weights. About
seventy minutes on one thread (OMP_NUM_THREADS=1).
"""

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

DATA = Path(__file__).resolve().parents[1]
FOLDER = DATA / "storylm"
SEED = 0
PASSES = 10  # over the text
BATCH, TOKENS = 16, 128  # rows of a step, tokens of a row
RATE, WARMUP = 2e-3, 100
VOCABULARY = 4096
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|> {{ message.content }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def lines(split: str) -> list[str]:
    return (DATA / "stories" / f"{split}.txt").read_text(encoding="utf-8").splitlines()


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """BPE over bytes: words with the space before them, and every number a token.

    The tokens of the roles stand in the vocabulary, and no text has them: they are reserved for fine-tuning.
    """
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r" ?[A-Za-z']+| ?\d+| ?[^\sA-Za-z\d]|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    inner.train_from_iterator(texts, trainer)
    pad, bos, eos, *roles = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=pad, bos_token=bos, eos_token=eos, additional_special_tokens=roles,
        model_max_length=TOKENS, clean_up_tokenization_spaces=False, chat_template=TEMPLATE,
    )  # fmt: skip


def make_model(tokens: int) -> LlamaForCausalLM:
    """Random weights: four layers, width 192, six heads, one matrix for input and output tokens."""
    torch.manual_seed(SEED)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=tokens, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=TOKENS, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, attn_implementation="sdpa",
    ))  # fmt: skip


def rows_of(documents: list[list[int]], rng) -> torch.Tensor:
    """int64 [rows, TOKENS + 1]: documents in a new order, one after the other, cut into rows."""
    flat = [token for i in rng.permutation(len(documents)) for token in (1, *documents[i], 2)]
    count = (len(flat) - 1) // TOKENS
    return torch.tensor([flat[i * TOKENS : (i + 1) * TOKENS + 1] for i in range(count)])


def loss_of(model, rows: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy per token."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def train(model, tokenizer, texts: list[str], passes: int) -> int:
    """AdamW, a linear warm-up, then a cosine down to a twentieth. Returns the number of steps."""
    rng = np.random.default_rng(SEED)
    documents = tokenizer(texts, add_special_tokens=False)["input_ids"]
    batches = [batch for _ in range(passes) for batch in rows_of(documents, rng).split(BATCH)]
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    begin, total = time.perf_counter(), 0.0
    model.train()
    for step, batch in enumerate(batches):
        down = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP, down)
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - begin
            print(f"step {step + 1:5d} of {len(batches)}  loss {total / 50:.3f}  {seconds:.0f} s", flush=True)
            total = 0.0
    for weight in model.parameters():  # what the file holds
        weight.data = weight.data.half().float()
    model.eval()
    return len(batches)


@torch.no_grad()
def perplexity(model, tokenizer, texts: list[str]) -> float:
    """Exp of the mean loss per token of documents, each with its end, each read by itself."""
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2][: TOKENS + 1]])
        total += float(loss_of(model, ids)) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return math.exp(total / count)


def save(model, tokenizer, folder: Path, facts: dict) -> None:
    """Weights in half precision, tokenizer, and asset.json with their sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.float()
    (folder / "model.safetensors").chmod(0o644)
    files = sorted(path for path in folder.iterdir() if path.name not in ("asset.json", "card.md"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    about = {"name": "storylm", "kind": "checkpoint", "title": "A small language model of stories, facts and sums"}
    text = json.dumps(about | {"facts": facts, "files": digests}, indent=2)
    (folder / "asset.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=PASSES, help="fewer for a try")
    parser.add_argument("--documents", type=int, help="fewer for a try")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    begin = time.perf_counter()
    texts = lines("train")[: asked.documents]
    tokenizer = make_tokenizer(texts)
    model = make_model(len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} tokens", flush=True)
    steps = train(model, tokenizer, texts, asked.passes)
    held_out = perplexity(model, tokenizer, lines("test"))
    print(f"perplexity of the test documents {held_out:.3f}")
    save(model, tokenizer, asked.out, {
        "tasks": ["causal language modelling"], "architecture": "LlamaForCausalLM",
        "parameters": sum(p.numel() for p in model.parameters()), "vocabulary": len(tokenizer), "max_tokens": TOKENS,
        "steps": steps, "seconds": round(time.perf_counter() - begin), "perplexity": round(held_out, 3),
        "source": f"stories, train, {asked.passes} times", "recipe": "python data/recipes/storylm.py",
        "versions": {library.__name__: library.__version__ for library in (torch, transformers, tokenizers)},
    })  # fmt: skip


if __name__ == "__main__":
    main()
