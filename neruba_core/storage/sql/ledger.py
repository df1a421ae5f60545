"""Heads, accounts, transactions and entries: tables, queries and row mapping.

A project's head is the one row that its ledger transactions lock; everything else of the ledger is
written under that lock alone. Rows of one unit may come in any order, so the foreign keys among ledger
tables are checked when it commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import astuple, frozen
from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    func,
    or_,
    select,
)
from sqlalchemy import text as sql

from neruba_core.errors import CursorInvalid
from neruba_core.instants import Instant
from neruba_core.ledger.model import Account, Entry, Head, Transaction, TransactionType
from neruba_core.money import MAX_TOTAL_MICROS
from neruba_core.storage.sql.bulk import insert, update, upsert
from neruba_core.storage.sql.codec import dump_properties, instant, load_properties, micros, micros_or_none
from neruba_core.storage.sql.columns import (
    METADATA,
    binary,
    flag,
    one_of,
    reference,
    small,
    tenant,
    text,
    whole,
)
from neruba_core.storage.sql.statements import Statements, within

HEADS = Table(
    "neruba_heads",
    METADATA,
    text("project_id"),
    whole("version"),
    whole("balance_micros"),
    whole("overdraft_micros"),
    whole("held_micros"),
    whole("receivable_micros"),
    PrimaryKeyConstraint("project_id", name="neruba_heads_pk"),
    tenant("neruba_heads"),
    CheckConstraint("version >= 0", name="neruba_heads_version_ck"),
    CheckConstraint("overdraft_micros >= 0 AND held_micros >= 0", name="neruba_heads_amounts_ck"),
)

ACCOUNTS = Table(
    "neruba_accounts",
    METADATA,
    text("project_id"),
    text("name"),
    whole("balance_micros"),
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
)

TRANSACTIONS = Table(
    "neruba_transactions",
    METADATA,
    text("project_id"),
    whole("version"),
    text("id"),
    text("type"),
    text("operation"),
    whole("amount_micros"),
    whole("balance_after_micros"),
    text("description"),
    text("event_id", optional=True),
    text("metadata", optional=True),
    text("grant_id", optional=True),
    text("reverses", optional=True),
    text("idempotency_key"),
    binary("fingerprint"),
    small("fingerprint_version"),
    text("actor"),
    text("request_id", optional=True),
    whole("effective_at"),
    whole("recorded_at"),
    text("body"),
    PrimaryKeyConstraint("project_id", "version", name="neruba_transactions_pk"),
    UniqueConstraint("project_id", "id", name="neruba_transactions_id_uq"),
    # The operation comes last: before there are statistics, PostgreSQL could not tell these two apart
    # when it looks for one key, and would read the whole operation by the wrong one.
    UniqueConstraint("project_id", "idempotency_key", "operation", name="neruba_transactions_key_uq"),
    UniqueConstraint("project_id", "event_id", "operation", name="neruba_transactions_event_uq"),
    tenant("neruba_transactions"),
    reference(
        "neruba_transactions_reverses_fk",
        ["project_id", "reverses"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    one_of("type", TransactionType, "neruba_transactions_type_ck"),
    CheckConstraint("version > 0", name="neruba_transactions_version_ck"),
    CheckConstraint("amount_micros > 0", name="neruba_transactions_amount_ck"),
    CheckConstraint("(type = 'reversal') = (reverses IS NOT NULL)", name="neruba_transactions_reverses_ck"),
    Index(
        "neruba_transactions_reverses_ix",
        "project_id",
        "reverses",
        postgresql_where=sql("reverses IS NOT NULL"),
        sqlite_where=sql("reverses IS NOT NULL"),
    ),
)

ENTRIES = Table(
    "neruba_entries",
    METADATA,
    text("project_id"),
    whole("version"),
    small("number"),
    text("transaction_id"),
    text("account"),
    whole("debit_micros"),
    whole("credit_micros"),
    whole("balance_after_micros"),
    PrimaryKeyConstraint("project_id", "version", "number", name="neruba_entries_pk"),
    reference(
        "neruba_entries_transaction_fk",
        ["project_id", "version"],
        "neruba_transactions",
        ["project_id", "version"],
        deferred=True,
    ),
    CheckConstraint(
        "debit_micros >= 0 AND credit_micros >= 0 AND (debit_micros > 0) <> (credit_micros > 0)",
        name="neruba_entries_one_side_ck",
    ),
    Index("neruba_entries_account_ix", "project_id", "account", "version"),
)

_ADD_HEAD = insert(HEADS)
_WRITE_HEADS = update(
    HEADS, "version", "balance_micros", "overdraft_micros", "held_micros", "receivable_micros"
)
_WRITE_ACCOUNTS = upsert(ACCOUNTS, "balance_micros", "emptied")
_ADD_TRANSACTIONS = insert(TRANSACTIONS)
_ADD_ENTRIES = insert(ENTRIES)

WALLET = "wallet:"
_LOW_BITS = 0xFFFFFFFF


@frozen
class SqlLedger:
    """``LedgerStore`` within one unit."""

    _statements: Statements

    def add_head(self, head: Head) -> None:
        self._statements.write(_ADD_HEAD, [astuple(head)])

    def lock_heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        query = (
            select(HEADS)
            .where(self._statements.among(HEADS.c.project_id, project_ids))
            .order_by(HEADS.c.project_id)
            .with_for_update()
        )
        return {row[0]: Head(*row) for row in self._statements.rows(query)}

    def head(self, project_id: str) -> Head | None:
        row = self._statements.row(select(HEADS).where(HEADS.c.project_id == project_id))
        return None if row is None else Head(*row)

    def accounts(self, project_ids: Sequence[str]) -> Sequence[Account]:
        open_ones = self._statements.among(ACCOUNTS.c.project_id, project_ids), ~ACCOUNTS.c.emptied
        query = select(ACCOUNTS.c.project_id, ACCOUNTS.c.name, ACCOUNTS.c.balance_micros).where(*open_ones)
        return [Account(*row) for row in self._statements.rows(query)]

    def write_heads(self, heads: Sequence[Head]) -> None:
        rows = [
            (
                head.version,
                head.balance_micros,
                head.overdraft_micros,
                head.held_micros,
                head.receivable_micros,
                head.project_id,
            )
            for head in heads
        ]
        self._statements.write(_WRITE_HEADS, rows)

    def write_accounts(self, accounts: Sequence[Account]) -> None:
        rows = [
            (a.project_id, a.name, a.balance_micros, a.balance_micros == 0 and a.name.startswith(WALLET))
            for a in accounts
        ]
        self._statements.write(_WRITE_ACCOUNTS, rows)

    def append(self, transactions: Sequence[Transaction], entries: Sequence[Entry]) -> None:
        self._statements.write(_ADD_TRANSACTIONS, [_transaction_row(made) for made in transactions])
        rows = [
            (
                e.project_id,
                e.version,
                e.number,
                e.transaction_id,
                e.account,
                e.debit_micros,
                e.credit_micros,
                e.balance_after_micros,
            )
            for e in entries
        ]
        self._statements.write(_ADD_ENTRIES, rows)

    # --- transactions -------------------------------------------------------------------------

    def transactions_by_keys(
        self, project_id: str, operation: str, keys: Iterable[str]
    ) -> dict[str, Transaction]:
        found = self._of_operation(project_id, operation, TRANSACTIONS.c.idempotency_key, keys)
        return {transaction.idempotency_key: transaction for transaction in found}

    def transactions_by_event_ids(
        self, project_id: str, operation: str, event_ids: Iterable[str]
    ) -> dict[str, Transaction]:
        found = self._of_operation(project_id, operation, TRANSACTIONS.c.event_id, event_ids)
        return {str(transaction.event_id): transaction for transaction in found}

    def _of_operation(
        self, project_id: str, operation: str, column: Column[str], values: Iterable[str]
    ) -> list[Transaction]:
        query = select(TRANSACTIONS).where(
            TRANSACTIONS.c.project_id == project_id, TRANSACTIONS.c.operation == operation
        )
        query = self._statements.each(query, column, values)
        return [_transaction(row) for row in self._statements.rows(query)]

    def transaction(self, project_id: str, transaction_id: str) -> Transaction | None:
        return next(iter(self._transactions(project_id, TRANSACTIONS.c.id == transaction_id)), None)

    def reversals_of(self, project_id: str, transaction_id: str) -> Sequence[Transaction]:
        return self._transactions(project_id, TRANSACTIONS.c.reverses == transaction_id)

    def _transactions(self, project_id: str, *conditions: ColumnElement[bool]) -> list[Transaction]:
        query = select(TRANSACTIONS).where(TRANSACTIONS.c.project_id == project_id, *conditions)
        rows = self._statements.rows(query.order_by(TRANSACTIONS.c.version))
        return [_transaction(row) for row in rows]

    def transactions(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        type: TransactionType | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> Sequence[Transaction]:
        table = TRANSACTIONS.c
        query = select(TRANSACTIONS).where(table.project_id == project_id)
        if before is not None:
            query = query.where(table.version < _number(before))
        if type is not None:
            query = query.where(table.type == type.value)
        query = query.where(*within(table.effective_at, micros_or_none(start), micros_or_none(end)))
        query = query.order_by(table.version.desc()).limit(limit)
        return [_transaction(row) for row in self._statements.rows(query)]

    def transaction_count(self, project_id: str) -> int:
        query = select(func.count()).select_from(TRANSACTIONS).where(TRANSACTIONS.c.project_id == project_id)
        row = self._statements.row(query)
        return 0 if row is None else int(row[0])

    def projects_changed_since(self, versions: dict[str, int]) -> Sequence[str]:
        rows = self._statements.rows(select(HEADS.c.project_id, HEADS.c.version).order_by(HEADS.c.project_id))
        return [project_id for project_id, version in rows if version != versions.get(project_id, 0)]

    # --- entries ------------------------------------------------------------------------------

    def entries_of(self, project_id: str, transaction_id: str) -> Sequence[Entry]:
        version = (
            select(TRANSACTIONS.c.version)
            .where(TRANSACTIONS.c.project_id == project_id, TRANSACTIONS.c.id == transaction_id)
            .scalar_subquery()
        )
        query = (
            select(ENTRIES)
            .where(ENTRIES.c.project_id == project_id, ENTRIES.c.version == version)
            .order_by(ENTRIES.c.number)
        )
        return [Entry(*row) for row in self._statements.rows(query)]

    def entries(
        self, project_id: str, *, limit: int, before: str | None, account: str | None = None
    ) -> Sequence[Entry]:
        table = ENTRIES.c
        query = select(ENTRIES).where(table.project_id == project_id)
        if account is not None:
            query = query.where(table.account == account)
        if before is not None:
            version, number = (_number(part) for part in _parts(before))
            query = query.where(table.version <= version, or_(table.version < version, table.number < number))
        query = query.order_by(table.version.desc(), table.number.desc()).limit(limit)
        return [Entry(*row) for row in self._statements.rows(query)]

    def balances(
        self, project_id: str, *, as_of: Instant | None = None, known_at: Instant | None = None
    ) -> dict[str, int]:
        debit, credit = ENTRIES.c.debit_micros, ENTRIES.c.credit_micros
        sums: tuple[ColumnElement[Any], ...] = (func.sum(debit), func.sum(credit))
        if not self._statements.postgresql:
            # SQLite's SUM fails beyond 64 bits, which the sides of a busy account may well reach.
            halves = [(side.op("&")(_LOW_BITS), side.op(">>")(32)) for side in (debit, credit)]
            sums = tuple(func.sum(half) for pair in halves for half in pair)
        query = select(ENTRIES.c.account, *sums).where(ENTRIES.c.project_id == project_id)
        if as_of is not None or known_at is not None:
            query = query.join(
                TRANSACTIONS,
                (TRANSACTIONS.c.project_id == ENTRIES.c.project_id)
                & (TRANSACTIONS.c.version == ENTRIES.c.version),
            )
        if as_of is not None:
            query = query.where(TRANSACTIONS.c.effective_at <= micros(as_of))
        if known_at is not None:
            query = query.where(TRANSACTIONS.c.recorded_at <= micros(known_at))
        rows = self._statements.rows(query.group_by(ENTRIES.c.account))
        return {row[0]: _balance(*map(int, row[1:])) for row in rows}

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables; of the accounts those that hold anything."""
        head = self.head(project_id)
        if head is not None:
            yield "heads", head
        yield from (("accounts", held) for held in self.accounts([project_id]) if held.balance_micros)
        yield from (("transactions", transaction) for transaction in self._transactions(project_id))
        query = select(ENTRIES).where(ENTRIES.c.project_id == project_id)
        yield from (("entries", Entry(*row)) for row in self._statements.rows(query))


