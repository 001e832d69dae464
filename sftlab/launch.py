"""``sftlab launch``: a script, or the code of a chapter, in several processes that train as one.

It is ``torchrun`` with what this course needs: each process joins a group (nccl on GPUs, gloo on CPUs), has a GPU of
its own, and only the first one prints. ``sl.fit`` and ``sl.evaluate`` share out the samples by themselves; see
:mod:`sftlab.train.processes`. When one process dies, the others are stopped and its error is shown.
"""

import contextlib
import os
import runpy
import sys
from datetime import timedelta
from pathlib import Path

from .errors import SftlabError, unknown

PATIENCE = timedelta(minutes=10)  # for a process that waits for another


def launch(script: str, arguments: list[str], processes: int | None = None, machines: str | None = None) -> None:
    """Run ``script`` in ``processes`` processes on this machine, or on each of several.

    Args:
        script: a Python file, or the name of a chapter.
        arguments: for the script.
        processes: on this machine; default: one for each GPU, or two without any.
        machines: ``"2:0:host:29500"``, the number of machines, the number of this one, and where the first one listens;
            to be started on each machine.

    Raises:
        SftlabError: no such script or chapter, ``machines`` is no such text, or a process failed; the message names it.
    """
    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    _source(script)
    processes = processes or torch.cuda.device_count() or 2
    if machines is None:
        where = ["--standalone", "--local-addr=127.0.0.1"]
        if sys.platform == "linux":  # a machine without a network has this one
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    else:
        try:
            count, number, host, port = machines.split(":")
            where = [f"--nnodes={int(count)}", f"--node-rank={int(number)}", f"--master-addr={host}",
                     f"--master-port={int(port)}"]  # fmt: skip
        except ValueError:
            raise SftlabError(
                f"--machines {machines!r} is not COUNT:NUMBER:HOST:PORT, such as 2:0:first:29500"
            ) from None
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    command = [*where, f"--nproc-per-node={processes}", "-m", "sftlab.launch", script, *arguments]
    try:
        run.main(command)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        message = failure.message if isinstance(failure.message, str) else failure.message.get("message", "")
        raise SftlabError(
            f"process {rank} of {processes} ended with exit status {failure.exitcode}, and the others were stopped. "
            f"{message.strip() or 'It left no message.'}\nA run with `out=` goes on where it was: call sl.resume in "
            "the script, and start it again."
        ) from None


def _source(script: str) -> Path | None:
    """The file of a script; None for the name of a chapter."""
    from .teach.chapters import chapters

    if script in chapters():
        return None
    path = Path(script)
    if path.suffix == ".py" and path.is_file():
        return path
    if path.suffix == ".py":
        raise SftlabError(f"there is no script {script} in {Path.cwd()}")
    raise unknown("chapter", script, chapters())


def _work(script: str, arguments: list[str]) -> None:
    """One process: join the group, run the code; all but the first are silent."""
    import torch
    import torch.distributed as dist

    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(local % gpus)
        os.environ["SFTLAB_DEVICE"] = f"cuda:{local % gpus}"
    # Two processes cannot share a GPU under nccl: then gloo, which is slower and right.
    fitting = gpus and int(os.environ["LOCAL_WORLD_SIZE"]) <= gpus
    dist.init_process_group("nccl" if fitting else "gloo", timeout=PATIENCE)
    try:
        with contextlib.ExitStack() as stack:
            if rank:
                quiet = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(quiet))
            path = _source(script)
            if path is None:
                _run_chapter(script)
            else:
                sys.argv = [script, *arguments]
                sys.path.insert(0, str(path.resolve().parent))
                runpy.run_path(script, run_name="__main__")
    finally:
        dist.destroy_process_group()


def _run_chapter(name: str) -> None:
    """The code cells of a chapter, exercises and quizzes left out."""
    import matplotlib

    from .teach import chapters

    matplotlib.use("Agg")
    os.chdir(chapters.NOTEBOOKS)
    space = {"__name__": "__main__"}
    for number, cell in enumerate(c for c in chapters.read(name).cells if c.cell_type == "code"):
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags or "sl.check(" in cell.source or "sl.quiz(" in cell.source:
            continue
        try:
            exec(compile(cell.source, f"{name}, code cell {number + 1}", "exec"), space)
        except Exception:
            if "raises-exception" not in tags:
                raise


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_work)(sys.argv[1], sys.argv[2:])
