"""The house itself: what an import costs, who may import whom, how long a module may be, and that examples run."""

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sftlab
from sftlab import env

PACKAGE = Path(sftlab.__file__).parent
HEAVY = ("torch", "transformers", "matplotlib", "numpy")

# A module may import from its own floor and from those before it.
FLOORS = [
    {"errors", "table", "env", "assets", "install"},
    {"data"},
    {"model"},
    {"train"},
    {"tasks"},
    {"sets"},
    {"study"},
    {"teach"},
    {"bench", "demo", "lab", "launch", "machine", "cli", "__main__"},
]
ENGINE = {"env", "assets", "data", "model", "train"}


def modules() -> dict[str, Path]:
    """Dotted name below ``sftlab`` -> file; the package itself is ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = modules()


def floor(module: str) -> int:
    """Index of the floor that owns a module."""
    top = module.split(".")[0]
    (found,) = [i for i, names in enumerate(FLOORS) if top in names] or pytest.fail(
        f"sftlab.{module}: no floor for {top!r}; give it one in FLOORS"
    )
    return found


def imported(module: str, source: str, is_package: bool) -> set[str]:
    """Modules of sftlab that a source imports, functions included; ``*`` stands for the whole package."""
    here = module.split(".") if module != "__init__" else []
    package = here if is_package else here[:-1]
    found = set()

    def add(parts: list[str], name: str | None = None):
        if name and ".".join([*parts, name]) in MODULES:
            found.add(".".join([*parts, name]))
        elif parts:
            found.add(".".join(parts))
        elif name in sftlab._OWNERS:  # `from .. import fit` reaches the owner of the name
            found.add(sftlab._OWNERS[name])
        elif name != "__version__":
            found.add("*")

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "sftlab":
                    add(alias.name.split(".")[1:])
        elif isinstance(node, ast.ImportFrom):
            said = node.module.split(".") if node.module else []
            if node.level:
                parts = package[: len(package) - node.level + 1] + said
            elif said[:1] == ["sftlab"]:
                parts = said[1:]
            else:
                continue
            for alias in node.names:
                add(parts, alias.name)
    return found


def python(*arguments: str) -> subprocess.CompletedProcess:
    """A fresh interpreter."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=300)


# What an import costs


def test_import_loads_nothing_heavy():
    """``import sftlab`` and looking at its names load neither torch nor transformers nor matplotlib nor numpy."""
    code = f"import sys, sftlab; dir(sftlab); sftlab.errors; print([m for m in {HEAVY} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_import_loads_few_modules():
    """Fewer than 40 modules from outside the standard library: counted, because a clock would depend on the machine."""
    lines = python("-X", "importtime", "-c", "import sftlab").stderr.splitlines()
    names = [line.split("|")[-1].strip() for line in lines if line.startswith("import time:")]
    assert "sftlab" in names, "the report of -X importtime was not understood"
    outside = [n for n in names if n != "imported package" and n.split(".")[0] not in sys.stdlib_module_names]
    assert len(outside) < 40, outside


def test_assets_need_no_torch():
    """Finding and checking files works without the engine: the command ``sftlab assets`` answers at once."""
    code = f"import sys, sftlab; sftlab.find_asset('headlines'); print([m for m in {HEAVY} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


# The public names


@pytest.mark.parametrize("name", sftlab.__all__)
def test_public_name_resolves(name):
    """Every name of ``__all__`` exists, is that of its owner, and is listed by ``dir``."""
    value = getattr(sftlab, name)
    assert name in dir(sftlab)
    if name in sftlab._OWNERS:
        assert value is getattr(importlib.import_module(f"sftlab.{sftlab._OWNERS[name]}"), name)


def test_no_public_name_is_a_module():
    """``sl.plan`` stays the function: importing a submodule of that name would put the module in its place."""
    assert not {module for module in MODULES if "." not in module} & set(sftlab._OWNERS)


@pytest.mark.parametrize("name", sorted(sftlab._OWNERS))
def test_public_name_has_a_docstring_with_an_example(name):
    """Every public name says what it is and shows its use."""
    value = getattr(sftlab, name)
    text = (vars(value).get("__doc__") if isinstance(value, type) else value.__doc__) or ""  # its own, not inherited
    assert len(text.split()) >= 5
    assert ">>>" in text


def test_unknown_name_lists_the_known_ones():
    """A misspelled name gives AttributeError with the names there are; ``hasattr`` therefore works."""
    with pytest.raises(AttributeError, match=r"'sftlab' has no attribute 'fitt'.*\bevaluate\b.*\bfit\b"):
        _ = sftlab.fitt
    assert not hasattr(sftlab, "nothing")


# Who may import whom


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__init__"}))
def test_imports_go_downwards(module):
    """No module imports from a higher floor, not even inside a function."""
    path = MODULES[module]
    for target in imported(module, path.read_text(encoding="utf-8"), path.name == "__init__.py"):
        reached = len(FLOORS) - 1 if target == "*" else floor(target)
        assert reached <= floor(module), f"sftlab.{module} imports sftlab.{target}, which stands higher"


def test_package_imports_only_the_ground():
    """``sftlab/__init__.py`` itself imports the errors and nothing else; the rest comes when it is used."""
    assert imported("__init__", MODULES["__init__"].read_text(encoding="utf-8"), True) == {"errors"}


def test_nothing_is_imported_by_a_computed_name():
    """``import_module`` and ``__import__`` would go past the check above: only the package uses them."""
    for module, path in MODULES.items():
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert module == "__init__" or not names & {"import_module", "__import__"}, f"sftlab.{module}"


def test_import_reader_sees_every_form():
    """The check above reads all the ways to write an import (it would pass for ever if it saw none)."""
    forms = {
        "from ..train.fit import fit": {"train.fit"},
        "from ..train import loop": {"train.loop"},
        "from .. import env, fit": {"env", "train.fit"},
        "def f():\n    from . import collate": {"data.collate"},
        "import sftlab.study.compare as c": {"study.compare"},
        "from sftlab.model import loading": {"model.loading"},
        "import sftlab as sl": {"*"},
        "import torch.nn\nfrom torch import nn": set(),
    }
    for source, expected in forms.items():
        assert imported("data.batching", source, False) == expected, source
    assert imported("data", "from . import collate", True) == {"data.collate"}


# How long


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_is_short(module):
    """One idea per module: at most 300 lines."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 300


def test_engine_is_small():
    """Ground, data, model and train together: at most 4,000 lines."""
    engine = [path for module, path in MODULES.items() if module.split(".")[0] in ENGINE]
    assert len(engine) > 10
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in engine) <= 4000


# The examples


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__main__"}))
def test_examples_run(module, monkeypatch):
    """Every example in a docstring gives what it shows (those that need the checkpoint are marked +SKIP)."""
    monkeypatch.setattr(env, "_current", env._current)  # an example calls start(); other tests do not see it
    monkeypatch.setenv("SFTLAB_PROFILE", "tiny")
    name = "sftlab" if module == "__init__" else f"sftlab.{module}"
    assert doctest.testmod(importlib.import_module(name)).failed == 0