def _balance(*sums: int) -> int:
    if len(sums) == 2:
        return sums[0] - sums[1]
    debit_low, debit_high, credit_low, credit_high = sums
    return debit_low - credit_low + ((debit_high - credit_high) << 32)


def _parts(place: str) -> tuple[str, str]:
    version, _, number = place.partition(".")
    return version, number


def _number(digits: str) -> int:
    """A number out of a cursor, whose sender may have made it up."""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise CursorInvalid
    return min(int(digits), MAX_TOTAL_MICROS)


def _transaction_row(transaction: Transaction) -> tuple[Any, ...]:
    return (
        transaction.project_id,
        transaction.version,
        transaction.id,
        transaction.type.value,
        transaction.operation,
        transaction.amount_micros,
        transaction.balance_after_micros,
        transaction.description,
        transaction.event_id,
        dump_properties(transaction.metadata),
        transaction.grant_id,
        transaction.reverses,
        transaction.idempotency_key,
        transaction.fingerprint,
        transaction.fingerprint_version,
        transaction.actor,
        transaction.request_id,
        micros(transaction.effective_at),
        micros(transaction.recorded_at),
        transaction.body,
    )


def _transaction(row: Any) -> Transaction:
    project_id, version, transaction_id, type_, operation, amount, balance_after, description = row[:8]
    event_id, metadata, grant_id, reverses, key, fingerprint, fingerprint_version = row[8:15]
    actor, request_id, effective_at, recorded_at, body = row[15:]
    return Transaction(
        project_id,
        version,
        transaction_id,
        TransactionType(type_),
        operation,
        amount,
        balance_after,
        description,
        event_id,
        load_properties(metadata),
        grant_id,
        reverses,
        key,
        bytes(fingerprint),
        fingerprint_version,
        actor,
        request_id,
        instant(effective_at),
        instant(recorded_at),
        body,
    )
