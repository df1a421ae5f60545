"""Subscribing, changing, cancelling, and what is refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core.audit.model import Origin
from neruba_core.errors import (
    AmountOverflow,
    FormatInvalid,
    InstantNaive,
    NerubaError,
    PeriodInvoiced,
    PlanNotFound,
    ProjectArchived,
    ProjectNotFound,
    SubscriptionDrawn,
    SubscriptionInvalid,
    SubscriptionNone,
    SubscriptionOutOfOrder,
    SubscriptionUnchanged,
)
from neruba_core.instants import month, month_of, parse
from neruba_core.pricing.meters import Meter
from neruba_core.subscriptions.fees import fees
from neruba_core.subscriptions.model import DecisionKind
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import SettableClock

DAY = timedelta(days=1)
MARCH, APRIL = month("2026-03", "UTC"), month("2026-04", "UTC")


@pytest.fixture
def neruba():
    """At noon on 11 March 2026."""
    return rehearsal(clock=SettableClock(parse("2026-03-11T12:00:00Z")))


@pytest.fixture
def acme(neruba):
    return neruba.projects.create(name="Acme")


@pytest.fixture
def pro(neruba):
    return neruba.plans.publish(key="pro", name="Pro", amount="31")


@pytest.fixture
def team(neruba):
    return neruba.plans.publish(key="team", name="Team", amount="62")


def state(neruba: Rehearsal, project_id: str) -> tuple[object, object]:
    return neruba.subscriptions.decisions(project_id), neruba.audit.changes(project_id).items


def test_a_subscription_begins_now(neruba, acme, pro):
    """
    The decision says by whom, when, and what; the trail has it by the names of the wire.
    """
    decided = neruba.subscriptions.subscribe(
        acme.id, plan_id=pro.id, quantity=2, origin=Origin("user:usr_a", "request-1")
    )

    decision = decided.decision
    assert neruba.subscriptions.decisions(acme.id) == (decision,)
    assert (decision.number, decision.kind) == (1, DecisionKind.START)
    assert (decision.plan_id, decision.quantity, decision.trial_ends_at) == (pro.id, 2, None)
    assert decision.effective_at == decision.requested_at == neruba.clock()
    assert (decision.actor, decision.request_id) == ("user:usr_a", "request-1")
    change = neruba.audit.changes(acme.id).items[0]
    assert (change.action, change.subject, change.actor) == (
        "subscription.started",
        decision.id,
        "user:usr_a",
    )
    assert json.loads(change.details) == {
        "number": 1,
        "planId": pro.id,
        "quantity": 2,
        "effectiveAt": "2026-03-11T12:00:00.000000Z",
        "trialEndsAt": None,
    }


def test_a_key_means_the_latest_version(neruba, acme, pro):
    """
    By id one can have an older one.
    """
    second = neruba.plans.publish(key="pro", name="Pro", amount="33")

    latest = neruba.subscriptions.subscribe(acme.id, plan_key="pro").decision
    older = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id).decision

    assert (latest.plan_id, older.plan_id) == (second.id, pro.id)
    assert older.kind is DecisionKind.CHANGE


def test_a_change_can_wait_for_the_period_s_end(neruba, acme, pro, team):
    """
    April begins with the new plan, and March stays as it is.
    """
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, effective=MARCH.start)

    decided = neruba.subscriptions.subscribe(acme.id, plan_id=team.id, effective="period_end")

    assert decided.decision.effective_at == APRIL.start
    assert [(line.kind, line.span, line.amount_micros) for line in decided.lines] == [
        ("subscription", APRIL, 62_000_000)
    ]


def test_the_period_s_end_is_the_project_s_own(neruba, pro):
    """
    April begins two hours earlier in Berlin.
    """
    berlin = neruba.projects.create(name="Berlin")
    neruba.projects.update(berlin.id, timezone="Europe/Berlin")

    decided = neruba.subscriptions.subscribe(berlin.id, plan_id=pro.id, effective="period_end")

    assert decided.decision.effective_at == parse("2026-04-01T00:00:00+02:00")


def test_a_cancellation_at_once_gives_back_the_rest(neruba, acme, pro):
    """
    21 days less a half of 31 are left.
    """
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, effective=MARCH.start)

    decided = neruba.subscriptions.cancel(acme.id)

    assert (decided.decision.kind, decided.decision.plan_id) == (DecisionKind.CANCEL, None)
    assert [line.amount_micros for line in decided.lines] == [-20_500_000]


def test_a_cancellation_to_come_can_be_taken_back(neruba, acme, pro):
    """
    By another decision of the same instant, which counts because it was taken later.
    """
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, effective=MARCH.start)
    neruba.subscriptions.cancel(acme.id, effective="period_end")

    decided = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, effective="period_end")

    assert decided.decision.kind is DecisionKind.START
    assert [line.amount_micros for line in decided.lines] == [31_000_000]


def test_a_first_subscription_has_the_plan_s_trial_and_a_second_has_none(neruba, acme):
    """
    Cancelling and coming back is no way to another one; giving one on purpose is.
    """
    neruba.plans.publish(key="try", name="Try", amount="31", trial_days=14)

    first = neruba.subscriptions.subscribe(acme.id, plan_key="try").decision
    neruba.clock.advance(DAY)
    neruba.subscriptions.cancel(acme.id)
    second = neruba.subscriptions.subscribe(acme.id, plan_key="try").decision
    neruba.subscriptions.cancel(acme.id)
    third = neruba.subscriptions.subscribe(acme.id, plan_key="try", trial_days=3).decision

    assert first.trial_ends_at == first.effective_at + 14 * DAY
    assert second.trial_ends_at is None
    assert third.trial_ends_at == third.effective_at + 3 * DAY


def test_a_change_keeps_the_trial_that_runs(neruba, acme, pro):
    """
    Nobody loses or wins free days by changing seats; a trial that is over does not come back.
    """
    start = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, trial_days=5).decision
    neruba.clock.advance(DAY)
    within = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, quantity=2).decision
    neruba.clock.advance(4 * DAY)
    after = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, quantity=3).decision

    assert within.trial_ends_at == start.trial_ends_at
    assert after.trial_ends_at is None


def test_a_trial_can_be_ended_and_prolonged(neruba, acme, pro):
    """
    Giving days is a change although plan and seats stay.
    """
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, trial_days=5)
    longer = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, trial_days=9).decision
    ended = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, trial_days=0).decision

    assert longer.trial_ends_at == neruba.clock() + 9 * DAY
    assert ended.trial_ends_at is None


def test_a_quote_writes_nothing(neruba, acme, pro, team):
    """
    It answers what the decision then answers, and the project is as it was.
    """
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, effective=MARCH.start)
    before = state(neruba, acme.id)

    quoted = neruba.subscriptions.quote(acme.id, plan_id=team.id, quantity=3)
    cancelled = neruba.subscriptions.quote(acme.id, cancel=True)

    assert state(neruba, acme.id) == before
    decided = neruba.subscriptions.subscribe(acme.id, plan_id=team.id, quantity=3)
    assert [line.amount_micros for line in quoted.lines] == [line.amount_micros for line in decided.lines]
    assert [line.amount_micros for line in cancelled.lines] == [-20_500_000]


def test_decisions_are_in_the_order_they_were_taken(neruba, acme, pro):
    """
    Those of the same instant too.
    """
    for seats in (3, 1, 2):
        neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, quantity=seats)

    decisions = neruba.subscriptions.decisions(acme.id)

    assert [(decision.number, decision.quantity) for decision in decisions] == [(1, 3), (2, 1), (3, 2)]


# --- what is refused --------------------------------------------------------------------------


def test_what_is_in_force_already_is_not_decided_again(neruba, acme, pro):
    """
    Also not for a later instant, and with the trial that runs.
    """
    made = neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, trial_days=5).decision
    before = state(neruba, acme.id)

    for effective in ("now", made.effective_at + DAY):
        with pytest.raises(SubscriptionUnchanged) as refused:
            neruba.subscriptions.subscribe(acme.id, plan_key="pro", effective=effective)
        assert refused.value.decision_id == made.id
    assert state(neruba, acme.id) == before


def test_nothing_can_be_cancelled_twice(neruba, acme, pro):
    """
    Nor before there is anything.
    """
    with pytest.raises(SubscriptionNone):
        neruba.subscriptions.cancel(acme.id)
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id)
    neruba.subscriptions.cancel(acme.id, effective="period_end")
    with pytest.raises(SubscriptionNone):
        neruba.subscriptions.cancel(acme.id, effective="period_end")


def test_decisions_are_taken_in_the_order_of_their_effect(neruba, acme, pro, team):
    """
    Who has decided about April cannot decide about March any more; the refusal says from when on.
    """
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id)
    neruba.subscriptions.cancel(acme.id, effective="period_end")

    with pytest.raises(SubscriptionOutOfOrder) as refused:
        neruba.subscriptions.subscribe(acme.id, plan_id=team.id)

    assert refused.value.earliest == "2026-04-01T00:00:00.000000Z"


def test_what_was_invoiced_stays_as_it_was(neruba, acme, pro):
    """
    A decision can begin where the last invoice ends, and not a microsecond before.
    """
    with neruba._context.storage.work() as work:
        work.tenancy.replace_project(evolve(acme, invoiced_until=MARCH.start))

    with pytest.raises(PeriodInvoiced) as refused:
        neruba.subscriptions.subscribe(
            acme.id, plan_id=pro.id, effective=MARCH.start - timedelta(microseconds=1)
        )
    assert refused.value.earliest == "2026-03-01T00:00:00.000000Z"
    neruba.subscriptions.subscribe(acme.id, plan_id=pro.id, effective=MARCH.start)


def test_a_plan_is_in_the_project_s_currency(neruba, acme):
    """
    An invoice has one currency.
    """
    euro = neruba.plans.publish(key="euro", name="Euro", amount="10", currency="EUR")

    for named, path in (({"plan_id": euro.id}, "/planId"), ({"plan_key": "euro"}, "/planKey")):
        with pytest.raises(SubscriptionInvalid) as refused:
            neruba.subscriptions.subscribe(acme.id, **named)
        assert refused.value.path == path


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({}, SubscriptionInvalid),
        ({"plan_id": "pln_1", "plan_key": "pro"}, SubscriptionInvalid),
        ({"plan_id": "pln_1"}, PlanNotFound),
        ({"plan_key": "unknown"}, PlanNotFound),
        ({"plan_key": "pro", "quantity": 0}, FormatInvalid),
        ({"plan_key": "pro", "quantity": True}, FormatInvalid),
        ({"plan_key": "pro", "quantity": 1_000_001}, FormatInvalid),
        ({"plan_key": "pro", "trial_days": -1}, FormatInvalid),
        ({"plan_key": "pro", "effective": "soon"}, FormatInvalid),
        ({"plan_key": "pro", "effective": datetime(2026, 3, 1)}, InstantNaive),
        ({"plan_key": "pro", "effective": parse("2036-04-01T00:00:00Z")}, SubscriptionInvalid),
        ({"plan_key": "pro", "effective": parse("2016-02-01T00:00:00Z")}, SubscriptionInvalid),
        ({"plan_key": "dear", "quantity": 2}, AmountOverflow),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(neruba, acme, pro, asked, refusal):
    """
    By the decision and by its quote alike, and nothing is kept.
    """
    neruba.plans.publish(key="dear", name="Dear", amount="9000000000000")
    before = state(neruba, acme.id)

    for act in (neruba.subscriptions.subscribe, neruba.subscriptions.quote):
        with pytest.raises(refusal):
            act(acme.id, **asked)

    assert state(neruba, acme.id) == before


def test_an_archived_project_decides_nothing(neruba, acme, pro):
    """
    Its decisions can still be read; a project that there is not has none.
    """
    neruba.projects.archive(acme.id)

    with pytest.raises(ProjectArchived):
        neruba.subscriptions.subscribe(acme.id, plan_id=pro.id)
    with pytest.raises(ProjectArchived):
        neruba.subscriptions.quote(acme.id, plan_id=pro.id)
    assert neruba.subscriptions.decisions(acme.id) == ()
    for act in (neruba.subscriptions.subscribe, neruba.subscriptions.quote):
        with pytest.raises(ProjectNotFound):
            act("prj_unknown", plan_id=pro.id)
    with pytest.raises(ProjectNotFound):
        neruba.subscriptions.decisions("prj_unknown")


@pytest.mark.parametrize("effective", ["now", parse("2026-03-20T00:00:00Z")])
def test_prices_do_not_change_where_events_were_paid(neruba, acme, effective):
    """
    A prepaid project changes its prices with the next period; its seats at any time.
    """
    prices = [{"metric_key": "api_tokens", "model": "unit", "unit_amount": "1"}]
    metered = neruba.plans.publish(key="metered", name="Metered", amount="1", prices=prices)
    dearer = neruba.plans.publish(key="metered", name="Metered", amount="1", prices=prices)
    neruba.subscriptions.subscribe(acme.id, plan_id=metered.id, effective=MARCH.start)
    draw(neruba, acme.id, metered.id)

    with pytest.raises(SubscriptionDrawn) as refused:
        neruba.subscriptions.subscribe(acme.id, plan_id=dearer.id, effective=effective)
    with pytest.raises(SubscriptionDrawn):
        neruba.subscriptions.cancel(acme.id, effective=effective)

    assert refused.value.earliest == "2026-04-01T00:00:00.000000Z"
    neruba.subscriptions.subscribe(acme.id, plan_id=metered.id, quantity=2, effective=effective)
    neruba.subscriptions.subscribe(acme.id, plan_id=dearer.id, effective="period_end")


def test_a_plan_s_price_makes_no_difference_where_the_project_has_its_own(neruba, acme, pro):
    """
    Events drawn by the project's own price stay so under any plan, and so do those of other metrics; of
    events that were all voided nothing is drawn.
    """
    prices = [
        {"metric_key": metric_key, "model": "unit", "unit_amount": "1"}
        for metric_key in ("api_tokens", "calls")
    ]
    metered = neruba.plans.publish(key="metered", name="Metered", amount="1", prices=prices)
    neruba.metrics.declare(acme.id, key="api_tokens")
    own = neruba.prices.create(
        acme.id, metric_key="api_tokens", model="unit", unit_amount="2", effective_from=MARCH.start
    )
    draw(neruba, acme.id, own.id)
    draw(neruba, acme.id, "prc_of_the_catalogue", metric_key="storage")
    draw(neruba, acme.id, "prc_of_the_catalogue", metric_key="calls", events=0)

    decided = neruba.subscriptions.subscribe(acme.id, plan_id=metered.id)

    assert decided.decision.plan_id == metered.id


def draw(
    neruba: Rehearsal, project_id: str, price_id: str, *, metric_key: str = "api_tokens", events: int = 1
) -> None:
    """As if so many events had been paid in March."""
    micros = events * 1_000_000
    meter = Meter(project_id, metric_key, MARCH.start, MARCH.end, price_id, micros, events, micros)
    with neruba._context.storage.work() as work:
        work.ledger.lock_heads([project_id])
        work.pricing.write_meters([meter])


# --- quotes over many changes -----------------------------------------------------------------

asked = st.fixed_dictionaries(
    {
        "plan": st.sampled_from(["pro", "team", "behind", None]),
        "quantity": st.integers(1, 5),
        "effective": st.sampled_from(["now", "period_end"]),
        "trial_days": st.none() | st.integers(0, 20),
        "pause": st.integers(0, 20 * 24 * 3600).map(lambda seconds: timedelta(seconds=seconds)),
    }
)


@settings(max_examples=50)
@given(st.lists(asked, max_size=8), st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]))
def test_a_quote_is_what_is_decided_and_what_is_billed(wishes, zone):
    """
    To the micro-unit, whatever is decided afterwards in other periods.
    """
    neruba = rehearsal()
    project = neruba.projects.create(name="Acme")
    neruba.projects.update(project.id, timezone=zone)
    plans = [
        neruba.plans.publish(key="pro", name="Pro", amount="29.99"),
        neruba.plans.publish(key="team", name="Team", amount="7.000001", trial_days=10),
        neruba.plans.publish(key="behind", name="Behind", amount="100", billing="arrears"),
    ]
    for wish in wishes:
        neruba.clock.advance(wish["pause"])
        wanted = {name: wish[name] for name in ("quantity", "trial_days") if wish["plan"] is not None} | (
            {"plan_key": wish["plan"]} if wish["plan"] is not None else {"cancel": True}
        )
        try:
            quoted = neruba.subscriptions.quote(project.id, effective=wish["effective"], **wanted)
        except NerubaError as error:
            with pytest.raises(type(error)):
                take(neruba, project.id, wish["effective"], **wanted)
            continue

        decided = take(neruba, project.id, wish["effective"], **wanted)

        at = decided.decision.effective_at
        period, following = [month(name, zone) for name in names_from(at, zone)]
        billed = fees(
            neruba.subscriptions.decisions(project.id),
            {plan.id: plan for plan in plans},
            period,
            following,
            None,
        )
        of_decision = [
            line for line in billed if line.decision_id == decided.decision.id and line.span.start in period
        ]
        assert list(decided.lines) == of_decision
        assert [(line.kind, line.description, line.span, line.amount_micros) for line in quoted.lines] == [
            (line.kind, line.description, line.span, line.amount_micros) for line in of_decision
        ]


def take(neruba: Rehearsal, project_id: str, effective: str, *, cancel: bool = False, **wanted):
    if cancel:
        return neruba.subscriptions.cancel(project_id, effective=effective)
    return neruba.subscriptions.subscribe(project_id, effective=effective, **wanted)


def names_from(moment: datetime, zone: str) -> list[str]:
    first = month(month_of(moment, zone), zone)
    return [month_of(first.start, zone), month_of(first.end, zone)]
