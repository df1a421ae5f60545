"""One request to somebody's endpoint: to a public address, over https, once, and not for long."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from neruba_core.outbox.addresses import permitted
from neruba_server.outbound import posting, resolving
from neruba_server.outbound.posting import MOST_BYTES, Answered, Poster, _wait
from tests.server.receiver import Receiver, receiving

AT = datetime(2026, 3, 17, 12, tzinfo=UTC)


async def posted(url: str, *, loopback: bool = True) -> Answered:
    async with Poster(loopback=loopback) as poster:
        return await poster.post(url, b"{}", {"webhook-id": "msg_1"}, at=AT)


@asynccontextmanager
async def raw(talk):
    """A server that talks as it likes."""

    async def serve(reader, writer):
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.close()


def names(monkeypatch, *answers: list[str]) -> list[str]:
    """Have look-ups answered so, one after the other; the names that are asked for."""
    asked: list[str] = []
    waiting = list(answers)

    def getaddrinfo(host, port, family=0, kind=0, *, flags=0):
        asked.append(host)
        found = waiting.pop(0) if waiting else []
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001:0:a00:1::",
        "no address",
    ],
)
async def test_an_address_that_is_not_public_is_refused(monkeypatch, address):
    """
    Whatever it is wrapped in, and whatever name points to it; no connection is made.
    """
    names(monkeypatch, [address])

    assert not permitted(address, loopback=False)
    answer = await posted("https://hooks.example.com/", loopback=False)
    assert (answer.status, answer.error) == (None, posting._NOT_ALLOWED)


async def test_in_production_this_machine_is_refused_too():
    """
    As an address, as a name, and in https as well.
    """
    async with receiving(Receiver()) as receiver:
        names_of_it = ("localhost", "localhost.", "hooks.LocalHost", "127.0.0.1", "[::1]")
        for url in (receiver.url, *(f"https://{name}/" for name in names_of_it)):
            answer = await posted(url, loopback=False)

            assert answer.status is None
            assert "not allowed" in str(answer.error)
    assert receiver.received == []


async def test_numbers_that_mean_an_address_are_judged_as_one():
    """
    ``2130706433`` and ``0x7f.1`` are ways to write 127.0.0.1 that no address literal is.
    """
    for host in ("2130706433", "0x7f.1", "0177.0.0.1"):
        answer = await posted(f"https://{host}/", loopback=False)

        assert answer.status is None


async def test_a_name_is_looked_up_once_and_what_was_judged_is_connected_to(monkeypatch):
    """
    A second answer that points inside is never asked for.
    """
    async with receiving(Receiver()) as receiver:
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        asked = names(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])

        answer = await posted(f"http://localhost:{port}/")

    assert (answer.status, asked) == (200, ["localhost"])


async def test_one_public_address_among_others_is_the_one_that_is_taken(monkeypatch):
    """
    The rest is not even tried.
    """
    names(monkeypatch, ["10.0.0.1", "93.184.216.34", "::ffff:10.0.0.1"])
    resolver = resolving.CheckedResolver(loopback=False)

    found = await resolver.resolve("hooks.example.com", 443)

    assert [each["host"] for each in found] == ["93.184.216.34"]
    await resolver.close()


async def test_a_redirect_is_an_answer_and_not_followed():
    """
    It would lead where nobody has looked.
    """

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/other"})

    async with receiving(Receiver(answer=elsewhere)) as receiver:
        answer = await posted(receiver.url)

    assert (answer.status, len(receiver.received)) == (307, 1)


async def test_no_cookie_comes_back_and_no_proxy_is_taken(monkeypatch):
    """
    Nothing of the environment, nothing of the request before.
    """
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def baked(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with receiving(Receiver(answer=baked)) as receiver, Poster(loopback=True) as poster:
        for _ in range(2):
            answer = await poster.post(receiver.url, b"{}", {}, at=AT)

            assert answer.status == 200
    assert all("cookie" not in headers for headers, _ in receiver.received)


async def test_an_endless_answer_is_cut():
    """
    Its status counts; no more than the cap is read.
    """
    written = 0

    async def endless(reader, writer):
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while written < 100 * MOST_BYTES:
            writer.write(b"x" * MOST_BYTES)
            await writer.drain()
            written += MOST_BYTES

    async with raw(endless) as url:
        answer = await posted(url)

    assert answer.status == 200
    assert written < 100 * MOST_BYTES


async def test_whoever_drips_headers_is_given_up(monkeypatch):
    """
    The time is for the whole answer, not for each byte.
    """
    monkeypatch.setattr(posting, "SECONDS", 0.2)

    async def drip(reader, writer):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 10_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw(drip) as url:
        answer = await posted(url)

    assert (answer.status, answer.error) == (None, "there was no answer within 0.2 s")
    assert answer.milliseconds < 5_000


async def test_whoever_drips_the_body_has_answered(monkeypatch):
    """
    The message was taken; what else is said is not waited for.
    """
    monkeypatch.setattr(posting, "_READ_SECONDS", 0.1)

    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1_000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw(drip) as url:
        answer = await posted(url)

    assert answer.status == 202
    assert answer.milliseconds < 5_000


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", "the connection was closed before there was an answer"),
        (b"220 smtp.example.com ESMTP\r\n", "the answer was no HTTP"),
    ],
)
async def test_what_is_no_http_is_said_so(said: bytes, error: str):
    """
    In words that hold nothing of what the other end said.
    """

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async with raw(talk) as url:
        answer = await posted(url)

    assert (answer.status, answer.error) == (None, error)


async def test_nobody_there(monkeypatch):
    """
    A port that is closed, and a name that there is not.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    closed = await posted(f"http://127.0.0.1:{port}/")

    def unknown(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    nameless = await posted("https://hooks.example.com/")

    assert closed.error == "there was no connection"
    assert nameless.error == "the host is not known"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 7 ", 7),
        ("-5", 0),
        ("soon", 0),
        ("Tue, 17 Mar 2026 12:02:00 GMT", 120),
        ("Tue, 17 Mar 2026 11:00:00 GMT", 0),
        ("9" * 400, 10**8),
    ],
)
def test_how_long_to_wait(header, seconds):
    """
    Seconds or a date; what is neither asks for nothing.
    """
    assert _wait(header, AT) == timedelta(seconds=seconds)
