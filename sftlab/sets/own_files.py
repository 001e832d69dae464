"""What the readers of people's own files share: encodings, all problems in one error, labels checked, fair splits."""

import codecs
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from ..errors import bad_data, unknown

WHOLE = "all"  # the name of what is not split yet
# UTF-32 before UTF-16: the mark of the second begins that of the first.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
BINARY = {
    b"PK\x03\x04": "an Excel, OpenDocument or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"\x1f\x8b": "compressed with gzip",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
}


class Findings:
    """What a reader finds on its way: problems become one BadData, notes become the task's ``report``."""

    def __init__(self, reader: str):
        self.reader, self.problems, self.notes = reader, [], []

    def problem(self, place: object, what: str) -> None:
        self.problems.append(f"{place}: {what}")

    def raise_problems(self) -> None:
        """One error for all of them; a fault that every line has is not listed more than 100 times."""
        if self.problems:
            raise bad_data(self.reader, self.problems, shown=100)

    def report(self, task, classes: Callable[[dict], Iterable[str]] = lambda example: ()):
        """The task with its ``report``: the size of each split, how often each class occurs there, and the notes."""
        lines, unseen = [], set()
        for split, examples in task.splits.items():
            count = Counter(name for example in examples for name in classes(example))
            each = ", ".join(f"{name} {count[name]}" for name in order(count))
            if len(count) > 20:
                each = f"{len(count)} classes, {min(count.values())} to {max(count.values())} of each"
            lines.append(f"{split} {len(examples)}" + (f": {each}" if each else ""))
            unseen |= set(count)
        unseen -= {name for example in task.splits["train"] for name in classes(example)}
        lines += [f"not in train, so never learnt: {', '.join(order(unseen))}"] if unseen else []
        task.report = "\n".join([*lines, *self.notes])
        return task


