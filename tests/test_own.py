"""Readers for people's own files: what is wrong is said with its place, what is right is read as it is."""

import codecs
import csv as csv_module
import io
import json
import re
from collections import Counter
from pathlib import Path

import nets
import numpy as np
import pytest
import task_nets
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_bad import BAD, classes, coco, jsonl, mask, picture, rows, scenes, sentences, talks, turns
from PIL import Image

import sftlab as sl
from sftlab.errors import BadData
from sftlab.sets import own_conversations, own_files, own_images, own_scenes, own_sequences, own_text

READERS = {
    "from_csv": own_text.from_csv, "from_json_lines": own_text.from_json_lines,
    "from_conll": own_sequences.from_conll, "from_parallel_text": own_sequences.from_parallel_text,
    "from_conversations": own_conversations.from_conversations,
    "from_image_folder": own_images.from_image_folder, "from_coco": own_scenes.from_coco,
    "from_mask_folder": own_scenes.from_mask_folder,
}  # fmt: skip


def write(folder: Path, files: dict) -> Path:
    """Files by path: text (as UTF-8, line ends as they are), bytes, or None for a link to nothing."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.symlink_to(folder / "nowhere")
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def placed(value, folder: Path):
    """Settings with the folder in them."""
    if isinstance(value, dict):
        return {key: placed(part, folder) for key, part in value.items()}
    return value.replace("{d}", str(folder)) if isinstance(value, str) else value


def read(folder: Path, name: str, files: dict, /, **arguments):
    return READERS[name](**placed(arguments, write(folder, files)))


# What is wrong


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_reported_with_place_and_reason(name, tmp_path):
    """Each of the problems begins with its path and line (or index) and the reason; there is no problem besides."""
    reader, files, arguments, said = BAD[name]
    with pytest.raises(BadData) as caught:
        read(tmp_path, reader, files, **arguments)
    first, *problems = re.split(r"\n  (?! )", str(caught.value))
    assert first == f"{reader}: {len(said)} problem{'s' * (len(said) != 1)}"
    for expected in (one.format(d=tmp_path) for one in said):
        assert any(problem.startswith(expected) for problem in problems), f"{expected}\nis not in\n{caught.value}"


def test_there_are_more_than_60_kinds():
    assert len(BAD) > 150 and {reader for reader, *_ in BAD.values()} == set(READERS)


def test_a_fault_of_every_line_is_counted(tmp_path):
    """A thousand problems give an error that can be read, and says how many there are."""
    with pytest.raises(BadData, match=r"(?s)from_csv: 1000 problems.*and 900 more") as caught:
        read(tmp_path, "from_csv", {"a.csv": "text,label\n" + "x,\n" * 1000}, files="{d}/a.csv")
    assert len(str(caught.value).splitlines()) == 102


def test_what_cannot_be_opened_is_reported(tmp_path, monkeypatch):
    """Files and folders without permission (simulated: root may read everything)."""

    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", str(path))

    files = {"a.csv": rows(), **classes()}
    write(tmp_path, files)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BadData, match=re.escape(f"{tmp_path}/a.csv: cannot be read: Permission denied")):
        own_text.from_csv(tmp_path / "a.csv")
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BadData, match=re.escape(f"{tmp_path}/p: cannot be read: Permission denied")):
        own_images.from_image_folder(tmp_path / "p")


def test_pictures_that_fill_the_memory_are_refused(tmp_path, monkeypatch):
    """20 pictures of 8x6 need 2,880 bytes; nothing beyond the limit is kept, and the remedy is named."""
    write(tmp_path, classes(10))
    monkeypatch.setattr(own_images, "MOST_BYTES", 20 * 8 * 6 * 3)
    assert len(own_images.from_image_folder(tmp_path / "p", val=0, test=0).examples("train")) == 20
    monkeypatch.setattr(own_images, "MOST_BYTES", 20 * 8 * 6 * 3 - 1)
    with pytest.raises(BadData, match=r"1 problem\n.*dog/9.png: the pictures up to this one fill .* smaller max_side="):
        own_images.from_image_folder(tmp_path / "p", val=0, test=0)


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.2, float("nan"))])
def test_parts_must_leave_something_to_learn(tmp_path, val, test):
    with pytest.raises(ValueError, match=f"val={val} and test={test}"):
        read(tmp_path, "from_csv", {"a.csv": rows()}, files="{d}/a.csv", val=val, test=test)


@pytest.mark.parametrize(
    ("label", "other"),
    [("class 1", "class 2"), ("a", "b"), ("1", "2"), ("up", "un"), ("cat", "dog"), ("relevant", "irrelevant")],
)
def test_names_that_are_near_are_no_typos(tmp_path, label, other):
    """Numbered names, short names, and a name within another; frequent ones in any case."""
    text = "text,label\n" + "".join(f"x{i},{label}\n" for i in range(20)) + f"a,{other}\nb,{other}\n"
    task = read(tmp_path, "from_csv", {"a.csv": text}, files="{d}/a.csv", val=0.1, test=0)
    assert sorted(task.label_names) == sorted([label, other])


def test_names_that_are_near_may_both_be_given(tmp_path):
    text = rows() + "a,poss\nb,poss\nc,poss\nd,Pos\ne,Pos\nf,Pos\n"
    names = ["neg", "pos", "poss", "Pos"]
    assert read(tmp_path, "from_csv", {"a.csv": text}, files="{d}/a.csv", label_names=names).label_names == names


# What is right: text

TEXTS = ["Grüße, „Welt“", "a\u2028b\x0cc", 'say "no"; yes', "tab\tcolon: 50 €", " spaces kept ", "汉字", "x"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le mark", "utf-16-be mark", "utf-32", "gb18030"]


def encoded(text: str, encoding: str) -> tuple[bytes, dict]:
    """Bytes of a file, and what the reader must be told."""
    if encoding.endswith("mark"):
        return text.encode("utf-16") if "le" in encoding else codecs.BOM_UTF16_BE + text.encode("utf-16-be"), {}
    return text.encode(encoding), {"encoding": encoding} if encoding == "gb18030" else {}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_read_in_every_encoding_and_line_end(tmp_path, encoding, end):
    """CSV, JSON lines, CoNLL and pairs give the same examples, whatever the bytes."""
    data = [{"text": f"{text}{i}", "label": "ab"[i % 2], "extra": text} for i, text in enumerate(TEXTS)]
    with open(tmp_path / "x.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv_module.DictWriter(f, ["text", "label", "extra"], delimiter=";", lineterminator=end)
        writer.writeheader()
        writer.writerows(data)
    short = [(i, text.strip()) for i, text in enumerate(TEXTS) if "\t" not in text]
    files = {
        "from_csv": (tmp_path / "x.csv").read_bytes().decode(),
        "from_json_lines": end.join(json.dumps(row, ensure_ascii=False) for row in data) + end,
        "from_conll": end.join(f"{word} O{end}Ä\u2028ß B-ÖRT{end}" for word in ("a\xa0b", "汉")),  # both are one token
        "from_parallel_text": "".join(f"{text}\t{i} zwei{end}" for i, text in short),
    }  # fmt: skip
    found = {}
    for reader, content in files.items():
        raw, settings_ = encoded(content, encoding)
        (tmp_path / reader).write_bytes(raw)
        found[reader] = READERS[reader](tmp_path / reader, val=0, test=0, **settings_)
    assert found["from_csv"].examples("train") == found["from_json_lines"].examples("train") == data
    words = [["a\xa0b", "Ä\u2028ß"], ["汉", "Ä\u2028ß"]]
    assert found["from_conll"].examples("train") == [{"words": w, "tags": ["O", "B-ÖRT"]} for w in words]
    pairs = [{"source": text, "target": f"{i} zwei"} for i, text in short]
    assert found["from_parallel_text"].examples("train") == pairs


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(CELL.filter(str.strip), st.sampled_from("ab"), CELL), min_size=1, max_size=8),
    st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2), st.sampled_from(ENCODINGS[:6]),
)  # fmt: skip
def test_csv_of_any_text_is_read_back(tmp_path, cells, separator, end, quoting, encoding):
    """What Python's writer wrote: any characters, separators and line ends in cells, any quoting."""
    path = tmp_path / "any.csv"
    every = [*cells, ("t", "a", ""), ("t", "b", "")]
    if end == "\n" and any("\r" in cell for row in cells for cell in row):
        quoting = 1  # otherwise Python 3.11 writes a CR without quotes, which nobody can tell from the end of a row
    data = [dict(zip(("text", "label", "note, more"), row, strict=True)) for row in every]
    with open(tmp_path / "utf8", "w", encoding="utf-8", newline="") as f:
        writer = csv_module.DictWriter(f, list(data[0]), delimiter=separator, lineterminator=end, quoting=quoting)
        writer.writeheader()
        writer.writerows(data)
    path.write_bytes(encoded((tmp_path / "utf8").read_bytes().decode(), encoding)[0])
    assert own_text.from_csv(path, val=0, test=0).examples("train") == data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120), st.sampled_from(["from_csv", "from_json_lines", "from_conll", "from_parallel_text",
                                                    "from_conversations"]))  # fmt: skip
