"""A local cache of the Hugging Face hub, as its client leaves one, with small random models under the true names."""

import shutil
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from sftlab.sets import headlines

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRANSLATOR = Path(__file__).resolve().parents[1] / "data" / "translator"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def words() -> list[str]:
    """Texts to make a vocabulary of."""
    return [row["text"] for row in headlines.splits()["train"]]


def word_pieces(folder: Path, kind: str) -> None:
    """A WordPiece tokenizer of BERT's kind."""
    trainer = trainers.WordPieceTrainer(
        vocab_size=600, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    )
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator((text.lower() for text in words()), trainer)
    vocabulary = {word: number for word, number in made.get_vocab().items()}
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)), encoding="utf-8")
    getattr(transformers, kind).from_pretrained(folder).save_pretrained(folder)


def bytes_pairs(folder: Path, kind: str) -> None:
    """A byte-level BPE tokenizer with a chat template; the end of a turn is EOS, padding is another token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(words(), trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=512
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)


def bert(folder: Path) -> None:
    word_pieces(folder, "BertTokenizerFast")
    size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertForPreTraining(transformers.BertConfig(vocab_size=600, **size)).save_pretrained(folder)


def distilbert(folder: Path) -> None:
    word_pieces(folder, "DistilBertTokenizerFast")
    config = transformers.DistilBertConfig(vocab_size=600, dim=32, n_layers=3, n_heads=2, hidden_dim=64)
    transformers.DistilBertForMaskedLM(config).save_pretrained(folder)


def marian(folder: Path) -> None:
    for file in TRANSLATOR.iterdir():
        if file.name not in ("model.safetensors", "card.md", "asset.json", "config.json", "generation_config.json"):
            shutil.copy(file, folder)
    config = transformers.MarianConfig.from_pretrained(TRANSLATOR)
    config.update({"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": 2})
    config.update({"decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2})
    model = transformers.MarianMTModel(config)
    model.generation_config.update(bad_words_ids=[[config.pad_token_id]])  # as the Helsinki models say
    model.save_pretrained(folder)


def llama(folder: Path, kind: str = "Llama") -> None:
    bytes_pairs(folder, kind)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16).save_pretrained(folder)


def qwen(folder: Path) -> None:
    llama(folder, "Qwen2")


MODELS = {
    "google-bert/bert-base-uncased": bert,
    "distilbert/distilbert-base-uncased": distilbert,
    "Helsinki-NLP/opus-mt-zh-en": marian,
    "HuggingFaceTB/SmolLM2-135M": llama,
    "Qwen/Qwen2.5-0.5B": qwen,
}


def snapshot(cache: Path, name: str) -> Path:
    """The empty folder of one revision, which the branch main points to."""
    repo = cache / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    folder = repo / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def fill(cache: Path, *names: str) -> None:
    """Put small random models under these names into the cache."""
    with torch.random.fork_rng(devices=[]):
        for name in names:
            torch.manual_seed(0)
            MODELS[name](snapshot(cache, name))


def use(monkeypatch, cache: Path) -> None:
    """Let the hub's client of this process read that cache and nothing else."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
