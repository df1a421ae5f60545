"""What a project's metrics cost."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import prices as wire


async def declare(call: Call) -> web.Response:
    sent = await call.read(wire.NewPrice)
    new = sent.checked()

    def act(bound: Neruba) -> Answer:
        price = bound.prices.declare(call.project, new, origin=call.origin)
        return Answer(wire.Price.of(price), subject_id=price.id)

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.prices.list(call.project, query.get("metricKey"), **page_of(query))
    )
    items = tuple(wire.Price.of(price) for price in found.items)
    return present.json(wire.Prices(items, found.next_cursor))