def test_any_bytes_are_read_or_reported(tmp_path, content, reader):
    """No other error than BadData, and none without the file in it."""
    good = {"from_csv": rows(), "from_json_lines": jsonl(), "from_conll": sentences(), "from_parallel_text": "a\tb\n",
            "from_conversations": talks()}  # fmt: skip
    path = tmp_path / "any"
    path.write_bytes(good[reader].encode() + content)
    try:
        READERS[reader](path, val=0, test=0)
    except BadData as error:
        assert str(path) in str(error)


def test_conversations_of_every_form(tmp_path):
    """Alpaca's form becomes two turns with its input behind the instruction; the others stay, with all their keys."""
    data = [
        {"instruction": "Add 1.", "input": "2", "output": "3", "source": "me"},
        {"instruction": "Sing.", "input": "", "output": "La."},
        {"prompt": "2 + 2 =", "completion": " 4"},
        {"text": "A text.", "input": ["a key like any other"]},
        turns(("system", "Be short."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Bye")),
    ]
    content = "".join(json.dumps(row) + "\n" for row in data)
    task = read(tmp_path, "from_conversations", {"a": content}, files="{d}/a", val=0, test=0)
    first, second, *others = task.examples("train")
    assert first == data[0] | turns(("user", "Add 1.\n\n2"), ("assistant", "3"))
    assert second["messages"] == turns(("user", "Sing."), ("assistant", "La."))["messages"]
    assert others == data[2:]
    assert task.report.splitlines()[1:] == [
        "mixed forms: messages 3, prompt 1, text 1",
        "up to 2 answers in a conversation, 4 in 3; all are learnt",
    ]


def test_conversations_that_ask_the_same_stay_together(tmp_path):
    """Two answers to one question do not come into two splits; a leak between given splits is told."""
    data = [turns(("user", f"{' ' * (i % 2)}Question {i // 2}"), ("assistant", str(i))) for i in range(40)]
    content = "".join(json.dumps(row) + "\n" for row in data)
    task = read(tmp_path, "from_conversations", {"a": content}, files="{d}/a")
    asked = {split: {row["messages"][0]["content"].strip() for row in rows_} for split, rows_ in task.splits.items()}
    assert len(asked["train"] | asked["val"] | asked["test"]) == 20 == sum(map(len, asked.values()))
    both = read(tmp_path, "from_conversations", {"b": content}, files={"train": "{d}/a", "test": "{d}/b"})
    assert "40 of test stand in another split too" in both.report


def test_csv_reads_the_course_s_own_files():
    """The bundled headlines, read as a stranger's files, are the task that the course has."""
    folder, bundled = sl.find_asset("headlines"), sl.task("headlines")
    own = own_text.from_csv({split: folder / f"{split}.csv" for split in ("train", "val", "test")})
    assert own.label_names == bundled.label_names and own.kind == bundled.kind
    assert all(own.examples(split) == bundled.examples(split) for split in ("train", "val", "test"))


def test_csv_empty_lines_and_cells_that_look_like_several_lines(tmp_path):
    text = '\n\r\ntext;more;label\n\n"two\nlines";;a\n;;\n   \nplain;x;b\n'
    task = read(tmp_path, "from_csv", {"a.csv": text}, files="{d}/a.csv", val=0, test=0)
    assert [(row["text"], row["more"]) for row in task.examples("train")] == [("two\nlines", ""), ("plain", "x")]
    assert task.report == "train 2: a 1, b 1\na.csv: separated by semicolons, 5 empty lines"


def test_csv_takes_the_separator_that_gives_the_columns(tmp_path):
    """Not the one that gives the most columns."""
    task = read(tmp_path, "from_csv", {"a.csv": 'text,label,"a;b;c;d"\nx,1,\ny,2,\n'}, files="{d}/a.csv", val=0, test=0)
    assert task.examples("train")[0] == {"text": "x", "label": "1", "a;b;c;d": ""}


def test_labels_that_are_numbers_are_in_order(tmp_path):
    text = "text,label\n" + "".join(f"x{i},{i % 12}\n" for i in range(48))
    assert read(tmp_path, "from_csv", {"a.csv": text}, files="{d}/a.csv").label_names == [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("given_", "names", "read_as"),
    [([0, 1], None, ["0", "1"]), ([0, 1], ["no", "yes"], ["no", "yes"]), ([False, True], None, ["false", "true"]),
     ([0, 1], ["1", "0"], ["0", "1"]), ([10, 9], None, ["10", "9"])],
)  # fmt: skip
def test_json_labels_that_are_no_text(tmp_path, given_, names, read_as):
    data = [{"text": f"t{i}", "label": given_[i % 2]} for i in range(8)]
    content = "\n\n".join(map(json.dumps, data))
    task = read(tmp_path, "from_json_lines", {"a": content}, files="{d}/a", label_names=names, val=0, test=0)
    assert [row["label"] for row in task.examples("train")] == read_as * 4
    assert task.label_names == (names or own_files.order(read_as))


def test_json_lists_make_a_task_of_several_labels(tmp_path):
    data = [{"text": f"t{i}", "topics": [["a"], ["b", "a"], [], ["b"]][i % 4], "id": i} for i in range(40)]
    content = "\n".join(map(json.dumps, data))
    task = read(tmp_path, "from_json_lines", {"a": content}, files="{d}/a", label="topics")
    assert isinstance(task, sl.MultiLabel) and task.label_names == ["a", "b"]
    assert {split: len(rows_) for split, rows_ in task.splits.items()} == {"train": 28, "val": 6, "test": 6}
    assert sorted(row["id"] for rows_ in task.splits.values() for row in rows_) == list(range(40))
    assert all(row["labels"] == row["topics"] for row in task.examples("test"))


def test_conll_columns_documents_and_blank_lines(tmp_path):
    text = "-DOCSTART- -X- -X- O\n\n\nEU NNP I  B-ORG \nrejects VBZ I O\n \nPeter NNP I B-PER\nBlackburn NNP I I-PER\n"
    task = read(tmp_path, "from_conll", {"a": text}, files="{d}/a", val=0, test=0)
    assert task.examples("train") == [
        {"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"words": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]},
    ]
    assert task.label_names == ["O", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert task.report == "train 2: ORG 1, PER 1\na: 1 -DOCSTART- lines skipped"


def test_conll_iob1_becomes_bio(tmp_path):
    """In IOB1 an I- begins an entity too, and B- only parts it from one of its type before it."""
    tags = ["I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-PER", "B-LOC"]
    text = "".join(f"w {tag}\n" for tag in tags) + "\nw I-LOC\n"
    task = read(tmp_path, "from_conll", {"a": text}, files="{d}/a", iob1=True, val=0, test=0)
    found = [row["tags"] for row in task.examples("train")]
    assert found == [["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-PER", "B-LOC"], ["B-LOC"]]


def test_pairs_from_two_files_and_from_one(tmp_path):
    """The same task; blank lines at the end do not count, a header of TSV is none of the pairs."""
    source, target = [f"{i} Häuser" for i in range(20)], [f"{i} houses" for i in range(20)]
    source[7] = target[7] = ""
    source[9] = target[9]
    write(tmp_path, {"a.de": "\n".join(source) + "\n\n", "a.en": "\r\n".join(target)})
    both = zip(source, target, strict=True)
    write(tmp_path, {"a.tsv": "Source\tTarget\n" + "".join(f"{s}\t{t}\n" if s else "\n" for s, t in both)})
    two = own_sequences.from_parallel_text(tmp_path / "a.de", tmp_path / "a.en")
    one = own_sequences.from_parallel_text(tmp_path / "a.tsv")
    assert one.splits == two.splits
    assert two.report == "train 13\nval 3\ntest 3\na.de: 1 empty lines\n1 pairs have a target that equals its source"


def test_pairs_of_one_source_stay_together(tmp_path):
    content = "".join(f"{source} x\t{i} a\n" for i, source in enumerate([*range(20), *range(20)]))
    task = read(tmp_path, "from_parallel_text", {"a.tsv": content}, source="{d}/a.tsv")
    sides = {(row["source"], split) for split, rows_ in task.splits.items() for row in rows_}
    assert len(sides) == 20


# Splits


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_division_is_fair(data):
    """Nothing is lost, duplicates stay together, each class is on each side in its share, and the seed decides."""
    keys = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=60))
    examples = [{"label": "abc"[key % 3], "key": key, "at": i} for i, key in enumerate(keys)]
    val, test = data.draw(st.sampled_from([(0.15, 0.15), (0.4, 0.5), (0, 0.3), (0.2, 0), (0, 0)]))
    different = {label: {row["key"] for row in examples if row["label"] == label} for label in "abc"}
    sides = 1 + (val > 0) + (test > 0)

    def divide(seed):
        found = own_files.Findings("x")
        return own_files.divide({"all": examples}, found, lambda row: row["key"], lambda row: row["label"],
                                val=val, test=test, seed=seed, place="x")  # fmt: skip

    if any(0 < len(keys) < sides for keys in different.values()):
        with pytest.raises(BadData, match="need one each"):
            divide(0)
        return
    splits = divide(0)
    assert sorted(row["at"] for rows_ in splits.values() for row in rows_) == list(range(len(examples)))
    assert list(splits) == ["train"] + ["val"] * (val > 0) + ["test"] * (test > 0)
    assert all([row["at"] for row in rows_] == sorted(row["at"] for row in rows_) for rows_ in splits.values())
    where = {(row["key"], split) for split, rows_ in splits.items() for row in rows_}
    assert len(where) == len({key for key, _ in where})
    for label in {row["label"] for row in examples}:
        counts = {split: sum(row["label"] == label for row in rows_) for split, rows_ in splits.items()}
        assert min(counts.values()) > 0
        total, largest = sum(counts.values()), max(Counter(r["key"] for r in examples if r["label"] == label).values())
        for split, share in (("val", val), ("test", test)):
            if share:
                groups = {row["key"] for row in splits[split] if row["label"] == label}
                assert counts[split] <= max(1, round(share * total)) or len(groups) == 1  # no smaller group was there
                if largest == 1 and counts["train"] > 1:
                    assert counts[split] == max(1, round(share * total))
    assert divide(0) == splits


def test_another_seed_divides_otherwise(tmp_path):
    write(tmp_path, {"a.csv": rows(100)})
    one, same, other = (own_text.from_csv(tmp_path / "a.csv", seed=seed).splits for seed in (1, 1, 2))
    assert one == same and one["test"] != other["test"]
    assert {s: Counter(r["label"] for r in rows_) for s, rows_ in one.items()} == {
        "train": {"pos": 34, "neg": 34}, "val": {"pos": 8, "neg": 8}, "test": {"pos": 8, "neg": 8}
    }  # fmt: skip


def test_duplicates_are_counted_and_kept_together(tmp_path):
    """Equal up to case and spaces; a text with two labels is said to have them."""
    text = rows(40) + "good no.  0,pos\nGOOD NO. 0,neg\n"
    task = read(tmp_path, "from_csv", {"a.csv": text}, files="{d}/a.csv")
    (split,) = [s for s, rows_ in task.splits.items() if any(r["text"] == "Good no. 0" for r in rows_)]
    assert sum(r["text"].casefold().split() == ["good", "no.", "0"] for r in task.examples(split)) == 3
    assert "2 duplicates of others, each on the side of the other" in task.report
    assert "1 duplicates have different labels" in task.report


def test_splits_that_are_given_stay_and_leaks_are_counted(tmp_path):
    files = {"a.csv": rows(10), "b.csv": rows(4, mark="!") + "good no. 0,pos\n"}
    task = read(tmp_path, "from_csv", files, files={"train": "{d}/a.csv", "later": "{d}/b.csv"})
    assert {split: len(rows_) for split, rows_ in task.splits.items()} == {"train": 10, "later": 5}
    assert task.report.splitlines()[2:] == [
        "a.csv: separated by commas",
        "b.csv: separated by commas",
        "1 of later stand in another split too: what is measured there is memory (S22)",
    ]


def test_equal_pictures_stay_together(tmp_path):
    """Equal pixels, whatever the file."""
    kinds = {"0.png": "PNG", "a.png": "PNG", "b.bmp": "BMP", "c.tif": "TIFF"}
    files = classes(10) | {f"p/cat/{name}": picture(fill=0, kind=kind) for name, kind in kinds.items()}
    write(tmp_path, files)
    for seed in range(4):
        task = own_images.from_image_folder(tmp_path / "p", seed=seed)
        where = [(split, Path(row["file"])) for split, rows_ in task.splits.items() for row in rows_]
        sides = [split for split, path in where if path.parent.name == "cat" and path.name in kinds]
        assert len(sides) == 4 and len(set(sides)) == 1
        assert "3 duplicates of others" in task.report


# What is right: pictures


def folder_of(tmp_path, *contents, **arguments):
    """The pictures of class a, in this order, and one of class b."""
    files = {f"p/a/{i}{suffix}": content for i, (suffix, content) in enumerate(contents)}
    files["p/b/0.png"] = picture()
    task = read(tmp_path, "from_image_folder", files, folder="{d}/p", val=0, test=0, **arguments)
    return task, [row["image"] for row in task.examples("train") if row["label"] == "a"]


def saved(image, kind="PNG", mode=None, **settings_) -> bytes:
    """The file of an image or of an array."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    (image.convert(mode) if mode else image).save(file, kind, **settings_)
    return file.getvalue()


def test_every_mode_becomes_rgb(tmp_path):
    """Greyscale, black and white, palette, 16 bits, with alpha, CMYK: the colours that a viewer shows."""
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    colour = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    clear = np.dstack([colour, np.where(grey > 100, 255, 0).astype(np.uint8)])
    palette = Image.fromarray(colour).quantize(64)
    cmyk = Image.fromarray(colour).convert("CMYK")
    task, found = folder_of(
        tmp_path,
        (".png", saved(grey)),
        (".png", saved(grey, mode="1")),
        (".png", saved(grey.astype(np.uint16) * 257)),
        (".png", saved(clear)),
        (".PNG", saved(palette)),
        (".png", saved(palette, transparency=0)),
        (".jpg", saved(cmyk, "JPEG", quality=100)),
        (".gif", saved(grey, "GIF")),
        (".webp", saved(colour, "WEBP", lossless=True)),
    )
    found = [image.permute(1, 2, 0).numpy() for image in found]
    assert all(image.dtype == np.uint8 and image.shape == (6, 8, 3) for image in found)
    threefold = np.stack([grey] * 3, axis=-1)
    assert all(np.array_equal(found[i], threefold) for i in (0, 2, 7))
    assert set(found[1].reshape(-1).tolist()) == {0, 255}
    assert np.array_equal(found[3], np.where(clear[..., 3:] > 0, colour, 255))
    shown = np.asarray(palette.convert("RGB"))
    assert np.array_equal(found[4], shown)
    assert np.array_equal(found[5], np.where(np.asarray(palette)[..., None] == 0, 255, shown))
    assert np.abs(found[6].astype(int) - np.asarray(cmyk.convert("RGB"))).max() <= 12  # JPEG is not exact
    assert np.array_equal(found[8], colour)
    assert "2 pictures with transparency, put on white\n" in task.report
    assert "1 pictures with 16 bits, divided by 257" in task.report


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, turn):
    """All eight orientations of EXIF: the sensor's picture is not what the photographer saw."""
    array = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x.transpose(1, 0, 2), 2), 8: np.rot90,
    }[turn](array)  # fmt: skip
    task, (found,) = folder_of(tmp_path, (".png", saved(array, exif=exif)))
    assert np.array_equal(found.permute(1, 2, 0).numpy(), upright)
    assert ("rotated as the camera was held" in task.report) == (turn > 1)


