"""What a server says about itself, on standard error: for people, or one JSON object a line.

A line about a request holds its method, the template of its path, its status, how long it took, its id and
who asked. It never holds a body, a query, a header or a filled-in path: secrets travel in those.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from neruba_core import instants
from neruba_server.settings import Settings

REQUEST_ID = "X-Request-Id"
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


def access_log(settings: Settings) -> type[AbstractAccessLogger]:
    """One line for each request that was answered, in the format of *settings*.

    There is a line a request, so it is written out by hand: structlog's processors would cost a seventh
    of what a small request costs. On a terminal, where people read, structlog colours it.
    """
    stream = sys.stderr
    if settings.log_format == "json":
        line = _json_line
    elif stream.isatty():
        line = None
    else:
        line = _plain_line

    class AccessLog(AbstractAccessLogger):
        """See ``access_log``."""

        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            """Write the line; *time* is in seconds."""
            template = _template(request)
            if template in _PROBES and response.status < 400:
                return
            fields = {
                "status": response.status,
                "ms": round(time * 1000, 1),
                "request_id": response.headers.get(REQUEST_ID),
                "principal": request.get(PRINCIPAL),
            }
            level = "warning" if response.status >= 500 else "info"
            event = f"{request.method} {template}"
            if line is None:
                structlog.get_logger("neruba.access").log(_LEVELS[level], event, **fields)
            else:
                stream.write(line(event, level, fields))

    return AccessLog


_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}


def _json_line(event: str, level: str, fields: dict[str, Any]) -> str:
    line = {**fields, "event": event, "level": level, "timestamp": instants.text(instants.now())}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()


def _plain_line(event: str, level: str, fields: dict[str, Any]) -> str:
    told = " ".join([f"{name}={value}" for name, value in fields.items()])
    return f"{instants.text(instants.now())} [{level:<9}] {event:<32} {told}\n"


def _template(request: web.BaseRequest) -> str:
    """``/projects/{projectId}``, never the id itself; of a path that leads nowhere nothing is repeated."""
    if not isinstance(request, web.Request):
        return "-"
    resource = request.match_info.route.resource
    return "-" if resource is None else resource.canonical
