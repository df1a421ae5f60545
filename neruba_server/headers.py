"""The headers that every response has, and the id that each request is known by."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from neruba_core.ids import Ids

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

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def request_id_of(headers: Mapping[str, str], ids: Ids) -> str:
    """The client's own id of its request if it sent a decent one, else a new one."""
    own = headers.get(REQUEST_ID)
    if own is not None and _REQUEST_ID.fullmatch(own) is not None:
        return own
    return ids.new("req")


def finished(response: web.Response, request_id: str) -> web.Response:
    """*response* with the headers that every response has."""
    headers = response.headers
    headers[REQUEST_ID] = request_id
    headers.extend(ALWAYS)
    return response
