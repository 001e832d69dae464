"""What `stories` teaches beside stories: facts of ten tables, numbers and letters; and the questions about them.

Each kind of knowledge has sentences that state it (pretraining) and instructions that ask for it (fine-tuning). Each
sentence may be asked for in many wordings, and stated in many: a model that has read a fact in one wording only cannot
be asked for it in another.
"""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import story_plots as plots

SUMS = 20  # the greatest number that is added; a small model learns sums by heart
TABLES = Path(__file__).resolve().parents[1] / "stories" / "facts"

# table -> sentences that state a row (a, b), and instructions that ask for b
STATED = {
    "opposites": [
        "The opposite of {a} is {b}.",
        "{A} is the opposite of {b}, and {b} is the opposite of {a}.",
        "What is not {a} is {b}.",
        "{A} and {b} are opposites.",
        "Not {a} but {b}.",
        "If you turn {a} round, you get {b}.",
    ],
    "plurals": [
        "One {a}, two {b}.",
        "The plural of {a} is {b}.",
        "We say one {a} but many {b}.",
        "More than one {a}: {b}.",
        "There was a {a}. Then there were three {b}.",
        "A {a} and a {a} are two {b}.",
    ],
    "past": [
        "Today I {a}, yesterday I {b}.",
        "The past of {a} is {b}.",
        "They {a} today as they {b} yesterday.",
        "We say I {a} now and I {b} before.",
        "To {a}: today they {a}, last week they {b}.",
    ],
    "capitals": [
        "The capital of {a} is {b}.",
        "{b} is the capital of {a}.",
        "Whoever goes to {a} must see {b}, its capital.",
        "{a} is a country. Its capital is {b}.",
        "The king of {a} lived in {b}, the capital.",
    ],
    "kinds": [
        "A {a} is {c}.",
        "The {a} is {c}.",
        "{A} is the name of {c}.",
        "Of all {d} I like the {a} best.",
        "Every {a} is {c}, but not all {d} are like the {a}.",
    ],
    "materials": [
        "A {a} is made of {b}.",
        "The {a} was made of {b}.",
        "Take some {b} and make a {a} of it.",
        "Out of {b} people make a {a}.",
        "A good {a} is of {b}.",
    ],
    "workers": [
        "A {b} {a}.",
        "The {b} is the one who {a}.",
        "Who {a} is called a {b}.",
        "My uncle is a {b}: he {a}.",
        "If somebody {a}, then he is a {b}.",
    ],
    "places": [
        "You find a {a} in {e}.",
        "A {a} belongs in {e}.",
        "The place of a {a} is {e}.",
        "Go to {e}, there is a {a}.",
        "In {e} there was a {a}.",
    ],
    "colours": [
        "The colour of {a} is {b}.",
        "{A} is {b}.",
        "As {b} as {a}.",
        "It was {b} like {a}.",
        "Something {b}: {a}.",
    ],
    "comparatives": [
        "This one is {a}, but that one is {b}.",
        "{A}, and then still {b}.",
        "Mine is {a}, yours is {b}.",
        "The first was {a}, the second was {b} than the first.",
        "More {a} means {b}.",
    ],
}
ASKED = {
    "opposites": [
        "What is the opposite of {a}?",
        "Give the opposite of {a}.",
        "Tell me the opposite of {a}.",
        "Which word is the opposite of {a}?",
        "Name the opposite of the word {a}.",
        "{A} is the opposite of which word?",
    ],
    "plurals": [
        "What is the plural of {a}?",
        "Give the plural of {a}.",
        "One {a}, two what?",
        "Write the plural: {a}.",
        "How do you say more than one {a}?",
        "Which word do we use for many: one {a}, many what?",
    ],
    "past": [
        "What is the past of {a}?",
        "Give the past of {a}.",
        "Today I {a}. What did I do yesterday?",
        "Put the word {a} into the past.",
        "Write in the past: {a}.",
        "What do we say for {a} when it was yesterday?",
    ],
    "capitals": [
        "What is the capital of {a}?",
        "Name the capital of {a}.",
        "Which city is the capital of {a}?",
        "Tell me the capital of {a}.",
        "I go to {a}. What is its capital called?",
    ],
    "kinds": [
        "What is a {a}?",
        "What kind of thing is a {a}?",
        "Tell me what a {a} is.",
        "Say what a {a} is in one word.",
        "What is the name {a} for?",
    ],
    "materials": [
        "What is a {a} made of?",
        "Of what do people make a {a}?",
        "Tell me what a {a} is made of.",
        "What do you need to make a {a}?",
        "Name what a {a} is made of.",
    ],
    "workers": [
        "Who {a}?",
        "What do you call someone who {a}?",
        "Tell me who {a}.",
        "Name the one who {a}.",
        "What is the one called who {a}?",
    ],
    "places": [
        "Where do you find a {a}?",
        "Where does a {a} belong?",
        "Tell me where a {a} is.",
        "Name the place of a {a}.",
        "Where must I go for a {a}?",
    ],
    "colours": [
        "What is the colour of {a}?",
        "What colour is {a}?",
        "Tell me the colour of {a}.",
        "Name the colour of {a}.",
    ],
    "comparatives": [
        "This one is {a}. What is that one, if it is more so?",
        "What is more than {a}?",
        "Compare: {a}, and then what?",
        "Give the form of {a} that compares two things.",
    ],
}
UNSEEN = ("comparatives", "colours", "before")  # kinds that fine-tuning never asks for
PLURAL_KINDS = {"furniture": "furniture", "clothing": "clothes", "fish": "fish"}
MASS = ("furniture", "clothing")


