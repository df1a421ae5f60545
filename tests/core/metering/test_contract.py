"""What an event must carry to be counted in a strict project."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.metering.contract import miss, type_of
from neruba_core.metering.model import Aggregation, Metric, PropertyRule, PropertyType
from neruba_core.tenancy.model import MetricPolicy
from tests.core.identity.stage import NOON

values = st.one_of(st.text(), st.booleans(), st.integers())
properties = st.dictionaries(st.sampled_from("abcde"), values)
contracts = st.lists(
    st.builds(PropertyRule, st.sampled_from("abcde"), st.sampled_from(PropertyType), st.booleans()),
    unique_by=lambda rule: rule.name,
)


def metric(*rules: PropertyRule) -> Metric:
    return Metric("prj_1", "api_tokens", Aggregation.SUM, None, None, False, rules, False, NOON)


@given(st.one_of(st.none(), contracts.map(lambda rules: metric(*rules))), properties)
def test_an_open_project_counts_everything(of, given_properties):
    """
    Its usage is never held back.
    """
    assert miss(of, MetricPolicy.OPEN, given_properties) is None


def test_a_strict_project_knows_its_metrics():
    """
    Usage of an unknown one waits.
    """
    assert miss(None, MetricPolicy.STRICT, None) == "no metric of this key is declared"


@given(contracts, properties)
def test_an_event_fits_if_every_rule_is_kept(rules, carried):
    """
    Required properties are there, those that are there have their type, all others are welcome.
    """
    kept = all(
        type_of(carried[rule.name]) is rule.type if rule.name in carried else not rule.required
        for rule in rules
    )

    assert (miss(metric(*rules), MetricPolicy.STRICT, carried) is None) is kept


@pytest.mark.parametrize(
    ("carried", "reason"),
    [
        (None, "property 'seats' is missing"),
        ({}, "property 'seats' is missing"),
        ({"seats": "3"}, "property 'seats' is of type string, not integer"),
        ({"seats": True}, "property 'seats' is of type boolean, not integer"),
        ({"seats": 3, "region": 7}, "property 'region' is of type integer, not string"),
        ({"seats": 3, "region": "eu", "colour": False}, None),
    ],
)
def test_the_reason_names_the_property_and_the_fault(carried, reason):
    """
    Support can tell the sender what to mend; to us a boolean is no integer.
    """
    seats = PropertyRule("seats", PropertyType.INTEGER, required=True)
    region = PropertyRule("region", PropertyType.STRING)

    assert miss(metric(seats, region), MetricPolicy.STRICT, carried) == reason
