"""Changes, attempts, trail rows and tallies: tables, queries and row mapping.

All are only ever added; trail rows alone may be deleted, by age. A tally is one row per unit of work, so
that counting makes no two writers wait for each other; totals are sums over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from attrs import frozen
from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    delete,
    func,
    select,
    tuple_,
)
from sqlalchemy import text as sql

from neruba_core.audit.model import Attempt, Change, Outcome, Tally, Trail
from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import insert
from neruba_core.storage.sql.codec import dump_texts, instant, load_texts, micros, micros_or_none
from neruba_core.storage.sql.columns import (
    METADATA,
    POSTGRESQL_ONLY,
    TransactionId,
    one_of,
    small,
    tenant,
    text,
    whole,
)
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore, below, within

CHANGES = Table(
    "neruba_changes",
    METADATA,
    text("project_id"),
    text("id"),
    whole("at"),
    text("actor"),
    text("request_id", optional=True),
    text("action"),
    text("subject"),
    text("details"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_changes_pk"),
    tenant("neruba_changes"),
)

ATTEMPTS = Table(
    "neruba_attempts",
    METADATA,
    text("project_id"),
    text("id"),
    whole("at"),
    text("operation"),
    text("outcome"),
    text("code", optional=True),
    text("message", optional=True),
    text("request_id", optional=True),
    text("access_key_id", optional=True),
    text("idempotency_key", optional=True),
    text("event_id", optional=True),
    text("metric_key", optional=True),
    text("subject_id", optional=True),
    text("content", optional=True),
    text("prior", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_attempts_pk"),
    tenant("neruba_attempts"),
    one_of("outcome", Outcome, "neruba_attempts_outcome_ck"),
)

_OUTCOMES = [outcome.value for outcome in Outcome]

TALLIES = Table(
    "neruba_tallies",
    METADATA,
    text("project_id"),
    text("id"),
    *(whole(outcome) for outcome in _OUTCOMES),
    # Which transactions had ended when a sum was taken: the watermark of folding.
    Column(
        "xact",
        TransactionId(),
        nullable=False,
        server_default=sql("pg_current_xact_id()"),
        info=POSTGRESQL_ONLY,
    ),
    PrimaryKeyConstraint("project_id", "id", name="neruba_tallies_pk"),
    tenant("neruba_tallies"),
    CheckConstraint(" AND ".join(f"{name} >= 0" for name in _OUTCOMES), name="neruba_tallies_counts_ck"),
)

TRAIL = Table(
    "neruba_trail",
    METADATA,
    text("project_id"),
    text("id"),
    text("request_id"),
    whole("at"),
    text("method"),
    text("path"),
    text("principal"),
    small("status"),
    text("outcome", optional=True),
    text("usage_ids"),
    text("transaction_ids"),
    text("message_ids"),
    # Every write leaves a row here, so one index keeps rows apart and finds them by their request, and age
    # is found by blocks. There is no foreign key for the same reason: rows go by age, whatever they tell of.
    PrimaryKeyConstraint("project_id", "request_id", "id", name="neruba_trail_pk"),
    Index("neruba_trail_at_ix", "at", postgresql_using="brin"),
)

_ADD_CHANGES = insert(CHANGES)
_ADD_ATTEMPTS = insert(ATTEMPTS)
_ADD_TALLIES = insert(TALLIES)
_tally_row = attrgetter(*_ADD_TALLIES.columns)
_ADD_TRAIL = insert(TRAIL)
_TRAIL_KEY = tuple(TRAIL.primary_key)

_TOTALS = Query(
    # A count is far from 64 bits.
    select(*(func.coalesce(func.sum(TALLIES.c[outcome]), 0) for outcome in _OUTCOMES)).where(
        TALLIES.c.project_id == given("project_id")
    )
)
_TRAIL = Query(
    select(TRAIL)
    .where(TRAIL.c.project_id == given("project_id"), TRAIL.c.request_id == given("request_id"))
    .order_by(TRAIL.c.id.desc())
)


@frozen
class SqlAudit(SqlStore):
    """``AuditStore`` within one unit."""

    def add_changes(self, changes: Sequence[Change]) -> None:
        rows = [
            (c.project_id, c.id, micros(c.at), c.actor, c.request_id, c.action, c.subject, c.details)
            for c in changes
        ]
        self._statements.write(_ADD_CHANGES, rows)

    def changes(self, project_id: str, *, limit: int, before: str | None) -> Sequence[Change]:
        query = (
            select(CHANGES)
            .where(CHANGES.c.project_id == project_id, *below(CHANGES.c.id, before))
            .order_by(CHANGES.c.id.desc())
            .limit(limit)
        )
        return [_change(row) for row in self._statements.rows(query)]

    def add_attempts(self, attempts: Sequence[Attempt]) -> None:
        rows = [
            (
                a.project_id,
                a.id,
                micros(a.at),
                a.operation,
                a.outcome.value,
                a.code,
                a.message,
                a.request_id,
                a.access_key_id,
                a.idempotency_key,
                a.event_id,
                a.metric_key,
                a.subject_id,
                a.content,
                a.prior,
            )
            for a in attempts
        ]
        self._statements.write(_ADD_ATTEMPTS, rows)

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
        table = ATTEMPTS.c
        query = select(ATTEMPTS).where(table.project_id == project_id, *below(table.id, before))
        if outcome is not None:
            query = query.where(table.outcome == outcome.value)
        if metric_key is not None:
            query = query.where(table.metric_key == metric_key)
        if access_key_id is not None:
            query = query.where(table.access_key_id == access_key_id)
        query = query.where(*within(table.at, micros_or_none(start), micros_or_none(end)))
        return [_attempt(row) for row in self._statements.rows(query.order_by(table.id.desc()).limit(limit))]

    def add_tallies(self, tallies: Sequence[Tally]) -> None:
        self._statements.write_later(_ADD_TALLIES, list(map(_tally_row, tallies)))

    def totals(self, project_id: str) -> Tally:
        # PostgreSQL sums up to NUMERIC.
        return Tally(project_id, "", *map(int, self._statements.ask_one(_TOTALS, project_id=project_id)))

    def add_trail(self, rows: Sequence[Trail]) -> None:
        made = [
            (
                t.project_id,
                t.id,
                t.request_id,
                micros(t.at),
                t.method,
                t.path,
                t.principal,
                t.status,
                t.outcome,
                dump_texts(t.usage_ids),
                dump_texts(t.transaction_ids),
                dump_texts(t.message_ids),
            )
            for t in rows
        ]
        self._statements.write_later(_ADD_TRAIL, made)

    def trail(self, project_id: str, request_id: str) -> Sequence[Trail]:
        rows = self._statements.ask(_TRAIL, project_id=project_id, request_id=request_id)
        return [_trail(row) for row in rows]

    def prune_trail(self, before: Instant, *, at_most: int) -> int:
        aged = select(*_TRAIL_KEY).where(TRAIL.c.at < micros(before)).limit(at_most)
        return self._statements.change(delete(TRAIL).where(tuple_(*_TRAIL_KEY).in_(aged)))

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's changes."""
        query = select(CHANGES).where(CHANGES.c.project_id == project_id)
        yield from (("changes", _change(row)) for row in self._statements.rows(query))


def _change(row: Any) -> Change:
    project_id, change_id, at, *rest = row
    return Change(project_id, change_id, instant(at), *rest)


def _attempt(row: Any) -> Attempt:
    project_id, attempt_id, at, operation, outcome, *rest = row
    return Attempt(project_id, attempt_id, instant(at), operation, Outcome(outcome), *rest)


def _trail(row: Any) -> Trail:
    project_id, row_id, request_id, at, method, path, principal, status, outcome, *ids = row
    return Trail(
        project_id,
        row_id,
        request_id,
        instant(at),
        method,
        path,
        principal,
        status,
        outcome,
        *map(load_texts, ids),
    )
