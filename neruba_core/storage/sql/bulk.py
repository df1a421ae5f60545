"""Statements that write many rows at once, past SQLAlchemy's per-row work.

PostgreSQL gets one array a column and unnests them, so that a statement is the same text, and stays
prepared, however many rows it carries. SQLite gets the rows one by one from the driver's own loop. Rows
are tuples in the order of ``columns``. Sort them by key wherever two units may write the same rows: in
opposite orders they would wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table

from neruba_core.storage.sql.arrays import Packed, pack
from neruba_core.storage.sql.columns import POSTGRESQL_ONLY

_KINDS: dict[type, str] = {BigInteger: "int8", Integer: "int4", Boolean: "bool", LargeBinary: "bytea"}


@frozen
class Bulk:
    """One statement in both dialects."""

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    postgresql: str
    sqlite: str

    def arrays(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Packed, ...]:
        """The rows as the parameters that PostgreSQL gets."""
        return tuple(map(pack, self.kinds, zip(*rows, strict=True)))


def columns_of(table: Table) -> list[Column[object]]:
    """The columns that we write and read ourselves."""
    return [column for column in table.columns if column.info != POSTGRESQL_ONLY]


def insert(table: Table, *, ending: str = "") -> Bulk:
    """Insert rows; *ending* may be an ``ON CONFLICT`` clause."""
    columns = columns_of(table)
    names = tuple(column.name for column in columns)
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    return Bulk(
        names,
        _kinds(columns),
        f"{into} SELECT * FROM unnest({_arrays(columns)}) {ending}".strip(),
        f"{into} VALUES ({', '.join('?' * len(names))}) {ending}".strip(),
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
    given = f"unnest({_arrays(columns)}) v({', '.join(names)})"
    return Bulk(
        names,
        _kinds(columns),
        f"UPDATE {table.name} t SET {settings} FROM {given} WHERE {same}",
        f"UPDATE {table.name} SET {bound} WHERE {found}",
    )


def _kinds(columns: Sequence[Column[object]]) -> tuple[str, ...]:
    return tuple(_KINDS.get(type(column.type), "text") for column in columns)


def _arrays(columns: Sequence[Column[object]]) -> str:
    return ", ".join(f"%b::{kind}[]" for kind in _kinds(columns))
