"""Asking a provider, between two units of work.

A payment, or a refund, is *begun* in one unit: that somebody sets out to ask, and when the next may, is
committed before anybody is asked. The provider is asked while no unit is open, so nothing is locked however
long it takes. What it said is *settled* in another unit. Whoever dies in between leaves a payment that falls
due again, and the question is repeated under the same id.

Statuses only go forward: a payment that was booked stays booked, whatever an older answer says; one that was
given up is booked after all if the money comes.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TypeVar

from attrs import evolve, frozen

from neruba_core import money
from neruba_core.audit.changes import note_change
from neruba_core.errors import ProviderUnavailable, RefundNotFound
from neruba_core.idempotency.fingerprint import Json
from neruba_core.instants import Instant
from neruba_core.outbox.model import MessageType
from neruba_core.payments.answer import payment_values
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import Payment, PaymentStatus, Refund
from neruba_core.payments.pay import succeed
from neruba_core.payments.postings import fee_kept, sent_back
from neruba_core.payments.provider import Answer, Ask, PaymentProvider, RefundAsk
from neruba_core.payments.refund import kept, paid_out, payment_of

log = logging.getLogger("neruba.payments")

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)

LOST = "the provider never heard of it"


Money = TypeVar("Money", Payment, Refund)


@frozen
class Begun:
    """A payment or refund that somebody has set out to ask for."""

    ask: Ask | RefundAsk
    provider: str
    tries: int
    asked_at: Instant


def begin(desk: Desk, payment_id: str) -> Begun | None:
    """Set out to ask for the payment, unless it is settled or somebody else has set out.

    Raises ``PaymentNotFound``.
    """
    payment = payment_of(desk, payment_id)
    if not _is_due(payment, desk.at):
        return None
    payment = _begun(payment, desk.at)
    desk.work.payments.put_payment(payment)
    return _as_begun(payment, payment, Ask.of(payment, desk.project.currency))


def begin_refund(desk: Desk, refund_id: str) -> Begun | None:
    """Set out to ask for the refund, unless it is settled or somebody else has set out.

    Raises ``RefundNotFound``.
    """
    refund = _refund(desk, refund_id)
    if not _is_due(refund, desk.at):
        return None
    refund = _begun(refund, desk.at)
    desk.work.payments.put_refund(refund)
    payment = payment_of(desk, refund.payment_id)
    return _as_begun(refund, payment, RefundAsk.of(refund, payment, desk.project.currency))


def _is_due(row: Payment | Refund, at: Instant) -> bool:
    return row.status is PaymentStatus.PENDING and row.due_at is not None and row.due_at <= at


def _begun(row: Money, at: Instant) -> Money:
    """*row*, which somebody sets out to ask for at *at*; when the next may, is later each time."""
    wait = min(FIRST_WAIT * 2 ** min(row.tries, 10), LONGEST_WAIT)
    return evolve(row, tries=row.tries + 1, asked_at=row.asked_at or at, due_at=at + wait)


def _as_begun(row: Payment | Refund, payment: Payment, ask: Ask | RefundAsk) -> Begun:
    assert row.asked_at is not None, "it was begun"
    return Begun(ask, payment.provider, row.tries, row.asked_at)


def asked(provider: PaymentProvider, begun: Begun, *, at: Instant) -> Answer | None:
    """Ask outside of any unit of work; ``None`` if nobody knows yet, or other money has moved than was asked
    for: that is for somebody to look into, and nothing is booked."""
    answer = _asked(provider, begun, at)
    if answer is not None:
        difference = answer.differs(begun.ask.amount_micros, begun.ask.currency)
        if difference is not None:
            log.error("%s stays pending: %s", begun.ask.our_id, difference)
            return None
    return answer


def _asked(provider: PaymentProvider, begun: Begun, at: Instant) -> Answer | None:
    try:
        first = begun.tries == 1 and begun.ask.provider_id is None
        found = None if first else _look_up(provider, begun.ask)
        if found is not None:
            return found
        # What the provider has named is there, and must not be asked for again.
        if first or (begun.ask.provider_id is None and at - begun.asked_at < provider.key_lasts):
            return _act(provider, begun.ask)
    except ProviderUnavailable as trouble:
        log.warning("%s stays pending: %s", begun.ask.our_id, trouble)
        return None
    # What could have been asked for under our id is long visible by now, and nobody asks any more.
    return Answer(PaymentStatus.FAILED, failure=LOST)


def _act(provider: PaymentProvider, ask: Ask | RefundAsk) -> Answer:
    return provider.charge(ask) if isinstance(ask, Ask) else provider.refund(ask)


def _look_up(provider: PaymentProvider, ask: Ask | RefundAsk) -> Answer | None:
    return provider.look_up(ask) if isinstance(ask, Ask) else provider.look_up_refund(ask)


def settle(desk: Desk, payment_id: str, answer: Answer) -> Payment:
    """Write what has become of the payment, and book it if the money has come. Raises ``PaymentNotFound``."""
    payment = payment_of(desk, payment_id)
    known = evolve(payment, provider_id=payment.provider_id or answer.provider_id)
    if answer.status is PaymentStatus.SUCCEEDED:
        if payment.status is not PaymentStatus.SUCCEEDED:
            known = succeed(desk, known)
        return _with_fee(desk, known, answer.fee_micros)
    if answer.status is PaymentStatus.FAILED and payment.status is PaymentStatus.PENDING:
        return _fail(desk, known, answer.failure or "refused")
    if known != payment:
        desk.work.payments.put_payment(known)
    return known


def settle_refund(desk: Desk, refund_id: str, answer: Answer) -> Refund:
    """Write what has become of the refund, and book that the money has left or stays. A bank may send back
    even what has left, but nothing leaves that failed."""
    refund = _refund(desk, refund_id)
    known = evolve(refund, provider_id=refund.provider_id or answer.provider_id)
    if refund.status is PaymentStatus.FAILED:
        return refund
    if answer.status is PaymentStatus.SUCCEEDED and refund.status is PaymentStatus.PENDING:
        return paid_out(desk, known)
    if answer.status is PaymentStatus.FAILED:
        if refund.status is PaymentStatus.SUCCEEDED:
            desk.post(
                sent_back(desk.book, payment_of(desk, refund.payment_id), refund), "refund_back", refund.id
            )
        return kept(desk, known, answer.failure or "refused")
    if known != refund:
        desk.work.payments.put_refund(known)
    return known


def _fail(desk: Desk, payment: Payment, failure: str) -> Payment:
    failed = evolve(payment, status=PaymentStatus.FAILED, failure=failure, settled_at=desk.at, due_at=None)
    desk.work.payments.put_payment(failed)
    details: dict[str, Json] = {
        "provider": payment.provider,
        "amount": money.text(payment.amount_micros),
        "failure": failure,
    }
    note_change(
        desk.work,
        desk.project.id,
        "payment.failed",
        payment.id,
        details,
        at=desk.at,
        ids=desk.ids,
        origin=desk.origin,
    )
    desk.tell(MessageType.PAYMENT_FAILED, payment_values(failed))
    return failed


def _with_fee(desk: Desk, payment: Payment, fee_micros: int) -> Payment:
    """The provider tells its fee once it knows it, which may be later than the money."""
    if not fee_micros or payment.fee_micros:
        return payment
    desk.post(fee_kept(desk.book, payment, fee_micros), "provider_fee", payment.id)
    kept = evolve(payment, fee_micros=fee_micros)
    desk.work.payments.put_payment(kept)
    return kept


def _refund(desk: Desk, refund_id: str) -> Refund:
    found = desk.work.payments.refund(desk.project.id, refund_id)
    if found is None:
        raise RefundNotFound(refund_id)
    return found
