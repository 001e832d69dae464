"""Small models and tasks for the tests: text classification, token tagging, and a convolutional net with BatchNorm.

``make(kind)`` gives a seeded model and its task. The models have every trap of their big relatives (BatchNorm,
dropout, LayerNorm, unequal lengths, words of several pieces) and train in milliseconds.
"""

import random
import zlib

import torch
from torch import nn

import sftlab as sl
from sftlab.model.heads import TextClassifier, TokenTagger

KINDS = ("text", "tags", "conv")
CLASSES = ["red", "green", "blue"]
MAX_TOKENS = 40


class Encoded(dict):
    """What a fast tokenizer returns, as far as the library uses it."""

    def __init__(self, rows: list[list[list[int]]]):
        super().__init__(input_ids=[[2, *(i for word in words for i in word), 3] for words in rows])
        self.rows = rows

    def word_ids(self, row: int) -> list[int | None]:
        return [None, *(at for at, word in enumerate(self.rows[row]) for _ in word), None]


class ToyTokenizer:
    """Words into pieces of four letters; ids by checksum, in a vocabulary of 200."""

    pad_token_id = 0
    model_max_length = MAX_TOKENS

    def __call__(self, rows, is_split_into_words=False, verbose=True, return_attention_mask=True):
        split = rows if is_split_into_words else [row.split() for row in rows]
        return Encoded([[self.pieces(word) for word in words] for words in split])

    @staticmethod
    def pieces(word: str) -> list[int]:
        return [10 + zlib.crc32(word[at : at + 4].encode()) % 190 for at in range(0, len(word), 4)]


def tiny_bert(dropout: float = 0.0, layers: int = 2):
    """A random BERT of width 32. The wide initialisation gives gradients well above rounding."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.1,
    )
    return BertModel(config, add_pooling_layer=False)


class ConvNet(nn.Module):
    """stem, block1, block2, head; the blocks hold a norm and Dropout2d: [batch, 3, 6, 6] -> [batch, 3]."""

    def __init__(self, dropout: float = 0.0, batch_norm: bool = True):
        super().__init__()

        def block():
            norm = nn.BatchNorm2d(8) if batch_norm else nn.GroupNorm(2, 8)
            return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), norm, nn.ReLU(), nn.Dropout2d(dropout))

        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block1 = block()
        self.block2 = block()
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, x):
        return self.head(self.block2(self.block1(self.stem(x).relu())).mean((2, 3)))


def model_of(kind: str, seed: int = 0, dropout: float = 0.0, batch_norm: bool = True) -> nn.Module:
    """The model of a kind; equal seeds give equal weights, and the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "conv":
            return ConvNet(dropout, batch_norm).eval()
        wrap = {"text": TextClassifier, "tags": TokenTagger}[kind]
        model = wrap(tiny_bert(dropout), len(CLASSES), dropout)
    model.tokenizer, model.max_tokens = ToyTokenizer(), MAX_TOKENS
    return model.eval()


def examples_of(kind: str, count: int, seed: int) -> list[dict]:
    """Examples with something to learn, in random order of length; half the tagged rows have a single tag."""
    rng = random.Random(f"{kind} {seed}")
    rows = []
    for i in range(count):
        label = rng.randrange(3)
        if kind == "conv":
            image = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(1000 * seed + i))
            image[label] += 0.7
            rows.append({"input": image, "label": CLASSES[label]})
            continue
        # Three texts in four differ in length; of the tagged rows, every second is very short.
        words = [word(rng) for _ in range(rng.randint(1, 20) if kind == "text" else (1, rng.randint(6, 14))[i % 2])]
        if kind == "text":
            rows.append({"text": " ".join([*words, CLASSES[label]]), "label": CLASSES[label]})
        else:
            rows.append({"words": words, "tags": [CLASSES[len(w) % 3] for w in words]})
    return rows


def word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefgh") for _ in range(rng.randint(1, 8)))


