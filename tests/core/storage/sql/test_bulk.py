"""Rows that share statements on SQLite: which of their columns say one thing only makes no difference."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, PrimaryKeyConstraint, Table

from neruba_core.storage.sql.bulk import MOST_ROWS, insert, upsert
from neruba_core.storage.sql.columns import small, text, whole

KEPT = Table(
    "kept",
    MetaData(),
    text("project_id"),
    whole("version"),
    text("metadata", optional=True),
    small("number"),
    PrimaryKeyConstraint("project_id", "version"),
)

Row = tuple[str, int, str | None, int]


def write(database: sqlite3.Connection, rows: list[Row], *, again: bool = False) -> list[str]:
    bulk = upsert(KEPT, "metadata", "number") if again else insert(KEPT)
    statements = list(bulk.blocks(rows))
    for statement, parameters in statements:
        database.execute(statement, parameters)
    return [statement for statement, _ in statements]


def a_database() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE kept (project_id TEXT, version INT, metadata TEXT, number INT)")
    database.execute("CREATE UNIQUE INDEX kept_pk ON kept (project_id, version)")
    return database


@given(
    st.integers(0, 3 * MOST_ROWS),
    st.sampled_from([("p",), ("p", "q")]),
    st.sampled_from([(None,), ("{}",), (None, "{}")]),
    st.sampled_from([(0,), (0, 1)]),
)
def test_what_is_read_is_what_was_written(
    count: int, projects: tuple[str, ...], metadata: tuple[str | None, ...], numbers: tuple[int, ...]
) -> None:
    """
    A value that all rows share is sent once, and every row has it.
    """
    rows: list[Row] = [
        (projects[n % len(projects)], n, metadata[n % len(metadata)], numbers[n % len(numbers)])
        for n in range(count)
    ]
    with_other_numbers: list[Row] = [(*row[:3], row[3] + 1) for row in rows]
    database = a_database()

    write(database, rows)
    first = database.execute("SELECT * FROM kept ORDER BY version").fetchall()
    write(database, with_other_numbers, again=True)
    second = database.execute("SELECT * FROM kept ORDER BY version").fetchall()

    assert first == rows
    assert second == with_other_numbers


def test_rows_that_say_the_same_are_written_as_often_as_they_came() -> None:
    """
    Where nothing tells the rows apart there is still one of each.
    """
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE kept (project_id TEXT, version INT, metadata TEXT, number INT)")

    write(database, [("p", 1, None, 0)] * (MOST_ROWS + 1))

    assert database.execute("SELECT count(*) FROM kept").fetchone() == (MOST_ROWS + 1,)


def test_mixtures_of_rows_share_their_statements() -> None:
    """
    A statement says which columns are shared, never what they say, so that it stays prepared.
    """
    first: list[Row] = [("p", n, None, 0) for n in range(MOST_ROWS)]
    second: list[Row] = [("q", n, "{}", 1) for n in range(MOST_ROWS)]

    assert write(a_database(), first) == write(a_database(), second)