@cache
def table(name: str) -> list[tuple[str, str]]:
    """Rows (a, b) of a table; opposites in both directions where that is unambiguous."""
    rows = [tuple(line.split("\t")) for line in (TABLES / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
    if name == "opposites":
        known = [word for row in rows for word in row]
        rows += [(b, a) for a, b in rows if known.count(b) == 1]
    return rows


def filled(text: str, a: str, b: str) -> str:
    """A sentence of STATED or ASKED about the row (a, b); "an" where it belongs."""
    c = b if b in MASS else f"a {b}"
    d = PLURAL_KINDS.get(b, f"{b}s")
    text = text.format(a=a, b=b, A=a[0].upper() + a[1:], c=c, d=d, e=f"the {b}")
    words = text.split(" ")
    for i, word in enumerate(words[:-1]):
        if word in ("a", "A") and words[i + 1][0] in "aeiou" and words[i + 1][:3] != "uni":
            words[i] += "n"
    return " ".join(words)


def fact(rng: random.Random, name: str, row: tuple[str, str]) -> str:
    return filled(rng.choice(STATED[name]), *row)


def spelt(rng: random.Random, word: str) -> str:
    """A sentence about the letters of a word."""
    letters = " ".join(word)
    return rng.choice(
        [
            f"The word {word} begins with {word[0]}.",
            f"The first letter of {word} is {word[0]}.",
            f"{word[0]} is the first letter of the word {word}.",
            f"The word {word} is written {letters}.",
            f"How {word} is written: {letters}.",
        ]
    )


def number(rng: random.Random) -> str:
    """A sentence about numbers up to 100, or of sums of two numbers up to SUMS."""
    kind = rng.choice(["add", "add", "less", "less", "order", "count", "more"])
    a, b = rng.randint(0, SUMS), rng.randint(0, SUMS)
    if kind == "add":
        return rng.choice(
            [
                f"{a} plus {b} is {a + b}.",
                f"{a} + {b} = {a + b}.",
                f"If you add {b} to {a}, you get {a + b}.",
                f"{a} and {b} make {a + b}.",
                f"The sum of {a} and {b} is {a + b}.",
            ]
        )
    if kind == "less":
        total = a + b
        return rng.choice(
            [
                f"{total} minus {b} is {a}.",
                f"{total} - {b} = {a}.",
                f"Take {b} from {total}, and {a} is left.",
                f"{total} less {b} is {a}.",
            ]
        )
    if kind == "order":
        n = rng.randint(1, 99)
        return rng.choice(
            [
                f"After {n} comes {n + 1}.",
                f"Before {n} comes {n - 1}.",
                f"{n + 1} follows {n}.",
                f"The number after {n} is {n + 1}.",
                f"The number before {n} is {n - 1}.",
            ]
        )
    if kind == "count":
        start, size = rng.randint(1, 90), rng.randint(3, 7)
        run = " ".join(str(start + i) for i in range(size))
        return rng.choice([f"From {start} to {start + size - 1}: {run}.", f"We count: {run}.", f"They counted {run}."])
    a, b = rng.sample(range(100), 2)
    big, low = max(a, b), min(a, b)
    return rng.choice(
        [
            f"{big} is more than {low}.",
            f"{low} is less than {big}.",
            f"Of {a} and {b} the greater is {big}.",
            f"{a} or {b}? {big} is more.",
        ]
    )


def passage(rng: random.Random) -> str:
    """Two to five sentences of knowledge: about one table, about numbers, or mixed."""
    kind = rng.choice(["numbers"] * 3 + ["table"] * 3 + ["letters", "mixed"])
    size = rng.choice([2, 3, 4, 5])
    if kind == "numbers":
        return " ".join(number(rng) for _ in range(size))
    if kind == "letters":
        words = [a for name in ("plurals", "kinds", "opposites") for a, _ in table(name)]
        return " ".join(spelt(rng, rng.choice(words)) for _ in range(size))
    names = [rng.choice(list(STATED))] * size if kind == "table" else [rng.choice(list(STATED)) for _ in range(size)]
    return " ".join(fact(rng, name, rng.choice(table(name))) for name in names)


# -- instructions ---------------------------------------------------------------------------------------------------


def questions(rng: random.Random) -> Iterator[tuple[str, str, str, str]]:
    """(kind, item, question, answer) of all kinds; of each kind all items, in every wording once.

    An item is what an answer is about, such as the word of a table or a sum. Splits divide items, never wordings.
    """
    for name, wordings in ASKED.items():
        for a, b in table(name):
            for wording in wordings:
                yield name, a, filled(wording, a, b), b
    for _ in range(400):
        a, b = rng.randint(1, SUMS), rng.randint(1, SUMS)
        yield (
            "sum",
            f"{a}+{b}",
            rng.choice(
                [f"What is {a} plus {b}?", f"Add {b} to {a}.", f"What is {a} + {b}?", f"How much do {a} and {b} make?"]
            ),
            str(a + b),
        )
        yield (
            "difference",
            f"{a + b}-{b}",
            rng.choice(
                [
                    f"What is {a + b} minus {b}?",
                    f"Take {b} from {a + b}.",
                    f"What is {a + b} - {b}?",
                    f"How much is {a + b} less {b}?",
                ]
            ),
            str(a),
        )
        big, low = rng.sample(range(100), 2)
        yield (
            "greater",
            f"{big},{low}",
            rng.choice(
                [
                    f"Which is more, {big} or {low}?",
                    f"Name the greater of {big} and {low}.",
                    f"Is {big} or {low} the greater number?",
                ]
            ),
            str(max(big, low)),
        )
        start, size = rng.randint(1, 90), rng.randint(3, 6)
        run = " ".join(str(start + i) for i in range(size))
        yield (
            "count",
            f"{start}-{size}",
            rng.choice(
                [
                    f"Count from {start} to {start + size - 1}.",
                    f"Write the numbers from {start} to {start + size - 1}.",
                    f"Which numbers go from {start} to {start + size - 1}?",
                ]
            ),
            run,
        )
        happened, question, answer = plots.scene(rng, plots.cast(rng))
        text = " ".join(happened)
        yield (
            "reading",
            text,
            rng.choice([f"{text} {question}", f"Read this: {text} {question}", f"{question} {text}"]),
            answer,
        )
    for n in range(1, 99):
        for question in (f"Which number comes after {n}?", f"What follows {n}?", f"Say the number after {n}."):
            yield "after", str(n), question, str(n + 1)
        for question in (f"Which number comes before {n}?", f"Say the number before {n}.", f"What stands before {n}?"):
            yield "before", str(n), question, str(n - 1)
    for word in dict.fromkeys(a for name in ("plurals", "kinds", "opposites") for a, _ in table(name)):
        for question in (
            f"What is the first letter of {word}?",
            f"With which letter does {word} begin?",
            f"Give the first letter of the word {word}.",
        ):
            yield "letter", word, question, word[0]
