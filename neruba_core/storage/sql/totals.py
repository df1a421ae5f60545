"""Totals of usage events: what metrics come to in spans of time, without the events that were voided.

A span is put together from rollups of its whole days, rollups of its other whole hours of UTC, the raw
events at its edges, and the tail that is not folded yet. An hour that lost a folded event since then is
*unsettled*: it is read from its raw events, and its day by its hours. All of that is one statement, so that
a total is right at every instant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from attrs import frozen

from neruba_core.instants import Instant
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.places import Words, asked, each
from neruba_core.storage.sql.rollups import DAY, HOUR, LOW_BITS
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.usage.model import ActiveDay, Totals, Wanted

MOST_WANTED = 500
"""How many totals one statement is asked for."""

_BEGINNING, _END = 0, 1 << 60
_NOTHING = Totals(count=0, sum_micros=0, max_micros=None, min_micros=None, last_micros=None)

UNVOIDED = """(NOT w.voided OR NOT EXISTS (
    SELECT 1 FROM neruba_usage_voids v WHERE v.project_id = e.project_id AND v.usage_id = e.id
))"""
"""That an event ``e`` counts; voids are looked for only in projects ``w`` that have some."""

_FOLDED_AND_VOIDED = """
    mark, EXISTS (SELECT 1 FROM neruba_usage_voids v WHERE v.project_id = x.project_id) AS voided
    FROM {rows} x LEFT JOIN neruba_rollup_marks m ON m.project_id = x.project_id {unless}
