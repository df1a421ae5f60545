"""The deployment's price list: metrics and prices that every project has unless it has its own."""

from __future__ import annotations

from tests.server.world import USAGE, World

SEATS = {
    "key": "seats",
    "aggregation": "unique",
    "uniqueProperty": "user",
    "unit": "seat",
    "properties": {"user": {"type": "string", "required": True}},
}


async def test_a_shared_metric_is_every_projects(world: World):
    """
    Declared once by an operator, listed for everyone with what it asks of its events.
    """
    declared = await world.ask("POST", "/catalog/metrics", world.operator, key="m1", json=SEATS)
    again = await world.ask("POST", "/catalog/metrics", world.operator, key="m1", json=SEATS)
    listed = await world.ask("GET", "/catalog/metrics", world.outsider)

    assert declared.status == again.status == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert declared.json == {**SEATS, "free": False, "createdAt": declared.json["createdAt"]}
    assert listed.json == {"items": [declared.json], "nextCursor": None}
    for tenant in (world.one, world.other):
        metrics = await world.ask("GET", f"/projects/{tenant.id}/metrics", tenant.owner)
        by_key = {metric["key"]: metric for metric in metrics.json["items"]}
        assert by_key["seats"] == {**declared.json, "shared": True, "autoDeclared": False}
        assert not by_key["api_tokens"]["shared"]


async def test_a_change_reaches_the_projects_that_follow(world: World):
    """
    Not one that went its own way.
    """
    await world.ask("POST", "/catalog/metrics", world.operator, json=SEATS)
    path = f"/projects/{world.one.id}/metrics"
    own = await world.ask("PATCH", f"{path}/seats", world.one.owner, json={"unit": "person"})

    changed = await world.ask("PATCH", "/catalog/metrics/seats", world.operator, json={"free": True})

    assert (changed.status, changed.json["free"]) == (200, True)
    assert (own.status, own.json["shared"]) == (200, False)
    theirs = await world.ask("GET", f"/projects/{world.other.id}/metrics", world.other.owner)
    ours = await world.ask("GET", path, world.one.owner)
    assert [metric["free"] for metric in theirs.json["items"] if metric["key"] == "seats"] == [True]
    assert [metric["free"] for metric in ours.json["items"] if metric["key"] == "seats"] == [False]


async def test_what_the_catalogue_cannot_take_is_refused(world: World):
    """
    With what is wrong.
    """
    await world.ask("POST", "/catalog/metrics", world.operator, json=SEATS)
    price = {"metricKey": "none", "model": "unit", "unitAmount": "1"}

    twice = await world.ask("POST", "/catalog/metrics", world.operator, json=SEATS)
    fixed = await world.ask("PATCH", "/catalog/metrics/seats", world.operator, json={"aggregation": "sum"})
    unknown = await world.ask("PATCH", "/catalog/metrics/none", world.operator, json={"free": True})
    contradicted = await world.ask(
        "POST", "/catalog/metrics", world.operator, json={"key": "a", "uniqueProperty": "b"}
    )
    unpriced = await world.ask("POST", "/catalog/prices", world.operator, json=price)

    assert (twice.status, twice.code) == (409, "metric.exists")
    assert (fixed.status, fixed.code) in {(409, "metric.fixed"), (422, "metric.invalid")}
    assert (unknown.status, unknown.code) == (404, "metric.not_found")
    assert (contradicted.status, contradicted.code) == (422, "metric.invalid")
    assert (unpriced.status, unpriced.code) == (422, "price.invalid")


async def test_a_shared_price_is_listed_for_everyone(world: World):
    """
    A project's own list has its own only.
    """
    await world.ask("POST", "/catalog/metrics", world.operator, json={"key": "pages"})
    price = {"metricKey": "pages", "model": "unit", "unitAmount": "0.05"}

    declared = await world.ask("POST", "/catalog/prices", world.operator, key="p1", json=price)

    listed = await world.ask("GET", "/catalog/prices?metricKey=pages", world.outsider)
    own = await world.ask("GET", f"/projects/{world.one.id}/prices?metricKey=pages", world.one.owner)
    assert (declared.status, declared.json["unitAmount"]) == (201, "0.05")
    assert listed.json["items"] == [declared.json]
    assert own.json["items"] == []


async def test_shared_metrics_come_in_pages(world: World):
    """
    By key.
    """
    for key in ("c", "a", "b"):
        await world.ask("POST", "/catalog/metrics", world.operator, json={"key": key})

    first = await world.ask("GET", "/catalog/metrics?limit=2", world.outsider)
    second = await world.ask(
        "GET", f"/catalog/metrics?limit=2&cursor={first.json['nextCursor']}", world.outsider
    )

    keys = [metric["key"] for page in (first, second) for metric in page.json["items"]]
    assert keys == ["a", "b", "c"]
    assert second.json["nextCursor"] is None


async def test_a_strict_project_counts_what_the_catalogue_knows(world: World):
    """
    And holds it to the catalogue's contract.
    """
    await world.ask("POST", "/catalog/metrics", world.operator, json=SEATS)
    path = f"/projects/{world.one.id}"
    await world.ask("PATCH", path, world.one.owner, json={"metricPolicy": "strict"})
    event = {**USAGE, "metricKey": "seats"}

    fits = await world.ask(
        "POST",
        "/ingest/usage",
        world.one.usage_key,
        key="s1",
        json={**event, "properties": {"user": "ada"}},
    )
    misses = await world.ask("POST", "/ingest/usage", world.one.usage_key, key="s2", json=event)

    assert fits.status == 201
    assert (misses.status, misses.json["reason"]) == (202, "property 'user' is missing")
