"""Counting and explaining the outcomes of one unit of work.

Every ingest attempt is counted exactly once; all but plain acceptance and replay are kept with their
reason. The counts of a unit go in as one tally per project, so that counting contends with nobody.
"""

from __future__ import annotations

from attrs import define, field

from neruba_core.audit.model import Attempt, Outcome, Tally
from neruba_core.audit.store import HasAudit
from neruba_core.ids import Ids


@define
class OutcomeNotes:
    """The outcomes of a unit while it is being decided; ``write`` stores them once."""

    counts: dict[tuple[str, Outcome], int] = field(factory=dict)
    attempts: list[Attempt] = field(factory=list)

    def count(self, project_id: str, outcome: Outcome, times: int = 1) -> None:
        """Count *times* attempts of the project that ended as *outcome*."""
        self.counts[project_id, outcome] = self.counts.get((project_id, outcome), 0) + times

    def explain(self, attempt: Attempt) -> None:
        """Count the attempt and keep its reason."""
        self.count(attempt.project_id, attempt.outcome)
        self.attempts.append(attempt)

    def write(self, work: HasAudit, ids: Ids) -> None:
        """Append the tallies and attempts to the unit."""
        by_project: dict[str, dict[str, int]] = {}
        for (project_id, outcome), times in self.counts.items():
            by_project.setdefault(project_id, {})[outcome.value] = times
        if by_project:
            work.audit.add_tallies(
                [Tally(project_id, ids.new("tly"), **counts) for project_id, counts in sorted(by_project.items())]
            )
        if self.attempts:
            work.audit.add_attempts(self.attempts)
