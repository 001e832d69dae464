"""Malformed files of people's own: what is in them, how they are read, and what must be said of them.

``BAD`` maps a name to (reader, files, settings, what is said). Files map a path to text, bytes or a picture. In
settings and in what is said, ``{d}`` is the folder. Each line of what is said begins a problem; there are no others.
"""

import io
import json

import numpy as np
from PIL import Image


def picture(size=(8, 6), fill=0, kind="PNG", mode="RGB", **settings) -> bytes:
    """A small picture of noise, other for every fill."""
    noise = np.random.default_rng(fill).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise[..., :3]).convert(mode).save(file, kind, **settings)
    return file.getvalue()


def mask(rows, mode="L", kind="PNG") -> bytes:
    """A picture of these numbers, or of these colours."""
    image = Image.fromarray(np.array(rows, dtype=np.uint8))
    if mode == "P":
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette([(7 * i) % 256 for i in range(768)])
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def rows(count=12, separator=",", header="text,label", end="\n", mark="") -> str:
    """A good CSV file: Good no. i,pos / Bad no. i,neg in turn, from line 2 on."""
    lines = [header.replace(",", separator)]
    lines += [f"{('Good', 'Bad')[i % 2]}{mark} no. {i}{separator}{('pos', 'neg')[i % 2]}" for i in range(count)]
    return end.join(lines) + end


def objects(count=12, **changes) -> list[dict]:
    return [{"text": f"No. {i}", "label": ("pos", "neg")[i % 2]} | changes for i in range(count)]


def jsonl(*last, count=12) -> str:
    """Good lines, then these (objects or raw lines), from line 13 on."""
    lines = [json.dumps(row) for row in objects(count)]
    return "\n".join([*lines, *(row if isinstance(row, str) else json.dumps(row) for row in last)]) + "\n"


def talks(*last, count=12) -> str:
    """Good conversations, then these (objects), from line 13 on."""
    good = [{"messages": [{"role": "user", "content": f"Add 1 to {i}."}, {"role": "assistant", "content": str(i + 1)}]}
            for i in range(count)]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in [*good, *last])


def turns(*said) -> dict:
    """A conversation of (role, content)."""
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def sentences(count=6, last="") -> str:
    """Good sentences of four lines (a blank one included), then this: line 25 on."""
    return "".join(f"No.{i} O\nMara B-PER\nLind I-PER\n\n" for i in range(count)) + last


def classes(count=4, **more) -> dict[str, bytes]:
    """Pictures of cats and dogs in p/cat and p/dog."""
    files = {
        f"p/{name}/{i}.png": picture(fill=10 * at + i) for at, name in enumerate(("cat", "dog")) for i in range(count)
    }
    return {**files, **{name.replace("__", "/"): content for name, content in more.items()}}


def coco(changes=None, count=4, **parts) -> dict[str, bytes | str]:
    """Pictures p/i.png of 8x6 pixels with a cat each; ``changes(content)`` spoils the file c.json."""
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 6} for i in range(count)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [1, 1, 4, 3]} for i in range(count)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    if changes:
        changes(content)
    return {**{f"p/{i}.png": picture(fill=i) for i in range(count)}, "c.json": json.dumps(content, indent=1)}


def box(**changes) -> dict:
    """A COCO file whose annotations[2] is changed; None removes a key."""

    def change(content):
        content["annotations"][2] |= changes
        for key in [key for key, value in changes.items() if value is None]:
            del content["annotations"][2][key]

    return coco(change)


def scenes(count=4, values=(0, 1), **more) -> dict[str, bytes]:
    """Pictures p/i.png and masks m/i.png, 8x6, left half the first value, right half the second."""
    each = mask([[values[0]] * 4 + [values[1]] * 4] * 6)
    files = {f"p/{i}.png": picture(fill=i) for i in range(count)} | {f"m/{i}.png": each for i in range(count)}
    return {**files, **{name: content for name, content in more.items()}}


def without(files: dict, *names) -> dict:
    return {name: content for name, content in files.items() if name not in names}


def spoilt(content: bytes, at: float, size=1, back=0) -> bytes:
    """Some bytes changed, at a part of the length (and ``back`` bytes before)."""
    start = int(len(content) * at) - back
    return content[:start] + bytes(255 - b for b in content[start : start + size]) + content[start + size :]


def bomb() -> bytes:
    """A PNG that says it has 30,000 x 30,000 pixels."""
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return picture()[:8] + chunk + picture()[33:]


def white(width, height) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


TALKS = "from_conversations"
CSV, LINES, CONLL, PAIRS = "from_csv", "from_json_lines", "from_conll", "from_parallel_text"
FOLDER, COCO, MASKS = "from_image_folder", "from_coco", "from_mask_folder"
ONE = {"a.csv": {"files": "{d}/a.csv"}, "a.jsonl": {"files": "{d}/a.jsonl"}, "a.conll": {"files": "{d}/a.conll"}}
TWO = {"source": "{d}/a.de", "target": "{d}/a.en"}
BOXES = {"images": "{d}/p", "annotations": "{d}/c.json"}
PIXELS = {"images": "{d}/p", "masks": "{d}/m", "label_names": ["sky", "cell"]}
NAMES = {"label_names": ["pos", "neg"]}


def csv(content, *said, **settings) -> tuple:
    return CSV, {"a.csv": content}, {**ONE["a.csv"], **settings}, said


def talk(content, *said) -> tuple:
    return TALKS, {"a.jsonl": content}, ONE["a.jsonl"], said


def lines(content, *said, **settings) -> tuple:
    return LINES, {"a.jsonl": content}, {**ONE["a.jsonl"], **settings}, said


def conll(content, *said, **settings) -> tuple:
    return CONLL, {"a.conll": content}, {**ONE["a.conll"], **settings}, said


def pairs(source, target, /, *said, **settings) -> tuple:
    return PAIRS, {"a.de": source, "a.en": target}, {**TWO, **settings}, said


def folder(files, *said, **settings) -> tuple:
    return FOLDER, files, {"folder": "{d}/p", **settings}, said


def boxes(files, *said, **settings) -> tuple:
    return COCO, files, {**BOXES, **settings}, said


def masks(files, *said, **settings) -> tuple:
    return MASKS, files, {**PIXELS, **settings}, said


