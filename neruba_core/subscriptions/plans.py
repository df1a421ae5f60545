"""Plans: publishing and finding.

A plan is what a deployment sells under one key. To change it is to publish another version; who has
subscribed to an older one stays with it until somebody decides otherwise. A version may bring prices of its
own for metrics, which need not exist yet: a project has the metric once its usage does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from attrs import frozen

from neruba_core import money, texts
from neruba_core.choices import choice
from neruba_core.currencies import currency_of
from neruba_core.errors import FormatInvalid, PlanNotFound, PriceInvalid
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.money import Amount
from neruba_core.pages import Page, limited, page, place_of
from neruba_core.pricing.declared import TariffFields, tariff_of
from neruba_core.pricing.model import PriceModel
from neruba_core.pricing.store import HasPricing
from neruba_core.subscriptions.model import Plan, PlanPrice, Timing
from neruba_core.subscriptions.store import HasSubscriptions

MOST_TRIAL_DAYS = 3_660
MOST_PRICES = 200

DEFAULT_CURRENCY = "USD"
"""What a plan is in unless it says so."""


class Publishing(HasSubscriptions, HasPricing, Protocol):
    """What publishing a plan reads and writes."""


class PlanPriceFields(TariffFields):
    """What a metric costs under a plan, as an embedder gives it."""

    metric_key: str
    model: PriceModel | str


@frozen
class NewPlan:
    """A plan version to be published, in checked form. Raises ``FormatInvalid`` for a currency that there
    is not, and ``PriceInvalid`` for a metric that is priced twice."""

    key: str
    name: str
    currency: str
    amount_micros: int
    timing: Timing = Timing.ADVANCE
    trial_days: int = 0
    minimum_commitment_micros: int | None = None
    prices: tuple[PlanPrice, ...] = ()

    def __attrs_post_init__(self) -> None:
        currency_of(self.currency)
        _require_one_price_each(self.prices)

    @classmethod
    def of(
        cls,
        *,
        key: str,
        name: str,
        amount: Amount,
        currency: str = DEFAULT_CURRENCY,
        billing: Timing | str = Timing.ADVANCE,
        trial_days: int = 0,
        minimum_commitment: Amount | None = None,
        prices: Iterable[PlanPriceFields] = (),
    ) -> Self:
        """A plan of an embedder's values. Raises ``FormatInvalid``, ``TextInvalid``, ``Amount…`` refusals
        or ``PriceInvalid``."""
        return cls(
            key=texts.plan_key(key),
            name=texts.clean(name),
            currency=currency,
            amount_micros=money.parse_non_negative(amount),
            timing=choice(Timing, billing, "when a plan is billed"),
            trial_days=days_of_trial(trial_days),
            minimum_commitment_micros=(
                None if minimum_commitment is None else money.parse_non_negative(minimum_commitment)
            ),
            prices=tuple(_price(fields, f"/prices/{index}") for index, fields in enumerate(prices)),
        )


def days_of_trial(days: object) -> int:
    """Return *days* if a trial can last so long. Raises ``FormatInvalid``."""
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_TRIAL_DAYS:
        raise FormatInvalid(f"a number of days from 0 to {MOST_TRIAL_DAYS}", texts.shown(days))
    return days


def publish(work: Publishing, new: NewPlan, *, at: Instant, ids: Ids, actor: str) -> Plan:
    """Add the next version of the plan of this key."""
    work.pricing.lock_catalogue()
    plan = Plan(
        id=ids.new("pln"),
        key=new.key,
        version=len(work.subscriptions.plan_versions(new.key)) + 1,
        name=new.name,
        currency=new.currency,
        amount_micros=new.amount_micros,
        timing=new.timing,
        trial_days=new.trial_days,
        minimum_commitment_micros=new.minimum_commitment_micros,
        prices=new.prices,
        created_at=at,
        created_by=actor,
    )
    work.subscriptions.add_plan(plan)
    return plan


def plan_named(work: HasSubscriptions, plan_id: str) -> Plan:
    """The plan version. Raises ``PlanNotFound``."""
    plan = work.subscriptions.plans([plan_id]).get(plan_id)
    if plan is None:
        raise PlanNotFound(plan_id)
    return plan


def latest(work: HasSubscriptions, key: str) -> Plan:
    """The last version published under *key*. Raises ``PlanNotFound``."""
    versions = work.subscriptions.plan_versions(key)
    if not versions:
        raise PlanNotFound(key)
    return versions[-1]


def all_plans(work: HasSubscriptions, *, limit: int, cursor: str | None) -> Page[Plan]:
    """Every version of every plan, newest first. Raises ``FormatInvalid``, ``CursorInvalid`` or
    ``CursorMismatch``."""
    rows = work.subscriptions.all_plans(limit=limited(limit) + 1, before=place_of(cursor, "plans"))
    return page(rows, limit, "id", "plans")


def _price(fields: PlanPriceFields, under: str) -> PlanPrice:
    return PlanPrice(texts.metric_key(fields["metric_key"]), tariff_of(fields["model"], fields, under=under))


def _require_one_price_each(prices: tuple[PlanPrice, ...]) -> None:
    if len(prices) > MOST_PRICES:
        raise PriceInvalid("/prices", f"a plan brings at most {MOST_PRICES} prices")
    seen: set[str] = set()
    for index, price in enumerate(prices):
        if price.metric_key in seen:
            raise PriceInvalid(
                f"/prices/{index}/metricKey", f"the plan has a price of {price.metric_key!r} already"
            )
        seen.add(price.metric_key)
