"""The command ``sftlab``: what it prints, what it returns, and that an error is a sentence and no traceback."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch

import sftlab.bench
from sftlab import assets, cli, demo
from sftlab.errors import BadData


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with the data set ``words`` (bundled) and the checkpoint ``toy`` (nowhere yet)."""
    for name in ("SFTLAB_ASSETS", "SFTLAB_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SFTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "bundled_root", lambda: tmp_path / "bundled")
    for name, kind, file in (("words", "data set", "words.csv"), ("toy", "checkpoint", "model.safetensors")):
        folder = tmp_path / "bundled" / name
        folder.mkdir(parents=True)
        files = {file: hashlib.sha256(name.encode()).hexdigest()}
        about = {"name": name, "kind": kind, "title": name, "files": files}
        (folder / "asset.json").write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "bundled" / "words" / "words.csv").write_bytes(b"words")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"toy")
    return tmp_path


def one_error(capsys) -> str:
    """What went to stderr, which must be one message of the command, with nothing on stdout."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("sftlab: ") and said.err.count("sftlab: ") == 1
    assert "Traceback" not in said.err
    return said.err


def test_assets_lists_what_is_there_and_what_brings_the_rest(course, capsys):
    """One line per asset with kind, state and place; the missing one is explained below, and the status is 1."""
    assert cli.main(["assets"]) == 1
    said = capsys.readouterr()
    head, *rows = said.out.splitlines()
    assert head.split() == ["asset", "kind", "state", "where"]
    assert [row.split("  ")[0].strip() for row in rows] == ["toy", "words"]
    assert "checkpoint" in rows[0] and "not usable" in rows[0]
    assert "found, checked" in rows[1] and str(course / "bundled" / "words") in rows[1]
    assert "toy: checkpoint 'toy' was not found" in said.err and "sftlab assets add toy FOLDER" in said.err
    assert "Traceback" not in said.err


def test_assets_add_and_list(course, capsys):
    """After ``add`` the listing is complete and the status 0."""
    assert cli.main(["assets", "add", "toy", str(course / "mine")]) == 0
    assert capsys.readouterr().out == f"stored in {course / 'cache' / 'toy'}\n"
    assert cli.main(["assets"]) == 0
    said = capsys.readouterr()
    assert said.out.count("found, checked") == 2 and said.err == ""


def test_assets_reports_damage(course, capsys):
    """A damaged file is in the listing, with its digests below."""
    (course / "bundled" / "words" / "words.csv").write_bytes(b"word")
    assert cli.main(["assets"]) == 1
    said = capsys.readouterr()
    assert said.out.count("not usable") == 2
    assert "words.csv is truncated or altered" in said.err and hashlib.sha256(b"word").hexdigest() in said.err


def test_add_of_an_unknown_asset(course, capsys):
    """A misspelled name: status 1, a sentence with the nearest name."""
    assert cli.main(["assets", "add", "toi", str(course / "mine")]) == 1
    assert "unknown asset 'toi'. Did you mean 'toy'?" in one_error(capsys)


@pytest.mark.parametrize("folder", ["nowhere", "bundled", "mine/model.safetensors"])
def test_add_of_a_folder_that_has_not_the_files(course, capsys, folder):
    """No such folder, another folder, a file instead of a folder: status 1 and the file that was looked for."""
    assert cli.main(["assets", "add", "toy", str(course / folder)]) == 1
    said = one_error(capsys)
    assert str(course / folder / "model.safetensors") in said and "is missing from" in said
    assert not (course / "cache" / "toy").exists()


def test_add_without_a_usable_cache(course, capsys, monkeypatch):
    """A cache that cannot be made: status 1 and the variable that moves it."""
    monkeypatch.setenv("SFTLAB_CACHE", str(course / "mine" / "model.safetensors" / "cache"))
    assert cli.main(["assets", "add", "toy", str(course / "mine")]) == 1
    assert "SFTLAB_CACHE" in one_error(capsys)


def test_errors_have_no_traceback_in_a_real_process():
    """As the shell sees it: status 1, stderr one sentence, for ``python -m sftlab`` too."""
    command = [sys.executable, "-m", "sftlab", "assets", "add", "minlm", "nowhere"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("sftlab: unknown asset 'minlm'. Did you mean 'minilm'?")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (BadData("row 3 has no label"), 1, "sftlab: row 3 has no label\n"),
        (KeyboardInterrupt(), 130, "sftlab: stopped\n"),
    ],
)
def test_errors_of_any_command_are_sentences(monkeypatch, capsys, raised, status, said):
    """What the library raises on purpose, and Ctrl-C, end in a sentence and a status that scripts can read."""

    def fails(seed):
        raise raised

    monkeypatch.setattr(demo, "demo", fails)
    assert cli.main(["demo"]) == status
    assert capsys.readouterr().err == said


def test_errors_that_are_not_on_purpose_are_not_hidden(monkeypatch):
    """A fault in the library itself keeps its traceback: swallowing it would hide where it is."""

    def fails(seed):
        raise ZeroDivisionError

    monkeypatch.setattr(demo, "demo", fails)
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


def test_device_that_is_not_there_is_a_sentence(monkeypatch, capsys):
    """``SFTLAB_DEVICE=cuda sftlab demo`` without a GPU is a user's mistake: a sentence, as for every other."""
    monkeypatch.setenv("SFTLAB_DEVICE", "cuda" if not torch.cuda.is_available() else "mps")
    assert cli.main(["demo"]) == 1
    assert "sees none here" in one_error(capsys)


