"""What the overview says is what a dry run says, and then what is billed."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.pricing.model import Tier
from neruba_core.testing.builders import rehearsal
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, Months

M = 1_000_000


def test_usage_is_priced_in_the_overview(acme):
    """
    Each metric of each open month with its amount; what has no price has none.
    """
    acme.price(unit_amount="2")
    acme.use("3")
    acme.use("4", MARCH - DAY)
    acme.use("7", metric="calls")

    overview = acme.billing.billing.overview(acme.id)

    assert [(line.period, line.quantity.metric.key, line.amount_micros) for line in overview.usage] == [
        ("2026-02", "tokens", 8 * M),
        ("2026-03", "calls", None),
        ("2026-03", "tokens", 6 * M),
    ]
    assert overview.accrued_micros == 14 * M
    assert overview.available_after_accrued_micros == -14 * M
    assert overview.estimated_total_micros == 6 * M


def test_late_usage_accrues_until_it_is_billed(acme):
    """
    Its month is invoiced and shown no more, but it is owed all the same.
    """
    acme.price(unit_amount="2")
    acme.use("3")
    acme.at(APRIL + GRACE)
    invoice = acme.bill()
    acme.use("4")

    overview = acme.billing.billing.overview(acme.id)

    assert overview.usage == ()
    assert overview.accrued_micros == overview.estimated_total_micros == 8 * M
    assert (overview.invoices.open, overview.invoices.due_micros) == (1, 6 * M)
    assert overview.invoices.last == invoice


def test_an_invoiced_month_can_be_asked_for(acme):
    """
    With its usage as it is now, and the total that was invoiced.
    """
    acme.price(unit_amount="2")
    acme.use("3")
    acme.at(APRIL + GRACE)
    acme.bill()
    acme.use("4")

    overview = acme.billing.billing.overview(acme.id, period="2026-03")

    assert [line.amount_micros for line in overview.usage] == [14 * M]
    assert overview.estimated_total_micros == 6 * M
    assert overview.period.end == APRIL


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["use", "void", "charge", "credit", "wait", "bill", "seats"]),
        st.integers(0, 60),
        st.integers(1, 40 * M),
    ),
    max_size=12,
)


@given(STEPS)
def test_the_estimate_is_a_dry_run_and_the_dry_run_is_what_is_billed(steps):
    """
    At any instant: the overview's total, the dry run's and the draft's are one figure.
    """
    acme = berlin()
    used: list[str] = []
    seats = 0
    for step, days, micros in steps:
        now = acme.billing.clock()
        match step:
            case "use":
                used.append(acme.use(money.text(micros), now - timedelta(days=days)))
            case "void" if used:
                acme.void_usage(used.pop(days % len(used)))
            case "charge":
                acme.charge(money.text(micros))
            case "credit":
                acme.credit(money.text(micros))
            case "wait":
                acme.billing.clock.advance(days=days)
            case "bill":
                acme.billing.billing.run_due()
            case "seats":
                seats += 1
                acme.billing.subscriptions.subscribe(acme.id, plan_key="team", quantity=seats)
    overview = acme.billing.billing.overview(acme.id)
    name = overview.period.start + timedelta(days=15)
    period = name.strftime("%Y-%m")

    dry = acme.run(period, dry_run=True)
    draft = acme.run(period)

    assert overview.estimated_total_micros == dry.run.totals["total"] == draft.run.totals["total"]
    assert dry.invoice == draft.invoice
    assert acme.sweep.faults == ()


def berlin() -> Months:
    acme = Months(rehearsal(), credit_limit="10000")
    acme.set(timezone="Europe/Berlin", tax_rate="0.19")
    acme.price(
        model="graduated",
        tiers=[Tier.of("10", "1.5"), Tier.of(None, "0.3", "2")],
        minimum_amount="4",
        included="3",
    )
    acme.billing.plans.publish(key="team", name="Team", amount="30", minimum_commitment="5")
    return acme
