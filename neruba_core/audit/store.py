"""What the trail asks of storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neruba_core.audit.model import Attempt, Change, Outcome, Tally, Trail
from neruba_core.instants import Instant


class AuditStore(Protocol):
    """Changes, attempts, trail rows and tallies; all are only ever added.

    Trail rows alone may be deleted, by age.
    """

    def add_changes(self, changes: Sequence[Change]) -> None: ...

    def changes(self, project_id: str, *, limit: int, before: str | None) -> Sequence[Change]:
        """By descending id, below *before*."""

    def add_attempts(self, attempts: Sequence[Attempt]) -> None: ...

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
        """By descending id, below *before*; *start* and *end* bound ``at`` as ``[start, end)``."""

    def add_tallies(self, tallies: Sequence[Tally]) -> None: ...

    def totals(self, project_id: str) -> Tally:
        """The exact sum of all tallies of the project, in one statement; its id is empty."""

    def add_trail(self, rows: Sequence[Trail]) -> None: ...

    def trail(self, project_id: str, request_id: str) -> Sequence[Trail]:
        """The rows of one request id, newest first."""

    def prune_trail(self, before: Instant, *, at_most: int) -> int:
        """Delete *at_most* trail rows older than *before*, over all projects; how many."""


class HasAudit(Protocol):
    @property
    def audit(self) -> AuditStore: ...
