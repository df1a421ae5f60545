"""How we connect, and what one of our transactions is.

The connection that was given back last is the next to be used: what it has in its caches (plans and pages,
on PostgreSQL a whole process) is what is needed again.

We begin and end transactions ourselves, with statements, on connections in the driver's autocommit mode.
SQLite's driver otherwise begins late and on its own terms, and a savepoint taken before that outlives the
rollback; and on PostgreSQL BEGIN brings the limits of the transaction along in the same message, so that
nothing is left behind on a connection that a pooler or the host uses for other things too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import frozen
from sqlalchemy import URL, Engine, StaticPool, create_engine, event, exc, make_url
from sqlalchemy.pool import ConnectionPoolEntry

_CONNECT_SECONDS = 5
_PREPARED_STATEMENTS = 512
_LOG_PAGES = 4_000
"""How long SQLite's log grows, 16 MiB, before it is written back. At its own 1,000 a batch of charges takes
4 % longer, since pages that keep changing are written back more often."""
TAKE_WRITE_LOCK = "DELETE FROM neruba_schema WHERE 0"
"""Changes nothing, and yet SQLite has to take the write lock for it, and refuses where it must not write."""

_DRIVERS = {"psycopg", "pysqlite"}


@frozen
class Limits:
    """How many seconds a unit may wait: for a lock, a statement, its caller, and for its turn."""

    lock_seconds: float = 2
    statement_seconds: float = 5
    idle_seconds: float = 30
    busy_seconds: float = 5


@frozen
class Boundaries:
    """The statements that begin a unit and a snapshot, and those that end a snapshot."""

    begin: tuple[str, ...]
    begin_snapshot: tuple[str, ...]
    end_snapshot: tuple[str, ...]


def boundaries(engine: Engine, limits: Limits) -> Boundaries:
    """What begins and ends transactions on *engine*."""
    if engine.dialect.name == "sqlite":
        return Boundaries(
            # The write lock comes first: a reader that turns writer half-way can fail at once.
            begin=("BEGIN IMMEDIATE",),
            # The first read fixes the moment of the snapshot.
            begin_snapshot=("PRAGMA query_only = ON", "BEGIN", "SELECT 1 FROM sqlite_master LIMIT 1"),
            end_snapshot=("COMMIT", "PRAGMA query_only = OFF"),
        )
    settings = (
        f"SET LOCAL statement_timeout = {round(limits.statement_seconds * 1000)}; "
        f"SET LOCAL lock_timeout = {round(limits.lock_seconds * 1000)}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {round(limits.idle_seconds * 1000)}"
    )
    return Boundaries(
        begin=(f"BEGIN ISOLATION LEVEL READ COMMITTED; {settings}",),
        begin_snapshot=(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}; SELECT 1",),
        # Not ROLLBACK: on seeing one, the driver forgets all its prepared statements.
        end_snapshot=("COMMIT",),
    )


def normalised(url: str | URL) -> URL:
    """*url* with the driver that we speak to: psycopg 3 for PostgreSQL, sqlite3 for SQLite."""
    parsed = make_url(url)
    backend, _, driver = parsed.drivername.partition("+")
    if backend in {"postgresql", "postgres"} and driver in {"", "psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and driver in {"", "pysqlite"}:
        return parsed.set(drivername="sqlite+pysqlite")
    raise ValueError(f"{parsed.drivername}:// is not supported; use postgresql:// or sqlite://")


def create(url: str | URL, *, limits: Limits, pool_size: int) -> Engine:
    """An engine of our own on the database at *url*; connects when it is first used."""
    parsed = normalised(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, limits, pool_size)
    return _postgresql(parsed, limits, pool_size)


def shared(host: Engine) -> Engine:
    """The host's *engine*, pool and all, as we use it."""
    if host.dialect.driver not in _DRIVERS:
        raise ValueError(f"the driver {host.dialect.driver} is not supported; use psycopg 3 or sqlite3")
    return host.execution_options(isolation_level="AUTOCOMMIT")


def file_of(url: URL) -> str | None:
    """The path of the SQLite file at *url*; None where there is none."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name == ":memory:":
        return None
    if "mode=memory" in name or url.query.get("mode") == "memory":
        return None
    return os.path.realpath(name.removeprefix("file:").partition("?")[0])


def _postgresql(url: URL, limits: Limits, pool_size: int) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "neruba",
        # Without it a server that vanished from the network is noticed after a quarter of an hour.
        "tcp_user_timeout": 10_000,
    }
    query: Mapping[str, Any] = url.query
    if "prepare_threshold" in query:
        # 0 as in "none": what a pooler that hands out connections by transaction needs.
        arguments["prepare_threshold"] = int(str(query["prepare_threshold"])) or None
        url = url.difference_update_query(["prepare_threshold"])
    arguments = {name: value for name, value in arguments.items() if name not in query} | {
        name: value for name, value in arguments.items() if name == "prepare_threshold"
    }
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        connect_args=arguments,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=limits.busy_seconds,
        pool_use_lifo=True,
        use_native_hstore=False,
    )


def _sqlite(url: URL, limits: Limits, pool_size: int) -> Engine:
    arguments = {
        "check_same_thread": False,
        "timeout": limits.busy_seconds,
        "cached_statements": _PREPARED_STATEMENTS,
    }
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": limits.busy_seconds,
        "pool_use_lifo": True,
    }
    in_memory = file_of(url) is None
    if in_memory:
        # A second connection would be a second, empty database.
        options = {"poolclass": StaticPool}
    engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args=arguments, **options)
    event.listen(engine, "connect", _prepare_sqlite)
    if not in_memory:
        _follow_file(engine)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # A read-only file, or one that others are just opening, keeps the mode that it has.
    with suppress(sqlite3.OperationalError):
        # Readers and the writer do not wait for each other, and a commit is on disk when it returns.
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    cursor.execute("PRAGMA foreign_keys = ON")
    # Or an INSERT OR REPLACE would delete rows past the triggers that forbid it.
    cursor.execute("PRAGMA recursive_triggers = ON")
    cursor.close()


def _follow_file(engine: Engine) -> None:
    """Notice that the database file was removed or replaced.

    An open connection goes on writing into a file that was deleted, and a new one would quietly make a new,
    empty database. So each use compares the file with the one that was opened, and once a database has been
    there it is not made again.
    """
    path = file_of(engine.url)
    assert path is not None
    seen = False

    def identity() -> tuple[int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def before(*_: Any) -> None:
        if seen and identity() is None:
            raise sqlite3.OperationalError("the database file is gone")

    def after(_: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        nonlocal seen
        seen = True
        entry.info["neruba_file"] = identity()

    def checked(_: Any, entry: ConnectionPoolEntry, __: Any) -> None:
        if entry.info.get("neruba_file") != identity():
            raise exc.DisconnectionError("the database file is gone or another one")

    event.listen(engine, "do_connect", before)
    event.listen(engine, "connect", after)
    event.listen(engine, "checkout", checked)
