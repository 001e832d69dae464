"""Fine-tuning programs with one planted fault each, as people really write them, and programs without a fault.

``BROKEN[name].make()`` and ``CORRECT[name]()`` give the arguments of ``sl.doctor``. A name starts with the entry of
PITFALLS.md. ``BROKEN[name].check`` is the check that must speak, ``also`` are its natural companions, and the first
line of each function is the symptom that its author saw.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import nets
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sftlab as sl


@dataclass(frozen=True)
class Broken:
    """A program with a fault, the check that must find it, and checks that may speak too."""

    make: Callable[[], dict]
    check: str
    also: frozenset[str]

    @property
    def symptom(self) -> str:
        return self.make.__doc__


BROKEN: dict[str, Broken] = {}
CORRECT: dict[str, Callable[[], dict]] = {}


def broken(check: str, *also: str):
    """Register a broken program."""

    def register(make):
        BROKEN[make.__name__] = Broken(make, check, frozenset(also))
        return make

    return register


def correct(make):
    """Register a program without a fault."""
    CORRECT[make.__name__] = make
    return make


# What the programs are made of

WORDS = "the a old new river bridge mill town shop roof opens closes burns grows falls again today slowly well badly"
WORDS = WORDS.split()
SPECIAL = ["<pad>", "<unk>", "<bos>", "<eos>", "<end>"]


def tokenizer(words=WORDS, bos=False, **special):
    """A word tokenizer of transformers; with ``bos`` it starts every text with <bos>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIAL, *words])}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", **special}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=32, **names)
    made.add_special_tokens({"additional_special_tokens": ["<end>"]})
    return made


def texts(count=32, seed=0, longest=9):
    """Sentences of unequal length, all different."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, longest, (count,), generator=draw).tolist()
    return [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n + 3,), generator=draw)) for n in lengths]


def gpt(tokens=None):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokens or tokenizer()), **size, **ids))
    model.tokenizer = tokens
    return model.train()


def bert(classes=3, **changes):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    size |= {"max_position_embeddings": 32, "vocab_size": len(SPECIAL) + len(WORDS), "initializer_range": 0.1}
    return BertForSequenceClassification(BertConfig(**size, num_labels=classes, **changes)).train()


def text_batches(tokens=None, classes=3, longest=9, batch=8, **settings):
    """Padded batches of transformers with labels."""
    tokens = tokens or tokenizer()
    rows = texts(longest=longest)
    out = []
    for at in range(0, len(rows), batch):
        encoded = tokens(rows[at : at + batch], padding=True, return_tensors="pt", **settings)
        labels = torch.arange(at, at + len(encoded["input_ids"])) % classes
        out.append({**{k: v for k, v in encoded.items() if k != "token_type_ids"}, "labels": labels})
    return out


def lm_batches(tokens, rows=None, collator=None):
    """Batches for a causal language model, from transformers' collator unless another is given."""
    from transformers import DataCollatorForLanguageModeling

    collate = collator or DataCollatorForLanguageModeling(tokens, mlm=False)
    items = [tokens(row + " <eos>", return_token_type_ids=False) for row in rows or texts()]
    return [dict(collate(items[at : at + 8])) for at in range(0, len(items), 8)]


def images(count=32, size=8, seed=0):
    """Normalised images with something to learn, and their classes."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randn(count, 3, size, size, generator=draw)
    pixels[torch.arange(count), labels] += 0.7
    return pixels, labels


def loader(*tensors, batch=8):
    return DataLoader(TensorDataset(*tensors), batch)


def conv(classes=3, **changes):
    """A small net with BatchNorm: stem, block1, block2, head."""
    torch.manual_seed(0)
    net = nets.ConvNet(**changes)
    net.head = nn.Linear(8, classes)
    return net.train()


def dense(*tail, width=6, outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, outputs), *tail)


def vectors(count=32, width=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=draw)


def adamw(model, lr=1e-3, **settings):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, **settings)


class Detector(nn.Module):
    """The calling convention of torchvision's detectors: losses in train mode, boxes in eval mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.boxes, self.scores = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, images, targets=None):
        seen = torch.stack([self.body(image[None]).relu().mean((2, 3))[0] for image in images])
        if self.training:
            boxes = torch.stack([t["boxes"].mean(0) if len(t["boxes"]) else torch.zeros(4) for t in targets])
            labels = torch.stack([t["labels"][0] if len(t["labels"]) else torch.tensor(0) for t in targets])
            return {"box": F.l1_loss(self.boxes(seen), boxes), "score": F.cross_entropy(self.scores(seen), labels)}
        return [{"boxes": self.boxes(row)[None], "scores": self.scores(row).softmax(0).max()[None]} for row in seen]


