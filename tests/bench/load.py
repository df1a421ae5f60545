"""A load generator that costs less than what it measures.

Run as a process of its own: ``python load.py HOST PORT CONNECTIONS SECONDS`` with the request on standard
input as JSON ``{"head": [...lines], "body": "…"}``. The marker ``{n}`` in head or body becomes the number
of the request, so that each has its own idempotency key. Each connection sends its next request when the
last is answered. Prints ``{"requests", "seconds", "p50", "p99", "statuses"}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, requests: Iterator[bytes], taken: list[float], statuses: Counter[str], until: float):
        self._requests = requests
        self._taken = taken
        self._statuses = statuses
        self._until = until
        self._buffer = b""
        self._sent_at = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._until:
            self._transport.close()
            return
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        stop = head.find(b"\r\n", at)
        length = int(head[at : stop if stop > 0 else None])
        if len(self._buffer) < end + 4 + length:
            return
        self._taken.append(time.perf_counter() - self._sent_at)
        self._statuses[head[9:12].decode()] += 1
        self._buffer = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def requests(head: list[str], body: str, prefix: str) -> Iterator[bytes]:
    """The request again and again, each with a number of its own."""
    number = 0
    while True:
        unique = f"{prefix}{number}"
        text = body.replace("{n}", unique)
        lines = [line.replace("{n}", unique) for line in head]
        yield ("\r\n".join([*lines, f"Content-Length: {len(text)}"]) + "\r\n\r\n" + text).encode()
        number += 1


async def run(host: str, port: int, connections: int, seconds: float, head: list[str], body: str) -> None:
    taken: list[float] = []
    statuses: Counter[str] = Counter()
    source = requests(head, body, f"{time.time_ns()}_")
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    until = start + seconds
    made = [
        (await loop.create_connection(lambda: Connection(source, taken, statuses, until), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(one.ended for one in made))
    spent = time.perf_counter() - start
    taken.sort()
    print(
        json.dumps(
            {
                "requests": len(taken),
                "seconds": spent,
                "p50": taken[len(taken) // 2],
                "p99": taken[len(taken) * 99 // 100],
                "statuses": statuses,
            }
        )
    )


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    request = json.load(sys.stdin)
    host, port, connections, seconds = sys.argv[1:]
    asyncio.run(run(host, int(port), int(connections), float(seconds), request["head"], request["body"]))
