"""From an example to what the model is called with: one class per kind of input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

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
        try:
            return model(inputs["input"])
        except ValueError as error:
            if len(inputs["input"]) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise SftlabError(
                "a step holds one example, and a BatchNorm in train mode finds one value in each of its channels, no "
                "spread to divide by. Choose `batch` (or `micro_batch`) so that no example is left over alone, "
                "such as 11 for 33 examples; or freeze the norms (sl.head_only, sl.last_k)."
            ) from error


class ImageInput(TensorInput):
    """An image per example, prepared as in pretraining: the size, mean and std that came with the model (S12).

    Images are tensors [3, height, width] or [1, height, width] (grey), either float in [0, 1] or uint8 in 0..255, of
    any size. They are resized (bilinear, antialiased) to ``model.image_size``; then ``model.mean`` is subtracted and
    the difference divided by ``model.std``.

    >>> class Net:
    ...     image_size, mean, std = 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    >>> ImageInput().encode([{"image": torch.ones(1, 8, 8)}], Net)[0]["input"].flatten().unique()
    tensor([1.])
    """

    def __init__(self, column: str = "image"):
        super().__init__(column)

    def problems(self, example: dict) -> str | None:
        image = example.get(self.column)
        if not isinstance(image, torch.Tensor) or image.dim() != 3 or len(image) not in (1, 3) or not image.numel():
            found = list(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
            return f"{self.column!r} must be a tensor [3, height, width] or [1, height, width], found {found}"
        if image.dtype == torch.uint8:
            return None
        if not image.is_floating_point() or not bool((image >= 0).logical_and(image <= 1).all()):
            return (
                f"{self.column!r} must be float in [0, 1] or uint8, found {image.dtype}, {image.min()} to {image.max()}"
            )
        return None

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        """``input`` [3, height, width] per example, as the model saw images in pretraining.

        Raises:
            SftlabError: the model carries no facts on its images.
        """
        facts = [getattr(model, name, None) for name in ("image_size", "mean", "std")]
        if None in facts:
            raise SftlabError(
                f"{type(model).__name__} does not say how its images were prepared. Load it with sl.load, or set "
                "model.image_size, model.mean and model.std to those of its pretraining."
            )
        size, mean, std = facts[0], *(torch.tensor(fact).view(3, 1, 1) for fact in facts[1:])
        size = (size, size) if isinstance(size, int) else tuple(size)
        return [{"input": (_resized(example[self.column], size) - mean) / std} for example in examples]


def _resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[3, *size], float32 in [0, 1]."""
    image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    if image.shape[1:] != size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
    return image.expand(3, -1, -1)


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