def files_of(files, found: Findings, what: str = "file") -> dict[str, Path]:
    """Paths by split; one path alone stands under :data:`WHOLE`."""
    if isinstance(files, str | os.PathLike):
        return {WHOLE: Path(files)}
    if not isinstance(files, Mapping) or "train" not in files:
        said = f"the keys {list(files)}" if isinstance(files, Mapping) else repr(files)
        found.problem(what, f'must be one path, or {{"train": path, "val": path, "test": path}}, found {said}')
        found.raise_problems()
    paths = {split: Path(path) for split, path in files.items()}
    for split, path in paths.items():
        twins = [other for other, p in paths.items() if p.resolve() == path.resolve()]
        if split == twins[0] and len(twins) > 1:
            found.problem(path, f"is the {what} of {' and of '.join(twins)}: what is learnt would be tested (S22)")
    return paths


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with its space before it, or nothing."""
    known = list(known)
    folded = {other.strip().casefold(): other for other in known}
    near = folded.get(name.strip().casefold()) or next(iter(get_close_matches(name, known, n=1, cutoff=0.5)), None)
    return f" Did you mean {near!r}?" if near is not None else ""


def missing(path: Path) -> str:
    """What to say of a path where nothing is."""
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"no such file or folder.{nearest(path.name, beside)}"


def read_text(path: Path, found: Findings, encoding: str | None = None) -> str | None:
    """The text of a file, or None after noting what is wrong with it.

    A byte-order mark decides (UTF-8, UTF-16, UTF-32); without one it is ``encoding``, by default UTF-8. Nothing is
    guessed: a wrong guess gives wrong letters without an error.
    """
    try:
        if not path.is_file():
            found.problem(path, "is a folder, not a file" if path.is_dir() else missing(path))
            return None
        raw = path.read_bytes()
    except OSError as error:
        found.problem(path, f"cannot be read: {error.strerror}")
        return None
    for magic, what in BINARY.items():
        if raw.startswith(magic):
            found.problem(path, f"is {what}, not a text file: export or unpack it as text in UTF-8")
            return None
    mark = next((mark for mark in MARKS if raw.startswith(mark)), b"")
    name, raw = MARKS.get(mark, encoding or "utf-8"), raw[len(mark) :]
    try:
        text = raw.decode(name)
    except LookupError:
        found.problem(path, f"encoding={encoding!r} is no encoding that Python knows; try 'cp1252' or 'gb18030'")
        return None
    except UnicodeDecodeError as error:
        before = lines_of(raw[: error.start].decode(name, "replace") + "|")  # the bar stands for the byte
        bad = sum("\ufffd" in line for line in lines_of(raw.decode(name, "replace")))
        byte = f"byte 0x{raw[error.start]:02x} at offset {error.start + len(mark)}, after {before[-1][-21:-1]!r}"
        remedy = "save the file as UTF-8, or pass encoding=, such as encoding='cp1252'"
        found.problem(f"{path}:{len(before)}", f"{byte}, is not {name} (lines with such bytes: {bad}): {remedy}")
        return None
    if "\0" in text:
        line = len(lines_of(text[: text.index("\0") + 1]))
        zeros = [raw[side::2].count(0) * 4 > len(raw) for side in (1, 0)]
        hint = f"is it UTF-16? encoding='utf-16-{'le' if zeros[0] else 'be'}'" if any(zeros) else "is it damaged?"
        found.problem(f"{path}:{line}", f"{text.count(chr(0))} NUL bytes, the first in this line; {hint}")
        return None
    if not text.strip():
        found.problem(path, "is empty" if not raw else "holds blank lines only")
        return None
    if lost := sum("\ufffd" in line for line in lines_of(text)):
        found.notes.append(f"{path.name}: {lost} lines hold U+FFFD, a letter that an earlier conversion has lost")
    if name != "utf-8":
        found.notes.append(f"{path.name}: read as {name}")
    return text


def lines_of(text: str) -> list[str]:
    """Lines that end in LF, CR LF or CR; ``str.splitlines`` would also split at U+2028 and form feeds, inside texts."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def text_problem(column: str, value: object) -> str | None:
    """What is wrong with a text, or None."""
    if value is None:
        return f"{column!r} is missing"
    if not isinstance(value, str):
        return f"{column!r} must be text, found {type(value).__name__}"
    if not value.strip():
        return f"{column!r} is empty"
    wrong = next((c for c in value if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    return f"{column!r} holds U+{ord(wrong):04X}, which is no letter" if wrong else None


def fold(text: str) -> str:
    """Equal for texts that differ in case and spaces only."""
    return " ".join(text.split()).casefold()


def order(names: Iterable[str]) -> list[str]:
    """Sorted, whole numbers by their size: the class named "10" comes after the class named "9"."""
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def check_labels(seen: Sequence[tuple], found: Findings, label_names=None, single: bool = True) -> list[str]:
    """The classes, in order, after noting what is wrong with them.

    Args:
        seen: (label, split, place) of every label there is.
        label_names: the classes; what is none of them is a problem, and nothing is taken for a typo.
        single: every example has one label, so that one class alone is a problem.
    """
    places = defaultdict(list)
    for label, _, place in seen:
        places[label].append(place)
    count, here = ({label: f(where) for label, where in places.items()} for f in (len, lambda where: where[0]))
    more = {label: f" ({n} times; also {places[label][1]})" if n > 1 else "" for label, n in count.items()}
    if label_names is None and len(count) > 20 and 2 * len(count) > len(seen):
        first = next(iter(places))
        what = f"{len(count)} different labels in {len(seen)} examples, such as {first!r}"
        found.problem(here[first], f"{what}: is it the right column? Numbers are a task for sl.Regress")
        return order(count)
    complete = not found.problems  # otherwise what seems absent may stand in an example that could not be read
    learnt = {label for label, split, _ in seen if split in (WHOLE, "train")}
    for label in order(count):
        said = f"label {label!r}{more[label]}"
        if label_names is not None:
            if label not in label_names:
                found.problem(here[label], f"{unknown('label', label, label_names)}{more[label]}")
                continue
        elif label != label.strip():
            found.problem(here[label], f"{said} has spaces around it")
            continue
        elif twin := _typo_of(label, count):
            times = f"{twin!r} ({count[twin]} times)"
            found.problem(here[label], f"{said} looks like a typo of {times}: mend it, or pass label_names= with both")
            continue
        if complete and label not in learnt:
            found.problem(here[label], f"{said} does not occur in 'train': it cannot be learnt")
    if single and complete and len(count) == 1:
        (label,) = count
        found.problem(here[label], f"all {len(seen)} examples have the label {label!r}: one class alone is no task")
    return list(label_names) if label_names is not None else order(count)


def _typo_of(label: str, count: Mapping[str, int]) -> str | None:
    """The more frequent label that was probably meant, or None."""
    plain = fold(label)
    for other in sorted(count, key=lambda name: (-count[name], name)):
        if (count[other], label) <= (count[label], other) or other == label:
            continue
        other_plain = fold(other)
        if plain == other_plain:
            return other
        digits = [[c for c in name if c.isdigit()] for name in (plain, other_plain)]
        if count[label] > 2 or count[other] < 4 * count[label] or digits[0] != digits[1]:
            continue  # both are frequent, or they are numbered
        short = min(len(plain), len(other_plain))
        allowed = 0 if short < 3 else 1 if short < 8 or plain in other_plain or other_plain in plain else 2
        if _edits(plain, other_plain) <= allowed:
            return other
    return None


def _edits(a: str, b: str) -> int:
    """Letters to insert, delete, replace or swap with their neighbour, to make ``b`` of ``a``."""
    before, last = [], list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[-1] = min(row[-1], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def divide(
    rows: Mapping[str, Sequence[dict]], found: Findings, key: Callable, stratum=lambda row: None, *,
    val: float, test: float, seed: int, place: object,
) -> dict[str, list[dict]]:  # fmt: skip
    """Splits of what stands under :data:`WHOLE`; splits that are there stay, and what stands in two of them is noted.

    Args:
        key: equal for duplicates, which stay together on one side (S22).
        stratum: the class of an example; every class is divided by itself.
        val, test: parts of each class, at least one example; the rest is ``train``.

    Raises BadData for everything that was found until here, and for classes that are too small to be divided.
    """
    found.raise_problems()
    groups = defaultdict(list)
    for split, examples in rows.items():
        for at, row in enumerate(examples):
            groups[key(row)].append((split, at))
    said = sum(len({stratum(rows[split][at]) for split, at in group}) > 1 for group in groups.values())
    found.notes += [f"{said} duplicates have different labels"] if said else []
    if WHOLE not in rows:
        shared = Counter(s for group in groups.values() if len({s for s, _ in group}) > 1 for s, _ in group)
        leak = "stand in another split too: what is measured there is memory (S22)"
        found.notes += [f"{shared[split]} of {split} {leak}" for split in rows if shared[split] and split != "train"]
        return dict(rows)
    if not (0 <= val and 0 <= test and val + test < 1):
        raise ValueError(f"val={val} and test={test} must be parts of the whole, and leave some for training")
    if more := sum(map(len, groups.values())) - len(groups):
        found.notes.append(f"{more} duplicates of others, each on the side of the other")
    classes = defaultdict(list)
    for group in groups.values():
        members = [at for _, at in group]
        classes[Counter(stratum(rows[WHOLE][at]) for at in members).most_common(1)[0][0]].append(members)
    shares = {split: share for split, share in (("val", val), ("test", test)) if share}
    sides = {"train": [], **{split: [] for split in shares}}
    draw = np.random.default_rng(seed)
    for name, members in classes.items():
        if len(members) < len(sides):
            of = f" of {name!r}" if name is not None else ""
            need = f"{', '.join(sides)} need one each: add some, or give each split by itself, or pass val=0 or test=0"
            found.problem(place, f"{len(members)} different examples{of}, and {need}")
            continue
        left = {split: max(1, round(share * sum(map(len, members)))) for split, share in shares.items()}
        here = {side: [] for side in sides}
        for i, at in enumerate(draw.permutation(len(members))):
            room = (split for split, n in left.items() if len(members[at]) <= n)
            side = next(room, "train") if i else "train"
            here[side].append(members[at])
            left |= {side: left[side] - len(members[at])} if side in left else {}
        for empty in (side for side in sides if not here[side]):  # every group was too large for it
            most = max(here.values(), key=len)
            here[empty].append(most.pop(min(range(len(most)), key=lambda i: len(most[i]))))
        for side, chosen in here.items():
            sides[side] += [at for group in chosen for at in group]
    found.raise_problems()
    return {side: [rows[WHOLE][at] for at in sorted(chosen)] for side, chosen in sides.items()}
