"""What subscriptions come to, and that it is what was quoted."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given

from neruba_core.instants import Period, month, month_of, parse
from neruba_core.pricing.exact import half_even
from neruba_core.pricing.model import Tariff, Unit
from neruba_core.subscriptions.fees import BilledAhead, commitment, fees, in_force, planned_prices
from neruba_core.subscriptions.model import PlanPrice, Timing
from tests.core.subscriptions.histories import (
    SPAN_MONTHS,
    History,
    a_decision,
    a_plan,
    histories,
    integral,
    months,
)


@given(histories())
def test_the_lines_of_all_periods_add_up_to_the_amount_over_time(history):
    """
    Each line is rounded once, so each may be off by half a micro-unit and no more.
    """
    lines = [fee for at in range(SPAN_MONTHS + 1) for fee in history.about(at)]

    billed = sum(fee.amount_micros for fee in lines)

    exact = integral(history, history.periods[: SPAN_MONTHS + 1])
    assert abs(billed - exact) <= Fraction(len(lines), 2)


@given(histories())
def test_what_was_quoted_for_a_change_is_billed_whatever_comes_after(history):
    """
    A change that another one replaces at its very instant never took effect on its own; and a trial that a
    later change comes before never ends by itself.
    """
    for quote in history.quotes:
        later = history.decisions[quote.decision.number :]
        if replaced_at_a_start(history, quote, later):
            continue
        ended_early = bool(later) and later[0].effective_at <= (
            quote.decision.trial_ends_at or quote.decision.effective_at
        )
        expected = [
            line
            for line in quote.lines
            if not (ended_early and line.reference == f"{quote.decision.id}/trial/debit")
        ]

        billed = [line for line in history.about(quote.period) if line.decision_id == quote.decision.id]

        assert billed == expected


def replaced_at_a_start(history, quote, later) -> bool:
    return (
        quote.decision.effective_at == history.periods[quote.period].start
        and bool(later)
        and later[0].effective_at == quote.decision.effective_at
    )


@given(histories())
def test_a_line_says_how_it_came_about(history):
    """
    Its numbers re-add exactly: parts to the exact figure, exact figure and rounding to the amount.
    """
    for fee in (fee for lines in history.billed for fee in lines):
        shown = fee.workings
        part = shown["parts"][0]
        assert Fraction(part["quantity"]) * Fraction(part["rate"]) == Fraction(part["amount"])
        assert Fraction(part["amount"]) == Fraction(shown["exact"])
        assert Fraction(shown["exact"]) == (
            int(shown["quantity"]) * Fraction(shown["unitAmount"]) * Fraction(shown["share"])
        )
        assert Fraction(shown["exact"]) + Fraction(shown["rounding"]) == Fraction(shown["amount"])
        assert Fraction(shown["amount"]) == Fraction(fee.amount_micros, 10**6)
        assert half_even(Fraction(shown["exact"])) == fee.amount_micros


@given(histories())
def test_no_two_lines_of_an_invoice_are_about_the_same(history):
    """
    Kind, service and reference name a line, so that a rerun finds it again.
    """
    for lines in history.billed:
        names = [(fee.kind, fee.span, fee.reference) for fee in lines]
        assert len(set(names)) == len(names)
        assert all(fee.amount_micros for fee in lines)


@given(histories())
def test_billing_the_same_again_gives_the_same(history):
    """
    Nothing but decisions, plans and periods goes in.
    """
    again = History(history.periods, history.plans, list(history.decisions), billed=history.billed[:-1])

    again.bill()

    assert again.billed == history.billed


MARCH, APRIL, MAY = months("2026-03", 3, "UTC")
PRO = a_plan(1, name="Pro", amount_micros=31_000_000)
MAX = a_plan(2, name="Max", amount_micros=62_000_000)
LATER = a_plan(3, name="Later", amount_micros=93_000_000, timing=Timing.ARREARS)
PLANS = {plan.id: plan for plan in (PRO, MAX, LATER)}


def shown(lines) -> list[tuple[str, str, int]]:
    return [(fee.kind, fee.description, fee.amount_micros) for fee in lines]


def test_an_upgrade_gives_back_the_unused_part_and_takes_the_new_one():
    """
    From 11 March 21 of 31 days are left; April is billed ahead at the new amount.
    """
    decisions = [a_decision(1, MARCH.start, PRO), a_decision(2, parse("2026-03-11T00:00:00Z"), MAX)]

    lines = fees(decisions, PLANS, MARCH, APRIL, BilledAhead(PRO.id, 1))

    assert shown(lines) == [
        ("proration", "Pro, unused part of the period", -21_000_000),
        ("proration", "Max, rest of the period", 42_000_000),
        ("subscription", "Max", 62_000_000),
    ]
    assert [fee.span for fee in lines] == [Period(parse("2026-03-11T00:00:00Z"), MARCH.end)] * 2 + [APRIL]


def test_a_subscription_begins_with_the_rest_of_its_period():
    """
    Half of April is 15 days of 30; nothing is due before.
    """
    decisions = [a_decision(1, parse("2026-04-16T00:00:00Z"), PRO, quantity=3)]

    assert shown(fees(decisions, PLANS, APRIL, MAY, None)) == [
        ("proration", "Pro × 3, rest of the period", 46_500_000),
        ("subscription", "Pro × 3", 93_000_000),
    ]
    assert fees(decisions, PLANS, MARCH, APRIL, None) == ()


def test_a_cancellation_at_once_gives_the_rest_back():
    """
    What was billed ahead for March comes back by the second, and April is not billed.
    """
    decisions = [a_decision(1, MARCH.start, PRO), a_decision(2, parse("2026-03-31T00:00:00Z"), None)]

    assert shown(fees(decisions, PLANS, MARCH, APRIL, BilledAhead(PRO.id, 1))) == [
        ("proration", "Pro, unused part of the period", -1_000_000)
    ]


def test_a_cancellation_at_the_period_s_end_leaves_the_period_alone():
    """
    The period was paid for and is used; the next one is not billed.
    """
    decisions = [a_decision(1, MARCH.start, PRO), a_decision(2, MARCH.end, None)]

    assert fees(decisions, PLANS, MARCH, APRIL, BilledAhead(PRO.id, 1)) == ()
    assert fees(decisions, PLANS, APRIL, MAY, None) == ()


def test_seats_are_added_by_the_rest_of_the_period():
    """
    Two seats more for 21 of 31 days.
    """
    decisions = [
        a_decision(1, MARCH.start, PRO, quantity=2),
        a_decision(2, parse("2026-03-11T00:00:00Z"), PRO, quantity=4),
    ]

    lines = fees(decisions, PLANS, MARCH, APRIL, BilledAhead(PRO.id, 2))

    assert shown(lines)[:2] == [
        ("proration", "Pro × 2, unused part of the period", -42_000_000),
        ("proration", "Pro × 4, rest of the period", 84_000_000),
    ]


def test_an_amount_in_arrears_is_due_with_its_own_period():
    """
    March costs March's amount on March's invoice; April is not on it.
    """
    decisions = [a_decision(1, MARCH.start, LATER)]

    assert shown(fees(decisions, PLANS, MARCH, APRIL, None)) == [("subscription", "Later", 93_000_000)]


def test_from_advance_to_arrears_nothing_is_billed_twice():
    """
    March was billed ahead and April will be billed behind.
    """
    decisions = [a_decision(1, MARCH.start, PRO), a_decision(2, MARCH.end, LATER)]

    assert fees(decisions, PLANS, MARCH, APRIL, BilledAhead(PRO.id, 1)) == ()
    assert shown(fees(decisions, PLANS, APRIL, MAY, None)) == [("subscription", "Later", 93_000_000)]


def test_from_arrears_to_advance_two_periods_are_on_one_invoice():
    """
    March behind and April ahead.
    """
    decisions = [a_decision(1, MARCH.start, LATER), a_decision(2, MARCH.end, PRO)]

    lines = fees(decisions, PLANS, MARCH, APRIL, None)

    assert shown(lines) == [("subscription", "Later", 93_000_000), ("subscription", "Pro", 31_000_000)]
    assert [fee.span for fee in lines] == [MARCH, APRIL]


def test_a_decision_dated_at_the_start_of_what_was_billed_ahead_corrects_it():
    """
    March's invoice had billed Pro for April when somebody chose Max from the first moment of April on.
    """
    decisions = [a_decision(1, MARCH.start, PRO), a_decision(2, APRIL.start, MAX)]

    assert shown(fees(decisions, PLANS, APRIL, MAY, BilledAhead(PRO.id, 1))) == [
        ("proration", "Pro, unused part of the period", -31_000_000),
        ("proration", "Max, rest of the period", 62_000_000),
        ("subscription", "Max", 62_000_000),
    ]


def test_seats_that_change_where_a_period_begins_correct_what_was_billed_ahead():
    """
    The plan is the same, but not what it comes to.
    """
    decisions = [a_decision(1, MARCH.start, PRO), a_decision(2, APRIL.start, PRO, quantity=3)]

    lines = fees(decisions, PLANS, APRIL, MAY, BilledAhead(PRO.id, 1))

    assert shown(lines)[:2] == [
        ("proration", "Pro, unused part of the period", -31_000_000),
        ("proration", "Pro × 3, rest of the period", 93_000_000),
    ]


def test_a_trial_is_free_until_its_last_moment():
    """
    From 17 March on 15 of 31 days are due.
    """
    decisions = [a_decision(1, MARCH.start, PRO, trial_ends_at=parse("2026-03-17T00:00:00Z"))]

    assert shown(fees(decisions, PLANS, MARCH, APRIL, None)) == [
        ("proration", "Pro, rest of the period", 15_000_000),
        ("subscription", "Pro", 31_000_000),
    ]


def test_a_trial_that_ends_with_a_period_is_not_billed_in_it():
    """
    Periods are half-open: the next one begins with the first paid moment.
    """
    decisions = [a_decision(1, MARCH.start, PRO, trial_ends_at=MARCH.end)]

    assert shown(fees(decisions, PLANS, MARCH, APRIL, None)) == [("subscription", "Pro", 31_000_000)]
    assert fees(decisions, PLANS, MARCH, APRIL, None)[0].span == APRIL


def test_a_trial_over_the_period_s_end_is_not_billed_ahead():
    """
    Nobody pays before a trial has ended.
    """
    decisions = [a_decision(1, MARCH.start, PRO, trial_ends_at=parse("2026-04-16T00:00:00Z"))]

    assert fees(decisions, PLANS, MARCH, APRIL, None) == ()
    assert shown(fees(decisions, PLANS, APRIL, MAY, None)) == [
        ("proration", "Pro, rest of the period", 15_500_000),
        ("subscription", "Pro", 31_000_000),
    ]


def test_a_trial_that_is_cancelled_costs_nothing():
    """
    Its end does not come any more.
    """
    decisions = [
        a_decision(1, MARCH.start, PRO, trial_ends_at=parse("2026-03-17T00:00:00Z")),
        a_decision(2, parse("2026-03-16T23:59:59.999999Z"), None),
    ]

    assert fees(decisions, PLANS, MARCH, APRIL, None) == ()


@pytest.mark.parametrize(
    ("zone", "name", "moment", "expected"),
    [
        # 743 hours: the clocks of Berlin go forward on 29 March.
        ("Europe/Berlin", "2026-03", "2026-03-31T00:00:00+02:00", Fraction(24, 743)),
        # 745 hours, and the 25th of October has 25.
        ("Europe/Berlin", "2026-10", "2026-10-25T00:00:00+02:00", Fraction(169, 745)),
        ("America/New_York", "2026-11", "2026-11-01T00:00:00-04:00", Fraction(1)),
        ("America/New_York", "2026-11", "2026-11-02T00:00:00-05:00", Fraction(696, 721)),
        # Samoa went from 29 to 31 December 2011: the month has 30 days.
        ("Pacific/Apia", "2011-12", "2011-12-31T00:00:00+14:00", Fraction(1, 30)),
        ("UTC", "2024-02", "2024-02-29T00:00:00Z", Fraction(1, 29)),
        ("UTC", "2026-02", "2026-02-28T00:00:00Z", Fraction(1, 28)),
    ],
)
def test_a_share_is_of_the_time_that_really_passes(zone, name, moment, expected):
    """
    Neither every day has 24 hours nor every month 30 days.
    """
    period = month(name, zone)
    following = month(month_of(period.end, zone), zone)
    plan = a_plan(amount_micros=1_000_000_000, timing=Timing.ARREARS)

    [line] = fees([a_decision(1, parse(moment), plan)], {plan.id: plan}, period, following, None)

    assert line.amount_micros == half_even(1000 * expected)


# --- what else decisions tell -----------------------------------------------------------------

TOKENS = PlanPrice("api_tokens", Tariff(Unit(Decimal("0.000002"))))


def test_what_is_in_force_is_what_was_decided_last():
    """
    A decision is in force from its first moment on; after a cancellation nothing is.
    """
    start, change, end = (
        a_decision(1, MARCH.start, PRO),
        a_decision(2, APRIL.start, MAX),
        a_decision(3, MAY.start, None),
    )
    decisions = [start, change, end]

    assert in_force(decisions, parse("2026-02-28T23:59:59.999999Z")) is None
    assert in_force(decisions, MARCH.start) == start
    assert in_force(decisions, APRIL.start) == change
    assert in_force(decisions, MAY.start) is None
    assert in_force([], MARCH.start) is None


def test_a_plan_brings_its_prices_while_it_is_in_force():
    """
    A change of seats is no change of price; the price names the plan's version.
    """
    plan = a_plan(4, version=7, prices=(TOKENS,))
    decisions = [
        a_decision(1, parse("2026-03-05T00:00:00Z"), plan),
        a_decision(2, parse("2026-03-10T00:00:00Z"), plan, quantity=2),
        a_decision(3, parse("2026-03-20T00:00:00Z"), PRO),
    ]

    [(span, price)] = planned_prices(decisions, PLANS | {plan.id: plan}, MARCH)["api_tokens"]

    assert span == Period(parse("2026-03-05T00:00:00Z"), parse("2026-03-20T00:00:00Z"))
    assert (price.project_id, price.id, price.version) == (None, plan.id, 7)
    assert (price.metric_key, price.tariff, price.currency) == ("api_tokens", TOKENS.tariff, "USD")
    assert planned_prices(decisions, PLANS | {plan.id: plan}, APRIL) == {}


def test_a_plan_that_comes_back_brings_its_prices_again():
    """
    The time in between is not the plan's.
    """
    plan = a_plan(4, prices=(TOKENS,))
    decisions = [
        a_decision(1, MARCH.start, plan),
        a_decision(2, parse("2026-03-10T00:00:00Z"), None),
        a_decision(3, parse("2026-03-20T00:00:00Z"), plan),
    ]

    spans = [span for span, _ in planned_prices(decisions, {plan.id: plan}, MARCH)["api_tokens"]]

    assert spans == [
        Period(MARCH.start, parse("2026-03-10T00:00:00Z")),
        Period(parse("2026-03-20T00:00:00Z"), MARCH.end),
    ]


def test_a_commitment_counts_for_the_time_that_it_is_in_force():
    """
    620.00 for 21 of 31 days, and nothing for the days on a trial.
    """
    plan = a_plan(4, minimum_commitment_micros=620_000_000)
    paid = [a_decision(1, parse("2026-03-11T00:00:00Z"), plan, quantity=5)]
    tried = [
        a_decision(1, MARCH.start, plan, trial_ends_at=parse("2026-03-11T00:00:00Z")),
    ]

    assert commitment(paid, {plan.id: plan}, MARCH) == 420
    assert commitment(tried, {plan.id: plan}, MARCH) == 420
    assert commitment(paid, {plan.id: plan}, APRIL) == 620
    assert commitment([a_decision(1, MARCH.start, PRO)], PLANS, MARCH) is None


@given(histories())
def test_the_parts_of_a_commitment_never_exceed_the_whole(history):
    """
    However often seats change, a period has the commitment at most once.
    """
    plans = {key: evolve(plan, minimum_commitment_micros=100_000_000) for key, plan in history.plans.items()}

    asked = [commitment(history.decisions, plans, period) for period in history.periods]

    assert all(units is None or 0 < units <= 100 for units in asked)
