"""Statements that write many rows at once, past SQLAlchemy's per-row work.

PostgreSQL gets one array a column and unnests them, so that a statement is the same text, and stays
prepared, however many rows it carries. SQLite gets the rows one by one from the driver's own loop. Rows
are tuples in the order of ``columns``. Sort them by key wherever two units may write the same rows: in
opposite orders they would wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, count
from typing import Any

from attrs import frozen
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table

from neruba_core.storage.sql.arrays import Packed, pack

_KINDS: dict[type, str] = {BigInteger: "int8", Integer: "int4", Boolean: "bool", LargeBinary: "bytea"}

MOST_ROWS = 64
"""How many rows one statement writes on SQLite."""


@frozen
class Bulk:
    """One statement in both dialects."""

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    postgresql: str
    sqlite: str
    """For one row."""
    values: str = ""
    """The part of ``sqlite`` that may be there once for each row, if there is one."""

    def blocks(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Statements that write the rows on SQLite, each with its parameters.

        Python's driver lets other threads run before and after each row of an ``executemany``, and a thread
        that wants to go on waits for them. Rows that share a statement wait once. Their number is a power
        of two, so that there are few statements to prepare.
        """
        once: tuple[bool, ...] = ()
        shared: list[Any] = []
        if len(rows) >= MOST_ROWS:
            once, shared, own = _told_once(rows)
        else:
            own = list(chain.from_iterable(rows))
        width = len(self.columns) - len(shared)
        start, size = 0, MOST_ROWS
        while start < len(rows):
            while size > len(rows) - start:
                size //= 2
            end = start + size
            yield (
                _for_rows(self.sqlite, self.values, size, once),
                tuple(shared + own[start * width : end * width]),
            )
            start = end

    def arrays(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Packed, ...]:
        """The rows as the parameters that PostgreSQL gets."""
        return tuple(map(pack, self.kinds, zip(*rows, strict=True)))


def _told_once(rows: Sequence[tuple[Any, ...]]) -> tuple[tuple[bool, ...], list[Any], list[Any]]:
    """Which columns say one thing only, what these say, and the rest, row after row.

    Project, actor, type, time, all that is NULL: a parameter less for each of the rows is a quarter of what
    SQLite does for them. A smaller number of rows is left as it is, or statements would be as many as
    mixtures of rows.
    """
    columns = list(zip(*rows, strict=True))
    once = tuple([column.count(column[0]) == len(rows) for column in columns])
    shared = [column[0] for column, one in zip(columns, once, strict=True) if one]
    others = [column for column, one in zip(columns, once, strict=True) if not one]
    own = [None] * (len(others) * len(rows))
    for place, column in enumerate(others):
        own[place :: len(others)] = column
    return once, shared, own


@lru_cache(512)
def _for_rows(statement: str, values: str, rows: int, once: tuple[bool, ...]) -> str:
    """*statement* for so many rows, which share the first parameters: those of the columns told *once*."""
    if not any(once):
        return statement.replace(values, ", ".join([values] * rows), 1)
    shared, own = count(1), count(1 + sum(once))
    numbers = [next(shared) if one else 0 for one in once]
    written = [f"({', '.join([f'?{number or next(own)}' for number in numbers])})" for _ in range(rows)]
    return statement.replace(values, ", ".join(written), 1)


def columns_of(table: Table) -> list[Column[object]]:
    """The columns of all databases, which we write and read ourselves."""
    return [column for column in table.columns if not column.info]


def insert(table: Table, *, ending: str = "") -> Bulk:
    """Insert rows; *ending* may be an ``ON CONFLICT`` clause."""
    columns = columns_of(table)
    names = tuple(column.name for column in columns)
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    values = f"({', '.join('?' * len(names))})"
    return Bulk(
        names,
        _kinds(columns),
        # Not FROM unnest(…): PostgreSQL would put each column into a store of its own first.
        f"{into} SELECT {', '.join(f'unnest({array})' for array in _arrays(columns))} {ending}".strip(),
        f"{into} VALUES {values} {ending}".strip(),
        values,
    )


def insert_new(table: Table, *unique: str, where: str = "") -> Bulk:
    """Insert the rows that collide with none; *unique* narrows that to one unique key."""
    # Not INSERT OR IGNORE: on SQLite that also swallows rows that break a check.
    target = f" ({', '.join(unique)})" if unique else ""
    return insert(table, ending=f"ON CONFLICT{target}{where} DO NOTHING")


def upsert(table: Table, *changed: str) -> Bulk:
    """Insert rows, or overwrite the *changed* columns of those whose primary key is there."""
    key = ", ".join(column.name for column in table.primary_key)
    settings = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return insert(table, ending=f"ON CONFLICT ({key}) DO UPDATE SET {settings}")


def update(table: Table, *changed: str) -> Bulk:
    """Overwrite the *changed* columns of the rows with these primary keys.

    The columns of a row are the changed ones and then the key. The rows must be locked already.
    """
    key = tuple(column.name for column in table.primary_key)
    names = (*changed, *key)
    columns = [table.columns[name] for name in names]
    settings = ", ".join(f"{name} = v.{name}" for name in changed)
    same = " AND ".join(f"t.{name} = v.{name}" for name in key)
    bound = ", ".join(f"{name} = ?{place}" for place, name in enumerate(changed, 1))
    found = " AND ".join(f"{name} = ?{place}" for place, name in enumerate(key, len(changed) + 1))
    given = f"unnest({', '.join(_arrays(columns))}) v({', '.join(names)})"
    return Bulk(
        names,
        _kinds(columns),
        f"UPDATE {table.name} t SET {settings} FROM {given} WHERE {same}",
        f"UPDATE {table.name} SET {bound} WHERE {found}",
    )


def _kinds(columns: Sequence[Column[object]]) -> tuple[str, ...]:
    return tuple(_KINDS.get(type(column.type), "text") for column in columns)


def _arrays(columns: Sequence[Column[object]]) -> list[str]:
    return [f"%b::{kind}[]" for kind in _kinds(columns)]
