"""Weights that are given out as pickles: read once by a reader that can only make tensors, kept as safetensors."""

import os
from pathlib import Path

import torch

from .. import assets
from ..errors import AssetError, disk_error


def as_safetensors(source: Path, target: Path) -> Path:
    """Write the tensors of ``source``, a file of ``torch.save``, into ``target``; the next call finds it there.

    ``torch.load(weights_only=True)`` refuses whatever is no tensor, so that no code of the file runs (S21). The digest
    of ``target`` stands beside it, in ``target.sha256``, and is checked at each call.

    Raises:
        AssetError: ``source`` holds other things than tensors or is damaged; ``target`` was altered; the disk is full.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> torch.save({"weight": torch.ones(2)}, folder / "a.bin")
    >>> as_safetensors(folder / "a.bin", folder / "a.safetensors").name
    'a.safetensors'
    """
    from safetensors.torch import save_file

    written = target.with_name(f"{target.name}.sha256")
    if target.is_file() and written.is_file():
        if assets.sha256(target) != written.read_text(encoding="ascii").strip():
            raise AssetError(f"{target} is truncated or altered. Delete it: it is then made again.")
        return target
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
        tensors = {key: value.clone().contiguous() for key, value in state.items()}  # tied ones apart: P17
    except Exception as error:  # pickle, zip and runtime errors
        raise AssetError(f"{source} does not hold tensors that torch can read: {error}") from error
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, {"format": "pt"})
        digest = assets.sha256(part)
        os.replace(part, target)
        written.write_text(digest, encoding="ascii")  # last: without it the file is made again
    except OSError as error:
        raise disk_error(target.parent, error) from error
    finally:
        part.unlink(missing_ok=True)
    return target
