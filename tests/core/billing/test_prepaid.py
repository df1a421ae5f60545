"""Prepaid metering: the draws of a slice add up to its line, whatever comes in whatever order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.billing.periods import containing
from neruba_core.errors import InsufficientCredit
from neruba_core.ledger.model import TransactionType
from neruba_core.pricing.model import Tier
from neruba_core.pricing.rate import rate
from neruba_core.tenancy.model import BillingMode, LateUsagePolicy, OnEmpty
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import NOON

MODELS: dict[str, dict[str, Any]] = {
    "unit": {"model": "unit", "unit_amount": "0.0000025"},
    "graduated": {
        "model": "graduated",
        "tiers": [
            Tier.of("10", "1", "0.5"),
            Tier.of("100", "0.333333333333"),
            Tier.of(None, "0.1"),
        ],
    },
    "volume": {
        "model": "volume",
        "tiers": [
            Tier.of("10", "1"),
            Tier.of("100", "0.25"),
            Tier.of(None, "0.01", "3"),
        ],
    },
    "package": {"model": "package", "package_size": "7", "package_amount": "5", "included": "3"},
    "percentage": {
        "model": "percentage",
        "rate": "0.029",
        "fixed_amount": "0.3",
        "minimum_amount": "9",
        "maximum_amount": "12",
    },
}


def prepaid(billing: Rehearsal, **changes: Any) -> str:
    """A project whose usage is drawn as it arrives."""
    project = billing.projects.create(name="Acme")
    with billing._context.storage.work() as work:
        work.tenancy.replace_project(evolve(project, billing_mode=BillingMode.PREPAID, **changes))
    return project.id


def priced(billing: Rehearsal, project_id: str, **price: Any) -> None:
    billing.metrics.declare(project_id, key="tokens", aggregation="sum")
    billing.prices.create(project_id, metric_key="tokens", effective_from=NOON - timedelta(days=90), **price)


def record(billing: Rehearsal, project_id: str, key: str, units: str, **more: Any) -> Any:
    return billing.usage.record(
        project_id,
        metric_key="tokens",
        units=units,
        timestamp=more.pop("timestamp", NOON),
        idempotency_key=key,
        **more,
    )


def credit(billing: Rehearsal, project_id: str, amount: str, key: str = "c", **more: Any) -> None:
    billing.wallets.credit(project_id, amount=amount, description="Launch", idempotency_key=key, **more)


def drawn_micros(billing: Rehearsal, project_id: str) -> int:
    """What the metric has earned: the balance of its income account, which grows by credit."""
    accounts = billing.ledger.trial_balance(project_id).accounts
    return sum(a.credit_micros - a.debit_micros for a in accounts if a.account == "revenue:tokens")


def rated_micros(billing: Rehearsal, project_id: str) -> int:
    """What the unvoided usage comes to, period by period, by the price's own arithmetic."""
    project = billing.projects.get(project_id)
    totals: dict[str, int] = {}
    for event in billing.usage.events(project_id, limit=200).items:
        if event.id not in billing.usage.voids(project_id, [event.id]):
            name = containing(project, (), event.timestamp).name
            totals[name] = totals.get(name, 0) + event.units_micros
    (price,) = billing.prices.list(project_id).items
    return sum(rate(price.tariff, total).amount_micros for total in totals.values())


def test_an_event_draws_what_it_adds_to_its_slice(billing):
    """
    Tier by tier: 100 at 1.00, then 50 at 0.50.
    """
    project_id = prepaid(billing)
    priced(
        billing,
        project_id,
        model="graduated",
        tiers=[Tier.of("100", "1.00"), Tier.of(None, "0.50")],
    )
    credit(billing, project_id, "200")
    record(billing, project_id, "a", "100")
    assert billing.wallets.get(project_id).balance_micros == 100_000_000
    record(billing, project_id, "b", "50")
    assert billing.wallets.get(project_id).balance_micros == 75_000_000
    drawn = billing.ledger.transactions(project_id, type=TransactionType.USAGE).items
    assert [transaction.amount_micros for transaction in drawn] == [25_000_000, 100_000_000]


def test_without_credit_nothing_is_recorded_and_the_same_key_works_after_a_top_up(billing):
    """
    The queue retries the same message.
    """
    project_id = prepaid(billing)
    priced(billing, project_id, model="unit", unit_amount="1")
    credit(billing, project_id, "5")
    with pytest.raises(InsufficientCredit) as refused:
        record(billing, project_id, "a", "6")
    assert refused.value.available == "5.000000"
    assert billing.usage.events(project_id).items == ()
    assert billing.billing.overview(project_id).ingest.rejected == 1
    credit(billing, project_id, "1", "top-up")
    assert record(billing, project_id, "a", "6").name == "accepted"
    assert record(billing, project_id, "a", "6").name == "replayed"
    assert billing.wallets.get(project_id).balance_micros == 0


def test_what_the_wallet_cannot_pay_may_be_recorded_all_the_same(billing):
    """
    Into the overdraft, beyond the credit limit.
    """
    project_id = prepaid(billing, on_empty=OnEmpty.RECORD)
    priced(billing, project_id, model="unit", unit_amount="1")
    record(billing, project_id, "a", "6")
    assert billing.wallets.get(project_id).balance_micros == -6_000_000


