"""Keys that are remembered for seconds, addresses that logins are throttled by, work in the background."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import make_mocked_request

from neruba_core import Neruba
from neruba_core.errors import KeyRefused
from neruba_core.namespaces.jobs import PRUNE
from neruba_core.testing.clock import SettableClock
from neruba_server import auth
from neruba_server.auth import KeyRing, client_address, networks
from neruba_server.ticker import Ticker
from tests.server.world import USAGE, Client, World, served, world_of


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("10.0.0.9", "203.0.113.7", ("10.0.0.0/8",), "203.0.113.7"),
        ("10.0.0.9", "6.6.6.6, 203.0.113.7", ("10.0.0.0/8",), "203.0.113.7"),
        ("10.0.0.9", "203.0.113.7, 10.0.0.8", ("10.0.0.0/8",), "203.0.113.7"),
        ("10.0.0.9", "203.0.113.7, nonsense", ("10.0.0.0/8",), "10.0.0.9"),
        ("10.0.0.9", "", ("10.0.0.0/8",), "10.0.0.9"),
        ("10.0.0.9", "10.0.0.7, 10.0.0.8", ("10.0.0.0/8",), "10.0.0.7"),
        ("198.51.100.4", "203.0.113.7", ("10.0.0.0/8",), "198.51.100.4"),
        ("198.51.100.4", "203.0.113.7", (), "198.51.100.4"),
        ("::1", "2001:db8::7", ("::1/128",), "2001:db8::7"),
        (None, "203.0.113.7", ("10.0.0.0/8",), None),
    ],
)
def test_only_a_trusted_proxy_is_believed(peer, forwarded, trusted, expected, monkeypatch):
    """
    What stands before the last untrusted hop is the client's own word.
    """
    from aiohttp import web

    request = make_mocked_request("POST", "/auth/login", headers={"X-Forwarded-For": forwarded})
    monkeypatch.setattr(web.BaseRequest, "remote", property(lambda self: peer))

    assert client_address(request, networks(trusted)) == expected


async def test_guessing_is_slowed_down(world: World):
    """
    After five failures comes 429 with Retry-After, for a right password too; unknown emails the same.
    """
    for email in ("viewer@one.example", "nobody@one.example"):
        wrong = {"email": email, "password": "not-the-password"}
        answers = [await world.ask("POST", "/auth/login", json=wrong) for _ in range(6)]

        assert {answer.status for answer in answers[:4]} <= {401, 429}
        assert answers[-1].status == 429
        assert int(answers[-1].headers["Retry-After"]) == answers[-1].json["retryAfter"] >= 1


async def test_the_same_answer_for_a_wrong_password_and_an_unknown_email(world: World):
    """
    Nobody learns who has an account.
    """
    known, unknown = [
        await world.ask("POST", "/auth/login", json={"email": email, "password": "not-the-password"})
        for email in ("viewer@one.example", "nobody@one.example")
    ]
    assert {**known.json, "requestId": ""} == {**unknown.json, "requestId": ""}


async def test_a_key_is_looked_up_once_for_many_requests(monkeypatch):
    """
    A thundering herd asks the database one question; what was read before a change is not kept after it.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    project = neruba.projects.create(name="x")
    issued = neruba.access_keys.issue(project.id, name="k", scopes=["ingest:usage"])
    ring = KeyRing(neruba)
    asked = []
    authenticate = type(neruba.access_keys).authenticate

    def counted(self, secret):
        asked.append(secret)
        return authenticate(self, secret)

    monkeypatch.setattr(type(neruba.access_keys), "authenticate", counted)
    changes_meanwhile = False

    async def run(act):
        await asyncio.sleep(0.01)
        found = act()
        if changes_meanwhile:
            ring.forget(issued.key.id)
        return found

    await asyncio.gather(*(ring.holder(issued.secret, run) for _ in range(10)))
    await ring.holder(issued.secret, run)
    assert len(asked) == 1

    ring.forget(issued.key.id)
    changes_meanwhile = True
    await ring.holder(issued.secret, run)
    await ring.holder(issued.secret, run)
    assert len(asked) == 3


