"""Usage split by the values of a property."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from neruba_core.errors import FormatInvalid
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON
from neruba_core.usage import groups

M = 1_000_000
DAY = timedelta(days=1)


@pytest.fixture
def project_id(billing: Rehearsal) -> str:
    return billing.projects.create(name="Acme").id


def send(billing: Rehearsal, project_id: str, *events: tuple[int, Mapping[str, object]]) -> None:
    """Events of (units, properties), a minute apart."""
    billing.usage.record_many(
        project_id,
        [
            {
                "metric_key": "m",
                "units": units,
                "timestamp": NOON - DAY + number * timedelta(minutes=1),
                "idempotency_key": f"k{number}",
                "properties": properties,
            }
            for number, (units, properties) in enumerate(events)
        ],
    )


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("sum", (4, 8)),
        ("count", (1, 3)),
        ("max", (4, 5)),
        ("min", (4, 1)),
        ("last", (4, 2)),
        ("avg", (4, 2.666667)),
        ("unique", (0, 2)),
    ],
)
def test_every_aggregation_has_its_groups(billing, project_id, aggregation, expected):
    """
    Of 1, 5 and 2 in one region and 4 in none.
    """
    unique = {"unique_property": "user"} if aggregation == "unique" else {}
    billing.metrics.declare(project_id, key="m", aggregation=aggregation, **unique)
    send(
        billing,
        project_id,
        (1, {"region": "eu", "user": "a"}),
        (4, {}),
        (5, {"region": "eu", "user": "b"}),
        (2, {"region": "eu", "user": "a"}),
    )

    found = billing.usage.quantities(project_id, start=NOON - DAY, end=NOON, group_by="region")

    assert [(each.group, each.units_micros, each.events) for each in found] == [
        (None, round(expected[0] * M), 1),
        ("eu", round(expected[1] * M), 3),
    ]


def test_values_of_different_types_are_different_groups(billing, project_id):
    """
    In the order of their JSON text.
    """
    send(billing, project_id, *((1, {"of": value}) for value in (True, 1, "1")))

    found = billing.usage.quantities(project_id, start=NOON - DAY, end=NOON, group_by="of")

    assert [(type(each.group), each.group) for each in found] == [(str, "1"), (int, 1), (bool, True)]


def test_groups_come_by_metric(billing, project_id):
    """
    Metrics without usage in the range have none.
    """
    send(billing, project_id, (1, {"of": "x"}))
    billing.metrics.declare(project_id, key="idle", aggregation="sum")

    found = billing.usage.quantities(project_id, start=NOON - DAY, end=NOON, group_by="of")
    elsewhere = billing.usage.quantities(project_id, start=NOON, end=NOON + DAY, group_by="of")

    assert [(each.metric.key, each.group) for each in found] == [("m", "x")]
    assert elsewhere == []


def test_too_many_values_are_refused(billing, project_id, monkeypatch):
    """
    As many as may be are answered.
    """
    monkeypatch.setattr(groups, "MOST_GROUPS", 3)
    send(billing, project_id, *((1, {"of": n, "few": n % 3}) for n in range(4)))
    quantities = billing.usage.quantities

    assert len(quantities(project_id, start=NOON - DAY, end=NOON, group_by="few")) == 3
    with pytest.raises(FormatInvalid, match="at most 3 values"):
        quantities(project_id, start=NOON - DAY, end=NOON, group_by="of")
