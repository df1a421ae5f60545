"""Usage split into hours, days or months of the project's own time zone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from neruba_core.errors import FormatInvalid
from neruba_core.instants import Instant, Period, month, month_of, zone
from neruba_core.metering.store import HasMetering
from neruba_core.tenancy.model import Project
from neruba_core.usage.aggregate import Quantity, quantity
from neruba_core.usage.store import HasUsage

MOST_GROUPS = 1000
"""More pieces than this are refused: narrow the range or choose a coarser split."""

_HOUR = timedelta(hours=1)


class UsageReads(HasMetering, HasUsage, Protocol):
    """What grouping reads."""


def grouped(
    work: UsageReads, project: Project, span: Period, *, metric_key: str | None, group_by: str | None
) -> Sequence[Quantity]:
    """Quantities over *span*, oldest piece first, then by metric; pieces without usage are left out."""
    metrics = work.metering.metrics([project.id]).get(project.id, {})
    quantities = []
    for piece in _pieces(span, group_by, project.timezone):
        for key in sorted(work.usage.counts(project.id, piece.start, piece.end)):
            if metric_key in (None, key):
                quantities.append(quantity(work, metrics[key], piece))
    return quantities


def _pieces(span: Period, group_by: str | None, zone_name: str) -> Iterator[Period]:
    start, made = span.start, 0
    while start < span.end:
        if made == MOST_GROUPS:
            raise FormatInvalid(f"a range of at most {MOST_GROUPS} pieces", f"{span.start} – {span.end}")
        end = min(_next_bound(start, group_by, zone_name), span.end) if group_by else span.end
        yield Period(start, end)
        start, made = end, made + 1


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
        case "month":
            return month(month_of(moment, zone_name), zone_name).end
        case _:
            raise FormatInvalid("hour, day or month", group_by[:40])
