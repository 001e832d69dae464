"""How words agree, for the grammar of `zh_en`: English inflection, and the kinds of phrase that fill a slot."""

import re
from typing import NamedTuple

IRREGULAR = """
be was been, have had had, do did done, go went gone, eat ate eaten, drink drank drunk, make made made, buy
bought bought, sell sold sold, take took taken, bring brought brought, put put put, give gave given, get got
got, find found found, lose lost lost, read read read, write wrote written, send sent sent, see saw seen, sing
sang sung, swim swam swum, run ran run, sleep slept slept, drive drove driven, ride rode ridden, wear wore worn,
break broke broken, tear tore torn, steal stole stolen, bite bit bitten, hit hit hit, cut cut cut, set set set,
let let let, tell told told, think thought thought, know knew known, understand understood understood, feel felt
felt, keep kept kept, leave left left, meet met met, pay paid paid, speak spoke spoken, spend spent spent, stand
stood stood, teach taught taught, catch caught caught, begin began begun, come came come, forget forgot
forgotten, grow grew grown, hang hung hung, lie lay lain, lend lent lent, blow blew blown, fly flew flown, draw
drew drawn, win won won, sit sat sat, wake woke woken, hold held held, hide hid hidden, throw threw thrown"""
VERBS = {line.split()[0]: line.split() for line in " ".join(IRREGULAR.split()).split(", ")}
OF_PERSON = {  # object, possessive, subject, "mine"
    "1s": ("me", "my", "I", "mine"), "1p": ("us", "our", "we", "ours"), "2": ("you", "your", "you", "yours"),
    "3m": ("him", "his", "he", "his"), "3f": ("her", "her", "she", "hers"), "3n": ("it", "its", "it", "its"),
    **dict.fromkeys(("3p", "3a", "3t"), ("them", "their", "they", "theirs")),
}  # fmt: skip
BE = {"1s": ("am", "was"), **dict.fromkeys(("1p", "2", "3p"), ("are", "were"))}
ASPECT = {"le": "了", "guo": "过"}
CONTRACTIONS = {
    "I am": "I'm", "I will": "I'll", "We will": "We'll", "It is": "It's", "You are": "You're",
    "I have (?=already|never|just|been)": "I've ",
}  # fmt: skip


class Item(NamedTuple):
    """A line of a section: both sides, what stands after a second =, and the arguments of the section's header."""

    zh: str
    en: str
    more: str = ""
    tags: tuple[str, ...] = ()


def inflect(phrase: str, form: str, agreement: str = "3n") -> str:
    """A verb phrase with its first word inflected: base, now (agrees), s, past, done (participle), ing.

    >>> inflect("take a walk", "past"), inflect("stop", "ing"), inflect("carry it", "now")
    ('took a walk', 'stopping', 'carries it')
    """
    head, space, rest = phrase.partition(" ")
    ends_in_y = re.search(r"[^aeiou]y$", head)
    if form == "base" or form == "now" and agreement in BE:
        head = BE[agreement][0] if head == "be" and form == "now" else head
    elif form in ("now", "s"):
        regular = head[:-1] + "ies" if ends_in_y else head + ("es" if re.search(r"(s|x|z|ch|sh|[dg]o)$", head) else "s")
        head = {"be": "is", "have": "has"}.get(head, regular)
    elif form == "past" and head == "be":
        head = BE.get(agreement, ("is", "was"))[1]
    elif form in ("past", "done"):
        regular = head[:-1] + "ied" if ends_in_y else head + "d" if head.endswith("e") else doubled(head) + "ed"
        head = VERBS[head][1 if form == "past" else 2] if head in VERBS else regular
    elif form == "ing":
        keeps_e = not head.endswith("e") or head.endswith(("ee", "be"))
        head = "lying" if head == "lie" else (doubled(head) if keeps_e else head[:-1]) + "ing"
    else:
        raise ValueError(f"no form {form!r} of {phrase!r}")
    return head + space + rest


def doubled(word: str) -> str:
    """A short word that ends consonant, vowel, consonant doubles the last: stop, stopped."""
    return word + word[-1] if re.fullmatch(r"[^aeiou]*(qu)?[aeiou][^aeiouwxy]|begin|forget", word) else word


def plural(noun: str) -> str:
    """A regular plural, of the last word."""
    first, space, last = noun.rpartition(" ")
    return first + space + inflect(last, "s")


def graded(word: str, form: str) -> str:
    """Comparative (er), superlative (est), and "bigger and bigger" (erer) of an adjective."""
    syllables = len(re.findall(r"[aeiouy]+", word.removesuffix("e")))
    if word in ("good", "far"):
        more, most = {"good": ("better", "best"), "far": ("farther", "farthest")}[word]
    elif word != "tired" and (syllables == 1 or word.endswith(("y", "ow", "le")) or word == "clever"):
        stem = word[:-1] + "i" if re.search(r"[^aeiou]y$", word) and syllables > 1 else word
        stem = word[:-1] if word.endswith("e") else doubled(stem)
        more, most = stem + "er", stem + "est"
    else:
        more, most = f"more {word}", f"most {word}"
    if form == "erer":
        return f"more and more {word}" if more == f"more {word}" else f"{more} and {more}"
    return more if form == "er" else most