TEXTS = {
    # the file
    "csv missing": (CSV, {"films.csv": rows()}, {"files": "{d}/film.csv"},
        ["{d}/film.csv: no such file or folder. Did you mean 'films.csv'?"]),
    "csv is a folder": (CSV, {"a.csv/b.csv": rows()}, ONE["a.csv"], ["{d}/a.csv: is a folder, not a file"]),
    "csv of 0 bytes": csv("", "{d}/a.csv: is empty"),
    "csv of a mark only": csv(b"\xef\xbb\xbf", "{d}/a.csv: is empty"),
    "csv of blank lines": csv("\n \r\n\n", "{d}/a.csv: holds blank lines only"),
    "csv of a header only": csv("text,label\n", "{d}/a.csv: has a header and no rows"),
    "Excel": csv(b"PK\x03\x04" + bytes(40),
        "{d}/a.csv: is an Excel, OpenDocument or zip file, not a text file: export"),
    "gzip": csv(b"\x1f\x8b\x08" + bytes(40), "{d}/a.csv: is compressed with gzip"),
    "PDF": csv(b"%PDF-1.7\n", "{d}/a.csv: is a PDF"),
    "list of files": csv(rows(),
        "file: must be one path, or {{\"train\": path, \"val\": path, \"test\": path}}, found ['a',",
        files=["a", "b"]),
    "no train": csv(rows(),
        "file: must be one path, or {{\"train\": path, \"val\": path, \"test\": path}}, found the keys ['tr",
        files={"training": "{d}/a.csv"}),
    "file twice": (CSV, {"a.csv": rows(), "s/b": ""}, {"files": {"train": "{d}/a.csv", "test": "{d}/s/../a.csv"}},
        ["{d}/a.csv: is the file of train and of test: what is learnt would be tested (S22)"]),
    "a split is missing": (CSV, {"a.csv": rows()}, {"files": {"train": "{d}/a.csv", "test": "{d}/t/b.csv"}},
        ["{d}/t/b.csv: no such file or folder."]),
    "problems in both files": (CSV, {"a.csv": rows() + "x,\n", "b.csv": "text,label\n,pos\nx,pos,\n"},
        {"files": {"train": "{d}/a.csv", "test": "{d}/b.csv"}},
        ["{d}/a.csv:14: 'label' is empty", "{d}/b.csv:2: 'text' is empty", "{d}/b.csv:3: 3 columns, the header has"]),
    # encodings
    "Latin-1": csv(rows().encode() + "Café crème,pos\n".encode("latin-1"),
        "{d}/a.csv:14: byte 0xe9 at offset 190, after 'Caf', is not utf-8 (lines with such bytes: 1): save the "
        "file as"),
    "Latin-1 after CR": csv("text,label\rgut,pos\rf\xfcr,neg\r".encode("latin-1"),
        "{d}/a.csv:3: byte 0xfc at offset 20, after"),
    "cut in a letter": csv(rows().encode() + b"caf\xc3", "{d}/a.csv:14: byte 0xc3 at offset"),
    "not cp1252": csv(rows().encode() + b"\x81,pos\n",
        "{d}/a.csv:14: byte 0x81 at offset 187, after '', is not cp1252", encoding="cp1252"),
    "UTF-16 without mark": csv(rows().encode("utf-16-le"),
        "{d}/a.csv:1: 187 NUL bytes, the first in this line; is it UTF-16? " "encoding='utf-16-le'"),
    "UTF-16 big without mark": csv(rows().encode("utf-16-be"),
        "{d}/a.csv:1: 187 NUL bytes, the first in this line; is it UTF-16? " "encoding='utf-16-be'"),
    "UTF-16 cut": csv(rows().encode("utf-16") + b"x",
        "{d}/a.csv:14: byte 0x78 at offset 376, after '', is not utf-16-le"),
    "NUL byte": csv(rows(2) + "a\0b,pos\n" + rows(6),
        "{d}/a.csv:4: 1 NUL bytes, the first in this line; is it damaged?"),
    "no such encoding": csv(rows(), "{d}/a.csv: encoding='utf-9' is no encoding that Python knows", encoding="utf-9"),
    # columns
    "no header": csv("Fine,pos\nPoor,neg\n",
        "{d}/a.csv:1: no column 'text'. The first line must name the columns; it has ['Fine', 'pos'], separated",
        "{d}/a.csv:1: no column 'label'."),
    "column misspelt": csv(rows(header="text,lable"), "{d}/a.csv:1: no column 'label'. Did you mean 'lable'?"),
    "column in capitals": csv(rows(header="Text,label"), "{d}/a.csv:1: no column 'text'. Did you mean 'Text'?"),
    "column with a space": csv(rows(header="text, label"), "{d}/a.csv:1: no column 'label'. Did you mean ' label'?"),
    "another column asked": csv(rows(), "{d}/a.csv:1: no column 'sentence'.", text="sentence"),
    "column twice": csv("text,label,label\na,b,c\n", "{d}/a.csv:1: 2 columns 'label'"),
    "bars": csv(rows(separator="|"), "{d}/a.csv:1: no column 'text'. Did you mean 'text|label'?",
        "{d}/a.csv:1: no column 'label'."),
    "comma in text": csv(rows() + "Good, really,pos\n",
        "{d}/a.csv:14: 3 columns, the header has 2; text that holds ',' needs"),
    "column too few": csv(rows() + "Good\n", "{d}/a.csv:14: 1 columns, the header has 2"),
    "columns too many, tabs": csv(rows(separator="\t") + "a\tb\tc\td\n",
        "{d}/a.csv:14: 4 columns, the header has 2; text that holds '\\t'"),
    # cells
    "label empty": csv(rows() + "Good,\n", "{d}/a.csv:14: 'label' is empty"),
    "text empty": csv(rows() + ",pos\n", "{d}/a.csv:14: 'text' is empty"),
    "text of spaces": csv(rows() + '"  \u00a0\n ",pos\n', "{d}/a.csv:14: 'text' is empty"),
    "quote not closed": csv(rows(4) + '"Good,pos\n' + rows(4),
        '{d}/a.csv:6: unexpected end of data; is a quote not closed'),
    "quote in quotes": csv(rows(4) + '"He said "no" twice",neg\n' + "x,pos\n",
        "{d}/a.csv:6: ',' expected after '\"'; is a"),
    "quote not closed in header": csv('"text,label\na,b\n', "{d}/a.csv:1: unexpected end of data; is a quote"),
    "cell of 200,000 letters": csv(rows() + "x" * 200_000 + ",pos\n",
        "{d}/a.csv:14: field larger than field limit (131072)"),
    "line after CR LF": csv(rows(end="\r\n") + "Good,\r\n", "{d}/a.csv:14: 'label' is empty"),
    "line after a cell of lines": csv(rows(2) + '"a\nb\r\n\nc",pos\nGood,\n', "{d}/a.csv:8: 'label' is empty"),
    "everything at once": csv(rows() + "a,b,c\n\n,pos\nGood,\nGreat,Pos\nPoor,nge\n", "{d}/a.csv:14: 3 columns",
        "{d}/a.csv:16: 'text' is empty", "{d}/a.csv:17: 'label' is empty",
        "{d}/a.csv:18: label 'Pos' looks like a typo of 'pos'",
        "{d}/a.csv:19: label 'nge' looks like a typo of 'neg' (6 times)"),
    # labels
    "typo": csv(rows() + "Good,poss\n",
        "{d}/a.csv:14: label 'poss' looks like a typo of 'pos' (6 times): mend it, or pass label_names="),
    "typo twice": csv(rows(18) + "a,positiv\nb,positiv\n" + "c,positive\n" * 9,
        "{d}/a.csv:20: label 'positiv' (2 times; also {d}/a.csv:21) looks like a typo of 'positive'"),
    "typo, letters swapped": csv(rows() + "Good,nge\n", "{d}/a.csv:14: label 'nge' looks like a typo of 'neg'"),
    "label in capitals": csv(rows(4) + "a,Pos\n" * 3 + "b,POS\n",
        "{d}/a.csv:9: label 'POS' looks like a typo of 'Pos' (3 times)", "{d}/a.csv:2: label 'pos' (2 times; also"),
    "label with space": csv(rows() + "Good,pos \n", "{d}/a.csv:14: label 'pos ' has spaces around it"),
    "unknown label": csv(rows() + "Good,good\n", "{d}/a.csv:14: unknown label 'good'. Known: neg, pos.", **NAMES),
    "one class": csv("text,label\na,pos\nb,pos\n",
        "{d}/a.csv:2: all 2 examples have the label 'pos': one class alone is no task"),
    "class too small": csv(rows() + "Well,mixed\nHm,mixed\nhm ,mixed\n",
        "{d}/a.csv: 2 different examples of 'mixed', and train, val, test need one each: add some, or give each"),
    "numbers, not classes": csv("text,label\n" + "".join(f"No. {i},{i / 7:.3f}\n" for i in range(30)),
        "{d}/a.csv:2: 30 different labels in 30 examples, such as '0.000': is it the right"),
    "label in test only": (CSV, {"a.csv": rows(), "b.csv": "text,label\nx,other\n"},
        {"files": {"train": "{d}/a.csv", "test": "{d}/b.csv"}},
        ["{d}/b.csv:2: label 'other' does not occur in 'train': it cannot be learnt"]),
    # Conversations
    "talk missing": (TALKS, {}, ONE["a.jsonl"], ["{d}/a.jsonl: no such file"]),
    "talk JSON array": talk(json.dumps([turns()]), "{d}/a.jsonl:1: is one JSON array of 1, not JSON lines"),
    "talk cut off": talk(talks()[:-3], "{d}/a.jsonl:12:"),
    "talk list": talk(talks([1, 2]), "{d}/a.jsonl:13: must be an object such as {{"),
    "talk of no form": talk(talks({"question": "a", "answer": "b"}), "{d}/a.jsonl:13: needs exactly one of 'text'"),
    "talk of two forms": talk(talks({"text": "a", **turns(("user", "a"), ("assistant", "b"))}),
        "{d}/a.jsonl:13: needs exactly one of 'text'"),
    "talk without a completion": talk(talks({"prompt": "a", "completion": " "}),
        "{d}/a.jsonl:13: 'completion' must be text that is not empty"),
    "talk empty": talk(talks({"messages": []}), "{d}/a.jsonl:13: 'messages' must be a list such as"),
    "talk of ShareGPT": talk(talks({"messages": [{"from": "human", "value": "a"}]}),
        "{d}/a.jsonl:13: 'messages'[0] must be a dict with 'role' and 'content'"),
    "talk without assistant": talk(talks(turns(("user", "a"))), "{d}/a.jsonl:13: 'messages' has no message of the"),
    "talk unknown role": talk(talks(turns(("human", "a"), ("assistant", "b"))),
        "{d}/a.jsonl:13: 'messages'[0] has the role 'human'; known are system, user"),
    "talk empty answer": talk(talks(turns(("user", "a"), ("assistant", " "))),
        "{d}/a.jsonl:13: 'messages'[1]: 'content' is empty"),
    "talk NUL": talk(talks(turns(("user", "a\0"), ("assistant", "b"))),
        "{d}/a.jsonl:13: 'messages'[0]: 'content' holds U+0000"),
    "talk twice a side": talk(talks(turns(("user", "a"), ("assistant", "b"), ("assistant", "c"))),
        "{d}/a.jsonl:13: 'messages'[1] and [2] are both of the assistant"),
    "talk unanswered": talk(talks(turns(("user", "a"), ("assistant", "b"), ("user", "c"))),
        "{d}/a.jsonl:13: the last message is of the user"),
    "talk instruction alone": talk(talks({"instruction": "a", "input": "b"}),
        "{d}/a.jsonl:13: has an 'instruction' without an 'output', its answer; it has ['input', 'instruction']"),
    "talk instruction empty": talk(talks({"instruction": "", "output": "a"}),
        "{d}/a.jsonl:13: 'messages'[0]: 'content' is empty"),
    "talk output a number": talk(talks({"instruction": "a", "output": 3}),
        "{d}/a.jsonl:13: 'messages'[1] must be a dict with 'role' and 'content', both text"),
    "talk input a list": talk(talks({"instruction": "a", "input": ["b"], "output": "c"}),
        "{d}/a.jsonl:13: 'input' must be text, found list"),
    "talk too few": talk(talks(count=2), "{d}/a.jsonl: 2 different examples, and train, val, test need one each"),
    # JSON lines
    "JSON lines missing": (LINES, {}, ONE["a.jsonl"], ["{d}/a.jsonl: no such file"]),
    "JSON array": lines(json.dumps(objects()),
        "{d}/a.jsonl:1: is one JSON array of 12, not JSON lines: write one object per"),
    "JSON array over lines": lines(json.dumps(objects(), indent=1), "{d}/a.jsonl:1: is one JSON array of 12"),
    "JSON array not closed": lines("[\n" + ",\n".join(map(json.dumps, objects())),
        "{d}/a.jsonl:1: is the beginning of a JSON array"),
    "JSON over lines": lines("\n".join(json.dumps(row, indent=1) for row in objects()),
        "{d}/a.jsonl:1: is an object over several lines (pretty-printed), not JSON lines"),
    "JSON, single quotes": lines(jsonl("{'text': 'a', 'label': 'pos'}"),
        "{d}/a.jsonl:13:2: no JSON: Expecting property name"),
    "JSON cut off": lines(jsonl('{"text": "abc'), "{d}/a.jsonl:13:10: no JSON: Unterminated string"),
    "JSON with a comma behind": lines(jsonl('{"text": "a", "label": "pos"},'),
        "{d}/a.jsonl:13:30: no JSON: Extra data"),
    "JSON line is a list": lines(jsonl(["a", "pos"]), "{d}/a.jsonl:13: must be an object such as"),
    "JSON null": lines(jsonl("null"), "{d}/a.jsonl:13: must be an object such as"),
    "JSON without label": lines(jsonl({"text": "a", "lable": "pos"}),
        "{d}/a.jsonl:13: no key 'label'. Did you mean 'lable'?"),
    "JSON label null": lines(jsonl({"text": "a", "label": None}), "{d}/a.jsonl:13: 'label' is missing"),
    "JSON label is a fraction": lines(jsonl({"text": "a", "label": 1.0}),
        "{d}/a.jsonl:13: 'label' must be text, found float"),
    "JSON label is an object": lines(jsonl({"text": "a", "label": {"pos": 1}}),
        "{d}/a.jsonl:13: 'label' must be text, found dict"),
    "JSON text is a number": lines(jsonl({"text": 5, "label": "pos"}),
        "{d}/a.jsonl:13: 'text' must be text, found int"),
    "JSON text empty": lines(jsonl({"text": " ", "label": "pos"}), "{d}/a.jsonl:13: 'text' is empty"),
    "JSON half a letter": lines(jsonl('{"text": "a\\ud83d", "label": "pos"}'), "{d}/a.jsonl:13: 'text' holds U+D83D"),
    "JSON with NUL": lines(jsonl('{"text": "a\\u0000", "label": "pos"}'), "{d}/a.jsonl:13: 'text' holds U+0000"),
    "JSON key twice": lines(jsonl('{"text": "a", "label": "pos", "label": "neg"}'),
        "{d}/a.jsonl:13: the key 'label' stands there 2 times"),
    "JSON too deep": lines(jsonl('{"text": ' + "[" * 200_000), "{d}/a.jsonl:13: maximum recursion depth"),
    "JSON list among labels": lines(jsonl({"text": "a", "label": ["pos"]}),
        "{d}/a.jsonl:13: 'label' is a list here, unlike in most"),
    "JSON label among lists": lines(jsonl(*[{"text": f"t{i}", "label": ["pos"]} for i in range(9)], count=1),
        "{d}/a.jsonl:1: 'label' is one label here, unlike in most"),
    "JSON list with a label twice": lines(jsonl({"text": "a", "label": ["x", "x"]}, count=0),
        "{d}/a.jsonl:1: 'label' holds a label twice"),
    "JSON list with null": lines(jsonl({"text": "a", "label": ["x", None]}, count=0),
        "{d}/a.jsonl:1: 'label' is missing"),
    "JSON number beyond the names": lines(jsonl({"text": "a", "label": 2}),
        "{d}/a.jsonl:13: unknown label '2'. Known: neg, pos.", **NAMES),
    "JSON all at once": lines(jsonl("{", {"text": "a"}, "7", {"text": "", "label": ""}), "{d}/a.jsonl:13:2: no JSON",
        "{d}/a.jsonl:14: no key 'label'", "{d}/a.jsonl:15: must be", "{d}/a.jsonl:16: 'text' is empty",
        "{d}/a.jsonl:16: 'label' is empty"),
    # CoNLL
    "CoNLL empty": conll("", "{d}/a.conll: is empty"),
    "CoNLL, documents only": conll("-DOCSTART- -X- O\n\n-DOCSTART- -X- O\n", "{d}/a.conll: holds no sentences"),
    "CoNLL, one column": conll(sentences(last="word\n"),
        "{d}/a.conll:25: one column, 'word'; a line needs a token and"),
    "CoNLL, columns differ": conll(sentences(last="Mara NNP B-PER\n"), "{d}/a.conll:25: 3 columns, line 1 has 2"),
    "CoNLL comment": conll(sentences(last="# id 7\nMara B-PER\n"),
        "{d}/a.conll:25: 3 columns, line 1 has 2; a comment?"),
    "CoNLL, tab for space": conll(sentences(last="Mara\tB-PER\n"), "{d}/a.conll:25: one column, 'Mara\\tB-PER'"),
    "CoNLL, no token": conll(sentences(last=" B-PER\n").replace(" ", "\t"), "{d}/a.conll:25: 'token' is empty"),
    "CoNLL, no prefix": conll(sentences(last="Mara PER\n"),
        "{d}/a.conll:25: tag 'PER' has no prefix: needs B-PER for the first"),
    "CoNLL, I after O": conll(sentences(last="a O\nMara I-PER\nLind I-PER\n"),
        "{d}/a.conll:26: I-PER follows O: in BIO an entity begins with B-PER; is it IOB1? Then pass iob1=True"),
    "CoNLL, I of another type": conll(sentences(last="Mara B-PER\nBonn I-LOC\nis B-LOC\nin I-LOC\n"),
        "{d}/a.conll:26: I-LOC follows B-PER"),
    "CoNLL, I begins": conll(sentences(last="Mara I-PER\n"),
        "{d}/a.conll:25: I-PER follows the beginning of a sentence"),
    "CoNLL, I after a blank line": conll("Mara B-PER\n\nLind I-PER\n",
        "{d}/a.conll:3: I-PER follows the beginning of a sentence"),
    "CoNLL, BIOES": conll(sentences(last="Mara S-PER\n"),
        "{d}/a.conll:25: tag 'S-PER': BIOES or BILOU, needs BIO: write I- for E-"),
    "CoNLL, zero for O": conll(sentences(last="a 0\n"), "{d}/a.conll:25: tag '0': outside of entities the tag is O"),
    "CoNLL, small prefix": conll(sentences(last="Mara b-PER\n"),
        "{d}/a.conll:25: tag 'b-PER': the prefix is a capital letter, B-PER"),
    "CoNLL, B without type": conll(sentences(last="Mara B-\n"), "{d}/a.conll:25: tag 'B-' has no prefix"),
    "CoNLL, all O": conll("a O\n\nb O\n\nc O\n", "{d}/a.conll: all tags are O: there is nothing to find"),
    "CoNLL, type misspelt": conll(sentences(last="Mara B-PRE\n"),
        "{d}/a.conll:25: label 'PRE' looks like a typo of 'PER' (12 times)"),
    "CoNLL, unknown type": conll(sentences(last="Bonn B-LOC\n"), "{d}/a.conll:25: unknown label 'LOC'. Known: PER.",
        label_names=["O", "B-PER", "I-PER"]),
    "CoNLL, two sentences": conll(sentences(2),
        "{d}/a.conll: 2 different examples, and train, val, test need one each"),
    "CoNLL, Latin-1": conll(sentences().encode() + b"Caf\xe9 O\n", "{d}/a.conll:25: byte 0xe9 at offset"),
    "CoNLL, all at once": conll(sentences(last="a\nb PER\nc O O\n\nd I-PER\n"), "{d}/a.conll:25: one column",
        "{d}/a.conll:26: tag 'PER'", "{d}/a.conll:27: 3 columns", "{d}/a.conll:29: I-PER follows"),
    # parallel text
    "pairs, a line missing": pairs("eins\nzwei\ndrei\nvier und noch mehr davon\n",
        "one\ntwo\nfour and so much more of it\n",
        "{d}/a.de:3: {d}/a.de has 4 lines, {d}/a.en has 3: a.de is longer by 1; the first pair that looks wrong "
        "is in line 3: 'drei' / 'four and"),
    "pairs, a source missing": pairs("eins\nzwei und noch mehr davon\nvier\n",
        "one\ntwo\nthree and so much more of it\nfour\n",
        "{d}/a.en:2: {d}/a.de has 3 lines, {d}/a.en has 4: a.en is longer by 1; the first pair that looks wrong is in "
        "line 2: 'zwei und noch mehr davon' / 'two'"),
    "pairs, more targets": pairs("eins\nzwei\n", "one\ntwo\nthree\n",
        "{d}/a.en:3: {d}/a.de has 2 lines, {d}/a.en has 3: a.en is longer by 1; the first pair that looks wrong "
        "is in line 3: nothing / 'three'"),
    "pairs, source empty": pairs("eins\n\ndrei\nvier\n", "one\ntwo\nthree\nfour\n",
        "{d}/a.de:2: 'source' is empty, the other side is not"),
    "pairs, target empty": pairs("eins\nzwei\ndrei\n", "one\n \nthree\n",
        "{d}/a.en:2: 'target' is empty, the other side is not"),
    "pairs, no target file": (PAIRS, {"a.de": "eins\n"}, TWO,
        ["{d}/a.en: no such file or folder. Did you mean 'a.de'?"]),
    "pairs, target is a folder": (PAIRS, {"a.de": "eins\n", "a.en/x": ""}, TWO, ["{d}/a.en: is a folder"]),
    "pairs, other splits": pairs("a", "b", "target: has the splits ['all'], the source has ['test', 'train']",
        source={"train": "{d}/a.de", "test": "{d}/a.de2"}),
    "pairs, two": pairs("eins\nzwei\n", "one\ntwo\n",
        "{d}/a.de: 2 different examples, and train, val, test need one each"),
    "TSV, three columns": pairs("eins\tone\nzwei\ttwo\tB\n", "",
        "{d}/a.de:2: 3 columns; a line needs source TAB target", target=None),
    "TSV, spaces for a tab": pairs("eins\tone\nzwei  two\n", "", "{d}/a.de:2: 1 columns; a line needs", target=None),
    "TSV, target empty": pairs("eins\tone\nzwei\t\n", "", "{d}/a.de:2: 'target' is empty", target=None),
    "TSV, header only": pairs("source\ttarget\n", "", "{d}/a.de: holds no pairs", target=None),
}  # fmt: skip


