"""What `storylm` has read, and questions about the same knowledge: language modelling and instruction tuning."""

import json
from collections.abc import Sequence

from ..assets import find_asset
from ..errors import bad_data
from ..tasks.language import CausalLM


def stories() -> CausalLM:
    """Continue short texts of stories, facts and arithmetic: about 36,000 for training, 300 each to validate and test.

    `storylm` was pretrained on the training split; the perplexity of the others measures what fine-tuning makes it
    forget. Every token is learnt.

    Raises:
        AssetError: a file is missing or altered.

    >>> len(stories().examples("test"))
    300
    """
    folder = find_asset("stories")
    texts = {name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("train", "val", "test")}
    splits = {name: [{"text": line} for line in text.splitlines()] for name, text in texts.items()}
    return CausalLM(splits, name="stories")


def conversations() -> dict[str, list[dict]]:
    """``train``, ``val``, ``test`` and ``unseen``: each with ``kind``, ``question``, ``answer`` and ``messages``.

    What a question of ``val`` or ``test`` is about (a word, a country, a sum) is in no question of ``train``; the kinds
    of ``unseen`` are in no other split.

    Raises:
        AssetError: a file is missing or altered.

    >>> row = conversations()["train"][0]
    >>> [message["role"] for message in row["messages"]]
    ['user', 'assistant']
    """
    folder, splits = find_asset("instructions"), {}
    for name in ("train", "val", "test", "unseen"):
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        splits[name] = [{**row, "messages": conversation(**row)} for row in map(json.loads, lines)]
    return splits


def conversation(question: str, answer: str, **_) -> list[dict]:
    """A question of the user and the answer of the assistant."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def instructions() -> CausalLM:
    """Answer questions: 1,650 of 15 kinds to train, 150 and 300 about other items, and 120 of 3 kinds not trained.

    Raises:
        AssetError: a file is missing or altered.

    >>> task = instructions()
    >>> {split: len(task.examples(split)) for split in task.splits}
    {'train': 1650, 'val': 150, 'test': 300, 'unseen': 120}
    """
    return CausalLM(conversations(), name="instructions")


def exact_match(answers: Sequence[str], references: Sequence[str]) -> list[bool]:
    """Which answers say exactly what the reference says, but for case, spaces and a full stop at the end.

    Args:
        answers: what the model wrote.
        references: one right answer for each, in the same order.

    Raises:
        BadData: no answers, or not as many as references.

    >>> exact_match([" Paris.", "in Paris"], ["Paris", "Paris"])
    [True, False]
    """
    if not answers or len(answers) != len(references):
        raise bad_data("answers", [f"{len(answers)} of them for {len(references)} references"])
    return [_plain(said) == _plain(right) for said, right in zip(answers, references, strict=True)]


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).removesuffix(".")
