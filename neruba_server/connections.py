"""Connections as this server keeps them: plain single writes are answered on them directly, and what is no
HTTP is refused in our words too.

aiohttp makes a task of every request, and answers bytes that it cannot parse below any application, as plain
text with its version. There is no public hook for either, so the runner makes connections of ours, which use
some of aiohttp's inner names (``docs/decisions/single-writes-past-the-task.md``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from aiohttp import hdrs, web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_urldispatcher import MatchedSubAppResource, UrlMappingMatchInfo

from neruba_core.ids import Ids
from neruba_server import problems
from neruba_server.direct import DIRECT, Direct, answered
from neruba_server.headers import finished
from neruba_server.logs import AccessLog
from neruba_server.sending import Outbox, Sending
from neruba_server.writer import Submission, Verdicts

log = logging.getLogger("neruba.server")

KEEPALIVE_SECONDS = 75.0
"""Clients keep connections open between requests; aiohttp would for an hour."""

SHUTDOWN_SECONDS = 30.0

_IDS = Ids()


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
        # What a host has to say about its application's requests, it says on aiohttp's way.
        alone = not self.app.middlewares and not self.app.on_response_prepare
        server.direct = self.app.get(DIRECT) if alone and _CONSUMING else None
        return server


_CONSUMING = hasattr(HttpRequestParser, "message_consumed")
"""Whether aiohttp hands out requests as the one does that this was written for (3.14)."""

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
    direct: Direct | None

    def __call__(self) -> RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        # A host's own log is told by aiohttp.
        ours = connection.access_logger is None or isinstance(connection.access_logger, AccessLog)
        connection.direct = self.direct if ours else None
        connection.outbox, connection.started_at, connection.early = self.outbox, None, b""
        return connection


class _Connection(RequestHandler):
    """A connection as aiohttp keeps it, but that a single write may be answered past its task.

    While it is, the task waits for the next request as if there were none.
    """

    __slots__ = ("direct", "early", "outbox", "started_at")

    outbox: Outbox
    direct: Direct | None
    started_at: float | None
    """When the request came that is being answered directly, by the loop's clock; None if none is."""
    early: bytes
    """What came meanwhile. It is not looked at before, so that answers keep the order of their requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer on *transport*, at the end of each turn of the loop."""
        sending: Any = Sending(cast(asyncio.Transport, transport), self.outbox)
        super().connection_made(sending)

    def data_received(self, data: bytes) -> None:
        """Take what came directly, if it is one plain write and nothing else is to be done before it."""
        if self.started_at is not None:
            self.early += data
            self._pause_transport_reading()
            return
        waiter = self._waiter
        if self.direct is None or waiter is None or waiter.done() or self._paused:
            super().data_received(data)
            return
        # aiohttp shall wake nobody before we have looked.
        self._waiter = None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        messages = self._messages
        if messages and not (len(messages) == 1 and self._taken(self.direct)):
            waiter.set_result(None)

    def _taken(self, direct: Direct) -> bool:
        message, payload = self._messages[0]
        if type(message) is not RawRequestMessage or not direct.take(message, payload, self._answer):
            return False
        self._messages.clear()
        cast(Any, self._parser).message_consumed()
        cast(web.Server, self._manager).requests_count += 1
        self._request_in_progress = True
        self.started_at = self._loop.time()
        return True

    def _answer(self, submission: Submission, verdicts: Verdicts) -> None:
        status, content = answered(submission, verdicts)
        now, started_at = self._loop.time(), self.started_at
        assert started_at is not None, "it was taken"
        self.started_at = None
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if isinstance(self.access_logger, AccessLog):
            self.access_logger.tell(
                submission.method,
                submission.path,
                status,
                now - started_at,
                submission.request_id,
                submission.principal,
            )
        if self.transport is None:
            return
        self.transport.write(content)
        if self._close:
            self.transport.close()
            return
        self._next_keepalive_close_time = now + self._keepalive_timeout
        if self.early:
            early, self.early = self.early, b""
            self._resume_transport_reading()
            self.data_received(early)

    def _process_keepalive(self) -> None:
        """Close a connection that nothing came on for long, but not while it is owed an answer."""
        if self.started_at is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = self._loop.call_later(self._keepalive_timeout, self._process_keepalive)

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

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log a defect; the rest of a body that is not what its headers say is none, and was answered."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)
