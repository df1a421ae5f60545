"""Usage that arrives, or is voided, after its period was billed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import InvoiceNotVoidable, QuarantineClosed
from neruba_core.invoices.model import InvoiceKind, InvoiceState
from neruba_core.pricing.model import Tier
from neruba_core.testing.builders import rehearsal
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, MAY, Months, figures, lines

JUNE = MAY + 31 * DAY


@pytest.fixture
def billed(acme):
    """March has been billed: 5 tokens at 1.00."""
    acme.price(unit_amount="1")
    acme.first = acme.use("5")
    acme.at(APRIL + GRACE)
    acme.march = acme.bill()
    return acme


# --- adjusted on the next invoice -------------------------------------------------------------


def test_late_usage_is_adjusted_on_the_next_invoice(billed):
    """
    The line shows the service period that it is about; the issued invoice stays as it is.
    """
    billed.use("3")
    assert billed.run().run.unchanged
    billed.use("1", APRIL)
    billed.at(MAY + GRACE)

    april = billed.bill("2026-04")

    assert lines(april) == [("usage", "tokens", "1.000000"), ("adjustment", "tokens", "3.000000")]
    adjustment = april.lines[1]
    assert (adjustment.period, adjustment.service) == ("2026-03", billed.march.span)
    assert adjustment.quantity_micros == 3_000_000
    assert billed.billing.invoices.get(billed.id, billed.march.id) == billed.march


def test_late_voids_are_adjusted_too(billed):
    """
    Where more comes back than is billed, it becomes paid credit.
    """
    billed.void_usage(billed.first)
    billed.use("2", APRIL)
    billed.at(MAY + GRACE)

    april = billed.bill("2026-04")

    assert lines(april) == [("usage", "tokens", "2.000000"), ("adjustment", "tokens", "-5.000000")]
    assert figures(april) == {"subtotal": "-3.000000", "total": "-3.000000", "granted": "3.000000"}
    assert billed.balance == "3.000000"
    assert billed.sweep.faults == ()


def test_an_adjustment_counts_as_billed(billed):
    """
    A later change of the same period is compared with all that was billed for it.
    """
    late = billed.use("3")
    billed.at(MAY + GRACE)
    april = billed.bill("2026-04")
    billed.void_usage(late)
    billed.use("1")
    billed.at(JUNE + GRACE)

    may = billed.bill("2026-05")

    assert lines(april) == [("adjustment", "tokens", "3.000000")]
    assert lines(may) == [("adjustment", "tokens", "-2.000000")]


def test_tiers_and_minimum_of_the_old_period_rule(acme):
    """
    What is late is worth what the whole period is worth more.
    """
    acme.price(model="package", package_size="10", package_amount="4", minimum_amount="10")
    acme.use("15")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("1")
    acme.at(MAY + GRACE)
    april = acme.bill("2026-04")
    acme.use("5")
    acme.at(JUNE + GRACE)

    may = acme.bill("2026-05")

    assert lines(march) == [("usage", "tokens", "8.000000"), ("minimum", "tokens", "2.000000")]
    assert lines(april) == [("minimum", "tokens", "10.000000")]
    assert lines(may) == [("minimum", "tokens", "10.000000"), ("adjustment", "tokens", "2.000000")]


def test_a_commitment_moves_against_late_usage(acme):
    """
    What was missing to it is missing less.
    """
    acme.billing.plans.publish(key="team", name="Team", amount="10", minimum_commitment="50")
    acme.price(unit_amount="1")
    acme.at(MARCH)
    acme.billing.subscriptions.subscribe(acme.id, plan_key="team")
    acme.use("5")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("30")
    acme.use("50", APRIL)
    acme.at(MAY + GRACE)

    april = acme.bill("2026-04")

    assert lines(march)[:2] == [("usage", "tokens", "5.000000"), ("minimum", None, "45.000000")]
    assert lines(april)[-2:] == [("adjustment", "tokens", "30.000000"), ("adjustment", None, "-30.000000")]


def test_a_void_invoice_has_billed_nothing(billed):
    """
    Neither its own period nor what it adjusted: the next run of it bills both again.
    """
    billed.use("3")
    billed.use("1", APRIL)
    billed.at(MAY + GRACE)
    april = billed.bill("2026-04")
    billed.void(april)
    billed.use("1")

    again = billed.bill("2026-04")

    assert lines(again) == [("usage", "tokens", "1.000000"), ("adjustment", "tokens", "4.000000")]
    assert (again.part, again.number) == (2, 3)


# --- documents of their own -------------------------------------------------------------------


def test_less_becomes_a_credit_note_and_more_a_supplementary_invoice(acme):
    """
    Of the period that they are about, as its next parts and taxed as it was; the invoice itself stays, but
    for what is open.
    """
    acme.set(late_usage_policy="credit_note", tax_rate="0.2")
    acme.price(unit_amount="1")
    first = acme.use("5")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.set(tax_rate="0.25")

    acme.void_usage(first)
    acme.use("1")
    note = acme.run().documents[1]
    acme.use("7")
    supplementary = acme.run().documents[-1]
    again = acme.run()

    assert (note.kind, note.part, note.number) == (InvoiceKind.CREDIT_NOTE, 2, 2)
    assert lines(note) == [("adjustment", "tokens", "-4.000000"), ("tax", None, "-0.800000")]
    assert figures(note)["due"] == "-4.800000"
    assert (supplementary.kind, supplementary.part) == (InvoiceKind.SUPPLEMENTARY, 3)
    assert lines(supplementary) == [("adjustment", "tokens", "7.000000"), ("tax", None, "1.400000")]
    assert (again.run.unchanged, again.invoice.id) == (True, march.id)
    assert again.invoice.lines == march.lines
    assert again.invoice.open_micros == 1_200_000
    assert acme.accounts == {
        "receivable": "9.600000",
        "credit_notes": "4.000000",
        "tax_payable": "-1.600000",
        "revenue:tokens": "-12.000000",
    }
    assert acme.sweep.faults == ()


def test_a_credit_note_takes_off_the_invoice_of_its_own_month(acme):
    """
    The invoice of the month before is about it too, for it has billed the plan ahead.
    """
    acme.set(late_usage_policy="credit_note")
    acme.price(unit_amount="1")
    acme.billing.plans.publish(key="pro", name="Pro", amount="10")
    acme.billing.subscriptions.subscribe(acme.id, plan_key="pro")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    usage_id = acme.use("5", APRIL)
    acme.at(MAY + GRACE)
    april = acme.bill("2026-04")
    acme.void_usage(usage_id)

    note = acme.run("2026-04").documents[1]

    left = {each.id: each.open_micros for each in acme.billing.invoices.list(acme.id).items}
    assert {line.period for line in march.lines} == {"2026-03", "2026-04"}
    assert figures(note)["due"] == "-5.000000"
    assert left[march.id] == march.amount_due_micros
    assert left[april.id] == april.amount_due_micros - 5_000_000


def test_what_was_paid_already_becomes_goodwill(billed):
    """
    A credit note takes off what is still open; the wallet had paid the rest.
    """
    acme = Months(billed.billing)
    acme.set(late_usage_policy="credit_note")
    acme.at(MARCH + 20 * DAY)
    acme.price(unit_amount="1")
    usage_id = acme.use("5")
    acme.credit("3")
    acme.at(APRIL + GRACE)
    acme.bill()
    acme.void_usage(usage_id)

    note = acme.run().documents[1]
    invoice = acme.bill()

    assert figures(note) == {
        "subtotal": "-5.000000",
        "total": "-5.000000",
        "granted": "3.000000",
        "due": "-2.000000",
    }
    assert (invoice.state, invoice.open_micros) == (InvoiceState.PAID, 0)
    assert (acme.balance, acme.accounts.get("receivable")) == ("3.000000", None)
    assert acme.sweep.faults == ()


def test_the_next_run_issues_them_as_well(billed):
    """
    Its own invoice has no adjustment then.
    """
    billed.set(late_usage_policy="credit_note")
    billed.use("3")
    billed.use("1", APRIL)
    billed.at(MAY + GRACE)

    result = billed.run("2026-04")

    assert [(each.kind.value, each.period, each.number) for each in result.documents] == [
        ("invoice", "2026-04", 2),
        ("supplementary", "2026-03", 3),
    ]
    assert lines(result.invoice) == [("usage", "tokens", "1.000000")]
    assert lines(result.documents[1]) == [("adjustment", "tokens", "3.000000")]


# --- whatever comes when ----------------------------------------------------------------------


EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 50_000_000), st.booleans()), max_size=12
)


@given(EVENTS, st.sampled_from(["adjust_next", "credit_note"]), st.lists(st.integers(0, 9), max_size=4))
def test_in_the_end_everything_is_billed_once(events, policy, voids):
    """
    Whenever events of three months arrive or are voided, and whatever invoices are voided on the way: once
    all is quiet, what was billed for a month is what the month is worth.
    """
    acme = Months(rehearsal(runs_due=False))
    acme.price(model="volume", tiers=[Tier.of("20", "2"), Tier.of(None, "1")])
    acme.set(late_usage_policy=policy)
    months = [MARCH, APRIL, MAY]
    for number in range(6):
        acme.at(MARCH + 31 * number * DAY + 20 * DAY)
        for when, month, micros, voided in events:
            if when == number and month <= number:
                usage_id = acme.use(money.text(micros), months[month])
                if voided:
                    acme.void_usage(usage_id)
        acme.billing.billing.run_due()
        issued = acme.billing.invoices.list(acme.id).items
        if number < len(voids) and issued:
            with suppress(InvoiceNotVoidable):
                acme.void(issued[voids[number] % len(issued)])
    for period in ("2026-03", "2026-04", "2026-05"):
        acme.run(period)
    acme.use("1", acme.billing.clock())
    acme.billing.clock.advance(days=60)
    acme.billing.billing.run_due()

    billed: dict[str, int] = {}
    for invoice in acme.billing.invoices.list(acme.id).items:
        for line in invoice.lines if invoice.state is not InvoiceState.VOID else ():
            billed[line.period] = billed.get(line.period, 0) + line.amount_micros
    for place, month in enumerate(months):
        units = sum(micros for when, other, micros, voided in events if other == place <= when and not voided)
        worth = units * 2 if units <= 20_000_000 else units
        assert billed.get(f"2026-{place + 3:02d}", 0) == worth, month
    assert acme.sweep.faults == ()


# --- kept for support -------------------------------------------------------------------------


@pytest.fixture
def careful(billed):
    """March has been billed, and what comes late waits for support."""
    billed.set(late_usage_policy="quarantine")
    return billed


def april(acme, *steps):
    """April's adjustments, once the steps were taken."""
    for step in steps:
        step()
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)
    return lines(acme.bill("2026-04"))[1:]


