"""One small table that reads well in a terminal, in a notebook and in the book."""

from collections.abc import Iterable, Sequence
from html import escape


class Table:
    """Rows of text under named columns.

    Args:
        columns: column names.
        rows: one sequence of cells per row; cells are shown with ``str``.
        caption: a line above the table.
        note: a line below the table.

    Raises:
        ValueError: a row has another number of cells than there are columns.

    >>> print(Table(["plan", "accuracy"], [["head only", 0.81], ["full", 0.9]]))
    plan       accuracy
    head only      0.81
    full            0.9
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence], caption: str = "", note: str = ""):
        self.columns = list(columns)
        self.rows = [[str(cell) for cell in row] for row in rows]
        self.caption, self.note = caption, note
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {i} has {len(row)} cells, the table has {len(self.columns)} columns")

    def _numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column].strip(" -")]
        return bool(cells) and all(c.lstrip("+-~")[:1].isdigit() for c in cells)

    def __str__(self) -> str:
        right = [self._numeric(i) for i in range(len(self.columns))]
        width = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]

        def line(cells):
            padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, width, right, strict=True)]
            return "  ".join(padded).rstrip()

        lines = [line(self.columns), *(line(row) for row in self.rows)]
        return "\n".join(([self.caption] if self.caption else []) + lines + ([self.note] if self.note else []))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        right = [self._numeric(i) for i in range(len(self.columns))]

        def cells(tag, row):
            # An inline style, because a notebook's own style sheet would win over a class.
            return "".join(
                f'<{tag} style="text-align:{"right" if r else "left"};white-space:normal">{escape(c)}</{tag}>'
                for c, r in zip(row, right, strict=True)
            )

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        caption = f'<caption style="text-align:left">{escape(self.caption)}</caption>' if self.caption else ""
        note = f"<p><small>{escape(self.note)}</small></p>" if self.note else ""
        head = f"<thead><tr>{cells('th', self.columns)}</tr></thead>"
        return f'<table class="sftlab-table">{caption}{head}<tbody>{body}</tbody></table>{note}'
