"""The server's side of a unit's connection, for tests that take it away."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, text

from neruba_core.storage.sql import SqlStorage


def session(work: Any) -> int:
    """The number of the server's process."""
    [(pid,)] = work._statements.driver_rows("SELECT pg_backend_pid()")
    return int(pid)


def end_session(storage: SqlStorage, pid: int) -> None:
    """End it, on a connection that is none of the storage's own."""
    other = create_engine(storage.engine.url)
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    other.dispose()
