"""Language modelling: the next token of a text, of an answer, or of a translation."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..data.collate import length_mask, pad
from ..errors import SftlabError
from ..train.task import IGNORE, LossSum, Task, cross_entropy_sum
from . import chat
from .inputs import TextInput, _tokenizer_of


@dataclass(frozen=True)
class CausalInput(TextInput):
    """Token ids and labels of texts, prompts with completions or conversations; see :mod:`sftlab.tasks.chat`."""

    pack: bool = False

    def problems(self, example: dict) -> str | None:
        return chat.problem(example)

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        """``input_ids`` and ``labels``, cut to the model's limit, beside what the example has (P35)."""
        items, limit = [], model.max_tokens
        for example, (ids, learnt) in zip(examples, chat.tokenize(examples, _tokenizer_of(model)), strict=True):
            labels = [token if learn else IGNORE for token, learn in zip(ids, learnt, strict=True)]
            labels[0] = IGNORE  # nothing stands before the first token that could predict it
            cut = {"cut_from": len(ids)} if len(ids) > limit else {}
            items.append({**example, "input_ids": ids[:limit], "labels": labels[:limit], **cut})
        return items

    def collate(self, items: Sequence[dict], model) -> dict:
        """Padded on the right. Packed rows have no mask but ``position_ids``, 0 where an example begins."""
        inputs = {"input_ids": pad([item["input_ids"] for item in items], _tokenizer_of(model).pad_token_id or 0)}
        if self.pack:
            return {**inputs, "position_ids": pad([item["position_ids"] for item in items], 0)}
        return {**inputs, "attention_mask": length_mask([len(item["input_ids"]) for item in items])}

    def call(self, model, inputs: dict):
        if self.pack:  # tokens x tokens: made on the device, not carried there
            dtype = next(model.parameters()).dtype
            inputs = {**inputs, "attention_mask": isolation_mask(inputs["position_ids"], dtype)}
        return model(**inputs, use_cache=False)


class SourceInput(TextInput):
    """The text that an encoder reads; batches are sorted by the length of source and target together."""

    def length(self, item: dict) -> int:
        return len(item["input_ids"]) + len(item.get("labels", ()))

    def call(self, model, inputs: dict):
        return model(**inputs, use_cache=False)  # the cache is for generation


