"""Plans and subscriptions over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from neruba_core.tenancy.model import Role
from tests.server.world import Answer, World

PLAN: Mapping[str, Any] = {
    "key": "scale",
    "name": "Scale",
    "currency": "USD",
    "amount": "310.00",
    "billing": "arrears",
    "trialDays": 0,
    "minimumCommitment": "50",
    "prices": [
        {
            "metricKey": "api_tokens",
            "model": "graduated",
            "tiers": [{"upTo": "100", "unitAmount": "1.00"}, {"upTo": None, "unitAmount": "0.5"}],
            "included": "10",
        }
    ],
}


async def publish(world: World, **changes: Any) -> Answer:
    return await world.ask("POST", "/plans", world.operator, json={**PLAN, **changes})


async def decide(world: World, body: Mapping[str, Any], *, key: str | None = None) -> Answer:
    return await world.ask(
        "POST", f"/projects/{world.one.id}/subscription", world.one.owner, key=key, json=body
    )


async def listed(world: World) -> Any:
    return (await world.ask("GET", f"/projects/{world.one.id}/subscription", world.one.owner)).json


async def test_an_operator_publishes_and_everyone_reads(world: World):
    """
    What comes back says all that was said, in canonical form.
    """
    made = await publish(world)
    again = await publish(world, amount="320")
    read = await world.ask("GET", f"/plans/{made.json['id']}", world.outsider)
    page = await world.ask("GET", "/plans?limit=1", world.one.people[Role.VIEWER])
    rest = await world.ask("GET", f"/plans?cursor={page.json['nextCursor']}", world.outsider)

    assert made.status == 201
    assert made.json == {
        "id": made.json["id"],
        "key": "scale",
        "version": 1,
        "name": "Scale",
        "currency": "USD",
        "amount": "310.000000",
        "billing": "arrears",
        "trialDays": 0,
        "minimumCommitment": "50.000000",
        "prices": [
            {
                "metricKey": "api_tokens",
                "model": "graduated",
                "unitAmount": None,
                "tiers": [
                    {"upTo": "100.000000", "unitAmount": "1", "flatAmount": None},
                    {"upTo": None, "unitAmount": "0.5", "flatAmount": None},
                ],
                "packageSize": None,
                "packageAmount": None,
                "rate": None,
                "fixedAmount": None,
                "included": "10.000000",
                "minimumAmount": None,
                "maximumAmount": None,
            }
        ],
        "createdAt": made.json["createdAt"],
        "createdBy": made.json["createdBy"],
    }
    assert (again.json["version"], again.json["amount"]) == (2, "320.000000")
    assert read.json == made.json
    assert [plan["id"] for plan in page.json["items"]] == [again.json["id"]]
    assert rest.json["items"][0] == made.json


async def test_a_plan_is_published_once_under_a_key(world: World):
    """
    A retry answers with the same bytes; the key of another operator is another one.
    """
    first = await world.ask("POST", "/plans", world.operator, key="p", json=PLAN)
    again = await world.ask("POST", "/plans", world.operator, key="p", json=PLAN)
    reused = await world.ask("POST", "/plans", world.operator, key="p", json={**PLAN, "amount": "1"})

    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (reused.status, reused.code) == (422, "idempotency.key_reused")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key": "no spaces"}, ("/key", "format.invalid")),
        ({"amount": "-1"}, ("/amount", "amount.negative")),
        ({"amount": 12}, ("/amount", "amount.not_text")),
        ({"currency": "usd"}, ("/currency", "format.invalid")),
        ({"billing": "later"}, ("/billing", "format.invalid")),
        ({"trialDays": 4000}, ("/trialDays", "format.invalid")),
        ({"minimumCommitment": "-1"}, ("/minimumCommitment", "amount.negative")),
        ({"prices": [{"metricKey": "x", "model": "unit"}]}, ("/prices/0/unitAmount", "price.invalid")),
        (
            {"prices": [{"metricKey": "x", "model": "unit", "unitAmount": "1"}] * 2},
            ("/prices/1/metricKey", "price.invalid"),
        ),
        (
            {"prices": [{**PLAN["prices"][0], "tiers": [{"upTo": "5", "unitAmount": "1"}]}]},
            ("/prices/0/tiers/0/upTo", "price.invalid"),
        ),
        (
            {"prices": [{**PLAN["prices"][0], "effectiveFrom": "2026-03-01T00:00:00Z"}]},
            ("/prices/0/effectiveFrom", "field.unknown"),
        ),
        (
            {"prices": [{"metricKey": "x", "model": "unit", "unitAmount": "1"}] * 201},
            ("/prices", "price.invalid"),
        ),
    ],
)
async def test_a_plan_that_makes_no_sense_is_refused_where_it_does_not(
    world: World, changes: Mapping[str, Any], fault: tuple[str, str]
):
    """
    422 with the path at fault, and nothing is published.
    """
    before = (await world.ask("GET", "/plans", world.operator)).json

    answer = await publish(world, **changes)

    assert answer.status == 422
    assert answer.faults() == {fault}
    assert (await world.ask("GET", "/plans", world.operator)).json == before


async def test_a_currency_that_there_is_not_is_refused(world: World):
    """
    Three letters are not yet a currency.
    """
    answer = await publish(world, currency="XXX")

    assert (answer.status, answer.code) == (422, "format.invalid")


async def test_there_is_no_such_plan(world: World):
    """
    404 in the path, and in a body that names it.
    """
    read = await world.ask("GET", "/plans/pln_unknown", world.operator)
    by_id = await decide(world, {"planId": "pln_unknown"})
    by_key = await decide(world, {"planKey": "unknown"})

    assert {(answer.status, answer.code) for answer in (read, by_id, by_key)} == {(404, "plan.not_found")}


async def test_a_subscription_from_quote_to_cancellation(world: World):
    """
    What is quoted is what is decided; the list shows the latest first and what is in force.
    """
    plan = (await publish(world)).json
    start = {"planKey": "scale", "quantity": 2, "effective": "2026-03-01T00:00:00+00:00"}

    quoted = await decide(world, {**start, "quote": True}, key="s")
    nothing = await listed(world)
    started = await decide(world, start, key="s")
    replayed = await decide(world, start, key="s")
    cancelled = await decide(world, {"cancel": True, "effective": "period_end"})
    after = await listed(world)

    assert (quoted.status, started.status, cancelled.status) == (200, 201, 201)
    assert nothing == {"items": [], "nextCursor": None, "current": None}
    assert quoted.json["decision"]["id"] is None
    assert quoted.json["lines"] == started.json["lines"]
    assert started.json == {
        "decision": {
            "id": started.json["decision"]["id"],
            "number": 1,
            "kind": "start",
            "planId": plan["id"],
            "quantity": 2,
            "effectiveAt": "2026-03-01T00:00:00.000000Z",
            "trialEndsAt": None,
            "requestedAt": started.json["decision"]["requestedAt"],
            "actor": started.json["decision"]["actor"],
        },
        "lines": [
            {
                "kind": "subscription",
                "description": "Scale × 2",
                "planId": plan["id"],
                "quantity": 2,
                "servicePeriod": {
                    "start": "2026-03-01T00:00:00.000000Z",
                    "end": "2026-04-01T00:00:00.000000Z",
                },
                "amount": "620.000000",
            }
        ],
    }
    assert replayed.content == started.content
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert cancelled.json["decision"]["planId"] is None
    assert after["items"] == [cancelled.json["decision"], started.json["decision"]]
    assert after["current"] == started.json["decision"]


async def test_decisions_leave_a_trail(world: World):
    """
    Who changed what; a quote changes nothing.
    """
    before = world.state(world.one)
    await decide(world, {"planKey": "pro", "quote": True})
    assert world.state(world.one) == before

    await decide(world, {"planKey": "pro"})
    trail = await world.ask("GET", f"/projects/{world.one.id}/audit", world.one.owner)

    assert trail.json["items"][0]["action"] == "subscription.started"


@pytest.mark.parametrize(
    ("body", "status", "fault"),
    [
        ({}, 422, ("/planId", "subscription.invalid")),
        ({"planId": "pln_1", "planKey": "pro"}, 422, ("/planId", "subscription.invalid")),
        ({"cancel": True, "planKey": "pro"}, 422, ("/planKey", "subscription.invalid")),
        ({"cancel": True, "quantity": 2}, 422, ("/quantity", "subscription.invalid")),
        ({"planKey": "pro", "quantity": 0}, 422, ("/quantity", "format.invalid")),
        ({"planKey": "pro", "quantity": "2"}, 422, ("/quantity", "value.wrong_type")),
        ({"planKey": "pro", "trialDays": -1}, 422, ("/trialDays", "format.invalid")),
        ({"planKey": "pro", "effective": "soon"}, 422, ("/effective", "instant.invalid")),
        ({"planKey": "pro", "effective": "2026-03-01T00:00:00"}, 422, ("/effective", "instant.naive")),
        (
            {"planKey": "pro", "effective": "1999-01-01T00:00:00Z"},
            422,
            ("/effective", "subscription.invalid"),
        ),
        ({"planKey": "euro", "effective": "period_end"}, 422, ("/planKey", "subscription.invalid")),
        ({"planKey": "team", "effective": "now"}, 409, ("/effective", "subscription.out_of_order")),
    ],
)
async def test_a_decision_that_makes_no_sense_is_refused_where_it_does_not(
    world: World, body: Mapping[str, Any], status: int, fault: tuple[str, str]
):
    """
    With the path at fault; by a quote alike; and nothing is decided.
    """
    await publish(world, key="euro", currency="EUR", prices=[])
    await publish(world, key="team")
    await decide(world, {"planKey": "team", "effective": "period_end"})
    before = world.state(world.one)

    for quote in ({}, {"quote": True}):
        answer = await decide(world, {**body, **quote})

        assert answer.status == status
        assert answer.faults() == {fault}
    assert world.state(world.one) == before


async def test_the_same_again_and_nothing_to_cancel_are_conflicts(world: World):
    """
    409, so that a client sees that its picture is an old one.
    """
    none = await decide(world, {"cancel": True})
    await decide(world, {"planKey": "pro"})
    same = await decide(world, {"planKey": "pro"})

    assert (none.status, none.code) == (409, "subscription.none")
    assert (same.status, same.code) == (409, "subscription.unchanged")


async def test_decisions_are_listed_page_by_page(world: World):
    """
    The latest first; a cursor leads on.
    """
    for seats in (1, 2, 3):
        await decide(world, {"planKey": "pro", "quantity": seats})
    path = f"/projects/{world.one.id}/subscription"

    first = await world.ask("GET", f"{path}?limit=2", world.one.owner)
    rest = await world.ask("GET", f"{path}?cursor={first.json['nextCursor']}", world.one.owner)

    assert [item["quantity"] for item in first.json["items"] + rest.json["items"]] == [3, 2, 1]
    assert first.json["current"] == first.json["items"][0]
