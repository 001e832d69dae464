"""The checkpoint `translator`, Chinese to English: python data/recipes/translator.py

Trains a tokenizer and a small Marian model on the general pairs of data/zh_en: the written ones many times, and many
grammar rows. Nothing of the cooking domain is read, of no split. Seeded, and as long as STEPS says, not as long as
a clock says: the same machine and versions give the same weights, others give weights whose measured transfer is within
the spread that data/translator/card.md states (python data/recipes/measure_translator.py).
"""

import argparse
import hashlib
import json
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent))
from zh_en import Domain

FOLDER = Path(__file__).resolve().parents[1] / "translator"
SEED = 0
STEPS, BATCH = 4000, 64  # optimizer steps, pairs in each
MADE = {"grammar": 60_000, "variation": 40_000}  # rows that are made for training
SHARE = {"written": 0.3, "variation": 0.2, "grammar": 0.5}  # of a batch
RATE, WARMUP, SMOOTHING = 1e-3, 300, 0.1
ENGLISH_TOKENS = 1800
MAX_TOKENS = 64
PENALTY = -15.0
SPECIAL = ["<pad>", "</s>", "<unk>"]


def common_characters() -> list[str]:
    """The 3,755 most common Chinese characters (level 1 of the standard GB 2312), so that a new domain meets characters
    and not bytes."""
    codes = [bytes([row, column]) for row in range(0xB0, 0xD8) for column in range(0xA1, 0xFF)]
    return [code.decode("gb2312") for code in codes[:-5]]  # the last five places of level 1 are empty


def make_tokenizer(rows: list[dict]) -> PreTrainedTokenizerFast:
    """One vocabulary for both languages: Chinese by character, English by BPE with its spaces, bytes for the rest."""
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace(prepend_scheme="never", split=False),
        pre_tokenizers.Split(Regex("▁?[A-Za-z']+|▁?[^A-Za-z]"), "isolated"),
    ])  # fmt: skip
    letters = sorted({chr(code) for code in range(33, 127)} | {"▁"})
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = split
    trainer = trainers.BpeTrainer(vocab_size=ENGLISH_TOKENS, initial_alphabet=letters, show_progress=False)
    inner.train_from_iterator([row["en"] for row in rows], trainer)
    learnt = json.loads(inner.to_str())["model"]
    characters = sorted(set(common_characters()) | {c for row in rows for c in row["zh"]} - set(learnt["vocab"]))
    tokens = (
        SPECIAL
        + [f"<0x{byte:02X}>" for byte in range(256)]
        + sorted(learnt["vocab"], key=learnt["vocab"].get)
        + characters
    )
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    merges = [tuple(merge) for merge in learnt["merges"]]
    inner = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = split
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " ")])
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    pad, eos, unk = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=pad, eos_token=eos, unk_token=unk,
                                   model_max_length=MAX_TOKENS, clean_up_tokenization_spaces=False)  # fmt: skip


