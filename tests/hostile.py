"""What a class may hand in for the exercise 00-majority: name -> (cells or bytes, status, words of the message)."""

import json

RIGHT = """# exercise 00-majority
def majority_accuracy(train_labels, test_labels):
    most = max(set(train_labels), key=train_labels.count)
    return test_labels.count(most) / len(test_labels)
"""


def body(lines: str, before: str = "") -> str:
    """A cell of the exercise whose function has this body."""
    inside = "\n".join("    " + line for line in lines.splitlines())
    return f"# exercise 00-majority\n{before}\ndef majority_accuracy(train_labels, test_labels):\n{inside}\n"


def notebook(*cells: str, **metadata) -> bytes:
    cells = [{"cell_type": "code", "source": c.splitlines(True), "metadata": {}, "outputs": []} for c in cells]
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def old_notebook(*cells: str) -> bytes:
    """Format 3, of 2013."""
    cells = [{"cell_type": "code", "input": c, "outputs": [], "language": "python"} for c in cells]
    return json.dumps({"worksheets": [{"cells": cells}], "metadata": {"name": ""}, "nbformat": 3}).encode()


# Runs, and is right
HONEST = {
    "honest": ([RIGHT], "passed", ""),
    "old_format": (old_notebook(RIGHT), "passed", ""),
    "magics": (["%matplotlib inline\n!rm -rf /", "!ls\n" + RIGHT], "passed", ""),
    "mark_deleted": ([RIGHT.split("\n", 1)[1]], "passed", ""),
    "helper_in_another_cell": (
        ["SHARE = 1.0\ndef most(x):\n    return max(set(x), key=x.count)", "1 / 0", "while True: pass",
         body("return SHARE * test_labels.count(most(train_labels)) / len(test_labels)")], "passed", ""),
    "missing_package_elsewhere": (["import no_such_package", RIGHT], "passed", ""),
    "threads_go_on": (
        ["import threading, itertools", "# exercise 00-majority\nfor _ in range(3):\n"
         "    threading.Thread(target=lambda: [None for _ in itertools.count()], daemon=False).start()\n" + RIGHT],
        "passed", ""),
    "del_and_atexit": (
        ["# exercise 00-majority\nimport atexit, time\nclass Last:\n    def __del__(self):\n        time.sleep(1000)\n"
         "last = Last()\natexit.register(time.sleep, 1000)\n" + RIGHT], "passed", ""),
    "draws": (
        ["# exercise 00-majority\nimport matplotlib.pyplot as plt\nplt.figure()\nplt.plot([1, 2])\n" + RIGHT],
        "passed", ""),
    "twice": ([body("return 0.123"), RIGHT], "passed", "2 cells of this exercise"),
}  # fmt: skip

# Runs, and is wrong or does not come to an end
WRONG = {
    "stub": ([body("...")], "failed", "stub is still there"),
    "endless": ([body("while True:\n    pass")], "timed out", "longer than"),
    "endless_definition": (["# exercise 00-majority\nwhile True: pass\n" + RIGHT], "timed out", "longer than"),
    "sleep": ([body("import time\ntime.sleep(10**6)")], "timed out", "longer than"),
    "swallows_signals": (
        [body("import signal\nfor s in (1, 2, 10, 12, 13, 14, 15, 24):\n    signal.signal(s, signal.SIG_IGN)\n"
              "while True:\n    try:\n        pass\n    except BaseException:\n        pass")],
        "timed out", "longer than"),
    "endless_in_c": ([body("return sum(range(10**12))")], "timed out", "longer than"),
    "flood": ([body("while True:\n    print('x' * 100_000)")], "timed out", "longer than"),
    "exit": ([body("raise SystemExit(0)")], "failed", "SystemExit"),
    "hard_exit": ([body("import os\nos._exit(0)")], "failed", "ended the process (exit status 0)"),
    "crash": ([body("import ctypes\nctypes.string_at(0)")], "failed", "made Python crash (signal 11)"),
    "recursion": ([body("return majority_accuracy(train_labels, test_labels)")], "failed", "RecursionError"),
    "deep_c_recursion": (
        [body("import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**5):\n    x = [x]\nreturn repr(x)")],
        "failed", "made Python crash (signal 11)"),
    "allocation": ([body("return bytearray(10**13)")], "failed", "MemoryError"),
    "growing": ([body("x = []\nwhile True:\n    x.append(bytearray(10**8))")], "failed", "MemoryError"),
    "shared_memory": ([body("import mmap\nreturn mmap.mmap(-1, 64 << 30)")], "failed", "OSError"),
    "syntax": (["# exercise 00-majority\ndef majority_accuracy(a, b)\n    return 1"],
        "failed", "SyntaxError in line 2, "),
    "nul": (["# exercise 00-majority\ndef majority_accuracy(a, b): return '\x00'"], "failed", "null bytes"),
    "nested_source": (["# exercise 00-majority\nx = " + "(" * 10_000 + ")" * 10_000 + "\n" + RIGHT], "failed", ""),
    "renamed": (
        [RIGHT.replace("majority_accuracy", "my_accuracy")], "failed", "defines `my_accuracy`, and not `majority_acc"),
    "other_arguments": (["# exercise 00-majority\ndef majority_accuracy(labels): return 1"], "failed", "2 arguments"),
    "missing_package": (["# exercise 00-majority\nimport no_such_package\n" + RIGHT], "failed", "ModuleNotFoundError"),
    "changes_inputs": ([body("train_labels.sort()\nreturn 0.3")], "failed", "changes its input `train_labels`"),
    "mean_of_test": ([body("return 0.6")], "failed", "must not look there"),
    "long_message": ([body("raise ValueError('x' * 10**7)")], "failed", "ValueError"),
    "huge_result": ([body("return 'x' * 10**8")], "failed", "64 MB"),
}  # fmt: skip

