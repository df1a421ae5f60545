"""Hourly and daily rollups of usage, and folding events into them.

A project's *mark* is the place up to which it is folded: its rollups hold exactly the events below the
mark, less those that were voided below the mark. What lies at or above the mark is the project's tail.
Rollups and mark move in one unit, so whoever reads both in one statement counts each event once, whatever
is folded meanwhile.

A project without a mark has never been folded and is read from its raw events alone. After a database was
restored from a dump its projects are to be folded anew, for their places are those of the old server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import evolve, frozen
from sqlalchemy import BigInteger, CheckConstraint, Column, PrimaryKeyConstraint, Table

from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import insert_new
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.columns import METADATA, TransactionId, small, tenant, text, whole
from neruba_core.storage.sql.events import VOIDS
from neruba_core.storage.sql.places import Words, asked, each
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.usage.model import ActiveDay

HOUR = 3_600_000_000
"""In microseconds, as timestamps are kept."""

DAY = 24
"""In hours."""

LOW_BITS = 0xFFFFFFFF
"""A sum may exceed 64 bits, so the low and the high halves of the units are summed apart."""

PROJECTS = (8, 64, 512)
"""How many projects with a tail are asked for at first, and then, while more may be folded, besides.

Their events are counted, up to as many as may be folded, before any is; were all projects counted at once, a
backlog of many large ones would take longer to count than a statement may run, and none would ever be folded.
"""

Table(
    "neruba_usage_rollups",
    METADATA,
    text("project_id"),
    text("metric_key"),
    # How many hours it covers, 1 or 24, and the first of them since 1970.
    small("hours"),
    whole("hour"),
    whole("events"),
    whole("sum_low"),
    whole("sum_high"),
    whole("max_micros"),
    whole("min_micros"),
    whole("last_at"),
    PrimaryKeyConstraint("project_id", "hours", "metric_key", "hour", name="neruba_usage_rollups_pk"),
    tenant("neruba_usage_rollups"),
    CheckConstraint("events > 0", name="neruba_usage_rollups_events_ck"),
    sqlite_with_rowid=False,
)

Table(
    "neruba_rollup_marks",
    METADATA,
    text("project_id"),
    Column("mark", TransactionId().with_variant(BigInteger(), "sqlite"), nullable=False),
    PrimaryKeyConstraint("project_id", name="neruba_rollup_marks_pk"),
    tenant("neruba_rollup_marks"),
    sqlite_with_rowid=False,
)

ADD_VOID = evolve(
    insert_new(VOIDS, "project_id", "usage_id"),
    sqlite="INSERT INTO neruba_usage_voids "
    "(project_id, usage_id, reason, voided_at, actor, last_number, place) VALUES "
    "(?, ?, ?, ?, ?, ?, (SELECT coalesce(max(rowid), 0) + 1 FROM neruba_usage_events)) "
    "ON CONFLICT (project_id, usage_id) DO NOTHING",
    values="",
)

_INTO = """
    INSERT INTO neruba_usage_rollups AS r (
        project_id, metric_key, hours, hour, events, sum_low, sum_high, max_micros, min_micros, last_at
    )
"""
_ADDED_UP = f"""
    count(*), sum(e.units_micros & {LOW_BITS}), sum(e.units_micros >> 32),
    max(e.units_micros), min(e.units_micros), max(e.timestamp)
"""
_MERGED = """
    ON CONFLICT (project_id, hours, metric_key, hour) DO UPDATE SET
        events = r.events + excluded.events,
        sum_low = r.sum_low + excluded.sum_low,
        sum_high = r.sum_high + excluded.sum_high,
        max_micros = CASE WHEN r.max_micros > excluded.max_micros
            THEN r.max_micros ELSE excluded.max_micros END,
        min_micros = CASE WHEN r.min_micros < excluded.min_micros
            THEN r.min_micros ELSE excluded.min_micros END,
        last_at = CASE WHEN r.last_at > excluded.last_at THEN r.last_at ELSE excluded.last_at END