def make_model(tokens: int, english: int, dropout: float = 0.1) -> MarianMTModel:
    """Random weights: three layers on each side, one embedding for source, target and output. Tokens from ``english``
    on have a penalty on their logit (Marian's ``final_logits_bias``), for as an output they are not trained."""
    config = MarianConfig(
        vocab_size=tokens, d_model=192, encoder_layers=3, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=512, decoder_ffn_dim=512, max_position_embeddings=MAX_TOKENS,
        activation_function="relu", dropout=dropout, attention_dropout=0.0, activation_dropout=0.0, init_std=0.07,
        scale_embedding=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, bos_token_id=None,
        forced_eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(SEED)
    model = MarianMTModel(config)
    model.final_logits_bias[0, english:] = PENALTY
    return model


def batches(rows: dict[str, list], steps: int, rng) -> list[list]:
    """``steps`` batches of (source ids, target ids), mixed by SHARE; each of like lengths, to pad little."""
    streams = []
    for kind, share in SHARE.items():
        per_step = round(share * BATCH)
        rounds = -(-steps * per_step // len(rows[kind]))
        order = np.concatenate([rng.permutation(len(rows[kind])) for _ in range(rounds)])[: steps * per_step]
        streams.append([[rows[kind][i] for i in part] for part in order.reshape(steps, per_step)])
    out = []
    for start in range(0, steps, 16):
        chunk = [row for stream in streams for part in stream[start : start + 16] for row in part]
        chunk.sort(key=lambda row: (len(row[1]), len(row[0])))
        cut = [chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH)]
        out += [cut[i] for i in rng.permutation(len(cut))]
    return out


def padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """int64 [rows, longest]."""
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def loss_of(model, batch: list, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy per target token. The decoder reads the start token, which is pad, and the target.

    Targets are English, whose tokens come first in the vocabulary: only their logits are computed, a third of the cost.
    """
    source, labels = padded([row[0] for row in batch], 0), padded([row[1] for row in batch], -100)
    read = padded([[0, *row[1][:-1]] for row in batch], 0)
    seen = (source != 0).long()
    hidden = model.model(input_ids=source, attention_mask=seen, decoder_input_ids=read, use_cache=False)[0]
    logits = hidden @ model.lm_head.weight[: english_tokens(model)].T
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing, ignore_index=-100)


def english_tokens(model) -> int:
    """How many tokens come before the first Chinese character: those without a penalty on their logit."""
    return int((model.final_logits_bias == 0).sum())


def train(model, rows: list[list], rate: float = RATE) -> None:
    """One step per batch: AdamW, a linear warm-up, then down to zero in a line."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    begin, total, steps = time.perf_counter(), 0.0, len(rows)
    model.train()
    warm = min(WARMUP, steps // 5)
    for step, batch in enumerate(rows):
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / warm, (steps - step) / (steps - warm))
        loss = loss_of(model, batch, SMOOTHING)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:5d}  loss {total / 100:.3f}  {time.perf_counter() - begin:.0f} s", flush=True)
            total = 0.0
    model.eval()


def general() -> dict[str, list[dict]]:
    """Rows of general training: written, grammar, variation."""
    domain = Domain("general")
    streams = {"grammar": domain.rows(), "variation": domain.variations()}
    return {"written": domain.written["train"]} | {kind: list(islice(streams[kind], n)) for kind, n in MADE.items()}


def encode(tokenizer, rows: list[dict]) -> list[tuple[list[int], list[int]]]:
    """(source ids, target ids), both with EOS."""
    zh, en = (tokenizer([row[side] for row in rows])["input_ids"] for side in ("zh", "en"))
    return list(zip(zh, en, strict=True))


def save(model, tokenizer, folder: Path, seconds: float, steps: int) -> None:
    """Weights in half precision, tokenizer, and asset.json with their sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.float()
    (folder / "model.safetensors").chmod(0o644)
    files = sorted(path for path in folder.iterdir() if path.name not in ("asset.json", "card.md"))
    facts = {
        "tasks": ["sequence to sequence"], "architecture": "MarianMTModel",
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "vocabulary": len(tokenizer), "max_tokens": MAX_TOKENS, "steps": steps, "seconds": round(seconds),
        "source": f"zh_en, general training: written, {MADE['grammar']:,} of grammar, {MADE['variation']:,} variations",
        "recipe": "python data/recipes/translator.py",
        "versions": {library.__name__: library.__version__ for library in (torch, transformers, tokenizers)},
    }  # fmt: skip
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    about = {
        "name": "translator",
        "kind": "checkpoint",
        "title": "Chinese to English, pretrained on everyday sentences",
    }
    text = json.dumps(about | {"facts": facts, "files": digests}, indent=2)
    (folder / "asset.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="fewer for a try")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    begin = time.perf_counter()
    torch.set_num_threads(2)
    rows = general()
    print({kind: len(found) for kind, found in rows.items()}, f"{time.perf_counter() - begin:.0f} s", flush=True)
    tokenizer = make_tokenizer(rows["written"] * 3 + rows["grammar"][:8000])
    first = min(number for token, number in tokenizer.get_vocab().items() if "一" <= token <= "鿿")
    model = make_model(len(tokenizer), english=first)
    ids = {kind: encode(tokenizer, found) for kind, found in rows.items()}
    train(model, batches(ids, asked.steps, np.random.default_rng(SEED)))
    save(model, tokenizer, asked.out, time.perf_counter() - begin, asked.steps)


if __name__ == "__main__":
    main()
