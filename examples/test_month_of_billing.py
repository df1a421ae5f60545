"""A month of billing in your own pytest: a plan, a price, usage, the month's end, and what came too late.

Run it with `pytest examples/test_month_of_billing.py`. The clock of the `billing` fixture stops on its way
wherever an invoice falls due, so nobody has to run anything.
"""

from datetime import UTC, datetime

import pytest

from neruba_core.invoices.model import Invoice
from neruba_core.invoices.spoken import spoken
from neruba_core.money import text
from neruba_core.pricing.model import Tier
from neruba_core.testing.builders import Rehearsal


def send(billing: Rehearsal, project_id: str, key: str, units: str, day: int) -> bool:
    """Your own code: report tokens of a day in March. True where they came too late for its invoice."""
    outcome = billing.usage.record(
        project_id,
        metric_key="api_tokens",
        units=units,
        timestamp=datetime(2026, 3, day, 12, tzinfo=UTC),
        idempotency_key=key,
    )
    return outcome.value.late


@pytest.fixture
def acme(billing: Rehearsal) -> str:
    """A customer on a plan, who pays for tokens and was given ten dollars."""
    billing.clock.set("2026-03-01T00:00:00Z")
    billing.plans.publish(key="pro", name="Pro", amount="31.00", billing="arrears")
    billing.catalogue.declare(key="api_tokens", unit="tokens")
    billing.prices.create(
        None,
        metric_key="api_tokens",
        model="graduated",
        tiers=[Tier.of("1000000", "0.000002"), Tier.of(None, "0.0000015")],
    )
    project = billing.projects.create(name="Acme Production")
    billing.subscriptions.subscribe(project.id, plan_key="pro")
    billing.wallets.credit(project.id, amount="10", description="Launch credit", idempotency_key="credit_1")
    return project.id


@pytest.fixture
def march(billing: Rehearsal, acme: str) -> Invoice:
    """March's invoice: its second event was sent twice, and its third within the grace."""
    billing.clock.set("2026-03-17T12:00:00Z")
    send(billing, acme, "evt_1", "900000", day=3)
    for _ in range(2):
        send(billing, acme, "evt_2", "600001", day=17)
    billing.clock.set("2026-04-01T10:00:00Z")
    send(billing, acme, "evt_3", "100000", day=31)
    billing.clock.set("2026-04-15T00:00:00Z")
    (invoice,) = billing.invoices.list(acme).items
    return invoice


def test_the_month_is_billed_to_the_micro_unit(march: Invoice) -> None:
    """
    2 + 600,001 × 0.0000015 = 2.9000015, a tie that goes to the even micro-unit.
    """
    lines = [(line.description, text(line.amount_micros)) for line in march.lines]

    assert lines == [("api_tokens", "2.900002"), ("Pro", "31.000000")]


def test_credit_pays_first_and_only_what_is_due_is_rounded(
    billing: Rehearsal, acme: str, march: Invoice
) -> None:
    """
    The wallet gives ten, the rest is owed in whole cents.
    """
    assert (text(march.total_micros), text(march.amount_due_micros)) == ("33.900002", "23.900000")
    assert billing.wallets.get(acme).balance == 0
    assert billing.ledger.trial_balance(acme).balanced


def test_the_invoice_says_why(billing: Rehearsal, acme: str, march: Invoice) -> None:
    """
    Support reads the arithmetic out, down to the rounding.
    """
    told = spoken(billing.invoices.explain(acme, march.id))

    assert "above 1000000: 600,001 × 0.0000015 = 0.9000015" in told
    assert "2.9000015 + 0.0000005 = 2.900002, rounded half-even" in told


def test_what_comes_too_late_is_adjusted_on_the_next_invoice(
    billing: Rehearsal, acme: str, march: Invoice
) -> None:
    """
    An issued invoice never changes; the next one shows the month that it is about.
    """
    late = send(billing, acme, "evt_4", "500", day=31)
    billing.clock.set("2026-05-15T00:00:00Z")
    april = billing.invoices.list(acme).items[0]

    assert late
    assert billing.invoices.get(acme, march.id) == march
    assert [(line.kind.value, line.period, text(line.amount_micros)) for line in april.lines] == [
        ("subscription", "2026-04", "31.000000"),
        ("adjustment", "2026-03", "0.000750"),
    ]
