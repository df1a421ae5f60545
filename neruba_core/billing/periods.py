"""Billing periods: contiguous, about a month each, named by the month of their midpoint.

Periods that were billed are stored, and what is stored is never computed again, whatever happens to the
project's time zone. From the last stored period on, a period starts where the one before ends, and ends with
the calendar month that holds the fifteenth day after its start; from the first stored period back, the same
mirrored. So a change of zone makes one period some hours longer or shorter, and none is left out or counted
twice. Where nothing is stored, periods are the calendar months of the project's zone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import timedelta

from neruba_core import instants
from neruba_core.billing.model import BillingPeriod
from neruba_core.instants import EPOCH, Instant, Period
from neruba_core.tenancy.model import Project

DAY = timedelta(days=1)
_HALF = 15 * DAY
MICROSECOND = timedelta(microseconds=1)


def containing(project: Project, stored: Sequence[BillingPeriod], moment: Instant) -> BillingPeriod:
    """The period that *moment* lies in; *stored* are all stored ones by ascending start."""
    if not stored:
        return _month(project, moment)
    if moment < stored[0].span.start:
        period = stored[0]
        while moment < period.span.start:
            if period is not stored[0] and not _changes(project, EPOCH, period.span.end):
                return _month(project, moment)
            period = _before(project, period.span.start)
        return period
    if moment < stored[-1].span.end:
        return stored[bisect_right(stored, moment, key=lambda each: each.span.start) - 1]
    period = stored[-1]
    while moment >= period.span.end:
        if period is not stored[-1] and not _changes(project, period.span.start, moment):
            return _month(project, moment)
        period = _after(project, period.span.end)
    return period


def named(project: Project, stored: Sequence[BillingPeriod], name: str) -> BillingPeriod:
    """The period called *name*, such as ``"2026-03"``. Raises ``FormatInvalid`` for what is no month."""
    # No zone is further from another than a day and some hours, so the middle of the month is inside.
    month = instants.month(name, project.timezone)
    period = containing(project, stored, month.start + (month.end - month.start) / 2)
    assert period.name == name, "a period is named by its midpoint"
    return period


def following(project: Project, stored: Sequence[BillingPeriod], period: BillingPeriod) -> BillingPeriod:
    """The period that begins where *period* ends."""
    return containing(project, stored, period.span.end) if stored else _after(project, period.span.end)


def covering(
    project: Project, stored: Sequence[BillingPeriod], start: Instant, end: Instant
) -> list[BillingPeriod]:
    """The periods that have a part of ``[start, end)``, by ascending start."""
    if start >= end:
        return []
    if stored and start < stored[0].span.start:
        period = containing(project, stored, min(end - MICROSECOND, stored[0].span.start))
        earlier = [period]
        while earlier[-1].span.start > start:
            earlier.append(_before(project, earlier[-1].span.start))
        found = earlier[::-1]
    else:
        found = [containing(project, stored, start)]
    while found[-1].span.end < end:
        found.append(following(project, stored, found[-1]))
    return found


def _changes(project: Project, start: Instant, end: Instant) -> bool:
    """Whether the zone changes after *start* and until *end*. Where it does not, periods beyond the next one
    are calendar months: there is no need to go through all of them."""
    return any(start < terms.until <= end for terms in project.earlier_terms)


def _month(project: Project, moment: Instant) -> BillingPeriod:
    zone_name = project.timezone_at(moment)
    return _period(project, instants.month(instants.month_of(moment, zone_name), zone_name), zone_name)


def _after(project: Project, start: Instant) -> BillingPeriod:
    zone_name = project.timezone_at(start)
    end = instants.month(instants.month_of(start + _HALF, zone_name), zone_name).end
    return _period(project, Period(start, end), zone_name)


def _before(project: Project, end: Instant) -> BillingPeriod:
    zone_name = project.timezone_at(end - _HALF)
    start = instants.month(instants.month_of(end - _HALF, zone_name), zone_name).start
    return _period(project, Period(start, end), zone_name)


def _period(project: Project, span: Period, zone_name: str) -> BillingPeriod:
    midpoint = span.start + (span.end - span.start) / 2
    return BillingPeriod(project.id, instants.month_of(midpoint, zone_name), span)
