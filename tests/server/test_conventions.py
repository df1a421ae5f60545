"""What holds for every response: request ids, problems, methods, headers."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from neruba_core import Neruba
from neruba_server import app as composition
from neruba_server import limits
from neruba_server.app import create_app
from neruba_server.connections import Runner
from neruba_server.logs import access_log
from neruba_server.routes.table import ROUTES
from neruba_server.settings import Settings
from tests.server.world import USAGE, Client, World, served, world_of


@pytest.mark.parametrize("own", ["abc", "a.b-c_d:e", "x" * 128])
async def test_a_clients_request_id_is_kept(world: World, own):
    """
    So that its log and ours can be laid side by side.
    """
    for path in ("/healthz", "/auth/me", "/nowhere"):
        answer = await world.ask("GET", path, {"X-Request-Id": own})
        assert answer.headers["X-Request-Id"] == own


@pytest.mark.parametrize("own", ["", "two words", "x" * 129, "é", "<script>"])
async def test_an_unfit_request_id_is_replaced(world: World, own):
    """
    What would be trouble in a log or a header is not kept.
    """
    answer = await world.ask("GET", "/healthz", {"X-Request-Id": own})
    assert answer.headers["X-Request-Id"].startswith("req_")


async def test_errors_are_problem_documents(world: World):
    """
    Type, title, status, detail, code, request id; and the facts of the refusal beside them.
    """
    answer = await world.ask("GET", "/projects/prj_x", world.one.owner)

    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json == {
        "type": "urn:neruba:problem:project.not_found",
        "title": "Not found",
        "status": 404,
        "detail": "no project 'prj_x'",
        "code": "project.not_found",
        "requestId": answer.headers["X-Request-Id"],
        "projectId": "prj_x",
    }


async def test_unknown_paths_and_methods_are_problems_too(world: World):
    """
    404 and 405 in our words, with Allow; OPTIONS and TRACE are nothing special.
    """
    unknown = await world.ask("GET", "/nowhere")
    other = await world.ask("PUT", "/projects", world.one.owner)
    trace = await world.ask("TRACE", "/ingest/usage")
    options = await world.ask("OPTIONS", f"/projects/{world.one.id}/wallet")

    assert (unknown.status, unknown.code) == (404, "route.not_found")
    for answer in (other, trace, options):
        assert (answer.status, answer.code) == (405, "route.method_not_allowed")
    assert other.headers["Allow"] == "GET, HEAD, POST"
    assert trace.headers["Allow"] == "POST"


async def test_head_answers_as_get_without_a_body(world: World):
    """
    For those who only want to know whether it is there.
    """
    get = await world.ask("GET", f"/projects/{world.one.id}/wallet", world.one.owner)
    head = await world.ask("HEAD", f"/projects/{world.one.id}/wallet", world.one.owner)
    none = await world.ask("HEAD", "/projects/prj_x", world.one.owner)

    assert (head.status, head.content) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert (none.status, none.content) == (404, b"")


async def test_every_answer_carries_the_security_headers(world: World):
    """
    Refusals and successes alike; and none tells a version.
    """
    for path in ("/healthz", "/nowhere", "/auth/me", "/docs"):
        headers = (await world.ask("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"] == "neruba"


async def test_an_expectation_that_cannot_be_met_is_refused(world: World):
    """
    ``100-continue`` is met, anything else is 417.
    """
    met = await world.ask("POST", "/ingest/usage", world.one.usage_key, key="e", json=USAGE, expect100=True)
    other = await world.ask("GET", "/healthz", {"Expect": "a-miracle"}, documented=False)
    assert met.status == 201
    assert (other.status, other.code) == (417, "request.expectation_failed")


async def test_a_defect_says_nothing_but_the_request_id(world: World, monkeypatch, caplog):
    """
    What went wrong is in the log, under the same id.
    """

    def broken(*_, **__):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(world.neruba.billing), "overview", broken)

    answer = await world.ask("GET", f"/projects/{world.one.id}/billing/overview", world.one.owner)

    assert (answer.status, answer.code) == (500, "server.error")
    assert b"secret detail" not in answer.content
    assert answer.json["requestId"] in caplog.text
    assert "secret detail" in caplog.text


async def test_bytes_that_are_no_http_are_answered_and_closed(world: World):
    """
    The connection ends; the server does not.
    """
    host, port = world.client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"NONSENSE\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()

    head, _, content = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert json.loads(content)["code"] == "request.refused"
    assert json.loads(content)["requestId"].encode() in head
    assert b"aiohttp" not in answer
    assert (await world.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in pieces"])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/auth/login", "request.refused"),
        ("/projects", "auth.credentials_missing"),
        ("/nowhere", "route.not_found"),
    ],
)
async def test_a_body_that_does_not_decompress_is_no_defect_of_ours(
    path, code, whole, encoding, capsys, caplog
):
    """
    Whether it was read or not: the client hears of it, and the log has a line of the request and no more.
    """
    content = b'{"email": "owner@example.com", "password": "four-swans-cross-9"}'
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Encoding: {encoding}\r\nContent-Length: {len(content)}\r\n\r\n"
    settings = Settings(log_format="json", send_webhooks=False, run_jobs=False)
    app = create_app(Neruba.in_memory(password_effort="testing"), settings)
    runner = Runner(app, access_log_class=access_log(settings), access_log=logging.getLogger("x"))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        for piece in [head.encode() + content] if whole else [head.encode(), content[:9], content[9:]]:
            writer.write(piece)
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    finally:
        await runner.cleanup()

    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert problem["code"] == code
    assert (line["status"], line["request_id"]) == (problem["status"], problem["requestId"])
    assert caplog.records == []


@pytest.mark.parametrize(
    ("headers", "start"),
    [
        ("Content-Length: 40", b'{"email": '),
        ("Transfer-Encoding: chunked", b'5\r\n{"ema\r\n'),
        # aiohttp tells nobody of a broken chunk that comes after the headers.
        ("Transfer-Encoding: chunked", b'5\r\n{"ema\r\nno size\r\n'),
    ],
    ids=["cut off", "no end", "broken chunk"],
)
async def test_a_body_that_stays_away_is_not_waited_for_for_ever(world: World, monkeypatch, headers, start):
    """
    Its connection is answered and closed; others go on.
    """
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    host, port = world.client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n\r\n"
    writer.write(head.encode())
    await asyncio.sleep(0.05)
    writer.write(start)
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
    writer.close()

    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["status"], problem["code"]) == (400, "request.refused")
    assert (await world.ask("GET", "/healthz")).status == 200


async def test_documentation_is_served_only_where_it_is_exposed():
    """
    Otherwise its paths are like any that do not exist.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    async with served(neruba) as server, ClientSession() as session:
        client = Client(session, str(server.make_url("")).rstrip("/"))
        for path in ("/docs", "/openapi.json", "/docs/swagger-ui-bundle.js"):
            answer = await client.ask("GET", path, documented=False)
            assert (answer.status, answer.code) == (404, "route.not_found")
        assert (await client.ask("OPTIONS", "/docs")).status == 404


