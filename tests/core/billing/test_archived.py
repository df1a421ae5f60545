"""Archiving ends what is billed, and nobody gets a month for nothing by it."""

from __future__ import annotations

import pytest

from neruba_core import money
from neruba_core.errors import ProjectArchived
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_core.testing.builders import Rehearsal
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, MAY, Months, lines


def issued(months: Months) -> list[Invoice]:
    return [each for each in months.billing.invoices.list(months.id).items if each.number is not None]


def test_what_was_used_until_the_archiving_is_billed_when_it_falls_due(acme: Months):
    """
    By itself, once, and no later month is.
    """
    acme.price(unit_amount="2")
    acme.use("3")
    acme.at(MARCH + 20 * DAY)
    acme.billing.projects.archive(acme.id)
    assert acme.billing.billing.next_due() == APRIL + GRACE

    foretold = acme.run(dry_run=True)
    acme.at(APRIL + GRACE)
    ran = acme.billing.billing.run_due()
    acme.at(MAY + 2 * GRACE)
    later = acme.billing.billing.run_due()

    assert [(each.period, each.error) for each in ran] == [("2026-03", None)]
    assert later == []
    assert [lines(each) for each in issued(acme)] == [lines(foretold.invoice)]
    assert lines(issued(acme)[0]) == [("usage", "tokens", "6.000000")]
    assert acme.billing.billing.next_due() is None
    assert acme.sweep.balanced


@pytest.mark.parametrize("timing", ["advance", "arrears"])
def test_a_plan_is_billed_to_the_end_of_the_period_and_not_ahead(acme: Months, timing: str):
    """
    The month of archiving is the last one with a fee.
    """
    acme.billing.plans.publish(key="team", name="Team", amount="30", billing=timing)
    acme.at(APRIL)
    acme.billing.subscriptions.subscribe(acme.id, plan_key="team")
    acme.at(APRIL + 10 * DAY)
    acme.billing.projects.archive(acme.id)
    foretold = acme.run("2026-04", dry_run=True)
    acme.at(MAY + 40 * DAY)

    acme.billing.billing.run_due()

    assert [money.text(each.total_micros) for each in issued(acme)] == ["30.000000"]
    assert lines(issued(acme)[0]) == lines(foretold.invoice)


def test_a_run_over_all_leaves_out_who_was_archived_before_the_period(billing: Rehearsal):
    """
    Without calling it a failure; asked for by its id, it is one.
    """
    gone, here = Months(billing), Months(billing)
    for each in (gone, here):
        each.price(unit_amount="1")
        each.use("1")
    gone.billing.projects.archive(gone.id)
    gone.at(MAY)

    march = list(billing.billing.run_all("2026-03"))
    april = list(billing.billing.run_all("2026-04"))

    assert {each.project_id for each in march} == {gone.id, here.id}
    assert not any(each.error for each in march)
    assert {each.project_id for each in april} == {here.id}
    (refused,) = billing.billing.run_all("2026-04", project_ids=[gone.id])
    assert isinstance(refused.error, ProjectArchived)


def test_its_invoice_can_be_paid(acme: Months):
    """
    By hand, as what an archived project owes always can.
    """
    acme.price(unit_amount="2")
    acme.use("3")
    acme.billing.projects.archive(acme.id)
    acme.at(APRIL + GRACE)
    invoice = acme.bill()

    acme.billing.payments.pay(acme.id, amount="6", invoice_id=invoice.id, idempotency_key="transfer")

    assert acme.billing.invoices.get(acme.id, invoice.id).state is InvoiceState.PAID
    with pytest.raises(ProjectArchived):
        acme.use("1")