def test_large_pictures_shrink_and_keep_their_shape(tmp_path):
    """No side longer than max_side, antialiased, at least one pixel; small ones stay as they are."""
    board = (np.indices((40, 100)).sum(0) % 2 * 255).astype(np.uint8)
    made = [(".png", content) for content in (saved(board), picture((16, 9)), picture((300, 2)))]
    task, found = folder_of(tmp_path, *made, max_side=16)
    assert [list(image.shape) for image in found] == [[3, 6, 16], [3, 9, 16], [3, 1, 16]]
    assert 120 <= found[0].min() and found[0].max() <= 135  # a chessboard is grey from afar; aliasing: 0 and 255
    assert "2 pictures larger than 16 pixels, shrunk" in task.report
    with pytest.raises(ValueError, match="max_side must be"):
        own_images.from_image_folder(tmp_path / "p", max_side=0)


def test_folders_of_every_layout(tmp_path):
    """Splits by any of their names, a class that is called train, and files that systems leave behind."""
    litter = {"p/.DS_Store": "x", "p/Thumbs.db": "x", "p/README.md": "x", "p/__MACOSX/._a": "x"}
    names = [f"p/{s}/{c}/{i}.png" for s in ("Train", "valid", "testing") for c in "ab" for i in range(2)]
    files = {name: picture(fill=i) for i, name in enumerate(names)}
    files |= {**litter, "p/Train/a/.hidden.png": "x", "p/Train/desktop.ini": ""}
    task = read(tmp_path / "1", "from_image_folder", files, folder="{d}/p")
    assert {split: len(rows_) for split, rows_ in task.splits.items()} == {"test": 4, "train": 4, "val": 4}
    assert "README.md: ignored" in task.report
    names = [f"p/{c}/{i}.png" for c in ("train", "bus", "car") for i in range(3)]
    files = {name: picture(fill=i) for i, name in enumerate(names)}
    task = read(tmp_path / "2", "from_image_folder", {**files, **litter}, folder="{d}/p")
    assert task.label_names == ["bus", "car", "train"] and task.kind == "image classification"
    assert task.report.splitlines()[0] == "train 3: bus 1, car 1, train 1"


