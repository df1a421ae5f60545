"""What a subscription comes to in a period, from its decisions alone.

Between two changes the recurring amount is constant: plan amount × seats, or zero on a trial and where
nothing is subscribed. A period is billed as

- the **opening** line: the amount of the whole period, by the state that the period starts in, unless the
  invoice before has billed it ahead;
- for each **change** inside the period, a credit for what the old state would have come to in the rest of
  the period and a debit for what the new one does, by the exact share of the rest; the end of a trial is a
  change too;
- for plans in advance, the opening line of the **following** period.

Each amount is rounded once, half-even, to a micro-unit. The lines of a change depend on the state right
before it and on nothing later, so what was quoted for it is what is billed. Lines of zero are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from attrs import field, frozen

from neruba_core import money
from neruba_core.instants import Instant, Period
from neruba_core.pricing.exact import fraction_text, half_even, share, units
from neruba_core.pricing.model import Price
from neruba_core.subscriptions.model import Plan, SubscriptionDecision, Timing

SUBSCRIPTION = "subscription"
PRORATION = "proration"


@frozen
class Fee:
    """One line of a period's invoice. *reference* is unique among the lines of one kind and span, and
    *decision_id* names the decision that the line follows from.

    In *workings*, numbers are exact text: ``parts`` add up to ``exact``, which is ``quantity`` ×
    ``unitAmount`` × ``share`` (below zero for a credit), and ``exact`` and ``rounding`` to ``amount``.
    """

    reference: str
    kind: str
    description: str
    span: Period
    amount_micros: int
    plan_id: str
    quantity: int
    decision_id: str
    workings: dict[str, Any] = field(hash=False)


@frozen
class BilledAhead:
    """That the issued invoice of the period before has already billed the whole of a period.

    It did where it has a line of kind ``subscription`` whose service starts with this period. Plan
    versions never change, so plan and seats tell the amount; what was on a trial, and so zero, has no line.
    """

    plan_id: str
    quantity: int

    @classmethod
    def of(cls, workings: Mapping[str, Any]) -> BilledAhead:
        """Read it back from that line's ``workings``."""
        return cls(workings["plan"]["id"], int(workings["quantity"]))


@frozen
class _State:
    """What is subscribed from *at* on: what *decision* says, with the trial it gives or after it."""

    at: Instant
    decision: SubscriptionDecision
    on_trial: bool

    @property
    def name(self) -> str:
        ended = self.decision.trial_ends_at is not None and not self.on_trial
        return f"{self.decision.id}/trial" if ended else self.decision.id

    def plan(self, plans: Mapping[str, Plan]) -> Plan | None:
        return None if self.decision.plan_id is None else plans[self.decision.plan_id]

    def due(self, plans: Mapping[str, Plan]) -> _Due | None:
        plan = self.plan(plans)
        return None if plan is None or self.on_trial else _Due(plan, self.decision.quantity)


@frozen
class _Due:
    """The amount of *plan* for *quantity* seats, per period."""

    plan: Plan
    quantity: int

    def __str__(self) -> str:
        return self.plan.name if self.quantity == 1 else f"{self.plan.name} × {self.quantity}"


def fees(
    decisions: Sequence[SubscriptionDecision],
    plans: Mapping[str, Plan],
    period: Period,
    following: Period,
    billed_ahead: BilledAhead | None,
) -> tuple[Fee, ...]:
    """The lines of *period*'s invoice, in the order of its time.

    *decisions* are those known so far by ascending number, *plans* the versions that they name,
    *following* the period that begins where this one ends.
    """
    states = _states(decisions)
    lines = (
        *_opening(states, plans, period, billed_ahead),
        *_changes(states, plans, period),
        *_ahead(states, plans, following),
    )
    return tuple(line for line in lines if line.amount_micros)


def quoted(
    decisions: Sequence[SubscriptionDecision],
    plans: Mapping[str, Plan],
    period: Period,
    following: Period,
    billed_ahead: BilledAhead | None,
) -> tuple[Fee, ...]:
    """What the last of *decisions* adds to or takes off *period*, the one that it takes effect in: those of
    the period's ``fees`` that follow from it and are about the period itself."""
    decision = decisions[-1]
    return tuple(
        fee
        for fee in fees(decisions, plans, period, following, billed_ahead)
        if fee.decision_id == decision.id and fee.span.start in period
    )


def planned_prices(
    decisions: Sequence[SubscriptionDecision], plans: Mapping[str, Plan], period: Period
) -> dict[str, list[tuple[Period, Price]]]:
    """The plans' prices in force in *period*, by metric key and ascending span.

    A trial has its plan's prices. Neighbouring spans of one plan version are one span, so that a change of
    seats does not begin a metric's tiers anew.
    """
    spans: list[tuple[Period, Plan]] = []
    for span, state in _spans(_states(decisions), period):
        plan = state.plan(plans)
        if plan is None:
            continue
        if spans and spans[-1][1].id == plan.id and spans[-1][0].end == span.start:
            spans[-1] = (Period(spans[-1][0].start, span.end), plan)
        else:
            spans.append((span, plan))
    prices: dict[str, list[tuple[Period, Price]]] = {}
    for span, plan in spans:
        for price in _prices(plan):
            prices.setdefault(price.metric_key, []).append((span, price))
    return prices


