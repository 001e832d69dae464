"""A page that hosts widgets as the book does: stored state, static form, widget-host.js, nothing else."""

import json
import shutil
from pathlib import Path

from ipywidgets.embed import embed_data

BOOK = Path(__file__).parents[1] / "book" / "_static"
VIEW = "application/vnd.jupyter.widget-view+json"


def body(widget) -> str:
    """What MyST-NB and KeepStaticForm of book/conf.py make of a widget's output."""
    data, _ = widget._repr_mimebundle_()
    return (
        f'<div class="cell_output docutils container"><div class="widget-static docutils container">'
        f'<div class="output text_html">{data["text/html"]}</div></div>'
        f'<script type="{VIEW}">{json.dumps(data[VIEW])}</script></div>'
    )


def write(folder: Path, name: str, widgets: list, head: str = "") -> Path:
    """Write the page and what it needs into a folder; gives the page's path."""
    for file in ("widget-host.js", "sftlab.css"):
        shutil.copy(BOOK / file, folder)
    stored = embed_data(views=widgets, drop_defaults=False)["manager_state"]
    state = json.dumps(stored, sort_keys=True).replace("</", r"<\/")  # nbformat sorts the keys of dictionaries
    page = folder / name
    page.write_text(
        f"""<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Widgets</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="sftlab.css"><script defer src="widget-host.js"></script>{head}
<style>body {{ margin: 0; padding: 16px; }} html[data-theme=dark] body {{ background: #121212; color: #eee; }}</style>
</head><body><main class="bd-article"><h1>Widgets</h1>{"".join(map(body, widgets))}</main>
<script type="application/vnd.jupyter.widget-state+json">{state}</script></body></html>""",
        encoding="utf-8",
    )
    return page
