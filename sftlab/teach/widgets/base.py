"""What all widgets share: one script and one style each, and a static form for places where no script runs."""

from pathlib import Path

from ...errors import SftlabError

try:
    import anywidget
except ImportError:
    raise SftlabError('the widgets need anywidget: pip install -e ".[lab]"') from None

STATIC = Path(__file__).parent / "static"


def script(*names: str) -> str:
    """The JavaScript of a widget: the shared helpers and the named files, joined, because a widget has one file.

    >>> "function slider" in script("logits")
    True
    """
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("base", *names))


def style(*names: str) -> str:
    """The CSS of a widget: the shared part and the named files, joined.

    >>> style().startswith("/*")
    True
    """
    return "\n".join((STATIC / f"{name}.css").read_text(encoding="utf-8") for name in ("base", *names))


class Widget(anywidget.AnyWidget):
    """A widget that computes in the browser and has a static form.

    A subclass sets ``_esm`` and ``_css`` by :func:`script` and :func:`style` and writes :meth:`static`. The static
    form travels in the same output as the widget: GitHub, a printed page and a browser without JavaScript show it.

    >>> class Empty(Widget):
    ...     _esm = script() + "export default { render() {} };"
    ...     def static(self):
    ...         return "<p>nothing</p>"
    >>> Empty()._repr_mimebundle_()[0]["text/html"]
    '<p>nothing</p>'
    """

    def static(self) -> str:
        """The static form as HTML; a picture in it has alternative text."""
        raise NotImplementedError(f"{type(self).__name__} has no static form")

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/html": self.static(), "text/plain": f"[widget: {type(self).__name__}]"}, metadata


def picture(figure, alt: str) -> str:
    """A matplotlib figure as HTML with alternative text.

    Raises:
        ValueError: ``alt`` is too short to say anything.

    >>> picture(figure, "A straight line that rises from zero to one.")     # doctest: +SKIP
    """
    from ...study.plots import show

    return show(figure, alt)._repr_mimebundle_()["text/html"]