def scenes(box=(2.0, 3.0, 9.0, 8.0), label=1, count=8):
    """Images with a box each, as the collate function of torchvision's tutorial gives them."""
    draw = torch.Generator().manual_seed(0)
    rows = [
        (torch.rand(3, 12, 12, generator=draw), {"boxes": torch.tensor([box]), "labels": torch.tensor([label + i % 2])})
        for i in range(count)
    ]
    return [tuple(zip(*rows, strict=True))]


# P: found in today's libraries


@broken("reduction")
def p01_loss_summed_over_the_batch():
    """Twice the batch size diverges at the same rate."""
    model, (x, y), loss = conv(), images(), nn.CrossEntropyLoss(reduction="sum")
    return {"model": model, "loader": loader(x, y), "optimizer": adamw(model), "loss": loss}


@broken("company")
def p03_transformer_without_batch_first():
    """Accuracy depends on the order and size of the evaluation batches."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16)  # reads [tokens, batch, width]
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.layer(x).mean(1))

    x = torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(0))
    return {"model": Net(), "loader": loader(x, torch.arange(16) % 3)}


@broken("finite inputs")
def p04_empty_cell_becomes_nan():
    """The logged loss is 0.0 or nan after a few steps."""
    x = vectors()
    x[13, 2] = float("nan")
    model = dense()
    return {"model": model, "loader": loader(x, torch.arange(32) % 3), "optimizer": adamw(model)}


@broken("BatchNorm")
def p05_statistics_of_the_frozen_trunk_move():
    """Validation gets worse although only the head trains."""
    model = conv()
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("head")
    model.train()
    x, y = images()
    return {"model": model, "loader": loader(x, y), "optimizer": adamw(model)}


@broken("norms")
def p06_freeze_that_skips_norms():
    """The features of the frozen trunk are not those of the checkpoint any more."""
    model = conv(batch_norm=False)
    for name, module in model.named_children():
        for part in module.modules():
            for p in part.parameters(recurse=False):
                p.requires_grad = name == "head" or isinstance(part, nn.GroupNorm)
    x, y = images()
    return {"model": model, "loader": loader(x, y), "optimizer": adamw(model)}


@broken("end of text")
def p08_padding_is_end_of_text():
    """The model never stops writing."""
    tokens = tokenizer(pad_token="<eos>")
    model = gpt(tokens)
    return {"model": model, "loader": lm_batches(tokens), "optimizer": adamw(model)}


@broken("end of text")
def p08_end_of_text_never_appended():
    """The model never stops writing, and no padding is to blame."""
    tokens = tokenizer()
    model = gpt(tokens)
    items = [tokens(row, return_token_type_ids=False) for row in texts()]
    batch = tokens.pad(items, return_tensors="pt")
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return {"model": model, "loader": [dict(batch)], "optimizer": adamw(model)}


@broken("supervised labels")
def p09_template_without_generation_marker():
    """The loss is nan, or 0 from the first step."""
    tokens = tokenizer()
    model = gpt(tokens)
    batches = lm_batches(tokens)
    for batch in batches:
        assistant = torch.zeros_like(batch["input_ids"])  # what apply_chat_template gives without the marker
        batch["labels"] = batch["labels"].masked_fill(assistant == 0, -100)
    return {"model": model, "loader": batches, "optimizer": adamw(model)}


def _chat(tokens, end_is_learnt):
    """One turn each: a question, an answer of three words, <end>, <eos>."""
    batches = lm_batches(tokens, [f"{row} <end>" for row in texts()])
    for batch in batches:
        for labels, mask in zip(batch["labels"], batch["attention_mask"], strict=True):
            stop = int(mask.sum())
            labels[: stop - 5] = -100
            if not end_is_learnt:
                labels[stop - 2] = -100
    return batches


@broken("end of turn")
def p09_end_of_turn_has_no_label():
    """In a chat the model answers and then goes on as the user."""
    tokens = tokenizer()
    model = gpt(tokens)
    return {"model": model, "loader": _chat(tokens, end_is_learnt=False), "optimizer": adamw(model)}


@broken("start of text")
def p10_template_and_tokenizer_both_write_bos():
    """Generation is worse than training promised, because prompts have one <bos>."""
    tokens = tokenizer(bos=True)
    model = gpt(tokens)
    rows = [f"<bos> {row}" for row in texts()]
    return {"model": model, "loader": lm_batches(tokens, rows), "optimizer": adamw(model)}


@broken("supervised labels")
def p11_prompt_fills_the_row():
    """The run succeeds, and long questions are as bad as before."""
    tokens = tokenizer()
    model = gpt(tokens)
    batches = lm_batches(tokens)
    for batch in batches:
        batch["labels"][:, :4] = -100  # the prompt
        batch["labels"][::4] = -100  # its answer was cut off
    return {"model": model, "loader": batches, "optimizer": adamw(model)}


@broken("truncation")
def p11_half_of_the_texts_are_cut():
    """Accuracy is low on long texts, whose verdict stands at the end."""
    tokens = tokenizer()
    return {"model": bert(), "loader": text_batches(tokens, longest=60, truncation=True), "tokenizer": tokens}


@broken("dtype")
def p13_trained_in_the_dtype_of_the_checkpoint():
    """The loss falls slower and slower: small steps round to nothing."""
    x, y = images()
    model = conv(batch_norm=False).bfloat16()
    return {"model": model, "loader": loader(x.bfloat16(), y), "optimizer": adamw(model)}


@broken("loading")
def p14_keys_with_a_prefix_and_strict_off():
    """Fine-tuning is no better than from scratch, and one line of the log says why."""
    saved = {f"module.{name}": value for name, value in conv().state_dict().items()}
    model, (x, y) = conv(), images()
    said = model.load_state_dict(saved, strict=False)
    return {"model": model, "loader": loader(x, y), "optimizer": adamw(model), "loading": said}


@broken("something trains")
def p15_adapters_train_and_the_new_head_does_not():
    """Accuracy stays a little above chance."""
    model = bert()
    for name, p in model.named_parameters():
        p.requires_grad = "query" in name
    return {"model": model, "loader": text_batches(), "optimizer": adamw(model)}


@broken("tied weights")
def p17_tied_embeddings_came_apart():
    """The exported model is not the one that was trained."""
    tokens = tokenizer()
    model = gpt(tokens)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    return {"model": model, "loader": lm_batches(tokens), "optimizer": adamw(model)}


@broken("gradients")
def p26_checkpointing_on_a_frozen_input():
    """No error, and the blocks end as they began."""
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.block, self.head = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3)
            self.embed.requires_grad_(False)

        def forward(self, x):
            return self.head(checkpoint(self.block, self.embed(x), use_reentrant=True).relu())

    model = Net()
    return {"model": model, "loader": loader(vectors(), torch.arange(32) % 3), "optimizer": adamw(model)}


@broken("optimizer's own")
def p27_frozen_in_mid_run():
    """Frozen weights still move, by momentum and weight decay."""
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    F.cross_entropy(model(vectors()), torch.arange(32) % 3).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    model[0].requires_grad_(False)
    return {"model": model, "loader": loader(vectors(), torch.arange(32) % 3), "optimizer": optimizer}


@broken("gradients")
def p28_length_of_a_zero_vector():
    """The loss is fine, and all weights are nan after the first step."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(6, 16, bias=False), nn.Linear(16, 3)

        def forward(self, x):
            hidden = self.body(x)
            length = hidden.pow(2).sum(-1, keepdim=True).sqrt()  # the root has an infinite slope at 0
            return self.head(hidden / (length + 1e-8))

    model, x = Net(), vectors()
    x[5] = 0
    return {"model": model, "loader": loader(x, torch.arange(32) % 3), "optimizer": adamw(model)}


