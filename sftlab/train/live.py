"""What a reader sees while a run works: the groups, a progress bar, and in a notebook a growing curve."""

import os
import sys
import time

CURVE_EVERY = 2.0  # seconds


def quiet() -> bool:
    """True when nothing that moves may be shown: stored notebooks and CI set ``SFTLAB_QUIET=1``."""
    return os.environ.get("SFTLAB_QUIET", "") not in ("", "0")


def in_notebook() -> bool:
    """True inside a Jupyter kernel."""
    return "ipykernel" in sys.modules and hasattr(sys.modules.get("builtins"), "get_ipython")


class Live:
    """Context manager around a run's display; every method is cheap and none can end the run."""

    def __init__(self, run, steps: int, show: bool | str):
        self.run, self.steps, self.text = run, steps, show is True
        self.moving = bool(show) and not quiet() and (in_notebook() or sys.stderr.isatty())
        self.bar = self.curve = None
        self.drawn = 0.0

    def __enter__(self) -> "Live":
        if self.moving:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.steps, initial=self.run.step, desc=self.run.plan.name, unit="step", leave=False)
        return self

    def __exit__(self, *exc) -> None:
        for line in self.run.notes if self.text else []:
            print(line)
        if self.bar is not None:
            self.bar.close()
        if self.curve is not None:
            self.curve.update({"text/plain": ""}, raw=True)  # the caller decides what stays: run.plot()

    def stage(self, number: int, applied) -> None:
        """Show the parameter groups of a stage before its first step (P29)."""
        if self.text:
            stages = self.run.plan.stages
            which = f", stage {number + 1} of {len(stages)}" if len(stages) > 1 else ""
            table = applied.table()
            table.caption = f"{self.run.plan.name}{which}: {stages[number].epochs} epochs"
            print(table)

    def step(self) -> None:
        """One optimizer step is done."""
        if self.bar is not None:
            self.bar.update()
            if self.run.steps and self.run.step % 5 == 0:
                self.bar.set_postfix_str(f"loss {self.run.steps[-1]['loss']:.3f}", refresh=False)

    def evaluation(self) -> None:
        """New held-out results: draw the curve again, not more often than every two seconds."""
        if not self.moving or not in_notebook() or time.monotonic() - self.drawn < CURVE_EVERY:
            return
        from IPython.display import display

        figure = self.run.plot()
        if self.curve is None:
            self.curve = display(figure, display_id=True)
        else:
            self.curve.update(figure)
        self.drawn = time.monotonic()
