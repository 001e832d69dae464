"""Measurements that anyone can repeat: ``sftlab bench`` with loop, headlines, transfer, peers, best or exact."""

import json
import platform
from dataclasses import dataclass
from pathlib import Path

from ..table import Table


@dataclass
class Measured:
    """Figures with the versions and the hardware they were measured on."""

    name: str
    table: Table
    figures: dict

    def __str__(self) -> str:
        return f"{self.table}\n{describe_machine()}"

    def write(self, folder: str) -> None:
        """Write NAME.json and NAME.md (a table for the book) into ``folder``."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        figures = {**self.figures, "machine": describe_machine()}
        (place / f"{self.name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        head = "| " + " | ".join(self.table.columns) + " |\n|" + " --- |" * len(self.table.columns)
        body = "\n".join("| " + " | ".join(row) + " |" for row in self.table.rows)
        text = f"{head}\n{body}\n\n{self.table.note}. Measured on {describe_machine()}.\n"
        (place / f"{self.name}.md").write_text(text, encoding="utf-8")


def describe_machine() -> str:
    """Processor, threads and versions, in one line."""
    from importlib.metadata import version

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    capability = torch.backends.cpu.get_cpu_capability()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    python = f"Python {platform.python_version()}"
    return f"{platform.system()} {platform.machine()}, {device}, {capability}, {python}, {libraries}"


def loop(rounds: int = 5) -> Measured:
    """Overhead of ``fit`` over the same loop written by hand, see :mod:`sftlab.bench.overhead`."""
    from .overhead import measure

    return measure(rounds)


def headlines(seeds: int = 5) -> Measured:
    """Zero-shot, head only and full fine-tuning on the headlines over seeds, see :mod:`sftlab.bench.quality`."""
    from .quality import measure

    return measure(seeds)


def transfer(draws: int = 5) -> Measured:
    """Few labels of real pictures: glyphnet fine-tuned against scratch, see :mod:`sftlab.bench.few_labels`."""
    from .few_labels import measure

    return measure(draws)


def peers(rounds: int = 5, quick: bool = False):
    """The same training by hand, in sftlab and in four libraries, see :mod:`sftlab.bench.contest`."""
    from dataclasses import asdict

    from . import contest, report
    from .workloads import workloads

    _begin()
    tables, figures = [], {}
    for work in workloads(quick):
        found = contest.compare(work, rounds, repeats=1 if quick else min(rounds, 3), quick=quick)
        figures[work.name] = {name: asdict(result) for name, result in found.items()}
        tables.append(_seen(contest.table(work, found)))
    tables[-1].note += f" Medians of {rounds} interleaved rounds after one that warms up."
    return report.Part("peers", tables, figures)


def best(rounds: int = 3, quick: bool = False):
    """Whole runs with a frozen trunk, each library at its best, see :mod:`sftlab.bench.whole`."""
    from dataclasses import asdict

    from . import report, whole
    from .workloads import whole_runs

    _begin()
    tables, figures = [], {}
    for work, small in zip(whole_runs(quick), whole_runs(quick=True), strict=True):
        whole.warm_up(small)
        found = whole.race(work, rounds, quick)
        figures[work.name] = {name: asdict(result) for name, result in found.items()}
        tables.append(_seen(whole.table(work, found)))
    tables[-1].note = f"Medians of {rounds} interleaved rounds; the accuracy is their mean."
    return report.Part("best", tables, figures)


def exact(rounds: int = 1, quick: bool = False):
    """The failures of trainers put to every library, see :mod:`sftlab.bench.exactness`; nothing is timed."""
    from . import report
    from .exactness import measure

    _begin()
    found = measure()
    return report.Part("exact", [found], {})


def _begin() -> None:
    """Seed 0; float32 on a CPU, where libraries are compared and not precisions."""
    import torch

    from .. import env

    env.start(seed=0, precision=None if torch.cuda.is_available() else "float32")


def _seen(table: Table) -> Table:
    """Show a table as soon as it is there: the whole takes its time."""
    print(table, flush=True)
    return table
