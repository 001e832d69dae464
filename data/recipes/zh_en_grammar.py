"""Sentence pairs from a synchronous grammar: one derivation gives the Chinese and the English sentence.

Words and patterns stand in data/zh_en/grammar/*.txt, and zh_en_words.py knows how they agree. A file has sections:

- ``[noun MEASURE:CONTAINER TAG ...]`` of ``zh=en``; ``knife/knives`` gives the plural, ``water~`` has none, ``shoes*``
  is one. What cannot be counted is counted by its container (``cup``: a cup of tea), or not at all (``-``).
- ``[person TAG ...]`` of ``zh=en=1s|1p|2|3m|3f|3n|3p|3a|3t`` (3a everyone, 3t a group that is "it" and "they").
- ``[loc PREPOSITION AFTER]`` of ``zh=en=destination``; AFTER is the 里 or 上 of "in" and "on".
- ``[adj TAG ...]``, ``[verb TAG ...]``, ``[ba TAG ...]``: words for nouns with these tags. ``_`` is the object.
- any other name: phrases, which may hold slots. ``+`` in Chinese is where 了 goes, and what follows ``/`` in English
  is who does it in a passive. ``[sentence]``: one pattern in a line. ``3* `` makes a line three times as likely.

A slot is ``{name}``, ``{name2}`` for a second one, ``{name:mode}`` for a noun phrase (see MODES), ``{name@noun}`` for a
word that goes with that noun, ``{name.form}`` and ``{name.form(who)}`` for a form that agrees with ``who``. The
same slot on both sides is one choice. A name that is no section is an English verb: ``{want.now(who)}``.
"""

import re
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from zh_en_words import OF_PERSON, Item, Noun, Person, Phrase, Place, inflect, plural, tidy

SLOT = re.compile(r"\{([a-z_]+)(\d?)(?::(\w+))?(?:@(\w+))?(?:\.(\w+))?(?:\((\w+)\))?\}")
MODES = ("bare", "bare", "one", "one", "this", "that", "def", "adj", "adj", "two")  # of an object that no pattern sets