def agree(form: str, agreement: str) -> str:
    """is, was, has, does and their negations (isnt ...) for a subject."""
    head = {"is": "be", "was": "be", "has": "have", "does": "do"}.get(form.removesuffix("nt"))
    if head is None:
        raise ValueError(f"no form {form!r}")
    word = inflect(head, "past" if form.startswith("was") else "now", agreement)
    return word + (" not" if word == "am" else "n't") * form.endswith("nt")


def tidy(text: str) -> str:
    """Spaces, an before vowels, capitals at the beginning of sentences, contractions."""
    text = re.sub(r"\s+([.,?!])", r"\1", " ".join(text.split()))
    text = re.sub(r"\b([Aa]) (?=[aei]|o(?!ne\b)|hour|honest|ID|um|ug|un[^i])", r"\1n ", text)
    text = re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    for long, short in CONTRACTIONS.items():
        text = re.sub(rf"\b{long}(?=[ a-z])", short, text)
    return text


class Phrase:
    """Text of both sides: a verb phrase, an adjective, a time. ``object`` marks a verb whose object is another slot."""

    agreement = "3n"

    def __init__(self, zh: str, en: str, **more):
        self.zh, self.en = zh, en
        self.name, self.object, self.by = "", False, ""
        self.__dict__.update(more)

    def chinese(self, form: str | None = None) -> str:
        if form in ASPECT:
            return self.zh.replace("+", ASPECT[form], 1) if "+" in self.zh else self.zh + ASPECT[form]
        return self.zh.replace("+", "")

    def english(self, form: str | None = None, other: "Phrase | None" = None) -> str:
        if form in ("er", "est", "erer"):
            return graded(self.en, form)
        if form in ("a", "by", "bare"):
            return {"a": f"a {self.en}", "by": self.by, "bare": re.sub(r"^(at|on|in) ", "", self.en)}[form]
        if form and form.removesuffix("nt") in ("is", "was", "has", "does"):
            return agree(form, self.agreement)
        agreement = other.agreement if other else "3a" if form in ("past", "now", "s") else "2"
        text = inflect(self.en, "base" if form in (None, "it") else form, agreement)
        if self.object:
            goal = "" if not isinstance(other, Noun) else OF_PERSON[agreement][0] if form == "it" else other.en
            text = text.replace("_", goal) if "_" in text else f"{text} {goal}"
        return text.replace("OWN", OF_PERSON[agreement][1])


class Person(Phrase):
    """Somebody: forms obj, poss (his), s (his, or Xiao Wang's), own (mine, or Xiao Wang's), he, and is, was, has ..."""

    def english(self, form: str | None = None, other: Phrase | None = None) -> str:
        if form is None:
            return self.en
        if form not in ("obj", "poss", "he", "s", "own"):
            return agree(form, self.agreement)
        pronouns = OF_PERSON[self.agreement]
        if self.en in ("I", "we", "you", "he", "she", "they") or form in ("poss", "he"):
            return pronouns[{"obj": 0, "poss": 1, "he": 2, "s": 1, "own": 3}[form]]
        mark = "'" if self.en.endswith("s") and self.agreement == "3p" else "'s"
        return self.en + mark * (form != "obj")

    def chinese(self, form: str | None = None) -> str:
        return self.zh + "的" * (form == "de")


class Noun(Phrase):
    """A noun phrase: forms it, sg, pl, a, any, that, kind (of an adjective), m (measure word), and is, was ..."""

    def english(self, form: str | None = None, other: Phrase | None = None) -> str:
        if form == "kind":
            return f"{self.single}{other.en} {self.one}"
        forms = {None: self.en, "obj": self.en, "it": OF_PERSON[self.agreement][0], "sg": self.one, "pl": self.many}
        forms |= {"a": self.single + self.one, "any": f"any {self.many}"}
        forms |= {"that": "that one" if self.agreement == "3n" else "those"}
        return forms[form] if form in forms else agree(form, self.agreement)

    def chinese(self, form: str | None = None) -> str:
        return self.measure if form == "m" else self.zh


class Place(Phrase):
    """Where somebody is: forms dest (to the park) and the (the park); Chinese form to (without 里)."""

    @classmethod
    def of(cls, item: Item) -> "Place":
        preposition, *after = item.tags
        said = item.en if item.en in ("abroad", "downstairs") else f"{preposition} {item.en}"
        goal = item.more or f"to {item.en}"
        return cls(item.zh + "".join(after), said, name=item.en, short=item.zh, destination=goal)

    def english(self, form: str | None = None, other: Phrase | None = None) -> str:
        return {None: self.en, "dest": self.destination, "the": self.name}[form]

    def chinese(self, form: str | None = None) -> str:
        return self.short if form == "to" else self.zh
