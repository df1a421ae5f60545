"""Declaring and listing prices over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from neruba_core.instants import parse
from neruba_core.tenancy.model import Role
from tests.server.world import World

UNIT = {"metricKey": "api_tokens", "model": "unit", "unitAmount": "0.000002"}
GRADUATED = {
    "metricKey": "api_tokens",
    "model": "graduated",
    "tiers": [
        {"upTo": "100", "unitAmount": "1.00"},
        {"upTo": "1000", "unitAmount": "0.50", "flatAmount": "0"},
        {"upTo": None, "unitAmount": "0.10"},
    ],
    "effectiveFrom": "2026-03-01T00:00:00Z",
}


def path(world: World) -> str:
    return f"/projects/{world.one.id}/prices"


def invoiced(world: World, until: str) -> None:
    """Let the tenant be as an invoice leaves it."""
    project = evolve(world.neruba.projects.get(world.one.id), invoiced_until=parse(until))
    world.neruba._context.write(lambda work: work.tenancy.replace_project(project))


async def test_a_price_is_declared_and_listed(world: World):
    """
    201 with id and version; every parameter in canonical form, those of other models null.
    """
    admin, viewer = world.one.people[Role.ADMIN], world.one.people[Role.VIEWER]

    made = await world.ask("POST", path(world), admin, json=GRADUATED)
    listed = await world.ask("GET", f"{path(world)}?metricKey=api_tokens", viewer)

    assert made.status == 201
    assert made.json["id"].startswith("prc_")
    assert {name: made.json[name] for name in made.json if name not in ("id", "createdAt", "createdBy")} == {
        "projectId": world.one.id,
        "metricKey": "api_tokens",
        "version": 1,
        "currency": "USD",
        "model": "graduated",
        "unitAmount": None,
        "tiers": [
            {"upTo": "100.000000", "unitAmount": "1", "flatAmount": None},
            {"upTo": "1000.000000", "unitAmount": "0.5", "flatAmount": "0"},
            {"upTo": None, "unitAmount": "0.1", "flatAmount": None},
        ],
        "packageSize": None,
        "packageAmount": None,
        "rate": None,
        "fixedAmount": None,
        "included": "0.000000",
        "minimumAmount": None,
        "maximumAmount": None,
        "effectiveFrom": "2026-03-01T00:00:00.000000Z",
    }
    assert (listed.status, listed.json) == (200, {"items": [made.json], "nextCursor": None})


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"model": "unit", "unitAmount": "0.000000000001"}, {"unitAmount": "0.000000000001"}),
        (
            {"model": "package", "packageSize": "1000", "packageAmount": "5.00"},
            {"packageSize": "1000.000000", "packageAmount": "5"},
        ),
        (
            {"model": "percentage", "rate": "0.0290", "fixedAmount": "0.30"},
            {"rate": "0.029", "fixedAmount": "0.3"},
        ),
        (
            {"model": "volume", "tiers": [{"upTo": None, "unitAmount": "2", "flatAmount": "1.5"}]},
            {"tiers": [{"upTo": None, "unitAmount": "2", "flatAmount": "1.5"}]},
        ),
        (
            {
                "model": "unit",
                "unitAmount": "1",
                "included": "5",
                "minimumAmount": "1",
                "maximumAmount": "9",
                "currency": "USD",
            },
            {"included": "5.000000", "minimumAmount": "1.000000", "maximumAmount": "9.000000"},
        ),
    ],
)
async def test_every_model_has_its_parameters(world: World, sent, shown):
    """
    Rates with twelve places and without zeros that say nothing; quantities and limits with six.
    """
    answer = await world.ask("POST", path(world), world.one.owner, json={"metricKey": "api_tokens", **sent})

    assert answer.status == 201
    assert {name: answer.json[name] for name in shown} == shown


def tiers(*bounds: str | None) -> dict[str, Any]:
    return {"model": "graduated", "tiers": [{"upTo": bound, "unitAmount": "1"} for bound in bounds]}


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (tiers("100"), ("/tiers/0/upTo", "price.invalid")),
        (tiers("100", "100", None), ("/tiers/1/upTo", "price.invalid")),
        (tiers("100", "50", None), ("/tiers/1/upTo", "price.invalid")),
        (tiers("100", None, None), ("/tiers/1/upTo", "price.invalid")),
        (tiers(), ("/tiers", "price.invalid")),
        (tiers("0", None), ("/tiers/0/upTo", "amount.not_positive")),
        (
            {"model": "graduated", "tiers": [{"upTo": None, "unitAmount": "-1"}]},
            ("/tiers/0/unitAmount", "amount.negative"),
        ),
        (
            {"model": "graduated", "tiers": [{"upTo": None, "unitAmount": 1}]},
            ("/tiers/0/unitAmount", "amount.not_text"),
        ),
        ({"model": "graduated", "tiers": [{"unitAmount": "1"}]}, ("/tiers/0/upTo", "field.missing")),
        ({"model": "unit"}, ("/unitAmount", "price.invalid")),
        ({"model": "unit", "unitAmount": "1", "rate": "1"}, ("/rate", "price.invalid")),
        ({"model": "unit", "unitAmount": "-0.1"}, ("/unitAmount", "amount.negative")),
        ({"model": "unit", "unitAmount": "0.0000000000001"}, ("/unitAmount", "amount.too_precise")),
        ({"model": "unit", "unitAmount": 0.5}, ("/unitAmount", "amount.float")),
        ({"model": "package", "packageAmount": "1"}, ("/packageSize", "price.invalid")),
        (
            {"model": "package", "packageSize": "0", "packageAmount": "1"},
            ("/packageSize", "amount.not_positive"),
        ),
        (
            {"model": "unit", "unitAmount": "1", "minimumAmount": "2", "maximumAmount": "1"},
            ("/maximumAmount", "price.invalid"),
        ),
        ({"model": "unit", "unitAmount": "1", "included": "-1"}, ("/included", "amount.negative")),
        ({"model": "unit", "unitAmount": "1", "currency": "EUR"}, ("/currency", "price.invalid")),
        ({"model": "unit", "unitAmount": "1", "metricKey": "unheard_of"}, ("/metricKey", "price.invalid")),
        ({"model": "free"}, ("/model", "format.invalid")),
        (
            {"model": "unit", "unitAmount": "1", "effectiveFrom": "2026-03-01"},
            ("/effectiveFrom", "instant.invalid"),
        ),
    ],
)
async def test_a_bad_price_is_refused_with_the_path_at_fault(world: World, sent, fault):
    """
    And changes nothing.
    """
    before = world.state(world.one)

    answer = await world.ask("POST", path(world), world.one.owner, json={"metricKey": "api_tokens", **sent})

    assert answer.status == 422
    assert answer.faults() == {fault}
    assert world.state(world.one) == before


async def test_a_price_that_begins_when_another_does_is_a_conflict(world: World):
    """
    409 with the path; the price that is there is named.
    """
    first = await world.ask("POST", path(world), world.one.owner, json=GRADUATED)
    before = world.state(world.one)

    again = await world.ask("POST", path(world), world.one.owner, json=GRADUATED)

    assert (again.status, again.code) == (409, "price.already_effective")
    assert again.faults() == {("/effectiveFrom", "price.already_effective")}
    assert again.json["priceId"] == first.json["id"]
    assert world.state(world.one) == before


async def test_a_price_of_the_past_that_was_billed_is_a_conflict(world: World):
    """
    409 with the path and the earliest instant that would do.
    """
    invoiced(world, "2026-03-01T00:00:00Z")
    before = world.state(world.one)

    answer = await world.ask(
        "POST", path(world), world.one.owner, json={**UNIT, "effectiveFrom": "2026-02-28T23:59:59Z"}
    )

    assert (answer.status, answer.code) == (409, "price.retroactive")
    assert answer.faults() == {("/effectiveFrom", "price.retroactive")}
    assert answer.json["earliest"] == "2026-03-01T00:00:00.000000Z"
    assert world.state(world.one) == before


async def test_a_key_makes_a_price_once(world: World):
    """
    Though prices may go without one; equal notations are the same request.
    """
    first = await world.ask("POST", path(world), world.one.owner, key="price-1", json=UNIT)
    again = await world.ask(
        "POST", path(world), world.one.owner, key="price-1", json={**UNIT, "unitAmount": "0.0000020"}
    )
    other = await world.ask("POST", path(world), world.one.owner, key="price-1", json=GRADUATED)
    listed = await world.ask("GET", f"{path(world)}?metricKey=api_tokens", world.one.owner)

    assert (first.status, again.status, again.content) == (201, 201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency.key_reused")
    assert len(listed.json["items"]) == 1


async def test_prices_are_listed_by_metric_and_page(world: World):
    """
    Newest first; a cursor goes with its metric.
    """
    world.neruba.metrics.declare(world.one.id, key="disk_space")
    for metric_key in ("api_tokens", "disk_space", "api_tokens"):
        made = await world.ask("POST", path(world), world.one.owner, json={**UNIT, "metricKey": metric_key})
        assert made.status == 201

    first = await world.ask("GET", f"{path(world)}?metricKey=api_tokens&limit=1", world.one.owner)
    cursor = first.json["nextCursor"]
    second = await world.ask(
        "GET", f"{path(world)}?metricKey=api_tokens&limit=1&cursor={cursor}", world.one.owner
    )
    mismatch = await world.ask("GET", f"{path(world)}?cursor={cursor}", world.one.owner)

    assert [item["version"] for item in first.json["items"] + second.json["items"]] == [2, 1]
    assert second.json["nextCursor"] is None
    assert (mismatch.status, mismatch.code) == (400, "cursor.mismatch")
