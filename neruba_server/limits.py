"""How much a request may hold, and how its bytes become JSON that can be trusted.

orjson reads everything that is well-formed and refuses most of what is not. What it lets pass silently (a
member named twice, deep nesting) is found by counting; what it refuses but a client should hear about
with its path (a lone surrogate) is read again by the standard library.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import orjson
from aiohttp import hdrs, web
from aiohttp.streams import StreamReader

from neruba_core.errors import NerubaError
from neruba_server.problems import (
    BodyMalformed,
    BodyTooDeep,
    BodyTooLarge,
    BodyTypeUnsupported,
    RequestRefused,
)

MOST_BODY_BYTES = 1024 * 1024
MOST_NDJSON_BYTES = 16 * 1024 * 1024
MOST_LINE_BYTES = 64 * 1024
MOST_LINES = 10_000
MOST_LEVELS = 20

BODY_SECONDS = 30.0
"""How long a body may pause while it arrives; whoever is silent for longer holds a connection for nothing."""

JSON = "application/json"
NDJSON = "application/x-ndjson"

# Every member's name ends in a quote and a colon; text may look so too, and then we look closer.
_NAME = re.compile(rb'"[ \t\r\n]*:')
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def content_type(request: web.Request, *allowed: str) -> str:
    """The request's content type if it is one of *allowed*, else ``BodyTypeUnsupported``."""
    if request.headers.get(hdrs.CONTENT_TYPE) == allowed[0]:
        return allowed[0]
    charset = request.charset
    if request.content_type not in allowed or (charset is not None and charset.lower() != "utf-8"):
        raise BodyTypeUnsupported(" or ".join(allowed))
    return request.content_type


async def body_of(request: web.Request, most_bytes: int) -> bytes:
    """All bytes of the body. Raises ``BodyTooLarge`` as soon as there are more than *most_bytes*, and
    ``RequestRefused`` when they do not come."""
    declared = request.content_length
    if declared is not None and declared > most_bytes:
        raise BodyTooLarge(most_bytes)
    content = request.content
    try:
        chunk = await (content.readany() if content.is_eof() else _arriving(content))
        if content.at_eof():
            if len(chunk) > most_bytes:
                raise BodyTooLarge(most_bytes)
            return chunk
        chunks, size = [chunk], len(chunk)
        while True:
            chunk = await _arriving(content)
            size += len(chunk)
            if size > most_bytes:
                raise BodyTooLarge(most_bytes)
            if not chunk and content.at_eof():
                return b"".join(chunks)
            chunks.append(chunk)
    except (web.HTTPException, NerubaError):
        raise
    except TimeoutError as error:
        raise RequestRefused(f"of the body nothing came for {BODY_SECONDS:.0f} s") from error
    except Exception as error:
        # A broken chunk, a wrong length, bytes that do not decompress: the client's, not ours.
        raise RequestRefused("the body does not arrive as its headers say") from error


async def _arriving(content: StreamReader) -> bytes:
    async with asyncio.timeout(BODY_SECONDS):
        return await content.readany()


def parsed(body: bytes) -> Any:
    """The JSON value of *body*. Raises ``BodyMalformed`` or ``BodyTooDeep``."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _read_slowly(body, str(error))
    if type(value) is dict:
        names = len(value)
        plain = True
        for member in value.values():
            if type(member) is dict or type(member) is list:
                plain = False
                break
        if not plain:
            names = _names(value, MOST_LEVELS)
    elif type(value) is list:
        names = _names(value, MOST_LEVELS)
    else:
        return value
    if names != len(_NAME.findall(body)):
        return _read_slowly(body, "")
    return value


def _names(value: Any, levels: int) -> int:
    """How many members there are at all levels."""
    if levels == 0:
        raise BodyTooDeep(MOST_LEVELS)
    names = 0
    if type(value) is dict:
        names = len(value)
        value = value.values()
    for inner in value:
        if type(inner) is dict or type(inner) is list:
            names += _names(inner, levels - 1)
    return names


def _read_slowly(body: bytes, complaint: str) -> Any:
    if _levels(body) > MOST_LEVELS:
        raise BodyTooDeep(MOST_LEVELS)
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BodyMalformed("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BodyMalformed(f"{error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise BodyMalformed(complaint or "it is not JSON") from None


def _levels(body: bytes) -> int:
    """The deepest nesting of brackets outside of strings."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_TEXT.sub(b"", body)):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BodyMalformed(f"the member {name[:80]!r} is there twice")
            seen.add(name)
    return members


def _no_constant(name: str) -> Any:
    raise BodyMalformed(f"{name} is no JSON")
