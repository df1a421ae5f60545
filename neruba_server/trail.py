"""The trail that a request leaves in its project: what was asked by whom, and what came of it.

A row is written in the unit of work of the write that it tells of, so the two are there together or not at
all. A refused write leaves a row too; reads leave none.
"""

from __future__ import annotations

from collections.abc import Sequence

from neruba_core.audit.model import Trail
from neruba_core.batch import Command, Verdict
from neruba_core.idempotency.outcomes import Accepted, Conflict, Deduplicated, Quarantined, Rejected, Replayed
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.usage.model import UsageEvent
from neruba_server.present import status_of_verdict
from neruba_server.writer import Submission

MOST_PATH_CHARACTERS = 500


def row(
    *,
    project_id: str,
    request_id: str,
    at: Instant,
    ids: Ids,
    method: str,
    path: str,
    principal: str,
    status: int,
    outcome: str | None = None,
    usage_ids: Sequence[str] = (),
    transaction_ids: Sequence[str] = (),
) -> Trail:
    """One row."""
    return Trail(
        project_id=project_id,
        id=ids.new("trl"),
        request_id=request_id,
        at=at,
        method=method,
        path=path[:MOST_PATH_CHARACTERS],
        principal=principal,
        status=status,
        outcome=outcome,
        usage_ids=tuple(usage_ids),
        transaction_ids=tuple(transaction_ids),
    )


def rows_of(
    submission: Submission, verdicts: Sequence[tuple[Command, Verdict]], *, at: Instant, ids: Ids
) -> list[Trail]:
    """The row of a submission whose commands came to *verdicts* (all of them, or one at a time)."""
    usage_ids: list[str] = []
    transaction_ids: list[str] = []
    for _, verdict in verdicts:
        match verdict:
            case Accepted(value) | Replayed(value) | Deduplicated(value):
                (usage_ids if isinstance(value, UsageEvent) else transaction_ids).append(value.id)
            case Conflict() | Rejected() | Quarantined():
                pass
    single = verdicts[0][1] if not submission.batch else None
    return [
        row(
            project_id=submission.commands[0].project_id,
            request_id=submission.request_id,
            at=at,
            ids=ids,
            method=submission.method,
            path=submission.path,
            principal=submission.principal,
            status=200 if single is None else status_of_verdict(single),
            outcome=None if single is None else single.name.value,
            usage_ids=usage_ids,
            transaction_ids=transaction_ids,
        )
    ]
