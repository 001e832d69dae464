"""One file from the web: with a bar, resumed after a break, checked, and visible only when it is whole."""

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock, Timeout

from .. import assets
from ..errors import AssetError, disk_error

TRIES = 4  # a connection that breaks is taken up where it broke
WAIT = 30  # seconds without a byte


def download(url: str, target: str | os.PathLike, sha256: str) -> Path:
    """Fetch ``url`` into ``target``, unless it is there.

    What has arrived stays in ``target.part`` when the connection breaks, the process dies or Ctrl-C comes; the next
    call goes on from there, if the server still has the same file (its ETag says so). The digest is taken of the whole
    file before it gets its name: a reader sees nothing or everything. Of two processes the second waits.

    Args:
        url: ``https://``, or ``file://`` for a mirror on disk.
        target: where the file goes; its folder is made.
        sha256: of the file, or its first digits (torchvision writes eight of them into the name).

    Raises:
        AssetError: no connection, the server refuses, the disk is full or read-only, or the digest is another.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "mirror.txt").write_text("hello")
    >>> download((folder / "mirror.txt").as_uri(), folder / "here.txt", sha256="2cf24dba").read_text()
    'hello'
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(part.with_name(part.name + ".lock"), timeout=3600):
            if not target.is_file():
                _fetch(url, part)
                _check(part, url, sha256)
                os.replace(part, target)
                part.with_name(part.name + ".json").unlink(missing_ok=True)
            return target
    except Timeout:
        raise AssetError(f"another process has been fetching {target} for an hour: {part}.lock. Stop it.") from None
    except OSError as error:
        raise disk_error(target.parent, error) from error


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set, as the hub's own client reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def only_in_full(what: str, otherwise: str = "") -> None:
    """Refuse a download in the tiny profile.

    Args:
        what: is asked for, with its verb: "'a/b' is a model of the Hugging Face hub".
        otherwise: another way, in words.

    Raises:
        AssetError: the profile is tiny.
    """
    if os.environ.get("SFTLAB_PROFILE") != "full":
        raise AssetError(
            f"{what}, and the profile is tiny, which downloads nothing. Ask for the full profile: SFTLAB_PROFILE=full, "
            f'or sl.start(profile="full"){otherwise}.'
        )


def _fetch(url: str, part: Path) -> None:
    """Bring ``part`` to the whole length of the file; try again from where it broke."""
    if offline() and not url.startswith("file:"):
        raise AssetError(f"{url} is not in the cache, and HF_HUB_OFFLINE is set: nothing is downloaded.")
    for attempt in range(TRIES):
        try:
            return _rest(url, part)
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == TRIES - 1:
                raise AssetError(f"{url}: the server answers {error.code} {error.reason}. {_remedy()}") from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            if attempt == TRIES - 1:
                why = getattr(error, "reason", error)
                have = f" {part.stat().st_size:,} bytes have arrived and are kept." if part.is_file() else ""
                raise AssetError(
                    f"{url} could not be fetched ({type(error).__name__}: {why}).{have} {_remedy()}"
                ) from error
        time.sleep(0.2 * 4**attempt)


def _rest(url: str, part: Path) -> None:
    """Ask for what is missing, and append it; a server that sends all, or another file, begins anew."""
    from tqdm.auto import tqdm

    about = part.with_name(part.name + ".json")
    have, known = _left(part, about)
    if have and have == known["size"]:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "sftlab"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known["etag"])
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        have = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        quiet = os.environ.get("SFTLAB_QUIET") == "1" or not (total and total > 2**20)
        name = Path(urllib.parse.urlparse(url).path).name
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=quiet, file=sys.stdout)
        with open(part, "ab" if have else "wb") as file, bar:
            about.write_text(json.dumps({"url": url, "etag": answer.headers.get("ETag"), "size": total}))
            while block := answer.read(2**20):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"it ended after {part.stat().st_size:,} of {total:,} bytes")


def _left(part: Path, about: Path) -> tuple[int, dict]:
    """How many bytes of an earlier try can be used: only those of a file whose ETag and size are known."""
    try:
        known = json.loads(about.read_text(encoding="utf-8"))
        have, etag, size = part.stat().st_size, known["etag"], known["size"]
    except (OSError, ValueError, KeyError):
        return 0, {}
    usable = etag and size and not etag.startswith("W/") and have <= size  # W/: equal in meaning, not in bytes
    return (have, known) if usable else (0, {})


def _check(part: Path, url: str, expected: str) -> None:
    found = assets.sha256(part)
    if not found.startswith(expected):
        size = part.stat().st_size
        part.unlink()
        raise AssetError(
            f"{url}: what arrived is not the file that was asked for ({size:,} bytes), and was deleted.\n"
            f"  expected sha256 {expected}\n  found    sha256 {found}\n"
            "A proxy or a log-in page in between, or a mirror with another version? Open the address in a browser."
        )


def _remedy() -> str:
    return "Check the connection (HTTPS_PROXY counts), or stay in the tiny profile, which downloads nothing."
