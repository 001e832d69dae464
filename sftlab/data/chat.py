"""From text, prompts with completions, and conversations to token ids, with what is to be learnt marked."""

from collections.abc import Mapping, Sequence

from ..errors import BadData, SftlabError, bad_data

KINDS = {"text": ("text",), "completion": ("prompt", "completion"), "messages": ("messages",)}
COLUMNS = ("text", "prompt", "completion", "messages")


def kind_of(example: Mapping) -> str | None:
    """Which of :data:`KINDS` an example is, None if it is none or more than one.

    >>> kind_of({"prompt": "2 + 2 =", "completion": " 4", "source": "book"})
    'completion'
    """
    found = [kind for kind, columns in KINDS.items() if all(column in example for column in columns)]
    return found[0] if len(found) == 1 else None


def problem(example: Mapping) -> str | None:
    """What is wrong with one example, or None.

    >>> problem({"messages": [{"role": "user", "content": "Hi"}]})
    "'messages' has no message of the assistant: there is nothing to learn"
    """
    kind = kind_of(example)
    if kind is None:
        return f"needs exactly one of 'text', 'prompt' with 'completion', or 'messages'; it has {sorted(example)}"
    if kind != "messages":
        return next((wrong for column in KINDS[kind] if (wrong := _text_problem(example[column], column))), None)
    if wrong := messages_problem(example["messages"]):
        return f"'messages' {wrong}"
    if not any(message["role"] == "assistant" for message in example["messages"]):
        return "'messages' has no message of the assistant: there is nothing to learn"
    return None


def messages_problem(messages) -> str | None:
    """What is wrong with a conversation, or None."""
    if not isinstance(messages, list | tuple) or not messages:
        return "must be a list of messages such as {'role': 'user', 'content': 'Hi'}, with at least one"
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            return f"[{i}] must be a dict with 'role' and 'content', both text, found {message!r:.80}"
    return None


def _text_problem(text, column: str) -> str | None:
    if not isinstance(text, str):
        return f"{column!r} must be text, found {type(text).__name__}"
    return None if text.strip() else f"{column!r} is empty"


