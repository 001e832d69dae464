"""The loss of every step of every ``sl.fit`` in chapters: a script for ``sftlab launch``, and for one process."""

import functools
import json
import sys
from pathlib import Path

import cells
import hub
import pytest

import sftlab as sl
from sftlab.train import processes


def losses(names: list[str], cache: Path) -> dict:
    """{chapter: losses of each run}; full profile, the hub's models in ``cache``, no dropout in the heads."""
    found = {name: [] for name in names}
    fit, load = sl.fit, sl.load

    def recorded(*args, **settings):
        run = fit(*args, **settings)
        found[name].append([step["loss"] for step in run.steps])
        return run

    for name in names:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sl, "fit", recorded)
            patch.setattr(sl, "load", functools.partial(load, dropout=0.0))
            hub.use(patch, cache)
            cells.run(name, patch)
    return found


if __name__ == "__main__":
    cache, path, *names = sys.argv[1:]
    made = losses(names, Path(cache))
    if processes.rank() == 0:
        Path(path).write_text(json.dumps(made))
