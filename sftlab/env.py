"""Where we run: device, precision, profile, seed - each decided once, with a printed reason."""

import os
import platform
import random
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import median

import torch

from .errors import DeviceMissing, unknown
from .table import Table

PROFILES = ("tiny", "full")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Measured on a 2-core CPU with bf16 instructions: a linear block ran 1.9 times as fast, a whole MiniLM step only
# 1.15 to 1.3 times. Under a threefold block the lost digits buy nothing; on a CPU without the instructions the
# same block runs 5 to 25 times slower (PITFALLS P38).
BF16_PAYS_AT = 3.0


@dataclass(frozen=True)
class Env:
    """The decisions of :func:`start`. Show it (``print(env)``) to see versions, choices and reasons."""

    seed: int
    device: torch.device
    precision: str
    profile: str
    reasons: dict = field(default_factory=dict, repr=False)

    def autocast(self):
        """Context for a forward pass: weights stay float32, the arithmetic runs in ``precision`` (P13)."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, PRECISIONS[self.precision])

    def _table(self) -> Table:
        from importlib.metadata import PackageNotFoundError, version

        def found(package):
            try:
                return version(package)
            except PackageNotFoundError:
                return "not installed"

        rows = [
            ["Python", platform.python_version(), ""],
            *[[p, found(p), ""] for p in ("torch", "torchvision", "transformers")],
            ["device", str(self.device), self.reasons.get("device", "")],
            ["precision", self.precision, self.reasons.get("precision", "")],
            ["profile", self.profile, self.reasons.get("profile", "")],
            ["seed", str(self.seed), ""],
        ]
        return Table(["what", "value", "why"], rows)

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


_current: Env | None = None


def start(seed: int = 0, device: str | None = None, precision: str | None = None, profile: str | None = None) -> Env:
    """Seed everything, choose device, precision and profile, and return the choices with their reasons.

    Args:
        seed: seeds Python, NumPy and torch; also the default seed of :func:`sftlab.fit` and :func:`sftlab.load`.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``; default: ``SFTLAB_DEVICE``, else the fastest that works.
        precision: ``"float32"`` or ``"bfloat16"``; default: ``SFTLAB_PRECISION``, else what the hardware probe says.
        profile: ``"tiny"`` (offline, bundled checkpoints) or ``"full"`` (well-known models, may download);
            default: ``SFTLAB_PROFILE``, else ``"tiny"``.

    Returns:
        Env: shown as a table of versions, choices and reasons.

    Raises:
        UnknownName: a device, precision or profile that does not exist.
        DeviceMissing: the device was asked for by name and is not there.

    >>> env = start(seed=0, device="cpu", precision="float32")
    >>> env.device.type, env.precision
    ('cpu', 'float32')
    """
    global _current
    chosen_device, device_reason = _choose_device(device or os.environ.get("SFTLAB_DEVICE"))
    precision = precision or os.environ.get("SFTLAB_PRECISION")
    chosen_precision, precision_reason = _choose_precision(precision, chosen_device)
    asked = profile or os.environ.get("SFTLAB_PROFILE")
    if asked and asked not in PROFILES:
        raise unknown("profile", asked, PROFILES)
    profile_reason = "asked for" if asked else "default: offline, bundled checkpoints"
    if asked:
        os.environ["SFTLAB_PROFILE"] = asked  # one place to read it: worker processes and `assets` see it too
    seed_all(seed)
    reasons = {"device": device_reason, "precision": precision_reason, "profile": profile_reason}
    _current = Env(seed, chosen_device, chosen_precision, asked or "tiny", reasons)
    return _current


def current() -> Env:
    """The environment of the last :func:`start`; starts one with the defaults if there was none."""
    return _current or start()


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _choose_device(asked: str | None) -> tuple[torch.device, str]:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked:
        kind = asked.split(":")[0]
        if kind not in available:
            raise unknown("device", asked, available)
        if not available[kind]:
            raise DeviceMissing(
                f"device {asked!r} was asked for, but torch {torch.__version__} sees none here. "
                "Leave the device out to run on the CPU, or install a driver and a torch build for it."
            )
        return torch.device(asked), "asked for"
    if available["cuda"]:
        return torch.device("cuda"), torch.cuda.get_device_name()
    if available["mps"]:
        return torch.device("mps"), "Apple GPU found"
    return torch.device("cpu"), f"no GPU found, {torch.get_num_threads()} threads"


def _choose_precision(asked: str | None, device: torch.device) -> tuple[str, str]:
    if asked:
        if asked not in PRECISIONS:
            raise unknown("precision", asked, PRECISIONS)
        return asked, "asked for"
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return "bfloat16", "this GPU has bfloat16 matrix units"
        return "float32", "this GPU only emulates bfloat16"
    if device.type == "mps":
        return "float32", "bfloat16 is not probed on this device"
    speedup = bf16_speedup()
    reason = f"a bfloat16 block runs {speedup:.1f} times as fast here, worth it from {BF16_PAYS_AT:.0f}"
    return ("bfloat16" if speedup >= BF16_PAYS_AT else "float32"), reason


_probed: float | None = None


def bf16_speedup() -> float:
    """How many times as fast a bfloat16 training block runs on this CPU (below 1: slower); measured once."""
    global _probed
    if _probed is None:
        with torch.random.fork_rng(devices=[]):  # the probe leaves no trace in the caller's random numbers
            block = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.GELU(), torch.nn.Linear(1536, 384))
            x = torch.randn(128, 384)
        times: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for round_ in range(6):  # interleaved, so that a busy moment hits both; the first round warms up
            for name, seen in times.items():
                began = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=name == "bfloat16"):
                    loss = block(x).float().sum()
                loss.backward()
                if round_:
                    seen.append(time.perf_counter() - began)
            if round_ and times["bfloat16"][-1] > 4 * times["float32"][-1]:
                break  # hopeless here: do not spend seconds on proving it again
        _probed = median(times["float32"]) / median(times["bfloat16"])
    return _probed


class PeakMemory:
    """Peak memory between entering and leaving, in bytes, and what was measured.

    On CUDA the allocator's own peak; on Linux the process's high-water mark, reset on entry; elsewhere the
    process's peak since its start (an upper bound), said so in ``kind``.

    >>> with PeakMemory(torch.device("cpu")) as memory:
    ...     _ = torch.zeros(1000)
    >>> memory.bytes > 0
    True
    """

    def __init__(self, device: torch.device):
        self.device, self.bytes, self.kind = device, 0, ""

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif sys.platform == "linux":
            try:
                with open("/proc/self/clear_refs", "w") as f:
                    f.write("5")  # resets VmHWM, see proc(5)
                self.kind = "process"
            except OSError:
                pass  # some containers forbid it: then the figure below is labelled as since process start
        return self

    def __exit__(self, *exc) -> None:
        if self.device.type == "cuda":
            self.bytes, self.kind = torch.cuda.max_memory_allocated(self.device), "device"
        elif sys.platform == "linux":
            with open("/proc/self/status") as f:
                self.bytes = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
            self.kind = self.kind or "process since its start"
        elif sys.platform == "win32":
            self.kind = "not measured on Windows"
        else:
            import resource

            self.bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self.kind = "process since its start"
