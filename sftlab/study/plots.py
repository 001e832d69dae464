"""Figures that everyone can read: one palette, alternative text, the same look in every chapter."""

import base64
import io
from html import escape

from ..train.run import STYLE


class Picture:
    """A figure with its alternative text, as a notebook and the book show it.

    JupyterLab gives plain image outputs no alternative text, so the image goes into an ``<img>`` of its own.
    """

    def __init__(self, figure, alt: str):
        if len(alt.split()) < 5:
            raise ValueError(f"alt must say in a sentence what the figure shows; {alt!r} does not")
        with io.BytesIO() as out:
            # Without the metadata that names matplotlib's version the same figure gives the same bytes.
            figure.savefig(out, format="png", dpi=90, metadata={"Software": None})
            self.png = out.getvalue()
        self.alt = alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        image = base64.b64encode(self.png).decode()
        html = f'<img class="sftlab-figure" alt="{escape(self.alt)}" src="data:image/png;base64,{image}">'
        return {"text/html": html, "text/plain": f"[figure: {self.alt}]"}


def show(figure, alt: str) -> Picture:
    """Show a matplotlib figure with alternative text; the last line of a cell.

    Args:
        figure: a matplotlib figure.
        alt: one sentence that says what is to be seen, for those who do not see it.

    Raises:
        ValueError: ``alt`` is missing or too short to say anything.

    >>> show(run.plot(), alt="Loss falls from 1.1 to 0.3 in 75 steps.")     # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    picture = Picture(figure, alt)
    plt.close(figure)  # or the notebook shows it a second time, without the text
    return picture


def axes(columns: int = 1, width: float = 4.5, height: float = 3.2):
    """A figure and its axes in the course's style: ``figure, ax = axes()``, ``figure, (left, right) = axes(2)``.

    >>> figure, ax = axes()     # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    with plt.style.context(STYLE):
        return plt.subplots(1, columns, figsize=(width * columns, height), layout="constrained")