"""


def tail(words: Words, project: str) -> str:
    """The events of *project* that are not folded yet."""
    return each(
        words,
        "neruba_usage_events",
        "e",
        f"e.project_id = {project}.project_id AND {words.event} >= {project}.mark",
        order=words.event,
        index="neruba_usage_events_tail_ix",
    )


def unsettled(words: Words) -> str:
    """The hours that lost a folded event since they were folded, in the projects ``w``."""
    late_void = f"v.project_id = p.project_id AND {words.void} >= p.mark"
    folded = f"e.project_id = v.project_id AND e.id = v.usage_id AND {words.event} < p.mark"
    return f"""
    SELECT DISTINCT e.project_id, e.metric_key, e.timestamp / {HOUR} AS hour
    FROM (SELECT DISTINCT project_id, mark FROM w WHERE voided AND mark IS NOT NULL) p
    {each(words, "neruba_usage_voids", "v", late_void, order=words.void, index="neruba_usage_voids_tail_ix")}
    {each(words, "neruba_usage_events", "e", folded)}
    """


_PART = ("events", "low", "high", "most", "least", "last_at")
_RANKS = "max(e.units_micros), min(e.units_micros), max(e.timestamp)"
_NO_RANKS = ", ".join(["CAST(NULL AS bigint)"] * 3)


def _added_up(words: Words, of: str, columns: str, source: str) -> str:
    """For each row ``w`` of *of*, what the *columns* come to among *source* (``… WHERE …``).

    SQLite sorts whatever it groups, but not what a subquery adds up, which gives one value: so there a part
    is an array.
    """
    if words.postgresql:
        return f"SELECT w.n, x.* FROM {of} w CROSS JOIN LATERAL (SELECT {columns} FROM {source}) x"
    return f"SELECT w.n, (SELECT json_array({columns}) FROM {source}) FROM {of} w"


def _part(words: Words) -> Iterator[str]:
    """The values of a part."""
    for place, name in enumerate(_PART):
        yield name if words.postgresql else f"json_extract(part, '$[{place}]')"


def _totals(words: Words, *, sums_only: bool = False) -> str:
    ranks = _NO_RANKS if sums_only else _RANKS
    wanted = words.rows(
        "wanted", n="bigint", project_id="text", metric_key="text", lower="bigint", upper="bigint",
        inner_lower="bigint", inner_upper="bigint",
        first_hour="bigint", first_day="bigint", last_day="bigint", last_hour="bigint",
    )  # fmt: skip
    same = "{0}.project_id = w.project_id AND {0}.metric_key = w.metric_key"
    rolled = f"""{same.format("r")} AND r.hours = w.hours AND r.hour >= w.first_hour AND r.hour < w.last_hour
        AND (NOT w.voided OR NOT EXISTS (
            SELECT 1 FROM unsettled u
            WHERE {same.format("u")} AND u.hour >= r.hour AND u.hour < r.hour + r.hours
        ))"""
    # Apart from the look for voids, all of it is in the index.
    raw = f"""neruba_usage_events e WHERE {same.format("e")}
        AND e.timestamp >= w.lower AND e.timestamp < w.upper"""
    rolled_ranks = _NO_RANKS if sums_only else "max(r.max_micros), min(r.min_micros), max(r.last_at)"
    rollup = f"sum(r.events), sum(r.sum_low), sum(r.sum_high), {rolled_ranks}"
    halves = f"sum(e.units_micros & {LOW_BITS}), sum(e.units_micros >> 32)"
    # PostgreSQL sums in NUMERIC.
    added = f"count(*), {'sum(e.units_micros), 0' if words.postgresql else halves}, {ranks}"
    events, low, high, most, least, last_at = _part(words)
    last = f"""(
        SELECT e.units_micros FROM neruba_usage_events e
        WHERE {same.format("e")} AND e.timestamp = p.last_at AND {UNVOIDED}
        ORDER BY e.id DESC LIMIT 1
    )"""
    return f"""
    WITH w AS (
        SELECT x.*, {_FOLDED_AND_VOIDED.format(rows=wanted, unless="AND NOT :raw")}
    ),
    unsettled AS ({unsettled(words)}),
    hours AS (
        SELECT n, project_id, metric_key, voided,
            {DAY} AS hours, first_day AS first_hour, last_day AS last_hour
        FROM w WHERE mark IS NOT NULL AND first_day < last_day
        UNION ALL
        SELECT n, project_id, metric_key, voided, 1, first_hour, first_day
        FROM w WHERE mark IS NOT NULL AND first_hour < first_day
        UNION ALL
        SELECT n, project_id, metric_key, voided, 1, last_day, last_hour
        FROM w WHERE mark IS NOT NULL AND last_day < last_hour
        UNION ALL
        SELECT DISTINCT n, w.project_id, w.metric_key, voided, 1,
            u.hour / {DAY} * {DAY}, u.hour / {DAY} * {DAY} + {DAY}
        FROM w JOIN unsettled u ON {same.format("u")}
        WHERE u.hour >= w.first_day AND u.hour < w.last_day
    ),
    raw AS (
        SELECT n, project_id, metric_key, voided, lower,
            CASE WHEN mark IS NULL THEN upper ELSE inner_lower END AS upper
        FROM w
        UNION ALL
        SELECT n, project_id, metric_key, voided, inner_upper, upper
        FROM w WHERE mark IS NOT NULL AND inner_upper < upper
        UNION ALL
        SELECT n, w.project_id, w.metric_key, voided, u.hour * {HOUR}, (u.hour + 1) * {HOUR}
        FROM w JOIN unsettled u ON {same.format("u")}
        WHERE u.hour >= w.first_hour AND u.hour < w.last_hour
    ),
    parts (n, {", ".join(_PART) if words.postgresql else "part"}) AS (
        {_added_up(words, "hours", rollup, f"neruba_usage_rollups r WHERE {rolled}")}
        UNION ALL
        {_added_up(words, "(SELECT * FROM raw WHERE NOT voided)", added, raw)}
        UNION ALL
        {_added_up(words, "(SELECT * FROM raw WHERE voided)", added, f"{raw} AND {UNVOIDED}")}
        UNION ALL
        SELECT w.n, {added if words.postgresql else f"json_array({added})"}
        FROM (SELECT DISTINCT project_id, mark FROM w WHERE mark IS NOT NULL) p
        {tail(words, "p")}
        JOIN w ON {same.format("e")} AND e.timestamp >= w.inner_lower AND e.timestamp < w.inner_upper
        WHERE {UNVOIDED} AND NOT EXISTS (
            SELECT 1 FROM unsettled u WHERE {same.format("u")} AND u.hour = e.timestamp / {HOUR}
        )
        GROUP BY w.n
    )
    SELECT w.n, p.events, p.low, p.high, p.most, p.least, {"NULL" if sums_only else last}
    FROM w JOIN (
        SELECT n, sum({events}) AS events, sum({low}) AS low, sum({high}) AS high,
            max({most}) AS most, min({least}) AS least, max({last_at}) AS last_at
        FROM parts GROUP BY n
    ) p ON p.n = w.n
    """


def _steps(words: Words) -> str:
    """From one event to the first of the next day or metric, through projects that were never folded.

    Each step is one look into the index, however many events a day has.
    """
    next_event = f"""
        SELECT {{columns}} FROM neruba_usage_events e
        WHERE e.project_id = w.project_id AND (e.metric_key, e.timestamp) >= (w.metric_key, w.next_at)
            AND {UNVOIDED}
        ORDER BY e.metric_key, e.timestamp LIMIT 1
    """
    found = (
        f"CROSS JOIN LATERAL ({next_event.format(columns='e.metric_key, e.timestamp')}) e"
        if words.postgresql
        else f"CROSS JOIN neruba_usage_events e ON e.rowid = ({next_event.format(columns='e.rowid')})"
    )
    next_at = f"""CASE WHEN e.timestamp < w.lower THEN w.lower WHEN e.timestamp >= w.upper THEN {_END}
        ELSE (e.timestamp / {DAY * HOUR} + 1) * {DAY * HOUR} END"""
    step = f"SELECT w.project_id, w.lower, w.upper, w.voided, e.metric_key, e.timestamp, {next_at}"
    return f"""
    {step} FROM (SELECT w.*, '' AS metric_key, 0 AS next_at FROM w WHERE mark IS NULL) w {found}
    UNION ALL
    {step} FROM steps w {found}
    """


def _active_days(words: Words) -> str:
    projects = words.rows("projects", project_id="text")
    days = f"""r.project_id = w.project_id AND r.hours = {DAY}
        AND (r.hour + {DAY}) * {HOUR} > w.lower AND r.hour * {HOUR} < w.upper"""
    within = "e.timestamp >= w.lower AND e.timestamp < w.upper"
    lower, upper = "CAST(:lower AS bigint)", "CAST(:upper AS bigint)"
    return f"""
    WITH RECURSIVE w AS (
        SELECT x.project_id, {lower} AS lower, {upper} AS upper,
            {_FOLDED_AND_VOIDED.format(rows=projects, unless="")}
    ),
    steps (project_id, lower, upper, voided, metric_key, timestamp, next_at) AS ({_steps(words)}),
    unsettled AS ({unsettled(words)})
    SELECT r.project_id, r.metric_key, r.hour / {DAY} AS day
    FROM w {each(words, "neruba_usage_rollups", "r", days)}
    WHERE r.hour * {HOUR} >= w.lower AND (r.hour + {DAY}) * {HOUR} <= w.upper AND NOT EXISTS (
        SELECT 1 FROM unsettled u
        WHERE u.project_id = w.project_id AND u.metric_key = r.metric_key AND u.hour / {DAY} = r.hour / {DAY}
    ) OR EXISTS (
        SELECT 1 FROM neruba_usage_events e
        WHERE e.project_id = w.project_id AND e.metric_key = r.metric_key AND {within}
            AND e.timestamp >= r.hour * {HOUR} AND e.timestamp < (r.hour + {DAY}) * {HOUR} AND {UNVOIDED}
    )
    UNION
    SELECT e.project_id, e.metric_key, e.timestamp / {DAY * HOUR} AS day
    FROM w {tail(words, "w")}
    WHERE {within} AND {UNVOIDED}
    UNION
    SELECT project_id, metric_key, timestamp / {DAY * HOUR} AS day
    FROM steps WHERE timestamp >= lower AND timestamp < upper
    ORDER BY 1, 2, 3
    """


_TOTALS = asked(_totals)
_SUMS = asked(partial(_totals, sums_only=True))
_ACTIVE_DAYS = asked(_active_days)


@frozen
class SqlTotals(SqlStore):
    """The part of ``UsageStore`` that adds up."""

    def totals_of(self, wanted: Sequence[Wanted], *, raw: bool = False) -> Sequence[Totals]:
        totals = [_NOTHING] * len(wanted)
        for query, sums_only in ((_SUMS, True), (_TOTALS, False)):
            rows = [(n, *_spans(one)) for n, one in enumerate(wanted) if one.sums_only is sums_only]
            for start in range(0, len(rows), MOST_WANTED):
                given = json.dumps(rows[start : start + MOST_WANTED])
                for n, count, low, high, most, least, last in self._statements.ask(
                    query, wanted=given, raw=raw
                ):
                    if count:
                        totals[n] = Totals(int(count), int(low) + (int(high) << 32), most, least, last)
        return totals

    def totals(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> Totals:
        return self.totals_of([Wanted(project_id, metric_key, start, end)])[0]

    def active_days(
        self, project_ids: Iterable[str], *, start: Instant | None = None, end: Instant | None = None
    ) -> Sequence[ActiveDay]:
        rows = self._statements.ask(
            _ACTIVE_DAYS,
            projects=json.dumps([[project_id] for project_id in set(project_ids)]),
            lower=_BEGINNING if start is None else micros(start),
            upper=_END if end is None else micros(end),
        )
        return [
            ActiveDay(project_id, metric_key, instant(day * DAY * HOUR))
            for project_id, metric_key, day in rows
        ]


def _spans(wanted: Wanted) -> Iterator[str | int]:
    """The span in microseconds, what of it is whole hours, and in hours what of that is whole days."""
    lower, upper = micros(wanted.start), micros(wanted.end)
    first_hour, last_hour = -(-lower // HOUR), upper // HOUR
    inner_lower, inner_upper = first_hour * HOUR, last_hour * HOUR
    if first_hour >= last_hour:
        first_hour, last_hour, inner_lower, inner_upper = 0, 0, upper, upper
    first_day, last_day = -(-first_hour // DAY) * DAY, last_hour // DAY * DAY
    if first_day >= last_day:
        first_day = last_day = last_hour
    yield from (wanted.project_id, wanted.metric_key, lower, upper, inner_lower, inner_upper)
    yield from (first_hour, first_day, last_day, last_hour)
