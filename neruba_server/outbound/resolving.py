"""From the host of a URL to addresses that may be connected to.

A name is looked up once for a connection, every address is judged, and what is connected to is the address
that was judged: whoever owns the name cannot point it elsewhere in between. Messages to one host share a
look-up, so a name server that does not answer costs one thread and not one for every message.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from neruba_core.outbox.addresses import permitted

THREADS = 16


class Forbidden(OSError):
    """A host none of whose addresses may be connected to."""


class CheckedResolver(AbstractResolver):
    """Looks names up on threads of its own; *loopback* also lets this machine's addresses pass."""

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self._pool = ThreadPoolExecutor(THREADS, "neruba-dns")
        self._asked: dict[tuple[str, int, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of *host* that may be connected to. Raises ``Forbidden`` where there are only
        others, or ``OSError`` where there are none."""
        name = (host, port, int(family))
        asked = self._asked.get(name)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._pool, self._look_up, host, port, family)
            self._asked[name] = asked
            asked.add_done_callback(lambda _: self._asked.pop(name, None))
        # Whoever gives up waiting must not end it for the others.
        return await asyncio.shield(asked)

    async def close(self) -> None:
        """Wait for no look-up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look_up(self, host: str, port: int, family: int) -> list[ResolveResult]:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        results: list[ResolveResult] = []
        for of_family, _, protocol, _, address in found:
            text = str(address[0])
            if permitted(text, loopback=self._loopback):
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=text,
                        port=port,
                        family=of_family,
                        proto=protocol,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )
        if not results:
            raise Forbidden(f"{host} is no public host")
        return results