class Grammar:
    """All sections of some files. ``sentence(rng)`` derives one; ``rng`` is a numpy Generator.

    >>> import numpy as np
    >>> folder = Path("data/zh_en/grammar")
    >>> grammar = Grammar([folder / "words.txt", folder / "patterns.txt"])   # doctest: +SKIP
    >>> grammar.sentence(np.random.default_rng(0))                           # doctest: +SKIP
    ('他们明天要去游泳。', 'They are going to swim tomorrow.', [])
    """

    def __init__(self, files: list[Path]):
        self.sections: dict[str, list[Item]] = defaultdict(list)
        self._known: dict[frozenset, list[Item]] = {}
        for path in files:
            name, arguments = "", ()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if line.startswith("[") and line.endswith("]"):
                    name, *arguments = line[1:-1].split()
                elif line and not line.startswith("#"):
                    for text in [line] if name == "sentence" else line.split("; "):
                        zh, equals, en = text.partition("=")
                        if not (equals and zh and en):
                            raise ValueError(f"{path.name}:{number}: {text!r} is not zh=en")
                        en, _, third = (en, "", "") if name == "sentence" else en.partition("=")
                        times, star, pattern = zh.partition("* ")
                        item = Item(pattern if star else zh, en, third, tuple(arguments))
                        for section in arguments if name == "person" else [name]:
                            self.sections[section] += [item] * (int(times) if star else 1)
        self.nouns = self.sections.pop("noun")
        self.noun_tags = {tag for noun in self.nouns for tag in noun.tags[1:]}

    def sentence(self, rng) -> tuple[str, str, list[tuple[str, str]]]:
        """Chinese, English, and the (verb, noun) pairs that this sentence puts together."""
        pattern, pairs = _pick(self.sections["sentence"], rng), []
        zh, en = self._fill(pattern.zh, pattern.en, rng, pairs)
        return zh, tidy(en), pairs

    def pairs(self, section: str) -> list[tuple[str, str]]:
        """All (verb, noun) pairs that a section with tags allows."""
        found = product(self.sections[section], self.nouns)
        return sorted({(_stem(verb.zh), noun.zh) for verb, noun in found if set(verb.tags) & set(noun.tags[1:])})

    def _fitting(self, tags: set[str]) -> list[Item]:
        """The nouns that have one of the tags; remembered, because it is asked for every noun of every sentence."""
        key = frozenset(tags)
        if key not in self._known:
            self._known[key] = [item for item in self.nouns if key & set(item.tags[1:])]
        return self._known[key]

    def _fill(self, zh: str, en: str, rng, pairs: list) -> tuple[str, str]:
        slots: dict[str, Phrase] = {}
        modes = {match[1] + match[2]: match[3] for match in reversed(list(SLOT.finditer(zh)))}

        def choose(key: str, mode: str | None, fits: str | None) -> Phrase:
            if key not in slots:
                if fits in modes:  # the noun that it must go with, which may come later
                    choose(fits, modes[fits], None)
                name = key.rstrip("0123456789")
                slots[key] = self._choose(name, mode, slots.get(fits, fits), rng, pairs, slots.values())
            return slots[key]

        def chinese(match: re.Match) -> str:
            name, number, mode, fits, form, _ = match.groups()
            return choose(name + number, mode, fits).chinese(form)

        def english(match: re.Match) -> str:
            name, number, _, _, form, other = match.groups()
            verb = Phrase("", name.replace("_", " "))  # no slot of that name: an English verb
            return slots.get(name + number, verb).english(form, slots.get(other))

        return SLOT.sub(chinese, zh), SLOT.sub(english, en)

    def _choose(self, name: str, mode: str | None, fits, rng, pairs: list, taken) -> Phrase:
        """Fill a slot. ``fits`` is the noun phrase that the word must go with, or the name of a tag."""
        name = _pick(("act", "verb"), rng) if name == "do" else name
        if fits is None and name != "adj" and set(self.sections.get(name, [Item("", "")])[0].tags) & self.noun_tags:
            verb = _pick(self.sections[name], rng)  # the verb and its object in one phrase
            noun = self._noun(set(verb.tags), mode or _pick(MODES, rng), rng, taken)
            pairs.append((verb.zh, noun.name))
            en = verb.en.replace("_", noun.en) if "_" in verb.en else f"{verb.en} {noun.en}"
            return Phrase(f"{verb.zh}+{noun.zh}", en, name=noun.name)
        if name not in self.sections:
            section = self.sections.get(name.removeprefix("for_"), ())  # {for_ba}: a noun that a word of [ba] goes with
            return self._noun({tag for item in section for tag in item.tags} or {name}, mode or "bare", rng, taken)
        options, tags = self.sections[name], set()
        if fits is not None:
            tags = {fits} if isinstance(fits, str) else set(fits.tags)
            options = [item for item in options if tags & set(item.tags)]
        if not options:
            raise ValueError(f"nothing fills {{{name}}}: no word of that section goes with {sorted(tags)}")
        free = [item for item in options if not any(_clash(item, slot) for slot in taken)] or options
        item = _pick(free, rng)
        if name == "loc":
            return Place.of(item)
        if item.more in OF_PERSON:
            return Person(item.zh, item.en, agreement=item.more, tags=item.tags)
        if isinstance(fits, Noun) and name != "adj":
            pairs.append((_stem(item.zh), fits.name))
        zh, en = self._fill(item.zh, item.en, rng, pairs) if "{" in item.zh else (item.zh, item.en)
        en, _, by = en.partition("/")
        return Phrase(zh, en, by=by, object=isinstance(fits, Noun) and name != "adj")

    def _noun(self, tags: set[str], mode: str, rng, taken) -> "Noun":
        """A noun with one of the tags, and what its mode puts before it; not one that the sentence has already."""
        names = {slot.name for slot in taken}
        fitting = self._fitting(tags)
        item = _pick([item for item in fitting if item.zh not in names] or fitting, rng)
        measure, _, container = item.tags[0].replace("_", " ").partition(":")
        one, _, many = item.en.rstrip("~*").partition("/")
        mass, many_only = item.en.endswith("~"), item.en.endswith("*")
        many = many or (one if mass or many_only else plural(one))
        container = container or ("pair" if many_only else "-" if mass else "")
        counted, zh, en, agreement = container != "-", item.zh, many, "3n" if mass else "3p"
        adjective = Phrase("", "")
        if mode == "adj":
            fitting = [adj for adj in self.sections["adj"] if set(adj.tags) & set(item.tags[1:])]
            adjective = _pick(fitting, rng) if fitting else adjective
            zh, en = adjective.zh + "的" * (len(adjective.zh) > 1) + item.zh, f"{adjective.en} {many}".strip()
        if mode in ("this", "that"):
            head = {"this": ("这", "this", "these"), "that": ("那", "that", "those")}[mode]
            if counted and not many_only:
                unit = f"{container} of {one}" if container else one
                zh, en, agreement = head[0] + measure + zh, f"{head[1]} {unit}", "3n"
            else:
                zh, en = head[0] + (measure if many_only and counted else "些") + zh, f"{head[1 if mass else 2]} {many}"
        elif mode in ("one", "adj") and counted:
            what = f"{adjective.en} {many if container else one}".strip()
            zh, en, agreement = f"一{measure}{zh}", f"a {container} of {what}" if container else f"a {what}", "3n"
        elif mode == "two" and counted:
            number = _pick(self.sections["num"], rng)
            units = f"{inflect(container.split()[-1], 's')} of {many}" if container else many
            zh, en, agreement = number.zh + measure * (number.zh != "很多") + zh, f"{number.en} {units}", "3p"
        elif mode in ("def", "sg"):
            en, agreement = "the " * (mode == "def") + one, "3p" if many_only else "3n"
        elif mode == "the":
            en = f"the {many}"
        return Noun(zh, en, agreement=agreement, tags=item.tags[1:], name=item.zh, measure=measure, one=one, many=many,
                    single="" if mass or many_only else "a ")  # fmt: skip


def _pick(options, rng):
    return options[int(rng.random() * len(options))]


def _stem(zh: str) -> str:
    """A verb without the slots that stand in it: 放在{surface} is 放在."""
    return SLOT.sub("", zh).replace("+", "")


def _clash(item: Item, slot: Phrase) -> bool:
    """Whether a sentence should not hold both: the same word twice, or "I ... us"."""
    same = item.more in ("1s", "1p", "2") and item.more[0] == slot.agreement[0]
    return item.zh == slot.zh or same