def cut(content: bytes, part: float) -> bytes:
    return content[: int(len(content) * part)]


def turned() -> bytes:
    """A JPEG of 8x6 pixels that the camera was turned for: upright it has 6x8."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(kind="JPEG", exif=exif)


def split_folders(*names) -> dict[str, bytes]:
    """A picture of a and one of b in each."""
    places = [f"p/{name}/{label}/1.png" for name in names for label in "ab"]
    return {place: picture(fill=i) for i, place in enumerate(places)}


def spoil_three(content: dict) -> None:
    first, second, third, _ = content["annotations"]
    first["bbox"], second["category_id"], third["image_id"] = [1], 7, 7


COWS = json.dumps({
    "images": [{"id": 0, "file_name": "0.png"}], "categories": [{"id": 5, "name": "cow"}],
    "annotations": [{"image_id": 0, "category_id": 5, "bbox": [1, 1, 2, 2]}],
})  # fmt: skip


def many(count, start=0, name="cat") -> dict[str, bytes]:
    return {f"p/{name}/{i}.png": picture(fill=1000 + i) for i in range(start, start + count)}


LARGE = {"size": (80, 60)}  # so that the middle of the file is picture data
PICTURES = {
    # folders
    "folder missing": folder({"pets/cat/1.png": picture()}, "{d}/pet: no such file or folder. Did you mean 'pets'?",
        folder="{d}/pet"),
    "folder is a file": folder({"p": "x"}, "{d}/p: cannot be read: Not a directory"),
    "folder empty": folder({"p/.DS_Store": "x"}, "{d}/p: holds no folder with pictures"),
    "pictures without classes": folder({"p/1.png": picture(), "p/2.png": picture()},
        "{d}/p/1.png: stands in no class: put it into the folder", "{d}/p/2.png: stands in no class"),
    "picture beside the classes": folder(classes() | {"p/1.png": picture()}, "{d}/p/1.png: stands in no class"),
    "class empty": folder(classes() | {"p/bird/.DS_Store": "x", "p/bird/Thumbs.db": "x"},
        "{d}/p/bird: no pictures in this class"),
    "text in a class": folder(classes() | {"p/cat/notes.txt": "x"},
        "{d}/p/cat/notes.txt: is no picture: move it away"),
    "HEIC": folder(classes() | {"p/cat/5.heic": "x"},
        "{d}/p/cat/5.heic: is no picture: move it away; pictures end in .png, .jpg"),
    "folder in a class": folder(classes() | {"p/cat/old/1.png": picture()},
        "{d}/p/cat/old: is a folder inside a class"),
    "test without train": folder({f"p/test/{c}/1.png": picture(fill=i) for i, c in enumerate("ab")},
        "{d}/p: has test, but no folder 'train'"),
    "two val": folder(
        split_folders("train", "val", "valid"),
        "{d}/p/valid: is a second folder for 'val', besides 'val'"),
    "folder beside train": folder(
        split_folders("train", "tets"),
        "{d}/p/tets: stands beside 'train' and is no split. Did you mean 'test'?"),
    "splits without classes": folder({f"p/{s}/{i}.png": picture(fill=i) for s in ("train", "val") for i in range(3)},
        *[f"{{d}}/p/{s}/{i}.png: stands in no class" for s in ("train", "val") for i in range(3)]),
    "class not in train": folder(
        {"p/train/a/1.png": picture(fill=1), "p/train/b/1.png": picture(fill=2), "p/val/c/1.png": picture(fill=3)},
        "{d}/p/val/c/1.png: label 'c' does not occur in 'train'"),
    "class misspelt": folder(classes() | {"p/act/9.png": picture(fill=99)},
        "{d}/p/act/9.png: label 'act' looks like a typo of 'cat' (4"),
    "class in capitals": folder(classes() | {"p/Cat/9.png": picture(fill=99)},
        "{d}/p/Cat/9.png: label 'Cat' looks like a typo of 'cat'"),
    "unknown class": folder(classes() | {"p/bird/9.png": picture(fill=99)},
        "{d}/p/bird/9.png: unknown label 'bird'. Known: cat, dog.", label_names=["cat", "dog"]),
    "one class of pictures": folder(many(3), "{d}/p/cat/0.png: all 3 examples have the label 'cat'"),
    "class of two pictures": folder(classes() | {"p/bird/8.png": picture(fill=88), "p/bird/9.png": picture(fill=99)},
        "{d}/p: 2 different examples of 'bird', and train, val, test need one each"),
    "class of one picture, three times": folder(classes() | {f"p/bird/{i}.png": picture(fill=99) for i in range(3)},
        "{d}/p: 1 different examples of 'bird'"),
    # files
    "picture of 0 bytes": folder(classes() | {"p/cat/9.png": b""}, "{d}/p/cat/9.png: is empty (0 bytes)"),
    "web page for a picture": folder(classes() | {"p/cat/9.jpg": "<!DOCTYPE html><html>"},
        "{d}/p/cat/9.jpg: is no PNG, JPEG, WEBP, BMP, GIF, TIFF picture; it begins with b'<!DOCTYPE ht'"),
    "EPS for a picture": folder(classes() | {"p/cat/9.png": picture(kind="EPS")}, "{d}/p/cat/9.png: is no PNG, JPEG"),
    "link to nothing": folder(classes() | {"p/cat/9.png": None}, "{d}/p/cat/9.png: no such file or folder."),
    "JPEG cut off": folder(classes() | {"p/cat/9.jpg": cut(picture(kind="JPEG", **LARGE), 0.6)},
        "{d}/p/cat/9.jpg: cannot be decoded, it is damaged or cut off: OSError: "),
    "JPEG cut in its head": folder(classes() | {"p/cat/9.jpg": picture(kind="JPEG")[:30]}, "{d}/p/cat/9.jpg: "),
    "PNG cut off": folder(classes() | {"p/cat/9.png": cut(picture(**LARGE), 0.6)},
        "{d}/p/cat/9.png: cannot be decoded"),
    "PNG with a wrong checksum": folder(classes() | {"p/cat/9.png": spoilt(picture(**LARGE), 1, back=14)},
        "{d}/p/cat/9.png: cannot be decoded"),
    "PNG with a wrong byte": folder(classes() | {"p/cat/9.png": spoilt(picture(**LARGE), 0.5)},
        "{d}/p/cat/9.png: cannot be decoded"),
    "WebP cut off": folder(classes() | {"p/cat/9.webp": cut(picture(kind="WEBP", **LARGE), 0.5)},
        "{d}/p/cat/9.webp: "),
    "GIF cut off": folder(classes() | {"p/cat/9.gif": cut(picture(kind="GIF", **LARGE), 0.5)},
        "{d}/p/cat/9.gif: cannot be decoded"),
    "TIFF cut off": folder(classes() | {"p/cat/9.tif": cut(picture(kind="TIFF", **LARGE), 0.5)}, "{d}/p/cat/9.tif: "),
    "BMP cut off": folder(classes() | {"p/cat/9.bmp": cut(picture(kind="BMP", **LARGE), 0.5)},
        "{d}/p/cat/9.bmp: cannot be decoded"),
    "picture of 900 million pixels": folder(classes() | {"p/cat/9.png": bomb()},
        "{d}/p/cat/9.png: more than 64 million pixels, which is the limit: make it smaller"),
    "picture of 80 million pixels": folder(classes() | {"p/cat/9.png": white(10_000, 8_000)},
        "{d}/p/cat/9.png: 10000x8000 are more than 64 million pixels, which is the limit"),
    "32 bits": folder(classes() | {"p/cat/9.tif": picture(mode="F", kind="TIFF")},
        "{d}/p/cat/9.tif: 32 bits per pixel (Pillow's mode F): save it with 8 or 16"),
    "pictures, all at once": folder(
        classes() | {"p/cat/7.png": b"", "p/cat/8.jpg": "x", "p/dog/9.png": cut(picture(), 0.5), "p/x.png": b""},
        "{d}/p/cat/7.png: is empty", "{d}/p/cat/8.jpg: is no PNG", "{d}/p/dog/9.png: cannot be decoded",
        "{d}/p/x.png: stands in no class"),
    # COCO: the file
    "COCO missing": boxes(without(coco(), "c.json") | {"coco.json": "{}"},
        "{d}/c.json: no such file or folder. Did you mean 'coco.json'?"),
    "COCO, bad JSON": boxes({**coco(), "c.json": '{"images": [],\n "annotations": [,]}'},
        "{d}/c.json:2:18: no JSON: Expecting value"),
    "COCO, a list": boxes({**coco(), "c.json": "[]"},
        "{d}/c.json: must be an object with images, annotations, categories, found a list"),
    "COCO, lists missing": boxes({**coco(), "c.json": '{"image": [], "annotations": {}}'},
        "{d}/c.json: has no list 'images'. Did you mean " "'image'?", "{d}/c.json: has no list 'annotations'.",
        "{d}/c.json: has no list 'categories'."),
    "COCO, nothing": boxes({**coco(), "c.json": '{"images": [], "annotations": [], "categories": []}'},
        "{d}/c.json: 'images' is empty", "{d}/c.json: 'categories' is empty"),
    "COCO, other splits": boxes(coco(), "images: has the splits ['train', 'test'], the annotations have ['all']",
        images={"train": "{d}/p", "test": "{d}/p"}),
    # COCO: images and categories
    "image without id": boxes(coco(lambda c: c["images"][3].pop("id")),
        "{d}/c.json: images[3]: needs an 'id', a whole number, found None",
        "{d}/c.json: annotations[3]: image_id 3 is the id of no image"),
    "image without name": boxes(coco(lambda c: c["images"].append({"id": 9, "filename": "3.png"})),
        "{d}/c.json: images[4]: needs a 'file_name', found None. Did you mean 'filename'?"),
    "image is no object": boxes(coco(lambda c: c["images"].append("3.png")), "{d}/c.json: images[4]: needs an 'id'"),
    "image id twice": boxes(coco(lambda c: c["images"].append({"id": 2, "file_name": "4.png"})),
        "{d}/c.json: images[4]: has the id of images[2], 2"),
    "image file twice": boxes(coco(lambda c: c["images"].append({"id": 9, "file_name": "2.png"})),
        "{d}/c.json: images[4]: has the file_name of images[2], '2.png'"),
    "image file missing": boxes(without(coco(), "p/2.png"), "{d}/p/2.png: no such file or folder."),
    "image folder missing": boxes(coco(count=1), "{d}/q/0.png: no such file or folder.", images="{d}/q"),
    "image damaged": boxes(coco() | {"p/2.png": spoilt(picture(**LARGE), 0.5)}, "{d}/p/2.png: cannot be decoded"),
    "image of another size": boxes(coco() | {"p/2.png": picture((9, 6))},
        "{d}/p/2.png: is 9x6 pixels, its labels are for 8x6"),
    "image stored turned": boxes(coco() | {"p/2.png": turned()},
        "{d}/p/2.png: is 6x8 pixels, its labels are for 8x6; it is stored rotated (EXIF), save it upright"),
    "category without name": boxes(coco(lambda c: c["categories"].append({"id": 3, "title": "cow"})),
        "{d}/c.json: categories[2]: needs a 'name', found None"),
    "category id twice": boxes(coco(lambda c: c["categories"].append({"id": 2, "name": "cow"})),
        "{d}/c.json: categories[2]: has the id of categories[1], 2"),
    "category name twice": boxes(coco(lambda c: c["categories"].append({"id": 3, "name": "dog"})),
        "{d}/c.json: categories[2]: has the name of categories[1], 'dog'"),
    "category background": boxes(coco(lambda c: c["categories"][0].update(name="background")),
        "{d}/c.json: a category is called 'background'"),
    # COCO: annotations
    "no boxes": boxes(coco(lambda c: c["annotations"].clear()), "{d}/c.json: there are no boxes: nothing to find"),
    "annotation is no object": boxes(coco(lambda c: c["annotations"].append(7)),
        *(f"{{d}}/c.json: annotations[4]: has no {key!r}." for key in ("image_id", "category_id", "bbox"))),
    "annotation without bbox": boxes(box(bbox=None, box=[1, 1, 2, 2]),
        "{d}/c.json: annotations[2]: has no 'bbox'. Did you mean 'box'?"),
    "annotation without image": boxes(box(image_id=None, image=2),
        "{d}/c.json: annotations[2]: has no 'image_id'. Did you mean 'image'?"),
    "annotation id twice": boxes(box(id=1), "{d}/c.json: annotations[2]: has the id of annotations[1], 1"),
    "unknown image": boxes(box(image_id=9), "{d}/c.json: annotations[2]: image_id 9 is the id of no image"),
    "image id as text": boxes(box(image_id="2"), "{d}/c.json: annotations[2]: image_id '2' is the id of no image"),
    "image id is a list": boxes(box(image_id=[2]), "{d}/c.json: annotations[2]: image_id [2] is the id of no image"),
    "unknown category": boxes(box(category_id=0),
        "{d}/c.json: annotations[2]: category_id 0 is the id of no category; known: 1, 2"),
    "bbox of three": boxes(box(bbox=[1, 1, 4]),
        "{d}/c.json: annotations[2]: bbox [1, 1, 4] must be 4 finite numbers: x, y, width, height"),
    "bbox of text": boxes(box(bbox=["1", 1, 4, 3]),
        "{d}/c.json: annotations[2]: bbox ['1', 1, 4, 3] must be 4 finite numbers"),
    "bbox with true": boxes(box(bbox=[True, 1, 4, 3]),
        "{d}/c.json: annotations[2]: bbox [True, 1, 4, 3] must be 4 finite numbers"),
    "bbox is an object": boxes(box(bbox={"x": 1}),
        "{d}/c.json: annotations[2]: bbox {{'x': 1}} must be 4 finite numbers"),
    "bbox with NaN": boxes(box(bbox=[1, float("nan"), 4, 3]),
        "{d}/c.json: annotations[2]: bbox [1, nan, 4, 3] must be 4 finite numbers"),
    "bbox with infinity": boxes(box(bbox=[1, 1, float("inf"), 3]),
        "{d}/c.json: annotations[2]: bbox [1, 1, inf, 3] must be 4 finite"),
    "bbox without width": boxes(box(bbox=[1, 1, 0, 3]),
        "{d}/c.json: annotations[2]: bbox [1, 1, 0, 3] has no area: width and height must"),
    "bbox of negative height": boxes(box(bbox=[1, 1, 3, -3]),
        "{d}/c.json: annotations[2]: bbox [1, 1, 3, -3] has no area"),
    "bbox begins outside": boxes(box(bbox=[-3, 1, 5, 3]),
        "{d}/c.json: annotations[2]: bbox [-3, 1, 5, 3] leaves its picture, 8x6 pixels"),
    "bbox ends outside": boxes(box(bbox=[5, 1, 5, 3]),
        "{d}/c.json: annotations[2]: bbox [5, 1, 5, 3] leaves its picture, 8x6 pixels"),
    "bbox is corners": boxes(box(bbox=[4, 2, 8, 6]),
        "{d}/c.json: annotations[2]: bbox [4, 2, 8, 6] leaves its picture, 8x6 pixels; is it " "[x1, y1, x2, y2]?"),
    "bbox on the edge": boxes(box(bbox=[8, 1, 0.5, 3]),
        "{d}/c.json: annotations[2]: bbox [8, 1, 0.5, 3] has no area inside"),
    "class in val only": (COCO,
        coco(lambda c: c["annotations"][1].update(category_id=1)) | {"q/0.png": picture(fill=50), "v.json": COWS},
        {"images": {"train": "{d}/p", "val": "{d}/q"}, "annotations": {"train": "{d}/c.json", "val": "{d}/v.json"}},
        ["{d}/q/0.png: label 'cow' does not occur in 'train'"]),
    "two pictures with boxes": boxes(coco(count=2),
        "{d}/c.json: 2 different examples, and train, val, test need one each"),
    "COCO, all at once": boxes(
        coco(spoil_three) | {"p/3.png": b""},
        "{d}/p/3.png: is empty", "{d}/c.json: annotations[0]: bbox [1] must",
        "{d}/c.json: annotations[1]: category_id 7", "{d}/c.json: annotations[2]: image_id 7"),
    # masks
    "mask missing": masks(without(scenes(), "m/2.png") | {"m/2_mask.png": mask([[0]])},
        "{d}/p/2.png: has no mask of its name in {d}/m.", "{d}/m/2_mask.png: has no picture of its name in {d}/p."),
    "picture of a mask missing": masks(without(scenes(), "p/2.png"),
        "{d}/m/2.png: has no picture of its name in {d}/p."),
    "mask folder missing": masks(scenes(), "{d}/n: no such file or folder.", masks="{d}/n"),
    "masks in a folder": masks(scenes() | {"m/more/1.png": b""},
        "{d}/m/more: is a folder: give the folder that holds the pictures"),
    "no pictures for masks": masks({"p/readme.txt": "x", "m/1.png": mask([[0]])}, "{d}/p: holds no pictures"),
    "two pictures of a name": masks(scenes() | {"p/2.jpg": picture(kind="JPEG")},
        "{d}/p/2.png: has the name of 2.jpg: one of them too many"),
    "mask of another size": masks(scenes() | {"m/2.png": mask([[0, 1]])},
        "{d}/m/2.png: is 2x1 pixels, its picture 2.png is 8x6"),
    "mask of a turned picture": masks(scenes() | {"p/2.png": turned()},
        "{d}/m/2.png: is 8x6 pixels, its picture 2.png is 6x8"),
    "mask beyond the classes": masks(scenes() | {"m/2.png": mask([[0, 1, 2, 7] * 2] * 6)},
        "{d}/m/2.png: holds 2, 7 in 24 pixels: the 2 classes are 0 to 1; or pass values="),
    "mask beyond, palette": masks(scenes() | {"m/2.png": mask([[0, 1, 2, 7] * 2] * 6, mode="P")},
        "{d}/m/2.png: holds 2, 7 in 24 pixels"),
    "mask JPEG": masks(without(scenes(), "m/2.png") | {"m/2.jpg": mask([[0, 1] * 4] * 6, kind="JPEG")},
        "{d}/m/2.jpg: is a JPEG, whose compression changes class numbers: save masks as PNG"),
    "mask JPEG, called PNG": masks(scenes() | {"m/2.png": mask([[0, 1] * 4] * 6, kind="JPEG")},
        "{d}/m/2.png: is a JPEG, whose"),
    "mask in colour": masks(scenes() | {"m/2.png": mask([[[255, 0, 0], [0, 0, 0]] * 4] * 6)},
        "{d}/m/2.png: is in colour (mode RGB): pass values={{(red, green, blue): class, ...}}"),
    "mask damaged": masks(scenes() | {"m/2.png": cut(mask(np.random.default_rng(0).integers(0, 2, (60, 80))), 0.5)},
        "{d}/m/2.png: cannot be"),
    "masks of 0 and 255": masks(scenes(values=(0, 255)),
        "{d}/m: the masks hold 0 and 255 only, and 255 means no label: pass " "values={{0: 'sky', 255: 'cell'}}"),
    "masks of one class": masks(scenes(values=(1, 1)), "{d}/m: the masks hold [1] only: one class alone is no task"),
    "grey not in values": masks(scenes(values=(0, 9)) | {"m/2.png": mask([[0, 8] * 4] * 6)},
        "{d}/m/2.png: holds 8 in 24 pixels: not in values=", values={0: "sky", 9: "cell"}),
    "colour not in values": masks(scenes(values=(0, 9)) | {"m/2.png": mask([[[0, 0, 0], [1, 2, 3]] * 4] * 6)},
        "{d}/m/2.png: holds (1, 2, 3) in 24 pixels: not in values=", values={(0, 0, 0): "sky", (9, 9, 9): "cell"}),
    "values of unknown classes": masks(scenes(),
        "values[9]: unknown label 'sel'. Did you mean 'cell'? Known: cell, sky.", values={0: "sky", 9: "sel"}),
    "values of both kinds": masks(scenes(), "values: mixes grey values and colours",
        values={0: "sky", (9, 9, 9): "cell"}),
    "masks, other splits": masks(scenes(), "masks: has the splits ['all'], the images have ['train']",
        images={"train": "{d}/p"}),
    "two scenes": masks(scenes(2), "{d}/m: 2 different examples, and train, val, test need one each"),
}  # fmt: skip

BAD = {**TEXTS, **PICTURES}
