"""What recording usage makes of the catalogue's metrics."""

from __future__ import annotations

import pytest

from neruba_core import Accepted, Neruba, Quarantined
from neruba_core.errors import UsageConflict
from neruba_core.metering.model import Aggregation, PropertyRule, PropertyType
from neruba_core.testing.builders import rehearsal


@pytest.fixture
def neruba() -> Neruba:
    return rehearsal()


@pytest.fixture
def acme(neruba):
    return neruba.projects.create(name="Acme")


@pytest.fixture
def seats(neruba):
    return neruba.catalogue.declare(
        key="seats",
        aggregation="unique",
        unique_property="user",
        properties=[PropertyRule("user", PropertyType.STRING, required=True)],
    )


def record(neruba, project, key, *, metric_key="seats", user="ada", **given):
    return neruba.usage.record(
        project.id,
        metric_key=metric_key,
        units="1",
        timestamp=neruba.now(),
        idempotency_key=key,
        properties={} if user is None else {"user": user},
        **given,
    )


def stored(neruba, project):
    with neruba._context.storage.snapshot() as work:
        return work.metering.metrics([project.id])[project.id]


def test_the_first_event_of_a_shared_metric_makes_the_project_follow(neruba, acme, seats):
    """
    It is counted as the catalogue says, and not declared on sight.
    """
    for number, user in enumerate(("ada", "bob", "ada")):
        assert isinstance(record(neruba, acme, f"s{number}", user=user), Accepted)

    assert stored(neruba, acme) == {"seats": seats.followed_by(acme.id)}
    [line] = neruba.billing.overview(acme.id).usage
    assert line.quantity.metric.aggregation is Aggregation.UNIQUE
    assert line.quantity.units_micros == 2_000_000


def test_what_neither_knows_is_still_declared_on_sight(neruba, acme, seats):
    """
    The catalogue takes nothing away from an open project.
    """
    record(neruba, acme, "t1", metric_key="api_tokens")

    metrics = stored(neruba, acme)
    assert metrics.keys() == {"api_tokens"}
    assert metrics["api_tokens"].auto_declared
    assert not metrics["api_tokens"].shared


def test_a_strict_project_knows_the_shared_metrics(neruba, acme, seats):
    """
    What fits their contract is counted; what does not, and what nobody declared, waits.
    """
    neruba.projects.update(acme.id, metric_policy="strict")

    missing = record(neruba, acme, "s1", user=None)
    unknown = record(neruba, acme, "t1", metric_key="api_tokens")

    assert stored(neruba, acme) == {}
    assert isinstance(missing, Quarantined)
    assert missing.value.reason == "property 'user' is missing"
    assert isinstance(unknown, Quarantined)
    assert isinstance(record(neruba, acme, "s2"), Accepted)
    assert stored(neruba, acme) == {"seats": seats.followed_by(acme.id)}


def test_what_waited_for_the_catalogue_can_be_replayed(neruba, acme):
    """
    Declaring the metric for all mends it for each.
    """
    neruba.projects.update(acme.id, metric_policy="strict")
    waiting = record(neruba, acme, "p1", metric_key="pages")

    neruba.catalogue.declare(key="pages")

    assert isinstance(neruba.usage.replay_quarantined(acme.id, waiting.value.id), Accepted)
    assert stored(neruba, acme)["pages"].shared


def test_a_conflict_meets_no_metric(neruba, acme, seats):
    """
    An event that is not counted under its metric brings none in.
    """
    record(neruba, acme, "t1", metric_key="api_tokens", event_id="evt")

    with pytest.raises(UsageConflict):
        record(neruba, acme, "s1", event_id="evt")

    assert stored(neruba, acme).keys() == {"api_tokens"}


def test_events_of_many_projects_follow_at_once(neruba, acme, seats):
    """
    Each its own row; a project that has its own metric keeps it.
    """
    other = neruba.projects.create(name="Other")
    own = neruba.metrics.declare(other.id, key="seats")

    with neruba.work() as unit:
        for project in (acme, other):
            record(unit, project, "s1")

    assert stored(neruba, acme)["seats"].shared
    assert stored(neruba, other) == {"seats": own}


def test_a_change_of_the_catalogue_counts_from_the_next_reading_on(neruba, acme, seats):
    """
    Here a metric becomes free for whoever met it.
    """
    record(neruba, acme, "s1")

    neruba.catalogue.change("seats", free=True)

    [line] = neruba.billing.overview(acme.id).usage
    assert line.quantity.metric.free
