"""Checks of chapter 02: clean text, statistics of the training part, a padded batch, noise, a split, a planted leak."""

import math
import random
import re

import torch

from ..compare import a_kind, call, draw, expect, expect_close, expect_repeatable


def clean(answer) -> None:
    """A text without tags, with its entities decoded and single spaces; nothing else may change."""
    texts = {
        "It is NOT good!": ("It is NOT good!", "Case, punctuation and stop words carry meaning: leave them."),
        "<p>Bridge <b>reopens</b></p>": ("Bridge reopens", "Tags are left, or words are lost with them."),
        "Ferry late,<br>school shut": ("Ferry late, school shut", "Two words are glued: a tag becomes a space."),
        "Ferry\t late \n today": ("Ferry late today", "Every run of white space becomes one space."),
        "  Ferry late ": ("Ferry late", "White space at the ends is left."),
        "Toll &amp; fares": ("Toll & fares", "An entity is left; `html.unescape` decodes all of them."),
        "5&nbsp;&nbsp;km": ("5 km", "`&nbsp;` is white space as well, but no plain space: `str.split()` knows it."),
        "3 < 5 and 7 > 2": ("3 < 5 and 7 > 2", "A tag is `<`, then a letter or `/`; that is a comparison."),
        "Type &lt;b&gt; for bold": (
            "Type <b> for bold",
            "Decoded first, a text that speaks of a tag becomes one: remove the tags, then decode.",
        ),
        "AT&amp;amp;T": ("AT&amp;T", "Decode once: what comes out may look like an entity and is text."),
    }
    for text, (right, look) in texts.items():
        found = call(answer, text)
        name = getattr(answer, "__name__", "answer")
        expect(isinstance(found, str), f"`{name}` returns a {type(found).__name__}; it should return a text.")
        expect(found == right, f"From {text!r} you make {found!r}, expected {right!r}. {look}")


def standardise(answer) -> None:
    """Both parts as z-scores, with the mean and the standard deviation of the columns of the first."""
    train, other = draw(6, 3) * torch.tensor([1.0, 5.0, 0.2]).double() + 3, draw(4, 3, seed=1) * 2 + 10

    def by(x, of, correction=0, **dim):
        return (x - of.mean(**dim)) / of.std(correction=correction, **dim)

    both, rows = torch.cat([train, other]), {"dim": 0}
    first, second = _two(call(answer, train, other))
    suspects = {
        "the standard deviation divides by N - 1; here it divides by N (`correction=0`).": by(train, train, 1, **rows),
        "one mean and one deviation for all columns: each column has its own (dim=0).": by(train, train),
        "the mean and deviation include the other part. They are learnt from the training part alone.": by(
            train, both, **rows
        ),
        "that is min-max scaling; wanted are z-scores.": (train - train.amin(0)) / (train.amax(0) - train.amin(0)),
    }
    expect_close(first, by(train, train, **rows), "the training part", suspects)
    suspects = {
        "it has its own mean and deviation. Both parts take those of the training part, or equal inputs would "
        "differ afterwards.": by(other, other, **rows),
        "the mean and deviation include this part. They are learnt from the training part alone.": by(
            other, both, **rows
        ),
    }
    expect_close(second, by(other, train, **rows), "the other part", suspects)
    flat, moved = torch.full((4, 1), 7.0).double(), torch.full((2, 1), 9.0).double()
    first, second = _two(call(answer, flat, moved))
    whole = torch.as_tensor(first).isfinite().all() and torch.as_tensor(second).isfinite().all()
    expect(
        bool(whole),
        "A column that is constant in training gives NaN or infinity: its deviation is 0.",
        "Divide such a column by 1.",
    )
    expect_close(first, flat * 0, "a constant column of the training part")
    expect_close(second, moved - 7, "the same column in the other part, less the mean of 7 and divided by 1,")


def pad_batch(answer) -> None:
    """(ids, mask) of rows of different length: cut to a limit, the last id kept, padded on the right."""
    rows, value = [[7, 0, 8, 9], [5], [6, 0]], 0  # 0 is also a token of the texts
    ids, mask = _two(call(answer, rows, value, 16))
    right = torch.tensor([[7, 0, 8, 9], [5, 0, 0, 0], [6, 0, 0, 0]]).double()
    real = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]).double()
    fixed = torch.nn.functional.pad(right, (0, 12))
    suspects = {
        "the padding stands on the left; on the right is asked for.": (
            torch.tensor([[7, 0, 8, 9], [0, 0, 0, 5], [0, 0, 6, 0]]).double()
        ),
        "all rows have the length of the limit. Pad to the longest row of the batch: more costs time.": (fixed),
    }
    expect_close(ids, right, "the ids", suspects)
    suspects = {
        "it is made from the ids. A token of a text may have the id of the padding: make it from the lengths.": (
            right != 0
        ).double(),
        "it is the wrong way round: 1 for a token, 0 for padding.": 1 - real,
        "it is 1 everywhere: the padding would be read as text.": torch.ones(3, 4).double(),
    }
    expect_close(mask, real, "the mask", suspects)
    ids, mask = _two(call(answer, [[3, 4], [5]], 9, 16))
    expect_close(ids, torch.tensor([[3.0, 4], [5, 9]]).double(), "the ids with a padding of 9")
    ids, mask = _two(call(answer, [[1, 4, 5, 6, 2], [1, 2], [1, 4, 2]], 0, 3))
    cut = torch.tensor([[1, 4, 2], [1, 2, 0], [1, 4, 2]]).double()
    suspects = {
        "a row is cut and its last id is gone. The closing token has to stay: the model was pretrained to see it.": (
            torch.tensor([[1, 4, 5], [1, 2, 0], [1, 4, 2]]).double()
        ),
    }
    expect(torch.as_tensor(ids).shape != (3, 5), "With a limit of 3 a row of 5 keeps its length: cut it.")
    expect_close(ids, cut, "the ids of rows of 5, 2 and 3 with a limit of 3", suspects)
    expect_close(mask, torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 1, 1]]).double(), "the mask with a limit of 3")


