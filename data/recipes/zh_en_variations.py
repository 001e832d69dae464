"""Variations of written sentence pairs: a word of the grammar in the place of another one of its kind, on both sides.

``爸爸正在阳台上浇花。 = Dad is watering the flowers on the balcony.`` gives ``爷爷正在阳台上浇花。 = Grandpa is ...``:
the turns of real sentences with more words than they were written with.
"""

import re
from collections import defaultdict

from zh_en_grammar import Grammar
from zh_en_words import plural, tidy

LISTS = (
    "past future habit clock dur times money weekday month season color feeling city landmark meters surface "
    "mins hours secs heat"
).split()
PRONOUNS = ("I", "we", "you", "he", "she", "they", "everyone")


def kinds(grammar: Grammar) -> dict[tuple, list[tuple[str, str]]]:
    """Lists of (Chinese, English) of which each may stand for each: nouns of a section in one number, people of one
    gender and number, adjectives of a section, times, places, amounts."""
    found: dict[tuple, set] = defaultdict(set)
    for noun in grammar.nouns:
        one, _, many = noun.en.rstrip("~*").partition("/")
        if noun.en[-1] in "~*":
            found["mass", noun.en[-1], noun.tags].add((noun.zh, one))
        else:
            found["one", noun.tags].add((noun.zh, one))
            found["many", noun.tags].add((noun.zh, many or plural(one)))
    for person in grammar.sections["who"]:
        if person.en not in PRONOUNS:
            found["person", person.more].add((person.zh, person.en))
    for name in ("adj", *LISTS):
        for item in grammar.sections[name]:
            if "{" not in item.zh:
                found[name, item.tags].add((item.zh.replace("+", ""), item.en))
    return {kind: sorted(entries) for kind, entries in found.items() if len(entries) > 1}


class Variations:
    """What can be exchanged in some written rows (``zh``, ``en``). ``sentence(rng)`` gives one variation."""

    def __init__(self, rows: list[dict], grammar: Grammar):
        self.kinds = kinds(grammar)
        # Words of one character are left alone, for they are part of other words. The longest first.
        entries = [(zh, en, kind) for kind, of_kind in self.kinds.items() for zh, en in of_kind if len(zh) > 1]
        entries.sort(key=lambda entry: (-len(entry[0]), entry[0], entry[1]))
        places = [(row, self._places(row["zh"], row["en"], entries)) for row in rows]
        self.rows = [(row["zh"], row["en"], found) for row, found in places if found]

    def _places(self, zh: str, en: str, entries: list) -> list[tuple[slice, slice, tuple]]:
        """Where an entry stands once on both sides, apart from all others."""
        found: list[tuple[slice, slice, tuple]] = []
        gendered = re.search(r"\b(he|she|his|her|him|hers)\b", en, re.I)
        for chinese, english, kind in entries:
            if gendered and (kind[0] == "person" or "human" in kind[-1]):
                continue  # another person might need another pronoun
            if zh.count(chinese) == 1 and len(matches := re.findall(rf"\b{re.escape(english)}\b", en, re.I)) == 1:
                start = en.index(matches[0])
                here = slice(zh.index(chinese), zh.index(chinese) + len(chinese)), slice(start, start + len(english))
                if not any(_meet(here[0], z) or _meet(here[1], e) for z, e, _ in found):
                    found.append((*here, kind))
        return found

    def sentence(self, rng) -> tuple[str, str, list]:
        """Chinese, English, and no pairs: as Grammar.sentence gives them."""
        zh, en, places = self.rows[int(rng.random() * len(self.rows))]
        chosen = [places[i] for i in rng.permutation(len(places))[: 1 + int(rng.random() * len(places))]]
        words = [self.kinds[kind][int(rng.random() * len(self.kinds[kind]))] for _, _, kind in chosen]
        for side in (0, 1):
            text = (zh, en)[side]
            parts = sorted(zip((place[side] for place in chosen), words, strict=True), key=lambda part: -part[0].start)
            for place, word in parts:  # from the end, so that the places before stay where they are
                text = text[: place.start] + word[side] + text[place.stop :]
            zh, en = (text, en) if side == 0 else (zh, text)
        return zh, tidy(re.sub(r"\ban (?=\w)", "a ", en)), []


def _meet(a: slice, b: slice) -> bool:
    return a.start < b.stop and b.start < a.stop
