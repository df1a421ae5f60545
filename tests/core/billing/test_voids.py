"""Voiding and finalizing by hand."""

from __future__ import annotations

import pytest

from neruba_core.errors import InvoiceNotFound, InvoiceNotVoidable, ProjectNotFound, TextInvalid
from neruba_core.invoices.model import InvoiceState
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, MAY, Months, figures


@pytest.fixture
def issued(acme: Months) -> Months:
    """March has been billed: 5 tokens at 1.00, of which a credit of 2 that expires paid its part."""
    acme.price(unit_amount="1")
    acme.use("5")
    acme.credit("2", expires_at=APRIL + 3 * DAY)
    acme.at(APRIL + GRACE)
    acme.bill()
    return acme


def test_credit_that_has_expired_meanwhile_gets_the_lifetime_back(issued):
    """
    As with any spending that is given back: two days were left when it was drawn.
    """
    issued.at(APRIL + 10 * DAY)

    issued.void(issued.bill())

    (grant,) = issued.billing.wallets.get(issued.id).grants
    assert (str(grant.remaining), grant.expires_at) == ("2.000000", APRIL + 12 * DAY)
    assert issued.sweep.faults == ()


def test_credit_that_an_invoice_granted_is_taken_again(issued):
    """
    From what is left of it, from other credit, and then into the overdraft, even beyond the limit.
    """
    for usage in issued.billing.usage.events(issued.id).items:
        issued.void_usage(usage.id)
    issued.at(MAY + GRACE)
    april = issued.bill("2026-04")
    issued.charge("4")

    issued.void(april)

    assert figures(april)["granted"] == "5.000000"
    assert issued.balance == "-4.000000"
    assert issued.sweep.faults == ()


def test_what_cannot_be_voided(issued):
    """
    Each with its own reason, and nothing is changed.
    """
    issued.set(late_usage_policy="credit_note")
    for usage in issued.billing.usage.events(issued.id).items:
        issued.void_usage(usage.id)
    march, note = issued.run().documents
    issued.use("3", APRIL)
    draft = issued.bill("2026-04", finalize=False)
    before = issued.state

    for invoice, reason in ((note, "credit note"), (march, "paid or credited"), (draft, "draft")):
        with pytest.raises(InvoiceNotVoidable, match=reason):
            issued.void(invoice)

    with pytest.raises(InvoiceNotFound):
        issued.billing.invoices.void(issued.id, "inv_none", reason="x")
    with pytest.raises(ProjectNotFound):
        issued.billing.invoices.void("prj_none", march.id, reason="x")
    with pytest.raises(TextInvalid):
        issued.billing.invoices.void(issued.id, march.id, reason="")
    assert issued.state == before


def test_a_draft_can_be_finalized_by_hand(issued):
    """
    Once its period is over; what was issued before is answered as it is.
    """
    issued.use("3", APRIL)
    draft = issued.bill("2026-04")
    issued.at(MAY)

    final = issued.billing.invoices.finalize(issued.id, draft.id)

    assert (final.id, final.state, final.number) == (draft.id, InvoiceState.FINALIZED, 2)
    assert issued.billing.invoices.finalize(issued.id, draft.id) == final
    assert issued.billing.invoices.get(issued.id, final.id) == final
    with pytest.raises(InvoiceNotFound):
        issued.billing.invoices.finalize(issued.id, "inv_none")


def test_a_draft_of_which_nothing_is_left_is_not_there_to_finalize(acme):
    """
    Its period stays open.
    """
    acme.price(unit_amount="1")
    usage_id = acme.use("3", MARCH)
    draft = acme.bill()
    acme.void_usage(usage_id)
    acme.at(APRIL)

    with pytest.raises(InvoiceNotFound):
        acme.billing.invoices.finalize(acme.id, draft.id)

    assert acme.billing.projects.get(acme.id).invoiced_until is None
