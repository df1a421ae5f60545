"""Declaring and changing metrics."""

from __future__ import annotations

import json

import pytest

from neruba_core.audit.model import Origin
from neruba_core.errors import (
    FormatInvalid,
    MetricExists,
    MetricFixed,
    MetricInvalid,
    MetricNotFound,
    ProjectNotFound,
    PropertyInvalid,
    TextInvalid,
)
from neruba_core.metering.model import Aggregation, Metric, PropertyRule, PropertyType
from tests.core.metering.conftest import invoice, use


def test_a_metric_is_a_sum_unless_said_otherwise(stage, acme):
    """
    The shortest declaration is the commonest.
    """
    metric = stage.metrics.declare(acme.id, key="api_tokens")

    assert metric == Metric(acme.id, "api_tokens", Aggregation.SUM, None, None, False, (), False, stage.at)
    assert stage.metrics.get(acme.id, "api_tokens") == metric


def test_a_metric_keeps_all_that_was_declared(stage, acme):
    """
    The trail shows it by the names of the wire; rules are kept by name.
    """
    rules = [PropertyRule("user", PropertyType.STRING, required=True), PropertyRule("beta", "boolean")]  # type: ignore[arg-type]

    metric = stage.metrics.declare(
        acme.id,
        key="active_users",
        aggregation="unique",
        unit="users",
        unique_property="user",
        free=True,
        properties=rules,
        origin=Origin("user:usr_a"),
    )

    assert [rule.name for rule in metric.properties] == ["beta", "user"]
    assert metric.properties[0].type is PropertyType.BOOLEAN
    change = stage.audit.changes(acme.id).items[0]
    assert (change.action, change.subject, change.actor) == ("metric.declared", "active_users", "user:usr_a")
    assert json.loads(change.details) == {
        "aggregation": "unique",
        "unit": "users",
        "uniqueProperty": "user",
        "free": True,
        "properties": {
            "beta": {"type": "boolean", "required": False},
            "user": {"type": "string", "required": True},
        },
    }


def test_metrics_are_listed_by_key(stage, acme):
    """
    And a project without any has an empty list.
    """
    for key in ("b", "a", "c"):
        stage.metrics.declare(acme.id, key=key)

    assert [metric.key for metric in stage.metrics.list(acme.id)] == ["a", "b", "c"]
    assert stage.metrics.list(stage.projects.create(name="Other").id) == ()


def test_a_key_is_declared_once(stage, acme, on_sight):
    """
    One that usage brought in is there too, and is changed instead.
    """
    with pytest.raises(MetricExists):
        stage.metrics.declare(acme.id, key="api_tokens", aggregation="max")

    assert stage.metrics.list(acme.id) == (on_sight,)
    assert stage.actions(acme.id) == ["project.created"]


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"key": "no spaces"}, FormatInvalid),
        ({"aggregation": "median"}, FormatInvalid),
        ({"aggregation": "unique"}, MetricInvalid),
        ({"aggregation": "max", "unique_property": "user"}, MetricInvalid),
        ({"unit": ""}, TextInvalid),
        ({"unit": "u" * 65}, TextInvalid),
        ({"aggregation": "unique", "unique_property": "\n"}, TextInvalid),
        ({"properties": [PropertyRule("", PropertyType.STRING)]}, TextInvalid),
        ({"properties": [PropertyRule("a", "float")]}, FormatInvalid),  # type: ignore[arg-type]
        ({"properties": [PropertyRule("a", PropertyType.STRING)] * 2}, PropertyInvalid),
        ({"properties": [PropertyRule(f"p{n}", PropertyType.STRING) for n in range(51)]}, PropertyInvalid),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(stage, acme, values, refusal):
    """
    Nothing of it is kept.
    """
    with pytest.raises(refusal):
        stage.metrics.declare(acme.id, **{"key": "api_tokens", **values})

    assert stage.metrics.list(acme.id) == ()


