"""``neruba.plans``: what a deployment sells."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.money import Amount
from neruba_core.pages import DEFAULT_LIMIT, Page
from neruba_core.subscriptions import plans
from neruba_core.subscriptions.model import Plan, Timing
from neruba_core.subscriptions.plans import DEFAULT_CURRENCY, NewPlan, PlanPriceFields


@frozen
class Plans:
    """Plan versions, which all projects share."""

    _context: Context

    def publish(
        self,
        *,
        key: str,
        name: str,
        amount: Amount,
        currency: str = DEFAULT_CURRENCY,
        billing: Timing | str = Timing.ADVANCE,
        trial_days: int = 0,
        minimum_commitment: Amount | None = None,
        prices: Iterable[PlanPriceFields] = (),
        origin: Origin = SYSTEM,
    ) -> Plan:
        """Publish a plan, or the next version of it; what was published before stays as it is.

        *amount* is due per period and seat. *minimum_commitment* is the least that a period's usage comes
        to. *prices* are what metrics cost under the plan, such as ``{"metric_key": "api_tokens", "model":
        "unit", "unit_amount": "0.000002"}``. Raises ``FormatInvalid``, ``TextInvalid``, ``Amount…``
        refusals or ``PriceInvalid``.
        """
        new = NewPlan.of(
            key=key,
            name=name,
            amount=amount,
            currency=currency,
            billing=billing,
            trial_days=trial_days,
            minimum_commitment=minimum_commitment,
            prices=prices,
        )
        return self.add(new, origin=origin)

    def add(self, new: NewPlan, *, origin: Origin = SYSTEM) -> Plan:
        """Like ``publish``, for a plan that has been checked already."""
        context = self._context
        return context.write(
            lambda work: plans.publish(work, new, at=context.clock(), ids=context.ids, actor=origin.actor)
        )

    def get(self, plan_id: str) -> Plan:
        """One plan version. Raises ``PlanNotFound``."""
        return self._context.read(lambda work: plans.plan_named(work, plan_id))

    def list(self, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[Plan]:
        """Every version of every plan, newest first; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(lambda work: plans.all_plans(work, limit=limit, cursor=cursor))
