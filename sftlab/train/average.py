"""Placeholder until merged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Average:
    kind: str = "ema"


class Averager:
    pass