# Wants to be right without being so
CHEATS = {
    "patches_the_checks": (
        ["# exercise 00-majority\nimport sftlab.teach.compare as c, sftlab.teach.checks as k\n"
         "c.expect_close = lambda *a, **b: None\nk.CHECKS['00-majority'] = lambda answer: None\n" + body("return 0.6")],
        "failed", "must not look there"),
    "patches_torch": (
        ["# exercise 00-majority\nimport torch\ntorch.Tensor.__le__ = lambda *a: torch.ones((), dtype=torch.bool)\n"
         "torch.allclose = lambda *a, **b: True\n" + body("return 0.6")], "failed", "must not look there"),
    "equal_to_everything": (
        [body("class Yes(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0.0\n"
              "return Yes(0.6)")], "failed", "is a Yes"),
    "says_passed": ([body("print('passed')\nreturn 'passed'")], "failed", "is a str"),
    "writes_to_every_pipe": (
        [body("import os\nfor n in range(3, 100):\n    try:\n        os.write(n, b'passed' * 9)\n"
              "    except OSError:\n        pass\nreturn 0.6")], "failed", "disturbed the connection"),
    "forges_a_message": (
        [body("import os\nsaid = b'{\"status\": \"passed\", \"result\": 0.3, \"inputs\": {\"list\": [[], []]}}'\n"
              "for n in range(3, 100):\n    try:\n        os.write(n, len(said).to_bytes(8, 'big') + said)\n"
              "    except OSError:\n        pass\nreturn 0.6")], "failed", ""),
    "patches_the_worker": (
        [body("import sftlab.teach.worker as w\nw._call = lambda *a: {'status': 'passed', 'result': 0.6, 'inputs': 7}\n"
              "return 0.6")], "failed", ""),
}  # fmt: skip

# Wants something of the machine. FOLDER, PORT and HOME are put in by the test.
INTRUDERS = {
    "forks": ([body("import os\nwhile True:\n    os.fork()")], "failed", "PermissionError"),
    "starts_a_process": ([body("import subprocess\nreturn subprocess.run(['id'])")], "failed", "PermissionError"),
    "becomes_another": (
        [body("import os\nos.execv('/bin/sh', ['sh', '-c', 'sleep 100'])")], "failed", "PermissionError"),
    "kills_the_parent": ([body("import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)")], "failed", "PermissionError"),
    "network": (
        [body("import socket\nsocket.create_connection(('127.0.0.1', PORT), 2).send(b'x')\nreturn 0.3")],
        "failed", "PermissionError"),
    "local_socket": ([body("import socket\nreturn socket.socket(socket.AF_UNIX)")], "failed", "PermissionError"),
    "reads_a_secret": ([body("return open('HOME/secret.txt').read()")], "failed", "FileNotFoundError"),
    "reads_a_sibling": ([body("return open('FOLDER/honest.ipynb').read()")], "failed", "FileNotFoundError"),
    "reads_the_solutions": (
        [body("import pathlib, sftlab\nreturn (pathlib.Path(sftlab.__file__).parents[1] / 'notebooks' / "
              "'00_quickstart.ipynb').read_text()")], "failed", "FileNotFoundError"),
    "reads_the_environment": (
        [body("import os\nvalue = os.environ.get('SFTLAB_TEST_SECRET')\nraise ValueError(value)")], "failed", ": None"),
    "writes_a_file": ([body("open('/tmp/written', 'w').write('x')")], "failed", "Error"),
    "deletes_files": (
        [body("import pathlib, sftlab\nfor p in pathlib.Path(sftlab.__file__).parent.rglob('*.py'):\n    p.unlink()")],
        "failed", "Error"),
    "deletes_a_sibling": ([body("import os\nos.remove('FOLDER/honest.ipynb')")], "failed", "Error"),
}  # fmt: skip

# Cannot be read
BROKEN = {
    "empty_file": (b"", "broken file", "not valid JSON"),
    "truncated": (notebook(RIGHT)[:-40], "broken file", "cut off"),
    "garbage": (bytes(range(256)) * 50, "broken file", "not UTF-8"),
    "latin_1": (notebook(RIGHT).replace(b"test_labels", "größe".encode("latin-1")), "broken file", "not UTF-8"),
    "pdf": (b"%PDF-1.7 ...", "broken file", "not valid JSON"),
    "a_list": (b"[1, 2]", "broken file", "no notebook in it"),
    "no_cells": (b'{"cells": 3}', "broken file", "no list of cells"),
    "nested_json": (b"[" * 10**6, "broken file", "nested too deeply"),
    "other_kernel": (
        notebook(RIGHT, kernelspec={"name": "ir", "language": "R"}), "broken file", "for the kernel 'R'"),
    "huge": (None, "broken file", "has 100 MB"),
    "link": (None, "broken file", "symbolic link"),
    "no_notebook_in_the_folder": (None, "broken file", "holds no notebook"),
    "wrong_extension": (None, "broken file", "does not end in .ipynb"),
    "empty_notebook": ([], "missing", "No cell"),
    "only_text": (["# nothing here"], "missing", "No cell"),
}  # fmt: skip
