"""Reversed charges are given back once, whatever is voided and run again."""

from __future__ import annotations

from neruba_core import money
from tests.core.billing.stage import APRIL, DAY, GRACE, MAY, lines

JUNE = MAY + 31 * DAY


def test_a_reversal_is_counted_by_one_invoice(acme):
    """
    May's invoice has; those of March and April do not when their periods are run anew.
    """
    acme.credit("100")
    charged = acme.charge("5")
    acme.price(unit_amount="1")
    acme.use("1")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)
    april = acme.bill("2026-04")
    acme.use("1", MAY)
    acme.reverse(charged)
    acme.at(JUNE + GRACE)
    may = acme.bill("2026-05")
    acme.void(april)
    acme.void(march)

    again = [acme.bill("2026-03"), acme.bill("2026-04")]

    assert lines(may)[-1] == ("charge", None, "-5.000000")
    assert [line for invoice in again for line in lines(invoice) if line[0] == "charge"] == [
        ("charge", None, "5.000000")
    ]
    issued = [each for each in acme.billing.invoices.list(acme.id).items if each.state != "void"]
    charges = sum(line.amount_micros for each in issued for line in each.lines if line.kind == "charge")
    assert money.text(charges) == "0.000000"
    assert acme.sweep.faults == ()
