"""Payments, refunds, and everything else that changes what is open of an invoice.

A payment is written down before anybody is asked for money and settled afterwards, so that whatever breaks
in between is found and finished. What it paid of which invoice are its allocations; what exceeds them became
a paid grant. All amounts are micro-units of the project's currency, and whole minor units of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from neruba_core.instants import Instant

MANUAL = "manual"
"""The provider of what finance has received by itself, such as a bank transfer."""


class PaymentStatus(StrEnum):
    """Where a payment or refund stands; the last two are final."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@frozen
class Payment:
    """Money asked for or received.

    *invoice_id* is the invoice that it was meant for; without one it is a top-up. *provider_id* is what the
    provider calls it. *granted_micros* of it went to the paid grant *grant_id*, the rest to invoices; of all
    of it its refunds have taken *refunded_micros*, its disputes *disputed_micros*, and *fee_micros* is what
    the provider kept for itself.

    *customer* and *method* are the provider's names of who pays and by what, as they were when the payment
    was written down: asking again says the same. While it is pending, *due_at* is when the provider is asked
    next, *tries* counts how often somebody set out to, and *asked_at* is when that was for the first time.
    """

    project_id: str
    id: str
    provider: str
    amount_micros: int
    status: PaymentStatus
    invoice_id: str | None
    reference: str | None
    created_at: Instant
    actor: str
    request_id: str | None = None
    provider_id: str | None = None
    failure: str | None = None
    settled_at: Instant | None = None
    transaction_id: str | None = None
    granted_micros: int = 0
    refunded_micros: int = 0
    fee_micros: int = 0
    customer: str | None = None
    method: str | None = None
    tries: int = 0
    asked_at: Instant | None = None
    due_at: Instant | None = None
    disputed_micros: int = 0

    @property
    def digits(self) -> str:
        """What the ids of all that comes of the payment share with its own."""
        return self.id.removeprefix("pay_")

    @property
    def grant_id(self) -> str | None:
        """The grant that it opened."""
        return f"grt_{self.digits}" if self.granted_micros else None

    @property
    def left_micros(self) -> int:
        """What can still be refunded."""
        if self.status is not PaymentStatus.SUCCEEDED:
            return 0
        return self.amount_micros - self.gone_micros

    @property
    def gone_micros(self) -> int:
        """What its refunds and disputes have taken."""
        return self.refunded_micros + self.disputed_micros


@frozen
class PaymentMethod:
    """How a project pays by itself: *customer* is the provider's name of who pays, *method* that of the card
    or account, or ``None`` for the customer's usual one. With *collects*, finalized invoices are paid with
    it."""

    project_id: str
    provider: str
    customer: str
    method: str | None
    collects: bool
    changed_at: Instant
    changed_by: str


@frozen
class Refund:
    """Money of a payment that goes back to the payer, promised by *transaction_id*: *taken_micros* of the
    payment, and what exceeds them (only where it was made at the provider) is a loss.

    While the provider has not paid it out it is pending, and asked for as a payment is; a refund that failed
    has given back what it had taken.
    """

    project_id: str
    id: str
    payment_id: str
    amount_micros: int
    taken_micros: int
    reason: str
    status: PaymentStatus
    transaction_id: str
    created_at: Instant
    actor: str
    request_id: str | None = None
    provider_id: str | None = None
    failure: str | None = None
    settled_at: Instant | None = None
    tries: int = 0
    asked_at: Instant | None = None
    due_at: Instant | None = None

    @property
    def digits(self) -> str:
        """What the ids of all that comes of the refund share with its own."""
        return self.id.removeprefix("rfd_")

    @property
    def stands(self) -> bool:
        """Whether it holds what it has taken."""
        return self.status is not PaymentStatus.FAILED

    @property
    def lost_micros(self) -> int:
        """What it claims, and could not take."""
        return self.amount_micros - self.taken_micros