def test_what_is_left_out_of_a_change_stays(stage, acme):
    """
    And null takes the unit away.
    """
    stage.metrics.declare(acme.id, key="api_tokens", unit="tokens", free=True)

    changed = stage.metrics.change(
        acme.id, "api_tokens", unit=None, properties=[PropertyRule("region", PropertyType.STRING)]
    )

    assert (changed.unit, changed.free, changed.aggregation) == (None, True, Aggregation.SUM)
    assert stage.metrics.get(acme.id, "api_tokens") == changed
    assert stage.actions(acme.id)[-1] == "metric.changed"


def test_a_change_of_nothing_is_not_noted(stage, acme):
    """
    Saying what is so already leaves no trace.
    """
    metric = stage.metrics.declare(acme.id, key="api_tokens")

    assert stage.metrics.change(acme.id, "api_tokens", aggregation="sum", free=False) == metric
    assert stage.metrics.change(acme.id, "api_tokens") == metric
    assert stage.actions(acme.id)[-1] == "metric.declared"


def test_an_aggregation_is_chosen_once(stage, acme):
    """
    Past quantities depend on it.
    """
    metric = stage.metrics.declare(acme.id, key="api_tokens")

    with pytest.raises(MetricFixed):
        stage.metrics.change(acme.id, "api_tokens", aggregation="max", unit="tokens")

    assert stage.metrics.get(acme.id, "api_tokens") == metric


def test_a_metric_brought_in_by_usage_can_still_be_given_one(stage, acme, on_sight):
    """
    Nobody has chosen its sum.
    """
    changed = stage.metrics.change(acme.id, "api_tokens", aggregation="unique", unique_property="user")

    assert (changed.aggregation, changed.unique_property) == (Aggregation.UNIQUE, "user")
    assert changed.auto_declared


def test_the_counted_property_is_chosen_once_too(stage, acme):
    """
    Other values are another quantity.
    """
    metric = stage.metrics.declare(acme.id, key="seats", aggregation="unique", unique_property="user")

    with pytest.raises(MetricFixed):
        stage.metrics.change(acme.id, "seats", unique_property="team")

    assert stage.metrics.get(acme.id, "seats") == metric


def test_once_its_usage_is_invoiced_an_aggregation_stays(stage, acme, on_sight):
    """
    What was billed by it must come to the same for ever; all else can still be changed.
    """
    use(stage, acme.id)
    invoice(stage, acme.id)

    with pytest.raises(MetricFixed):
        stage.metrics.change(acme.id, "api_tokens", aggregation="max")

    assert stage.metrics.change(acme.id, "api_tokens", free=True, unit="tokens").free


def test_until_its_own_usage_is_invoiced_an_aggregation_can_be_chosen(stage, acme, on_sight):
    """
    Another metric's invoice, or usage after the last one, settles nothing.
    """
    use(stage, acme.id, "another")
    invoice(stage, acme.id)
    stage.pass_by(hours=1)
    use(stage, acme.id)

    assert stage.metrics.change(acme.id, "api_tokens", aggregation="max").aggregation is Aggregation.MAX


def test_a_change_leaves_no_contradiction(stage, acme, on_sight):
    """
    What it would come to is what is judged.
    """
    with pytest.raises(MetricInvalid):
        stage.metrics.change(acme.id, "api_tokens", aggregation="unique")
    with pytest.raises(MetricInvalid):
        stage.metrics.change(acme.id, "api_tokens", unique_property="user")

    assert stage.metrics.get(acme.id, "api_tokens") == on_sight


def test_what_is_unknown_is_told_as_such(stage, acme):
    """
    Project and metric apart.
    """
    for ask in (
        lambda: stage.metrics.get(acme.id, "none"),
        lambda: stage.metrics.change(acme.id, "none", free=True),
    ):
        with pytest.raises(MetricNotFound):
            ask()
    for ask in (
        lambda: stage.metrics.get("prj_none", "none"),
        lambda: stage.metrics.list("prj_none"),
        lambda: stage.metrics.declare("prj_none", key="none"),
        lambda: stage.metrics.change("prj_none", "none", free=True),
    ):
        with pytest.raises(ProjectNotFound):
            ask()
