"""The test clock over HTTP: a year of billing while one looks on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from neruba_core import Neruba
from neruba_core.testing.clock import SettableClock
from neruba_server.app import create_app
from neruba_server.settings import Settings
from tests.server.world import PASSWORD, Answer, Client, OwnServer, World

BEGIN = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """
    A server whose clock stands at the beginning of 2026, and a project that uses something each month.
    """
    clock = SettableClock()
    clock.set(BEGIN)
    neruba = Neruba.in_memory(password_effort="testing", clock=clock)
    async with (
        OwnServer(create_app(neruba, Settings(test_clock=BEGIN), clock=clock)) as server,
        ClientSession() as session,
    ):
        neruba.users.add("owner@example.com", PASSWORD)
        yield Client(session, str(server.make_url("")).rstrip("/"))


async def signed_in(client: Client) -> dict[str, str]:
    login = {"email": "owner@example.com", "password": PASSWORD}
    answer = await client.ask("POST", "/auth/login", json=login)
    return {"Authorization": f"Bearer {answer.json['accessToken']}"}


async def move(client: Client, owner: dict[str, str], now: str) -> Answer:
    return await client.ask("POST", "/test-clock", owner, json={"now": now})


async def using(client: Client, owner: dict[str, str]) -> str:
    """A project that pays 0.01 a unit for what it uses in each month of 2026."""
    project = (await client.ask("POST", "/projects", owner, json={"name": "Acme"})).json["id"]
    key = (
        await client.ask(
            "POST",
            f"/projects/{project}/access-keys",
            owner,
            json={"name": "ingest", "scopes": ["ingest:usage"]},
        )
    ).json["accessKey"]
    await client.ask("POST", f"/projects/{project}/metrics", owner, json={"key": "storage"})
    price = {"metricKey": "storage", "model": "unit", "unitAmount": "0.01"}
    assert (await client.ask("POST", f"/projects/{project}/prices", owner, json=price)).status == 201
    for month in range(1, 13):
        now = f"2026-{month:02}-15T00:00:00Z"
        moved = await move(client, owner, now)
        assert moved.status == 200
        event = {"metricKey": "storage", "units": "100", "timestamp": now}
        sent = await client.ask("POST", "/ingest/usage", {"X-Api-Key": key}, key=now, json=event)
        assert sent.status == 201
    return str(project)


async def test_a_year_is_billed_as_it_passes(client: Client):
    """
    Each month a day after its end, when the grace is over; the login of January still works.
    """
    owner = await signed_in(client)
    project = await using(client, owner)

    last = await move(client, owner, "2027-01-02T00:00:00Z")

    invoices = await client.ask("GET", f"/projects/{project}/invoices", owner)
    assert [each["period"] for each in invoices.json["items"]] == [
        f"2026-{month:02}" for month in range(12, 0, -1)
    ]
    assert {(each["state"], each["total"]) for each in invoices.json["items"]} == {("finalized", "1.000000")}
    assert invoices.json["items"][-1]["finalizedAt"] == "2026-02-02T00:00:00.000000Z"
    (ran,) = last.json["runs"]
    assert (ran["projectId"], ran["period"], ran["error"]) == (project, "2026-12", None)
    assert ran["run"]["state"] == "finalized"
    assert last.json["now"] == "2027-01-02T00:00:00.000000Z"


async def test_what_falls_due_on_the_way_is_run_when_it_does(client: Client):
    """
    A leap over many months bills at the moment in between that it falls due, and not at its end.
    """
    owner = await signed_in(client)
    await using(client, owner)

    moved = await move(client, owner, "2027-12-01T00:00:00Z")

    assert [each["run"]["at"] for each in moved.json["runs"]] == ["2027-01-02T00:00:00.000000Z"]


async def test_the_clock_only_moves_forward(client: Client):
    """
    A time before now is refused and changes nothing; the same time is fine.
    """
    owner = await signed_in(client)
    await move(client, owner, "2026-03-01T00:00:00Z")

    back = await move(client, owner, "2026-02-28T23:59:59Z")
    same = await move(client, owner, "2026-03-01T00:00:00Z")

    assert (back.status, back.code) == (409, "clock.backwards")
    assert back.json["now"] == "2026-03-01T00:00:00.000000Z"
    assert (same.status, same.json["runs"]) == (200, [])


async def test_only_who_is_signed_in_moves_the_clock(client: Client):
    """
    And nonsense moves it nowhere.
    """
    owner = await signed_in(client)

    nobody = await client.ask("POST", "/test-clock", json={"now": "2026-03-01T00:00:00Z"})
    nonsense = await move(client, owner, "tomorrow")

    assert nobody.code == "auth.credentials_missing"
    assert (nonsense.status, nonsense.faults()) == (422, {("/now", "instant.invalid")})


async def test_a_server_that_takes_the_time_as_it_is_has_no_such_route(world: World):
    """
    Nor does its description mention one.
    """
    answer = await world.ask("POST", "/test-clock", world.operator, json={"now": "2026-03-01T00:00:00Z"})

    assert (answer.status, answer.code) == (404, "route.not_found")
    assert b"test-clock" not in (await world.ask("GET", "/openapi.json")).content
