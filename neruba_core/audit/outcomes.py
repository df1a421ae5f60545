"""Counting and explaining the outcomes of one unit of work.

Every ingest attempt is counted exactly once; all but plain acceptance and replay are kept with their
reason. The counts of a unit go in as one tally per project, so that counting contends with nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from neruba_core.audit.model import Attempt, Origin, Outcome, Tally
from neruba_core.audit.store import HasAudit
from neruba_core.errors import KeyReused, NerubaError
from neruba_core.ids import Ids
from neruba_core.instants import Instant


@define
class OutcomeNotes:
    """The outcomes of a unit while it is being decided; ``write`` stores them once."""

    counts: dict[str, dict[str, int]] = field(factory=dict)
    attempts: list[Attempt] = field(factory=list)

    def count(self, project_id: str, outcome: Outcome, times: int = 1) -> None:
        """Count *times* attempts of the project that ended as *outcome*."""
        counts = self.counts.setdefault(project_id, {})
        counts[outcome] = counts.get(outcome, 0) + times

    def explain(self, attempt: Attempt) -> None:
        """Count the attempt and keep its reason."""
        self.count(attempt.project_id, attempt.outcome)
        self.attempts.append(attempt)

    def write(self, work: HasAudit, ids: Ids) -> None:
        """Append the tallies and attempts to the unit."""
        if self.counts:
            counted = sorted(self.counts.items())
            work.audit.add_tallies([Tally(project, ids.new("tly"), **counts) for project, counts in counted])
        if self.attempts:
            work.audit.add_attempts(self.attempts)


def count_one(work: HasAudit, project_id: str, outcome: Outcome, ids: Ids) -> None:
    """Count the one attempt of a unit, which needs no explanation."""
    work.audit.add_tallies([Tally(project_id, ids.new("tly"), **{outcome: 1})])


@frozen
class Unreadable:
    """An ingest attempt that never became a command: its body could not be read, or not be valid, or its
    key belongs to another request (then it is a conflict)."""

    project_id: str
    operation: str
    error: NerubaError
    origin: Origin
    idempotency_key: str | None = None

    @property
    def outcome(self) -> Outcome:
        """What the attempt counts as."""
        return Outcome.CONFLICT if isinstance(self.error, KeyReused) else Outcome.REJECTED


def note_unreadable(work: HasAudit, attempts: Sequence[Unreadable], *, at: Instant, ids: Ids) -> None:
    """Count and keep attempts that never became commands."""
    notes = OutcomeNotes()
    for one in attempts:
        notes.explain(
            Attempt(
                project_id=one.project_id,
                id=ids.new("att"),
                at=at,
                operation=one.operation,
                outcome=one.outcome,
                code=one.error.code,
                message=str(one.error),
                request_id=one.origin.request_id,
                access_key_id=one.origin.access_key_id,
                idempotency_key=one.idempotency_key,
                event_id=None,
                metric_key=None,
                subject_id=None,
                content=None,
                prior=None,
            )
        )
    notes.write(work, ids)
