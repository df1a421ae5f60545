"""Connections as this server keeps them: what is no HTTP is refused in our words too.

aiohttp answers bytes that it cannot parse below any application, as plain text with its version. There is
no public hook for it, so the runner gives its connections one method of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_urldispatcher import MatchedSubAppResource, UrlMappingMatchInfo

from neruba_core.ids import Ids
from neruba_server import problems
from neruba_server.sending import Outbox, Sending

log = logging.getLogger("neruba.server")

KEEPALIVE_SECONDS = 75.0
"""Clients keep connections open between requests; aiohttp would for an hour."""

SHUTDOWN_SECONDS = 30.0

REQUEST_ID = "X-Request-Id"
ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    # Whoever wants our version must ask us; not every answer tells it.
    ("Server", "neruba"),
)
"""The headers of every response."""

_IDS = Ids()


def finished(response: web.Response, request_id: str) -> web.Response:
    """*response* with the headers that every response has."""
    headers = response.headers
    headers[REQUEST_ID] = request_id
    headers.extend(ALWAYS)
    return response


class Runner(web.AppRunner):
    """An ``AppRunner`` with this server's manners; *options* are those of ``AppRunner``."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        if "access_log_class" not in options:
            options.setdefault("access_log", None)
        options = {
            "keepalive_timeout": KEEPALIVE_SECONDS,
            "shutdown_timeout": SHUTDOWN_SECONDS,
            **options,
        }
        super().__init__(app, **options)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.request_handler = _straight(self.app, server.request_handler)
        server.__class__ = _Server
        assert isinstance(server, _Server), "it was just made one"
        server.outbox = Outbox()
        return server


_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _straight(app: web.Application, ordinary: _Handler) -> _Handler:
    """The *ordinary* handler of *app*, but that a path without parameters is looked up and not searched for.

    What aiohttp finds out about such a path is the same each time. Where more than the route's own handler
    has a say (a middleware, another application, an expectation to be met first), it is asked all the same.
    """
    if app.middlewares:
        return ordinary
    found: dict[tuple[str, str], UrlMappingMatchInfo] = {}
    for resource in app.router.resources():
        if isinstance(resource, MatchedSubAppResource):
            return ordinary
        if isinstance(resource, web.PlainResource):
            for route in resource:
                info = UrlMappingMatchInfo({}, route)
                info.add_app(app)
                info.freeze()
                found.setdefault((route.method, resource.canonical), info)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        info = found.get((request.method, request.raw_path))
        if info is None or hdrs.EXPECT in request.headers:
            return await ordinary(request)
        assert isinstance(request, web.Request), "an application makes these"
        request._match_info = info
        return await info.handler(request)

    return handle


class _Server(web.Server):
    outbox: Outbox

    def __call__(self) -> RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.outbox = self.outbox
        return connection


class _Connection(RequestHandler):
    __slots__ = ("outbox",)

    outbox: Outbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer on *transport*, at the end of each turn of the loop."""
        sending: Any = Sending(cast(asyncio.Transport, transport), self.outbox)
        super().connection_made(sending)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed (400), or a defect below our routes (500)."""
        if request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        request_id = _IDS.new("req")
        if status < 500:
            log.debug("request %s is no HTTP: %s", request_id, message)
            refused = problems.refused(problems.RequestRefused("this is not HTTP/1.1"), request_id)
        else:
            log.error("request %s failed", request_id, exc_info=exc)
            refused = problems.refused(problems.Internal(), request_id)
        response = finished(refused, request_id)
        response.force_close()
        return response
