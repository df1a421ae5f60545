"""Which plan a project is on."""

from __future__ import annotations

from attrs import frozen

from neruba_core.errors import SubscriptionInvalid
from neruba_core.invoices.model import LineKind
from neruba_core.subscriptions import subscribe
from neruba_core.subscriptions.fees import Fee
from neruba_core.subscriptions.model import DecisionKind, SubscriptionDecision
from neruba_core.subscriptions.subscribe import Wanted, When
from neruba_server.wire.kinds import Effective, Key255, Moment, Money, PlanKey, Seats, TrialDays, effective_of
from neruba_server.wire.period import Period


@frozen
class NewDecision:
    """A plan to be on (a version by ``planId``, or the latest of ``planKey``), or a cancellation.

    One seat, from now on, unless said otherwise. ``quote`` only asks what it would come to.
    """

    plan_id: Key255 | None = None
    plan_key: PlanKey | None = None
    quantity: Seats | None = None
    effective: Effective | None = None
    trial_days: TrialDays | None = None
    cancel: bool | None = None
    quote: bool | None = None

    def wanted(self) -> Wanted | None:
        """What is wanted as the core takes it, ``None`` to cancel. Raises ``SubscriptionInvalid``."""
        if not self.cancel:
            return Wanted(self.plan_id, self.plan_key, self.quantity or 1, self.trial_days)
        of_plans = {
            "/planId": self.plan_id,
            "/planKey": self.plan_key,
            "/quantity": self.quantity,
            "/trialDays": self.trial_days,
        }
        for path, value in of_plans.items():
            if value is not None:
                raise SubscriptionInvalid(path, "a cancellation has none")
        return None

    def when(self) -> subscribe.Effective:
        """When it takes effect, as the core takes it."""
        return When.NOW if self.effective is None else effective_of(self.effective)


@frozen
class Decision:
    """A dated decision; a cancellation has no plan, and what is only quoted has no ``id``."""

    id: str | None
    number: int
    kind: DecisionKind
    plan_id: str | None
    quantity: int
    effective_at: Moment
    trial_ends_at: Moment | None
    requested_at: Moment
    actor: str

    @classmethod
    def of(cls, decision: SubscriptionDecision, *, taken: bool = True) -> Decision:
        """The decision as people see it."""
        return cls(
            id=decision.id if taken else None,
            number=decision.number,
            kind=decision.kind,
            plan_id=decision.plan_id,
            quantity=decision.quantity,
            effective_at=decision.effective_at,
            trial_ends_at=decision.trial_ends_at,
            requested_at=decision.requested_at,
            actor=decision.actor,
        )


@frozen
class FeeLine:
    """A line that a decision leads to on the invoice; a credit is below zero."""

    kind: LineKind
    description: str
    plan_id: str
    quantity: int
    service_period: Period
    amount: Money

    @classmethod
    def of(cls, fee: Fee) -> FeeLine:
        """The line as people see it."""
        return cls(
            kind=LineKind(fee.kind),
            description=fee.description,
            plan_id=fee.plan_id,
            quantity=fee.quantity,
            service_period=Period(fee.span.start, fee.span.end),
            amount=fee.amount_micros,
        )


@frozen
class Decided:
    """A decision, and its lines in the period that it takes effect in."""

    decision: Decision
    lines: tuple[FeeLine, ...]

    @classmethod
    def of(cls, decided: subscribe.Decided, *, taken: bool = True) -> Decided:
        """What was decided, or only quoted, as people see it."""
        return cls(
            Decision.of(decided.decision, taken=taken),
            tuple(FeeLine.of(line) for line in decided.lines),
        )


@frozen
class Decisions:
    """Decisions, the latest first. ``current`` is the one in force; ``null`` where nothing is subscribed."""

    items: tuple[Decision, ...]
    next_cursor: str | None
    current: Decision | None
