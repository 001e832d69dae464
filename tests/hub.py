"""A local cache of the Hugging Face hub: small random models under well-known names, laid out as the hub lays them out.

The classes, the names of the weights, the prefixes and the quirks of the tokenizers are those of the true repositories
(BERT's ``gamma`` and ``beta``, a language model without pad token, one whose pad is its end); the sizes are not.
"""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sftlab.sets.hub import PINS

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    "google-bert/bert-base-uncased",
    "distilbert/distilbert-base-uncased",
    "Helsinki-NLP/opus-mt-zh-en",
    "HuggingFaceTB/SmolLM2-135M",
    "Qwen/Qwen2.5-0.5B",
    "microsoft/resnet-18",
]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def layout(cache: Path, *names: str) -> Path:
    """Write the models of these names (default: all) into ``cache``, which HF_HUB_CACHE should name."""
    for name in names or NAMES:
        folder = snapshot(cache, name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            MAKERS[name](folder)
    return cache


def snapshot(cache: Path, name: str, files: dict[str, bytes] | None = None) -> Path:
    """The folder of a repository's one revision, with ``refs/main`` that points to it."""
    commit = PINS.get(name) or hashlib.sha1(name.encode()).hexdigest()
    repository = Path(cache) / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    for file, content in (files or {}).items():
        (folder / file).write_bytes(content)
    return folder


def use(monkeypatch, cache: Path) -> None:
    """Read this cache and nothing else, in this process and in children; ask for the full profile."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    monkeypatch.setenv("SFTLAB_CACHE", str(cache / "sftlab"))


def serve(web, folder: Path, name: str) -> str:
    """Put a repository on a server of files, as the hub answers; returns its commit."""
    commit = folder.name
    web.headers[f"{name}/"] = {"X-Repo-Commit": commit}
    tree = []
    for path in sorted(folder.iterdir()):
        web.files[f"{name}/resolve/{commit}/{path.name}"] = content = path.read_bytes()
        tree.append({"type": "file", "path": path.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()})
    web.files[f"api/models/{name}/tree/{commit}"] = json.dumps(tree).encode()
    return commit


def texts() -> list[str]:
    """Texts of the course, for vocabularies."""
    rows = []
    for path, column in (("headlines/train.csv", "text"), ("zh_en/general/train.csv", "en")):
        with open(ROOT / "data" / path, encoding="utf-8", newline="") as f:
            rows += [row[column] for row in csv.DictReader(f)]
    return rows[:1500]


def rewrite(folder: Path, change) -> None:
    """Change the names of the weights in model.safetensors: ``change(name)`` gives the new one, None drops it."""
    file = folder / "model.safetensors"
    weights = {new: value.clone() for old, value in load_file(file).items() if (new := change(old))}
    save_file(weights, file, {"format": "pt"})


def old_norms(name: str) -> str:
    """BERT's file of 2018 calls the weight of a norm gamma and its bias beta."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def word_pieces(folder: Path) -> int:
    """An uncased WordPiece tokenizer as BERT's; returns the number of its tokens."""
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=special, show_progress=False)
    inner.train_from_iterator(texts(), trainer)
    ends = [(token, inner.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    inner.save(str(folder / "tokenizer.json"))
    vocabulary = inner.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}))
    return len(vocabulary)


def byte_pairs(folder: Path, special: list[str], config: dict) -> int:
    """A byte-level BPE tokenizer, its special tokens first (as SmolLM2's) or last (as Qwen's)."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    first = special if config["tokenizer_class"] == "GPT2Tokenizer" else []
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=first, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(texts(), trainer)
    inner.add_special_tokens(special)
    inner.save(str(folder / "tokenizer.json"))
    learnt = json.loads(inner.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(learnt["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = [" ".join(merge) for merge in learnt["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    added = {
        str(inner.token_to_id(token)): {"content": token, "special": True, "normalized": False, "single_word": False,
                                        "lstrip": False, "rstrip": False}
        for token in special
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": added}))
    return inner.get_vocab_size()


def bert(folder: Path) -> None:
    from transformers import BertConfig, BertForPreTraining

    tokens = word_pieces(folder)
    config = BertConfig(
        vocab_size=tokens, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512,
    )  # fmt: skip
    BertForPreTraining(config).save_pretrained(folder)
    rewrite(folder, old_norms)


def distilbert(folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    tokens = word_pieces(folder)
    config = DistilBertConfig(
        vocab_size=tokens, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=512
    )
    DistilBertForMaskedLM(config).save_pretrained(folder)


def marian(folder: Path) -> None:
    """The true repository has two SentencePiece files and needs that package; this one has the course's tokenizer."""
    from transformers import MarianConfig, MarianMTModel

    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "data" / "translator" / file, folder)
    tokens = json.loads((ROOT / "data" / "translator" / "config.json").read_text())["vocab_size"]
    config = MarianConfig(
        vocab_size=tokens, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=512,
        activation_function="swish", scale_embedding=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        bos_token_id=None, forced_eos_token_id=None,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")  # the true one has no safetensors
    (folder / "model.safetensors").unlink()


def smollm2(folder: Path) -> None:
    """A base model: one token is beginning, end and unknown; none is padding; there is no chat template."""
    from transformers import LlamaConfig, LlamaForCausalLM

    end = "<|endoftext|>"
    special = [end, "<|im_start|>", "<|im_end|>", "<repo_name>", "<empty_output>"]
    config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": end, "eos_token": end, "unk_token": end,
              "add_prefix_space": False, "model_max_length": 8192, "clean_up_tokenization_spaces": False}  # fmt: skip
    tokens = byte_pairs(folder, special, config)
    config = LlamaConfig(
        vocab_size=tokens, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def qwen2(folder: Path) -> None:
    """A base model with a chat template; its pad token is its end token; more rows in the embedding than tokens."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    end = "<|endoftext|>"
    special = [end, "<|im_start|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>"]
    config = {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": end, "pad_token": end,
              "unk_token": None, "model_max_length": 131072, "clean_up_tokenization_spaces": False,
              "chat_template": CHATML}  # fmt: skip
    tokens = byte_pairs(folder, special, config)
    config = Qwen2Config(
        vocab_size=tokens + 24, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokens - len(special),
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)


def resnet(folder: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=1000)
    ResNetForImageClassification(config).save_pretrained(folder)
    facts = {"crop_pct": 0.875, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
             "size": {"shortest_edge": 224}}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))


MAKERS = dict(zip(NAMES, (bert, distilbert, marian, smollm2, qwen2, resnet), strict=True))
