"""What falls due in one project, and when: read from what is stored, never from a plan of its own.

So nothing here can be forgotten, or remembered wrongly, by whoever does the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

from attrs import frozen

from neruba_core.audit.model import SYSTEM
from neruba_core.billing import periods
from neruba_core.billing.due import due_at, due_periods
from neruba_core.billing.results import RunResult
from neruba_core.billing.run import Options, run
from neruba_core.ids import Ids
from neruba_core.instants import EPOCH, Instant
from neruba_core.ledger.chart import Chart
from neruba_core.outbox.endpoints import MOST_ENDPOINTS
from neruba_core.pages import MAX_LIMIT
from neruba_core.payments.model import PaymentStatus
from neruba_core.schedule.model import LATE_AFTER
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.model import Project

MOST_PERIODS = 24
MOST_INVOICES = 1_000


class DueKind(StrEnum):
    """What falls due."""

    GRANT_EXPIRY = "grant_expiry"
    HOLD_EXPIRY = "hold_expiry"
    BILLING_RUN = "billing_run"
    DELIVERY = "delivery"
    PAYMENT = "payment"
    REFUND = "refund"
    COLLECTION = "collection"
    TOP_UP = "top_up"


@frozen
class Due:
    """Something that is to be done at *at*: about a grant, a hold, a period, a delivery, a payment, a
    refund, an invoice or (for a top-up) the project itself, named by *subject*. *amount_micros* is the money
    that is concerned, if any."""

    kind: DueKind
    subject: str
    at: Instant
    amount_micros: int | None = None

    def late(self, now: Instant) -> bool:
        """Whether it should have been done by now."""
        return self.at <= now - LATE_AFTER


@frozen
class Agenda:
    """What falls due in a project, soonest first, as of an instant."""

    as_of: Instant
    items: tuple[Due, ...]


def agenda(work: UnitOfWork, project: Project, *, at: Instant, limit: int, ids: Ids, chart: Chart) -> Agenda:
    """The next *limit* things that fall due in *project*, overdue ones first."""
    found = [
        *_expiries(work, project.id),
        *_runs(work, project, at, ids, chart),
        *_deliveries(work, project.id, limit),
        *_payments(work, project.id),
        *_collections(work, project, at),
        *_top_up(work, project),
    ]
    found.sort(key=lambda due: (due.at, due.kind.value, due.subject))
    return Agenda(at, tuple(found[:limit]))


def _expiries(work: UnitOfWork, project_id: str) -> Iterator[Due]:
    for lot in work.wallets.open_lots([project_id]):
        # What is held of a grant expires with the hold's release, not with the grant.
        if lot.grant.expires_at is not None and lot.free_micros:
            yield Due(DueKind.GRANT_EXPIRY, lot.grant.id, lot.grant.expires_at, lot.free_micros)
    for hold in work.wallets.open_holds(project_id):
        yield Due(DueKind.HOLD_EXPIRY, hold.id, hold.expires_at, hold.amount_micros)


def _runs(work: UnitOfWork, project: Project, at: Instant, ids: Ids, chart: Chart) -> Iterator[Due]:
    if project.archived_at is not None:
        return
    stored = work.billing.periods([project.id])[project.id]
    options = Options(dry_run=True, only_billable=True)
    for name in due_periods(work, [project.id], at=at).get(project.id, [])[:MOST_PERIODS]:
        (answer,) = run(work, [project.id], name, options, at=at, ids=ids, chart=chart, origin=SYSTEM)
        if isinstance(answer, RunResult):
            # The later ones wait for this one.
            yield Due(DueKind.BILLING_RUN, name, due_at(project, periods.named(project, stored, name)))
            break
    inside = max(at - timedelta(hours=project.grace_hours), EPOCH)
    coming = periods.containing(project, stored, inside)
    yield Due(DueKind.BILLING_RUN, coming.name, due_at(project, coming))


def _deliveries(work: UnitOfWork, project_id: str, limit: int) -> Iterator[Due]:
    for endpoint in work.outbox.endpoints(project_id, limit=MOST_ENDPOINTS, before=None):
        for delivery in work.outbox.pending(endpoint, limit=limit):
            yield Due(DueKind.DELIVERY, delivery.id, delivery.due_at)


def _payments(work: UnitOfWork, project_id: str) -> Iterator[Due]:
    before: str | None = None
    pending = PaymentStatus.PENDING
    while page := work.payments.payments(project_id, limit=MAX_LIMIT, before=before, status=pending):
        before = page[-1].id
        for payment in page:
            if payment.due_at is not None:
                yield Due(DueKind.PAYMENT, payment.id, payment.due_at, payment.amount_micros)
    for refund in work.payments.pending_refunds(project_id):
        if refund.due_at is not None:
            yield Due(DueKind.REFUND, refund.id, refund.due_at, refund.amount_micros)


def _collections(work: UnitOfWork, project: Project, at: Instant) -> Iterator[Due]:
    method = work.payments.method(project.id)
    if method is None or not method.collects or project.archived_at is not None:
        return
    new = {
        invoice_id
        for _, invoice_id in work.payments.collectable(at, limit=MOST_INVOICES, project_id=project.id)
    }
    for invoice in work.invoices.left_to_pay(project.id):
        known = work.payments.collection(project.id, invoice.id)
        if known is not None and known.due_at is not None:
            yield Due(DueKind.COLLECTION, invoice.id, known.due_at, invoice.open_micros)
        elif known is None and invoice.id in new and invoice.finalized_at is not None:
            since = max(invoice.finalized_at, method.changed_at)
            yield Due(DueKind.COLLECTION, invoice.id, since, invoice.open_micros)


def _top_up(work: UnitOfWork, project: Project) -> Iterator[Due]:
    head = work.ledger.head(project.id)
    if head is not None and head.top_up_at is not None and project.top_up is not None:
        yield Due(DueKind.TOP_UP, project.id, head.top_up_at, project.top_up.amount_micros)