def commitment(
    decisions: Sequence[SubscriptionDecision], plans: Mapping[str, Plan], period: Period
) -> Fraction | None:
    """The least that *period*'s usage comes to, in units and not yet rounded; ``None`` where no plan in
    force asks for it.

    A plan counts for its share of the period, whatever its seats. The time on a trial does not count.
    """
    shares = [
        units(plan.minimum_commitment_micros) * share(span, period)
        for span, state in _spans(_states(decisions), period)
        if (plan := state.plan(plans)) is not None
        and plan.minimum_commitment_micros is not None
        and not state.on_trial
    ]
    return sum(shares, Fraction(0)) if shares else None


def in_force(decisions: Sequence[SubscriptionDecision], moment: Instant) -> SubscriptionDecision | None:
    """The decision by which a plan is subscribed at *moment*, or ``None``."""
    state = _state_at(_states(decisions), moment)
    return None if state is None or state.decision.plan_id is None else state.decision


# --- the states that decisions make -----------------------------------------------------------


def _states(decisions: Sequence[SubscriptionDecision]) -> tuple[_State, ...]:
    """The states in their order. A trial that a later decision comes before has no end of its own."""
    states = []
    for decision, later in pairwise((*decisions, None)):
        assert decision is not None, "only the last one is nothing"
        trial_ends_at = decision.trial_ends_at
        states.append(_State(decision.effective_at, decision, on_trial=trial_ends_at is not None))
        if trial_ends_at is not None and (later is None or trial_ends_at < later.effective_at):
            states.append(_State(trial_ends_at, decision, on_trial=False))
    return tuple(states)


def _state_at(states: Sequence[_State], moment: Instant) -> _State | None:
    return next((state for state in reversed(states) if state.at <= moment), None)


def _spans(states: Sequence[_State], period: Period) -> Iterator[tuple[Period, _State]]:
    """The parts of *period* with the state that each is in, without those of no length."""
    for state, later in pairwise((*states, None)):
        assert state is not None, "only the last one is nothing"
        end = period.end if later is None else min(later.at, period.end)
        span = Period(max(state.at, period.start), end)
        if span.start < span.end:
            yield span, state


def _prices(plan: Plan) -> Iterator[Price]:
    for price in plan.prices:
        yield Price(
            project_id=None,
            id=plan.id,
            metric_key=price.metric_key,
            version=plan.version,
            currency=plan.currency,
            tariff=price.tariff,
            effective_from=plan.created_at,
            created_at=plan.created_at,
            created_by=plan.created_by,
        )


# --- lines ------------------------------------------------------------------------------------


def _opening(
    states: Sequence[_State], plans: Mapping[str, Plan], period: Period, billed: BilledAhead | None
) -> Iterator[Fee]:
    state = _state_at(states, period.start)
    due = None if state is None else state.due(plans)
    if state is None or billed is None:
        yield from _whole(state, due, period)
        return
    old = _Due(plans[billed.plan_id], billed.quantity)
    if old != due:
        # A decision taken after the invoice before was issued, and in effect just where that one ends.
        yield from _change(state, old, due, period, period)


def _changes(states: Sequence[_State], plans: Mapping[str, Plan], period: Period) -> Iterator[Fee]:
    for before, after in pairwise((None, *states)):
        assert after is not None, "only the first one is nothing"
        if period.start < after.at < period.end:
            old = None if before is None else before.due(plans)
            yield from _change(after, old, after.due(plans), Period(after.at, period.end), period)


def _ahead(states: Sequence[_State], plans: Mapping[str, Plan], following: Period) -> Iterator[Fee]:
    state = _state_at(states, following.start)
    due = None if state is None else state.due(plans)
    if due is not None and due.plan.timing is Timing.ADVANCE:
        yield from _whole(state, due, following)


def _whole(state: _State | None, due: _Due | None, period: Period) -> Iterator[Fee]:
    if state is not None and due is not None:
        yield _fee(state, due, SUBSCRIPTION, state.name, str(due), period, Fraction(1))


def _change(state: _State, old: _Due | None, new: _Due | None, rest: Period, period: Period) -> Iterator[Fee]:
    part = share(rest, period)
    if old is not None:
        what = f"{old}, unused part of the period"
        yield _fee(state, old, PRORATION, f"{state.name}/credit", what, rest, -part)
    if new is not None:
        what = f"{new}, rest of the period"
        yield _fee(state, new, PRORATION, f"{state.name}/debit", what, rest, part)


def _fee(
    state: _State, due: _Due, kind: str, reference: str, description: str, span: Period, part: Fraction
) -> Fee:
    """The line of *due* for the signed share *part* of a period."""
    seats = due.quantity * part
    exact = units(due.plan.amount_micros) * seats
    amount_micros = half_even(exact)
    unit_amount = fraction_text(units(due.plan.amount_micros))
    return Fee(
        reference=reference,
        kind=kind,
        description=description,
        span=span,
        amount_micros=amount_micros,
        plan_id=due.plan.id,
        quantity=due.quantity,
        decision_id=state.decision.id,
        workings={
            "plan": {"id": due.plan.id, "key": due.plan.key, "version": str(due.plan.version)},
            "decision": state.decision.id,
            "quantity": str(due.quantity),
            "unitAmount": unit_amount,
            "share": fraction_text(part),
            "parts": [
                {
                    "what": description,
                    "quantity": fraction_text(seats),
                    "rate": unit_amount,
                    "amount": fraction_text(exact),
                }
            ],
            "exact": fraction_text(exact),
            "rounding": fraction_text(units(amount_micros) - exact),
            "amount": money.text(amount_micros),
        },
    )
