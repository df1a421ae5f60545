"""What a project counts."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import UNSET

from neruba_core import Neruba
from neruba_core.metering.model import Aggregation
from neruba_core.pages import DEFAULT_LIMIT
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.slices import sliced
from neruba_server.wire import metrics as wire


async def declare(call: Call) -> web.Response:
    sent = await call.read(wire.NewMetric)

    def act(bound: Neruba) -> Answer:
        metric = bound.metrics.declare(
            call.project,
            key=sent.key,
            aggregation=sent.aggregation or Aggregation.SUM,
            unit=sent.unit,
            unique_property=sent.unique_property,
            free=bool(sent.free),
            properties=wire.rules_of(sent.properties or {}),
            origin=call.origin,
        )
        return Answer(wire.Metric.of(metric), subject_id=metric.key)

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    query, project_id = call.query(), call.project
    metrics = await call.run(lambda neruba: neruba.metrics.list(project_id))
    page = sliced(
        metrics, "key", query.get("limit", DEFAULT_LIMIT), query.get("cursor"), "metrics", project_id
    )
    items = tuple(wire.Metric.of(metric) for metric in page.items)
    return present.json(wire.Metrics(items, page.next_cursor))


async def change(call: Call) -> web.Response:
    sent = await call.read(wire.MetricChanges)
    key, changes = call.path("key"), given(sent)
    metric = await call.write(
        lambda bound: bound.metrics.change(call.project, key, origin=call.origin, **changes)
    )
    return present.json(wire.Metric.of(metric))


def given(sent: wire.MetricChanges) -> dict[str, Any]:
    """What was sent, as the façade takes it."""
    changes: dict[str, Any] = {
        "aggregation": sent.aggregation,
        "unit": sent.unit,
        "unique_property": sent.unique_property,
        "free": sent.free,
        "properties": UNSET if sent.properties is UNSET else wire.rules_of(sent.properties),
    }
    return {name: value for name, value in changes.items() if value is not UNSET}
