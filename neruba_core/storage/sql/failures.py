"""What the drivers raise, in our words.

A failure of the database becomes ``StorageUnavailable`` or ``StorageBusy``, so that callers know what to
answer and whether to try again. A broken constraint is no failure of the database but a fault in the code
above it, and passes as it is; but for an event's unique keys, which break where it was presumed to be new.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import exc

from neruba_core.errors import NerubaError, SchemaOutdated, StorageBusy, StorageConflict, StorageUnavailable
from neruba_core.storage.sql.events import ONCE


class FateUnknown(StorageUnavailable):
    """The connection was lost while the unit committed. Run it again: idempotency keys tell what happened."""

    def __str__(self) -> str:
        return f"the database is not available: {self.reason}; it may or may not have committed, so try again"


class UnitOver(StorageUnavailable):
    """Something of this unit failed before, and nothing of it will remain."""


# The primary result codes of SQLite, https://www.sqlite.org/rescode.html
_SQLITE_BUSY = {5: "the database is locked", 6: "a table is locked", 9: "interrupted"}
_SQLITE_UNAVAILABLE = {
    3: "access to the database file is denied",
    7: "out of memory",
    8: "the database is read-only",
    10: "reading or writing the database file failed",
    11: "the database file is damaged",
    13: "the disk is full",
    14: "the database file cannot be opened",
    23: "access to the database is denied",
    26: "the file is not a database",
}
_SQLITE_ERROR = 1

# SQLSTATEs of PostgreSQL, https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_CONFLICT = {"40001": "two units conflicted", "40P01": "two units waited for each other"}
_POSTGRESQL_NOT_UNIQUE = "23505"
_POSTGRESQL_BUSY = {
    "55P03": "a lock was not had in time",
    "57014": "a query took too long",
    "53300": "too many connections",
}
_POSTGRESQL_UNAVAILABLE = {
    "25006": "the database is read-only",
    "25P03": "the unit idled for too long",
    "25P04": "the unit took too long",
    "3D000": "there is no such database",
    "42501": "a permission is missing",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed",
    "57P03": "the server is starting up",
    "57P04": "the database was dropped",
    "57P05": "the session idled for too long",
}
# Connection exceptions, insufficient resources, system errors, damaged data, refused logins.
_POSTGRESQL_UNAVAILABLE_CLASSES = {
    "08": "the connection was lost",
    "28": "the login was refused",
    "53": "the server is out of disk, memory or another resource",
    "58": "the server failed to read or write a file",
    "XX": "the server found its data damaged",
}
_SQLITE_MISSING = ("no such table: neruba_", "no such column: neruba_")
_POSTGRESQL_SCHEMA = {"42P01", "42703"}


def in_our_words(error: Exception) -> NerubaError | None:
    """The refusal that *error* amounts to, or None where it is a fault in the code and not a failure."""
    if isinstance(error, exc.TimeoutError):
        return StorageBusy("all connections are in use")
    cause: Any = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate is not None:
        return _of_postgresql(str(sqlstate), str(cause.diag.constraint_name))
    if isinstance(error, exc.DBAPIError) and (
        error.connection_invalidated or isinstance(error, (exc.OperationalError, exc.InterfaceError))
    ):
        # libpq has no SQLSTATE for a server that does not answer at all.
        return StorageUnavailable("the server cannot be reached or the connection was lost")
    return None


def _of_sqlite(error: sqlite3.Error) -> NerubaError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        gone = isinstance(error, sqlite3.OperationalError)
        return StorageUnavailable(str(error)) if gone else None
    primary = code & 0xFF
    if primary in _SQLITE_BUSY:
        return StorageBusy(_SQLITE_BUSY[primary])
    if primary in _SQLITE_UNAVAILABLE:
        return StorageUnavailable(_SQLITE_UNAVAILABLE[primary])
    if primary == _SQLITE_ERROR and any(missing in str(error) for missing in _SQLITE_MISSING):
        return SchemaOutdated("the database has no tables of ours, or old ones")
    return None


def _of_postgresql(sqlstate: str, constraint: str) -> NerubaError | None:
    if sqlstate == _POSTGRESQL_NOT_UNIQUE and constraint.startswith(ONCE):
        return StorageConflict("an event was recorded before")
    if sqlstate in _POSTGRESQL_CONFLICT:
        return StorageConflict(_POSTGRESQL_CONFLICT[sqlstate])
    if sqlstate in _POSTGRESQL_BUSY:
        return StorageBusy(_POSTGRESQL_BUSY[sqlstate])
    if sqlstate in _POSTGRESQL_SCHEMA:
        return SchemaOutdated("the database has no tables of ours, or old ones")
    reason = _POSTGRESQL_UNAVAILABLE.get(sqlstate) or _POSTGRESQL_UNAVAILABLE_CLASSES.get(sqlstate[:2])
    return None if reason is None else StorageUnavailable(reason)
