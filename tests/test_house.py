"""The rules of the house, held where no type checker holds them."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

import neruba_core
import neruba_server
from neruba_core.errors import NerubaError

ROOT = Path(neruba_core.__file__).parents[1]
MODULES = sorted(
    path for package in ("neruba_core", "neruba_server") for path in (ROOT / package).rglob("*.py")
)
CODES = Path(__file__).with_name("error-codes.txt")

# Where the world's clock and chance come in; everything else is given them.
WORLDLY = {
    "neruba_core/instants.py",
    "neruba_core/ids.py",
    "neruba_core/testing/postgres.py",
    "neruba_core/testing/machine.py",
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "statement", ["import neruba_core", "from neruba_core import Neruba; Neruba.in_memory()"]
)
def test_the_library_imports_neither_database_nor_server(statement):
    """
    Who bills in memory pays for nothing else.
    """
    heavy = "{'sqlalchemy', 'alembic', 'aiohttp', 'psycopg', 'cattrs', 'hypothesis', 'pytest'}"
    code = f"{statement}; import sys; print(sorted({heavy} & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_module_says_what_is_true_in_it(path):
    """
    A docstring, in a sentence.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text()))

    assert docstring, _name(path)
    assert docstring.split("\n\n")[0].rstrip().endswith((".", "!", "?", "::")), _name(path)


def _worldly(tree: ast.AST) -> set[str]:
    """Reads of the wall clock and of randomness: modules of the standard library, not ours of that name."""
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in imported | {"datetime", "date"}:
                found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module in {"random", "secrets", "time", "uuid"}:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    clocks = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}
    chance = {name for name in found if name.startswith(("random.", "secrets.", "uuid."))} | {"os.urandom"}
    # A generator that is given its seed is no chance, and comparing is no draw.
    return found & (clocks | chance) - {"random.Random", "secrets.compare_digest"}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.is_relative_to(ROOT / "neruba_core")], ids=_name
)
def test_the_core_reads_no_clock_and_no_chance_of_its_own(path):
    """
    Both are given to it, so that tests can repeat everything.
    """
    if _name(path) in WORLDLY:
        pytest.skip("this is where they come in")
    read = _worldly(ast.parse(path.read_text()))

    # The façade names the system's source as the one to give.
    allowed = {"os.urandom"} if _name(path) == "neruba_core/neruba.py" else set()
    assert read <= allowed, f"{_name(path)} reads {read}"


def _errors() -> list[type[NerubaError]]:
    found: list[type[NerubaError]] = []
    waiting = [NerubaError]
    while waiting:
        error = waiting.pop()
        found.append(error)
        waiting += error.__subclasses__()
    # Others than ours, such as those of tests, keep no promise. attrs leaves the unslotted twin behind.
    ours = {error.__qualname__: error for error in found if error.__module__ == "neruba_core.errors"}
    return [ours[name] for name in sorted(ours)]


def test_error_codes_only_grow():
    """
    Clients may match on a code for ever. Add new ones to the list; take none away.
    """
    listed = CODES.read_text().split()
    codes = {error.code for error in _errors()}

    assert listed == sorted(listed)
    assert codes == set(listed)


def test_every_refusal_has_a_code_of_its_own():
    """
    A class that names a code names a new one; the few that name none are told apart by their parent's.
    """
    named = Counter(vars(error)["code"] for error in _errors() if "code" in vars(error))

    assert [code for code, times in named.items() if times > 1] == []
    assert all("." in code and code == code.lower() for code in named)


@pytest.mark.parametrize("error", _errors(), ids=lambda error: error.__name__)
def test_every_refusal_can_be_made_shown_and_told(error):
    """
    With a message of one line, and its facts by name.
    """
    values: dict[str, Any] = {
        field.name: 3 if field.type in ("int", int) else "something" for field in attrs.fields(error)
    }

    made = error(**values)

    assert made.facts() == values
    assert "\n" not in str(made)
    assert isinstance(made.code, str)
    assert error.__doc__
    assert error is NerubaError or str(made) or issubclass(error, NerubaError)


def _importable() -> list[str]:
    names = []
    for package in (neruba_core, neruba_server):
        names.append(package.__name__)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                names.append(module.name)
    return names


@pytest.mark.parametrize("name", _importable())
def test_what_a_module_offers_it_has(name):
    """
    Every module imports, and each name of its ``__all__`` resolves.
    """
    module = importlib.import_module(name)

    offered = getattr(module, "__all__", [])

    assert [each for each in offered if not hasattr(module, each)] == []
    assert len(set(offered)) == len(offered)


def test_every_namespace_is_in_the_reference():
    """
    What an embedder can reach, an embedder can look up.
    """
    reference = (ROOT / "docs/reference/python.md").read_text()
    reachable = {
        f"{type(each).__module__}.{type(each).__name__}"
        for each in vars(neruba_core.Neruba.in_memory()).values()
        if type(each).__module__.startswith("neruba_core.namespaces.")
    }

    assert len(reachable) > 20
    assert [name for name in sorted(reachable) if f"autoclass:: {name}()" not in reference] == []