@broken("learning rate")
def p29_rate_of_the_head_for_everything():
    """The first epoch destroys what the checkpoint knew."""
    model = bert()
    return {"model": model, "loader": text_batches(), "optimizer": adamw(model, lr=0.1)}


@broken("padding")
def p31_left_padding_without_positions():
    """Answers in a batch are not those that one gets alone."""
    tokens = tokenizer(padding_side="left")
    model = gpt(tokens)
    return {"model": model, "loader": lm_batches(tokens), "optimizer": adamw(model)}


@broken("start of text")
def p32_start_token_of_the_decoder_twice():
    """The first word of every transcript is missing or doubled."""
    batches = text_pairs()
    for batch in batches:
        batch["labels"] = torch.cat([torch.zeros(len(batch["labels"]), 1, dtype=torch.long), batch["labels"]], dim=1)
    return {"model": t5(), "loader": batches, "tokenizer": tokenizer()}


class TokenTranslator(nn.Module):
    """One token of the other language for each token: an encoder and a linear layer."""

    def __init__(self):
        super().__init__()
        self.encoder = bert().bert
        self.encoder.pooler = None
        self.head = nn.Linear(self.encoder.config.hidden_size, self.encoder.config.vocab_size)

    def forward(self, input_ids, attention_mask):
        return self.head(self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state)


