"""What a server says about itself, on standard error: for people, or one JSON object a line.

A line about a request holds its method, the template of its path, its status, how long it took, its id and
who asked. It never holds a body, a query, a header or a filled-in path: secrets travel in those.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TextIO, TypeAlias

import orjson
import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from attrs import define, field

from neruba_core import instants
from neruba_server.headers import REQUEST_ID
from neruba_server.settings import Settings

# aiohttp warns of plain names since it has keys of its own for them.
PRINCIPAL: Any = web.RequestKey("principal", str) if hasattr(web, "RequestKey") else "neruba.principal"
"""The key of a request under which whoever is asking is kept, such as ``key:key_…``."""

# Load balancers ask these every few seconds; only their failures are news.
_PROBES = frozenset({"/healthz", "/readyz"})


def configure(settings: Settings) -> None:
    """Log in the format of *settings*; libraries that use ``logging`` end up in the same stream."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any]
    if settings.log_format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        last = [_for_people(colours)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _for_people(colours: bool) -> structlog.dev.ConsoleRenderer:
    # The default traceback shows local variables, and secrets are among them.
    return structlog.dev.ConsoleRenderer(
        colors=colours, pad_event_to=32, exception_formatter=structlog.dev.plain_traceback
    )


_Told: TypeAlias = tuple[str, int, float, str | None, Any]
"""What a line says: method and template, status, milliseconds, request id and principal."""


class AccessLog(AbstractAccessLogger):
    """Tells of requests whichever way they were answered."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Tell of *request*; *time* is in seconds."""
        template = _template(request)
        status = response.status
        if template in _PROBES and status < 400:
            return
        request_id = response.headers.get(REQUEST_ID)
        self.tell(request.method, template, status, time, request_id, request.get(PRINCIPAL))

    def tell(
        self,
        method: str,
        template: str,
        status: int,
        seconds: float,
        request_id: str | None,
        principal: str | None,
    ) -> None:
        """Tell of a request for the path *template*, which took *seconds*."""
        self.write((f"{method} {template}", status, round(seconds * 1000, 1), request_id, principal))

    @abstractmethod
    def write(self, told: _Told) -> None:
        """Write the line."""


def access_log(settings: Settings) -> type[AccessLog]:
    """One line for each request that was answered, in the format of *settings*.

    There is a line a request, so it is written out by hand, and the lines of one turn of the event loop are
    written together with one time: structlog's processors would cost a seventh of what a small request
    costs, and a write for each line as much again. On a terminal, where people read, structlog colours it.
    """
    stream = sys.stderr
    if settings.log_format == "json":
        written: Callable[[_Told], None] = _Turn(stream, _json_line).add
    elif stream.isatty():
        written = _for_terminal
    else:
        written = _Turn(stream, _plain_line).add

    class ToStream(AccessLog):
        """See ``access_log``."""

        def write(self, told: _Told) -> None:
            written(told)

    return ToStream


_Line: TypeAlias = Callable[[str, _Told], str]
"""Writes out, with the time it is given, what a line says."""


@define(eq=False)
class _Turn:
    """The lines of one turn of the event loop, which go to *stream* in one write at its end."""

    stream: TextIO
    line: _Line
    waiting: list[_Told] = field(factory=list)

    def add(self, told: _Told) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.write)
        self.waiting.append(told)

    def write(self) -> None:
        waiting, self.waiting = self.waiting, []
        line, at = self.line, instants.text(instants.now())
        self.stream.write("".join([line(at, told) for told in waiting]))


def _level(status: int) -> str:
    return "warning" if status >= 500 else "info"


def _for_terminal(told: _Told) -> None:
    event, status, milliseconds, request_id, principal = told
    number = logging.WARNING if status >= 500 else logging.INFO
    structlog.get_logger("neruba.access").log(
        number, event, status=status, ms=milliseconds, request_id=request_id, principal=principal
    )


def _json_line(at: str, told: _Told) -> str:
    event, status, milliseconds, request_id, principal = told
    line = {
        "status": status,
        "ms": milliseconds,
        "request_id": request_id,
        "principal": principal,
        "event": event,
        "level": _level(status),
        "timestamp": at,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()


def _plain_line(at: str, told: _Told) -> str:
    event, status, milliseconds, request_id, principal = told
    return (
        f"{at} [{_level(status):<9}] {event:<32} "
        f"status={status} ms={milliseconds} request_id={request_id} principal={principal}\n"
    )


def _template(request: web.BaseRequest) -> str:
    """``/projects/{projectId}``, never the id itself; of a path that leads nowhere nothing is repeated."""
    try:
        resource = request.match_info.route.resource if isinstance(request, web.Request) else None
    except (AssertionError, AttributeError):
        # What could not be read as a request is logged too, and nobody has looked for its path.
        return "-"
    return "-" if resource is None else resource.canonical
