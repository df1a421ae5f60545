"""Webhook endpoints over HTTP: made with a secret that is shown once, rotated, tested, deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neruba_core.outbox.endpoints import MOST_ENDPOINTS
from neruba_core.outbox.signing import secret_of
from tests.server.world import Answer, World

URL = "https://hooks.example.com/neruba"


async def listen(world: World, key: str | None = None, **body: Any) -> Answer:
    one = world.one
    path = f"/projects/{one.id}/webhook-endpoints"
    return await world.ask("POST", path, one.owner, key=key, json={"url": URL, **body})


async def test_the_secret_is_shown_once(world: World):
    """
    In the answer that makes it; null in a replay, and in no list.
    """
    first = await listen(world, key="hooks", messageTypes=["invoice.paid"])
    again = await listen(world, key="hooks", messageTypes=["invoice.paid"])
    listed = await world.ask("GET", f"/projects/{world.one.id}/webhook-endpoints", world.one.owner)

    assert first.status == again.status == 201
    assert first.json["id"].startswith("whe_")
    assert first.json["secret"].startswith("whsec_")
    assert again.json == {**first.json, "secret": None}
    assert again.headers["Idempotent-Replayed"] == "true"
    (shown,) = listed.json["items"]
    assert shown == {name: value for name, value in first.json.items() if name != "secret"}
    assert shown["messageTypes"] == ["invoice.paid"]


async def test_a_secret_is_rotated_with_an_overlap(world: World):
    """
    A day unless told otherwise; meanwhile both sign.
    """
    made = (await listen(world)).json
    path = f"/projects/{world.one.id}/webhook-endpoints/{made['id']}/rotate-secret"

    rotated = await world.ask("POST", path, world.one.owner)

    assert rotated.status == 201
    assert rotated.json["secret"] not in (None, made["secret"])
    endpoint = world.neruba.webhooks.list(world.one.id).items[0]
    assert world.neruba.webhooks.secrets(endpoint) == (rotated.json["secret"], made["secret"])
    at_once = await world.ask("POST", path, world.one.owner, json={"overlapHours": 0})
    endpoint = world.neruba.webhooks.list(world.one.id).items[0]
    assert world.neruba.webhooks.secrets(endpoint)[0] == at_once.json["secret"]
    assert rotated.json["secret"] not in world.neruba.webhooks.secrets(endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://10.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1./",
        "http://localhost.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#part",
        "ftp://hooks.example.com/",
        "hooks.example.com",
    ],
)
async def test_what_is_no_public_https_url_is_refused(world: World, url: str):
    """
    At once, so that a mistake is seen by whoever made it.
    """
    refused = await listen(world, url=url)

    assert (refused.status, refused.code) == (422, "webhook.url_refused")
    assert refused.faults() == {("/url", "webhook.url_refused")}


async def test_a_type_that_there_is_not_is_refused(world: World):
    """
    As are two of the same.
    """
    unknown = await listen(world, messageTypes=["invoice.unpaid"])
    twice = await listen(world, messageTypes=["invoice.paid", "invoice.paid"])

    assert (unknown.status, unknown.code) == (422, "body.invalid")
    assert twice.status == 422


async def test_there_are_only_so_many(world: World):
    """
    Every message is written once for each.
    """
    for _ in range(MOST_ENDPOINTS):
        assert (await listen(world)).status == 201

    refused = await listen(world)

    assert (refused.status, refused.code) == (409, "webhook.endpoint_limit")


async def test_a_test_message_waits_for_its_endpoint(world: World):
    """
    Shown among its deliveries, and begun again by hand under the same message id.
    """
    made = (await listen(world)).json
    path = f"/projects/{world.one.id}/webhook-endpoints/{made['id']}"

    tested = await world.ask("POST", f"{path}/test", world.one.owner)
    listed = await world.ask("GET", f"{path}/deliveries?state=pending", world.one.owner)
    again = await world.ask(
        "POST", f"{path}/deliveries/{tested.json['id']}/redeliver", world.one.owner, json={}
    )

    assert tested.status == 201
    assert (tested.json["type"], tested.json["state"]) == ("webhook.test", "pending")
    assert listed.json["items"] == [tested.json]
    assert again.status == 200
    assert again.json["messageId"] == tested.json["messageId"]


async def test_a_delivery_is_its_endpoints_own(world: World):
    """
    Another endpoint of the same project does not have it.
    """
    first, second = (await listen(world)).json, (await listen(world)).json
    path = f"/projects/{world.one.id}/webhook-endpoints"
    tested = await world.ask("POST", f"{path}/{first['id']}/test", world.one.owner)

    refused = await world.ask(
        "POST", f"{path}/{second['id']}/deliveries/{tested.json['id']}/redeliver", world.one.owner
    )

    assert (refused.status, refused.code) == (404, "webhook.delivery_not_found")


async def test_a_deleted_endpoint_is_gone(world: World):
    """
    204 once, then 404; what waited for it is cancelled.
    """
    made = (await listen(world)).json
    path = f"/projects/{world.one.id}/webhook-endpoints/{made['id']}"
    await world.ask("POST", f"{path}/test", world.one.owner)

    answers = [await world.ask("DELETE", path, world.one.owner) for _ in range(2)]
    after = await world.ask("GET", f"{path}/deliveries", world.one.owner)

    assert [answer.status for answer in answers] == [204, 404]
    assert (after.status, after.code) == (404, "webhook.endpoint_not_found")
    assert world.neruba.webhooks.list(world.one.id).items == ()
    waited = world.neruba.webhooks.deliveries(world.one.id).items
    assert [each.state.value for each in waited] == ["cancelled"]


async def test_a_message_shows_an_invoice_as_its_route_does(world: World):
    """
    And credit as its transaction: whoever reads the one can read the other.
    """
    one = world.one
    await listen(world)
    run = {"period": "2025-11", "finalize": True}
    ran = await world.ask("POST", f"/projects/{one.id}/billing/runs", one.finance, json=run)
    credit = {"amount": "5", "description": "again"}
    path = f"/projects/{one.id}/transactions"
    await world.ask("POST", f"{path}/credit", one.finance, key="again", json=credit)
    invoice = await world.ask("GET", f"/projects/{one.id}/invoices/{ran.json['invoice']['id']}", one.finance)
    newest = (await world.ask("GET", f"{path}?limit=1", one.finance)).json["items"][0]

    with world.neruba._context.storage.snapshot() as work:
        bodies = [json.loads(row.body) for name, row in work.export(one.id) if name == "messages"]
    told = {body["type"]: body["data"] for body in bodies}
    assert told["invoice.finalized"] == invoice.json
    assert told["credit.granted"] == newest


def test_a_secret_is_of_its_endpoint_its_salt_and_the_deployment():
    """
    Whoever has the table without the pepper signs nothing.
    """
    secrets = {
        secret_of(pepper, endpoint, salt)
        for pepper in (b"one pepper", b"another")
        for endpoint in ("whe_1", "whe_2")
        for salt in ("aa", "bb")
    }

    assert len(secrets) == 8