def test_coco_boxes_are_corners_in_the_shrunk_picture(tmp_path):
    """bbox is x, y, width, height; crowds are skipped, edges cut, ids need no order, pictures without boxes stay."""
    content = {
        "images": [
            {"id": 30, "file_name": "s/b.png", "width": 40, "height": 20},
            {"id": "x", "file_name": "a.png"},
            {"id": 5, "file_name": "c.png"},
        ],
        "categories": [{"id": 9, "name": "tree"}, {"id": 10, "name": "car"}, {"id": 4, "name": "never"}],
        "annotations": [
            {"image_id": 30, "category_id": 9, "bbox": [4, 2, 36.4, 10]},
            {"image_id": "x", "category_id": 10, "bbox": [0, 0, 8, 6]},
            {"image_id": 30, "category_id": 10, "bbox": [0, 0, 1e9, 1], "iscrowd": 1},
            {"image_id": 30, "category_id": 10, "bbox": [10, 10, 2, 2]},
        ],
    }
    files = {
        "p/s/b.png": picture((40, 20)),
        "p/a.png": picture(),
        "p/c.png": picture(fill=3),
        "c.json": json.dumps(content),
    }
    task = read(tmp_path, "from_coco", files, images="{d}/p", annotations="{d}/c.json", val=0, test=0, max_side=20)
    b, a, c = task.examples("train")
    assert b["boxes"] == [[2, 1, 20, 6], [5, 5, 6, 6]] and b["labels"] == ["tree", "car"]
    assert a["boxes"] == [[0, 0, 8, 6]] and c["boxes"] == [] and task.label_names == ["background", "tree", "car"]
    image = b[task.inputs.column]
    assert image.shape == (3, 10, 20) and image.dtype == torch.float32 and 0 <= image.min() and image.max() <= 1
    assert task.report == (
        "train 3: car 2, tree 1\ncategories without boxes, left out: never\n1 pictures larger than 20 pixels, shrunk\n"
        "1 boxes cut at the edge\n1 crowds instead of boxes, skipped\n1 pictures without boxes"
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.integers(8, 200)] * 2), st.data(), st.integers(1, 40))
def test_coco_boxes_stay_in_any_shrunk_picture(tmp_path, size, data, side):
    """Whatever the sizes, rounding carries no box over the edge, where Detect would refuse it."""
    x, y = (data.draw(st.floats(0, most - 1)) for most in size)
    width, height = (data.draw(st.floats(0.5, most - begin + 0.5)) for most, begin in zip(size, (x, y), strict=True))
    content = {"images": [{"id": 0, "file_name": "0.png"}], "categories": [{"id": 0, "name": "a"}],
               "annotations": [{"image_id": 0, "category_id": 0, "bbox": [x, y, width, height]}]}  # fmt: skip
    files = {"p/0.png": picture(size), "c.json": json.dumps(content)}
    task = read(tmp_path, "from_coco", files, images="{d}/p", annotations="{d}/c.json", val=0, test=0, max_side=side)
    assert len(task.examples("train")[0]["boxes"]) == 1


