"""``neruba.subscriptions``: which plan a project is on, and since when."""

from __future__ import annotations

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.periods import containing
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.instants import Instant, Period, utc
from neruba_core.invoices.ahead import billed_ahead
from neruba_core.storage.port import UnitOfWork
from neruba_core.subscriptions.fees import BilledAhead
from neruba_core.subscriptions.model import SubscriptionDecision
from neruba_core.subscriptions.subscribe import Decided, Effective, Wanted, When, decide, quote
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.projects import existing


@frozen
class Subscriptions:
    """A project's decisions about its plan: dated, and only ever added to."""

    _context: Context

    def subscribe(
        self,
        project_id: str,
        *,
        plan_id: str | None = None,
        plan_key: str | None = None,
        quantity: int = 1,
        effective: When | str | Instant = When.NOW,
        trial_days: int | None = None,
        origin: Origin = SYSTEM,
    ) -> Decided:
        """Subscribe to a plan, or change to it: a version by *plan_id*, or the latest of *plan_key*.

        *quantity* is the number of seats. It takes effect ``"now"``, at ``"period_end"`` or at an instant,
        though not in a time that has been invoiced, nor before the decision taken last. Without
        *trial_days* a first subscription has the plan's trial, and a change keeps the trial that runs.
        The answer's ``lines`` are what is billed for it. Raises ``FormatInvalid``, ``ProjectNotFound``,
        ``ProjectArchived``, ``PlanNotFound``, ``SubscriptionInvalid`` (a plan of another currency, a date
        too far off), ``AmountOverflow``, ``PeriodInvoiced``, ``SubscriptionOutOfOrder``,
        ``SubscriptionUnchanged`` or ``SubscriptionDrawn``.
        """
        wanted = Wanted(plan_id, plan_key, quantity, trial_days)
        return self.decide(project_id, wanted, _when(effective), origin=origin)

    def cancel(
        self, project_id: str, *, effective: When | str | Instant = When.NOW, origin: Origin = SYSTEM
    ) -> Decided:
        """End the subscription; what is paid for beyond that is given back on the period's invoice.

        Raises ``FormatInvalid``, ``ProjectNotFound``, ``ProjectArchived``, ``PeriodInvoiced``,
        ``SubscriptionOutOfOrder``, ``SubscriptionNone`` or ``SubscriptionDrawn``.
        """
        return self.decide(project_id, None, _when(effective), origin=origin)

    def quote(
        self,
        project_id: str,
        *,
        plan_id: str | None = None,
        plan_key: str | None = None,
        quantity: int = 1,
        effective: When | str | Instant = When.NOW,
        trial_days: int | None = None,
        cancel: bool = False,
        origin: Origin = SYSTEM,
    ) -> Decided:
        """What ``subscribe``, or with *cancel* ``cancel``, would answer now; nothing is written."""
        wanted = None if cancel else Wanted(plan_id, plan_key, quantity, trial_days)
        return self.decide(project_id, wanted, _when(effective), origin=origin, only_quote=True)

    def decide(
        self,
        project_id: str,
        wanted: Wanted | None,
        effective: Effective,
        *,
        origin: Origin = SYSTEM,
        only_quote: bool = False,
    ) -> Decided:
        """Like ``subscribe``, ``cancel`` and ``quote``, for what has been checked already."""
        context = self._context
        act, run = (quote, context.read) if only_quote else (decide, context.write)
        return run(
            lambda work: act(
                work,
                project_id,
                wanted,
                effective,
                billing=_Billing(work),
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
        )

    def decisions(self, project_id: str) -> tuple[SubscriptionDecision, ...]:
        """Every decision in the order they were taken. Raises ``ProjectNotFound``."""

        def read(work: UnitOfWork) -> tuple[SubscriptionDecision, ...]:
            existing(work, project_id)
            return work.subscriptions.decisions([project_id])[project_id]

        return self._context.read(read)


@frozen
class _Billing:
    """Periods and issued invoices as a unit of work sees them."""

    work: UnitOfWork

    def period_at(self, project: Project, moment: Instant) -> Period:
        return self._containing(project, moment).span

    def billed_ahead(self, project: Project, period: Period) -> BilledAhead | None:
        name = self._containing(project, period.start).name
        return billed_ahead(self.work.invoices.issued(project.id, [name]), name)

    def _containing(self, project: Project, moment: Instant) -> BillingPeriod:
        stored = self.work.billing.periods([project.id])[project.id]
        return containing(project, stored, moment)


def _when(effective: When | str | Instant) -> Effective:
    if isinstance(effective, str):
        return choice(When, effective, "when it takes effect")
    return utc(effective)
