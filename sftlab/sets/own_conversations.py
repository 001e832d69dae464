"""Your own conversations, prompts and texts as a task for a causal language model."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..tasks import chat
from ..tasks.language import CausalLM
from .own_files import Findings, divide, files_of, fold, text_problem
from .own_text import json_lines

SUCH_AS = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
ROLES = ("system", "user", "assistant", "tool")


def from_conversations(
    files, *, pack: bool = False, encoding: str | None = None, val: float = 0.15, test: float = 0.15, seed: int = 0
) -> CausalLM:
    r"""A task for instruction tuning from JSON lines, one example per line, in one of the usual forms.

    ``{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}`` is a conversation: what
    the assistant says is learnt. ``{"instruction": ..., "output": ...}``, with or without ``"input"``, becomes one of
    two turns (Taori and others, 2023, *Alpaca*). Of ``{"prompt": ..., "completion": ...}`` the completion is learnt, of
    ``{"text": ...}`` everything. Other keys are kept.

    Args:
        files, encoding, val, test, seed: as for :func:`from_csv`; what asks for the same stays together.
        pack: as for :class:`sftlab.CausalLM`.

    Returns:
        CausalLM: ``report`` counts the forms, and the answers in a conversation.

    Raises:
        BadData, ValueError: as for :func:`from_csv`; an answer that is empty, a conversation that does not end in one,
            an unknown role, two messages of one side in a row are reported with file and line.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "my.jsonl")
    >>> lines = [f'{{"instruction": "Add 1.", "input": "{i}", "output": "{i + 1}"}}' for i in range(20)]
    >>> _ = path.write_text("\n".join(lines))
    >>> from_conversations(path).examples("train")[0]["messages"][0]
    {'role': 'user', 'content': 'Add 1.\n\n0'}
    """
    found = Findings("from_conversations")
    paths = files_of(files, found)
    rows = {split: list(_rows(path, found, encoding)) for split, path in paths.items()}
    place = next(iter(paths.values()))
    splits = divide(rows, found, _asked, val=val, test=test, seed=seed, place=place)
    forms = Counter(next(form[0] for form in chat.KINDS if form[0] in row) for group in rows.values() for row in group)
    if len(forms) > 1:
        found.notes.append("mixed forms: " + ", ".join(f"{form} {count}" for form, count in sorted(forms.items())))
    turns = [sum(m["role"] == "assistant" for m in row["messages"])
             for group in rows.values() for row in group if "messages" in row]  # fmt: skip
    if turns and max(turns) > 1:
        found.notes.append(
            f"up to {max(turns)} answers in a conversation, {sum(turns)} in {len(turns)}; all are learnt"
        )
    return found.report(CausalLM(splits, pack=pack, name=place.stem))


def _rows(path: Path, found: Findings, encoding) -> Iterator[dict]:
    for place, row in json_lines(path, SUCH_AS, found, encoding):
        if "instruction" in row and not any(form[0] in row for form in chat.KINDS):
            if "output" not in row:
                found.problem(place, f"has an 'instruction' without an 'output', its answer; it has {sorted(row)}")
                continue
            if not isinstance(row.get("input"), str | None):
                found.problem(place, text_problem("input", row["input"]))
                continue
            row = row | {"messages": _turns(**row)}
        problem = chat.problem(row) or ("messages" in row and _conversation_problem(row["messages"]))
        if problem:
            found.problem(place, problem)
        else:
            yield row


def _turns(instruction, output, input: str | None = None, **_) -> list[dict]:
    """An instruction, with its input behind it, and its output as a conversation of two turns."""
    asked = f"{instruction}\n\n{input}" if isinstance(instruction, str) and (input or "").strip() else instruction
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": output}]


def _conversation_problem(messages: list[Mapping]) -> str | None:
    for i, message in enumerate(messages):
        if message["role"] not in ROLES:
            return f"'messages'[{i}] has the role {message['role']!r}; known are {', '.join(ROLES)}"
        if wrong := text_problem("content", message["content"]):
            return f"'messages'[{i}]: {wrong}"
        if i and message["role"] == messages[i - 1]["role"] != "tool":
            return (
                f"'messages'[{i - 1}] and [{i}] are both of the {message['role']}: join them, or the other is missing"
            )
    if messages[-1]["role"] != "assistant":
        return f"the last message is of the {messages[-1]['role']}: it has no answer to learn"
    return None


def _asked(row: dict) -> str:
    """What an example asks for: a duplicate of it in another split is a leak."""
    if "messages" in row:
        return fold(" ".join(message["content"] for message in row["messages"][:-1]))
    return fold(row["prompt"] if "prompt" in row else row["text"])
