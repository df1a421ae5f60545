"""Statements that PostgreSQL runs while we go on.

One is sent on the unit's connection, inside its transaction, and what came of it is asked for only when
anything else is to be done there: the server inserts while Python decides what comes next. It ends with a
Sync of its own, like any statement: behind it the server idles, and its limits for a statement, a lock and
an idle transaction hold as ever. In the driver's pipeline they would not, and there the driver takes what
stands behind a failure for prepared. Another unit's statement never finds it: whether something is on its
way is asked of libpq, not remembered, for an interrupt may come between any two steps of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import count

from sqlalchemy import Connection, exc

from neruba_core.storage.sql.arrays import Packed, number_of
from neruba_core.storage.sql.bulk import Bulk
from neruba_core.storage.sql.driver import as_ever, driver_of

_BINARY = 1


def send(connection: Connection, parts: Sequence[tuple[Bulk, tuple[Packed, ...]]]) -> None:
    """Have the server begin with all *parts*, each with its parameters, as one statement.

    Foreign keys are checked at its end, so rows may refer to those of another part. Raises what
    SQLAlchemy would, and so does ``receive``.
    """
    from psycopg import generators

    driver = driver_of(connection)
    arrays = [array for _, arrays in parts for array in arrays]
    text = _together(tuple([bulk.postgresql for bulk, _ in parts]))
    try:
        numbers, formats = [number_of(array) for array in arrays], [_BINARY] * len(arrays)
        driver.pgconn.send_query_params(text, arrays, numbers, formats)
        # The server begins when it has everything, and the socket may not take that at once.
        driver.wait(generators.send(driver.pgconn))
    except driver.Error as error:
        raise as_ever(driver, error) from error


def receive(connection: Connection) -> None:
    """Wait for what was sent, if anything was, and see that it went well."""
    from psycopg import errors, generators
    from psycopg.pq import ExecStatus

    driver = driver_of(connection)
    try:
        for result in driver.wait(generators.execute(driver.pgconn)):
            if result.status != ExecStatus.COMMAND_OK:
                raise errors.error_from_result(result, driver.info.encoding)
    except driver.Error as error:
        raise as_ever(driver, error) from error


def await_end(connection: Connection) -> None:
    """Wait until nothing is on its way on *connection*, whatever comes of it."""
    from psycopg.pq import TransactionStatus

    driver = driver_of(connection)
    if driver.pgconn.transaction_status == TransactionStatus.ACTIVE:
        with suppress(exc.SQLAlchemyError):
            receive(connection)


@cache
def _together(statements: tuple[str, ...]) -> bytes:
    """One statement that does the same as *statements*, in libpq's words."""
    places = count(1)
    numbered = []
    for statement in statements:
        first, *others = statement.split("%b")
        numbered.append("".join([first, *[f"${next(places)}{other}" for other in others]]))
    *before, last = numbered
    made = ", ".join([f"part_{number} AS ({each})" for number, each in enumerate(before, 1)])
    return (f"WITH {made} {last}" if made else last).encode()
