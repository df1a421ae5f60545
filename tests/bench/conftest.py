"""Fresh databases for measurements: SQLite in a file, PostgreSQL as durable as in production."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from sqlalchemy import make_url

from neruba_core import Neruba
from neruba_core.storage.sql.storage import SqlStorage
from neruba_core.testing.postgres import PostgresDatabases
from neruba_core.testing.postgres import postgres_server as postgres_server


@frozen
class Database:
    """A migrated database: the façade on it, and how to reach it with the bare driver."""

    name: str
    url: str
    neruba: Neruba
    storage: SqlStorage
    bare: Callable[[], Any]


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Makes fresh databases of one kind."""
    made: list[Database] = []

    def sqlite() -> Database:
        path = tmp_path / f"bench{len(made)}.db"
        url = f"sqlite:///{path}"
        return _database("sqlite", url, lambda: _bare_sqlite(path))

    def postgresql() -> Database:
        server: PostgresDatabases = request.getfixturevalue("postgres_server")
        url = server.create_database()
        return _database("postgresql", url, lambda: _bare_postgresql(url))

    def make() -> Database:
        made.append(sqlite() if request.param == "sqlite" else postgresql())
        return made[-1]

    yield make
    for database in made:
        database.neruba.close()


def _database(name: str, url: str, bare: Callable[[], Any]) -> Database:
    storage = SqlStorage(url)
    storage.migrate()
    return Database(name, url, Neruba(storage), storage, bare)


def _bare_sqlite(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _bare_postgresql(url: str) -> Any:
    import psycopg

    return psycopg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(False), autocommit=True
    )
