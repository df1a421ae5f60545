"""Usage events, voids and quarantine in memory.

The events that count are kept by metric in the order in which they happened, so that a read looks only at
its span. There are no rollups: everything is added up from the events, which is what rollups must equal.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from operator import attrgetter, itemgetter

from attrs import astuple, define, evolve, field

from neruba_core.instants import Instant
from neruba_core.storage.memory.tables import Table, Undo
from neruba_core.texts import PropertyValue
from neruba_core.usage.model import (
    ActiveDay,
    HoldKind,
    LateHold,
    QuarantinedUsage,
    QuarantineState,
    Totals,
    UsageEvent,
    UsageVoid,
    Wanted,
)

_MIDNIGHT = time(tzinfo=UTC)
_LAST_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)
_FIRST = itemgetter(0)
_timestamp = attrgetter("timestamp")
_order = attrgetter("timestamp", "id")
_ABSENT = ""
"""Comes before the text of any value."""


@define(eq=False)
class UsageTables:
    """*by_key* and *by_event_id* are the two unique keys of an event, *by_fingerprint* that of quarantine.

    *counting* has a metric's events that count, by timestamp and id; *changes* what was recorded or voided
    in a project, by how much had been before, anywhere; *voided* what *voids* has of all projects.
    """

    events: Table[str, UsageEvent] = field(factory=Table)
    by_key: dict[tuple[str, str], UsageEvent] = field(factory=dict)
    by_event_id: dict[tuple[str, str], UsageEvent] = field(factory=dict)
    metrics_of: dict[str, list[str]] = field(factory=dict)
    counting: dict[tuple[str, str], list[UsageEvent]] = field(factory=dict)
    changes: dict[str, list[tuple[int, UsageEvent]]] = field(factory=dict)
    voids: Table[str, UsageVoid] = field(factory=Table)
    voided: dict[tuple[str, str], UsageVoid] = field(factory=dict)
    quarantined: Table[str, QuarantinedUsage] = field(factory=Table)
    by_fingerprint: dict[tuple[str, str, bytes], str] = field(factory=dict)
    quarantined_with_key: dict[tuple[str, str], list[str]] = field(factory=dict)
    holds: Table[tuple[str, str], LateHold] = field(factory=Table)


@define(eq=False)
class MemoryUsage:
    """``UsageStore`` within one unit."""

    _tables: UsageTables
    _undo: Undo

    def insert(self, events: Sequence[UsageEvent], *, presumed_new: bool = False) -> set[str] | None:
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
        undo.push(tables.changes, project_id, (self.mark(), event))
        tables.events.add(undo, project_id, event.id, event)
        undo.add(tables.by_key, key, event)
        undo.add(tables.by_event_id, event_id, event)
        undo.insort(self._counting(event), event, _order)
        return True

    def _counting(self, event: UsageEvent) -> list[UsageEvent]:
        metric = (event.project_id, event.metric_key)
        events = self._tables.counting.get(metric)
        if events is None:
            events = []
            self._undo.add(self._tables.counting, metric, events)
            self._undo.push(self._tables.metrics_of, event.project_id, event.metric_key)
        return events

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
        place = (void.project_id, void.usage_id)
        earlier = self._tables.voided.get(place)
        if earlier is None:
            event = self.event(*place)
            assert event is not None, "only what was recorded is voided"
            self._undo.push(self._tables.changes, event.project_id, (self.mark(), event))
            self._tables.voids.add(self._undo, *place, void)
            self._undo.add(self._tables.voided, place, void)
            self._undo.withdraw(self._counting(event), event, _order)
        return earlier

    def voids(self, project_id: str, usage_ids: Iterable[str]) -> dict[str, UsageVoid]:
        return self._tables.voids.some(project_id, usage_ids)

    # --- aggregates ---------------------------------------------------------------------------

    def totals(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> Totals:
        return _totals(self._between(project_id, metric_key, start, end))

    def totals_of(self, wanted: Sequence[Wanted], *, raw: bool = False) -> Sequence[Totals]:
        return [_sums(self._wanted(one)) if one.sums_only else _totals(self._wanted(one)) for one in wanted]

    def distinct_of(self, wanted: Sequence[Wanted], property_name: str) -> Sequence[int]:
        return [_distinct(self._wanted(one), property_name) for one in wanted]

    def grouped_totals(
        self, wanted: Wanted, property_name: str, *, at_most: int
    ) -> Sequence[tuple[PropertyValue | None, Totals]]:
        groups = self._groups(wanted, property_name)[:at_most]
        return [(_value(text), _totals(events)) for text, events in groups]

    def grouped_distinct(
        self, wanted: Wanted, property_name: str, of: str, *, at_most: int
    ) -> Sequence[tuple[PropertyValue | None, int]]:
        groups = self._groups(wanted, property_name)[:at_most]
        return [(_value(text), _distinct(events, of)) for text, events in groups]

    def _groups(self, wanted: Wanted, property_name: str) -> list[tuple[str, list[UsageEvent]]]:
        groups: dict[str, list[UsageEvent]] = {}
        for event in self._wanted(wanted):
            groups.setdefault(_text(event, property_name), []).append(event)
        return sorted(groups.items(), key=itemgetter(0))

    def _wanted(self, wanted: Wanted) -> list[UsageEvent]:
        return self._between(wanted.project_id, wanted.metric_key, wanted.start, wanted.end)

    def active_days(
        self, project_ids: Iterable[str], *, start: Instant | None = None, end: Instant | None = None
    ) -> Sequence[ActiveDay]:
        return [
            ActiveDay(project_id, metric_key, day)
            for project_id in sorted(set(project_ids))
            for metric_key in sorted(self._tables.metrics_of.get(project_id, ()))
            for day in self._days(project_id, metric_key, start, end)
        ]

    def _days(
        self, project_id: str, metric_key: str, start: Instant | None, end: Instant | None
    ) -> Iterator[Instant]:
        events = self._tables.counting[project_id, metric_key]
        place = 0 if start is None else bisect_left(events, start, key=_timestamp)
        last = len(events) if end is None else bisect_left(events, end, key=_timestamp)
        while place < last:
            day = _day(events[place].timestamp)
            yield day
            place = bisect_right(events, day + _LAST_OF_DAY, lo=place, key=_timestamp)

    def _between(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> list[UsageEvent]:
        events = self._tables.counting.get((project_id, metric_key), [])
        first, last = bisect_left(events, start, key=_timestamp), bisect_left(events, end, key=_timestamp)
        return events[first:last]

    # --- what has been recorded since ---------------------------------------------------------

    def mark(self) -> int:
        return len(self._tables.by_key) + len(self._tables.voided)

    def changed_days(self, project_id: str, *, since: int, before: Instant) -> Sequence[ActiveDay]:
        changes = self._tables.changes.get(project_id, [])
        new = changes[bisect_left(changes, since, key=_FIRST) :]
        days = {
            ActiveDay(project_id, event.metric_key, _day(event.timestamp))
            for _, event in new
            if event.timestamp < before
        }
        return sorted(days, key=astuple)

    def fold(self, *, at_most: int) -> int:
        return 0

    def folds_due(self) -> bool:
        return False

    def refold(self, project_id: str) -> None:
        """There is nothing to forget."""

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

    # --- late usage that waits for support ----------------------------------------------------

    def hold(self, holds: Sequence[LateHold]) -> None:
        for hold in holds:
            key = (hold.usage_id, hold.kind.value)
            if self._tables.holds.get(hold.project_id, key) is None:
                self._tables.holds.add(self._undo, hold.project_id, key, hold)

    def holds(self, project_ids: Iterable[str]) -> Sequence[LateHold]:
        ordered = sorted(set(project_ids))
        return tuple(hold for each in ordered for hold in self._tables.holds.ascending(each))

    def close_hold(self, project_id: str, usage_id: str, kind: HoldKind, state: QuarantineState) -> bool:
        key = (usage_id, kind.value)
        hold = self._tables.holds.get(project_id, key)
        if hold is None or hold.state is not QuarantineState.WAITING:
            return False
        self._tables.holds.replace(self._undo, project_id, key, evolve(hold, state=state))
        return True


def _totals(events: Sequence[UsageEvent]) -> Totals:
    """Of *events* in the order in which they happened."""
    if not events:
        return Totals(count=0, sum_micros=0, max_micros=None, min_micros=None, last_micros=None)
    units = [event.units_micros for event in events]
    return Totals(
        count=len(units),
        sum_micros=sum(units),
        max_micros=max(units),
        min_micros=min(units),
        last_micros=units[-1],
    )


def _sums(events: Sequence[UsageEvent]) -> Totals:
    """What is asked for most, without the rest."""
    units_micros = sum([event.units_micros for event in events])
    return Totals(
        count=len(events), sum_micros=units_micros, max_micros=None, min_micros=None, last_micros=None
    )


def _distinct(events: Iterable[UsageEvent], property_name: str) -> int:
    return len({_text(event, property_name) for event in events} - {_ABSENT})


def _text(event: UsageEvent, property_name: str) -> str:
    """The property's value as JSON text, in which 1 and true differ as they do not in Python."""
    value = (event.properties or {}).get(property_name)
    return _ABSENT if value is None else json.dumps(value, ensure_ascii=False)


def _value(text: str) -> PropertyValue | None:
    value: PropertyValue | None = None if text == _ABSENT else json.loads(text)
    return value


def _day(moment: Instant) -> Instant:
    return datetime.combine(moment, _MIDNIGHT)