def test_late_usage_waits_until_support_lets_it_go(careful):
    """
    It is accepted and its key bound, but billed only then.
    """
    usage = careful.billing.usage
    late = careful.use("3", idempotency_key="late")
    assert usage.get(careful.id, late).late
    assert careful.use("3", idempotency_key="late") == late

    assert april(careful) == []
    usage.replay_quarantined(careful.id, late)
    careful.at(JUNE + GRACE)
    assert lines(careful.bill("2026-05")) == [("adjustment", "tokens", "3.000000")]


def test_an_adjustment_is_explained_without_what_waited(careful):
    """
    Then or still: later months change nothing about it.
    """
    usage = careful.billing.usage
    ours, later = careful.use("3"), careful.use("4")
    careful.use("8")
    careful.void_usage(careful.first)
    usage.replay_quarantined(careful.id, ours)
    (adjustment,) = april(careful)
    invoice = careful.billing.invoices.list(careful.id).items[0]
    line_id = invoice.lines[1].id

    def counted():
        events = careful.billing.invoices.explain(careful.id, invoice.id, line_id=line_id).events.items
        return sorted(each.event.units_micros for each in events if each.counted)

    before = counted()
    careful.at(careful.billing.clock() + DAY)
    usage.replay_quarantined(careful.id, later)

    assert adjustment == ("adjustment", "tokens", "3.000000")
    assert before == [3_000_000, 5_000_000]
    assert counted() == before


