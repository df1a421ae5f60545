"""The billing overview: one page that explains a project's present.

It is read from one consistent moment, so its parts agree with each other. Usage is shown for every
period that has not been invoiced, so that an event with an old timestamp shows at once. What it has accrued
and what the period will come to is found by the code that bills it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import groupby
from typing import Protocol

from attrs import frozen

from neruba_core.audit.model import Tally
from neruba_core.audit.store import HasAudit
from neruba_core.billing import periods
from neruba_core.billing.assemble import assemble
from neruba_core.billing.inputs import Inputs, RunWork, is_closed, read_inputs
from neruba_core.billing.late import changes
from neruba_core.billing.lines import rated
from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.priced import Asked, SliceUsage, usage_of
from neruba_core.instants import Instant, Period
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_core.invoices.store import HasInvoices
from neruba_core.ledger.chart import Chart
from neruba_core.ledger.model import Transaction
from neruba_core.ledger.sweep import Sweep, proof
from neruba_core.tenancy.model import Project
from neruba_core.usage.aggregate import Quantity
from neruba_core.wallets.view import WalletView, WalletWork, wallet

RECENT_TRANSACTIONS = 10

_ISSUED = (InvoiceState.FINALIZED, InvoiceState.PAID)
_LAST_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


class OverviewWork(RunWork, WalletWork, HasAudit, Protocol):
    """What the overview reads."""


@frozen
class UsageLine:
    """What one metric came to in one named period; *amount_micros* is ``None`` while it has no price."""

    period: str
    quantity: Quantity
    amount_micros: int | None

    @property
    def priced(self) -> bool:
        """Whether a price turned the quantity into an amount."""
        return self.amount_micros is not None


@frozen
class InvoicesView:
    """How many invoices are still to be paid, how much that is, and the last one that was issued."""

    open: int
    due_micros: int
    last: Invoice | None


@frozen
class Overview:
    """See the module. *period* bounds the current or the requested period.

    *accrued_micros* is what all usage that is not invoiced comes to, less what the wallet has paid of it;
    *estimated_total_micros* the total of a dry run of the period.
    """

    project: Project
    as_of: Instant
    wallet: WalletView
    period: Period
    usage: tuple[UsageLine, ...]
    accrued_micros: int
    estimated_total_micros: int
    invoices: InvoicesView
    recent_transactions: tuple[Transaction, ...]
    ingest: Tally
    ledger: Sweep

    @property
    def available_after_accrued_micros(self) -> int:
        """What could still be spent if all accrued usage were drawn now."""
        return self.wallet.available_micros - self.accrued_micros


def overview(
    work: OverviewWork, project: Project, *, chart: Chart, at: Instant, period: str | None = None
) -> Overview:
    """Read the overview at *at*; *period* such as ``"2026-03"`` narrows the usage to that period.

    Raises ``FormatInvalid`` for a period that is no month.
    """
    stored = work.billing.periods([project.id])[project.id]
    present = _inputs(work, project, periods.containing(project, stored, at).name)
    shown = present if period in (None, present.period.name) else _inputs(work, project, str(period))
    unbilled = _unbilled(work, present)
    usage = dict(unbilled)
    if period is not None:
        usage = {shown.period: usage.get(shown.period) or _usage(work, shown, shown.period)}
    return Overview(
        project=project,
        as_of=at,
        wallet=wallet(work, project, at=at),
        period=shown.period.span,
        usage=tuple(line for each, found in usage.items() for line in _lines(each, found)),
        accrued_micros=_accrued(unbilled.values(), present),
        estimated_total_micros=_total(shown, chart),
        invoices=_invoices(work, project.id),
        recent_transactions=tuple(
            work.ledger.transactions(project.id, limit=RECENT_TRANSACTIONS, before=None)
        ),
        ingest=work.audit.totals(project.id),
        ledger=proof(work, project.id, at=at),
    )


def _inputs(work: OverviewWork, project: Project, name: str) -> Inputs:
    return read_inputs(work, {project.id: project}, name)[project.id]


# --- usage ------------------------------------------------------------------------------------


def _unbilled(work: OverviewWork, present: Inputs) -> dict[BillingPeriod, tuple[SliceUsage, ...]]:
    """The usage of each open period, oldest first.

    Periods are found by the days on which there is usage, so that one event of long ago costs no more than
    any other.
    """
    project, stored = present.project, present.stored
    start = project.invoiced_until
    if start is not None:
        start = min([start, *(row.span.start for row in stored if row.invoiced_at is None)])
    keys: dict[BillingPeriod, set[str]] = {}
    period: BillingPeriod | None = None
    metric_keys: set[str] = set()
    for day in work.usage.active_days([project.id], start=start):
        # In other zones a day of UTC may lie in two periods.
        for moment in (day.day, day.day + _LAST_OF_DAY):
            # Mostly it is the period of the day before.
            if period is None or moment not in period.span:
                period = next((each for each in keys if moment in each.span), None)
                period = period or periods.containing(project, stored, moment)
                metric_keys = keys.setdefault(period, set())
            metric_keys.add(day.metric_key)
    ordered = sorted(keys, key=lambda period: period.span.start)
    waiting = [
        period for period in ordered if period != present.period and not is_closed(project, stored, period)
    ]
    asked = [Asked(present.prices, period.span, frozenset(keys[period])) for period in waiting]
    found = dict(zip(waiting, usage_of(work, asked), strict=True))
    if not present.closed:
        found[present.period] = present.usage
    return dict(sorted(found.items(), key=lambda item: item[0].span.start))


def _usage(work: OverviewWork, inputs: Inputs, period: BillingPeriod) -> tuple[SliceUsage, ...]:
    """The usage of one period, invoiced or not."""
    span = period.span
    days = work.usage.active_days([inputs.project.id], start=span.start, end=span.end)
    return usage_of(work, [Asked(inputs.prices, span, frozenset(day.metric_key for day in days))])[0]


def _lines(period: BillingPeriod, usage: Iterable[SliceUsage]) -> Iterator[UsageLine]:
    """One line for each metric that has usage."""
    for _, group in groupby(usage, key=lambda each: each.metric.key):
        slices = tuple(group)
        events = sum(each.events for each in slices)
        if not events:
            continue
        priced = [found.rated.amount_micros for each in slices if each.events and (found := rated(each))]
        units_micros = sum(each.quantity_micros for each in slices)
        yield UsageLine(
            period.name,
            Quantity(slices[0].metric, period.span, units_micros, events),
            sum(priced) if priced else None,
        )


# --- money ------------------------------------------------------------------------------------


def _accrued(unbilled: Iterable[Iterable[SliceUsage]], present: Inputs) -> int:
    """Usage of open periods, and what has changed of closed ones since they were billed."""
    accrued = 0
    for usage in unbilled:
        for each in usage:
            found = rated(each)
            accrued += (found.rated.amount_micros if found else 0) - each.drawn_micros
    for late in present.late:
        accrued += sum(each.amount_micros - each.drawn_micros for each in changes(present.prices, late))
    return accrued


def _total(inputs: Inputs, chart: Chart) -> int:
    if inputs.invoice is not None:
        return inputs.invoice.total_micros
    return assemble(inputs, chart=chart).statement.total_micros


def _invoices(work: HasInvoices, project_id: str) -> InvoicesView:
    open_count, due_micros = work.invoices.open_totals(project_id)
    found = (work.invoices.invoices(project_id, limit=1, before=None, state=state) for state in _ISSUED)
    issued = [invoice for rows in found for invoice in rows]
    return InvoicesView(open_count, due_micros, max(issued, key=lambda each: each.id, default=None))
