"""One request to an endpoint, which may be anybody's and up to anything.

It goes to a permitted address over https, follows no redirect, carries no cookie, takes no proxy from the
environment, and ends within ``SECONDS``. Of the answer the status counts; at most ``MOST_BYTES`` of what
follows are read, so that the connection can be used again, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import hdrs
from attrs import frozen
from yarl import URL

from neruba_core.errors import FormatInvalid
from neruba_core.instants import Instant
from neruba_core.outbox.addresses import checked_url, permitted
from neruba_server.outbound.resolving import CheckedResolver, Forbidden

SECONDS = 15.0
MOST_BYTES = 64 * 1024
KEPT_OPEN_SECONDS = 2.0
"""Less than receivers keep an idle connection, so that none is used as it is closed."""
_READ_SECONDS = 1.0
"""How long an answer's body is waited for: it is read for the connection's sake alone."""
_PIECE_BYTES = 16 * 1024
_NOT_ALLOWED = "the address is not allowed: it is not public"


@frozen
class Answered:
    """What came of a request: a *status*, or the *error* that kept it from one. *wait* is what a refusal
    asked for before the next."""

    milliseconds: int
    status: int | None = None
    error: str | None = None
    wait: timedelta = timedelta(0)


class Poster:
    """Posts to endpoints; to this machine too where *loopback* is allowed. Used as a context."""

    def __init__(self, *, loopback: bool, tls: ssl.SSLContext | None = None) -> None:
        self._loopback = loopback
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(loopback=self._loopback),
            use_dns_cache=False,
            ssl=self._tls or True,
            # How many go out at once is whoever posts to say.
            limit=0,
            keepalive_timeout=KEPT_OPEN_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=(hdrs.ACCEPT_ENCODING, hdrs.ACCEPT),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: dict[str, str], *, at: Instant) -> Answered:
        """Post *body*; never raises but when it is cancelled."""
        began = time.monotonic()
        status, error, wait = None, None, timedelta(0)
        try:
            status, wait = await self._post(url, body, headers, at)
        except Exception as trouble:
            error = _said(trouble)
        return Answered(int((time.monotonic() - began) * 1000), status, error, wait)

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str], at: Instant
    ) -> tuple[int, timedelta]:
        assert self._session is not None, "a poster is entered first"
        # What was allowed when the endpoint was made may not be in this environment.
        target = URL(checked_url(url, loopback=self._loopback))
        # A host that is an address is not looked up, and so not judged there.
        if _is_address(target.host) and not permitted(str(target.host), loopback=self._loopback):
            raise Forbidden(_NOT_ALLOWED)
        async with self._session.post(target, data=body, headers=headers, allow_redirects=False) as answer:
            wait = timedelta(0)
            if not 200 <= answer.status < 300:
                wait = _wait(answer.headers.get(hdrs.RETRY_AFTER), at)
            if not await _read_out(answer):
                answer.close()
            return answer.status, wait


async def _read_out(answer: aiohttp.ClientResponse) -> bool:
    """Read what is left of a short answer; whether that was all."""
    left = MOST_BYTES
    try:
        async with asyncio.timeout(_READ_SECONDS):
            while left > 0:
                piece = await answer.content.read(min(left, _PIECE_BYTES))
                if not piece:
                    return True
                left -= len(piece)
    except (TimeoutError, aiohttp.ClientError):
        pass
    return False


def _is_address(host: str | None) -> bool:
    try:
        ip_address((host or "").partition("%")[0])
    except ValueError:
        return False
    return True


def _wait(header: str | None, at: Instant) -> timedelta:
    """What ``Retry-After`` asks for: seconds, or until a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return timedelta(0)
    text = header.strip()
    if text.isascii() and text.isdecimal():
        # More than fits is more than is granted.
        return timedelta(seconds=min(int(text[:10]), 10**8))
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return timedelta(0)
    return max(until.replace(tzinfo=until.tzinfo or UTC) - at, timedelta(0))


def _said(trouble: Exception) -> str:
    """What went wrong, in words that hold nothing of ours."""
    cause: BaseException | None = trouble
    while cause is not None:
        if isinstance(cause, Forbidden):
            return _NOT_ALLOWED
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    match trouble:
        case FormatInvalid():
            return "the URL is not allowed here: it is neither https nor of this machine"
        case TimeoutError():
            return f"there was no answer within {SECONDS:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "the host is not known"
        case aiohttp.ClientSSLError():
            return "the TLS connection failed: " + str(getattr(trouble, "certificate_error", "") or "")[:120]
        case aiohttp.ClientConnectorError():
            return "there was no connection"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "the connection was closed before there was an answer"
        case aiohttp.ClientError():
            return "the answer was no HTTP"
    return "the request failed"
