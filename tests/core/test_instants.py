"""Moments in UTC to the microsecond, and the periods between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import instants
from neruba_core.errors import FormatInvalid, InstantInvalid, InstantNaive, InstantTooPrecise
from neruba_core.instants import EPOCH, Period

moments = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe"]
)


@given(moments)
def test_what_is_written_is_read_back(moment):
    """
    As text and as microseconds.
    """
    text = instants.text(moment)

    assert instants.parse(text) == moment
    assert text == f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    assert instants.from_micros(instants.to_micros(moment)) == moment


@given(moments, st.integers(-23 * 60, 23 * 60))
def test_the_offset_does_not_change_the_moment(moment, minutes):
    """
    …Z and …+00:00 and …+05:45 can all be one instant.
    """
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))

    assert instants.parse(there.isoformat()) == moment
    assert instants.utc(there) == moment
    assert instants.utc(there).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", InstantInvalid),
        ("yesterday", InstantInvalid),
        ("2026-03-17", InstantInvalid),
        ("2026-03-17 10:15:00Z", InstantInvalid),
        ("2026-03-17T10:15Z", InstantInvalid),
        ("2026-13-17T10:15:00Z", InstantInvalid),
        ("2026-02-30T10:15:00Z", InstantInvalid),
        ("2026-03-17T24:00:00Z", InstantInvalid),
        ("2026-03-17T10:60:00Z", InstantInvalid),
        ("2026-06-30T23:59:60Z", InstantInvalid),
        ("2026-03-17T10:15:00+24:00", InstantInvalid),
        ("2026-03-17T10:15:00+01:60", InstantInvalid),
        ("2026-03-17T10:15:00+0100", InstantInvalid),
        ("2026-03-17T10:15:00.Z", InstantInvalid),
        ("２026-03-17T10:15:00Z", InstantInvalid),
        ("2026-03-17T10:15:00Z\n", InstantInvalid),
        ("\ud800026-03-17T10:15:00Z", InstantInvalid),
        ("1969-12-31T23:59:59.999999Z", InstantInvalid),
        ("1970-01-01T00:00:00+00:01", InstantInvalid),
        ("0001-01-01T00:00:00+01:00", InstantInvalid),
        ("9999-12-31T23:59:59-01:00", InstantInvalid),
        ("2026-03-17T10:15:00", InstantNaive),
        ("2026-03-17T10:15:00.123", InstantNaive),
        ("2026-03-17T10:15:00.1234567Z", InstantTooPrecise),
        ("2026-03-17T10:15:00.0000000Z", InstantTooPrecise),
    ],
)
def test_what_names_no_moment_is_refused(text, refusal):
    """
    Each with its own code, and a message that can be shown anywhere.
    """
    with pytest.raises(refusal) as caught:
        instants.parse(text)

    assert type(caught.value) is refusal
    str(caught.value).encode()


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-17T10:15:00Z",
        "2026-03-17t10:15:00z",
        "2026-03-17T12:15:00+02:00",
        "2026-03-17T10:15:00.0-00:00",
    ],
)
def test_rfc_3339_is_read_in_all_its_spellings(text):
    """
    Lower case, any offset, one to six decimals.
    """
    assert instants.parse(text) == datetime(2026, 3, 17, 10, 15, tzinfo=UTC)


@pytest.mark.parametrize("moment", ["2026-03-17T10:15:00Z", None, 0, datetime(2026, 3, 17).date()])
def test_only_a_datetime_is_a_moment(moment):
    """
    A wrong type from an embedder is a refusal, not a crash.
    """
    with pytest.raises(InstantInvalid):
        instants.utc(moment)


def test_moments_of_an_embedder_are_held_to_the_same_range():
    """
    Naive, too early and beyond the calendar are refused.
    """
    with pytest.raises(InstantNaive):
        instants.utc(datetime(2026, 3, 17))
    with pytest.raises(InstantInvalid):
        instants.utc(EPOCH - timedelta(microseconds=1))
    with pytest.raises(InstantInvalid):
        instants.utc(datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))))

    assert instants.utc(EPOCH) == EPOCH
    assert instants.maybe_utc(None) is None
    assert instants.maybe_utc(EPOCH) == EPOCH


def test_the_clock_is_in_utc():
    """
    To the microsecond, and going forward.
    """
    first = instants.now()

    assert first.tzinfo is UTC
    assert instants.now() >= first


@given(moments, zones)
def test_every_moment_is_in_the_month_of_its_name(moment, zone):
    """
    Months are half-open and leave no gap, in any zone.
    """
    name = instants.month_of(moment, zone)

    month = instants.month(name, zone)

    assert moment in month
    assert month.end not in month
    assert instants.month_of(month.end, zone) != name
    assert instants.month(instants.month_of(month.end, zone), zone).start == month.end


def test_the_first_moment_has_a_month_west_of_greenwich():
    """
    The first event there may be falls in December 1969 in New York.
    """
    name = instants.month_of(EPOCH, "America/New_York")

    assert name == "1969-12"
    assert EPOCH in instants.month(name, "America/New_York")


@pytest.mark.parametrize(
    "name", ["2026", "2026-00", "2026-13", "2026-3", "26-03", "1968-12", "9999-01", "2026-03\n", "\ud800"]
)
def test_what_is_no_month_is_refused(name):
    """
    A month is four digits, a dash and two digits.
    """
    with pytest.raises(FormatInvalid) as caught:
        instants.month(name, "UTC")

    str(caught.value).encode()


def test_a_month_passes_in_its_own_zone():
    """
    March begins in Berlin an hour earlier than in London, and is an hour short.
    """
    march = instants.month("2026-03", "Europe/Berlin")

    assert march == Period(datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "\x00"])
def test_unknown_zones_are_refused(name):
    """
    Whatever the machine's zone files make of it.
    """
    with pytest.raises(FormatInvalid):
        instants.zone(name)

    assert instants.zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
