"""The learning-curve reader: six real curves to diagnose, every answer explained. The twin of curves.js."""

import json

import traitlets

from .base import STATIC, Widget, picture, script, style

# In the order of the choices; the order in which the runs are shown is another one, below.
DIAGNOSES = {
    "good": {
        "name": "healthy",
        "sign": "both losses fall and level out close together, the held-out one above the noise floor.",
        "seen": "Both losses fall and level out close together, and neither gets below what the noise allows.",
        "hint": "both curves fall smoothly and stay together.",
        "remedy": "Stop where the held-out loss is flat; more epochs bring nothing.",
    },
    "underfit": {
        "name": "underfitting",
        "sign": "both losses level out early, high, and next to each other: the model cannot express the rule.",
        "seen": "Both losses level out at once, next to each other, far above what other runs on these data reach.",
        "hint": "both curves are flat and high, and there is no gap between them.",
        "remedy": "Take a model that can express the rule (here: a hidden layer); more data would not help.",
    },
    "overfit": {
        "name": "overfitting",
        "sign": "the training loss keeps falling while the held-out loss turns and rises.",
        "seen": "The training loss goes on falling while the held-out loss turns around early and rises.",
        "hint": "the two curves part, and one of them turns around.",
        "remedy": "More data, early stopping at the turn, regularisation, or fewer trained layers.",
    },
    "rate": {
        "name": "learning rate too large",
        "sign": "the training loss itself jumps up and down and stays high.",
        "seen": "The training loss itself wobbles and stays high, and the held-out loss jumps with the weights.",
        "hint": "the training curve itself is not smooth, although it is a mean over 3,000 examples.",
        "remedy": "Lower the rate, by a factor of three to ten at first; a warm-up helps as well.",
    },
    "leak": {
        "name": "a leak: too good to be true",
        "sign": "both losses fall far below what the label noise allows.",
        "seen": "A tenth of the labels is wrong by chance: no honest model gets below about 0.33 nats. This one "
        "reaches 0.",
        "hint": "compare the held-out loss with the noise floor that is stated below the picture.",
        "remedy": "Look for the label among the inputs (here it was one), and for examples that stand in both sets.",
    },
    "noisy": {
        "name": "too few held-out examples",
        "sign": "the training loss is smooth, and only the held-out loss jumps from epoch to epoch.",
        "seen": "The training loss is smooth, so the weights are fine; only the measurement jumps. "
        "It is taken on 25 examples, drawn anew in each epoch.",
        "hint": "one of the curves is perfectly smooth.",
        "remedy": "Measure on more held-out examples, the same in every epoch; choose no epoch by this curve.",
    },
}  # fmt: skip
ORDER = ("overfit", "noisy", "good", "leak", "underfit", "rate")
ABOUT = (
    "Two classes, 40 epochs, a small network, really trained. A tenth of the labels is wrong by chance, on both sides: "
    "the loss of a perfect model is 0.33 nats."
)


def explain(truth: str, choice: str) -> tuple[bool, str]:
    """Whether a diagnosis is right, and why; the Python twin of ``explain`` in curves.js.

    >>> explain("overfit", "overfit")[0], explain("overfit", "good")[0]
    (True, False)
    """
    right = DIAGNOSES[truth]
    if choice == truth:
        return True, f"{right['seen']} {right['remedy']}"
    sign = DIAGNOSES[choice]["sign"]
    return False, f"With this diagnosis you would see something else: {sign} Look again: {right['hint']}"


def curves() -> dict[str, dict[str, list[float]]]:
    """The stored curves, by diagnosis: ``train`` and ``val``, one loss an epoch; see ``curve_runs.py``.

    >>> len(curves()["overfit"]["val"])
    40
    """
    return json.loads((STATIC / "curves.json").read_text(encoding="utf-8"))


class CurveReader(Widget):
    """The widget of :func:`curve_reader`; ``answers`` are the reader's, ``done`` is True when all six are right."""

    _esm = script("curves")
    _css = style("curves")
    runs = traitlets.List().tag(sync=True)
    diagnoses = traitlets.List().tag(sync=True)
    about = traitlets.Unicode().tag(sync=True)
    answers = traitlets.Dict().tag(sync=True)
    done = traitlets.Bool(False).tag(sync=True)

    def static(self) -> str:
        """The six curves in one picture, and the diagnoses in a folded list."""
        import matplotlib.pyplot as plt

        from ...study.plots import STYLE

        with plt.style.context(STYLE):
            figure, places = plt.subplots(2, 3, figsize=(8.4, 4.4), layout="constrained", sharex=True)
        for letter, run, ax in zip("ABCDEF", self.runs, places.flat, strict=True):
            epochs = range(1, len(run["train"]) + 1)
            ax.plot(epochs, run["train"], marker="o", markevery=(0, 8), label="training")
            ax.plot(epochs, run["val"], "--", marker="^", markevery=(4, 8), label="held-out")
            ax.set(title=f"run {letter}", ylim=(0, None))
        places[0][0].legend(fontsize=8)
        figure.supxlabel("epoch", fontsize=10)
        figure.supylabel("loss in nats", fontsize=10)
        ends = "; ".join(
            f"{letter} {run['train'][-1]:.2f} and {run['val'][-1]:.2f}"
            for letter, run in zip("ABCDEF", self.runs, strict=True)
        )
        alt = f"Six pairs of learning curves over 40 epochs. Training and held-out loss in the last epoch: {ends}."
        solved = "".join(
            f"<li><b>{letter}: {DIAGNOSES[run['key']]['name']}.</b> {explain(run['key'], run['key'])[1]}</li>"
            for letter, run in zip("ABCDEF", self.runs, strict=True)
        )
        return (
            f"{picture(figure, alt)}<p>{ABOUT}</p><details><summary>What each of them shows</summary>"
            f"<ul>{solved}</ul></details>"
        )


def curve_reader() -> CurveReader:
    """Six learning curves of real runs; the reader chooses a diagnosis for each and gets an explanation.

    >>> reader = curve_reader()
    >>> [run["key"] for run in reader.runs][:2], reader.done
    (['overfit', 'noisy'], False)
    """
    stored = curves()
    return CurveReader(
        runs=[{"key": key, **stored[key]} for key in ORDER],
        diagnoses=[{"key": key, **texts} for key, texts in DIAGNOSES.items()],
        about=ABOUT,
    )
