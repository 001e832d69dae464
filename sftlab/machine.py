"""``sftlab doctor --machine``: what this machine is, what is fast on it, and which chapters it can run."""

import os
import platform
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import torch

from . import assets, env
from .sets.download import offline
from .table import Table

# Measured cell by cell on two cores of an AMD EPYC (family 25, AVX2) whose float32 product of `speed` ran at REFERENCE
# operations in a second: processor seconds of one thread, and the peak of the process's memory in megabytes.
REFERENCE = 76e9
TINY: dict[str, tuple[float, int]] = {
    "00_quickstart": (131, 1565),
    "01_what_is_sft": (71, 1215),
    "02_data_preparation": (79, 1440),
    "03_losses": (38, 1009),
    "04_gradient_descent": (59, 1304),
    "05_initialisation_and_learning": (70, 1108),
    "06_freezing_strategies": (94, 1318),
    "07_hyperparameters_and_validation": (73, 1102),
    "08_overfitting_and_generalisation": (98, 1149),
    "14_text_classification": (100, 2770),
    "15_named_entity_recognition": (181, 1760),
    "16_machine_translation": (112, 1811),
    "17_instruction_tuning": (180, 1168),
    "18_image_classification": (96, 1440),
    "19_object_detection": (90, 1482),
    "20_image_segmentation": (86, 1195),
    "B_formula_sheet": (7, 925),
}
# What the full profile adds: its models, with the number of their weights. Fine-tuning everything in float32 with
# AdamW keeps 16 bytes for each weight (value, gradient, two moments); activations come on top.
FULL = {
    "14_text_classification": ("google-bert/bert-base-uncased", 110e6),
    "15_named_entity_recognition": ("google-bert/bert-base-uncased", 110e6),
    "16_machine_translation": ("Helsinki-NLP/opus-mt-zh-en", 78e6),
    "17_instruction_tuning": ("HuggingFaceTB/SmolLM2-135M", 135e6),
    "18_image_classification": ("microsoft/resnet-18", 12e6),
    "19_object_detection": ("torchvision/fasterrcnn_resnet50_fpn", 42e6),
    "20_image_segmentation": ("microsoft/resnet-18, torchvision/deeplabv3_resnet50", 42e6),
}
BYTES_PER_WEIGHT = 16
ACTIVATIONS = 2e9  # bytes left free for them; a guess on the safe side for batches of this course, not a measurement


def speed(device: torch.device, dtype: torch.dtype, seconds: float = 0.4) -> float:
    """Operations in a second of a matrix product on this device, the best of several rounds; 0 if it cannot.

    Args:
        device: where.
        dtype: of both factors.
        seconds: to spend.

    >>> speed(torch.device("cpu"), torch.float32, seconds=0.05) > 1e8
    True
    """
    size = 512 if device.type == "cpu" else 4096
    try:
        a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
        best, until = 0.0, time.perf_counter() + seconds
        while not best or time.perf_counter() < until:
            began = time.perf_counter()
            for _ in range(4):
                a @ b
            if device.type != "cpu":
                getattr(torch, device.type).synchronize()
            best = max(best, 4 * 2 * size**3 / (time.perf_counter() - began))
        return best
    except (RuntimeError, TypeError):  # a product that this device does not have
        return 0.0


def reachable(address: str, seconds: float = 3.0) -> str:
    """Whether a server answers, in words."""
    if offline():
        return "not asked: HF_HUB_OFFLINE is set"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds):
            return "reachable"
    except urllib.error.HTTPError as error:  # it answers, if only to say no
        return f"reachable (answers {error.code})"
    except (OSError, ValueError) as error:
        return f"not reachable ({getattr(error, 'reason', error)})"


def describe(device: torch.device | None = None) -> Table:
    """Versions, device, memory, measured speeds, caches, disk and network, each with what follows from it."""
    device = device or env._choose_device(os.environ.get("SFTLAB_DEVICE"))[0]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    rows = [
        ["Python", platform.python_version(), sys.executable],
        ["torch", torch.__version__, f"built for {build}; {torch.get_num_threads()} threads"],
        ["device", *_device(device, build)],
        ["memory", *_memory()],
        *_speeds(device),
        ["precision", *env._choose_precision(os.environ.get("SFTLAB_PRECISION"), device)],
    ]
    for name, place in _caches().items():
        rows.append([name, str(place), _room(place)])
    from huggingface_hub import constants

    for address in (constants.ENDPOINT, "https://download.pytorch.org"):
        rows.append(["network", address, reachable(address)])
    return Table(["what", "found", "means"], rows, caption="This machine")


