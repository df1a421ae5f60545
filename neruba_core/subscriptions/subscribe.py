"""Subscribing, changing and cancelling: dated decisions that are only ever added.

A decision takes effect now, at the end of the current period or at an instant of choice, but never in a
time that has been invoiced nor before the decision taken last, so what is in force at any instant can be
read off the list. What it comes to is quoted by the code that bills it.

Where it changes a metric's price for a prepaid project, it cannot take effect in a slice that events were
paid from the wallet in: what a slice includes is its share of the period, so a new cut would change what
was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeAlias

from attrs import frozen

from neruba_core import instants, money
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.errors import (
    AmountOverflow,
    FormatInvalid,
    PeriodInvoiced,
    SubscriptionDrawn,
    SubscriptionInvalid,
    SubscriptionNone,
    SubscriptionOutOfOrder,
    SubscriptionUnchanged,
)
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import EPOCH, Instant, Period
from neruba_core.ledger.store import HasLedger
from neruba_core.pricing.store import HasPricing
from neruba_core.subscriptions.fees import BilledAhead, Fee, quoted
from neruba_core.subscriptions.model import DecisionKind, Plan, SubscriptionDecision
from neruba_core.subscriptions.plans import days_of_trial, latest, plan_named
from neruba_core.subscriptions.store import HasSubscriptions
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.projects import locked_writable, writable
from neruba_core.tenancy.store import HasTenancy
from neruba_core.texts import shown

MOST_SEATS = 1_000_000

FARTHEST = timedelta(days=3_660)
"""How far from now a decision may take effect: farther off, a date is more likely mistyped than meant."""

_DAY = timedelta(days=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Deciding(HasSubscriptions, HasPricing, HasTenancy, HasLedger, HasAudit, Protocol):
    """What deciding about a subscription reads and writes."""


class When(StrEnum):
    """When a decision takes effect, if not at an instant of choice."""

    NOW = "now"
    PERIOD_END = "period_end"


Effective: TypeAlias = When | Instant


@frozen
class Wanted:
    """A plan version by *plan_id*, or the latest of *plan_key*, for *quantity* seats.

    Without *trial_days* a first subscription has the plan's trial, and a change keeps the trial that runs.
    Raises ``SubscriptionInvalid`` unless it names one plan, and ``FormatInvalid`` for seats or days out of
    range.
    """

    plan_id: str | None = None
    plan_key: str | None = None
    quantity: int = 1
    trial_days: int | None = None

    def __attrs_post_init__(self) -> None:
        if (self.plan_id is None) == (self.plan_key is None):
            raise SubscriptionInvalid("/planId", "name one plan: by planId or by planKey")
        seats = self.quantity
        if isinstance(seats, bool) or not isinstance(seats, int) or not 1 <= seats <= MOST_SEATS:
            raise FormatInvalid(f"a number of seats from 1 to {MOST_SEATS}", shown(seats))
        if self.trial_days is not None:
            days_of_trial(self.trial_days)


class Billing(Protocol):
    """What subscriptions need to know of billing, which lies above them."""

    def period_at(self, project: Project, moment: Instant) -> Period:
        """The billing period that *moment* lies in."""

    def billed_ahead(self, project: Project, period: Period) -> BilledAhead | None:
        """What the issued invoice of the period before has billed for *period*."""


@frozen
class Decided:
    """A decision, and the *lines* that it leads to in the period that it takes effect in."""

    decision: SubscriptionDecision
    lines: tuple[Fee, ...]


def decide(
    work: Deciding,
    project_id: str,
    wanted: Wanted | None,
    effective: Effective,
    *,
    billing: Billing,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Decided:
    """Subscribe to what is *wanted*, change to it, or (without it) cancel.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``PlanNotFound``, ``SubscriptionInvalid`` (a plan of
    another currency, a date too far off), ``AmountOverflow``, ``PeriodInvoiced``,
    ``SubscriptionOutOfOrder``, ``SubscriptionNone``, ``SubscriptionUnchanged`` or ``SubscriptionDrawn``.
    """
    # The head first, as whoever bills the project takes it: no period is invoiced meanwhile.
    work.ledger.lock_heads([project_id])
    project = locked_writable(work, project_id)
    decided = _decided(work, project, wanted, effective, billing=billing, at=at, ids=ids, origin=origin)
    decision = decided.decision
    work.subscriptions.add_decision(decision)
    note_change(
        work,
        project_id,
        _ACTIONS[decision.kind],
        decision.id,
        _details(decision),
        at=at,
        ids=ids,
        origin=origin,
    )
    return decided


def quote(
    work: Deciding,
    project_id: str,
    wanted: Wanted | None,
    effective: Effective,
    *,
    billing: Billing,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Decided:
    """What ``decide`` would answer now; nothing is written. Raises what it raises."""
    project = writable(work, project_id)
    return _decided(work, project, wanted, effective, billing=billing, at=at, ids=ids, origin=origin)


_ACTIONS = {
    DecisionKind.START: "subscription.started",
    DecisionKind.CHANGE: "subscription.changed",
    DecisionKind.CANCEL: "subscription.cancelled",
}


def _decided(
    work: Deciding,
    project: Project,
    wanted: Wanted | None,
    effective: Effective,
    *,
    billing: Billing,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Decided:
    decisions = work.subscriptions.decisions([project.id])[project.id]
    effective_at = _effective_at(project, effective, billing, at)
    _require_open(project, decisions, effective_at)
    standing = decisions[-1] if decisions and decisions[-1].plan_id is not None else None
    if wanted is None:
        terms = _cancelled(standing, effective_at)
    else:
        terms = _subscribed(work, project, wanted, standing, effective_at, first=not decisions)
    decision = SubscriptionDecision(
        project_id=project.id,
        id=ids.new("sub"),
        number=len(decisions) + 1,
        kind=terms.kind,
        plan_id=terms.plan_id,
        quantity=terms.quantity,
        effective_at=effective_at,
        trial_ends_at=terms.trial_ends_at,
        requested_at=at,
        actor=origin.actor,
        request_id=origin.request_id,
    )
    _require_undrawn(work, project, decisions, decision)
    decisions = (*decisions, decision)
    plans = work.subscriptions.plans({each.plan_id for each in decisions if each.plan_id is not None})
    period = billing.period_at(project, effective_at)
    following = billing.period_at(project, period.end)
    lines = quoted(decisions, plans, period, following, billing.billed_ahead(project, period))
    return Decided(decision, lines)


# --- when -------------------------------------------------------------------------------------


def _effective_at(project: Project, effective: Effective, billing: Billing, at: Instant) -> Instant:
    match effective:
        case When.NOW:
            return at
        case When.PERIOD_END:
            return billing.period_at(project, at).end
    if not at - FARTHEST <= effective <= at + FARTHEST:
        raise SubscriptionInvalid("/effective", f"give a date within {FARTHEST.days} days of now")
    return effective


def _require_open(project: Project, decisions: Sequence[SubscriptionDecision], effective_at: Instant) -> None:
    if project.invoiced_until is not None and effective_at < project.invoiced_until:
        raise PeriodInvoiced(instants.text(effective_at), instants.text(project.invoiced_until))
    if decisions and effective_at < decisions[-1].effective_at:
        raise SubscriptionOutOfOrder(instants.text(effective_at), instants.text(decisions[-1].effective_at))


def _require_undrawn(
    work: Deciding,
    project: Project,
    decisions: Sequence[SubscriptionDecision],
    decision: SubscriptionDecision,
) -> None:
    """Refuse to cut a slice that was drawn for by a price that the decision changes."""
    changed = {decision.plan_id} ^ {decisions[-1].plan_id if decisions else None}
    plans = work.subscriptions.plans(plan_id for plan_id in changed if plan_id is not None)
    metric_keys = {price.metric_key for plan in plans.values() for price in plan.prices}
    if not metric_keys:
        return
    own = work.pricing.prices([project.id])[project.id]
    for meter in work.pricing.meters_between([project.id], project.invoiced_until or EPOCH, _NEVER):
        # A price of the project's own rules whatever its plan says.
        if any(price.id == meter.price_id for price in own.get(meter.metric_key, ())):
            continue
        if meter.metric_key in metric_keys and meter.events and decision.effective_at < meter.end:
            raise SubscriptionDrawn(
                instants.text(decision.effective_at), instants.text(meter.end), meter.metric_key
            )


# --- what -------------------------------------------------------------------------------------


@frozen
class _Terms:
    """What a decision says, apart from when and by whom."""

    kind: DecisionKind
    plan_id: str | None
    quantity: int
    trial_ends_at: Instant | None


def _cancelled(standing: SubscriptionDecision | None, effective_at: Instant) -> _Terms:
    if standing is None:
        raise SubscriptionNone(instants.text(effective_at))
    return _Terms(DecisionKind.CANCEL, None, 0, None)


def _subscribed(
    work: Deciding,
    project: Project,
    wanted: Wanted,
    standing: SubscriptionDecision | None,
    effective_at: Instant,
    *,
    first: bool,
) -> _Terms:
    plan = _plan(work, project, wanted)
    running = _running_trial(standing, effective_at)
    if wanted.trial_days is not None:
        trial_ends_at = _after_days(effective_at, wanted.trial_days)
    elif standing is not None:
        trial_ends_at = running
    else:
        trial_ends_at = _after_days(effective_at, plan.trial_days if first else 0)
    terms = _Terms(
        DecisionKind.START if standing is None else DecisionKind.CHANGE,
        plan.id,
        wanted.quantity,
        trial_ends_at,
    )
    if standing is not None and (standing.plan_id, standing.quantity, running) == (
        terms.plan_id,
        terms.quantity,
        terms.trial_ends_at,
    ):
        raise SubscriptionUnchanged(standing.id)
    return terms


def _plan(work: Deciding, project: Project, wanted: Wanted) -> Plan:
    if wanted.plan_id is not None:
        field, plan = "/planId", plan_named(work, wanted.plan_id)
    else:
        field, plan = "/planKey", latest(work, str(wanted.plan_key))
    if plan.currency != project.currency:
        reason = f"the plan is in {plan.currency}, but the project's currency is {project.currency}"
        raise SubscriptionInvalid(field, reason)
    if plan.amount_micros * wanted.quantity > money.MAX_MICROS:
        raise AmountOverflow
    return plan


def _running_trial(standing: SubscriptionDecision | None, moment: Instant) -> Instant | None:
    ends_at = None if standing is None else standing.trial_ends_at
    return ends_at if ends_at is not None and ends_at > moment else None


def _after_days(moment: Instant, days: int) -> Instant | None:
    return moment + days * _DAY if days else None


def _details(decision: SubscriptionDecision) -> dict[str, Json]:
    """The decision by the names of the wire."""
    return {
        "number": decision.number,
        "planId": decision.plan_id,
        "quantity": decision.quantity,
        "effectiveAt": instants.text(decision.effective_at),
        "trialEndsAt": None if decision.trial_ends_at is None else instants.text(decision.trial_ends_at),
    }
