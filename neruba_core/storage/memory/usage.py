"""Usage events, voids and quarantine in memory.

Totals are taken over a list of each metric's events. The list is in the order of arrival: an insert costs
the same however many events there are, and a read looks at every event of its metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, evolve, field

from neruba_core.instants import Instant
from neruba_core.storage.memory.tables import Table, Undo
from neruba_core.usage.model import QuarantinedUsage, QuarantineState, Totals, UsageEvent, UsageVoid


@define(eq=False)
class UsageTables:
    """*by_key* and *by_event_id* are the two unique keys of an event, *by_fingerprint* that of quarantine."""

    events: Table[str, UsageEvent] = field(factory=Table)
    by_key: dict[tuple[str, str], UsageEvent] = field(factory=dict)
    by_event_id: dict[tuple[str, str], UsageEvent] = field(factory=dict)
    of_metric: dict[tuple[str, str], list[UsageEvent]] = field(factory=dict)
    metrics_of: dict[str, list[str]] = field(factory=dict)
    voids: Table[str, UsageVoid] = field(factory=Table)
    quarantined: Table[str, QuarantinedUsage] = field(factory=Table)
    by_fingerprint: dict[tuple[str, str, bytes], str] = field(factory=dict)
    quarantined_with_key: dict[tuple[str, str], list[str]] = field(factory=dict)


@define(eq=False)
class MemoryUsage:
    """``UsageStore`` within one unit."""

    _tables: UsageTables
    _undo: Undo

    def insert(self, events: Sequence[UsageEvent]) -> set[str] | None:
        inserted = {event.id for event in events if self._insert(event)}
        return None if len(inserted) == len(events) else inserted

    def _insert(self, event: UsageEvent) -> bool:
        tables, undo = self._tables, self._undo
        project_id = event.project_id
        key, event_id = (project_id, event.idempotency_key), (project_id, event.event_id)
        if key in tables.by_key or event_id in tables.by_event_id:
            return False
        if event.properties is not None:
            event = evolve(event, properties=dict(event.properties))
        tables.events.add(undo, project_id, event.id, event)
        undo.put(tables.by_key, key, event)
        undo.put(tables.by_event_id, event_id, event)
        metric = (project_id, event.metric_key)
        if metric not in tables.of_metric:
            undo.push(tables.metrics_of, project_id, event.metric_key)
        undo.push(tables.of_metric, metric, event)
        return True

    def by_keys(self, project_id: str, keys: Iterable[str]) -> dict[str, UsageEvent]:
        found = ((key, self._tables.by_key.get((project_id, key))) for key in keys)
        return {key: event for key, event in found if event is not None}

    def by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, UsageEvent]:
        found = ((event_id, self._tables.by_event_id.get((project_id, event_id))) for event_id in event_ids)
        return {event_id: event for event_id, event in found if event is not None}

    def event(self, project_id: str, usage_id: str) -> UsageEvent | None:
        return self._tables.events.get(project_id, usage_id)

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
        def wanted(event: UsageEvent) -> bool:
            return (
                (metric_key is None or event.metric_key == metric_key)
                and (start is None or start <= event.timestamp)
                and (end is None or event.timestamp < end)
            )

        return self._tables.events.page(project_id, limit=limit, before=before, wanted=wanted)

    def add_void(self, void: UsageVoid) -> UsageVoid | None:
        earlier = self._tables.voids.get(void.project_id, void.usage_id)
        if earlier is None:
            self._tables.voids.add(self._undo, void.project_id, void.usage_id, void)
        return earlier

    def voids(self, project_id: str, usage_ids: Iterable[str]) -> dict[str, UsageVoid]:
        return self._tables.voids.some(project_id, usage_ids)

    # --- aggregates ---------------------------------------------------------------------------

    def totals(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> Totals:
        events = list(self._between(project_id, metric_key, start, end))
        if not events:
            return Totals(count=0, sum_micros=0, max_micros=None, min_micros=None, last_micros=None)
        units = [event.units_micros for event in events]
        last = max(events, key=lambda event: (event.timestamp, event.id))
        return Totals(
            count=len(units),
            sum_micros=sum(units),
            max_micros=max(units),
            min_micros=min(units),
            last_micros=last.units_micros,
        )

    def distinct(
        self, project_id: str, metric_key: str, property_name: str, start: Instant, end: Instant
    ) -> int:
        # The type goes along, for Python holds 1 and True to be equal.
        values = {
            (type(event.properties[property_name]), event.properties[property_name])
            for event in self._between(project_id, metric_key, start, end)
            if event.properties is not None and property_name in event.properties
        }
        return len(values)

    def extent(self, project_id: str) -> dict[str, tuple[Instant, Instant]]:
        extents = {}
        for metric_key in self._tables.metrics_of.get(project_id, ()):
            timestamps = [event.timestamp for event in self._unvoided(project_id, metric_key)]
            if timestamps:
                extents[metric_key] = (min(timestamps), max(timestamps))
        return extents

    def counts(self, project_id: str, start: Instant, end: Instant) -> dict[str, int]:
        metric_keys = self._tables.metrics_of.get(project_id, ())
        counted = {key: sum(1 for _ in self._between(project_id, key, start, end)) for key in metric_keys}
        return {key: count for key, count in counted.items() if count}

    def _unvoided(self, project_id: str, metric_key: str) -> Iterable[UsageEvent]:
        events = self._tables.of_metric.get((project_id, metric_key), ())
        if not self._tables.voids.count(project_id):
            return events
        return (event for event in events if self._tables.voids.get(project_id, event.id) is None)

    def _between(
        self, project_id: str, metric_key: str, start: Instant, end: Instant
    ) -> Iterator[UsageEvent]:
        events = self._unvoided(project_id, metric_key)
        return (event for event in events if start <= event.timestamp < end)

    # --- quarantine ---------------------------------------------------------------------------

    def quarantine(self, waiting: QuarantinedUsage) -> QuarantinedUsage:
        tables, undo = self._tables, self._undo
        key = (waiting.project_id, waiting.event.idempotency_key)
        fingerprint = (*key, waiting.fingerprint)
        earlier_id = tables.by_fingerprint.get(fingerprint)
        if earlier_id is not None:
            earlier = self.quarantined(waiting.project_id, earlier_id)
            assert earlier is not None
            return earlier
        if waiting.event.properties is not None:
            event = evolve(waiting.event, properties=dict(waiting.event.properties))
            waiting = evolve(waiting, event=event)
        tables.quarantined.add(undo, waiting.project_id, waiting.id, waiting)
        undo.put(tables.by_fingerprint, fingerprint, waiting.id)
        undo.push(tables.quarantined_with_key, key, waiting.id)
        return waiting

    def quarantined(self, project_id: str, quarantine_id: str) -> QuarantinedUsage | None:
        return self._tables.quarantined.get(project_id, quarantine_id)

    def quarantined_by_keys(self, project_id: str, keys: Iterable[str]) -> Sequence[QuarantinedUsage]:
        lists = (self._tables.quarantined_with_key.get((project_id, key), ()) for key in set(keys))
        rows = self._tables.quarantined.some(project_id, sorted(row_id for ids in lists for row_id in ids))
        return tuple(row for row in rows.values() if row.state is QuarantineState.WAITING)

    def close_quarantined(self, project_id: str, quarantine_id: str, state: QuarantineState) -> bool:
        row = self.quarantined(project_id, quarantine_id)
        if row is None or row.state is not QuarantineState.WAITING:
            return False
        self._tables.quarantined.replace(self._undo, project_id, quarantine_id, evolve(row, state=state))
        return True