def test_coco_by_splits_and_without_train_boxes_of_a_class(tmp_path):
    files = {**coco(), **{f"q/{i}.png": picture(fill=20 + i) for i in range(4)}}
    files["v.json"] = files["c.json"]
    task = read(tmp_path, "from_coco", files, images={"train": "{d}/p", "val": "{d}/q"},
                annotations={"train": "{d}/c.json", "val": "{d}/v.json"})  # fmt: skip
    assert task.report == "train 4: cat 2, dog 2\nval 4: cat 2, dog 2"
    content = json.loads(files["c.json"])
    content["annotations"] = content["annotations"][:1]
    (tmp_path / "c.json").write_text(json.dumps(content))
    reports = {own_scenes.from_coco(tmp_path / "p", tmp_path / "c.json", seed=seed).report for seed in range(20)}
    assert any("not in train, so never learnt: cat" in report for report in reports)
    assert any("never learnt" not in report for report in reports)


GREYS = {0: 5, 1: 15, 2: 105, 255: 127}
COLOURS = {0: (255, 0, 0), 1: (0, 255, 0), 2: (1, 2, 3), 255: (0, 0, 0)}
CALLED = {0: "sky", 1: "cell", 2: "road", 255: None}
MASKS = {
    "grey": (mask, None),
    "palette": (lambda n: mask(n, mode="P"), None),
    "BMP": (lambda n: mask(n, kind="BMP"), None),
    "grey saved as RGB": (lambda n: mask(np.dstack([n] * 3)), None),
    "16 bits": (lambda n: saved(n.astype(np.uint16)), None),
    "other greys": (lambda n: mask(np.vectorize(GREYS.get)(n)), {GREYS[n]: name for n, name in CALLED.items()}),
    "colours": (
        lambda n: mask([[COLOURS[v] for v in row] for row in n.tolist()]),
        {COLOURS[n]: name for n, name in CALLED.items()},
    ),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_every_kind(tmp_path, kind):
    """Whatever the file, the same classes; 255, or what is mapped to None, is no label."""
    make, values = MASKS[kind]
    numbers = np.array([[0, 1, 2, 2]] * 3 + [[0, 0, 1, 255]], dtype=np.uint8)
    files = {f"p/{i}.jpg": picture((4, 4), fill=i, kind="JPEG") for i in range(4)}
    files |= {f"m/{i}.png": make(numbers) for i in range(4)}
    task = read(
        tmp_path, "from_mask_folder", files, images="{d}/p", masks="{d}/m",
        label_names=["sky", "cell", "road"], values=values,
    )  # fmt: skip
    sizes = {"train": 2, "val": 1, "test": 1}
    assert {split: len(rows_) for split, rows_ in task.splits.items()} == sizes
    for example in task.examples("train"):
        assert example["mask"].dtype == torch.int64 and np.array_equal(example["mask"].numpy(), numbers)
        assert task.target(example).tolist()[-1] == [0, 0, 1, -100]
    assert task.report == "\n".join(f"{split} {n}: cell {n}, road {n}, sky {n}" for split, n in sizes.items())


def test_masks_of_two_values_are_black_and_white(tmp_path):
    """Pillow's mode 1 is False and True: classes 0 and 1."""
    content = saved(np.array([[0, 255] * 4] * 6, dtype=np.uint8), mode="1")
    files = {**scenes(), **{f"m/{i}.png": content for i in range(4)}}
    task = read(tmp_path, "from_mask_folder", files, images="{d}/p", masks="{d}/m", label_names=["sky", "cell"])
    assert task.examples("train")[0]["mask"].tolist() == [[0, 1] * 4] * 6


def test_masks_shrink_with_their_pictures(tmp_path):
    """Edges stay where they are, and no class comes into being between two others."""
    numbers = np.zeros((30, 50), dtype=np.uint8)
    numbers[12:, 20:] = 2
    files = {f"p/{i}.png": picture((50, 30), fill=i) for i in range(3)}
    files |= {f"m/{i}.png": mask(numbers) for i in range(3)}
    folders = {"images": "{d}/p", "masks": "{d}/m"}
    task = read(tmp_path, "from_mask_folder", files, **folders, label_names=["a", "b", "c"], max_side=25)
    found = task.examples("train")[0]
    assert found["mask"].shape == found[task.inputs.column].shape[1:] == (15, 25)
    assert np.array_equal(found["mask"].numpy(), numbers[::2, ::2])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(own_images.FORMATS), st.integers(0, 400), st.binary(min_size=1, max_size=6))
