"""Whether a host's transaction can carry ours, and what it takes.

The host's commit must be our commit, and the host's rollback ours. Two things stand in the way: a
connection on which no transaction is open although it looks so (autocommit; Python's SQLite driver, which
begins only at the first write), where a savepoint would become a transaction of its own and survive the
host's rollback; and an isolation under which our locks do not show what others committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, exc

from neruba_core.errors import NotJoinable
from neruba_core.storage.sql.driver import driver_of
from neruba_core.storage.sql.engine import TAKE_WRITE_LOCK
from neruba_core.storage.sql.failures import in_our_words
from neruba_core.storage.sql.statements import Statements

_BUSY = 5
_BUSY_SNAPSHOT = 517


@contextmanager
def joined(connection: Any) -> Iterator[Statements]:
    """Statements inside the host's transaction; raises ``NotJoinable``."""
    if not isinstance(connection, Connection):
        raise NotJoinable(
            f"expected an open SQLAlchemy Connection, not {type(connection).__name__}; "
            "with a Session, give session.connection()"
        )
    if connection.closed or connection.invalidated or not connection.in_transaction():
        raise NotJoinable("the connection is in no transaction; begin one first")
    driver = (connection.dialect.name, connection.dialect.driver)
    if driver == ("sqlite", "pysqlite"):
        _need_write_lock(connection)
    elif driver == ("postgresql", "psycopg"):
        _need_read_committed(connection)
    else:
        raise NotJoinable(f"the driver {'+'.join(driver)} is not supported; use psycopg 3 or sqlite3")
    yield Statements(connection, driver[0] == "postgresql")


def _need_read_committed(connection: Connection) -> None:
    query = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    try:
        isolation, read_only = connection.exec_driver_sql(query).one()
    except exc.SQLAlchemyError as error:
        raise in_our_words(error) or NotJoinable("the transaction has failed; roll it back first") from error
    raw = driver_of(connection)
    if raw.info.transaction_status.name != "INTRANS":
        raise NotJoinable("the connection is in autocommit mode; use one that commits explicitly")
    if isolation != "read committed":
        raise NotJoinable(f"its isolation is {isolation.upper()}; it must be READ COMMITTED")
    if read_only == "on":
        raise NotJoinable("it is read-only")


def _need_write_lock(connection: Connection) -> None:
    raw = driver_of(connection)
    # Since Python 3.12 the driver can keep a transaction open at all times; else it begins when it likes.
    keeps_open = getattr(raw, "autocommit", None) is False
    explicit = raw.isolation_level is None or keeps_open
    if connection.in_nested_transaction() and not explicit:
        raise NotJoinable(
            "a SAVEPOINT may have begun it, and to release that would commit; have your engine begin "
            "explicitly, see the chapter on SQLite's transactions in SQLAlchemy's manual"
        )
    try:
        if not raw.in_transaction:
            if explicit or getattr(raw, "autocommit", None) is True:
                raise NotJoinable("the connection is in autocommit mode; use one that commits explicitly")
            # The driver would begin at the first write only. Its commit and rollback end this one too.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(TAKE_WRITE_LOCK)
    except exc.DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error) and error.orig.sqlite_errorcode == _BUSY_SNAPSHOT:
            raise NotJoinable(
                "it has read before others wrote and can no longer write; begin it with BEGIN IMMEDIATE"
            ) from error
        refusal = in_our_words(error)
        if refusal is None:
            raise
        raise refusal from error
