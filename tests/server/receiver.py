"""Endpoints that receive messages: well-behaved ones, and others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field

from neruba_core import Neruba
from neruba_server.outbound.deliveries import Deliveries


@define
class Receiver:
    """Keeps what it receives, and answers with *status*, or as *answer* says."""

    status: int = 200
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    received: list[tuple[dict[str, str], bytes]] = field(factory=list)
    url: str = ""

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]

    @property
    def types(self) -> list[Any]:
        return [json.loads(body)["type"] for _, body in self.received]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((headers, await request.read()))
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(status=self.status)


@asynccontextmanager
async def receiving(receiver: Receiver):
    """*receiver* on a port of this machine."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hooks"))
        yield receiver


@asynccontextmanager
async def delivering(neruba: Neruba, **options: Any):
    """The loop, running."""
    deliveries = Deliveries(neruba, **options)
    deliveries.start()
    try:
        yield deliveries
    finally:
        await deliveries.stop()


async def until(true: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Wait for what is to come true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)
