"""What a payment provider is to us: something that is asked for money, and may answer late, twice or never.

Every request carries an id of ours, under which the provider acts at most once however often it is repeated.
So it is safe to ask again, as long as it is the same question, and as long as the provider remembers the id:
``key_lasts``. After that we only look, and what is not found then was never there.

An adapter answers what it knows and raises ``ProviderUnavailable`` where it knows nothing: a timeout, a
connection that broke, a server in trouble, a request that is still under way. It never guesses.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol, runtime_checkable

from attrs import frozen

from neruba_core import money
from neruba_core.payments.model import MANUAL, DisputeStatus, Payment, PaymentStatus, Refund


@frozen
class Ask:
    """Money to ask for, in micro-units of *currency*; equal for one payment whenever it is asked."""

    project_id: str
    payment_id: str
    amount_micros: int
    currency: str
    customer: str | None
    method: str | None
    invoice_id: str | None
    provider_id: str | None = None
    """What the provider calls it, if it has said so already."""

    @property
    def our_id(self) -> str:
        """What it is called here."""
        return self.payment_id

    @classmethod
    def of(cls, payment: Payment, currency: str) -> Ask:
        """What is asked for *payment*."""
        return cls(
            project_id=payment.project_id,
            payment_id=payment.id,
            amount_micros=payment.amount_micros,
            currency=currency,
            customer=payment.customer,
            method=payment.method,
            invoice_id=payment.invoice_id,
            provider_id=payment.provider_id,
        )


@frozen
class RefundAsk:
    """Money of a payment to give back, in micro-units of *currency*; *charge_id* is what the provider calls
    the payment."""

    project_id: str
    refund_id: str
    amount_micros: int
    currency: str
    charge_id: str | None
    provider_id: str | None = None

    @property
    def our_id(self) -> str:
        """What it is called here."""
        return self.refund_id

    @classmethod
    def of(cls, refund: Refund, payment: Payment, currency: str) -> RefundAsk:
        """What is asked for *refund*, of *payment*."""
        return cls(
            project_id=refund.project_id,
            refund_id=refund.id,
            amount_micros=refund.amount_micros,
            currency=currency,
            charge_id=payment.provider_id,
            provider_id=refund.provider_id,
        )


@frozen
class Answer:
    """How it stands: *failure* says why the money will not come, *fee_micros* what the provider keeps of it,
    as far as that is known. *amount_micros* of *currency* is what it is about as the provider says, if it
    does."""

    status: PaymentStatus
    provider_id: str | None = None
    failure: str | None = None
    fee_micros: int = 0
    amount_micros: int | None = None
    currency: str | None = None

    def differs(self, amount_micros: int, currency: str) -> str | None:
        """How money that has moved differs from what was asked for, if it does."""
        told = (
            amount_micros if self.amount_micros is None else self.amount_micros,
            currency if self.currency is None else self.currency,
        )
        if self.status is not PaymentStatus.SUCCEEDED or told == (amount_micros, currency):
            return None
        return f"asked for {money.text(amount_micros)} {currency}, told of {money.text(told[0])} {told[1]}"


@frozen
class RefundTold:
    """A refund as the provider reports it, in *currency* if it says so; *refund_id* is ours, if we asked for
    it."""

    amount_micros: int
    answer: Answer
    refund_id: str | None = None
    currency: str | None = None


@frozen
class DisputeTold:
    """A dispute as the provider reports it: the money that left, what the dispute cost, what of that it gave
    back, and how it stands; in *currency*, if it says so."""

    provider_id: str
    amount_micros: int
    fee_micros: int
    reason: str
    status: DisputeStatus
    currency: str | None = None
    fee_back_micros: int = 0


@frozen
class Report:
    """All that a provider knows of a payment of ours, as it stands now."""

    project_id: str
    payment_id: str
    answer: Answer
    refunds: tuple[RefundTold, ...] = ()
    disputes: tuple[DisputeTold, ...] = ()


@frozen
class EventTold:
    """An event that is the provider's for certain. *subject_id* is what the provider calls the payment that
    it is about, if it is about one."""

    event_id: str
    type: str
    subject_id: str | None


@runtime_checkable
class Telling(Protocol):
    """A provider that sends events by itself."""

    def read_event(self, payload: bytes, signature: str | None) -> EventTold:
        """The event that was sent. Raises ``SignatureInvalid`` or ``WebhookSecretUnset``."""

    def report(self, subject_id: str) -> Report | None:
        """How the payment stands now, with all that came of it; ``None`` if it is none of ours. Raises
        ``ProviderUnavailable`` where nobody answers; whatever else it raises counts as a try of the event."""


class PaymentProvider(Protocol):
    """See the module."""

    @property
    def name(self) -> str:
        """As it stands in payments and in ``cash:{name}``."""

    @property
    def immediate(self) -> bool:
        """Whether nobody outside is asked, so that a payment may succeed within its unit of work."""

    @property
    def key_lasts(self) -> timedelta:
        """For how long after the first time the same question is sure to act once."""

    def charge(self, ask: Ask) -> Answer:
        """Ask for the money, at most once per payment id."""

    def look_up(self, ask: Ask) -> Answer | None:
        """How it stands, by the provider's id or by ours; ``None`` if the provider does not find it."""

    def refund(self, ask: RefundAsk) -> Answer:
        """Give the money back, at most once per refund id."""

    def look_up_refund(self, ask: RefundAsk) -> Answer | None:
        """How it stands; ``None`` if the provider does not find it."""


class Manual:
    """Finance has the money already, so all that is asked for has come."""

    name = MANUAL
    immediate = True
    key_lasts = timedelta.max

    def charge(self, ask: Ask) -> Answer:
        """It is here."""
        return Answer(PaymentStatus.SUCCEEDED)

    def look_up(self, ask: Ask) -> Answer | None:
        """It is here."""
        return Answer(PaymentStatus.SUCCEEDED)

    def refund(self, ask: RefundAsk) -> Answer:
        """It has gone back."""
        return Answer(PaymentStatus.SUCCEEDED)

    def look_up_refund(self, ask: RefundAsk) -> Answer | None:
        """It has gone back."""
        return Answer(PaymentStatus.SUCCEEDED)
