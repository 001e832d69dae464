"""Progress: kept on this machine, whole or not at all, and never a reason for a notebook to break."""

import json
import os
import subprocess
import sys

import pytest

import sftlab as sl
from sftlab.errors import UnknownName
from sftlab.teach import progress as module
from sftlab.teach.checks import CHECKS
from sftlab.teach.progress import home, progress, record
from sftlab.teach.widgets import bank


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SFTLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "_memory", {})
    monkeypatch.setattr(module, "_note", "")
    return tmp_path / "home"


def row(chapter):
    return next((r for r in progress().rows if r[0] == chapter), None)


def test_what_is_passed_is_shown_and_stays_passed(folder):
    """A try is counted, passing is remembered, a later miss does not undo it; another process sees the same."""
    record("exercise", "00-majority", False)
    assert row("00")[1] == "0 of 3"
    record("exercise", "00-majority", True)
    record("exercise", "00-majority", False)
    record("quiz", "00_quickstart", True)
    assert row("00")[1:3] == ["1 of 3", "1 of 1"]
    assert "00-majority" not in row("00")[3] and "00-macro-f1" in row("00")[3]
    assert str(folder / "progress.json") in progress().note
    code = "from sftlab.teach.progress import progress; print(progress().rows[0][1])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "1 of 3"
    assert [p.name for p in folder.iterdir() if p.suffix == ".tmp"] == []


def test_totals_are_those_of_the_course(folder):
    """Exercises from the checks, quizzes from the banks, one row for each chapter; nothing else is counted."""
    rows = progress().rows
    asked = [name.split("-")[0] for name in CHECKS]
    quizzed = [name.split("_")[0] for name in bank.banks()]
    assert [r[0] for r in rows] == sorted({*asked, *quizzed})
    for chapter, *counts, _ in rows:
        assert counts == [f"0 of {n}" if (n := names.count(chapter)) else "-" for names in (asked, quizzed)]
    record("exercise", "00-renamed-since", True)
    record("quiz", "00_gone", False)
    assert progress().rows == rows
    for name in bank.banks():
        record("quiz", name, True)
    assert {r[0]: r[2] for r in progress().rows if r[0] in quizzed} == dict.fromkeys(quizzed, "1 of 1")
    assert not set(bank.banks()) & {name for r in progress().rows for name in r[3].split(", ")}


def test_check_records(folder):
    """A passed check is recorded, a stub is no try."""
    sl.check("00-majority", None)
    assert not (folder / "progress.json").exists()
    sl.check("00-majority", lambda a, b: 1)
    assert json.loads((folder / "progress.json").read_text())["entries"]["exercise 00-majority"] == {"tries": 1}


@pytest.mark.parametrize(
    ("reset", "left"),
    [(True, []), ("00-majority", ["00-macro-f1", "00_quickstart", "03-x"]), ("00", ["03-x"])],
)
def test_reset(folder, reset, left):
    for name in ("00-majority", "00-macro-f1", "03-x"):
        record("exercise", name, True)
    record("quiz", "00_quickstart", True)
    progress(reset=reset)
    entries = json.loads((folder / "progress.json").read_text())["entries"]
    assert sorted(key.split()[1] for key in entries) == left


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"entries": 3}', '{"entries": {"a": {}}}', '{"entries": {"exercise a": {"tries": "x"}}}',
     "[" * 10**5, "\x00"],
)  # fmt: skip
def test_corrupt_file_is_set_aside(folder, content):
    """Progress starts anew, the old file is kept, and the note says where."""
    folder.mkdir()
    (folder / "progress.json").write_text(content)
    record("exercise", "00-majority", True)
    assert row("00")[1] == "1 of 3"
    (aside,) = folder.glob("progress-unreadable-*.json")
    assert aside.read_text() == content and str(aside) in progress().note


def test_file_that_is_not_text_is_set_aside(folder):
    folder.mkdir()
    (folder / "progress.json").write_bytes(b"\xff\xfe\x00")
    assert progress().rows and list(folder.glob("progress-unreadable-*.json"))


@pytest.mark.parametrize("kind", ["a file", "a file above"])
def test_folder_that_cannot_be_written(tmp_path, monkeypatch, kind):
    """Progress lasts as long as the process, and the note says so; nothing is raised."""
    (tmp_path / "taken").write_text("x")
    monkeypatch.setenv("SFTLAB_HOME", str(tmp_path / "taken" / ("deeper" if kind == "a file above" else "")))
    record("exercise", "00-majority", True)
    record("exercise", "00-macro-f1", True)
    assert row("00")[1] == "2 of 3"
    assert "Kept until this process ends only" in progress().note
    progress(reset=True)
    assert row("00")[1] == "0 of 3"


def test_a_full_disk_keeps_the_old_file(folder, monkeypatch):
    """A write that fails half way leaves the file as it was."""
    record("exercise", "00-majority", True)
    before = (folder / "progress.json").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.json, "dump", full)
    record("exercise", "00-macro-f1", True)
    assert (folder / "progress.json").read_bytes() == before
    assert not list(folder.glob("*.tmp")) and "No space left" in progress().note
    assert row("00")[1] == "2 of 3"


def test_many_processes_lose_nothing(folder):
    """Four processes record at once; every entry is there."""
    code = "import sys\nfrom sftlab.teach.progress import record\n"
    code += "for i in range(10): record('quiz', f'99-{sys.argv[1]}-{i}', True)"
    running = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert len(json.loads((folder / "progress.json").read_text())["entries"]) == 40


def test_lock_that_is_held_does_not_hang(folder):
    """Another process that holds the lock for ever costs seconds, not the notebook."""
    folder.mkdir()
    path = str(folder / "progress.lock")
    code = f"from filelock import FileLock; FileLock({path!r}).acquire(); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        record("exercise", "00-majority", True)
        assert row("00")[1] == "1 of 3"
        other.stdin.close()


def test_where_it_is_kept(monkeypatch):
    """SFTLAB_HOME first; nothing is written in quiet runs; else the platform's folder for settings."""
    monkeypatch.delenv("SFTLAB_HOME")
    monkeypatch.setenv("SFTLAB_QUIET", "1")
    assert home() is None
    record("exercise", "00-majority", True)
    assert row("00")[1] == "1 of 3" and "until this process ends" in progress().note
    monkeypatch.delenv("SFTLAB_QUIET")
    for platform, variable, value, part in (
        ("linux", "XDG_CONFIG_HOME", "/x", "/x/sftlab"),
        ("darwin", "HOME", "/x", "/x/Library/Application Support/sftlab"),
        ("win32", "APPDATA", "/x", "/x/sftlab"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv(variable, value)
        assert home().as_posix() == part
    assert os.environ["HOME"]


def test_unknown_kind():
    with pytest.raises(UnknownName, match="unknown kind 'exam'"):
        record("exam", "00-x", True)
