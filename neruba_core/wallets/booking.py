"""Booking decisions: from balanced postings under a locked head to rows of the ledger, written in bulk.

Orders, prepaid usage and invoices all reach the ledger this way. Whoever books holds the heads of the
projects; a ``Booking`` lives for one unit of work. What it has to tell listeners (charges, credit, holds
whose time was over) goes to its *telling*, which whoever opened the unit writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import define, field

from neruba_core.audit.model import Origin
from neruba_core.brief import brief
from neruba_core.idempotency.fingerprint import VERSION
from neruba_core.instants import Instant
from neruba_core.ledger.chart import Chart
from neruba_core.ledger.model import Head, Transaction, TransactionType
from neruba_core.ledger.store import HasLedger
from neruba_core.outbox.emit import Telling
from neruba_core.outbox.model import MessageType
from neruba_core.tenancy.model import Project
from neruba_core.wallets import holds
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.model import Grant, HoldState
from neruba_core.wallets.store import HasWallets
from neruba_core.wallets.view import render_low, viewed

PART = 128
"""So many transactions are written before more are booked."""

_TOLD = {
    TransactionType.CHARGE: MessageType.CHARGE_CREATED,
    TransactionType.CREDIT: MessageType.CREDIT_GRANTED,
}
"""The types of transactions that listeners are told of as they are booked."""


class BookingWork(HasLedger, HasWallets, Protocol):
    """What booking reads and writes."""


@brief
class Cause:
    """What a transaction is booked for: unique by (project, operation, idempotency key)."""

    operation: str
    idempotency_key: str
    fingerprint: bytes
    origin: Origin
    event_id: str | None = None


def open_books(
    work: BookingWork, projects: dict[str, Project], heads: dict[str, Head], chart: Chart, *, at: Instant
) -> dict[str, Book]:
    """The books of the projects whose *heads* are locked, by project id. What the holds held whose time is
    over at *at* is free in them, and written as such once anything else is."""
    project_ids = list(heads)
    books = {
        project_id: Book(project=projects[project_id], chart=chart, head=head, accounts={}, lots={})
        for project_id, head in heads.items()
    }
    for account in work.ledger.accounts(project_ids):
        books[account.project_id].accounts[account.name] = account.balance_micros
    for lot in work.wallets.open_lots(project_ids):
        books[lot.grant.project_id].lots[lot.grant.id] = lot
    due = [
        project_id
        for project_id, head in heads.items()
        if head.held_micros and head.due_at is not None and head.due_at <= at
    ]
    if due:
        for hold in work.wallets.holds_expired(due, at):
            # It was free from the moment of its expiry on.
            books[hold.project_id].lapse(hold.closed(HoldState.EXPIRED, at=hold.expires_at))
    return books


@define
class Booking:
    """What one unit of work books, written at its end; transactions in parts, if they are many."""

    at: Instant
    telling: Telling = field(factory=Telling)
    transactions: list[Transaction] = field(factory=list)
    grants: list[Grant] = field(factory=list)
    appended: int = field(default=0, init=False)

    def book(self, book: Book, decision: Decision, cause: Cause) -> Transaction:
        """Take *decision* into *book* and keep its rows; raises ``AmountOverflow`` with nothing changed."""
        entries = book.post(decision)
        grants, grant_id, at = decision.grants, decision.expires, self.at
        if grants and decision.reverses is None:
            grant_id = grants[0].id
        # By place, as a row is read: naming twenty arguments takes longer than making it of them.
        transaction = Transaction(
            book.project.id,
            book.version,
            decision.transaction_id,
            decision.type,
            cause.operation,
            decision.amount_micros,
            book.balance_micros(at),
            decision.description,
            cause.event_id,
            decision.metadata,
            grant_id,
            decision.reverses,
            cause.idempotency_key,
            cause.fingerprint,
            VERSION,
            cause.origin.actor,
            cause.origin.request_id,
            decision.effective_at or at,
            at,
            entries,
        )
        self.transactions.append(transaction)
        self.grants += grants
        self.watch(book)
        return transaction

    def watch(self, book: Book) -> None:
        """See whether what has just moved made too little of what is available, or enough again: listeners
        are told once each time that it becomes too little."""
        project = book.project
        if project.top_up is not None or book.top_up_at is not None:
            self._watch_for_top_up(book)
        threshold = project.low_balance_micros
        if threshold is None and not book.low:
            return
        low = threshold is not None and book.available_micros(self.at) < threshold
        if low == book.low:
            return
        book.mark_low(low)
        if low:
            view = viewed(book.project, book.lots.values(), book.overdraft_micros, book.held_micros, self.at)
            self.telling.tell(book.project, MessageType.WALLET_LOW, lambda: render_low(view, threshold))

    def _watch_for_top_up(self, book: Book) -> None:
        top_up, looked_at = book.project.top_up, book.top_up_at
        wanted = top_up is not None and book.available_micros(self.at) < top_up.threshold_micros
        if wanted is not (looked_at is not None):
            book.look_to_top_up(self.at if wanted else None)

    def write_part(self, work: BookingWork) -> None:
        """Write the transactions booked so far once they are many: a store may be busy with them while
        there is more to decide. Call it before that; nothing reads them before ``write``."""
        if len(self.transactions) - self.appended >= PART:
            self._append(work)

    def _append(self, work: BookingWork) -> None:
        work.ledger.append(self.transactions[self.appended :])
        self.appended = len(self.transactions)

    def write(self, work: BookingWork, books: Sequence[Book]) -> None:
        """Write everything that was booked, and the accounts, holds and heads of the *books* that it, or
        anything else that was done, has changed."""
        changed = [book for book in books if book.written]
        if not changed:
            return
        if len(self.transactions) > self.appended:
            self._append(work)
        if self.grants:
            work.wallets.add_grants(self.grants)
        accounts = [account for book in changed for account in book.changed_accounts()]
        if accounts:
            work.ledger.write_accounts(accounts)
        reserved = [hold for book in changed for hold in book.reserved]
        if reserved:
            work.wallets.add_holds(reserved)
        closed = [hold for book in changed for hold in book.closed]
        if closed:
            work.wallets.close_holds(closed)
        work.ledger.write_heads([book.head for book in changed])
        self._tell([book for book in changed if book.project.listens])
        for book in changed:
            # Neither written nor told of again, should more be booked.
            book.reserved.clear()
            book.closed.clear()

    def _tell(self, listening: Sequence[Book]) -> None:
        if not listening:
            return
        projects = {book.project.id: book.project for book in listening}
        for booked in self.transactions:
            told = _TOLD.get(booked.type)
            if told is not None and booked.project_id in projects:
                self.telling.tell(projects[booked.project_id], told, booked.body)
        for book in listening:
            for hold in book.closed:
                if hold.state is HoldState.EXPIRED:
                    available = book.available_micros(self.at)
                    body = holds.render(hold, available_micros=available, at=self.at)
                    self.telling.tell(book.project, MessageType.HOLD_EXPIRED, body)
