"""Group commit: one unit for many requests, a verdict for each, and nobody harmed by a neighbour."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import pytest
from aiohttp import ClientSession

from neruba_core import Neruba
from neruba_core.access.model import Scope
from neruba_core.audit.model import Origin
from neruba_core.errors import StorageBusy, StorageUnavailable
from neruba_core.idempotency.outcomes import Accepted
from neruba_core.instants import parse
from neruba_core.storage.memory import MemoryStorage
from neruba_core.usage.model import NewUsage
from neruba_core.usage.record import Sent
from neruba_server import writer as writing
from neruba_server.app import HOUSE, create_app
from neruba_server.settings import Settings
from neruba_server.writer import Verdicts
from tests.server.world import CHARGE, CREDIT, USAGE, OwnServer, World, served, world_of


@pytest.fixture
def units(monkeypatch):
    """
    How many commands each unit of the writer had.
    """
    sizes = []
    execute = Neruba.execute

    def counted(self, commands, **options):
        sizes.append(len(commands))
        return execute(self, commands, **options)

    monkeypatch.setattr(Neruba, "execute", counted)
    return sizes


async def test_concurrent_writes_share_units(world: World, units):
    """
    What queues while a unit is committed goes into the next one together.
    """
    answers = await asyncio.gather(
        *(
            world.ask("POST", "/ingest/usage", world.one.usage_key, key=f"g{number}", json=USAGE)
            for number in range(100)
        )
    )
    assert [answer.status for answer in answers] == [201] * 100
    assert sum(units) == 100
    assert len(units) < 100
    assert max(units) <= writing.MOST_COMMANDS


async def test_duplicates_that_race_have_one_effect(world: World):
    """
    64 copies of one request: one is accepted, the others are told the same, byte for byte.
    """
    for path, who, body in (
        ("/ingest/usage", world.one.usage_key, USAGE),
        ("/ingest/charge", world.one.charge_key, CHARGE),
    ):
        answers = await asyncio.gather(
            *(world.ask("POST", path, who, key="race", json=body) for _ in range(64))
        )
        assert {answer.status for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        outcomes = [answer.headers["Neruba-Outcome"] for answer in answers]
        assert sorted(outcomes) == ["accepted"] + ["replayed"] * 63


async def test_two_bodies_that_race_for_one_key(world: World):
    """
    Exactly one wins, the other hears that the key is taken.
    """
    for number in range(10):
        answers = await asyncio.gather(
            *(
                world.ask("POST", "/ingest/charge", world.one.charge_key, key=f"two-{number}", json=body)
                for body in ({**CHARGE, "amount": "1"}, {**CHARGE, "amount": "2"})
            )
        )
        assert sorted(answer.status for answer in answers) == [201, 422]


async def test_spenders_never_pass_the_floor(world: World):
    """
    Fifty charges of 12.5 on a wallet of 47: three are taken, the rest are told what is left.
    """
    answers = await asyncio.gather(
        *(
            world.ask("POST", "/ingest/charge", world.one.charge_key, key=f"s{number}", json=CHARGE)
            for number in range(50)
        )
    )
    statuses = sorted(answer.status for answer in answers)
    wallet = await world.ask("GET", f"/projects/{world.one.id}/wallet", world.one.owner)

    assert statuses == [201] * 3 + [402] * 47
    assert wallet.json["balance"] == "9.500000"


async def test_a_defect_harms_only_the_request_that_meets_it(world: World, monkeypatch):
    """
    Its neighbours in the unit are answered as if it had not been there.
    """
    from neruba_core.usage import record

    event = record._event

    def broken(one, project, usage_id, at):
        if one.new.event == "cursed":
            raise ZeroDivisionError("defect")
        return event(one, project, usage_id, at)

    monkeypatch.setattr(record, "_event", broken)
    names = ["a", "b", "cursed", "c"]

    answers = await asyncio.gather(
        *(world.ask("POST", "/ingest/usage", world.one.usage_key, key=name, json=USAGE) for name in names)
    )
    batch = await world.ask(
        "POST",
        "/ingest/usage/batch",
        world.one.usage_key,
        json={"events": [{"idempotencyKey": name, **USAGE} for name in ("d", "cursed", "e")]},
    )

    assert [answer.status for answer in answers] == [201, 201, 500, 201]
    assert [one["outcome"] for one in batch.json["results"]] == ["accepted", "rejected", "accepted"]
    assert batch.json["results"][1]["code"] == "server.error"


class Fickle(MemoryStorage):
    """A store that fails as long as it is told to."""

    failure: Exception | None = None
    gate: threading.Event | None = None

    @contextmanager
    def work(self):
        if self.gate is not None:
            self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        with super().work() as unit:
            yield unit


@pytest.fixture
async def fickle():
    """
    A world on a store that can be told to fail.
    """
    storage = Fickle()
    neruba = Neruba(storage, password_effort="testing")
    app = create_app(neruba, Settings())
    async with OwnServer(app) as server, ClientSession() as session:
        yield await world_of(neruba, server, session), storage, app
        if storage.gate is not None:
            storage.gate.set()


@pytest.mark.parametrize("failure", [StorageUnavailable("disk full: secret"), StorageBusy("locked: secret")])
async def test_a_store_that_fails_is_a_503_and_recovered_from(fickle, failure):
    """
    Everything waits for it: writes by machines, writes by people; and goes on by itself afterwards.
    """
    world, storage, _ = fickle
    one = world.one
    writes = [
        ("POST", "/ingest/usage", one.usage_key, USAGE),
        ("POST", f"/projects/{one.id}/transactions/credit", one.finance, CREDIT),
        ("POST", f"/projects/{one.id}/metrics", one.owner, {"key": "new"}),
        ("PATCH", f"/projects/{one.id}", one.owner, {"name": "New"}),
    ]
    await world.ask("POST", "/ingest/usage", one.usage_key, key="before", json=USAGE)
    storage.failure = failure

    failed = [
        await world.ask(method, path, who, key="f" if method == "POST" else None, json=body)
        for method, path, who, body in writes
    ]
    batch = await world.ask(
        "POST", "/ingest/usage/batch", one.usage_key, json={"events": [{"idempotencyKey": "f2", **USAGE}]}
    )
    storage.failure = None
    after = [
        await world.ask(method, path, who, key="f" if method == "POST" else None, json=body)
        for method, path, who, body in writes
    ]

    for answer in (*failed, batch):
        assert (answer.status, answer.code) == (503, failure.code)
        assert answer.headers["Retry-After"] == "1"
        assert answer.json["retryAfter"] == 1
        assert b"secret" not in answer.content
    assert [answer.status for answer in after] == [201, 201, 201, 200]
    assert [answer.headers.get("Neruba-Outcome") for answer in after] == ["accepted"] * 3 + [None]


async def test_a_full_queue_sends_clients_away(fickle, monkeypatch):
    """
    Better a clear 503 at once than an answer that comes too late.
    """
    world, storage, app = fickle
    one = world.one
    await world.ask("POST", "/ingest/usage", one.usage_key, key="warm", json=USAGE)
    monkeypatch.setattr(app[HOUSE].writer, "_most_queued", 5)
    storage.gate = threading.Event()
    waiting = [
        asyncio.ensure_future(world.ask("POST", "/ingest/usage", one.usage_key, key=f"w{number}", json=USAGE))
        for number in range(8)
    ]
    async with asyncio.timeout(10):
        while sum(one.done() for one in waiting) < 3:
            await asyncio.sleep(0.01)
    storage.gate.set()
    answers = await asyncio.gather(*waiting)

    assert sorted(answer.status for answer in answers) == [201] * 5 + [503] * 3
    assert {answer.code for answer in answers} == {None, "storage.busy"}


async def test_who_was_answered_shares_a_unit_with_who_waited(fickle, units):
    """
    A unit begins when the one before it has been answered: those who come back at once are in it.
    """
    world, storage, app = fickle
    storage.gate = threading.Event()
    answered: asyncio.Queue[Verdicts] = asyncio.Queue()

    def send(key, answer):
        new = NewUsage("api_tokens", 1_000_000, parse(USAGE["timestamp"]), key)
        sent = Sent(world.one.id, new, Origin("key:key_x", "req_x"))
        app[HOUSE].writer.submit(
            (sent,), request_id="req_x", method="POST", path="/ingest/usage", principal="x", answer=answer
        )

    def done(submission, verdicts):
        answered.put_nowait(verdicts)

    def come_back(submission, verdicts):
        done(submission, verdicts)
        send("third", done)

    send("first", come_back)
    await asyncio.sleep(0.1)
    send("second", done)
    await asyncio.sleep(0.1)
    storage.gate.set()
    verdicts = [await answered.get() for _ in range(3)]

    assert [type(verdict) for (verdict,) in verdicts] == [Accepted] * 3
    assert units == [1, 2]


async def test_stopping_answers_what_was_taken():
    """
    Requests that wait for their commit when the server is told to stop still get their answers.
    """
    storage = Fickle()
    neruba = Neruba(storage, password_effort="testing")
    app = create_app(neruba, Settings())
    async with ClientSession() as session:
        server = OwnServer(app)
        await server.start_server()
        world = await world_of(neruba, server, session)
        await world.ask("POST", "/ingest/usage", world.one.usage_key, key="warm", json=USAGE)
        storage.gate = threading.Event()
        waiting = [
            asyncio.ensure_future(
                world.ask("POST", "/ingest/usage", world.one.usage_key, key=f"w{number}", json=USAGE)
            )
            for number in range(20)
        ]
        async with asyncio.timeout(10):
            while app[HOUSE].writer.load * writing.MOST_QUEUED < 20:
                await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(server.close())
        await asyncio.sleep(0.2)
        storage.gate.set()
        answers = await asyncio.gather(*waiting)
        await stopping

    assert [answer.status for answer in answers] == [201] * 20
    events = neruba.usage.events(world.one.id, limit=100).items
    assert {f"w{number}" for number in range(20)} <= {event.event_id for event in events}


async def test_a_key_that_is_held_elsewhere_is_waited_for(world: World, monkeypatch):
    """
    Another process decides the same key: its end is awaited and replayed, and nothing is counted twice.
    """
    from neruba_core.storage.memory.idempotency import MemoryIdempotency

    one = world.one
    held = {(one.id, "charge", "held"), (one.id, "declareMetric", "held")}
    monkeypatch.setattr(
        MemoryIdempotency, "held_elsewhere", lambda self, keys: {key for key in keys if key in held}
    )
    before = (await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)).json["ingest"]
    charge = asyncio.ensure_future(
        world.ask("POST", "/ingest/charge", one.charge_key, key="held", json=CHARGE)
    )
    metric = asyncio.ensure_future(
        world.ask("POST", f"/projects/{one.id}/metrics", one.owner, key="held", json={"key": "new"})
    )
    await asyncio.sleep(0.2)
    free = await world.ask("POST", "/ingest/charge", one.charge_key, key="free", json=CHARGE)
    assert not charge.done()
    assert not metric.done()
    held.clear()
    answers = [await charge, await metric]
    after = (await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)).json["ingest"]

    assert free.status == 201
    assert [answer.status for answer in answers] == [201, 201]
    assert after == {**before, "accepted": before["accepted"] + 2}


async def test_a_key_that_stays_held_is_a_conflict_after_a_while(world: World, monkeypatch):
    """
    Nobody waits for ever: 409 with Retry-After, counted once as rejected.
    """
    from neruba_core.storage.memory.idempotency import MemoryIdempotency
    from neruba_server.routes import call

    one = world.one
    monkeypatch.setattr(writing, "KEY_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(call, "KEY_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(MemoryIdempotency, "held_elsewhere", lambda self, keys: set(keys))
    before = (await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)).json["ingest"]

    charge = await world.ask("POST", "/ingest/charge", one.charge_key, key="held", json=CHARGE)
    metric = await world.ask(
        "POST", f"/projects/{one.id}/metrics", one.owner, key="held", json={"key": "new"}
    )
    after = (await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)).json["ingest"]

    for answer in (charge, metric):
        assert (answer.status, answer.code) == (409, "idempotency.in_progress")
        assert answer.headers["Retry-After"] == "1"
    assert after == {**before, "rejected": before["rejected"] + 1}


async def test_a_batch_may_be_larger_than_a_unit(world: World, units):
    """
    A batch is kept together; a thousand events are one unit.
    """
    events = [{"idempotencyKey": f"n{number}", **USAGE} for number in range(1000)]
    batch = await world.ask("POST", "/ingest/usage/batch", world.one.usage_key, json={"events": events})
    lines = b"\n".join(
        json.dumps({"idempotencyKey": f"l{number}", **USAGE}).encode() for number in range(3000)
    )
    ndjson = await world.ask(
        "POST",
        "/ingest/usage/batch",
        world.one.usage_key,
        data=lines,
        headers={"Content-Type": "application/x-ndjson"},
    )
    too_many = await world.ask(
        "POST", "/ingest/usage/batch", world.one.usage_key, json={"events": [*events, events[0]]}
    )

    assert batch.json["counts"]["accepted"] == 1000
    assert ndjson.json["counts"]["accepted"] == 3000
    assert (too_many.status, too_many.faults()) == (422, {("/events", "format.invalid")})
    assert units == [1000, 3000, 1]


async def test_writes_by_many_tenants_at_once_stay_apart(neruba: Neruba):
    """
    Every wallet and every count is its own, whatever shared its unit.
    """
    async with served(neruba) as server, ClientSession() as session:
        world = await world_of(neruba, server, session)
        writes = []
        for number in range(40):
            tenant = (world.one, world.other)[number % 2]
            writes += [
                world.ask("POST", "/ingest/usage", tenant.usage_key, key=f"{number}", json=USAGE),
                world.ask(
                    "POST",
                    "/ingest/charge",
                    tenant.machines[Scope.INGEST_CHARGE],
                    key=f"{number}",
                    json={**CHARGE, "amount": "1"},
                ),
            ]
        answers = await asyncio.gather(*writes)
        overviews = [
            (await world.ask("GET", f"/projects/{tenant.id}/billing/overview", tenant.owner)).json
            for tenant in (world.one, world.other)
        ]

    assert {answer.status for answer in answers} == {201}
    for overview in overviews:
        assert overview["wallet"]["balance"] == "27.000000"
        assert overview["ledger"] == {**overview["ledger"], "balanced": True, "transactions": 22}
        # The credit and the invoice of the world's own besides, its events, and one left in quarantine.
        assert overview["ingest"]["accepted"] == 45


async def test_bytes_that_no_database_takes_stay_outside(neruba: Neruba):
    """
    A NUL in a path or a query is refused like any id of nothing; in the trail the path stands as it was sent.
    """
    async with served(neruba) as server, ClientSession() as session:
        world = await world_of(neruba, server, session)
        one = world.one
        named = {"X-Request-Id": "odd-path"}
        path = f"/projects/{one.id}/access-keys/a%00b%F0%9F%92%B8"
        gone = await world.ask("DELETE", path, one.owner, named)
        trail = await world.ask("GET", f"/projects/{one.id}/requests/odd-path", one.owner)
        filtered = await world.ask("GET", f"/projects/{one.id}/ledger/entries?account=%00", one.owner)

    assert (gone.status, gone.code) == (404, "access.key_not_found")
    assert trail.json["items"][0]["path"] == path
    assert filtered.status == 422
