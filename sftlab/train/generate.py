"""Text from a language model, in batches that give what each prompt alone would give."""

from collections.abc import Sequence

import torch

from .. import env
from ..data import chat
from ..data.batching import mix
from ..data.collate import length_mask, pad
from ..errors import bad_data
from ..model.loading import quiet_transformers
from .evaluate import eval_mode
from .inputs import _tokenizer_of


def generate(
    model,
    prompts: Sequence,
    *,
    max_new_tokens: int,
    num_beams: int = 1,
    batch: int = 16,
    seed: int | None = None,
    **settings,
) -> list[str]:
    """Continue prompts with a causal model, or turn sources into targets with an encoder-decoder.

    Greedy unless ``do_sample=True``. Prompts of a causal model are padded on the left, so that what is new follows
    what was said, and positions count from the first token; so the company of a prompt does not change its
    continuation (P31). The model's modes, its tokenizer and the caller's random state are left as they were.

    Args:
        model: of transformers, with ``tokenizer`` and ``max_tokens``.
        prompts: texts; for a causal model also conversations (lists of messages), rendered by the chat template up to
            where the assistant speaks.
        max_new_tokens: at most so many tokens per prompt; generation ends at EOS.
        num_beams: 1 for greedy decoding or sampling.
        batch: prompts per forward pass.
        seed: of sampling; default: the seed of ``sl.start``. Samples depend on ``batch``, greedy decoding does not.
        settings: passed to transformers' ``generate``, such as ``do_sample=True, temperature=0.7``.

    Returns:
        list[str]: the new text only, in the order of the prompts.

    Raises:
        BadData: no prompts, one of another kind, or one that is too long; with its index.
        ValueError: ``batch``, ``max_new_tokens`` or ``num_beams`` below 1, or several sequences asked per prompt.

    >>> import sftlab as sl
    >>> sl.generate(model, ["2 + 2 ="], max_new_tokens=3)     # doctest: +SKIP
    [' 4']
    """
    for name, value in (("batch", batch), ("max_new_tokens", max_new_tokens), ("num_beams", num_beams)):
        if value != int(value) or value < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {value}")
    if settings.get("num_return_sequences", 1) != 1:
        raise ValueError("num_return_sequences must be 1: one text per prompt; repeat the prompt to get more samples")
    tokenizer, causal = _tokenizer_of(model), not model.config.is_encoder_decoder
    rows = _encoded(model, prompts, max_new_tokens, causal)
    ends = _end_ids(model, tokenizer)
    padding = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    settings = {"do_sample": False, "use_cache": True, **settings, "max_new_tokens": max_new_tokens}
    settings |= {"num_beams": num_beams, "pad_token_id": padding, "eos_token_id": ends}
    seed, device = env.current().seed if seed is None else seed, env.current().device
    model.to(device)
    order, texts = sorted(range(len(rows)), key=lambda row: len(rows[row])), [""] * len(rows)
    own_randomness = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
    with eval_mode(model), torch.inference_mode(), env.current().autocast(), own_randomness, quiet_transformers():
        for start in range(0, len(rows), batch):
            torch.manual_seed(mix(seed, start))
            group = order[start : start + batch]
            inputs = _inputs([rows[row] for row in group], padding, causal)
            made = model.generate(**{k: v.to(device) for k, v in inputs.items()}, **settings)
            # An encoder-decoder's answer opens with the start token, which may be EOS itself (BART).
            made = made[:, inputs["input_ids"].shape[1] if causal else 1 :]
            for row, ids in zip(group, made.tolist(), strict=True):
                stop = next((at for at, token in enumerate(ids) if token in ends), len(ids))
                texts[row] = tokenizer.decode(ids[:stop], skip_special_tokens=True)
    return texts


def _inputs(rows: Sequence[list[int]], padding: int, causal: bool) -> dict[str, torch.Tensor]:
    """Padded on the left for a causal model, from which transformers counts positions by the mask; else on the right."""
    inputs = {"input_ids": pad(rows, padding), "attention_mask": length_mask(list(map(len, rows)))}
    if causal:
        lengths, longest = map(len, rows), inputs["input_ids"].shape[1]
        shifts = [longest - length for length in lengths]
        inputs = {
            name: torch.stack([row.roll(shift) for row, shift in zip(value, shifts, strict=True)])
            for name, value in inputs.items()
        }
    return inputs


def _encoded(model, prompts: Sequence, max_new_tokens: int, causal: bool) -> list[list[int]]:
    """Token ids of checked prompts."""
    if isinstance(prompts, str) or not prompts or isinstance(prompts[0], dict):
        raise bad_data("prompts", ["must be a list of texts or of conversations, with at least one"])
    problems = [f"[{i}]: {wrong}" for i, prompt in enumerate(prompts) if (wrong := _problem(prompt, causal))]
    if problems:
        raise bad_data("prompts", problems)
    tokenizer = _tokenizer_of(model)
    rows = chat.prompt_ids(prompts, tokenizer) if causal else tokenizer(list(prompts), verbose=False)["input_ids"]
    # The decoder of an encoder-decoder counts its own tokens; a causal model counts prompt and answer together.
    room = model.max_tokens - (max_new_tokens if causal else 0)
    rest = f", and {max_new_tokens} new ones are asked for" if causal else ""
    problems = [
        f"[{i}]: {len(ids)} tokens{rest}; the model has room for {model.max_tokens}"
        for i, ids in enumerate(rows)
        if len(ids) > room
    ]
    if not causal and max_new_tokens > model.max_tokens:
        problems = [f"{max_new_tokens} new tokens are asked for; the model has room for {model.max_tokens}"]
    if problems:
        raise bad_data("prompts", problems)
    return rows


def _problem(prompt, causal: bool) -> str | None:
    if isinstance(prompt, str):
        return None if prompt.strip() else "is empty"
    if not causal:
        return f"must be text, found {type(prompt).__name__}"
    wrong = chat.messages_problem(prompt)
    return f"{wrong} (or a text)" if wrong else None


def _end_ids(model, tokenizer) -> list[int]:
    """Tokens that end a text: those of the checkpoint's generation settings and the tokenizer's EOS."""
    said = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    said = [] if said is None else said if isinstance(said, list) else [said]
    own = tokenizer.eos_token_id
    ends = [*said, *([] if own is None or own in said else [own])]
    if not ends:
        raise bad_data("prompts", ["neither the tokenizer nor the model says which token ends a text"])
    return ends
