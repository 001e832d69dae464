"""The test command of the README: every check in order, stopping at the first that fails.

python tests/run.py            everything
python tests/run.py --fast     without notebooks, book and the slow tests
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Nothing that moves in outputs, no hub, and no connection that leaves this machine from any Python process. glibc keeps
# large blocks instead of giving them back after each step: full fine-tuning of MiniLM ran 10 % faster (5.3 s -> 4.8 s,
# 24 runs each, two at a time, on two cores).
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    **os.environ,
    "SFTLAB_QUIET": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONUTF8": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "tests" / "offline"), os.environ.get("PYTHONPATH")])),
}


def main() -> None:
    """Run the steps."""
    fast = "--fast" in sys.argv[1:]
    pytest = ["-m", "pytest", "-q"]
    # A file's tests share what is slow to make, and count what is left over: one worker for each file. Not by marks
    # (loadgroup): xdist 3.8 writes these into a name that pytest 9.2 no longer reads, and nothing says so.
    two = ["-n", "2", "--dist", "loadfile"]
    steps = {
        "style": ["-m", "ruff", "check", "."],
        "format": ["-m", "ruff", "format", "--check", "sftlab", "tests", "data", "book"],
        "book": ["book/build.py"],
        "unit, property and browser tests": [*pytest, "tests", "-m", "not slow", *two],
        "slow tests": [*pytest, "tests", "-m", "slow"],  # fine-tuning of the real checkpoint: alone, with all threads
        "notebooks": [
            *pytest, *two, "--nbval", "--nbval-current-env", "--nbval-cell-timeout=180",
            "--nbval-sanitize-with", "tests/sanitize.cfg", "notebooks",
        ],
    }  # fmt: skip
    if fast:
        steps = {name: step for name, step in steps.items() if name in ("style", "format")}
        steps["unit and property tests"] = [*pytest, "tests", "-m", "not slow", *two]
    for name, step in steps.items():
        print(f"\n== {name}: python {' '.join(step)}", flush=True)
        began = time.perf_counter()
        # The book is built by npm's packages: fetching those is installation, not a test.
        environment = os.environ if name == "book" else ENVIRONMENT
        if "-n" in step:  # two at a time, a thread each: the models are too small to share out a product
            environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
        if code := subprocess.run([sys.executable, *step], cwd=ROOT, env=environment).returncode:
            sys.exit(f"\n{name} failed (exit status {code})")
        print(f"   {name}: {time.perf_counter() - began:.0f} s", flush=True)
    print("\nall checks passed")


if __name__ == "__main__":
    main()