def test_any_damage_to_a_picture_is_read_or_reported(tmp_path, kind, at, junk):
    """Bytes overwritten anywhere: a picture or a BadData that names the file, no other error, no warning on screen."""
    content = picture((16, 12), kind=kind)
    at %= len(content)
    (tmp_path / "x.png").write_bytes(content[:at] + junk + content[at + len(junk) :])
    found = own_files.Findings("x")
    image = own_images.Decoder(found, 512, torch.uint8).picture(tmp_path / "x.png")
    assert (image is None) == (len(found.problems) == 1)
    assert all(problem.startswith(str(tmp_path / "x.png")) for problem in found.problems)


# Tasks


def text_model(task, head):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = head(nets.tiny_bert(), len(task.label_names), 0.0)
    model.tokenizer, model.max_tokens = nets.ToyTokenizer(), nets.MAX_TOKENS
    return model


def image_model(task):
    model = nets.model_of("conv")
    model.image_size, model.mean, model.std = 6, (0.5,) * 3, (0.25,) * 3
    return model


LISTS = [{"text": f"t{i}", "label": ["a"] * (i % 2) + ["b"] * (i % 3 == 0)} for i in range(20)]
TRAINED = {
    "from_csv": ({"a": rows(20)}, {"files": "{d}/a"}, lambda task: text_model(task, nets.TextClassifier)),
    "from_json_lines": (
        {"a": "\n".join(map(json.dumps, LISTS))},
        {"files": "{d}/a"},
        lambda task: text_model(task, nets.TextClassifier),
    ),
    "from_conll": ({"a": sentences(20)}, {"files": "{d}/a"}, lambda task: text_model(task, nets.TokenTagger)),
    "from_parallel_text": (
        {"a": "".join(f"{i} ein\t{i} a\n" for i in range(20))},
        {"source": "{d}/a"},
        lambda task: nets.encoder_decoder(),
    ),
    "from_conversations": ({"a": talks(count=20)}, {"files": "{d}/a"}, lambda task: nets.causal_lm()),
    "from_image_folder": (
        classes() | {f"p/cow/{i}.png": picture(fill=70 + i) for i in range(4)},
        {"folder": "{d}/p"},
        image_model,
    ),
    "from_coco": (coco(), {"images": "{d}/p", "annotations": "{d}/c.json"}, lambda task: task_nets.detector()),
    "from_mask_folder": (
        scenes(),
        {"images": "{d}/p", "masks": "{d}/m", "label_names": ["a", "b", "c"]},
        lambda task: task_nets.Segmenter(),
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_task_trains(reader, tmp_path, capsys):
    """One epoch moves the weights, the validation is finite, and the reader itself has printed nothing."""
    files, arguments, build = TRAINED[reader]
    task = read(tmp_path, reader, files, **arguments)
    assert capsys.readouterr().out == "" and task.report.startswith(f"train {len(task.examples('train'))}")
    model = build(task)
    before = nets.copies(model)
    run = nets.fit(model, task, sl.full(epochs=1, lr=1e-2, head_lr=1e-2), batch=64)
    assert len(run.steps) == 1 and nets.distance(before, nets.copies(model)) > 1e-4
    assert np.isfinite(sl.evaluate(model, task, "test")["loss"])
