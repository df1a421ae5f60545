"""Usage as it is read back, and the overview."""

from __future__ import annotations

from attrs import frozen

from neruba_core.audit.model import Tally
from neruba_core.billing.overview import InvoicesView
from neruba_core.billing.overview import Overview as CoreOverview
from neruba_core.metering.model import Aggregation
from neruba_core.usage.aggregate import Quantity as CoreQuantity
from neruba_core.usage.model import UsageEvent
from neruba_server.wire.ingest import Counts, Usage
from neruba_server.wire.invoices import Invoice
from neruba_server.wire.kinds import Moment, Money
from neruba_server.wire.money import Transaction
from neruba_server.wire.period import Period
from neruba_server.wire.projects import Project


@frozen
class Quantity:
    """What one metric came to between ``start`` and ``end``.

    ``group`` is the property's value where usage is split by one; null stands for the events without it,
    and where usage is not split by a property.
    """

    metric_key: str
    start: Moment
    end: Moment
    group: str | int | bool | None
    units: Money
    events: int

    @classmethod
    def of(cls, quantity: CoreQuantity) -> Quantity:
        """The quantity as people see it."""
        return cls(
            metric_key=quantity.metric.key,
            start=quantity.period.start,
            end=quantity.period.end,
            group=quantity.group,
            units=quantity.units_micros,
            events=quantity.events,
        )


@frozen
class Quantities:
    """Quantities, the oldest piece first, then by metric."""

    items: tuple[Quantity, ...]
    next_cursor: str | None


@frozen
class UsageEvents:
    """Raw events, newest first."""

    items: tuple[Usage, ...]
    next_cursor: str | None


def usage_of(event: UsageEvent) -> Usage:
    """A recorded event as people see it; the same members as its sender was answered."""
    return Usage(
        id=event.id,
        project_id=event.project_id,
        metric_key=event.metric_key,
        units=event.units_micros,
        timestamp=event.timestamp,
        event_id=event.event_id,
        properties=event.properties or {},
        received_at=event.received_at,
        late=event.late,
    )


@frozen
class OverviewWallet:
    """What can be spent; ``availableAfterAccrued`` if all accrued usage were drawn now."""

    balance: Money
    held: Money
    available: Money
    credit_limit: Money
    available_after_accrued: Money


@frozen
class UsageLine:
    """What one metric came to in one named period; without a price it has no amount."""

    period: str
    metric_key: str
    aggregation: Aggregation
    units: Money
    amount: Money | None
    priced: bool


@frozen
class InvoiceSummary:
    """How many invoices are open, what is due on them, and the one that was issued last."""

    open: int
    due: Money
    last: Invoice | None


@frozen
class LedgerProof:
    """Whether the books balanced when they were last looked at."""

    balanced: bool
    checked_at: Moment
    transactions: int


@frozen
class Overview:
    """One page that explains the present, read from one consistent moment."""

    project: Project
    currency: str
    as_of: Moment
    wallet: OverviewWallet
    period: Period
    usage: tuple[UsageLine, ...]
    accrued: Money
    estimated_total: Money
    recent_transactions: tuple[Transaction, ...]
    invoices: InvoiceSummary
    ingest: Counts
    ledger: LedgerProof

    @classmethod
    def of(cls, overview: CoreOverview) -> Overview:
        """The overview without its transactions, whose kept text is put in by the route."""
        wallet = overview.wallet
        return cls(
            project=Project.of(overview.project, overview.as_of),
            currency=overview.project.currency,
            as_of=overview.as_of,
            wallet=OverviewWallet(
                balance=wallet.balance_micros,
                held=wallet.held_micros,
                available=wallet.available_micros,
                credit_limit=wallet.credit_limit_micros,
                available_after_accrued=overview.available_after_accrued_micros,
            ),
            period=Period(overview.period.start, overview.period.end),
            usage=tuple(
                UsageLine(
                    period=line.period,
                    metric_key=line.quantity.metric.key,
                    aggregation=line.quantity.metric.aggregation,
                    units=line.quantity.units_micros,
                    amount=line.amount_micros,
                    priced=line.priced,
                )
                for line in overview.usage
            ),
            accrued=overview.accrued_micros,
            estimated_total=overview.estimated_total_micros,
            recent_transactions=(),
            invoices=_invoices(overview.invoices),
            ingest=counts_of(overview.ingest),
            ledger=LedgerProof(
                overview.ledger.balanced, overview.ledger.checked_at, overview.ledger.transactions
            ),
        )


def _invoices(invoices: InvoicesView) -> InvoiceSummary:
    last = None if invoices.last is None else Invoice.of(invoices.last)
    return InvoiceSummary(invoices.open, invoices.due_micros, last)


def counts_of(tally: Tally) -> Counts:
    """A tally as people see it."""
    return Counts(
        accepted=tally.accepted,
        replayed=tally.replayed,
        deduped=tally.deduped,
        conflict=tally.conflict,
        quarantined=tally.quarantined,
        rejected=tally.rejected,
    )
