"""Reading the trail, page by page."""

from __future__ import annotations

from attrs import astuple, frozen

from neruba_core.audit.model import Attempt, Change, Outcome
from neruba_core.audit.store import HasAudit
from neruba_core.instants import Instant
from neruba_core.pages import Page, limited, page, place_of


@frozen
class Filters:
    """Which attempts to list; ``None`` lets all pass. *start* and *end* bound ``at`` as ``[start, end)``."""

    outcome: Outcome | None = None
    metric_key: str | None = None
    access_key_id: str | None = None
    start: Instant | None = None
    end: Instant | None = None


def changes(work: HasAudit, project_id: str, *, limit: int, cursor: str | None) -> Page[Change]:
    """Who changed what, newest first. Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``."""
    filters = ("changes", project_id)
    rows = work.audit.changes(project_id, limit=limited(limit) + 1, before=place_of(cursor, *filters))
    return page(rows, limit, "id", *filters)


def attempts(
    work: HasAudit, project_id: str, wanted: Filters, *, limit: int, cursor: str | None
) -> Page[Attempt]:
    """Attempts that did not simply succeed, newest first.

    Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
    """
    filters = ("attempts", project_id, *astuple(wanted))
    rows = work.audit.attempts(
        project_id,
        limit=limited(limit) + 1,
        before=place_of(cursor, *filters),
        outcome=wanted.outcome,
        metric_key=wanted.metric_key,
        access_key_id=wanted.access_key_id,
        start=wanted.start,
        end=wanted.end,
    )
    return page(rows, limit, "id", *filters)
