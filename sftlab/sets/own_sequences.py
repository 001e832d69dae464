"""Your own sequences as tasks: tagged tokens (CoNLL) and parallel text."""

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from ..tasks.classify import TagTokens
from ..tasks.language import Seq2Seq
from .own_files import Findings, check_labels, divide, files_of, fold, lines_of, order, read_text, text_problem


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
    splits = divide(examples, found, lambda row: tuple(row["words"]), val=val, test=test, seed=seed, place=place)
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
    splits = divide(rows, found, lambda row: fold(row["source"]), val=val, test=test, seed=seed, place=place)
    return found.report(Seq2Seq(splits, name=place.stem))


def _sentences(path: Path, iob1: bool, found: Findings, encoding) -> Iterator[tuple[list[int], dict]]:
    """(line numbers, example) of each sentence."""
    content = read_text(path, found, encoding)
    if content is None:
        return
    lines, starts, count = lines_of(content), 0, 0
    first = (line for line in lines if line.strip() and not line.startswith("-DOCSTART-"))
    tabs = "\t" in next(first, "")
    width, numbers, words, tags = None, [], [], []
    for number, line in enumerate([*lines, ""], 1):
        cells = line.split("\t") if tabs else [cell for cell in line.split(" ") if cell]
        if not line.strip() or cells[0] == "-DOCSTART-":
            starts += bool(line.strip())
            if words:
                count += 1
                yield numbers, {"words": words, "tags": tags}
            numbers, words, tags = [], [], []
            continue
        place, width = f"{path}:{number}", width or (len(cells), number)
        tag, before = cells[-1].strip(), tags[-1] if tags else "the beginning of a sentence"
        if len(cells) == 1:
            problem = f"one column, {line.strip()[:30]!r}; a line needs a token and, in the last column, its tag"
        elif len(cells) != width[0]:
            problem = f"{len(cells)} columns, line {width[1]} has {width[0]}" + "; a comment?" * line.startswith("#")
        elif problem := text_problem("token", cells[0]):
            pass
        elif tag != "O" and not re.fullmatch(r"[BI]-.+", tag):
            problem = _wrong_tag(tag)
        elif tag[:2] == "I-" and before not in ("?", f"B-{tag[2:]}", tag):
            if iob1:
                tag = f"B-{tag[2:]}"
            else:
                remedy = f"in BIO an entity begins with B-{tag[2:]}; is it IOB1? Then pass iob1=True"
                problem = f"{tag} follows {before}: {remedy}"
        if problem:
            found.problem(place, problem)
        numbers.append(number)
        words.append(cells[0].strip())
        tags.append(tag if re.fullmatch("O|[BI]-.+", tag) else "?")  # one mistake is one problem, not one a line
    if not count:
        found.problem(path, "holds no sentences")
    if starts:
        found.notes.append(f"{path.name}: {starts} -DOCSTART- lines skipped")


def _wrong_tag(tag: str) -> str:
    if tag in ("o", "0"):
        return f"tag {tag!r}: outside of entities the tag is O, the capital letter"
    if re.match("[bi]-.", tag):
        return f"tag {tag!r}: the prefix is a capital letter, {tag[0].upper()}{tag[1:]}"
    if re.match("[ESLUM]-.", tag):
        return f"tag {tag!r}: BIOES or BILOU, needs BIO: write I- for E-, L- and M-, and B- for S- and U-"
    return f"tag {tag!r} has no prefix: needs B-{tag} for the first token of an entity, I-{tag} for the next, or O"


def _pairs(source: Path, target: Path | None, found: Findings, encoding) -> Iterator[dict]:
    """Pairs of texts of two files, or of one with tabs."""
    content = [read_text(path, found, encoding) for path in (source, target) if path is not None]
    if None in content:
        return
    sides = [lines_of(text.rstrip("\r\n")) for text in content]
    if target is None:
        pairs = [tuple(line.split("\t")) for line in sides[0]]
        header = fold(sides[0][0]) == "source target"
    else:
        header = False
        if len(sides[0]) != len(sides[1]):
            longer, more = source if len(sides[0]) > len(sides[1]) else target, abs(len(sides[0]) - len(sides[1]))
            at = _first_odd(*sides)
            shown = " / ".join(repr(side[at][:40]) if at < len(side) else "nothing" for side in sides)
            found.problem(
                f"{longer}:{at + 1}",
                f"{source} has {len(sides[0])} lines, {target} has {len(sides[1])}: {longer.name} is longer by {more}; "
                f"the first pair that looks wrong is in line {at + 1}: {shown}",
            )
            return
        pairs = list(zip(*sides, strict=True))
    empty, count = 0, 0
    for number, pair in enumerate(pairs, 1):
        if not any(text.strip() for text in pair):
            empty += 1
        elif len(pair) != 2:
            found.problem(f"{source}:{number}", f"{len(pair)} columns; a line needs source TAB target")
        elif not (header and number == 1):
            count += 1
            row = dict(zip(("source", "target"), pair, strict=True))
            for path, (side, text) in zip((source, target or source), row.items(), strict=True):
                if problem := text_problem(side, text):
                    found.problem(f"{path}:{number}", f"{problem}, the other side is not")
            yield row
    if not count and not found.problems:
        found.problem(source, "holds no pairs")
    found.notes += [f"{source.name}: {empty} empty lines"] if empty else []


def _first_odd(a: list[str], b: list[str]) -> int:
    """Where a line is probably missing: one side is empty, or the ratio of lengths is far from that of most lines."""
    ratios = [(len(y) + 5) / (len(x) + 5) for x, y in zip(a, b, strict=False)]
    usual = median(ratios)
    for at, (x, y, ratio) in enumerate(zip(a, b, ratios, strict=False)):
        if bool(x.strip()) != bool(y.strip()) or not usual / 2.5 < ratio < usual * 2.5:
            return at
    return min(len(a), len(b))
