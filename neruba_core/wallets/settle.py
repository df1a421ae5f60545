"""Settling orders: the one place where money commands meet idempotency and the ledger.

Many commands may share a unit of work. All heads are locked in project order; whoever holds a head
sees everything that was ever booked under it, so keys can be looked up rather than raced for. Then
the orders are decided one after the other against books in memory, each seeing what the one before
it did, and what they came to is written in bulk, transactions as soon as they are many. The outcome
of each is a value; none unwinds another.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from attrs import define, field

from neruba_core.audit.model import Attempt, Outcome
from neruba_core.audit.outcomes import OutcomeNotes
from neruba_core.audit.store import HasAudit
from neruba_core.errors import (
    AmountOverflow,
    HoldNotFound,
    InsufficientCredit,
    KeyInProgress,
    KeyReused,
    NerubaError,
    ProjectArchived,
    ProjectNotFound,
)
from neruba_core.idempotency.fingerprint import VERSION
from neruba_core.idempotency.model import Answer
from neruba_core.idempotency.outcomes import Accepted, Conflict, Deduplicated, Rejected, Replayed, Written
from neruba_core.idempotency.store import HasIdempotency
from neruba_core.ids import Ahead, Ids
from neruba_core.instants import Instant
from neruba_core.ledger.chart import WALLET, Chart
from neruba_core.ledger.model import Entry, Transaction, TransactionType
from neruba_core.ledger.store import HasLedger
from neruba_core.outbox.emit import Telling
from neruba_core.outbox.store import HasOutbox
from neruba_core.tenancy.store import HasTenancy
from neruba_core.wallets.book import Book, Decision, Original
from neruba_core.wallets.booking import Booking, Cause, open_books
from neruba_core.wallets.expire import postings_of
from neruba_core.wallets.holds import HoldAnswer, render
from neruba_core.wallets.model import Grant, Hold, HoldState, expires_to
from neruba_core.wallets.orders import CAPTURE, HOLD, Order
from neruba_core.wallets.store import HasWallets

_WALLET_PREFIX = f"{WALLET}:"

R = TypeVar("R")

_Name: TypeAlias = tuple[str, str, str]
"""Project, operation and idempotency key; or project, operation and event id."""

_Known: TypeAlias = tuple[bytes, "Transaction | HoldAnswer"]
"""The fingerprint of the request that came with a key or an event before, and what it came to."""

Settled: TypeAlias = Written[Transaction]
HoldSettled: TypeAlias = Written[HoldAnswer]


class SettlementWork(HasTenancy, HasIdempotency, HasLedger, HasWallets, HasOutbox, HasAudit, Protocol):
    """What settling needs of a unit of work."""


def settle(
    work: SettlementWork,
    orders: Sequence[Order[R]],
    *,
    at: Instant,
    ids: Ids,
    chart: Chart,
    telling: Telling | None = None,
) -> list[Written[R]]:
    """Decide and book *orders* in their order; one outcome each. What there is to tell goes to *telling*, or
    is written here where none is given.

    A refusal is an outcome: ``Rejected`` with ``ProjectNotFound``, ``ProjectArchived``,
    ``InsufficientCredit``, ``KeyInProgress`` (another unit in flight holds the key), ``AmountOverflow`` or
    what the order's own decision refuses; ``Conflict`` with ``KeyReused`` or an event conflict.
    """
    names = [order.name for order in orders]
    held = work.idempotency.held_elsewhere(names)
    heads = work.ledger.lock_heads(sorted({name[0] for name in names if name not in held}))
    # Only now, so that nobody is judged by a credit limit from before the wait for the lock.
    projects = work.tenancy.projects({order.project_id for order in orders})
    known = [order for order in orders if order.project_id in projects]
    booking = Booking(at) if telling is None else Booking(at, telling)
    ids = Ahead(ids, "txn", len(orders))
    settlement = _open(work, open_books(work, projects, heads, chart, at=at), known, at, ids, booking)
    outcomes: list[Written[R]] = []
    for order, name in zip(orders, names, strict=True):
        if order.project_id not in projects:
            outcomes.append(Rejected(ProjectNotFound(order.project_id)))
        elif name in held:
            # Who holds it may only be replaying, as we can then.
            in_progress = KeyInProgress(order.idempotency_key)
            outcomes.append(settlement.replay(order, name) or settlement.refuse(order, in_progress))
        else:
            booking.write_part(work)
            outcomes.append(settlement.settle(order, name))
    settlement.write(work)
    if telling is None:
        booking.telling.write(work, at=at, ids=ids)
    return outcomes


def _open(
    work: SettlementWork,
    books: dict[str, Book],
    orders: Sequence[Order[Any]],
    at: Instant,
    ids: Ids,
    booking: Booking,
) -> _Settlement:
    """Read, under the locked heads, everything that the decisions look at."""
    settlement = _Settlement(books, at, ids, booking)
    by_operation: dict[tuple[str, str], list[Order[Any]]] = {}
    for order in orders:
        by_operation.setdefault((order.project_id, order.kind.operation), []).append(order)
    for (project_id, operation), group in by_operation.items():
        if group[0].kind.of_hold:
            settlement.read_holds(work, project_id, operation, group)
        else:
            settlement.read_transactions(work, project_id, operation, group)
        if project_id in books:
            wanted = {order.original_id for order in group if order.original_id}
            _read_originals(work, books[project_id], wanted)
    return settlement


def _read_originals(work: SettlementWork, book: Book, transaction_ids: Iterable[str]) -> None:
    project_id = book.project.id
    for transaction_id in sorted(transaction_ids):
        transaction = work.ledger.transaction(project_id, transaction_id)
        if transaction is None:
            continue
        drawn = [
            (_grant_id(entry), entry.debit_micros)
            for entry in transaction.entries
            if entry.debit_micros and entry.account.startswith(_WALLET_PREFIX)
        ]
        returns, reversed_micros = [], 0
        taken: Counter[str] = Counter()
        for reversal in work.ledger.reversals_of(project_id, transaction_id):
            reversed_micros += reversal.amount_micros
            for entry in reversal.entries:
                taken[entry.account] += entry.debit_micros
                if entry.credit_micros and entry.account.startswith(_WALLET_PREFIX):
                    returns.append((_grant_id(entry), entry.credit_micros))
        grant_ids = {grant_id for grant_id, _ in (*drawn, *returns)}
        if transaction.grant_id:
            grant_ids.add(transaction.grant_id)
        grants = work.wallets.grants(project_id, grant_ids)
        held_at = None
        if transaction.operation == CAPTURE and transaction.metadata:
            hold_id = str(transaction.metadata["holdId"])
            held_at = work.wallets.holds(project_id, [hold_id])[hold_id].created_at
        expired = 0
        if transaction.type is TransactionType.CREDIT and transaction.grant_id:
            grant = grants[transaction.grant_id]
            expired = _expired_micros(work, book, grant) - taken.get(expires_to(book.chart, grant.kind), 0)
        original = Original(transaction, drawn, grants, reversed_micros, {}, held_at, expired)
        for grant_id, micros in returns:
            original.note_returned(grants[grant_id], micros)
        book.originals[transaction_id] = original


def _expired_micros(work: SettlementWork, book: Book, grant: Grant) -> int:
    if grant.expires_at is None:
        return 0
    posted = postings_of(work, book.project.id, [grant.id])[grant.id]
    return sum(transaction.amount_micros for transaction in posted)


def _grant_id(entry: Entry) -> str:
    return entry.account.removeprefix(_WALLET_PREFIX)


@define
class _Settlement:
    """The orders of one unit while they are decided, and what is to be written at its end."""

    books: dict[str, Book]
    at: Instant
    ids: Ids
    booking: Booking
    by_key: dict[_Name, _Known] = field(factory=dict)
    by_event: dict[_Name, _Known] = field(factory=dict)
    refusals: dict[_Name, Answer] = field(factory=dict)
    notes: OutcomeNotes = field(factory=OutcomeNotes)
    answers: list[Answer] = field(factory=list)

    def read_transactions(
        self, work: SettlementWork, project_id: str, operation: str, orders: Sequence[Order[Any]]
    ) -> None:
        """What was booked, or refused for good, under the keys and for the events of *orders*."""
        keys = {order.idempotency_key for order in orders}
        for key, booked in work.ledger.transactions_by_keys(project_id, operation, keys).items():
            self.by_key[project_id, operation, key] = (booked.fingerprint, booked)
        if orders[0].kind.keeps_refusal:
            for key, answer in work.idempotency.answers(project_id, operation, keys).items():
                self.refusals[project_id, operation, key] = answer
        events = {order.event_id for order in orders if order.event_id is not None}
        if events:
            for event, booked in work.ledger.transactions_by_event_ids(project_id, operation, events).items():
                self.by_event[project_id, operation, event] = (booked.fingerprint, booked)

    def read_holds(
        self, work: SettlementWork, project_id: str, operation: str, orders: Sequence[Order[Any]]
    ) -> None:
        """The holds that *orders* are about, and what their keys and events were answered with."""
        keys = {order.idempotency_key for order in orders}
        answers = dict(work.idempotency.answers(project_id, operation, keys))
        events = {order.event_id for order in orders if order.event_id is not None}
        met = work.wallets.holds_by_event_ids(project_id, events) if events else {}
        unread = {hold.idempotency_key for hold in met.values()} - answers.keys()
        answers_of_met = answers | (work.idempotency.answers(project_id, operation, unread) if unread else {})
        wanted = {order.hold_id for order in orders if order.hold_id is not None}
        wanted |= {answer.subject_id for answer in answers.values() if answer.subject_id is not None}
        holds = work.wallets.holds(project_id, wanted) if wanted else {}
        if project_id in self.books:
            # Those of the book are newer: their time may just have been found over.
            self.books[project_id].holds = holds | self.books[project_id].holds
        for key, answer in answers.items():
            if answer.subject_id is None:
                self.refusals[project_id, operation, key] = answer
            else:
                self.by_key[project_id, operation, key] = _answered(holds[answer.subject_id], answer)
        for event, hold in met.items():
            self.by_event[project_id, operation, event] = _answered(
                hold, answers_of_met[hold.idempotency_key]
            )

    def settle(self, order: Order[Any], name: _Name) -> Written[Any]:
        """Key first, then event id, then the decision."""
        replayed = self.replay(order, name)
        if replayed is not None:
            return replayed
        digest = order.fingerprint()
        event = _of_event(order, name)
        if event is not None:
            original = self.by_event.get(event)
            if original is not None:
                return self._met_event(order, event[2], original)
        return self._decide(order, name, event, digest)

    def replay(self, order: Order[Any], name: _Name) -> Written[Any] | None:
        """The answer that the order's key has been given, if any, or what conflicts with it."""
        if name not in self.by_key and name not in self.refusals:
            return None
        digest = order.fingerprint()
        booked = self.by_key.get(name)
        if booked is not None:
            recorded, effect = booked
            if recorded != digest:
                return self._conflict(order, KeyReused(order.idempotency_key), effect)
            self._count(order, Outcome.REPLAYED)
            return Replayed(effect)
        refused = self.refusals[name]
        if refused.fingerprint != digest:
            return self._conflict(order, KeyReused(order.idempotency_key), None)
        self._count(order, Outcome.REPLAYED)
        return Rejected(_stored_refusal(refused), refused.request_id, replayed=True)

    def refuse(self, order: Order[Any], error: NerubaError) -> Rejected:
        """Record a refusal; nothing else changes. What is about nothing is no attempt."""
        if order.kind.counted and not isinstance(error, HoldNotFound):
            self.notes.explain(self._attempt(order, Outcome.REJECTED, error, None))
        return Rejected(error, order.origin.request_id)

    def write(self, work: SettlementWork) -> None:
        """Write what the decisions came to, in bulk."""
        self.booking.write(work, list(self.books.values()))
        if self.answers:
            work.idempotency.add_answers(self.answers)
        self.notes.write(work, self.ids)

    def _met_event(self, order: Order[Any], event_id: str, original: _Known) -> Written[Any]:
        recorded, effect = original
        if order.same_content(recorded, event_id):
            if order.kind.counted:
                self.notes.explain(self._attempt(order, Outcome.DEDUPED, None, effect))
            return Deduplicated(effect)
        assert order.kind.conflict is not None, "an order with an event id names its conflict"
        return self._conflict(order, order.kind.conflict(event_id), effect)

    def _decide(self, order: Order[Any], name: _Name, event: _Name | None, digest: bytes) -> Written[Any]:
        book = self.books[order.project_id]
        if book.project.archived_at is not None:
            return self.refuse(order, ProjectArchived(order.project_id))
        kind = order.kind
        decision = kind.decide(order.new, book, self.at, self.ids)
        if isinstance(decision, NerubaError):
            if kind.keeps_refusal and isinstance(decision, InsufficientCredit):
                self._keep_refusal(order, name, digest, decision)
            return self.refuse(order, decision)
        try:
            effect = self._effect(order, digest, book, decision)
        except AmountOverflow as error:
            return self.refuse(order, error)
        self.by_key[name] = known = (digest, effect)
        if event is not None:
            self.by_event[event] = known
        self._count(order, Outcome.ACCEPTED)
        return Accepted(effect)

    def _effect(
        self, order: Order[Any], digest: bytes, book: Book, decision: Decision | Hold
    ) -> Transaction | HoldAnswer:
        """Do what was decided. Raises ``AmountOverflow`` with nothing done."""
        if isinstance(decision, Decision):
            cause = Cause(order.kind.operation, order.idempotency_key, digest, order.origin, order.event_id)
            transaction = self.booking.book(book, decision, cause)
            if decision.closes is None:
                return transaction
            hold = decision.closes
        else:
            hold = decision
            if hold.state is HoldState.HELD:
                book.reserve(hold)
            else:
                book.close(hold)
            self.booking.watch(book)
        available = book.available_micros(self.at)
        body = render(hold, available_micros=available, at=self.at)
        self.answers.append(self._answer(order, digest, None, body, hold.id))
        return HoldAnswer(hold, available, body)

    def _keep_refusal(self, order: Order[Any], name: _Name, digest: bytes, error: InsufficientCredit) -> None:
        answer = self._answer(order, digest, error.code, json.dumps(error.facts()), None)
        self.answers.append(answer)
        self.refusals[name] = answer

    def _answer(
        self, order: Order[Any], digest: bytes, code: str | None, body: str, subject_id: str | None
    ) -> Answer:
        return Answer(
            scope_id=order.project_id,
            operation=order.kind.operation,
            idempotency_key=order.idempotency_key,
            fingerprint=digest,
            fingerprint_version=VERSION,
            code=code,
            body=body,
            subject_id=subject_id,
            request_id=order.origin.request_id,
            recorded_at=self.at,
        )

    def _conflict(
        self, order: Order[Any], error: NerubaError, prior: Transaction | HoldAnswer | None
    ) -> Conflict:
        if order.kind.counted:
            self.notes.explain(self._attempt(order, Outcome.CONFLICT, error, prior))
        return Conflict(error, prior.id if prior else None, prior.body if prior else None)

    def _count(self, order: Order[Any], outcome: Outcome) -> None:
        if order.kind.counted:
            self.notes.count(order.project_id, outcome)

    def _attempt(
        self,
        order: Order[Any],
        outcome: Outcome,
        error: NerubaError | None,
        prior: Transaction | HoldAnswer | None,
    ) -> Attempt:
        return Attempt(
            project_id=order.project_id,
            id=self.ids.new("att"),
            at=self.at,
            operation=order.kind.operation,
            outcome=outcome,
            code=error.code if error else None,
            message=str(error) if error else None,
            request_id=order.origin.request_id,
            access_key_id=order.origin.access_key_id,
            idempotency_key=order.idempotency_key,
            event_id=order.event_id,
            metric_key=None,
            subject_id=prior.id if prior else None,
            content=order.content(),
            prior=prior.body if prior else None,
        )


def _of_event(order: Order[Any], name: _Name) -> _Name | None:
    """The name of the order's event, if it has one: most often the order's own."""
    event_id = order.event_id
    if event_id is None:
        return None
    return name if event_id == order.idempotency_key else (order.project_id, order.kind.operation, event_id)


def _stored_refusal(answer: Answer) -> InsufficientCredit:
    assert answer.code == InsufficientCredit.code, f"no other refusal is stored: {answer.code}"
    return InsufficientCredit(**json.loads(answer.body))


def _answered(hold: Hold, answer: Answer) -> _Known:
    """What the command said that *answer* was given to. A hold is closed once, so whatever closed it left it
    as it is."""
    left = hold.opened() if answer.operation == HOLD else hold
    return answer.fingerprint, HoldAnswer.kept(left, answer.body)
