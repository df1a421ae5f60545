"""What payments ask of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.payments.model import (
    Allocation,
    Collection,
    Correction,
    CorrectionKind,
    Dispute,
    EventState,
    Payment,
    PaymentMethod,
    PaymentStatus,
    ProviderEvent,
    Refund,
)


class PaymentStore(Protocol):
    """Payments and what came of them. Everything is written under the project's locked head.

    Allocations and corrections are append-only, and so are payments and refunds but for what settling and
    refunding change.
    """

    def add_payment(self, payment: Payment) -> None:
        """Insert. An id that is taken fails the unit."""

    def put_payment(self, payment: Payment) -> None:
        """Write ``status``, ``provider_id``, ``failure``, ``settled_at``, ``transaction_id``,
        ``granted_micros``, ``refunded_micros``, ``fee_micros``, ``tries``, ``asked_at``, ``due_at`` and
        ``disputed_micros``; the rest of *payment* is left aside."""

    def payment(self, project_id: str, payment_id: str) -> Payment | None: ...

    def payments(
        self, project_id: str, *, limit: int, before: str | None, status: PaymentStatus | None = None
    ) -> Sequence[Payment]:
        """By descending id, below *before*."""

    def due_payments(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        """Project and id of at most *limit* payments of all projects that are due at *now*, longest due
        first."""

    def next_due_payment(self, after: Instant) -> Instant | None:
        """The first ``due_at`` of any payment later than *after*."""

    def put_method(self, method: PaymentMethod) -> None:
        """Insert, or overwrite that of the same project."""

    def remove_method(self, project_id: str) -> None:
        """Forget it; where there is none, nothing happens."""

    def method(self, project_id: str) -> PaymentMethod | None: ...

    def add_refund(self, refund: Refund) -> None:
        """Insert. An id that is taken fails the unit."""

    def put_refund(self, refund: Refund) -> None:
        """Write ``taken_micros``, ``status``, ``provider_id``, ``failure``, ``settled_at``, ``tries``,
        ``asked_at`` and ``due_at``; the rest of *refund* is left aside."""

    def refund(self, project_id: str, refund_id: str) -> Refund | None: ...

    def due_refunds(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        """Project and id of at most *limit* refunds of all projects that are due at *now*, longest due
        first."""

    def next_due_refund(self, after: Instant) -> Instant | None:
        """The first ``due_at`` of any refund later than *after*."""

    def pending_refunds(self, project_id: str) -> Sequence[Refund]:
        """Those of the project that are pending, by ascending id."""

    def refunds(self, project_id: str, payment_id: str) -> Sequence[Refund]:
        """Those of a payment, by ascending id."""

    def add_allocations(self, allocations: Sequence[Allocation]) -> None:
        """Insert. A transaction settles an invoice once per subject: doing so again fails the unit."""

    def allocations_of_payment(self, project_id: str, payment_id: str) -> Sequence[Allocation]:
        """What the payment paid, and what its refunds and disputes opened again, by transaction, invoice and
        subject."""

    def allocations_of_invoice(self, project_id: str, invoice_id: str) -> Sequence[Allocation]:
        """All that changed what is open of the invoice, by transaction and subject."""

    def collectable(
        self, now: Instant, *, limit: int, project_id: str | None = None
    ) -> Sequence[tuple[str, str]]:
        """Project and id of at most *limit* invoices, of all projects or of one, that are to be collected at
        *now*: finalized, with something open, not disputed and no credit note, of a project that is not
        archived and whose method collects, due or never collected, and without a pending payment. By project
        and number."""

    def next_collection(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which an invoice falls due that is ``collectable`` but for
        the time."""

    def collection(self, project_id: str, invoice_id: str) -> Collection | None: ...

    def put_collection(self, collection: Collection) -> None:
        """Insert, or overwrite that of the same invoice."""

    def add_dispute(self, dispute: Dispute) -> None:
        """Insert. An id, or a provider's id, that is taken fails the unit."""

    def put_dispute(self, dispute: Dispute) -> None:
        """Write ``taken_micros``, ``status``, ``fee_micros``, ``closed_at`` and ``fee_back_micros``; the rest
        of *dispute* is left aside."""

    def disputes(self, project_id: str, payment_id: str) -> Sequence[Dispute]:
        """Those of a payment, by ascending id."""

    def add_event(self, event: ProviderEvent) -> bool:
        """Insert, unless the provider's event is there already; whether it was inserted. Waits for a
        competitor in flight. Events need no lock."""

    def event(self, event_id: str) -> ProviderEvent | None:
        """By our id."""

    def put_event(self, event: ProviderEvent, *, tries: int) -> bool:
        """Compare and set: write ``state``, ``tries``, ``due_at``, ``ended_at``, ``failure``,
        ``project_id`` and ``payment_id`` if the stored ``tries`` are *tries*; whether they were."""

    def due_events(self, now: Instant, *, limit: int) -> Sequence[ProviderEvent]:
        """Pending ones that are due at *now*, longest due first."""

    def next_due_event(self, after: Instant) -> Instant | None:
        """The first ``due_at`` of any event later than *after*."""

    def events(
        self, *, limit: int, before: str | None, state: EventState | None = None
    ) -> Sequence[ProviderEvent]:
        """By descending id, below *before*."""

    def add_correction(self, correction: Correction) -> None:
        """Insert. An id, or a number of its kind, that is taken fails the unit."""

    def corrections(self, project_id: str, invoice_ids: Iterable[str]) -> Sequence[Correction]:
        """Those of the invoices, by ascending id."""

    def last_correction(self, project_id: str, kind: CorrectionKind) -> int:
        """The highest number given to one of *kind*; 0 where there is none."""


class HasPayments(Protocol):
    @property
    def payments(self) -> PaymentStore: ...
