"""Language modelling: the next token of a text, of an answer, or of a translation."""

import inspect
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from ..data import chat
from ..data.collate import length_mask, pad
from ..errors import SftlabError, bad_data
from .inputs import TextInput, _tokenizer_of
from .task import IGNORE, LossSum, Task, cross_entropy_sum


class CausalInput:
    """Token ids of texts, prompts with completions or conversations; see :mod:`sftlab.data.chat`."""

    column = "messages"

    def problems(self, example: dict) -> str | None:
        return chat.problem(example)

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        """``input_ids`` and ``labels``, cut to the model's limit; other keys of an example are kept (P35)."""
        items = []
        for example, (ids, learnt) in zip(examples, chat.tokenize(examples, _tokenizer_of(model)), strict=True):
            labels = [token if learn else IGNORE for token, learn in zip(ids, learnt, strict=True)]
            item = {k: v for k, v in example.items() if k not in chat.COLUMNS}
            # Nothing stands before the first token that could predict it.
            item |= {"input_ids": ids[: model.max_tokens], "labels": [IGNORE, *labels[1 : model.max_tokens]]}
            items.append({**item, "cut_from": len(ids)} if len(ids) > model.max_tokens else item)
        return items

    def length(self, item: dict) -> int:
        return len(item["input_ids"])

    def collate(self, items: Sequence[dict], model) -> dict:
        """Padded on the right; packed rows say by ``segments`` which tokens belong together (padding: -1)."""
        inputs = {"input_ids": pad([item["input_ids"] for item in items], _pad_id(model))}
        if "segments" not in items[0]:
            return {**inputs, "attention_mask": length_mask([len(item["input_ids"]) for item in items])}
        positions = pad([item["position_ids"] for item in items], 0)
        return {**inputs, "position_ids": positions, "segments": pad([item["segments"] for item in items], -1)}

    def call(self, model, inputs: dict):
        """Call the model; the mask of packed rows, tokens x tokens, is made here, on the device."""
        if "segments" in inputs:
            inputs = {**inputs, "attention_mask": isolation_mask(inputs["segments"], next(model.parameters()).dtype)}
            del inputs["segments"]
        return model(**inputs, use_cache=False)


class _Language(Task):
    """What the two tasks share: labels are made with the inputs, perplexity follows from the loss."""

    fewest_labels = 0
    metric_names = ("token_accuracy", "perplexity")

    def label_problem(self, example: dict) -> str | None:
        return None

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**item, "supervised": any(label != IGNORE for label in item["labels"])}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return pad([item["labels"] for item in items], IGNORE)

    def metrics(self, predicted, true) -> dict[str, float]:
        """Share of the tokens that are the most probable one, given the true tokens before them."""
        return {"token_accuracy": float((predicted == true).double().mean())}

    def of_loss(self, loss: float) -> dict[str, float]:
        """Perplexity, the exponential of the mean loss per token of the whole set (P3)."""
        return {"perplexity": math.exp(loss) if loss < 700 else math.inf}


class CausalLM(_Language):
    """Learn to continue: every token of a text, or only answers.

    Args:
        splits: examples of three kinds, which may be mixed: ``{"text": ...}`` (every token is learnt),
            ``{"prompt": ..., "completion": ...}`` (the completion is learnt), ``{"messages": [{"role": "user",
            "content": ...}, {"role": "assistant", ...}]}`` (what the assistant says is learnt, its end of turn too).
        pack: put several examples into one row. They do not see each other (P12), and the loss is the same sum.
            ``batch`` then counts rows. A row has ``indices``, the numbers of all its examples.

    Raises:
        BadData: unusable examples, with split and index; when training starts, conversations that the model's chat
            template cannot render, or not prefix by prefix.

    >>> task = CausalLM({"train": [{"prompt": "2 + 2 =", "completion": " 4"}]})
    >>> task.of_loss(0.0)
    {'perplexity': 1.0}
    """

    kind = "causal language modelling"
    label_column = "text, completion or messages"

    def __init__(self, splits, *, pack: bool = False, name: str = "own data"):
        self.pack = pack
        super().__init__(splits, (), CausalInput(), name)

    def problems(self, example: dict) -> str | None:
        return chat.problem(example) if isinstance(example, Mapping) else f"must be a dict, found {type(example)}"

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        items = super().encode(examples, model, labelled)
        if not self.pack:
            return items
        _check_isolation(model)
        return [
            _joined([items[i] for i in row])
            for row in chat.pack(list(map(self.inputs.length, items)), model.max_tokens)
        ]

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        """Position t predicts token t + 1. The labels are moved, because a part of the logits would be a copy."""
        return cross_entropy_sum(logits, _next(batch["labels"]))

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return super().decode(logits, {"labels": _next(batch["labels"])})


