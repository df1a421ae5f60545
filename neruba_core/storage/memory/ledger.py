"""Heads, accounts, transactions and entries in memory.

There are no locks to take here, since one unit runs at a time; but heads and accounts may only be written
under their head's lock, so this store remembers which heads the unit locked and refuses the others. What
another database would turn into a rare wrong balance fails here at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, evolve, field

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
from neruba_core.storage.memory.tables import DuplicateKey, Key, Table, Undo


class HeadNotLocked(RuntimeError):
    """A head or account was written without ``lock_heads`` in the same unit."""


@define(eq=False)
class LedgerTables:
    """Transactions and entries are by project and ``place``; *accounts* leaves emptied wallets out."""

    heads: dict[str, Head] = field(factory=dict)
    accounts: dict[str, dict[str, Account]] = field(factory=dict)
    transactions: Table[str, Transaction] = field(factory=Table)
    by_id: dict[tuple[str, str], Transaction] = field(factory=dict)
    by_key: dict[tuple[str, str, str], Transaction] = field(factory=dict)
    by_event_id: dict[tuple[str, str, str], Transaction] = field(factory=dict)
    reversals: dict[tuple[str, str], list[Transaction]] = field(factory=dict)
    entries: Table[str, Entry] = field(factory=Table)


@define(eq=False)
class MemoryLedger:
    """``LedgerStore`` within one unit."""

    _tables: LedgerTables
    _undo: Undo
    _locked: set[str] = field(factory=set, init=False)

    def add_head(self, head: Head) -> None:
        if head.project_id in self._tables.heads:
            raise DuplicateKey(f"project {head.project_id!r} has a head")
        self._undo.put(self._tables.heads, head.project_id, head)
        self._locked.add(head.project_id)

    def lock_heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        heads = self._tables.heads
        found = {project_id: heads[project_id] for project_id in sorted(project_ids) if project_id in heads}
        self._locked.update(found)
        return found

    def unlock_heads(self) -> None:
        """The unit that has locked them is over."""
        self._locked.clear()

    def head(self, project_id: str) -> Head | None:
        return self._tables.heads.get(project_id)

    def heads(self, project_ids: Sequence[str]) -> dict[str, Head]:
        heads = self._tables.heads
        return {project_id: heads[project_id] for project_id in project_ids if project_id in heads}

    def accounts(self, project_ids: Sequence[str]) -> Sequence[Account]:
        accounts = self._tables.accounts
        return tuple(
            account for project_id in project_ids for account in accounts.get(project_id, {}).values()
        )

    def write_heads(self, heads: Sequence[Head]) -> None:
        for head in heads:
            self.need_lock(head.project_id)
            self._undo.put(self._tables.heads, head.project_id, head)

    def write_accounts(self, accounts: Sequence[Account]) -> None:
        for account in accounts:
            self.need_lock(account.project_id)
            kept = self._tables.accounts.get(account.project_id)
            if kept is None:
                kept = {}
                self._undo.put(self._tables.accounts, account.project_id, kept)
            if account.balance_micros == 0 and account.name.startswith("wallet:"):
                self._undo.remove(kept, account.name)
            else:
                self._undo.put(kept, account.name, account)

    def need_lock(self, project_id: str) -> None:
        """Refuse to go on unless this unit has locked the project's head."""
        if project_id not in self._locked:
            raise HeadNotLocked(f"lock the head of project {project_id!r} before writing under it")

    def append(self, transactions: Sequence[Transaction]) -> None:
        for transaction in transactions:
            self._append(transaction)
            for entry in transaction.entries:
                self._tables.entries.add(self._undo, entry.project_id, entry.place, entry)

    def _append(self, transaction: Transaction) -> None:
        tables, undo, project_id = self._tables, self._undo, transaction.project_id
        if transaction.metadata is not None:
            transaction = evolve(transaction, metadata=dict(transaction.metadata))
        tables.transactions.add(undo, project_id, transaction.place, transaction)
        _claim(undo, tables.by_id, (project_id, transaction.id), transaction)
        _claim(
            undo, tables.by_key, (project_id, transaction.operation, transaction.idempotency_key), transaction
        )
        if transaction.event_id is not None:
            _claim(
                undo,
                tables.by_event_id,
                (project_id, transaction.operation, transaction.event_id),
                transaction,
            )
        if transaction.reverses is not None:
            undo.push(tables.reversals, (project_id, transaction.reverses), transaction)

    def transactions_by_keys(
        self, project_id: str, operation: str, keys: Iterable[str]
    ) -> dict[str, Transaction]:
        return _some(self._tables.by_key, project_id, operation, keys)

    def transactions_by_event_ids(
        self, project_id: str, operation: str, event_ids: Iterable[str]
    ) -> dict[str, Transaction]:
        return _some(self._tables.by_event_id, project_id, operation, event_ids)

    def transaction(self, project_id: str, transaction_id: str) -> Transaction | None:
        return self._tables.by_id.get((project_id, transaction_id))

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
        def wanted(transaction: Transaction) -> bool:
            return (
                (type is None or transaction.type is type)
                and (start is None or start <= transaction.effective_at)
                and (end is None or transaction.effective_at < end)
            )

        return self._tables.transactions.page(project_id, limit=limit, before=before, wanted=wanted)

    def reversals_of(self, project_id: str, transaction_id: str) -> Sequence[Transaction]:
        reversals = self._tables.reversals.get((project_id, transaction_id), ())
        return tuple(sorted(reversals, key=lambda reversal: reversal.version))

    def entries(
        self, project_id: str, *, limit: int, before: str | None, account: str | None = None
    ) -> Sequence[Entry]:
        def wanted(entry: Entry) -> bool:
            return account is None or entry.account == account

        return self._tables.entries.page(project_id, limit=limit, before=before, wanted=wanted)

    def balances(
        self, project_id: str, *, as_of: Instant | None = None, known_at: Instant | None = None
    ) -> dict[str, int]:
        balances: defaultdict[str, int] = defaultdict(int)
        for transaction in self._tables.transactions.ascending(project_id):
            if as_of is not None and transaction.effective_at > as_of:
                continue
            if known_at is not None and transaction.recorded_at > known_at:
                continue
            for entry in transaction.entries:
                balances[entry.account] += entry.debit_micros - entry.credit_micros
        return dict(balances)

    def charges(self, wanted: Sequence[ChargesWanted]) -> Sequence[Charged]:
        ordered = sorted(wanted, key=lambda each: each.project_id)
        return tuple(charged for each in ordered for charged in self._charges(each))

    def _charges(self, wanted: ChargesWanted) -> Iterator[Charged]:
        for booked in self._tables.transactions.ascending(wanted.project_id):
            if booked.type is TransactionType.CHARGE:
                charge = booked
            elif booked.type is TransactionType.REVERSAL:
                charge = self._tables.by_id[booked.project_id, str(booked.reverses)]
            else:
                continue
            if charge.type is TransactionType.CHARGE and charge.effective_at < wanted.end:
                if charge.effective_at >= wanted.start or max(charge.version, booked.version) > wanted.since:
                    yield Charged(
                        booked.project_id,
                        booked.version,
                        booked.id,
                        booked.amount_micros,
                        booked.effective_at,
                        booked.reverses,
                    )

    def transaction_count(self, project_id: str) -> int:
        return self._tables.transactions.count(project_id)

    def projects_changed_since(self, versions: dict[str, int]) -> Sequence[str]:
        heads = sorted(self._tables.heads.items())
        return tuple(project_id for project_id, head in heads if head.version != versions.get(project_id, 0))

    def heads_due(self, at: Instant, *, limit: int) -> Sequence[str]:
        due = sorted(
            (head.due_at, project_id)
            for project_id, head in self._tables.heads.items()
            if head.due_at is not None and head.due_at <= at
        )
        return tuple(project_id for _, project_id in due[:limit])

    def next_head_due(self, after: Instant) -> Instant | None:
        moments = (head.due_at for head in self._tables.heads.values())
        return min((each for each in moments if each is not None and each > after), default=None)

    def heads_to_top_up(self, at: Instant, *, limit: int) -> Sequence[tuple[str, Instant]]:
        due = sorted(
            (head.top_up_at, project_id)
            for project_id, head in self._tables.heads.items()
            if head.top_up_at is not None and head.top_up_at <= at
        )
        return tuple((project_id, moment) for moment, project_id in due[:limit])

    def next_top_up(self, after: Instant) -> Instant | None:
        moments = (head.top_up_at for head in self._tables.heads.values())
        return min((each for each in moments if each is not None and each > after), default=None)

    def held(self, project_id: str) -> Iterator[Account]:
        """The accounts that hold anything."""
        accounts = self._tables.accounts.get(project_id, {})
        return (account for account in accounts.values() if account.balance_micros)


def _claim(undo: Undo, index: dict[Key, Transaction], key: Key, transaction: Transaction) -> None:
    if key in index:
        raise DuplicateKey(f"{key!r} is taken")
    undo.put(index, key, transaction)


def _some(
    index: dict[tuple[str, str, str], Transaction], project_id: str, operation: str, keys: Iterable[str]
) -> dict[str, Transaction]:
    found = ((key, index.get((project_id, operation, key))) for key in keys)
    return {key: transaction for key, transaction in found if transaction is not None}
