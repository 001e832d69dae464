"""The process of one submission and one exercise: it runs the learner's code and answers calls. It gives no verdict.

The grader sends the cells, then calls the learner's function with data and gets data back; it compares them itself,
in its own process. So nothing that the code does here, to this process or to sftlab in it, can make an answer right.
"""

import ast
import builtins
import inspect
import linecache
import os
import sys
import tempfile
import types

import torch

from .confine import confine
from .learner import line_of
from .wire import Broken, decode, encode, receive, send

KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def main() -> None:
    """Serve until the grader closes the pipe; started by ``sandbox.Box`` with the two limits as arguments."""
    # The pipes get numbers of their own; whatever the code reads and prints is nothing.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    torch.set_num_threads(1)
    torch.zeros(1, requires_grad=True).sum().backward()  # starts autograd's thread before threads get expensive
    # `import torchvision` makes this folder; in here only one that is there already does not fail.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.sep
    # `import matplotlib` and `import sacrebleu` ask for a folder that could be written to; in bubblewrap there is only
    # this one. Named here, because the search for one tries to write.
    tempfile.tempdir = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    os.environ["MPLCONFIGDIR"] = tempfile.tempdir
    filtered = confine(int(sys.argv[1]), float(sys.argv[2]))
    send(answers, {"ready": True, "filtered": filtered})
    names, calls = _main_module(), {}
    answer = None
    while True:
        try:
            message = receive(requests)
        except Broken:
            os._exit(0)  # no atexit functions, no __del__, no waiting for threads
        try:
            if "cells" in message:
                answer, reply = _load(message, names)
            elif "call" in message:
                reply = _call(answer, message["call"], calls)
            elif "vjp" in message:
                reply = _vjp(calls[message["vjp"]], message["gradients"])
            else:
                from .exercises import judge

                found = judge(message["judge"], answer, message["seconds"])
                reply = {"status": found.status, "message": found.message, "look": found.look}
        except BaseException as error:  # SystemExit, KeyboardInterrupt, anything: an answer like any other
            reply = {"error": _facts(error)}
        try:
            send(answers, reply)
        except Broken as error:
            send(answers, {"error": {"kind": "ValueError", "message": f"the result is {error}", "line": None}})


def _main_module() -> dict:
    """An empty ``__main__``, as in a fresh kernel."""
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    return module.__dict__


def _load(message: dict, names: dict) -> tuple[object, dict]:
    """Run the cells: the exercise's own completely, of the others imports, definitions and simple constants."""
    for number, (source, own) in enumerate(message["cells"], start=1):
        file = f"<cell {number}>"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        try:
            statements = ast.parse(_without_magics(source), file).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if own:
                return None, {"error": _facts(error)}
            continue
        for statement in statements:
            if not own and not _kept(statement):
                continue
            try:
                exec(compile(ast.Module([statement], []), file, "exec"), names)
            except BaseException as error:
                if own:
                    return None, {"error": _facts(error)}
    wanted = message["answer"]
    if wanted not in names:
        own = [ast.parse(_without_magics(source)).body for source, mine in message["cells"] if mine]
        there = [s.name for body in own for s in body if isinstance(s, KEPT[2:])]
        return None, {"missing": there}
    answer = names[wanted]
    if not callable(answer):
        return answer, {"value": encode(answer, opaque=True)}
    try:
        found = inspect.signature(answer).parameters.values()
        parameters = [[p.name, int(p.kind), p.default is not p.empty] for p in found]
    except (TypeError, ValueError):
        parameters = None
    return answer, {"function": str(getattr(answer, "__name__", wanted)), "parameters": parameters}


def _kept(statement: ast.stmt) -> bool:
    """Imports, definitions, and assignments of literals; everything else of a chapter is not needed and may be slow."""
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        try:
            ast.literal_eval(statement.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return False
        return True
    return isinstance(statement, KEPT)


def _without_magics(source: str) -> str:
    """IPython's lines that begin with % or ! as comments, so that line numbers stay."""
    return "\n".join("#" + line if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def _call(answer, given: dict, calls: dict) -> dict:
    leaves: list[torch.Tensor] = []

    def leaf(tensor, grad):
        if grad:
            leaves.append(tensor.requires_grad_())
        return tensor

    inputs, keywords = decode(given["inputs"], leaf), decode(given["keywords"], leaf)
    # A leaf that requires a gradient cannot be changed in place; its copy in the graph can, as in a learner's notebook.
    result = answer(*inputs, **keywords)
    attached: list[torch.Tensor] = []
    tree = encode(result, attached, opaque=True)
    calls[given["handle"]] = leaves, attached
    return {"result": tree, "inputs": encode(list(inputs), opaque=True)}


def _vjp(call: tuple[list, list], gradients) -> dict:
    """Gradients of the inputs of an earlier call, for gradients of its outputs."""
    leaves, attached = call
    found = torch.autograd.grad(attached, leaves, decode(gradients), retain_graph=True, allow_unused=True)
    return {"gradients": encode(list(found))}


def _facts(error: BaseException) -> dict:
    """Class, message and the learner's line of an error."""
    try:
        said = str(error)[:1000]
    except BaseException:  # a learner's class
        said = "(its message cannot be shown)"
    line = line_of(error)
    if isinstance(error, SyntaxError) and error.lineno:
        said, line = str(error.msg)[:1000], (error.lineno, (error.text or "").strip()[:200])
    return {"kind": str(type(error).__name__)[:60], "message": said, "line": line}
