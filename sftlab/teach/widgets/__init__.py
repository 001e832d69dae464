"""Things to move: widgets that compute in the browser, so that they live in JupyterLab, VS Code and the static book.

The mathematics of each stands twice: in JavaScript (``static/NAME.js``, what the reader moves) and in Python (what the
tests compare with torch). The names for chapters are ``sl.logits_explorer``, ``sl.loss_surface`` and so on.
"""
