"""Plans and subscriptions.

A plan's version is immutable once it is published. A subscription is a list of dated decisions that only
grows; what is in force at an instant follows from the decisions alone, and each names the plan version, and
so the prices, that it was taken by.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from neruba_core.instants import Instant
from neruba_core.pricing.model import Tariff


class Timing(StrEnum):
    """Whether a period's recurring amount is due before it or after it."""

    ADVANCE = "advance"
    ARREARS = "arrears"


@frozen
class PlanPrice:
    """What a metric costs under a plan."""

    metric_key: str
    tariff: Tariff


@frozen
class Plan:
    """A published version of a plan. *amount_micros* is due per period and seat (*quantity* of the
    subscription); *minimum_commitment_micros* is the least that a period's usage under it comes to."""

    id: str
    key: str
    version: int
    name: str
    currency: str
    amount_micros: int
    timing: Timing
    trial_days: int
    minimum_commitment_micros: int | None
    prices: tuple[PlanPrice, ...]
    created_at: Instant
    created_by: str


class DecisionKind(StrEnum):
    """What a decision about a subscription does."""

    START = "start"
    CHANGE = "change"
    CANCEL = "cancel"


@frozen
class SubscriptionDecision:
    """One dated decision. *number* counts a project's decisions from 1 in the order they were taken.

    From *effective_at* on, the plan version *plan_id* is in force with *quantity* seats; a cancellation
    names no plan. Until *trial_ends_at*, if it is set, the recurring amount is zero.
    """

    project_id: str
    id: str
    number: int
    kind: DecisionKind
    plan_id: str | None
    quantity: int
    effective_at: Instant
    trial_ends_at: Instant | None
    requested_at: Instant
    actor: str
    request_id: str | None = field(default=None)
