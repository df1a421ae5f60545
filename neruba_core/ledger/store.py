"""What the ledger asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.ledger.model import (
    Account,
    Charged,
    ChargesWanted,
    Entry,
    Head,
    Transaction,
    TransactionType,
)


class LedgerStore(Protocol):
    """Heads, accounts, transactions and entries. Transactions and entries are append-only."""

    def add_head(self, head: Head) -> None:
        """Insert the head of a new project."""

    def lock_heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        """The heads, locked until the unit ends, taken in ascending project id so that no two units
        wait for each other in a circle. Whoever holds a head sees all that was committed under it."""

    def head(self, project_id: str) -> Head | None: ...

    def heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        """The heads as they are, by project id; where there is none, nothing."""

    def accounts(self, project_ids: Sequence[str]) -> Sequence[Account]:
        """Every account that is not an emptied wallet account (``wallet:`` at zero)."""

    def write_heads(self, heads: Sequence[Head]) -> None:
        """Overwrite locked heads."""

    def write_accounts(self, accounts: Sequence[Account]) -> None:
        """Insert or overwrite the balances of accounts whose head is locked."""

    def append(self, transactions: Sequence[Transaction]) -> None:
        """Insert them with their entries, in bulk; a unit of many does so several times. A version or key
        that is taken fails the unit, at its end at the latest: it cannot happen under the head."""

    def transactions_by_keys(
        self, project_id: str, operation: str, keys: Iterable[str]
    ) -> dict[str, Transaction]:
        """Booked transactions by idempotency key."""

    def transactions_by_event_ids(
        self, project_id: str, operation: str, event_ids: Iterable[str]
    ) -> dict[str, Transaction]:
        """Booked transactions by event id."""

    def transaction(self, project_id: str, transaction_id: str) -> Transaction | None: ...

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
        """By descending version, below the place *before*; *start* and *end* bound ``effective_at``."""

    def reversals_of(self, project_id: str, transaction_id: str) -> Sequence[Transaction]:
        """The reversals of a transaction, by ascending version."""

    def entries(
        self, project_id: str, *, limit: int, before: str | None, account: str | None = None
    ) -> Sequence[Entry]:
        """By descending (version, number), below the place *before*."""

    def balances(
        self, project_id: str, *, as_of: Instant | None = None, known_at: Instant | None = None
    ) -> dict[str, int]:
        """Balances re-derived from entries alone, debit positive, by account: those of transactions
        effective at or before *as_of* and recorded at or before *known_at*."""

    def charges(self, wanted: Sequence[ChargesWanted]) -> Sequence[Charged]:
        """The charges that are *wanted* (at most once a project) with all their reversals, and those
        reversals above version ``since`` whose charge is effective before ``start``; by project and
        version."""

    def heads_due(self, at: Instant, *, limit: int) -> Sequence[str]:
        """The projects whose head is due at or before *at*, the longest due first."""

    def next_head_due(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which a project's head is due."""

    def heads_to_top_up(self, at: Instant, *, limit: int) -> Sequence[tuple[str, Instant]]:
        """The projects whose ``top_up_at`` is at or before *at*, the longest due first, with it."""

    def next_top_up(self, after: Instant) -> Instant | None:
        """The first ``top_up_at`` of any project later than *after*."""

    def transaction_count(self, project_id: str) -> int:
        """How many transactions are booked, counted."""

    def projects_changed_since(self, versions: dict[str, int]) -> Sequence[str]:
        """Ids of the projects whose head's version differs from the one given (0 where none is)."""


class HasLedger(Protocol):
    @property
    def ledger(self) -> LedgerStore: ...
