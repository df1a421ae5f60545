"""Billing runs."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from neruba_core import money
from neruba_core.billing.model import Run as CoreRun
from neruba_core.billing.model import RunState
from neruba_core.billing.results import ProjectRun, RunResult
from neruba_core.errors import NerubaError
from neruba_server.problems import Internal
from neruba_server.wire.invoices import Invoice
from neruba_server.wire.kinds import Moment, Month, Name
from neruba_server.wire.period import Period, period_of


@frozen
class NewRun:
    """A period to bill. Without ``finalize`` the invoice is a draft until the grace is over; ``true`` waives
    the grace, ``false`` leaves a draft in any case."""

    period: Month
    dry_run: bool | None = None
    finalize: bool | None = None
    ignore_unpriced: bool | None = None


@frozen
class RunRecord:
    """What a run did: the reconciliation record of a project's period."""

    id: str
    period: str
    service_period: Period
    state: RunState
    dry_run: bool
    unchanged: bool
    at: Moment
    cutoff: int
    input_digest: str
    counts: dict[str, int]
    totals: dict[str, str]
    invoice_ids: tuple[str, ...]
    actor: str

    @classmethod
    def of(cls, run: CoreRun) -> RunRecord:
        """The record as people see it."""
        return cls(**_told(run))


@frozen
class RunRecords:
    """Records of runs, newest first."""

    items: tuple[RunRecord, ...]
    next_cursor: str | None


@frozen
class Run(RunRecord):
    """A run with its documents: ``invoice`` is the period's (``null`` where there was nothing to bill),
    ``lateDocuments`` are the supplementary invoices and credit notes that late usage led to."""

    invoice: Invoice | None
    late_documents: tuple[Invoice, ...]

    @classmethod
    def of_result(cls, result: RunResult) -> Run:
        """The run as people see it."""
        return cls(
            **_told(result.run),
            invoice=None if result.invoice is None else Invoice.of(result.invoice),
            late_documents=tuple(Invoice.of(each) for each in result.documents if each is not result.invoice),
        )


@frozen
class VoidInvoice:
    """Why an invoice is void."""

    reason: Name


def _told(run: CoreRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "period": run.period,
        "service_period": period_of(run.span),
        "state": run.state,
        "dry_run": run.dry_run,
        "unchanged": run.unchanged,
        "at": run.at,
        "cutoff": run.cutoff,
        "input_digest": run.input_digest,
        "counts": dict(run.counts),
        "totals": {name: money.text(micros) for name, micros in run.totals.items()},
        "invoice_ids": run.invoice_ids,
        "actor": run.actor,
    }


# --- the test clock ---------------------------------------------------------------------------


@frozen
class ClockMove:
    """When it shall be."""

    now: Moment


@frozen
class DueRun:
    """A run that fell due: its record, or what stopped it."""

    project_id: str
    period: str
    run: RunRecord | None
    error: str | None

    @classmethod
    def of(cls, ended: ProjectRun) -> DueRun:
        """The run as people see it."""
        record = None if ended.result is None else RunRecord.of(ended.result.run)
        return cls(ended.project_id, ended.period, record, _code(ended.error))


@frozen
class ClockMoved:
    """What the clock shows, and what ran on the way there, oldest first."""

    now: Moment
    runs: tuple[DueRun, ...]


def _code(error: Exception | None) -> str | None:
    if error is None:
        return None
    return error.code if isinstance(error, NerubaError) else Internal.code
