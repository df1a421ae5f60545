"""Heads and accounts: tables, queries and row mapping. Transactions and entries are in ``journal``.

A project's head is the one row that its ledger transactions lock; everything else of the ledger is
written under that lock alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import astuple, frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, func, select
from sqlalchemy import text as sql

from neruba_core.instants import Instant
from neruba_core.ledger.model import Account, Head
from neruba_core.storage.sql.bulk import insert, update, upsert
from neruba_core.storage.sql.charged import SqlCharged
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, micros_or_none
from neruba_core.storage.sql.columns import METADATA, flag, tenant, text, whole
from neruba_core.storage.sql.journal import SqlJournal
from neruba_core.storage.sql.queries import Query, among, given

HEADS = Table(
    "neruba_heads",
    METADATA,
    text("project_id"),
    whole("version"),
    whole("balance_micros"),
    whole("overdraft_micros"),
    whole("held_micros"),
    whole("receivable_micros"),
    whole("due_at", optional=True),
    flag("low"),
    whole("top_up_at", optional=True),
    PrimaryKeyConstraint("project_id", name="neruba_heads_pk"),
    tenant("neruba_heads"),
    CheckConstraint("version >= 0", name="neruba_heads_version_ck"),
    CheckConstraint("overdraft_micros >= 0 AND held_micros >= 0", name="neruba_heads_amounts_ck"),
    Index(
        "neruba_heads_due_ix",
        "due_at",
        postgresql_where=sql("due_at IS NOT NULL"),
        sqlite_where=sql("due_at IS NOT NULL"),
    ),
    Index(
        "neruba_heads_top_up_ix",
        "top_up_at",
        postgresql_where=sql("top_up_at IS NOT NULL"),
        sqlite_where=sql("top_up_at IS NOT NULL"),
    ),
)

ACCOUNTS = Table(
    "neruba_accounts",
    METADATA,
    text("project_id"),
    text("name"),
    whole("balance_micros"),
    whole("held_micros"),
    # Grants that are spent pile up for ever. An index over this flag finds the others, and unlike one over
    # the balance it leaves PostgreSQL's in-page updates of the balance alone.
    flag("emptied"),
    PrimaryKeyConstraint("project_id", "name", name="neruba_accounts_pk"),
    tenant("neruba_accounts"),
    Index(
        "neruba_accounts_open_ix",
        "project_id",
        "name",
        postgresql_where=sql("NOT emptied"),
        sqlite_where=sql("emptied = 0"),
    ),
    sqlite_with_rowid=False,
)

WALLET = "wallet:"

_ADD_HEAD = insert(HEADS)
_WRITE_HEADS = update(
    HEADS,
    "version",
    "balance_micros",
    "overdraft_micros",
    "held_micros",
    "receivable_micros",
    "due_at",
    "low",
    "top_up_at",
)
_WRITE_ACCOUNTS = upsert(ACCOUNTS, "balance_micros", "held_micros", "emptied")

_HEAD = Query(select(HEADS).where(HEADS.c.project_id == given("project_id")))
_HEADS = Query(lambda postgresql: select(HEADS).where(among(postgresql, HEADS.c.project_id, "project_ids")))
# Locked in ascending order, or two units could wait for each other in a circle.
_LOCK_HEADS = Query(
    lambda postgresql: (
        select(HEADS)
        .where(among(postgresql, HEADS.c.project_id, "project_ids"))
        .order_by(HEADS.c.project_id)
        .with_for_update()
    )
)
_VERSIONS = Query(select(HEADS.c.project_id, HEADS.c.version).order_by(HEADS.c.project_id))
_HEADS_DUE = Query(
    select(HEADS.c.project_id)
    .where(HEADS.c.due_at <= given("at"))
    .order_by(HEADS.c.due_at, HEADS.c.project_id)
    .limit(given("most"))
)
_NEXT_HEAD_DUE = Query(select(func.min(HEADS.c.due_at)).where(HEADS.c.due_at > given("after")))
_TO_TOP_UP = Query(
    select(HEADS.c.project_id, HEADS.c.top_up_at)
    .where(HEADS.c.top_up_at <= given("at"))
    .order_by(HEADS.c.top_up_at, HEADS.c.project_id)
    .limit(given("most"))
)
_NEXT_TOP_UP = Query(select(func.min(HEADS.c.top_up_at)).where(HEADS.c.top_up_at > given("after")))
_ACCOUNTS = Query(
    lambda postgresql: select(
        ACCOUNTS.c.project_id, ACCOUNTS.c.name, ACCOUNTS.c.balance_micros, ACCOUNTS.c.held_micros
    ).where(among(postgresql, ACCOUNTS.c.project_id, "project_ids"), ~ACCOUNTS.c.emptied)
)


@frozen
class SqlLedger(SqlJournal, SqlCharged):
    """``LedgerStore`` within one unit."""

    def add_head(self, head: Head) -> None:
        amounts = astuple(head)[:-3]
        row = (*amounts, micros_or_none(head.due_at), head.low, micros_or_none(head.top_up_at))
        self._statements.write_later(_ADD_HEAD, [row])

    def lock_heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        rows = self._statements.ask(_LOCK_HEADS, project_ids=list(project_ids))
        return {row[0]: _head(row) for row in rows}

    def head(self, project_id: str) -> Head | None:
        row = self._statements.ask_one(_HEAD, project_id=project_id)
        return None if row is None else _head(row)

    def heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        rows = self._statements.ask(_HEADS, project_ids=list(project_ids))
        return {row[0]: _head(row) for row in rows}

    def accounts(self, project_ids: Sequence[str]) -> Sequence[Account]:
        rows = self._statements.ask(_ACCOUNTS, project_ids=list(project_ids))
        return [Account(*row) for row in rows]

    def write_heads(self, heads: Sequence[Head]) -> None:
        rows = [
            (
                head.version,
                head.balance_micros,
                head.overdraft_micros,
                head.held_micros,
                head.receivable_micros,
                micros_or_none(head.due_at),
                head.low,
                micros_or_none(head.top_up_at),
                head.project_id,
            )
            for head in heads
        ]
        self._statements.write_later(_WRITE_HEADS, rows)

    def write_accounts(self, accounts: Sequence[Account]) -> None:
        rows = [
            (
                a.project_id,
                a.name,
                a.balance_micros,
                a.held_micros,
                a.balance_micros == 0 and a.name.startswith(WALLET),
            )
            for a in accounts
        ]
        self._statements.write_later(_WRITE_ACCOUNTS, rows)

    def heads_due(self, at: Instant, *, limit: int) -> Sequence[str]:
        return [row[0] for row in self._statements.ask(_HEADS_DUE, at=micros(at), most=limit)]

    def next_head_due(self, after: Instant) -> Instant | None:
        return instant_or_none(self._statements.ask_one(_NEXT_HEAD_DUE, after=micros(after))[0])

    def heads_to_top_up(self, at: Instant, *, limit: int) -> Sequence[tuple[str, Instant]]:
        rows = self._statements.ask(_TO_TOP_UP, at=micros(at), most=limit)
        return [(project_id, instant(moment)) for project_id, moment in rows]

    def next_top_up(self, after: Instant) -> Instant | None:
        return instant_or_none(self._statements.ask_one(_NEXT_TOP_UP, after=micros(after))[0])

    def projects_changed_since(self, versions: dict[str, int]) -> Sequence[str]:
        rows = self._statements.ask(_VERSIONS)
        return [project_id for project_id, version in rows if version != versions.get(project_id, 0)]

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of the ledger; of the accounts those that hold anything."""
        head = self.head(project_id)
        if head is not None:
            yield "heads", head
        yield from (("accounts", held) for held in self.accounts([project_id]) if held.balance_micros)
        yield from self._export_journal(project_id)


def _head(row: Any) -> Head:
    project_id, version, balance, overdraft, held, receivable, due_at, low, top_up_at = row
    return Head(
        project_id,
        version,
        balance,
        overdraft,
        held,
        receivable,
        instant_or_none(due_at),
        bool(low),
        instant_or_none(top_up_at),
    )
