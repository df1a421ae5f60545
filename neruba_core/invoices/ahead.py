"""What has been billed before its period began."""

from __future__ import annotations

from collections.abc import Iterable

from neruba_core.invoices.model import Invoice, LineKind
from neruba_core.subscriptions.fees import BilledAhead


def billed_ahead(issued: Iterable[Invoice], period: str) -> BilledAhead | None:
    """What the *issued* documents of other periods have billed for the whole of *period*; a voided one has
    billed nothing."""
    for invoice in issued:
        for line in invoice.lines:
            if line.kind is LineKind.SUBSCRIPTION and line.period == period != invoice.period:
                return BilledAhead.of(line.workings)
    return None
