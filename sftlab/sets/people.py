"""Sentences in which people, places and organisations are marked: the course's data set for entity recognition."""

import re
from pathlib import Path

from ..assets import find_asset
from ..tasks.classify import TagTokens

KINDS = ["PER", "LOC", "ORG"]
TAGS = ["O", *(f"{place}-{kind}" for kind in KINDS for place in "BI")]
TRAITS = ["plain", "quote", "punctuation", "ambiguous", "nested"]

_WORD = re.compile(
    r"(?:[^\W\d_]\.)+(?:-?[^\W\d_]\.)*"  # initials and letters with full stops: J. J.-P. U.S. a.m.
    r"|(?<=\w)['’][sS]\b"  # a final 's
    r"|[^\W\d_]+(?:(?:['’](?![sS]\b)|-)[^\W_]+)*"  # words, with apostrophes and hyphens inside
    r"|\d+(?:[.,:/-]\d+)*"  # numbers, times, dates
    r"|\S"  # any other sign by itself
)


def words(text: str) -> list[str]:
    """Split a sentence as the sentences of the data set are split.

    Hyphens and apostrophes inside a word stay (Aix-en-Provence, O'Leary, don't); a final 's is a word of its own;
    single letters keep their full stops (J.-P., U.S.), other abbreviations do not (Ltd and a full stop); numbers, times
    and dates stay whole; every other sign, a dash between words too, stands alone.

    >>> words("J. P. O'Leary's shop (Aix-en-Provence) sold 1,200 kites at 9.40 a.m.")
    ['J.', 'P.', "O'Leary", "'s", 'shop', '(', 'Aix-en-Provence', ')', 'sold', '1,200', 'kites', 'at', '9.40', 'a.m.']
    """
    return _WORD.findall(text)


def splits() -> dict[str, list[dict]]:
    """``train`` (715 sentences), ``val`` (108) and ``test`` (230), each with ``words``, ``tags`` and ``trait``.

    Tags are BIO: B- opens a name, I- continues it, O is outside. No word of a name in ``val`` or ``test`` is part of a
    name in ``train``, apart from words such as Bank or River.

    Raises:
        AssetError: a file is missing or altered.

    >>> example = splits()["train"][0]
    >>> len(example["words"]) == len(example["tags"]), example["trait"] in TRAITS
    (True, True)
    """
    folder = find_asset("people")
    return {name: read_conll(folder / f"{name}.conll") for name in ("train", "val", "test")}


def read_conll(path: Path) -> list[dict]:
    """Sentences of a checked file: a line ``word TAB trait TAB tag`` per word, an empty line between sentences."""
    examples = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        words, traits, tags = zip(*(line.split("\t") for line in block.split("\n")), strict=True)
        examples.append({"words": list(words), "tags": list(tags), "trait": traits[0]})
    return examples


def people() -> TagTokens:
    """Tag people, places and organisations: 1,053 sentences, BIO tags, names of the test split unseen in training.

    Raises:
        AssetError: a file is missing or altered.

    >>> task = people()
    >>> task.label_names, [len(task.examples(split)) for split in task.splits]
    (['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC', 'B-ORG', 'I-ORG'], [715, 108, 230])
    """
    return TagTokens(splits(), TAGS, name="people")
