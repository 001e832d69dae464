"""Who takes part, what each needs, and how many lines its user writes (counted from the source, see contestants.py)."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

from . import contestants, settings
from .contestants import factor, freeze, groups, trunk_in_eval
from .workloads import Work

TAGS = ("bench", "frozen", "careful")


@dataclass(frozen=True)
class Contestant:
    """One way to train.

    Attributes:
        train: ``train(model, task, feed, work, careful)``.
        needs: packages without which it cannot run.
        careful: the variant that keeps a frozen part in eval mode by hand.
    """

    name: str
    train: Callable
    needs: tuple[str, ...] = ()
    careful: bool = False

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]

    def lines(self, work: Work) -> int:
        """Lines that the user writes for a workload, with the helpers that those lines call."""
        return user_lines(self.train, frozen=work.frozen, careful=self.careful)


def user_lines(train: Callable, frozen: bool, careful: bool) -> int:
    """Lines of user code of a training function, and of each helper that they call."""
    own = marked(inspect.getsource(train), {"frozen": frozen, "careful": careful})
    helpers = (groups, factor, freeze, trunk_in_eval)
    called = [helper for helper in helpers if any(f"{helper.__name__}(" in line for line in own)]
    return len(own) + sum(len(code(inspect.getsource(helper))) for helper in called)


def marked(source: str, wanted: dict[str, bool]) -> list[str]:
    """The lines of code between ``# user code`` and ``# end``; a line with a tag only if the tag is wanted.

    >>> marked("a\\n# user code\\nb\\n\\n# why\\nc  # frozen\\nd  # bench: ours\\n# end\\ne", {"frozen": False})
    ['b']
    """
    inside, found = False, []
    for line in source.splitlines():
        if line.strip() in ("# user code", "# end"):
            inside = line.strip() == "# user code"
        elif inside and all(wanted.get(tag, False) for tag in TAGS if f"  # {tag}" in line):
            found.append(line)
    return code("\n".join(found))


def code(source: str) -> list[str]:
    """Lines that are neither empty nor a comment nor a docstring of one line.

    >>> code('def f():\\n    \"\"\"Says what.\"\"\"\\n    # why\\n\\n    return 1')
    ['def f():', '    return 1']
    """
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))]


HF = ("transformers", "accelerate")
CONTESTANTS = [
    Contestant("by hand", contestants.by_hand),
    Contestant("sftlab", contestants.with_sftlab),
    Contestant("HF Trainer", contestants.with_hf, HF),
    Contestant("HF Trainer, trunk in eval by hand", contestants.with_hf, HF, careful=True),
    Contestant("Lightning", contestants.with_lightning, ("lightning",)),
    Contestant("fastai", contestants.with_fastai, ("fastai",)),
    Contestant("fastai, BnFreeze", contestants.with_fastai, ("fastai",), careful=True),
    Contestant("accelerate", contestants.with_accelerate, ("accelerate",)),
    Contestant("accelerate, trunk in eval by hand", contestants.with_accelerate, ("accelerate",), careful=True),
]


def contestants_of(work: Work) -> list[Contestant]:
    """All who take part in a workload: the careful variants only where something is frozen."""
    return [one for one in CONTESTANTS if work.norms or not one.careful]


def at_their_best(work: Work) -> list[Contestant]:
    """The same libraries, each as its users run it at its best; the Trainer on texts also with its default order."""
    own = {contestants.with_sftlab: settings.with_cache, contestants.with_hf: settings.with_hf_loader}
    there = [replace(one, train=own.get(one.train, one.train)) for one in contestants_of(work)]
    if not work.norms:  # texts, whose lengths differ
        at = [one.name for one in there].index("HF Trainer") + 1
        there.insert(at, Contestant("HF Trainer, default order", settings.with_hf_default, HF))
    return there
