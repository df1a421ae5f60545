"""Usage by the values of a property, always from raw events.

A property's name is a name and never a path, and values are compared as JSON text, in which ``1``, ``"1"``
and ``true`` are three.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import frozen

from neruba_core.storage.sql.codec import micros
from neruba_core.storage.sql.places import Words, asked, each
from neruba_core.storage.sql.rollups import LOW_BITS
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.texts import PropertyValue
from neruba_core.usage.model import Totals, Wanted

_OF_METRIC = """
    e.project_id = {0}project_id AND e.metric_key = {0}metric_key
    AND e.timestamp >= {0}lower AND e.timestamp < {0}upper
    AND NOT EXISTS (
        SELECT 1 FROM neruba_usage_voids v WHERE v.project_id = e.project_id AND v.usage_id = e.id
    )
"""
_ID_AT = 21
"""Where the id begins behind the twenty digits of a timestamp."""


def _value(words: Words, name: str) -> tuple[str, str]:
    """The property that is given as *name*, as JSON text or NULL, and the join that finds it."""
    if words.postgresql:
        # Compared by its bytes, which is cheapest.
        found = f"jsonb_extract_path(CAST(e.properties AS jsonb), CAST(:{name} AS text))"
        return f'CAST({found} AS text) COLLATE "C"', ""
    text = f"CASE WHEN {name}.type IN ('true', 'false') THEN {name}.type ELSE json_quote({name}.atom) END"
    return (
        f"CASE WHEN {name}.key IS NOT NULL THEN {text} END",
        f"LEFT JOIN json_each(e.properties) {name} ON {name}.key = :{name}",
    )


def _distinct(words: Words) -> str:
    wanted = words.rows(
        "wanted", n="bigint", project_id="text", metric_key="text", lower="bigint", upper="bigint"
    )
    value, join = _value(words, "property_name")
    return f"""
    SELECT n, count(*) FROM (
        SELECT DISTINCT w.n AS n, {value} AS value
        FROM {wanted} w {each(words, "neruba_usage_events", "e", _OF_METRIC.format("w."))} {join}
    ) AS found
    WHERE value IS NOT NULL
    GROUP BY n
    """


def _grouped_totals(words: Words) -> str:
    value, join = _value(words, "property_name")
    # The greatest of these texts is that of the latest event, and of equals of the highest id.
    last = (
        """lpad(CAST(e.timestamp AS text), 20, '0') || e.id COLLATE "C\""""
        if words.postgresql
        else "printf('%020d', e.timestamp) || e.id"
    )
    return f"""
    SELECT g.*, (
        SELECT e.units_micros FROM neruba_usage_events e
        WHERE e.project_id = :project_id AND e.id = substr(g.last, {_ID_AT})
    )
    FROM (
        SELECT {value} AS value, count(*), sum(e.units_micros & {LOW_BITS}), sum(e.units_micros >> 32),
            max(e.units_micros), min(e.units_micros), max({last}) AS last
        FROM neruba_usage_events e {join}
        WHERE {_OF_METRIC.format(":")}
        GROUP BY 1 ORDER BY 1 NULLS FIRST LIMIT :at_most
    ) g
    ORDER BY 1 NULLS FIRST
    """


def _grouped_distinct(words: Words) -> str:
    group, group_join = _value(words, "property_name")
    value, value_join = _value(words, "of")
    return f"""
    SELECT g, count(value) FROM (
        SELECT DISTINCT {group} AS g, {value} AS value
        FROM neruba_usage_events e {group_join} {value_join}
        WHERE {_OF_METRIC.format(":")}
    ) AS found
    GROUP BY 1 ORDER BY 1 NULLS FIRST LIMIT :at_most
    """


_DISTINCT = asked(_distinct)
_GROUPED_TOTALS = asked(_grouped_totals)
_GROUPED_DISTINCT = asked(_grouped_distinct)


@frozen
class SqlValues(SqlStore):
    """The part of ``UsageStore`` that looks into properties."""

    def distinct_of(self, wanted: Sequence[Wanted], property_name: str) -> Sequence[int]:
        counts = [0] * len(wanted)
        rows = [
            (n, one.project_id, one.metric_key, micros(one.start), micros(one.end))
            for n, one in enumerate(wanted)
        ]
        for n, count in self._statements.ask(_DISTINCT, wanted=json.dumps(rows), property_name=property_name):
            counts[n] = count
        return counts

    def grouped_totals(
        self, wanted: Wanted, property_name: str, *, at_most: int
    ) -> Sequence[tuple[PropertyValue | None, Totals]]:
        rows = self._statements.ask(_GROUPED_TOTALS, **_given(wanted, property_name, at_most))
        return [
            (
                _loaded(value),
                Totals(int(count), int(low) + (int(high) << 32), most, least, last),
            )
            for value, count, low, high, most, least, _, last in rows
        ]

    def grouped_distinct(
        self, wanted: Wanted, property_name: str, of: str, *, at_most: int
    ) -> Sequence[tuple[PropertyValue | None, int]]:
        rows = self._statements.ask(_GROUPED_DISTINCT, **_given(wanted, property_name, at_most), of=of)
        return [(_loaded(value), count) for value, count in rows]


def _given(wanted: Wanted, property_name: str, at_most: int) -> dict[str, str | int]:
    return {
        "project_id": wanted.project_id,
        "metric_key": wanted.metric_key,
        "lower": micros(wanted.start),
        "upper": micros(wanted.end),
        "property_name": property_name,
        "at_most": at_most,
    }


def _loaded(text: str | None) -> PropertyValue | None:
    value: PropertyValue | None = None if text is None else json.loads(text)
    return value