def add_noise(answer) -> None:
    """A waveform with white noise at an exact signal-to-noise ratio in decibels."""
    x = 0.2 * torch.sin(torch.linspace(0, 300, 4000, dtype=torch.float64))
    for wanted in (20.0, 6.0):
        found = call(answer, x, wanted, 0)
        expect(isinstance(found, torch.Tensor), f"`add_noise` returns {a_kind(found)}; return a tensor.")
        expect(found.shape == x.shape, f"The result has shape {list(found.shape)}, the waveform {list(x.shape)}.")
        noise = found - x
        power, heard = x.square().mean().item(), noise.square().mean().item()
        expect(heard > 0, "Nothing was added: the result is the waveform itself.")
        ratio, of_one = 10 * math.log10(power / heard), 10 * math.log10(power)
        said = f"Asked for {wanted:g} dB, the noise you add is at {ratio:.2f} dB"
        usual = {
            "a power was taken for an amplitude. Power goes with the square, so the noise is multiplied by a root.": (
                2 * wanted
            ),
            "the 10 of the decibel became a 20: that one belongs to amplitudes.": wanted / 2,
            "the sign is the wrong way round: more decibels mean less noise.": -wanted,
            "the power of the waveform is missing: the ratio compares two powers.": of_one + wanted,
        }
        for why, value in usual.items():
            expect(abs(ratio - value) > 0.5 or abs(ratio - wanted) < 0.5, f"{said}: {why}")
        expect(abs(ratio - wanted) < 0.5, f"{said}.", "10 log10(power of the waveform / power of the noise)?")
        expect(
            abs(ratio - wanted) < 1e-3,
            f"{said}: near, but not exact. Noise that was drawn has a power of nearly 1, not of 1.",
            "Divide by the power of the noise that you drew.",
        )
    expect_repeatable(answer, x, 6.0, 0)
    other = call(answer, x, 6.0, 1) - x
    alike = torch.dot(other, noise).abs() / (other.norm() * noise.norm())
    expect(
        float(alike) < 0.5, "Seeds 0 and 1 give the same noise.", "torch.Generator().manual_seed(seed) takes the seed."
    )


def stratified(answer) -> None:
    """Positions of the held-out part: from every class its share, at least one, drawn by the seed."""
    labels = ["a"] * 40 + ["b"] * 20 + ["c"] * 2
    seen = [_positions(call(answer, labels, 0.1, seed), labels) for seed in range(4)]
    for found in seen:
        got = {name: sum(labels[i] == name for i in found) for name in "abc"}
        text = ", ".join(f"{n} of {name!r}" for name, n in got.items())
        expect(len(found) < 50, f"You return {len(found)} of {len(labels)} positions: that is the training part.")
        expect(got["c"] > 0, f"From labels a 40, b 20, c 2 you hold out {text}: a class is missing. At least one each.")
        expect(
            not (got["a"] == got["b"]),
            f"From labels a 40, b 20, c 2 you hold out {text}: the same number of each class. "
            "A held-out part should be composed like the whole: the same *share*.",
        )
        expect(
            got == {"a": 4, "b": 2, "c": 1},
            f"From labels a 40, b 20, c 2 you hold out {text}; a share of 0.1 is 4, 2 and (at least one) 1.",
            "Go through the classes one by one, and round share * size.",
        )
    expect_repeatable(answer, labels, 0.1, 0)
    first = {*range(4), 40, 41, 60}
    said = "You hold out the first rows of each class. Files are often sorted, by date or by source: draw at random."
    expect(set(seen[0]) != first, said)
    expect(
        len({frozenset(found) for found in seen}) > 1,
        "Four seeds give the same division: the seed is not used.",
        "random.Random(seed) is a generator of your own.",
    )
    mixed = [labels[i] for i in torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()]
    found = _positions(call(answer, mixed, 0.5, 0), mixed)
    got = [sum(mixed[i] == name for i in found) for name in "abc"]
    expect(
        got == [20, 10, 1],
        f"With the labels in mixed order and a share of 0.5 you hold out {got} of a, b, c; expected [20, 10, 1].",
        "Positions refer to the list as it was given.",
    )


