"""What is explained is what was counted, even of things that happen at one instant."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core.invoices.model import Invoice, LineKind
from neruba_core.testing.builders import rehearsal
from tests.core.billing.stage import APRIL, GRACE, MAY, Months


def counted(acme: Months, invoice: Invoice, before_micros: int = 0) -> list[tuple[int, int, int, int]]:
    """Of each line about events: how many it says to have counted and how many are explained, and the same of
    the units; of an adjustment these are what there is beyond *before_micros*."""
    found = []
    for line in invoice.lines:
        if line.kind in (LineKind.USAGE, LineKind.ADJUSTMENT):
            events = acme.billing.invoices.explain(acme.id, invoice.id, line_id=line.id).events
            assert events is not None
            kept = [each.event.units_micros for each in events.items if each.counted]
            units = sum(kept) - (before_micros if line.kind is LineKind.ADJUSTMENT else 0)
            found.append((line.events, len(kept), line.quantity_micros or 0, units))
    return found


def test_a_void_at_the_instant_of_the_invoice_is_explained_as_it_was_counted(acme):
    """
    What was voided just before is left out, what was voided just after is in.
    """
    acme.price(unit_amount="1")
    before, after, _ = acme.use("5"), acme.use("3"), acme.use("1")
    acme.at(APRIL + GRACE)
    acme.void_usage(before)
    march = acme.bill()
    acme.void_usage(after)

    explained = counted(acme, march)

    assert march.finalized_at == acme.billing.clock()
    assert explained == [(2, 2, 4_000_000, 4_000_000)]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=6))
def test_the_counted_events_add_up_to_their_line(events):
    """
    Whether they are voided before or after the invoice, or before or after the one that adjusts it, and all
    of that at its instant.
    """
    acme = Months(rehearsal(runs_due=False))
    acme.price(unit_amount="1")
    recorded = [(acme.use(str(units)), when) for units, when in events]

    def void(time: int) -> None:
        for usage_id, when in recorded:
            if when == time:
                acme.void_usage(usage_id)

    acme.use("1")
    acme.at(APRIL + GRACE)
    acme.use("1", APRIL)
    void(0)
    march = acme.bill()
    void(1)
    acme.at(MAY + GRACE)
    void(2)
    april = acme.bill("2026-04")
    void(3)

    billed = sum(line.quantity_micros or 0 for line in march.lines)
    for said, kept, quantity, units in (*counted(acme, march), *counted(acme, april, billed)):
        assert (said, quantity) == (kept, units)
