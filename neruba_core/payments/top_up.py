"""Topping up by itself: whether now is the time for another payment.

Whoever looks decides from what is stored: the top-ups there have been. The number of the next one is part of
its idempotency key, so of many who decide at once, one pays. Hence there are never two under way, and the cap
holds whoever races: the second of them sees the first, or is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from attrs import frozen

from neruba_core import instants
from neruba_core.audit.model import SYSTEM
from neruba_core.instants import Instant
from neruba_core.payments.model import Payment, PaymentStatus
from neruba_core.payments.store import HasPayments
from neruba_core.tenancy.model import Project, TopUp

REFERENCE = "Automatic top-up "
LOOK_AGAIN = timedelta(minutes=1)
_PAGE = 100


@frozen
class Decided:
    """Pay for top-up *number*, or if it is ``None``, look again at *look_at*."""

    number: int | None
    look_at: Instant


def decide(project: Project, top_up: TopUp, earlier: Sequence[Payment], *, at: Instant) -> Decided:
    """Whether to top up at *at*, after the *earlier* ones, newest first: all of the present month, and the
    last."""
    number = 1 + (number_of(earlier[0]) if earlier else 0)
    if any(payment.status is PaymentStatus.PENDING for payment in earlier):
        return Decided(None, at + LOOK_AGAIN)
    pause = timedelta(minutes=top_up.cool_down_minutes)
    if earlier and earlier[0].created_at + pause > at:
        # A payment that was declined is not tried again at once either.
        return Decided(None, earlier[0].created_at + pause)
    month = _month(project, at)
    spent = sum(
        payment.amount_micros
        for payment in earlier
        if payment.created_at >= month.start and payment.status is not PaymentStatus.FAILED
    )
    if spent + top_up.amount_micros > top_up.monthly_cap_micros:
        return Decided(None, month.end)
    return Decided(number, at + pause)


def earlier_top_ups(work: HasPayments, project: Project, *, at: Instant) -> list[Payment]:
    """The top-ups of the present month and the last before, newest first."""
    month = _month(project, at)
    found: list[Payment] = []
    before: str | None = None
    while page := work.payments.payments(project.id, limit=_PAGE, before=before):
        before = page[-1].id
        for payment in page:
            if payment.actor == SYSTEM.actor and (payment.reference or "").startswith(REFERENCE):
                found.append(payment)
        if found and page[-1].created_at < month.start:
            break
    return found


def number_of(payment: Payment) -> int:
    """Which of the project's top-ups it is."""
    assert payment.reference is not None, "a top-up has its number there"
    return int(payment.reference.removeprefix(REFERENCE))


def _month(project: Project, at: Instant) -> instants.Period:
    zone = project.timezone_at(at)
    return instants.month(instants.month_of(at, zone), zone)