async def test_the_documentation_asks_no_other_host(world: World):
    """
    A strict policy, and nothing in the page that it would stop.
    """
    page = await world.ask("GET", "/docs")
    text = page.content.decode()

    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "//" not in text.replace("<!DOCTYPE html>", "")
    assert "<script>" not in text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"):
        assert f"docs/{name}" in text
        assert (await world.ask("GET", f"/docs/{name}")).status == 200


async def test_the_server_can_be_mounted_in_a_hosts_own_app():
    """
    Under a prefix everything works as before, refusals included.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    host = web.Application()

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    host.router.add_get("/hello", hello)
    host.add_subapp("/billing/", create_app(neruba, Settings()))
    async with TestServer(host) as server, ClientSession() as session:
        world = await world_of(neruba, server, session)
        world.client.base += "/billing"
        one = world.one

        sent = await world.ask("POST", "/ingest/usage", one.usage_key, key="m", json=USAGE)
        named = await world.ask("PATCH", f"/projects/{one.id}", one.owner, json={"name": "Mounted"})
        unknown = await world.ask("GET", "/nowhere")
        other = await world.ask("PUT", f"/projects/{one.id}/wallet")
        async with session.get(server.make_url("/hello")) as response:
            assert await response.text() == "hello"

    assert (sent.status, named.status) == (201, 200)
    assert (unknown.status, unknown.code) == (404, "route.not_found")
    assert (other.status, other.headers["Allow"]) == (405, "GET, HEAD")


async def test_readiness_names_each_check(world: World, monkeypatch):
    """
    A database that is gone makes it 503; a crowded writer only degraded.
    """
    from neruba_core.errors import SchemaOutdated, StorageUnavailable

    ready = await world.ask("GET", "/readyz")
    house = _house(world)
    monkeypatch.setattr(house.writer, "_queued", 19_000)
    crowded = await world.ask("GET", "/readyz")
    monkeypatch.undo()

    def gone():
        raise StorageUnavailable("no such host: secret")

    def outdated():
        raise SchemaOutdated("schema 1 of 2")

    storage = world.neruba._context.storage
    monkeypatch.setattr(storage, "check", gone)
    unavailable = await world.ask("GET", "/readyz")
    monkeypatch.setattr(storage, "check", outdated)
    old = await world.ask("GET", "/readyz")

    assert (ready.status, ready.json["status"]) == (200, "ready")
    assert set(ready.json["checks"].values()) == {"ok"}
    assert (crowded.status, crowded.json["status"]) == (200, "degraded")
    assert crowded.json["checks"]["writer"] == "crowded"
    assert (unavailable.status, unavailable.json["checks"]["database"]) == (503, "unavailable")
    assert b"secret" not in unavailable.content
    assert (old.status, old.json["checks"]["schema"]) == (503, "outdated")


async def test_projects_may_be_for_operators_to_create():
    """
    Where the deployment says so, others are refused before their body is read.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    async with (
        served(neruba, operators_only_create_projects=True) as server,
        ClientSession() as session,
    ):
        world = await world_of(neruba, server, session)
        refused = await world.ask("POST", "/projects", world.outsider, json={"name": "x"})
        made = await world.ask("POST", "/projects", world.operator, json={"name": "x"})
    assert (refused.status, refused.code) == (403, "access.role_missing")
    assert made.status == 201


