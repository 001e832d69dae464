"""One training in a process of its own: ``python -m sftlab.bench.fresh WORKLOAD LIBRARY [--quick]`` prints JSON.

Peak memory cannot be told apart when several libraries have run in one process, and a library's import is paid once
per process. Model, data and torch are there before the clock starts; the library's own import counts.
"""

import argparse
import json

from .. import env
from .contest import timed
from .roster import at_their_best, contestants_of
from .workloads import whole_runs, workloads


def main() -> None:
    """Train and print ``first`` and ``total`` (seconds), ``memory`` (bytes) and what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("contestant")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    equal, whole = workloads(asked.quick), whole_runs(asked.quick)
    work = next(work for work in equal + whole if work.name == asked.work)
    roster = contestants_of(work) if work in equal else at_their_best(work)
    one = next(one for one in roster if one.name == asked.contestant)
    env.start(seed=0)
    model, task = work.make()
    before = resident()
    with env.PeakMemory(env.current().device) as memory:
        run = timed(one, work, model, task)
    if run.error:
        raise SystemExit(run.error)
    grown = memory.bytes if memory.kind == "device" else memory.bytes - before
    print(json.dumps({"first": run.clock.first, "total": run.clock.total, "memory": grown, "kind": memory.kind}))


def resident() -> int:
    """Bytes of memory that the process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as f:
            import resource

            return int(f.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main()
