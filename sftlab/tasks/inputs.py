"""From an example to what the model is called with: one class per kind of input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.collate import length_mask, pad
from ..errors import SftlabError, bad_data


@dataclass(frozen=True)
class TextInput:
    """Text of one column, tokenised by the tokenizer that came with the model.

    The tokenizer is never fitted again: the ids must keep the meaning that they had in pretraining (S7).

    >>> TextInput("title").problems({"title": ""})
    "'title' is empty"
    """

    column: str = "text"

    def problems(self, example: dict) -> str | None:
        """What is wrong with the input of one example, or None."""
        text = example.get(self.column)
        if not isinstance(text, str):
            return f"{self.column!r} must be text, found {type(text).__name__}"
        return None if text.strip() else f"{self.column!r} is empty"

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        """Token ids per example, cut to the model's limit; a cut example carries ``cut_from``, its full length."""
        encoded = _tokenizer_of(model)(
            [example[self.column] for example in examples], verbose=False, return_attention_mask=False
        )["input_ids"]
        return [_cut(ids, model) for ids in encoded]

    def length(self, item: dict) -> int:
        """Tokens of an encoded example, for batching by length."""
        return len(item["input_ids"])

    def collate(self, items: Sequence[dict], model) -> dict:
        """Pad to the longest text of the batch: ``input_ids`` and ``attention_mask``, both [batch, tokens]."""
        return {
            "input_ids": pad([item["input_ids"] for item in items], _tokenizer_of(model).pad_token_id),
            "attention_mask": length_mask([len(item["input_ids"]) for item in items]),
        }

    def note(self, items: Sequence[dict]) -> str:
        """A line on texts that were cut to the model's limit, or ""."""
        cut = [item for item in items if "cut_from" in item]
        if not cut:
            return ""
        longest = max(cut, key=lambda item: item["cut_from"])
        return (
            f"{len(cut)} of {len(items)} texts are longer than {len(longest['input_ids'])} tokens and were cut "
            f"(the longest: index {longest['index']}, {longest['cut_from']:,} tokens)."
        )

    def call(self, model, inputs: dict):
        """Call the model with a collated batch."""
        return model(**inputs)


@dataclass(frozen=True)
class WordsInput(TextInput):
    """A list of words per example; ``words`` in an encoded example says which word each piece belongs to."""

    column: str = "words"

    def problems(self, example: dict) -> str | None:
        words = example.get(self.column)
        if not isinstance(words, list | tuple) or not all(isinstance(w, str) and w.strip() for w in words):
            return f"{self.column!r} must be a list of non-empty words"
        return None if words else f"{self.column!r} is empty"

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        encoded = _tokenizer_of(model)(
            [list(example[self.column]) for example in examples], is_split_into_words=True, verbose=False
        )
        return [
            {**_cut(ids, model), "words": encoded.word_ids(i)[: model.max_tokens - 1]}
            for i, ids in enumerate(encoded["input_ids"])
        ]


@dataclass(frozen=True)
class TensorInput:
    """A tensor per example (image [channels, height, width], or features [width]); the model is called with a stack.

    >>> items = [{"input": torch.zeros(3, 8, 8)}, {"input": torch.ones(3, 8, 8)}]
    >>> TensorInput().collate(items, model=None)["input"].shape
    torch.Size([2, 3, 8, 8])
    """

    column: str = "input"
    one_shape = True  # (not a field) False: every example may have a size of its own

    def problems(self, example: dict) -> str | None:
        value = example.get(self.column)
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return f"{self.column!r} must be a floating-point tensor, found {type(value).__name__}"
        return None if torch.isfinite(value).all() else f"{self.column!r} holds NaN or infinite values"

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        values = [example[self.column] for example in examples]
        shape = values[0].shape
        wrong = [f"[{i}]: {list(v.shape)} instead of {list(shape)}" for i, v in enumerate(values) if v.shape != shape]
        if wrong and self.one_shape:
            raise bad_data(f"tensors in {self.column!r} must have one shape", wrong)
        return [{"input": value} for value in values]

    def length(self, item: dict) -> None:
        return None

    def collate(self, items: Sequence[dict], model) -> dict:
        return {"input": torch.stack([item["input"] for item in items])}

    def call(self, model, inputs: dict):
        return model(inputs["input"])


def _tokenizer_of(model):
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise SftlabError(
            f"{type(model).__name__} has no tokenizer. Load it with sl.load, or set model.tokenizer and "
            "model.max_tokens to those of its checkpoint."
        )
    return tokenizer


def _cut(ids: list[int], model) -> dict:
    """Cut to the model's limit, keeping the closing special token that the model was pretrained to see."""
    if len(ids) <= model.max_tokens:
        return {"input_ids": ids}
    return {"input_ids": [*ids[: model.max_tokens - 1], ids[-1]], "cut_from": len(ids)}
