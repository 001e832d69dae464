"""The command ``sftlab``: demo, assets, bench."""

import argparse
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
    assets = commands.add_parser("assets", help="where data sets and checkpoints are, and whether they are right")
    actions = assets.add_subparsers(dest="action")
    add = actions.add_parser("add", help="check an asset's files in a folder and copy them into the cache")
    add.add_argument("name")
    add.add_argument("folder")
    bench = commands.add_parser("bench", help="measure the engine on this machine")
    bench.add_argument("what", choices=["loop", "headlines", "transfer", "peers", "best", "exact"])
    bench.add_argument("--rounds", type=int, default=5, help="interleaved rounds, or seeds (default 5)")
    bench.add_argument("--write", metavar="FOLDER", help="also write the result there, as JSON and Markdown")
    bench.add_argument("--quick", action="store_true", help="peers, best, exact: tiny runs, to see that all works")
    notebooks = commands.add_parser("notebooks", help="execute chapters and bring notebook and text form in line")
    notebooks.add_argument("chapter", nargs="?", help="such as 00_quickstart; default: all")
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
    elif asked.action == "add":
        from .assets import store

        print(f"stored in {store(asked.name, asked.folder)}")
    else:
        return _list_assets()
    return 0


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
