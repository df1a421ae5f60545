"""Usage events and voids: queries and row mapping. Their tables are in ``events``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from attrs import frozen
from sqlalchemy import select

from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import columns_of, insert, insert_new
from neruba_core.storage.sql.codec import (
    dump_properties,
    instant,
    load_properties,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.events import EVENTS, VOIDS
from neruba_core.storage.sql.late_holds import SqlLateHolds
from neruba_core.storage.sql.quarantine import SqlQuarantine
from neruba_core.storage.sql.queries import Query, each, given
from neruba_core.storage.sql.rollups import ADD_VOID, SqlRollups
from neruba_core.storage.sql.statements import below, within
from neruba_core.storage.sql.totals import SqlTotals
from neruba_core.storage.sql.values import SqlValues
from neruba_core.usage.model import UsageEvent, UsageVoid

_COLUMNS = columns_of(EVENTS)
_INSERT = insert(EVENTS)
_INSERT_NEW = insert_new(EVENTS)

_OF_PROJECT = select(*_COLUMNS).where(EVENTS.c.project_id == given("project_id"))
_ALL = Query(_OF_PROJECT)
_BY_ID = Query(_OF_PROJECT.where(EVENTS.c.id == given("usage_id")))
_BY_KEYS = Query(each(_OF_PROJECT, EVENTS.c.idempotency_key, "keys"))
_BY_EVENT_IDS = Query(each(_OF_PROJECT, EVENTS.c.event_id, "event_ids"))
_THERE = Query(
    each(select(EVENTS.c.id).where(EVENTS.c.project_id == given("project_id")), EVENTS.c.id, "usage_ids")
)
_VOIDS_OF_PROJECT = select(*columns_of(VOIDS)).where(VOIDS.c.project_id == given("project_id"))
_ALL_VOIDS = Query(_VOIDS_OF_PROJECT)
_VOIDS = Query(each(_VOIDS_OF_PROJECT, VOIDS.c.usage_id, "usage_ids"))

_BY_EVENT = itemgetter(0, 5)


@frozen
class SqlUsage(SqlTotals, SqlValues, SqlRollups, SqlQuarantine, SqlLateHolds):
    """``UsageStore`` within one unit."""

    def insert(self, events: Sequence[UsageEvent], *, presumed_new: bool = False) -> set[str] | None:
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
        if presumed_new and self._statements.postpones:
            # Without a look beforehand, which takes a third as long as the insert itself.
            self._statements.write_ahead((_INSERT, rows))
            return None
        if self._statements.write(_INSERT_NEW, rows) == len(rows):
            return None
        return self._there(events)

    def _there(self, events: Sequence[UsageEvent]) -> set[str]:
        """Which of the events are recorded: their ids are new, so these are the ones that went in."""
        ids = defaultdict(set)
        for event in events:
            ids[event.project_id].add(event.id)
        there: set[str] = set()
        for project_id, usage_ids in ids.items():
            rows = self._statements.ask(_THERE, project_id=project_id, usage_ids=usage_ids)
            there.update(row[0] for row in rows)
        return there

    def by_keys(self, project_id: str, keys: Iterable[str]) -> dict[str, UsageEvent]:
        rows = self._statements.ask(_BY_KEYS, project_id=project_id, keys=set(keys))
        return {event.idempotency_key: event for event in map(_event, rows)}

    def by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, UsageEvent]:
        rows = self._statements.ask(_BY_EVENT_IDS, project_id=project_id, event_ids=set(event_ids))
        return {event.event_id: event for event in map(_event, rows)}

    def event(self, project_id: str, usage_id: str) -> UsageEvent | None:
        row = self._statements.ask_one(_BY_ID, project_id=project_id, usage_id=usage_id)
        return None if row is None else _event(row)

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
        voided_at = micros(void.voided_at)
        row = (void.project_id, void.usage_id, void.reason, voided_at, void.actor, void.last_number)
        if self._statements.write(ADD_VOID, [row]) == 1:
            return None
        return self.voids(void.project_id, [void.usage_id])[void.usage_id]

    def voids(self, project_id: str, usage_ids: Iterable[str]) -> dict[str, UsageVoid]:
        rows = self._statements.ask(_VOIDS, project_id=project_id, usage_ids=set(usage_ids))
        return {row[1]: _void(row) for row in rows}

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        for row in self._statements.ask(_ALL, project_id=project_id):
            yield "usage_events", _event(row)
        for row in self._statements.ask(_ALL_VOIDS, project_id=project_id):
            yield "usage_voids", _void(row)
        yield from self._export_quarantine(project_id)
        yield from (("late_holds", hold) for hold in self.holds([project_id]))


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
        late,
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
        bool(late),
        *rest,
    )


def _void(row: Any) -> UsageVoid:
    project_id, usage_id, reason, voided_at, actor, last_number = row
    return UsageVoid(project_id, usage_id, reason, instant(voided_at), actor, last_number)