async def test_what_is_remembered_of_keys_is_bounded_and_short(monkeypatch):
    """
    At most a few seconds, and never more keys than fit.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    project = neruba.projects.create(name="x")
    ring = KeyRing(neruba)
    monkeypatch.setattr(auth, "MOST_CACHED_KEYS", 2)

    async def run(act):
        return act()

    many = [neruba.access_keys.issue(project.id, name="k", scopes=["ingest:usage"]) for _ in range(5)]
    for one in many:
        await ring.holder(one.secret, run)
        assert len(ring._known) <= 2
    monkeypatch.setattr(auth, "KEY_CACHE_SECONDS", -1.0)
    issued = many[-1]
    ring.forget(issued.key.id)
    await ring.holder(issued.secret, run)
    neruba.access_keys.revoke(project.id, issued.key.id)
    with pytest.raises(KeyRefused):
        await ring.holder(issued.secret, run)


async def test_an_expired_key_is_refused_although_it_is_remembered():
    """
    Its end is looked at on every request, not only when it is read.
    """
    clock = SettableClock()
    neruba = Neruba.in_memory(password_effort="testing", clock=clock)
    async with served(neruba) as server, ClientSession() as session:
        world = await world_of(neruba, server, session)
        issued = neruba.access_keys.issue(
            world.one.id, name="short", scopes=["ingest:usage"], expires_at=clock() + timedelta(minutes=1)
        )
        machine = {"X-Api-Key": issued.secret}
        before = await world.ask("POST", "/ingest/usage", machine, key="1", json=USAGE)
        clock.advance(timedelta(minutes=1))
        after = await world.ask("POST", "/ingest/usage", machine, key="2", json=USAGE)
    assert before.status == 201
    assert (after.status, after.code) == (401, "access.key_refused")


async def test_a_rotated_key_overlaps_or_ends_at_once(world: World):
    """
    The successor works; the old one as long as it was given.
    """
    one = world.one

    async def rotate(secret, body, key_id):
        answer = await world.ask(
            "POST", f"/projects/{one.id}/access-keys/{key_id}/rotate", one.owner, json=body
        )
        assert answer.status == 201
        old = await world.ask("POST", "/ingest/usage", secret, key=key_id, json=USAGE)
        new = {"X-Api-Key": answer.json["accessKey"]}
        return old.status, new, answer.json["id"]

    listed = await world.ask("GET", f"/projects/{one.id}/access-keys", one.owner)
    key_id = next(key["id"] for key in listed.json["items"] if key["name"] == "ingest:usage")
    await world.ask("POST", "/ingest/usage", one.usage_key, key="remembered", json=USAGE)
    kept, second, second_id = await rotate(one.usage_key, {"overlapHours": 1}, key_id)
    ended, third, _ = await rotate(second, None, second_id)
    works = await world.ask("POST", "/ingest/usage", third, key="third", json=USAGE)

    assert (kept, ended, works.status) == (201, 401, 201)


async def test_uses_of_keys_are_noted_in_the_background():
    """
    At most once a minute for each key, and what was used since is noted at the end.
    """
    clock = SettableClock()
    neruba = Neruba.in_memory(password_effort="testing", clock=clock)
    project = neruba.projects.create(name="x")
    issued = neruba.access_keys.issue(project.id, name="k", scopes=["ingest:usage"])
    ring = KeyRing(neruba)

    async def run(act):
        return act()

    def last_used():
        return neruba.access_keys.list(project.id).items[0].last_used_at

    ticker = Ticker(neruba, ring, run)
    first = clock()
    await ring.holder(issued.secret, run)
    await ticker.touch()
    assert last_used() == first
    clock.advance(timedelta(seconds=30))
    await ring.holder(issued.secret, run)
    await ticker.touch()
    assert last_used() == first
    clock.advance(timedelta(seconds=31))
    await ticker.touch()
    assert last_used() == first + timedelta(seconds=30)
    ticker.start()
    assert ticker.alive
    await ring.holder(issued.secret, run)
    await ticker.stop()
    assert not ticker.alive
    assert last_used() == clock()


async def test_old_rows_of_the_trail_are_let_go():
    """
    After thirty days, looked for at most once an hour.
    """
    clock = SettableClock()
    neruba = Neruba.in_memory(password_effort="testing", clock=clock)
    async with served(neruba) as server, ClientSession() as session:
        world = await world_of(neruba, server, session)
        await world.ask(
            "POST", "/ingest/usage", world.one.usage_key, {"X-Request-Id": "old"}, key="o", json=USAGE
        )

    neruba.schedule.tick([PRUNE])
    assert len(neruba.audit.trail(world.one.id, "old")) == 1
    clock.advance(timedelta(days=31))
    neruba.schedule.tick([PRUNE])
    assert neruba.audit.trail(world.one.id, "old") == ()


async def test_the_ticker_outlives_a_failing_database(monkeypatch, caplog):
    """
    What is due stays due.
    """
    from neruba_server import ticker as ticking

    neruba = Neruba.in_memory(password_effort="testing")
    ring = KeyRing(neruba)
    ring.used_at["key_1"] = neruba.now()

    async def run(act):
        raise OSError("gone")

    monkeypatch.setattr(ticking, "TICK_SECONDS", 0.01)
    ticker = Ticker(neruba, ring, run)
    ticker.start()
    async with asyncio.timeout(10):
        while caplog.text.count("gone") < 2:
            await asyncio.sleep(0.01)
    assert ticker.alive
    await ticker.stop()
    assert "key_1" in ring.used_at


async def test_logins_do_not_hold_up_the_rest():
    """
    Argon2 runs on threads of its own: reads are answered while many passwords are verified.
    """
    neruba = Neruba.in_memory()
    async with served(neruba) as server, ClientSession() as session:
        client = Client(session, str(server.make_url("")).rstrip("/"))
        logins = [
            asyncio.ensure_future(
                client.ask(
                    "POST", "/auth/login", json={"email": f"u{number}@example.com", "password": "x" * 12}
                )
            )
            for number in range(12)
        ]
        await asyncio.sleep(0)
        ready = await client.ask("GET", "/readyz")
        waiting = sum(not login.done() for login in logins)
        await asyncio.gather(*logins)
    assert ready.status == 200
    assert waiting > 0
