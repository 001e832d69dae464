"""Public data sets: small files in the true formats, served on loopback; fetched, asked for, checked, removed, read."""

import dataclasses
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
import web
from PIL import Image

import sftlab as sl
from sftlab import cli
from sftlab.errors import AssetError, SftlabError, UnknownName
from sftlab.sets import public, public_readers

KINDS = {"sst2": "text classification", "conll2003": "token tagging", "opus-kde4": "sequence to sequence",
         "dolly": "causal language modelling", "cifar10": "image classification", "oxford-pets": "image classification",
         "penn-fudan": "detection"}  # fmt: skip


def parquet(rows: list[dict]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `full` is not installed")
    from pyarrow import parquet as format

    out = io.BytesIO()
    format.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def picture(size, kind="PNG", value=0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (value, 100, 200)).save(out, kind)
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return out.getvalue()


def people() -> bytes:
    """A mask of 100 x 60 pixels with two people; the second one's number is 2."""
    mask = np.zeros((60, 100), np.uint8)
    mask[10:30, 20:40], mask[5:50, 60:70] = 1, 2
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()


def made(name: str) -> dict[str, bytes]:
    """The files of a set, small."""
    if name == "sst2":
        rows = [
            {"idx": i, "sentence": f"film {i} is {'dull good'.split()[i % 2]} ", "label": i % 2} for i in range(200)
        ]
        return {"train.parquet": parquet(rows), "validation.parquet": parquet(rows[:9])}
    if name == "conll2003":
        rows = [{"id": "0", "tokens": ["EU", "met", "Ann", "Lee"], "ner_tags": [3, 0, 1, 2], "pos_tags": [1, 2, 3, 4]},
                {"id": "1", "tokens": [], "ner_tags": [], "pos_tags": []}]  # fmt: skip
        return {f"{split}.parquet": parquet(rows) for split in ("train", "validation", "test")}
    if name == "opus-kde4":
        en, zh = ("".join(f"{word} {i}\n" for i in [*range(60), 0]) for word in ("Open file", "打开文件"))
        sides = {"KDE4.en-zh_CN.en": en.encode(), "KDE4.en-zh_CN.zh_CN": zh.encode()}
        return {"en-zh_CN.txt.zip": zipped({"README": b"", **sides})}
    if name == "dolly":
        rows = [
            {"instruction": f"Add 1 to {i}.", "context": "Numbers." * (i % 2), "response": f"{i + 1}", "category": "qa"}
            for i in range(60)
        ]
        return {"databricks-dolly-15k.jsonl": "\n".join(map(json.dumps, rows)).encode()}
    if name == "cifar10":
        rows = [{"img": {"bytes": picture((32, 32), value=i), "path": None}, "label": i % 10} for i in range(40)]
        return {f"{split}.parquet": parquet(rows) for split in ("train", "test")}
    if name == "oxford-pets":
        breeds = [("Abyssinian", 1), ("american_bulldog", 2)]
        lists = {split: [f"{b}_{i} 1 {species} 1" for b, species in breeds for i in range(*span)]
                 for split, span in (("trainval", (0, 20)), ("test", (20, 26)))}  # fmt: skip
        stems = [line.split()[0] for lines in lists.values() for line in lines]
        images = {f"images/{stem}.jpg": picture((400, 300), "JPEG", i) for i, stem in enumerate(stems)}
        about = {f"annotations/{split}.txt": "\n".join(lines).encode() for split, lines in lists.items()}
        return {
            "images.tar.gz": tarred({"images/Abyssinian_100.mat": b"x", **images}),
            "annotations.tar.gz": tarred(about),
        }
    files = {}
    for i in range(30):
        files[f"PennFudanPed/PNGImages/FudanPed{i:05}.png"] = picture((100, 60), value=i)
        files[f"PennFudanPed/PedMasks/FudanPed{i:05}_mask.png"] = people()
    return {"PennFudanPed.zip": zipped({"PennFudanPed/readme.txt": b"", **files})}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Every set's files under their own names; the full profile, and a cache of the test's own."""
    monkeypatch.setenv("SFTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("SFTLAB_YES", raising=False)
    monkeypatch.setattr(public, "LARGE", 10_000)
    with web.serve() as found:
        for name, about in public.SETS.items():
            files = {file: found.url(f"{name}/{file}") for file in about.files}
            monkeypatch.setitem(public.SETS, name, dataclasses.replace(about, files=files))
        yield found


def put(server, name: str) -> None:
    server.files |= {f"{name}/{file}": content for file, content in made(name).items()}


@pytest.mark.parametrize("name", KINDS)
def test_fetched_once_and_read(server, name, capsys):
    put(server, name)
    task = sl.task(name)
    said = capsys.readouterr().out
    assert "MB from" in said and public.SETS[name].licence in said and str(public.folder(name)) in said
    assert task.name == name and task.kind == KINDS[name]
    assert all(task.examples(split) for split in ("train", "val", "test"))
    asked = len(server.log)
    assert asked == len(public.SETS[name].files)
    again = sl.task(name)
    assert len(server.log) == asked and capsys.readouterr().out == ""
    assert [len(again.examples(s)) for s in again.splits] == [len(task.examples(s)) for s in task.splits]


def test_what_they_hold(server):
    for name in KINDS:
        put(server, name)
    sst2 = sl.task("sst2")
    assert len(sst2.examples("test")) == 9 and sst2.examples("test")[1] == {
        "text": "film 1 is good",
        "label": "positive",
    }
    assert sl.task("conll2003").examples("train") == [
        {"words": ["EU", "met", "Ann", "Lee"], "tags": ["B-ORG", "O", "B-PER", "I-PER"]}
    ]
    kde = sl.task("opus-kde4")
    assert sum(len(kde.examples(split)) for split in kde.splits) == 60, "a pair that occurs twice counts once"
    assert {"zh": "打开文件 7", "en": "Open file 7"} in [row for split in kde.splits for row in kde.examples(split)]
    dolly = [row for split in ("train", "val", "test") for row in sl.task("dolly").examples(split)]
    (three,) = [row for row in dolly if row["messages"][1]["content"] == "4"]
    assert three["messages"][0]["content"] == "Add 1 to 3.\n\nNumbers." and three["kind"] == "qa"
    cifar = sl.task("cifar10")
    assert cifar.label_names[3] == "cat" and cifar.examples("train")[0]["image"].shape == (3, 32, 32)
    assert [len(cifar.examples(split)) for split in ("train", "val", "test")] == [36, 4, 40]
    pets = sl.task("oxford-pets")
    assert {(row["label"], row["breed"]) for row in pets.examples("test")} == {
        ("cat", "Abyssinian"), ("dog", "american bulldog"),
    }  # fmt: skip
    assert pets.examples("test")[0]["image"].shape == (3, 192, 256)
    row = sl.task("penn-fudan").examples("train")[0]
    assert row["boxes"] == [[20.0, 10.0, 40.0, 30.0], [60.0, 5.0, 70.0, 50.0]] and row["labels"] == ["person"] * 2
    assert row["input"].dtype == torch.float32 and row["input"].shape == (3, 60, 100)


def test_boxes_shrink_with_their_photo(server, monkeypatch):
    put(server, "penn-fudan")
    monkeypatch.setattr(public_readers, "SIDE", 25)
    row = sl.task("penn-fudan").examples("train")[0]
    assert row["input"].shape == (3, 30, 50) and row["boxes"][0] == [10.0, 5.0, 20.0, 15.0]


def test_splits_do_not_share_a_question(server):
    put(server, "dolly")
    task = sl.task("dolly")
    asked = [{row["messages"][0]["content"] for row in task.examples(split)} for split in task.splits]
    assert not (asked[0] & asked[1] or asked[0] & asked[2] or asked[1] & asked[2])


def test_it_trains(server):
    put(server, "cifar10")
    task = sl.task("cifar10")
    model = sl.load("glyphnet", task, seed=0)
    run = sl.fit(model, task, sl.head_only(epochs=1), batch=8, show=False)
    assert len(run.steps) == 5


# Asking


def test_large_sets_are_asked_for(server, monkeypatch):
    put(server, "oxford-pets")
    monkeypatch.setattr(public, "LARGE", 200)
    monkeypatch.setattr(public, "_somebody", lambda: True)
    answers = ["n", "", "yes"]
    monkeypatch.setattr("builtins.input", lambda question: answers.pop(0))
    for _ in range(2):
        with pytest.raises(AssetError, match="you said no"):
            public.get("oxford-pets")
    assert server.log == []
    assert public.get("oxford-pets").is_dir() and not answers
    public.get("oxford-pets")  # it is here: nobody is asked


@pytest.mark.parametrize("reason", ["nobody", "a kernel without a person"])
def test_nobody_is_there_to_say_yes(server, monkeypatch, reason):
    put(server, "oxford-pets")
    monkeypatch.setattr(public, "LARGE", 200)

    def ask(question):
        raise NotImplementedError("raw_input was called, but this frontend does not support input requests")

    monkeypatch.setattr(public, "_somebody", lambda: reason != "nobody")
    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(AssetError, match="sftlab data get oxford-pets --yes"):
        sl.task("oxford-pets")
    assert server.log == []
    monkeypatch.setenv("SFTLAB_YES", "1")
    assert sl.task("oxford-pets").label_names == ["cat", "dog"]


def test_sizes_above_the_limit_are_those_of_the_page():
    assert [name for name, about in public.SETS.items() if about.megabytes > public.LARGE] == ["oxford-pets"]


# What goes wrong


def test_tiny_profile_downloads_nothing(server, monkeypatch):
    put(server, "dolly")
    monkeypatch.setenv("SFTLAB_PROFILE", "tiny")
    with pytest.raises(AssetError, match="the profile is tiny.*sftlab data get dolly"):
        sl.task("dolly")
    assert server.log == []
    public.get("dolly")  # asked for by name
    assert sl.task("dolly").name == "dolly"


def test_an_altered_file_is_refused(server):
    put(server, "dolly")
    file = public.get("dolly") / "databricks-dolly-15k.jsonl"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(AssetError, match="(?s)truncated or altered.*sftlab data remove dolly"):
        sl.task("dolly")
    file.unlink()
    with pytest.raises(AssetError, match="the file is missing"):
        public.check("dolly")


def test_interrupted_between_two_files(server):
    """The first is kept; the set is not complete before the second is here."""
    put(server, "sst2")
    second = server.files.pop("sst2/validation.parquet")
    with pytest.raises(AssetError, match="404"):
        sl.task("sst2")
    server.files["sst2/validation.parquet"] = second
    server.log.clear()
    sl.task("sst2")
    assert [path for path, _ in server.log] == ["sst2/validation.parquet"]


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("sst2", "train.parquet", b"PAR1 no"),
        ("opus-kde4", "en-zh_CN.txt.zip", zipped({"other": b""})),
        ("opus-kde4", "en-zh_CN.txt.zip", b"no zip"),
        ("dolly", "databricks-dolly-15k.jsonl", b'{"prompt": "a"}'),
        ("oxford-pets", "images.tar.gz", tarred({})),
        ("oxford-pets", "annotations.tar.gz", b"no tar"),
        ("penn-fudan", "PennFudanPed.zip", zipped({"PennFudanPed/PNGImages/a.png": picture((9, 9))})),
    ],
    # Names without the content: an archive holds the time, and two workers would not find the same tests.
    ids=["no parquet", "others in the zip", "no zip", "other keys", "nothing in the tar", "no tar", "no masks"],
)
def test_another_layout_is_said(server, name, file, content):
    put(server, name)
    server.files[f"{name}/{file}"] = content
    with pytest.raises(AssetError, match="are laid out otherwise"):
        sl.task(name)


def test_parquet_without_pyarrow(server, monkeypatch):
    put(server, "sst2")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SftlabError, match=r"pip install \"sftlab\[full\]\""):
        sl.task("sst2")


def test_unknown_names():
    for call in (public.folder, public.get, public.check, public.remove):
        with pytest.raises(UnknownName, match="Did you mean 'dolly'"):
            call("doly")
    with pytest.raises(UnknownName, match="Did you mean 'cifar10'"):
        sl.task("cifar")


# The command


def test_the_command(server, capsys):
    put(server, "dolly")
    assert cli.main(["data", "list"]) == 0 and "oxford-pets" in capsys.readouterr().out
    assert cli.main(["data", "check", "dolly"]) == 1 and "is not here" in capsys.readouterr().err
    assert cli.main(["data", "get", "dolly", "--yes"]) == 0 and "dolly is here" in capsys.readouterr().out
    assert cli.main(["data", "check", "dolly"]) == 0 and cli.main(["data", "list"]) == 0
    assert "here" in [line for line in capsys.readouterr().out.splitlines() if line.startswith("dolly")][-1]
    assert cli.main(["data", "remove", "dolly"]) == 0 and "deleted" in capsys.readouterr().out
    assert cli.main(["data", "remove", "dolly"]) == 0 and "was not here" in capsys.readouterr().out
    assert not public.folder("dolly").exists()


def test_addresses_are_secure_and_follow_the_hubs_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("SFTLAB_CACHE", str(tmp_path))
    for about in public.SETS.values():
        for address in about.files.values():
            assert address.startswith(("https://", "{hub}/datasets/"))
    seen = []
    monkeypatch.setattr(public, "download", lambda url, target, sha256: seen.append(url))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://mirror.example")
    with pytest.raises(OSError):
        public.get("sst2")
    assert seen[0].startswith("https://mirror.example/datasets/stanfordnlp/sst2/")
