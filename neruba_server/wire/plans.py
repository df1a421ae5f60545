"""What a deployment sells."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen
from msgspec import Meta

from neruba_core.pricing.model import PriceModel
from neruba_core.subscriptions.model import Plan as CorePlan
from neruba_core.subscriptions.model import PlanPrice as CorePlanPrice
from neruba_core.subscriptions.model import Timing
from neruba_core.subscriptions.plans import DEFAULT_CURRENCY, MOST_PRICES
from neruba_core.subscriptions.plans import NewPlan as CoreNewPlan
from neruba_server.wire.kinds import Currency, Moment, Money, Name, PlanKey, Rate, TrialDays, Units
from neruba_server.wire.prices import NewTariff, Tier, tariff_fields


@frozen
class NewPlan:
    """A plan version to be published; ``currency`` is USD and ``billing`` in advance unless given.

    ``amount`` is due per period and seat. ``minimumCommitment`` is the least that a period's usage comes to.
    ``prices`` may be of metrics that only some projects have, or none yet.
    """

    key: PlanKey
    name: Name
    amount: Units
    currency: Currency | None = None
    billing: Timing | None = None
    trial_days: TrialDays | None = None
    minimum_commitment: Units | None = None
    prices: Annotated[tuple[NewTariff, ...], Meta(max_length=MOST_PRICES)] | None = None

    def checked(self) -> CoreNewPlan:
        """The plan as the core takes it. Raises ``FormatInvalid`` (currency) or ``PriceInvalid``."""
        return CoreNewPlan(
            key=self.key,
            name=self.name,
            currency=self.currency or DEFAULT_CURRENCY,
            amount_micros=self.amount,
            timing=self.billing or Timing.ADVANCE,
            trial_days=self.trial_days or 0,
            minimum_commitment_micros=self.minimum_commitment,
            prices=tuple(
                CorePlanPrice(price.metric_key, price.tariff(under=f"/prices/{index}"))
                for index, price in enumerate(self.prices or ())
            ),
        )


@frozen
class PlanPrice:
    """What a metric costs under a plan. Parameters of other models are ``null``."""

    metric_key: str
    model: PriceModel
    unit_amount: Rate | None
    tiers: tuple[Tier, ...] | None
    package_size: Money | None
    package_amount: Rate | None
    rate: Rate | None
    fixed_amount: Rate | None
    included: Money
    minimum_amount: Money | None
    maximum_amount: Money | None

    @classmethod
    def of(cls, price: CorePlanPrice) -> PlanPrice:
        """The price as people see it."""
        return cls(metric_key=price.metric_key, **tariff_fields(price.tariff))


@frozen
class Plan:
    """A published version of a plan; it never changes."""

    id: str
    key: str
    version: int
    name: str
    currency: str
    amount: Money
    billing: Timing
    trial_days: int
    minimum_commitment: Money | None
    prices: tuple[PlanPrice, ...]
    created_at: Moment
    created_by: str

    @classmethod
    def of(cls, plan: CorePlan) -> Plan:
        """The plan as people see it."""
        return cls(
            id=plan.id,
            key=plan.key,
            version=plan.version,
            name=plan.name,
            currency=plan.currency,
            amount=plan.amount_micros,
            billing=plan.timing,
            trial_days=plan.trial_days,
            minimum_commitment=plan.minimum_commitment_micros,
            prices=tuple(PlanPrice.of(price) for price in plan.prices),
            created_at=plan.created_at,
            created_by=plan.created_by,
        )


@frozen
class Plans:
    """Versions of plans, newest first."""

    items: tuple[Plan, ...]
    next_cursor: str | None
