"""The driver's own connection, beneath SQLAlchemy's.

What is asked again and again goes straight to it: where SQLite answers in 6 µs, SQLAlchemy takes another 18
to hand the question on and describe the answer, and on PostgreSQL 40. Failures are SQLAlchemy's all the same.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Connection, exc


def driver_of(connection: Connection) -> Any:
    """The psycopg or sqlite3 connection behind *connection*."""
    return connection.connection.driver_connection


def rows(driver: Any, text: str, parameters: Any) -> list[Any]:
    """All rows that the statement gives."""
    cursor = driver.cursor()
    try:
        cursor.execute(text, parameters)
        found: list[Any] = cursor.fetchall()
    except driver.Error as error:
        raise as_ever(driver, error) from error
    return found


def count(driver: Any, text: str, parameters: Any) -> int:
    """How many rows the statement met."""
    cursor = driver.cursor()
    try:
        cursor.execute(text, parameters)
    except driver.Error as error:
        raise as_ever(driver, error) from error
    return int(cursor.rowcount)


def as_ever(driver: Any, error: Exception) -> BaseException:
    """*error* as it would be had SQLAlchemy run the statement."""
    lost = bool(getattr(driver, "closed", False))
    return cast(
        BaseException,
        exc.DBAPIError.instance(None, None, error, driver.Error, connection_invalidated=lost),
    )
