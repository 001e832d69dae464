"""From texts, prompts with completions and conversations to token ids, with what is to be learnt marked."""

from collections.abc import Mapping, Sequence

from ..errors import BadData, SftlabError, bad_data

KINDS = (("text",), ("prompt", "completion"), ("messages",))


def problem(example: Mapping) -> str | None:
    """What is wrong with one example, or None."""
    found = [columns for columns in KINDS if all(column in example for column in columns)]
    if len(found) != 1:
        return f"needs exactly one of 'text', 'prompt' with 'completion', or 'messages'; it has {sorted(example)}"
    if "messages" in found[0]:
        return messages_problem(example["messages"], answered=True)
    for column in found[0]:
        if not isinstance(example[column], str) or not example[column].strip():
            return f"{column!r} must be text that is not empty, found {example[column]!r:.80}"
    return None


def messages_problem(messages, answered: bool = False) -> str | None:
    """What is wrong with a conversation, or None; ``answered``: it must hold something to learn."""
    if not isinstance(messages, list | tuple) or not messages:
        return "'messages' must be a list such as [{'role': 'user', 'content': 'Hi'}], with at least one"
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            return f"'messages'[{i}] must be a dict with 'role' and 'content', both text, found {message!r:.80}"
    if answered and not any(message["role"] == "assistant" for message in messages):
        return "'messages' has no message of the assistant: there is nothing to learn"
    return None


def tokenize(examples: Sequence[Mapping], tokenizer) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each example, and which of them are to be learnt.

    Of ``text`` every token is learnt, of a completion all of it, of a conversation what the messages of the assistant
    add to it; each with the token that ends it, or the model would never learn to stop (P8, P9). Plain text gets one
    BOS; a template writes its own (P10). BadData lists by index what the template cannot render.
    """
    bos, eos = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    if eos == [None]:
        raise SftlabError("the tokenizer has no EOS token, so a model cannot learn to stop: set tokenizer.eos_token")
    parts, problems = [], []
    for i, example in enumerate(examples):
        try:  # a prompt is tokenised by itself, because that is what the model sees when it has to continue it
            given = next([example[k] for k in columns] for columns in KINDS if all(k in example for k in columns))
            parts.append((given, None) if isinstance(given[0], str) else render(given[0], tokenizer))
        except BadData as error:
            problems.append(f"[{i}]: {error}")
    if problems:
        raise bad_data("conversations that the chat template cannot render", problems)
    rendered = any(spans is not None for _, spans in parts)
    if rendered and not getattr(tokenizer, "is_fast", False):
        raise SftlabError(f"{type(tokenizer).__name__} gives no offsets; load the fast tokenizer of the checkpoint")
    encoded = _encoded([text for texts, _ in parts for text in texts], tokenizer, return_offsets_mapping=rendered)
    each, offsets, rows = iter(encoded["input_ids"]), iter(encoded["offset_mapping"] if rendered else ()), []
    for texts, spans in parts:
        *before, ids = (next(each) for _ in texts)
        ends = [next(offsets, None) for _ in texts][-1]
        if spans is not None:  # a token belongs to the span in which its last character lies
            rows.append((ids, [any(start < end <= stop for start, stop in spans) for _, end in ends]))
            continue
        before, ids = sum(before, []), ids if ids[-1:] == eos else ids + eos
        before = before if bos in ([None], (before or ids)[:1]) else bos + before
        rows.append((before + ids, [False] * len(before) + [True] * len(ids)))
    return rows


def prompt_ids(prompts: Sequence, tokenizer) -> list[list[int]]:
    """Token ids of prompts to continue: texts as in training, conversations up to where the assistant speaks."""
    texts = [p if isinstance(p, str) else _apply(p, tokenizer, open_turn=True) for p in prompts]
    rows, bos = _encoded(texts, tokenizer)["input_ids"], [tokenizer.bos_token_id]
    there = [not isinstance(p, str) or bos in ([None], ids[:1]) for p, ids in zip(prompts, rows, strict=True)]
    return [ids if has_bos else bos + ids for ids, has_bos in zip(rows, there, strict=True)]


def render(messages: Sequence[Mapping], tokenizer) -> tuple[list[str], list[tuple[int, int]]]:
    """A conversation as text, and the spans of characters that the assistant's messages added to it.

    A span runs from the rendering of what came before, with the assistant's turn opened, to the rendering that has
    the message: its words and the end of its turn. No marker in the template is needed (P9), but it must render a
    message the same whatever follows, else BadData.
    """
    whole, spans = _apply(messages, tokenizer), []
    for i in (i for i, message in enumerate(messages) if message["role"] == "assistant"):
        before = _apply(messages[:i], tokenizer, open_turn=True) if i else ""
        after = _apply(messages[: i + 1], tokenizer) if i + 1 < len(messages) else whole
        for shorter, longer in ((before, after), (after, whole)):
            if not longer.startswith(shorter):
                at = next((k for k, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(longer))
                raise BadData(
                    f"message {i}: the chat template is not prefix-stable: from character {at} it says "
                    f"{shorter[at : at + 30]!r}, with more messages {longer[at : at + 30]!r}. "
                    "Use a template that renders a message the same whatever follows."
                )
        spans.append((len(before), len(after)))
    return [whole], spans


def _apply(messages: Sequence[Mapping], tokenizer, open_turn: bool = False) -> str:
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise SftlabError("conversations need a chat template and this tokenizer has none: set tokenizer.chat_template")
    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=open_turn)
    except TemplateError as error:
        raise BadData(f"the chat template refuses the messages: {error}") from error


def _encoded(texts: list[str], tokenizer, **settings) -> Mapping:
    return tokenizer(texts, add_special_tokens=False, verbose=False, return_attention_mask=False, **settings)


def pack(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Put samples into rows of at most ``limit`` tokens, into the first that has room, the longest first.

    >>> pack([3, 9, 4, 6, 1], limit=10)
    [[0], [1, 4], [2, 3]]
    """
    size, rows = 1 << max(len(lengths) - 1, 0).bit_length(), {}
    room = [limit] * (2 * size)  # a tree of the greatest room left, or 100,000 samples would take minutes
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = 1
        while at < size:
            at = 2 * at if room[2 * at] >= lengths[i] else 2 * at + 1
        rows.setdefault(at, []).append(i)
        room[at] -= lengths[i]
        while (at := at // 2) > 0:
            room[at] = max(room[2 * at], room[2 * at + 1])
    return sorted(sorted(row) for row in rows.values())
