"""The billing overview: one page that explains a project's present.

It is read from one consistent moment, so its parts agree with each other. Usage is shown for every
period that has not been invoiced, so that an event with an old timestamp shows at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from attrs import frozen

from neruba_core.audit.model import Tally
from neruba_core.audit.store import HasAudit
from neruba_core.billing import periods
from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.store import HasBilling
from neruba_core.instants import Instant, Period
from neruba_core.ledger.model import Transaction
from neruba_core.ledger.sweep import Sweep, proof
from neruba_core.metering.store import HasMetering
from neruba_core.tenancy.model import Project
from neruba_core.usage.aggregate import Quantity, quantities
from neruba_core.usage.store import HasUsage
from neruba_core.wallets.view import WalletView, WalletWork, wallet

RECENT_TRANSACTIONS = 10

_LAST_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


class OverviewWork(WalletWork, HasMetering, HasUsage, HasAudit, HasBilling, Protocol):
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
class Overview:
    """See the module. *period* bounds the current or the requested period."""

    project: Project
    as_of: Instant
    wallet: WalletView
    period: Period
    usage: tuple[UsageLine, ...]
    accrued_micros: int
    estimated_total_micros: int
    recent_transactions: tuple[Transaction, ...]
    ingest: Tally
    ledger: Sweep

    @property
    def available_after_accrued_micros(self) -> int:
        """What could still be spent if all accrued usage were drawn now."""
        return self.wallet.available_micros - self.accrued_micros


def overview(work: OverviewWork, project: Project, *, at: Instant, period: str | None = None) -> Overview:
    """Read the overview at *at*; *period* such as ``"2026-03"`` narrows the usage to that period.

    Raises ``FormatInvalid`` for a period that is no month.
    """
    stored = work.billing.periods([project.id])[project.id]
    shown = periods.named(project, stored, period) if period else periods.containing(project, stored, at)
    usage = _usage(work, project, stored, shown if period else None)
    lines = tuple(UsageLine(name, quantity, amount_micros=None) for name, quantity in usage)
    return Overview(
        project=project,
        as_of=at,
        wallet=wallet(work, project, at=at),
        period=shown.span,
        usage=lines,
        accrued_micros=sum(line.amount_micros or 0 for line in lines),
        estimated_total_micros=sum(line.amount_micros or 0 for line in lines),
        recent_transactions=tuple(
            work.ledger.transactions(project.id, limit=RECENT_TRANSACTIONS, before=None)
        ),
        ingest=work.audit.totals(project.id),
        ledger=proof(work, project.id, at=at),
    )


def _usage(
    work: OverviewWork, project: Project, stored: Sequence[BillingPeriod], only: BillingPeriod | None
) -> list[tuple[str, Quantity]]:
    """What each metric came to in each period that is not invoiced, or in the *only* one, by its name.

    Periods are found by the days on which there is usage, so that one event of long ago costs no more than
    any other.
    """
    start, end = (only.span.start, only.span.end) if only else (project.invoiced_until, None)
    active = work.usage.active_days([project.id], start=start, end=end)
    billed = [only] if only else _uninvoiced(project, stored, sorted({each.day for each in active}))
    metrics = work.metering.metrics([project.id]).get(project.id, {})
    asked = [
        (period, metrics[key]) for period in billed for key in sorted({each.metric_key for each in active})
    ]
    found = quantities(work, [(metric, period.span) for period, metric in asked])
    return [(period.name, each) for (period, _), each in zip(asked, found, strict=True) if each.events]


def _uninvoiced(
    project: Project, stored: Sequence[BillingPeriod], days: Iterable[Instant]
) -> list[BillingPeriod]:
    """The periods that have a part of the *days* of UTC, which ascend, and are not invoiced."""
    found: list[BillingPeriod] = []
    for day in days:
        # In other zones a day of UTC may lie in two periods.
        for moment in (day, day + _LAST_OF_DAY):
            if not found or moment >= found[-1].span.end:
                found.append(periods.containing(project, stored, moment))
    return [period for period in found if period.invoiced_at is None]
