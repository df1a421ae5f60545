"""Answers that are written at once, and paths that are looked up: the same bytes as aiohttp's own way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import Neruba
from neruba_server.app import create_app
from neruba_server.connections import Runner
from neruba_server.headers import finished
from neruba_server.reply import Reply
from neruba_server.settings import Settings

_HEADER = st.sampled_from(
    [("Neruba-Outcome", "accepted"), ("Connection", "close"), ("Content-Length", "2"), ("Date", "today")]
)
_CHANGES: dict[str, Callable[[web.Response], object]] = {
    "nothing": lambda response: None,
    "close": lambda response: response.force_close(),
    "cookie": lambda response: response.set_cookie("name", "value"),
    "chunks": lambda response: response.enable_chunked_encoding(),
    "compression": lambda response: response.enable_compression(),
}


async def _said(runner: web.BaseRunner, *requests: str) -> bytes:
    """All that a server says to *requests* on one connection."""
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write("".join(requests).encode())
        said = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return re.sub(rb"Date: [^\r]* GMT", b"Date: then", said)
    finally:
        await runner.cleanup()


@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    version=st.sampled_from(["1.0", "1.1"]),
    kept=st.booleans(),
    status=st.sampled_from([200, 201, 202, 204, 304, 404, 503]),
    body=st.sampled_from([b"", b"{}", b"x" * 3000, None]),
    headers=st.lists(_HEADER, max_size=2),
    change=st.sampled_from(sorted(_CHANGES)),
    hooked=st.booleans(),
)
def test_a_reply_is_the_response_that_it_would_be(
    method: str,
    version: str,
    kept: bool,
    status: int,
    body: bytes | None,
    headers: list[tuple[str, str]],
    change: str,
    hooked: bool,
) -> None:
    """
    Whatever is asked and answered, a client cannot tell who wrote it.
    """

    def runner(kind: type[web.Response]) -> web.BaseRunner:
        async def answer(_: web.Request) -> web.Response:
            response = finished(kind(status=status, body=body, headers=headers), "req_1")
            response.headers.setdefault("Content-Type", "application/json")
            _CHANGES[change](response)
            return response

        async def add(_: Any, response: web.StreamResponse) -> None:
            response.headers["X-Host"] = "was here"

        app = web.Application()
        app.router.add_route("*", "/", answer)
        if hooked:
            app.on_response_prepare.append(add)
        return web.AppRunner(app, access_log=None)

    connection = "keep-alive" if kept else "close"
    first = f"{method} / HTTP/{version}\r\nHost: x\r\nConnection: {connection}\r\n\r\n"
    last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    ordinary = asyncio.run(_said(runner(web.Response), first, last))
    quick = asyncio.run(_said(runner(Reply), first, last))

    assert quick == ordinary


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /healthz HTTP/1.1",
        "HEAD /healthz HTTP/1.1",
        "POST /healthz HTTP/1.1",
        "GET /healthz?a=1 HTTP/1.1",
        "GET /healthz/ HTTP/1.1",
        "GET /%68ealthz HTTP/1.1",
        "GET http://x/healthz HTTP/1.1",
        "POST /ingest/usage HTTP/1.1",
        "OPTIONS /ingest/usage HTTP/1.1",
        "GET /nowhere HTTP/1.1",
    ],
)
@pytest.mark.parametrize("expects", ["", "Expect: 100-continue\r\n", "Expect: tea\r\n"])
async def test_a_path_that_is_looked_up_is_answered_as_one_that_is_searched_for(
    request_line: str, expects: str
) -> None:
    """
    The short way is no way around anything.
    """
    request = f"{request_line}\r\nHost: x\r\nX-Request-Id: one\r\n{expects}Connection: close\r\n\r\n"
    said = []
    for kind in (Runner, web.AppRunner):
        with Neruba.in_memory() as neruba:
            app = create_app(neruba, Settings())
            said.append(await _said(kind(app, access_log=None), request))

    assert said[0] == said[1]


async def test_a_middleware_or_another_application_sees_every_request() -> None:
    """
    A host that serves its own application with our runner keeps its say.
    """
    seen = []

    @web.middleware
    async def look(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(request.path)
        response: web.StreamResponse = await handler(request)
        return response

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    watched, inner, outer = web.Application(middlewares=[look]), web.Application(), web.Application()
    watched.router.add_get("/watched", answer)
    inner.middlewares.append(look)
    inner.router.add_get("/inner", answer)
    outer.add_subapp("/sub", inner)

    for app, path in ((watched, "/watched"), (outer, "/sub/inner")):
        said = await _said(Runner(app), f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"here" in said

    assert seen == ["/watched", "/sub/inner"]
