"""Billing periods: contiguous, named by their midpoint, whatever happens to the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.periods import containing, covering, following, named
from neruba_core.errors import FormatInvalid
from neruba_core.instants import Period, month
from neruba_core.tenancy.model import BillingMode, EarlierTerms
from neruba_core.testing.builders import a_project

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Pacific/Apia",
     "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca"]
)  # fmt: skip
MOMENTS = st.datetimes(datetime(1999, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
DAY = timedelta(days=1)


def in_zone(zone: str, **changes):
    return a_project(timezone=zone, **changes)


def moved(first: BillingPeriod, zones: list[str]):
    """A project with *first* stored, whose zone changes at the end of each period that is stored next."""
    stored, terms = [first], []
    project = in_zone(zones[0])
    for zone, later in pairwise(zones):
        end = stored[-1].span.end
        terms.append(EarlierTerms(end, BillingMode.ARREARS, zone))
        project = in_zone(later, earlier_terms=tuple(terms))
        stored.append(following(project, stored, stored[-1]))
    return project, stored


@given(MOMENTS, ZONES)
def test_without_stored_periods_they_are_calendar_months(moment, zone):
    """
    Of the project's own zone, leap years and daylight saving included.
    """
    period = containing(in_zone(zone), [], moment)

    assert moment in period.span
    assert period.span == month(period.name, zone)
    assert period == named(in_zone(zone), [], period.name)


@given(MOMENTS, MOMENTS, ZONES)
def test_what_is_stored_changes_nothing_while_the_zone_stays(moment, other, zone):
    """
    Calendar months before and after, however far away.
    """
    project = in_zone(zone)
    stored = [containing(project, [], other)]

    assert containing(project, stored, moment) == containing(project, [], moment)


@given(MOMENTS, st.lists(ZONES, min_size=1, max_size=5), st.integers(-30, 30))
def test_periods_are_contiguous_and_named_by_their_midpoint(moment, zones, months):
    """
    Through changes of zone, across the date line too: no gap, no overlap, each month's name once.
    """
    project, stored = moved(containing(in_zone(zones[0]), [], moment), zones)

    spread = timedelta(days=31 * months)
    start, end = min(moment, moment + spread), max(moment, moment + spread) + DAY
    found = covering(project, stored, start, end)

    assert found[0].span.start <= start < found[0].span.end
    assert found[-1].span.start < end <= found[-1].span.end
    names = [each.name for each in found]
    first, last = (int(name[:4]) * 12 + int(name[5:]) for name in (names[0], names[-1]))
    assert len(set(names)) == len(names) == last - first + 1
    assert names == sorted(names)
    for one, next_one in pairwise(found):
        assert one.span.end == next_one.span.start
        assert following(project, stored, one) == next_one
    for each in found:
        assert named(project, stored, each.name) == each
        assert containing(project, stored, each.span.start) == each
        assert containing(project, stored, each.span.end - timedelta(microseconds=1)) == each
        assert timedelta(days=26) < each.span.end - each.span.start < timedelta(days=33)


@given(MOMENTS, st.lists(ZONES, min_size=1, max_size=5))
def test_a_stored_period_is_answered_as_it_is(moment, zones):
    """
    It is never computed again.
    """
    project, stored = moved(containing(in_zone(zones[0]), [], moment), zones)

    assert [named(project, stored, each.name) for each in stored] == stored


def test_across_the_date_line():
    """
    From Apia (13 hours ahead) to Pago Pago (11 behind): March is a day longer, and April begins there.
    """
    first = named(in_zone("Pacific/Apia"), [], "2026-02")

    project, stored = moved(first, ["Pacific/Apia", "Pacific/Pago_Pago"])

    assert stored[1].name == "2026-03"
    assert stored[1].span == Period(
        datetime(2026, 2, 28, 11, tzinfo=UTC), datetime(2026, 4, 1, 11, tzinfo=UTC)
    )
    assert named(project, stored, "2026-04").span == month("2026-04", "Pacific/Pago_Pago")
    assert named(project, stored, "2026-01").span.end == first.span.start


def test_daylight_saving_and_leap_years():
    """
    March in Berlin is an hour short; February 2028 has 29 days.
    """
    march = named(in_zone("Europe/Berlin"), [], "2026-03").span
    february = named(in_zone("UTC"), [], "2028-02").span

    assert march.end - march.start == timedelta(days=31) - timedelta(hours=1)
    assert february.end - february.start == timedelta(days=29)


def test_an_empty_range_has_no_periods():
    """
    Half-open: nothing lies between a moment and itself.
    """
    moment = datetime(2026, 3, 1, tzinfo=UTC)

    assert covering(in_zone("UTC"), [], moment, moment) == []


@pytest.mark.parametrize("name", ["2026-13", "2026-3", "march", ""])
def test_a_name_is_a_month(name):
    """
    Anything else is refused.
    """
    with pytest.raises(FormatInvalid):
        named(in_zone("UTC"), [], name)


def test_a_period_far_away_is_found_at_once():
    """
    Without going through all the months between.
    """
    project, stored = moved(named(in_zone("UTC"), [], "2026-02"), ["UTC", "Europe/Berlin"])
    started = process_time()

    late, early = named(project, stored, "9990-01"), named(project, stored, "1970-02")

    assert (late.span, early.span) == (month("9990-01", "Europe/Berlin"), month("1970-02", "UTC"))
    assert process_time() - started < 0.1