class _Language(Task):
    fewest_labels = 0
    metric_names = ("token_accuracy", "perplexity")
    label_column = ""

    def label_problem(self, example: dict) -> str | None:
        return None

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**item, "supervised": any(label != IGNORE for label in item["labels"])}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return pad([item["labels"] for item in items], IGNORE)  # by length, never by the value of an id (P8)

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
            ``batch`` then counts rows; a row has ``indices``, the numbers of all its examples.

    Raises:
        BadData: unusable examples, with split and index; conversations that the model's template cannot render.

    >>> CausalLM({"train": [{"prompt": "2 + 2 =", "completion": " 4"}]}).of_loss(0.0)
    {'perplexity': 1.0}
    """

    kind = "causal language modelling"
    label_column = "text, completion or messages"

    def __init__(self, splits, *, pack: bool = False, name: str = "own data"):
        super().__init__(splits, (), CausalInput(pack=pack), name)

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        items = super().encode(examples, model, labelled)
        if not self.inputs.pack:
            return items
        _check_isolation(model)
        rows = chat.pack([len(item["input_ids"]) for item in items], model.max_tokens)
        return [_joined([items[i] for i in row]) for row in rows]

    def collate(self, items: Sequence[dict], model) -> dict:
        """``learnt`` besides: the positions, numbered through the batch, whose next token is learnt."""
        batch = super().collate(items, model)
        if "labels" in batch:
            batch["learnt"] = (_next(batch["labels"]) != IGNORE).flatten().nonzero()[:, 0]
        return batch

    def loss(self, model, batch: dict) -> LossSum:
        """The same sum as of :meth:`loss_of`, without logits that no label needs.

        The output layer is as wide as the vocabulary. Prompts and padding do not pass it; what the model does with
        logits afterwards (a scale, a soft cap) is done to those that remain.
        """
        output = getattr(model, "get_output_embeddings", lambda: None)()
        if output is None or "learnt" not in batch or _is_compiled(model):
            return super().loss(model, batch)
        learnt, labels = batch["learnt"], _next(batch["labels"])

        def select(module, args):
            if args and args[0].shape[:-1] == labels.shape:
                return (args[0].flatten(0, 1).index_select(0, learnt)[None], *args[1:])

        handle = output.register_forward_pre_hook(select)
        try:
            logits = self.logits(model, batch)
        finally:
            handle.remove()
        if logits.shape[:2] != (1, len(learnt)):  # a model that calls its output layer in another way
            return self.loss_of(logits, batch)
        return cross_entropy_sum(logits[0], labels.flatten()[learnt])

    def loss_of(self, logits: torch.Tensor, batch: dict) -> LossSum:
        """Position t predicts token t + 1. The labels are moved, because a part of the logits would be a copy."""
        return cross_entropy_sum(logits, _next(batch["labels"]))

    def decode(self, logits: torch.Tensor, batch: dict) -> tuple:
        return super().decode(logits[:, :-1], {"labels": batch["labels"][:, 1:]})


class Seq2Seq(_Language):
    """Learn to turn one sequence into another with an encoder and a decoder: translation, summaries, transcripts.

    Args:
        splits: examples such as ``{"source": "ein Haus", "target": "a house"}``.
        source, target: the columns.
        inputs: how the source becomes tensors, if it is not text; called with ``decoder_input_ids`` besides.

    Raises:
        BadData: unusable examples, with split and index.

    >>> Seq2Seq({"train": [{"source": "ein Haus", "target": "a house"}]}).label_column
    'target'
    """

    kind = "sequence to sequence"

    def __init__(self, splits, source: str = "source", target: str = "target", inputs=None, name: str = "own data"):
        self.label_column = target
        super().__init__(splits, (), inputs or SourceInput(source), name)

    def label_problem(self, example: dict) -> str | None:
        return TextInput(self.label_column).problems(example)

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        """Sources, ``labels`` that end in EOS, and what the decoder reads: its start token, once, and the labels."""
        items = super().encode(examples, model, labelled=False)
        items = [{**example, **item} for example, item in zip(examples, items, strict=True)]  # all is kept (P35)
        if not labelled:
            return items
        tokenizer, limit = _tokenizer_of(model), model.max_tokens
        said = [getattr(config, "decoder_start_token_id", None) for config in (model.config, model.generation_config)]
        if said == [None, None] or tokenizer.eos_token_id is None:
            raise SftlabError("the model needs config.decoder_start_token_id, and its tokenizer an eos_token: set them")
        start = said[0] if said[0] is not None else said[1]
        targets = tokenizer(text_target=[x[self.label_column] for x in examples], verbose=False)["input_ids"]
        for item, ids in zip(items, targets, strict=True):
            ids = ids[1:] if ids[0] == start else ids  # Whisper's tokenizer writes the start token itself (P32)
            ids = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
            item |= {"labels": ids[:limit], "decoder_input_ids": [start, *ids[:limit][:-1]]}
            item |= {"target_cut_from": len(ids)} if len(ids) > limit else {}
        return items

    def collate(self, items: Sequence[dict], model) -> dict:
        batch = super().collate(items, model)
        if "labels" in batch:
            read = [item["decoder_input_ids"] for item in items]
            batch["inputs"]["decoder_input_ids"] = pad(read, _tokenizer_of(model).pad_token_id or 0)
        return batch


def isolation_mask(position_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [batch, 1, tokens, tokens]: a token sees itself and what stands before it in its own example.

    Additive, because eager attention would add booleans; padding sees itself, so no row of the softmax is empty.
    """
    example = (position_ids == 0).cumsum(dim=1)
    seen = (example[:, None, :, None] == example[:, None, None, :]).tril()
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _next(labels: torch.Tensor) -> torch.Tensor:
    """For each position the label of the position after it; none for the last."""
    return F.pad(labels[:, 1:], (0, 1), value=IGNORE)


def _is_compiled(model) -> bool:
    """Whether some part was compiled: compiled code does not see that a hook has changed."""
    return hasattr(model, "_orig_mod") or any(part._compiled_call_impl is not None for part in model.modules())


def _joined(items: Sequence[dict]) -> dict:
    """Several encoded examples as one row; labels never reach across, for the first of each example is none."""
    row = {key: [token for item in items for token in item[key]] for key in ("input_ids", "labels")}
    row |= {"position_ids": [at for item in items for at in range(len(item["input_ids"]))]}
    row |= {"index": items[0]["index"], "indices": [item["index"] for item in items]}
    return {**items[0], **row} if len(items) == 1 else row  # a cut example fills a row alone


def _check_isolation(model) -> None:
    """Raise if the model would not obey the mask of packed rows."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # below peft's wrapper
    attention, window = base.config._attn_implementation, getattr(base.config, "sliding_window", None)
    wrong = {
        f"attention {attention!r} takes no such mask; set 'sdpa' or 'eager'": attention not in ("sdpa", "eager"),
        f"a sliding window; set model.max_tokens to at most {window}": window and window < model.max_tokens,
        "no position_ids": "position_ids" not in inspect.signature(base.forward).parameters,
    }
    if found := [what for what, is_so in wrong.items() if is_so]:
        raise SftlabError(f"{type(model).__name__} cannot keep packed rows apart: {'; '.join(found)}; or pack=False.")
