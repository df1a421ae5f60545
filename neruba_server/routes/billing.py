"""Usage read back, and the overview that explains the present."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web

from neruba_core import Neruba
from neruba_core.instants import Instant, month, month_of
from neruba_core.usage.answer import render
from neruba_server import present
from neruba_server.routes.call import Call
from neruba_server.routes.query import page_of
from neruba_server.wire import billing as wire
from neruba_server.wire import converter


async def usage(call: Call) -> web.Response:
    query = call.query()

    def read(neruba: Neruba) -> Any:
        start, end = _span(neruba, call.project, query.get("from"), query.get("to"))
        return neruba.usage.quantities(
            call.project,
            start=start,
            end=end,
            metric_key=query.get("metricKey"),
            group_by=query.get("groupBy"),
        )

    quantities = await call.run(read)
    return present.json(wire.Quantities(tuple(wire.Quantity.of(each) for each in quantities), None))


async def usage_events(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.usage.events(
            call.project,
            metric_key=query.get("metricKey"),
            start=query.get("from"),
            end=query.get("to"),
            **page_of(query),
        )
    )
    return present.listed([render(event) for event in found.items], found.next_cursor)


async def overview(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(lambda neruba: neruba.billing.overview(call.project, period=query.get("period")))
    document = converter.written(wire.Overview.of(found))
    document["recentTransactions"] = [orjson.Fragment(each.body) for each in found.recent_transactions]
    return present.body(orjson.dumps(document))


def _span(
    neruba: Neruba, project_id: str, start: Instant | None, end: Instant | None
) -> tuple[Instant, Instant]:
    """The asked range; by default the current month, in the project's time zone."""
    zone = neruba.projects.get(project_id).timezone
    if end is None:
        end = month(month_of(max(neruba.now(), start or neruba.now()), zone), zone).end
    if start is None:
        start = month(month_of(end - timedelta(microseconds=1), zone), zone).start
    return start, end
