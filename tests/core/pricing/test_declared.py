"""What makes no sense as a price, and where it says so."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from neruba_core.errors import (
    AmountFloat,
    AmountNegative,
    AmountNotPositive,
    AmountTooPrecise,
    FormatInvalid,
    PriceInvalid,
)
from neruba_core.pricing.declared import MOST_TIERS, Parameters, tariff, tariff_of
from neruba_core.pricing.model import Graduated, PriceModel, Tariff, Tier


def tiers(*bounds: str | None) -> list[Tier]:
    return [Tier.of(bound, "1") for bound in bounds]


@pytest.mark.parametrize(
    ("model", "fields", "path"),
    [
        ("unit", {}, "/unitAmount"),
        ("unit", {"unit_amount": "1", "tiers": tiers(None)}, "/tiers"),
        ("unit", {"unit_amount": "1", "rate": "1"}, "/rate"),
        ("graduated", {}, "/tiers"),
        ("graduated", {"tiers": tiers(None), "unit_amount": "1"}, "/unitAmount"),
        ("package", {"package_size": "1"}, "/packageAmount"),
        ("package", {"package_amount": "1"}, "/packageSize"),
        ("percentage", {}, "/rate"),
        ("percentage", {"rate": "1", "package_size": "1"}, "/packageSize"),
        ("percentage", {"rate": "1", "package_amount": "1"}, "/packageAmount"),
        ("package", {"package_size": "1", "package_amount": "1", "fixed_amount": "1"}, "/fixedAmount"),
        ("unit", {"unit_amount": "1", "minimum_amount": "2", "maximum_amount": "1.999999"}, "/maximumAmount"),
        ("volume", {"tiers": []}, "/tiers"),
        ("volume", {"tiers": tiers(*map(str, range(1, MOST_TIERS + 1)), None)}, "/tiers"),
        ("volume", {"tiers": tiers("1")}, "/tiers/0/upTo"),
        ("volume", {"tiers": tiers("1", "2")}, "/tiers/1/upTo"),
        ("graduated", {"tiers": tiers(None, None)}, "/tiers/0/upTo"),
        ("graduated", {"tiers": tiers("1", None, "2", None)}, "/tiers/1/upTo"),
        ("graduated", {"tiers": tiers("1", "1", None)}, "/tiers/1/upTo"),
        ("graduated", {"tiers": tiers("1", "3", "2", None)}, "/tiers/2/upTo"),
        ("graduated", {"tiers": [Tier(0, Decimal(1)), *tiers(None)]}, "/tiers/0/upTo"),
    ],
)
def test_a_price_that_contradicts_itself_is_refused_where_it_does(model, fields, path):
    """
    By the field's name on the wire; below a prefix, where the price is part of something else.
    """
    with pytest.raises(PriceInvalid) as refused:
        tariff_of(model, fields)
    assert refused.value.path == path


def test_the_path_lies_below_what_the_price_is_part_of():
    """
    Such as the third price of a plan.
    """
    with pytest.raises(PriceInvalid) as refused:
        tariff(Parameters(PriceModel.GRADUATED, tiers=tuple(tiers("1"))), under="/prices/2")
    assert refused.value.path == "/prices/2/tiers/0/upTo"
    assert str(refused.value).startswith("/prices/2/tiers/0/upTo: ")


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"model": "free"}, FormatInvalid),
        ({"unit_amount": "-1"}, AmountNegative),
        ({"unit_amount": 0.5}, AmountFloat),
        ({"unit_amount": "0.0000000000001"}, AmountTooPrecise),
        ({"included": "-1"}, AmountNegative),
        ({"minimum_amount": "0.0000001"}, AmountTooPrecise),
        ({"maximum_amount": "-1"}, AmountNegative),
        ({"model": "package", "package_size": "0", "package_amount": "1"}, AmountNotPositive),
    ],
)
def test_amounts_are_checked_at_the_door(fields, refusal):
    """
    An embedder's values as strictly as those of the wire.
    """
    values: dict[str, Any] = {"model": "unit", "unit_amount": "1", **fields}
    if values["model"] != "unit":
        del values["unit_amount"]
    with pytest.raises(refusal):
        tariff_of(values.pop("model"), values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "refusal"),
    [(("0", "1"), AmountNotPositive), (("1", "-1"), AmountNegative), ((None, "1", "-1"), AmountNegative)],
)
def test_tiers_are_checked_at_the_door(values, refusal):
    """
    A bound is above zero, amounts are not below.
    """
    with pytest.raises(refusal):
        Tier.of(*values)


def test_what_is_left_out_is_nothing():
    """
    None says the same as leaving out.
    """
    most = {"unit_amount": None, "rate": None, "included": None, "minimum_amount": None}
    assert tariff_of("graduated", {"tiers": tiers(None), **most}) == Tariff(Graduated(tuple(tiers(None))))  # type: ignore[typeddict-item]


def test_a_minimum_and_a_maximum_may_be_the_same():
    """
    Then every period comes to just that.
    """
    fixed = tariff_of("unit", {"unit_amount": "1", "minimum_amount": "5", "maximum_amount": "5"})
    assert fixed.minimum_micros == fixed.maximum_micros == 5_000_000