def test_what_support_drops_is_never_billed(careful):
    """
    While what was let go beside it is.
    """
    usage = careful.billing.usage
    dropped, kept = careful.use("3"), careful.use("4")

    found = april(
        careful,
        lambda: usage.discard_quarantined(careful.id, dropped),
        lambda: usage.replay_quarantined(careful.id, kept),
    )

    assert found == [("adjustment", "tokens", "4.000000")]
    for verb in (usage.replay_quarantined, usage.discard_quarantined):
        with pytest.raises(QuarantineClosed):
            verb(careful.id, dropped)


def test_late_voids_wait_too(careful):
    """
    Decreases are treated as increases are.
    """
    careful.void_usage(careful.first)
    assert april(careful) == []

    careful.billing.usage.replay_quarantined(careful.id, careful.first)
    careful.at(JUNE + GRACE)

    assert lines(careful.bill("2026-05")) == [("adjustment", "tokens", "-5.000000")]


@pytest.mark.parametrize(
    ("aggregation", "adjusted"), [("max", "2.000000"), ("count", "1.000000"), ("avg", "0.500000")]
)
def test_any_aggregation_leaves_out_what_is_held(careful, aggregation, adjusted):
    """
    The others' late event alone changes the quantity.
    """
    acme = Months(careful.billing)
    acme.at(MARCH + 20 * DAY)
    acme.billing.metrics.declare(acme.id, key="load", aggregation=aggregation)
    acme.price("load", unit_amount="1")
    acme.use("5", metric="load")
    acme.use("6", metric="load")
    acme.at(APRIL + GRACE)
    acme.bill()
    acme.use("8" if aggregation == "max" else "7" if aggregation == "avg" else "0", metric="load")
    acme.set(late_usage_policy="quarantine")
    acme.use("900", metric="load")
    acme.at(MAY + GRACE)

    invoice = acme.bill("2026-04")

    assert lines(invoice) == [("adjustment", "load", adjusted)]
