"""Billing periods and runs."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from neruba_core.instants import Instant, Period


@frozen
class BillingPeriod:
    """A stored period of a project: *name* is the month of its midpoint. Periods are contiguous: a start is
    the end of the one before and is never recomputed. *invoiced_at* tells when it was closed."""

    project_id: str
    name: str
    span: Period
    invoiced_at: Instant | None = None


class RunState(StrEnum):
    """What a run left behind."""

    DRAFT = "draft"
    FINALIZED = "finalized"


@frozen
class Run:
    """What a run did: the period's reconciliation evidence. *cutoff* is the usage watermark that it
    counted up to; *counts* and *totals* are by name, totals in micro-units.

    *invoice_ids* are the documents it made or found: the period's invoice first.
    """

    project_id: str
    id: str
    period: str
    span: Period
    state: RunState
    dry_run: bool
    unchanged: bool
    at: Instant
    cutoff: int
    input_digest: str
    counts: dict[str, int] = field(hash=False)
    totals: dict[str, int] = field(hash=False)
    invoice_ids: tuple[str, ...]
    actor: str
    request_id: str | None = None
