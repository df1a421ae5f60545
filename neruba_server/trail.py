"""The trail that a request leaves in its project: what was asked by whom, and what came of it.

A row is written in the unit of work of the write that it tells of, so the two are there together or not at
all. A refused write leaves a row too; reads leave none.
"""

from __future__ import annotations

from collections.abc import Sequence

from neruba_core.audit.model import Trail
from neruba_core.batch import Command, Verdict
from neruba_core.idempotency.outcomes import Accepted, Deduplicated, Replayed
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.model import Transaction
from neruba_core.usage.model import UsageEvent
from neruba_server.present import status_of_verdict
from neruba_server.writer import Noted, Submission

MOST_PATH_CHARACTERS = 500

_SUCCESSES = (Accepted, Replayed, Deduplicated)


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
) -> Trail:
    """The row of a request that went past the writer."""
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
    )


def rows_of(noted: Sequence[Noted], *, at: Instant, ids: Ids) -> list[Trail]:
    """The rows of the submissions of one unit."""
    return [
        _row_of(submission, verdicts, at, row_id)
        for (submission, verdicts), row_id in zip(noted, ids.many("trl", len(noted)), strict=True)
    ]


def _row_of(
    submission: Submission, verdicts: Sequence[tuple[Command, Verdict]], at: Instant, row_id: str
) -> Trail:
    command, verdict = verdicts[0]
    usage_ids, transaction_ids = _made(verdicts)
    # By place, as usage events are made: there is a row for every request.
    return Trail(
        command.project_id,
        row_id,
        submission.request_id,
        at,
        submission.method,
        submission.path[:MOST_PATH_CHARACTERS],
        submission.principal,
        # A batch is answered 200 whatever became of its events.
        200 if submission.batch else status_of_verdict(verdict),
        None if submission.batch else verdict.name.value,
        usage_ids,
        transaction_ids,
    )


def _made(verdicts: Sequence[tuple[Command, Verdict]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The usage and the transactions that came of it."""
    usage, transactions = [], []
    for _, verdict in verdicts:
        if isinstance(verdict, _SUCCESSES):
            made = verdict.value
            if isinstance(made, UsageEvent):
                usage.append(made.id)
            elif isinstance(made, Transaction):
                transactions.append(made.id)
            elif made.hold.transaction_id is not None:
                transactions.append(made.hold.transaction_id)
    return tuple(usage), tuple(transactions)