def tokenize(examples: Sequence[Mapping], tokenizer) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each example, and which of them are to be learnt.

    Of ``text`` every token is learnt, of a completion all of it, of a conversation what the messages of the assistant
    add to it; each with the token that ends it, or the model would never learn to stop (P8, P9). Nothing is masked by
    the value of an id. Plain text gets one BOS; a template writes its own (P10).

    Raises:
        BadData: conversations that the chat template cannot render, with their index.
        SftlabError: the tokenizer has no EOS, no chat template, or no offsets.
    """
    if tokenizer.eos_token_id is None:
        raise SftlabError("the tokenizer has no EOS token, so a model cannot learn to stop: set tokenizer.eos_token")
    kinds, problems, texts, spans = [kind_of(example) for example in examples], [], [], []
    for i, example in enumerate(examples):
        if kinds[i] == "messages":
            try:
                text, learnt = render(example["messages"], tokenizer)
            except BadData as error:
                problems.append(f"[{i}]: {error}")
                continue
            texts.append(text)
            spans.append(learnt)
    if problems:
        raise bad_data("conversations that the chat template cannot render", problems)
    chats = _marked(texts, spans, tokenizer)
    # A prompt is tokenised by itself, because that is what the model sees when it has to continue it.
    prompts = iter(plain_ids([x["prompt"] for x, kind in zip(examples, kinds, strict=True) if kind == "completion"],
                             tokenizer))  # fmt: skip
    learnt = [x[kind] for x, kind in zip(examples, kinds, strict=True) if kind != "messages"]
    learnt = iter(_ids(learnt, tokenizer))
    rows = []
    for kind in kinds:
        if kind == "messages":
            rows.append(next(chats))
            continue
        before, ids = (next(prompts) if kind == "completion" else _bos(tokenizer)), next(learnt)
        if kind == "text" and ids[:1] == before:
            before = []  # the text brings its own BOS
        if ids[-1:] != [tokenizer.eos_token_id]:
            ids = [*ids, tokenizer.eos_token_id]
        rows.append(([*before, *ids], [False] * len(before) + [True] * len(ids)))
    return rows


def plain_ids(texts: Sequence[str], tokenizer) -> list[list[int]]:
    """Token ids of plain texts, with exactly one BOS if the tokenizer has one, and no EOS."""
    bos = _bos(tokenizer)
    return [ids if ids[:1] == bos else [*bos, *ids] for ids in _ids(texts, tokenizer)]


def prompt_ids(prompts: Sequence, tokenizer) -> list[list[int]]:
    """Token ids of prompts to continue: plain texts as in training, conversations up to where the assistant speaks."""
    plain = iter(plain_ids([p for p in prompts if isinstance(p, str)], tokenizer))
    chats = iter(_ids([_apply(p, tokenizer, True) for p in prompts if not isinstance(p, str)], tokenizer))
    return [next(plain if isinstance(p, str) else chats) for p in prompts]


def render(messages: Sequence[Mapping], tokenizer) -> tuple[str, list[tuple[int, int]]]:
    """A conversation as text, and the spans of characters that the assistant's messages added to it.

    A span runs from the rendering of what came before, with the opening of the assistant's turn, to the rendering
    that has the message: its words and the end of its turn. No marker in the template is needed (P9).

    Raises:
        BadData: the template refuses the messages, or renders a message otherwise when another follows.
    """
    whole, spans = _apply(messages, tokenizer, False), []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _apply(messages[:i], tokenizer, True) if i else ""
        after = _apply(messages[: i + 1], tokenizer, False) if i + 1 < len(messages) else whole
        for shorter, longer in ((before, after), (after, whole)):
            if not longer.startswith(shorter):
                at = next((k for k, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(longer))
                near = slice(max(at - 10, 0), at + 30)
                raise BadData(
                    f"message {i}: the chat template is not prefix-stable, so what the assistant added cannot be told. "
                    f"At character {at} it says {shorter[near]!r}, and with more messages {longer[near]!r}. Use a "
                    "template that renders a message the same whatever follows."
                )
        spans.append((len(before), len(after)))
    return whole, spans


def _apply(messages: Sequence[Mapping], tokenizer, open_turn: bool) -> str:
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise SftlabError(
            "conversations need a chat template and this tokenizer has none: set tokenizer.chat_template to that of "
            "the checkpoint, or give 'prompt' and 'completion'."
        )
    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=open_turn)
    except TemplateError as error:
        raise BadData(f"the chat template refuses the messages: {error}") from error


def _marked(texts: Sequence[str], spans: Sequence[list[tuple[int, int]]], tokenizer):
    """(ids, learnt) of rendered conversations; a token belongs to the span in which its last character lies."""
    if not texts:
        return
    if not getattr(tokenizer, "is_fast", False):
        raise SftlabError(f"{type(tokenizer).__name__} gives no offsets; load the fast tokenizer of the checkpoint")
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    for ids, offsets, parts in zip(encoded["input_ids"], encoded["offset_mapping"], spans, strict=True):
        yield ids, [any(start < end <= stop for start, stop in parts) for _, end in offsets]


def _ids(texts: Sequence[str], tokenizer) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=False, verbose=False, return_attention_mask=False)["input_ids"]


def _bos(tokenizer) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def pack(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Put samples together in rows of at most ``limit`` tokens: first fit, longest first. Deterministic.

    First fit decreasing never needs more than 11/9 of the fewest rows, plus one (Johnson, 1973). The first row with
    enough room is found in a tree of the greatest room left, so 100,000 samples take seconds, not minutes.

    Returns:
        list[list[int]]: sample numbers per row, ascending within a row, rows ordered by their first sample.

    >>> pack([3, 9, 4, 6, 1], limit=10)
    [[0], [1, 4], [2, 3]]
    """
    size = 1 << max(len(lengths) - 1, 0).bit_length()
    room = [limit] * (2 * size)  # room[1] is the root, the leaves are rows
    rows: dict[int, list[int]] = {}
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] > limit:
            raise ValueError(f"sample {i} has {lengths[i]} tokens, the row {limit}")
        at = 1
        while at < size:
            at = 2 * at if room[2 * at] >= lengths[i] else 2 * at + 1
        rows.setdefault(at, []).append(i)
        room[at] -= lengths[i]
        while at > 1:
            at //= 2
            room[at] = max(room[2 * at], room[2 * at + 1])
    return sorted(sorted(row) for row in rows.values())