def task_of(kind: str, train: int = 24, val: int = 11, test: int = 11, seed: int = 0, cls=None) -> sl.Task:
    """The task of a kind; ``cls`` may be a subclass of sl.Classify or sl.TagTokens."""
    sizes = {"train": train, "val": val, "test": test}
    splits = {name: examples_of(kind, size, seed=10 * seed + i) for i, (name, size) in enumerate(sizes.items()) if size}
    if kind == "tags":
        return (cls or sl.TagTokens)(splits, CLASSES, name=kind)
    inputs = sl.TensorInput() if kind == "conv" else None
    return (cls or sl.Classify)(splits, CLASSES, inputs, name=kind)


def make(kind: str, dropout: float = 0.0, batch_norm: bool = True, **sizes) -> tuple[nn.Module, sl.Task]:
    """(model, task) of a kind."""
    return model_of(kind, dropout=dropout, batch_norm=batch_norm), task_of(kind, **sizes)


def exact(kind: str, **sizes) -> tuple[nn.Module, sl.Task]:
    """(model, task) in float64, with GroupNorm for BatchNorm: for equalities that hold in exact arithmetic only.

    Adam divides by the gradient's own size, so where a gradient is zero by symmetry (the bias of attention keys)
    float32 would compare rounding noise.
    """
    model, task = make(kind, batch_norm=False, **sizes)
    if kind == "conv":
        for examples in task.splits.values():
            for example in examples:
                example["input"] = example["input"].double()
    return model.double(), task


def copies(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(a: dict, b: dict, names=None) -> bool:
    """Bit-identical tensors under the same names."""
    names = a.keys() if names is None else list(names)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in names)


def distance(a: dict, b: dict) -> float:
    """Greatest absolute difference of two states."""
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def fit(model, task, plan, **settings):
    """sl.fit without output, in batches of 8."""
    return sl.fit(model, task, plan, **{"batch": 8, "show": False, **settings})


def plans(**shared) -> dict[str, sl.Plan]:
    """One short plan of each kind; every net here has three layers below its head."""
    return {
        "head only": sl.head_only(epochs=2, **shared),
        "last 1": sl.last_k(1, epochs=2, lr=1e-3, **shared),
        "full": sl.full(epochs=2, lr=1e-3, **shared),
        "LP-FT": sl.lp_ft(head_epochs=1, epochs=1, lr=1e-3, **shared),
        "gradual": sl.gradual(steps=(1, 2), head_epochs=1, lr=1e-3, **shared),
    }


# Language models

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(start: str | None = "<s>", adds: bool = True, template: str | None = TEMPLATE, pad: str = "</s>"):
    """A fast tokenizer of single bytes, so that decoding gives the text back; pad is EOS, as in many checkpoints.

    Args:
        start: the BOS token, None for none.
        adds: the tokenizer writes BOS and EOS itself (Llama's writes BOS, Marian's EOS, Whisper's both).
        pad: the padding token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = [pad, "</s>", *([start] if start else []), "<user>", "<assistant>", "<system>"]
    special = list(dict.fromkeys(special))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    if adds:
        single = f"{start} $A </s>" if adds == "both" else "$A </s>" if adds == "eos" or not start else f"{start} $A"
        ids = [(token, tokenizer.token_to_id(token)) for token in ("</s>", start) if token]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=start, eos_token="</s>", pad_token=pad)
    fast.chat_template = template
    return fast


def causal_lm(seed: int = 0, limit: int = 64, attention: str = "sdpa", **tokenizer):
    """A random Llama of width 32 with :func:`byte_tokenizer`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer(**tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            initializer_range=0.1,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            attn_implementation=attention,
        )
        model = LlamaForCausalLM(config)
    model.tokenizer, model.max_tokens = tokenizer, limit
    return model.eval()


def encoder_decoder(seed: int = 0, limit: int = 64, start: str = "</s>", **tokenizer):
    """A random BART of width 32; its decoder starts from EOS unless ``start`` says another token."""
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = byte_tokenizer(**{"adds": "eos", **tokenizer})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BartConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=256,
            dropout=0.0,
            init_std=0.1,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.convert_tokens_to_ids(start),
            forced_bos_token_id=None,
            forced_eos_token_id=None,
        )
        model = BartForConditionalGeneration(config)
    model.tokenizer, model.max_tokens = tokenizer, limit
    return model.eval()