async def test_the_lifetime_of_tokens_is_the_deployments():
    """
    ``expiresIn`` says what the setting says.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    neruba.users.add("owner@example.com", "four-swans-cross-9")
    async with served(neruba, access_token_minutes=5) as server, ClientSession() as session:
        client = Client(session, str(server.make_url("")).rstrip("/"))
        login = await client.ask(
            "POST", "/auth/login", json={"email": "owner@example.com", "password": "four-swans-cross-9"}
        )
    assert login.json["expiresIn"] == 300


async def test_an_external_key_that_is_taken_names_its_project(world: World):
    """
    So that a client can go on with the project it has.
    """
    body = {"name": "Acme", "externalKey": "acme"}
    first = await world.ask("POST", "/projects", world.outsider, json=body)
    second = await world.ask("POST", "/projects", world.outsider, json=body)
    assert (second.status, second.code) == (409, "project.external_key_taken")
    assert second.json["projectId"] == first.json["id"]


def _house(world: World):
    return next(iter(_HOUSES.values()))[composition.HOUSE]


_HOUSES: dict[int, web.Application] = {}


@pytest.fixture(autouse=True)
def _apps(monkeypatch):
    """
    Remember the application that a test made, to look inside.
    """
    from tests.server import world as module

    def create(neruba, settings):
        made = create_app(neruba, settings)
        _HOUSES.clear()
        _HOUSES[id(made)] = made
        return made

    monkeypatch.setattr(module, "create_app", create)


def test_every_operation_has_a_name_of_its_own():
    """
    Names are stored with idempotency keys; two routes must never share one.
    """
    names = [route.operation for route in ROUTES]
    assert len(set(names)) == len(names)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
