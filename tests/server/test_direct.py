"""Single writes that are answered without a task: a client cannot tell them from the others."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import attrs
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import Neruba
from neruba_core.access.model import Scope
from neruba_core.errors import StorageUnavailable
from neruba_core.storage.memory import MemoryStorage
from neruba_server import direct, present
from neruba_server.app import create_app
from neruba_server.connections import Runner
from neruba_server.direct import Direct
from neruba_server.logs import access_log
from neruba_server.settings import Settings

NOW = datetime(2026, 3, 17, 12, tzinfo=UTC)
USAGE = '{"metricKey":"api_tokens","units":"1250.000000","timestamp":"2026-03-17T10:15:00.000Z"}'
CHARGE = '{"amount":"12.500000","description":"GPU hour é","eventId":"gpu"}'
HOLD = '{"amount":"1","description":"GPU"}'
SCOPES = (Scope.INGEST_USAGE, Scope.INGEST_CHARGE)

_IDS = re.compile(rb"([a-z]+)_[0-9a-f]{32}")
_DATE = re.compile(rb"Date: [^\r]* GMT")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """
    Whether each request that could have been was answered directly.
    """
    seen: list[bool] = []
    take = Direct.take

    def counted(self, message, payload, answer):
        seen.append(take(self, message, payload, answer))
        return seen[-1]

    monkeypatch.setattr(Direct, "take", counted)
    return seen


class Place:
    """A server with a project that has 20 of credit, and a connection to it."""

    def __init__(self, neruba: Neruba, project_id: str, key: str, runner: web.BaseRunner) -> None:
        self.neruba = neruba
        self.project_id = project_id
        self.key = key
        self.runner = runner

    def request(
        self,
        body: str = USAGE,
        path: str = "/ingest/usage",
        key: str = "Idempotency-Key: one",
        *,
        more: Sequence[str] = ("Content-Type: application/json",),
        secret: str | None = None,
        line: str = "POST {path} HTTP/1.1",
    ) -> bytes:
        content = body.encode()
        lines = [line.format(path=path), "Host: x", f"x-api-key: {secret or self.key}"]
        lines += [key] * bool(key) + [*more, f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content

    @asynccontextmanager
    async def connected(self):
        """
        A connection's reader and writer.
        """
        reader, writer = await asyncio.open_connection(*self.runner.addresses[0][:2])
        try:
            yield reader, writer
        finally:
            writer.close()

    async def said(self, pieces: Sequence[bytes], pause: float = 0.01) -> bytes:
        """
        All that is said to *pieces* on one connection that ends with them, but for ids and the date.

        Without a *pause* they may arrive as one; with it, there is time to answer each.
        """
        last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with self.connected() as (reader, writer):
            for piece in (*pieces, last):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            said = await asyncio.wait_for(reader.read(), 10)
        return _DATE.sub(b"Date: then", _IDS.sub(rb"\1_id", said))

    async def told(self, requests: Sequence[bytes]) -> list[tuple[int, dict[str, str], bytes]]:
        """
        The answers to *requests*, each sent when the one before is answered.
        """
        async with self.connected() as (reader, writer):
            answers = []
            for request in requests:
                writer.write(request)
                answers.append(await _answer(reader))
            return answers


@asynccontextmanager
async def place(*, directly: bool = True, **options):
    neruba = Neruba(MemoryStorage(), clock=lambda: NOW)
    project = neruba.projects.create(name="Direct")
    neruba.wallets.credit(project.id, amount="20", description="Credit", idempotency_key="credit")
    key = neruba.access_keys.issue(project.id, name="Key", scopes=SCOPES).secret
    app = create_app(neruba, Settings(send_webhooks=False, run_jobs=False))
    options.setdefault("access_log", None)
    runner = Runner(app, **options)
    await runner.setup()
    if not directly:
        server: Any = runner.server
        server.direct = None
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        opened = Place(neruba, project.id, key, runner)
        # From now on the key is remembered.
        await opened.said([opened.request(HOLD, "/ingest/holds", "Idempotency-Key: first")])
        yield opened
    finally:
        await runner.cleanup()
        neruba.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers["Content-Length"]))
    headers["Date"] = "then"
    return int(first.split()[1]), headers, _IDS.sub(rb"\1_id", body)


# --- the same, byte for byte -------------------------------------------------------------------

_BODIES = (
    ("/ingest/usage", USAGE),
    ("/ingest/usage", USAGE.replace("1250", "7")),
    ("/ingest/usage", USAGE.replace("}", ',"eventId":"é\\u0001"}')),
    ("/ingest/usage", USAGE.replace("}", ',"eventId":"e","properties":{"region":"eu","n":1}}')),
    ("/ingest/usage", "{}"),
    ("/ingest/usage", '{"a":1,"a":2}'),
    ("/ingest/usage", "[" * 50),
    ("/ingest/usage", ""),
    ("/ingest/usage?a=1", USAGE),
    ("/ingest/charge", CHARGE),
    ("/ingest/charge", CHARGE.replace("12.5", "7.5")),
    ("/ingest/charge", '{"amount":"1000","description":"more than there is"}'),
    ("/ingest/charge", '{"amount":1.5,"description":"a float"}'),
    ("/ingest/holds", HOLD),
    ("/ingest/holds", HOLD.replace("}", ',"expiresAt":"2020-01-01T00:00:00Z"}')),
)
_KEYS = (
    "Idempotency-Key: one",
    "idempotency-key: two",
    'Idempotency-Key: "one"',
    "Idempotency-Key: one\r\nIdempotency-Key: two",
    "Idempotency-Key: " + "x" * 300,
    "",
)
_JSON = "Content-Type: application/json"
_MORE = (
    (_JSON,),
    (_JSON,),
    (_JSON,),
    (_JSON, "X-Request-Id: mine"),
    (_JSON, "X-Request-Id: not mine"),
    (_JSON, "Expect: 100-continue"),
    (_JSON, "Authorization: Bearer x"),
    (_JSON, "x-api-key: another"),
    ("Content-Type: application/json; charset=utf-8",),
    ("Content-Type: text/plain",),
    (),
)
_LINES = ("POST {path} HTTP/1.1", "POST {path} HTTP/1.1", "PUT {path} HTTP/1.1")
_REQUESTS = st.tuples(
    st.sampled_from(_BODIES),
    st.sampled_from(_KEYS),
    st.sampled_from(_MORE),
    st.sampled_from((None, None, None, "nrb_unknown", "é")),
    st.sampled_from(_LINES),
)


@settings(max_examples=40)
@given(
    asked=st.lists(_REQUESTS, min_size=1, max_size=6),
    cuts=st.none() | st.lists(st.integers(0, 3000), max_size=4),
    pause=st.sampled_from((0.0, 0.005)),
)
def test_a_client_cannot_tell_which_way_it_was_answered(asked, cuts, pause) -> None:
    """
    Whatever is asked: request by request, or all of it in any pieces.
    """

    async def said(directly: bool) -> tuple[bytes, object]:
        async with place(directly=directly) as opened:
            pieces = [
                opened.request(body, path, key, more=more, secret=secret, line=line)
                for (path, body), key, more, secret, line in asked
            ]
            if cuts is not None:
                whole = b"".join(pieces)
                edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
                pieces = [whole[start:end] for start, end in pairwise(edges)]
            heard = await opened.said(pieces, pause)
            tally = opened.neruba.audit.totals(opened.project_id)
            return heard, attrs.evolve(tally, project_id="", id="")

    assert asyncio.run(said(True)) == asyncio.run(said(False))


async def test_every_outcome_is_told_the_same(taken) -> None:
    """
    One request after the other, each of which could be answered directly.
    """
    event = USAGE.replace("}", ',"eventId":"e"}')
    strange = USAGE.replace("api_tokens", "nobody_declared_this")
    heard = []
    for directly in (True, False):
        async with place(directly=directly) as opened:
            first = await opened.told([opened.request(event)])
            opened.neruba.projects.update(opened.project_id, metric_policy="strict")
            rest = (
                opened.request(event),
                opened.request(event, key="Idempotency-Key: other"),
                opened.request(USAGE),
                opened.request(strange, key="Idempotency-Key: strange"),
                opened.request(CHARGE.replace("12.5", "1000"), "/ingest/charge"),
                opened.request(CHARGE, "/ingest/charge", "Idempotency-Key: paid"),
            )
            heard.append(first + await opened.told(rest))

    assert [(status, headers["Neruba-Outcome"]) for status, headers, _ in heard[0]] == [
        (201, "accepted"),
        (201, "replayed"),
        (200, "deduped"),
        (422, "conflict"),
        (202, "quarantined"),
        (402, "rejected"),
        (201, "accepted"),
    ]
    for answers in heard:
        for _, headers, _ in answers:
            assert headers.pop("X-Request-Id").startswith("req_")
    assert heard[0] == heard[1]
    assert taken.count(True) == 7


async def test_a_void_shows_in_the_replay_of_its_event() -> None:
    """
    Either way, with the moment of the void.
    """
    heard = []
    for directly in (True, False):
        async with place(directly=directly) as opened:
            event = opened.neruba.usage.record(
                opened.project_id,
                metric_key="api_tokens",
                units="1250",
                timestamp=datetime(2026, 3, 17, 10, 15, tzinfo=UTC),
                idempotency_key="one",
            ).value
            opened.neruba.usage.void(opened.project_id, event.id, reason="a mistake")
            heard.append(await opened.said([opened.request()]))

    assert b"Neruba-Voided-At: 2026-03-17T12:00:00.000000Z" in heard[0]
    assert heard[0] == heard[1]


@pytest.mark.parametrize("error", [StorageUnavailable("gone"), RuntimeError("a defect")])
async def test_what_storage_refuses_is_refused_the_same(error: Exception, monkeypatch) -> None:
    """
    Either way, with nothing of our innards in it; and the connection goes on.
    """
    heard = []
    for directly in (True, False):
        async with place(directly=directly) as opened:
            with monkeypatch.context() as patch:
                patch.setattr(Neruba, "execute", lambda self, commands, **_: _raise(error))
                refused = await opened.said([opened.request(), opened.request(CHARGE, "/ingest/charge")])
            heard.append(refused + await opened.said([opened.request()]))

    assert b"HTTP/1.1 201" in heard[0]
    assert heard[0] == heard[1]


def _raise(error: Exception) -> None:
    raise error


async def test_an_answer_that_cannot_be_written_is_an_error_and_not_silence(monkeypatch, taken) -> None:
    """
    And the connection goes on.
    """
    async with place() as opened, opened.connected() as (reader, writer):
        with monkeypatch.context() as patch:
            patch.setattr(present, "text", lambda value: _raise(RuntimeError("a defect")))
            writer.write(opened.request())
            status, _, body = await _answer(reader)
            assert (status, json.loads(body)["code"]) == (500, "server.error")
        writer.write(opened.request())
        assert (await _answer(reader))[0] == 201
    assert taken[-2:] == [True, True]


# --- which way -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"), [("/ingest/usage", USAGE), ("/ingest/charge", CHARGE), ("/ingest/holds", HOLD)]
)
async def test_plain_writes_are_taken_directly(path: str, body: str, taken) -> None:
    """
    Whoever sends one after the other, never waits for a task.
    """
    async with place() as opened:
        taken.clear()
        await opened.told([opened.request(body, path, f"Idempotency-Key: {n}") for n in range(3)])

    assert taken == [True, True, True]


async def test_a_host_that_looks_at_answers_sees_all(taken) -> None:
    """
    Nothing goes past its hook, its middleware or its log.
    """
    seen: list[int] = []

    async def look(_: web.Request, response: web.StreamResponse) -> None:
        seen.append(response.status)

    neruba = Neruba.in_memory()
    project = neruba.projects.create(name="Hosted")
    key = neruba.access_keys.issue(project.id, name="Key", scopes=SCOPES).secret
    app = create_app(neruba, Settings(send_webhooks=False, run_jobs=False))
    app.on_response_prepare.append(look)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    opened = Place(neruba, project.id, key, runner)
    await opened.said([opened.request(), opened.request()])
    await runner.cleanup()

    assert seen == [201, 201, 200]
    assert taken == []


async def test_a_revoked_key_opens_nothing(taken) -> None:
    """
    What is remembered of a key is forgotten with it.
    """
    async with place() as opened:
        (key,) = opened.neruba.access_keys.list(opened.project_id).items
        opened.neruba.access_keys.revoke(opened.project_id, key.id)
        app = opened.runner.app
        app[direct.DIRECT].house.keys.forget(key.id)
        heard = await opened.said([opened.request()])

    assert b"HTTP/1.1 401" in heard
    assert taken[-1] is False


# --- in the middle of it -------------------------------------------------------------------------


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """
    Lets units of work pass only when it is open.
    """
    made = Gate()
    execute = Neruba.execute

    def gated(self, commands, **options):
        made.reached.set()
        assert made.opened.wait(10)
        return execute(self, commands, **options)

    monkeypatch.setattr(Neruba, "execute", gated)
    yield made
    made.opened.set()


class Gate:
    def __init__(self) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self.opened.set()

    def shut(self) -> None:
        self.opened.clear()
        self.reached.clear()

    async def wait(self) -> None:
        """
        Until a unit waits before the gate.
        """
        assert await asyncio.to_thread(self.reached.wait, 10)


async def test_what_comes_meanwhile_is_answered_in_its_turn(gate, taken) -> None:
    """
    Reads would be quicker than a write that waits for its commit, and must not overtake it.
    """
    async with place() as opened, opened.connected() as (reader, writer):
        gate.shut()
        writer.write(opened.request())
        await gate.wait()
        for number in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.write(opened.request(key=f"Idempotency-Key: more{number}"))
            await asyncio.sleep(0.01)
        gate.opened.set()
        answers = [await _answer(reader) for _ in range(5)]

    assert [status for status, _, _ in answers] == [201, 200, 201, 200, 201]
    assert len({headers["X-Request-Id"] for _, headers, _ in answers}) == 5


async def test_a_server_that_stops_answers_what_it_has_taken(gate, taken) -> None:
    """
    And then ends the connection.
    """
    async with place() as opened, opened.connected() as (reader, writer):
        gate.shut()
        writer.write(opened.request())
        await gate.wait()
        stopping = asyncio.ensure_future(opened.runner.cleanup())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        gate.opened.set()
        status, _, _ = await _answer(reader)
        assert await reader.read() == b""
        await stopping

    assert status == 201
    assert taken[-1] is True


async def test_a_connection_that_is_owed_an_answer_is_not_idle(gate, taken) -> None:
    """
    It is kept, however long that takes; and is closed when it is idle for as long again.
    """
    async with place(keepalive_timeout=0.1) as opened, opened.connected() as (reader, writer):
        gate.shut()
        writer.write(opened.request())
        await asyncio.sleep(0.4)
        gate.opened.set()
        status, _, _ = await _answer(reader)
        assert await asyncio.wait_for(reader.read(), 5) == b""

    assert status == 201
    assert taken[-1] is True


async def test_a_client_that_leaves_takes_nothing_back(gate, taken, caplog) -> None:
    """
    What was taken is done, and nobody is alarmed.
    """
    with caplog.at_level(logging.WARNING):
        async with place() as opened, opened.connected() as (_, writer):
            gate.shut()
            writer.write(opened.request())
            await gate.wait()
            writer.transport.abort()
            await asyncio.sleep(0.05)
            gate.opened.set()
            heard = await opened.said([opened.request()])

    assert b"Neruba-Outcome: replayed" in heard
    assert caplog.records == []


async def test_the_log_tells_of_every_request(capsys, taken) -> None:
    """
    With its id, its principal and its status, whichever way it was answered.
    """
    settings = Settings(log_format="json")
    async with place(access_log_class=access_log(settings), access_log=logging.getLogger("x")) as opened:
        capsys.readouterr()
        await opened.told([opened.request(), opened.request(more=(_JSON, "Authorization: Basic x"))])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    ours = [line for line in lines if line["event"] == "POST /ingest/usage"]
    assert [line["status"] for line in ours] == [201, 400]
    assert ours[0]["principal"].startswith("key:key_")
    assert all(line["request_id"].startswith("req_") and line["ms"] >= 0 for line in ours)
    assert taken[-2:] == [True, False]