def tokens_for_tokens(learn_padding):
    """Batches in which both languages are cut and padded to one length."""
    tokens, batches = tokenizer(), []
    for at in range(0, 32, 8):
        source, target = (
            tokens(
                texts(seed=seed)[at : at + 8], return_tensors="pt", padding="max_length", max_length=12, truncation=True
            )
            for seed in (0, 1)
        )
        hidden = target["attention_mask"] == 0
        labels = target["input_ids"].masked_fill(hidden & (not learn_padding), -100)
        batches.append({k: source[k] for k in ("input_ids", "attention_mask")} | {"labels": labels})
    return batches


def token_loss(outputs, labels):
    return F.cross_entropy(outputs.flatten(0, 1), labels.flatten())


@broken("padding is learnt")
def s13_token_classifier_as_translator():
    """The loss falls, and what it says is *the the the* and nothing."""
    model = TokenTranslator()
    return {"model": model, "loader": tokens_for_tokens(True), "optimizer": adamw(model), "loss": token_loss}


@broken("padding is learnt")
def p11_tags_on_padding():
    """The loss is mostly of places that no word stands at."""

    class Padded(sl.TagTokens):
        def collate_labels(self, items):
            longest = max(len(item["labels"]) for item in items)
            return torch.tensor([[*item["labels"], *[0] * (longest - len(item["labels"]))] for item in items])

    model, task = nets.make("tags", cls=Padded)
    return {"model": model, "task": task, "plan": sl.full()}