"""


def _folding(words: Words) -> str:
    """The pieces that are folded: of each project the places in ``[lower, upper)``."""
    return words.rows("pieces", project_id="text", lower="place", upper="place")


def _hours(words: Words) -> str:
    """The hours that are made anew."""
    return words.rows("hours", project_id="text", metric_key="text", hour="bigint")


def _due(words: Words) -> str:
    """The next projects with a tail below the horizon: mark, horizon, and the events up to a place that holds
    about as many as may be folded."""
    below = f"e.project_id = p.id AND {words.event} >= p.mark AND {words.event} < p.horizon"
    return f"""
    WITH p AS (
        SELECT p.id, coalesce(m.mark, {words.place("0")}) AS mark, h.horizon
        FROM (SELECT {words.horizon} AS horizon) h
        CROSS JOIN neruba_projects p
        LEFT JOIN neruba_rollup_marks m ON m.project_id = p.id
    )
    SELECT p.id, {words.number("p.mark")}, {words.number("p.horizon")},
        (SELECT count(*) FROM (
            SELECT 1 FROM neruba_usage_events e WHERE {below} ORDER BY {words.event} LIMIT :at_most
        ) AS few),
        (SELECT {words.number(words.event)} FROM neruba_usage_events e WHERE {below}
            ORDER BY {words.event} LIMIT 1 OFFSET :at_most - 1)
    FROM p
    WHERE p.id > :after AND (
        EXISTS (SELECT 1 FROM neruba_usage_events e WHERE {below})
        OR EXISTS (
            SELECT 1 FROM neruba_usage_voids v
            WHERE v.project_id = p.id AND {words.void} >= p.mark AND {words.void} < p.horizon
        )
    )
    ORDER BY p.id LIMIT :projects
    """


def _voided_before(words: Words, place: str) -> str:
    return f"""EXISTS (
        SELECT 1 FROM neruba_usage_voids v
        WHERE v.project_id = e.project_id AND v.usage_id = e.id AND {words.void} < {place}
    )"""


def _merge(words: Words) -> str:
    fresh = f"e.project_id = f.project_id AND {words.event} >= f.lower AND {words.event} < f.upper"
    tail_index = "neruba_usage_events_tail_ix"
    return f"""
    WITH f AS (
        SELECT p.*, EXISTS (
            SELECT 1 FROM neruba_usage_voids v WHERE v.project_id = p.project_id AND {words.void} < p.upper
        ) AS voided
        FROM {_folding(words)} p
    ),
    fresh (project_id, metric_key, hour, events, sum_low, sum_high, max_micros, min_micros, last_at) AS (
        SELECT e.project_id, e.metric_key, e.timestamp / {HOUR}, {_ADDED_UP}
        FROM f {each(words, "neruba_usage_events", "e", fresh, order=words.event, index=tail_index)}
        WHERE NOT f.voided OR NOT {_voided_before(words, "f.upper")}
        GROUP BY 1, 2, 3
    )
    {_INTO}
    SELECT project_id, metric_key, 1, hour, events, sum_low, sum_high, max_micros, min_micros, last_at
    FROM fresh
    UNION ALL
    SELECT project_id, metric_key, {DAY}, hour / {DAY} * {DAY},
        sum(events), sum(sum_low), sum(sum_high), max(max_micros), min(min_micros), max(last_at)
    FROM fresh WHERE true GROUP BY 1, 2, 4
    {_MERGED}
    """


def _unsettled(words: Words) -> str:
    """The hours of events that were folded before and are voided in these pieces."""
    fresh = f"v.project_id = f.project_id AND {words.void} >= f.lower AND {words.void} < f.upper"
    folded = f"e.project_id = v.project_id AND e.id = v.usage_id AND {words.event} < f.lower"
    return f"""
    SELECT DISTINCT e.project_id, e.metric_key, e.timestamp / {HOUR}
    FROM {_folding(words)} f
    {each(words, "neruba_usage_voids", "v", fresh, order=words.void, index="neruba_usage_voids_tail_ix")}
    {each(words, "neruba_usage_events", "e", folded)}
    """


def _forget_hours(words: Words) -> str:
    return f"""
    DELETE FROM neruba_usage_rollups WHERE (project_id, metric_key, hours, hour) IN (
        SELECT h.project_id, h.metric_key, s.hours, h.hour / s.hours * s.hours
        FROM {_hours(words)} h CROSS JOIN (SELECT 1 AS hours UNION ALL SELECT {DAY}) s
    )
    """


def _make_hours(words: Words) -> str:
    within = f"""e.project_id = h.project_id AND e.metric_key = h.metric_key
        AND e.timestamp >= h.hour * {HOUR} AND e.timestamp < (h.hour + 1) * {HOUR}
        AND {words.event} < f.upper AND NOT {_voided_before(words, "f.upper")}"""
    return f"""
    {_INTO}
    SELECT e.project_id, e.metric_key, 1, h.hour, {_ADDED_UP}
    FROM {_hours(words)} h JOIN {_folding(words)} f ON f.project_id = h.project_id
    {each(words, "neruba_usage_events", "e", within)}
    GROUP BY e.project_id, e.metric_key, h.hour
    """


def _make_days(words: Words) -> str:
    return f"""
    {_INTO}
    SELECT h.project_id, h.metric_key, {DAY}, d.day,
        sum(h.events), sum(h.sum_low), sum(h.sum_high), max(h.max_micros), min(h.min_micros), max(h.last_at)
    FROM (SELECT DISTINCT project_id, metric_key, hour / {DAY} * {DAY} AS day FROM {_hours(words)} h) d
    CROSS JOIN neruba_usage_rollups h
    WHERE h.project_id = d.project_id AND h.metric_key = d.metric_key
        AND h.hours = 1 AND h.hour >= d.day AND h.hour < d.day + {DAY}
    GROUP BY h.project_id, h.metric_key, d.day
    """


def _set_marks(words: Words) -> str:
    return f"""
    INSERT INTO neruba_rollup_marks (project_id, mark)
    SELECT f.project_id, f.upper FROM {_folding(words)} f WHERE true
    ON CONFLICT (project_id) DO UPDATE SET mark = excluded.mark
    """


def _changed_days(words: Words) -> str:
    since = words.place(":since")
    return f"""
    SELECT e.metric_key, e.timestamp / {HOUR * DAY} AS day FROM neruba_usage_events e
    WHERE e.project_id = :project_id AND {words.event} >= {since} AND e.timestamp < :before
    UNION
    SELECT e.metric_key, e.timestamp / {HOUR * DAY} AS day
    FROM neruba_usage_voids v CROSS JOIN neruba_usage_events e
    WHERE v.project_id = :project_id AND {words.void} >= {since}
        AND e.project_id = v.project_id AND e.id = v.usage_id AND e.timestamp < :before
    ORDER BY 1, 2
    """


_DUE = asked(_due)
_MERGE = asked(_merge)
_UNSETTLED = asked(_unsettled)
_FORGET_HOURS = asked(_forget_hours)
_MAKE_HOURS = asked(_make_hours)
_MAKE_DAYS = asked(_make_days)
_SET_MARKS = asked(_set_marks)
_CHANGED_DAYS = asked(_changed_days)
_HORIZON = asked(lambda words: f"SELECT {words.number(words.horizon)}")
_FORGET_ROLLUPS = asked(lambda _: "DELETE FROM neruba_usage_rollups WHERE project_id = :project_id")
_FORGET_MARK = asked(lambda _: "DELETE FROM neruba_rollup_marks WHERE project_id = :project_id")

# One folds at a time: on SQLite by the write lock, here by a lock that ends with the unit.
_LOCK = "hashtextextended('neruba rollups', 0)"
_TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({_LOCK})"
_WAIT_FOR_LOCK = f"SELECT pg_advisory_xact_lock({_LOCK})"


@frozen
class SqlRollups(SqlStore):
    """The part of ``UsageStore`` that folds."""

    def mark(self) -> int:
        return int(self._statements.ask_one(_HORIZON)[0])

    def changed_days(self, project_id: str, *, since: int, before: Instant) -> Sequence[ActiveDay]:
        rows = self._statements.ask(_CHANGED_DAYS, project_id=project_id, since=since, before=micros(before))
        return [ActiveDay(project_id, metric_key, instant(day * DAY * HOUR)) for metric_key, day in rows]

    def fold(self, *, at_most: int) -> int:
        statements = self._statements
        if statements.postgresql and not statements.driver_rows(_TRY_LOCK)[0][0]:
            return 0
        pieces, folded = self._pieces(at_most)
        if pieces:
            self._fold(json.dumps(pieces))
        return folded

    def folds_due(self) -> bool:
        return bool(self._statements.ask(_DUE, at_most=1, after="", projects=1))

    def _pieces(self, at_most: int) -> tuple[list[tuple[str, int, int]], int]:
        """The pieces of about *at_most* events that wait, and how many these are."""
        pieces: list[tuple[str, int, int]] = []
        folded, after = 0, ""
        for projects in PROJECTS:
            rows = self._statements.ask(_DUE, at_most=at_most - folded, after=after, projects=projects)
            for after, mark, horizon, events, last in rows:
                pieces.append((after, mark, horizon if last is None else last + 1))
                folded += max(events, 1)
                if folded >= at_most:
                    return pieces, folded
            if len(rows) < projects:
                break
        return pieces, folded

    def _fold(self, pieces: str) -> None:
        statements = self._statements
        statements.do(_MERGE, pieces=pieces)
        unsettled = [tuple(row) for row in statements.ask(_UNSETTLED, pieces=pieces)]
        if unsettled:
            hours = json.dumps(unsettled)
            statements.do(_FORGET_HOURS, hours=hours)
            statements.do(_MAKE_HOURS, hours=hours, pieces=pieces)
            statements.do(_MAKE_DAYS, hours=hours)
        statements.do(_SET_MARKS, pieces=pieces)

    def refold(self, project_id: str) -> None:
        if self._statements.postgresql:
            self._statements.driver_rows(_WAIT_FOR_LOCK)
        self._statements.do(_FORGET_ROLLUPS, project_id=project_id)
        self._statements.do(_FORGET_MARK, project_id=project_id)
