"""``sftlab bench exact``: the failures of trainers, put to every library."""

from importlib.util import find_spec

from ..table import Table
from . import probe_accelerate, probe_fastai, probe_hf, probe_lightning, probe_sftlab
from .contest import quiet
from .roster import HF

LIBRARIES = {
    "sftlab": (probe_sftlab, ()),
    "HF Trainer": (probe_hf, HF),
    "Lightning": (probe_lightning, ("lightning",)),
    "fastai": (probe_fastai, ("fastai",)),
    "accelerate": (probe_accelerate, ("accelerate",)),
}
PITFALLS = {
    "p01": "P1 gradient and logged loss: 1 batch of 8 = 4 of 2, equal rows of tokens",
    "p02": "P2 the same with rows of unequal length",
    "p02_causal": "P1, P2 the same for a causal language model",
    "p03": "P3 evaluation loss at batch size 1 / 2 / 7 / 16",
    "p04": "P4 a NaN in the third batch",
    "p05": "P5 statistics of a frozen BatchNorm stay",
    "p06": "P6 frozen norms are frozen, and compute in training what they compute in evaluation",
    "p18_plain": "P18 resume in mid-epoch, shuffled, no augmentation: the weights of the straight run",
    "p18": "P18 the same with random augmentation",
    "p19": "P19 patience goes on after resume",
    "p20": "P20 best of a metric, from its name or direction",
    "p27": "P27 what is frozen in mid-run does not move",
    "p28": "P28 one NaN gradient, with clipping",
    "p30": "P30 the last incomplete accumulation counts with its own count",
    "p35": "P35 a column of sample weights reaches the loss",
    "p37": "P37 no weight decay on norms, whatever their name",
}


def measure(libraries: dict | None = None, pitfalls=PITFALLS) -> Table:
    """The table: one row per failure, one column per library."""
    libraries = libraries or LIBRARIES
    rows = [[PITFALLS[name], *(cell(*library, name) for library in libraries.values())] for name in pitfalls]
    return Table(["failure", *libraries], rows)


def cell(module, needs: tuple[str, ...], name: str) -> str:
    """What a library does under one failure."""
    missing = [package for package in needs if find_spec(package) is None]
    if missing:
        return "not installed (extra bench)"
    probe = getattr(module, name)
    try:
        with quiet():
            return probe()
    except Exception as error:  # what a peer raises is its cell; sftlab's own probes must not fail
        if not needs:
            raise
        return f"raises {type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"
