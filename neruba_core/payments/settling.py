"""Asking a provider, between two units of work.

A payment is *begun* in one unit: that somebody sets out to ask, and when the next may, is committed before
anybody is asked. The provider is asked while no unit is open, so nothing is locked however long it takes.
What it said is *settled* in another unit. Whoever dies in between leaves a payment that falls due again, and
the question is repeated under the same id.

Statuses only go forward: a payment that was booked stays booked, whatever an older answer says; one that was
given up is booked after all if the money comes.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from attrs import evolve, frozen

from neruba_core import money
from neruba_core.audit.changes import note_change
from neruba_core.errors import PaymentNotFound, ProviderUnavailable
from neruba_core.idempotency.fingerprint import Json
from neruba_core.instants import Instant
from neruba_core.outbox.model import MessageType
from neruba_core.payments.answer import payment_values
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import Payment, PaymentStatus
from neruba_core.payments.pay import succeed
from neruba_core.payments.postings import fee_kept
from neruba_core.payments.provider import Answer, Ask, PaymentProvider

log = logging.getLogger("neruba.payments")

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)

LOST = "the provider never heard of it"


@frozen
class Begun:
    """A payment that somebody has set out to ask for."""

    ask: Ask
    tries: int
    asked_at: Instant


def begin(desk: Desk, payment_id: str) -> Begun | None:
    """Set out to ask for the payment, unless it is settled or somebody else has set out.

    Raises ``PaymentNotFound``.
    """
    payment = _payment(desk, payment_id)
    if payment.status is not PaymentStatus.PENDING or payment.due_at is None or payment.due_at > desk.at:
        return None
    payment = begun(payment, desk.at)
    desk.work.payments.put_payment(payment)
    return as_begun(payment, desk.project.currency)


def begun(payment: Payment, at: Instant) -> Payment:
    """*payment*, which somebody sets out to ask for at *at*; when the next may, is later each time."""
    wait = min(FIRST_WAIT * 2 ** min(payment.tries, 10), LONGEST_WAIT)
    return evolve(payment, tries=payment.tries + 1, asked_at=payment.asked_at or at, due_at=at + wait)


def as_begun(payment: Payment, currency: str) -> Begun:
    """What is asked for *payment*, which has been begun."""
    assert payment.asked_at is not None, "it was begun"
    return Begun(Ask.of(payment, currency), payment.tries, payment.asked_at)


def asked(provider: PaymentProvider, begun: Begun, *, at: Instant) -> Answer | None:
    """Ask outside of any unit of work; ``None`` if nobody knows yet."""
    try:
        if begun.tries == 1:
            return provider.charge(begun.ask)
        found = provider.look_up(begun.ask)
        if found is not None:
            return found
        if at - begun.asked_at < provider.key_lasts:
            return provider.charge(begun.ask)
    except ProviderUnavailable as trouble:
        log.warning("payment %s stays pending: %s", begun.ask.payment_id, trouble)
        return None
    # What could have been asked for under our id is long visible by now, and nobody asks any more.
    return Answer(PaymentStatus.FAILED, failure=LOST)


def settle(desk: Desk, payment_id: str, answer: Answer) -> Payment:
    """Write what has become of the payment, and book it if the money has come. Raises ``PaymentNotFound``."""
    payment = _payment(desk, payment_id)
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


def _payment(desk: Desk, payment_id: str) -> Payment:
    found = desk.work.payments.payment(desk.project.id, payment_id)
    if found is None:
        raise PaymentNotFound(payment_id)
    return found
