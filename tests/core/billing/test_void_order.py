"""What is voided when others have adjusted it."""

from __future__ import annotations

import pytest

from neruba_core.errors import InvoiceNotVoidable
from tests.core.billing.stage import APRIL, DAY, GRACE, MAY, lines


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
