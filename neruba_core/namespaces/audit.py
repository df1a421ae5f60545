"""``neruba.audit``: who changed what, what became of each attempt, what a request did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from neruba_core.audit import history
from neruba_core.audit.model import Attempt, Change, Outcome, Tally, Trail
from neruba_core.audit.outcomes import count_one
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.instants import utc
from neruba_core.pages import DEFAULT_LIMIT, Page
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing

PRUNED_AT_ONCE = 10_000
"""How many trail rows one unit deletes: a fraction of a second, where a unit may take five."""


@frozen
class Audit:
    """The trail of a project. Every read raises ``ProjectNotFound`` where there is no such project."""

    _context: Context

    def changes(self, project_id: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[Change]:
        """Changes of settings, people, keys and metrics, newest first; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """

        def read(work: UnitOfWork) -> Page[Change]:
            existing(work, project_id)
            return history.changes(work, project_id, limit=limit, cursor=cursor)

        return self._context.read(read)

    def attempts(
        self,
        project_id: str,
        *,
        outcome: Outcome | str | None = None,
        metric_key: str | None = None,
        access_key_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Attempt]:
        """Ingest attempts that did not simply succeed, newest first, ``at`` in ``[start, end)``.

        A cursor goes with the filters it was given for. Raises ``FormatInvalid``, ``Instant…``
        refusals, ``CursorInvalid`` or ``CursorMismatch``.
        """
        filters = history.Filters(
            outcome=None if outcome is None else choice(Outcome, outcome, "an outcome"),
            metric_key=metric_key,
            access_key_id=access_key_id,
            start=None if start is None else utc(start),
            end=None if end is None else utc(end),
        )

        def read(work: UnitOfWork) -> Page[Attempt]:
            existing(work, project_id)
            return history.attempts(work, project_id, filters, limit=limit, cursor=cursor)

        return self._context.read(read)

    def totals(self, project_id: str) -> Tally:
        """How many ingest attempts ended as what, ever; exact."""

        def read(work: UnitOfWork) -> Tally:
            existing(work, project_id)
            return work.audit.totals(project_id)

        return self._context.read(read)

    def count_replay(self, project_id: str) -> None:
        """Count an ingest attempt that was answered as its key was answered before."""
        self._context.write(lambda work: count_one(work, project_id, Outcome.REPLAYED, self._context.ids))

    def trail(self, project_id: str, request_id: str) -> tuple[Trail, ...]:
        """The requests with this id, newest first; a client's own id may repeat."""

        def read(work: UnitOfWork) -> tuple[Trail, ...]:
            existing(work, project_id)
            return tuple(work.audit.trail(project_id, request_id))

        return self._context.read(read)

    def note_trail(self, rows: Sequence[Trail]) -> None:
        """Append what requests did; bound to a unit, together with the effect that they tell of."""
        self._context.write(lambda work: work.audit.add_trail(rows))

    def prune(self, before: datetime) -> int:
        """Delete the trail rows of all projects that are older than *before*; how many went.

        They go in units of ``PRUNED_AT_ONCE``, so that other writes get their turn in between.
        """
        moment, pruned = utc(before), 0
        while True:
            went = self._context.write(lambda work: work.audit.prune_trail(moment, at_most=PRUNED_AT_ONCE))
            pruned += went
            if went < PRUNED_AT_ONCE:
                return pruned
