"""Your own texts as tasks: CSV, JSON lines, CoNLL, parallel text."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from ..tasks.classify import Classify, TagTokens
from ..tasks.language import Seq2Seq
from ..tasks.values import MultiLabel
from .own_files import Findings, check_labels, divide, files_of, lines_of, nearest, order, read_text, text_problem

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def from_csv(
    files, text: str = "text", label: str = "label", *, label_names=None, encoding: str | None = None,
    val: float = 0.15, test: float = 0.15, seed: int = 0,
) -> Classify:  # fmt: skip
    r"""A text classification task from a CSV file with a header line, or from one file per split.

    Columns are separated by commas, semicolons or tabs: whichever gives the header the two columns, ``report`` says
    which. Empty lines are skipped. Labels are names; other columns stay in the examples.

    Args:
        files: a path, or ``{"train": path, "val": path, "test": path}``.
        text, label: the columns.
        label_names: the classes and their order; default: what occurs, sorted. Without it a rare label that nearly is
            a frequent one counts as a typo, and is a problem.
        encoding: of files without a byte-order mark; default UTF-8.
        val, test: parts of a single file, taken from each class; equal texts (up to case and spaces) stay together.
        seed: of that division.

    Returns:
        Classify: with ``report``, a text: how many examples of each class in each split, duplicates, what was skipped.

    Raises:
        BadData: everything that is wrong, at once, with path and line.
        ValueError: ``val`` and ``test`` leave nothing for training.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "film.csv")
    >>> _ = path.write_text("text;label\n" + "".join(f'"Good; no. {i}";pos\nBad no. {i};neg\n' for i in range(20)))
    >>> print(from_csv(path).report)
    train 28: neg 14, pos 14
    val 6: neg 3, pos 3
    test 6: neg 3, pos 3
    film.csv: separated by semicolons
    """
    found = Findings("from_csv")
    paths = files_of(files, found)
    rows = {split: list(_csv_rows(path, (text, label), found, encoding)) for split, path in paths.items()}
    return _classify(found, rows, text, label, label_names, next(iter(paths.values())), val, test, seed)


def from_json_lines(
    files, text: str = "text", label: str = "label", *, label_names=None, encoding: str | None = None,
    val: float = 0.15, test: float = 0.15, seed: int = 0,
) -> Classify | MultiLabel:  # fmt: skip
    r"""A text classification task from JSON lines: one object per line, such as ``{"text": "Goal!", "label": "sport"}``.

    A label is a text, a whole number or true / false (numbers become names: ``"0"``, ``"1"``; with ``label_names`` they
    are positions in it). If labels are lists, the task is :class:`sftlab.MultiLabel`, and is divided without strata.

    Args, Returns, Raises: as for :func:`from_csv`; bad JSON is reported with its line and column.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "news.jsonl")
    >>> _ = path.write_text("".join(f'{{"text": "No. {i}", "label": {i % 2}}}\n' for i in range(20)))
    >>> from_json_lines(path).label_names
    ['0', '1']
    """
    found = Findings("from_json_lines")
    paths = files_of(files, found)
    rows = {s: list(_json_rows(path, text, label, label_names, found, encoding)) for s, path in paths.items()}
    lists = [(place, isinstance(row[label], list)) for group in rows.values() for place, row in group]
    usual = Counter(many for _, many in lists).most_common(1)
    for place, many in lists:
        if many != usual[0][0]:
            found.problem(place, f"{label!r} is {'a list' if many else 'one label'} here, unlike in most lines")
    return _classify(found, rows, text, label, label_names, next(iter(paths.values())), val, test, seed)


def from_conll(
    files, *, label_names=None, iob1: bool = False, encoding: str | None = None,
    val: float = 0.15, test: float = 0.15, seed: int = 0,
) -> TagTokens:  # fmt: skip
    r"""A tagging task from a CoNLL file: a token per line, its tag in the last column, a blank line between sentences.

    Columns are separated by tabs, if the first line has one, otherwise by spaces. ``-DOCSTART-`` lines are skipped.
    Tags are BIO: O, or B- and I- with a type; an I- continues a tag of its type (Ramshaw and Marcus, 1995).

    Args:
        files, encoding, val, test, seed: as for :func:`from_csv`; equal sentences stay together.
        label_names: the tags and their order; default: O, then B- and I- of every type.
        iob1: the file is in IOB1, where I- begins an entity too: such an I- becomes B-.

    Returns:
        TagTokens: with ``words`` and ``tags``; ``report`` counts the entities of each type.

    Raises:
        BadData, ValueError: as for :func:`from_csv`.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "people.conll")
    >>> _ = path.write_text("".join(f"No. O\n{i} O\nMara B-PER\nLind I-PER\nsings O\n\n" for i in range(20)))
    >>> from_conll(path).label_names
    ['O', 'B-PER', 'I-PER']
    """
    found = Findings("from_conll")
    paths = files_of(files, found)
    rows = {split: list(_sentences(path, iob1, found, encoding)) for split, path in paths.items()}
    place = next(iter(paths.values()))
    known = None if label_names is None else order({tag[2:] for tag in label_names} - {""})
    seen = [
        (tag[2:], split, f"{path}:{line}")
        for (split, path), group in zip(paths.items(), rows.values(), strict=True)
        for lines, row in group
        for line, tag in zip(lines, row["tags"], strict=True)
        if tag[:2] in ("B-", "I-")
    ]
    types = check_labels(seen, found, known, single=False)
    if not seen and not found.problems:
        found.problem(place, "all tags are O: there is nothing to find")
    examples = {split: [row for _, row in group] for split, group in rows.items()}
    splits = divide(
        examples, found, lambda row: tuple(row["words"]), val=val, test=test, seed=seed, place=place
    )
    tags = label_names or ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]
    task = TagTokens(splits, tags, name=place.stem)
    return found.report(task, lambda row: (tag[2:] for tag in row["tags"] if tag[:2] == "B-"))


def from_parallel_text(
    source, target=None, *, encoding: str | None = None, val: float = 0.15, test: float = 0.15, seed: int = 0
) -> Seq2Seq:
    r"""A translation task from two files, in which lines with equal numbers belong together, or from one TSV file.

    Args:
        source: a path, or paths by split. Without ``target``: of files with lines ``source TAB target``.
        target: as ``source``, with the same splits. Lines that are empty on both sides are skipped.
        encoding, val, test, seed: as for :func:`from_csv`; equal sources stay together.

    Returns:
        Seq2Seq: with the columns ``source`` and ``target``, and ``report``.

    Raises:
        BadData, ValueError: as for :func:`from_csv`; files of unequal length are reported with the first pair of lines
            that looks wrong.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "pairs.tsv")
    >>> _ = path.write_text("".join(f"{i} Haus\t{i} house\n" for i in range(20)))
    >>> from_parallel_text(path).examples("train")[0]
    {'source': '0 Haus', 'target': '0 house'}
    """
    found = Findings("from_parallel_text")
    sources = files_of(source, found)
    targets = files_of(target, found) if target is not None else dict.fromkeys(sources)
    if set(sources) != set(targets):
        found.problem("target", f"has the splits {sorted(targets)}, the source has {sorted(sources)}")
        found.raise_problems()
    rows = {split: list(_pairs(path, targets[split], found, encoding)) for split, path in sources.items()}
    same = sum(row["source"] == row["target"] for group in rows.values() for row in group)
    found.notes += [f"{same} pairs have a target that equals its source"] if same else []
    place = next(iter(sources.values()))
    splits = divide(rows, found, lambda row: _fold(row["source"]), val=val, test=test, seed=seed, place=place)
    return found.report(Seq2Seq(splits, name=place.stem))


def _classify(found, rows, text, label, label_names, place: Path, val, test, seed) -> Classify | MultiLabel:
    """The task of rows (place, example) by split."""
    many = any(isinstance(row[label], list) for group in rows.values() for _, row in group)

    def names_in(row):
        return row[label] if isinstance(row[label], list) else [row[label]]

    seen = [(n, split, at) for split, group in rows.items() for at, row in group for n in names_in(row)]
    names = check_labels(seen, found, label_names, single=not many)
    splits = divide(
        {split: [row for _, row in group] for split, group in rows.items()},
        found, lambda row: _fold(row[text]), lambda row: "examples" if many else row[label],
        val=val, test=test, seed=seed, place=place,
    )  # fmt: skip
    if many:
        splits = {split: [{**row, "labels": row[label]} for row in group] for split, group in splits.items()}
        return found.report(MultiLabel(splits, names, TextInput(text), name=place.stem), names_in)
    return found.report(Classify(splits, names, TextInput(text), label, name=place.stem), names_in)


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _csv_rows(path: Path, columns: tuple[str, str], found: Findings, encoding) -> Iterator[tuple[str, dict]]:
    content = read_text(path, found, encoding)
    if content is None:
        return
    first = next(line for line in lines_of(content) if line.strip())

    def fits(separator):
        cells = next(csv.reader([first], delimiter=separator))
        return len(set(columns) & set(cells)), len(cells)

    separator = max(SEPARATORS, key=fits)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    header, empty, count = None, 0, 0
    while True:
        place = f"{path}:{reader.line_num + 1}"  # where the row begins: quoted text may hold line ends
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            found.problem(place, f"{error}; is a quote not closed, or one inside quoted text not written twice?")
            if header is None:
                return
            continue
        if not any(cell.strip() for cell in row):
            empty += 1
        elif header is None:
            header = row
            for name in columns:
                if header.count(name) != 1:
                    what = f"{header.count(name)} columns {name!r}" if name in header else f"no column {name!r}"
                    found.problem(
                        place, f"{what}; the first line must name the columns, it has {header}, separated by "
                        f"{SEPARATORS[separator]}.{nearest(name, set(header) - {name})}"
                    )  # fmt: skip
            if any(header.count(name) != 1 for name in columns):
                return
        elif len(row) != len(header):
            found.problem(
                place, f"{len(row)} columns, the header has {len(header)}; text that holds {separator!r} needs quotes"
            )
        else:
            count += 1
            example = dict(zip(header, row, strict=True))
            problems = [problem for name in columns if (problem := text_problem(name, example[name]))]
            for problem in problems:
                found.problem(place, problem)
            if not problems:
                yield place, example
    if not count and not found.problems:
        found.problem(path, "has a header and no rows")
    found.notes.append(f"{path.name}: separated by {SEPARATORS[separator]}" + (f", {empty} empty lines" if empty else ""))


def _json_rows(path: Path, text, label, label_names, found: Findings, encoding) -> Iterator[tuple[str, dict]]:
    content = read_text(path, found, encoding)
    if content is None:
        return
    if whole := _not_lines(content):
        found.problem(f"{path}:1", f"is {whole}, not JSON lines: write one object per line, without line breaks in it")
        return
    for number, line in enumerate(lines_of(content), 1):
        place = f"{path}:{number}"
        try:
            row = json.loads(line, object_pairs_hook=_once) if line.strip() else None
        except json.JSONDecodeError as error:
            found.problem(f"{place}:{error.colno}", f"no JSON: {error.msg}")
            continue
        except (ValueError, RecursionError) as error:
            found.problem(place, f"{error}")
            continue
        if row is None and not line.strip():
            continue
        if not isinstance(row, dict):
            found.problem(place, f"must be an object such as {{{text!r}: ..., {label!r}: ...}}, found {line[:30]!r}")
            continue
        problems = [f"no key {name!r}.{nearest(name, row)}" for name in (text, label) if name not in row]
        if not problems:
            given = row[label] if isinstance(row[label], list) else [row[label]]
            names = [_label_name(value, label_names) for value in given]
            problems = [text_problem(text, row[text])] + [text_problem(label, name) for name in names]
            row[label] = names if isinstance(row[label], list) else names[0]
            if len(set(map(str, names))) < len(names):
                problems.append(f"{label!r} holds a label twice")
        for problem in filter(None, problems):
            found.problem(place, problem)
        if not any(problems):
            yield place, row


def _once(pairs: list[tuple]) -> dict:
    if twice := [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]:
        raise ValueError(f"the key {twice[0]!r} stands {len(pairs)} times")
    return dict(pairs)
