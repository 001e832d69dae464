"""Run the code cells of a chapter in one namespace, with other models or other data, small: a smoke run.

A chapter needs no code for it, but its claims on accuracy must hold only where they were measured. Pattern: the set-up
cell says ``elsewhere = env.profile != "tiny"`` (another model), a claim is ``assert gap > 0.1 or elsewhere``, and the
cell that takes own data says ``elsewhere = True``. Whatever must hold for every model and data (equal, finite, frozen)
is asserted without it.
"""

import contextlib
import dataclasses
import io

from sftlab.sets import catalog
from sftlab.teach import chapters
from sftlab.train import fit as engine

EXAMPLES = 24  # of each split
EPOCHS = 3  # at most; enough for cells that compare a few steps by hand with sl.fit


def run(name, monkeypatch, replace=None, until=None) -> dict:
    """The namespace after all code cells of the text form of ``name``, exercises and quizzes left out.

    Args:
        name: such as ``"14_text_classification"``.
        monkeypatch: of pytest; the library is small from here to the end of the test: three epochs at most for each
            stage of a plan, few examples of each split of a task of the course, every class among them.
        replace: ``{marker: source}``: the one cell that contains the marker becomes the source.
        until: a marker of the first cell that is left out, with all that follow.

    Raises:
        AssertionError: a marker is not in exactly one cell, or a cell failed; the message shows the cell.
    """
    small(monkeypatch)
    monkeypatch.chdir(chapters.NOTEBOOKS)
    cells = [cell for cell in chapters.read(name).cells if cell.cell_type == "code"]
    sources = [cell.source for cell in cells]
    for marker, source in (replace or {}).items():
        (at,) = [i for i, text in enumerate(sources) if marker in text] or [None]
        assert at is not None, f"{name}: no cell contains {marker!r}"
        sources[at] = source
    end = len(sources) if until is None else next((i for i, text in enumerate(sources) if until in text), None)
    assert end is not None, f"{name}: no cell contains {until!r}"
    space = {"__name__": "__main__"}
    for number, (cell, source) in enumerate(zip(cells[:end], sources[:end], strict=True)):
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags or "sl.check(" in source or "sl.quiz(" in source:
            continue
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, f"{name}, code cell {number + 1}", "exec"), space)
        except Exception as error:
            if "raises-exception" not in tags:
                raise AssertionError(f"{name}, code cell {number + 1}: {error!r} in\n{source}") from error
    return space


def small(monkeypatch) -> None:
    """Three epochs at most for each stage of every plan; few examples in every task of the course."""
    training = engine.Training

    def short(model, task, settings, *args):
        stages = tuple(dataclasses.replace(stage, epochs=min(stage.epochs, EPOCHS)) for stage in settings.plan.stages)
        plan = dataclasses.replace(settings.plan, stages=stages)
        return training(model, task, dataclasses.replace(settings, plan=plan), *args)

    monkeypatch.setattr(engine, "Training", short)
    makers = {name: (lambda make=make: sliced(make(), EXAMPLES)) for name, make in catalog.TASKS.items()}
    monkeypatch.setattr(catalog, "TASKS", makers)


def sliced(task, count: int):
    """The task with ``count`` examples of each split, all classes alike often as far as they go."""
    for split, rows in task.splits.items():
        seen: dict = {}
        rank = []
        for row in rows:
            label = str(row.get(task.label_column)) if task.label_names else ""
            rank.append(seen.get(label, 0))
            seen[label] = rank[-1] + 1
        order = sorted(range(len(rows)), key=lambda i: rank[i])
        task.splits[split] = [rows[i] for i in order[:count]]
    return task
