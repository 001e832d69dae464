"""The command ``sftlab``: demo, doctor, assets, data, bench, launch, notebooks, classroom, grade."""

import argparse
import re
import sys

from .errors import SftlabError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors of the library are printed as a sentence, not as a traceback.

    Returns:
        int: exit status, 0 for success, 1 for an error, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="sftlab", description="Supervised fine-tuning, taught with real training.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fine-tune a real model on headlines, about a minute on 2 cores")
    demo.add_argument("--seed", type=int, default=0)
    doctor = commands.add_parser("doctor", help="look at this machine; at a program of yours: sl.doctor in Python")
    doctor.add_argument(
        "--machine", action="store_true", required=True, help="device, speeds, caches, network, chapters"
    )
    assets = commands.add_parser("assets", help="where data sets and checkpoints are, and whether they are right")
    actions = assets.add_subparsers(dest="action")
    add = actions.add_parser("add", help="check an asset's files in a folder and copy them into the cache")
    add.add_argument("name")
    add.add_argument("folder")
    data = commands.add_parser("data", help="public data sets: what there is, fetch, delete, check")
    doing = data.add_subparsers(dest="action", required=True)
    doing.add_parser("list", help="names, sizes, licences, and what is here")
    for action, what in (("get", "fetch a data set"), ("remove", "delete it"), ("check", "compare its digests")):
        one = doing.add_parser(action, help=what)
        one.add_argument("name")
        if action == "get":
            one.add_argument("--yes", action="store_true", help="do not ask before more than 200 MB")
    bench = commands.add_parser("bench", help="measure the engine on this machine")
    bench.add_argument("what", choices=["loop", "headlines", "transfer", "peers", "best", "exact"])
    bench.add_argument("--rounds", type=int, default=5, help="interleaved rounds, or seeds (default 5)")
    bench.add_argument("--write", metavar="FOLDER", help="also write the result there, as JSON and Markdown")
    bench.add_argument("--quick", action="store_true", help="peers, best, exact: tiny runs, to see that all works")
    launch = commands.add_parser("launch", help="a script or a chapter in several processes that train as one")
    launch.add_argument("--processes", type=int, help="default: one for each GPU, or two without any")
    launch.add_argument("--machines", metavar="COUNT:NUMBER:HOST:PORT", help="start it on each machine")
    launch.add_argument("script", help="a Python file, or a chapter such as 03_losses")
    launch.add_argument("arguments", nargs=argparse.REMAINDER)
    notebooks = commands.add_parser("notebooks", help="execute chapters and bring notebook and text form in line")
    notebooks.add_argument("chapter", nargs="?", help="such as 00_quickstart; default: all")
    classroom = commands.add_parser("classroom", help="build the releases for students and for instructors")
    classroom.add_argument("--out", metavar="FOLDER", help="default: build/classroom")
    grade = commands.add_parser("grade", help="check the notebooks of a class, each exercise in a process of its own")
    grade.add_argument("folder", help="holds one notebook, or one folder of notebooks, for each student")
    grade.add_argument("--out", metavar="FOLDER", help="where report.csv and report.html go; default: FOLDER-report")
    grade.add_argument("--seconds", type=float, default=20, help="for each exercise (default 20)")
    grade.add_argument("--memory", type=_bytes, default="2GB", help="for each exercise (default 2GB)")
    asked = parser.parse_args(arguments)
    if asked.command == "bench" and asked.quick and asked.what in ("loop", "headlines", "transfer"):
        bench.error("--quick is for peers, best and exact")
    try:
        return _run(asked)
    except SftlabError as error:
        print(f"sftlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sftlab: stopped", file=sys.stderr)
        return 130


def _run(asked: argparse.Namespace) -> int:
    if asked.command == "demo":
        from .demo import demo

        demo(asked.seed)
    elif asked.command == "doctor":
        from . import machine

        print(machine.describe())
        print(machine.verdicts())
    elif asked.command == "data":
        print(_data(asked))
    elif asked.command == "launch":
        from .launch import launch

        launch(asked.script, asked.arguments, asked.processes, asked.machines)
    elif asked.command == "bench":
        from . import bench

        measure = getattr(bench, asked.what)
        result = measure(asked.rounds, **({"quick": True} if asked.quick else {}))
        print(result)
        if asked.write:
            result.write(asked.write)
    elif asked.command == "notebooks":
        from .teach.chapters import execute

        print("executed:", ", ".join(execute(asked.chapter)))
    elif asked.command == "classroom":
        from .teach import classroom

        out = asked.out or classroom.OUT
        print(f"built {out}: student and instructor release of {', '.join(classroom.build(out))}")
    elif asked.command == "grade":
        from .teach.grade import grade, isolation

        grades = grade(asked.folder, asked.out, asked.seconds, asked.memory, progress=print)
        print(f"{sum(g.status == 'passed' for g in grades)} of {len(grades)} passed. {isolation()[1]}")
    elif asked.action == "add":
        from .assets import store

        print(f"stored in {store(asked.name, asked.folder)}")
    else:
        return _list_assets()
    return 0


def _data(asked: argparse.Namespace):
    from .sets import public

    if asked.action == "list":
        return public.listed()
    if asked.action == "get":
        return f"{asked.name} is here: {public.get(asked.name, asked.yes)}"
    if asked.action == "check":
        public.check(asked.name)
        return f"{asked.name}: every file has its digest"
    return f"{asked.name}: {'deleted' if public.remove(asked.name) else 'was not here'}"


def _bytes(text: str) -> int:
    """``2GB``, ``512MB`` or a number of bytes; at least 256 MB, which Python and torch need to do anything."""
    found = re.fullmatch(r"(\d+)\s*(|B|MB|GB)", text.strip(), re.IGNORECASE)
    size = int(found[1]) * {"": 1, "B": 1, "MB": 2**20, "GB": 2**30}[found[2].upper()] if found else 0
    if size < 2**28:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of at least 256MB, such as 2GB")
    return size


def _list_assets() -> int:
    from .assets import card, find_asset, names
    from .errors import AssetError
    from .table import Table

    rows, wrong = [], []
    for name in names():
        try:
            rows.append([name, card(name)["kind"], "found, checked", str(find_asset(name))])
        except AssetError as error:
            rows.append([name, card(name)["kind"], "not usable", "see below"])
            wrong.append(f"{name}: {error}")
    print(Table(["asset", "kind", "state", "where"], rows))
    for message in wrong:
        print(f"\n{message}", file=sys.stderr)
    return 1 if wrong else 0
