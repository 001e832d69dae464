"""The box in which a submission runs: a process with a clock, and around it bubblewrap where the machine has it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from functools import cache
from pathlib import Path

from ..assets import bundled_root
from .limits import TimeUp
from .wire import Broken, receive, send

_PACKAGE = Path(__file__).resolve().parents[1]
_START = 300  # seconds until Python and torch are loaded, on a slow or busy machine
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sftlab.teach.worker import main; main()"
# Nothing of the teacher's environment: no tokens, no proxies.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1", "SFTLAB_QUIET": "1",
}  # fmt: skip


class Ended(Exception):
    """The process of the submission is gone, or talks rubbish; ``sentence`` is what the report says."""

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.sentence = sentence


class Box:
    """One process for one submission and one exercise.

    Args:
        seconds: from the first question on, for everything the submission does.
        memory: bytes.
    """

    def __init__(self, seconds: float, memory: int):
        self.seconds, self._timed_out, self._lock = seconds, False, threading.Lock()
        command = [sys.executable, "-I", "-c", _BOOT, str(_PACKAGE.parent), str(memory), str(seconds)]
        self.process = subprocess.Popen(
            [*bubblewrap(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT if os.name == "posix" else {**_ENVIRONMENT, "SYSTEMROOT": os.environ["SYSTEMROOT"]},
            cwd="/" if os.name == "posix" else None,
            start_new_session=True,
        )
        self._clock = self._wind(_START)
        try:
            self.filtered = bool(receive(self.process.stdout)["filtered"])
        except (Broken, KeyError):
            self.close()
            raise Ended("The process for this submission did not start. Run `sftlab grade` again.") from None
        self._clock.cancel()
        self._clock = self._wind(seconds)

    def _wind(self, seconds: float) -> threading.Timer:
        clock = threading.Timer(seconds, self._ring)
        clock.daemon = True
        clock.start()
        return clock

    def _ring(self) -> None:
        self._timed_out = True
        self._kill()

    def _kill(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self.process.poll() is not None:
                return
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()

    def ask(self, message: dict) -> dict:
        """Send a message and return the answer.

        Raises:
            TimeUp: the clock has run out.
            Ended: the process has ended by itself, or answers with something that is no message.
        """
        try:
            send(self.process.stdin, message)
            return receive(self.process.stdout)
        except Broken:
            raise self.why_ended() from None

    def why_ended(self) -> BaseException:
        """The reason as an error; kills the process if it is still there."""
        try:
            status = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            status = None
        if self._timed_out:
            return TimeUp(self.seconds)
        if status is None:
            self._kill()
            return Ended("Your code disturbed the connection to the grader: it writes to files it did not open.")
        number = -status if status < 0 else status - 128  # bubblewrap passes a signal on as 128 + number
        if number in (signal.SIGKILL, getattr(signal, "SIGXCPU", 24)):
            return Ended(f"Your code was stopped by the system (signal {number}): too much memory or CPU time.")
        if number > 0:
            return Ended(f"Your code made Python crash (signal {number}).")
        return Ended(f"Your code ended the process (exit status {status}). Return a value instead.")

    def close(self) -> None:
        """End the process, whatever it is doing, with all that it started."""
        self._clock.cancel()
        self._kill()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        self.process.wait()


@cache
def bubblewrap() -> tuple[str, ...]:
    """The command that puts a process into namespaces of its own; empty where it is missing or does not work.

    Inside are the system's libraries, Python and sftlab, all read-only, and nothing else: no home, no submissions, no
    network, no other processes.
    """
    program = shutil.which("bwrap") if sys.platform == "linux" else None
    if not program:
        return ()
    command = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--proc", "/proc"]
    command += ["--dev", "/dev", "--ro-bind", "/usr", "/usr"]
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(folder):
            command += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            command += ["--ro-bind", folder, folder]
    for file in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"):
        command += ["--ro-bind-try", file, file]
    for folder in _needed():
        command += ["--ro-bind", folder, folder]
    command += ["--remount-ro", "/", "--chdir", "/"]
    try:
        works = subprocess.run([*command, sys.executable, "-I", "-c", ""], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(command) if works.returncode == 0 else ()


def _needed() -> list[str]:
    """Python, its packages, sftlab and its bundled data; folders inside of others of the list are left out."""
    paths = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(_PACKAGE), str(bundled_root())]
    paths += [os.path.dirname(os.path.realpath(sys.executable))]
    paths += [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    found: list[str] = []
    for path in sorted({os.path.realpath(p) for p in paths} | {os.path.abspath(p) for p in paths}):
        inside = any(path == other or path.startswith(other + "/") for other in [*found, "/usr"])
        if os.path.isdir(path) and path != "/" and not inside:
            found.append(path)
    return found