@broken("padding")
def p33_mean_over_padding_too():
    """The same text gets another score when a longer one stands beside it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Embedding(30, 16), nn.Linear(16, 3)

        def forward(self, input_ids, attention_mask):
            return self.head(self.embed(input_ids).mean(1))

    return {"model": Net(), "loader": text_batches()}


@broken("boxes")
def p34_boxes_as_width_and_height():
    """The detector finds nothing, or its loss is nan."""
    return {"model": Detector(), "loader": scenes(box=(6.0, 7.0, 4.0, 3.0))}


@broken("boxes")
def p34_class_zero_is_background():
    """One class is never detected."""
    return {"model": Detector(), "loader": scenes(label=0)}


@broken("boxes")
def p34_image_without_boxes():
    """An error about shapes, or nan, at the first image that shows nothing."""
    batches = scenes()
    batches[0][1][3].update(boxes=torch.tensor([]), labels=torch.tensor([], dtype=torch.long))
    return {"model": Detector(), "loader": batches}


@broken("weight decay")
def p37_norms_decayed_because_of_their_name():
    """A little worse than the recipe, for no reason that a log shows."""
    model = bert()
    plain = [p for n, p in model.named_parameters() if "layer_norm" in n or n.endswith("bias")]
    rest = [p for n, p in model.named_parameters() if not ("layer_norm" in n or n.endswith("bias"))]  # "LayerNorm"
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.01}]
    return {"model": model, "loader": text_batches(), "optimizer": torch.optim.AdamW(groups, lr=1e-4)}


# S: found in tutorials


@broken("probabilities")
def s02_softmax_before_cross_entropy():
    """The loss stops at a high value: with three classes it cannot go below 0.55."""
    model = dense(nn.Softmax(dim=-1))
    return {"model": model, "loader": loader(vectors(), torch.arange(32) % 3), "loss": nn.CrossEntropyLoss()}


@broken("probabilities")
def s02_sigmoid_before_the_loss_with_logits():
    """Every score stays near a half."""
    model = dense(nn.Sigmoid(), outputs=2)
    labels = (vectors()[:, :2] > 0).float()
    return {"model": model, "loader": loader(vectors(), labels), "loss": nn.BCEWithLogitsLoss()}


@broken("probabilities")
def s02_softmax_over_one_unit():
    """The classifier says 1 for everything, and the loss never changes."""
    model = dense(nn.Softmax(dim=-1), outputs=1)
    labels = (vectors()[:, :1] > 0).float()
    return {"model": model, "loader": loader(vectors(), labels), "loss": nn.BCELoss()}


@broken("loss fits labels")
def s03_squared_error_on_classes():
    """It learns, but slowly, and sure mistakes are hardly corrected."""

    def loss(outputs, labels):
        return F.mse_loss(outputs, F.one_hot(labels, 3).float())

    return {"model": dense(), "loader": loader(vectors(), torch.arange(32) % 3), "loss": loss}


@broken("loss fits labels")
def s03_column_against_row():
    """A regression that predicts the mean for everybody."""
    labels = vectors()[:, 0] * 2
    return {"model": dense(outputs=1), "loader": loader(vectors(), labels), "loss": nn.MSELoss()}


@broken("gradients before")
def s06_gradients_never_zeroed():
    """The loss jumps more and more."""
    model = dense()
    optimizer = adamw(model)
    for _ in range(2):
        F.cross_entropy(model(vectors()), torch.arange(32) % 3).backward()
        optimizer.step()
    return {"model": model, "loader": loader(vectors(), torch.arange(32) % 3), "optimizer": optimizer}


@broken("vocabulary")
def s07_tokenizer_with_added_words():
    """An index error, or on a GPU an assertion of the device."""
    tokens = tokenizer([*WORDS, "Mara", "Elm"])
    return {"model": bert(), "loader": text_batches(tokens), "tokenizer": tokens}


@broken("vocabulary")
def s07_tokenizer_fitted_again():
    """The pretrained model is no better than a random one: its words mean something else."""
    tokens = tokenizer(WORDS[:9])
    return {"model": bert(), "loader": text_batches(tokens), "tokenizer": tokens}


@broken("vocabulary")
def s08_token_ids_standardised():
    """Accuracy is at chance."""
    batches = text_batches()
    for batch in batches:
        ids = batch["input_ids"].float()
        batch["input_ids"] = (ids - ids.mean()) / ids.std()
    return {"model": bert(), "loader": batches}


@broken("padding")
def s09_padding_without_mask():
    """Short texts are worse in large batches."""
    batches = [{k: v for k, v in batch.items() if k != "attention_mask"} for batch in text_batches()]
    return {"model": bert(pad_token_id=0), "loader": batches}


@broken("head size")
def s11_head_of_imagenet():
    """It works, but predicts classes that do not exist, and begins at a loss of 7."""
    x, y = images()
    return {"model": conv(classes=1000), "loader": loader(x, y)}


@broken("label range")
def s11_labels_count_from_one():
    """Target 3 is out of bounds."""
    x, y = images()
    return {"model": conv(), "loader": loader(x, y + 1)}


@broken("input scale", "initial loss")
def s12_pixels_from_0_to_255():
    """Worse than with random weights."""
    x, y = images()
    return {"model": conv(), "loader": loader(((x + 3) / 6 * 255).clamp(0, 255).round(), y)}


@broken("input scale")
def s12_normalised_twice():
    """Some points of accuracy less than the same model elsewhere."""
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    x, y = images()
    once = (((x + 3) / 6).clamp(0, 1) - mean) / std
    return {"model": conv(), "loader": loader((once - mean) / std, y)}


@broken("input scale")
def s12_not_normalised_as_in_pretraining():
    """Some points of accuracy less than the same model elsewhere."""
    x, y = images()
    expects = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return {"model": conv(), "loader": loader(((x + 3) / 6).clamp(0, 1), y), "expects": expects}


@broken("inputs differ", "outputs differ")
def s12_every_input_is_the_same():
    """The loss stops at ln 3: the dataset returns its first image for every index."""
    x, y = images()
    return {"model": conv(), "loader": loader(x[:1].expand(32, -1, -1, -1), y)}


@broken("initial loss")
def s12_features_not_scaled():
    """The loss begins at some hundreds and jumps."""
    return {"model": dense(), "loader": loader(vectors() * 1000 + 5000, torch.arange(32) % 3)}


@broken("boxes")
def s14_boxes_left_where_they_were():
    """Boxes hang in the air: the image was cropped, its boxes were not."""
    return {"model": Detector(), "loader": scenes(box=(10.0, 3.0, 22.0, 9.0))}


@broken("CTC lengths")
def s16_more_letters_than_frames():
    """The loss is infinite, or 0 with zero_infinity."""
    return {"model": Recogniser(stride=5), "loader": speech(), "loss": ctc}


@broken("gradients")
def s17_loss_of_the_best_action():
    """The loss is a number and nothing learns: argmax has no gradient."""

    def loss(model, batch):
        states, rewards = batch
        return F.mse_loss(model(states).argmax(-1).float(), rewards)

    return {"model": dense(), "loader": loader(vectors(), vectors()[:, 0]), "loss": loss}


@broken("optimizer complete")
def s18_embeddings_missing_in_the_optimizer():
    """The recommender learns its last layers only."""
    model = bert()
    optimizer = torch.optim.AdamW([*model.bert.encoder.parameters(), *model.bert.pooler.parameters(),
                                   *model.classifier.parameters()], lr=1e-4)  # fmt: skip
    return {"model": model, "loader": text_batches(), "optimizer": optimizer}


@broken("optimizer complete")
def s18_unfrozen_after_the_optimizer_was_made():
    """Unfreezing changes nothing but the time per step."""
    model = bert()
    model.bert.requires_grad_(False)
    optimizer = adamw(model)
    model.bert.encoder.layer[-1].requires_grad_(True)
    model.bert.eval()
    return {"model": model, "loader": text_batches(), "optimizer": optimizer}


@broken("optimizer's own")
def s18_optimizer_of_another_model():
    """The loss is flat: the optimizer moves the original, the loop uses the copy."""
    model = dense()
    optimizer = adamw(model)
    return {"model": copy.deepcopy(model), "loader": loader(vectors(), torch.arange(32) % 3), "optimizer": optimizer}


@broken("modes")
def s20_measured_in_train_mode():
    """Two evaluations of one model differ."""
    x, y = images()
    return {"model": conv(dropout=0.3).train(), "loader": loader(x, y), "split": "test"}


@broken("modes")
def s20_trained_in_eval_mode():
    """It overfits at once: dropout never acted."""
    model = bert().eval()
    return {"model": model, "loader": text_batches(), "optimizer": adamw(model)}


@broken("modes")
def s20_dropout_in_the_frozen_trunk():
    """The head never reaches the accuracy of a linear classifier on stored features."""
    model = bert()
    model.bert.requires_grad_(False)
    return {"model": model.train(), "loader": text_batches(), "optimizer": adamw(model)}


@broken("dead units", "outputs differ")
def s20_every_relu_is_dead():
    """The outputs are the same for every input since one step at a high rate."""
    model = dense()
    nn.init.constant_(model[0].bias, -100.0)
    return {"model": model, "loader": loader(vectors(), torch.arange(32) % 3)}


@broken("outputs differ")
def s20_head_of_zeros():
    """The trunk does not learn in the first steps."""
    model, (x, y) = conv(), images()
    nn.init.zeros_(model.head.weight)
    return {"model": model, "loader": loader(x, y)}


@broken("split leak")
def s22_validation_rows_in_train():
    """Validation is better than it will ever be in use."""
    x, y = images()
    return {"model": conv(), "loader": loader(x, y), "val": loader(x[:8], y[:8])}


@broken("split leak")
def s22_near_duplicates_across_the_split():
    """The same, after exact duplicates were removed: the wire story with a new full stop."""
    model, task = nets.make("text")
    copied = task.splits["train"][3]
    task.splits["val"][0] = {**copied, "text": copied["text"].upper() + " !"}
    return {"model": model, "task": task}


@broken("contradictions")
def s22_one_input_two_labels():
    """Training accuracy ends below 100 %, whatever one does."""
    x, y = images()
    x[4] = x[3]
    return {"model": conv(), "loader": loader(x, y)}


@broken("loss fits labels")
def s23_softmax_over_labels_that_may_be_true_together():
    """With two topics in a text both get a half."""
    labels = (vectors()[:, :3] > 0).float()
    return {"model": dense(), "loader": loader(vectors(), labels), "loss": nn.CrossEntropyLoss()}


@broken("class balance")
def s25_accuracy_of_the_largest_class():
    """94 % accuracy, and not one of the rare cases found."""
    x, y = images(64)
    return {"model": conv(), "loader": loader(x, (torch.arange(64) % 16 == 3).long())}


@broken("class balance")
def s25_loader_sorted_by_class():
    """The loss falls to 0, jumps, falls to 0, jumps."""
    x, _ = images(64)
    return {"model": conv(), "loader": loader(x, torch.zeros(64, dtype=torch.long))}


# Programs without a fault


class Recogniser(nn.Module):
    """Frames to letters: [batch, samples] -> [batch, frames, letters]."""

    def __init__(self, stride):
        super().__init__()
        torch.manual_seed(0)
        self.ears, self.head = nn.Conv1d(1, 16, 4, stride=stride), nn.Linear(16, 6)

    def forward(self, sound):
        return self.head(self.ears(sound[:, None]).relu().transpose(1, 2))


def speech():
    sound = torch.randn(8, 24, generator=torch.Generator().manual_seed(0))
    return [(sound, torch.tensor([[1, 2, 3, 4, 5, 1]]).repeat(8, 1))]


def ctc(outputs, labels):
    frames, letters = torch.full((len(labels),), outputs.shape[1]), torch.full((len(labels),), labels.shape[1])
    return F.ctc_loss(outputs.log_softmax(-1).transpose(0, 1), labels, frames, letters)


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    size = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 25}
    ids = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(**size, **ids)).train()


def text_pairs():
    tokens = tokenizer()
    batches = text_batches(tokens)
    for batch, seed in zip(batches, range(4), strict=True):
        targets = tokens([row + " <eos>" for row in texts(8, seed + 9)], padding=True, return_tensors="pt")
        batch["labels"] = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
    return batches


@correct
def text_full():
    model, task = nets.make("text", dropout=0.1)
    return {"model": model, "task": task, "plan": sl.full()}


@correct
def text_without_a_plan():
    model, task = nets.make("text")
    return {"model": model, "task": task}


@correct
def tags_last_layer():
    model, task = nets.make("tags", dropout=0.1)
    return {"model": model, "task": task, "plan": sl.last_k(1)}


@correct
def conv_gradual():
    model, task = nets.make("conv", dropout=0.1)
    return {"model": model, "task": task, "plan": sl.gradual(steps=(1, 2))}


@correct
def conv_head_only():
    model, task = nets.make("conv")
    return {"model": model, "task": task, "plan": sl.head_only()}


@correct
def transformers_classifier():
    model = bert()
    return {"model": model, "loader": text_batches(), "optimizer": adamw(model, 5e-5), "tokenizer": tokenizer()}


@correct
def causal_lm():
    tokens = tokenizer(bos=True)
    model = gpt(tokens)
    return {"model": model, "loader": lm_batches(tokens), "optimizer": adamw(model, 1e-4)}


@correct
def chat_completions():
    tokens = tokenizer()
    model = gpt(tokens)
    return {"model": model, "loader": _chat(tokens, end_is_learnt=True), "optimizer": adamw(model, 1e-4)}


@correct
def conversation_of_several_turns():
    """Answers end with <eos>; what follows, <end> and the next question, has no label."""
    tokens = tokenizer()
    model = gpt(tokens)
    batches = lm_batches(tokens, [f"{a} <eos> <end> {b}" for a, b in zip(texts(16), texts(16, 1), strict=True)])
    for batch in batches:
        asked = (batch["input_ids"] == tokens.convert_tokens_to_ids("<end>")).long()
        from_question = asked.cumsum(1) - (batch["input_ids"] == 3).long().cumsum(1) == 0
        batch["labels"][from_question & (batch["input_ids"] != 3)] = -100
    return {"model": model, "loader": batches, "optimizer": adamw(model, 1e-4)}


@correct
def text_in_chunks():
    """A long text cut into rows of equal length: neither padding nor ends."""
    ids = torch.randint(5, 25, (16, 32), generator=torch.Generator().manual_seed(0))
    model = gpt(tokenizer())
    return {"model": model, "loader": [{"input_ids": ids, "labels": ids.clone()}], "optimizer": adamw(model, 1e-4)}


@correct
def translation():
    model = t5()
    return {"model": model, "loader": text_pairs(), "optimizer": adamw(model, 1e-4), "tokenizer": tokenizer()}


@correct
def multi_label():
    model, loss = dense(), nn.BCEWithLogitsLoss()
    labels = (vectors()[:, :3] > 0).float()
    return {"model": model, "loader": loader(vectors(), labels), "optimizer": adamw(model), "loss": loss}


@correct
def regression():
    model = dense(outputs=1)
    labels = vectors()[:, :1] * 2 + 1
    return {"model": model, "loader": loader(vectors(), labels), "optimizer": adamw(model), "loss": nn.MSELoss()}


@correct
def detection():
    model = Detector()
    return {"model": model, "loader": scenes(), "optimizer": adamw(model)}


@correct
def segmentation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    x, _ = images()
    masks = x.argmax(1)
    masks[:, 0] = 255
    loss = nn.CrossEntropyLoss(ignore_index=255)
    return {"model": model, "loader": loader(x, masks), "optimizer": adamw(model), "loss": loss}


@correct
def speech_recognition():
    model = Recogniser(stride=1)
    return {"model": model, "loader": speech(), "optimizer": adamw(model), "loss": ctc}


@correct
def spectrograms_in_decibel():
    """One channel, far from zero on purpose: these are no pixels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    model[0].running_mean.fill_(-40.0)
    model[0].running_var.fill_(400.0)
    x, y = images()
    return {"model": model, "loader": loader(x[:, :1] * 20 - 40, y), "optimizer": adamw(model)}


