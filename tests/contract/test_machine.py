"""Memory, SQLite and PostgreSQL live through the same histories and never differ."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.machine import run_machine
from neruba_core.testing.postgres import PostgresDatabases
from neruba_core.testing.trade import run_trade

STEPS = 50


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def stores(request: pytest.FixtureRequest) -> Iterator[dict[str, Callable[[], Storage]]]:
    """
    Memory, and each database beside it.
    """
    kind = request.param
    database = SqlStorage("sqlite://" if kind == "sqlite" else request.getfixturevalue("postgres_url"))
    database.migrate()
    yield {"memory": MemoryStorage, kind: lambda: database}
    database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Callable[[], Storage]]]:
    """
    Memory, and beside it a database of each kind that nobody has used, as often as one is asked for.
    """
    with ExitStack() as stack:
        make = _sqlite(request, tmp_path) if request.param == "sqlite" else _postgresql(request, stack)
        yield {"memory": MemoryStorage, request.param: make}


def _sqlite(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Storage]:
    template: Path = request.getfixturevalue("sqlite_template")
    numbers = itertools.count()

    def make() -> Storage:
        copied = shutil.copy(template, folder / f"{next(numbers)}.db")
        return SqlStorage(f"sqlite:///{copied}")

    return make


def _postgresql(request: pytest.FixtureRequest, stack: ExitStack) -> Callable[[], Storage]:
    server: PostgresDatabases = request.getfixturevalue("postgres_server")
    template: str = request.getfixturevalue("postgres_template")

    def make() -> Storage:
        url = server.create_database(template)
        stack.callback(server.drop_database, url)
        return SqlStorage(url, pool_size=2)

    return make


def size(torture: bool, examples: int, steps: int = STEPS) -> settings:
    """
    So many histories of so many steps, or all that quality asks for.
    """
    return settings(
        max_examples=2_000 if torture else examples,
        stateful_step_count=STEPS if torture else steps,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.torture
def test_a_database_lives_the_same_life_as_memory(stores, torture):
    """
    As the model foretells it, and byte-identical at the end; so the databases equal each other too.
    """
    run_machine(stores, size(torture, 100), thorough=torture)


@pytest.mark.torture
def test_a_database_sells_the_same_as_memory(new_stores, torture):
    """
    Prices, prepaid usage, holds, plans, runs, voids, payments by hand and by card, refunds, disputes, top-ups
    and expiry, with the same answers and the same export.
    """
    run_trade(new_stores, size(torture, 30, 25))
