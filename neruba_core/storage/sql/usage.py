"""Usage events, voids and quarantine: tables, queries and row mapping.

Events are the widest road through the database, so their table carries no more than it must: the primary
key, the two unique keys that make a repeated event harmless, one index for reading a metric's period, and
one foreign key. Sums may exceed 64 bits, which SQLite's own SUM answers with an error: it sums the high
and the low halves of the units instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from attrs import frozen
from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Index,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    UniqueConstraint,
    cast,
    exists,
    func,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy import update as changing
from sqlalchemy.dialects.postgresql import JSONB

from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import columns_of, insert_new
from neruba_core.storage.sql.codec import (
    dump_properties,
    instant,
    load_properties,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import (
    METADATA,
    POSTGRESQL_ONLY,
    TransactionId,
    binary,
    flag,
    one_of,
    reference,
    small,
    tenant,
    text,
    whole,
)
from neruba_core.storage.sql.statements import Statements, below, within
from neruba_core.usage.model import NewUsage, QuarantinedUsage, QuarantineState, Totals, UsageEvent, UsageVoid

EVENTS = Table(
    "neruba_usage_events",
    METADATA,
    text("project_id"),
    text("id"),
    text("metric_key"),
    whole("units_micros"),
    whole("timestamp"),
    text("event_id"),
    text("properties", optional=True),
    text("idempotency_key"),
    binary("fingerprint"),
    small("fingerprint_version"),
    whole("received_at"),
    flag("late"),
    text("actor"),
    text("request_id", optional=True),
    small("render_version"),
    # Which transactions had ended when a sum was taken: the watermark of folding. On SQLite the rowid
    # serves, which in an append-only table has no gaps, so that not even VACUUM renumbers it.
    Column(
        "xact",
        TransactionId(),
        nullable=False,
        server_default=sql("pg_current_xact_id()"),
        info=POSTGRESQL_ONLY,
    ),
    PrimaryKeyConstraint("project_id", "id", name="neruba_usage_events_pk"),
    UniqueConstraint("project_id", "idempotency_key", name="neruba_usage_events_key_uq"),
    UniqueConstraint("project_id", "event_id", name="neruba_usage_events_event_uq"),
    tenant("neruba_usage_events"),
    CheckConstraint("units_micros >= 0", name="neruba_usage_events_units_ck"),
    Index("neruba_usage_events_metric_ix", "project_id", "metric_key", "timestamp"),
)

VOIDS = Table(
    "neruba_usage_voids",
    METADATA,
    text("project_id"),
    text("usage_id"),
    text("reason"),
    whole("voided_at"),
    text("actor"),
    PrimaryKeyConstraint("project_id", "usage_id", name="neruba_usage_voids_pk"),
    reference(
        "neruba_usage_voids_event_fk", ["project_id", "usage_id"], "neruba_usage_events", ["project_id", "id"]
    ),
)

QUARANTINED = Table(
    "neruba_quarantined",
    METADATA,
    text("project_id"),
    text("id"),
    text("metric_key"),
    whole("units_micros"),
    whole("timestamp"),
    text("idempotency_key"),
    text("event_id", optional=True),
    text("properties", optional=True),
    binary("fingerprint"),
    text("reason"),
    text("state"),
    whole("received_at"),
    text("actor"),
    text("request_id", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_quarantined_pk"),
    UniqueConstraint(
        "project_id", "idempotency_key", "fingerprint", name="neruba_quarantined_fingerprint_uq"
    ),
    tenant("neruba_quarantined"),
    CheckConstraint("units_micros >= 0", name="neruba_quarantined_units_ck"),
    one_of("state", QuarantineState, "neruba_quarantined_state_ck"),
)

_COLUMNS = columns_of(EVENTS)
_INSERT = insert_new(EVENTS)
_ADD_VOID = insert_new(VOIDS, "project_id", "usage_id")
_ADD_QUARANTINED = insert_new(QUARANTINED, "project_id", "idempotency_key", "fingerprint")

_BY_EVENT = itemgetter(0, 5)
_LOW_BITS = 0xFFFFFFFF


@frozen
class SqlUsage:
    """``UsageStore`` within one unit."""

    _statements: Statements

    def insert(self, events: Sequence[UsageEvent]) -> set[str] | None:
        rows = [
            (
                event.project_id,
                event.id,
                event.metric_key,
                event.units_micros,
                micros(event.timestamp),
                event.event_id,
                dump_properties(event.properties),
                event.idempotency_key,
                event.fingerprint,
                event.fingerprint_version,
                micros(event.received_at),
                event.late,
                event.actor,
                event.request_id,
                event.render_version,
            )
            for event in events
        ]
        # Two batches with the same events in other orders would wait for each other in a circle.
        rows.sort(key=_BY_EVENT)
        if self._statements.write(_INSERT, rows) == len(rows):
            return None
        return self._there(events)

    def _there(self, events: Sequence[UsageEvent]) -> set[str]:
        """Which of the events are recorded: their ids are new, so these are the ones that went in."""
        ids = defaultdict(list)
        for event in events:
            ids[event.project_id].append(event.id)
        there: set[str] = set()
        for project_id, of_project in ids.items():
            query = select(EVENTS.c.id).where(EVENTS.c.project_id == project_id)
            found = self._statements.rows(self._statements.each(query, EVENTS.c.id, of_project))
            there.update(row[0] for row in found)
        return there

    def by_keys(self, project_id: str, keys: Iterable[str]) -> dict[str, UsageEvent]:
        found = self._each(project_id, EVENTS.c.idempotency_key, keys)
        return {event.idempotency_key: event for event in found}

    def by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, UsageEvent]:
        found = self._each(project_id, EVENTS.c.event_id, event_ids)
        return {event.event_id: event for event in found}

    def _each(self, project_id: str, column: Column[str], values: Iterable[str]) -> list[UsageEvent]:
        query = select(*_COLUMNS).where(EVENTS.c.project_id == project_id)
        return [_event(row) for row in self._statements.rows(self._statements.each(query, column, values))]

    def event(self, project_id: str, usage_id: str) -> UsageEvent | None:
        return next(iter(self._find(project_id, EVENTS.c.id == usage_id)), None)

    def _find(self, project_id: str, *conditions: ColumnElement[bool]) -> list[UsageEvent]:
        query = select(*_COLUMNS).where(EVENTS.c.project_id == project_id, *conditions)
        return [_event(row) for row in self._statements.rows(query)]

    def events(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        metric_key: str | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> Sequence[UsageEvent]:
        query = select(*_COLUMNS).where(EVENTS.c.project_id == project_id, *below(EVENTS.c.id, before))
        if metric_key is not None:
            query = query.where(EVENTS.c.metric_key == metric_key)
        query = query.where(*within(EVENTS.c.timestamp, micros_or_none(start), micros_or_none(end)))
        query = query.order_by(EVENTS.c.id.desc()).limit(limit)
        return [_event(row) for row in self._statements.rows(query)]

    # --- voids --------------------------------------------------------------------------------

    def add_void(self, void: UsageVoid) -> UsageVoid | None:
        row = (void.project_id, void.usage_id, void.reason, micros(void.voided_at), void.actor)
        if self._statements.write(_ADD_VOID, [row]) == 1:
            return None
        return self.voids(void.project_id, [void.usage_id])[void.usage_id]

    def voids(self, project_id: str, usage_ids: Iterable[str]) -> dict[str, UsageVoid]:
        query = select(VOIDS).where(VOIDS.c.project_id == project_id)
        query = self._statements.each(query, VOIDS.c.usage_id, usage_ids)
        return {row[1]: _void(row) for row in self._statements.rows(query)}

    # --- totals -------------------------------------------------------------------------------

    def totals(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> Totals:
        units = EVENTS.c.units_micros
        counted = _counted(project_id, metric_key, start, end)
        last = (
            counted.with_only_columns(units)
            .order_by(EVENTS.c.timestamp.desc(), EVENTS.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        # The last column is the sum's upper half, in units of 2³²; PostgreSQL sums in NUMERIC.
        sums: tuple[ColumnElement[Any], ...] = (func.sum(units), sql("0"))  # type: ignore[assignment]
        if not self._statements.postgresql:
            sums = (func.sum(units.op("&")(_LOW_BITS)), func.sum(units.op(">>")(32)))
        query = counted.with_only_columns(func.count(), func.max(units), func.min(units), last, *sums)
        row = self._statements.row(query)
        assert row is not None
        count, most, least, latest, low, high = row
        total = int(low or 0) + (int(high or 0) << 32)
        return Totals(count, total, most, least, latest)

    def distinct(
        self, project_id: str, metric_key: str, property_name: str, start: Instant, end: Instant
    ) -> int:
        counted = _counted(project_id, metric_key, start, end)
        if self._statements.postgresql:
            value = func.jsonb_extract_path(cast(EVENTS.c.properties, JSONB), property_name)
            # As JSON text, in which 1, "1" and true differ; compared by its bytes, which is cheapest.
            values = cast(value, Text).collate("C").distinct()
            row = self._statements.row(counted.with_only_columns(func.count(values)))
            return 0 if row is None else int(row[0])
        each = func.json_each(EVENTS.c.properties).table_valued("key", "type", "value")
        found = (
            counted.with_only_columns(each.c.type, each.c.value)
            .select_from(EVENTS.join(each, sql("true")))
            .where(each.c.key == property_name)
            .distinct()
            .subquery()
        )
        row = self._statements.row(select(func.count()).select_from(found))
        return 0 if row is None else int(row[0])

    def extent(self, project_id: str) -> dict[str, tuple[Instant, Instant]]:
        at = EVENTS.c.timestamp
        query = (
            _unvoided(project_id)
            .with_only_columns(EVENTS.c.metric_key, func.min(at), func.max(at))
            .group_by(EVENTS.c.metric_key)
        )
        return {key: (instant(first), instant(last)) for key, first, last in self._statements.rows(query)}

    def counts(self, project_id: str, start: Instant, end: Instant) -> dict[str, int]:
        query = (
            _unvoided(project_id)
            .where(*within(EVENTS.c.timestamp, micros(start), micros(end)))
            .with_only_columns(EVENTS.c.metric_key, func.count())
            .group_by(EVENTS.c.metric_key)
        )
        return {row[0]: row[1] for row in self._statements.rows(query)}

    # --- quarantine ---------------------------------------------------------------------------

    def quarantine(self, waiting: QuarantinedUsage) -> QuarantinedUsage:
        if self._statements.write(_ADD_QUARANTINED, [_quarantined_row(waiting)]) == 1:
            return waiting
        [earlier] = self._quarantined(
            waiting.project_id,
            QUARANTINED.c.idempotency_key == waiting.event.idempotency_key,
            QUARANTINED.c.fingerprint == waiting.fingerprint,
        )
        return earlier

    def quarantined(self, project_id: str, quarantine_id: str) -> QuarantinedUsage | None:
        return next(iter(self._quarantined(project_id, QUARANTINED.c.id == quarantine_id)), None)

    def quarantined_by_keys(self, project_id: str, keys: Iterable[str]) -> Sequence[QuarantinedUsage]:
        query = select(QUARANTINED).where(
            QUARANTINED.c.project_id == project_id, QUARANTINED.c.state == QuarantineState.WAITING.value
        )
        rows = self._statements.rows(self._statements.each(query, QUARANTINED.c.idempotency_key, keys))
        return sorted(map(_quarantined, rows), key=attrgetter("id"))

    def _quarantined(self, project_id: str, *conditions: ColumnElement[bool]) -> list[QuarantinedUsage]:
        query = select(QUARANTINED).where(QUARANTINED.c.project_id == project_id, *conditions)
        return [_quarantined(row) for row in self._statements.rows(query.order_by(QUARANTINED.c.id))]

    def close_quarantined(self, project_id: str, quarantine_id: str, state: QuarantineState) -> bool:
        query = (
            changing(QUARANTINED)
            .where(QUARANTINED.c.project_id == project_id, QUARANTINED.c.id == quarantine_id)
            .where(QUARANTINED.c.state == QuarantineState.WAITING.value)
            .values(state=state.value)
        )
        return self._statements.change(query) == 1

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        yield from (("usage_events", event) for event in self._find(project_id))
        voids = select(VOIDS).where(VOIDS.c.project_id == project_id)
        yield from (("usage_voids", _void(row)) for row in self._statements.rows(voids))
        yield from (("quarantined", waiting) for waiting in self._quarantined(project_id))


def _unvoided(project_id: str) -> Select[Any]:
    """The events of the project that count."""
    voided = exists().where(VOIDS.c.project_id == EVENTS.c.project_id, VOIDS.c.usage_id == EVENTS.c.id)
    return select(EVENTS.c.id).where(EVENTS.c.project_id == project_id, ~voided)


def _counted(project_id: str, metric_key: str, start: Instant, end: Instant) -> Select[Any]:
    """The events that count of one metric and period."""
    period = within(EVENTS.c.timestamp, micros(start), micros(end))
    return _unvoided(project_id).where(EVENTS.c.metric_key == metric_key, *period)


def _event(row: Any) -> UsageEvent:
    (
        project_id,
        usage_id,
        metric_key,
        units_micros,
        timestamp,
        event_id,
        properties,
        idempotency_key,
        fingerprint,
        fingerprint_version,
        received_at,
        *rest,
    ) = row
    return UsageEvent(
        project_id,
        usage_id,
        metric_key,
        units_micros,
        instant(timestamp),
        event_id,
        load_properties(properties),
        idempotency_key,
        bytes(fingerprint),
        fingerprint_version,
        instant(received_at),
        *rest,
    )


def _void(row: Any) -> UsageVoid:
    project_id, usage_id, reason, voided_at, actor = row
    return UsageVoid(project_id, usage_id, reason, instant(voided_at), actor)


def _quarantined_row(waiting: QuarantinedUsage) -> tuple[Any, ...]:
    event = waiting.event
    return (
        waiting.project_id,
        waiting.id,
        event.metric_key,
        event.units_micros,
        micros(event.timestamp),
        event.idempotency_key,
        event.event_id,
        dump_properties(event.properties),
        waiting.fingerprint,
        waiting.reason,
        waiting.state.value,
        micros(waiting.received_at),
        waiting.actor,
        waiting.request_id,
    )


def _quarantined(row: Any) -> QuarantinedUsage:
    project_id, row_id, metric_key, units, timestamp, key, event_id, properties, *rest = row
    fingerprint, reason, state, received_at, actor, request_id = rest
    return QuarantinedUsage(
        project_id,
        row_id,
        NewUsage(metric_key, units, instant(timestamp), key, event_id, load_properties(properties)),
        bytes(fingerprint),
        reason,
        QuarantineState(state),
        instant(received_at),
        actor,
        request_id,
    )