@correct
def adapters_on_a_frozen_trunk():
    """LoRA by hand: one factor starts at zero, the new head trains, dropout stays on."""

    class Adapter(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.down, self.up = base, nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    model = bert()
    model.bert.requires_grad_(False)
    for layer in model.bert.encoder.layer:
        layer.attention.self.query = Adapter(layer.attention.self.query)
    return {"model": model, "loader": text_batches(), "optimizer": adamw(model)}


@correct
def head_only_by_hand():
    model, (x, y) = conv(), images()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    model.eval()
    model.head.train()
    return {"model": model, "loader": loader(x, y), "optimizer": adamw(model, 1e-2)}


@correct
def autocast_to_bfloat16():
    x, y = images()
    model = conv(batch_norm=False)

    def loss(model, batch):
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(model(batch[0]), batch[1])

    return {"model": model, "loader": loader(x, y), "optimizer": adamw(model), "loss": loss}


@correct
def plain_loop_with_everything():
    """Shuffled DataLoader, validation set, all parameters in the optimizer, a schedule with warmup."""
    x, y = images(48)
    model = conv(dropout=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / 10))
    train = DataLoader(TensorDataset(x[:32], y[:32]), 8, shuffle=True)
    return {"model": model, "loader": train, "val": loader(x[32:], y[32:]), "optimizer": optimizer,
            "loss": nn.CrossEntropyLoss(label_smoothing=0.1), "classes": 3}  # fmt: skip


@correct
def evaluated_in_eval_mode():
    x, y = images()
    return {"model": conv(dropout=0.3).eval(), "loader": loader(x, y), "split": "test"}


@correct
def recurrent_net():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.rnn, self.head = nn.GRU(6, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.rnn(x)[1][0])

    model = Net()
    x = torch.randn(32, 5, 6, generator=torch.Generator().manual_seed(0))
    return {"model": model, "loader": loader(x, torch.arange(32) % 3), "optimizer": adamw(model)}
