"""What providers tell by themselves: kept word by word first, processed afterwards, booked once.

An event is taken for a hint that something about one payment has changed, and never for the news itself. What
is booked is what the provider reports of that payment when it is asked, and what is known already is not
booked again. So it makes no difference whether events come twice, late, or in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from attrs import evolve

from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.payments.desk import Desk
from neruba_core.payments.dispute import book_dispute
from neruba_core.payments.model import EventState, PaymentStatus, ProviderEvent
from neruba_core.payments.provider import EventTold, RefundTold, Report
from neruba_core.payments.refund import payment_of, promise
from neruba_core.payments.settling import settle, settle_refund
from neruba_core.payments.store import HasPayments

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
MOST_TRIES = 12
UNANSWERED_TRIES = 8
"""What a provider that does not answer counts for at most: by then the wait is the longest, and tries are
left for what is wrong with the event itself."""
MOST_FAILURE = 500


def keep(work: HasPayments, provider: str, told: EventTold, payload: str, *, at: Instant, ids: Ids) -> bool:
    """Keep the event, unless it is there already; whether it was new."""
    return work.payments.add_event(
        ProviderEvent(
            id=ids.new("pev"),
            provider=provider,
            event_id=told.event_id,
            type=told.type,
            subject_id=told.subject_id,
            payload=payload,
            received_at=at,
            # What is about no payment is kept, but there is nothing to do about it.
            state=EventState.IGNORED if told.subject_id is None else EventState.PENDING,
            due_at=None if told.subject_id is None else at,
            ended_at=at if told.subject_id is None else None,
        )
    )


def claim(work: HasPayments, *, at: Instant, limit: int) -> list[ProviderEvent]:
    """Set out to process at most *limit* events that are due; when the next may, is later each time."""
    claimed = []
    for event in work.payments.due_events(at, limit=limit):
        wait = min(FIRST_WAIT * 2 ** min(event.tries, 10), LONGEST_WAIT)
        mine = evolve(event, tries=event.tries + 1, due_at=at + wait)
        if work.payments.put_event(mine, tries=event.tries):
            claimed.append(mine)
    return claimed


def end(work: HasPayments, events: Sequence[ProviderEvent], report: Report | None, *, at: Instant) -> None:
    """What *events* are about has been booked; without a *report*, it was nothing of ours."""
    for event in events:
        ended = evolve(
            event,
            state=EventState.IGNORED if report is None else EventState.PROCESSED,
            due_at=None,
            ended_at=at,
            failure=None,
            project_id=None if report is None else report.project_id,
            payment_id=None if report is None else report.payment_id,
        )
        work.payments.put_event(ended, tries=event.tries)


def fail(
    work: HasPayments, events: Sequence[ProviderEvent], failure: str, *, at: Instant, answered: bool = True
) -> None:
    """They could not be processed: they fall due again, until they are given up; never because the provider
    has not *answered*, however long that takes."""
    for event in events:
        known = evolve(event, failure=failure[:MOST_FAILURE])
        if not answered:
            known = evolve(known, tries=min(event.tries, UNANSWERED_TRIES))
        elif event.tries >= MOST_TRIES:
            known = evolve(known, state=EventState.DEAD, due_at=None, ended_at=at)
        work.payments.put_event(known, tries=event.tries)


def again(event: ProviderEvent, at: Instant) -> ProviderEvent:
    """*event*, to be processed as if it had just come, with all its tries."""
    return evolve(event, state=EventState.PENDING, tries=0, due_at=at, ended_at=None, failure=None)


def ours(work: HasPayments, provider: str, report: Report) -> bool:
    """Whether the payment that *report* names is one that we asked this provider for."""
    payment = work.payments.payment(report.project_id, report.payment_id)
    if payment is None or payment.provider != provider:
        return False
    return payment.provider_id in (None, report.answer.provider_id)


def _require_as_asked(desk: Desk, report: Report) -> None:
    """Raises ``ValueError`` where *report* is about other money than was asked for, or in another currency:
    then none of it may be booked."""
    currency = desk.project.currency
    difference = report.answer.differs(payment_of(desk, report.payment_id).amount_micros, currency)
    if difference is not None:
        raise ValueError(f"{report.payment_id}: {difference}")
    told = {*(each.currency for each in report.refunds), *(each.currency for each in report.disputes)}
    for other in told - {None, currency}:
        raise ValueError(f"{report.payment_id} is in {currency}, and what came of it in {other}")


def book(desk: Desk, report: Report) -> None:
    """Book what of *report* is not known yet. Raises ``ValueError`` where it is about other money than was
    asked for.

    What is known of disputes comes first, for what was won may have been refunded since; what a new one takes
    may have been refunded before.
    """
    _require_as_asked(desk, report)
    payment = settle(desk, report.payment_id, report.answer)
    if payment.status is not PaymentStatus.SUCCEEDED:
        return
    known = {each.provider_id for each in desk.work.payments.disputes(desk.project.id, payment.id)}
    for dispute in report.disputes:
        if dispute.provider_id in known:
            book_dispute(desk, payment.id, dispute)
    for refund in report.refunds:
        _book_refund(desk, payment.id, refund)
    for dispute in report.disputes:
        if dispute.provider_id not in known:
            book_dispute(desk, payment.id, dispute)


def _book_refund(desk: Desk, payment_id: str, told: RefundTold) -> None:
    known = desk.work.payments.refunds(desk.project.id, payment_id)
    for refund in known:
        if told.answer.provider_id == refund.provider_id or told.refund_id == refund.id:
            settle_refund(desk, refund.id, told.answer)
            return
    if told.answer.status is PaymentStatus.FAILED:
        return
    made = promise(
        desk,
        payment_of(desk, payment_id),
        desk.ids.new("rfd"),
        told.amount_micros,
        "Refunded at the provider",
        told.answer.provider_id,
    )
    settle_refund(desk, made.id, told.answer)
