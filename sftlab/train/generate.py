"""Text from a language model, in batches that give what each prompt alone would give."""

from collections.abc import Sequence

import torch

from .. import env
from ..data import chat
from ..data.batching import mix
from ..data.collate import length_mask, pad, to_device
from ..errors import bad_data
from ..model.loading import quiet_transformers
from .evaluate import eval_mode
from .inputs import _tokenizer_of


def generate(
    model, prompts: Sequence, *, max_new_tokens: int, num_beams: int = 1, batch: int = 16, seed: int | None = None,
    **settings,
) -> list[str]:  # fmt: skip
    """Continue prompts with a causal model, or turn sources into targets with an encoder-decoder.

    Prompts of a causal model are padded on the left and positions count from the first token, so the company of a
    prompt does not change its continuation (P31).

    Args:
        model: of transformers, with ``tokenizer`` and ``max_tokens``.
        prompts: texts; for a causal model also conversations (lists of messages), rendered by the chat template.
        max_new_tokens, num_beams: at most so many tokens, until EOS; 1 beam for greedy decoding or sampling.
        batch: prompts per forward pass; a matter of speed and memory, but samples depend on it too.
        seed: of sampling; default: the seed of ``sl.start``.
        settings: passed to transformers' ``generate``, such as ``do_sample=True, temperature=0.7``; else greedy.

    Returns:
        list[str]: the new text only, in the order of the prompts.

    Raises:
        BadData: no prompts, one of another kind, or one that is too long; with its index.
        ValueError: a number below 1, or several sequences asked per prompt.

    >>> import sftlab as sl
    >>> sl.generate(model, ["2 + 2 ="], max_new_tokens=3)     # doctest: +SKIP
    [' 4']
    """
    for name, value in (("batch", batch), ("max_new_tokens", max_new_tokens), ("num_beams", num_beams)):
        if value != int(value) or value < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {value}")
    if settings.get("num_return_sequences", 1) != 1:
        raise ValueError("num_return_sequences must be 1: repeat the prompt to get more samples")
    tokenizer, causal = _tokenizer_of(model), not model.config.is_encoder_decoder
    rows = _checked(model, prompts, max_new_tokens, causal)
    said = model.generation_config.eos_token_id  # a checkpoint may end turns with other tokens than the tokenizer's EOS
    ends = sorted({*(said if isinstance(said, list) else [said]), tokenizer.eos_token_id} - {None})
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (*ends, 0)[0]
    settings = {"do_sample": False, "use_cache": True, **settings, "max_new_tokens": max_new_tokens}
    settings |= {"num_beams": num_beams, "pad_token_id": padding, "eos_token_id": ends or None}
    seed, device = env.current().seed if seed is None else seed, env.current().device
    model.to(device)
    order, texts = sorted(range(len(rows)), key=lambda row: len(rows[row])), [""] * len(rows)
    own_randomness = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
    with eval_mode(model), torch.inference_mode(), env.current().autocast(), own_randomness, quiet_transformers():
        for start in range(0, len(rows), batch):
            torch.manual_seed(mix(seed, start))
            group = order[start : start + batch]
            inputs = to_device(_padded([rows[row] for row in group], padding, causal), device)
            made = model.generate(**inputs, **settings)
            # An encoder-decoder's answer opens with the start token, which may be EOS itself (BART).
            made = made[:, inputs["input_ids"].shape[1] if causal else 1 :]
            for row, ids in zip(group, made.tolist(), strict=True):
                stop = next((at for at, token in enumerate(ids) if token in ends), len(ids))
                texts[row] = tokenizer.decode(ids[:stop], skip_special_tokens=True)
    return texts


def _padded(rows: list[list[int]], padding: int, left: bool) -> dict[str, torch.Tensor]:
    """Ids and mask; from the mask transformers counts the positions of a causal model."""
    rows = [row[::-1] for row in rows] if left else rows  # turned, padded on the right, turned back
    both = {"input_ids": pad(rows, padding), "attention_mask": length_mask([len(row) for row in rows])}
    return {name: value.flip(1) if left else value for name, value in both.items()}


def _checked(model, prompts: Sequence, new: int, causal: bool) -> list[list[int]]:
    """Token ids of prompts. A causal model counts prompt and answer together, a decoder its own tokens."""
    if isinstance(prompts, str) or not prompts or isinstance(prompts[0], dict):
        raise bad_data("prompts", ["must be a list of texts or of conversations, with at least one"])
    limit, tokenizer, rows, problems = model.max_tokens, _tokenizer_of(model), [], []
    for i, prompt in enumerate(prompts):
        wrong = chat.messages_problem(prompt) if causal else f"must be text, found {type(prompt).__name__}"
        if wrong := wrong if not isinstance(prompt, str) else None if prompt.strip() else "is empty":
            problems.append(f"[{i}]: {wrong}")
    if not problems:
        rows = chat.prompt_ids(prompts, tokenizer) if causal else tokenizer(list(prompts), verbose=False)["input_ids"]
    for i, ids in enumerate(rows):
        if len(ids) + new * causal > limit or new > limit:
            problems.append(f"[{i}]: {len(ids)} tokens and {new} new ones; the model has room for {limit}")
    if problems:
        raise bad_data("prompts", problems)
    return rows