class AllocationKind(StrEnum):
    """What changed what is open of an invoice."""

    PAYMENT = "payment"
    REFUND = "refund"
    CREDIT_NOTE = "credit_note"
    WRITE_OFF = "write_off"
    DISPUTE = "dispute"


@frozen
class Allocation:
    """A transaction that settled *micros* of an invoice, or below zero opened as much of it again.

    *subject_id* names the payment, refund, dispute or correction that it was for: where one transaction has
    two of an invoice, the one gave up what the other took. *payment_id* names the payment that paid it, or
    whose money went back.
    """

    project_id: str
    transaction_id: str
    invoice_id: str
    subject_id: str
    kind: AllocationKind
    micros: int
    payment_id: str | None = None


class CorrectionKind(StrEnum):
    """Why less of an invoice is to be paid: it was too much, or nobody will pay it."""

    CREDIT_NOTE = "credit_note"
    WRITE_OFF = "write_off"


@frozen
class Correction:
    """A credit note or a write-off.

    *number* counts those of its kind in the project from 1. Of the amount, *tax_micros* is tax that is not
    owed any more; *settled_micros* were taken off what was open, and what had been paid already became the
    goodwill grant *grant_id*.
    """

    project_id: str
    id: str
    kind: CorrectionKind
    number: int
    invoice_id: str
    amount_micros: int
    tax_micros: int
    settled_micros: int
    reason: str
    transaction_id: str
    created_at: Instant
    actor: str
    request_id: str | None = None

    @property
    def credited_micros(self) -> int:
        """What it gives back: of a write-off nothing."""
        return self.amount_micros if self.kind is CorrectionKind.CREDIT_NOTE else 0

    @property
    def granted_micros(self) -> int:
        """What became credit."""
        return self.amount_micros - self.settled_micros

    @property
    def grant_id(self) -> str | None:
        """The grant that it opened."""
        return f"grt_{self.id.partition('_')[2]}" if self.granted_micros else None


@frozen
class Collection:
    """How often an invoice was collected by itself, and when it is next; without *due_at* it was given up."""

    project_id: str
    invoice_id: str
    tries: int
    due_at: Instant | None


class DisputeStatus(StrEnum):
    """How the payer's bank has decided; the last two are final."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


@frozen
class Dispute:
    """Money that the payer's bank took back: *taken_micros* of the payment, and what exceeds them (where some
    had been refunded already) as a loss. The dispute itself may cost *fee_micros*, of which the provider may
    give *fee_back_micros* back."""

    project_id: str
    id: str
    payment_id: str
    provider_id: str
    amount_micros: int
    taken_micros: int
    reason: str
    status: DisputeStatus
    transaction_id: str
    created_at: Instant
    fee_micros: int = 0
    closed_at: Instant | None = None
    fee_back_micros: int = 0

    @property
    def digits(self) -> str:
        """What the ids of all that comes of the dispute share with its own."""
        return self.id.removeprefix("dsp_")

    @property
    def stands(self) -> bool:
        """Whether it holds what it has taken."""
        return self.status is not DisputeStatus.WON

    @property
    def lost_micros(self) -> int:
        """What it claims, and could not take."""
        return self.amount_micros - self.taken_micros


Claim: TypeAlias = Refund | Dispute
"""Whatever takes what a payment has paid."""


class EventState(StrEnum):
    """Where an event of a provider's stands: *ignored* is about nothing of ours, *dead* was given up."""

    PENDING = "pending"
    PROCESSED = "processed"
    IGNORED = "ignored"
    DEAD = "dead"


@frozen
class ProviderEvent:
    """What a provider sent, word by word, and what became of it.

    *subject_id* is what the provider calls the payment that it is about, if it is about one. While it is
    pending it is processed at *due_at*; *tries* counts how often somebody set out to.
    """

    id: str
    provider: str
    event_id: str
    type: str
    subject_id: str | None
    payload: str
    received_at: Instant
    state: EventState
    tries: int = 0
    due_at: Instant | None = None
    ended_at: Instant | None = None
    failure: str | None = None
    project_id: str | None = None
    payment_id: str | None = None
