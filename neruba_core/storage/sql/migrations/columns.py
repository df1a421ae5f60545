"""Column kinds and triggers of the migrations. Frozen: a new kind gets a new name."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[int]):
    """PostgreSQL's number of a database transaction."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "XID8"


class Kinds:
    """Columns as *op*'s database has them; none takes NULL unless ``null`` says so."""

    def __init__(self, op: Operations) -> None:
        self.postgresql = op.get_bind().dialect.name == "postgresql"
        self._text = sa.Text(collation="C") if self.postgresql else sa.Text()

    def text(self, name: str, *, null: bool = False) -> sa.Column[Any]:
        return sa.Column(name, self._text, nullable=null)

    def int8(self, name: str, *, null: bool = False) -> sa.Column[Any]:
        return sa.Column(name, sa.BigInteger(), nullable=null)

    def int4(self, name: str, *, null: bool = False) -> sa.Column[Any]:
        return sa.Column(name, sa.Integer(), nullable=null)

    def flag(self, name: str) -> sa.Column[Any]:
        return sa.Column(name, sa.Boolean(), nullable=False)

    def binary(self, name: str) -> sa.Column[Any]:
        return sa.Column(name, sa.LargeBinary(), nullable=False)

    def xact(self) -> list[sa.Column[Any]]:
        """The writing transaction, where the database can name it."""
        default = sa.text("pg_current_xact_id()")
        return [sa.Column("xact", Xid8(), nullable=False, server_default=default)] if self.postgresql else []

    def place(self) -> list[sa.Column[Any]]:
        """The writing transaction, or where the database cannot name it the place among other rows."""
        return self.xact() or [sa.Column("place", sa.BigInteger(), nullable=False)]


def one_of(column: str, *values: str) -> str:
    """That *column* is one of *values*. Not IN: SQLite makes a table of such a list, anew for each row."""
    return " OR ".join(f"{column} = '{value}'" for value in values)


_POSTGRESQL_REFUSAL = """
CREATE FUNCTION neruba_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$
"""


def make_refusal(op: Operations) -> None:
    """What the triggers call, on PostgreSQL."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRESQL_REFUSAL)


def append_only(op: Operations, *tables: str) -> None:
    """Refuse UPDATE, DELETE and TRUNCATE on the tables, whoever asks."""
    for table in tables:
        if op.get_bind().dialect.name == "postgresql":
            # Once a statement, so that inserts cost nothing and even a change of no row is refused.
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION neruba_refuse_change()"
            )
            continue
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: {change} is refused'); END"
            )