class Seq2Seq(_Language):
    """Learn to turn one sequence into another with an encoder and a decoder: translation, summaries, transcripts.

    Args:
        splits: examples such as ``{"source": "ein Haus", "target": "a house"}``.
        source, target: the columns.
        inputs: how the source becomes tensors, if it is not text; called with ``decoder_input_ids`` besides.

    Raises:
        BadData: unusable examples, with split and index.

    >>> task = Seq2Seq({"train": [{"source": "ein Haus", "target": "a house"}]})
    >>> task.label_column
    'target'
    """

    kind = "sequence to sequence"

    def __init__(self, splits, source: str = "source", target: str = "target", inputs=None, name: str = "own data"):
        self._target = target
        super().__init__(splits, (), inputs or SourceInput(source), name)

    @property
    def label_column(self) -> str:
        return self._target

    def label_problem(self, example: dict) -> str | None:
        text = example.get(self._target)
        if not isinstance(text, str):
            return f"{self._target!r} must be text, found {type(text).__name__}"
        return None if text.strip() else f"{self._target!r} is empty"

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        """Encoded sources with ``labels``: the target with its EOS, without the token that starts the decoder."""
        items = super().encode(examples, model, labelled=False)
        used = (self.inputs.column, self._target)
        items = [{k: v for k, v in x.items() if k not in used} | item for x, item in zip(examples, items, strict=True)]
        if not labelled:
            return items
        tokenizer, start = _tokenizer_of(model), decoder_start(model)
        targets = tokenizer(text_target=[x[self._target] for x in examples], verbose=False)["input_ids"]
        for item, ids in zip(items, targets, strict=True):
            if ids[:1] == [start]:  # Whisper's tokenizer writes it itself; `collate` puts it in front of every target
                ids = ids[1:]
            if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
                ids = [*ids, tokenizer.eos_token_id]
            if len(ids) > model.max_tokens:
                item["target_cut_from"] = len(ids)
            item["labels"] = list(ids[: model.max_tokens])
        return items

    def collate(self, items: Sequence[dict], model) -> dict:
        """The decoder reads the labels moved by one, with its start token in front, once (P32)."""
        batch = super().collate(items, model)
        if "labels" in batch:
            start = decoder_start(model)
            batch["inputs"]["decoder_input_ids"] = pad([[start, *x["labels"][:-1]] for x in items], _pad_id(model))
        return batch


class SourceInput(TextInput):
    """The text that an encoder reads; batches are sorted by the length of source and target together."""

    def length(self, item: dict) -> int:
        return len(item["input_ids"]) + len(item.get("labels", ()))

    def call(self, model, inputs: dict):
        return model(**inputs, use_cache=False)


def isolation_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive attention mask [batch, 1, tokens, tokens]: a token sees itself and what is before it in its segment.

    Padding sees padding, so that no row of the softmax is empty.

    >>> (isolation_mask(torch.tensor([[0, 0, 1]]), torch.float32) == 0).int().tolist()
    [[[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]]
    """
    seen = (segments[:, None, :, None] == segments[:, None, None, :]).tril()
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def decoder_start(model) -> int:
    """The token that a decoder starts from.

    Raises:
        SftlabError: the configuration does not say it.
    """
    for config in (model.config, getattr(model, "generation_config", None)):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return start
    raise SftlabError(f"{type(model).__name__}: set model.config.decoder_start_token_id, the decoder starts from it")


def _next(labels: torch.Tensor) -> torch.Tensor:
    return F.pad(labels[:, 1:], (0, 1), value=IGNORE)


def _pad_id(model) -> int:
    return _tokenizer_of(model).pad_token_id or 0  # any id will do: masks and labels go by length (P8)


def _joined(items: Sequence[dict]) -> dict:
    """Several encoded examples as one row; their labels never reach across, for the first of each is none."""
    row = {key: [token for item in items for token in item[key]] for key in ("input_ids", "labels") if key in items[0]}
    row["position_ids"] = [at for item in items for at in range(len(item["input_ids"]))]
    row["segments"] = [number for number, item in enumerate(items) for _ in item["input_ids"]]
    row |= {"index": items[0]["index"], "indices": [item["index"] for item in items]}
    return row | {k: item[k] for item in items for k in ("cut_from",) if k in item}  # a cut example fills a row alone


def _check_isolation(model) -> None:
    """Raise if a model would not obey the mask of packed rows."""
    config, problems = model.config, []
    attention = getattr(config, "_attn_implementation", "eager")
    if attention not in ("sdpa", "eager"):
        problems.append(f"its attention {attention!r} takes no mask of tokens x tokens; set 'sdpa' or 'eager'")
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < model.max_tokens:
        problems.append(
            f"its sliding window of {window} tokens would be lost: set model.max_tokens to at most {window}"
        )
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "position_ids" not in inspect.signature(base.forward).parameters:
        problems.append("it takes no position_ids, so every example but the first would stand in the wrong place")
    if problems:
        raise bad_data(f"{type(model).__name__} cannot be trained on packed rows (use pack=False)", problems)
