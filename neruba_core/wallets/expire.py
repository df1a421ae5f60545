"""Posting what has expired.

Credit stops counting at its grant's expiry, whether or not that is posted; posting moves what remains, and is
not held, to where it belongs: given credit back to where it came from, paid credit to breakage. What was held
outlives its grant, and what is freed of it expires with the hold.

So posting changes no balance that anybody sees, now or as of any instant, and it does not matter when it is
done, or by how many. It follows from the lots under the locked head: what is posted is no longer there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from neruba_core.audit.model import SYSTEM
from neruba_core.idempotency.fingerprint import fingerprint
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.chart import Chart
from neruba_core.ledger.model import Transaction, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.ledger.store import HasLedger
from neruba_core.outbox.store import HasOutbox
from neruba_core.tenancy.store import HasTenancy
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.booking import Booking, BookingWork, Cause, open_books
from neruba_core.wallets.model import Hold, Lot, expires_to

OPERATION = "expiry"
_AT_ONCE = 4


class ExpiryWork(BookingWork, HasTenancy, HasOutbox, Protocol):
    """What expiring reads and writes."""


def expire(
    work: ExpiryWork, project_ids: Sequence[str], *, at: Instant, ids: Ids, chart: Chart
) -> list[Transaction]:
    """Post what has expired by *at* in these projects, end the holds whose time is over, and have each
    project looked at again when the next of either expires. Archived projects expire too: no one asks them
    to."""
    heads = work.ledger.lock_heads(sorted(project_ids))
    books = open_books(work, work.tenancy.projects(list(heads)), heads, chart, at=at)
    booking = Booking(at)
    for project_id, book in books.items():
        due = sorted(
            (lot for lot in book.lots.values() if lot.expired(at) and lot.free_micros),
            key=lambda lot: (lot.grant.expires_at, lot.grant.id),
        )
        posted = postings_of(work, project_id, [lot.grant.id for lot in due])
        closed = {hold.id: hold for hold in book.closed}
        book.written |= bool(closed)
        for lot in due:
            decision = decide_expiry(book, lot, _freed(work, lot, closed), ids=ids)
            key = f"{lot.grant.id}:{len(posted[lot.grant.id])}"
            digest = fingerprint(OPERATION, f"/projects/{project_id}", {"grantId": lot.grant.id, "key": key})
            booking.book(book, decision, Cause(OPERATION, key, digest, SYSTEM))
        booking.watch(book)
        book.due_again(next_due(work, book, at))
    booking.write(work, list(books.values()))
    booking.telling.write(work, at=at, ids=ids)
    return booking.transactions


def decide_expiry(book: Book, lot: Lot, freed: Iterable[Instant], *, ids: Ids) -> Decision:
    """Take what is free of an expired *lot*, effective at its expiry, or when the last that was held of it
    was *freed*."""
    grant = lot.grant
    assert grant.expires_at is not None, "it has expired"
    return Decision(
        transaction_id=ids.new("txn"),
        type=TransactionType.EXPIRY,
        amount_micros=lot.free_micros,
        description="Credit expired",
        postings=balanced(
            (
                debit(grant.account, lot.free_micros),
                credit(expires_to(book.chart, grant.kind), lot.free_micros),
            )
        ),
        effective_at=max((grant.expires_at, *freed)),
        expires=grant.id,
    )


def postings_of(work: HasLedger, project_id: str, grant_ids: Sequence[str]) -> dict[str, list[Transaction]]:
    """The expiries that were posted of each grant, in their order: one, and one for each time that something
    was freed of it afterwards."""
    found: dict[str, list[Transaction]] = {grant_id: [] for grant_id in grant_ids}
    open_ids = list(grant_ids)
    while open_ids:
        keys = [
            f"{grant_id}:{number}"
            for grant_id in open_ids
            for number in range(len(found[grant_id]), len(found[grant_id]) + _AT_ONCE)
        ]
        booked = work.ledger.transactions_by_keys(project_id, OPERATION, keys)
        more = []
        for grant_id in open_ids:
            before = len(found[grant_id])
            found[grant_id] += [
                booked[key]
                for key in (f"{grant_id}:{number}" for number in range(before, before + _AT_ONCE))
                if key in booked
            ]
            if len(found[grant_id]) == before + _AT_ONCE:
                more.append(grant_id)
        open_ids = more
    return found


def _freed(work: BookingWork, lot: Lot, closed: dict[str, Hold]) -> Iterator[Instant]:
    """When the holds that were open as the grant expired, and are no more, gave back what they held of it."""
    assert lot.grant.expires_at is not None, "it has expired"
    for kept in work.wallets.holds_at(lot.grant.project_id, lot.grant.expires_at):
        hold = closed.get(kept.id, kept)
        if hold.closed_at is not None and any(draw.grant_id == lot.grant.id for draw in hold.draws):
            yield hold.closed_at


def next_due(work: BookingWork, book: Book, at: Instant) -> Instant | None:
    """When the next grant or hold of the book expires, all that is expired by *at* being posted."""
    closed = {hold.id for hold in book.closed}
    moments = [
        lot.grant.expires_at
        for lot in book.lots.values()
        if lot.remaining_micros and lot.grant.expires_at is not None and not lot.expired(at)
    ]
    if book.held_micros:
        moments += [
            hold.expires_at for hold in work.wallets.open_holds(book.project.id) if hold.id not in closed
        ]
    return min(moments, default=None)
