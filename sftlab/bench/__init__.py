"""Measurements that anyone can repeat: ``sftlab bench loop`` and ``sftlab bench headlines``."""

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
