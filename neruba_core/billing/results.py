"""What runs answer."""

from __future__ import annotations

from attrs import frozen

from neruba_core.billing.model import Run
from neruba_core.invoices.model import Invoice


@frozen
class RunResult:
    """A run and its documents. *invoice* is the period's invoice, or ``None`` where there is nothing to
    bill; *documents* begins with it and goes on with what late usage led to."""

    run: Run
    invoice: Invoice | None
    documents: tuple[Invoice, ...]


@frozen
class ProjectRun:
    """How the run of one project among many ended: with a *result*, or with the *error* that stopped it and
    nothing changed. It is number *done* of *total*."""

    project_id: str
    period: str
    done: int
    total: int
    result: RunResult | None = None
    error: Exception | None = None
