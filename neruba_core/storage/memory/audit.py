"""Changes, attempts, trail rows and tallies in memory; tallies are folded as they come."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from neruba_core.audit.model import Attempt, Change, Outcome, Tally, Trail
from neruba_core.instants import Instant
from neruba_core.storage.memory.tables import Table, Undo


@define(eq=False)
class AuditTables:
    """*totals* has for each project the sum of its tallies."""

    changes: Table[str, Change] = field(factory=Table)
    attempts: Table[str, Attempt] = field(factory=Table)
    totals: dict[str, Tally] = field(factory=dict)
    trail: dict[tuple[str, str], dict[str, Trail]] = field(factory=dict)


@define(eq=False)
class MemoryAudit:
    """``AuditStore`` within one unit."""

    _tables: AuditTables
    _undo: Undo

    def add_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._tables.changes.add(self._undo, change.project_id, change.id, change)

    def changes(self, project_id: str, *, limit: int, before: str | None) -> Sequence[Change]:
        return self._tables.changes.page(project_id, limit=limit, before=before)

    def add_attempts(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._tables.attempts.add(self._undo, attempt.project_id, attempt.id, attempt)

    def attempts(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        outcome: Outcome | None = None,
        metric_key: str | None = None,
        access_key_id: str | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> Sequence[Attempt]:
        def wanted(attempt: Attempt) -> bool:
            return (
                (outcome is None or attempt.outcome is outcome)
                and (metric_key is None or attempt.metric_key == metric_key)
                and (access_key_id is None or attempt.access_key_id == access_key_id)
                and (start is None or start <= attempt.at)
                and (end is None or attempt.at < end)
            )

        return self._tables.attempts.page(project_id, limit=limit, before=before, wanted=wanted)

    def add_tallies(self, tallies: Sequence[Tally]) -> None:
        for tally in tallies:
            self._undo.put(self._tables.totals, tally.project_id, _sum(self.totals(tally.project_id), tally))

    def totals(self, project_id: str) -> Tally:
        return self._tables.totals.get(project_id) or Tally(project_id, "")

    def add_trail(self, rows: Sequence[Trail]) -> None:
        for row in rows:
            place = (row.project_id, row.request_id)
            kept = self._tables.trail.get(place)
            if kept is None:
                kept = {}
                self._undo.put(self._tables.trail, place, kept)
            self._undo.put(kept, row.id, row)

    def trail(self, project_id: str, request_id: str) -> Sequence[Trail]:
        kept = self._tables.trail.get((project_id, request_id), {})
        return tuple(kept[row_id] for row_id in sorted(kept, reverse=True))

    def prune_trail(self, before: Instant, *, at_most: int) -> int:
        aged = [
            (kept, row.id) for kept in self._tables.trail.values() for row in kept.values() if row.at < before
        ][:at_most]
        for kept, row_id in aged:
            self._undo.remove(kept, row_id)
        return len(aged)


def _sum(totals: Tally, more: Tally) -> Tally:
    return Tally(
        totals.project_id,
        totals.id,
        totals.accepted + more.accepted,
        totals.replayed + more.replayed,
        totals.deduped + more.deduped,
        totals.conflict + more.conflict,
        totals.quarantined + more.quarantined,
        totals.rejected + more.rejected,
    )
