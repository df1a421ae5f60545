"""The billing overview: one page that explains a project's present.

It is read from one consistent moment, so its parts agree with each other. Usage is shown for every
period that has not been invoiced, so that an event with an old timestamp shows at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from attrs import frozen

from neruba_core.audit.model import Tally
from neruba_core.audit.store import HasAudit
from neruba_core.instants import Instant, Period, month, month_of
from neruba_core.ledger.model import Transaction
from neruba_core.ledger.sweep import Sweep, proof
from neruba_core.metering.store import HasMetering
from neruba_core.tenancy.model import Project
from neruba_core.usage.aggregate import Quantity, quantity
from neruba_core.usage.store import HasUsage
from neruba_core.wallets.view import WalletView, WalletWork, wallet

RECENT_TRANSACTIONS = 10


class OverviewWork(WalletWork, HasMetering, HasUsage, HasAudit, Protocol):
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
    """Read the overview at *at*; *period* such as ``"2026-03"`` narrows the usage to that month.

    Raises ``FormatInvalid`` for a period that is no month.
    """
    lines = tuple(_usage_lines(work, project, period))
    return Overview(
        project=project,
        as_of=at,
        wallet=wallet(work, project, at=at),
        period=month(period or month_of(at, project.timezone), project.timezone),
        usage=lines,
        accrued_micros=sum(line.amount_micros or 0 for line in lines),
        estimated_total_micros=sum(line.amount_micros or 0 for line in lines),
        recent_transactions=tuple(
            work.ledger.transactions(project.id, limit=RECENT_TRANSACTIONS, before=None)
        ),
        ingest=work.audit.totals(project.id),
        ledger=proof(work, project.id, at=at),
    )


def _usage_lines(work: OverviewWork, project: Project, only: str | None) -> Iterator[UsageLine]:
    metrics = work.metering.metrics([project.id]).get(project.id, {})
    for name in [only] if only else _months_with_usage(work, project):
        span = month(name, project.timezone)
        for key in sorted(work.usage.counts(project.id, span.start, span.end)):
            yield UsageLine(name, quantity(work, metrics[key], span), amount_micros=None)


def _months_with_usage(work: HasUsage, project: Project) -> Iterator[str]:
    """The names of the months from the first to the last event, ascending."""
    extents = work.usage.extent(project.id).values()
    if not extents:
        return
    last = max(end for _, end in extents)
    moment = min(start for start, _ in extents)
    while moment <= last:
        name = month_of(moment, project.timezone)
        yield name
        moment = month(name, project.timezone).end