def test_in_a_batch_each_event_is_paid_in_its_turn(billing):
    """
    One that cannot be paid harms no neighbour.
    """
    project_id = prepaid(billing)
    priced(billing, project_id, model="unit", unit_amount="1")
    credit(billing, project_id, "10")
    outcomes = billing.usage.record_many(
        project_id,
        [
            {"metric_key": "tokens", "units": units, "timestamp": NOON, "idempotency_key": key}
            for key, units in [("a", "6"), ("b", "5"), ("c", "4"), ("a", "6"), ("d", "1")]
        ],
    )
    assert [outcome.name.value for outcome in outcomes] == [
        "accepted", "rejected", "accepted", "replayed", "rejected",
    ]  # fmt: skip
    assert billing.wallets.get(project_id).balance_micros == 0
    assert drawn_micros(billing, project_id) == rated_micros(billing, project_id) == 10_000_000


def test_a_void_gives_back_to_the_grant_that_paid(billing):
    """
    The newest draw first, and a grant that expired meanwhile is succeeded by one with its lifetime left.
    """
    project_id = prepaid(billing)
    priced(billing, project_id, model="unit", unit_amount="1")
    credit(billing, project_id, "10", "promo", expires_at=NOON + timedelta(days=2))
    credit(billing, project_id, "10", "paid", kind="paid")
    record(billing, project_id, "a", "10")
    kept = record(billing, project_id, "b", "4").value
    billing.usage.void(project_id, kept.id, reason="a mistake")
    (grant,) = (each for each in billing.wallets.get(project_id).grants if each.kind.value == "paid")
    assert grant.remaining_micros == 10_000_000
    billing.clock.advance(days=3)
    first = next(event for event in billing.usage.events(project_id).items if event.idempotency_key == "a")
    billing.usage.void(project_id, first.id, reason="another")
    (again,) = (each for each in billing.wallets.get(project_id).grants if each.kind.value == "promotional")
    assert again.remaining_micros == 10_000_000
    assert again.expires_at == NOON + timedelta(days=5)
    assert drawn_micros(billing, project_id) == 0


def test_a_metric_that_needs_no_price_is_drawn_where_one_rules(billing):
    """
    Its line is billed, and so it is drawn.
    """
    project_id = prepaid(billing)
    priced(billing, project_id, model="unit", unit_amount="2")
    billing.metrics.change(project_id, "tokens", free=True)
    billing.wallets.credit(project_id, amount="10", description="Launch", idempotency_key="c")

    record(billing, project_id, "one", "3")

    (line,) = billing.billing.run(project_id, "2026-03").invoice.lines
    assert billing.wallets.get(project_id).balance_micros == 4_000_000
    assert (line.amount_micros, line.already_drawn_micros) == (6_000_000, 6_000_000)


def test_usage_from_before_the_price_is_caught_up_with_by_the_next_event(billing):
    """
    So that the draws of the slice still add up to its line.
    """
    project_id = prepaid(billing)
    credit(billing, project_id, "10")
    record(billing, project_id, "a", "3")
    assert drawn_micros(billing, project_id) == 0
    priced_now = {"model": "unit", "unit_amount": "1", "effective_from": NOON - timedelta(days=17)}
    billing.prices.create(project_id, metric_key="tokens", **priced_now)
    record(billing, project_id, "b", "2")
    assert drawn_micros(billing, project_id) == 5_000_000


def test_a_late_event_draws_at_once_unless_late_usage_waits_for_support(billing):
    """
    Its period was invoiced before it came.
    """
    late = NOON - timedelta(days=40)
    for policy, drawn in [(LateUsagePolicy.ADJUST_NEXT, 3_000_000), (LateUsagePolicy.QUARANTINE, 0)]:
        project_id = prepaid(
            billing, invoiced_until=NOON - timedelta(days=16, hours=12), late_usage_policy=policy
        )
        billing.metrics.declare(project_id, key="tokens", aggregation="sum")
        with billing._context.storage.work() as work:
            project = work.tenancy.project(project_id)
            work.tenancy.replace_project(evolve(project, invoiced_until=None))
        billing.prices.create(
            project_id,
            metric_key="tokens",
            model="unit",
            unit_amount="1",
            effective_from=NOON - timedelta(90),
        )
        with billing._context.storage.work() as work:
            work.tenancy.replace_project(project)
        credit(billing, project_id, "10")
        assert record(billing, project_id, "a", "3", timestamp=late).value.late
        assert drawn_micros(billing, project_id) == drawn


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(sorted(MODELS)),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["record", "record", "record", "void", "resend", "credit"]),
            st.integers(0, 40_000_000),
            st.integers(0, 100),
        ),
        max_size=14,
    ),
    on_empty=st.sampled_from(list(OnEmpty)),
)
def test_draws_add_up_to_what_the_usage_comes_to(model, steps, on_empty):
    """
    Any model, any order, voids, negative differences, replays, refusals.
    """
    with rehearsal() as billing:
        project_id = prepaid(billing, on_empty=on_empty)
        priced(billing, project_id, **MODELS[model])
        credit(billing, project_id, "60", expires_at=NOON + timedelta(days=3))
        sent: list[tuple[str, dict[str, Any]]] = []
        for number, (step, micros, choice) in enumerate(steps):
            if step == "record":
                event: dict[str, Any] = {
                    "key": f"k{number}",
                    "units": money.text(micros),
                    "timestamp": NOON - timedelta(days=choice % 40),
                }
                try:
                    made = record(billing, project_id, **event)
                except InsufficientCredit:
                    continue
                sent.append((made.value.id, event))
            elif step == "void" and sent:
                billing.usage.void(project_id, sent[choice % len(sent)][0], reason="a mistake")
            elif step == "resend" and sent:
                assert record(billing, project_id, **sent[choice % len(sent)][1]).name == "replayed"
            elif step == "credit":
                credit(billing, project_id, str(1 + choice), f"c{number}")
                billing.clock.advance(hours=choice)
            assert drawn_micros(billing, project_id) == rated_micros(billing, project_id)
            assert billing.ledger.sweep(project_id).balanced
