"""Random histories of a subscription, and what they come to, calculated without the product's code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from attrs import define, field, frozen
from hypothesis import strategies as st

from neruba_core.instants import Instant, Period, month
from neruba_core.subscriptions.fees import BilledAhead, Fee, fees, quoted
from neruba_core.subscriptions.model import DecisionKind, Plan, SubscriptionDecision, Timing

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia")
YEARS = (2011, 2024, 2026)
"""One in which Apia has no 30 December, one that leaps, and an ordinary one."""

SPAN_MONTHS = 5
MICROSECOND = timedelta(microseconds=1)
START = Period(month("1999-01", "UTC").start, month("1999-02", "UTC").start)


def a_plan(number: int = 1, **changes: Any) -> Plan:
    """Plan *number*: 10.000000 in advance, without a trial, a commitment or prices."""
    values: dict[str, Any] = {
        "id": f"pln_{number:032x}",
        "key": f"plan-{number}",
        "version": 1,
        "name": f"Plan {number}",
        "currency": "USD",
        "amount_micros": 10_000_000,
        "timing": Timing.ADVANCE,
        "trial_days": 0,
        "minimum_commitment_micros": None,
        "prices": (),
        "created_at": START.start,
        "created_by": "system",
    }
    return Plan(**{**values, **changes})


def a_decision(
    number: int,
    effective_at: Instant,
    plan: Plan | None,
    *,
    quantity: int = 1,
    trial_ends_at: Instant | None = None,
) -> SubscriptionDecision:
    """Decision *number*; without a *plan* it cancels."""
    kind = DecisionKind.CANCEL if plan is None else DecisionKind.START if number == 1 else DecisionKind.CHANGE
    return SubscriptionDecision(
        project_id="prj_" + "0" * 32,
        id=f"sub_{number:032x}",
        number=number,
        kind=kind,
        plan_id=None if plan is None else plan.id,
        quantity=0 if plan is None else quantity,
        effective_at=effective_at,
        trial_ends_at=trial_ends_at,
        requested_at=effective_at,
        actor="system",
    )


def months(first: str, count: int, zone: str) -> list[Period]:
    """*count* calendar months of *zone* from *first* on."""
    year, number = map(int, first.split("-"))
    places = [divmod(year * 12 + number - 1 + step, 12) for step in range(count)]
    return [month(f"{year}-{place + 1:02}", zone) for year, place in places]


@frozen
class Quote:
    """What was quoted for a decision, and for which of the periods."""

    decision: SubscriptionDecision
    period: int
    lines: tuple[Fee, ...]


@define
class History:
    """A subscription that lived through *periods*, each billed at its end: *billed* are the lines of each
    period's invoice."""

    periods: list[Period]
    plans: dict[str, Plan]
    decisions: list[SubscriptionDecision] = field(factory=list)
    quotes: list[Quote] = field(factory=list)
    billed: list[tuple[Fee, ...]] = field(factory=list)

    def decide(self, decision: SubscriptionDecision) -> None:
        """Quote the decision, then take it."""
        self.decisions.append(decision)
        at = next(n for n, period in enumerate(self.periods) if decision.effective_at in period)
        lines = quoted(
            self.decisions, self.plans, self.periods[at], self.periods[at + 1], self.billed_ahead(at)
        )
        self.quotes.append(Quote(decision, at, lines))

    def bill(self) -> None:
        """Issue the invoice of the first period that has none."""
        at = len(self.billed)
        self.billed.append(
            fees(self.decisions, self.plans, self.periods[at], self.periods[at + 1], self.billed_ahead(at))
        )

    def billed_ahead(self, at: int) -> BilledAhead | None:
        """What the invoice before, if it was issued, billed for period *at*."""
        before = self.billed[at - 1] if 0 < at <= len(self.billed) else ()
        ahead = [fee for fee in before if fee.kind == "subscription" and fee.span == self.periods[at]]
        return BilledAhead.of(ahead[0].workings) if ahead else None

    def about(self, at: int) -> list[Fee]:
        """Every line billed about period *at*, on whichever invoice."""
        period = self.periods[at]
        return [fee for lines in self.billed for fee in lines if fee.span.start in period]


trials = st.none() | st.integers(1, 40).map(lambda days: timedelta(days=days))


def within(period: Period) -> st.SearchStrategy[Instant]:
    """Moments in *period*, to the microsecond."""
    micros = (period.end - period.start) // MICROSECOND
    return st.integers(0, micros - 1).map(lambda offset: period.start + offset * MICROSECOND)


def moments(period: Period, following: Period) -> st.SearchStrategy[Instant]:
    """Moments in *period*, its bounds, and now and then in the next."""
    bounds = st.sampled_from([period.start, period.end])
    return bounds | within(period) | within(period) | within(following)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A few months of decisions of every kind, dated now, ahead and exactly on the bounds of periods."""
    zone = draw(st.sampled_from(ZONES))
    first = f"{draw(st.sampled_from(YEARS))}-{draw(st.integers(1, 12)):02}"
    plans = [
        a_plan(number, amount_micros=draw(st.integers(0, 500_000_000)), timing=draw(st.sampled_from(Timing)))
        for number in range(1, 4)
    ]
    history = History(months(first, SPAN_MONTHS + 2, zone), {plan.id: plan for plan in plans})
    for period, following in pairwise(history.periods[: SPAN_MONTHS + 1]):
        for _ in range(draw(st.integers(0, 3))):
            history.decide(draw(decisions(history, moments(period, following))))
        history.bill()
    history.bill()
    return history


@st.composite
def decisions(draw: st.DrawFn, history: History, moments: st.SearchStrategy[Instant]) -> SubscriptionDecision:
    """The next decision of *history*, of any kind, not before the one before."""
    earliest = [decision.effective_at for decision in history.decisions[-1:]]
    effective_at = max([draw(moments), *earliest])
    plan = draw(st.none() | st.sampled_from(list(history.plans.values())))
    trial = draw(trials)
    return a_decision(
        len(history.decisions) + 1,
        effective_at,
        plan,
        quantity=draw(st.integers(1, 50)),
        trial_ends_at=None if plan is None or trial is None else effective_at + trial,
    )


def integral(history: History, periods: Sequence[Period]) -> Fraction:
    """What the recurring amounts come to over *periods*, in micro-units, added up piece by piece."""
    total = Fraction(0)
    for period in periods:
        length = (period.end - period.start) // MICROSECOND
        for start, end in pieces(history.decisions, period):
            fee_micros = fee_at(history, start)
            total += Fraction(fee_micros * ((end - start) // MICROSECOND), length)
    return total


def pieces(decisions: Sequence[SubscriptionDecision], period: Period) -> list[tuple[Instant, Instant]]:
    """*period*, cut at every moment at which anything could change."""
    bounds: set[datetime] = {period.start, period.end}
    for decision in decisions:
        bounds.update(
            moment
            for moment in (decision.effective_at, decision.trial_ends_at)
            if moment is not None and moment in period
        )
    ordered = sorted(bounds)
    return list(pairwise(ordered))


def fee_at(history: History, moment: Instant) -> int:
    """What one period costs at the rate of *moment*."""
    ruling = [decision for decision in history.decisions if decision.effective_at <= moment]
    if not ruling or ruling[-1].plan_id is None:
        return 0
    decision = ruling[-1]
    if decision.trial_ends_at is not None and moment < decision.trial_ends_at:
        return 0
    return history.plans[str(decision.plan_id)].amount_micros * decision.quantity
