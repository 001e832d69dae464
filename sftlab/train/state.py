"""The state of a run on disk: written whole or not at all, and taken up again bit for bit."""

import hashlib
import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from .. import __version__
from ..assets import sha256
from ..errors import AssetError, SftlabError
from .features import bytes_of, data_fingerprint

DESCRIPTION = "run.json"
_PREFIX = "checkpoint-"
_SUMS = "SHA256SUMS"  # in the form that `sha256sum -c` reads


class RunFolder:
    """A folder with ``run.json`` (what was asked for) and the last checkpoint; one process writes it at a time.

    A checkpoint is a folder of safetensors files, ``state.json`` and their digests. It is written under another
    name, flushed to the disk and renamed; only then is the one before it removed. A kill at any moment, a full disk or
    a power cut therefore leaves the last good one.

    Args:
        folder: made if it is not there.

    Raises:
        SftlabError: the folder cannot be written, or another process is writing it.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def __enter__(self) -> "RunFolder":
        """Make the folder, see that it can be written, and lock it for this process."""
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            raise SftlabError(f"{self.folder} is being written by another run. Give each run its own folder.") from None
        except OSError as error:
            raise self._unwritable(error) from error
        for left in self.folder.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, *error) -> None:
        self._lock.release()

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob(f"{_PREFIX}*"))

    def describe(self, about: dict) -> None:
        """Write what the run was asked to do, once, before its first step."""
        text = json.dumps(about, indent=2) + "\n"
        part = self.folder / f".writing-{DESCRIPTION}"
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, self.folder / DESCRIPTION)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SftlabError:
        return SftlabError(f"no checkpoint can be written to {self.folder}: {error}. Choose another folder.")

    def description(self) -> dict:
        """What ``run.json`` says.

        Raises:
            AssetError: there is no run here, or its description cannot be read.
        """
        path = self.folder / DESCRIPTION
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise AssetError(f"{self.folder} holds no run ({DESCRIPTION} is not there).") from None
        except ValueError as error:
            raise AssetError(f"{path} is not JSON ({error}): the run cannot be taken up again.") from error

    def save(self, state: dict, tensors: dict[str, dict[str, torch.Tensor]]) -> None:
        """Write a checkpoint and remove the one before it.

        Args:
            state: JSON values.
            tensors: by file (``"model"``, ``"optimizer"``, ``"best"`` ...), then by name.

        Raises:
            SftlabError: it could not be written (disk full, folder gone); the last good checkpoint is untouched.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        old = self.checkpoints()
        number = int(old[-1].name.removeprefix(_PREFIX)) + 1 if old else 1
        part, target = self.folder / f".writing-{number}", self.folder / f"{_PREFIX}{number:06d}"
        try:
            part.mkdir()
            digests = {}
            for name, group in tensors.items():
                path = part / f"{name}.safetensors"
                save_file({key: value.detach().cpu().contiguous() for key, value in group.items()}, path)
                digests[path.name] = _flushed_digest(path)
            (part / "state.json").write_text(json.dumps(state), encoding="utf-8")
            digests["state.json"] = _flushed_digest(part / "state.json")
            sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
            (part / _SUMS).write_text(sums, encoding="utf-8")
            _flushed_digest(part / _SUMS)
            os.rename(part, target)
            _flush_folder(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = f"The one before it ({old[-1].name}) is untouched" if old else "There is none before it"
            raise SftlabError(
                f"the checkpoint after step {state['step']} could not be written to {self.folder}: {error}. {kept}. "
                "Free space or mend the folder, then continue with sl.resume."
            ) from error
        for path in old:
            shutil.rmtree(path, ignore_errors=True)

    def load(self) -> tuple[dict, dict[str, dict[str, torch.Tensor]]]:
        """(state, tensors) of the last checkpoint; ({}, {}) if the run was stopped before its first.

        Raises:
            AssetError: a file is missing or altered.
        """
        from safetensors.torch import load_file

        found = self.checkpoints()
        if not found:
            return {}, {}
        place = found[-1]
        try:
            tensors = {}
            for line in (place / _SUMS).read_text(encoding="utf-8").splitlines():
                digest, name = line.split("  ")
                if sha256(place / name) != digest:
                    raise AssetError(f"{place / name} is not what was written (another SHA-256): the disk damaged it.")
                if name.endswith(".safetensors"):
                    tensors[name.removesuffix(".safetensors")] = load_file(place / name)
            state = json.loads((place / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AssetError(f"{place} is damaged: {error}") from error
        return state, tensors


def _flushed_digest(path: Path) -> str:
    with open(path, "rb+") as f:
        os.fsync(f.fileno())
    return sha256(path)


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":  # Windows cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def versions() -> dict[str, str]:
    """What a bit-exact continuation depends on besides the settings."""
    libraries = {name: version(name) for name in ("torch", "transformers")}
    return {"python": platform.python_version(), "sftlab": __version__, **libraries}


def describe(model: nn.Module, task, items: dict, settings: dict, trained: set[str]) -> dict:
    """What must be equal for a run to be continued: settings, data, architecture, the weights that never train."""
    digest = hashlib.sha256()
    for name, value in model.named_parameters():
        if name not in trained:
            digest.update(name.encode())
            digest.update(bytes_of(value))
    shapes = {name: f"{list(value.shape)} {value.dtype}" for name, value in model.state_dict().items()}
    return {
        "settings": json.loads(json.dumps(settings)),
        "task": {"name": task.name, "kind": task.kind, "labels": task.label_names, "data": data_fingerprint(items)},
        "model": {"class": type(model).__name__, "tensors": shapes, "frozen weights": digest.hexdigest()},
        "versions": versions(),
    }


def differences(before: dict, now: dict, path: str = "") -> list[str]:
    """One line for each value that differs, with its path.

    >>> differences({"plan": {"lr": 0.1, "name": "a"}}, {"plan": {"lr": 0.2, "name": "a"}})
    ['plan.lr: 0.1 in the run, 0.2 now']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        parts = [(before.get(key), now.get(key), f"{path}.{key}" if path else str(key)) for key in keys]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        parts = [(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(before, now, strict=True))]
    else:
        return [] if before == now else [f"{path}: {_short(before)} in the run, {_short(now)} now"]
    return [line for part in parts for line in differences(*part)]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]} ... ({len(text)} characters)"


def weights(model: nn.Module, trained: set[str]) -> dict[str, torch.Tensor]:
    """What training can move: trained parameters (a tied one once) and every buffer that belongs to the state."""
    kept = set(model.state_dict())
    named = [*model.named_parameters(), *model.named_buffers()]
    return {n: v for n, v in named if n in trained or (n in kept and not isinstance(v, nn.Parameter))}


def put_weights(model: nn.Module, saved: dict[str, torch.Tensor]) -> None:
    """Copy saved tensors into the model, in place, so that tied parameters stay tied."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, value in saved.items():
            own[name].copy_(value)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's memory by the parameter's name, not by its position."""
    names = {id(p): name for name, p in model.named_parameters()}
    kept = [(p, key, value) for p, memory in optimizer.state.items() for key, value in memory.items()]
    return {f"{key}|{names[id(p)]}": value for p, key, value in kept if isinstance(value, torch.Tensor)}


def put_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, torch.Tensor]) -> None:
    """Give an optimizer its memory back."""
    own = dict(model.named_parameters())
    for key, value in saved.items():
        what, name = key.split("|", 1)
        optimizer.state[own[name]][what] = value.to(own[name].device)