def verdicts(device: torch.device | None = None) -> Table:
    """Each measured chapter: expected seconds and memory in the tiny profile, and whether the full profile fits."""
    device = device or env._choose_device(os.environ.get("SFTLAB_DEVICE"))[0]
    own = speed(torch.device("cpu"), torch.float32) / max(1, torch.get_num_threads())
    free, rows = available(), []
    for name, (seconds, megabytes) in sorted(TINY.items()):
        expected = seconds * REFERENCE / own
        fits = free is None or free > megabytes * 1e6
        tiny = "runs" if fits else f"needs {megabytes / 1e3:.1f} GB of memory, {free / 1e9:.1f} are free"
        rows.append([name, tiny, f"{expected:.0f}", f"{megabytes / 1e3:.1f}", _full(name, device)])
    note = (
        "Seconds: of one CPU thread, scaled from a measured run by the speed of a matrix product; more threads and a "
        "GPU make it less, but not in proportion. Memory: the measured peak of the process, in GB."
    )
    return Table(["chapter", "tiny", "seconds", "GB", "full"], rows, caption="Chapters", note=note)


def available() -> float | None:
    """Bytes of memory that a new process can have; None where the system does not tell."""
    try:
        with open("/proc/meminfo") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def _full(name: str, device: torch.device) -> str:
    if name not in FULL:
        return "as tiny"
    model, weights = FULL[name]
    need = weights * BYTES_PER_WEIGHT + ACTIVATIONS
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        verdict = "runs" if free > need else f"too little: {free / 1e9:.1f} GB free on the GPU"
    elif device.type == "mps":
        verdict = "runs in float32, not measured"
    else:
        verdict = "no GPU: hours"
    return f"{verdict}; {model}, about {need / 1e9:.1f} GB"


def _device(device: torch.device, build: str) -> tuple[str, str]:
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        free, total = torch.cuda.mem_get_info(device)
        means = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free, compute capability {about.major}.{about.minor}"
        return f"{torch.cuda.device_count()} x {about.name}", means
    if device.type == "mps":
        return "Apple GPU", "float32 only in this course"
    if torch.version.cuda and shutil.which("nvidia-smi"):
        return "cpu", f"an NVIDIA driver is installed, but torch ({build}) sees no GPU: is the driver too old for it?"
    return platform.processor() or platform.machine(), "no GPU found: the tiny profile is made for this"


def _memory() -> tuple[str, str]:
    free = available()
    if free is None:
        return "not told by this system", ""
    return (
        f"{free / 1e9:.1f} GB available",
        "8 GB are enough for every chapter" if free > 6e9 else "close other kernels",
    )


def _speeds(device: torch.device) -> list[list[str]]:
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if device.type == "cuda":
        kinds["float16"] = torch.float16
    found = {name: speed(device, dtype) for name, dtype in kinds.items()}
    rows = []
    for name, rate in found.items():
        ratio = rate / found["float32"] if found["float32"] else 0.0
        means = "" if name == "float32" else f"{ratio:.1f} times float32"
        rows.append([f"product in {name}", f"{rate / 1e9:,.0f} GFLOP/s" if rate else "cannot", means])
    return rows


def _caches() -> dict[str, Path]:
    from huggingface_hub import constants

    return {
        "cache of the course": assets.cache_root(),
        "cache of the hub": Path(constants.HF_HUB_CACHE),
        "cache of torch": Path(torch.hub.get_dir()),
    }


def _room(place: Path) -> str:
    """Size of what is there, and room on its disk; whether it can be written."""
    there = next(p for p in (place, *place.parents) if p.exists())
    try:
        size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file() and not p.is_symlink())
    except OSError:
        size = 0
    room = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return f"CANNOT BE WRITTEN ({there}): set SFTLAB_CACHE, HF_HOME or TORCH_HOME to a folder of yours"
    return f"{size / 1e9:.2f} GB there, {room / 1e9:.1f} GB free" + (": LITTLE ROOM" if room < 2e9 else "")
