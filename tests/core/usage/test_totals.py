"""From events to quantities, in the project's own months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.errors import FormatInvalid, InstantNaive, ProjectNotFound, TextInvalid
from neruba_core.instants import Period
from neruba_core.metering.model import Aggregation
from neruba_core.testing.builders import Rehearsal, a_project
from neruba_core.testing.clock import NOON
from neruba_core.usage.aggregate import aggregate
from neruba_core.usage.groups import _pieces
from neruba_core.usage.model import Totals

M = 1_000_000
DAY = timedelta(days=1)


@pytest.fixture
def project_id(billing: Rehearsal) -> str:
    return billing.projects.create(name="Acme").id


def send(billing: Rehearsal, project_id: str, *events: tuple[Any, ...], **details: Any) -> None:
    """Events of (units, timestamp, properties…); the keys do not matter."""
    for units, timestamp, *properties in events:
        number = sum(1 for _ in billing.usage.events(project_id, limit=200).items)
        billing.usage.record(
            project_id,
            units=units,
            timestamp=timestamp,
            idempotency_key=f"k{number}",
            properties=properties[0] if properties else None,
            **{"metric_key": "m", **details},
        )


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("sum", 12), ("count", 4), ("max", 6), ("min", 1), ("last", 3), ("avg", 3), ("unique", 2)],
)
def test_every_aggregation(billing, project_id, aggregation, expected):
    """
    Of 2, 6, 1 and 3, the last by timestamp and not by arrival.
    """
    unique = {"unique_property": "user"} if aggregation == "unique" else {}
    billing.metrics.declare(project_id, key="m", aggregation=aggregation, **unique)
    send(
        billing,
        project_id,
        (2, NOON - 3 * DAY, {"user": "a"}),
        (3, NOON, {"user": "b"}),
        (6, NOON - 2 * DAY, {"user": "a"}),
        (1, NOON - DAY),
    )

    (line,) = billing.billing.overview(project_id).usage

    assert line.quantity.units_micros == expected * M
    assert line.quantity.events == 4
    assert not line.priced


totals = st.lists(st.integers(0, 10**18), min_size=1, max_size=9).map(
    lambda units: Totals(len(units), sum(units), max(units), min(units), units[-1])
)


@given(totals)
def test_only_an_average_is_rounded(of):
    """
    Half-even, to a micro-unit, and the others are exact.
    """
    exact = Fraction(of.sum_micros, of.count)

    assert aggregate(Aggregation.AVG, of) == round(exact)
    assert aggregate(Aggregation.SUM, of) == of.sum_micros
    assert aggregate(Aggregation.COUNT, of) == of.count * M
    assert aggregate(Aggregation.MAX, of) == of.max_micros
    assert aggregate(Aggregation.MIN, of) == of.min_micros
    assert aggregate(Aggregation.LAST, of) == of.last_micros


def test_nothing_comes_to_nothing():
    """
    In every aggregation; distinct values cannot be told from totals.
    """
    none = Totals(0, 0, None, None, None)

    assert {aggregate(each, none) for each in Aggregation if each is not Aggregation.UNIQUE} == {0}
    with pytest.raises(ValueError, match="distinct"):
        aggregate(Aggregation.UNIQUE, none)


def test_sums_may_exceed_64_bits(billing, project_id):
    """
    Totals over many events are as large as they are.
    """
    send(billing, project_id, *[("9000000000000", NOON)] * 3)

    (line,) = billing.billing.overview(project_id).usage

    assert line.quantity.units_micros == 27 * 10**18


def test_usage_is_split_by_hour_day_or_month_of_the_projects_zone(billing, project_id):
    """
    An event just after midnight in Berlin is of the new day and month there.
    """
    billing.projects.update(project_id, timezone="Europe/Berlin")
    send(
        billing,
        project_id,
        (1, datetime(2026, 2, 28, 22, 59, tzinfo=UTC)),
        (2, datetime(2026, 2, 28, 23, 0, tzinfo=UTC)),
        (4, datetime(2026, 3, 1, 23, 0, tzinfo=UTC)),
    )
    span = {"start": datetime(2026, 2, 28, tzinfo=UTC), "end": datetime(2026, 3, 3, tzinfo=UTC)}

    def split(group_by: str | None) -> list[tuple[str, int]]:
        found = billing.usage.quantities(project_id, **span, group_by=group_by)
        berlin = ZoneInfo("Europe/Berlin")
        return [
            (f"{piece.period.start.astimezone(berlin):%m-%d %H}", piece.units_micros // M) for piece in found
        ]

    assert split(None) == [("02-28 01", 7)]
    assert split("month") == [("02-28 01", 1), ("03-01 00", 6)]
    assert split("day") == [("02-28 01", 1), ("03-01 00", 2), ("03-02 00", 4)]
    assert split("hour") == [("02-28 23", 1), ("03-01 00", 2), ("03-02 00", 4)]


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 40 * 24 * 60),
    st.sampled_from(["hour", "day", "month"]),
    st.sampled_from(
        [
            "UTC",
            "Europe/Berlin",
            "Asia/Kathmandu",
            "Pacific/Apia",
            "Australia/Lord_Howe",
            "America/Sao_Paulo",
            "America/Havana",
            "Africa/Monrovia",
        ]
    ),
)
def test_pieces_are_the_whole_without_gaps(start, minutes, group_by, zone):
    """
    Also where a day has 23 hours, midnight happens twice, or a whole day is left out.
    """
    span = Period(start, start + timedelta(minutes=minutes))

    pieces = list(_pieces(span, group_by, zone))

    assert pieces[0].start == span.start
    assert pieces[-1].end == span.end
    assert all(one.end == other.start for one, other in pairwise(pieces))
    assert all(piece.start < piece.end for piece in pieces)
    if group_by != "hour":
        names = [piece.start.astimezone(ZoneInfo(zone)).date() for piece in pieces]
        assert len({(day.year, day.month, group_by == "day" and day.day) for day in names}) == len(pieces)


def test_what_cannot_be_split_is_refused(billing, project_id):
    """
    Each with its own words.
    """
    span = {"start": NOON, "end": NOON + DAY}
    quantities = billing.usage.quantities

    with pytest.raises(TextInvalid):
        quantities(project_id, **span, group_by="")
    with pytest.raises(FormatInvalid, match="start is before its end"):
        quantities(project_id, start=NOON, end=NOON)
    with pytest.raises(FormatInvalid, match="at most 1000 pieces"):
        quantities(project_id, start=NOON, end=NOON + 60 * DAY, group_by="hour")
    with pytest.raises(FormatInvalid, match="metric key"):
        quantities(project_id, **span, metric_key="no such thing")
    with pytest.raises(InstantNaive):
        quantities(project_id, start=NOON.replace(tzinfo=None), end=NOON)
    with pytest.raises(ProjectNotFound):
        quantities("prj_none", **span)


def test_quantities_of_one_metric(billing, project_id):
    """
    Others are left out, as is what was voided.
    """
    send(billing, project_id, (1, NOON), (2, NOON, {}))
    send(billing, project_id, (4, NOON), metric_key="n")
    gone = billing.usage.events(project_id, metric_key="m").items[0]
    billing.usage.void(project_id, gone.id, reason="x")

    found = billing.usage.quantities(project_id, start=NOON, end=NOON + DAY, metric_key="m")

    assert [(quantity.metric.key, quantity.units_micros, quantity.events) for quantity in found] == [
        ("m", M, 1)
    ]


def test_raw_events_are_paged_and_filtered(billing, project_id):
    """
    Newest first, bounded by timestamp.
    """
    send(billing, project_id, *[(number, NOON - number * DAY) for number in range(5)])
    usage = billing.usage

    first = usage.events(project_id, limit=3)
    rest = usage.events(project_id, limit=3, cursor=first.next_cursor)
    some = usage.events(project_id, start=NOON - 2 * DAY, end=NOON)

    assert [event.units_micros // M for event in (*first.items, *rest.items)] == [4, 3, 2, 1, 0]
    assert [event.units_micros // M for event in some.items] == [2, 1]
    assert usage.events(project_id, metric_key="none").items == ()
    assert a_project().timezone == "UTC"
