"""Metrics that all projects share, and the projects that have metrics of their own."""

from __future__ import annotations

import pytest

from neruba_core.audit.model import Origin
from neruba_core.errors import MetricExists, MetricFixed, MetricInvalid, MetricNotFound
from neruba_core.metering import catalogue
from neruba_core.metering.model import Aggregation, PropertyRule, PropertyType, SharedMetric
from tests.core.metering.conftest import invoice, use


def meet(stage, project_id, key="api_tokens"):
    """What recording a first event does."""
    return stage.context.write(lambda work: catalogue.known(work, project_id, key))


def stored(stage, project_id):
    return stage.context.read(lambda work: work.metering.metrics([project_id])[project_id])


@pytest.fixture
def tokens(stage):
    return stage.catalogue.declare(key="api_tokens", unit="tokens")


def test_a_shared_metric_keeps_all_that_was_declared(stage):
    """
    And who declared it.
    """
    rule = PropertyRule("user", PropertyType.STRING, required=True)

    metric = stage.catalogue.declare(
        key="seats",
        aggregation="unique",
        unique_property="user",
        free=True,
        properties=[rule],
        origin=Origin("user:usr_a"),
    )

    assert metric == SharedMetric(
        "seats", Aggregation.UNIQUE, None, "user", True, (rule,), stage.at, "user:usr_a"
    )
    assert stage.catalogue.metrics() == (metric,)


def test_shared_metrics_are_listed_by_key(stage):
    """
    Upper case before lower, as everywhere.
    """
    for key in ("b", "a", "C"):
        stage.catalogue.declare(key=key)

    assert [metric.key for metric in stage.catalogue.metrics()] == ["C", "a", "b"]


def test_a_shared_key_is_declared_once(stage, tokens):
    """
    It is changed instead.
    """
    with pytest.raises(MetricExists):
        stage.catalogue.declare(key="api_tokens", aggregation="max")

    assert stage.catalogue.metrics() == (tokens,)


def test_a_shared_metric_makes_sense_or_is_refused(stage, tokens):
    """
    When declared and when changed.
    """
    with pytest.raises(MetricInvalid):
        stage.catalogue.declare(key="seats", aggregation="unique")
    with pytest.raises(MetricInvalid):
        stage.catalogue.change("api_tokens", unique_property="user")
    with pytest.raises(MetricNotFound):
        stage.catalogue.change("seats", free=True)

    assert stage.catalogue.metrics() == (tokens,)


def test_how_a_shared_metric_aggregates_is_chosen_once(stage, tokens):
    """
    Nobody knows what it has been counted by, and where it was invoiced.
    """
    with pytest.raises(MetricFixed):
        stage.catalogue.change("api_tokens", aggregation="max", free=True)

    assert stage.catalogue.metrics() == (tokens,)


def test_every_project_has_the_shared_metrics(stage, acme, tokens):
    """
    It need not ask for them, and reading them leaves nothing behind.
    """
    own = stage.metrics.declare(acme.id, key="a_metric")

    listed = stage.metrics.list(acme.id)

    assert listed == (own, tokens.followed_by(acme.id))
    assert listed[1] == stage.metrics.get(acme.id, "api_tokens")
    assert listed[1].shared
    assert stored(stage, acme.id) == {"a_metric": own}


def test_meeting_a_shared_metric_changes_nothing_that_can_be_seen(stage, acme, tokens):
    """
    The project has its row from now on, which says what the catalogue says.
    """
    before = stage.metrics.list(acme.id)
    stage.pass_by(days=1)

    met = meet(stage, acme.id)

    assert stage.metrics.list(acme.id) == before == (met,)
    assert stored(stage, acme.id) == {"api_tokens": met}
    assert meet(stage, acme.id) == met


def test_a_key_that_nobody_declared_is_unknown(stage, acme):
    """
    In the project and in the catalogue.
    """
    assert meet(stage, acme.id) is None
    assert stored(stage, acme.id) == {}


def test_whoever_follows_follows_each_change(stage, acme, tokens):
    """
    Those that met the metric and those that will, but not those that have their own.
    """
    other = stage.projects.create(name="Other")
    own = stage.metrics.declare(other.id, key="api_tokens", unit="words")
    meet(stage, acme.id)

    changed = stage.catalogue.change("api_tokens", unit="thousand tokens", free=True)

    assert stage.metrics.get(acme.id, "api_tokens") == changed.followed_by(acme.id)
    assert stage.metrics.get(other.id, "api_tokens") == own
    assert stage.catalogue.metrics() == (changed,)


def test_a_metric_from_before_the_catalogues_stays_the_projects_own(stage, acme, on_sight):
    """
    What usage brought in on sight has been summed already.
    """
    stage.catalogue.declare(key="api_tokens", aggregation="max")

    assert stage.metrics.get(acme.id, "api_tokens") == on_sight
    assert meet(stage, acme.id) == on_sight


@pytest.mark.parametrize("met", [True, False])
def test_declaring_a_shared_key_makes_it_the_projects_own(stage, acme, tokens, met):
    """
    Met before or not; it follows no more, and it is declared once.
    """
    if met:
        meet(stage, acme.id)

    own = stage.metrics.declare(acme.id, key="api_tokens", aggregation="max")

    stage.catalogue.change("api_tokens", free=True)
    assert not own.shared
    assert stage.metrics.get(acme.id, "api_tokens") == own
    assert stage.actions(acme.id)[-1] == "metric.declared"
    with pytest.raises(MetricExists):
        stage.metrics.declare(acme.id, key="api_tokens")


@pytest.mark.parametrize("met", [True, False])
def test_changing_a_shared_metric_makes_it_the_projects_own(stage, acme, tokens, met):
    """
    What was not changed stays as it was in the catalogue.
    """
    if met:
        meet(stage, acme.id)

    own = stage.metrics.change(acme.id, "api_tokens", free=True)

    stage.catalogue.change("api_tokens", unit="words")
    assert (own.shared, own.free, own.unit) == (False, True, "tokens")
    assert stage.metrics.get(acme.id, "api_tokens") == own
    assert stage.actions(acme.id)[-1] == "metric.changed"


def test_saying_what_the_catalogue_says_leaves_a_metric_shared(stage, acme, tokens):
    """
    A change of nothing is none.
    """
    stage.metrics.change(acme.id, "api_tokens", unit="tokens")

    assert stage.metrics.get(acme.id, "api_tokens").shared


@pytest.mark.parametrize("verb", ["declare", "change"])
def test_a_project_chooses_another_aggregation_until_it_is_invoiced(stage, acme, tokens, verb):
    """
    Its own choice comes too late for what was billed by the catalogue's.
    """

    def choose(project_id):
        if verb == "change":
            return stage.metrics.change(project_id, "api_tokens", aggregation="max")
        return stage.metrics.declare(project_id, key="api_tokens", aggregation="max")

    other = stage.projects.create(name="Other")
    meet(stage, acme.id)
    use(stage, acme.id)
    invoice(stage, acme.id)

    with pytest.raises(MetricFixed):
        choose(acme.id)

    assert stage.metrics.get(acme.id, "api_tokens").shared
    assert choose(other.id).aggregation is Aggregation.MAX
