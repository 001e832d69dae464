"""``python -m sftlab.lab``: JupyterLab on the chapter list, without its questions about news and updates."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Defaults of this environment, in the place that JupyterLab has for them; a reader's own settings still win.
DEFAULTS = {
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def main() -> int:
    """Start JupyterLab on notebooks/README.md; further arguments are passed on to it."""
    settings = Path(sys.prefix) / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(DEFAULTS, indent=2), encoding="utf-8")
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.default_url=/lab/tree/notebooks/README.md", *sys.argv[1:],
    ]  # fmt: skip
    if os.name == "posix":
        os.execv(sys.executable, command)  # become JupyterLab: signals reach it, nothing is left behind
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
