"""The few kinds of column that all our tables are made of.

Ids and keys are text in bytewise order, so that SQLite, PostgreSQL and Python sort them alike. Money and
units are 64-bit micro-units, instants 64-bit microseconds since 1970. Properties are JSON as text: the
order of keys survives, and a missing object (NULL) stays different from an empty one. A column takes no
NULL unless it is said to be ``optional``.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    Text,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

METADATA = MetaData()
"""All our tables. The migrations are what makes them; a test holds the two against each other."""

BYTEWISE: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
"""Text whose order is that of its bytes, which is SQLite's only order."""

POSTGRESQL_ONLY = {"dialect": "postgresql"}
"""The ``info`` of columns and indexes that exist on PostgreSQL only."""

SQLITE_ONLY = {"dialect": "sqlite"}
"""The ``info`` of columns and indexes that exist on SQLite only."""


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's ``xid8``: the number of the database transaction that wrote a row."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "XID8"


def text(name: str, *, optional: bool = False) -> Column[Any]:
    """An id, a key, a name, or JSON."""
    return Column(name, BYTEWISE, nullable=optional)


def whole(name: str, *, optional: bool = False) -> Column[Any]:
    """A 64-bit integer: micro-units, a version, or the microseconds of an instant."""
    return Column(name, BigInteger, nullable=optional)


def small(name: str, *, optional: bool = False) -> Column[Any]:
    """A 32-bit integer."""
    return Column(name, Integer, nullable=optional)


def flag(name: str) -> Column[Any]:
    """True or false."""
    return Column(name, Boolean, nullable=False)


def binary(name: str) -> Column[Any]:
    """A digest."""
    return Column(name, LargeBinary, nullable=False)


def one_of(column: str, values: type[Enum], name: str) -> CheckConstraint:
    """The column holds a value of the enum and nothing else."""
    # Not IN: SQLite makes a table of such a list, anew for each row, which cost more than the row's indexes.
    allowed = " OR ".join(f"{column} = '{value.value}'" for value in values)
    return CheckConstraint(allowed, name=name)


def tenant(table: str, *, column: str = "project_id") -> ForeignKeyConstraint:
    """Every row of *table* belongs to a project that exists."""
    return ForeignKeyConstraint([column], ["neruba_projects.id"], name=f"{table}_project_fk")


def reference(
    name: str, columns: list[str], target: str, target_columns: list[str], *, deferred: bool = False
) -> ForeignKeyConstraint:
    """A foreign key; a *deferred* one is checked when the unit commits, so rows may come in any order."""
    return ForeignKeyConstraint(
        columns,
        [f"{target}.{column}" for column in target_columns],
        name=name,
        deferrable=True if deferred else None,
        initially="DEFERRED" if deferred else None,
    )
