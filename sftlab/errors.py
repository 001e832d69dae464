"""Every error that sftlab raises on purpose: what is wrong, where, and what to do."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class SftlabError(Exception):
    """Base class: ``except sl.errors.SftlabError`` catches what the library raises on purpose."""


class UnknownName(SftlabError, ValueError):
    """A task, model, plan, metric, split or label that does not exist; the message lists the nearest names."""


class BadData(SftlabError, ValueError):
    """Examples that cannot be trained on; the message lists the first problems with their index."""


class AssetError(SftlabError, RuntimeError):
    """A data set or checkpoint is missing, truncated or altered; the message names file, digests and remedy."""


class MissingWeights(SftlabError, RuntimeError):
    """A checkpoint lacks weights of the pretrained trunk: part of the model would be random (PITFALLS P14)."""


class DeviceMissing(SftlabError, RuntimeError):
    """A device was asked for by name and is not there."""


class NonFiniteLoss(SftlabError, ArithmeticError):
    """The loss or the gradient is NaN or infinite; the message names step, samples and likely causes (P4, P28)."""


class NoSupervision(SftlabError, ValueError):
    """No label is left to learn from: everything is masked (P11)."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownName:
    """Build the error for a name that is not known, with the nearest known names first.

    >>> print(unknown("model", "minlm", ["minilm", "glyphnet"]))
    unknown model 'minlm'. Did you mean 'minilm'? Known: glyphnet, minilm.
    """
    known = sorted(map(str, known))
    near = get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UnknownName(f"unknown {kind} {str(name)!r}.{hint} Known: {', '.join(known) or 'none'}.")


def few(names: Iterable, shown: int = 3) -> str:
    """The first names and how many more.

    >>> few("abcde"), few([])
    ('a, b, c and 2 more', 'none')
    """
    names = list(map(str, names))
    return (", ".join(names[:shown]) or "none") + (f" and {len(names) - shown} more" if len(names) > shown else "")


def bad_data(where: str, problems: list[str], shown: int = 10) -> BadData:
    """Build one error for all problems of a data set, so that a file is mended in one go."""
    more = f"\n  ... and {len(problems) - shown} more" if len(problems) > shown else ""
    listed = "\n  ".join(problems[:shown])
    return BadData(f"{where}: {len(problems)} problem{'s' * (len(problems) != 1)}\n  {listed}{more}")


def disk_error(root: Path, error: OSError) -> AssetError:
    """Build the error for a cache that could not be written: a full disk and a folder of others have their remedies.

    Args:
        root: the cache folder.
        error: what the operating system said.

    >>> print(disk_error(Path("sftlab"), PermissionError(errno.EACCES, "Permission denied")))
    the cache sftlab cannot be written ([Errno 13] Permission denied). Set SFTLAB_CACHE to a folder that you own.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"the disk under the cache {root} is full ({error}). Free some, or set SFTLAB_CACHE to another disk."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = f"the cache {root} cannot be written ({error}). Set SFTLAB_CACHE to a folder that you own."
    else:
        advice = f"the cache {root} could not be written: {error}. Set SFTLAB_CACHE to another folder."
    return AssetError(advice)
