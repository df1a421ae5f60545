"""What is voided when others have adjusted it."""

from __future__ import annotations

import pytest

from neruba_core.errors import InvoiceNotVoidable, PeriodEarlierOpen
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, MAY, lines


def test_what_is_adjusted_is_voided_last(acme):
    """
    Its period's next run bills all of its usage, so whatever a later document billed of it goes first.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("3")
    acme.at(MAY + GRACE)
    april = acme.bill("2026-04")

    with pytest.raises(InvoiceNotVoidable, match="void number 2 first"):
        acme.void(march)
    acme.void(april)
    acme.void(march)
    acme.at(MAY + 2 * DAY)

    assert lines(acme.bill()) == [("usage", "tokens", "8.000000")]
    assert acme.run("2026-04").invoice is None
    assert acme.sweep.faults == ()


@pytest.mark.parametrize("policy", ["credit_note", "adjust_next"])
def test_a_voided_supplement_is_billed_again_by_itself(acme, policy):
    """
    Its usage counts as not billed, so the next period's run finds it.
    """
    acme.set(late_usage_policy="credit_note")
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(APRIL + GRACE)
    acme.bill()
    acme.use("3")
    supplement = acme.run().documents[-1]
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)
    acme.bill("2026-04")
    acme.void(supplement)
    acme.set(late_usage_policy=policy)
    acme.use("1", MAY)
    acme.at(MAY + 32 * DAY)

    documents = acme.run("2026-05").documents

    assert [line for each in documents for line in lines(each) if line[0] == "adjustment"] == [
        ("adjustment", "tokens", "3.000000")
    ]


def test_what_closes_the_months_before_it_is_voided_after_what_adjusts_them(acme):
    """
    Without it they would be open again, and their own run would bill them once more.
    """
    acme.set(late_usage_policy="credit_note")
    acme.price(unit_amount="1")
    acme.use("5")
    acme.use("2", MARCH - 20 * DAY)
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)
    april, supplement = acme.run("2026-04").documents
    acme.void(april)

    with pytest.raises(InvoiceNotVoidable, match="void number 3 first"):
        acme.void(march)
    acme.void(supplement)
    acme.void(march)

    assert lines(acme.bill("2026-02")) == [("usage", "tokens", "2.000000")]


def test_the_first_month_is_billed_again_by_itself_too(acme):
    """
    Although later ones are closed; and until then no later one is finalized.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)
    acme.bill("2026-04")
    acme.void(march)
    acme.use("1", MAY)
    acme.at(MAY + 32 * DAY)

    with pytest.raises(PeriodEarlierOpen):
        acme.run("2026-05")
    list(acme.billing.billing.run_due())

    assert lines(acme.run().invoice) == [("usage", "tokens", "5.000000")]
    assert lines(acme.run("2026-05").invoice) == [("usage", "tokens", "1.000000")]


def test_a_month_that_was_closed_without_an_invoice_is_not_forgotten(acme):
    """
    Though the invoice before it was made again later than its usage came.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(MAY + GRACE)
    march = acme.bill()
    acme.run("2026-04")
    acme.use("3", APRIL)
    acme.void(march)
    acme.bill()
    acme.use("1", MAY)
    acme.at(MAY + 32 * DAY)

    may = acme.bill("2026-05")

    assert lines(may) == [("usage", "tokens", "1.000000"), ("adjustment", "tokens", "3.000000")]


def test_usage_of_a_month_that_was_closed_before_anything_was_billed_is_on_the_first_invoice(acme):
    """
    There is no invoice before it that would tell since when to look.
    """
    acme.price(unit_amount="1")
    acme.at(APRIL + GRACE)
    acme.run()
    acme.use("3")
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)

    april = acme.bill("2026-04")

    assert lines(april) == [("usage", "tokens", "1.000000"), ("adjustment", "tokens", "3.000000")]
