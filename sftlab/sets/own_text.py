"""Your own texts with labels as tasks: CSV and JSON lines."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..tasks.classify import Classify
from ..tasks.inputs import TextInput
from ..tasks.values import MultiLabel
from .own_files import Findings, check_labels, divide, files_of, fold, lines_of, nearest, read_text, text_problem

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
    r"""A text classification task from JSON lines, one object per line: ``{"text": "Goal!", "label": "sport"}``.

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


def _classify(found, rows, text, label, label_names, place: Path, val, test, seed) -> Classify | MultiLabel:
    """The task of rows (place, example) by split."""
    many = any(isinstance(row[label], list) for group in rows.values() for _, row in group)

    def names_in(row):
        return row[label] if isinstance(row[label], list) else [row[label]]

    seen = [(n, split, at) for split, group in rows.items() for at, row in group for n in names_in(row)]
    names = check_labels(seen, found, label_names, single=not many)
    splits = divide(
        {split: [row for _, row in group] for split, group in rows.items()},
        found, lambda row: fold(row[text]), lambda row: None if many else row[label],
        val=val, test=test, seed=seed, place=place,
    )  # fmt: skip
    if many:
        splits = {split: [{**row, "labels": row[label]} for row in group] for split, group in splits.items()}
        return found.report(MultiLabel(splits, names, TextInput(text), name=place.stem), names_in)
    return found.report(Classify(splits, names, TextInput(text), label, name=place.stem), names_in)


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
            count += 1
            continue
        if not any(cell.strip() for cell in row):
            empty += 1
        elif header is None:
            header = row
            wrong = [f"no column {name!r}.{nearest(name, header)}" for name in columns if name not in header]
            wrong += [f"{n} columns {name!r}." for name, n in Counter(filter(None, header)).items() if n > 1]
            names = f"{header}, separated by {SEPARATORS[separator]}"
            for what in wrong:
                found.problem(
                    place, f"{what} The first line must name the columns; it has {names}. Or pass text=, label="
                )
            if wrong:
                return
        elif len(row) != len(header):
            count += 1
            why = f"text that holds {separator!r} needs quotes"
            found.problem(place, f"{len(row)} columns, the header has {len(header)}; {why}")
        else:
            count += 1
            example = dict(zip(header, row, strict=True))
            problems = [problem for name in columns if (problem := text_problem(name, example[name]))]
            for problem in problems:
                found.problem(place, problem)
            if not problems:
                yield place, example
    if not count:
        found.problem(path, "has a header and no rows")
    found.notes.append(f"{path.name}: separated by {SEPARATORS[separator]}" + f", {empty} empty lines" * bool(empty))


def json_lines(path: Path, such_as: str, found: Findings, encoding) -> Iterator[tuple[str, dict]]:
    """(place, object) of each line that is not blank."""
    content = read_text(path, found, encoding)
    if content is None:
        return
    if whole := _not_lines(content):
        found.problem(f"{path}:1", f"is {whole}, not JSON lines: write one object per line, without line breaks in it")
        return
    for number, line in enumerate(lines_of(content), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            found.problem(f"{place}:{error.colno}", f"no JSON: {error.msg}")
            continue
        except (ValueError, RecursionError) as error:
            found.problem(place, f"{error}")
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            found.problem(place, f"must be an object such as {such_as}, found {line[:30]!r}")


def _json_rows(path: Path, text, label, label_names, found: Findings, encoding) -> Iterator[tuple[str, dict]]:
    for place, row in json_lines(path, f"{{{text!r}: ..., {label!r}: ...}}", found, encoding):
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
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1:
            raise ValueError(f"the key {key!r} stands there {times} times")
    return dict(pairs)


def _label_name(value, label_names):
    """A label as text; what cannot be one stays what it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int):
        return value
    position = label_names is not None and str(value) not in label_names and 0 <= value < len(label_names)
    return label_names[value] if position else str(value)


def _not_lines(content: str) -> str:
    """What a JSON file is if it is not JSON lines, or ""."""
    content = content.strip()
    first = content[: content.find("\n")] if "\n" in content else content
    try:
        found, end = json.JSONDecoder().raw_decode(content)
    except (ValueError, RecursionError):
        return "the beginning of a JSON array" if first.strip() == "[" else ""
    if isinstance(found, list) and end == len(content):
        return f"one JSON array of {len(found)}"
    return "an object over several lines (pretty-printed)" if isinstance(found, dict) and end > len(first) else ""