def find_leak(answer) -> None:
    """Positions of held-out texts of which the training part holds a copy, by shared words."""
    train = [
        "Bridge over the Orrin reopens on Monday",
        "Choir of retired miners wins first prize in Kassel",
        "School loses both of its music teachers in one week",
        "The council meets on Tuesday to talk about the budget for the new library on Mill Lane",
    ]
    held_out = [
        "The school on Elm Lane wins",
        "Bridge over the Orrin reopens on Monday",
        "CHOIR OF RETIRED MINERS WINS FIRST PRIZE IN KASSEL",
        "School loses both of its music teachers, in one week!",
        "Update: bridge over the Orrin reopens on Monday morning",
        "The council meets on Tuesday",
        "On Monday the Orrin bridge reopens over",
        "Ferry over the Orrin stops on every Sunday",
    ]
    found = sorted(set(_positions(call(answer, train, held_out), held_out)))
    right = [1, 2, 3, 4, 6]
    lists = {
        "only equal texts are found. A copy in capitals, or with another full stop, is a copy.": [1],
        "copies in other case are found, but not the one with other punctuation: compare words, not texts.": [1, 2],
        "equal word sequences are found, but one with two words more is a copy too: compare the *shares*.": [1, 2, 3],
        "a text of the same words in another order is missing: compare sets of words.": [1, 2, 3, 4],
        "texts that share words with the whole training part are found. Compare with one training text at a time.": (
            list(range(7))
        ),
        "'The council meets on Tuesday' is not a copy: its words are in a much longer text. "
        "Divide by the words of *both* texts, not by those of one.": [1, 2, 3, 4, 5, 6],
        "those that are *not* leaked.": [0, 5, 7],
        "those are positions in the training part; the held-out ones are wanted.": [0, 1, 2],
    }
    for why, positions in lists.items():
        expect(found != positions, f"You find {found}: {why}")
    expect(found == right, f"In the small example you find {found}, expected {right}.", "Print each share.")
    rows, held, where = plant(seed=7)
    held = held[:60]  # enough to tell, and quick enough for a double loop
    where = [at for at in where if at < len(held)]
    found = set(_positions(call(answer, [r["text"] for r in rows], [r["text"] for r in held]), held))
    missed, extra = sorted(set(where) - found), sorted(found - set(where))
    expect(
        not missed,
        f"Of {len(where)} texts planted in the desk's files you miss {len(missed)}, such as {missed[:3]}.",
        "Look at one of them: which training text is its copy, and what is their share?",
    )
    expect(not extra, f"You call {len(extra)} texts leaked that are not, such as {extra[:3]}.", "Too low a limit?")


def plant(seed: int = 0, count: int = 60) -> tuple[list[dict], list[dict], list[int]]:
    """The headlines' splits with a leak: disguised copies of held-out sentences among the training ones.

    Returns:
        (training rows, held-out rows, positions of the held-out rows that have a copy in training).

    >>> train, held_out, where = plant()     # doctest: +SKIP
    >>> len(train), len(held_out), len(where)     # doctest: +SKIP
    (860, 200, 60)
    """
    from ...sets.headlines import splits

    rows, generator = splits(), random.Random(seed)
    held_out, train = rows["val"], list(rows["train"])
    where = sorted(generator.sample(range(len(held_out)), count))
    for number, at in enumerate(where):
        disguise = DISGUISES[number % len(DISGUISES)]
        train.append({**held_out[at], "text": disguise(held_out[at]["text"])})
    generator.shuffle(train)
    return train, held_out, where


def _shorter(text: str) -> str:
    words = text.split()
    return " ".join(words[:-2] + words[-1:])


DISGUISES = [
    str.upper,
    lambda text: f"Update: {text[0].lower()}{text[1:]}",
    lambda text: re.sub(r"[,.]", "", text) + " !",
    _shorter,
]


def _two(found) -> tuple:
    pair = isinstance(found, tuple | list) and len(found) == 2
    expect(pair, "Two values are wanted, and you return something else.", "End with `return first, second`.")
    return tuple(found)


def _positions(found, of: list) -> list[int]:
    """Whole numbers that are positions in a list."""
    if isinstance(found, torch.Tensor):
        found = found.tolist()
    if isinstance(found, set | tuple | range):
        found = list(found)
    expect(isinstance(found, list), f"A list of positions is wanted, and you return {a_kind(found)}.")
    expect(
        all(isinstance(i, int) and not isinstance(i, bool) for i in found),
        f"The list holds {next((i for i in found if not isinstance(i, int) or isinstance(i, bool)), None)!r}: "
        "positions are whole numbers.",
        "Return where they stand, not what stands there.",
    )
    expect(len(set(found)) == len(found), "A position occurs twice.", "Stop at the first match, or use a set.")
    expect(all(0 <= i < len(of) for i in found), "A position lies outside of the list.")
    return found


CHECKS = {
    "02-clean": clean,
    "02-standardise": standardise,
    "02-pad": pad_batch,
    "02-noise": add_noise,
    "02-split": stratified,
    "02-find-leak": find_leak,
}
INSIDE: set[str] = set()
