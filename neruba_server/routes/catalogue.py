"""What all projects share: the catalogue's metrics and prices."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_core.metering.model import Aggregation
from neruba_core.pages import DEFAULT_LIMIT
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.metrics import given
from neruba_server.routes.query import page_of
from neruba_server.routes.slices import sliced
from neruba_server.wire import metrics as wire
from neruba_server.wire import prices as wire_prices


async def declare_metric(call: Call) -> web.Response:
    sent = await call.read(wire.NewMetric)

    def act(bound: Neruba) -> Answer:
        metric = bound.catalogue.declare(
            key=sent.key,
            aggregation=sent.aggregation or Aggregation.SUM,
            unit=sent.unit,
            unique_property=sent.unique_property,
            free=bool(sent.free),
            properties=wire.rules_of(sent.properties or {}),
            origin=call.origin,
        )
        return Answer(wire.SharedMetric.of(metric), subject_id=metric.key)

    return await call.once(sent, act)


async def metrics(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(lambda neruba: neruba.catalogue.metrics())
    page = sliced(found, "key", query.get("limit", DEFAULT_LIMIT), query.get("cursor"), "shared_metrics")
    items = tuple(wire.SharedMetric.of(metric) for metric in page.items)
    return present.json(wire.SharedMetrics(items, page.next_cursor))


async def change_metric(call: Call) -> web.Response:
    sent = await call.read(wire.MetricChanges)
    key, changes = call.path("key"), given(sent)
    metric = await call.write(lambda bound: bound.catalogue.change(key, **changes))
    return present.json(wire.SharedMetric.of(metric))


async def declare_price(call: Call) -> web.Response:
    sent = await call.read(wire_prices.NewPrice)
    new = sent.checked()

    def act(bound: Neruba) -> Answer:
        price = bound.prices.declare(None, new, origin=call.origin)
        return Answer(wire_prices.Price.of(price), subject_id=price.id)

    return await call.once(sent, act)


async def prices(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(lambda neruba: neruba.prices.list(None, query.get("metricKey"), **page_of(query)))
    items = tuple(wire_prices.Price.of(price) for price in found.items)
    return present.json(wire_prices.Prices(items, found.next_cursor))
