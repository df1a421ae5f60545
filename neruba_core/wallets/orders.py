"""What the settlement of money needs to know about one command.

An ``Order`` carries a command's identity (scope, key, fingerprint, event), its ``Kind`` the pure decision
to be taken under the project's lock. That is the one shape in which credits, debits, charges and reversals
reach the ledger, and holds what is available, so idempotency and posting live in one place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import frozen

from neruba_core import instants, money, texts
from neruba_core.audit.model import Origin
from neruba_core.brief import brief
from neruba_core.errors import HoldConflict, NerubaError
from neruba_core.idempotency.fingerprint import body_text, quoted
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.model import Transaction, TransactionType
from neruba_core.money import Amount
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.credit import NewCredit, decide_credit
from neruba_core.wallets.holds import (
    HoldAnswer,
    NewCapture,
    NewHold,
    NewRelease,
    decide_capture,
    decide_hold,
    decide_release,
)
from neruba_core.wallets.model import Hold
from neruba_core.wallets.reverse import NewReversal, decide_reversal
from neruba_core.wallets.spend import spend

R = TypeVar("R")

Decide: TypeAlias = Callable[[Any, Book, Instant, Ids], "Decision | Hold | NerubaError"]

CREDIT = "credit"
DEBIT = "debit"
REVERSE = "reverse"
HOLD = "hold"
CAPTURE = "capture"
RELEASE = "release"


@frozen
class Kind(Generic[R]):
    """What the orders of one *operation* have in common.

    *body* writes the canonical body of an order's request with the given event id, and *decide* decides about
    the request. *counted* tells an ingest attempt, whose outcome is counted. *keeps_refusal* tells that a 402
    is stored for the key, so that a late duplicate cannot suddenly succeed. *conflict* makes the error for an
    event id that is taken by other content. *of_hold* tells that what is answered is a hold, and is kept with
    its key; ``R`` is what is answered.
    """

    operation: str
    body: Callable[[Any, str | None], str]
    decide: Decide
    counted: bool = False
    keeps_refusal: bool = False
    conflict: Callable[[str], NerubaError] | None = None
    of_hold: bool = False


@brief
class Order(Generic[R]):
    """One command about one project's money: *new* is the request, *path* where it is sent.

    *event_id* is the event's identity, *sent_event_id* what of it the request carried. It is about the hold
    *hold_id* or the transaction *original_id*, if it is about one.
    """

    kind: Kind[R]
    project_id: str
    path: str
    new: Any
    idempotency_key: str
    origin: Origin
    sent_event_id: str | None = None
    event_id: str | None = None
    original_id: str | None = None
    hold_id: str | None = None

    @property
    def name(self) -> tuple[str, str, str]:
        """What it is unique by: project, operation and idempotency key."""
        return (self.project_id, self.kind.operation, self.idempotency_key)

    def content(self) -> str:
        """The canonical body of the request as it came."""
        return self.kind.body(self.new, self.sent_event_id)

    def fingerprint(self) -> bytes:
        """The fingerprint of the request as it came; see ``idempotency.fingerprint``."""
        return self._digest(self.sent_event_id)

    def same_content(self, recorded: bytes, recorded_event_id: str) -> bool:
        """Whether the request recorded with that fingerprint had this one's content, event id aside.

        Its event id was either sent, or left out to default to its key.
        """
        return recorded in (self._digest(recorded_event_id), self._digest(None))

    def _digest(self, event_id: str | None) -> bytes:
        kind = self.kind
        request = f'{{"body":{kind.body(self.new, event_id)}{_addressed(kind.operation, self.path)}'
        return hashlib.sha256(request.encode()).digest()


@lru_cache(256)
def _addressed(operation: str, path: str) -> str:
    """What follows the body in the canonical request."""
    return f',"operation":"{operation}","path":{quoted(path)}}}'


@frozen
class NewDebit:
    """A manual adjustment that takes credit away."""

    amount_micros: int
    description: str
    idempotency_key: str

    @classmethod
    def of(cls, *, amount: Amount, description: str, idempotency_key: str) -> NewDebit:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            amount_micros=money.parse_positive(amount),
            description=texts.clean(description),
            idempotency_key=texts.idempotency_key(idempotency_key),
        )


def credit_order(project_id: str, new: NewCredit, origin: Origin) -> Order[Transaction]:
    """Grant credit."""
    path = f"/projects/{project_id}/transactions/credit"
    return Order(_CREDITS, project_id, path, new, new.idempotency_key, origin)


def debit_order(project_id: str, new: NewDebit, origin: Origin) -> Order[Transaction]:
    """Take credit away as a manual adjustment; within the credit limit, like a charge."""
    path = f"/projects/{project_id}/transactions/debit"
    return Order(_DEBITS, project_id, path, new, new.idempotency_key, origin)


def reversal_order(project_id: str, new: NewReversal, origin: Origin) -> Order[Transaction]:
    """Reverse a transaction, in part or whole."""
    path = f"/projects/{project_id}/transactions/{new.transaction_id}/reverse"
    return Order(
        _REVERSALS, project_id, path, new, new.idempotency_key, origin, original_id=new.transaction_id
    )


def hold_order(project_id: str, new: NewHold, origin: Origin) -> Order[HoldAnswer]:
    """Hold credit."""
    event_id = new.event_id or new.idempotency_key
    return Order(
        _HOLDS, project_id, "/ingest/holds", new, new.idempotency_key, origin, new.event_id, event_id
    )


def capture_order(project_id: str, new: NewCapture, origin: Origin) -> Order[HoldAnswer]:
    """Charge what a hold holds, in part or whole, and close it."""
    path = f"/ingest/holds/{new.hold_id}/capture"
    return Order(_CAPTURES, project_id, path, new, new.idempotency_key, origin, hold_id=new.hold_id)


def release_order(project_id: str, new: NewRelease, origin: Origin) -> Order[HoldAnswer]:
    """Free what a hold holds, and close it."""
    path = f"/ingest/holds/{new.hold_id}/release"
    return Order(_RELEASES, project_id, path, new, new.idempotency_key, origin, hold_id=new.hold_id)


def _decide_debit(new: NewDebit, book: Book, at: Instant, ids: Ids) -> Decision | NerubaError:
    return spend(
        book,
        new.amount_micros,
        towards=book.chart.adjustments,
        type=TransactionType.DEBIT,
        description=new.description,
        at=at,
        ids=ids,
    )


_CREDITS: Kind[Transaction] = Kind(
    CREDIT,
    body=lambda new, _: body_text(
        amount=money.text(new.amount_micros),
        description=new.description,
        kind=None if new.kind is None else new.kind.value,
        priority=new.priority,
        expiresAt=None if new.expires_at is None else instants.text(new.expires_at),
        metricKeys=new.metric_keys,
    ),
    decide=lambda new, book, at, ids: decide_credit(book, new, at=at, ids=ids),
)

_DEBITS: Kind[Transaction] = Kind(
    DEBIT,
    body=lambda new, _: body_text(amount=money.text(new.amount_micros), description=new.description),
    decide=_decide_debit,
    keeps_refusal=True,
)

_REVERSALS: Kind[Transaction] = Kind(
    REVERSE,
    body=lambda new, _: body_text(
        amount=None if new.amount_micros is None else money.text(new.amount_micros),
        reason=new.reason,
    ),
    decide=lambda new, book, at, ids: decide_reversal(book, new, at=at, ids=ids),
)

_HOLDS: Kind[HoldAnswer] = Kind(
    HOLD,
    body=lambda new, event_id: body_text(
        amount=money.text(new.amount_micros),
        description=new.description,
        eventId=event_id,
        expiresAt=None if new.expires_at is None else instants.text(new.expires_at),
    ),
    decide=lambda new, book, at, ids: decide_hold(book, new, at=at, ids=ids),
    counted=True,
    keeps_refusal=True,
    conflict=HoldConflict,
    of_hold=True,
)

_CAPTURES: Kind[HoldAnswer] = Kind(
    CAPTURE,
    body=lambda new, _: body_text(
        amount=None if new.amount_micros is None else money.text(new.amount_micros)
    ),
    decide=lambda new, book, at, ids: decide_capture(book, new, at=at, ids=ids),
    counted=True,
    of_hold=True,
)

_RELEASES: Kind[HoldAnswer] = Kind(
    RELEASE,
    body=lambda new, _: body_text(),
    decide=lambda new, book, at, ids: decide_release(book, new, at=at),
    counted=True,
    of_hold=True,
)
