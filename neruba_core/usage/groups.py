"""Usage split into hours, days or months of the project's own time zone, or by the values of a property."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from neruba_core import texts
from neruba_core.errors import FormatInvalid
from neruba_core.instants import Instant, Period, month, month_of, zone
from neruba_core.metering.model import Aggregation, Metric
from neruba_core.metering.store import HasMetering
from neruba_core.money import MICROS
from neruba_core.tenancy.model import Project
from neruba_core.usage.aggregate import Quantity, aggregate, quantities, unique_property, wanted_of
from neruba_core.usage.store import HasUsage

MOST_GROUPS = 1000
"""More pieces than this are refused: narrow the range or choose a coarser split."""

_HOUR = timedelta(hours=1)
_TIMES = ("hour", "day", "month")


class UsageReads(HasMetering, HasUsage, Protocol):
    """What grouping reads."""


def grouped(
    work: UsageReads, project: Project, span: Period, *, metric_key: str | None, group_by: str | None
) -> Sequence[Quantity]:
    """Quantities over *span*, oldest piece first, then by metric, then by the property's value (those
    without it first); pieces without usage are left out.

    *group_by* is ``hour``, ``day``, ``month`` or the name of a property. Raises ``FormatInvalid`` for a
    range of too many pieces, and ``TextInvalid`` for what is no property's name.
    """
    metrics = work.metering.metrics([project.id]).get(project.id, {})
    if metric_key is not None:
        metrics = {key: metric for key, metric in metrics.items() if key == metric_key}
    if group_by is None or group_by in _TIMES:
        return _by_time(work, project, metrics, span, group_by)
    name = texts.clean(group_by, most_bytes=128)
    keys = {day.metric_key for day in work.usage.active_days([project.id], start=span.start, end=span.end)}
    return [
        each for key in sorted(keys & metrics.keys()) for each in _by_property(work, metrics[key], span, name)
    ]


def _by_time(
    work: UsageReads, project: Project, metrics: dict[str, Metric], span: Period, group_by: str | None
) -> list[Quantity]:
    days = defaultdict(list)
    for active in work.usage.active_days([project.id], start=span.start, end=span.end):
        days[active.metric_key].append(active.day)
    asked = [
        (metrics[key], piece)
        for piece in _pieces(span, group_by, project.timezone)
        for key in sorted(days.keys() & metrics.keys())
        if _any_within(days[key], piece)
    ]
    return [each for each in quantities(work, asked) if each.events]


def _by_property(work: UsageReads, metric: Metric, span: Period, name: str) -> list[Quantity]:
    wanted, most = wanted_of(metric, span), MOST_GROUPS + 1
    groups = work.usage.grouped_totals(wanted, name, at_most=most)
    if len(groups) == most:
        raise FormatInvalid(f"a property with at most {MOST_GROUPS} values in the range", name)
    if metric.aggregation is Aggregation.UNIQUE:
        distinct = work.usage.grouped_distinct(wanted, name, unique_property(metric), at_most=most)
        units = [count * MICROS for _, count in distinct]
    else:
        units = [aggregate(metric.aggregation, totals) for _, totals in groups]
    return [
        Quantity(metric, span, units_micros, totals.count, group)
        for units_micros, (group, totals) in zip(units, groups, strict=True)
    ]


def _pieces(span: Period, group_by: str | None, zone_name: str) -> Iterator[Period]:
    start, made = span.start, 0
    while start < span.end:
        if made == MOST_GROUPS:
            raise FormatInvalid(f"a range of at most {MOST_GROUPS} pieces", f"{span.start} – {span.end}")
        end = min(_next_bound(start, group_by, zone_name), span.end) if group_by else span.end
        yield Period(start, end)
        start, made = end, made + 1


def _any_within(days: list[Instant], piece: Period) -> bool:
    """Whether any of the *days* of UTC, which ascend, has a part of *piece*."""
    first = bisect_left(days, piece.start.replace(hour=0, minute=0, second=0, microsecond=0))
    return first < len(days) and days[first] < piece.end


def _next_bound(moment: Instant, group_by: str, zone_name: str) -> Instant:
    local = moment.astimezone(zone(zone_name))
    match group_by:
        case "hour":
            # Zones differ from UTC by whole quarters of an hour, so the hour is found in local time.
            return (
                moment
                + _HOUR
                - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            )
        case "day":
            tomorrow = local.date() + timedelta(days=1)
            return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone(zone_name)).astimezone(
                UTC
            )
        case _:
            return month(month_of(moment, zone_name), zone_name).end
