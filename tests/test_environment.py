"""environment.yml says the same as pyproject.toml: the same packages, the same bounds, in both directions."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
EXTRAS = ("minilm", "lab", "peft", "vision", "text", "full", "test", "book")
LEFT_OUT = ("bench",)  # other trainers: needed to repeat the comparison with them, not to learn or to test

# What conda-forge calls a package that PyPI calls otherwise.
PYPI_NAME = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
# Present in the conda form only: the interpreter, and the program that reads the pip section.
CONDA_ONLY = {"python", "pip"}
# One form of a conda dependency: "name" or "name >=1.2" or "name ==1.2". Conda allows more, we need no more.
CONDA_SPEC = re.compile(r"(?P<name>[a-z0-9][a-z0-9_.-]*)( (?P<bound>(>=|==)[0-9]+(\.[0-9]+)*))?")


def conda_part() -> dict[str, SpecifierSet]:
    """Names as PyPI has them -> bound, of the conda section."""
    found = {}
    for line in (entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)):
        match = CONDA_SPEC.fullmatch(line)
        assert match, f"environment.yml: cannot read {line!r}"
        name = canonicalize_name(PYPI_NAME.get(match["name"], match["name"]))
        assert name not in found, f"environment.yml: {name} is there twice"
        found[name] = SpecifierSet(match["bound"] or "")
    return found


def pip_lines() -> list[str]:
    """The entries of the pip section."""
    (section,) = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert set(section) == {"pip"}
    return section["pip"]


def pip_part() -> dict[str, SpecifierSet]:
    """Names -> bound, of the pip section without ``-e .``."""
    requirements = [Requirement(line) for line in pip_lines() if not line.startswith("-")]
    return {canonicalize_name(r.name): r.specifier for r in requirements}


def project_part() -> dict[str, SpecifierSet]:
    """Names -> bound, of all dependencies and extras in pyproject.toml."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def test_every_extra_is_compared():
    """A new extra in pyproject.toml must be put into environment.yml too, or be left out here on purpose."""
    assert set(PROJECT["optional-dependencies"]) == {*EXTRAS, *LEFT_OUT}


def test_only_conda_forge():
    """One channel; the commercial default channel is switched off; no key that conda does not know."""
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    assert set(ENVIRONMENT) == {"name", "channels", "dependencies"}


def test_the_checkout_itself_is_installed():
    """``-e .`` is the only option in the pip section, without extras: they are listed, so that conda brings them."""
    assert [line for line in pip_lines() if line.startswith("-")] == ["-e ."]
    assert "pip" in conda_part(), "conda warns when a pip section has no pip"


def test_python_bound_is_that_of_the_project():
    """The conda interpreter may be exactly as old as pyproject.toml allows."""
    assert conda_part()["python"] == SpecifierSet(PROJECT["requires-python"])


def test_no_package_comes_from_both():
    """A package in both sections would be installed twice, the second over the first."""
    assert not set(conda_part()) & set(pip_part())


@pytest.mark.parametrize("name", sorted(project_part()))
def test_dependency_of_the_project_is_in_the_environment(name):
    """pyproject.toml -> environment.yml: the package is there, with the same bound."""
    there = {**conda_part(), **pip_part()}
    assert name in there, f"environment.yml lacks {name}{project_part()[name]}"
    assert there[name] == project_part()[name]


@pytest.mark.parametrize("name", sorted({**conda_part(), **pip_part()}.keys() - CONDA_ONLY))
def test_dependency_of_the_environment_is_in_the_project(name):
    """environment.yml -> pyproject.toml: nothing is installed that the project does not ask for."""
    assert name in project_part(), f"environment.yml has {name}, pyproject.toml does not"


def test_book_is_pinned_exactly():
    """The book's versions were tried together; a looser pin lets pip take an old theme."""
    for line in PROJECT["optional-dependencies"]["book"]:
        requirement = Requirement(line)
        assert [s.operator for s in requirement.specifier] == ["=="]
        assert pip_part()[canonicalize_name(requirement.name)] == requirement.specifier
