"""Public data sets by name, in the full profile: fetched once, kept in the cache of the course, checked by digest.

``sl.task("sst2")`` fetches what is not there, and asks before more than 200 MB. ``sftlab data`` lists, gets, removes
and checks. What the files hold is read in :mod:`sftlab.sets.public_readers`.
"""

import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import assets
from ..errors import AssetError, SftlabError, disk_error, unknown
from ..table import Table
from ..train.task import Task
from . import public_readers as readers
from .download import download, only_in_full

LARGE = 200  # megabytes; more is asked for
HUB = "{hub}/datasets/"  # HF_ENDPOINT counts: a mirror of the hub serves data sets, too


@dataclass(frozen=True)
class Public:
    """What is known of a data set without having it: ``files`` maps names to addresses."""

    about: str
    licence: str
    page: str
    megabytes: int
    files: dict[str, str]
    read: Callable[[Path], Task]


def task(name: str) -> Task:
    """The task of a public data set; fetched if it is not there. See :func:`sftlab.task`."""
    place = folder(name)
    if not _there(name):
        what = f"{name!r} is a public data set of {SETS[name].megabytes} MB"
        only_in_full(what, f"; or: sftlab data get {name}")
    get(name)
    try:
        return SETS[name].read(place)
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        if isinstance(error, SftlabError):
            raise
        raise AssetError(
            f"{name}: the files in {place} are laid out otherwise than in {SETS[name].page} when this was written "
            f"({type(error).__name__}: {error}). Look there for what has changed."
        ) from error


def folder(name: str) -> Path:
    """Where a data set is kept: ``public/NAME`` in the cache of the course (``SFTLAB_CACHE``).

    Raises:
        UnknownName: no such data set.
    """
    if name not in SETS:
        raise unknown("public data set", name, SETS)
    return assets.cache_root() / "public" / name


def get(name: str, yes: bool = False) -> Path:
    """Fetch a data set, unless it is there; ask first if it has more than 200 MB.

    Args:
        name: ``"sst2"``, ``"cifar10"``, ...
        yes: do not ask; so does ``SFTLAB_YES=1``.

    Returns:
        Path: the folder with its files.

    Raises:
        UnknownName: no such data set.
        AssetError: a file cannot be fetched, is altered, or nobody was there to say yes; the disk is full.
    """
    from huggingface_hub import constants

    place, about = folder(name), SETS[name]
    if _there(name):
        check(name)
        return place
    print(f"{name}: {about.megabytes} MB from {about.page} ({about.licence}), kept in {place}")
    if about.megabytes > LARGE and not yes and os.environ.get("SFTLAB_YES") != "1":
        _ask(name, about.megabytes)
    for file, address in about.files.items():
        download(address.replace("{hub}", constants.ENDPOINT), place / file, sha256="")
    digests = {file: assets.sha256(place / file) for file in about.files}
    try:
        part = place / "digests.json.part"
        part.write_text(json.dumps(digests, indent=1), encoding="utf-8")
        os.replace(part, place / "digests.json")  # last: without it the set is not complete
    except OSError as error:
        raise disk_error(place, error) from error
    return place


def listed() -> Table:
    """All public data sets: size, licence, and whether they are here."""
    rows = [
        [name, about.about, f"{about.megabytes} MB", about.licence, "here" if _there(name) else "-", about.page]
        for name, about in SETS.items()
    ]
    return Table(["name", "what", "size", "licence", "state", "page"], rows, note=f"kept in {folder('sst2').parent}")


def check(name: str) -> None:
    """Compare the files of a data set with the digests that were written down when they came.

    Raises:
        UnknownName, AssetError: no such data set; it is not here, or a file is missing or altered.
    """
    place = folder(name)
    if not _there(name):
        raise AssetError(f"{name!r} is not here. Fetch it: sftlab data get {name}")
    for file, expected in json.loads((place / "digests.json").read_text(encoding="utf-8")).items():
        found = assets.sha256(place / file) if (place / file).is_file() else "nothing: the file is missing"
        if found != expected:
            raise AssetError(
                f"{place / file} is truncated or altered.\n  expected sha256 {expected}\n  found    {found}\n"
                f"Fetch it again: sftlab data remove {name}, then sftlab data get {name}"
            )


