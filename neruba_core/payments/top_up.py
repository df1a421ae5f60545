"""Topping up by itself: whether now is the time for another payment.

Whoever looks decides from what is stored: the top-ups there have been. The number of the next one is part of
its idempotency key, so of many who decide at once, one pays. Hence there are never two under way, and the cap
holds whoever races: the second of them sees the first, or is the first.

What was given back is not taken again by itself: once a top-up is refunded, or disputed by the payer's bank,
there are no more until the setting is made again, or the dispute is won.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile

from attrs import frozen

from neruba_core import instants
from neruba_core.audit.model import SYSTEM
from neruba_core.instants import Instant
from neruba_core.payments.model import MANUAL, DisputeStatus, Payment, PaymentStatus
from neruba_core.payments.store import HasPayments
from neruba_core.tenancy.model import Project, TopUp

OPERATION = "top_up"
"""Not that of payments that somebody asks for: their keys are not taken from each other."""

REFERENCE = "Automatic top-up "
LOOK_AGAIN = timedelta(minutes=1)
DAY = timedelta(days=1)
_NUMBERED = re.compile(REFERENCE + "([1-9][0-9]{0,17})")
_PAGE = 100


@frozen
class Decided:
    """Pay for top-up *number*, or if it is ``None``, look again at *look_at*."""

    number: int | None
    look_at: Instant


def decide(
    project: Project, top_up: TopUp, earlier: Sequence[Payment], *, stopped: bool, at: Instant
) -> Decided:
    """Whether to top up at *at*, after the *earlier* ones, newest first: all of the present month, and the
    last. *stopped* tells that money of one of them has gone back."""
    number = 1 + (number_of(earlier[0]) or 0 if earlier else 0)
    asked = [payment.due_at or at for payment in earlier if payment.status is PaymentStatus.PENDING]
    if asked:
        # Nothing new is known before its provider is asked again, or tells by itself.
        return Decided(None, max(at + LOOK_AGAIN, *asked))
    if stopped:
        return Decided(None, at + DAY)
    pause = _pause(top_up, earlier)
    if earlier and earlier[0].created_at + pause > at:
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
            if number_of(payment) is not None:
                found.append(payment)
        if found and page[-1].created_at < month.start:
            break
    return found


def is_stopped(work: HasPayments, top_up: TopUp, earlier: Sequence[Payment]) -> bool:
    """Whether money of an *earlier* one was given back or disputed since the setting was made."""
    moments = [
        moment for payment in earlier if payment.gone_micros for moment in _gone_back_at(work, payment)
    ]
    return any(top_up.set_at is None or moment >= top_up.set_at for moment in moments)


def number_of(payment: Payment) -> int | None:
    """Which of the project's top-ups it is; ``None`` if it is another payment."""
    if payment.actor != SYSTEM.actor or payment.provider == MANUAL:
        return None
    named = _NUMBERED.fullmatch(payment.reference or "")
    return None if named is None else int(named[1])


def _gone_back_at(work: HasPayments, payment: Payment) -> list[Instant]:
    refunds = work.payments.refunds(payment.project_id, payment.id)
    disputes = work.payments.disputes(payment.project_id, payment.id)
    return [
        *(each.created_at for each in refunds if each.status is not PaymentStatus.FAILED),
        *(each.created_at for each in disputes if each.status is not DisputeStatus.WON),
    ]


def _pause(top_up: TopUp, earlier: Sequence[Payment]) -> timedelta:
    """The cool-down; after each further decline in a row twice as long, up to a day."""
    cool_down = timedelta(minutes=top_up.cool_down_minutes)
    declined = takewhile(
        lambda payment: (
            payment.status is PaymentStatus.FAILED
            and (top_up.set_at is None or payment.created_at >= top_up.set_at)
        ),
        earlier,
    )
    doublings = min(max(sum(1 for _ in declined) - 1, 0), 11)
    return max(cool_down, min(cool_down * (1 << doublings), DAY))


def _month(project: Project, at: Instant) -> instants.Period:
    zone = project.timezone_at(at)
    return instants.month(instants.month_of(at, zone), zone)
