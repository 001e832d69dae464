"""Shared by all tests: no network, nothing that moves in outputs, a fresh environment before each test."""

import os
import runpy
import sys
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parent / "offline"

# At import, before any test module: children (kernels, the command line) inherit these.
runpy.run_path(str(OFFLINE / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
os.environ.update({"SFTLAB_QUIET": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "MPLBACKEND": "Agg"})
for name in ("http_proxy", "https_proxy", "all_proxy"):  # a proxy on loopback would be a way out
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
sys.path.insert(0, str(Path(__file__).parent))  # `import nets`, whatever pytest's import mode


@pytest.fixture(autouse=True)
def env(monkeypatch, request):
    """Every test starts from seed 0 on the CPU in float32, and leaves the variables as it found them."""
    import torch

    import sftlab as sl

    if "slow" not in request.keywords:  # tiny nets: a second thread costs more than it brings, a busy machine tenfold
        torch.set_num_threads(1)
    for name in ("SFTLAB_DEVICE", "SFTLAB_PRECISION", "SFTLAB_PROFILE"):
        monkeypatch.setenv(name, "")  # recorded, so that what sl.start sets is undone as well
        monkeypatch.delenv(name)
    return sl.start(seed=0, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; its modules call ``need_browser`` first."""
    from browser import started

    with started() as chromium:
        yield chromium