def remove(name: str) -> bool:
    """Delete a data set from the cache; False if it was not there.

    Raises:
        UnknownName, AssetError: no such data set; its folder cannot be deleted.
    """
    place = folder(name)
    if not place.exists():
        return False
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise AssetError(f"{place} cannot be deleted: {error}") from error
    return True


def _there(name: str) -> bool:
    return (folder(name) / "digests.json").is_file()


def _ask(name: str, megabytes: int) -> None:
    try:
        said = input(f"Fetch {megabytes} MB? [y/N] ") if _somebody() else None
    except Exception:  # a kernel without a person, a closed terminal: each raises an error of its own
        said = None
    if said is None:
        raise AssetError(
            f"{name} has {megabytes} MB, and nobody is here to say yes. Say it before: sftlab data get {name} --yes, "
            "or SFTLAB_YES=1."
        )
    if said.strip().lower() not in ("y", "yes"):
        raise AssetError(f"{name} was not fetched: you said no.")


def _somebody() -> bool:
    return sys.stdin is not None and (sys.stdin.isatty() or "ipykernel" in sys.modules)


SETS = {
    "sst2": Public(
        "sentences of film reviews, negative or positive", "for research; see its page",
        "https://huggingface.co/datasets/stanfordnlp/sst2", 5,
        {f"{split}.parquet": f"{HUB}stanfordnlp/sst2/resolve/main/data/{split}-00000-of-00001.parquet"
         for split in ("train", "validation")}, readers.sst2,
    ),
    "conll2003": Public(
        "news with people, organisations, places and other names (BIO)", "for research; see its page",
        "https://huggingface.co/datasets/eriktks/conll2003", 2,
        {f"{split}.parquet": f"{HUB}eriktks/conll2003/resolve/refs%2Fconvert%2Fparquet/conll2003/{split}/0000.parquet"
         for split in ("train", "validation", "test")}, readers.conll2003,
    ),
    "opus-kde4": Public(
        "Chinese and English texts of the KDE desktop, a domain of its own", "as KDE; see its page",
        "https://opus.nlpl.eu/KDE4.php", 7,
        {"en-zh_CN.txt.zip": "https://object.pouta.csc.fi/OPUS-KDE4/v2/moses/en-zh_CN.txt.zip"}, readers.kde4,
    ),
    "dolly": Public(
        "15,000 instructions with answers by people, of 8 kinds", "CC BY-SA 3.0",
        "https://huggingface.co/datasets/databricks/databricks-dolly-15k", 13,
        {"databricks-dolly-15k.jsonl": f"{HUB}databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl"},
        readers.dolly,
    ),
    "cifar10": Public(
        "60,000 photos of 32 x 32 pixels, ten classes", "none is stated; see its page",
        "https://huggingface.co/datasets/uoft-cs/cifar10", 144,
        {f"{split}.parquet": f"{HUB}uoft-cs/cifar10/resolve/main/plain_text/{split}-00000-of-00001.parquet"
         for split in ("train", "test")}, readers.cifar10,
    ),
    "oxford-pets": Public(
        "7,349 photos of cats and dogs of 37 breeds", "CC BY-SA 4.0",
        "https://www.robots.ox.ac.uk/~vgg/data/pets", 811,
        {f"{part}.tar.gz": f"https://thor.robots.ox.ac.uk/pets/{part}.tar.gz" for part in ("images", "annotations")},
        readers.pets,
    ),
    "penn-fudan": Public(
        "170 street photos with 345 pedestrians in boxes", "for research; see its page",
        "https://www.cis.upenn.edu/~jshi/ped_html", 54,
        {"PennFudanPed.zip": "https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip"}, readers.penn_fudan,
    ),
}  # fmt: skip
