"""What all tests share: how hard properties are tried, and a store of every kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.postgres import PostgresDatabases, PostgresServer
from neruba_core.testing.postgres import postgres_server as durable_postgres_server

__all__ = ["durable_postgres_server"]

# Nobody stops the server that tests share, so nothing would be shown by waiting for its disk.
_NEVER_STOPPED = {"fsync": "off", "full_page_writes": "off"}

_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]

# The same examples in every run: what fails in CI fails here. Torture looks further every time.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, suppress_health_check=_SLOW)
settings.register_profile("torture", deadline=None, max_examples=2_000, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    The longest begin first, so that no worker of pytest-xdist is left alone with them at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("torture") is None)


TORTURE = os.environ.get("NERUBA_TORTURE") == "full"


@pytest.fixture(scope="session")
def torture() -> bool:
    """
    Whether tests of races and kills run at their full size.
    """
    return TORTURE


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresDatabases]:
    """
    Databases to test on, of this worker's own server; what is about crashes takes the durable one.
    """
    if url := os.environ.get("NERUBA_TEST_DATABASE_URL"):
        yield PostgresDatabases(url)
        return
    with PostgresServer(_NEVER_STOPPED) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresDatabases) -> Iterator[str]:
    """
    A PostgreSQL database with our schema and nothing else, to be copied and never connected to.
    """
    url = postgres_server.create_database()
    _migrate(url)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The file of a SQLite database with our schema and nothing else, to be copied.
    """
    template = tmp_path_factory.mktemp("template") / "billing.db"
    _migrate(f"sqlite:///{template}")
    return template


def _migrate(url: str) -> None:
    storage = SqlStorage(url)
    storage.migrate()
    storage.close()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresDatabases, postgres_template: str) -> Iterator[str]:
    """
    A PostgreSQL database with our schema, for this worker; tests keep apart by projects of their own.
    """
    url = postgres_server.create_database(postgres_template)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)],
)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """
    A store of each kind in turn, with our schema.
    """
    if request.param == "memory":
        yield MemoryStorage()
        return
    store = sql_storage(request, request.param, tmp_path)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStorage]:
    """
    A store in each kind of database in turn, with our schema.
    """
    store = sql_storage(request, request.param, tmp_path)
    yield store
    store.close()


def sql_storage(request: pytest.FixtureRequest, kind: str, folder: Path) -> SqlStorage:
    if kind == "sqlite":
        copied = shutil.copy(request.getfixturevalue("sqlite_template"), folder / "billing.db")
        return SqlStorage(f"sqlite:///{copied}", pool_size=64)
    return SqlStorage(request.getfixturevalue("postgres_url"), pool_size=20)