# Arguments


@pytest.mark.parametrize("command", [[], ["demo"], ["assets"], ["assets", "add"], ["bench"], ["classroom"], ["grade"]])
def test_help(command, capsys):
    """Every command explains itself and starts nothing."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(" ".join(["usage: sftlab", *command]))
    if not command:
        assert all(name in said for name in ("demo", "assets", "bench", "classroom", "grade"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "lop"], "invalid choice: 'lop'"),
        (["bench"], "required: what"),
        (["bench", "loop", "--rounds", "many"], "invalid int value: 'many'"),
        (["demo", "--seed", "x"], "invalid int value: 'x'"),
        (["assets", "add", "minilm"], "required: folder"),
        (["grade"], "required: folder"),
        (["grade", "x", "--memory", "2 apples"], "is no size of at least 256MB"),
        (["grade", "x", "--memory", "64MB"], "is no size of at least 256MB"),
        (["train"], "invalid choice: 'train'"),
        ([], "required: command"),
    ],
)
def test_wrong_arguments(arguments, said, capsys):
    """Status 2 and what was wrong; for a choice, the known ones."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    if "lop" in arguments:
        assert "loop" in error and "headlines" in error


def test_arguments_reach_the_command(monkeypatch, tmp_path, capsys):
    """The seed of the demo, the rounds of a bench, and ``--write``."""
    seen = []
    monkeypatch.setattr(demo, "demo", seen.append)

    class Result:
        def __str__(self):
            return "the table"

        def write(self, folder):
            seen.append(folder)

    monkeypatch.setattr(sftlab.bench, "loop", lambda rounds: seen.append(rounds) or Result())
    assert cli.main(["demo", "--seed", "7"]) == 0
    assert cli.main(["bench", "loop", "--rounds", "3", "--write", str(tmp_path)]) == 0
    assert seen == [7, 3, str(tmp_path)]
    assert capsys.readouterr().out == "the table\n"


def test_grade_and_classroom_get_their_arguments(monkeypatch, tmp_path, capsys):
    """Sizes are read as bytes, folders are handed on, and the last line says how strong the isolation was."""
    from sftlab.teach import classroom, grade

    seen = []
    monkeypatch.setattr(grade, "grade", lambda *args, **kwargs: seen.append(args) or [])
    monkeypatch.setattr(grade, "isolation", lambda: (True, "Isolated."))
    monkeypatch.setattr(classroom, "build", lambda out: seen.append(out) or ["00_quickstart"])
    assert cli.main(["grade", "class", "--out", "there", "--seconds", "5", "--memory", "512MB"]) == 0
    assert cli.main(["classroom", "--out", "here"]) == 0
    assert seen == [("class", "there", 5.0, 2**29), "here"]
    assert (
        capsys.readouterr().out
        == "0 of 0 passed. Isolated.\nbuilt here: student and instructor release of 00_quickstart\n"
    )


def test_grading_nothing_is_a_sentence(tmp_path, capsys):
    assert cli.main(["grade", str(tmp_path / "nowhere")]) == 1
    assert "is no folder" in one_error(capsys)
