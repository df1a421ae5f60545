"""Publishing plans."""

from __future__ import annotations

from decimal import Decimal

import pytest

from neruba_core.audit.model import Origin
from neruba_core.errors import (
    AmountInvalid,
    AmountNegative,
    CursorInvalid,
    FormatInvalid,
    PlanNotFound,
    PriceInvalid,
    TextInvalid,
)
from neruba_core.pricing.model import Tariff, Tier, Unit, Volume
from neruba_core.subscriptions.model import Plan, PlanPrice, Timing
from neruba_core.testing.builders import rehearsal


@pytest.fixture
def neruba():
    return rehearsal()


def test_a_plan_is_in_dollars_and_in_advance_unless_said_otherwise(neruba):
    """
    The shortest plan is the commonest.
    """
    plan = neruba.plans.publish(key="pro", name="Pro", amount="29.90", origin=Origin("user:usr_a"))

    assert plan == Plan(
        id=plan.id,
        key="pro",
        version=1,
        name="Pro",
        currency="USD",
        amount_micros=29_900_000,
        timing=Timing.ADVANCE,
        trial_days=0,
        minimum_commitment_micros=None,
        prices=(),
        created_at=neruba.clock(),
        created_by="user:usr_a",
    )
    assert neruba.plans.get(plan.id) == plan


def test_a_plan_keeps_all_that_was_said(neruba):
    """
    Its prices are tariffs like any other; the metrics need not exist.
    """
    plan = neruba.plans.publish(
        key="scale",
        name="Scale",
        amount="0",
        currency="EUR",
        billing="arrears",
        trial_days=14,
        minimum_commitment="500",
        prices=[
            {"metric_key": "api_tokens", "model": "unit", "unit_amount": "0.000002", "included": "1000"},
            {"metric_key": "storage", "model": "volume", "tiers": [Tier(None, Decimal(1))]},
        ],
    )

    assert (plan.currency, plan.amount_micros, plan.timing) == ("EUR", 0, Timing.ARREARS)
    assert (plan.trial_days, plan.minimum_commitment_micros) == (14, 500_000_000)
    assert plan.prices == (
        PlanPrice("api_tokens", Tariff(Unit(Decimal("0.000002")), included_micros=1_000_000_000)),
        PlanPrice("storage", Tariff(Volume((Tier(None, Decimal(1)),)))),
    )


def test_publishing_again_adds_a_version(neruba):
    """
    What was published stays as it is, and who subscribed to it stays with it.
    """
    first = neruba.plans.publish(key="pro", name="Pro", amount="10")
    other = neruba.plans.publish(key="team", name="Team", amount="5")
    second = neruba.plans.publish(key="pro", name="Pro", amount="12")

    assert [plan.version for plan in (first, other, second)] == [1, 1, 2]
    assert neruba.plans.get(first.id) == first
    assert neruba.plans.list().items == (second, other, first)


def test_plans_are_listed_page_by_page(neruba):
    """
    Newest first, and a cursor leads on.
    """
    plans = [neruba.plans.publish(key="pro", name="Pro", amount=amount) for amount in range(5)]

    first = neruba.plans.list(limit=3)
    rest = neruba.plans.list(limit=3, cursor=first.next_cursor)

    assert (*first.items, *rest.items) == tuple(reversed(plans))
    assert rest.next_cursor is None
    with pytest.raises(CursorInvalid):
        neruba.plans.list(cursor="nonsense")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"key": "no spaces"}, FormatInvalid),
        ({"key": None}, FormatInvalid),
        ({"name": " "}, TextInvalid),
        ({"amount": "-1"}, AmountNegative),
        ({"amount": "1e3"}, AmountInvalid),
        ({"currency": "XXX"}, FormatInvalid),
        ({"billing": "sometimes"}, FormatInvalid),
        ({"trial_days": -1}, FormatInvalid),
        ({"trial_days": 4000}, FormatInvalid),
        ({"trial_days": True}, FormatInvalid),
        ({"minimum_commitment": "-1"}, AmountNegative),
        ({"prices": [{"metric_key": "no spaces", "model": "unit", "unit_amount": "1"}]}, FormatInvalid),
        ({"prices": [{"metric_key": "x", "model": "barter", "unit_amount": "1"}]}, FormatInvalid),
        ({"prices": [{"metric_key": "x", "model": "unit", "unit_amount": "-1"}]}, AmountNegative),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(neruba, changes, refusal):
    """
    Nothing of it is kept.
    """
    with pytest.raises(refusal):
        neruba.plans.publish(**{"key": "pro", "name": "Pro", "amount": "10"} | changes)

    assert neruba.plans.list().items == ()


@pytest.mark.parametrize(
    ("prices", "path"),
    [
        (
            [
                {"metric_key": "x", "model": "unit", "unit_amount": "1"},
                {"metric_key": "y", "model": "unit", "unit_amount": "1"},
                {"metric_key": "x", "model": "unit", "unit_amount": "2"},
            ],
            "/prices/2/metricKey",
        ),
        ([{"metric_key": "x", "model": "unit"}], "/prices/0/unitAmount"),
        (
            [{"metric_key": "x", "model": "volume", "tiers": [Tier(5, Decimal(1))]}],
            "/prices/0/tiers/0/upTo",
        ),
        (
            [{"metric_key": f"m{n}", "model": "unit", "unit_amount": "1"} for n in range(201)],
            "/prices",
        ),
    ],
)
def test_a_price_at_fault_is_pointed_to(neruba, prices, path):
    """
    By its place in the plan.
    """
    with pytest.raises(PriceInvalid) as refused:
        neruba.plans.publish(key="pro", name="Pro", amount="10", prices=prices)

    assert refused.value.path == path


def test_there_is_no_such_plan(neruba):
    """
    An id that nobody has published under.
    """
    with pytest.raises(PlanNotFound):
        neruba.plans.get("pln_unknown")
